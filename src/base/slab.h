/* slab.h: many things of one size, named by small numbers, at addresses that stay.
 *
 * Memory comes in chunks that are never moved, so growing costs the same for the first thing and for the ten millionth. Numbers given back are used
 * again, the last first. The first four bytes of a thing that was given back hold the next free number; its owner keeps elsewhere which ones live.
 */
#pragma once

#include "base/scope.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SLAB_CHUNK 1024
#define SLAB_NONE UINT32_MAX

struct slab {
        char **chunks;
        size_t bytes;        /* of one thing, at least 4 */
        uint32_t chunks_n, chunks_size, used, free_first, live;
};

static inline void slab_begin(struct slab *slab, size_t bytes)
{
        *slab = (struct slab){.bytes = bytes, .free_first = SLAB_NONE};
}

static inline void slab_done(struct slab *slab)
{
        for (uint32_t i = 0; i < slab->chunks_n; i++)
                free(slab->chunks[i]);
        free(slab->chunks);
        *slab = (struct slab){0};
}

static inline void *slab_at(const struct slab *slab, uint32_t number)
{
        return slab->chunks[number / SLAB_CHUNK] + (size_t)(number % SLAB_CHUNK) * slab->bytes;
}

must_check static inline int slab_grow_(struct slab *slab)
{
        if (slab->chunks_n == slab->chunks_size) {
                uint32_t size = slab->chunks_size ? slab->chunks_size * 2 : 16;
                char **chunks = realloc(slab->chunks, size * sizeof(*chunks));

                if (!chunks)
                        return -ENOMEM;
                slab->chunks = chunks;
                slab->chunks_size = size;
        }
        slab->chunks[slab->chunks_n] = malloc(SLAB_CHUNK * slab->bytes);
        if (!slab->chunks[slab->chunks_n])
                return -ENOMEM;
        slab->chunks_n++;
        return 0;
}

/* A thing of zeros and its number. 0 or -ENOMEM. */
must_check static inline int slab_take(struct slab *slab, uint32_t *ret_number)
{
        uint32_t number = slab->free_first;

        if (number != SLAB_NONE) {
                memcpy(&slab->free_first, slab_at(slab, number), sizeof(number));
        } else {
                if (slab->used == slab->chunks_n * SLAB_CHUNK && slab_grow_(slab))
                        return -ENOMEM;
                number = slab->used++;
        }
        memset(slab_at(slab, number), 0, slab->bytes);
        slab->live++;
        *ret_number = number;
        return 0;
}

/* Zeros it (so that "lives" fields say no), but for its first four bytes. */
static inline void slab_give(struct slab *slab, uint32_t number)
{
        memset(slab_at(slab, number), 0, slab->bytes);
        memcpy(slab_at(slab, number), &slab->free_first, sizeof(number));
        slab->free_first = number;
        slab->live--;
}

static inline uint64_t slab_memory(const struct slab *slab)
{
        return (uint64_t)slab->chunks_n * SLAB_CHUNK * slab->bytes;
}
