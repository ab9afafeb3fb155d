/* deadlock.c: programs that all run on a device and all wait for more of it.
 *
 * As long as anything can be taken from those that do not run there is no deadlock: growth takes it (plan.c). Otherwise one of them goes out for the
 * others, whole, before anybody else is served from what it held; and when none can be moved out for another, one is refused.
 */
#include "gate/gate-internal.h"

#define RETRIES_BEFORE_DENIAL 4 /* failed moves out: 15 s with the pauses after each */

/* What is left of its slice, in quarters. */
static uint64_t slice_left(const struct gate *g, const struct client *c)
{
        uint64_t slice = gate_slice(g, c, 0);

        return minus(slice, g->now - c->run_since) / (slice / 4 + 1);
}

/* Of those that run on the device and all wait to grow: who goes out. The lowest class, then who had most of its slice, so that nobody came in for
 * nothing, then the youngest. */
static struct client *deadlocked(const struct gate *g, uint32_t device)
{
        struct client *victim = NULL;

        for_each_on_device (g, device_at(g, device), c)
                if (c->state == WIRE_RUNNING && !c->filling && c->keep_until <= g->now &&
                    gate_evictable(c, scratch_of(g)->arena_left) &&
                    (!victim || c->class_in > victim->class_in ||
                     (c->class_in == victim->class_in &&
                      (slice_left(g, c) < slice_left(g, victim) || (slice_left(g, c) == slice_left(g, victim) && c->born > victim->born)))))
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

/* All that run grow, and all wait: one goes out, for the others that run and before anybody else is served from them. */
void gate_end_deadlock(struct gate *g, uint32_t device)
{
        struct pass *p = pass_at(g, device);
        struct client *c;

        if (p->running < 2 || p->blocked < p->running || p->moving)
                return;
        for_each_on_device (g, device_at(g, device), other)
                if (other->filling)
                        return;
        c = deadlocked(g, device);
        if (!c || !someone_gains(g, c))
                return;
        gate_give_way(g, c, WIRE_GIVE_DEADLOCK);
        c->whole = 1;
        c->due = gate_evictable(c, scratch_of(g)->arena_left);
        c->wait_since = g->now; /* the wait begins anew, behind those it makes room for */
        c->wait_bound = gate_wait_bound(g, g->now, client_index(g, c));
        g->again = 1;
}

/* Somebody's move out failed, and it is soon asked again: its places on the host may only be on their way. Not after many failures, and not
 * when the arena has nothing for it. Notes when. */
static bool retries_soon(struct gate *g, uint32_t device)
{
        bool soon = false;

        for_each_on_device (g, device_at(g, device), c)
                if (c->keep_until > g->now && !c->stuck && c->out_failures <= RETRIES_BEFORE_DENIAL && gate_evictable(c, g->arena_free)) {
                        gate_wake_at(g, c->keep_until);
                        soon = true;
                }
        return soon;
}

/* One that runs and wants nothing: also one that was let in after the others were counted. */
static bool someone_is_content(const struct gate *g, uint32_t device)
{
        for_each_on_device (g, device_at(g, device), c)
                if (c->state == WIRE_RUNNING && !c->wants)
                        return true;
        return false;
}

/* All that run on a device wait to grow, nothing moves, and none can be moved out for another: the youngest is refused. */
void gate_deny_hopeless(struct gate *g)
{
        for (uint32_t i = 0; i < g->max_devices; i++) {
                struct pass *p = pass_at(g, i);
                struct client *youngest = NULL;

                if (!p->infeasible || !p->running || p->blocked < p->running || p->moving || p->stuck || p->claim)
                        continue;
                if (gate_foreign_may_pass(g, device_at(g, i))) {
                        gate_wake_at(g, plus(device_at(g, i)->foreign_at, GATE_FOREIGN_GRACE_NS));
                        continue;
                }
                if (retries_soon(g, i) || someone_is_content(g, i))
                        continue;
                for_each_on_device (g, device_at(g, i), c)
                        if (c->state == WIRE_RUNNING && c->wants && !c->filling &&
                            (c->reason == WIRE_WAIT_ARENA || c->reason == WIRE_WAIT_PINNED || c->reason == WIRE_WAIT_MEMORY) &&
                            (!youngest || c->born > youngest->born))
                                youngest = c;
                if (youngest)
                        gate_deny(g, youngest, youngest->reason == WIRE_WAIT_ARENA ? -E_ARENA : -E_DEADLOCK,
                             youngest->grant + (p->free > 0 ? (uint64_t)p->free : 0));
        }
}
