/* keep.h: device memory that a pool keeps after it was freed: nobody can use it, and it is not free. */
#pragma once

#include "fake.h"

bool keep_bytes(CUmemoryPool pool, int device, uint64_t bytes);
/* Gives one of the pool's pieces back; its size, 0: there is none. */
uint64_t keep_drop(CUmemoryPool pool);
