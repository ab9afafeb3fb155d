/* core.h: which task runs on which worker, when. Pure: no clock, no I/O, no threads, no randomness but what is handed in.
 *
 * The caller tells events with the time they happened (milliseconds of a clock that never goes back) and then carries out the actions that
 * core_next_action() hands out, in order, until there is none. The core holds every task that has not ended; ended ones leave it (the store keeps
 * them). Nothing here is durable: the caller writes what an action says, and tells a worker or a user only once it is written.
 *
 *   HELD ──all it waits for are done──▶ QUEUED ──lease──▶ LEASED ──result──▶ DONE
 *     │ (dependencies, not before)        ▲ │               │ ├─ fail, lease lost ──▶ BACKOFF ──time──▶ QUEUED (attempts left)
 *     │                                   │ │               │ └─ fail, none left ──▶ FAILED; K different workers blamed it ──▶ DEAD
 *     └────── cancel, deadline ───────────┴─┴───────────────┴──▶ CANCELLED, EXPIRED (a dependency ended badly: CANCELLED with that reason)
 *
 * Order. Bands first (urgent, high, normal, low, idle): a queued task moves up one band per `age_ms` of waiting. Inside a band accounts take turns by
 * virtual token counters (VTC, OSDI'24): the account with the smallest service/weight goes next; a lease charges the predicted cost at once, its
 * end corrects it to the measured; an account that was idle comes back at what those whom it competes with have settled (fair.c). Inside an account:
 * earlier deadline, then earlier id; work whose model is resident may go ahead by resident_ms. An account or key (a key is one account's) at its cap
 * of leases is passed over, as is a task that no ready slot fits.
 *
 * Matching. A slot is offered by a worker (ready); a task fits when every need holds: type, device kind, memory, model, labels, account's pool. Among
 * fitting ready workers: the one with the model resident, then least outstanding cost per slot, then longest ready. A task is never pushed to a worker
 * without a free slot. One that failed on a worker prefers others. Decisions are O(log n): tasks with equal needs share a class, classes know their
 * workers, so that neither is ever scanned.
 *
 * Impossible work (no worker that is known, ready or not, could ever take it) is refused at submission with the number of workers that meet each
 * need; `wait_for_workers` in the spec queues it all the same (a pool that is only starting).
 *
 * Leases carry a nonce (from the caller's random source) and the queue's fencing epoch; a result, renewal or progress with another one is answered
 * CORE_STALE and changes nothing. A lease not renewed for lease_ms ends: the task goes back, the attempt counts, no worker is blamed twice for one.
 *
 * Liveness. A worker that was not heard of for suspect_ms gets no new lease (SUSPECT), after drain_ms its leases are handed on (LOST), after
 * gone_ms it is GONE and forgotten. Global brake: while more than brake_percent of the workers (at least brake_min) went silent within brake_ms, nobody is
 * taken for lost, because it is rather us or the network; ends when fewer are silent or after brake_max_ms.
 *
 * Invariants (core_check, after every step of the simulation):
 *   1  a task has at most one lease, and a slot of a worker at most one task
 *   2  no task ends twice; an ended task has no lease, and what waited for it has heard
 *   3  a QUEUED task that fits a ready slot of a live worker does not stay queued after the step, unless a cap or the brake says so
 *   4  every task but HELD-for-tasks and QUEUED has a deadline, and core_next_deadline covers it
 *   5  counters: what is charged ahead for an account's leases is part of its counter, and the sum of those leases' charges
 *   6  (not in core_check; sim-bench.c measures it) accounts that are both backlogged in a band get service by their weights
 */
#pragma once

#include "base/id.h"
#include "base/scope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CORE_NONE UINT32_MAX
#define CORE_NEVER UINT64_MAX
#define CORE_LABELS 16 /* of a worker; of a task's needs */
#define CORE_TEXT 64

enum core_band { CORE_URGENT, CORE_HIGH, CORE_NORMAL, CORE_LOW, CORE_IDLE, CORE_BANDS };

enum core_state {
        CORE_HELD = 1, /* stored numbers: never change */
        CORE_QUEUED = 2,
        CORE_LEASED = 3,
        CORE_BACKOFF = 4,
        CORE_DONE = 5,
        CORE_FAILED = 6,
        CORE_DEAD = 7,
        CORE_CANCELLED = 8,
        CORE_EXPIRED = 9,
};

