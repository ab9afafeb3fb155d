/* gate.h: who is resident in a device's memory and who may run. Pure: no clock, no I/O, no threads, no randomness.
 *
 * The caller tells events with the time they happened (nanoseconds, never decreasing) and then carries out the actions that
 * gate_next_action() hands out, in order, until there is none. The whole state is one block of memory without pointers into itself, so that
 * it can be copied, compared and explored (gate_clone, gate_bytes).
 *
 * The books. Each device has room = total × (100 − reserve) / 100 − foreign, or its ceiling under `limits = classes` if that is smaller.
 * Each client holds a grant (bytes it may keep on the device) and, once admitted, a part (what its context costs). Grants only change by
 * differences: GATE_GO, GATE_AVAILABLE and GATE_BRING_IN add `bytes`; gate_memory, gate_evicted and gate_brought_in return some. What all that needs
 * to be resident fits stays and runs together, and nothing moves; only when a waiter does not fit are others asked to give
 * way, in the order idle, lower priority, longest running, and only as many bytes leave as are needed.
 *
 * Need. A client comes in with the largest of what it owns, what it asks for, what it declared and what it owned in its turn before. What of that it
 * returns unused is kept for it, charged to the device but not in its grant, until it owned all of it once, gives way, or its slice ends while
 * others wait. Who runs and grows takes from those that do not run before anybody is asked to give way, and past a head that waits for a slice.
 *
 *   WAITING ──grant complete, all resident──▶ RUNNING ──gate_give_way──▶ GIVING_WAY ──given_way──▶ WAITING (holds bytes still)
 *      │  ▲                                      ▲                                                    │
 *      │  └── brought_in failed ─ COMING_IN ─────┘                              GOING_OUT ◀──evict────┘
 *      └────grant > 0 and something is out─▶                                        └──evicted(done)──▶ WAITING
 *
 * Jobs: clients of the same job id (not 0) are leased together, over all their devices: they come in together (none runs before all
 * are in, a job is admitted on all its devices at once) and give way together. A client without a job is a job of its own.
 *
 * Storage: a client that never runs and holds bytes of a program that runs on another device (the swap tier on a neighbour). It has no part: what its
 * context costs it asks for like the rest and reports as pinned. Its gate_want is answered in the same step, by GATE_AVAILABLE with as much as is
 * free now (at least 1 byte, at most what was asked for) or by GATE_DENY (−E_UNAVAILABLE, −E_LIMIT; bytes: what it has). It waits for nobody and
 * makes nobody give way. While anyone lacks memory on the device it gets nothing, and what is lacking leaves storage first, at once: GATE_EVICT,
 * answered by gate_evicted as from any other. Then gate_memory tells what it holds: movable = resident, backed as far as there is a
 * place in the host arena; what gate_evicted took off resident is not its any more. It is WAITING or GOING_OUT, nothing else.
 *
 * Invariants (checked by gate_check, after every step of the simulation; N names them in docs/architecture.md):
 *   1  Σ (grant + part) of a device ≤ room, unless foreign use grew, a client resumed with more or settings changed; then the sum does not grow
 *      and evictions are under way while anything can be evicted; the last job that runs on the device stays
 *   2  a RUNNING client has grant ≥ movable + pinned, as far as it reported, and nothing of it is out
 *   3  bytes that become free are given to the first waiter that can use them in the same step
 *   4  no cycle of waits: while anyone waits, somebody runs, moves, gives way, is idle with a timer set, or the wait has a stated reason
 *      that only others outside can end (stuck, arena, pinned)
 *   5  every state but WAITING and RUNNING has a deadline, and gate_next_deadline() covers it
 *   6  a RUNNING client is not asked to give way while no one waits for its device, nor in the step that let it in
 *      and storage keeps nothing that one who could be served lacks, it is on its way out in the same step
 *   7  members of a job run together or not at all (a member that joins later excepted, until it is in)
 */
#pragma once

#include "base/scope.h"
#include "wire/wire.h" /* the enums for priorities, states and reasons: one list for books and wire */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GATE_NONE UINT32_MAX
#define GATE_NEVER UINT64_MAX

enum gate_slice_mode { GATE_SLICE_AUTO, GATE_SLICE_FIXED };

