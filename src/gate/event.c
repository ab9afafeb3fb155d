/* event.c: what clients say, and what it changes in the books.
 *
 * Every message is checked against the books before anything changes: what contradicts them, or is out of turn, is refused with
 * -E_MESSAGE. Messages that may have crossed an action on the way are in turn. Events only change books; decisions are plan.c's.
 */
#include "gate/gate-internal.h"

bool gate_sane(uint64_t bytes)
{
        return bytes <= INT64_MAX / 4;
}

void gate_advance(struct gate *g, uint64_t now)
{
        g->now = most(g->now, now);
}

struct client *gate_known(struct gate *g, uint64_t now, uint32_t client)
{
        if (client >= g->max_clients || !client_at(g, client)->used)
                return NULL;
        gate_advance(g, now);
        return client_at(g, client);
}

void gate_begin_wait(struct gate *g, struct client *c)
{
        c->wants = 1;
        c->modest = 0;
        c->wait_since = g->now;
        c->told_reason = WIRE_WAIT_NONE;
        c->wait_bound = gate_wait_bound(g, g->now, client_index(g, c));
}

void gate_end_wait(struct gate *g, struct client *c)
{
        struct device *d = device_at(g, c->device);
        uint64_t waited = g->now - c->wait_since;

        if (!c->wants)
                return;
        c->waited_ns += waited;
        if (waited > d->max_wait_ns) {
                d->max_wait_ns = waited;
                d->max_wait_bound_ns = c->wait_bound;
        }
        c->wants = 0;
        c->asked = 0;
        c->reason = c->told_reason = WIRE_WAIT_NONE;
        c->position = 0;
}

static void take_back(struct gate *g, struct client *c, uint64_t returned)
{
        uint64_t keep;

        c->grant -= returned;
        keep = least(returned, minus(gate_kept_for(c), c->grant + c->reserved + c->kept));
        c->kept += keep;
        gate_uncharge(g, c, returned - keep);
        c->evict_left = minus(c->evict_left, returned);
        c->trim_slack = least(c->trim_slack, slack(c));
}

/* What is on the device must be owned and granted, also after `returned` is gone. */
static bool fits_books(const struct client *c, uint64_t movable, uint64_t pinned, uint64_t resident, uint64_t returned)
{
        return gate_sane(movable) && gate_sane(pinned) && resident <= movable && returned <= c->grant &&
               resident + pinned <= c->grant - returned;
}

int gate_memory(struct gate *gate, uint64_t now, uint32_t client, uint64_t movable, uint64_t pinned, uint64_t resident,
                uint64_t backed, uint64_t returned)
{
        struct client *c = gate_known(gate, now, client);

        if (!c || !fits_books(c, movable, pinned, resident, returned) || ((movable || pinned) && !c->admitted) ||
            (c->state == WIRE_RUNNING && resident != movable))
                return -E_MESSAGE;
        if (c->backed < least(backed, movable))
                c->keep_until = 0;
        c->movable = movable;
        c->pinned = pinned;
        c->resident = resident;
        c->backed = least(backed, movable);
        c->peak = c->state == WIRE_RUNNING ? most(c->peak, owned(c)) : least(c->peak, owned(c)); /* who frees while it waits needs it no more */
        take_back(gate, c, returned);
        if (c->kept && !gate_kept_for(c)) {
                gate_stop_keeping(gate, c); /* it owned all of it: what it gives up from now on is others' */
                gate->quiet = 0;
        }
        if (!gate->quiet)
                gate_settle(gate);
        return 0;
}

int gate_want(struct gate *gate, uint64_t now, uint32_t client, uint64_t need, uint32_t ticket)
{
        struct client *c = gate_known(gate, now, client);

        if (!c || !gate_sane(need))
                return -E_MESSAGE;
        gate->quiet = 0;
        if (c->prefetch && c->filling) { /* it asks now: its turn is one like any other */
                c->prefetch = c->backfill = 0;
                gate_begin_wait(gate, c);
        } else if (c->prefetch) {
                gate_forget_prefetch(c);
        }
        if (c->storage) {
                c->asked = need;
                c->ticket = ticket;
                c->storing = 1;
        } else if (c->filling && need > c->target) { /* the fill keeps its aim; the new want is taken up after it */
                c->late = 1;
                c->late_need = need;
                c->late_ticket = ticket;
        } else if (c->filling && c->wants) {
                c->late = 0;
                c->ticket = ticket;
        } else {
                uint64_t elapsed = gate->now - c->wait_since, since = c->wait_since;
                bool waited = c->wants;

                c->asked = need;
                c->ticket = ticket;
                gate_begin_wait(gate, c);
                if (waited) { /* it keeps its place */
                        c->wait_since = since;
                        c->wait_bound = plus(c->wait_bound, elapsed);
                }
        }
        gate_settle(gate);
        return 0;
}

