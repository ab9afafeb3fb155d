/* sim-bench.c: what decisions cost, and whether shares are fair. One JSON object a line: name, value and what belongs to it. Times are processor time
 * of one core.
 *
 *   simulated_decision_us  100,000 workers, 10 million tasks: mean time of one call (submit, ready, result), all the tasks queued at once first
 *   core_cycle_per_s       submit → lease → result in one loop, one core, a thousand workers
 *   fair_ratio, fair_jain  two equal accounts, ten equal accounts, all backlogged, with tasks of unlike length and wrong predictions
 */
#include "pool/internal.h"

#include "base/clock.h"
#include "base/text.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

static uint64_t random_state = 42;

static uint64_t below(uint64_t n)
{
        random_state += UINT64_C(0x9e3779b97f4a7c15);
        return core_mix(random_state) % n;
}

static void must(int r, const char *what)
{
        if (!r)
                return;
        fprintf(stderr, "core-bench: %s: %s\n", what, error_text(r));
        exit(1);
}

static struct id id_of(char kind, uint64_t number)
{
        struct id id = {.bytes = {(uint8_t)kind}};

        for (int i = 0; i < 8; i++)
                id.bytes[15 - i] = (uint8_t)(number >> 8 * i);
        return id;
}

static const char types[][CORE_TEXT] = {"text", "image", "data"};
static const char models[][CORE_TEXT * 2] = {"m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7"};

/* Machines of a dozen kinds; each has its own name as a label and its own odd amount of memory. */
static uint32_t join(struct core *core, uint64_t now, uint32_t number, uint32_t slots)
{
        struct core_worker_spec spec = {.id = id_of('w', number), .slots = slots, .types = types, .type_count = 1 + number % 3, .models = models,
                                        .model_count = 2 + number % 7, .host_memory_bytes = (32 + number % 4 * 32) * GIB - below(GIB),
                                        .label_count = 2};
        uint32_t worker;

        if (number % 4) {
                spec.device_count = 1;
                spec.devices[0] = (struct core_device){.kind = "gpu", .memory_bytes = (UINT64_C(16) << number % 4) * GIB};
        }
        snprintf(spec.labels[0].name, CORE_TEXT, "host");
        snprintf(spec.labels[0].value, CORE_TEXT, "machine-%u", number);
        snprintf(spec.labels[1].name, CORE_TEXT, "zone");
        snprintf(spec.labels[1].value, CORE_TEXT, "zone-%u", number % 5);
        must(core_worker_join(core, now, &spec, (void *)(uintptr_t)number, &worker), "join");
        return worker;
}

static struct core_task_spec task(uint64_t number, uint32_t accounts, bool plain)
{
        struct core_task_spec spec = {.id = id_of('t', number), .account = id_of('a', 1 + below(accounts)), .band = CORE_NORMAL, .deadline = CORE_NEVER};

        snprintf(spec.needs.type, CORE_TEXT, "%s", types[plain ? 0 : below(3)]);
        if (plain)
                return spec;
        spec.band = below(10) ? CORE_NORMAL : (uint32_t)below(CORE_BANDS);
        if (below(3))
                snprintf(spec.needs.model, sizeof(spec.needs.model), "%s", models[below(8)]);
        if (!below(3)) {
                snprintf(spec.needs.device, sizeof(spec.needs.device), "gpu");
                spec.needs.memory_bytes = (UINT64_C(8) << below(3)) * GIB;
        }
        if (!below(20)) {
                spec.needs.label_count = 1;
                snprintf(spec.needs.labels[0].name, CORE_TEXT, "zone");
                snprintf(spec.needs.labels[0].value, CORE_TEXT, "zone-%u", (unsigned int)below(5));
        }
        return spec;
}

struct running {
        struct id task;
        uint64_t nonce, ends;
        uint32_t worker, next;
};

/* What runs, by the millisecond in which it ends: workers end tasks in that order. */
struct schedule {
        struct heap heap;
        struct running *running;
        uint32_t count, size, free_first;
};

