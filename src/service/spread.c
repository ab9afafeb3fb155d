/* spread.c: fair parts of the queues; see spread.h. */
#include "service/spread.h"

#include <string.h>

static uint64_t hash_of(const struct store_survey *survey)
{
        uint64_t hash = UINT64_C(14695981039346656037);

        for (size_t i = 0; i < survey->server_count; i++)
                for (const char *c = survey->servers[i].address; *c || c == survey->servers[i].address; c++)
                        hash = (hash ^ (uint8_t)*c ^ (c == survey->servers[i].address ? 256 : 0)) * UINT64_C(1099511628211);
        return hash;
}

static uint32_t part_of(size_t rank, size_t count)
{
        return (uint32_t)(STORE_QUEUES / count + (rank < STORE_QUEUES % count));
}

static uint32_t held_by(const struct store_survey *survey, const char *address)
{
        uint32_t count = 0;

        for (uint32_t q = 0; q < STORE_QUEUES; q++)
                count += survey->queues[q].claimed && !strcmp(survey->queues[q].owner, address);
        return count;
}

/* Some other server has fewer than its part. */
static bool somebody_wants(const struct store_survey *survey, const char *self, size_t count)
{
        for (size_t i = 0; i < survey->server_count; i++)
                if (strcmp(survey->servers[i].address, self) && held_by(survey, survey->servers[i].address) < part_of(i, count))
                        return true;
        return false;
}

static void choose_claims(struct spread *s, const struct store_survey *survey, uint32_t ours, uint64_t now_ms, struct spread_decision *d)
{
        uint32_t have = (uint32_t)__builtin_popcount(ours);

        for (uint32_t q = 0; q < STORE_QUEUES; q++) {
                bool orphan;

                if (survey->queues[q].claimed || ours & 1u << q) {
                        s->free_ms[q] = 0;
                        continue;
                }
                if (!s->free_ms[q])
                        s->free_ms[q] = now_ms;
                orphan = now_ms - s->free_ms[q] >= SPREAD_ORPHAN_MS;
                if (have >= d->part && !orphan)
                        continue;
                if (have >= d->part)
                        s->keep_until_ms = now_ms + SPREAD_KEEP_MS;
                d->claim |= 1u << q;
                have++;
        }
}

static void choose_releases(uint32_t ours, const uint64_t tasks[STORE_QUEUES], struct spread_decision *d)
{
        uint32_t have = (uint32_t)__builtin_popcount(ours), least = STORE_QUEUES;

        for (uint32_t q = STORE_QUEUES; q-- && have > d->part;)
                if (ours & 1u << q && !tasks[q]) {
                        d->release |= 1u << q;
                        have--;
                }
        if (d->release || have <= d->part)
                return;
        for (uint32_t q = 0; q < STORE_QUEUES; q++)
                if (ours & 1u << q && (least == STORE_QUEUES || tasks[q] < tasks[least]))
                        least = q;
        d->release = 1u << least;
}

void spread_decide(struct spread *s, const struct store_survey *survey, const char *self, uint32_t ours, const uint64_t tasks[STORE_QUEUES], uint64_t now_ms,
                   struct spread_decision *d)
{
        size_t count = survey->server_count, rank = count;
        uint64_t servers = hash_of(survey);

        *d = (struct spread_decision){0};
        for (size_t i = 0; i < survey->server_count; i++)
                if (*self && !strcmp(survey->servers[i].address, self))
                        rank = i;
        /* One without an address is the last of all. */
        count += rank == count;
        d->part = part_of(rank, count);
        if (servers != s->servers || !s->settled_ms) {
                s->servers = servers;
                s->settled_ms = now_ms;
        }
        choose_claims(s, survey, ours, now_ms, d);
        if ((uint32_t)__builtin_popcount(ours) > d->part && now_ms - s->settled_ms >= SPREAD_SETTLED_MS && now_ms >= s->keep_until_ms &&
            somebody_wants(survey, self, count))
                choose_releases(ours, tasks, d);
}
