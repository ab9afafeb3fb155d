/* internal.h: the core's books, shared by the sources of this room and its tests; nobody else includes it.
 *
 * Everything is named by a number into a slab (base/slab.h); NONE names nothing. Memory that fails inside a decision ends the process (core_memory):
 * the store has all of it, and half a decision would be worse. What can be refused (core_submit, joins) is refused before anything changed.
 *
 * Who decides what:
 *   core.c    birth, end, settings, actions
 *   task.c    tasks from submission to end; depend.c: what waits for what; restore.c: tasks from the store
 *   queue.c   flows: what is queued, in order; ageing
 *   fair.c    accounts, keys: counters, caps
 *   token.c   abilities by name: types, models, labels, devices, and who has them
 *   class.c   tasks with equal needs, workers with equal abilities, and which fits which
 *   need.c    a spec's needs in tokens; who meets them; refusals
 *   match.c   a worker for a task, a task for a worker
 *   lease.c   leases from first to last word
 *   worker.c  workers: join, change, ready, drain, leave
 *   live.c    silence and the brake; time.c: what is due
 *   view.c    for people; check.c: the invariants, anew from the books
 */
#pragma once

#include "base/error.h"
#include "base/heap.h"
#include "base/slab.h"
#include "pool/core.h"

#define uthash_fatal(message) abort()
#include <uthash.h>

#define NONE CORE_NONE
#define CORE_STEP 256        /* due things done in one call: the rest is due at once */
#define CORE_CLASSES 4096     /* different needs at a time … */
#define CORE_CLASSES_PER_ACCOUNT 512 /* … and of those, whose first task is one account's */
#define CORE_HOLDINGS (CORE_TYPES + CORE_MODELS + CORE_LABELS + CORE_DEVICES + 4)
#define CORE_ATTEMPTS 100     /* of a task, at most */
#define CORE_UNITS 1000       /* of a counter for a millisecond at weight 100 × 100 */
#define CORE_NEEDS (CORE_LABELS + 4)

/* --- abilities --- */

enum token_kind { TOKEN_TYPE = 't', TOKEN_MODEL = 'm', TOKEN_LABEL = 'l', TOKEN_DEVICE = 'd', TOKEN_WORKER = 'w' };

/* How much of a device somebody needs: workers are told apart at these amounts only. */
struct threshold {
        uint64_t amount;
        uint32_t refs;
};

struct token {
        uint32_t number;
        uint32_t refs;                /* classes that need it. 0: it tells no workers apart */
        uint32_t *holders;            /* workers */
        uint32_t holders_n, holders_size;
        struct threshold *thresholds; /* TOKEN_DEVICE: ascending */
        uint32_t thresholds_n;
        uint32_t first_place;         /* TOKEN_MODEL: where it is resident and ready */
        uint64_t mean_units, samples; /* TOKEN_TYPE: measured cost, in 1/256 ms */
        char *name;                   /* kind, then the words */
        UT_hash_handle hh;
};

/* Of a class: at least so much of it. Of a profile: so much of it. The padding is hashed, so it is named. */
struct ability {
        uint64_t amount;
        uint32_t token, zero;
};

struct holding {
        uint64_t amount;
        uint32_t token, position; /* in the token's holders */
};

/* Tasks with equal needs. */
struct class {
        uint32_t number, tasks, maker;
        struct ability needs[CORE_NEEDS];
        uint32_t needs_n, model, type;   /* model: token or NONE */
        struct { uint32_t *flows, count, size; } bands[CORE_BANDS]; /* flows that could run now */
        uint32_t queued[CORE_BANDS];
        uint64_t *profiles;              /* bits: which fit */
        uint32_t profile_words;
        uint32_t workers, slots;         /* in the fitting profiles that are open to all */
        uint32_t idle_next, idle_previous; /* classes without tasks, longest so first */
        bool idle;
        UT_hash_handle hh;
};

/* Workers that no class tells apart. The key: the owner of a private one as ability of token NONE, then abilities by token. */
struct profile {
        uint32_t number, owner;          /* account, or NONE: open to all */
        struct ability *abilities;
        uint32_t abilities_n;
        uint32_t workers, slots;
        struct heap ready;               /* workers with a free slot, best first */
        uint64_t virtual_units;          /* counter, settled, of the account that it last served */
        uint64_t classes[CORE_CLASSES / 64]; /* bits: which fit */
        uint32_t next_private;
        UT_hash_handle hh;
};

