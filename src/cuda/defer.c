/* defer.c: frees put off because a capture was open; see defer.h. */
#include "cuda/defer.h"

#include "cuda/lane.h"
#include "cuda/memory.h"

#include <stdlib.h>

static CUdeviceptr *deferred;
static size_t deferred_n, deferred_size;

bool defer_free(CUdeviceptr address)
{
        if (deferred_n == deferred_size) {
                size_t size = deferred_size ? deferred_size * 2 : 64;
                CUdeviceptr *grown = realloc(deferred, size * sizeof *grown);

                if (!grown)
                        return false;
                deferred = grown;
                deferred_size = size;
        }
        deferred[deferred_n++] = address;
        return true;
}

void defer_run(void)
{
        for (;;) {
                CUdeviceptr address;
                CUcontext context = NULL, popped;

                books_lock();
                if (!deferred_n || lane_captures()) {
                        books_unlock();
                        return;
                }
                address = deferred[--deferred_n];
                for (unsigned int i = 0; i < berth.devices_n && !context; i++)
                        context = berth.devices[i].contexts_n ? berth.devices[i].contexts[0] : NULL;
                books_unlock();
                if (memory_free(address) == CUDA_ERROR_NOT_FOUND && real.cuCtxPushCurrent_v2(context) == CUDA_SUCCESS) {
                        real.cuMemFree_v2(address);
                        real.cuCtxPopCurrent_v2(&popped);
                }
        }
}

void defer_forked(void)
{
        deferred_n = 0;
}
