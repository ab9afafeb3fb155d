/* sim-gate.c: thousands of simulated machines under virtual time. Each history is a world drawn from a seed: devices, an arena, clients that live,
 * grow, shrink, idle and die; some of them lie, stay silent or refuse. After every step all invariants are checked. Worlds of well-behaved
 * clients are let run until everyone was served, and no wait may exceed the bound told when it began.
 *
 * gate-sim --histories N --seed S [--first F] [--steps K] [--verbose] [--trace]
 */
#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "gate/gate.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_CLIENTS = 24, MAX_DEVICES = 4, MAX_EVENTS = 4096, TRACE_LINES = 60, TRACE_TEXT = 140 };

enum deed { /* what a client does when its time has come */
        DEED_LIVE,
        DEED_WANT,
        DEED_GIVEN_WAY,
        DEED_EVICT_STEP,
        DEED_IN_STEP,
        DEED_TRIM,
        DEED_TELL,
        DEED_N
};

enum flaw { FLAW_NONE, FLAW_NEVER_GIVES_WAY, FLAW_NEVER_REPORTS, FLAW_LIES, FLAW_FAILS_MOVES, FLAW_RUDE, FLAW_N };

struct actor { /* a program, as it sees itself */
        bool lives, wants_open, running, closing, evicting, bringing, admitted, idle, unreported;
        uint32_t device, priority, flaw, ticket, generation;
        uint64_t job, need, limit, grant, movable, pinned, resident, backed, growth;
        uint64_t evict_left, moved, started, given_at;
        uint64_t wait_since, wait_bound;
};

struct event {
        uint64_t at;
        uint32_t client, generation, deed, order;
};

struct world {
        struct gate *gate;
        struct gate_settings settings;
        struct actor actors[MAX_CLIENTS];
        struct event events[MAX_EVENTS];
        uint64_t totals[MAX_DEVICES], rates[MAX_DEVICES], arena_total, arena_used, now, unit, drain_ns, jobs, random;
        uint32_t devices, clients, events_n, order, tickets;
        bool kind, ending, verbose, trace_all; /* kind: only well-behaved clients */
        uint64_t steps, refused, served, moved, max_over_permille;
        char trace[TRACE_LINES][TRACE_TEXT];
        uint64_t traced;
        int failed;
};

static struct world w;

static uint64_t chance(void)
{
        uint64_t z = (w.random += UINT64_C(0x9e3779b97f4a7c15));

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}
static uint64_t below(uint64_t n)
{
        return n ? chance() % n : 0;
}
static uint64_t between(uint64_t a, uint64_t b)
{
        return a + below(b - a + 1);
}
static bool once_in(uint64_t n)
{
        return below(n) == 0;
}

__attribute__((format(printf, 1, 2))) static void trace(const char *format, ...)
{
        char *line = w.trace[w.traced++ % TRACE_LINES];
        int n = snprintf(line, TRACE_TEXT, "%12.6f  ", (double)w.now / 1e9);
        va_list args;

        va_start(args, format);
        vsnprintf(line + n, TRACE_TEXT - (size_t)n, format, args);
        va_end(args);
        if (w.trace_all)
                puts(line);
}

static void show_books(void);

__attribute__((format(printf, 1, 2))) static void fail(const char *format, ...)
{
        char text[300];
        va_list args;

        if (w.failed++)
                return;
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        for (uint64_t i = w.traced > TRACE_LINES ? w.traced - TRACE_LINES : 0; i < w.traced && !w.trace_all; i++)
                fprintf(stderr, "%s\n", w.trace[i % TRACE_LINES]);
        fprintf(stderr, "%12.6f  FAILED: %s\n", (double)w.now / 1e9, text);
        show_books();
}

