/* sim-world.h: a made-up machine whose models don't all fit its device, under requests that come by chance, served by generate.h or first come, first served. All of it
 * is simulated: what it gives are ratios between two orders of the same requests, not times of a machine. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define WORLD_REQUESTS 2000
#define WORLD_MODELS 8

struct world_settings {
        uint32_t models, requests, parallel, accounts;
        uint64_t room, memory;          /* bytes of the device; of each model */
        uint64_t switch_ms;             /* one model out and another in */
        double rate;                    /* requests a second, of all models together (Poisson) */
        uint64_t first_ms, token_ms;    /* of an engine alone: prompt to first token; between tokens */
        double tokens;                  /* in the mean (exponential) */
        uint64_t seed;
        bool first_come;                /* first come, first served, switching for whoever is next */
};

struct world_result {
        double mean_ms, p50_ms, p95_ms, max_ms;   /* time to first token */
        double longest_wait_ms;                   /* until an engine was given it */
        uint32_t refused, switches;
        double end_s;
};

/* 0, or the number of a broken invariant. */
int world_run(const struct world_settings *settings, struct world_result *ret_result, char text[160]);
uint64_t world_random(uint64_t *state);
