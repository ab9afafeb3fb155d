/* own-ipc.h: what other hooks ask about memory that was opened by a ticket of another program's. */
#pragma once

#include "cuda/real.h"

/* The allocation there, as its owner made it; false: none. */
bool own_ipc_range(CUdeviceptr address, CUdeviceptr *ret_base, uint64_t *ret_bytes);
void own_ipc_forked(void);