int gate_given_way(struct gate *gate, uint64_t now, uint32_t client, bool wants)
{
        struct client *c = gate_known(gate, now, client);

        if (!c || c->state != WIRE_GIVING_WAY)
                return -E_MESSAGE;
        gate_drained(device_at(gate, c->device), gate->now - c->gave_at);
        gate_move(gate, c, WIRE_WAITING);
        if (wants && !c->wants) {
                gate_forget_prefetch(c); /* announced while it gave way: it asks by itself */
                c->asked = 0;
                c->ticket = 0;
                gate_begin_wait(gate, c);
        }
        gate->quiet = 0;
        gate_settle(gate);
        return 0;
}

/* Moved and elapsed count from the start of the move: the difference is new. */
static void count_move(struct gate *g, struct client *c, uint64_t moved, uint64_t elapsed, bool out)
{
        struct device *d = device_at(g, c->device);
        uint64_t bytes = least(minus(moved, c->moved_seen), INT64_MAX / 4);
        uint64_t ns = least(minus(elapsed, c->elapsed_seen), INT64_MAX / 4);

        *(out ? &c->out_bytes : &c->in_bytes) += bytes;
        *(out ? &c->out_ns : &c->in_ns) += ns;
        *(out ? &d->out_bytes : &d->in_bytes) += bytes;
        *(out ? &d->out_ns : &d->in_ns) += ns;
        c->moved_seen = most(moved, c->moved_seen);
        c->elapsed_seen = most(elapsed, c->elapsed_seen);
}

int gate_evicted(struct gate *gate, uint64_t now, uint32_t client, uint64_t resident, uint64_t returned, uint64_t moved,
                 uint64_t elapsed_ns, bool done, int status)
{
        struct client *c = gate_known(gate, now, client);

        if (!c || c->state != WIRE_GOING_OUT || !fits_books(c, c->movable, c->pinned, resident, returned))
                return -E_MESSAGE;
        c->resident = resident;
        take_back(gate, c, returned);
        if (c->storage) { /* what left is not its any more */
                c->movable = resident;
                c->backed = least(c->backed, c->movable);
        }
        count_move(gate, c, moved, elapsed_ns, true);
        if (done || status < 0) {
                gate_measured(&device_at(gate, c->device)->out_rate, moved, elapsed_ns);
                if (c->evict_left && c->grant > c->pinned)
                        c->keep_until = gate->now + gate_back_off(c->out_failures++);
                else
                        c->out_failures = 0;
                c->evict_left = 0;
                c->whole = c->bringing = 0;
                gate_move(gate, c, WIRE_WAITING);
        }
        gate->quiet = 0;
        gate_settle(gate);
        return 0;
}

/* In turn while coming in, and also later when the fill was called off before the client heard of it. */
int gate_brought_in(struct gate *gate, uint64_t now, uint32_t client, uint64_t resident, uint64_t returned,
                    uint64_t moved, uint64_t elapsed_ns, bool done, int status)
{
        struct client *c = gate_known(gate, now, client);

        if (!c || !c->bringing || (c->state != WIRE_COMING_IN && c->state != WIRE_WAITING && c->state != WIRE_GOING_OUT) ||
            !fits_books(c, c->movable, c->pinned, resident, returned))
                return -E_MESSAGE;
        done &= status >= 0;
        c->resident = resident;
        take_back(gate, c, returned);
        if (done)
                c->movable = resident; /* it owns nothing else */
        if (c->state == WIRE_COMING_IN) {
                count_move(gate, c, moved, elapsed_ns, false);
                if (done)
                        gate_measured(&device_at(gate, c->device)->in_rate, moved, elapsed_ns);
        }
        if (done || status < 0) {
                c->bringing = 0;
                if (c->state == WIRE_COMING_IN)
                        gate_move(gate, c, WIRE_WAITING);
        }
        if (done) {
                c->in_failures = 0;
        } else if (status < 0) {
                c->hold_until = gate->now + gate_back_off(c->in_failures++);
                if (c->filling)
                        gate_abort_fill(gate, c);
        }
        gate->quiet = 0;
        gate_settle(gate);
        return 0;
}

void gate_active(struct gate *gate, uint64_t now, uint32_t client)
{
        struct client *c = gate_known(gate, now, client);

        if (c)
                c->active_at = gate->now;
}

void gate_tick(struct gate *gate, uint64_t now)
{
        gate_advance(gate, now);
        if (gate->now >= gate->deadline || gate->dirty)
                gate_settle(gate);
}

uint64_t gate_next_deadline(const struct gate *gate)
{
        return gate->deadline;
}
