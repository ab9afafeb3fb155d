/* sim-gate.c: thousands of simulated machines under virtual time. Each history is a world drawn from a seed: devices, an arena, clients that live,
 * grow, shrink, idle and die; some of them lie, stay silent or refuse. After every step all invariants are checked. Worlds of well-behaved
 * clients are let run until everyone was served, and no wait may exceed the bound told when it began.
 *
 * gate-sim --histories N --seed S [--first F] [--steps K] [--several] [--verbose] [--trace]
 *
 * --several: every world has several devices, and programs that are on several of them at once (sim-span.c).
 */
#include "gate/sim-gate.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct world w;

uint64_t sim_chance(void)
{
        uint64_t z = (w.random += UINT64_C(0x9e3779b97f4a7c15));

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}
uint64_t sim_below(uint64_t n)
{
        return n ? sim_chance() % n : 0;
}
uint64_t sim_between(uint64_t a, uint64_t b)
{
        return a + sim_below(b - a + 1);
}
bool sim_once_in(uint64_t n)
{
        return sim_below(n) == 0;
}

void sim_trace(const char *format, ...)
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

void sim_fail(const char *format, ...)
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

void sim_later(uint64_t delay, uint32_t client, enum deed deed)
{
        struct event e = {w.now + delay, client, w.actors[client].generation, deed, w.order++};
        uint32_t i = w.events_n;

        if (i == MAX_EVENTS) {
                sim_fail("too many events");
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

/* The daemon dies and comes back: a new gate from what the clients say. Messages on their way are lost. */
static void restart(void)
{
        struct gate *gate = gate_new(MAX_CLIENTS, MAX_DEVICES, &w.settings);
        uint32_t number;

        sim_trace("--- restart ---");
        if (!gate) {
                sim_fail("out of memory");
                return;
        }
        gate_free(w.gate);
        w.gate = gate;
        w.events_n = 0;
        for (uint32_t d = 0; d < w.devices; d++) {
                if (gate_add_device(gate, d, w.totals[d]))
                        sim_fail("add_device");
                gate_link(gate, d, w.links_told ? w.rates[d] : 0);
        }
        gate_arena(gate, w.now, sim_arena_free());
        for (uint32_t i = 0; i < MAX_CLIENTS && !w.failed; i++) { /* numbers from 0: the dead leave gaps, so move down */
                struct actor a = w.actors[i];
                struct gate_client_spec spec = {
                        .device = a.device, .priority = a.priority, .job = a.job, .need_bytes = a.need, .limit_bytes = a.limit,
                        .admitted = a.admitted, .running = a.running || a.closing, .grant_bytes = a.grant, .movable_bytes = a.movable,
                        .pinned_bytes = a.pinned, .resident_bytes = a.resident, .backed_bytes = a.backed, .storage = a.storage};

                if (!a.lives)
                        continue;
                w.actors[i].lives = false;
                w.actors[i].generation++;
                if (gate_add_client(gate, w.now, &spec, &number)) {
                        if (sim_honest(&a))
                                sim_fail("resumed client %u was refused", i);
                        w.arena_used -= a.backed;
                        continue;
                }
                a.generation = w.actors[number].generation + 1;
                a.running |= a.closing;
                a.closing = a.evicting = a.bringing = a.wants_open = false;
                a.growth = a.wait_bound = 0;
                w.actors[number] = a;
                sim_later(sim_latency(), number, DEED_LIVE);
                sim_carry_out();
        }
}

static void check(void)
{
        char message[200] = "";
        int invariant = gate_check(w.gate, w.now, message, sizeof(message));

        w.steps++;
        if (invariant)
                sim_fail("invariant %d: %s", invariant, message);
        for (uint32_t i = 0; i < MAX_CLIENTS; i++) { /* a wish that got lost is never served, and its program hangs */
                struct gate_client_view view;

                if (w.actors[i].lives && w.actors[i].wants_open && sim_honest(&w.actors[i]) && gate_view_client(w.gate, w.now, i, &view) && !view.wants)
                        sim_fail("client %u waits, and the gate knows of no wish of its", i);
        }
}

static void step(void)
{
        uint64_t timer = gate_next_deadline(w.gate), next = w.events_n ? w.events[0].at : GATE_NEVER, before = w.now;
        bool dead = w.spans && sim_span_dead();

        if (timer <= next && timer != GATE_NEVER) {
                w.now = timer > w.now ? timer : w.now;
                sim_trace("tick");
                gate_tick(w.gate, w.now);
                if (gate_next_deadline(w.gate) <= w.now)
                        sim_fail("a timer that does not advance");
        } else if (next != GATE_NEVER) {
                struct event e = pop();

                w.now = e.at;
                sim_act(&e);
        }
        w.dead_ns += dead ? w.now - before : 0;
        w.dead_run_ns = dead ? w.dead_run_ns + w.now - before : 0;
        if (w.dead_run_ns > w.settings.idle_ns)
                sim_fail("nobody could go on for %.1f s", (double)w.dead_run_ns / 1e9);
        sim_carry_out();
        check();
}

static void disturb(void)
{
        uint32_t d = (uint32_t)sim_below(w.devices);

        if (w.spans && sim_once_in(1000))
                w.slowness = sim_between(1, w.slowest);
        switch (sim_below(w.kind ? 0 : 40)) {
        case 1:
                if (sim_once_in(6))
                        restart();
                break;
        case 2:
                sim_trace("foreign");
                gate_foreign(w.gate, w.now, d, sim_once_in(2) ? 0 : sim_below(w.totals[d] / 3));
                break;
        case 3:
                w.settings.reserve_percent = (uint32_t)sim_between(0, 20);
                w.settings.slice_mode = (uint32_t)sim_below(2);
                w.settings.limits_classes = sim_once_in(3);
                sim_trace("settings");
                gate_change_settings(w.gate, w.now, &w.settings);
                break;
        case 4:
        case 5: {
                uint32_t i = (uint32_t)sim_below(MAX_CLIENTS); /* in whatever state it is */

                if (w.actors[i].lives)
                        sim_die(i);
                break;
        }
        default:
                break;
        }
        sim_carry_out();
}

static uint32_t living(void)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < MAX_CLIENTS; i++)
                n += w.actors[i].lives;
        return n;
}