/* Ready workers of a profile that have a model resident. */
struct place {
        struct { uint32_t profile, model; } key;
        uint32_t number, next; /* of the model */
        struct heap ready;
        UT_hash_handle hh;
};

/* --- work --- */

struct task {
        struct id id;
        void *data;
        uint64_t deadline, wake_at;  /* wake_at: HELD, BACKOFF: when it goes on; else CORE_NEVER */
        uint64_t since;              /* in its state */
        uint64_t band_since;         /* QUEUED: in its band */
        uint32_t cost;               /* predicted, ms */
        uint32_t account, key, class;
        uint32_t flow, lease;        /* QUEUED, LEASED */
        uint32_t next, previous;     /* in its flow, when it stands in the line there */
        uint32_t heap_at;            /* in its flow's heap, else NONE */
        uint32_t age_next, age_previous;
        uint32_t timer_at, hash_next;
        uint32_t first_waiter, first_wait; /* edges */
        uint32_t blame;              /* struct blame, or NONE */
        uint16_t attempt, attempts;
        uint16_t queue;
        uint8_t state, band, band_now, reason;
        uint8_t given_cost;          /* the spec said what it costs */
};

/* waiter waits for on. */
struct edge {
        uint32_t waiter, on;
        uint32_t next_waiter, previous_waiter; /* among those that wait for `on` */
        uint32_t next_wait;                    /* among what the waiter waits for */
        uint32_t live;
};

#define CORE_BLAMED 8
struct blame {
        uint32_t count, live, against; /* against: how many say that it was the task */
        struct id workers[CORE_BLAMED];
};

struct lease {
        uint32_t task, worker;          /* worker NONE: restored, not claimed yet */
        uint32_t next, previous;        /* of the worker */
        uint64_t nonce, expires, started, units; /* units: charged */
        struct id worker_id;
        uint32_t live;
};

/* Queued tasks of one account and key, of one class, in one band. Those with a deadline, and latecomers, stand in the heap; the rest in the line. */
struct flow {
        struct { uint32_t class, band, account, key; } k;
        uint32_t number, count;
        uint32_t first, last;           /* the line, ascending by id, none with a deadline */
        struct heap urgent;
        uint32_t at, class_at;          /* among its account's and its class's that could run; NONE: passed over */
        uint32_t next, previous;        /* of the account */
        UT_hash_handle hh;
};

/* A flow that could run, as its account lists it: dense, because a worker looks through them for what fits it. */
struct turn {
        uint64_t order;                 /* of its head: earlier deadline, else earlier id */
        uint32_t class, flow;
};

struct account {
        struct id id;
        uint32_t number, weight, max_leases;
        uint32_t leased, queued, unfinished, classes;
        uint32_t first_flow, eligible;  /* eligible: flows that could run */
        struct { struct turn *turns; uint32_t count, size, at; } bands[CORE_BANDS]; /* at: in the heap of accounts that take turns in the band */
        uint32_t first_private;         /* profiles of its own workers */
        bool capped, freed;             /* freed: a cap let go of it, and its tasks have not looked for workers since */
        uint64_t counter, outstanding;  /* units; outstanding: charged ahead, part of the counter */
        uint64_t service, charged;      /* ms: measured of what ended; sum of charges (for the check) */
        UT_hash_handle hh;
};

struct key {
        struct id id;
        uint32_t number, max_leases, leased;
        uint32_t account;               /* whose, since its first task; NONE before */
        bool capped;
        UT_hash_handle hh;
};

struct worker {
        struct id id;
        void *data;
        char name[CORE_TEXT];
        uint32_t number, account;
        uint32_t slots, ready, leases, first_lease;
        uint32_t profile, ready_at, timer_at;
        uint32_t suspect_next, suspect_previous;
        struct holding *holdings;       /* ascending by token */
        uint32_t holdings_n;
        struct resident { uint32_t token, place, at; } *residents;
        uint32_t residents_n;
        uint64_t last_heard, suspect_since, ready_since;
        uint64_t outstanding;           /* ms */
        uint64_t done, failed, lost;
        uint8_t silence;                /* CORE_ALIVE, CORE_SUSPECT, CORE_LOST */
        uint8_t told;                   /* enum core_worker_state */
        bool private_pool, drain, recent, used;
        UT_hash_handle hh;
};

struct line {
        uint32_t first, last;
};

