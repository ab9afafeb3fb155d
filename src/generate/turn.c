/* turn.c: whose turn it is at a site that can't hold all of its engines, who is asked to start, and who has waited too long. */
#include "generate/internal.h"

#include <stdio.h>
#include <string.h>

/* Bytes that it needs; one that is larger than the room is given all of it. */
static uint64_t need(const struct engine *e)
{
        return e->spec.memory < e->site->room ? e->spec.memory : e->site->room;
}

void engine_leave(struct engine *e)
{
        e->in = e->leaving = e->fresh = false;
        if (e->site && e->site->wanted == e)
                e->site->wanted = NULL;
}

/* Room or needs changed under those that are in: the last ones leave. */
static void keep_to_room(struct site *site)
{
        uint64_t sum = 0;
        struct engine *e;

        if (!site->contended)
                return;
        DL_FOREACH2(site->engines, e, site_next)
        {
                if (!e->in)
                        continue;
                if (!e->spec.memory || sum + need(e) > site->room)
                        engine_leave(e);
                else
                        sum += need(e);
        }
}

void site_weigh(struct site *site)
{
        uint64_t sum = 0;
        bool before = site->contended;
        struct engine *e;

        DL_FOREACH2(site->engines, e, site_next)
                if (e->spec.state == GENERATE_READY || e->spec.state == GENERATE_STARTING || e->spec.state == GENERATE_STOPPING)
                        sum += e->spec.memory;
        site->contended = site->room && sum > site->room;
        if (site->contended == before) {
                keep_to_room(site);
                return;
        }
        site->wanted = NULL;
        sum = 0;
        DL_FOREACH2(site->engines, e, site_next)
        {
                e->leaving = e->in = false;
                /* What is in memory has the first turn, as does what runs. */
                if (!site->contended || e->spec.state != GENERATE_READY || !e->spec.memory || (e->spec.resident != GENERATE_IN && !e->outstanding) ||
                    sum + need(e) > site->room)
                        continue;
                e->in = true;
                sum += need(e);
        }
}

static bool is_wanted(const struct engine *e)
{
        return e->spec.state == GENERATE_READY && e->spec.memory && !e->in && e->model->waiting;
}

/* The oldest of one model: requests of a model stand in each share's bands in order of time. */
static uint64_t oldest_ms(const struct generate_model *model)
{
        uint64_t oldest = UINT64_MAX;

        for (const struct generate_share *share = model->shares; share; share = share->hh.next)
                for (uint32_t band = 0; share->waiting && band < GENERATE_BANDS; band++)
                        if (share->bands[band] && share->bands[band]->asked_ms < oldest)
                                oldest = share->bands[band]->asked_ms;
        return oldest;
}

uint64_t model_wait_ms(const struct generate *g, const struct generate_model *model, uint64_t now_ms)
{
        return model->waiting ? now_ms - oldest_ms(model) : 0;
}

/* What its requests have waited together, but one that nears the bound goes before all that. */
static uint64_t score(const struct generate *g, const struct generate_model *model, uint64_t now_ms)
{
        uint64_t oldest = now_ms - oldest_ms(model);

        if (oldest >= g->settings.wait_ms / 3)
                return UINT64_MAX / 2 + oldest;
        return model->waiting * now_ms - model->asked_sum + model->waiting;
}

static struct engine *choose_wanted(const struct generate *g, const struct site *site, uint64_t now_ms)
{
        struct engine *best = NULL, *e;
        uint64_t best_score = 0;

        DL_FOREACH2(site->engines, e, site_next)
        {
                uint64_t s;

                if (!is_wanted(e))
                        continue;
                s = score(g, e->model, now_ms);
                if (best && s <= best_score)
                        continue;
                best = e;
                best_score = s;
        }
        return best;
}

static void come_in(struct generate *g, uint64_t now_ms, struct engine *e)
{
        e->in = e->fresh = true;
        e->leaving = false;
        e->in_ms = now_ms;
        e->site->wanted = NULL;
        g->counts.switches++;
}

