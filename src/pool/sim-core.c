/* sim-core.c: histories of made-up pools against the core, by seeds. After every step (small worlds) or every so many (large ones) all invariants of
 * core.h are worked out anew; at the end everybody behaves, and every task must have ended that some worker could take. */
#include "pool/sim-core.h"

#include "base/clock.h"
#include "base/text.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>

struct world w;

uint64_t sim_below(uint64_t n)
{
        w.random += UINT64_C(0x9e3779b97f4a7c15);
        return n ? core_mix(w.random) % n : 0;
}

bool sim_once_in(uint64_t n)
{
        return !sim_below(n);
}

void sim_fail(const char *format, ...)
{
        va_list arguments;

        if (w.failed)
                return;
        w.failed = true;
        fprintf(stderr, "step %" PRIu64 ", time %" PRIu64 ": ", w.steps, w.now);
        va_start(arguments, format);
        vfprintf(stderr, format, arguments);
        va_end(arguments);
        fputc('\n', stderr);
}

static void moved(void *context, uint32_t item, uint32_t at)
{
        (void)context;
        (void)item;
        (void)at;
}

static void told_state(const struct core_action *action)
{
        struct job *job = &w.jobs[(uintptr_t)action->task_data - 1];

        if (job->state >= CORE_DONE)
                sim_fail("task %u ended twice (%u, %u)", action->task, job->state, action->state);
        if (!id_equal(&job->id, &action->task_id))
                sim_fail("an action about task %u with another's id", action->task);
        job->state = action->state;
        job->worker = NONE;
        if (action->state >= CORE_DONE) {
                job->number = NONE;
                w.open--;
                w.ended++;
                w.done += action->state == CORE_DONE;
        }
}

void sim_carry_out(void)
{
        struct core_action action;

        while (core_next_action(w.core, &action)) {
                struct job *job = action.task == NONE ? NULL : &w.jobs[(uintptr_t)action.task_data - 1];
                uint32_t actor = action.worker == NONE ? NONE : (uint32_t)((struct actor *)action.worker_data - w.actors);

                if (w.trace)
                        printf("%" PRIu64 " action %u task %u state %u reason %u worker %u\n", w.now, action.kind, action.task, action.state, action.reason,
                               actor);
                switch ((enum core_action_kind)action.kind) {
                case CORE_LEASE:
                        if (job->state != CORE_QUEUED)
                                sim_fail("task %u is leased in state %u", action.task, job->state);
                        job->state = CORE_LEASED;
                        job->worker = actor;
                        job->nonce = action.nonce;
                        w.leased++;
                        sim_actor_lease(actor, (uint32_t)(job - w.jobs), action.nonce);
                        break;
                case CORE_REVOKE:
                        sim_actor_revoke(actor, (uint32_t)(job - w.jobs), action.nonce);
                        break;
                case CORE_STATE:
                        told_state(&action);
                        break;
                case CORE_WORKER:
                        if (action.gone)
                                sim_actor_gone(actor);
                        break;
                case CORE_BRAKE:
                        break;
                }
        }
}

