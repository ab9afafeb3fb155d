/* gate-internal.h: the state of a gate, shared by the sources of this room and its tests; nobody else includes it.
 *
 * One block: struct gate, its devices, its clients, the ring of actions; behind that, scratch that carries nothing from one call to the
 * next. Indices instead of pointers, no hidden padding, so that the block can be copied and compared.
 *
 * Who decides what:
 *   gate.c    books; every event ends in gate_settle()
 *   event.c   what clients say, and what it changes in the books
 *   unit.c    what waits, for how much, in which order
 *   plan.c    decisions: who comes in, who hears what; with
 *   fill.c    which bytes go where, which gates open, and
 *   victim.c  who gives way and how many bytes leave
 *   deadlock.c  who goes out when all that run wait for each other's memory
 *   prefetch.c   who comes in before it asks
 *   storage.c clients that only hold bytes, as long as nobody else needs the room
 *   slice.c   ageing, switch cost, slices, the bound of a wait
 *   check.c   the invariants, computed anew from the books
 *   view.c    for people
 */
#pragma once

#include "base/error.h"
#include "gate/gate.h"

#define GATE_UNMEASURED_RATE UINT64_C(10000000000) /* bytes/s that slices assume until a move was measured or a link was told */
#define GATE_UNMEASURED_DRAIN_NS UINT64_C(1000000000) /* what bounds assume of a device with a link that is known */
#define GATE_TRIM_GRACE_NS UINT64_C(200000000)      /* unused grant asked for is counted on for this long */
#define GATE_BACK_OFF_NS UINT64_C(1000000000)       /* after a failed move, doubled with each further one … */
#define GATE_FOREIGN_GRACE_NS UINT64_C(10000000000) /* foreign use younger than this refuses nobody: the memory of a program that ends takes
                                                       a while to go, and looks like a stranger's meanwhile */
#define GATE_BACK_OFF_STEPS 6                       /* … up to 64 s */

/* One process on one device. */
struct client {
        uint64_t job, process, born; /* process: clients of the same one have one gate, 0: alone; born: order of arrival, never reused */
        /* Books. reserved: charged to the device, not told to the client yet; includes its part while it is not admitted. */
        uint64_t grant, part, reserved, movable, pinned, resident, backed, need, limit;
        uint64_t kept;      /* charged while it runs and grows into what it is expected to need; growth takes it first */
        uint64_t peak;      /* most it owned in its present or last turn */
        uint64_t expected;  /* with so much it was let in: declared, or the peak of the turn before */
        uint64_t asked;     /* total grant of the open want */
        uint64_t target;    /* what the present fill aims at; fixed when it begins, so that a full one stays full */
        uint64_t late_need; /* a want that came during the fill, taken up after it */
        uint64_t evict_left, due; /* GOING_OUT: still to return; GIVING_WAY: meant to be taken afterwards */
        uint64_t trim_slack;      /* unused grant when it was last asked for it: asked again only for more */
        uint64_t moved_seen, elapsed_seen; /* of the present move, already in the statistics */
        /* Times; GATE_NEVER: not set. */
        uint64_t came, wait_since, run_since, active_at, gave_at, deadline, kill_at, hold_until, keep_until, trim_until;
        uint64_t wait_bound;
        uint64_t prefetch_until; /* announced as wanted before then */
        uint64_t places; /* the most of it that may be off the device */
        /* Statistics. */
        uint64_t waited_ns, ran_ns, switches, out_bytes, in_bytes, out_ns, in_ns;
        uint32_t used, state, device, priority;
        uint32_t leader, next_in_job, next_on_device;
        uint32_t ticket, late_ticket, reason, told_reason, position;
        uint32_t class_in;       /* effective class when it was let in: what a waiter must beat */
        uint32_t give_reason;    /* enum wire_give_way_reason of the open GIVE_WAY */
        uint32_t in_failures, out_failures;
        uint32_t wants, admitted;
        uint64_t filled_in; /* the event that its fill began in */
        uint32_t filling;  /* member of a unit that gets bytes, or has them and comes in */
        uint32_t backfill; /* let in past a better waiter: its slice does not protect it */
        uint32_t whole;    /* goes out whole: two grew and both waited */
        uint32_t modest;   /* its declared need does not fit beside the others: it comes in without */
        uint32_t storage, storing; /* holds bytes of a program that runs elsewhere; its want is open */
        uint32_t unkept;   /* its slice ended while others waited: nothing is kept for it any more in this turn */
        uint32_t stuck, bringing /* BRING_IN sent, end not reported yet */, late;
        uint32_t prefetch;    /* announced, and did not ask yet */
        uint32_t lacks;       /* runs, or its process does elsewhere, and can't have what it waits for before somebody gives way; of the last pass */
};

