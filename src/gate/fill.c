/* fill.c: giving a unit its bytes, and opening its gates.
 *
 * A unit that is being filled gets what is free at once: bytes that it can bring in go to the client (BRING_IN), so that they move while others
 * still leave; the rest is reserved and comes with GO or AVAILABLE. Gates open when every member has all it needs and all of it is
 * resident, in one step for the whole job. A fill that can't be completed any more, or that nobody wants any more, is called off: what is
 * reserved is free, what was brought in may be evicted again.
 */
#include "gate/gate-internal.h"

#define AHEAD_LEAST (UINT64_C(32) << 20)
#define AHEAD_MOST (UINT64_C(2) << 30)

static void bring_in(struct gate *g, struct client *c, uint64_t bytes)
{
        struct gate_action action = gate_about(g, GATE_BRING_IN, c);

        if (c->state == WIRE_WAITING)
                gate_move(g, c, WIRE_COMING_IN);
        c->deadline = plus(g->now, g->settings.move_bound_ns +
                                           gate_time_of(minus(least(c->grant, owned(c)), c->resident + c->pinned),
                                                        g->settings.move_bytes_per_s));
        if (c->bringing && !bytes)
                return; /* at it already, since a fill that was called off */
        c->bringing = 1;
        for (uint32_t i = g->ring_count; i-- > 0;) { /* one message for what one step brings */
                struct gate_action *last = ring_at(g, g->ring_first + i);

                if (last->client != action.client)
                        continue;
                if (last->kind != GATE_BRING_IN)
                        break;
                last->bytes += bytes;
                return;
        }
        action.bytes = bytes;
        gate_push(g, action);
}

/* What it can bring in goes to it at once, the rest is kept for it until its gate opens. */
static void give(struct gate *g, struct client *c, uint64_t bytes)
{
        uint64_t in = c->admitted && outside(c) ? least(bytes, minus(owned(c), c->grant)) : 0;

        gate_charge(g, c, bytes);
        pass_of(g, c)->free -= (int64_t)bytes;
        c->grant += in;
        c->reserved += bytes - in;
        if (c->state != WIRE_RUNNING && outside(c) && (in || (c->state == WIRE_WAITING && slack(c))))
                bring_in(g, c, in);
}

static void fill(struct gate *g, const struct unit *u)
{
        for_each_in_unit (g, u, c) {
                uint64_t bytes = least(gate_shortage(g, c), pass_of(g, c)->free > 0 ? (uint64_t)pass_of(g, c)->free : 0);

                if (bytes || c->state == WIRE_WAITING)
                        give(g, c, bytes);
        }
}

void gate_begin_fill(struct gate *g, struct unit *u, bool backfill)
{
        for_each_in_unit (g, u, c) {
                c->target = gate_required(g, c);
                c->filling = 1;
                c->filled_in = g->events;
                c->backfill = u->grow ? c->backfill : backfill;
        }
        u->filling = 1;
        fill(g, u);
}

static void stop_filling(struct gate *g, struct client *c)
{
        gate_uncharge(g, c, c->reserved);
        c->reserved = 0;
        c->filling = c->backfill = 0;
        if (c->prefetch)
                gate_forget_prefetch(c);
        if (c->filled_in != g->events)
                g->eased_at = g->now;
        if (c->late) {
                c->late = 0;
                c->asked = c->late_need;
                c->ticket = c->late_ticket;
                if (!c->wants)
                        gate_begin_wait(g, c);
        }
        if (c->state == WIRE_COMING_IN && !c->stuck)
                gate_move(g, c, WIRE_WAITING);
        g->again = 1;
}

void gate_abort_fill(struct gate *g, struct client *c)
{
        if (c->state == WIRE_RUNNING) {
                stop_filling(g, c);
                return;
        }
        for_each_in_job (g, client_index(g, c), mate)
                if (mate->filling && mate->state != WIRE_RUNNING)
                        stop_filling(g, mate);
}

