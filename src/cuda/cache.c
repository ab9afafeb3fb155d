/* cache.c: freed blocks kept for the next allocation; see cache.h. Oldest first in the list. */
#include "cuda/cache.h"

#include "cuda/memory.h"
#include "cuda/pool.h"

static struct block *unlink_at(struct device *d, struct block **at)
{
        struct block *block = *at;

        *at = block->next_kept;
        block->next_kept = NULL;
        d->kept -= block->mapped;
        return block;
}

bool cache_put(struct device *d, struct block *block)
{
        struct block **end = &d->cache;

        if (!d->running || block->mapped > d->slack || !block->context || (d->page && atomic_load(&d->page->contended)))
                return false;
        for (uint32_t i = 0; i < block->units_n; i++)
                if (!block->units[i].resident)
                        return false;
        cache_limit(d, d->slack - block->mapped);
        while (*end)
                end = &(*end)->next_kept;
        *end = block;
        d->kept += block->mapped;
        return true;
}

struct block *cache_take(struct device *d, uint64_t mapped, CUcontext context)
{
        for (struct block **at = &d->cache; *at; at = &(*at)->next_kept)
                if ((*at)->mapped == mapped && (*at)->context == context)
                        return unlink_at(d, at);
        return NULL;
}

void cache_limit(struct device *d, uint64_t bytes)
{
        while (d->cache && d->kept > bytes)
                memory_dismantle(unlink_at(d, &d->cache));
        pool_limit(d, bytes > d->kept ? bytes - d->kept : 0);
}

void cache_drop_context(struct device *d, CUcontext context)
{
        for (struct block **at = &d->cache; *at;) {
                if ((*at)->context == context)
                        memory_dismantle(unlink_at(d, at));
                else
                        at = &(*at)->next_kept;
        }
}
