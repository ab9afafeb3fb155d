/* settings.c: the one table of the node daemon's settings; see settings.h. */
#include "wire/settings.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* As in enum probes_rung (src/bpf/probes.h). */
#define FILE_RUNGS "fexit|kprobe|call_exit|sys_exit|raw_exit|tracepoints"
#define GPU_RUNGS "uprobe_multi|uprobe"
#define POINT_RUNGS "tp_btf|raw_tp"

#define AT(field) .offset = offsetof(struct settings, field)

static const struct config_entry entries[] = {
        {"node", "socket", CONFIG_STRING, AT(socket), "", .help = "path of the daemon's socket; empty: /run/berth/node.sock for root, else in $XDG_RUNTIME_DIR"},
        {"node", "log_level", CONFIG_CHOICE, AT(log_level), "info", .choices = "error|warning|notice|info|debug", .live = true,
         .help = "log lines up to this level are written"},

        {"device", "kind", CONFIG_CHOICE, AT(device), "auto", .choices = "auto|cuda|software",
         .help = "which devices to share: those of the NVIDIA driver, a software device in host memory, or whichever is found first in this order"},
        {"device", "nvml", CONFIG_STRING, AT(nvml), "", .help = "path of libnvidia-ml.so.1; empty: the dynamic linker's"},
        {"device", "software_devices", CONFIG_NUMBER, AT(software_devices), "1", 1, 8, .help = "number of software devices"},
        {"device", "software_memory", CONFIG_BYTES, AT(software_memory), "1GiB", 16 << 20, UINT64_C(1) << 40,
         .help = "memory of each software device"},
        {"device", "software_link", CONFIG_BYTES, AT(software_link), "4GiB", 1 << 20, UINT64_C(1) << 40,
         .help = "modelled copy rate of a software device, per second and direction"},

        {"memory", "reserve_percent", CONFIG_NUMBER, AT(reserve_percent), "10", 0, 90, .environment = "NVSHARE_MEMORY_RESERVE_PERCENT",
         .live = true, .help = "share of each device that is never granted to programs"},
        {"memory", "client_part", CONFIG_BYTES, AT(client_part), "0", 0, UINT64_C(8) << 30, .live = true,
         .help = "counted for each program beside what it allocates (its context); 0: 512 MiB on CUDA devices, 8 MiB on software devices"},
        {"memory", "limits", CONFIG_CHOICE, AT(limits), "off", .choices = "off|classes", .live = true,
         .help = "classes: programs together stay under 80 % of devices of 24 GiB and more, 75 % from 12 GiB, 70 % below"},
        {"memory", "band_low", CONFIG_NUMBER, AT(band_low), "0", 0, 99, .live = true,
         .help = "while more than this share of a device is in use, programs that have become idle are asked to give back what they do not need; 0: never"},
        {"memory", "band_high", CONFIG_NUMBER, AT(band_high), "0", 0, 100, .live = true,
         .help = "share of each device, use by other programs included, above which nothing more is granted; 0: only the reserve counts"},

        {"slice", "mode", CONFIG_CHOICE, AT(slice_mode), "auto", .choices = "auto|fixed", .environment = "NVSHARE_SWITCH_TIME_MODE",
         .live = true, .help = "auto: the slice of a program that others wait for follows the measured cost of a switch; fixed: always slice.fixed"},
        {"slice", "fixed", CONFIG_DURATION, AT(slice_fixed), "30s", 1000000, UINT64_C(86400000000000),
         .environment = "NVSHARE_SWITCH_TIME_FIXED", .live = true, .help = "the slice in mode fixed"},
        {"slice", "multiplier", CONFIG_NUMBER, AT(slice_multiplier), "5", 1, 1000, .environment = "NVSHARE_SWITCH_TIME_MULTIPLIER",
         .live = true, .help = "slice in mode auto, in multiples of the switch cost: n spends about 1/(n+1) of the time on switching"},
        {"slice", "multiplier_batch", CONFIG_NUMBER, AT(slice_multiplier_batch), "25", 1, 1000, .live = true,
         .help = "the same where only batch programs compete"},
        {"slice", "min", CONFIG_DURATION, AT(slice_min), "2s", 1000000, UINT64_C(86400000000000), .live = true,
         .help = "shortest slice in mode auto; 10 s when an NVSHARE_SWITCH_TIME variable is set and this is not"},
        {"slice", "max", CONFIG_DURATION, AT(slice_max), "300s", 1000000, UINT64_C(86400000000000), .live = true,
         .help = "longest slice in mode auto"},

        {"waiting", "age", CONFIG_DURATION, AT(age), "30s", 1000000, UINT64_C(86400000000000), .live = true,
         .help = "a waiting program counts as one priority class higher for each such time"},
        {"waiting", "idle", CONFIG_DURATION, AT(idle), "500ms", 1000000, UINT64_C(86400000000000), .live = true,
         .help = "a program that issued nothing for this long gives way before its slice ends"},
        {"waiting", "give_way_bound", CONFIG_DURATION, AT(give_way_bound), "30s", 1000000, UINT64_C(86400000000000), .live = true,
         .help = "a program that does not give way within this time is reported as stuck and others are served from what is left"},
        {"waiting", "kill_after", CONFIG_DURATION, AT(kill_after), "300s", 0, UINT64_C(86400000000000), .live = true,
         .help = "a stuck program that others still wait for is ended after this time; 0: never"},
        {"waiting", "move_bound", CONFIG_DURATION, AT(move_bound), "10s", 1000000, UINT64_C(86400000000000), .live = true,
         .help = "time allowed for a move between device and host, plus its bytes at waiting.move_rate"},
        {"waiting", "move_rate", CONFIG_BYTES, AT(move_rate), "1GiB", 1 << 20, UINT64_C(1) << 40, .live = true,
         .help = "slowest acceptable rate of a move, per second"},

        {"arena", "size", CONFIG_SHARE, AT(arena_size), "50%", .help = "host memory for swapped-out device memory: a size, or a share of the machine's memory"},
        {"arena", "segment", CONFIG_BYTES, AT(arena_segment), "0", 0, UINT64_C(64) << 30,
         .help = "granularity in which it is lent to programs; 0: 16 units"},
        {"arena", "ready", CONFIG_BYTES, AT(arena_ready), "2GiB", 0, UINT64_C(1) << 42, .live = true,
         .help = "this much is kept touched and free, ahead of need"},
        {"arena", "threads", CONFIG_NUMBER, AT(arena_threads), "4", 1, 64, .help = "threads that touch it in the background"},
        {"arena", "eager", CONFIG_BOOL, AT(arena_eager), "yes", .live = true,
         .help = "lend host memory to programs as they grow, so that the first switch finds it ready; no: only when someone waits"},

        {"client", "unit", CONFIG_BYTES, AT(unit), "0", 0, UINT64_C(1) << 30,
         .help = "size of a physical memory unit; 0: 64 MiB on devices of 16 GiB and more, else 1/256 of the device, at least 2 MiB"},
        {"client", "slack", CONFIG_SHARE, AT(slack), "0.4%", .live = true,
         .help = "granted memory that a program may keep unused while nobody waits, for allocations to come: a size, or a share of the device"},
        {"client", "clean", CONFIG_BOOL, AT(clean), "yes",
         .help = "programs hash their device memory on the device when it leaves, and do not copy what the host's copy still equals"},
        {"client", "neighbours", CONFIG_BOOL, AT(neighbours), "yes",
         .help = "swap to the free memory of other devices that a program can reach, before the host; it leaves them when others need the room"},
        {"client", "return_after", CONFIG_DURATION, AT(return_after), "10s", 1000000, UINT64_C(3600000000000),
         .help = "swapped-out programs come back by themselves when the daemon has been gone for this long"},

        {"observe", "probes", CONFIG_CHOICE, AT(probes), "asked", .choices = "off|asked|always", .live = true,
         .help = "probes in the kernel, for who uses which file, who calls the driver, and what waits for devices and processors: never, while somebody asks for what they count and for a minute after, or always"},
        {"observe", "files", CONFIG_CHOICE, AT(probes_files), "auto", .choices = "auto|off|" FILE_RUNGS, .live = true,
         .help = "how uses of files are counted: auto takes the first kind of probe that the kernel accepts, any other word that kind alone"},
        {"observe", "gpu", CONFIG_CHOICE, AT(probes_gpu), "auto", .choices = "auto|off|" GPU_RUNGS, .live = true,
         .help = "how calls of the driver's library by processes without Berth are counted"},
        {"observe", "block", CONFIG_CHOICE, AT(probes_block), "auto", .choices = "auto|off|" POINT_RUNGS, .live = true,
         .help = "how requests to block devices are timed, for `berth latency`"},
        {"observe", "sched", CONFIG_CHOICE, AT(probes_sched), "auto", .choices = "auto|off|" POINT_RUNGS, .live = true,
         .help = "how waits for a processor are timed, for `berth latency`"},
        {"observe", "syscalls", CONFIG_CHOICE, AT(probes_syscalls), "no", .choices = "no|yes|" POINT_RUNGS, .live = true,
         .help = "count all system calls, for `berth latency`; while that is asked for it adds some 100 ns to each call of each process"},
        {"observe", "refuse", CONFIG_STRING, AT(probes_refuse), "", .live = true, .help = "kinds of probes that auto does not try, separated by commas"},
        {"observe", "uid", CONFIG_NUMBER, AT(probes_uid), "4294967295", 0, UINT32_MAX, .live = true,
         .help = "count only what processes of this user do, by number; 4294967295: of everybody"},
        {"observe", "file_one_in", CONFIG_NUMBER, AT(probes_one_in), "1", 1, 1024, .live = true,
         .help = "of so many reads and writes one is looked at, and counted as many; 1: each, and exactly"},
        {"observe", "file_closes", CONFIG_BOOL, AT(probes_closes), "yes", .live = true,
         .help = "count closes, too; where that takes a probe of its own (all but fexit and kprobe), it adds some 20 ns to every system call"},
        {"observe", "file_duty", CONFIG_NUMBER, AT(probes_duty), "100", 1, 100, .live = true,
         .help = "percent of the time during which the probes on files are attached; less costs less, and misses what happens meanwhile"},
        {"observe", "file_entries", CONFIG_NUMBER, AT(probes_entries), "16384", 256, 1048576, .live = true,
         .help = "pairs of process and file that the kernel counts between two readings; each takes some 600 bytes"},
        {"observe", "launch_budget", CONFIG_NUMBER, AT(probes_launch_budget), "10", 0, 1000, .live = true,
         .help = "thousandths of a processor that counting launches may cost: with more of them they are counted part of the time; 0: always counted"},
        {"observe", "period", CONFIG_DURATION, AT(probes_period), "1s", 50000000, UINT64_C(60000000000), .live = true,
         .help = "the probes' maps are read this often"},
        {"observe", "answer", CONFIG_DURATION, AT(probes_answer), "30s", 1000000000, UINT64_C(600000000000), .live = true,
         .help = "a probes process that has not answered for so long is ended, and another one started"},
        {"observe", "history", CONFIG_STRING, AT(history), "",
         .help = "a file that keeps how the figures of machine and devices went over a restart of the daemon, of at most 8 MiB, written every five minutes and at the end; empty: they are forgotten"},

        {"limits", "clients_per_user", CONFIG_NUMBER, AT(clients_per_user), "256", 1, 100000, .live = true,
         .help = "connections that one user may hold"},
        {"limits", "messages_per_second", CONFIG_NUMBER, AT(messages_per_second), "20000", 100, 10000000, .live = true,
         .help = "messages per second and connection, beyond which reading pauses"},
};