static void open_gate(struct gate *g, struct client *c, const struct unit *u)
{
        bool grow = u->grow;
        struct gate_action action = gate_about(g, grow ? GATE_AVAILABLE : GATE_GO, c);
        struct device *d = device_at(g, c->device);
        uint64_t part = c->admitted ? 0 : g->settings.client_part_bytes, excess;

        c->filling = 0;
        excess = least(c->reserved, minus(c->grant + c->reserved, gate_required(g, c) + part));
        gate_uncharge(g, c, excess); /* it freed some meanwhile */
        c->reserved -= excess;
        if (excess)
                g->again = 1;
        if (!c->admitted) {
                c->part = least(part, c->reserved);
                c->reserved -= c->part;
                c->admitted = 1;
        }
        if (grow) {
                uint64_t take = least(c->kept, minus(gate_required(g, c), c->grant + c->reserved));

                c->kept -= take;
                c->reserved += take;
        }
        action.bytes = c->reserved;
        action.ticket = c->wants ? c->ticket : 0;
        c->grant += c->reserved;
        c->reserved = 0;
        if (!grow)
                c->class_in = (uint32_t)least(u->class, c->priority);
        if (c->prefetch)
                gate_forget_prefetch(c);
        gate_end_wait(g, c);
        gate_push(g, action);
        c->active_at = g->now; /* a blocked one was not idle by its own choice */
        if (!grow) {
                gate_move(g, c, WIRE_RUNNING);
                d->slice_ns = gate_slice(g, c, 0);
                if (!c->backfill)
                        for_each_on_device (g, d, other)
                                if (other->state == WIRE_RUNNING)
                                        other->backfill = 0; /* the head they had no protection from is in */
        }
        if (c->late) {
                c->late = 0;
                c->asked = c->late_need;
                c->ticket = c->late_ticket;
                gate_begin_wait(g, c);
                g->again = 1;
        }
}

/* True when all its members are in, and their gates open now. */
bool gate_complete(struct gate *g, struct unit *u)
{
        for_each_in_unit (g, u, c)
                if (gate_shortage(g, c) || (!u->grow && (outside(c) || c->state != WIRE_WAITING)))
                        return false;
        for_each_in_unit (g, u, c)
                open_gate(g, c, u);
        u->done = 1;
        for_each_in_job (g, u->lead, mate)
                if (mate->wants)
                        g->again = 1; /* joins those that run now, or grows */
        return true;
}

void gate_tell(struct gate *g, const struct unit *u, uint32_t reason)
{
        for_each_in_unit (g, u, c)
                c->reason = reason;
}

/* Can it still be completed, and is it alone in wanting to be? */
static bool worth_filling(struct gate *g, const struct unit *u)
{
        bool wanted = false;
        uint32_t reason;

        gate_measure(g, u);
        for_each_in_unit (g, u, c) {
                wanted |= c->wants;
                if (pass_of(g, c)->shortage &&
                    (pass_of(g, c)->claim == CLAIM_FILL || !gate_feasible(g, u, c->device, &reason)))
                        return false;
                if (!gate_shortage(g, c) && c->state == WIRE_WAITING && outside(c) && !slack(c))
                        return false; /* it says it owns more than it did when the fill began */
        }
        return wanted;
}

/* A program that grows in many small steps does not wait for a move at each of them: with the bytes it lacks some more leave, of those that do not run. */
static uint64_t ahead_of_growth(struct gate *g, const struct unit *u, uint32_t device, uint64_t need)
{
        uint64_t more = least(client_at(g, u->lead)->resident / 8, AHEAD_MOST);

        if (!u->grow || more < AHEAD_LEAST)
                return 0;
        return minus(gate_loose(g, u, device, need + more), need);
}

/* A unit that has begun: it gets what is free, and more leaves if what is on its way out is too little. */
void gate_go_on_filling(struct gate *g, struct unit *u)
{
        if (!worth_filling(g, u)) {
                for_each_in_unit (g, u, c)
                        stop_filling(g, c);
                return;
        }
        fill(g, u);
        if (gate_complete(g, u))
                return;
        gate_measure(g, u);
        gate_tell(g, u, WIRE_WAIT_MEMORY);
        for_each_in_unit (g, u, c) {
                struct pass *p = pass_of(g, c);
                uint64_t lacking = gate_missing(p);

                if (!p->shortage || p->claim == CLAIM_FILL)
                        continue;
                p->claim = CLAIM_FILL;
                gate_trims(g, u, c->device);
                if (lacking > p->promised) {
                        lacking -= p->promised;
                        p->promised += gate_victims(g, u, c->device, lacking + ahead_of_growth(g, u, c->device, lacking), true);
                }
        }
}