struct core {
        struct core_settings settings;
        uint64_t now, random[4];
        uint64_t woke_at;               /* last time that we overslept: nobody's silence before it counts */
        uint64_t ticked_at;
        struct slab tasks, leases, edges, blames, flows, accounts, keys, workers, tokens, classes, profiles, places;
        struct account *accounts_by_id;
        struct key *keys_by_id;
        struct worker *workers_by_id;
        struct token *tokens_by_name;
        struct class *classes_by_needs;
        struct profile *profiles_by_abilities;
        struct place *places_by_key;
        struct flow *flows_by_key;
        /* Tasks by id: linear hashing, so that it grows one bucket at a time. */
        uint32_t **bucket_chunks;
        uint32_t bucket_chunks_n, buckets;
        struct heap timers, worker_timers;
        struct line ages[CORE_BANDS];   /* queued tasks of a band in the order they came in */
        struct heap turns[CORE_BANDS];  /* accounts that have something that could run, by counter */
        uint64_t band_classes[CORE_BANDS][CORE_CLASSES / 64]; /* bits: classes with a flow that could run */
        uint64_t *ready_profiles;       /* bits */
        uint32_t ready_words, ready_profiles_n, known_workers, any_device;
        struct line suspects, idle_classes;
        uint32_t suspects_n, recent_n, first_recent, lost_n;
        uint64_t brake_since;           /* CORE_NEVER: off */
        struct core_action *ring;
        uint32_t ring_size, ring_first, ring_count;
        uint64_t virtual_units;
        struct core_statistics statistics;
};

#define TASK(core, number) ((struct task *)slab_at(&(core)->tasks, number))
#define LEASE(core, number) ((struct lease *)slab_at(&(core)->leases, number))
#define EDGE(core, number) ((struct edge *)slab_at(&(core)->edges, number))
#define BLAME(core, number) ((struct blame *)slab_at(&(core)->blames, number))
#define FLOW(core, number) ((struct flow *)slab_at(&(core)->flows, number))
#define ACCOUNT(core, number) ((struct account *)slab_at(&(core)->accounts, number))
#define KEY(core, number) ((struct key *)slab_at(&(core)->keys, number))
#define WORKER(core, number) ((struct worker *)slab_at(&(core)->workers, number))
#define TOKEN(core, number) ((struct token *)slab_at(&(core)->tokens, number))
#define CLASS(core, number) ((struct class *)slab_at(&(core)->classes, number))
#define PROFILE(core, number) ((struct profile *)slab_at(&(core)->profiles, number))
#define PLACE(core, number) ((struct place *)slab_at(&(core)->places, number))

static inline bool bit_get(const uint64_t *bits, uint32_t i)
{
        return bits[i / 64] >> i % 64 & 1;
}
static inline void bit_set(uint64_t *bits, uint32_t i, bool on)
{
        if (on)
                bits[i / 64] |= UINT64_C(1) << i % 64;
        else
                bits[i / 64] &= ~(UINT64_C(1) << i % 64);
}
static inline uint64_t id_half(const struct id *id, int half)
{
        uint64_t value;

        memcpy(&value, id->bytes + 8 * half, 8);
        return __builtin_bswap64(value);
}

/* What must not fail did, or r is 0. */
static inline void core_memory(int r)
{
        if (r)
                abort();
}

/* core.c */
void core_at(struct core *core, uint64_t now);
uint64_t core_random(struct core *core);
struct core_action *core_act(struct core *core, uint32_t kind);
void core_act_task(struct core *core, struct core_action *action, uint32_t task);
void core_act_worker(struct core *core, struct core_action *action, uint32_t worker);
uint64_t core_mix(uint64_t value);
uint32_t core_bits_grow(uint64_t **bits, uint32_t words, uint32_t needed);