static void submit(void)
{
        static const char *const types[] = {"text", "image", "data"}, *const models[] = {"", "", "small", "large", "huge", "none"};
        struct core_task_spec spec = {.band = (uint32_t)sim_below(CORE_BANDS), .deadline = CORE_NEVER, .wait_for_workers = sim_once_in(3)};
        struct core_refusal refusal;
        struct id after[3];
        struct job *job;
        uint32_t number;
        int r;

        if (w.jobs_n == w.jobs_size)
                return;
        job = &w.jobs[w.jobs_n];
        *job = (struct job){.number = NONE, .worker = NONE};
        spec.id.bytes[0] = 't';
        for (int i = 0; i < 4; i++)
                spec.id.bytes[15 - i] = (uint8_t)(w.jobs_n >> 8 * i);
        job->id = spec.id;
        spec.account.bytes[0] = 'a';
        spec.account.bytes[15] = (uint8_t)(1 + sim_below(w.accounts));
        if (sim_once_in(2)) {
                spec.key.bytes[0] = 'k';
                spec.key.bytes[14] = spec.account.bytes[15];
                spec.key.bytes[15] = (uint8_t)(1 + sim_below(3));
        }
        snprintf(spec.needs.type, CORE_TEXT, "%s", types[sim_below(3)]);
        snprintf(spec.needs.model, CORE_TEXT, "%s", models[sim_below(ARRAY_SIZE(models))]);
        if (sim_once_in(3))
                snprintf(spec.needs.device, 16, "%s", sim_once_in(3) ? "cpu" : "gpu");
        if (sim_once_in(3))
                spec.needs.memory_bytes = (1 + sim_below(5)) * 8000000000;
        if (sim_once_in(5)) {
                spec.needs.label_count = 1;
                snprintf(spec.needs.labels[0].name, CORE_TEXT, "%s", sim_once_in(4) ? "host" : "zone");
                snprintf(spec.needs.labels[0].value, CORE_TEXT, sim_once_in(4) ? "machine-1" : "a");
        }
        if (sim_once_in(40)) {
                uint32_t who = (uint32_t)sim_below(w.actors_n);

                spec.needs.worker.bytes[0] = 'w';
                memcpy(spec.needs.worker.bytes + 12, &who, sizeof(who));
        }
        if (sim_once_in(10))
                spec.deadline = w.now + 1000 + sim_below(200000);
        if (sim_once_in(20))
                spec.not_before = w.now + sim_below(900);
        if (sim_once_in(8) && w.jobs_n > 10) {
                spec.after = after;
                spec.after_count = 1 + (uint32_t)sim_below(3);
                for (uint32_t i = 0; i < spec.after_count; i++)
                        after[i] = w.jobs[w.jobs_n - 1 - sim_below(10)].id;
        }
        spec.cost = sim_once_in(4) ? 1 + sim_below(100000) : 0;
        r = core_submit(w.core, w.now, &spec, (void *)(uintptr_t)(w.jobs_n + 1), &number, &refusal);
        if (r) {
                w.refused++;
                if (!refusal.error || !refusal.text[0])
                        sim_fail("refused without a word");
                return;
        }
        job->number = number;
        w.jobs_n++;
        w.open++;
        sim_carry_out();
}

static void disturb(void)
{
        struct job *job = w.jobs_n ? &w.jobs[w.jobs_n - 1 - sim_below(w.jobs_n < 1000 ? w.jobs_n : 1000)] : NULL;
        struct core_task_view view;
        struct core_worker_view worker;

        if (job && job->number != NONE) {
                switch (sim_below(4)) {
                case 0:
                        if (core_cancel(w.core, w.now, job->number))
                                sim_fail("a task that has not ended could not be cancelled");
                        break;
                case 1:
                        if (core_prioritise(w.core, w.now, job->number, (uint32_t)sim_below(CORE_BANDS)))
                                sim_fail("prioritise");
                        break;
                case 2:
                        if (core_set_deadline(w.core, w.now, job->number, sim_once_in(2) ? CORE_NEVER : w.now + sim_below(100000)))
                                sim_fail("set_deadline");
                        break;
                default:
                        core_task_view(w.core, w.now, job->number, &view);
                        if (view.state != job->state)
                                sim_fail("task %u is shown in state %u, told was %u", job->number, view.state, job->state);
                        break;
                }
                sim_carry_out();
        }
        core_worker_view(w.core, w.now, (uint32_t)sim_below(w.actors_n), &worker);
        if (sim_once_in(20)) {
                struct id key = {.bytes = {'k'}}, account = {.bytes = {'a'}};

                key.bytes[14] = (uint8_t)(1 + sim_below(w.accounts));
                key.bytes[15] = (uint8_t)(1 + sim_below(3));
                account.bytes[15] = (uint8_t)(1 + sim_below(w.accounts));
                if (core_key(w.core, &key, (uint32_t)sim_below(20)) ||
                    core_account(w.core, &account, 1 + (uint32_t)sim_below(1000), (uint32_t)sim_below(20)))
                        sim_fail("caps");
                sim_carry_out();
        }
}

