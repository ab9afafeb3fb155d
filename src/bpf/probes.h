/* probes.h: what the kernel's probes counted, as whoever asks the daemon gets it: who read and wrote which file, who called the driver, how long devices and processors
 * let wait, and who made how many system calls.
 *
 * One snapshot is one sealed memfd: struct probes_snapshot, then its processes, files, uses, blocks and runners. The probes process makes it, the daemon
 * checks it and hands it on (message PROBES), and whoever maps it uses probes_check before anything else; from there on every index is
 * within bounds and every text is ended. Nothing in it is estimated but where `one_in` or `window_permille` says so. What can't be measured is not 0:
 * its family is not PROBES_ATTACHED and says why, and what a rung can't see stands in its blind list.
 *
 * Names (comm, path) are bytes that strangers chose: probes_escape before they are shown.
 */
#pragma once

#include "base/scope.h"
#include "bpf/latency.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROBES_MAGIC UINT32_C(0x42504253)
#define PROBES_VERSION 2
#define PROBES_MAX_PROCESSES 2048
#define PROBES_MAX_FILES 4096
#define PROBES_MAX_USES 8192
#define PROBES_MAX_BLOCKS 256
#define PROBES_MAX_RUNNERS 256
#define PROBES_MAX_BLIND 12
#define PROBES_NONE UINT32_MAX

enum probes_family_id { PROBES_FILES, PROBES_GPU, PROBES_BLOCK, PROBES_SCHED, PROBES_SYSCALLS, PROBES_FAMILY_N };
/* Bits 1 << family, of those that a question is about: what nobody asks for is not attached. */
#define PROBES_USUAL (1U << PROBES_FILES | 1U << PROBES_GPU)
#define PROBES_LATENCY (1U << PROBES_BLOCK | 1U << PROBES_SCHED | 1U << PROBES_SYSCALLS)
#define PROBES_EVERY (PROBES_USUAL | PROBES_LATENCY)

/* How a family counts, best first. A rung that the kernel refuses is followed by the next. */
enum probes_rung {
        PROBES_RUNG_NONE,
        /* files */
        PROBES_FEXIT,       /* fexit on vfs_read, vfs_write … */
        PROBES_KPROBE,      /* kprobe and kretprobe on the same */
        PROBES_CALL_EXIT,   /* a tracepoint at the exit of each call of a file, typed loads from the descriptor to the inode */
        PROBES_SYS_EXIT,    /* tp_btf sys_exit, the same loads */
        PROBES_RAW_EXIT,    /* raw tracepoint sys_exit, a probe read for each field */
        PROBES_TRACEPOINTS, /* two tracepoints for each system call */
        /* gpu */
        PROBES_UPROBE_MULTI, /* one link for all functions of a library */
        PROBES_UPROBE,       /* a perf event for each function */
        /* block, sched, syscalls: on the same tracepoints */
        PROBES_TP_BTF, /* typed loads */
        PROBES_RAW_TP, /* a probe read for each field */
        PROBES_RUNG_N
};

enum probes_state {
        PROBES_OFF,         /* by the settings */
        PROBES_ATTACHED,    /* counts; with `rung` */
        PROBES_UNAVAILABLE, /* every rung was refused: `refused` says why */
        PROBES_NOTHING_YET, /* GPU: no process has the driver's library mapped */
        PROBES_NOT_ASKED,   /* nobody has asked for it in the last minute */
        PROBES_STATE_N
};

struct probes_refusal {
        uint32_t rung;
        int32_t error; /* negative; -ECANCELED: the settings refuse it */
        char text[120]; /* clean text: which step, what the kernel said */
};

