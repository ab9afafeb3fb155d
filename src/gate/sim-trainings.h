/* sim-trainings.h: the world of gate-trainings: sim-trainings.c runs it, sim-training-program.c is what its programs do. */
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "gate/gate.h"

#include <inttypes.h>
#include <stdio.h>

enum { PROGRAMS = 4, EVENTS = 256 };

struct role {
        double start_s, grow_s, work_s, drain_s;
        double burst_s, pause_s; /* not 0: works so long, then wants nothing for so long */
        uint32_t permille, chunk_mib, priority;
        bool declares;
};

struct program {
        const struct role *role;
        uint64_t size, grow_ns, work_ns, drain_ns, did_ns, burst_at, next_alloc_at; /* did: own progress */
        uint64_t grant, movable, resident, evict_left, moved, move_since, wait_since, waited_max, run_since, turns, shortest_turn;
        uint32_t number, ticket;
        bool here, open, closing, evicting, bringing, moving, asks, wants, pausing, done;
};

enum happening { START, HEARS, DRAINED, LANDED_OUT, LANDED_IN, WAKES, SAMPLE };
struct event {
        uint64_t at, order, bytes;
        uint32_t program, happening;
        struct gate_action action;
};

struct trainings {
        struct gate *gate;
        struct program programs[PROGRAMS];
        struct event events[EVENTS];
        uint32_t events_n, programs_n;
        uint64_t now, order, out_free_at, in_free_at, idle_ns, moved, switches, deadlocks, max_wait_ns;
        bool contended, trace;
        int failed;
};

extern struct trainings w;

void training_failed(const char *what);
void training_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
void training_later(uint64_t at, uint32_t program, enum happening happening, uint64_t bytes, const struct gate_action *action);

/* sim-training-program.c */
bool training_works(const struct program *p);
uint64_t training_milestone(const struct program *p); /* own progress at which something happens next */
void training_progress(struct program *p);
void training_return_spare(struct program *p);
void training_happen(const struct event *e);
