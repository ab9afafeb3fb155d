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
        bool lives, wants_open, running, closing, evicting, bringing, admitted, idle, unreported, storage, leads, in_turn;
        uint32_t device, priority, flaw, ticket, generation;
        uint64_t job, need, limit, grant, movable, pinned, resident, backed, growth;
        uint64_t evict_left, moved, started, given_at;
        uint32_t program;            /* of several devices, sim-span.c; 0: none */
        uint64_t aim, chunk, rounds; /* what such a one fills its device with, in which steps; what it works before the next change */
        uint64_t wait_since, wait_bound;
        uint64_t served, began, others_then, pings; /* pings: times in a row that it was asked out and nobody else was served, or came to wait for the device,
                                                     * since the last; one that was asked out as idle begins anew */
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
        uint64_t began[MAX_DEVICES]; /* waits, by asking */
        uint64_t slowest, slowness; /* moves and drains take so many times what they took at first: others came to use the machine */
        uint32_t programs, span_programs, overcommit; /* of several devices: so many so far, so many at once, so many percent of room together */
        bool kind, announces, ending, verbose, trace_all, spans, steady; /* kind: only well-behaved clients */
        bool links_told; /* the gate knows what each link carries */
        bool all_jobs;                         /* every client is in a job, mostly of its own: as on a node with several devices */
        uint64_t steps, refused, served, moved, dead_ns, dead_run_ns, max_over_permille;
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
void sim_back(struct actor *a, uint64_t bytes); /* the host memory behind its movable bytes; it keeps what it has … */
void sim_unback(struct actor *a);               /* … until it owns less */
void sim_result(const struct actor *a, const char *what, int r);
void sim_report(uint32_t client, uint64_t returned);
void sim_want(uint32_t client, uint64_t need);
void sim_die(uint32_t client);
void sim_act(const struct event *e);
void sim_hear_bounds(const struct actor *joined); /* of the waits of its job, and of all when devices depend on each other by it */
void sim_carry_out(void); /* hands the actions to the clients */

/* sim-life.c */
void sim_join(void);
void sim_live(uint32_t client);

/* sim-span.c */
void sim_span_join(void);
void sim_span_live(uint32_t lead);
bool sim_span_asks(uint32_t client);    /* its program waits for memory or to run, somewhere */
bool sim_span_dead(void);               /* nobody can go on before a timer fires */
bool sim_span_blocked(uint32_t client); /* some device does not let its program run, or it waits to grow on one */
