/* sim-gate.h: the simulated machine that sim-gate.c runs and sim-client.c fills with programs. */
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "gate/gate.h"

#include <inttypes.h>

enum { MAX_CLIENTS = 24, MAX_DEVICES = 4, MAX_EVENTS = 4096, TRACE_LINES = 60, TRACE_TEXT = 140 };

enum deed { /* what a client does when its time has come */
        DEED_LIVE,
        DEED_WANT,
        DEED_GIVEN_WAY,
        DEED_EVICT_STEP,
        DEED_IN_STEP,
        DEED_TRIM,
        DEED_TELL,
        DEED_N
};

enum flaw { FLAW_NONE, FLAW_NEVER_GIVES_WAY, FLAW_NEVER_REPORTS, FLAW_LIES, FLAW_FAILS_MOVES, FLAW_RUDE, FLAW_N };

struct actor { /* a program, as it sees itself */
        bool lives, wants_open, running, closing, evicting, bringing, admitted, idle, unreported, storage;
        uint32_t device, priority, flaw, ticket, generation;
        uint64_t job, need, limit, grant, movable, pinned, resident, backed, growth;
        uint64_t evict_left, moved, started, given_at;
        uint64_t wait_since, wait_bound, served_then, pings; /* pings: times in a row that it was asked out and nobody else was served since the last */
};

struct event {
        uint64_t at;
        uint32_t client, generation, deed, order;
};

struct world {
        struct gate *gate;
        struct gate_settings settings;
        struct actor actors[MAX_CLIENTS];
        struct event events[MAX_EVENTS];
        uint64_t totals[MAX_DEVICES], rates[MAX_DEVICES], arena_total, arena_used, now, unit, drain_ns, jobs, random;
        uint32_t devices, clients, events_n, order, tickets;
        bool kind, announces, ending, verbose, trace_all; /* kind: only well-behaved clients */
        bool links_told; /* the gate knows what each link carries */
        bool all_jobs;                         /* every client is in a job, mostly of its own: as on a node with several devices */
        uint64_t steps, refused, served, moved, max_over_permille;
        char trace[TRACE_LINES][TRACE_TEXT];
        uint64_t traced;
        int failed;
};

extern struct world w;

/* Chance, from the seed alone. */
uint64_t sim_chance(void);
uint64_t sim_below(uint64_t n);
uint64_t sim_between(uint64_t a, uint64_t b);
bool sim_once_in(uint64_t n);
uint64_t sim_latency(void); /* of a message and whoever handles it */

void sim_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void sim_later(uint64_t delay, uint32_t client, enum deed deed);

/* sim-client.c */
bool sim_honest(const struct actor *a);
uint64_t sim_arena_free(void);
void sim_join(void);
void sim_die(uint32_t client);
void sim_act(const struct event *e);
void sim_carry_out(void); /* hands the actions to the clients */