/* task.c */
int task_add(struct core *core, const struct core_task_spec *spec, void *data, uint32_t *ret_task);
void task_become(struct core *core, uint32_t task, uint32_t state, uint32_t reason);
void task_state(struct core *core, uint32_t task, uint32_t state, uint32_t reason);
void task_go_on(struct core *core, uint32_t task, uint32_t reason, bool quiet);
void task_end(struct core *core, uint32_t task, uint32_t state, uint32_t reason);
void task_drop(struct core *core, uint32_t task);
void task_failed(struct core *core, uint32_t task, const struct id *worker, bool retryable, bool blame, uint32_t reason);
bool task_blames(const struct core *core, const struct task *t, const struct id *worker);
void task_timer(struct core *core, uint32_t task);
void task_due(struct core *core, uint32_t task);
void task_blame(struct core *core, uint32_t task, const struct id *worker, bool blame);
/* find.c */
int find_add(struct core *core, uint32_t task);
void find_remove(struct core *core, uint32_t task);
/* depend.c */
int depend_on(struct core *core, uint32_t task, const struct id *after, uint32_t count, bool strict);
uint32_t depend_next(struct core *core, uint32_t task);
void depend_drop(struct core *core, uint32_t task);
/* queue.c */
void queue_in(struct core *core, uint32_t task);
void queue_out(struct core *core, uint32_t task);
uint32_t queue_head(const struct core *core, const struct flow *f);
void queue_flow_place(struct core *core, struct flow *f);
void queue_account_place(struct core *core, struct account *a);
void queue_flow_enter(struct core *core, struct flow *f, bool on);
void queue_band(struct core *core, uint32_t task, uint32_t band);
void queue_deadline(struct core *core, uint32_t task, uint64_t deadline);
uint64_t queue_age_due(const struct core *core);
bool queue_age_one(struct core *core);
/* fair.c */
int fair_account(struct core *core, const struct id *id, uint32_t *ret_account);
int fair_key(struct core *core, const struct id *id, uint32_t *ret_key);
bool fair_key_fits(const struct core *core, const struct core_task_spec *spec);
void fair_wake(struct core *core, struct account *a, const struct class *c);
uint64_t fair_units(const struct account *a, uint64_t cost);
void fair_count(struct core *core, struct account *a, struct key *k, int by);
void fair_counter(struct core *core, struct account *a, uint64_t counter);
void fair_take_part(struct core *core, struct flow *f);
/* token.c */
uint32_t token_find(const struct core *core, char kind, const char *name, const char *value);
int token_intern(struct core *core, char kind, const char *name, const char *value, uint32_t *ret_token);
void token_unuse(struct core *core, uint32_t token);
int token_hold(struct core *core, uint32_t worker, struct ability *abilities, uint32_t count);
void token_unhold(struct core *core, uint32_t worker);
int token_add_holding(struct core *core, uint32_t worker, uint32_t token);
const struct holding *token_holding(const struct worker *w, uint32_t token);
uint64_t token_floor(const struct token *token, uint64_t amount);
void token_need(struct core *core, const struct ability *need, bool on);
/* need.c */
int need_check(const struct core_needs *needs, struct core_refusal *ret_refusal);
/* The needs as tokens, sorted. make: unknown ones are made; else -ENOENT when one is unknown. */
int need_abilities(struct core *core, const struct core_needs *needs, bool make, struct ability abilities[CORE_NEEDS], uint32_t *ret_count);
void need_explain(const struct core *core, const struct class *c, uint32_t account, struct core_refusal *ret_refusal);
/* class.c */
int class_of(struct core *core, const struct core_needs *needs, uint32_t *ret_class);
void class_use(struct core *core, struct class *c, uint32_t account, int by);
uint32_t class_count_ability(const struct core *core, uint32_t token, uint64_t amount);
bool class_fits(const struct class *c, const struct profile *p);
uint32_t class_workers(const struct core *core, const struct class *c, uint32_t account, uint32_t *ret_slots);
void class_place(struct core *core, uint32_t worker);
void class_leave(struct core *core, uint32_t worker);
/* match.c */
bool match_task(struct core *core, uint32_t task);
void match_worker(struct core *core, uint32_t worker);
void match_account(struct core *core, uint32_t account);
void match_ready(struct core *core, uint32_t worker);
void match_unready(struct core *core, uint32_t worker);
uint32_t match_next(const struct core *core, const struct worker *w);
/* lease.c */
void lease_give(struct core *core, uint32_t task, uint32_t worker);
struct id lease_end(struct core *core, uint32_t task, uint64_t cost);
void lease_lost(struct core *core, uint32_t task, uint32_t reason);
void lease_revoke(struct core *core, uint32_t task, uint32_t reason);
/* worker.c, live.c */
bool worker_known(const struct core *core, uint32_t worker);
void worker_told(struct core *core, uint32_t worker);
void worker_hand_on(struct core *core, uint32_t worker, bool count_attempt, uint32_t reason);
void worker_forget(struct core *core, uint32_t worker);
void worker_gone(struct core *core, uint32_t worker);
void live_heard(struct core *core, uint32_t worker);
void live_timer(struct core *core, uint32_t worker);
void live_silent(struct core *core, uint32_t worker);
void live_due(struct core *core, uint32_t worker);
void live_leave(struct core *core, struct worker *w);
bool live_spares(struct core *core, uint32_t task);
