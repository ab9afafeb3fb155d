/* plan.c: who comes in, and with which bytes. The only place where decisions are made, from the books alone, anew after each event.
 *
 * One pass: (1) what ran out of time; (2) devices that are too full lose what is too much; (3) units that are being filled get what became free;
 * (4) the others in their order. A unit is what waits: the members of a job that are not in, or one running client that grows; its class is
 * lowered by ageing, then the longer wait goes first. The first unit on all its devices is their head. What fits is let in. Otherwise the
 * head claims its devices and is filled as soon as enough can leave (victim.c), else when the next slice ends; until then units behind it
 * may use what is free, without the protection of a slice. A head that could not be filled even if all that can move left is passed over with
 * the reason told. At most one unit per device is partly filled; one that can't be completed any more gives up its claim, so that nobody
 * holds and waits. Invariants 1, 3, 4 and 7 rest on this file.
 */
#include "gate/gate-internal.h"

#include <string.h>

void gate_push(struct gate *g, struct gate_action action)
{
        if (g->ring_count >= g->ring_size) {
#ifndef NDEBUG
                abort();
#else
                g->refused_moves++;
                return;
#endif
        }
        *ring_at(g, g->ring_first + g->ring_count++) = action;
}

static struct gate_action about(const struct gate *g, uint32_t kind, const struct client *c)
{
        return (struct gate_action){.kind = kind, .client = client_index(g, c), .device = c->device};
}

static void wake_at(struct gate *g, uint64_t when)
{
        struct scratch *s = scratch_of(g);

        if (when > g->now && when < s->next)
                s->next = when;
}

/* Declared needs are wishes: they count as long as the job, with them, can fit. */
static uint64_t declared(const struct gate *g, const struct client *c)
{
        uint64_t together = 0, part = g->settings.client_part_bytes;

        if (c->modest)
                return 0;
        if (!c->need || !c->job)
                return least(c->need, gate_room(g, c->device));
        for_each_in_job (g, client_index(g, c), mate)
                if (mate->device == c->device)
                        together += part + most(most(mate->need, owned(mate)), mate->wants ? mate->asked : 0);
        return together <= gate_device_room(g, device_at(g, c->device)) ? c->need : 0;
}

/* The grant with which it can run, or go on. */
uint64_t gate_required(const struct gate *g, const struct client *c)
{
        uint64_t bytes = owned(c);

        if (c->state != WIRE_RUNNING)
                bytes = most(bytes, declared(g, c));
        return c->wants ? most(bytes, c->asked) : bytes;
}

uint64_t gate_shortage(const struct gate *g, const struct client *c)
{
        uint64_t bytes = gate_required(g, c);

        if (c->filling)
                bytes = least(bytes, c->target);
        if (!c->admitted)
                bytes += g->settings.client_part_bytes;
        return minus(bytes, c->grant + c->reserved);
}

bool gate_in_unit(const struct unit *u, const struct gate *g, const struct client *c)
{
        if (u->grow)
                return client_index(g, c) == u->lead;
        if ((c->state != WIRE_WAITING && c->state != WIRE_COMING_IN) || c->stuck)
                return false;
        return u->filling ? c->filling : !c->filling && (c->wants || owned(c));
}

#define for_each_in_unit(g, u, c)       \
        for_each_in_job (g, (u)->lead, c) \
                if (gate_in_unit(u, g, c))

static struct pass *pass_of(const struct gate *g, const struct client *c)
{
        return pass_at(g, c->device);
}

void gate_measure(struct gate *g, const struct unit *u)
{
        for_each_in_unit (g, u, c)
                pass_of(g, c)->shortage = pass_of(g, c)->parts = 0;
        for_each_in_unit (g, u, c) {
                pass_of(g, c)->shortage += gate_shortage(g, c);
                pass_of(g, c)->parts += c->admitted ? 0 : g->settings.client_part_bytes;
        }
}

static bool before(const struct unit *a, const struct unit *b)
{
        if (a->filling != b->filling)
                return a->filling;
        if (a->class != b->class)
                return a->class < b->class;
        return a->since != b->since ? a->since < b->since : a->born < b->born;
}

