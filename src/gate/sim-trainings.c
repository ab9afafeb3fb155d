/* sim-trainings.c: what sharing costs, worked out under virtual time: programs that grow over their first seconds to full size, allocation by
 * allocation and without telling how much they need, and then work for a while, on a device that can't hold them all. Moves take the time of a link of
 * 50 GB/s each way, both ways at once; messages, drains and steps take theirs. Who runs beside another gets its part of the device only. The wall
 * time of all of them together is compared with the sum of running alone. No chance and no clock: the same build gives the same figures.
 *
 * gate-trainings [--trace NAME]      one JSON line a scenario; 1 when one is above its limit
 */
#include "gate/sim-trainings.h"

#include <stdarg.h>
#include <string.h>

#define TOTAL (UINT64_C(143771) * MIB)
#define LATENCY_NS (NS_PER_MS / 4) /* an action until its program acts on it */

struct scenario {
        const char *name;
        double limit, wait_limit_s; /* of wall over serial; of the longest wait of the interactive: 0: none */
        struct role roles[PROGRAMS];
};

#define GROWS(share, growth, work, step, class, ...)                                                                            \
        {.permille = (share), .grow_s = (growth), .work_s = (work), .chunk_mib = (step), .priority = (class), .drain_s = 0.05, __VA_ARGS__}
#define TRAINING(share, work, class) GROWS (share, 4, work, 1024, class, .start_s = 0)

static const struct scenario scenarios[] = {
        {"two_trainings", 1.20, 0, {TRAINING(650, 300, WIRE_NORMAL), TRAINING(650, 300, WIRE_NORMAL)}},
        {"two_trainings_batch", 1.05, 0, {TRAINING(650, 300, WIRE_BATCH), TRAINING(650, 300, WIRE_BATCH)}},
        {"two_larger_trainings", 1.20, 0, {TRAINING(800, 300, WIRE_NORMAL), TRAINING(800, 300, WIRE_NORMAL)}},
        {"two_larger_trainings_batch", 1.05, 0, {TRAINING(800, 300, WIRE_BATCH), TRAINING(800, 300, WIRE_BATCH)}},
        {"two_short_trainings", 1.20, 0, {TRAINING(650, 40, WIRE_NORMAL), TRAINING(650, 40, WIRE_NORMAL)}},
        {"two_short_trainings_batch", 1.05, 0, {TRAINING(650, 40, WIRE_BATCH), TRAINING(650, 40, WIRE_BATCH)}},
        {"two_slow_growers", 1.20, 0, {GROWS (650, 30, 60, 128, WIRE_NORMAL, .start_s = 0), GROWS (650, 30, 60, 128, WIRE_NORMAL, .start_s = 1)}},
        {"two_in_small_steps", 1.20, 0, {GROWS (650, 4, 60, 20, WIRE_NORMAL, .start_s = 0), GROWS (650, 4, 60, 20, WIRE_NORMAL, .start_s = 1)}},
        {"two_that_declare", 1.20, 0,
         {GROWS (650, 4, 100, 512, WIRE_NORMAL, .declares = true), GROWS (650, 4, 100, 512, WIRE_NORMAL, .declares = true)}},
        {"two_and_a_small_one", 1.20, 0,
         {TRAINING(650, 45, WIRE_NORMAL), TRAINING(650, 45, WIRE_NORMAL), GROWS (20, 1, 15, 64, WIRE_NORMAL, .start_s = 0)}},
        {"three_trainings", 1.20, 0,
         {GROWS (500, 4, 60, 512, WIRE_NORMAL, .start_s = 0), GROWS (500, 6, 60, 512, WIRE_NORMAL, .start_s = 0),
          GROWS (500, 3, 60, 512, WIRE_NORMAL, .start_s = 2)}},
        {"four_that_grow", 1.20, 0,
         {GROWS (400, 8, 40, 256, WIRE_NORMAL, .start_s = 0), GROWS (400, 8, 40, 256, WIRE_NORMAL, .start_s = 0),
          GROWS (400, 8, 40, 256, WIRE_NORMAL, .start_s = 0), GROWS (400, 8, 40, 256, WIRE_NORMAL, .start_s = 0)}},
        /* The pauses of the interactive one are not in the sum: the batch program is to use them, and pays for two switches at each. */
        {"batch_and_interactive", 1.60, 5,
         {TRAINING(650, 60, WIRE_BATCH), GROWS (400, 2, 20, 512, WIRE_INTERACTIVE, .burst_s = 1, .pause_s = 2)}},
};

