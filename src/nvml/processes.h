/* processes.h: lists of processes in all their layouts, cut down to the program's own; see processes.c. Pure but for own_process(). */
#pragma once

#include "nvml/ask.h"

/* Where an entry has what; all have a 32-bit pid and, but for samples, 64 bits of bytes used. */
struct processes_layout {
        size_t bytes, pid, used; /* used 0: no such field */
        size_t instances;        /* of two 32-bit numbers that are ~0 without MIG, 0: none */
};

/* Keeps own entries, in their order, with what Berth knows of their memory; view NULL: Berth knows nothing of the device. How many are left. */
unsigned int processes_filter(const struct processes_layout *layout, void *entries, unsigned int n, const struct ask_view *view);
/* Adds own processes of the view that are not there; room for n + view->clients_n entries. How many there are then. */
unsigned int processes_complete(const struct processes_layout *layout, void *entries, unsigned int n, const struct ask_view *view);