static void check(void)
{
        w.steps++;
        if (w.steps % w.check_every || w.failed)
                return;
        if (core_check(w.core, w.now, w.message))
                sim_fail("%s", w.message);
}

/* The next thing that happens: an actor's, or a deadline of the core's. */
static void step(void)
{
        const struct heap_entry *top = heap_top(&w.events);
        uint64_t due = core_next_deadline(w.core);

        if (due <= top->key) {
                if (due > w.now)
                        w.now = due;
                core_tick(w.core, w.now);
                sim_carry_out();
        } else {
                struct heap_entry entry = *top;

                w.now = entry.key > w.now ? entry.key : w.now;
                entry.key = sim_actor_step(entry.item);
                sim_carry_out();
                heap_change(&w.events, 0, entry, moved, NULL);
        }
        check();
}

/* No worker could take it, as it says; or it waits behind such a one. */
static bool stays(const struct core_task_view *view)
{
        return (view->state == CORE_QUEUED && !view->fitting) || (view->state == CORE_HELD && !id_is_none(&view->waits_for));
}

static bool finished(void)
{
        for (uint32_t i = 0; i < w.jobs_n; i++) {
                struct core_task_view view;

                if (w.jobs[i].number == NONE)
                        continue;
                core_task_view(w.core, w.now, w.jobs[i].number, &view);
                if (!stays(&view))
                        return false;
        }
        return true;
}

static void finish(void)
{
        uint64_t end = w.now + 4 * 3600 * 1000;
        struct id id = {.bytes = {'a'}};

        w.calm = 1;
        for (uint32_t i = 0; i < w.accounts; i++) {
                id.bytes[15] = (uint8_t)(1 + i);
                if (core_account(w.core, &id, 100, 0))
                        sim_fail("caps");
                for (uint8_t j = 1; j <= 3; j++) {
                        struct id key = {.bytes = {'k'}};

                        key.bytes[14] = (uint8_t)(1 + i);
                        key.bytes[15] = j;
                        if (core_key(w.core, &key, 0))
                                sim_fail("caps");
                }
        }
        sim_carry_out();
        while (w.now < end && !w.failed && !finished())
                for (uint32_t i = 0; i < 500 + w.actors_n * 5 && w.open && !w.failed; i++)
                        step();
        for (uint32_t i = 0; i < w.jobs_n && !w.failed && w.open; i++) {
                struct core_task_view view;

                if (w.jobs[i].number == NONE)
                        continue;
                core_task_view(w.core, w.now, w.jobs[i].number, &view);
                if (!stays(&view))
                        sim_fail("task %u (state %u, %u workers fit) never ended", w.jobs[i].number, view.state, view.fitting);
        }
}