static void sort_units(const struct gate *g, uint32_t n)
{
        struct unit *a = unit_at(g, 0);

        for (uint32_t start = n / 2, end = n; end > 1;) { /* heap sort: no memory, no worst case */
                uint32_t root, child;
                struct unit held;

                if (start > 0) {
                        held = a[--start];
                } else {
                        held = a[--end];
                        a[end] = a[0];
                }
                for (root = start; (child = 2 * root + 1) < end; root = child) {
                        if (child + 1 < end && before(&a[child], &a[child + 1]))
                                child++;
                        if (!before(&held, &a[child]))
                                break;
                        a[root] = a[child];
                }
                a[root] = held;
        }
}

static void add_unit(struct gate *g, const struct client *lead, uint32_t grow, uint32_t filling)
{
        struct scratch *s = scratch_of(g);
        struct unit *u = unit_at(g, s->units_n);

        *u = (struct unit){.lead = client_index(g, lead), .grow = grow, .filling = filling, .class = WIRE_PRIORITY_N,
                           .priority = WIRE_PRIORITY_N, .since = GATE_NEVER, .born = GATE_NEVER};
        for_each_in_unit (g, u, c) {
                if (!c->wants)
                        continue;
                u->class = (uint32_t)least(u->class, gate_class(g, c));
                u->priority = (uint32_t)least(u->priority, c->priority);
                u->since = least(u->since, c->wait_since);
                u->born = least(u->born, c->born);
        }
        if (u->class < WIRE_PRIORITY_N || filling)
                s->units_n++;
}

/* A job whose members still give way, go out or come in is not ready to come in. */
static void add_job(struct gate *g, const struct client *lead)
{
        bool filling = false, waiting = false, settled = true;

        for_each_in_job (g, client_index(g, lead), c) {
                if (c->state == WIRE_RUNNING && (c->wants || c->filling))
                        add_unit(g, c, 1, c->filling);
                if (c->state == WIRE_GIVING_WAY || c->state == WIRE_GOING_OUT || c->stuck || c->state == WIRE_COMING_IN)
                        settled = false;
                if (c->state == WIRE_WAITING || c->state == WIRE_COMING_IN) {
                        filling |= c->filling;
                        waiting |= c->wants && !c->filling;
                }
        }
        if (filling)
                add_unit(g, lead, 0, 1);
        else if (waiting && settled)
                add_unit(g, lead, 0, 0);
}

/* Passes and units from the books. */
void gate_collect_units(struct gate *g)
{
        struct scratch *s = scratch_of(g);

        *s = (struct scratch){.arena_left = g->arena_free, .next = GATE_NEVER};
        for (uint32_t i = 0; i < g->max_devices; i++)
                *pass_at(g, i) = (struct pass){.free = gate_free_bytes(g, i), .only_batch = 1, .head_at = GATE_NEVER, .margin = UINT64_MAX};
        for_each_client (g, c) {
                struct pass *p = pass_of(g, c);

                if (c->wants || c->state == WIRE_RUNNING)
                        p->only_batch &= c->priority == WIRE_BATCH;
                p->running += c->state == WIRE_RUNNING;
                p->blocked += c->state == WIRE_RUNNING && c->wants && (int64_t)gate_shortage(g, c) > p->free;
                p->stuck += c->stuck;
                if (c->stuck)
                        continue;
                p->moving += c->state != WIRE_RUNNING && c->state != WIRE_WAITING;
                if (c->state == WIRE_GOING_OUT || c->state == WIRE_GIVING_WAY) {
                        uint64_t out = least(c->state == WIRE_GOING_OUT ? c->evict_left : c->due,
                                             gate_evictable(c, s->arena_left));

                        p->promised += out;
                        s->arena_left -= gate_arena_use(c, out);
                }
        }
        for_each_client (g, c)
                if (c->leader == client_index(g, c))
                        add_job(g, c);
        sort_units(g, s->units_n);
}

/* --- filling --- */

