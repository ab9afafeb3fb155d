/* books.c: sites, engines, models and requests as they come and go; every change ends with settle() (turn.c), after which nothing that could be done is left undone. */
#include "generate/internal.h"

#include <stdio.h>
#include <string.h>

const struct generate_settings generate_default_settings = {
        .wait_ms = 120000, .delay_ms = 3000, .drain_ms = 20000, .age_ms = 20000, .start_again_ms = 5000, .busy_ms = 2000, .waiting_max = 8192, .waiting_per_account = 4096,
};

int generate_new(const struct generate_settings *settings, struct generate **ret_generate)
{
        struct generate *g = calloc(1, sizeof(*g));

        if (!g)
                return -ENOMEM;
        g->settings = *settings;
        *ret_generate = g;
        return 0;
}

void act(struct generate *g, struct generate_action action)
{
        if (g->action_count == g->action_size) {
                size_t size = g->action_size ? 2 * g->action_size : 64;
                struct generate_action *more = malloc(size * sizeof(*more));

                /* Starts and hints come again by themselves; requests are settled otherwise (dispatch, refuse). */
                if (!more)
                        return;
                for (size_t i = 0; i < g->action_count; i++)
                        more[i] = g->actions[(g->action_first + i) % g->action_size];
                free(g->actions);
                g->actions = more;
                g->action_first = 0;
                g->action_size = size;
        }
        g->actions[(g->action_first + g->action_count++) % g->action_size] = action;
}

bool generate_next(struct generate *g, struct generate_action *ret_action)
{
        while (g->action_count) {
                *ret_action = g->actions[g->action_first];
                g->action_first = (g->action_first + 1) % g->action_size;
                g->action_count--;
                /* What was about a request that ended meanwhile was struck out. */
                if (ret_action->request || ret_action->kind == GENERATE_START || ret_action->kind == GENERATE_SOON)
                        return true;
        }
        return false;
}

static void strike(struct generate *g, const struct generate_request *request)
{
        for (size_t i = 0; i < g->action_count; i++) {
                struct generate_action *a = &g->actions[(g->action_first + i) % g->action_size];

                if (a->request == request)
                        a->request = NULL;
        }
}

struct generate_model *model_find(const struct generate *g, const char *name)
{
        struct generate_model *model;

        HASH_FIND_STR(g->models, name, model);
        return model;
}

static int model_get(struct generate *g, const char *name, struct generate_model **ret_model)
{
        struct generate_model *model = model_find(g, name);

        if (!model) {
                if (!name[0] || strlen(name) >= GENERATE_MODEL)
                        return -EINVAL;
                model = calloc(1, sizeof(*model));
                if (!model)
                        return -ENOMEM;
                snprintf(model->name, sizeof(model->name), "%s", name);
                HASH_ADD_STR(g->models, name, model);
        }
        *ret_model = model;
        return 0;
}

void model_drop(struct generate *g, struct generate_model *model)
{
        struct generate_share *share, *next;
        struct site *site, *next_site;

        if (model->engine_count || model->waiting || model->running)
                return;
        HASH_ITER(hh, model->shares, share, next)
        {
                HASH_DEL(model->shares, share);
                free(share);
        }
        HASH_ITER(hh, g->sites, site, next_site)
        {
                for (uint32_t i = 0; i < site->soon_count; i++)
                        if (site->soon[i] == model)
                                site->soon[i] = NULL;
        }
        HASH_DEL(g->models, model);
        free(model);
}

/* ---- sites and engines ---- */

static struct site *site_find(const struct generate *g, uint32_t number)
{
        struct site *site;

        HASH_FIND(hh, g->sites, &number, sizeof(number), site);
        return site;
}

int generate_site(struct generate *g, uint64_t now_ms, uint32_t number, uint64_t room)
{
        struct site *site = site_find(g, number);

        if (!site) {
                site = calloc(1, sizeof(*site));
                if (!site)
                        return -ENOMEM;
                site->number = number;
                site->due_ms = GENERATE_NEVER;
                HASH_ADD(hh, g->sites, number, sizeof(site->number), site);
        }
        site->room = room;
        site_weigh(site);
        settle(g, now_ms);
        return 0;
}

