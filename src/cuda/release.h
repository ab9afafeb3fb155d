/* release.h: physical memory given back to the driver beside the mover. cuMemRelease takes 40 to 70 us for 64 MiB on an H200, and while copies run to a neighbour over
 * NVLink cuMemUnmap takes as long as the copy of what it unmaps: one after the other they are slower than the link. So a thread of its own, which takes
 * no lock but its own, makes the second of the two calls. What it was given counts as returned when the driver has it (release_done), never before: somebody
 * else is about to ask the driver for it. Books held for all.
 */
#pragma once

#include "cuda/state.h"

/* Gives back memory that is mapped nowhere any more; at once and here, where there is no thread or no place in its list. */
void release_put(struct device *d, CUmemGenericAllocationHandle handle, uint64_t bytes);
/* Bytes of the device given back to the driver since the last call. */
uint64_t release_done(struct device *d);
/* Waits until all that was put is given back. */
void release_wait(void);
/* In the child after a fork: it has no such thread. */
void release_forked(void);
