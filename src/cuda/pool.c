/* pool.c: memory that pools and graphs keep; see pool.h. Source: CUDA driver API 13.0, cuMemPoolTrimTo, cuDeviceGraphMemTrim. */
#include "cuda/pool.h"

#include "cuda/memory.h"

#include <stdlib.h>

enum { POOL_RESERVED = 5, POOL_IN_USE = 7 }; /* CUmemPool_attribute: …_MEM_CURRENT */
enum { GRAPH_RESERVED = 2 };                 /* CUgraphMem_attribute: …_MEM_CURRENT */

struct made {
        CUmemoryPool pool;
        struct device *device;
};

static struct made *made;
static size_t made_n, made_size;

bool pool_made(struct device *d, CUmemoryPool pool)
{
        if (made_n == made_size) {
                size_t size = made_size ? made_size * 2 : 16;
                struct made *grown = realloc(made, size * sizeof *grown);

                if (!grown)
                        return false;
                made = grown;
                made_size = size;
        }
        made[made_n++] = (struct made){pool, d};
        return true;
}

void pool_gone(CUmemoryPool pool)
{
        for (size_t i = 0; i < made_n; i++)
                if (made[i].pool == pool)
                        made[i--] = made[--made_n];
}

static uint64_t unused(CUmemoryPool pool, uint64_t *ret_in_use)
{
        uint64_t reserved = 0, in_use = 0;

        if (real.cuMemPoolGetAttribute(pool, POOL_RESERVED, &reserved) != CUDA_SUCCESS ||
            real.cuMemPoolGetAttribute(pool, POOL_IN_USE, &in_use) != CUDA_SUCCESS)
                reserved = in_use = 0;
        *ret_in_use = in_use;
        return reserved > in_use ? reserved - in_use : 0;
}

/* Down to `bytes` unused, from what is left of that. */
static uint64_t trim(CUmemoryPool pool, uint64_t bytes)
{
        uint64_t in_use, kept = unused(pool, &in_use);

        if (kept > bytes && real.cuMemPoolTrimTo(pool, in_use + bytes) == CUDA_SUCCESS)
                kept = unused(pool, &in_use);
        return kept;
}

static uint64_t trim_all(struct device *d, uint64_t bytes)
{
        CUmemoryPool first = NULL;
        uint64_t kept = 0;

        if (!real.cuMemPoolTrimTo || !real.cuMemPoolGetAttribute)
                return 0;
        if (real.cuDeviceGetDefaultMemPool && real.cuDeviceGetDefaultMemPool(&first, d->handle) == CUDA_SUCCESS)
                kept = trim(first, bytes);
        for (size_t i = 0; i < made_n; i++)
                if (made[i].device == d)
                        kept += trim(made[i].pool, bytes > kept ? bytes - kept : 0);
        return kept;
}

void pool_limit(struct device *d, uint64_t bytes)
{
        if (d->pooled)
                (void)trim_all(d, bytes);
}

void pool_settle(struct device *d)
{
        uint64_t rest = d->pooled ? trim_all(d, 0) : 0, graphs = 0, spare;

        if (real.cuDeviceGraphMemTrim && real.cuDeviceGetGraphMemAttribute && real.cuDeviceGraphMemTrim(d->handle) == CUDA_SUCCESS &&
            real.cuDeviceGetGraphMemAttribute(d->handle, GRAPH_RESERVED, &graphs) != CUDA_SUCCESS)
                graphs = 0;
        d->pinned -= d->pool_rest;
        spare = device_spare(d);
        d->pool_rest = rest + graphs < spare ? rest + graphs : spare;
        d->pinned += d->pool_rest;
        memory_note(d);
}

void pool_forked(void)
{
        made_n = 0;
}