static uint32_t span_programs(void)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < MAX_CLIENTS; i++)
                n += w.actors[i].lives && w.actors[i].leads;
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
                sim_fail("client %u was never served (reason %s)", i, wire_reason_name(view.reason));
        }
}

static void history(uint64_t seed, uint64_t steps, bool spans)
{
        static const uint64_t sizes[] = {2, 8, 16, 24, 80, 139};
        uint64_t join_every;
        uint32_t most_clients;

        w.random = seed;
        w.unit = 64 * MIB;
        w.spans = spans;
        w.kind = sim_once_in(2) || spans;
        w.announces = sim_once_in(2);
        w.settings = gate_default_settings;
        w.settings.client_part_bytes = w.kind ? sim_below(2) * w.unit : sim_below(3) * 4 * w.unit;
        w.settings.slice_mode = sim_once_in(5) ? GATE_SLICE_FIXED : GATE_SLICE_AUTO;
        w.settings.slice_fixed_ns = sim_between(1, 20) * NS_PER_S;
        w.settings.kill_after_ns = sim_once_in(2) && !w.kind ? 0 : 60 * NS_PER_S;
        w.settings.limits_classes = sim_once_in(4);
        w.devices = (uint32_t)sim_between(spans ? 2 : 1, MAX_DEVICES);
        w.span_programs = spans ? (uint32_t)sim_between(2, MAX_CLIENTS / w.devices) : 0;
        w.slowness = 1;
        w.steady = spans && sim_once_in(2);
        w.overcommit = w.steady ? (uint32_t)sim_between(130, 300) : spans ? (uint32_t)sim_between(120, 250) : 0;
        w.drain_ns = spans && sim_once_in(2) ? sim_between(400, 4000) * NS_PER_MS : sim_between(1, 400) * NS_PER_MS;
        w.jobs = sim_between(1, 4);
        w.all_jobs = sim_once_in(3);
        w.links_told = sim_once_in(2);
        w.gate = gate_new(MAX_CLIENTS, MAX_DEVICES, &w.settings);
        if (!w.gate) {
                sim_fail("out of memory");
                return;
        }
        w.arena_total = 0;
        for (uint32_t d = 0; d < w.devices; d++) {
                w.totals[d] = sizes[spans ? (w.settings.client_part_bytes ? sim_between(1, 5) : sim_between(0, 2)) : w.kind ? sim_between(1, 5) : sim_below(6)] * GIB;
                w.rates[d] = sim_between(2, 60) * 1000000000;
                w.arena_total += w.totals[d];
                if (gate_add_device(w.gate, d, w.totals[d]))
                        sim_fail("add_device");
                gate_link(w.gate, d, w.links_told ? w.rates[d] : 0);
        }
        w.arena_total = w.kind || sim_once_in(2) ? w.arena_total * MAX_CLIENTS : w.arena_total * sim_below(8) / 8;
        gate_arena(w.gate, w.now, sim_arena_free());
        most_clients = (uint32_t)sim_between(1, MAX_CLIENTS);
        join_every = sim_between(2, 20);
        for (uint64_t i = 0; i < steps && !w.failed; i++) {
                if (w.spans) {
                        if (span_programs() < w.span_programs && (sim_once_in(join_every) || !w.events_n))
                                sim_span_join();
                } else if (living() < most_clients && (sim_once_in(join_every) || !w.events_n)) {
                        sim_join();
                }
                sim_carry_out();
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
                                                {"verbose", no_argument, NULL, 'v'},         {"trace", no_argument, NULL, 't'},       {"several", no_argument, NULL, 'm'}, {"slowest", required_argument, NULL, 'w'},
                                                {NULL, 0, NULL, 0}};
        uint64_t histories = 1000, seed = clock_now_ns(), first = 0, steps = 300, slowest = 1, done = 0, violations = 0, began = clock_now_ns();
        uint64_t all_steps = 0, all_served = 0, refused = 0, over = 0, moved = 0, dead = 0, time = 0;
        bool verbose = false, trace_all = false, spans = false;

        for (int o; (o = getopt_long(argc, argv, "n:s:f:k:w:vtm", options, NULL)) != -1;) {
                uint64_t *target = o == 'n' ? &histories : o == 's' ? &seed : o == 'f' ? &first : o == 'k' ? &steps : o == 'w' ? &slowest : NULL;

                verbose |= o == 'v';
                trace_all |= o == 't';
                spans |= o == 'm';
                if (o == '?' || (target && text_parse_u64(optarg, 0, UINT64_MAX, target))) {
                        fprintf(stderr, "usage: gate-sim [--histories N] [--seed S] [--first F] [--steps K] [--several] [--verbose] [--trace]\n");
                        return 2;
                }
        }
        printf("seed %" PRIu64 "\n", seed);
        for (uint64_t i = first; i < first + histories; i++, done++) {
                memset(&w, 0, sizeof(w));
                w.trace_all = trace_all;
                w.slowest = slowest;
                history(seed + i * UINT64_C(0x632be59bd9b4e019), steps, spans);
                all_steps += w.steps;
                all_served += w.served;
                refused += w.refused;
                moved += w.moved;
                dead += w.dead_ns;
                time += w.now;
                over = w.max_over_permille > over ? w.max_over_permille : over;
                if (verbose)
                        printf("history %" PRIu64 ": %" PRIu64 " steps, %" PRIu64 " served, %.1f of %.1f s dead\n", i, w.steps, w.served, (double)w.dead_ns / 1e9, (double)w.now / 1e9);
                if (w.failed) {
                        violations++;
                        fprintf(stderr, "again with: gate-sim --seed %" PRIu64 " --first %" PRIu64 " --histories 1 --steps %" PRIu64
                                        " --trace\n", seed, i, steps);
                        if (violations >= 5)
                                break;
                }
        }
        printf("{\"histories\":%" PRIu64 ",\"violations\":%" PRIu64 ",\"seed\":%" PRIu64 ",\"steps\":%" PRIu64 ",\"served\":%" PRIu64
               ",\"refused\":%" PRIu64 ",\"moved_gib\":%" PRIu64 ",\"max_wait_over_bound\":%.3f,\"dead_share\":%.4f,\"seconds\":%.1f}\n",
               done, violations, seed, all_steps, all_served, refused, moved >> 30, (double)over / 1000, (double)dead / (double)time,
               (double)(clock_now_ns() - began) / 1e9);
        return violations ? 1 : 0;
}
