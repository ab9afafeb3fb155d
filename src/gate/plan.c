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


static void claim(struct gate *g, const struct unit *u, enum claim how)
{
        for_each_in_unit (g, u, c)
                pass_of(g, c)->claim = (uint32_t)most(pass_of(g, c)->claim, how);
}

void gate_deny(struct gate *g, struct client *c, int code, uint64_t most_bytes)
{
        struct gate_action action = gate_about(g, GATE_DENY, c);

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
                uint64_t room = gate_lasting_room(g, device_at(g, c->device)), mates = 0;

                if (!c->wants || c->asked <= owned(c) || c->asked <= c->grant)
                        continue;
                for_each_in_job (g, client_index(g, c), mate)
                        if (mate != c && mate->device == c->device)
                                mates += beside(g, c, mate);
                if (c->limit && c->asked > c->limit)
                        gate_deny(g, c, -E_LIMIT, least(c->limit, minus(room, mates)));
                else if (c->asked > minus(room, mates))
                        gate_deny(g, c, -E_DEVICE_SIZE, c->limit ? least(c->limit, minus(room, mates)) : minus(room, mates));
                else {
                        if (gate_foreign_may_pass(g, device_at(g, c->device)))
                                gate_wake_at(g, plus(device_at(g, c->device)->foreign_at, GATE_FOREIGN_GRACE_NS));
                        continue;
                }
                denied = true;
        }
        return denied;
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

/* What does not fit with all that is expected may with what is owned and asked for. */
static bool be_modest(struct gate *g, const struct unit *u)
{
        bool changed = false;

        for_each_in_unit (g, u, c) {
                changed |= !c->modest && gate_expected(g, c) > most(owned(c), c->wants ? c->asked : 0);
                c->modest = 1;
        }
        g->again |= changed;
        return changed;
}

/* What is kept for a mate that runs is in the way of those that are to run with it. */
static bool stop_keeping_for_mates(struct gate *g, const struct unit *u)
{
        bool stopped = false;

        for_each_in_job (g, u->lead, c) {
                if (!gate_kept_for(c) || (u->grow && client_index(g, c) == u->lead) || !pass_of(g, c)->shortage || !gate_missing(pass_of(g, c)))
                        continue;
                gate_stop_keeping(g, c);
                stopped = true;
        }
        g->again |= stopped;
        return stopped;
}

/* Grant that waiting members hold beyond what they need is in the way of their own mates. */
static bool return_surplus(struct gate *g, const struct unit *u)
{
        bool returning = false;

        for_each_in_job (g, u->lead, c) { /* also those who want nothing and own nothing */
                uint64_t keep = gate_in_unit(u, g, c) ? gate_required(g, c) : owned(c);
                uint64_t surplus = least(slack(c), minus(c->grant, keep));

                if (u->grow || c->state != WIRE_WAITING || c->stuck || c->filling || c->keep_until > g->now || !surplus ||
                    !pass_of(g, c)->shortage || !gate_missing(pass_of(g, c)))
                        continue;
                gate_evict(g, c, surplus);
                returning = true;
        }
        g->again |= returning;
        return returning;
}

/* It grows, or its process runs on other devices and comes to one more. */
static bool goes_on(const struct gate *g, const struct unit *u)
{
        for_each_in_unit (g, u, c)
                if (!gate_process_runs(g, c))
                        return false;
        return true;
}

/* One that runs goes on growing past a head that waits for a slice to end: with what is free or on its way out, and what those hold that do not run.
 * They come in later than it stops anyway. */
static bool grow_past_head(struct gate *g, struct unit *u)
{
        uint32_t reason;

        if (!goes_on(g, u))
                return false;
        for_each_in_unit (g, u, c) {
                struct pass *p = pass_of(g, c);
                uint64_t lacking = minus(gate_missing(p), p->promised);

                if (p->claim == CLAIM_FILL || (p->shortage && !gate_feasible(g, u, c->device, &reason)) ||
                    (p->shortage && gate_loose(g, u, c->device, lacking) < lacking))
                        return false;
        }
        gate_begin_fill(g, u, false);
        gate_go_on_filling(g, u);
        return true;
}

