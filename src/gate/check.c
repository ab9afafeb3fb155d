/* check.c: the invariants of gate.h, worked out anew from the books and not by the code that keeps them. For the simulation, the model and the
 * fuzzer, after every step. Invariants about decisions (1, 3, 4, 6) hold when all actions have been handed out and no timer is due; before
 * that only the books are checked.
 */
#include "gate/gate-internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static int broken(int invariant, char *message, size_t size, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

static int broken(int invariant, char *message, size_t size, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        if (size)
                vsnprintf(message, size, format, args);
        va_end(args);
        return invariant;
}

static int check_books(const struct gate *g, char *message, size_t size)
{
        for (uint32_t i = 0; i < g->max_devices; i++) {
                const struct device *d = device_at(g, i);
                uint64_t used = 0;

                if (!d->present)
                        continue;
                for_each_on_device (g, d, c)
                        used += c->grant + c->part + c->reserved + c->kept;
                if (used != d->used)
                        return broken(1, message, size, "device %u: books say %" PRIu64 " used, clients hold %" PRIu64, i,
                                      d->used, used);
        }
        for_each_client (g, c) {
                uint32_t i = client_index(g, c);

                if (c->resident > c->movable || c->resident + c->pinned > c->grant)
                        return broken(2, message, size, "client %u: %" PRIu64 " + %" PRIu64 " on the device, grant %" PRIu64, i,
                                      c->resident, c->pinned, c->grant);
                if (c->state == WIRE_RUNNING && (c->resident != c->movable || !c->admitted || c->grant < owned(c)))
                        return broken(2, message, size, "client %u runs with %" PRIu64 " outside, grant %" PRIu64, i,
                                      outside(c), c->grant);
                if (!c->admitted && (c->grant || c->part))
                        return broken(2, message, size, "client %u holds %" PRIu64 " and is not admitted", i, c->grant);
                if (c->reserved && !c->filling)
                        return broken(3, message, size, "client %u: %" PRIu64 " reserved for nothing", i, c->reserved);
                if (c->kept && (c->state != WIRE_RUNNING || c->unkept || c->peak >= c->expected || c->grant + c->kept + c->reserved > most(c->expected, c->asked)))
                        return broken(3, message, size, "client %u: %" PRIu64 " kept beside %" PRIu64 " of %" PRIu64, i, c->kept, c->grant, c->expected);
                if (c->prefetch && c->wants && !c->filling)
                        return broken(4, message, size, "client %u asks for itself, and that counts for an announcement", i);
                if (c->state != WIRE_WAITING && c->state != WIRE_RUNNING && !c->stuck && c->deadline == GATE_NEVER)
                        return broken(5, message, size, "client %u: %s without a deadline", i, wire_state_name(c->state));
        }
        if (g->refused_moves)
                return broken(8, message, size, "%" PRIu64 " decisions that must not happen", g->refused_moves);
        return 0;
}

/* Storage holds bytes and nothing else: no turn, no place in a queue, no part, no job; what it asks for is answered at once. */
static int check_storage_books(const struct gate *g, char *message, size_t size)
{
        for_each_client (g, c) {
                if (c->storage && ((c->state != WIRE_WAITING && c->state != WIRE_GOING_OUT) || c->wants || c->filling || c->part || c->reserved ||
                                   c->job || c->bringing))
                        return broken(6, message, size, "storage %u is %s, or waits, or is in a job", client_index(g, c), wire_state_name(c->state));
                if (c->storing && !g->dirty)
                        return broken(6, message, size, "storage %u was not answered", client_index(g, c));
        }
        return 0;
}

static int check_jobs(const struct gate *g, char *message, size_t size)
{
        for_each_client (g, c) {
                if (c->state != WIRE_RUNNING || !c->job)
                        continue;
                for_each_in_job (g, client_index(g, c), mate)
                        if (mate->state == WIRE_GIVING_WAY) /* one that has yet to join may go out */
                                return broken(7, message, size, "client %u runs while %u of its job is %s",
                                              client_index(g, c), client_index(g, mate), wire_state_name(mate->state));
        }
        return 0;
}

static bool moving(const struct client *c)
{
        return !c->stuck && c->state != WIRE_WAITING && c->state != WIRE_RUNNING;
}

/* Too full: something is on its way, or nothing can be moved. */
static int check_room(const struct gate *g, char *message, size_t size)
{
        for (uint32_t i = 0; i < g->max_devices; i++) {
                const struct device *d = device_at(g, i);
                bool under_way = false, more = false;

                if (!d->present || gate_free_bytes(g, i) >= 0)
                        continue;
                for_each_on_device (g, d, c) {
                        under_way |= moving(c) || c->trim_until > g->now || c->keep_until > g->now;
                }
                for_each_on_device (g, d, c)
                        more |= c->state == WIRE_WAITING && !c->stuck && !c->filling && gate_evictable(c, scratch_of(g)->arena_left);
                if (more && !under_way)
                        return broken(1, message, size, "device %u is %" PRId64 " too full and nothing leaves", i,
                                      -gate_free_bytes(g, i));
        }
        return 0;
}

/* Even if all that can move of others left, the device would be too small: parts, pinned memory and the stuck stay. */
static bool too_small(const struct gate *g, const struct client *me)
{
        const struct device *d = device_at(g, me->device);
        uint64_t least_bytes = 0;

        for_each_on_device (g, d, c) {
                if (c->leader != me->leader)
                        least_bytes += c->part + c->pinned + (c->stuck ? c->grant + c->reserved : 0);
                else
                        least_bytes += (c->admitted ? c->part : g->settings.client_part_bytes) +
                                       most(c->wants ? c->asked : 0, owned(c));
        }
        return least_bytes > gate_device_room(g, d);
}