struct device {
        uint64_t total, foreign, used; /* used: Σ grant + part + reserved + kept */
        uint64_t out_rate, in_rate;    /* bytes/s, moving averages; 0: not measured */
        uint64_t link;                 /* bytes/s, told; 0: not known */
        uint64_t drain_ns, drain_max;  /* moving average and slowly falling peak of GIVE_WAY → GIVEN_WAY */
        uint64_t contended_since, foreign_at; /* when foreign use last changed much */
        uint64_t out_bytes, in_bytes, out_ns, in_ns, switches, slice_ns, max_wait_ns, max_wait_bound_ns;
        uint32_t present, first, contended, drains;
};

struct gate {
        struct gate_settings settings;
        uint64_t now, deadline, arena_free, born, refused_moves;
        uint64_t eased_at; /* last instant in which someone went, settings or foreign use changed, or a fill that an earlier event began was called off:
                            * what was asked for before may be served, or given up, now */
        uint64_t events;
        uint64_t devices_at, clients_at, ring_at, state_bytes, block_bytes; /* offsets and sizes */
        uint32_t max_clients, max_devices, ring_size, ring_first, ring_count;
        uint32_t dirty; /* books changed while actions were pending: plan when they are gone */
        uint32_t quiet; /* the last plan saw nobody waiting and no device too full */
        uint32_t again; /* the plan must look once more */
};

/* What waits: the members of a job that are not in, or one running client that grows. */
struct unit {
        uint64_t since, born;
        uint32_t lead, grow, filling, class, priority, done;
};

enum claim { CLAIM_NONE, CLAIM_BLOCKED /* waits for a slice to end: others may use what is free */, CLAIM_FILL };

/* Scratch of one pass, per device. */
struct pass {
        int64_t free;
        uint64_t promised; /* bytes on their way out */
        uint64_t shortage; /* of the unit looked at */
        uint64_t parts;    /* of that, contexts of clients not admitted yet: these never leave again */
        uint64_t spare;    /* what could leave beyond the need of the unit looked at … */
        uint64_t margin;   /* … and least of the units that claim the device */
        uint64_t wanted;   /* what all that wait and could be served lack, for storage.c */
        uint64_t head_at;  /* when the blocked head can be looked at again */
        uint32_t live; /* somebody there works, moves or can go on by himself, deadlock.c */
        uint32_t claim, running, blocked, moving, stuck, only_batch, seen, waiting, queued, infeasible, short_units, expects /* one that was announced waits for somebody to be idle */;
};

struct victim {
        uint64_t k1, k2, bytes;
        uint32_t client, rank, reason, chosen;
};

struct scratch {
        uint64_t arena_left, next; /* next: earliest time that can change a decision */
        uint32_t units_n, victims_n;
};

#define GATE_ACTIONS_PER_CLIENT 12

static inline struct device *device_at(const struct gate *g, uint32_t i)
{
        return (struct device *)((char *)g + g->devices_at) + i;
}
static inline struct client *client_at(const struct gate *g, uint32_t i)
{
        return (struct client *)((char *)g + g->clients_at) + i;
}
static inline struct gate_action *ring_at(const struct gate *g, uint32_t i)
{
        return (struct gate_action *)((char *)g + g->ring_at) + i % g->ring_size;
}
/* Heap sort of the n elements at array: no memory, no worst case. before(a, b) of pointers: whether a comes first. */
#define SORT_IN_PLACE(array, n, before)                                                             \
        do {                                                                                        \
                typeof(&(array)[0]) a_ = (array);                                                   \
                                                                                                    \
                for (uint32_t start_ = (n) / 2, end_ = (n); end_ > 1;) {                            \
                        uint32_t root_, child_;                                                     \
                        typeof(*a_) held_;                                                          \
                                                                                                    \
                        if (start_ > 0) {                                                           \
                                held_ = a_[--start_];                                               \
                        } else {                                                                    \
                                held_ = a_[--end_];                                                 \
                                a_[end_] = a_[0];                                                   \
                        }                                                                           \
                        for (root_ = start_; (child_ = 2 * root_ + 1) < end_; root_ = child_) {     \
                                if (child_ + 1 < end_ && before(&a_[child_], &a_[child_ + 1]))      \
                                        child_++;                                                   \
                                if (!before(&held_, &a_[child_]))                                   \
                                        break;                                                      \
                                a_[root_] = a_[child_];                                             \
                        }                                                                           \
                        a_[root_] = held_;                                                          \
                }                                                                                   \
        } while (0)

