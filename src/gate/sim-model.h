/* sim-model.h: the small world that sim-model.c explores and sim-model-client.c gives its clients. */
#pragma once

#include "gate/gate-internal.h"

enum { CLIENTS = 4, DEVICES = 2, QUEUE = 12, STEPS_FAIR = 3000, DEPTH = 4000 };

struct letter {
        uint8_t kind, a, b, c, d;
};
enum { MEMORY, WANT, GIVEN_WAY, EVICTED, BROUGHT_IN };

struct actor {
        uint8_t lives, running, closing, evicting, bringing, wants_open;
        uint8_t grant, movable, resident, backed, desire, evict_left;
        uint8_t wants_left, grows_left, frees_left, fails_left;
        uint8_t to_n, from_n;
        struct letter to[QUEUE], from[QUEUE];
};

struct world {
        struct gate *gate;
        struct actor actors[CLIENTS];
        uint64_t now;
        uint8_t deaths_left, arena;
};

struct setup {
        const char *name;
        uint8_t clients, units, arena, sizes[CLIENTS], priorities[CLIENTS];
        uint8_t wants, grows, frees, deaths, fails;
        bool job, large; /* large: only with --all */
        bool storage;    /* client 0 only holds bytes */
        const char *on;  /* two devices: for each client the process it belongs to and the device, "PAPBQA": P on both, Q on the first. NULL: all on one */
};

enum { HEAR, REACH, GIVE, GIVE_WANTING, EVICT_STEP, EVICT_FAIL, BRING_STEP, BRING_FAIL, START, GROW, FREE, DIE, DEEDS };

extern const struct setup *setup; /* the world explored now */

static inline void push(struct letter *queue, uint8_t *n, struct letter letter)
{
        if (*n == QUEUE)
                abort();
        queue[(*n)++] = letter;
}

void model_fail(const struct world *w, const char *what, const char *more);
void model_collect(struct world *w); /* fetches the actions, checks all invariants */

/* sim-model-client.c */
bool model_enabled(const struct world *w, uint32_t client, uint32_t deed);
void model_perform(struct world *w, uint32_t client, uint32_t deed);