struct probes_family {
        uint32_t state, rung; /* enum probes_state, enum probes_rung */
        uint32_t refused_count, blind_count;
        struct probes_refusal refused[PROBES_RUNG_N];
        char blind[PROBES_MAX_BLIND][48]; /* clean text: what this rung can't see */
        uint32_t one_in;          /* reads and writes are sampled, 1 in so many, and multiplied; 1: each is counted */
        uint32_t window_permille; /* of the time during which launches were counted; 1000: always. Their sums are what was counted; see probes_per_second */
        uint32_t entries, entries_max; /* of the kernel's map, at the last look; the most it holds */
        uint32_t programs, links;      /* probes that are attached; GPU: libraries as links */
        /* Since the probes process began, in calls. */
        uint64_t hits;   /* times that a probe ran */
        uint64_t hooked; /* of these, those that were counted */
        uint64_t full;   /* not counted for a process, or a process and file: the map was full; block, sched: or the kernel left the probe out, see climb_missed */
        /* Measured on this machine when the probes were attached: added to a call that is counted, and to one that is not; ns × 1000, 0: not measured. */
        uint64_t hooked_cost_ps, other_cost_ps;
        uint64_t cost_ns; /* hits × these: what the machine has spent on this family so far */
        uint64_t read_ns; /* the last reading of the maps */
};

/* A call that failed counts nothing, but end of file is a read of 0 bytes. Regular files only. */
struct probes_sums {
        uint64_t opens, closes, reads, writes, read_bytes, write_bytes;
};

/* Calls of the driver, whether or not they went well; bytes as asked for. */
struct probes_gpu {
        uint64_t launches, graphs, waits, frees;
        uint64_t allocs, alloc_bytes;
        uint64_t copies_in, in_bytes;         /* host to device */
        uint64_t copies_out, out_bytes;       /* device to host */
        uint64_t copies_other, other_bytes;   /* within a device, between devices, or of unstated direction */
};

struct probes_process {
        uint32_t pid, uid;
        uint64_t start_ns; /* since boot, of its first thread: tells a reused pid */
        uint32_t alive, reserved;
        char comm[16];     /* bytes */
        char cgroup[112];  /* bytes; "" unknown */
        struct probes_sums now, total; /* in the last window; since it was first seen */
        struct probes_gpu gpu_now, gpu_total;
};

enum probes_file_flags {
        PROBES_FILE_PATH = 1,     /* name is the whole path, verified; else its last parts, as far as known */
        PROBES_FILE_DELETED = 2,  /* no longer has a name */
        PROBES_FILE_APPROXIMATE = 4, /* btrfs, overlay: device and inode may differ from what stat says */
        PROBES_FILE_FLAGS = 7,
};

struct probes_file {
        uint64_t inode;
        uint32_t device; /* as in the kernel: major << 20 | minor */
        uint32_t generation;
        uint32_t flags, reserved;
        struct probes_sums now, total;
        char name[256]; /* bytes; "" unknown */
};

/* One process on one file. */
struct probes_use {
        uint32_t process, file; /* indices; process or file may be PROBES_NONE: others, not listed */
        struct probes_sums now, total;
};

/* Requests to a block device that were done. */
struct probes_requests {
        uint64_t bytes, errors;
        struct latency time; /* from going to the device until all of it was done */
};

enum probes_request_kind { PROBES_READ, PROBES_WRITE, PROBES_FLUSH, PROBES_DISCARD, PROBES_OTHER, PROBES_REQUEST_KINDS };

struct probes_block {
        uint32_t device; /* the whole disk, as in the kernel: major << 20 | minor; 0: requests of no disk */
        uint32_t kind;   /* enum probes_request_kind */
        struct probes_requests now, total;
        char name[32]; /* bytes; "" unknown */
};

/* Times that threads were ready to run, and then did: how long it took them to get a processor. */
struct probes_waits {
        uint64_t times, sum_ns, longest_ns;
};

/* A process by that, and by the system calls that it made; the kernel's own as well. */
struct probes_runner {
        uint32_t pid, uid; /* uid UINT32_MAX: unknown */
        uint64_t start_ns; /* since boot, of its first thread */
        char comm[16];     /* bytes */
        struct probes_waits wait_now, wait_total; /* in the last window; since it was first seen */
        uint64_t calls_now, calls_total;
};

struct probes_cache {
        uint64_t asked, found;
        uint32_t entries, limit;
        uint64_t keeps_ns; /* how long an entry is believed */
};

enum probes_cache_id { PROBES_CACHE_PROCESS, PROBES_CACHE_CGROUP, PROBES_CACHE_PATH, PROBES_CACHE_N };

