/* sight-view.h: what a look at the machine saw, and how it is told to a pool (docs/worker-protocol.md, "Looks"). Pure. For sight*.c only. */
#pragma once

#include "base/history.h"
#include "bpf/probes.h"
#include "machine/machine.h"
#include "wire/wire.h"

#include <jansson.h>

#define SIGHT_CLIENTS 1024
#define SIGHT_PROCESSES 24
#define SIGHT_FILES 5
#define SIGHT_POINTS 120
#define SIGHT_BYTES (120u << 10) /* of a report: less than a pool takes */

/* What the worker's owner lets be seen. */
enum sight_depth { SIGHT_FIGURES, SIGHT_PROCESS_LIST, SIGHT_FILE_NAMES };

/* The node daemon's answer. */
struct sight_status {
        uint64_t taken_ns; /* 0: none */
        struct wire_STATUS_DAEMON daemon;
        struct wire_STATUS_DEVICE devices[WIRE_MAX_DEVICES];
        struct wire_STATUS_CLIENT clients[SIGHT_CLIENTS]; /* those that came first; more are counted */
        size_t device_count, client_count, left_out;
};

struct sight_view {
        enum sight_depth depth;
        const struct machine_look *look; /* NULL: /proc can't be read */
        const struct machine_rates *rates;
        const struct machine_processes *processes, *processes_before; /* NULL: none */
        uint64_t hertz, page;
        const struct sight_status *status, *status_before; /* NULL: no daemon; one answer only */
        const struct probes_snapshot *probes;             /* NULL: probes_why */
        const char *probes_why;
        uint64_t cost_before_ns[PROBES_FAMILY_N], probes_before_ns; /* at the look before; probes_before_ns 0: there was none */
        const struct history_set *history;
        uint64_t history_ns;
};

/* The report without what goes beyond SIGHT_BYTES. NULL: out of memory. */
json_t *sight_json(const struct sight_view *view, uint32_t span_s);
