/* slab.c: small allocations inside one granule of device memory; see memory.h.
 *
 * Pages of 512 bytes (what the driver aligns to); a bitmap of taken pages and, for each start, the requested size. First fit from a hint.
 */
#include "cuda/memory.h"

#include <stdlib.h>
#include <string.h>

#define PAGE 512
#define PAGES (GRANULE / PAGE)

struct slab {
        uint32_t used, hint;
        uint64_t taken[PAGES / 64];
        uint32_t bytes[PAGES]; /* requested size of the allocation that starts at this page, 0: none starts here */
};

struct slab *slab_new(void)
{
        return calloc(1, sizeof(struct slab));
}

void slab_free(struct slab *slab)
{
        free(slab);
}

static bool is_taken(const struct slab *slab, uint32_t page)
{
        return slab->taken[page / 64] >> (page % 64) & 1;
}

static void mark(struct slab *slab, uint32_t from, uint32_t n, bool taken)
{
        for (uint32_t i = from; i < from + n; i++) {
                if (taken)
                        slab->taken[i / 64] |= UINT64_C(1) << (i % 64);
                else
                        slab->taken[i / 64] &= ~(UINT64_C(1) << (i % 64));
        }
}

static bool find_run(const struct slab *slab, uint32_t from, uint32_t to, uint32_t n, uint32_t *ret_page)
{
        uint32_t run = 0;

        for (uint32_t i = from; i < to; i++) {
                if (!run && i % 64 == 0 && slab->taken[i / 64] == UINT64_MAX) {
                        i += 63;
                        continue;
                }
                run = is_taken(slab, i) ? 0 : run + 1;
                if (run == n) {
                        *ret_page = i + 1 - n;
                        return true;
                }
        }
        return false;
}

bool slab_take(struct slab *slab, uint64_t bytes, uint64_t *ret_offset)
{
        uint32_t n = (uint32_t)((bytes + PAGE - 1) / PAGE), page;

        if (!n || slab->used + n > PAGES)
                return false;
        if (!find_run(slab, slab->hint, PAGES, n, &page) && !find_run(slab, 0, PAGES, n, &page))
                return false;
        mark(slab, page, n, true);
        slab->bytes[page] = (uint32_t)bytes;
        slab->used += n;
        slab->hint = (page + n) % PAGES;
        *ret_offset = (uint64_t)page * PAGE;
        return true;
}

uint64_t slab_release(struct slab *slab, uint64_t offset)
{
        uint32_t page = (uint32_t)(offset / PAGE), n, bytes;

        if (offset % PAGE || page >= PAGES || !slab->bytes[page])
                return 0;
        bytes = slab->bytes[page];
        n = (bytes + PAGE - 1) / PAGE;
        mark(slab, page, n, false);
        slab->bytes[page] = 0;
        slab->used -= n;
        return bytes;
}

bool slab_containing(const struct slab *slab, uint64_t offset, uint64_t *ret_start, uint64_t *ret_bytes)
{
        if (offset >= GRANULE)
                return false;
        for (uint32_t page = (uint32_t)(offset / PAGE) + 1; page-- > 0;) {
                if (!slab->bytes[page])
                        continue;
                if (offset >= (uint64_t)page * PAGE + slab->bytes[page])
                        return false;
                *ret_start = (uint64_t)page * PAGE;
                *ret_bytes = slab->bytes[page];
                return true;
        }
        return false;
}

bool slab_is_empty(const struct slab *slab)
{
        return !slab->used;
}