const struct generate_engine *generate_engine_get(const struct generate *g, uint32_t number)
{
        return number < g->engine_count && g->engines[number] ? &g->engines[number]->spec : NULL;
}

uint32_t generate_engine_load(const struct generate *g, uint32_t number, uint64_t *ret_sent)
{
        const struct engine *e = number < g->engine_count ? g->engines[number] : NULL;

        *ret_sent = e ? e->sent : 0;
        return e ? e->outstanding : 0;
}

static int engine_new(struct generate *g, const struct generate_engine *spec, struct engine **ret_engine)
{
        struct site *site = site_find(g, spec->site);
        struct generate_model *model;
        struct engine *e;
        uint32_t number;
        int r;

        if (!site)
                return -ENOENT;
        for (number = 0; number < g->engine_count && g->engines[number]; number++)
                ;
        if (number == g->engine_size) {
                uint32_t size = g->engine_size ? 2 * g->engine_size : 16;
                struct engine **more = realloc(g->engines, size * sizeof(struct engine *));

                if (!more)
                        return -ENOMEM;
                g->engines = more;
                g->engine_size = size;
        }
        e = calloc(1, sizeof(*e));
        if (!e)
                return -ENOMEM;
        r = model_get(g, spec->model, &model);
        if (r < 0) {
                free(e);
                return r;
        }
        e->number = number;
        e->model = model;
        e->site = site;
        DL_APPEND2(model->engines, e, same_prev, same_next);
        model->engine_count++;
        DL_APPEND2(site->engines, e, site_prev, site_next);
        if (number == g->engine_count)
                g->engine_count++;
        g->engines[number] = e;
        *ret_engine = e;
        return 0;
}

int generate_engine(struct generate *g, uint64_t now_ms, const struct generate_engine *spec, uint32_t *number)
{
        struct engine *e = *number < g->engine_count ? g->engines[*number] : NULL;
        int r;

        if (!e) {
                r = engine_new(g, spec, &e);
                if (r < 0)
                        return r;
                *number = e->number;
        }
        if (spec->state != e->spec.state)
                e->start_ms = 0;
        e->spec = *spec;
        e->spec.model = e->model->name;
        e->spec.site = e->site->number;
        if (!e->spec.parallel)
                e->spec.parallel = 1;
        e->most = e->outstanding && e->most > e->spec.parallel ? e->most : e->spec.parallel;
        if (e->spec.state != GENERATE_READY)
                engine_leave(e);
        site_weigh(e->site);
        settle(g, now_ms);
        return 0;
}

void engine_not_full(struct generate *g, struct engine *e)
{
        g->full -= e->full_ms != 0;
        e->full_ms = 0;
}

void generate_engine_free(struct generate *g, uint64_t now_ms, uint32_t number)
{
        if (number >= g->engine_count || !g->engines[number])
                return;
        engine_not_full(g, g->engines[number]);
        settle(g, now_ms);
}

static void engine_drop(struct generate *g, struct engine *e)
{
        struct generate_model *model = e->model;

        engine_not_full(g, e);
        engine_leave(e);
        DL_DELETE2(model->engines, e, same_prev, same_next);
        model->engine_count--;
        DL_DELETE2(e->site->engines, e, site_prev, site_next);
        if (e->site->wanted == e)
                e->site->wanted = NULL;
        site_weigh(e->site);
        g->engines[e->number] = NULL;
        /* Requests that run there end in their own time; they know the number, which is not given again before. */
        if (e->outstanding) {
                g->engines[e->number] = e;
                e->site = NULL;
                e->spec.state = GENERATE_AWAY;
                e->spec.context = NULL;
        } else {
                free(e);
        }
        model_drop(g, model);
}

void generate_engine_gone(struct generate *g, uint64_t now_ms, uint32_t number)
{
        if (number >= g->engine_count || !g->engines[number] || !g->engines[number]->site)
                return;
        engine_drop(g, g->engines[number]);
        settle(g, now_ms);
}

