/* machine.h: what this machine and its processes do, as /proc and /sys tell: no daemon, no driver library, no privilege needed.
 *
 * A look is counters since the start; machine_rates makes rates of two looks. What can't be read carries the -errno that says why
 * (machine_missing), and means nothing: unknown is not zero. The root folder is "" for this machine, a recorded tree in tests. Everything is bounded:
 * processes, descriptors looked at, devices. Reading takes no lock that work needs, and is for one thread at a time each.
 */
#pragma once

#include "base/history.h"
#include "machine/parse.h"

#include <sys/types.h>

#define MACHINE_PROCESSES 32768
#define MACHINE_DEVICES 32
#define MACHINE_TEXT 65536

/* One reader: the root folder and a buffer. */
struct machine {
        int root;
        uint64_t hertz, page;
        char text[MACHINE_TEXT];
};
/* 0 or -errno; root is not kept. */
must_check int machine_open(struct machine *m, const char *root);
void machine_close(struct machine *m);
/* A small file below the root into m->text, ended; its length, -errno, -EFBIG: larger than the buffer. */
must_check int machine_read(struct machine *m, const char *path);

/* Why something is unavailable, in words, for a negative error; "" for 0. */
const char *machine_missing(int error);

/* --- the machine --- */

enum machine_pressure_kind { MACHINE_PRESSURE_CPU, MACHINE_PRESSURE_MEMORY, MACHINE_PRESSURE_IO, MACHINE_PRESSURE_N };

struct machine_look {
        uint64_t taken_ns;
        int stat_error, memory_error, pressure_error[MACHINE_PRESSURE_N], network_error, disk_error, load_error, vm_error, heat_error;
        struct machine_stat stat;
        struct machine_memory memory;
        struct machine_pressure pressure[MACHINE_PRESSURE_N];
        struct machine_network network;
        struct machine_disk disk; /* whole disks, together */
        uint32_t disks;
        struct machine_load load;
        struct machine_vm vm;
        int64_t heat_millicelsius; /* of the processor */
};
void machine_look(struct machine *m, uint64_t now_ns, struct machine_look *ret);

/* Shares in permille of the time between two looks, amounts per second; negative: unavailable. */
struct machine_rates {
        double user, system, wait, stolen, busy;
        double cpu_busy[MACHINE_CPUS];
        uint32_t cpus;
        double switches, interrupts, forks, in_bytes, out_bytes, read_bytes, written_bytes, disk_busy, major_faults;
};
/* before may be NULL: then all is unavailable. Counters that went back make theirs unavailable. */
void machine_rates(const struct machine_look *now, const struct machine_look *before, struct machine_rates *ret);
/* Per second between two counters: negative when unknown or gone back. */
double machine_rate(uint64_t now, uint64_t before, uint64_t elapsed_ns);
/* Both into the series of wire/series.h. */
void machine_series(struct history_set *set, uint64_t now_ns, const struct machine_look *look, const struct machine_rates *rates);

/* --- processes --- */

/* What a process has on DRM devices, over its descriptors, each client once. */
struct machine_use {
        bool valid;
        uint64_t busy_ns, resident_bytes; /* or MACHINE_UNKNOWN */
};

struct machine_process {
        struct machine_process_stat stat;
        uint32_t uid;
        int io_error;
        struct machine_process_io io;
        struct machine_use use;
};

struct machine_processes {
        uint64_t taken_ns;
        size_t count, unseen; /* unseen: beyond the bound */
        struct machine_process *list; /* by pid */
};
/* drm: also look at descriptors, which takes longer. 0 or -errno: /proc can't be read. */
must_check int machine_processes(struct machine *m, uint64_t now_ns, bool drm, struct machine_processes *ret);
void machine_processes_done(struct machine_processes *p);
/* The same process (pid and start) in an earlier list, or NULL. */
const struct machine_process *machine_process_find(const struct machine_processes *p, const struct machine_process *like);
/* Its command line as clean text, arguments apart by blanks; "" when it can't be read. */
void machine_command(struct machine *m, pid_t pid, char *to, size_t size);

/* --- devices that no driver library is needed for --- */

enum machine_device_kind { MACHINE_GPU, MACHINE_NPU };

struct machine_device {
        uint32_t kind;
        uint32_t number; /* of card or accel */
        char name[64], driver[24], bus[24]; /* bus: PCI address */
        /* Each MACHINE_UNKNOWN when the driver does not tell. */
        uint64_t busy_permille, busy_us; /* a share, or time since the start */
        uint64_t total_bytes, used_bytes, power_uw, energy_uj, frequency_mhz, frequency_most_mhz, heat_millicelsius, fan_rpm;
};
/* GPUs of the DRM subsystem and NPUs of the accel one; NVIDIA's own driver shows its devices without figures here. How many, at most max. */
size_t machine_devices(struct machine *m, struct machine_device *devices, size_t max);