static void moved(void *context, uint32_t item, uint32_t at)
{
        (void)context;
        (void)item;
        (void)at;
}

static void schedule_add(struct schedule *s, const struct core_action *action, uint64_t ends)
{
        uint32_t i = s->free_first;

        if (i != NONE)
                s->free_first = s->running[i].next;
        else
                i = s->count++;
        if (s->count > s->size)
                must(-ENOSPC, "more leases than slots");
        s->running[i] = (struct running){.task = action->task_id, .nonce = action->nonce, .worker = action->worker, .ends = ends};
        must(heap_reserve(&s->heap, s->heap.count + 1), "memory");
        heap_add(&s->heap, (struct heap_entry){.key = ends, .item = i}, moved, NULL);
}

static struct running schedule_take(struct schedule *s)
{
        uint32_t i = s->heap.entries[0].item;
        struct running r = s->running[i];

        heap_take(&s->heap, 0, moved, NULL);
        s->running[i].next = s->free_first;
        s->free_first = i;
        return r;
}

static uint64_t ended;

static void carry_out(struct core *core, struct schedule *s, uint64_t now, uint64_t shortest, uint64_t longest)
{
        struct core_action action;

        while (core_next_action(core, &action)) {
                if (action.kind == CORE_LEASE)
                        schedule_add(s, &action, now + shortest + below(longest - shortest + 1));
                ended += action.kind == CORE_STATE && action.state >= CORE_DONE;
        }
}

static uint64_t memory_of(const struct core *core)
{
        uint64_t bytes = 0;

        for (const struct slab *s = &core->tasks; s <= &core->places; s++)
                bytes += slab_memory(s);
        for (const struct flow *f = core->flows_by_key; f; f = f->hh.next)
                bytes += f->urgent.size * sizeof(struct heap_entry);
        for (const struct worker *w = core->workers_by_id; w; w = w->hh.next)
                bytes += w->holdings_n * (sizeof(struct holding) + sizeof(uint32_t));
        for (const struct token *t = core->tokens_by_name; t; t = t->hh.next)
                bytes += strlen(t->name) + 1;
        return bytes + core->bucket_chunks_n * 16384 * sizeof(uint32_t) +
               (uint64_t)(core->timers.size + core->worker_timers.size) * sizeof(struct heap_entry);
}

/* Processor time of this process: other programs on the machine don't count. */
static uint64_t used_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static double us_since(uint64_t began, uint64_t calls)
{
        return (double)(used_ns() - began) / 1e3 / (double)(calls ? calls : 1);
}

