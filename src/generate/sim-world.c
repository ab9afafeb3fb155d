/* sim-world.c: the made-up machine; see sim-world.h. What lies below the choice of requests is the same for both orders: a model is brought in when a request for it was given to its
 * engine and others that are idle can leave (longest unused first), one switch at a time; then all requests given to it run side by side.
 */
#include "generate/sim-world.h"

#include "generate/generate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct job {
        struct generate_request request;
        uint32_t model;
        uint64_t came_ms, first_ms, end_ms, length_ms; /* end_ms 0: not begun */
        bool given, told_first, over;
};

struct model {
        bool resident;
        uint64_t here_ms;               /* coming in until then */
        uint64_t used_ms;
        uint32_t given, running, engine;
        char name[16];
};

struct world {
        const struct world_settings *s;
        struct generate *g;
        struct job *jobs;
        struct model models[WORLD_MODELS];
        uint64_t now, link_ms;
        uint32_t next, head, over, switches, refused, longest;
};

uint64_t world_random(uint64_t *state)
{
        uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

        x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
        return x ^ (x >> 31);
}

static double exponential(uint64_t *state, double mean)
{
        return -mean * log(1.0 - (double)(world_random(state) >> 11) / 9007199254740992.0);
}

static uint64_t used(const struct world *w)
{
        uint64_t sum = 0;

        for (uint32_t i = 0; i < w->s->models; i++)
                sum += w->models[i].resident ? w->s->memory : 0;
        return sum;
}

/* Idle ones leave until it fits. */
static bool make_room(struct world *w)
{
        while (used(w) + w->s->memory > w->s->room) {
                struct model *idle = NULL;

                for (uint32_t i = 0; i < w->s->models; i++) {
                        struct model *m = &w->models[i];

                        if (m->resident && !m->given && (!idle || m->used_ms < idle->used_ms))
                                idle = m;
                }
                if (!idle)
                        return false;
                idle->resident = false;
        }
        return true;
}

static void give(struct world *w, struct job *job)
{
        job->given = true;
        w->models[job->model].given++;
        if (w->now - job->came_ms > w->longest)
                w->longest = (uint32_t)(w->now - job->came_ms);
}

/* The device: switches begin, requests begin. */
static void machine(struct world *w)
{
        for (uint32_t i = w->head; i < w->next; i++) {
                struct job *job = &w->jobs[i];
                struct model *m = &w->models[job->model];

                if (!job->given || job->end_ms)
                        continue;
                if (!m->resident && w->now >= w->link_ms && make_room(w)) {
                        m->resident = true;
                        m->here_ms = w->link_ms = w->now + w->s->switch_ms;
                        w->switches++;
                }
                if (!m->resident)
                        continue;
                job->first_ms = (m->here_ms > w->now ? m->here_ms : w->now) + w->s->first_ms;
                job->end_ms = job->first_ms + job->length_ms;
                m->used_ms = job->end_ms;
        }
}

static void first_come(struct world *w)
{
        for (; w->head < w->next; w->head++) {
                struct job *job = &w->jobs[w->head];
                struct model *m = &w->models[job->model];

                if (job->given)
                        continue;
                if (m->given >= w->s->parallel)
                        return;
                /* Not resident: others must be idle first, and who came later waits behind. */
                if (!m->resident && (w->now < w->link_ms || !make_room(w)))
                        return;
                give(w, job);
                machine(w);
        }
}

static void carry_out(struct world *w)
{
        struct generate_action a;

        while (generate_next(w->g, &a)) {
                struct job *job = (struct job *)(void *)a.request;

                if (a.kind == GENERATE_DISPATCH)
                        give(w, job);
                if (a.kind == GENERATE_REFUSE) {
                        job->over = job->given = true;
                        job->first_ms = w->now;
                        job->end_ms = w->now;
                        w->refused++;
                        w->over++;
                }
        }
}