const struct config_table settings_table = {entries, ARRAY_SIZE(entries), sizeof(struct settings)};

/* Each word of the list is one of the '|'-separated choices. */
static bool are_choices(const char *list, const char *choices)
{
        for (const char *at = list + strspn(list, " ,"); *at; at += strspn(at, " ,")) {
                size_t length = strcspn(at, " ,");
                const char *c = choices;

                while (c && (strcspn(c, "|") != length || memcmp(c, at, length) != 0)) {
                        c = strchr(c, '|');
                        c = c ? c + 1 : NULL;
                }
                if (!c)
                        return false;
                at += length;
        }
        return true;
}

int settings_check(const struct settings *s, char message[CONFIG_MESSAGE])
{
        const char *wrong = NULL;

        message[0] = 0;
        if (s->slice_min > s->slice_max)
                wrong = "slice.min is longer than slice.max; accepted: slice.min at most slice.max";
        else if (s->unit && (s->unit & (s->unit - 1) || s->unit < 2 << 20))
                wrong = "client.unit is no power of two of at least 2MiB; accepted: 0, 2MiB, 4MiB, 8MiB ...";
        else if (s->arena_segment && s->arena_segment % (2 << 20))
                wrong = "arena.segment is no multiple of 2MiB; accepted: 0, or a multiple of 2MiB and of client.unit";
        else if (s->unit && s->arena_segment % s->unit)
                wrong = "arena.segment is no multiple of client.unit; accepted: 0, or a multiple of client.unit";
        else if (s->band_high && s->band_low >= s->band_high)
                wrong = "memory.band_low is not below memory.band_high; accepted: memory.band_low less than memory.band_high, or memory.band_high 0";
        else if (!s->arena_size.permille && !s->arena_size.bytes)
                wrong = "arena.size is 0; accepted: a size such as 4GiB, or a percentage such as 50%";
        else if (!are_choices(s->probes_refuse, FILE_RUNGS "|" GPU_RUNGS "|" POINT_RUNGS))
                wrong = "observe.refuse names no kind of probe; accepted: fexit, kprobe, call_exit, sys_exit, raw_exit, tracepoints, uprobe_multi, uprobe, tp_btf, raw_tp, "
                        "separated by commas";
        if (!wrong)
                return 0;
        snprintf(message, CONFIG_MESSAGE, "%s", wrong);
        return -E_CONFIG;
}