static void history(uint64_t seed, uint32_t workers, uint64_t steps)
{
        struct core_settings settings = core_default_settings;

        w.random = seed;
        w.now = 1000000;
        settings.age_ms = sim_once_in(3) ? 0 : 1000 + sim_below(60000);
        settings.max_leases_per_account = sim_once_in(3) ? 1 + (uint32_t)sim_below(10) : 0;
        settings.max_tasks_per_account = sim_once_in(3) ? 20 : 100000;
        settings.resident_ms = sim_once_in(2) ? 5000 : 0;
        settings.brake_min = 1 + (uint32_t)sim_below(5);
        settings.lease_ms = 5000 + sim_below(60000);
        w.actors_n = workers ? workers : 1 + (uint32_t)sim_below(sim_once_in(4) ? 60 : 8);
        w.accounts = 1 + (uint32_t)sim_below(8);
        w.check_every = w.actors_n <= 60 ? 1 : w.actors_n * 20;
        w.jobs_size = (uint32_t)steps + 1;
        w.jobs = calloc(w.jobs_size, sizeof(*w.jobs));
        w.actors = calloc(w.actors_n, sizeof(*w.actors));
        w.core = core_new(&settings, seed);
        if (!w.jobs || !w.actors || !w.core || heap_reserve(&w.events, w.actors_n))
                abort();
        for (uint32_t i = 0; i < w.actors_n; i++) {
                sim_actor_begin(i);
                heap_add(&w.events, (struct heap_entry){.key = w.now + sim_below(20000), .item = i}, moved, NULL);
        }
        for (uint64_t i = 0; i < steps && !w.failed; i++) {
                uint64_t rate = 1 + sim_below(3);

                for (uint64_t n = sim_once_in(4) ? 0 : rate; n && !w.failed; n--) {
                        if (w.open < w.actors_n * 10 + 20)
                                submit();
                        check();
                }
                step();
                if (sim_once_in(5)) {
                        disturb();
                        check();
                }
                if (sim_once_in(500))
                        w.now += sim_below(3600000); /* everything stood still */
        }
        if (!w.failed)
                finish();
        for (uint32_t i = 0; i < w.actors_n; i++)
                free(w.actors[i].leases);
        free(w.actors);
        free(w.jobs);
        heap_done(&w.events);
        core_free(w.core);
}

int main(int argc, char **argv)
{
        static const struct option options[] = {{"histories", required_argument, NULL, 'n'}, {"seed", required_argument, NULL, 's'},
                                                {"first", required_argument, NULL, 'f'},     {"steps", required_argument, NULL, 'k'},
                                                {"workers", required_argument, NULL, 'w'},   {"trace", no_argument, NULL, 't'},
                                                {NULL, 0, NULL, 0}};
        uint64_t histories = 100, seed = clock_now_ns(), first = 0, steps = 500, workers = 0, violations = 0, began = clock_now_ns();
        uint64_t done = 0, all_steps = 0, leased = 0, ended = 0, finished = 0, stale = 0, refused = 0;
        bool trace = false;

        for (int o; (o = getopt_long(argc, argv, "n:s:f:k:w:t", options, NULL)) != -1;) {
                uint64_t *target = o == 'n' ? &histories : o == 's' ? &seed : o == 'f' ? &first : o == 'k' ? &steps : o == 'w' ? &workers : NULL;

                trace |= o == 't';
                if (o == '?' || (target && text_parse_u64(optarg, 0, UINT64_MAX, target)) || workers > 1000000) {
                        fprintf(stderr, "usage: core-sim [--histories N] [--seed S] [--first F] [--steps K] [--workers W] [--trace]\n");
                        return 2;
                }
        }
        printf("seed %" PRIu64 "\n", seed);
        for (uint64_t i = first; i < first + histories && violations < 5; i++, done++) {
                memset(&w, 0, sizeof(w));
                w.trace = trace;
                history(seed + i * UINT64_C(0x632be59bd9b4e019), (uint32_t)workers, steps);
                all_steps += w.steps;
                leased += w.leased;
                ended += w.ended;
                finished += w.done;
                stale += w.stale;
                refused += w.refused;
                if (w.failed) {
                        violations++;
                        fprintf(stderr, "again with: core-sim --seed %" PRIu64 " --first %" PRIu64 " --histories 1 --steps %" PRIu64 " --workers %" PRIu64 " --trace\n",
                                seed, i, steps, workers);
                }
        }
        printf("{\"histories\":%" PRIu64 ",\"violations\":%" PRIu64 ",\"seed\":%" PRIu64 ",\"steps\":%" PRIu64 ",\"leases\":%" PRIu64 ",\"ended\":%" PRIu64
               ",\"done\":%" PRIu64 ",\"stale\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"seconds\":%.1f}\n", done, violations, seed, all_steps, leased, ended,
               finished, stale, refused, (double)(clock_now_ns() - began) / 1e9);
        return violations ? 1 : 0;
}