static int open_world(struct world *w)
{
        struct generate_settings settings = generate_default_settings;
        int r;

        if (w->s->first_come)
                return 0;
        r = generate_new(&settings, &w->g);
        if (!r)
                r = generate_site(w->g, 0, 1, w->s->room);
        for (uint32_t i = 0; !r && i < w->s->models; i++) {
                w->models[i].engine = GENERATE_NONE;
                snprintf(w->models[i].name, sizeof(w->models[i].name), "m%u", i);
                r = generate_engine(w->g, 0, &(struct generate_engine){.model = w->models[i].name, .site = 1, .state = GENERATE_READY, .resident = GENERATE_UNKNOWN,
                                                                        .parallel = w->s->parallel, .memory = w->s->memory},
                                    &w->models[i].engine);
        }
        return r;
}

static int by_value(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return x < y ? -1 : x > y;
}

static void sum_up(const struct world *w, struct world_result *ret)
{
        static double values[WORLD_REQUESTS];
        uint32_t n = w->s->requests;
        double sum = 0;

        for (uint32_t i = 0; i < n; i++) {
                values[i] = (double)(w->jobs[i].first_ms - w->jobs[i].came_ms);
                sum += values[i];
        }
        qsort(values, n, sizeof(*values), by_value);
        *ret = (struct world_result){.mean_ms = sum / n, .p50_ms = values[n / 2], .p95_ms = values[n * 95 / 100], .max_ms = values[n - 1], .refused = w->refused,
                                     .switches = w->switches, .end_s = (double)w->now / 1000, .longest_wait_ms = w->longest};
}

/* What happens at this moment. 0, or a broken invariant. */
static int moment(struct world *w, char text[160])
{
        for (uint32_t i = 0; i < w->next; i++) {
                struct job *job = &w->jobs[i];

                if (!job->end_ms || job->over)
                        continue;
                if (!job->told_first && w->now >= job->first_ms) {
                        job->told_first = true;
                        if (w->g)
                                generate_first(w->g, w->now, &job->request);
                }
                if (w->now < job->end_ms)
                        continue;
                job->over = true;
                w->models[job->model].given--;
                w->over++;
                if (w->g)
                        generate_end(w->g, w->now, &job->request, UINT64_MAX);
        }
        while (w->next < w->s->requests && w->jobs[w->next].came_ms <= w->now) {
                struct job *job = &w->jobs[w->next++];

                if (w->g)
                        generate_ask(w->g, w->now, w->models[job->model].name, &job->request);
        }
        if (!w->g) {
                first_come(w);
                machine(w);
                return 0;
        }
        generate_tick(w->g, w->now);
        carry_out(w);
        machine(w);
        return generate_check(w->g, w->now, text);
}

int world_run(const struct world_settings *s, struct world_result *ret, char text[160])
{
        struct world w = {.s = s};
        uint64_t state = s->seed;
        double at = 0;
        int r;

        w.jobs = calloc(s->requests, sizeof(*w.jobs));
        if (!w.jobs)
                return -1;
        for (uint32_t i = 0; i < s->requests; i++) {
                struct job *job = &w.jobs[i];

                at += exponential(&state, 1000.0 / s->rate);
                job->came_ms = (uint64_t)at;
                job->model = (uint32_t)(world_random(&state) % s->models);
                job->length_ms = (uint64_t)(exponential(&state, s->tokens) + 1) * s->token_ms;
                job->request.cost = job->length_ms / s->token_ms;
                job->request.band = 1;
                job->request.account.bytes[0] = (uint8_t)(1 + world_random(&state) % s->accounts);
        }
        r = open_world(&w);
        /* A tick each 5 ms: simple, and finer than anything that is compared. */
        for (w.now = 0; !r && w.over < s->requests; w.now += 5)
                r = moment(&w, text);
        if (!r)
                sum_up(&w, ret);
        if (w.g)
                generate_free(w.g);
        free(w.jobs);
        return r;
}
