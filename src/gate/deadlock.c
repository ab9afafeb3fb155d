/* deadlock.c: programs that all run on a device and all wait for more of it, or for memory of another device whose programs wait for this one.
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

/* Its process can do nothing before somebody gives way. */
static bool stalled(const struct gate *g, const struct client *c)
{
        for_each_in_job (g, client_index(g, c), mate)
                if (mate->lacks && same_process(c, mate))
                        return true;
        return false;
}

/* On a device without anybody who works or moves, those that run wait for memory, here or elsewhere. Who waits for a device that is live will go on
 * some time, and with him all the devices that he runs on. */
static void find_live(struct gate *g)
{
        bool more = true;

        for (uint32_t i = 0; i < g->max_devices; i++)
                pass_at(g, i)->live = pass_at(g, i)->moving || pass_at(g, i)->stuck || !pass_at(g, i)->running;
        for_each_client (g, c)
                pass_of(g, c)->live |= c->filling || (c->state == WIRE_RUNNING && !stalled(g, c));
        while (more) {
                more = false;
                for_each_client (g, c) {
                        if (!c->lacks || !pass_of(g, c)->live)
                                continue;
                        for_each_in_job (g, client_index(g, c), mate) {
                                if (mate->state != WIRE_RUNNING || pass_of(g, mate)->live || !same_process(c, mate))
                                        continue;
                                pass_of(g, mate)->live = 1;
                                more = true;
                        }
                }
        }
}

/* Somebody of another job who waits for this device, and holds up what he has on others, could have what this one gives up. */
static bool someone_gains(struct gate *g, const struct client *yielding)
{
        uint32_t reason;

        for (uint32_t i = 0; i < scratch_of(g)->units_n; i++) {
                struct unit *u = unit_at(g, i);
                bool lacks = false;

                for_each_in_unit (g, u, c)
                        lacks |= c->lacks && c->device == yielding->device && !same_process(c, yielding);
                if (!lacks)
                        continue;
                gate_measure(g, u);
                if (gate_feasible(g, u, yielding->device, &reason))
                        return true;
        }
        return false;
}

static bool goes_before(const struct gate *g, const struct client *a, const struct client *b)
{
        if (a->class_in != b->class_in)
                return a->class_in > b->class_in;
        return slice_left(g, a) != slice_left(g, b) ? slice_left(g, a) < slice_left(g, b) : a->born > b->born;
}

/* Who goes out: the lowest class, then who had most of its slice, so that nobody came in for nothing, then the youngest. */
static struct client *deadlocked(struct gate *g)
{
        struct client *victim = NULL;

        for_each_client (g, c)
                if (c->state == WIRE_RUNNING && !pass_of(g, c)->live && c->keep_until <= g->now && gate_evictable(c, scratch_of(g)->arena_left) &&
                    (!victim || goes_before(g, c, victim)) && someone_gains(g, c))
                        victim = c;
        return victim;
}

/* All that run on a device wait for memory, here or on another one where it is the same: one goes out, for those that wait here and before anybody else
 * is served from it. */
void gate_end_deadlock(struct gate *g)
{
        struct client *c;

        find_live(g);
        c = deadlocked(g);
        if (!c)
                return;
        gate_give_way(g, c, WIRE_GIVE_DEADLOCK);
        c->whole = 1;
        c->due = gate_evictable(c, scratch_of(g)->arena_left);
        for_each_in_job (g, client_index(g, c), mate) {
                if (mate != c && !(mate->wants && same_process(c, mate)))
                        continue;
                mate->wait_since = g->now; /* the wait begins anew, behind those it makes room for */
                mate->wait_bound = gate_wait_bound(g, g->now, client_index(g, mate));
        }
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
