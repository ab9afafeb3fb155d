/* sim-core.h: a made-up pool for the simulation: workers that work, fail, vanish, come back and lie; users who submit, cancel and change their minds.
 * The world keeps its own books of what it was told, and compares.
 */
#pragma once

#include "pool/internal.h"

#include <stdio.h>

struct job {
        struct id id;
        uint32_t number;      /* the core's, or NONE when it ended */
        uint32_t state;       /* as told */
        uint32_t worker;      /* actor that was told to run it */
        uint64_t nonce;
        uint64_t account;
};

struct sim_lease {
        uint32_t job;
        uint64_t nonce, ends;
};

enum actor_kind { ACTOR_HONEST, ACTOR_FAILING, ACTOR_FLAPPING, ACTOR_LIAR, ACTOR_KINDS };

struct actor {
        uint32_t kind, number;      /* number: the core's, or NONE: not joined */
        bool silent, drains;
        uint32_t slots, busy, spec;
        struct sim_lease *leases;   /* what it runs, as it believes */
        struct sim_lease last;      /* one it had: liars send it again */
};

struct world {
        struct core *core;
        uint64_t now, random, steps, check_every;
        struct job *jobs;
        uint32_t jobs_n, jobs_size, open, first_open;
        struct actor *actors;
        uint32_t actors_n, accounts, calm;
        struct heap events;         /* item: actor; when it acts next */
        uint64_t leased, done, ended, refused, stale, false_accepts;
        bool failed, trace;
        char message[256];
};

extern struct world w;

uint64_t sim_below(uint64_t n);
bool sim_once_in(uint64_t n);
void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Does what the core says. */
void sim_carry_out(void);
void sim_actor_begin(uint32_t actor);
/* What this actor does now; when it acts next. */
uint64_t sim_actor_step(uint32_t actor);
void sim_actor_lease(uint32_t actor, uint32_t job, uint64_t nonce);
void sim_actor_revoke(uint32_t actor, uint32_t job, uint64_t nonce);
void sim_actor_gone(uint32_t actor);
