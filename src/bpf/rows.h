/* rows.h: inside of table.c and names.c: the rows as they are kept. */
#pragma once

#include "bpf/table.h"

#include <uthash.h>

struct process_key {
        uint64_t start_ns;
        uint32_t pid, reserved;
};

struct process_row {
        struct process_key key;
        struct probes_process p;
        uint64_t seen_ns, looked_ns, cgroup_ns; /* in a window; at /proc; 0: never */
        uint32_t turn, index; /* of the window it was last seen in; place in the snapshot that is being made */
        UT_hash_handle hh;
};

struct file_row {
        struct file_name_key key;
        struct probes_file f;
        uint64_t seen_ns, looked_ns;
        uint32_t turn, index;
        UT_hash_handle hh;
};

struct use_key {
        struct process_row *process;
        struct file_row *file;
};

struct use_row {
        struct use_key key;
        struct probes_use u;
        uint64_t seen_ns;
        int32_t fd;
        uint32_t turn, index;
        UT_hash_handle hh;
};

struct table {
        struct process_row *processes;
        struct file_row *files;
        struct use_row *uses;
        uint64_t window_ns; /* when this one began */
        uint32_t turn;      /* its number */
        struct probes_sums all_now, all_total, gone_total; /* gone: of rows that are no longer there */
        struct probes_gpu gpu_now, gpu_total;
        struct probes_cache caches[PROBES_CACHE_N];
};

static inline uint64_t sums_weight(const struct probes_sums *s)
{
        return s->read_bytes + s->write_bytes + 512 * (s->opens + s->closes + s->reads + s->writes);
}
