/* victim.c: who gives way, and how many bytes leave.
 *
 * Order: unused grant (asked back, nothing moves), bytes of clients that do not run, idle running ones and those let in past the head,
 * running ones of a lower class, running ones whose slice ended, longest running first; those that all wait to grow, lowest class and
 * youngest first. Only as many as are needed, and none as long as the sum does not suffice. A job gives way whole. What can leave is what
 * is movable and has, or can get, a place in the host arena; pinned memory and parts never. Invariant 6 rests on this file.
 */
#include "gate/gate-internal.h"

/* Resident bytes that have their place in the arena already. */
static uint64_t covered(const struct client *c)
{
        return least(minus(c->backed, outside(c)), c->resident);
}

uint64_t gate_evictable(const struct client *c, uint64_t arena)
{
        return slack(c) + least(least(c->resident, minus(c->places, outside(c))), plus(covered(c), arena));
}

uint64_t gate_arena_use(const struct client *c, uint64_t bytes)
{
        return minus(bytes, slack(c) + covered(c));
}

void gate_give_way(struct gate *g, struct client *c, uint32_t reason)
{
        g->again |= c->job != 0; /* what its mates on other devices claimed is free for others */
        for_each_in_job (g, client_index(g, c), mate) {
                if (mate->filling) /* also those that were about to join */
                        gate_abort_fill(g, mate);
                if (mate->state != WIRE_RUNNING)
                        continue;
                pass_at(g, mate->device)->free += (int64_t)mate->kept;
                g->again |= mate->kept != 0;
                gate_stop_keeping(g, mate);
                gate_move(g, mate, WIRE_GIVING_WAY);
                mate->gave_at = g->now;
                mate->due = 0;
                mate->give_reason = reason;
                mate->backfill = 0;
                mate->switches++;
                device_at(g, mate->device)->switches++;
                mate->deadline = plus(g->now, g->settings.give_way_bound_ns);
                gate_wake_at(g, mate->deadline);
                gate_push(g, (struct gate_action){.kind = GATE_GIVE_WAY, .client = client_index(g, mate), .device = mate->device,
                                                  .reason = reason});
                pass_at(g, mate->device)->moving++;
                pass_at(g, mate->device)->running--;
        }
}

void gate_evict(struct gate *g, struct client *c, uint64_t bytes)
{
        g->again |= c->job != 0;
        gate_move(g, c, WIRE_GOING_OUT);
        c->evict_left = bytes;
        c->deadline = plus(g->now, g->settings.move_bound_ns + gate_time_of(bytes, g->settings.move_bytes_per_s));
        gate_wake_at(g, c->deadline);
        gate_push(g, (struct gate_action){.kind = GATE_EVICT, .client = client_index(g, c), .device = c->device, .bytes = bytes});
        pass_at(g, c->device)->moving++;
}

/* What asking a running client for its unused grant may bring, still or now. */
uint64_t gate_trimmable(const struct gate *g, const struct client *c)
{
        uint64_t unused = minus(c->grant, most(owned(c), gate_kept_for(c)));

        return c->state == WIRE_RUNNING && !c->stuck && (c->trim_until > g->now || unused > c->trim_slack) ? unused : 0;
}

/* Asks running clients for grant that they hold unused, but for what they are expected to need. What may still come of it. */
uint64_t gate_trims(struct gate *g, const struct unit *u, uint32_t device)
{
        uint64_t expected = 0;

        for_each_on_device (g, device_at(g, device), c) {
                uint64_t unused = minus(c->grant, most(owned(c), gate_kept_for(c)));

                if (c->state != WIRE_RUNNING || (u && u->grow && u->lead == client_index(g, c)))
                        continue;
                if (unused > c->trim_slack) {
                        c->trim_slack = unused;
                        c->trim_until = g->now + GATE_TRIM_GRACE_NS;
                        gate_push(g, (struct gate_action){.kind = GATE_TRIM, .client = client_index(g, c), .device = device,
                                                          .bytes = unused});
                }
                if (c->trim_until > g->now) {
                        expected += unused;
                        gate_wake_at(g, c->trim_until);
                }
        }
        return expected;
}

/* When a running client was last known to be at work. Who samples only contended devices knows nothing of before. */
static uint64_t last_active(const struct gate *g, const struct client *c)
{
        uint64_t since = most(c->active_at, c->run_since);

        return g->settings.samples_always ? since : most(since, device_at(g, c->device)->contended_since);
}