enum core_worker_state { CORE_ALIVE, CORE_SUSPECT, CORE_LOST, CORE_DRAINING, CORE_DRAINED };

struct core_settings {
        uint64_t age_ms;                             /* a queued task's rise by one band; 0: never */
        uint64_t lease_ms;                           /* a lease that is not renewed ends after this */
        uint64_t suspect_ms, drain_ms, gone_ms;      /* silence */
        uint32_t brake_percent, brake_min;           /* of all workers … and at least so many */
        uint64_t brake_ms, brake_max_ms;
        uint32_t attempts;                           /* default of a task: 3 */
        uint32_t poison_workers;                     /* K: DEAD after failing on so many different workers: 3 */
        uint64_t backoff_ms, backoff_max_ms;         /* first wait after a failure, doubled each time, ± 25 % by the chance handed in */
        uint64_t max_tasks, max_tasks_per_account;   /* unfinished; more are refused */
        uint32_t max_leases_per_account;             /* 0: no cap; an account may have its own */
        uint64_t resident_ms;                        /* of service that work whose model is resident may go ahead of a smaller counter; 0: none */
};

extern const struct core_settings core_default_settings;

struct core_label {
        char name[CORE_TEXT], value[CORE_TEXT];
};

struct core_needs {
        char type[CORE_TEXT];        /* task type, as workers list it */
        char device[16];             /* "": any; "cpu", "gpu", "npu" … */
        uint64_t memory_bytes;       /* of the device (device "cpu": of the host); 0: any */
        char model[CORE_TEXT * 2];   /* "": none */
        struct core_label labels[CORE_LABELS];
        uint32_t label_count;
        struct id worker;            /* only this one; all zero: any */
};

struct core_task_spec {
        struct id id, account, key;
        struct core_needs needs;
        uint32_t band;               /* enum core_band */
        uint32_t attempts;           /* 0: the setting's */
        uint64_t deadline;           /* on the core's clock; CORE_NEVER: none. Ends queued and running work alike */
        uint64_t not_before;         /* 0: now */
        uint64_t cost;               /* predicted, in milliseconds of one slot; 0: the mean of its type, as measured, else 1000 */
        const struct id *after;      /* tasks that must be DONE first */
        uint32_t after_count;
        uint32_t queue;              /* store queue, carried through */
        bool wait_for_workers;       /* queue even if no worker could take it now */
};

/* How a need narrows the choice: `matched` of `total` workers meet this one need by itself. */
struct core_unmet {
        char need[CORE_TEXT * 3];    /* "model x", "memory ≥ 24 GiB" */
        uint32_t matched, total;
};

#define CORE_UNMET (CORE_LABELS + 6) /* type, device, memory, model, worker, pool */

struct core_refusal {
        int error;                   /* -EINVAL (text), -E_QUOTA (too many unfinished, or too many different needs), -ENOTSUP (no worker could),
                                        -EEXIST (id), -ENOENT (after) */
        char text[256];
        struct core_unmet unmet[CORE_UNMET];
        uint32_t unmet_count;        /* each need with its count, when error is -ENOTSUP */
};

struct core_device {
        char kind[16];               /* "gpu" … */
        uint64_t memory_bytes;
};

#define CORE_DEVICES 16
#define CORE_TYPES 64
#define CORE_MODELS 256

struct core_worker_spec {
        struct id id, account;       /* account: its owner */
        char name[CORE_TEXT];
        uint32_t slots;              /* how many tasks it can run at once at most */
        uint64_t host_memory_bytes;
        struct core_device devices[CORE_DEVICES];
        uint32_t device_count;
        const char (*types)[CORE_TEXT];
        uint32_t type_count;
        const char (*models)[CORE_TEXT * 2];  /* it can serve; core_worker_models says which are resident */
        uint32_t model_count;
        struct core_label labels[CORE_LABELS];
        uint32_t label_count;
        bool private_pool;           /* only its owner's tasks */
};

enum core_action_kind {
        CORE_LEASE,      /* give task to worker: nonce, attempt, expires */
        CORE_REVOKE,     /* tell worker to stop task (cancelled, expired, lost): its lease is no more */
        CORE_STATE,      /* task is now in `state` (all states but LEASED, which CORE_LEASE tells), for `reason`; retry_at when BACKOFF */
        CORE_WORKER,     /* worker is now in `worker_state`; GONE: gone = true, its number is free */
        CORE_BRAKE,      /* on or off (gone = on): for log and metrics */
};