/* All tasks are queued while nobody is ready; then all workers come and work through them. */
static void decisions(uint32_t workers, uint32_t tasks)
{
        struct core_settings settings = core_default_settings;
        struct schedule s = {.free_first = NONE};
        uint64_t now = 1000000, began, t0, calls = 0, worst = 0, per_worker, per_task, total, last_tick;
        double joins, submits, cycle, mean;
        struct core_refusal refusal;
        struct core_statistics statistics;
        char message[256];
        struct core *core;
        uint32_t number;

        settings.max_tasks = settings.max_tasks_per_account = tasks + 1;
        /* Heartbeats and renewals are not what is measured here. */
        settings.suspect_ms = settings.lease_ms = UINT64_C(1000000000000);
        core = core_new(&settings, 1);
        s.size = workers * 2;
        s.running = calloc(s.size, sizeof(*s.running));
        must(core && s.running ? 0 : -ENOMEM, "memory");
        began = used_ns();
        for (uint32_t i = 0; i < workers; i++)
                join(core, now, i, 1 + i % 2);
        joins = us_since(began, workers);
        carry_out(core, &s, now, 1, 1);
        per_worker = memory_of(core) / workers;
        total = memory_of(core);
        t0 = began = used_ns();
        for (uint32_t i = 0; i < tasks; i++) {
                struct core_task_spec spec = task(i, 1000, false);

                must(core_submit(core, now, &spec, NULL, &number, &refusal), refusal.text);
                carry_out(core, &s, now, 1, 1);
        }
        submits = us_since(began, tasks);
        per_task = (memory_of(core) - total) / tasks;
        began = used_ns();
        for (uint32_t i = 0; i < workers; i++, calls++) {
                core_ready(core, now, i, 1 + i % 2);
                carry_out(core, &s, now, 1000, 60000);
        }
        last_tick = now;
        while (s.heap.count) {
                struct running r = schedule_take(&s);
                uint64_t call;

                now = r.ends > now ? r.ends : now;
                if (now - last_tick >= 1000 || core_next_deadline(core) <= now) {
                        for (int i = 0; i < 100 && core_next_deadline(core) <= now; i++, calls++)
                                core_tick(core, now);
                        last_tick = now;
                }
                call = used_ns();
                if (core_result(core, now, r.worker, &r.task, r.nonce, 0) != CORE_OK)
                        must(-EPROTO, "a result was not believed");
                core_ready(core, now, r.worker, 1);
                carry_out(core, &s, now, 1000, 60000);
                calls += 2;
                call = used_ns() - call;
                worst = call > worst ? call : worst;
        }
        cycle = us_since(began, calls);
        mean = us_since(t0, calls + tasks);
        core_statistics(core, &statistics);
        if (core_check(core, now, message))
                must(-EPROTO, message);
        printf("{\"name\":\"simulated_decision_us\",\"value\":%.3f,\"unit\":\"us\",\"better\":\"lower\",\"limit\":10,\"workers\":%u,\"tasks\":%u,"
               "\"ended\":%" PRIu64 ",\"left\":%" PRIu64 ",\"submit_us\":%.3f,\"ready_or_result_us\":%.3f,\"join_us\":%.3f,\"slowest_us\":%.0f,"
               "\"bytes_per_task\":%" PRIu64 ",\"bytes_per_worker\":%" PRIu64 ",\"classes\":%u,\"profiles\":%u}\n",
               mean, workers, tasks, ended, statistics.tasks[CORE_QUEUED], submits, cycle, joins, (double)worst / 1e3, per_task, per_worker,
               statistics.classes, statistics.profiles);
        fflush(stdout);
        core_free(core);
        heap_done(&s.heap);
        free(s.running);
}

/* As a server sees it: a task comes, is leased, its result comes. */
static void cycles(uint32_t workers, uint32_t count)
{
        struct core *core = core_new(&core_default_settings, 1);
        struct core_refusal refusal;
        struct core_action action, lease = {0};
        uint64_t now = 1000000, began;
        uint32_t number;

        must(core ? 0 : -ENOMEM, "memory");
        for (uint32_t i = 0; i < workers; i++)
                core_ready(core, now, join(core, now, i, 1), 1);
        began = used_ns();
        for (uint32_t i = 0; i < count; i++) {
                struct core_task_spec spec = task(i, 10, true);

                must(core_submit(core, now, &spec, NULL, &number, &refusal), refusal.text);
                while (core_next_action(core, &action)) {
                        if (action.kind == CORE_LEASE)
                                lease = action;
                }
                now += i % 64 == 0;
                if (core_result(core, now, lease.worker, &lease.task_id, lease.nonce, 10) != CORE_OK)
                        must(-EPROTO, "a result was not believed");
                core_ready(core, now, lease.worker, 1);
                while (core_next_action(core, &action))
                        ;
        }
        printf("{\"name\":\"core_cycle_per_s\",\"value\":%.0f,\"unit\":\"1/s\",\"better\":\"higher\",\"limit\":0,\"workers\":%u}\n",
               1e6 / us_since(began, count), workers);
        fflush(stdout);
        core_free(core);
}

/* Backlogged accounts: each always has work queued. Service is what was measured. Account i's tasks are of a length of its own, drawn widely, and it
 * claims costs that are wrong by a factor of its own. */