static bool job_idle(const struct gate *g, const struct client *c)
{
        for_each_in_job (g, client_index(g, c), mate) {
                const struct device *d = device_at(g, mate->device);

                if (mate->state == WIRE_RUNNING &&
                    (!(d->contended || g->settings.samples_always) || mate->wants || g->now - last_active(g, mate) < g->settings.idle_ns))
                        return false;
        }
        return device_at(g, c->device)->contended;
}

/* May this running client be asked to give way to the unit now? Otherwise notes when. */
static bool running_victim(struct gate *g, const struct unit *u, const struct client *c, struct victim *v)
{
        const struct pass *p = pass_at(g, c->device);
        uint64_t cost, slice;

        v->k1 = UINT32_MAX - c->class_in;
        v->k2 = c->run_since;
        if (!u || job_idle(g, c)) {
                v->rank = 1 + !job_idle(g, c);
                v->reason = u ? WIRE_GIVE_IDLE : WIRE_GIVE_SETTINGS;
                return true;
        }
        if (client_at(g, u->lead)->prefetch) {
                if (!c->wants)
                        gate_wake_at(g, last_active(g, c) + g->settings.idle_ns);
                return false;
        }
        cost = gate_switch_cost(g, c->device, most(c->resident, gate_kept_for(c)), p->shortage);
        slice = gate_slice_of_cost(g, c->device, cost);
        if (c->backfill || u->priority < c->class_in) {
                uint64_t turn = gate_least_turn(g, cost, slice);

                v->rank = c->backfill ? 1 : 2;
                v->reason = WIRE_GIVE_PRIORITY;
                if (g->now - c->run_since >= turn)
                        return true;
                gate_wake_at(g, plus(c->run_since, turn));
                return false;
        }
        v->reason = WIRE_GIVE_SLICE;
        v->rank = 3;
        if (g->now - c->run_since >= slice) {
                v->k1 = 0;
                return true;
        }
        if (u->class < c->class_in) { /* by ageing only: it may shorten the long slice of batch clients, not the share of switching */
                uint64_t share = least(slice, gate_slice_of_switch(g, cost));

                v->rank = 2;
                v->reason = WIRE_GIVE_PRIORITY;
                if (g->now - c->run_since >= share)
                        return true;
                gate_wake_at(g, plus(c->run_since, share));
                v->rank = 3;
        }
        if (p->running && p->blocked >= p->running && c->wants) {
                v->k1 = UINT32_MAX - c->class_in;
                v->k2 = UINT64_MAX - c->born;
                v->reason = WIRE_GIVE_DEADLOCK;
                return true;
        }
        gate_wake_at(g, plus(c->run_since, slice));
        if (!c->wants)
                gate_wake_at(g, last_active(g, c) + g->settings.idle_ns);
        return false;
}

static bool candidate(struct gate *g, const struct unit *u, struct client *c, struct victim *v)
{
        *v = (struct victim){.client = client_index(g, c)};
        if (c->stuck || c->keep_until > g->now || (u && client_at(g, u->lead)->leader == c->leader))
                return false;
        if (u && client_at(g, u->lead)->prefetch && gate_stays_for_prefetch(g, c))
                return false;
        switch ((enum wire_state)c->state) {
        case WIRE_RUNNING:
                return running_victim(g, u, c, v);
        case WIRE_GIVING_WAY: /* more of it */
                return true;
        case WIRE_WAITING:
        case WIRE_COMING_IN:
                if (c->filling ? !c->backfill || !u : c->state == WIRE_COMING_IN)
                        return false;
                v->k1 = c->storage ? 0 : c->wants ? 2 : 1;
                v->k2 = UINT64_MAX - c->position; /* who comes last loses first */
                return true;
        case WIRE_GOING_OUT:
        case WIRE_STATE_N:
                break;
        }
        return false;
}

static bool before(const struct victim *a, const struct victim *b)
{
        if (a->rank != b->rank)
                return a->rank < b->rank;
        if (a->k1 != b->k1)
                return a->k1 < b->k1;
        return a->k2 != b->k2 ? a->k2 < b->k2 : a->client < b->client;
}

static void sort_victims(const struct gate *g, uint32_t n)
{
        SORT_IN_PLACE(victim_at(g, 0), n, before);
}

/* Of the chosen running ones, those that are not needed after all stay. */
static void spare_some(const struct gate *g, uint32_t n, uint64_t total, uint64_t need)
{
        for (uint32_t i = 0; i < n; i++) {
                struct victim *v = victim_at(g, i);

                if (v->rank && v->chosen && total - v->bytes >= need) {
                        v->chosen = 0;
                        total -= v->bytes;
                }
        }
}

