/* trim.h: giving back what is not needed: when the daemon asks, when the program itself says so, and at a soft limit.
 *
 * Unused grant and kept blocks go at once. The program's own caches are its own: it is told through a callback that it registered (binding.c), in
 * a thread of its own with no lock of ours held, or its next large allocation is answered out-of-memory once (soft.h).
 */
#pragma once

#include "cuda/state.h"

/* The daemon asks. Books held. */
void trim_asked(struct device *d, bool soft);
/* Is this allocation of mapped bytes to be answered out-of-memory? Books held; the calling thread's own request. */
bool trim_refuses(struct device *d, uint64_t mapped);
/* In a forked child: no thread, no callback. */
void trim_forked(void);
