/* top-world.h: looks again and again at the daemon and at this machine, for `berth top` and `berth sample`. A daemon that goes away is waited for. */
#pragma once

#include "cli/top-view.h"

struct top_sources {
        struct connection connection;
        struct snapshot now, before;
        bool known; /* now holds something */
        char message[CLI_MESSAGE];

        bool readable; /* the machine */
        struct machine machine;
        struct machine_look looks[2];
        struct machine_rates rates;
        struct machine_processes processes, processes_before;
        struct machine_device devices[MACHINE_DEVICES], devices_before[MACHINE_DEVICES];
        size_t device_count, device_count_before;
        unsigned int turns; /* looks at the machine so far */

        struct history_set *history;
        uint64_t clock_offset; /* to the monotonic clock */
        bool ask_probes; /* at each look; else only with a detail */
        uint32_t ask_families; /* bits 1 << enum probes_family_id; 0: files and gpu */
        bool probes_start; /* they were not there yet: the last question has started them */
        const struct probes_snapshot *probes;
        char probes_why[CLI_MESSAGE], command[512];
        struct machine_process_status status;
        struct top_target followed; /* whose series are in history */
        struct top_world world; /* what the last look made */
};

/* Everything closed; connects at the first look. timeout_ms: for the daemon's answers. Set ask_probes afterwards: then the daemon's probes count as long as looks are taken. */
void top_sources_open(struct top_sources *s, unsigned int timeout_ms);
void top_sources_close(struct top_sources *s);
/* One look. 0, or the daemon's trouble (s->message): then what it said last stays, with this machine's new figures. detail: a process whose command, files
 * and status are looked at too, or NULL. */
int top_look(struct top_sources *s, const struct top_target *detail);
/* While the last look has only started the probes: waits for what they count, at most so long. */
void top_wait_probes(struct top_sources *s, uint64_t patience_ns);
/* Signals a process, or changes how nice it is, if it still is the one that the target says. A sentence into text. */
void top_signal(struct top_sources *s, const struct top_target *target, int number, char text[96]);
void top_renice(struct top_sources *s, const struct top_target *target, int nice, char text[96]);