struct trainings w;

void training_failed(const char *what)
{
        fprintf(stderr, "%.6f %s\n", (double)w.now / 1e9, what);
        w.failed = 1;
}

__attribute__((format(printf, 1, 2))) void training_trace(const char *format, ...)
{
        va_list args;

        if (!w.trace)
                return;
        printf("%11.6f  ", (double)w.now / 1e9);
        va_start(args, format);
        vprintf(format, args);
        va_end(args);
        putchar('\n');
}

void training_later(uint64_t at, uint32_t program, enum happening happening, uint64_t bytes, const struct gate_action *action)
{
        if (w.events_n == EVENTS) {
                training_failed("too many events");
                return;
        }
        w.events[w.events_n++] = (struct event){.at = at, .order = w.order++, .bytes = bytes, .program = program, .happening = happening,
                                                .action = action ? *action : (struct gate_action){0}};
}

static void carry_out(void)
{
        static const char *const names[] = {"go", "available", "wait", "deny", "give way", "evict", "bring in", "trim", "contended",
                                            "report", "kill"};
        struct gate_action a;
        char message[200];

        while (gate_next_action(w.gate, &a)) {
                training_trace("   → %s %d %" PRIu64 " MiB reason %u", names[a.kind], (int)a.client, a.bytes / MIB, a.reason);
                if (a.kind == GATE_CONTENDED)
                        w.contended = a.bytes;
                if (a.kind == GATE_CONTENDED || a.kind == GATE_WAIT)
                        continue;
                w.switches += a.kind == GATE_GIVE_WAY;
                w.deadlocks += a.kind == GATE_GIVE_WAY && a.reason == WIRE_GIVE_DEADLOCK;
                training_later(w.now + LATENCY_NS, a.client, HEARS, 0, &a);
        }
        if (gate_check(w.gate, w.now, message, sizeof(message)))
                training_failed(message);
}

/* To the next thing that happens; what works until then makes progress, each its part. */
static void step(void)
{
        uint64_t next = gate_next_deadline(w.gate), first = 0, working = 0, needed = UINT64_MAX, did;
        struct event e = {0};

        for (uint32_t i = 0; i < w.programs_n; i++) {
                if (!training_works(&w.programs[i]))
                        continue;
                working++;
                if (training_milestone(&w.programs[i]) - w.programs[i].did_ns < needed)
                        needed = training_milestone(&w.programs[i]) - w.programs[i].did_ns;
        }
        if (working && w.now + needed * working < next)
                next = w.now + needed * working;
        for (uint64_t i = 0; i < w.events_n; i++)
                if (w.events[i].at < w.events[first].at || (w.events[i].at == w.events[first].at && w.events[i].order < w.events[first].order))
                        first = i;
        if (w.events_n && w.events[first].at <= next) {
                next = w.events[first].at;
                e = w.events[first];
                w.events[first] = w.events[--w.events_n];
        } else {
                e.at = GATE_NEVER;
        }
        if (next == GATE_NEVER) {
                training_failed("nothing will happen");
                return;
        }
        next = next > w.now ? next : w.now;
        did = next - w.now;
        w.idle_ns += working ? 0 : did;
        w.now = next;
        for (uint32_t i = 0; i < w.programs_n; i++)
                if (training_works(&w.programs[i]))
                        w.programs[i].did_ns += did / working;
        for (uint32_t i = 0; i < w.programs_n && working; i++)
                if (training_works(&w.programs[i]) && training_milestone(&w.programs[i]) <= w.programs[i].did_ns + working)
                        w.programs[i].did_ns = training_milestone(&w.programs[i]);
        if (e.at != GATE_NEVER)
                training_happen(&e);
        else if (gate_next_deadline(w.gate) <= w.now)
                gate_tick(w.gate, w.now);
        carry_out();
        for (uint32_t i = 0; i < w.programs_n; i++) {
                struct program *p = &w.programs[i];

                if (training_works(p) && training_milestone(p) <= p->did_ns)
                        training_progress(p);
                if (p->here)
                        training_return_spare(p);
        }
        carry_out();
}