static inline struct scratch *scratch_of(const struct gate *g)
{
        return (struct scratch *)((char *)g + g->state_bytes);
}
static inline struct pass *pass_at(const struct gate *g, uint32_t device)
{
        return (struct pass *)(scratch_of(g) + 1) + device;
}
static inline struct unit *unit_at(const struct gate *g, uint32_t i)
{
        return (struct unit *)pass_at(g, g->max_devices) + i;
}
static inline struct victim *victim_at(const struct gate *g, uint32_t i)
{
        return (struct victim *)unit_at(g, g->max_clients) + i;
}
static inline uint32_t client_index(const struct gate *g, const struct client *c)
{
        return (uint32_t)(c - client_at(g, 0));
}

#define for_each_client(g, c) \
        for (struct client *c = client_at(g, 0); c < client_at(g, (g)->max_clients); c++) \
                if (c->used)
#define for_each_on_device(g, d, c)                                                                        \
        for (struct client *c = (d)->first == GATE_NONE ? NULL : client_at(g, (d)->first); c; \
             c = c->next_on_device == GATE_NONE ? NULL : client_at(g, c->next_on_device))
#define for_each_in_job(g, lead, c)                                                              \
        for (struct client *c = client_at(g, client_at(g, lead)->leader); c;                     \
             c = c->next_in_job == GATE_NONE ? NULL : client_at(g, c->next_in_job))

static inline uint64_t least(uint64_t a, uint64_t b)
{
        return a < b ? a : b;
}
static inline uint64_t most(uint64_t a, uint64_t b)
{
        return a > b ? a : b;
}
static inline uint64_t minus(uint64_t a, uint64_t b) /* not below 0 */
{
        return a > b ? a - b : 0;
}
static inline uint64_t plus(uint64_t a, uint64_t b) /* not above UINT64_MAX: NEVER stays NEVER */
{
        return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}
static inline uint64_t owned(const struct client *c)
{
        return c->movable + c->pinned;
}
static inline uint64_t outside(const struct client *c)
{
        return minus(c->movable, c->resident);
}
/* Grant that nothing on the device fills. */
static inline uint64_t slack(const struct client *c)
{
        return minus(c->grant, c->resident + c->pinned);
}

/* state.c: the one way to change a state. A move that the table forbids is a bug: it aborts, or with NDEBUG is counted and not made. */
bool gate_may_move(uint32_t from, uint32_t to);
bool gate_move(struct gate *g, struct client *c, uint32_t to);

/* gate.c */
int64_t gate_free_bytes(const struct gate *g, uint32_t device);
uint64_t gate_device_room(const struct gate *g, const struct device *d);
uint64_t gate_lasting_room(const struct gate *g, const struct device *d); /* foreign use that may pass not taken off */
bool gate_foreign_may_pass(const struct gate *g, const struct device *d);
void gate_uncharge(struct gate *g, struct client *c, uint64_t bytes);
void gate_charge(struct gate *g, struct client *c, uint64_t bytes);
void gate_settle(struct gate *g);
uint64_t gate_back_off(uint32_t failures);

/* prefetch.c */
void gate_forget_prefetch(struct client *c);
bool gate_stays_for_prefetch(struct gate *g, const struct client *c); /* one that does not leave for an announced one */
void gate_yield_prefetch(struct gate *g);
void gate_plan_prefetch(struct gate *g);

/* event.c */
bool gate_sane(uint64_t bytes); /* sums of three such never overflow */
void gate_advance(struct gate *g, uint64_t now);
struct client *gate_known(struct gate *g, uint64_t now, uint32_t client); /* by its number, NULL when there is none such */
void gate_begin_wait(struct gate *g, struct client *c);
void gate_end_wait(struct gate *g, struct client *c);

