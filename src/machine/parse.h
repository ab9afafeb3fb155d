/* parse.h: the texts of /proc and /sys as numbers. Pure: text in, numbers out.
 *
 * Every parser takes an ended text, of any content, and returns 0, or -EINVAL when it is not what the kernel documents; then nothing was written.
 * Fields that newer kernels append are passed over, fields that older ones lack stay "unknown" where a struct says so. Names are made clean text.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MACHINE_UNKNOWN UINT64_MAX /* of a field that the text does not have */
#define MACHINE_CPUS 512
#define MACHINE_ENGINES 8
#define MACHINE_REGIONS 8

/* Ticks of USER_HZ since the start. */
struct machine_cpu {
        uint64_t user, system, wait, idle, stolen;
};

struct machine_stat {
        struct machine_cpu all;
        uint32_t cpus; /* how many of cpu are filled; more processors than fit are in `all` only */
        struct machine_cpu cpu[MACHINE_CPUS];
        uint64_t switches, interrupts, forks, running, blocked;
};
must_check int machine_parse_stat(const char *text, struct machine_stat *ret);

struct machine_memory {
        uint64_t total, available, free, buffers, cached, shared, swap_total, swap_free; /* bytes, or MACHINE_UNKNOWN */
};
must_check int machine_parse_meminfo(const char *text, struct machine_memory *ret);

/* Share of the last 10 s in permille, and microseconds since the start, in which some or all tasks stood still. */
struct machine_pressure {
        uint32_t some_permille, full_permille;
        uint64_t some_us, full_us;
};
must_check int machine_parse_pressure(const char *text, struct machine_pressure *ret);

/* All interfaces but the loop-back. */
struct machine_network {
        uint32_t interfaces;
        uint64_t in_bytes, out_bytes, in_packets, out_packets, errors, drops;
};
must_check int machine_parse_network(const char *text, struct machine_network *ret);

struct machine_disk {
        uint64_t reads, writes, read_bytes, written_bytes, busy_ms;
};
/* One line's disk. Calls back for each line. */
typedef void (*machine_disk_fn)(void *context, const char *name, const struct machine_disk *disk);
must_check int machine_parse_disks(const char *text, machine_disk_fn fn, void *context);

struct machine_load {
        uint32_t centi[3]; /* hundredths: the last 1, 5, 15 minutes */
        uint32_t runnable, tasks;
};
must_check int machine_parse_load(const char *text, struct machine_load *ret);

struct machine_vm {
        uint64_t major_faults, oom_kills; /* or MACHINE_UNKNOWN */
};
must_check int machine_parse_vm(const char *text, struct machine_vm *ret);

struct machine_process_stat {
        char name[32], state;
        int32_t pid, parent, nice;
        uint32_t threads;
        uint64_t ticks, start_ticks, resident_pages, major_faults;
};
must_check int machine_parse_process(const char *text, struct machine_process_stat *ret);

struct machine_process_io {
        uint64_t read_bytes, written_bytes;           /* from and to storage */
        uint64_t read_characters, written_characters; /* what its calls moved, caches, pipes and terminals included */
        uint64_t read_calls, write_calls;
};
must_check int machine_parse_process_io(const char *text, struct machine_process_io *ret);

/* Lines "Name:\t1234 kB" of /proc/PID/status, in bytes (MACHINE_UNKNOWN: not there), and its user. */
struct machine_process_status {
        uint32_t uid;
        uint64_t resident, anonymous, shared, swapped, voluntary_switches, other_switches;
};
must_check int machine_parse_process_status(const char *text, struct machine_process_status *ret);

/* One descriptor of a DRM device, as Documentation/gpu/drm-usage-stats.rst has it. */
struct machine_drm {
        char driver[24], device[24]; /* drm-pdev */
        uint64_t client;
        bool has_client;
        uint32_t engines, regions;
        struct {
                char name[24];
                uint64_t busy_ns, cycles, total_cycles; /* or MACHINE_UNKNOWN */
                uint32_t capacity;
        } engine[MACHINE_ENGINES];
        struct {
                char name[24];
                uint64_t total, resident; /* or MACHINE_UNKNOWN */
        } region[MACHINE_REGIONS];
};
/* -ENODATA: a descriptor of something else. */
must_check int machine_parse_drm(const char *text, struct machine_drm *ret);
