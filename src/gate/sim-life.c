/* sim-life.c: the programs of the simulation: how they come, what they do of their own accord, how they go. */
#include "gate/sim-gate.h"

#include <string.h>

void sim_join(void)
{
        struct gate_client_spec spec = {.device = (uint32_t)sim_below(w.devices)};
        uint64_t room = gate_room(w.gate, spec.device);
        uint32_t i, generation;
        struct actor *a;
        int r;

        room -= w.kind ? MAX_CLIENTS * w.settings.client_part_bytes : 0; /* all contexts fit beside anyone */
        spec.priority = sim_once_in(2) ? WIRE_NORMAL : (uint32_t)sim_below(WIRE_PRIORITY_N);
        spec.job = sim_once_in(4) ? 1 + sim_below(w.jobs) : w.all_jobs ? 1000 + w.order : 0;
        spec.need_bytes = sim_once_in(3) ? sim_between(0, room / w.unit) * w.unit : 0;
        spec.limit_bytes = sim_once_in(6) ? sim_between(1, room / w.unit + 1) * w.unit : 0;
        spec.storage = sim_once_in(8);
        r = gate_add_client(w.gate, w.now, &spec, &i);
        if (r) {
                sim_fail("add_client: %d", r);
                return;
        }
        a = &w.actors[i];
        generation = a->generation + 1;
        memset(a, 0, sizeof(*a));
        a->lives = true;
        a->generation = generation;
        a->device = spec.device;
        a->priority = spec.priority;
        a->storage = a->admitted = spec.storage;
        a->job = spec.job;
        a->limit = spec.limit_bytes;
        a->need = spec.limit_bytes && spec.need_bytes > spec.limit_bytes ? spec.limit_bytes : spec.need_bytes;
        if (a->storage)
                a->job = a->need = 0;
        sim_hear_bounds(a);
        a->flaw = w.kind || !sim_once_in(3) ? FLAW_NONE : (uint32_t)sim_below(FLAW_N);
        sim_trace("join     %2u device %u %sclass %u job %" PRIu64 " need %" PRIu64 " limit %" PRIu64 " flaw %u", i, a->device, a->storage ? "storage " : "", a->priority,
              a->job, a->need / w.unit, a->limit / w.unit, a->flaw);
        sim_later(sim_latency(), i, DEED_LIVE);
}

/* Holds bytes of a program elsewhere: asks for room, gives some back. */
static void live_storage(uint32_t i, uint64_t room)
{
        struct actor *a = &w.actors[i];
        uint64_t have = a->movable + a->pinned, freed;

        if (a->evicting)
                return;
        if (sim_once_in(3) && have) {
                freed = sim_between(1, a->movable / w.unit) * w.unit;
                a->movable = a->resident = a->movable - (freed < a->movable ? freed : a->movable);
                sim_unback(a);
                freed = a->grant - a->movable - a->pinned;
                a->grant -= freed;
                sim_report(i, freed);
                gate_arena(w.gate, w.now, sim_arena_free());
        } else if (!w.ending) {
                sim_want(i, a->grant + sim_between(0, room / w.unit / 2) * w.unit);
        }
}

/* Lives on: allocates within its grant, asks for more, frees, idles, dies. */
void sim_live(uint32_t i)
{
        struct actor *a = &w.actors[i];
        uint64_t room = gate_room(w.gate, a->device), have = a->movable + a->pinned;
        uint64_t pause = (w.kind ? sim_between(1, 3000) : sim_between(1, 8000)) * NS_PER_MS;

        room -= w.kind ? MAX_CLIENTS * w.settings.client_part_bytes : 0;
        if (!w.kind && sim_once_in(25)) {
                sim_die(i);
                return;
        }
        if (a->flaw == FLAW_LIES && sim_once_in(3)) {
                sim_result(a, "lie", gate_memory(w.gate, w.now, i, sim_chance() >> sim_below(64), sim_below(3) * w.unit, sim_chance() >> sim_below(64),
                                             sim_chance(), sim_chance() >> sim_below(64)));
                sim_result(a, "lie", gate_given_way(w.gate, w.now, i, sim_once_in(2)));
                sim_result(a, "lie", gate_evicted(w.gate, w.now, i, sim_chance() >> sim_below(64), sim_chance() >> sim_below(64), sim_chance(), sim_chance(),
                                              sim_once_in(2), 0));
                sim_result(a, "lie", gate_brought_in(w.gate, w.now, i, sim_chance() >> sim_below(64), sim_chance() >> sim_below(64), sim_chance(), sim_chance(),
                                                 sim_once_in(2), 0));
        }
        if (a->storage) {
                live_storage(i, room);
                sim_later(pause, i, DEED_LIVE);
                return;
        }
        /* Somebody announces it, or another one: an answer that it can't be is no fault of anybody's. */
        if (sim_once_in(6) && w.announces) {
                uint32_t whom = sim_once_in(2) ? i : sim_below(MAX_CLIENTS);
                uint64_t until = w.now + sim_between(0, 20000) * NS_PER_MS;

                int r = gate_prefetch(w.gate, w.now, whom, until);

                sim_trace("prefetch %2u until %.3f: %d", whom, (double)until / 1e9, r);
        }
        if (a->flaw == FLAW_RUDE && sim_once_in(4))
                sim_want(i, sim_between(0, room / w.unit * 2) * w.unit);
        if (!a->running && !a->closing) {
                if (!a->wants_open && (!a->idle || sim_once_in(3)) && !w.ending) {
                        a->idle = false;
                        sim_want(i, have ? have : sim_between(0, room / w.unit + (w.kind ? 0 : 2)) / sim_between(1, 3) * w.unit);
                }
                sim_later(pause, i, DEED_LIVE);
                return;
        }
        if (a->running && !a->idle)
                gate_active(w.gate, w.now, i);
        switch (sim_below(w.ending ? 2 : 8)) {
        case 0: /* frees; only while open, as most do */
                if (a->running && a->movable) {
                        uint64_t freed = sim_between(1, a->movable / w.unit) * w.unit, returned;

                        a->movable -= freed;
                        a->resident -= freed;
                        sim_unback(a);
                        returned = sim_once_in(2) ? freed : 0;
                        a->grant -= returned;
                        sim_report(i, returned);
                        gate_arena(w.gate, w.now, sim_arena_free());
                }
                break;
        case 1:
                a->idle = !a->idle;
                break;
        case 2:
        case 3:
        case 4: /* allocates what it may, and asks for more */
                if (a->running && !a->wants_open) {
                        uint64_t within = a->grant - have, more = sim_between(0, room / w.unit / 3) * w.unit;

                        if (more > within && !(a->limit && have + more > a->limit && w.kind)) {
                                a->growth = more;
                                sim_want(i, have + more);
                        } else if (more <= within) {
                                a->movable += more;
                                a->resident += more;
                                sim_back(a, a->movable);
                                if (more && !w.kind && sim_once_in(8)) {
                                        a->pinned += w.unit;
                                        a->movable -= w.unit;
                                        a->resident -= w.unit;
                                        sim_unback(a);
                                }
                                gate_arena(w.gate, w.now, sim_arena_free());
                                sim_report(i, 0);
                        }
                }
                break;
        default:
                break;
        }
        sim_later(pause, i, DEED_LIVE);
}
