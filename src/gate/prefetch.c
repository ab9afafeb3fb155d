/* prefetch.c: clients whose memory will be wanted soon, as somebody who knows says: they come in before they ask, if that costs nobody anything.
 *
 * Only while nobody waits for the device. They get what is free, and what those hold that do not run or were seen idle; never is one that works asked to give way
 * for them, nor one that was announced itself. From its beginning to its end such a fill is like any other, but for this: as soon as anybody else waits for the
 * device it is called off, and once called off the announcement is forgotten. Who came in like this runs without the protection of a slice.
 */
#include "gate/gate-internal.h"

/* A job comes in as a whole, or not at all: more than it costs to be wrong about. */
static bool has_mates(const struct gate *g, const struct client *c)
{
        for_each_in_job (g, client_index(g, c), mate)
                if (mate != c)
                        return true;
        return false;
}

int gate_prefetch(struct gate *gate, uint64_t now, uint32_t client, uint64_t until)
{
        struct client *c = gate_known(gate, now, client);

        if (!c || c->storage || !c->admitted || has_mates(gate, c))
                return -E_MESSAGE;
        c->prefetch_until = until;
        if (!c->wants && c->state != WIRE_RUNNING && until > gate->now)
                c->prefetch = 1; /* else it asks by itself, or is in: announced, it stays in place of others that are */
        gate->quiet = 0;
        gate_settle(gate);
        return 0;
}

void gate_forget_prefetch(struct client *c)
{
        c->prefetch = 0;
        if (c->wants) { /* never asked for by the program: no wait of its */
                c->wants = 0;
                c->asked = 0;
                c->reason = c->told_reason = WIRE_WAIT_NONE;
                c->position = 0;
        }
}

bool gate_stays_for_prefetch(struct gate *g, const struct client *c)
{
        if (c->prefetch_until > g->now)
                gate_wake_at(g, c->prefetch_until);
        return c->prefetch_until > g->now || c->state == WIRE_GIVING_WAY || (c->state != WIRE_RUNNING && c->wants);
}

/* Somebody else waits for the device, or will never be served from it in this state of things. */
static bool others_wait(const struct gate *g, const struct client *me)
{
        for_each_on_device (g, device_at(g, me->device), c)
                if (c != me && c->wants && !c->prefetch)
                        return true;
        return gate_free_bytes(g, me->device) < 0;
}

/* Before the units are served: what was begun makes place for whoever waits. */
void gate_yield_prefetch(struct gate *g)
{
        for_each_client (g, c) {
                bool late = c->prefetch_until <= g->now;

                if (!c->prefetch || (!late && !others_wait(g, c)))
                        continue;
                if (c->filling && (!late || gate_shortage(g, c)))
                        gate_abort_fill(g, c);
                else if (!c->filling)
                        gate_forget_prefetch(c);
        }
}

/* After them: whoever was announced and can be served comes in; the others look on, if somebody who may be idle runs here. */
void gate_plan_prefetch(struct gate *g)
{
        for_each_client (g, c) {
                struct pass *p = pass_of(g, c);
                struct unit *u = unit_at(g, scratch_of(g)->units_n);
                uint64_t lacking;
                uint32_t reason;

                if (!c->prefetch)
                        continue;
                if (c->prefetch_until > g->now)
                        gate_wake_at(g, c->prefetch_until);
                if (c->filling || c->state != WIRE_WAITING || c->stuck || c->bringing || c->hold_until > g->now || p->claim || others_wait(g, c))
                        continue;
                if (!outside(c) || has_mates(g, c)) {
                        gate_forget_prefetch(c); /* it never left; it has company by now */
                        continue;
                }
                *u = (struct unit){.lead = client_index(g, c), .class = WIRE_BATCH, .priority = WIRE_BATCH, .since = g->now, .born = c->born};
                gate_measure(g, u);
                lacking = minus(gate_missing(p), p->promised);
                if (lacking && (!gate_feasible(g, u, c->device, &reason) || gate_victims(g, u, c->device, lacking, false) < lacking)) {
                        p->expects = p->running > 0;
                        continue;
                }
                c->asked = 0;
                c->ticket = 0;
                c->modest = 0;
                gate_begin_wait(g, c);
                gate_begin_fill(g, u, true);
                g->again = 1;
        }
}
