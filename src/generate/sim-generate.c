/* sim-generate.c: generate.h under made-up histories, every invariant after every step; and Poisson requests against first come, first served.
 *
 * usage: generate-sim [--histories N] [--seed S] [--steps N] | --poisson [--seed S] | --poisson-json [--seeds N]
 * A failure prints the seed of its history: `--seed S --histories 1` runs it again.
 */
#include "generate/generate.h"
#include "generate/sim-world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS = 200, SITES = 3, ENGINES = 12, NAMES = 5 };

struct history {
        struct generate *g;
        struct generate_request requests[REQUESTS];
        uint8_t stage[REQUESTS]; /* 0 free, 1 asked, 2 dispatched */
        uint64_t asked[REQUESTS];
        uint32_t engines[ENGINES];
        uint64_t now, state, wait_ms;
        uint32_t stuck;
        const char *fault;
};

static uint32_t pick(struct history *h, uint32_t count)
{
        return (uint32_t)(world_random(&h->state) % count);
}

static void carry_out(struct history *h)
{
        struct generate_action a;

        while (generate_next(h->g, &a)) {
                size_t i = a.request ? (size_t)(a.request - h->requests) : 0;

                switch (a.kind) {
                case GENERATE_DISPATCH:
                        if (h->stage[i] != 1 || !generate_engine_get(h->g, a.engine))
                                h->fault = "dispatched what did not wait";
                        h->stage[i] = 2;
                        break;
                case GENERATE_REFUSE:
                        if (h->stage[i] != 1)
                                h->fault = "refused what did not wait";
                        if (h->now > h->asked[i] + h->wait_ms)
                                h->fault = "refused after the bound";
                        h->stage[i] = 0;
                        break;
                case GENERATE_START:
                        if (!generate_engine_get(h->g, a.engine) || !generate_engine_get(h->g, a.engine)->startable)
                                h->fault = "started what can't be";
                        break;
                case GENERATE_SOON: {
                        const char *models[GENERATE_UPCOMING];

                        (void)generate_soon(h->g, a.site, models);
                        break;
                }
                }
        }
}

static void change_engine(struct history *h)
{
        char name[8];
        uint32_t i = pick(h, ENGINES);

        snprintf(name, sizeof(name), "m%u", pick(h, NAMES));
        if (h->engines[i] != GENERATE_NONE && !pick(h, 6)) {
                generate_engine_gone(h->g, h->now, h->engines[i]);
                h->engines[i] = GENERATE_NONE;
                return;
        }
        (void)!generate_engine(h->g, h->now, &(struct generate_engine){.model = name, .site = pick(h, SITES), .state = pick(h, 10) < 6 ? GENERATE_READY : pick(h, GENERATE_AWAY + 1),
                                                                       .resident = pick(h, 3), .parallel = 1 + pick(h, 4), .memory = pick(h, 4) * 30, .startable = pick(h, 3)},
                               &h->engines[i]);
}

/* The caller keeps to the deadlines. */
static void go_to(struct history *h, uint64_t now)
{
        for (uint64_t due; (due = generate_next_deadline(h->g)) < now && !h->fault;) {
                if (due <= h->now && h->stuck++ > 1000)
                        h->fault = "a deadline that does not pass";
                if (due > h->now)
                        h->stuck = 0;
                h->now = due > h->now ? due : h->now;
                generate_tick(h->g, h->now);
                carry_out(h);
        }
        h->now = now;
        generate_tick(h->g, h->now);
        carry_out(h);
}

