/* sim-client.c: the programs of the simulation: what they do of their own accord, how they answer, and the flaws some of them have. */
#include "gate/sim-gate.h"

#include <string.h>

uint64_t sim_latency(void) /* of a message and whoever handles it */
{
        return sim_between(1, w.kind ? 2 : 20) * NS_PER_MS;
}

bool sim_honest(const struct actor *a)
{
        return a->flaw != FLAW_LIES && a->flaw != FLAW_NEVER_REPORTS;
}

static void result(const struct actor *a, const char *what, int r)
{
        if (r == 0)
                return;
        w.refused++;
        sim_trace("  refused: %s of %td: %d", what, a - w.actors, r);
        if (sim_honest(a))
                sim_fail("an honest %s was refused", what);
}

uint64_t sim_arena_free(void)
{
        return w.arena_total > w.arena_used ? w.arena_total - w.arena_used : 0;
}

/* The host memory behind its movable bytes; it keeps what it has. */
static void back(struct actor *a, uint64_t bytes)
{
        uint64_t want = bytes > a->backed ? bytes - a->backed : 0, get = want < sim_arena_free() ? want : sim_arena_free();

        a->backed += get;
        w.arena_used += get;
}
static void unback(struct actor *a)
{
        if (a->backed > a->movable) {
                w.arena_used -= a->backed - a->movable;
                a->backed = a->movable;
        }
}

static void report(uint32_t i, uint64_t returned)
{
        struct actor *a = &w.actors[i];

        a->unreported = false;
        if (a->flaw == FLAW_NEVER_REPORTS && !returned)
                return;
        sim_trace("memory   %2u movable %" PRIu64 " pinned %" PRIu64 " resident %" PRIu64 " backed %" PRIu64 " returned %" PRIu64, i,
              a->movable / w.unit, a->pinned / w.unit, a->resident / w.unit, a->backed / w.unit, returned / w.unit);
        result(a, "memory", gate_memory(w.gate, w.now, i, a->movable, a->pinned, a->resident, a->backed, returned));
}

static void want(uint32_t i, uint64_t need)
{
        struct actor *a = &w.actors[i];

        a->ticket = ++w.tickets;
        if (!a->wants_open)
                a->wait_since = w.now;
        a->wants_open = true;
        sim_trace("want     %2u need %" PRIu64 " ticket %u", i, need / w.unit, a->ticket);
        result(a, "want", gate_want(w.gate, w.now, i, need, a->ticket));
}

void sim_die(uint32_t i)
{
        struct actor *a = &w.actors[i];

        sim_trace("gone     %2u", i);
        w.arena_used -= a->backed;
        a->lives = false;
        a->backed = 0;
        a->generation++;
        gate_gone(w.gate, w.now, i);
        gate_arena(w.gate, w.now, sim_arena_free());
}

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
                unback(a);
                freed = a->grant - a->movable - a->pinned;
                a->grant -= freed;
                report(i, freed);
                gate_arena(w.gate, w.now, sim_arena_free());
        } else if (!w.ending) {
                want(i, a->grant + sim_between(0, room / w.unit / 2) * w.unit);
        }
}

