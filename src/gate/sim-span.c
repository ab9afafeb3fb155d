/* sim-span.c: programs of the simulation that have memory on several devices at once, as libberth-cuda.so treats them: a client on each device, all
 * in a job of their own, and one gate: no call of theirs goes on before every device that admitted them lets them run, and while they wait to grow on
 * one device they do nothing on the others.
 *
 * A program fills its devices chunk by chunk, works, frees and fills again, pauses, ends. All of them together own more than the devices can hold.
 */
#include "gate/sim-gate.h"

#include <string.h>

#define for_each_member(i, of)                                                               \
        for (uint32_t i = 0; i < MAX_CLIENTS; i++)                                           \
                if (w.actors[i].lives && w.actors[i].program == w.actors[of].program)

static uint64_t owns(const struct actor *a)
{
        return a->movable + a->pinned;
}

static uint64_t pick_aim(uint32_t device)
{
        uint64_t room = gate_room(w.gate, device) - MAX_CLIENTS * w.settings.client_part_bytes;
        uint64_t share = room / 100 * w.overcommit / w.span_programs, aim = share / 4 * sim_between(w.steady ? 3 : 2, w.steady ? 5 : 6);

        return (aim < room - w.unit ? aim : room - w.unit) / w.unit * w.unit + w.unit;
}

void sim_span_join(void)
{
        uint32_t devices = (uint32_t)sim_between(1, w.devices), priority = sim_once_in(3) ? (uint32_t)sim_below(WIRE_PRIORITY_N) : WIRE_NORMAL;
        uint32_t first = (uint32_t)sim_below(w.devices), lead = GATE_NONE, program = ++w.programs;
        uint64_t chunk = sim_between(1, 16) * w.unit;
        bool declares = sim_once_in(4), in_turn = sim_once_in(2);

        if (devices == 1 && sim_once_in(2))
                devices = w.devices;
        for (uint32_t k = 0; k < devices; k++) {
                struct gate_client_spec spec = {.device = (first + k) % w.devices, .priority = priority, .job = 1000 + program, .process = 1000 + program};
                uint64_t aim = pick_aim(spec.device);
                uint32_t i, generation;
                struct actor *a;

                spec.need_bytes = declares ? aim : 0;
                if (gate_add_client(w.gate, w.now, &spec, &i)) {
                        sim_fail("add_client");
                        return;
                }
                a = &w.actors[i];
                generation = a->generation + 1;
                *a = (struct actor){.lives = true, .generation = generation, .device = spec.device, .priority = priority, .job = spec.job,
                                    .need = spec.need_bytes, .program = program, .aim = aim, .chunk = chunk, .in_turn = in_turn,
                                    .rounds = sim_between(5, 60)};
                lead = lead == GATE_NONE ? i : lead;
                sim_hear_bounds(a);
                sim_trace("join     %2u device %u class %u program %u aim %" PRIu64 " chunk %" PRIu64, i, a->device, priority, program, aim / w.unit, chunk / w.unit);
        }
        w.actors[lead].leads = true;
        sim_later(sim_latency(), lead, DEED_LIVE);
}

bool sim_span_blocked(uint32_t of)
{
        for_each_member (i, of)
                if (w.actors[i].wants_open || (w.actors[i].admitted && !w.actors[i].running))
                        return true;
        return false;
}

bool sim_span_asks(uint32_t of)
{
        for_each_member (i, of)
                if (w.actors[i].wants_open)
                        return true;
        return false;
}

/* Its threads stand at the gate: on every device that does not let it run it asks to. */
static void ask_everywhere(uint32_t of)
{
        for_each_member (i, of) {
                struct actor *a = &w.actors[i];

                if (a->admitted && !a->running && !a->closing && !a->wants_open)
                        sim_want(i, owns(a));
        }
}

/* Where it allocates next: its devices one after the other, or one chunk on each in turn. */
static struct actor *next_to_grow(uint32_t of)
{
        struct actor *next = NULL;

        for_each_member (i, of) {
                struct actor *a = &w.actors[i];

                if (owns(a) < a->aim && (!next || (a->in_turn && owns(a) * (next->aim / w.unit) < owns(next) * (a->aim / w.unit))))
                        next = a;
        }
        return next;
}

static void grow(struct actor *a)
{
        uint32_t i = (uint32_t)(a - w.actors);
        uint64_t more = a->chunk < a->aim - owns(a) ? a->chunk : a->aim - owns(a);

        if (!a->admitted) {
                sim_want(i, more);
        } else if (more > a->grant - owns(a)) {
                a->growth = more;
                sim_want(i, owns(a) + more);
        } else {
                a->movable += more;
                a->resident += more;
                sim_back(a, a->movable);
                gate_arena(w.gate, w.now, sim_arena_free());
                sim_report(i, 0);
        }
}

static void shrink(uint32_t of)
{
        for_each_member (i, of) {
                struct actor *a = &w.actors[i];
                uint64_t freed = sim_between(0, a->movable / w.unit) * w.unit;

                if (!a->admitted || !freed || sim_once_in(2))
                        continue;
                a->movable -= freed;
                a->resident -= freed;
                sim_unback(a);
                a->grant -= freed;
                sim_report(i, freed);
                gate_arena(w.gate, w.now, sim_arena_free());
        }
}

static void set_idle(uint32_t of, bool idle)
{
        for_each_member (i, of)
                w.actors[i].idle = idle;
}

void sim_span_live(uint32_t lead)
{
        struct actor *a = &w.actors[lead], *grows;
        uint64_t pause = sim_between(1, 300) * NS_PER_MS;

        if (sim_span_blocked(lead)) {
                if (!a->idle || sim_once_in(10))
                        set_idle(lead, w.ending);
                if (!a->idle)
                        ask_everywhere(lead);
                sim_later(pause * (w.steady ? 8 : 1), lead, DEED_LIVE);
                return;
        }
        if (a->idle) {
                if (sim_once_in(10) && !w.ending)
                        set_idle(lead, false);
                sim_later(pause, lead, DEED_LIVE);
                return;
        }
        for_each_member (i, lead)
                gate_active(w.gate, w.now, i);
        grows = w.ending ? NULL : next_to_grow(lead);
        if (grows) {
                grow(grows);
                pause = sim_between(1, 100) * NS_PER_MS;
        } else if (a->rounds) {
                a->rounds -= !w.steady;
                pause *= w.steady ? 2 : 1;
                if (sim_once_in(20) && !w.steady)
                        set_idle(lead, true);
        } else if (sim_once_in(2)) {
                a->rounds = sim_between(5, 60);
                shrink(lead);
        } else if (w.ending || sim_once_in(2)) {
                a->rounds = 30;
        } else {
                uint32_t program = a->program;

                for (uint32_t i = 0; i < MAX_CLIENTS; i++)
                        if (w.actors[i].lives && w.actors[i].program == program)
                                sim_die(i);
                return;
        }
        sim_later(pause, lead, DEED_LIVE);
}

/* Somebody stands still for memory, and nobody works, moves, or stands still of its own will: only a timer can go on from here. */
bool sim_span_dead(void)
{
        bool waits = false;

        for (uint32_t i = 0; i < MAX_CLIENTS; i++) {
                const struct actor *a = &w.actors[i];

                if (!a->lives)
                        continue;
                if (a->closing || a->evicting || a->bringing)
                        return false;
                if (a->leads && (a->idle || !sim_span_blocked(i)))
                        return false;
                waits |= a->wants_open;
        }
        return waits;
}