struct gate_settings {
        uint32_t reserve_percent;       /* 0 … 90, kept free of grants on every device */
        uint64_t client_part_bytes;     /* charged per admitted client: its context */
        uint32_t slice_mode;            /* enum gate_slice_mode */
        uint64_t slice_fixed_ns;        /* GATE_SLICE_FIXED */
        uint32_t slice_multiplier;      /* AUTO: slice = multiplier × measured switch cost … */
        uint32_t slice_multiplier_batch; /* … or this one where only batch clients compete */
        uint64_t slice_min_ns, slice_max_ns; /* clamp of AUTO */
        uint64_t age_ns;                /* a waiter counts as one class higher per this much waiting */
        uint64_t idle_ns;               /* a running client without activity for this long is idle; its slice protects it no more */
        uint64_t give_way_bound_ns;     /* GIVING_WAY longer than this: the client is stuck (reported, counted as taken, others go on) */
        uint64_t kill_after_ns;         /* stuck for this long with someone waiting for it: GATE_KILL; 0: never */
        uint64_t move_bound_ns;         /* allowance per move, plus … */
        uint64_t move_bytes_per_s;      /* … bytes at this rate: COMING_IN and GOING_OUT longer than both are stuck too */
        bool samples_always;            /* gate_active is called for uncontended devices, too, so who is idle is known when a wait begins */
        uint32_t band_high_percent;     /* 0 … 100 of a device's total, foreign use included: the most that is granted; 0: off */
        bool limits_classes;            /* ceiling by device size: ≥ 24 GiB 80 %, 12-24 GiB 75 %, < 12 GiB 70 % of total */
};

/* The defaults: reserve 10 %, part 512 MiB, AUTO × 5 (25 batch), 2 … 300 s, age 30 s, idle 500 ms, give way 30 s, kill 300 s, move 10 s + 1 GB/s. */
extern const struct gate_settings gate_default_settings;

struct gate_client_spec {
        uint32_t device;
        uint32_t priority;     /* enum wire_priority */
        uint64_t job;          /* 0: none */
        uint64_t process;      /* clients of one process on several devices: the same number, and the same job. It goes on when all of them may. 0: alone */
        uint64_t need_bytes;   /* declared, 0: not */
        uint64_t limit_bytes;  /* the client's own, 0: none; need is never above it */
        bool storage;          /* never runs, only holds bytes; see above. job and need count for nothing */
        /* Resumed after a restart of the daemon: the state it is in. All 0/false for a new client. */
        bool admitted, running;
        uint64_t grant_bytes, movable_bytes, pinned_bytes, resident_bytes, backed_bytes;
};

enum gate_action_kind {
        GATE_GO,        /* open the gate; bytes: added to the grant */
        GATE_AVAILABLE, /* growth of a running client granted; bytes: added to the grant */
        GATE_WAIT,      /* tell the client that it waits (reason, bytes short, position); repeated when reason changes */
        GATE_DENY,      /* refuse the growth: code, bytes = the most it could have */
        GATE_GIVE_WAY,  /* reason: enum wire_give_way_reason */
        GATE_EVICT,     /* bytes: grant to return; also to one that still brings in, when its fill was called off: it stops that first */
        GATE_BRING_IN,  /* bytes: added to the grant; 0: it has enough already and may begin */
        GATE_TRIM,      /* return unused grant: someone waits */
        GATE_CONTENDED, /* device: someone waits for it (bytes 1) or nobody does any more (bytes 0); for the shared pages */
        GATE_REPORT,    /* for the log: code −E_STUCK … with reason */
        GATE_KILL,      /* the client is stuck beyond kill_after_ns: end the process */
};

struct gate_action {
        uint32_t kind;   /* enum gate_action_kind */
        uint32_t client; /* or GATE_NONE for GATE_CONTENDED */
        uint32_t device;
        uint32_t ticket; /* GO, AVAILABLE, WAIT, DENY: of the want answered, 0: none open */
        uint32_t reason; /* enum wire_wait_reason or wire_give_way_reason */
        uint32_t position;
        int32_t code;
        uint64_t bytes;
};

struct gate;

/* A gate for at most so many clients and devices; the numbers of both run from 0. NULL: out of memory. */
struct gate *gate_new(uint32_t max_clients, uint32_t max_devices, const struct gate_settings *settings);
void gate_free(struct gate *gate);
SCOPED_FN(struct gate *, gate_free)
/* A copy with the same state. The first gate_bytes() bytes behind the pointer are the state, for comparing. */
struct gate *gate_clone(const struct gate *gate);
size_t gate_bytes(const struct gate *gate);

/* New settings take effect at once; nothing granted is taken back except by the usual evictions. */
void gate_change_settings(struct gate *gate, uint64_t now, const struct gate_settings *settings);
/* 0, -ENOSPC, -EEXIST. */
must_check int gate_add_device(struct gate *gate, uint32_t device, uint64_t total_bytes);
/* What the device's link to the host carries each way, as far as the caller knows: what a switch is reckoned with until moves were measured. 0: not
 * known. */
