/* pool.c: memory that pools and graphs keep; see pool.h. Source: CUDA driver API 13.0, cuMemPoolTrimTo, cuDeviceGraphMemTrim. */
#include "cuda/pool.h"

#include "cuda/memory.h"
#include "cuda/ordered.h"

#include <stdlib.h>

enum { POOL_THRESHOLD = 4, POOL_RESERVED, POOL_RESERVED_MOST, POOL_IN_USE, POOL_USED_MOST }; /* CUmemPool_attribute: …_MEM_CURRENT, …_MEM_HIGH */
enum { GRAPH_RESERVED = 2 };                 /* CUgraphMem_attribute: …_MEM_CURRENT */

struct made {
        CUmemoryPool pool;
        struct device *device;
        bool ours;
        uint64_t used, used_most, reserved_most, threshold;
};

static struct made *made;
static size_t made_n, made_size;

bool pool_made(struct device *d, CUmemoryPool pool, bool ours)
{
        if (made_n == made_size) {
                size_t size = made_size ? made_size * 2 : 16;
                struct made *grown = realloc(made, size * sizeof *grown);

                if (!grown)
                        return false;
                made = grown;
                made_size = size;
        }
        made[made_n++] = (struct made){.pool = pool, .device = d, .ours = ours};
        return true;
}

void pool_gone(CUmemoryPool pool)
{
        pool_threshold(pool, 0);
        for (size_t i = 0; i < made_n; i++)
                if (made[i].pool == pool)
                        made[i--] = made[--made_n];
}

static struct made *find(CUmemoryPool pool)
{
        for (size_t i = 0; i < made_n; i++)
                if (made[i].pool == pool)
                        return &made[i];
        return NULL;
}

CUmemoryPool pool_ours(struct device *d, CUmemoryPool pool)
{
        uint64_t threshold = 0;
        CUmemoryPool first;
        struct made *m;

        if (!pool && (!real.cuDeviceGetMemPool || real.cuDeviceGetMemPool(&pool, d->handle) != CUDA_SUCCESS))
                return NULL;
        m = find(pool);
        if (!m && real.cuDeviceGetDefaultMemPool && real.cuDeviceGetDefaultMemPool(&first, d->handle) == CUDA_SUCCESS && first == pool && pool_made(d, pool, true)) {
                if (real.cuMemPoolGetAttribute(pool, POOL_THRESHOLD, &threshold) == CUDA_SUCCESS)
                        pool_threshold(pool, threshold);
                m = find(pool);
        }
        return m && m->ours && m->device == d ? pool : NULL;
}

static uint64_t reserved(const struct made *m)
{
        return m->used + ordered_pending(m->device, m->pool);
}

void pool_lent(CUmemoryPool pool, uint64_t bytes)
{
        struct made *m = find(pool);
        uint64_t now;

        if (!m)
                return;
        m->used += bytes;
        now = reserved(m);
        m->used_most = m->used > m->used_most ? m->used : m->used_most;
        m->reserved_most = now > m->reserved_most ? now : m->reserved_most;
}

void pool_returned(CUmemoryPool pool, uint64_t bytes)
{
        struct made *m = find(pool);

        if (m)
                m->used -= bytes;
}

bool pool_figure(CUmemoryPool pool, int attribute, uint64_t *ret)
{
        const struct made *m = find(pool);

        if (!m || !m->ours || attribute < POOL_RESERVED || attribute > POOL_USED_MOST)
                return false;
        *ret = attribute == POOL_RESERVED ? reserved(m) : attribute == POOL_RESERVED_MOST ? m->reserved_most : attribute == POOL_IN_USE ? m->used : m->used_most;
        return true;
}

void pool_figure_anew(CUmemoryPool pool, int attribute)
{
        struct made *m = find(pool);

        if (m && attribute == POOL_RESERVED_MOST)
                m->reserved_most = reserved(m);
        else if (m && attribute == POOL_USED_MOST)
                m->used_most = m->used;
}

void pool_threshold(CUmemoryPool pool, uint64_t bytes)
{
        struct made *m = find(pool);
        uint64_t most = 0;

        if (!m)
                return;
        m->threshold = bytes;
        for (size_t i = 0; i < made_n; i++)
                if (made[i].ours && made[i].device == m->device && made[i].threshold > most)
                        most = made[i].threshold;
        m->device->pool_keep = most;
}

struct device *pool_device(CUmemoryPool pool)
{
        const struct made *m = find(pool);

        return m && m->ours ? m->device : NULL;
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
                if (made[i].device == d && made[i].pool != first)
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