void generate_site_gone(struct generate *g, uint64_t now_ms, uint32_t number)
{
        struct site *site = site_find(g, number);

        if (!site)
                return;
        while (site->engines)
                engine_drop(g, site->engines);
        HASH_DEL(g->sites, site);
        free(site);
        settle(g, now_ms);
}

/* ---- requests ---- */

void generate_expect(struct generate *g, uint64_t until_ms)
{
        g->expect_ms = until_ms;
}

void unwait(struct generate *g, struct generate_request *q)
{
        struct generate_model *model = q->model;

        DL_DELETE(q->share->bands[q->band], q);
        DL_DELETE2(g->oldest, q, older, newer);
        q->share->waiting--;
        model->waiting--;
        model->asked_sum -= q->asked_ms;
        g->counts.waiting--;
        q->stage = GENERATE_NOWHERE;
}

void refuse(struct generate *g, struct generate_request *q, enum generate_reason reason)
{
        struct generate_model *model = q->model;

        if (q->stage == GENERATE_WAITING)
                unwait(g, q);
        g->counts.refused++;
        act(g, (struct generate_action){.kind = GENERATE_REFUSE, .request = q, .reason = reason, .engine = GENERATE_NONE});
        if (model) {
                if (q->share)
                        share_release(model, q->share);
                q->share = NULL;
                q->model = NULL;
                model_drop(g, model);
        }
}

static void wait_for(struct generate *g, struct generate_request *q, bool again)
{
        struct generate_request *at;

        q->stage = GENERATE_WAITING;
        q->share->waiting++;
        q->model->waiting++;
        q->model->asked_sum += q->asked_ms;
        g->counts.waiting++;
        /* One that waits again goes to its old place; others are the newest. */
        for (at = g->oldest ? g->oldest->older : NULL; at && at->asked_ms > q->asked_ms; at = at == g->oldest ? NULL : at->older)
                ;
        if (!at)
                DL_PREPEND2(g->oldest, q, older, newer);
        else
                DL_APPEND_ELEM2(g->oldest, at, q, older, newer);
        if (again)
                DL_PREPEND(q->share->bands[q->band], q);
        else
                DL_APPEND(q->share->bands[q->band], q);
}

void generate_ask(struct generate *g, uint64_t now_ms, const char *name, struct generate_request *q)
{
        struct generate_model *model = model_find(g, name);
        struct engine *e;

        q->model = NULL;
        q->share = NULL;
        q->asked_ms = now_ms;
        q->engine = q->avoid = GENERATE_NONE;
        q->stage = GENERATE_NOWHERE;
        if (q->band >= GENERATE_BANDS)
                q->band = GENERATE_BANDS - 1;
        g->counts.asked++;
        if (!model || !model->engine_count) {
                if (now_ms >= g->expect_ms) {
                        refuse(g, q, GENERATE_NO_MODEL);
                        return;
                }
                if (model_get(g, name, &model) < 0) {
                        refuse(g, q, GENERATE_NO_MODEL);
                        return;
                }
        }
        if (g->counts.waiting >= g->settings.waiting_max) {
                refuse(g, q, GENERATE_FULL);
                model_drop(g, model);
                return;
        }
        if (pick_share(model, &q->account, &q->share) < 0) {
                refuse(g, q, GENERATE_MEMORY);
                model_drop(g, model);
                return;
        }
        q->model = model;
        if (q->share->waiting >= g->settings.waiting_per_account) {
                refuse(g, q, GENERATE_FULL_ACCOUNT);
                return;
        }
        /* Nobody before it, and a place free: the usual way. */
        if (!model->waiting && (e = pick_engine(model, GENERATE_NONE))) {
                dispatch(g, now_ms, q, e);
                return;
        }
        wait_for(g, q, false);
        settle(g, now_ms);
}