void gate_link(struct gate *gate, uint32_t device, uint64_t bytes_per_s);
/* Memory of the device used by programs outside Berth, as sensors tell it. */
void gate_foreign(struct gate *gate, uint64_t now, uint32_t device, uint64_t bytes);
/* Host memory that the arena can still lend, beyond what clients are backed with: bounds what may be evicted. Start: unbounded. */
void gate_arena(struct gate *gate, uint64_t now, uint64_t free_bytes);
/* The most bytes of a client that may be off its device at a time, for it has no places on the host for more. Start: UINT64_MAX. What is off already stays.
 * Counts from the next event on: bounds of several clients change together. */
void gate_places(struct gate *gate, uint64_t now, uint32_t client, uint64_t bytes);

/* A client appears. 0 and its number (reused after gate_gone), -ENOSPC, -E_UNKNOWN_DEVICE, or -E_MESSAGE for a resumed state that contradicts
 * itself. It is WAITING and wants nothing yet (resumed: as spec
 * says; its grant is taken as it is). */
must_check int gate_add_client(struct gate *gate, uint64_t now, const struct gate_client_spec *spec, uint32_t *ret_client);
/* It is gone, in whatever state; everything it held is free. */
void gate_gone(struct gate *gate, uint64_t now, uint32_t client);

/* The client's events. Each returns 0, or -E_MESSAGE when it is out of turn or contradicts the books (state unchanged; the caller counts it and
 * may drop the client). */
must_check int gate_memory(struct gate *gate, uint64_t now, uint32_t client, uint64_t movable, uint64_t pinned,
                           uint64_t resident, uint64_t backed, uint64_t returned);
/* WAITING: wants to run. RUNNING: wants to grow. need: total grant. A second want replaces the first. */
must_check int gate_want(struct gate *gate, uint64_t now, uint32_t client, uint64_t need, uint32_t ticket);
must_check int gate_given_way(struct gate *gate, uint64_t now, uint32_t client, bool wants);
must_check int gate_evicted(struct gate *gate, uint64_t now, uint32_t client, uint64_t resident, uint64_t returned,
                            uint64_t moved, uint64_t elapsed_ns, bool done, int status);
must_check int gate_brought_in(struct gate *gate, uint64_t now, uint32_t client, uint64_t resident, uint64_t returned,
                               uint64_t moved, uint64_t elapsed_ns, bool done, int status);
/* Somebody knows that this client's memory will be wanted before `until`: it comes in as the device has room, without taking any from whoever works or waits
 * (prefetch.c). For clients that are alone in their job and no storage. An announcement replaces the one before; until ≤ now takes it back. */
must_check int gate_prefetch(struct gate *gate, uint64_t now, uint32_t client, uint64_t until);
/* A running client was seen at work (launches or copies since the last look). The caller samples only while gate_contended(). */
void gate_active(struct gate *gate, uint64_t now, uint32_t client);
/* Time passed; call at gate_next_deadline() and whenever convenient. */
void gate_tick(struct gate *gate, uint64_t now);
/* When gate_tick is due next, GATE_NEVER: no timer needed. */
uint64_t gate_next_deadline(const struct gate *gate);

/* The next action, oldest first; false: none left. */
bool gate_next_action(struct gate *gate, struct gate_action *ret_action);

/* For people. */
struct gate_client_view {
        uint32_t device, priority, state /* enum wire_state */, position, reason;
        uint64_t job, grant, part, movable, pinned, resident, backed, need, limit;
        uint64_t waited_ns, wait_ns, wait_bound_ns, ran_ns, slice_left_ns, age_ns, switches;
        uint64_t out_bytes, in_bytes, out_ns, in_ns;
        bool admitted, wants, stuck, storage;
};
struct gate_device_view {
        uint64_t total, room, granted /* parts included */, foreign, out_bytes, in_bytes, out_ns, in_ns;
        uint64_t switches, slice_ns, max_wait_ns, max_wait_bound_ns;
        uint32_t clients, waiting, stuck;
        bool contended;
};
bool gate_view_client(const struct gate *gate, uint64_t now, uint32_t client, struct gate_client_view *ret_view);
bool gate_view_device(const struct gate *gate, uint64_t now, uint32_t device, struct gate_device_view *ret_view);
bool gate_contended(const struct gate *gate, uint32_t device);
/* The most that one client could ever be granted on the device: room less its own part. */
uint64_t gate_room(const struct gate *gate, uint32_t device);

/* A bound on how long this client will wait, were it to want now (or since it began to wait, or its job came to one more device): over everyone who may come before it, their
 * slices, drains and moves, plus the ageing that lifts it to the top class. Assumes no client is stuck, none joins ahead, moves take no more
 * than twice and drains no more than four times what was measured. Until then: twice what gate_link told and four times a second; without
 * gate_link as long as is allowed before a client counts as stuck. */
uint64_t gate_wait_bound(const struct gate *gate, uint64_t now, uint32_t client);

/* Checks the invariants above. 0, or the number of the one broken with a description in message (of size bytes). */
int gate_check(const struct gate *gate, uint64_t now, char *message, size_t size);
