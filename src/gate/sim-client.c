/* sim-client.c: the programs of the simulation: how they answer, and the flaws some of them have. */
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

void sim_result(const struct actor *a, const char *what, int r)
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
void sim_back(struct actor *a, uint64_t bytes)
{
        uint64_t want = bytes > a->backed ? bytes - a->backed : 0, get = want < sim_arena_free() ? want : sim_arena_free();

        a->backed += get;
        w.arena_used += get;
}
void sim_unback(struct actor *a)
{
        if (a->backed > a->movable) {
                w.arena_used -= a->backed - a->movable;
                a->backed = a->movable;
        }
}

void sim_report(uint32_t i, uint64_t returned)
{
        struct actor *a = &w.actors[i];

        a->unreported = false;
        if (a->flaw == FLAW_NEVER_REPORTS && !returned)
                return;
        sim_trace("memory   %2u movable %" PRIu64 " pinned %" PRIu64 " resident %" PRIu64 " backed %" PRIu64 " returned %" PRIu64, i,
              a->movable / w.unit, a->pinned / w.unit, a->resident / w.unit, a->backed / w.unit, returned / w.unit);
        sim_result(a, "memory", gate_memory(w.gate, w.now, i, a->movable, a->pinned, a->resident, a->backed, returned));
}

void sim_want(uint32_t i, uint64_t need)
{
        struct actor *a = &w.actors[i];

        a->ticket = ++w.tickets;
        if (!a->wants_open) {
                a->wait_since = w.now;
                a->began++;
                w.began[a->device]++;
        }
        a->wants_open = true;
        sim_trace("want     %2u need %" PRIu64 " ticket %u", i, need / w.unit, a->ticket);
        sim_result(a, "want", gate_want(w.gate, w.now, i, need, a->ticket));
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

static uint64_t copy_time(const struct actor *a, uint64_t bytes)
{
        uint64_t ns = bytes / (w.rates[a->device] / 1000000 ? w.rates[a->device] / 1000000 : 1) * 1000;
        uint64_t most = w.rates[a->device] / UINT64_C(1500000000), slowness = w.slowness < most ? w.slowness : most ? most : 1;

        return (ns + sim_between(0, ns / 4)) * slowness + NS_PER_MS;
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
                sim_report(i, 0);
        if (a->flaw == FLAW_FAILS_MOVES && sim_once_in(2))
                status = -E_ARENA;
        step = a->grant - a->pinned - a->resident; /* unused grant goes first */
        step = step < a->evict_left ? step : a->evict_left;
        returned = step;
        if (!status && returned < a->evict_left && a->resident) {
                out = sim_between(1, 1 + a->resident / w.unit / 2) * w.unit;
                out = out < a->resident ? out : a->resident;
                out = out < a->evict_left - returned ? out : a->evict_left - returned;
                sim_back(a, a->movable - a->resident + out);
                if (a->backed < a->movable - a->resident + out) {
                        out = a->backed - (a->movable - a->resident);
                        status = -E_ARENA;
                }
                a->resident -= out;
                returned += out;
        }
        if (a->storage) {
                a->movable = a->resident; /* what left is its program's elsewhere */
                sim_unback(a);
        }
        a->grant -= returned;
        a->evict_left -= returned;
        a->moved += out;
        w.moved += out;
        done = status || !a->evict_left || a->grant == a->pinned;
        if (out && !a->storage)
                sim_report(i, 0);
        if (done)
                a->evicting = false;
        sim_trace("evicted  %2u resident %" PRIu64 " returned %" PRIu64 " done %d status %d", i, a->resident / w.unit,
              returned / w.unit, done, status);
        sim_result(a, "evicted",
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
                sim_result(a, "brought_in", gate_brought_in(w.gate, w.now, i, a->resident, returned, a->moved, w.now - a->started,
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
        sim_result(a, "brought_in", gate_brought_in(w.gate, w.now, i, a->resident, 0, a->moved, w.now - a->started, !a->bringing, 0));
        if (a->lives && a->bringing && in)
                sim_later(copy_time(a, in), i, DEED_IN_STEP);
}

void sim_hear_bounds(const struct actor *joined)
{
        bool links = false;
        struct gate_client_view view;

        for (uint32_t i = 0; i < MAX_CLIENTS; i++)
                links |= w.actors[i].lives && joined->job && w.actors[i].job == joined->job && w.actors[i].device != joined->device;
        for (uint32_t i = 0; i < MAX_CLIENTS; i++) {
                struct actor *a = &w.actors[i];

                if (a->lives && a->wants_open && a->wait_bound && (links || (a->job && a->job == joined->job)) && gate_view_client(w.gate, w.now, i, &view))
                        a->wait_bound = view.wait_bound_ns;
        }
}

static void served(uint32_t i)
{
        struct actor *a = &w.actors[i];
        uint64_t waited = w.now - a->wait_since;

        if (!a->wants_open)
                return;
        a->wants_open = false;
        w.served++;
        a->served++;
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

/* What it issued ends first; who stands still, or waits for memory, issued nothing. */
static uint64_t drain_time(const struct actor *a, uint32_t i)
{
        uint64_t most = w.settings.give_way_bound_ns / 5 * 4, ns;

        if (!a->program)
                return sim_between(0, w.drain_ns);
        if (a->idle || sim_span_asks(i))
                return sim_between(0, 2) * NS_PER_MS;
        ns = sim_between(w.drain_ns / 3, w.drain_ns) * w.slowness;
        return ns < most ? ns : most;
}

void sim_carry_out(void)
{
        static const char *const names[] = {"go", "available", "wait", "deny", "give way", "evict", "bring in", "trim", "contended",
                                            "report", "kill"};
        struct gate_action action;

        while (!w.failed && gate_next_action(w.gate, &action)) {
                uint32_t i = action.client;
                struct actor *a = &w.actors[i % MAX_CLIENTS];
                uint64_t others;

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
                                sim_back(a, w.kind || sim_once_in(2) ? a->movable : a->movable / 2);
                                a->unreported = true;
                                sim_later(sim_latency(), i, DEED_TELL);
                        }
                        if (a->growth && a->growth <= a->grant - a->movable - a->pinned) {
                                a->movable += a->growth;
                                a->resident += a->growth;
                                sim_back(a, a->movable);
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
                        others = w.served - a->served + w.began[a->device] - a->began;
                        a->pings = others == a->others_then ? a->pings + 1 : 0;
                        a->others_then = action.reason == WIRE_GIVE_IDLE ? UINT64_MAX : others;
                        if (a->pings >= 2 && w.kind)
                                sim_fail("client %u came in and was asked out again and again, and nobody was served meanwhile", i);
                        if (a->flaw != FLAW_NEVER_GIVES_WAY)
                                sim_later(drain_time(a, i), i, DEED_GIVEN_WAY);
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
                if (a->program)
                        sim_span_live(e->client);
                else
                        sim_live(e->client);
                break;
        case DEED_WANT:
                sim_want(e->client, a->movable + a->pinned);
                break;
        case DEED_GIVEN_WAY:
                if (a->closing) {
                        bool more = !a->idle && !w.ending;

                        a->closing = false;
                        if (a->unreported)
                                sim_report(e->client, 0);
                        sim_trace("given way %2u wants %d", e->client, more);
                        if (more && !a->wants_open) {
                                a->wants_open = true;
                                a->wait_since = w.now;
                        }
                        sim_result(a, "given_way", gate_given_way(w.gate, w.now, e->client, more));
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
                        sim_report(e->client, unused);
                        gate_arena(w.gate, w.now, sim_arena_free());
                }
                break;
        case DEED_TELL:
                if (a->unreported)
                        sim_report(e->client, 0);
                break;
        case DEED_N:
                break;
        }
}