void generate_first(struct generate *g, uint64_t now_ms, struct generate_request *q)
{
        struct engine *e = q->engine < g->engine_count ? g->engines[q->engine] : NULL;

        if (q->stage != GENERATE_SENT || !e || !q->entered)
                return;
        q->entered = false;
        /* What a switch took, first token included: a moving mean that follows quickly. */
        e->switch_ms = e->switch_ms ? (e->switch_ms + (now_ms - q->sent_ms)) / 2 : now_ms - q->sent_ms;
}

static void leave_engine(struct generate *g, uint64_t now_ms, struct generate_request *q)
{
        struct engine *e = g->engines[q->engine];

        e->outstanding--;
        e->used_ms = now_ms;
        q->model->running--;
        q->share->running--;
        g->counts.running--;
        if (!e->site && !e->outstanding) {
                g->engines[q->engine] = NULL;
                free(e);
        }
        q->engine = GENERATE_NONE;
        q->stage = GENERATE_NOWHERE;
}

void generate_end(struct generate *g, uint64_t now_ms, struct generate_request *q, uint64_t cost)
{
        struct generate_model *model = q->model;

        strike(g, q);
        if (!model)
                return;
        if (q->stage == GENERATE_WAITING) {
                unwait(g, q);
        } else if (q->stage == GENERATE_SENT) {
                uint64_t weighed = cost == UINT64_MAX ? q->charged : cost * 100 / (q->weight ? q->weight : 100);

                q->share->level += weighed;
                q->share->level -= q->charged < q->share->level ? q->charged : q->share->level;
                leave_engine(g, now_ms, q);
        }
        g->counts.ended++;
        share_release(model, q->share);
        q->share = NULL;
        q->model = NULL;
        model_drop(g, model);
        settle(g, now_ms);
}

/* Out of its engine and into the queue again. */
static void back(struct generate *g, uint64_t now_ms, struct generate_request *q)
{
        strike(g, q);
        q->share->level -= q->charged < q->share->level ? q->charged : q->share->level;
        leave_engine(g, now_ms, q);
        wait_for(g, q, true);
}

void generate_busy(struct generate *g, uint64_t now_ms, struct generate_request *q)
{
        struct engine *e;

        if (q->stage != GENERATE_SENT)
                return;
        e = g->engines[q->engine];
        if (e->site) {
                g->full += !e->full_ms;
                e->full_ms = now_ms + g->settings.busy_ms;
        }
        g->counts.busy++;
        back(g, now_ms, q);
        settle(g, now_ms);
}

bool generate_again(struct generate *g, uint64_t now_ms, struct generate_request *q)
{
        struct engine *e;
        bool other = false;

        if (q->stage != GENERATE_SENT)
                return false;
        DL_FOREACH2(q->model->engines, e, same_next)
                other = other || (e->number != q->engine && e->spec.state == GENERATE_READY);
        if (!other || q->avoid != GENERATE_NONE || now_ms >= q->asked_ms + g->settings.wait_ms) {
                generate_end(g, now_ms, q, 0);
                return false;
        }
        q->avoid = q->engine;
        g->counts.again++;
        back(g, now_ms, q);
        settle(g, now_ms);
        return true;
}

void generate_judge(struct generate *g, uint32_t number, bool good)
{
        if (number < g->engine_count && g->engines[number])
                g->engines[number]->failed = !good;
}

void generate_tick(struct generate *g, uint64_t now_ms)
{
        settle(g, now_ms);
}

void generate_free(struct generate *g)
{
        struct generate_model *model, *next_model;
        struct site *site, *next_site;

        HASH_ITER(hh, g->sites, site, next_site)
        {
                HASH_DEL(g->sites, site);
                free(site);
        }
        for (uint32_t i = 0; i < g->engine_count; i++)
                free(g->engines[i]);
        HASH_ITER(hh, g->models, model, next_model)
        {
                struct generate_share *share, *next;

                HASH_ITER(hh, model->shares, share, next)
                {
                        HASH_DEL(model->shares, share);
                        free(share);
                }
                HASH_DEL(g->models, model);
                free(model);
        }
        free(g->engines);
        free(g->actions);
        free(g);
}