/* Lives on: allocates within its grant, asks for more, frees, idles, dies. */
static void live(uint32_t i)
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
                result(a, "lie", gate_memory(w.gate, w.now, i, sim_chance() >> sim_below(64), sim_below(3) * w.unit, sim_chance() >> sim_below(64),
                                             sim_chance(), sim_chance() >> sim_below(64)));
                result(a, "lie", gate_given_way(w.gate, w.now, i, sim_once_in(2)));
                result(a, "lie", gate_evicted(w.gate, w.now, i, sim_chance() >> sim_below(64), sim_chance() >> sim_below(64), sim_chance(), sim_chance(),
                                              sim_once_in(2), 0));
                result(a, "lie", gate_brought_in(w.gate, w.now, i, sim_chance() >> sim_below(64), sim_chance() >> sim_below(64), sim_chance(), sim_chance(),
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
                want(i, sim_between(0, room / w.unit * 2) * w.unit);
        if (!a->running && !a->closing) {
                if (!a->wants_open && (!a->idle || sim_once_in(3)) && !w.ending) {
                        a->idle = false;
                        want(i, have ? have : sim_between(0, room / w.unit + (w.kind ? 0 : 2)) / sim_between(1, 3) * w.unit);
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
                        unback(a);
                        returned = sim_once_in(2) ? freed : 0;
                        a->grant -= returned;
                        report(i, returned);
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
                                want(i, have + more);
                        } else if (more <= within) {
                                a->movable += more;
                                a->resident += more;
                                back(a, a->movable);
                                if (more && !w.kind && sim_once_in(8)) {
                                        a->pinned += w.unit;
                                        a->movable -= w.unit;
                                        a->resident -= w.unit;
                                        unback(a);
                                }
                                gate_arena(w.gate, w.now, sim_arena_free());
                                report(i, 0);
                        }
                }
                break;
        default:
                break;
        }
        sim_later(pause, i, DEED_LIVE);
}

static uint64_t copy_time(const struct actor *a, uint64_t bytes)
{
        uint64_t ns = bytes / (w.rates[a->device] / 1000000 ? w.rates[a->device] / 1000000 : 1) * 1000;

        return ns + sim_between(0, ns / 4) + NS_PER_MS;
}

/* Moves a few units out, tells it; the last time with done. */
static void evict_step(uint32_t i)
{
        struct actor *a = &w.actors[i];
        uint64_t returned = 0, step, out = 0;
        int status = 0;
        bool done;

        if (!a->evicting)
                return;
        if (a->storage && a->unreported)
                report(i, 0);
        if (a->flaw == FLAW_FAILS_MOVES && sim_once_in(2))
                status = -E_ARENA;
        step = a->grant - a->pinned - a->resident; /* unused grant goes first */
        step = step < a->evict_left ? step : a->evict_left;
        returned = step;
        if (!status && returned < a->evict_left && a->resident) {
                out = sim_between(1, 1 + a->resident / w.unit / 2) * w.unit;
                out = out < a->resident ? out : a->resident;
                out = out < a->evict_left - returned ? out : a->evict_left - returned;
                back(a, a->movable - a->resident + out);
                if (a->backed < a->movable - a->resident + out) {
                        out = a->backed - (a->movable - a->resident);
                        status = -E_ARENA;
                }
                a->resident -= out;
                returned += out;
        }
        if (a->storage) {
                a->movable = a->resident; /* what left is its program's elsewhere */
                unback(a);
        }
        a->grant -= returned;
        a->evict_left -= returned;
        a->moved += out;
        w.moved += out;
        done = status || !a->evict_left || a->grant == a->pinned;
        if (out && !a->storage)
                report(i, 0);
        if (done)
                a->evicting = false;
        sim_trace("evicted  %2u resident %" PRIu64 " returned %" PRIu64 " done %d status %d", i, a->resident / w.unit,
              returned / w.unit, done, status);
        result(a, "evicted",
               gate_evicted(w.gate, w.now, i, a->resident, returned, a->moved, w.now - a->started, done, status));
        gate_arena(w.gate, w.now, sim_arena_free());
        if (!done)
                sim_later(copy_time(a, out), i, DEED_EVICT_STEP);
}

