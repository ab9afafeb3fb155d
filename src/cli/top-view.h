/* top-view.h: what `berth top` knows and what its user chose, apart from how it looks: the world, the view, the rows of the list. Pure.
 *
 * The world is one instant of the daemon (if it answers) and of this machine (if it can be read). Rows are programs that Berth knows, one for each
 * device they are on, or all processes of the machine; both carry what is known from either side. The line under the cursor stays with its
 * process while the order around it changes.
 */
#pragma once

#include "base/history.h"
#include "bpf/probes.h"
#include "cli/snapshot.h"
#include "machine/machine.h"

#define TOP_NONE SIZE_MAX

enum top_sort {
        TOP_BY_DEVICE, TOP_BY_MEMORY, TOP_BY_WAIT, TOP_BY_MOVED, TOP_BY_PID, TOP_BY_CPU, TOP_BY_RESIDENT, TOP_BY_FILES, TOP_BY_LAUNCHES, TOP_BY_NAME, TOP_SORT_N
};
enum top_list { TOP_PROGRAMS, TOP_PROCESSES };
enum top_mode { TOP_WATCH, TOP_HELP, TOP_FILTER, TOP_DETAIL, TOP_SIGNAL, TOP_NICE, TOP_CONFIRM };

/* A process that something may be done to: only as long as its start is the same. */
struct top_target {
        uint32_t pid, device; /* pid 0: nobody */
        uint64_t start_ticks; /* MACHINE_UNKNOWN: not known, then nothing is done to it */
        int nice;
        char name[72];
};

struct top_world {
        const struct snapshot *now, *before; /* NULL: no daemon; one look only */
        const struct machine_look *look;     /* NULL: /proc can't be read */
        const struct machine_rates *rates;
        const struct machine_processes *processes, *processes_before;
        const struct machine_device *devices, *devices_before; /* without a daemon's help, the same number of both */
        size_t device_count;
        uint64_t hertz, page;
        const struct history_set *history;
        uint64_t history_ns;
        const struct probes_snapshot *probes; /* NULL: probes_why says why */
        const char *probes_why;
        const char *command; /* line of the target, while its details are shown */
        struct machine_process_status status; /* of it; uid UINT32_MAX: unknown */
};

struct top_view {
        enum top_sort sort;
        enum top_list list;
        enum top_mode mode;
        bool tree, processors, plain, unicode; /* plain: no plots */
        unsigned int chosen, first;            /* line under the cursor and first line shown */
        unsigned int list_line, list_lines;    /* where the list's rows were in the last picture */
        bool moved;                            /* by a key since the last picture */
        struct top_target under, target;       /* under the cursor in the last picture; what a mode is about */
        unsigned int subject, span;            /* of the plots: 0 the machine, n the nth device; index of top_spans */
        int signal, nice;
        char filter[32];
        const char *trouble; /* shown in place of the key line, or NULL */
        const char *notice;  /* what the last action came to, or NULL */
        const char *clock;   /* "14:03:22", or NULL */
};

/* Series of the process whose details are shown, in the world's history as long as they are: permille of one processor, bytes, per second, bytes per second. */
#define TOP_TARGET_CPU "target.cpu"
#define TOP_TARGET_MEMORY "target.memory"
#define TOP_TARGET_LAUNCHES "target.launches"
#define TOP_TARGET_FILES "target.files"

/* Lengths of the plots, in seconds. */
#define TOP_SPANS 4
extern const uint64_t top_spans[TOP_SPANS];

struct top_row {
        uint32_t pid, uid, depth;
        size_t client;                         /* in the snapshot, or TOP_NONE */
        const struct machine_process *process; /* or NULL */
        const char *name;
        double cpu_permille;                   /* of one processor; negative: unavailable. So are these: */
        double read_bytes, written_bytes, launches, moved_bytes;
        uint64_t resident_bytes, device_bytes; /* or MACHINE_UNKNOWN */
        uint64_t key;
};

/* The rows of the view's list, in its order. 0 or -ENOMEM; free *ret. */
must_check int top_rows(const struct top_world *w, const struct top_view *v, struct top_row **ret, size_t *ret_count);
const char *top_sort_name(enum top_sort sort);

/* What a key asks of the program around. */
enum top_act { TOP_GO_ON, TOP_LEAVE, TOP_NOW, TOP_SLOWER, TOP_FASTER, TOP_DO_SIGNAL, TOP_DO_NICE };
/* Keys beyond characters. */
enum top_key {
        TOP_KEY_UP = 0x1000, TOP_KEY_DOWN, TOP_KEY_PAGE_UP, TOP_KEY_PAGE_DOWN, TOP_KEY_HOME, TOP_KEY_END, TOP_KEY_ENTER, TOP_KEY_ESCAPE, TOP_KEY_BACK, TOP_KEY_TAB,
        TOP_KEY_SIGNAL, TOP_KEY_NICE
};
enum top_act top_key(struct top_view *v, int key);
/* A click into this line of the last picture. */
void top_click(struct top_view *v, unsigned int line);
const char *top_signal_name(int number);