static void show_books(void)
{
        for (uint32_t d = 0; d < w.devices; d++) {
                struct gate_device_view view;

                if (gate_view_device(w.gate, w.now, d, &view))
                        fprintf(stderr, "device %u: room %" PRIu64 " granted %" PRIu64 "\n", d, view.room / w.unit, view.granted / w.unit);
        }
        for (uint32_t i = 0; i < MAX_CLIENTS; i++) {
                struct gate_client_view v;

                if (gate_view_client(w.gate, w.now, i, &v))
                        fprintf(stderr, "client %2u: device %u job %" PRIu64 " class %u %s grant %" PRIu64 " movable %" PRIu64 " pinned %" PRIu64
                                " resident %" PRIu64 " backed %" PRIu64 " need %" PRIu64 " wants %d position %u reason %s%s\n",
                                i, v.device, v.job, v.priority, wire_state_name(v.state), v.grant / w.unit, v.movable / w.unit,
                                v.pinned / w.unit, v.resident / w.unit, v.backed / w.unit, v.need / w.unit, v.wants, v.position,
                                wire_reason_name(v.reason), v.stuck ? " STUCK" : "");
        }
}

/* --- events: a heap by time --- */

static bool sooner(const struct event *a, const struct event *b)
{
        return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void later(uint64_t delay, uint32_t client, enum deed deed)
{
        struct event e = {w.now + delay, client, w.actors[client].generation, deed, w.order++};
        uint32_t i = w.events_n;

        if (i == MAX_EVENTS) {
                fail("too many events");
                return;
        }
        w.events_n++;
        for (; i && sooner(&e, &w.events[(i - 1) / 2]); i = (i - 1) / 2)
                w.events[i] = w.events[(i - 1) / 2];
        w.events[i] = e;
}

static struct event pop(void)
{
        struct event first = w.events[0], last = w.events[--w.events_n];
        uint32_t i = 0, child;

        for (; (child = 2 * i + 1) < w.events_n; i = child) {
                if (child + 1 < w.events_n && sooner(&w.events[child + 1], &w.events[child]))
                        child++;
                if (!sooner(&w.events[child], &last))
                        break;
                w.events[i] = w.events[child];
        }
        w.events[i] = last;
        return first;
}

/* --- one client --- */

static uint64_t latency(void) /* of a message and whoever handles it */
{
        return between(1, w.kind ? 2 : 20) * NS_PER_MS;
}

static bool honest(const struct actor *a)
{
        return a->flaw != FLAW_LIES && a->flaw != FLAW_NEVER_REPORTS;
}

static void result(const struct actor *a, const char *what, int r)
{
        if (r == 0)
                return;
        w.refused++;
        trace("  refused: %s of %td: %d", what, a - w.actors, r);
        if (honest(a))
                fail("an honest %s was refused", what);
}

static uint64_t arena_free(void)
{
        return w.arena_total > w.arena_used ? w.arena_total - w.arena_used : 0;
}

/* The host memory behind its movable bytes; it keeps what it has. */
static void back(struct actor *a, uint64_t bytes)
{
        uint64_t want = bytes > a->backed ? bytes - a->backed : 0, get = want < arena_free() ? want : arena_free();

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
        trace("memory   %2u movable %" PRIu64 " pinned %" PRIu64 " resident %" PRIu64 " backed %" PRIu64 " returned %" PRIu64, i,
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
        trace("want     %2u need %" PRIu64 " ticket %u", i, need / w.unit, a->ticket);
        result(a, "want", gate_want(w.gate, w.now, i, need, a->ticket));
}

static void die(uint32_t i)
{
        struct actor *a = &w.actors[i];

        trace("gone     %2u", i);
        w.arena_used -= a->backed;
        a->lives = false;
        a->backed = 0;
        a->generation++;
        gate_gone(w.gate, w.now, i);
        gate_arena(w.gate, w.now, arena_free());
}

static void join(void)
{
        struct gate_client_spec spec = {.device = (uint32_t)below(w.devices)};
        uint64_t room = gate_room(w.gate, spec.device);
        uint32_t i, generation;
        struct actor *a;
        int r;

        room -= w.kind ? MAX_CLIENTS * w.settings.client_part_bytes : 0; /* all contexts fit beside anyone */
        spec.priority = once_in(2) ? WIRE_NORMAL : (uint32_t)below(WIRE_PRIORITY_N);
        spec.job = once_in(4) ? 1 + below(w.jobs) : 0;
        spec.need_bytes = once_in(3) ? between(0, room / w.unit) * w.unit : 0;
        spec.limit_bytes = once_in(6) ? between(1, room / w.unit + 1) * w.unit : 0;
        r = gate_add_client(w.gate, w.now, &spec, &i);
        if (r) {
                fail("add_client: %d", r);
                return;
        }
        a = &w.actors[i];
        generation = a->generation + 1;
        memset(a, 0, sizeof(*a));
        a->lives = true;
        a->generation = generation;
        a->device = spec.device;
        a->priority = spec.priority;
        a->job = spec.job;
        a->limit = spec.limit_bytes;
        a->need = spec.limit_bytes && spec.need_bytes > spec.limit_bytes ? spec.limit_bytes : spec.need_bytes;
        a->flaw = w.kind || !once_in(3) ? FLAW_NONE : (uint32_t)below(FLAW_N);
        trace("join     %2u device %u class %u job %" PRIu64 " need %" PRIu64 " limit %" PRIu64 " flaw %u", i, a->device, a->priority,
              a->job, a->need / w.unit, a->limit / w.unit, a->flaw);
        later(latency(), i, DEED_LIVE);
}

/* Lives on: allocates within its grant, asks for more, frees, idles, dies. */
static void live(uint32_t i)
{
        struct actor *a = &w.actors[i];
        uint64_t room = gate_room(w.gate, a->device), have = a->movable + a->pinned;
        uint64_t pause = (w.kind ? between(1, 3000) : between(1, 8000)) * NS_PER_MS;

        room -= w.kind ? MAX_CLIENTS * w.settings.client_part_bytes : 0;
        if (!w.kind && once_in(25)) {
                die(i);
                return;
        }
        if (a->flaw == FLAW_LIES && once_in(3)) {
                result(a, "lie", gate_memory(w.gate, w.now, i, chance() >> below(64), below(3) * w.unit, chance() >> below(64),
                                             chance(), chance() >> below(64)));
                result(a, "lie", gate_given_way(w.gate, w.now, i, once_in(2)));
                result(a, "lie", gate_evicted(w.gate, w.now, i, chance() >> below(64), chance() >> below(64), chance(), chance(),
                                              once_in(2), 0));
                result(a, "lie", gate_brought_in(w.gate, w.now, i, chance() >> below(64), chance() >> below(64), chance(), chance(),
                                                 once_in(2), 0));
        }
        if (a->flaw == FLAW_RUDE && once_in(4))
                want(i, between(0, room / w.unit * 2) * w.unit);
        if (!a->running && !a->closing) {
                if (!a->wants_open && (!a->idle || once_in(3)) && !w.ending) {
                        a->idle = false;
                        want(i, have ? have : between(0, room / w.unit + (w.kind ? 0 : 2)) / between(1, 3) * w.unit);
                }
                later(pause, i, DEED_LIVE);
                return;
        }
        if (a->running && !a->idle)
                gate_active(w.gate, w.now, i);
        switch (below(w.ending ? 2 : 8)) {
        case 0: /* frees; only while open, as most do */
                if (a->running && a->movable) {
                        uint64_t freed = between(1, a->movable / w.unit) * w.unit, returned;

                        a->movable -= freed;
                        a->resident -= freed;
                        unback(a);
                        returned = once_in(2) ? freed : 0;
                        a->grant -= returned;
                        report(i, returned);
                        gate_arena(w.gate, w.now, arena_free());
                }
                break;
        case 1:
                a->idle = !a->idle;
                break;
        case 2:
        case 3:
        case 4: /* allocates what it may, and asks for more */
                if (a->running && !a->wants_open) {
                        uint64_t within = a->grant - have, more = between(0, room / w.unit / 3) * w.unit;

                        if (more > within && !(a->limit && have + more > a->limit && w.kind)) {
                                a->growth = more;
                                want(i, have + more);
                        } else if (more <= within) {
                                a->movable += more;
                                a->resident += more;
                                back(a, a->movable);
                                if (more && !w.kind && once_in(8)) {
                                        a->pinned += w.unit;
                                        a->movable -= w.unit;
                                        a->resident -= w.unit;
                                        unback(a);
                                }
                                gate_arena(w.gate, w.now, arena_free());
                                report(i, 0);
                        }
                }
                break;
        default:
                break;
        }
        later(pause, i, DEED_LIVE);
}

static uint64_t copy_time(const struct actor *a, uint64_t bytes)
{
        uint64_t ns = bytes / (w.rates[a->device] / 1000000 ? w.rates[a->device] / 1000000 : 1) * 1000;

        return ns + between(0, ns / 4) + NS_PER_MS;
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
        if (a->flaw == FLAW_FAILS_MOVES && once_in(2))
                status = -E_ARENA;
        step = a->grant - a->pinned - a->resident; /* unused grant goes first */
        step = step < a->evict_left ? step : a->evict_left;
        returned = step;
        if (!status && returned < a->evict_left && a->resident) {
                out = between(1, 1 + a->resident / w.unit / 2) * w.unit;
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
        a->grant -= returned;
        a->evict_left -= returned;
        a->moved += out;
        w.moved += out;
        done = status || !a->evict_left || a->grant == a->pinned;
        if (out)
                report(i, 0);
        if (done)
                a->evicting = false;
        trace("evicted  %2u resident %" PRIu64 " returned %" PRIu64 " done %d status %d", i, a->resident / w.unit,
              returned / w.unit, done, status);
        result(a, "evicted",
               gate_evicted(w.gate, w.now, i, a->resident, returned, a->moved, w.now - a->started, done, status));
        gate_arena(w.gate, w.now, arena_free());
        if (!done)
                later(copy_time(a, out), i, DEED_EVICT_STEP);
}

/* Moves in as far as the grant reaches. Nothing left to do: the next BRING_IN wakes it. */
static void in_step(uint32_t i)
{
        struct actor *a = &w.actors[i];
        uint64_t reach = a->grant - a->pinned - a->resident, lacks = a->movable - a->resident, in;

        if (!a->bringing || a->evicting)
                return;
        if (a->flaw == FLAW_FAILS_MOVES && once_in(4)) {
                uint64_t returned = a->grant - a->pinned - a->resident;

                a->bringing = false;
                a->grant -= returned;
                trace("brought  %2u failed", i);
                result(a, "brought_in", gate_brought_in(w.gate, w.now, i, a->resident, returned, a->moved, w.now - a->started,
                                                        once_in(2), -ENOMEM));
                return;
        }
        in = lacks < reach ? lacks : reach;
        if (in > w.unit)
                in = between(1, in / w.unit) * w.unit;
        a->resident += in;
        a->moved += in;
        w.moved += in;
        a->bringing = a->resident != a->movable;
        trace("brought  %2u resident %" PRIu64 " done %d", i, a->resident / w.unit, !a->bringing);
        result(a, "brought_in", gate_brought_in(w.gate, w.now, i, a->resident, 0, a->moved, w.now - a->started, !a->bringing, 0));
        if (a->lives && a->bringing && in)
                later(copy_time(a, in), i, DEED_IN_STEP);
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
                        fail("client %u waited %.3f s, the bound was %.3f s", i, (double)waited / 1e9, (double)a->wait_bound / 1e9);
        }
        a->wait_bound = 0;
}

static void opened(struct actor *a, uint32_t i, uint64_t bytes)
{
        (void)bytes;
        if (a->resident != a->movable || a->movable + a->pinned > a->grant)
                if (honest(a))
                        fail("client %u: gate opened with %" PRIu64 " of %" PRIu64 " resident", i, a->resident / w.unit,
                             a->movable / w.unit);
        a->running = true;
        a->admitted = true;
        a->bringing = false;
        gate_active(w.gate, w.now, i);
}

static void carry_out(void)
{
        static const char *const names[] = {"go", "available", "wait", "deny", "give way", "evict", "bring in", "trim", "contended",
                                            "report", "kill"};
        struct gate_action action;

        while (!w.failed && gate_next_action(w.gate, &action)) {
                uint32_t i = action.client;
                struct actor *a = &w.actors[i % MAX_CLIENTS];

                trace("   → %-9s %2d device %u ticket %u reason %u code %d bytes %" PRIu64, names[action.kind], (int)i, action.device,
                      action.ticket, action.reason, action.code, action.bytes / w.unit);
                if (action.kind == GATE_CONTENDED)
                        continue;
                if (i >= MAX_CLIENTS || !a->lives) {
                        fail("action for nobody");
                        return;
                }
                switch ((enum gate_action_kind)action.kind) {
                case GATE_GO:
                        if (a->running)
                                fail("go for running client %u", i);
                        a->grant += action.bytes;
                        opened(a, i, action.bytes);
                        served(i);
                        break;
                case GATE_AVAILABLE:
                        a->grant += action.bytes;
                        if (a->growth && a->growth <= a->grant - a->movable - a->pinned) {
                                a->movable += a->growth;
                                a->resident += a->growth;
                                back(a, a->movable);
                                a->unreported = true;
                                later(latency(), i, DEED_TELL);
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
                        if (!a->running && honest(a))
                                fail("give way for client %u, which does not run", i);
                        a->running = false;
                        a->closing = true;
                        if (a->flaw != FLAW_NEVER_GIVES_WAY)
                                later(between(0, w.drain_ns), i, DEED_GIVEN_WAY);
                        break;
                case GATE_EVICT:
                        if ((a->running || a->closing) && honest(a))
                                fail("evict for client %u, which runs", i);
                        a->evicting = true;
                        a->bringing = false;
                        a->evict_left = action.bytes;
                        a->moved = 0;
                        a->started = w.now;
                        later(latency(), i, DEED_EVICT_STEP);
                        break;
                case GATE_BRING_IN:
                        a->grant += action.bytes;
                        if (!a->bringing) {
                                a->moved = 0;
                                a->started = w.now;
                        }
                        a->bringing = true;
                        later(latency(), i, DEED_IN_STEP);
                        break;
                case GATE_TRIM:
                        if (a->flaw != FLAW_NEVER_GIVES_WAY)
                                later(latency(), i, DEED_TRIM);
                        break;
                case GATE_KILL:
                        if (w.kind)
                                fail("kill of well-behaved client %u", i);
                        a->wants_open = false;
                        die(i);
                        break;
                case GATE_REPORT:
                        if (w.kind)
                                fail("well-behaved client %u is called stuck", i);
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

static void act(const struct event *e)
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
                        trace("given way %2u wants %d", e->client, more);
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
                        gate_arena(w.gate, w.now, arena_free());
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

/* The daemon dies and comes back: a new gate from what the clients say. Messages on their way are lost. */
static void restart(void)
{
        struct gate *gate = gate_new(MAX_CLIENTS, MAX_DEVICES, &w.settings);
        uint32_t number;

        trace("--- restart ---");
        if (!gate) {
                fail("out of memory");
                return;
        }
        gate_free(w.gate);
        w.gate = gate;
        w.events_n = 0;
        for (uint32_t d = 0; d < w.devices; d++)
                if (gate_add_device(gate, d, w.totals[d]))
                        fail("add_device");
        gate_arena(gate, w.now, arena_free());
        for (uint32_t i = 0; i < MAX_CLIENTS && !w.failed; i++) { /* numbers from 0: the dead leave gaps, so move down */
                struct actor a = w.actors[i];
                struct gate_client_spec spec = {
                        .device = a.device, .priority = a.priority, .job = a.job, .need_bytes = a.need, .limit_bytes = a.limit,
                        .admitted = a.admitted, .running = a.running || a.closing, .grant_bytes = a.grant, .movable_bytes = a.movable,
                        .pinned_bytes = a.pinned, .resident_bytes = a.resident, .backed_bytes = a.backed};

                if (!a.lives)
                        continue;
                w.actors[i].lives = false;
                w.actors[i].generation++;
                if (gate_add_client(gate, w.now, &spec, &number)) {
                        if (honest(&a))
                                fail("resumed client %u was refused", i);
                        w.arena_used -= a.backed;
                        continue;
                }
                a.generation = w.actors[number].generation + 1;
                a.running |= a.closing;
                a.closing = a.evicting = a.bringing = a.wants_open = false;
                a.growth = a.wait_bound = 0;
                w.actors[number] = a;
                later(latency(), number, DEED_LIVE);
                carry_out();
        }
}

static void check(void)
{
        char message[200] = "";
        int invariant = gate_check(w.gate, w.now, message, sizeof(message));

        w.steps++;
        if (invariant)
                fail("invariant %d: %s", invariant, message);
}

static void step(void)
{
        uint64_t timer = gate_next_deadline(w.gate), next = w.events_n ? w.events[0].at : GATE_NEVER;

        if (timer <= next && timer != GATE_NEVER) {
                w.now = timer > w.now ? timer : w.now;
                trace("tick");
                gate_tick(w.gate, w.now);
                if (gate_next_deadline(w.gate) <= w.now)
                        fail("a timer that does not advance");
        } else if (next != GATE_NEVER) {
                struct event e = pop();

                w.now = e.at;
                act(&e);
        }
        carry_out();
        check();
}

static void disturb(void)
{
        uint32_t d = (uint32_t)below(w.devices);

        switch (below(w.kind ? 0 : 40)) {
        case 1:
                if (once_in(6))
                        restart();
                break;
        case 2:
                trace("foreign");
                gate_foreign(w.gate, w.now, d, once_in(2) ? 0 : below(w.totals[d] / 3));
                break;
        case 3:
                w.settings.reserve_percent = (uint32_t)between(0, 20);
                w.settings.slice_mode = (uint32_t)below(2);
                w.settings.limits_classes = once_in(3);
                trace("settings");
                gate_change_settings(w.gate, w.now, &w.settings);
                break;
        case 4:
        case 5: {
                uint32_t i = (uint32_t)below(MAX_CLIENTS); /* in whatever state it is */

                if (w.actors[i].lives)
                        die(i);
                break;
        }
        default:
                break;
        }
        carry_out();
}

static uint32_t living(void)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < MAX_CLIENTS; i++)
                n += w.actors[i].lives;
        return n;
}

/* Beside the contexts of all others, its job does not fit one of its devices: only they can end that wait. */
static bool crowded_out(uint32_t client, const struct gate_client_view *me)
{
        uint64_t together[MAX_DEVICES] = {0};
        bool mine[MAX_DEVICES] = {false};

        for (uint32_t i = 0; i < MAX_CLIENTS; i++) {
                struct gate_client_view v;

                if (!w.actors[i].lives || !gate_view_client(w.gate, w.now, i, &v))
                        continue;
                together[v.device] += v.part;
                if (i != client && (!v.job || v.job != me->job))
                        continue;
                mine[v.device] = true;
                together[v.device] += (v.admitted ? 0 : w.settings.client_part_bytes) + v.need;
        }
        for (uint32_t d = 0; d < w.devices; d++)
                if (mine[d] && together[d] > gate_room(w.gate, d) + w.settings.client_part_bytes)
                        return true;
        return false;
}

/* Nobody wants anything new: everyone who waits must be served, as far as the world allows. */
static void finish(void)
{
        uint64_t end;

        w.ending = true;
        end = w.now + 36000 * NS_PER_S;
        for (uint32_t round = 0; round < 60000 && w.now < end && !w.failed; round++) {
                bool open = false;

                for (uint32_t i = 0; i < MAX_CLIENTS; i++)
                        open |= w.actors[i].lives && w.actors[i].wants_open;
                if (!open)
                        return;
                step();
        }
        for (uint32_t i = 0; i < MAX_CLIENTS && !w.failed; i++) {
                struct gate_client_view view;

                if (!w.actors[i].lives || !w.actors[i].wants_open || !gate_view_client(w.gate, w.now, i, &view))
                        continue;
                if (view.reason == WIRE_WAIT_ARENA || view.reason == WIRE_WAIT_PINNED)
                        continue; /* others outside must end it, and the reason is told */
                if (view.reason == WIRE_WAIT_MEMORY && crowded_out(i, &view))
                        continue;
                fail("client %u was never served (reason %s)", i, wire_reason_name(view.reason));
        }
}

static void history(uint64_t seed, uint64_t steps)
{
        static const uint64_t sizes[] = {2, 8, 16, 24, 80, 139};
        uint64_t join_every;
        uint32_t most_clients;

        w.random = seed;
        w.unit = 64 * MIB;
        w.kind = once_in(2);
        w.settings = gate_default_settings;
        w.settings.client_part_bytes = w.kind ? below(2) * w.unit : below(3) * 4 * w.unit;
        w.settings.slice_mode = once_in(5) ? GATE_SLICE_FIXED : GATE_SLICE_AUTO;
        w.settings.slice_fixed_ns = between(1, 20) * NS_PER_S;
        w.settings.kill_after_ns = once_in(2) && !w.kind ? 0 : 60 * NS_PER_S;
        w.settings.limits_classes = once_in(4);
        w.devices = (uint32_t)between(1, MAX_DEVICES);
        w.drain_ns = between(1, 400) * NS_PER_MS;
        w.jobs = between(1, 4);
        w.gate = gate_new(MAX_CLIENTS, MAX_DEVICES, &w.settings);
        if (!w.gate) {
                fail("out of memory");
                return;
        }
        w.arena_total = 0;
        for (uint32_t d = 0; d < w.devices; d++) {
                w.totals[d] = sizes[w.kind ? between(1, 5) : below(6)] * GIB;
                w.rates[d] = between(2, 60) * 1000000000;
                w.arena_total += w.totals[d];
                if (gate_add_device(w.gate, d, w.totals[d]))
                        fail("add_device");
        }
        w.arena_total = w.kind || once_in(2) ? w.arena_total * MAX_CLIENTS : w.arena_total * below(8) / 8;
        gate_arena(w.gate, w.now, arena_free());
        most_clients = (uint32_t)between(1, MAX_CLIENTS);
        join_every = between(2, 20);
        for (uint64_t i = 0; i < steps && !w.failed; i++) {
                if (living() < most_clients && (once_in(join_every) || !w.events_n))
                        join();
                carry_out();
                if (!w.failed)
                        check();
                if (!w.failed)
                        step();
                if (!w.failed)
                        disturb();
        }
        if (w.kind && !w.failed)
                finish();
        gate_free(w.gate);
}

int main(int argc, char **argv)
{
        static const struct option options[] = {{"histories", required_argument, NULL, 'n'}, {"seed", required_argument, NULL, 's'},
                                                {"first", required_argument, NULL, 'f'},     {"steps", required_argument, NULL, 'k'},
                                                {"verbose", no_argument, NULL, 'v'},         {"trace", no_argument, NULL, 't'},
                                                {NULL, 0, NULL, 0}};
        uint64_t histories = 1000, seed = clock_now_ns(), first = 0, steps = 300, done = 0, violations = 0, began = clock_now_ns();
        uint64_t all_steps = 0, all_served = 0, refused = 0, over = 0, moved = 0;
        bool verbose = false, trace_all = false;

        for (int o; (o = getopt_long(argc, argv, "n:s:f:k:vt", options, NULL)) != -1;) {
                uint64_t *target = o == 'n' ? &histories : o == 's' ? &seed : o == 'f' ? &first : o == 'k' ? &steps : NULL;

                verbose |= o == 'v';
                trace_all |= o == 't';
                if (o == '?' || (target && text_parse_u64(optarg, 0, UINT64_MAX, target))) {
                        fprintf(stderr, "usage: gate-sim [--histories N] [--seed S] [--first F] [--steps K] [--verbose] [--trace]\n");
                        return 2;
                }
        }
        printf("seed %" PRIu64 "\n", seed);
        for (uint64_t i = first; i < first + histories; i++, done++) {
                memset(&w, 0, sizeof(w));
                w.trace_all = trace_all;
                history(seed + i * UINT64_C(0x632be59bd9b4e019), steps);
                all_steps += w.steps;
                all_served += w.served;
                refused += w.refused;
                moved += w.moved;
                over = w.max_over_permille > over ? w.max_over_permille : over;
                if (verbose)
                        printf("history %" PRIu64 ": %" PRIu64 " steps, %" PRIu64 " served\n", i, w.steps, w.served);
                if (w.failed) {
                        violations++;
                        fprintf(stderr, "again with: gate-sim --seed %" PRIu64 " --first %" PRIu64 " --histories 1 --steps %" PRIu64
                                        " --trace\n", seed, i, steps);
                        if (violations >= 5)
                                break;
                }
        }
        printf("{\"histories\":%" PRIu64 ",\"violations\":%" PRIu64 ",\"seed\":%" PRIu64 ",\"steps\":%" PRIu64 ",\"served\":%" PRIu64
               ",\"refused\":%" PRIu64 ",\"moved_gib\":%" PRIu64 ",\"max_wait_over_bound\":%.3f,\"seconds\":%.1f}\n",
               done, violations, seed, all_steps, all_served, refused, moved >> 30, (double)over / 1000,
               (double)(clock_now_ns() - began) / 1e9);
        return violations ? 1 : 0;
}