static void serve(struct gate *g, struct unit *u)
{
        bool claimed = false, filled = false, fits = true, possible = true, now = true, early = true;
        uint64_t in = 0;
        uint32_t reason;

        if (deny_impossible(g, u))
                return;
        for_each_in_unit (g, u, c) {
                if (c->hold_until > g->now) {
                        gate_wake_at(g, c->hold_until);
                        gate_tell(g, u, WIRE_WAIT_QUEUE);
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
                gate_tell(g, u, WIRE_WAIT_QUEUE);
                if (grow_past_head(g, u))
                        return;
                if (fits && !filled && early) {
                        gate_begin_fill(g, u, true);
                        gate_complete(g, u);
                        return;
                }
                for_each_in_unit (g, u, c) {
                        struct pass *p = pass_of(g, c);

                        if (p->shortage && !gate_feasible(g, u, c->device, &reason)) {
                                gate_tell(g, u, reason);
                                return;
                        }
                        if (p->shortage)
                                p->margin = least(p->margin, p->spare);
                }
                claim(g, u, CLAIM_BLOCKED);
                return;
        }
        if (fits) {
                gate_begin_fill(g, u, false);
                gate_complete(g, u);
                return;
        }
        if (stop_keeping_for_mates(g, u) || return_surplus(g, u))
                return;
        for (uint32_t i = 0; i < g->max_devices; i++)
                pass_at(g, i)->seen = 0;
        for_each_in_unit (g, u, c) {
                struct pass *p = pass_of(g, c);
                uint64_t lacking = gate_missing(p), trims;

                if (!p->shortage || p->seen)
                        continue;
                p->seen = 1;
                if (!gate_feasible(g, u, c->device, &reason)) {
                        if (be_modest(g, u))
                                return;
                        gate_tell(g, u, reason);
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
        gate_tell(g, u, WIRE_WAIT_MEMORY);
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
        gate_begin_fill(g, u, false);
        gate_go_on_filling(g, u);
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

static void expire(struct gate *g)
{
        for_each_client (g, c) {
                struct gate_action action = gate_about(g, GATE_REPORT, c);

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

        gate_yield_prefetch(g);
        g->again = 0; /* what that changed is seen by this pass */
        gate_collect_units(g);
        for_each_client (g, c)
                c->reason = WIRE_WAIT_QUEUE;
        for (uint32_t i = 0; i < g->max_devices; i++)
                if (device_at(g, i)->present)
                        relieve(g, i);
        if (!g->again)
                gate_end_deadlock(g);
        for (uint32_t i = 0; i < s->units_n && !g->again; i++) {
                struct unit *u = unit_at(g, i);

                if (!still_waits(g, u))
                        continue;
                if (u->filling)
                        gate_go_on_filling(g, u);
                else
                        serve(g, u);
        }
        if (!g->again)
                gate_deny_hopeless(g);
        if (!g->again)
                gate_plan_storage(g);
        if (!g->again)
                gate_plan_prefetch(g);
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
                        struct gate_action action = gate_about(g, GATE_WAIT, c);

                        if (!p->seen++)
                                p->queued++;
                        c->position = p->queued;
                        if (c->filling && !gate_shortage(g, c))
                                continue; /* it has all it needs and comes in, or its mates do */
                        p->waiting = 1;
                        if (gate_class(g, c) && g->settings.age_ns)
                                gate_wake_at(g, c->wait_since + (minus(g->now, c->wait_since) / g->settings.age_ns + 1) * g->settings.age_ns);
                        if (!c->wants || c->prefetch || c->reason == c->told_reason)
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
                uint32_t waiting = pass_at(g, i)->waiting | pass_at(g, i)->expects;

                if (d->present && d->contended != waiting) {
                        d->contended = waiting;
                        d->contended_since = g->now;
                        gate_push(g, (struct gate_action){.kind = GATE_CONTENDED, .client = GATE_NONE, .device = i, .bytes = waiting});
                        if (waiting)
                                gate_wake_at(g, plus(g->now, g->settings.idle_ns));
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
                                gate_push(g, gate_about(g, GATE_KILL, c));
                                c->kill_at = plus(g->now, g->settings.kill_after_ns);
                        }
                        gate_wake_at(g, c->kill_at);
                }
                if (!c->stuck)
                        gate_wake_at(g, c->deadline);
                if (p->waiting || p->free < 0) {
                        gate_wake_at(g, c->keep_until);
                        gate_wake_at(g, c->trim_until);
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