static void carry_out(struct gate *g, struct victim *v, uint64_t bytes)
{
        struct client *c = client_at(g, v->client);

        switch ((enum wire_state)c->state) {
        case WIRE_RUNNING:
                gate_give_way(g, c, v->reason);
                c->whole = v->reason == WIRE_GIVE_DEADLOCK;
                c->due = bytes;
                break;
        case WIRE_GIVING_WAY:
                c->due += bytes;
                break;
        case WIRE_WAITING:
        case WIRE_COMING_IN:
                if (c->filling)
                        gate_abort_fill(g, c);
                gate_evict(g, c, bytes);
                break;
        case WIRE_GOING_OUT:
        case WIRE_STATE_N:
                break;
        }
}

/* It may be asked now, or a mate on the device may, and it would go as well. */
static bool may_have_to_go(struct gate *g, const struct unit *u, const struct client *c)
{
        struct victim v;

        for_each_in_job (g, client_index(g, c), mate)
                if (mate->device == c->device && mate->state == WIRE_RUNNING && candidate(g, u, mate, &v))
                        return true;
        return false;
}

/* What is kept for those that have to make room by now: nothing moves for it. */
static uint64_t keepsakes(struct gate *g, const struct unit *u, uint32_t device, uint64_t need, bool act)
{
        uint64_t total = 0;

        for_each_on_device (g, device_at(g, device), c) {
                if (total >= need || !c->kept || !may_have_to_go(g, u, c))
                        continue;
                total += c->kept;
                if (act) {
                        gate_stop_keeping(g, c);
                        g->again = 1;
                }
        }
        return total;
}

static uint32_t running_here(const struct gate *g, const struct client *c)
{
        uint32_t n = 0;

        for_each_in_job (g, client_index(g, c), mate)
                n += mate->device == c->device && mate->state == WIRE_RUNNING;
        return n;
}

uint64_t gate_loose(struct gate *g, const struct unit *u, uint32_t device, uint64_t need)
{
        uint64_t arena = scratch_of(g)->arena_left, total = 0;
        struct victim v;

        for_each_on_device (g, device_at(g, device), c) {
                uint64_t bytes;

                if (c->state != WIRE_WAITING || !candidate(g, u, c, &v))
                        continue;
                bytes = gate_evictable(c, arena);
                arena -= least(arena, gate_arena_use(c, bytes));
                total += bytes;
        }
        return least(total, need);
}

uint64_t gate_victims(struct gate *g, const struct unit *u, uint32_t device, uint64_t need, bool act)
{
        struct scratch *s = scratch_of(g);
        uint64_t arena = s->arena_left, total = keepsakes(g, u, device, need, act), taken = total;
        uint32_t stay = pass_at(g, device)->running, n = 0;

        for_each_on_device (g, device_at(g, device), c) {
                if (candidate(g, u, c, victim_at(g, n)))
                        n++;
        }
        sort_victims(g, n);
        for (uint32_t i = 0; i < n && total < need; i++) {
                struct victim *v = victim_at(g, i);
                struct client *c = client_at(g, v->client);
                uint64_t already = c->state == WIRE_GIVING_WAY ? c->due : 0;

                /* Nobody gains when the only one that runs on a device that is too full stops. */
                if (!u && v->rank) {
                        uint32_t members = running_here(g, c);

                        if (stay <= members)
                                continue;
                        stay -= members;
                }
                v->bytes = minus(gate_evictable(c, plus(arena, gate_arena_use(c, already))), already);
                if (!v->bytes)
                        continue;
                if (!v->rank && !c->whole)
                        v->bytes = least(v->bytes, need - total);
                v->chosen = 1;
                total += v->bytes;
                arena -= least(arena, gate_arena_use(c, already + v->bytes) - gate_arena_use(c, already));
        }
        if (!act)
                return least(total, need);
        spare_some(g, n, total, need);
        for (uint32_t i = 0; i < n && taken < need; i++) {
                struct victim *v = victim_at(g, i);
                struct client *c = client_at(g, v->client);
                uint64_t bytes = v->rank && v->reason != WIRE_GIVE_DEADLOCK ? least(v->bytes, need - taken) : v->bytes;
                uint64_t already = c->state == WIRE_GIVING_WAY ? c->due : 0; /* has the places that it needs no arena for */

                if (!v->chosen)
                        continue;
                taken += bytes;
                s->arena_left -= least(s->arena_left, gate_arena_use(c, already + bytes) - gate_arena_use(c, already));
                carry_out(g, v, bytes);
        }
        return taken;
}
