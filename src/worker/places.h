/* places.h: the places of one engine, which several pool servers give requests to: the worker has the last word. Pure: takes (now, event).
 *
 * A server that asks for a place when none is left is turned away and stands in line, once. As a place becomes free the first in line hears of it and has it for itself for PLACE_HELD_MS;
 * who does not come by then has lost it. So servers that all want more than there is take turns, place by place, and one that wants nothing holds nothing.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stdint.h>

#define PLACE_SERVERS 8
#define PLACE_HELD_MS 500
#define PLACE_NOBODY UINT32_MAX

struct places {
        uint32_t running;
        uint32_t waiting;                  /* in line */
        uint8_t line[PLACE_SERVERS];
        uint64_t held_until[PLACE_SERVERS]; /* by server; 0: it was not told of a place */
};

/* 0: it has a place; -EBUSY: it stands in line. */
must_check int places_take(struct places *p, uint64_t now_ms, uint32_t parallel, uint32_t server);
void places_give(struct places *p);
/* Who is to hear of a free place now; PLACE_NOBODY. Ask until nobody is. */
uint32_t places_next(struct places *p, uint64_t now_ms, uint32_t parallel);
/* The server is not connected any more; what runs for it was given back. */
void places_leave(struct places *p, uint32_t server);
/* When places_next may have somebody without any other event; UINT64_MAX. */
uint64_t places_due(const struct places *p);