static void bring_in(struct gate *g, struct client *c, uint64_t bytes)
{
        struct gate_action action = about(g, GATE_BRING_IN, c);

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

static void begin_fill(struct gate *g, struct unit *u, bool backfill)
{
        for_each_in_unit (g, u, c) {
                c->target = gate_required(g, c);
                c->filling = 1;
                c->backfill = backfill;
        }
        u->filling = 1;
        fill(g, u);
}

static void stop_filling(struct gate *g, struct client *c)
{
        gate_uncharge(g, c, c->reserved);
        c->reserved = 0;
        c->filling = c->backfill = 0;
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
        struct gate_action action = about(g, grow ? GATE_AVAILABLE : GATE_GO, c);
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
        action.bytes = c->reserved;
        action.ticket = c->wants ? c->ticket : 0;
        c->grant += c->reserved;
        c->reserved = 0;
        if (!grow)
                c->class_in = (uint32_t)least(u->class, c->priority);
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
static bool complete(struct gate *g, struct unit *u)
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

static void claim(struct gate *g, const struct unit *u, enum claim how)
{
        for_each_in_unit (g, u, c)
                pass_of(g, c)->claim = (uint32_t)most(pass_of(g, c)->claim, how);
}

static void tell(struct gate *g, const struct unit *u, uint32_t reason)
{
        for_each_in_unit (g, u, c)
                c->reason = reason;
}

static uint64_t missing(const struct pass *p)
{
        return p->free < 0 ? p->shortage + (uint64_t)-p->free : minus(p->shortage, (uint64_t)p->free);
}

/* Could it be complete if all that can move left? Otherwise the reason. */
bool gate_feasible(struct gate *g, const struct unit *u, uint32_t device, uint32_t *ret_reason)
{
        uint64_t sure = 0, arena = 0, held = 0, stuck = 0, pinned = 0, lacking = missing(pass_at(g, device));

        for_each_on_device (g, device_at(g, device), c) {
                uint64_t first = gate_evictable(c, 0), rest = gate_evictable(c, UINT64_MAX) - first;

                if (c->leader == client_at(g, u->lead)->leader) {
                        if (!u->grow || u->lead != client_index(g, c))
                                sure += gate_trimmable(g, c);
                        continue;
                }
                if (c->stuck) {
                        stuck += minus(c->grant, c->pinned) + c->reserved;
                        continue;
                }
                pinned += c->pinned;
                if (c->keep_until > g->now) {
                        held += first + rest;
                        continue;
                }
                sure += first + minus(c->reserved, c->admitted ? 0 : g->settings.client_part_bytes);
                arena += rest;
        }
        if (sure + least(arena, g->arena_free) >= lacking) {
                pass_at(g, device)->spare = sure + least(arena, g->arena_free) - lacking;
                return true;
        }
        *ret_reason = sure + arena + held >= lacking                    ? WIRE_WAIT_ARENA
                      : sure + arena + held + stuck >= lacking          ? WIRE_WAIT_STUCK
                      : sure + arena + held + stuck + pinned >= lacking ? WIRE_WAIT_PINNED
                                                                        : WIRE_WAIT_MEMORY;
        return false;
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

/* A unit that has begun: it gets what is free, and more leaves if what is on its way out is too little. */
static void go_on_filling(struct gate *g, struct unit *u)
{
        if (!worth_filling(g, u)) {
                for_each_in_unit (g, u, c)
                        stop_filling(g, c);
                return;
        }
        fill(g, u);
        if (complete(g, u))
                return;
        gate_measure(g, u);
        tell(g, u, WIRE_WAIT_MEMORY);
        for_each_in_unit (g, u, c) {
                struct pass *p = pass_of(g, c);
                uint64_t lacking = missing(p);

                if (!p->shortage || p->claim == CLAIM_FILL)
                        continue;
                p->claim = CLAIM_FILL;
                gate_trims(g, u, c->device);
                if (lacking > p->promised)
                        p->promised += gate_victims(g, u, c->device, lacking - p->promised, true);
        }
}

static void deny(struct gate *g, struct client *c, int code, uint64_t most_bytes)
{
        struct gate_action action = about(g, GATE_DENY, c);

        action.ticket = c->ticket;
        action.code = code;
        action.bytes = most_bytes;
        gate_end_wait(g, c);
        gate_push(g, action);
        g->again = 1;
}

/* What a mate takes that must be resident together with c: older ones asked first. */
static uint64_t beside(const struct gate *g, const struct client *c, const struct client *mate)
{
        bool older = mate->wants && mate->born < c->born;

        if (!mate->admitted && !older)
                return 0;
        return (mate->admitted ? mate->part : g->settings.client_part_bytes) + most(owned(mate), older ? mate->asked : 0);
}

/* Wants that can never be met, as far as the client itself and the device's size go. */
static bool deny_impossible(struct gate *g, const struct unit *u)
{
        bool denied = false;

        for_each_in_unit (g, u, c) {
                uint64_t room = gate_room(g, c->device), mates = 0;

                if (!c->wants || c->asked <= owned(c) || c->asked <= c->grant)
                        continue;
                for_each_in_job (g, client_index(g, c), mate)
                        if (mate != c && mate->device == c->device)
                                mates += beside(g, c, mate);
                if (c->limit && c->asked > c->limit)
                        deny(g, c, -E_LIMIT, least(c->limit, minus(room, mates)));
                else if (c->asked > minus(room, mates))
                        deny(g, c, -E_DEVICE_SIZE, c->limit ? least(c->limit, minus(room, mates)) : minus(room, mates));
                else
                        continue;
                denied = true;
        }
        return denied;
}

/* Of those that run on the device and all wait to grow: who goes out. The lowest class, then the youngest. */
static struct client *deadlocked(const struct gate *g, uint32_t device)
{
        struct client *victim = NULL;

        for_each_on_device (g, device_at(g, device), c)
                if (c->state == WIRE_RUNNING && !c->filling && c->keep_until <= g->now &&
                    gate_evictable(c, scratch_of(g)->arena_left) &&
                    (!victim || c->class_in > victim->class_in ||
                     (c->class_in == victim->class_in && c->born > victim->born)))
                        victim = c;
        return victim;
}

static bool someone_gains(struct gate *g, const struct client *yielding)
{
        uint32_t reason;

        for (uint32_t i = 0; i < scratch_of(g)->units_n; i++) {
                struct unit *u = unit_at(g, i);

                if (!u->grow || client_at(g, u->lead) == yielding || client_at(g, u->lead)->device != yielding->device)
                        continue;
                gate_measure(g, u);
                if (gate_feasible(g, u, yielding->device, &reason))
                        return true;
        }
        return false;
}

/* Two grow and both wait: the one that is to go out does not ask for its growth first. */
static bool yields_in_deadlock(struct gate *g, const struct unit *u)
{
        struct client *c = client_at(g, u->lead);
        struct pass *p = pass_of(g, c);

        if (!u->grow || p->running < 2 || p->blocked < p->running || p->moving || p->claim ||
            deadlocked(g, c->device) != c || !someone_gains(g, c))
                return false;
        gate_give_way(g, c, WIRE_GIVE_DEADLOCK);
        c->whole = 1;
        c->due = gate_evictable(c, scratch_of(g)->arena_left);
        c->wait_since = g->now; /* the wait begins anew, behind those it makes room for */
        c->wait_bound = gate_wait_bound(g, g->now, client_index(g, c));
        g->again = 1;
        return true;
}

/* Nothing happened to its members since the units were listed. */
static bool still_waits(const struct gate *g, const struct unit *u)
{
        if (u->grow)
                return client_at(g, u->lead)->state == WIRE_RUNNING;
        for_each_in_job (g, u->lead, c)
                if (c->state == WIRE_GIVING_WAY || c->state == WIRE_GOING_OUT)
                        return u->filling;
        return true;
}

/* What does not fit with declared needs may with what is owned and asked for. */
static bool be_modest(struct gate *g, const struct unit *u)
{
        bool changed = false;

        for_each_in_unit (g, u, c) {
                changed |= !c->modest && declared(g, c) > most(owned(c), c->wants ? c->asked : 0);
                c->modest = 1;
        }
        g->again |= changed;
        return changed;
}

/* Grant that waiting members hold beyond what they need is in the way of their own mates. */
static bool return_surplus(struct gate *g, const struct unit *u)
{
        bool returning = false;

        for_each_in_unit (g, u, c) {
                uint64_t surplus = least(slack(c), minus(c->grant, gate_required(g, c)));

                if (u->grow || c->keep_until > g->now || !surplus || !missing(pass_of(g, c)))
                        continue;
                gate_evict(g, c, surplus);
                returning = true;
        }
        g->again |= returning;
        return returning;
}

static void serve(struct gate *g, struct unit *u)
{
        bool claimed = false, filled = false, fits = true, possible = true, now = true, early = true;
        uint64_t in = 0;
        uint32_t reason;

        if (deny_impossible(g, u) || yields_in_deadlock(g, u))
                return;
        for_each_in_unit (g, u, c) {
                if (c->hold_until > g->now) {
                        wake_at(g, c->hold_until);
                        tell(g, u, WIRE_WAIT_QUEUE);
                        return;
                }
        }
        gate_measure(g, u);
        for_each_in_unit (g, u, c) {
                struct pass *p = pass_of(g, c);

                claimed |= p->claim != CLAIM_NONE;
                filled |= p->claim == CLAIM_FILL && p->shortage;
                fits &= !p->shortage || (p->free > 0 && p->shortage <= (uint64_t)p->free);
                in = outside(c);
                fits &= p->parts <= p->margin; /* else those who claim the device might never be served */
                early &= !in || p->claim != CLAIM_BLOCKED ||
                         minus(p->head_at, g->now) >= 2 * gate_switch_cost(g, c->device, in, in);
        }
        if (claimed) {
                tell(g, u, WIRE_WAIT_QUEUE);
                if (fits && !filled && early) {
                        begin_fill(g, u, true);
                        complete(g, u);
                        return;
                }
                for_each_in_unit (g, u, c) {
                        struct pass *p = pass_of(g, c);

                        if (p->shortage && !gate_feasible(g, u, c->device, &reason)) {
                                tell(g, u, reason);
                                return;
                        }
                        if (p->shortage)
                                p->margin = least(p->margin, p->spare);
                }
                claim(g, u, CLAIM_BLOCKED);
                return;
        }
        if (fits) {
                begin_fill(g, u, false);
                complete(g, u);
                return;
        }
        if (return_surplus(g, u))
                return;
        for (uint32_t i = 0; i < g->max_devices; i++)
                pass_at(g, i)->seen = 0;
        for_each_in_unit (g, u, c) {
                struct pass *p = pass_of(g, c);
                uint64_t lacking = missing(p), trims;

                if (!p->shortage || p->seen)
                        continue;
                p->seen = 1;
                if (!gate_feasible(g, u, c->device, &reason)) {
                        if (be_modest(g, u))
                                return;
                        tell(g, u, reason);
                        p->infeasible++;
                        possible = false;
                        break;
                }
                trims = gate_trims(g, u, c->device);
                if (p->promised >= lacking)
                        continue;
                lacking -= p->promised;
                if (trims >= lacking || gate_victims(g, u, c->device, lacking, false) < lacking)
                        now = false;
        }
        if (!possible)
                return; /* passed over: others may be served from what it can't use */
        tell(g, u, WIRE_WAIT_MEMORY);
        if (!now) {
                claim(g, u, CLAIM_BLOCKED);
                for_each_in_unit (g, u, c) {
                        struct pass *p = pass_of(g, c);

                        p->head_at = least(p->head_at, scratch_of(g)->next);
                        if (p->shortage)
                                p->margin = least(p->margin, p->spare);
                }
                return;
        }
        begin_fill(g, u, false);
        go_on_filling(g, u);
}

/* --- around the units --- */

/* Foreign use grew, a client resumed with more, or settings changed. */
static void relieve(struct gate *g, uint32_t device)
{
        struct pass *p = pass_at(g, device);

        if (p->free >= 0)
                return;
        if (gate_trims(g, NULL, device) < (uint64_t)-p->free && (uint64_t)-p->free > p->promised)
                p->promised += gate_victims(g, NULL, device, (uint64_t)-p->free - p->promised, true);
}

/* All that run on a device wait to grow, nothing moves, and none can be moved out for another: the youngest is refused. */
static void deny_hopeless(struct gate *g)
{
        for (uint32_t i = 0; i < g->max_devices; i++) {
                struct pass *p = pass_at(g, i);
                struct client *youngest = NULL;

                if (!p->infeasible || !p->running || p->blocked < p->running || p->moving || p->stuck || p->claim)
                        continue;
                for_each_on_device (g, device_at(g, i), c)
                        if (c->state == WIRE_RUNNING && c->wants && !c->filling &&
                            (c->reason == WIRE_WAIT_ARENA || c->reason == WIRE_WAIT_PINNED || c->reason == WIRE_WAIT_MEMORY) &&
                            (!youngest || c->born > youngest->born))
                                youngest = c;
                if (youngest)
                        deny(g, youngest, youngest->reason == WIRE_WAIT_ARENA ? -E_ARENA : -E_DEADLOCK,
                             youngest->grant + (p->free > 0 ? (uint64_t)p->free : 0));
        }
}

static void expire(struct gate *g)
{
        for_each_client (g, c) {
                struct gate_action action = about(g, GATE_REPORT, c);

                if (c->stuck || c->deadline > g->now)
                        continue;
                if (c->state == WIRE_COMING_IN && c->filling && gate_shortage(g, c)) {
                        c->deadline = plus(g->now, g->settings.move_bound_ns); /* it waits for the rest, not we for it */
                        continue;
                }
                action.code = -E_STUCK;
                action.reason = c->state == WIRE_GIVING_WAY ? c->give_reason : WIRE_GIVE_REASON_N;
                c->stuck = 1;
                c->kill_at = g->settings.kill_after_ns ? plus(g->now, g->settings.kill_after_ns) : GATE_NEVER;
                gate_push(g, action);
                if (c->filling)
                        gate_abort_fill(g, c);
        }
}

static void pass(struct gate *g)
{
        struct scratch *s = scratch_of(g);

        gate_collect_units(g);
        for_each_client (g, c)
                c->reason = WIRE_WAIT_QUEUE;
        for (uint32_t i = 0; i < g->max_devices; i++)
                if (device_at(g, i)->present)
                        relieve(g, i);
        for (uint32_t i = 0; i < s->units_n && !g->again; i++) {
                struct unit *u = unit_at(g, i);

                if (!still_waits(g, u))
                        continue;
                if (u->filling)
                        go_on_filling(g, u);
                else
                        serve(g, u);
        }
        if (!g->again)
                deny_hopeless(g);
}

static void tell_waiters(struct gate *g)
{
        struct scratch *s = scratch_of(g);

        for (uint32_t i = 0; i < s->units_n; i++) {
                struct unit *u = unit_at(g, i);

                if (u->done)
                        continue;
                for (uint32_t d = 0; d < g->max_devices; d++)
                        pass_at(g, d)->seen = 0;
                for_each_in_unit (g, u, c) {
                        struct pass *p = pass_of(g, c);
                        struct gate_action action = about(g, GATE_WAIT, c);

                        if (!p->seen++)
                                p->queued++;
                        c->position = p->queued;
                        if (c->filling && !gate_shortage(g, c))
                                continue; /* it has all it needs and comes in, or its mates do */
                        p->waiting = 1;
                        if (gate_class(g, c) && g->settings.age_ns)
                                wake_at(g, c->wait_since + (minus(g->now, c->wait_since) / g->settings.age_ns + 1) * g->settings.age_ns);
                        if (!c->wants || c->reason == c->told_reason)
                                continue;
                        c->told_reason = c->reason;
                        action.ticket = c->ticket;
                        action.reason = c->reason;
                        action.position = c->position;
                        action.bytes = gate_shortage(g, c);
                        gate_push(g, action);
                }
        }
        for (uint32_t i = 0; i < g->max_devices; i++) {
                struct device *d = device_at(g, i);
                uint32_t waiting = pass_at(g, i)->waiting;

                if (d->present && d->contended != waiting) {
                        d->contended = waiting;
                        d->contended_since = g->now;
                        gate_push(g, (struct gate_action){.kind = GATE_CONTENDED, .client = GATE_NONE, .device = i, .bytes = waiting});
                        if (waiting)
                                wake_at(g, plus(g->now, g->settings.idle_ns));
                }
        }
}

static void set_timers(struct gate *g)
{
        struct scratch *s = scratch_of(g);

        g->quiet = s->units_n == 0;
        for (uint32_t i = 0; i < g->max_devices; i++)
                if (device_at(g, i)->present && gate_free_bytes(g, i) < 0)
                        g->quiet = 0;
        for_each_client (g, c) {
                struct pass *p = pass_of(g, c);

                for_each_in_job (g, client_index(g, c), mate)
                        p->waiting |= c->stuck && mate->wants; /* not in a unit: its own mate holds it up */
                if (c->stuck && p->waiting) {
                        if (c->kill_at <= g->now) {
                                gate_push(g, about(g, GATE_KILL, c));
                                c->kill_at = plus(g->now, g->settings.kill_after_ns);
                        }
                        wake_at(g, c->kill_at);
                }
                if (!c->stuck)
                        wake_at(g, c->deadline);
                if (p->waiting || p->free < 0) {
                        wake_at(g, c->keep_until);
                        wake_at(g, c->trim_until);
                }
        }
        g->deadline = s->next;
}

/* One that resumed running after its mates were asked to give way. */
static void keep_jobs_together(struct gate *g)
{
        for_each_client (g, c) {
                if (c->state != WIRE_GIVING_WAY || !c->job)
                        continue;
                for_each_in_job (g, client_index(g, c), mate) {
                        if (mate->state == WIRE_RUNNING) {
                                gate_give_way(g, mate, c->give_reason);
                                break;
                        }
                }
        }
}

void gate_plan(struct gate *g)
{
        uint32_t rounds = 4 * g->max_clients + 16;

        g->dirty = 0;
        expire(g);
        keep_jobs_together(g);
        do {
                g->again = 0;
                pass(g);
        } while (g->again && --rounds);
        if (g->again)
                g->refused_moves++;
        tell_waiters(g);
        set_timers(g);
}