/* The forerunner's users expect its shortest switch time. Only the default changes: a file that sets slice.min wins. */
static const char *slice_min_default(const struct config_entry *entry)
{
        static const char *const aliases[] = {"NVSHARE_SWITCH_TIME_MODE", "NVSHARE_SWITCH_TIME_FIXED",
                                              "NVSHARE_SWITCH_TIME_MULTIPLIER"};

        for (size_t i = 0; i < ARRAY_SIZE(aliases); i++) {
                const char *value = getenv(aliases[i]);

                if (value && *value)
                        return "10s";
        }
        return entry->fallback;
}

int settings_load(const char *path, bool must_exist, struct settings *target, char message[CONFIG_MESSAGE])
{
        struct config_entry own[ARRAY_SIZE(entries)];
        const struct config_table table = {own, ARRAY_SIZE(own), sizeof *target};
        struct settings fresh;
        int r;

        memcpy(own, entries, sizeof own);
        for (size_t i = 0; i < ARRAY_SIZE(own); i++)
                if (!strcmp(own[i].section, "slice") && !strcmp(own[i].name, "min"))
                        own[i].fallback = slice_min_default(&own[i]);
        r = config_load(&table, path, must_exist, &fresh, message);
        if (r == 0)
                r = settings_check(&fresh, message);
        if (r < 0)
                return r;
        *target = fresh;
        return 0;
}