struct probes_snapshot {
        uint32_t magic, version;
        uint64_t bytes; /* of all of it */
        uint64_t began_ns, taken_ns, window_ns; /* CLOCK_MONOTONIC; window: what `now` covers */
        uint64_t cpu_ns, rss_bytes; /* of the probes process itself */
        uint32_t pid, processes, files, uses;
        /* More were seen than are listed: the sums of those left out are in total and now of `others`. */
        uint64_t left_out;
        struct probes_sums all_now, all_total;       /* of everything that was counted */
        struct probes_sums others_now, others_total; /* of it, what no row bears */
        struct probes_gpu gpu_now, gpu_total;
        struct probes_cache caches[PROBES_CACHE_N];
        struct probes_family families[PROBES_FAMILY_N];
        uint32_t blocks, runners;
        struct latency wait_now, wait_total; /* of all threads of the machine, for a processor */
        uint64_t calls_now, calls_total;     /* system calls of the machine */
        /* struct probes_process[processes], struct probes_file[files], struct probes_use[uses], struct probes_block[blocks], struct probes_runner[runners] */
};

/* Whether size bytes at data are a whole and consistent snapshot. 0, or -E_MESSAGE. */
must_check int probes_check(const void *data, size_t size);

static inline const struct probes_process *probes_processes(const struct probes_snapshot *s)
{
        return (const struct probes_process *)(const void *)(s + 1);
}
static inline const struct probes_file *probes_files(const struct probes_snapshot *s)
{
        return (const struct probes_file *)(const void *)(probes_processes(s) + s->processes);
}
static inline const struct probes_use *probes_uses(const struct probes_snapshot *s)
{
        return (const struct probes_use *)(const void *)(probes_files(s) + s->files);
}
static inline const struct probes_block *probes_blocks(const struct probes_snapshot *s)
{
        return (const struct probes_block *)(const void *)(probes_uses(s) + s->uses);
}
static inline const struct probes_runner *probes_runners(const struct probes_snapshot *s)
{
        return (const struct probes_runner *)(const void *)(probes_blocks(s) + s->blocks);
}
static inline size_t probes_bytes(uint32_t processes, uint32_t files, uint32_t uses, uint32_t blocks, uint32_t runners)
{
        return sizeof(struct probes_snapshot) + processes * sizeof(struct probes_process) + files * sizeof(struct probes_file) +
               uses * sizeof(struct probes_use) + blocks * sizeof(struct probes_block) + runners * sizeof(struct probes_runner);
}

/* Maps the snapshot behind fd (which stays the caller's) and checks it; it must be sealed against changes. 0, -E_MESSAGE, -ENOMEM. Unmap with probes_unmap. */
must_check int probes_map(int fd, const struct probes_snapshot **ret);
void probes_unmap(const struct probes_snapshot *snapshot);
static inline void probes_unmap_at(const struct probes_snapshot **s)
{
        if (*s)
                probes_unmap(*s);
}

/* What a user other than root and the daemon's own may see: own processes, files and sums, the families' state, and what is of the whole machine, as in /proc: waits for
 * devices and processors. A new memfd, or -errno. */
must_check int probes_for_user(const struct probes_snapshot *snapshot, uid_t uid);
/* The sealed memfd for size bytes at data, or -errno. */
must_check int probes_seal(const void *data, size_t size);

/* Words for people, and for JSON: "fexit", "attached", "files". Static; "?" for what is out of range. */
const char *probes_rung_name(uint32_t rung);
const char *probes_state_name(uint32_t state);
const char *probes_family_name(uint32_t family);
const char *probes_request_kind_name(uint32_t kind);

/* At most `bytes` bytes at `from`, up to the first NUL, as text that is safe in a terminal, a page and a log: valid UTF-8 of visible characters stays, a
 * backslash is doubled, all else becomes \xNN (control characters, broken UTF-8, marks that turn the writing direction or are not seen). Always ended; cut
 * between characters. Returns to. JSON and HTML still need their own quoting. */
char *probes_escape(char *to, size_t size, const char *from, size_t bytes);
