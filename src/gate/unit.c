/* unit.c: what waits, and for how much.
 *
 * A unit is what waits: the members of a job that are not in, or one running client that grows. Its class is lowered by ageing, then the
 * longer wait goes first. Worked out anew from the books for every pass of plan.c; the order of units is the queue.
 */
#include "gate/gate-internal.h"

/* What it will own before long: as declared, or as much as it owned in the turn before. */
static uint64_t foreseen(const struct client *c)
{
        return c->limit ? least(most(c->need, c->peak), c->limit) : most(c->need, c->peak);
}

/* What a client that comes in is expected to need counts as long as the job, with all that is expected of it, can fit. */
uint64_t gate_expected(const struct gate *g, const struct client *c)
{
        uint64_t together = 0, part = g->settings.client_part_bytes;

        if (c->modest)
                return 0;
        if (!c->job)
                return least(foreseen(c), gate_room(g, c->device));
        for_each_in_job (g, client_index(g, c), mate)
                if (mate->device == c->device)
                        together += part + most(most(foreseen(mate), owned(mate)), mate->wants ? mate->asked : 0);
        return together <= gate_device_room(g, device_at(g, c->device)) ? foreseen(c) : 0;
}

/* While it runs and has not owned as much as expected yet: grant that it returns, or was not given, is kept for it up to this. */
uint64_t gate_kept_for(const struct client *c)
{
        return c->state == WIRE_RUNNING && !c->unkept && c->peak < c->expected ? c->expected : 0;
}

uint64_t gate_stop_keeping(struct gate *g, struct client *c)
{
        uint64_t bytes = c->kept;

        gate_uncharge(g, c, bytes);
        c->kept = 0;
        c->unkept = 1;
        return bytes;
}

/* The grant with which it can run, or go on. */
uint64_t gate_required(const struct gate *g, const struct client *c)
{
        uint64_t bytes = owned(c);

        if (c->state != WIRE_RUNNING)
                bytes = most(bytes, gate_expected(g, c));
        return c->wants ? most(bytes, c->asked) : bytes;
}

uint64_t gate_shortage(const struct gate *g, const struct client *c)
{
        uint64_t bytes = gate_required(g, c);

        if (c->filling)
                bytes = least(bytes, c->target);
        if (!c->admitted)
                bytes += g->settings.client_part_bytes;
        return minus(bytes, c->grant + c->reserved + c->kept);
}

bool gate_in_unit(const struct unit *u, const struct gate *g, const struct client *c)
{
        if (u->grow)
                return client_index(g, c) == u->lead;
        if ((c->state != WIRE_WAITING && c->state != WIRE_COMING_IN) || c->stuck)
                return false;
        return u->filling ? c->filling : !c->filling && (c->wants || owned(c));
}

void gate_measure(struct gate *g, const struct unit *u)
{
        for_each_in_job (g, u->lead, c)
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
        SORT_IN_PLACE(unit_at(g, 0), n, before);
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

/* What those hold that do not run, and can leave without anybody's giving way. */
static uint64_t loose_beside(const struct gate *g, const struct client *grower)
{
        uint64_t arena = scratch_of(g)->arena_left, sum = 0;

        for_each_on_device (g, device_at(g, grower->device), c) {
                uint64_t bytes;

                if (c->state != WIRE_WAITING || c->stuck || c->filling || c->keep_until > g->now || c->leader == grower->leader)
                        continue;
                bytes = gate_evictable(c, arena);
                arena -= least(arena, gate_arena_use(c, bytes));
                sum += bytes;
        }
        return sum;
}

/* Its process is at work, here or on another device. */
bool gate_process_runs(const struct gate *g, const struct client *c)
{
        for_each_in_job (g, client_index(g, c), mate)
                if (mate->state == WIRE_RUNNING && same_process(c, mate))
                        return true;
        return false;
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
        for_each_client (g, c) {
                c->lacks = c->wants && gate_process_runs(g, c) &&
                           (int64_t)gate_shortage(g, c) > pass_of(g, c)->free + (int64_t)(pass_of(g, c)->promised + loose_beside(g, c));
                pass_of(g, c)->blocked += c->lacks && c->state == WIRE_RUNNING;
        }
        for_each_client (g, c)
                if (c->leader == client_index(g, c))
                        add_job(g, c);
        sort_units(g, s->units_n);
}

/* Could it be complete if all that can move left? Otherwise the reason. */
bool gate_feasible(struct gate *g, const struct unit *u, uint32_t device, uint32_t *ret_reason)
{
        uint64_t sure = 0, arena = 0, barred = 0, held = 0, stuck = 0, pinned = 0, lacking = gate_missing(pass_at(g, device));

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
                sure += c->kept + first + minus(c->reserved, c->admitted ? 0 : g->settings.client_part_bytes);
                arena += rest;
                barred += minus(slack(c) + c->resident, first + rest); /* no place for it is to be had */
        }
        if (sure + least(arena, g->arena_free) >= lacking) {
                pass_at(g, device)->spare = sure + least(arena, g->arena_free) - lacking;
                return true;
        }
        *ret_reason = sure + arena + barred + held >= lacking                    ? WIRE_WAIT_ARENA
                      : sure + arena + barred + held + stuck >= lacking          ? WIRE_WAIT_STUCK
                      : sure + arena + barred + held + stuck + pinned >= lacking ? WIRE_WAIT_PINNED
                                                                                 : WIRE_WAIT_MEMORY;
        return false;
}
