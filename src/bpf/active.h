/* active.h: of a snapshot the processes that did most, and with which files: for lists that have to be short (metrics, records, a worker's report). Pure.
 *
 * Two kinds of processes share the places, so that neither crowds the other out: at most half of them go to those that called the driver, by calls; the rest to
 * those that used files, by bytes and calls. What was done in the last window counts first, what was done since a process was first seen settles the rest.
 */
#pragma once

#include "bpf/probes.h"

#define ACTIVE_FILES 8

struct active_process {
        const struct probes_process *process;
        uint32_t files, more;                        /* more: files that it used and that are not listed here */
        const struct probes_use *file[ACTIVE_FILES]; /* most active first; each has a file */
};

/* At most `most` of them, most active first; those that did nothing are left out. Their number. */
size_t active_list(const struct probes_snapshot *s, struct active_process *list, size_t most);
/* Calls of the driver. */
uint64_t active_calls(const struct probes_gpu *g);
bool active_any_file(const struct probes_sums *s);
