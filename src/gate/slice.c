/* slice.c: how long a client may keep what others wait for, and how long a waiter waits at most.
 *
 * Ageing: a waiter counts one class higher per age_ns, up to the top one; there the earlier wait goes first, so whoever waits long enough
 * is next. Cost of a switch: drain, bytes out and bytes in at the rates measured on this device. The automatic slice is a multiple of it, so
 * that switching takes about 1/(1 + multiplier) of the time however slow the link is.
 */
#include "gate/gate-internal.h"

#define NS_PER_S UINT64_C(1000000000)
#define RATE_MIN UINT64_C(1000000)       /* a report slower or faster than these is taken as them */
#define RATE_MAX UINT64_C(2000000000000)
#define TURN_FLOOR_NS UINT64_C(1000000)  /* whatever it costs, nobody is asked out in the step that let it in */
#define STEP_MARGIN_NS UINT64_C(1000000000) /* messages and timers of one switch, in the bound */

/* ns that bytes take at a rate. */
uint64_t gate_time_of(uint64_t bytes, uint64_t rate)
{
        unsigned __int128 ns = (unsigned __int128)bytes * NS_PER_S / (rate ? rate : 1);

        return ns > GATE_NEVER / 4 ? GATE_NEVER / 4 : (uint64_t)ns;
}

void gate_measured(uint64_t *rate, uint64_t moved, uint64_t elapsed_ns)
{
        unsigned __int128 r;
        uint64_t sample;

        if (!moved || !elapsed_ns)
                return;
        r = (unsigned __int128)moved * NS_PER_S / elapsed_ns;
        sample = r > RATE_MAX ? RATE_MAX : r < RATE_MIN ? RATE_MIN : (uint64_t)r;
        *rate = *rate ? (*rate / 4) * 3 + sample / 4 : sample;
}

void gate_drained(struct device *d, uint64_t drain_ns)
{
        d->drain_ns = d->drains ? d->drain_ns / 4 * 3 + drain_ns / 4 : drain_ns;
        d->drain_max = most(drain_ns, d->drain_max - d->drain_max / 16);
        if (d->drains < UINT32_MAX)
                d->drains++;
}

uint32_t gate_class(const struct gate *g, const struct client *c)
{
        uint64_t steps;

        if (!c->wants || !g->settings.age_ns)
                return c->priority;
        steps = minus(g->now, c->wait_since) / g->settings.age_ns;
        return steps >= c->priority ? 0 : c->priority - (uint32_t)steps;
}

static uint64_t known_rate(const struct device *d, uint64_t measured, uint64_t otherwise)
{
        return measured ? measured : d->link ? d->link : otherwise;
}

uint64_t gate_switch_cost(const struct gate *g, uint32_t device, uint64_t out, uint64_t in)
{
        const struct device *d = device_at(g, device);

        return d->drain_ns + gate_time_of(out, known_rate(d, d->out_rate, GATE_UNMEASURED_RATE)) +
               gate_time_of(in, known_rate(d, d->in_rate, GATE_UNMEASURED_RATE));
}

bool gate_only_batch(const struct gate *g, uint32_t device)
{
        for_each_on_device (g, device_at(g, device), c)
                if ((c->wants || c->state == WIRE_RUNNING) && c->priority != WIRE_BATCH)
                        return false;
        return true;
}

static uint64_t automatic(const struct gate *g, uint64_t multiplier, uint64_t cost)
{
        uint64_t slice = multiplier && cost > GATE_NEVER / multiplier ? GATE_NEVER : cost * multiplier;

        return most(g->settings.slice_min_ns, least(slice, g->settings.slice_max_ns));
}

/* The slice without the longer multiple for batch clients among themselves. */
uint64_t gate_slice_of_switch(const struct gate *g, uint64_t cost)
{
        const struct gate_settings *s = &g->settings;

        return s->slice_mode == GATE_SLICE_FIXED ? s->slice_fixed_ns : automatic(g, s->slice_multiplier, cost);
}

uint64_t gate_slice_of_cost(const struct gate *g, uint32_t device, uint64_t cost)
{
        if (g->settings.slice_mode == GATE_SLICE_AUTO && pass_at(g, device)->only_batch)
                return automatic(g, g->settings.slice_multiplier_batch, cost);
        return gate_slice_of_switch(g, cost);
}

/* What even one that has no slice against the waiter keeps, so that its coming in was worth it: as long as the switch takes, and short
 * enough for those who wait behind a person. */
uint64_t gate_least_turn(const struct gate *g, uint64_t cost, uint64_t slice)
{
        return least(most(cost, TURN_FLOOR_NS), least(g->settings.slice_min_ns, slice));
}

/* Of a running client that `incoming` bytes wait for. */
uint64_t gate_slice(const struct gate *g, const struct client *c, uint64_t incoming)
{
        return gate_slice_of_cost(g, c->device, gate_switch_cost(g, c->device, c->resident, incoming));
}

/* A job is on several devices: who waits for one of them may wait for the others as well. */
bool gate_linked(const struct gate *g)
{
        for_each_client (g, c)
                for_each_in_job (g, c->leader, mate)
                        if (mate->device != c->device)
                                return true;
        return false;
}

/* Everyone who waits already may come first, and one more may be on its way in; each brings a switch and then may use its slice. After
 * ageing to the top class nobody who began to wait later goes first any more. Rates and drains are taken twice and four times as slow as
 * measured, within what is allowed before a client counts as stuck; until measured, as slow as is allowed. */
uint64_t gate_wait_bound(const struct gate *g, uint64_t now, uint32_t client)
{
        const struct gate_settings *s = &g->settings;
        const struct client *me = client_at(g, client);
        uint64_t services = 2, slice = 0, change = 0;
        bool linked = gate_linked(g);

        (void)now;
        if (client >= g->max_clients || !me->used)
                return 0;
        for_each_client (g, c)
                if (c != me && (linked || c->device == me->device) &&
                    (c->wants || c->state == WIRE_COMING_IN || c->state == WIRE_GIVING_WAY))
                        services++;
        for (uint32_t i = 0; i < g->max_devices; i++) {
                const struct device *d = device_at(g, i);
                uint64_t room, drain, out, in, cost;

                if (!d->present || (i != me->device && !linked))
                        continue;
                room = gate_device_room(g, d);
                drain = d->drains ? d->drain_max : d->link ? GATE_UNMEASURED_DRAIN_NS : s->give_way_bound_ns;
                drain = least(s->give_way_bound_ns, 4 * drain + STEP_MARGIN_NS);
                out = gate_time_of(room, known_rate(d, d->out_rate, 2 * s->move_bytes_per_s) / 2);
                in = gate_time_of(room, known_rate(d, d->in_rate, 2 * s->move_bytes_per_s) / 2);
                cost = drain + out + in;
                change = most(change, cost + STEP_MARGIN_NS);
                slice = most(slice, s->slice_mode == GATE_SLICE_FIXED
                                            ? s->slice_fixed_ns
                                            : automatic(g,
                                                        me->priority == WIRE_BATCH ? most(s->slice_multiplier, s->slice_multiplier_batch)
                                                                                   : s->slice_multiplier,
                                                        cost));
        }
        return plus(me->priority * s->age_ns, services * least(slice + change, GATE_NEVER / 64 / (services + 1)));
}
