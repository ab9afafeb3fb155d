/* places.c: who gets an engine's next place; see places.h. */
#include "worker/places.h"

#include <errno.h>
#include <string.h>

static void out_of_line(struct places *p, uint32_t server)
{
        for (uint32_t i = 0; i < p->waiting; i++) {
                if (p->line[i] != server)
                        continue;
                p->waiting--;
                memmove(p->line + i, p->line + i + 1, p->waiting - i);
                break;
        }
        p->held_until[server] = 0;
}

static bool in_line(const struct places *p, uint32_t server)
{
        return memchr(p->line, (int)server, p->waiting);
}

static uint32_t expire(struct places *p, uint64_t now_ms)
{
        uint32_t held = 0;

        for (uint32_t server = 0; server < PLACE_SERVERS; server++) {
                if (p->held_until[server] && now_ms >= p->held_until[server])
                        out_of_line(p, server);
                held += p->held_until[server] != 0;
        }
        return held;
}

int places_take(struct places *p, uint64_t now_ms, uint32_t parallel, uint32_t server)
{
        uint32_t held = expire(p, now_ms);

        if (p->running + held - (p->held_until[server] != 0) < parallel) {
                out_of_line(p, server);
                p->running++;
                return 0;
        }
        if (!in_line(p, server))
                p->line[p->waiting++] = (uint8_t)server;
        return -EBUSY;
}

void places_give(struct places *p)
{
        p->running -= p->running != 0;
}

uint32_t places_next(struct places *p, uint64_t now_ms, uint32_t parallel)
{
        uint32_t held = expire(p, now_ms);

        if (p->running + held >= parallel)
                return PLACE_NOBODY;
        for (uint32_t i = 0; i < p->waiting; i++)
                if (!p->held_until[p->line[i]]) {
                        p->held_until[p->line[i]] = now_ms + PLACE_HELD_MS;
                        return p->line[i];
                }
        return PLACE_NOBODY;
}

void places_leave(struct places *p, uint32_t server)
{
        out_of_line(p, server);
}

uint64_t places_due(const struct places *p)
{
        uint64_t due = UINT64_MAX;

        for (uint32_t server = 0; server < PLACE_SERVERS; server++)
                if (p->held_until[server] && p->held_until[server] < due)
                        due = p->held_until[server];
        return due;
}