/* Moves in as far as the grant reaches. Nothing left to do: the next BRING_IN wakes it. */
static void in_step(uint32_t i)
{
        struct actor *a = &w.actors[i];
        uint64_t reach = a->grant - a->pinned - a->resident, lacks = a->movable - a->resident, in;

        if (!a->bringing || a->evicting)
                return;
        if (a->flaw == FLAW_FAILS_MOVES && sim_once_in(4)) {
                uint64_t returned = a->grant - a->pinned - a->resident;

                a->bringing = false;
                a->grant -= returned;
                sim_trace("brought  %2u failed", i);
                result(a, "brought_in", gate_brought_in(w.gate, w.now, i, a->resident, returned, a->moved, w.now - a->started,
                                                        sim_once_in(2), -ENOMEM));
                return;
        }
        in = lacks < reach ? lacks : reach;
        if (in > w.unit)
                in = sim_between(1, in / w.unit) * w.unit;
        a->resident += in;
        a->moved += in;
        w.moved += in;
        a->bringing = a->resident != a->movable;
        sim_trace("brought  %2u resident %" PRIu64 " done %d", i, a->resident / w.unit, !a->bringing);
        result(a, "brought_in", gate_brought_in(w.gate, w.now, i, a->resident, 0, a->moved, w.now - a->started, !a->bringing, 0));
        if (a->lives && a->bringing && in)
                sim_later(copy_time(a, in), i, DEED_IN_STEP);
}

static void served(uint32_t i)
{
        struct actor *a = &w.actors[i];
        uint64_t waited = w.now - a->wait_since;

        if (!a->wants_open)
                return;
        a->wants_open = false;
        w.served++;
        if (w.kind && a->wait_bound) {
                uint64_t permille = waited * 1000 / a->wait_bound;

                if (permille > w.max_over_permille)
                        w.max_over_permille = permille;
                if (waited > a->wait_bound)
                        sim_fail("client %u waited %.3f s, the bound was %.3f s", i, (double)waited / 1e9, (double)a->wait_bound / 1e9);
        }
        a->wait_bound = 0;
}

static void opened(struct actor *a, uint32_t i, uint64_t bytes)
{
        (void)bytes;
        if (a->resident != a->movable || a->movable + a->pinned > a->grant)
                if (sim_honest(a))
                        sim_fail("client %u: gate opened with %" PRIu64 " of %" PRIu64 " resident", i, a->resident / w.unit,
                             a->movable / w.unit);
        a->running = true;
        a->admitted = true;
        a->bringing = false;
        gate_active(w.gate, w.now, i);
}

