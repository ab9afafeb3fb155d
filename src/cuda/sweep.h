/* sweep.h: takes units off the device behind their copies, in threads of their own.
 *
 * Where copies take 0.2 ms each, the thread that starts them has no time to unmap and free what has left: on an H200 that takes as long as the
 * copy to a neighbour, more while others run. So flights to a shelf are given to the sweepers as soon as they are started. They wait for each
 * copy, unmap as many neighbours in address as have landed in one call, and give their memory back to the driver. Whoever
 * lands the flight learns whether the unit's memory is gone, and keeps the books. Books held.
 */
#pragma once

#include "cuda/state.h"

/* The flight's copy has been started; units of one group, when adjacent, are unmapped together. False: there is no thread; the flight is as any other. */
bool sweep_add(struct flight *flight, CUdeviceptr group);
/* Waits until a flight that was added is through; its copy's result. ret_gone: the unit's memory was given back. */
CUresult sweep_wait(struct flight *flight, bool *ret_gone);
/* Takes back a flight that was added, unless the sweeper is at it; then waits for that. True: taken back, the flight is as any other. */
bool sweep_cancel(struct flight *flight);
/* In a forked child: there is no thread any more. */
void sweep_forked(void);