/* unit.c */
uint64_t gate_required(const struct gate *g, const struct client *c);
uint64_t gate_expected(const struct gate *g, const struct client *c);
uint64_t gate_kept_for(const struct client *c);
uint64_t gate_stop_keeping(struct gate *g, struct client *c); /* what became free by it */
uint64_t gate_shortage(const struct gate *g, const struct client *c);
bool gate_in_unit(const struct unit *u, const struct gate *g, const struct client *c);
bool gate_process_runs(const struct gate *g, const struct client *c);
void gate_measure(struct gate *g, const struct unit *u); /* pass.shortage and .parts of its devices */
void gate_collect_units(struct gate *g);                 /* fills the scratch: passes and the sorted units */
bool gate_feasible(struct gate *g, const struct unit *u, uint32_t device, uint32_t *ret_reason);

#define for_each_in_unit(g, u, c)         \
        for_each_in_job (g, (u)->lead, c) \
                if (gate_in_unit(u, g, c))

static inline struct pass *pass_of(const struct gate *g, const struct client *c)
{
        return pass_at(g, c->device);
}
/* What must still become free on a device, beyond what is, for the unit measured last. */
static inline uint64_t gate_missing(const struct pass *p)
{
        return p->free < 0 ? p->shortage + (uint64_t)-p->free : minus(p->shortage, (uint64_t)p->free);
}
static inline struct gate_action gate_about(const struct gate *g, uint32_t kind, const struct client *c)
{
        return (struct gate_action){.kind = kind, .client = client_index(g, c), .device = c->device};
}
static inline void gate_wake_at(struct gate *g, uint64_t when)
{
        if (when > g->now && when < scratch_of(g)->next)
                scratch_of(g)->next = when;
}

/* fill.c */
void gate_begin_fill(struct gate *g, struct unit *u, bool backfill);
void gate_go_on_filling(struct gate *g, struct unit *u);
bool gate_complete(struct gate *g, struct unit *u); /* true: all its members are in, and their gates open now */
void gate_abort_fill(struct gate *g, struct client *c); /* of the whole unit that c is filled with */
void gate_tell(struct gate *g, const struct unit *u, uint32_t reason);

/* Their gate is one: while one waits, none of them goes on. */
static inline bool same_process(const struct client *a, const struct client *b)
{
        return a == b || (a->process && a->process == b->process);
}

/* storage.c: after the units were served */
void gate_plan_storage(struct gate *g);

/* plan.c */
void gate_plan(struct gate *g);
void gate_push(struct gate *g, struct gate_action action);
void gate_deny(struct gate *g, struct client *c, int code, uint64_t most_bytes);

/* deadlock.c */
void gate_end_deadlock(struct gate *g);
void gate_deny_hopeless(struct gate *g);

/* victim.c */
uint64_t gate_evictable(const struct client *c, uint64_t arena);
uint64_t gate_arena_use(const struct client *c, uint64_t bytes);
/* Bytes that may leave the device for the unit now, at most need (NULL: the device is too full); act: and make them leave. */
uint64_t gate_victims(struct gate *g, const struct unit *u, uint32_t device, uint64_t need, bool act);
/* The same, of those that do not run only. */
uint64_t gate_loose(struct gate *g, const struct unit *u, uint32_t device, uint64_t need);
void gate_evict(struct gate *g, struct client *c, uint64_t bytes);
uint64_t gate_trimmable(const struct gate *g, const struct client *c);
void gate_give_way(struct gate *g, struct client *c, uint32_t reason);
uint64_t gate_trims(struct gate *g, const struct unit *u, uint32_t device);

/* slice.c */
uint64_t gate_time_of(uint64_t bytes, uint64_t rate);
uint32_t gate_class(const struct gate *g, const struct client *c);
uint64_t gate_switch_cost(const struct gate *g, uint32_t device, uint64_t out, uint64_t in);
uint64_t gate_slice(const struct gate *g, const struct client *c, uint64_t incoming);
uint64_t gate_least_turn(const struct gate *g, uint64_t cost, uint64_t slice);
uint64_t gate_slice_of_switch(const struct gate *g, uint64_t cost);
uint64_t gate_slice_of_cost(const struct gate *g, uint32_t device, uint64_t cost);
bool gate_only_batch(const struct gate *g, uint32_t device);
bool gate_linked(const struct gate *g);
void gate_measured(uint64_t *rate, uint64_t moved, uint64_t elapsed_ns);
void gate_drained(struct device *d, uint64_t drain_ns);