enum core_reason {
        CORE_BECAUSE_SUBMITTED, CORE_BECAUSE_READY, CORE_BECAUSE_RESULT, CORE_BECAUSE_FAILED, CORE_BECAUSE_LEASE_LOST, CORE_BECAUSE_WORKER_LOST,
        CORE_BECAUSE_DECLINED, CORE_BECAUSE_CANCELLED, CORE_BECAUSE_DEADLINE, CORE_BECAUSE_DEPENDENCY, CORE_BECAUSE_POISON, CORE_BECAUSE_DRAIN,
        CORE_REASONS
};

struct core_action {
        uint32_t kind;           /* enum core_action_kind */
        uint32_t task, worker;   /* the core's numbers, or CORE_NONE */
        uint32_t state, worker_state, reason;
        uint32_t attempt;        /* counted from 1 */
        bool gone;
        uint64_t nonce, expires, retry_at;
        struct id task_id, worker_id;
        void *task_data, *worker_data; /* what the caller attached */
};

struct core;

struct core *core_new(const struct core_settings *settings, uint64_t seed);
void core_free(struct core *core);
SCOPED_FN(struct core *, core_free)
void core_change_settings(struct core *core, uint64_t now, const struct core_settings *settings);

/* Accounts: weight 1 … 1000 (100 is normal), max_leases 0: the setting's. Made by the first task when never set. */
must_check int core_account(struct core *core, const struct id *account, uint32_t weight, uint32_t max_leases);
/* A key's cap of leases, 0: none. */
must_check int core_key(struct core *core, const struct id *key, uint32_t max_leases);

/* New work. 0 and the task's number, or refusal->error. data comes back with every action about it. */
must_check int core_submit(struct core *core, uint64_t now, const struct core_task_spec *spec, void *data, uint32_t *ret_task,
                           struct core_refusal *ret_refusal);
/* What core_submit would say, and how many workers could take it. Changes nothing that can be seen. */
int core_try(struct core *core, const struct core_task_spec *spec, uint32_t *ret_workers, struct core_refusal *ret_refusal);

/* A task from the store at start (or of a queue taken over): as submitted, with the attempts it had; state HELD, QUEUED, BACKOFF (retry_at) or LEASED.
 * A LEASED one waits lease_ms for its worker to come back and claim it (core_resume), then goes the way of a lost lease. Dependencies that are
 * not in the core count as done unless `broken`. */
struct core_restored {
        uint32_t state, attempt;
        uint64_t retry_at, nonce;
        struct id worker;                /* LEASED: whose */
        struct id blamed[8];             /* workers it failed on */
        uint32_t blamed_count;
        bool broken;                     /* something it waits for ended badly: it is cancelled at once */
};
must_check int core_restore(struct core *core, uint64_t now, const struct core_task_spec *spec, const struct core_restored *was, void *data,
                            uint32_t *ret_task);
/* Takes the task out without a word (its queue went to another server). */
void core_forget(struct core *core, uint32_t task);
/* Number of a task that has not ended, or CORE_NONE. */
uint32_t core_find(const struct core *core, const struct id *id);

/* 0; -EALREADY: it ended. A LEASED one is revoked and CANCELLED at once. */
must_check int core_cancel(struct core *core, uint64_t now, uint32_t task);
must_check int core_prioritise(struct core *core, uint64_t now, uint32_t task, uint32_t band);
must_check int core_set_deadline(struct core *core, uint64_t now, uint32_t task, uint64_t deadline);

