/* storage.c: clients that never run and only hold bytes of programs that run elsewhere: what those moved to this device instead of the host.
 *
 * Theirs is what nobody else can use. A want is answered in the same step: AVAILABLE with as much as is free, DENY while nothing is, or while
 * anyone waits for memory of the device. They make nobody give way, hold no place in the queue and have no slice. As soon as someone
 * who could come in, or grow, lacks bytes here, as many of theirs leave, before anybody else's and without waiting for a slice to end.
 */
#include "gate/gate-internal.h"

static bool evictable_now(const struct gate *g, const struct client *c)
{
        return c->storage && c->state == WIRE_WAITING && !c->stuck && c->keep_until <= g->now;
}

/* What those who wait lack on each device (pass.wanted), as far as it could ever be theirs. */
static void demand(struct gate *g)
{
        uint32_t reason;

        for (uint32_t i = 0; i < scratch_of(g)->units_n; i++) {
                const struct unit *u = unit_at(g, i);

                if (u->done || (u->grow && client_at(g, u->lead)->state != WIRE_RUNNING))
                        continue;
                gate_measure(g, u);
                for (uint32_t d = 0; d < g->max_devices; d++)
                        pass_at(g, d)->seen = 0;
                for_each_in_unit (g, u, c) {
                        struct pass *p = pass_of(g, c);

                        if (p->seen++ || !p->shortage)
                                continue;
                        p->short_units++;
                        if (gate_feasible(g, u, c->device, &reason))
                                p->wanted = plus(p->wanted, p->shortage);
                }
        }
}

static void leave(struct gate *g, uint32_t device)
{
        struct pass *p = pass_at(g, device);
        uint64_t coming = p->promised, lacking;

        for_each_on_device (g, device_at(g, device), c)
                coming += gate_trimmable(g, c);
        lacking = p->free < 0 ? plus(p->wanted, (uint64_t)-p->free) : minus(p->wanted, (uint64_t)p->free);
        lacking = minus(lacking, coming);
        for_each_on_device (g, device_at(g, device), c) {
                uint64_t bytes = evictable_now(g, c) ? least(lacking, gate_evictable(c, scratch_of(g)->arena_left)) : 0;

                if (!bytes)
                        continue;
                scratch_of(g)->arena_left -= least(scratch_of(g)->arena_left, gate_arena_use(c, bytes));
                p->promised += bytes;
                lacking -= bytes;
                gate_evict(g, c, bytes);
        }
}

static void answer(struct gate *g, struct client *c)
{
        struct pass *p = pass_of(g, c);
        struct gate_action action = gate_about(g, GATE_AVAILABLE, c);
        uint64_t asked = minus(c->limit ? least(c->asked, c->limit) : c->asked, c->grant), bytes;

        bytes = p->short_units || c->state != WIRE_WAITING || c->stuck || p->free <= 0 ? 0 : least(asked, (uint64_t)p->free);
        action.ticket = c->ticket;
        action.bytes = bytes;
        if (!bytes && c->asked > c->grant) {
                action.kind = GATE_DENY;
                action.code = asked ? -E_UNAVAILABLE : -E_LIMIT;
                action.bytes = c->grant;
        }
        gate_charge(g, c, bytes);
        p->free -= (int64_t)bytes;
        c->grant += bytes;
        c->storing = 0;
        c->asked = 0;
        gate_push(g, action);
}

void gate_plan_storage(struct gate *g)
{
        uint32_t any = 0;

        for_each_client (g, c)
                any |= c->storage;
        if (!any)
                return;
        demand(g);
        for (uint32_t i = 0; i < g->max_devices; i++)
                if (device_at(g, i)->present)
                        leave(g, i);
        for_each_client (g, c)
                if (c->storing)
                        answer(g, c);
}