/* Room beside those that are in, after those that may leave have left. */
static uint64_t free_room(uint64_t now_ms, const struct generate *g, struct site *site, uint64_t wanted)
{
        uint64_t left = site->room;
        struct engine *e, *idle;

        DL_FOREACH2(site->engines, e, site_next)
        {
                if (e->in && e->leaving && (!e->outstanding || now_ms >= e->leave_ms + g->settings.drain_ms))
                        engine_leave(e);
                if (e->in)
                        left = left > need(e) ? left - need(e) : 0;
        }
        while (left < wanted) {
                idle = NULL;
                DL_FOREACH2(site->engines, e, site_next)
                        if (e->in && !e->outstanding && !e->model->waiting && (!idle || e->used_ms < idle->used_ms))
                                idle = e;
                if (!idle)
                        break;
                left += need(idle);
                engine_leave(idle);
        }
        return left;
}

/* Those that were in longest are given nothing new, as many as must leave; each had its turn before, as long as the wanted one is to wait. */
static void make_way(uint64_t now_ms, struct site *site, uint64_t left, uint64_t wanted, uint64_t turn_ms)
{
        struct engine *e, *first;

        DL_FOREACH2(site->engines, e, site_next)
                if (e->in && e->leaving)
                        left += need(e);
        while (left < wanted) {
                first = NULL;
                DL_FOREACH2(site->engines, e, site_next)
                        if (e->in && !e->leaving && (!first || e->in_ms < first->in_ms))
                                first = e;
                if (!first)
                        break;
                if (now_ms < first->in_ms + turn_ms) {
                        site->due_ms = first->in_ms + turn_ms;
                        break;
                }
                first->leaving = true;
                first->leave_ms = now_ms;
                left += need(first);
        }
}

/* One step; true: an engine came in, or may stay. */
static bool step(struct generate *g, uint64_t now_ms, struct site *site)
{
        struct engine *e, *w;
        uint64_t left, patience;
        bool leaving = false;

        site->due_ms = GENERATE_NEVER;
        if (!site->contended)
                return false;
        DL_FOREACH2(site->engines, e, site_next)
                leaving = leaving || e->leaving;
        /* Who was promised the next turn keeps it once others make way for it. */
        if (!site->wanted || !is_wanted(site->wanted) || !leaving)
                site->wanted = choose_wanted(g, site, now_ms);
        w = site->wanted;
        if (!w) {
                DL_FOREACH2(site->engines, e, site_next)
                        e->leaving = false;
                return leaving;
        }
        left = free_room(now_ms, g, site, need(w));
        if (left >= need(w)) {
                come_in(g, now_ms, w);
                return true;
        }
        patience = g->settings.delay_ms > 2 * w->switch_ms ? g->settings.delay_ms : 2 * w->switch_ms;
        if (patience > g->settings.wait_ms / 4)
                patience = g->settings.wait_ms / 4;
        if (model_wait_ms(g, w->model, now_ms) < patience) {
                site->due_ms = now_ms + patience - model_wait_ms(g, w->model, now_ms);
                return false;
        }
        make_way(now_ms, site, left, need(w), patience);
        DL_FOREACH2(site->engines, e, site_next)
                if (e->leaving && e->leave_ms + g->settings.drain_ms < site->due_ms)
                        site->due_ms = e->leave_ms + g->settings.drain_ms;
        left = free_room(now_ms, g, site, need(w));
        if (left >= need(w)) {
                come_in(g, now_ms, w);
                return true;
        }
        return false;
}

static void dispatch_all(struct generate *g, uint64_t now_ms, struct generate_model *model)
{
        struct engine *e;

        while (model->waiting && pick_engine(model, GENERATE_NONE)) {
                struct generate_request *q = pick_request(g, model, now_ms);

                e = pick_engine(model, q->avoid);
                dispatch(g, now_ms, q, e);
        }
}

void site_turn(struct generate *g, uint64_t now_ms, struct site *site)
{
        struct engine *e;

        for (uint32_t rounds = 0; rounds < 64 && step(g, now_ms, site); rounds++)
                DL_FOREACH2(site->engines, e, site_next)
                        dispatch_all(g, now_ms, e->model);
}