void sim_carry_out(void)
{
        static const char *const names[] = {"go", "available", "wait", "deny", "give way", "evict", "bring in", "trim", "contended",
                                            "report", "kill"};
        struct gate_action action;

        while (!w.failed && gate_next_action(w.gate, &action)) {
                uint32_t i = action.client;
                struct actor *a = &w.actors[i % MAX_CLIENTS];

                sim_trace("   → %-9s %2d device %u ticket %u reason %u code %d bytes %" PRIu64, names[action.kind], (int)i, action.device,
                      action.ticket, action.reason, action.code, action.bytes / w.unit);
                if (action.kind == GATE_CONTENDED)
                        continue;
                if (i >= MAX_CLIENTS || !a->lives) {
                        sim_fail("action for nobody");
                        return;
                }
                if (a->storage && action.kind != GATE_AVAILABLE && action.kind != GATE_DENY && action.kind != GATE_EVICT &&
                    action.kind != GATE_REPORT && action.kind != GATE_KILL)
                        sim_fail("%s for storage %u", names[action.kind], i);
                switch ((enum gate_action_kind)action.kind) {
                case GATE_GO:
                        if (a->running)
                                sim_fail("go for running client %u", i);
                        a->grant += action.bytes;
                        opened(a, i, action.bytes);
                        served(i);
                        break;
                case GATE_AVAILABLE:
                        a->grant += action.bytes;
                        if (a->storage) {
                                a->movable = a->resident = a->grant - a->pinned;
                                back(a, w.kind || sim_once_in(2) ? a->movable : a->movable / 2);
                                a->unreported = true;
                                sim_later(sim_latency(), i, DEED_TELL);
                        }
                        if (a->growth && a->growth <= a->grant - a->movable - a->pinned) {
                                a->movable += a->growth;
                                a->resident += a->growth;
                                back(a, a->movable);
                                a->unreported = true;
                                sim_later(sim_latency(), i, DEED_TELL);
                        }
                        a->growth = 0;
                        served(i);
                        break;
                case GATE_DENY:
                        a->wants_open = false;
                        a->growth = 0;
                        a->wait_bound = 0;
                        break;
                case GATE_GIVE_WAY:
                        if (!a->running && sim_honest(a))
                                sim_fail("give way for client %u, which does not run", i);
                        a->running = false;
                        a->closing = true;
                        a->pings = w.served - a->served_then <= 1 && action.reason != WIRE_GIVE_IDLE ? a->pings + 1 : 0;
                        a->served_then = w.served;
                        if (a->pings >= 2 && w.kind)
                                sim_fail("client %u came in and was asked out again and again, and nobody was served meanwhile", i);
                        if (a->flaw != FLAW_NEVER_GIVES_WAY)
                                sim_later(sim_between(0, w.drain_ns), i, DEED_GIVEN_WAY);
                        break;
                case GATE_EVICT:
                        if ((a->running || a->closing) && sim_honest(a))
                                sim_fail("evict for client %u, which runs", i);
                        a->evicting = true;
                        a->bringing = false;
                        a->evict_left = action.bytes;
                        a->moved = 0;
                        a->started = w.now;
                        sim_later(sim_latency(), i, DEED_EVICT_STEP);
                        break;
                case GATE_BRING_IN:
                        a->grant += action.bytes;
                        if (!a->bringing) {
                                a->moved = 0;
                                a->started = w.now;
                        }
                        a->bringing = true;
                        sim_later(sim_latency(), i, DEED_IN_STEP);
                        break;
                case GATE_TRIM:
                        if (a->flaw != FLAW_NEVER_GIVES_WAY)
                                sim_later(sim_latency(), i, DEED_TRIM);
                        break;
                case GATE_KILL:
                        if (w.kind)
                                sim_fail("kill of well-behaved client %u", i);
                        a->wants_open = false;
                        sim_die(i);
                        break;
                case GATE_REPORT:
                        if (w.kind)
                                sim_fail("well-behaved client %u is called stuck", i);
                        break;
                case GATE_WAIT:
                        if (a->wants_open && !a->wait_bound) {
                                struct gate_client_view view;

                                if (gate_view_client(w.gate, w.now, i, &view))
                                        a->wait_bound = view.wait_bound_ns;
                        }
                        break;
                case GATE_CONTENDED:
                        break;
                }
        }
}

void sim_act(const struct event *e)
{
        struct actor *a = &w.actors[e->client];

        if (!a->lives || a->generation != e->generation)
                return;
        switch ((enum deed)e->deed) {
        case DEED_LIVE:
                live(e->client);
                break;
        case DEED_WANT:
                want(e->client, a->movable + a->pinned);
                break;
        case DEED_GIVEN_WAY:
                if (a->closing) {
                        bool more = !a->idle && !w.ending;

                        a->closing = false;
                        if (a->unreported)
                                report(e->client, 0);
                        sim_trace("given way %2u wants %d", e->client, more);
                        if (more && !a->wants_open) {
                                a->wants_open = true;
                                a->wait_since = w.now;
                        }
                        result(a, "given_way", gate_given_way(w.gate, w.now, e->client, more));
                }
                break;
        case DEED_EVICT_STEP:
                evict_step(e->client);
                break;
        case DEED_IN_STEP:
                in_step(e->client);
                break;
        case DEED_TRIM:
                if (!a->closing && !a->evicting && !a->bringing && a->running) {
                        uint64_t unused = a->grant - a->resident - a->pinned;

                        if (a->flaw == FLAW_NEVER_REPORTS)
                                break;
                        a->grant -= unused;
                        report(e->client, unused);
                        gate_arena(w.gate, w.now, sim_arena_free());
                }
                break;
        case DEED_TELL:
                if (a->unreported)
                        report(e->client, 0);
                break;
        case DEED_N:
                break;
        }
}