/* Workers. */
must_check int core_worker_join(struct core *core, uint64_t now, const struct core_worker_spec *spec, void *data, uint32_t *ret_worker);
/* The same worker with other abilities (models it got, devices it lost). Leases stay. */
must_check int core_worker_change(struct core *core, uint64_t now, uint32_t worker, const struct core_worker_spec *spec);
/* Which of its models are loaded now; others than its spec lists are left out. */
void core_worker_models(struct core *core, uint64_t now, uint32_t worker, const char (*resident)[CORE_TEXT * 2], uint32_t count);
/* It was heard of. Every other call about a worker counts as that too. */
void core_heartbeat(struct core *core, uint64_t now, uint32_t worker);
/* So many more slots are free now; more than its slots in all is cut. A slot whose lease ended is free only when said so here. */
void core_ready(struct core *core, uint64_t now, uint32_t worker, uint32_t slots);
/* Its connection ended: SUSPECT at once, with the times above; core_worker_join with the same id brings it back with its leases. */
void core_worker_silent(struct core *core, uint64_t now, uint32_t worker);
/* It says that it goes: its leases are handed on at once without counting an attempt. */
void core_worker_leave(struct core *core, uint64_t now, uint32_t worker);
/* No new leases; DRAINED when the last one ended. off: back to ALIVE. */
must_check int core_worker_drain(struct core *core, uint64_t now, uint32_t worker, bool on);
uint32_t core_worker_find(const struct core *core, const struct id *id);

enum core_verdict { CORE_OK, CORE_STALE };

/* About a lease: the worker's word, believed only with the right nonce. */
enum core_verdict core_result(struct core *core, uint64_t now, uint32_t worker, const struct id *task, uint64_t nonce, uint64_t measured_cost);
enum core_verdict core_fail(struct core *core, uint64_t now, uint32_t worker, const struct id *task, uint64_t nonce, bool retryable, bool blame_task);
enum core_verdict core_renew(struct core *core, uint64_t now, uint32_t worker, const struct id *task, uint64_t nonce);
/* It does not take it (slots were promised elsewhere): back to the queue, no attempt counted. */
enum core_verdict core_decline(struct core *core, uint64_t now, uint32_t worker, const struct id *task, uint64_t nonce);
/* After a restart of the pool: the worker still runs this lease. CORE_OK: the restored lease is its again. */
enum core_verdict core_resume(struct core *core, uint64_t now, uint32_t worker, const struct id *task, uint64_t nonce);

/* Time passed: do what is due. */
void core_tick(struct core *core, uint64_t now);
/* When the next thing is due, or CORE_NEVER. */
uint64_t core_next_deadline(const struct core *core);
/* The next thing to do; false: none. */
bool core_next_action(struct core *core, struct core_action *ret_action);

/* For people. */
struct core_task_view {
        uint32_t state, band, band_now, attempt, worker, reason;
        uint64_t since, deadline, retry_at, lease_expires, cost;
        uint32_t position;           /* QUEUED: how many go before it, within a band's accuracy; else 0 */
        uint64_t eta_ms;             /* until it starts, as far as measured; CORE_NEVER: not known */
        uint32_t fitting, fitting_ready; /* workers that could take it; with a free slot */
        bool capped;                 /* QUEUED: its account or key is at its cap of leases */
        struct core_refusal why;     /* its needs with how many workers meet each; error 0 when some fit */
        struct id waits_for;         /* HELD: the first it waits for */
};
void core_task_view(const struct core *core, uint64_t now, uint32_t task, struct core_task_view *ret_view);

struct core_worker_view {
        uint32_t state, slots, ready, leases;
        uint64_t last_heard, outstanding_cost, done, failed, lost;
        uint32_t queued;             /* tasks in the pool that wait */
        uint32_t fitting;            /* of them, which it could take (bounded count, ≤ 1000) */
        char why_idle[256];          /* one sentence, "" when it is busy */
};
void core_worker_view(const struct core *core, uint64_t now, uint32_t worker, struct core_worker_view *ret_view);

struct core_statistics {
        uint64_t tasks[CORE_EXPIRED + 1];   /* now, by state (unfinished), since start (ended) */
        uint64_t workers[CORE_DRAINED + 1];
        uint64_t submitted, refused, leases, stale, lost, declined, retried;
        uint32_t slots, ready;
        uint32_t classes, profiles;         /* kinds of work and of workers that are told apart */
        bool brake;
};
void core_statistics(const struct core *core, struct core_statistics *ret);
/* Service (charged cost) of an account since start, and its counter. */
must_check int core_account_view(const struct core *core, const struct id *account, uint64_t *ret_service, uint64_t *ret_counter, uint32_t *ret_queued,
                                 uint32_t *ret_leased);

/* Works the invariants out anew from the books. 0, or -EINVAL and the broken one in message. */
must_check int core_check(const struct core *core, uint64_t now, char message[256]);
