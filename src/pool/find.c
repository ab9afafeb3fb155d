/* find.c: tasks by id. Linear hashing: the table grows by one bucket for each task above its size, so that no single submission pays for
 * moving ten million. */
#include "pool/internal.h"

#define CHUNK 16384

static uint64_t hash(const struct core *core, const struct id *id)
{
        return core_mix(id_half(id, 1) ^ core_mix(id_half(id, 0) ^ (uint64_t)(uintptr_t)core));
}

/* Of `buckets`, the one for this hash: those not split yet serve two. */
static uint32_t bucket(const struct core *core, uint64_t h)
{
        uint32_t half = 1U << (31 - __builtin_clz(core->buckets)), i = (uint32_t)h & (half * 2 - 1);

        return i < core->buckets ? i : i - half;
}

static uint32_t *head(const struct core *core, uint32_t i)
{
        return &core->bucket_chunks[i / CHUNK][i % CHUNK];
}

static int grow(struct core *core)
{
        uint32_t fresh = core->buckets, half, *link, moved = NONE;

        if (fresh == core->bucket_chunks_n * CHUNK) {
                uint32_t **chunks = realloc(core->bucket_chunks, (core->bucket_chunks_n + 1) * sizeof(*chunks));

                if (!chunks)
                        return -ENOMEM;
                core->bucket_chunks = chunks;
                chunks[core->bucket_chunks_n] = malloc(CHUNK * sizeof(**chunks));
                if (!chunks[core->bucket_chunks_n])
                        return -ENOMEM;
                core->bucket_chunks_n++;
        }
        core->buckets++;
        *head(core, fresh) = NONE;
        if (!fresh)
                return 0;
        half = 1U << (31 - __builtin_clz(fresh));
        for (link = head(core, fresh - half); *link != NONE;) {
                struct task *t = TASK(core, *link);
                uint32_t number = *link;

                if (bucket(core, hash(core, &t->id)) != fresh) {
                        link = &t->hash_next;
                        continue;
                }
                *link = t->hash_next;
                t->hash_next = moved;
                moved = number;
        }
        *head(core, fresh) = moved;
        return 0;
}

uint32_t core_find(const struct core *core, const struct id *id)
{
        uint32_t i = core->buckets ? *head(core, bucket(core, hash(core, id))) : NONE;

        while (i != NONE && !id_equal(&TASK(core, i)->id, id))
                i = TASK(core, i)->hash_next;
        return i;
}

int find_add(struct core *core, uint32_t task)
{
        uint32_t *link;

        if (core->buckets < core->tasks.live && grow(core))
                return -ENOMEM;
        link = head(core, bucket(core, hash(core, &TASK(core, task)->id)));
        TASK(core, task)->hash_next = *link;
        *link = task;
        return 0;
}

void find_remove(struct core *core, uint32_t task)
{
        uint32_t *link = head(core, bucket(core, hash(core, &TASK(core, task)->id)));

        while (*link != task)
                link = &TASK(core, *link)->hash_next;
        *link = TASK(core, task)->hash_next;
}