static int check_units(struct gate *g, char *message, size_t size)
{
        struct scratch *s = scratch_of(g);

        for (uint32_t i = 0; i < s->units_n; i++) {
                struct unit *u = unit_at(g, i);
                bool first = true, fits = true, waits = false, moves = false, reasoned = true, cramped = false, possible = true;
                uint32_t reason;

                gate_measure(g, u);
                for_each_in_job (g, u->lead, c) {
                        struct pass *p = pass_at(g, c->device);

                        if (!gate_in_unit(u, g, c))
                                continue;
                        if (u->filling && p->free > 0 && p->shortage)
                                return broken(3, message, size, "device %u: %" PRId64 " free while client %u is being filled",
                                              c->device, p->free, client_index(g, c));
                        first &= !p->claim;
                        fits &= !p->shortage || (p->free > 0 && (uint64_t)p->free >= p->shortage);
                        waits |= c->hold_until > g->now;
                        moves |= moving(c);
                        reasoned &= !c->wants || c->told_reason == WIRE_WAIT_STUCK || c->told_reason == WIRE_WAIT_ARENA ||
                                    c->told_reason == WIRE_WAIT_PINNED;
                        cramped |= too_small(g, c);
                        possible &= !p->shortage || gate_feasible(g, u, c->device, &reason);
                }
                reasoned |= cramped;
                if (!u->filling && first && fits && !waits)
                        return broken(3, message, size, "client %u fits and waits", u->lead);
                for_each_in_job (g, u->lead, c) {
                        if (!gate_in_unit(u, g, c))
                                continue;
                        /* A unit that could not be filled even if all left claims nothing. */
                        if (possible || u->filling)
                                pass_at(g, c->device)->claim = 1;
                        for_each_on_device (g, device_at(g, c->device), other)
                                moves |= moving(other) || (other->state == WIRE_RUNNING && !other->wants);
                }
                if (!moves && !waits && !reasoned && g->deadline == GATE_NEVER)
                        return broken(4, message, size, "client %u waits (reason %u) and nothing will end it", u->lead,
                                      client_at(g, u->lead)->reason);
        }
        return 0;
}

/* Whoever could be served and lacks bytes on a device: so many of storage's are on their way out, or come as unused grant. */
static int check_storage(struct gate *g, char *message, size_t size)
{
        for (uint32_t d = 0; d < g->max_devices; d++) {
                uint64_t lacking = 0, coming = 0, kept = 0;
                struct pass *p = pass_at(g, d);
                uint32_t reason;

                if (!device_at(g, d)->present)
                        continue;
                for (uint32_t i = 0; i < scratch_of(g)->units_n; i++) {
                        struct unit *u = unit_at(g, i);

                        p->shortage = 0;
                        gate_measure(g, u);
                        if (p->shortage && gate_feasible(g, u, d, &reason))
                                lacking += p->shortage;
                }
                for_each_on_device (g, device_at(g, d), c) {
                        coming += gate_trimmable(g, c);
                        kept += c->storage && c->state == WIRE_WAITING && !c->stuck && c->keep_until <= g->now
                                        ? gate_evictable(c, scratch_of(g)->arena_left)
                                        : 0;
                }
                if (kept && (int64_t)lacking > p->free + (int64_t)(p->promised + coming))
                        return broken(6, message, size, "device %u: %" PRIu64 " lacking, storage keeps %" PRIu64, d, lacking, kept);
        }
        return 0;
}

static int check_calm(const struct gate *g, char *message, size_t size)
{
        for_each_client (g, c) {
                bool waited_for = c->job || c->stuck || c->give_reason == WIRE_GIVE_SETTINGS;

                for_each_on_device (g, device_at(g, c->device), other)
                        waited_for |= other != c && (other->wants || other->filling); /* or comes in with those who want */
                /* Unless the one it was for went away, or was served otherwise, in the same instant. */
                if (c->state == WIRE_GIVING_WAY && c->gave_at == g->now && !waited_for && g->eased_at != g->now &&
                    device_at(g, c->device)->contended_since != g->now)
                        return broken(6, message, size, "client %u was asked to give way for nobody", client_index(g, c));
                if (c->state == WIRE_GIVING_WAY && c->gave_at == g->now && c->run_since == g->now && !c->job && c->give_reason != WIRE_GIVE_SETTINGS &&
                    c->give_reason != WIRE_GIVE_DEADLOCK)
                        return broken(6, message, size, "client %u was let in and asked to give way in one step", client_index(g, c));
                if (!c->stuck && c->deadline < g->deadline && c->deadline > g->now)
                        return broken(5, message, size, "client %u: no timer for its deadline", client_index(g, c));
        }
        return 0;
}

int gate_check(const struct gate *gate, uint64_t now, char *message, size_t size)
{
        int invariant = check_books(gate, message, size);

        (void)now;
        if (!invariant)
                invariant = check_storage_books(gate, message, size);
        if (!invariant)
                invariant = check_jobs(gate, message, size);
        if (invariant || gate->dirty || gate->ring_count || gate->deadline <= gate->now)
                return invariant;
        gate_collect_units((struct gate *)(uintptr_t)gate); /* writes the scratch only */
        invariant = check_room(gate, message, size);
        if (!invariant)
                invariant = check_calm(gate, message, size);
        if (!invariant)
                invariant = check_storage((struct gate *)(uintptr_t)gate, message, size);
        if (!invariant)
                invariant = check_units((struct gate *)(uintptr_t)gate, message, size);
        return invariant;
}
