/* view.c: what is known of models and of those who wait, deadlines, and the invariants. */
#include "generate/internal.h"

#include <stdio.h>
#include <string.h>

uint64_t generate_next_deadline(const struct generate *g)
{
        uint64_t due = GENERATE_NEVER;

        if (!g->counts.waiting)
                return due;
        due = g->oldest->asked_ms + g->settings.wait_ms;
        if (g->due_ms < due)
                due = g->due_ms;
        if (g->expect_ms && g->expect_ms < due)
                due = g->expect_ms;
        for (const struct site *site = g->sites; site; site = site->hh.next)
                if (site->due_ms < due)
                        due = site->due_ms;
        return due;
}

size_t generate_soon(const struct generate *g, uint32_t number, const char *models[GENERATE_UPCOMING])
{
        struct site *site;
        size_t n = 0;

        HASH_FIND(hh, g->sites, &number, sizeof(number), site);
        for (uint32_t i = 0; site && i < site->soon_count; i++)
                if (site->soon[i])
                        models[n++] = site->soon[i]->name;
        return n;
}

bool generate_knows(const struct generate *g, const char *name)
{
        const struct generate_model *model = model_find(g, name);

        return model && model->engine_count;
}

bool generate_model_view(const struct generate *g, uint64_t now_ms, const char *name, struct generate_view *v)
{
        const struct generate_model *model = model_find(g, name);
        const struct engine *e;

        *v = (struct generate_view){0};
        if (!model)
                return false;
        DL_FOREACH2(model->engines, e, same_next)
                v->ready += e->spec.state == GENERATE_READY;
        v->engines = model->engine_count;
        v->waiting = model->waiting;
        v->running = model->running;
        v->oldest_ms = model_wait_ms(g, model, now_ms);
        return true;
}

static const char *why(const struct generate_model *model)
{
        const struct engine *e;
        bool ready = false, starting = false, turn = false, place = false;

        DL_FOREACH2(model->engines, e, same_next)
        {
                ready = ready || e->spec.state == GENERATE_READY;
                starting = starting || e->spec.state == GENERATE_STARTING;
                if (e->spec.state != GENERATE_READY)
                        continue;
                if (e->full_ms || e->outstanding >= e->spec.parallel)
                        place = true;
                else
                        turn = true;
        }
        if (place)
                return "all places of its engines are taken";
        if (turn)
                return "another model has the device; this one comes in next or after it";
        return starting ? "its engine is starting" : ready ? "it is next" : model->engine_count ? "its engine was asked to start" : "its worker has not connected yet";
}

void generate_each_waiting(const struct generate *g, uint64_t now_ms, void (*each)(void *context, struct generate_request *request, uint32_t position, const char *text),
                           void *context)
{
        struct generate_model *model;
        struct generate_request *q, *next;

        for (model = g->models; model; model = model->hh.next) {
                const char *text = model->waiting ? why(model) : NULL;
                uint32_t position = 0;

                for (q = model->waiting ? g->oldest : NULL; q && position < model->waiting; q = next) {
                        next = q->newer;
                        if (q->model == model)
                                each(context, q, ++position, text);
                }
        }
}

void generate_counts(const struct generate *g, struct generate_counts *ret)
{
        *ret = g->counts;
}

const char *generate_reason_text(enum generate_reason reason)
{
        static const char *const texts[] = {
                [GENERATE_NO_MODEL] = "no engine has this model", [GENERATE_FULL] = "too many requests wait already",
                [GENERATE_FULL_ACCOUNT] = "too many requests of this account wait already", [GENERATE_TOO_LONG] = "no engine had a place in time",
                [GENERATE_NO_ENGINE] = "the model's engine failed", [GENERATE_MEMORY] = "out of memory",
        };

        return (size_t)reason < ARRAY_SIZE(texts) && texts[reason] ? texts[reason] : "refused";
}

#define HOLDS(number, condition, ...)                          \
        do {                                                   \
                if (!(condition)) {                            \
                        snprintf(text, 160, __VA_ARGS__);      \
                        return number;                         \
                }                                              \
        } while (0)

static int check_requests(const struct generate *g, uint64_t now_ms, char text[160])
{
        const struct generate_request *q;
        const struct generate_model *m;
        uint32_t waiting = 0, running = 0, in_models = 0;
        uint64_t before = 0;

        DL_FOREACH2(g->oldest, q, newer)
        {
                waiting++;
                HOLDS(2, now_ms < q->asked_ms + g->settings.wait_ms, "a request for %.60s has waited %llu ms", q->model->name, (unsigned long long)(now_ms - q->asked_ms));
                HOLDS(1, q->stage == GENERATE_WAITING && q->asked_ms >= before, "the order of those that wait");
                before = q->asked_ms;
        }
        for (m = g->models; m; m = m->hh.next) {
                const struct engine *e;
                uint32_t of_shares = 0, runs = 0;

                for (const struct generate_share *share = m->shares; share; share = share->hh.next) {
                        of_shares += share->waiting;
                        runs += share->running;
                }
                HOLDS(1, of_shares == m->waiting && runs == m->running, "%.60s: %u of %u wait", m->name, of_shares, m->waiting);
                in_models += m->waiting;
                running += m->running;
                if (!m->waiting)
                        continue;
                DL_FOREACH2(m->engines, e, same_next)
                        HOLDS(3, !engine_open(e), "%u wait for %.60s though engine %u is free", m->waiting, m->name, e->number);
        }
        HOLDS(1, waiting == g->counts.waiting && in_models == waiting && running == g->counts.running, "%u wait, %u run", waiting, running);
        return 0;
}

int generate_check(const struct generate *g, uint64_t now_ms, char text[160])
{
        uint64_t due = generate_next_deadline(g);
        uint32_t outstanding = 0;
        const struct site *site;
        int r = check_requests(g, now_ms, text);

        if (r)
                return r;
        for (uint32_t i = 0; i < g->engine_count; i++) {
                const struct engine *e = g->engines[i];

                if (!e)
                        continue;
                outstanding += e->outstanding;
                HOLDS(1, e->number == i && e->outstanding <= e->most, "engine %u has %u", i, e->outstanding);
        }
        HOLDS(1, outstanding == g->counts.running, "%u at engines, %u run", outstanding, g->counts.running);
        for (site = g->sites; site; site = site->hh.next) {
                uint64_t in = 0;
                uint32_t count = 0;
                const struct engine *e;

                DL_FOREACH2(site->engines, e, site_next)
                {
                        in += e->in ? e->spec.memory < site->room ? e->spec.memory : site->room : 0;
                        count += e->in;
                }
                HOLDS(4, !site->contended || in <= site->room || count <= 1, "site %u has %u in", site->number, count);
                HOLDS(5, !g->counts.waiting || due <= site->due_ms, "site %u is due earlier", site->number);
        }
        HOLDS(5, !g->oldest || due <= g->oldest->asked_ms + g->settings.wait_ms, "the bound is due earlier");
        return 0;
}