static void tell_soon(struct generate *g, uint64_t now_ms, struct site *site)
{
        struct generate_model *list[GENERATE_UPCOMING];
        uint64_t scores[GENERATE_UPCOMING], s;
        uint32_t count = 0, at;
        struct engine *e;

        DL_FOREACH2(site->engines, e, site_next)
        {
                if (!e->model->waiting || !e->spec.memory || e->in)
                        continue;
                s = e == site->wanted ? UINT64_MAX : score(g, e->model, now_ms);
                for (at = count < GENERATE_UPCOMING ? count++ : count - 1; at && scores[at - 1] < s; at--) {
                        scores[at] = scores[at - 1];
                        list[at] = list[at - 1];
                }
                scores[at] = s;
                list[at] = e->model;
        }
        if (count == site->soon_count && !memcmp(list, site->soon, count * sizeof(struct generate_model *)))
                return;
        memcpy(site->soon, list, count * sizeof(struct generate_model *));
        site->soon_count = count;
        act(g, (struct generate_action){.kind = GENERATE_SOON, .site = site->number, .engine = GENERATE_NONE});
}

/* No engine of it is on its way: the one that is best to start is asked for. */
static void start_one(struct generate *g, uint64_t now_ms, struct generate_model *model)
{
        struct engine *best = NULL, *e;
        bool failed = true;

        DL_FOREACH2(model->engines, e, same_next)
        {
                failed = failed && e->spec.state == GENERATE_FAILED;
                if (e->spec.state == GENERATE_READY || e->spec.state == GENERATE_STARTING)
                        return;
                if (!e->spec.startable || e->spec.state == GENERATE_AWAY || e->spec.state == GENERATE_STOPPING)
                        continue;
                if (!best || (e->spec.state == GENERATE_COLD && best->spec.state != GENERATE_COLD) ||
                    (e->spec.state == best->spec.state && e->site->room > best->site->room))
                        best = e;
        }
        if (best && (!best->start_ms || now_ms >= best->start_ms + g->settings.start_again_ms)) {
                best->start_ms = now_ms ? now_ms : 1;
                g->counts.starts++;
                act(g, (struct generate_action){.kind = GENERATE_START, .engine = best->number});
        }
        if (best && best->start_ms + g->settings.start_again_ms < g->due_ms)
                g->due_ms = best->start_ms + g->settings.start_again_ms;
        if (!model->engine_count || !failed)
                return;
        /* Those who came when it had failed already hear why at once; the next may find it mended. */
        for (struct generate_request *q = g->oldest, *next; q; q = next) {
                next = q->newer;
                if (q->model != model)
                        continue;
                refuse(g, q, GENERATE_NO_ENGINE);
                if (!model_find(g, model->name) || !model->waiting)
                        return;
        }
}

static void expire(struct generate *g, uint64_t now_ms)
{
        while (g->oldest && now_ms >= g->oldest->asked_ms + g->settings.wait_ms)
                refuse(g, g->oldest, GENERATE_TOO_LONG);
        /* No engine came within the time that any was expected. */
        if (!g->expect_ms || now_ms < g->expect_ms)
                return;
        g->expect_ms = 0;
        for (struct generate_request *q = g->oldest, *next; q; q = next) {
                next = q->newer;
                if (!q->model->engine_count)
                        refuse(g, q, GENERATE_NO_MODEL);
        }
}

/* Nobody told of a place: they are tried. */
static void try_full_ones(struct generate *g, uint64_t now_ms)
{
        for (uint32_t i = 0; i < g->engine_count; i++) {
                struct engine *e = g->engines[i];

                if (!e || !e->full_ms)
                        continue;
                if (now_ms >= e->full_ms)
                        engine_not_full(g, e);
                else if (e->full_ms < g->due_ms)
                        g->due_ms = e->full_ms;
        }
}

void settle(struct generate *g, uint64_t now_ms)
{
        struct generate_model *model, *next;
        struct site *site, *next_site;

        if (now_ms > g->now_ms)
                g->now_ms = now_ms;
        if (!g->counts.waiting && !g->told_soon)
                return;
        g->told_soon = false;
        g->due_ms = GENERATE_NEVER;
        if (g->full)
                try_full_ones(g, now_ms);
        expire(g, now_ms);
        HASH_ITER(hh, g->models, model, next)
        {
                if (model->waiting)
                        dispatch_all(g, now_ms, model);
                if (model->waiting)
                        start_one(g, now_ms, model);
        }
        HASH_ITER(hh, g->sites, site, next_site)
        {
                site_turn(g, now_ms, site);
                tell_soon(g, now_ms, site);
                g->told_soon = g->told_soon || site->soon_count;
        }
}
