/* cost.h: what probes add to a call, measured on this machine by calling. */
#pragma once

#include <stdint.h>

struct cost {
        uint64_t file_call_ps, other_call_ps; /* least time of a read of one byte of a file, and of a call that has nothing to do with files */
};

/* Some ten milliseconds. 0 or -errno. */
int cost_measure(struct cost *ret);
