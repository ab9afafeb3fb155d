/* defer.h: frees put off because a capture is open: cuMemFree waits for the device, which would break the capture. Books held for all but defer_run(). */
#pragma once

#include "cuda/state.h"

/* False: no memory for the note. */
bool defer_free(CUdeviceptr address);
/* Frees what was put off, once no capture is open. */
void defer_run(void);
void defer_forked(void);