static void step(struct history *h)
{
        uint32_t i = pick(h, REQUESTS), what = pick(h, 100);
        char name[8];

        go_to(h, h->now + (pick(h, 4) ? pick(h, 50) : pick(h, 20) ? 0 : pick(h, 4000)));
        if (what < 45) {
                if (h->stage[i])
                        return;
                h->requests[i] = (struct generate_request){.band = pick(h, GENERATE_BANDS), .cost = pick(h, 1000), .weight = 50 + pick(h, 100)};
                h->requests[i].account.bytes[0] = (uint8_t)(1 + pick(h, 6));
                snprintf(name, sizeof(name), "m%u", pick(h, NAMES + 1));
                h->stage[i] = 1;
                h->asked[i] = h->now;
                generate_ask(h->g, h->now, name, &h->requests[i]);
        } else if (what < 80) {
                if (!h->stage[i])
                        return;
                if (h->stage[i] == 2)
                        generate_first(h->g, h->now, &h->requests[i]);
                h->stage[i] = 0;
                generate_end(h->g, h->now, &h->requests[i], pick(h, 2) ? UINT64_MAX : pick(h, 2000));
        } else if (what < 85) {
                if (h->stage[i] == 2) {
                        generate_judge(h->g, h->requests[i].engine, false);
                        h->stage[i] = generate_again(h->g, h->now, &h->requests[i]) ? 1 : 0;
                }
        } else if (what < 88) {
                /* A worker says so at once; who was turned away after the bound would be refused after it. */
                if (h->stage[i] == 2 && h->now < h->asked[i] + h->wait_ms) {
                        h->stage[i] = 1;
                        generate_busy(h->g, h->now, &h->requests[i]);
                }
        } else if (what < 90) {
                generate_engine_free(h->g, h->now, h->engines[pick(h, ENGINES)]);
        } else if (what < 97) {
                change_engine(h);
        } else if (what < 99) {
                (void)!generate_site(h->g, h->now, pick(h, SITES), pick(h, 4) * 40);
        } else {
                uint32_t site = pick(h, SITES);

                for (uint32_t e = 0; e < ENGINES; e++)
                        if (h->engines[e] != GENERATE_NONE && generate_engine_get(h->g, h->engines[e])->site == site)
                                h->engines[e] = GENERATE_NONE;
                generate_site_gone(h->g, h->now, site);
                (void)!generate_site(h->g, h->now, site, pick(h, 4) * 40);
        }
        carry_out(h);
}

static int run_history(uint64_t seed, uint32_t steps)
{
        struct generate_settings settings = {.wait_ms = 20000, .delay_ms = 1000, .drain_ms = 3000, .age_ms = 5000, .start_again_ms = 700, .busy_ms = 300, .waiting_max = 150, .waiting_per_account = 60};
        struct history h = {.state = seed, .wait_ms = 20000};
        char text[160] = "";
        int r = 0;

        if (generate_new(&settings, &h.g) < 0)
                return 1;
        if (pick(&h, 2))
                generate_expect(h.g, 5000);
        for (uint32_t i = 0; i < ENGINES; i++)
                h.engines[i] = GENERATE_NONE;
        for (uint32_t i = 0; i < SITES; i++)
                (void)!generate_site(h.g, 0, i, 60);
        for (uint32_t i = 0; i < steps && !r && !h.fault; i++) {
                step(&h);
                r = generate_check(h.g, h.now, text);
        }
        generate_free(h.g);
        if (!r && !h.fault)
                return 0;
        printf("seed %" PRIu64 ": invariant %d: %s\n", seed, r, h.fault ? h.fault : text);
        return 1;
}

static int by_value(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return x < y ? -1 : x > y;
}

static int poisson(uint64_t seed)
{
        static const double rates[] = {0.25, 0.5, 1, 1.5, 2};
        struct world_settings s = {.models = 3, .requests = 300, .parallel = 8, .accounts = 3, .room = UINT64_C(141) << 30, .memory = UINT64_C(60) << 30, .switch_ms = 1300,
                                   .first_ms = 150, .token_ms = 20, .tokens = 100, .seed = seed};
        struct world_result a, b;
        char text[160];

        printf("rate/s room/models  mean ms (fcfs)  p95 ms (fcfs)  mean ratio  p95 ratio  longest wait ms  switches (fcfs)\n");
        for (int fit = 2; fit >= 1; fit--)
                for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
                        s.rate = rates[i];
                        s.room = (UINT64_C(61) << 30) * (uint64_t)fit;
                        s.first_come = false;
                        if (world_run(&s, &a, text))
                                return 1;
                        s.first_come = true;
                        if (world_run(&s, &b, text))
                                return 1;
                        printf("%4.2f  %d of 3  %8.0f (%8.0f)  %8.0f (%8.0f)  %5.3f  %5.3f  %8.0f  %u (%u)  refused %u\n", s.rate, fit, a.mean_ms, b.mean_ms, a.p95_ms, b.p95_ms,
                               a.mean_ms / b.mean_ms, a.p95_ms / b.p95_ms, a.longest_wait_ms, a.switches, b.switches, a.refused);
                }
        return 0;
}