static int run(const struct scenario *s, bool trace_it)
{
        uint64_t serial = 0, began = 1000 * NS_PER_S, steps = 0, shortest = UINT64_MAX;
        double ratio;
        bool all = false;

        memset(&w, 0, sizeof(w));
        w.trace = trace_it;
        w.now = began;
        w.gate = gate_new(PROGRAMS, 1, &gate_default_settings);
        if (!w.gate || gate_add_device(w.gate, 0, TOTAL))
                return 1;
        for (; w.programs_n < PROGRAMS && s->roles[w.programs_n].permille; w.programs_n++) {
                const struct role *r = &s->roles[w.programs_n];

                w.programs[w.programs_n] = (struct program){
                        .role = r, .size = TOTAL / 1000 * r->permille, .grow_ns = (uint64_t)(r->grow_s * 1e9),
                        .work_ns = (uint64_t)(r->work_s * 1e9), .drain_ns = (uint64_t)(r->drain_s * 1e9),
                        .burst_at = (uint64_t)((r->burst_s ? r->burst_s + r->grow_s : 0) * 1e9), .shortest_turn = UINT64_MAX};
                serial += w.programs[w.programs_n].grow_ns + w.programs[w.programs_n].work_ns;
                training_later(began + (uint64_t)(r->start_s * 1e9), w.programs_n, START, 0, NULL);
        }
        training_later(began, 0, SAMPLE, 0, NULL);
        for (; !all && !w.failed; steps++) {
                step();
                all = true;
                for (uint32_t i = 0; i < w.programs_n; i++)
                        all &= w.programs[i].done;
                if (steps > 20000000 || w.now - began > 20 * serial)
                        training_failed("it does not end");
        }
        for (uint32_t i = 0; i < w.programs_n; i++) {
                if (w.programs[i].role->priority == WIRE_INTERACTIVE || !s->wait_limit_s)
                        w.max_wait_ns = w.programs[i].waited_max > w.max_wait_ns ? w.programs[i].waited_max : w.max_wait_ns;
                if (w.programs[i].role->priority != WIRE_INTERACTIVE && w.programs[i].shortest_turn < shortest)
                        shortest = w.programs[i].shortest_turn;
        }
        ratio = (double)(w.now - began) / (double)serial;
        printf("{\"name\":\"sim_%s_over_serial\",\"value\":%.4f,\"limit\":%.2f,\"wall_s\":%.2f,\"serial_s\":%.2f,\"nobody_works_s\":%.3f,"
               "\"moved_gib\":%.1f,\"switches\":%" PRIu64 ",\"deadlocks\":%" PRIu64 ",\"longest_wait_s\":%.3f,\"shortest_turn_s\":%.3f,\"steps\":%" PRIu64 "}\n",
               s->name, ratio, s->limit, (double)(w.now - began) / 1e9, (double)serial / 1e9, (double)w.idle_ns / 1e9,
               (double)w.moved / (double)GIB, w.switches, w.deadlocks, (double)w.max_wait_ns / 1e9,
               shortest == UINT64_MAX ? 0 : (double)shortest / 1e9, steps);
        gate_free(w.gate);
        if (shortest < NS_PER_S) {
                fprintf(stderr, "%s: a turn of %.3f s does not pay for its switch\n", s->name, (double)shortest / 1e9);
                return 1;
        }
        if (w.failed || ratio > s->limit || (s->wait_limit_s && (double)w.max_wait_ns / 1e9 > s->wait_limit_s))
                return 1;
        return 0;
}

int main(int argc, char **argv)
{
        const char *traced = argc == 3 && !strcmp(argv[1], "--trace") ? argv[2] : NULL;
        int over = 0;

        if (argc > 1 && !traced) {
                fprintf(stderr, "usage: gate-trainings [--trace NAME]\n");
                return 2;
        }
        for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++)
                if (!traced || !strcmp(traced, scenarios[i].name))
                        over |= run(&scenarios[i], traced);
        return over;
}