static void fairness(uint32_t accounts, uint32_t slots, uint32_t turns)
{
        struct core_settings settings = core_default_settings;
        struct schedule s = {.free_first = NONE, .size = slots};
        uint64_t now = 1000000, least = UINT64_MAX, most = 0, next = 0;
        double sum = 0, squares = 0;
        struct core_refusal refusal;
        struct core_action action;
        struct core *core;
        uint32_t number;

        settings.suspect_ms = UINT64_C(1000000000000);
        settings.lease_ms = UINT64_C(1000000000000);
        settings.age_ms = 0;
        settings.resident_ms = 0;
        core = core_new(&settings, 1);
        s.running = calloc(slots, sizeof(*s.running));
        must(core && s.running ? 0 : -ENOMEM, "memory");
        for (uint32_t i = 0; i < slots; i++)
                core_ready(core, now, join(core, now, i, 1), 1);
        for (uint32_t i = 0; i < turns; i++) {
                for (uint32_t a = 1; a <= accounts; a++) {
                        struct id id = id_of('a', a);
                        uint64_t service, counter;
                        uint32_t queued = 0, leased;

                        if (core_account_view(core, &id, &service, &counter, &queued, &leased))
                                queued = 0;
                        for (; queued < 3; queued++) {
                                struct core_task_spec spec = task(++next, 1, true);

                                spec.account = id;
                                spec.cost = a % 3 ? 500 * a : 0;
                                must(core_submit(core, now, &spec, NULL, &number, &refusal), refusal.text);
                        }
                }
                while (core_next_action(core, &action)) {
                        uint64_t a;

                        if (action.kind != CORE_LEASE)
                                continue;
                        a = ACCOUNT(core, TASK(core, action.task)->account)->id.bytes[15];
                        schedule_add(&s, &action, now + 1 + below(200 * (1 + a % 4) * (1 + below(4))));
                }
                if (s.heap.count) {
                        struct running r = schedule_take(&s);

                        now = r.ends > now ? r.ends : now;
                        if (core_result(core, now, r.worker, &r.task, r.nonce, 0) != CORE_OK)
                                must(-EPROTO, "a result was not believed");
                        core_ready(core, now, r.worker, 1);
                }
        }
        for (uint32_t a = 1; a <= accounts; a++) {
                struct id id = id_of('a', a);
                uint64_t service, counter;
                uint32_t queued, leased;

                must(core_account_view(core, &id, &service, &counter, &queued, &leased), "account");
                least = service < least ? service : least;
                most = service > most ? service : most;
                sum += (double)service;
                squares += (double)service * (double)service;
        }
        if (accounts == 2)
                printf("{\"name\":\"fair_ratio\",\"value\":%.4f,\"unit\":\"ratio\",\"better\":\"lower\",\"limit\":1.1,\"slots\":%u,\"tasks\":%u}\n",
                       (double)most / (double)least, slots, turns);
        else
                printf("{\"name\":\"fair_jain\",\"value\":%.5f,\"unit\":\"index\",\"better\":\"higher\",\"limit\":0.99,\"slots\":%u,\"tasks\":%u,"
                       "\"accounts\":%u,\"most_over_least\":%.4f}\n", sum * sum / ((double)accounts * squares), slots, turns, accounts,
                       (double)most / (double)least);
        fflush(stdout);
        core_free(core);
        heap_done(&s.heap);
        free(s.running);
}

int main(int argc, char **argv)
{
        static const struct option options[] = {{"workers", required_argument, NULL, 'w'}, {"tasks", required_argument, NULL, 't'}, {NULL, 0, NULL, 0}};
        uint64_t workers = 100000, tasks = 10000000;

        for (int o; (o = getopt_long(argc, argv, "w:t:", options, NULL)) != -1;) {
                if (o == '?' || text_parse_u64(optarg, 1, 100000000, o == 'w' ? &workers : &tasks)) {
                        fprintf(stderr, "usage: core-bench [--workers N] [--tasks N]\n");
                        return 2;
                }
        }
        fairness(2, 8, 20000);
        fairness(10, 8, 50000);
        cycles(1000, 1000000);
        decisions((uint32_t)workers, (uint32_t)tasks);
        return 0;
}