/* The claim, over many seeds: medians of the ratios, and the worst. */
static int poisson_json(uint32_t seeds)
{
        static double mean[1000], p95[1000];
        struct world_settings s = {.models = 3, .requests = 300, .parallel = 8, .accounts = 3, .room = UINT64_C(141) << 30, .memory = UINT64_C(60) << 30, .switch_ms = 1300,
                                   .first_ms = 150, .token_ms = 20, .tokens = 100, .rate = 1.5};
        double longest = 0, own = 0, other = 0;
        uint32_t refused = 0;

        seeds = seeds < 1 ? 1 : seeds > 1000 ? 1000 : seeds;
        for (uint32_t i = 0; i < seeds; i++) {
                struct world_result a, b;
                char text[160];

                s.seed = i + 1;
                s.first_come = false;
                if (world_run(&s, &a, text))
                        return 1;
                s.first_come = true;
                if (world_run(&s, &b, text))
                        return 1;
                mean[i] = a.mean_ms / b.mean_ms;
                p95[i] = a.p95_ms / b.p95_ms;
                longest = a.longest_wait_ms > longest ? a.longest_wait_ms : longest;
                refused += a.refused;
                own += a.mean_ms / seeds;
                other += b.mean_ms / seeds;
        }
        for (int k = 0; k < 2; k++) {
                double *values = k ? p95 : mean;

                qsort(values, seeds, sizeof(*values), by_value);
                printf("{\"name\": \"poisson_%s_over_fcfs\", \"value\": %.3f, \"worst\": %.3f, \"longest_wait_ms\": %.0f, \"bound_ms\": %" PRIu64 ", \"refused\": %u, \"mean_ms\": %.0f, \"fcfs_mean_ms\": %.0f, "
                       "\"method\": \"simulated: 300 Poisson requests at 1.5/s over three models of 60 GiB, room for two, 1.3 s a switch, 8 at once a model, 100 tokens of 20 ms in the mean; %u seeds, "
                       "median and worst of the ratios of %s times to the first token\"}\n",
                       k ? "p95" : "mean", values[seeds / 2], values[seeds - 1], longest, generate_default_settings.wait_ms, refused, own, other, seeds, k ? "95th percentiles of" : "mean");
        }
        return 0;
}

int main(int argc, char **argv)
{
        uint64_t seed = 1;
        uint32_t histories = 100, steps = 3000;
        int failed = 0;

        for (int i = 1; i < argc; i++) {
                if (!strcmp(argv[i], "--poisson")) {
                        return poisson(i + 2 < argc ? strtoull(argv[i + 2], NULL, 10) : 1);
                } else if (!strcmp(argv[i], "--poisson-json")) {
                        return poisson_json(i + 2 < argc ? (uint32_t)strtoul(argv[i + 2], NULL, 10) : 20);
                } else if (i + 1 < argc && !strcmp(argv[i], "--seed")) {
                        seed = strtoull(argv[++i], NULL, 10);
                } else if (i + 1 < argc && !strcmp(argv[i], "--histories")) {
                        histories = (uint32_t)strtoul(argv[++i], NULL, 10);
                } else if (i + 1 < argc && !strcmp(argv[i], "--steps")) {
                        steps = (uint32_t)strtoul(argv[++i], NULL, 10);
                } else {
                        fprintf(stderr, "usage: generate-sim [--histories N] [--seed S] [--steps N] | --poisson [--seed S] | --poisson-json [--seeds N]\n");
                        return 2;
                }
        }
        for (uint32_t i = 0; i < histories && failed < 3; i++)
                failed += run_history(seed + i, steps);
        if (!failed)
                printf("%u histories of %u steps held\n", histories, steps);
        return failed != 0;
}
