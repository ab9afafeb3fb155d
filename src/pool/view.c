/* view.c: answers for people: why is it queued, why is this worker idle, how many of what. */
#include "pool/internal.h"

#include <inttypes.h>
#include <stdio.h>

/* How many go before it: all of its class in higher bands; in its own, those of its flow before it and as many of each other account that takes turns. */
static uint32_t position(const struct core *core, const struct task *t)
{
        const struct class *c = CLASS(core, t->class);
        const struct flow *f = FLOW(core, t->flow);
        uint64_t before = 0, mine = 0, others;

        for (uint32_t band = 0; band < t->band_now; band++)
                before += c->queued[band];
        /* The line isn't counted, as it may be millions long: a look at its beginning, else its middle. */
        if (t->heap_at != NONE) {
                mine = t->heap_at;
        } else {
                uint32_t i = f->first;

                mine = f->urgent.count;
                for (uint32_t n = 0; i != NONE && n < 1000 && TASK(core, i) != t; n++, i = TASK(core, i)->next)
                        mine++;
                if (i != NONE && TASK(core, i) != t)
                        mine = (mine + f->count) / 2;
        }
        others = c->queued[t->band_now] - f->count;
        if (c->bands[t->band_now].count > 1 && others > mine * (c->bands[t->band_now].count - 1))
                others = mine * (c->bands[t->band_now].count - 1);
        before += mine + others;
        return before > UINT32_MAX ? UINT32_MAX : (uint32_t)before;
}

static uint32_t ready_workers(const struct core *core, const struct class *c, uint32_t account)
{
        uint32_t n = 0, words = c->profile_words < core->ready_words ? c->profile_words : core->ready_words;

        for (uint32_t i = 0; i < words; i++) {
                for (uint64_t bits = c->profiles[i] & core->ready_profiles[i]; bits; bits &= bits - 1) {
                        const struct profile *p = PROFILE(core, i * 64 + (uint32_t)__builtin_ctzll(bits));

                        if (p->owner == NONE || p->owner == account)
                                n += p->ready.count;
                }
        }
        return n;
}

void core_task_view(const struct core *core, uint64_t now, uint32_t task, struct core_task_view *ret_view)
{
        const struct task *t;
        const struct class *c;
        uint32_t slots;

        (void)now;
        *ret_view = (struct core_task_view){.worker = NONE, .deadline = CORE_NEVER, .retry_at = CORE_NEVER, .lease_expires = CORE_NEVER, .eta_ms = CORE_NEVER};
        if (task >= core->tasks.used || !TASK(core, task)->state)
                return;
        t = TASK(core, task);
        c = CLASS(core, t->class);
        ret_view->state = t->state;
        ret_view->band = t->band;
        ret_view->band_now = t->band_now;
        ret_view->attempt = t->attempt;
        ret_view->reason = t->reason;
        ret_view->since = t->since;
        ret_view->deadline = t->deadline;
        ret_view->retry_at = t->wake_at;
        ret_view->cost = t->cost;
        ret_view->fitting = class_workers(core, c, t->account, &slots);
        ret_view->fitting_ready = ready_workers(core, c, t->account);
        if (t->lease != NONE) {
                ret_view->worker = LEASE(core, t->lease)->worker;
                ret_view->lease_expires = LEASE(core, t->lease)->expires;
        }
        if (t->first_wait != NONE) {
                uint32_t edge = t->first_wait;

                while (EDGE(core, edge)->next_wait != NONE)
                        edge = EDGE(core, edge)->next_wait;
                ret_view->waits_for = TASK(core, EDGE(core, edge)->on)->id;
        }
        if (t->state == CORE_QUEUED) {
                const struct token *type = TOKEN(core, c->type);

                ret_view->position = position(core, t);
                if (type->samples && slots)
                        ret_view->eta_ms = (uint64_t)(ret_view->position + 1) * (type->mean_units / 256 + 1) / slots;
                if (ACCOUNT(core, t->account)->capped || (t->key != NONE && KEY(core, t->key)->capped))
                        ret_view->capped = true;
        }
        need_explain(core, c, t->account, &ret_view->why);
}

static void why_idle(const struct core *core, const struct worker *w, const struct core_worker_view *view, char text[256])
{
        uint64_t queued = core->statistics.tasks[CORE_QUEUED];

        if (w->silence == CORE_SUSPECT)
                snprintf(text, 256, "it was not heard of for a while; it gets nothing new until it speaks");
        else if (w->silence == CORE_LOST)
                snprintf(text, 256, "it is lost: not heard of for too long, its work was handed on");
        else if (w->drain)
                snprintf(text, 256, "it is draining: nothing new until that is taken back");
        else if (!w->ready && w->leases)
                snprintf(text, 256, "%" PRIu32 " of its %" PRIu32 " slots are busy; it offers no free one", w->leases, w->slots);
        else if (!w->ready)
                snprintf(text, 256, "it offers no free slot (it has not said that it is ready)");
        else if (!queued)
                snprintf(text, 256, "no task is queued");
        else if (!view->fitting)
                snprintf(text, 256, "%" PRIu64 " tasks are queued, and it fits the needs of none", queued);
        else
                snprintf(text, 256, "of the queued tasks it could take, all belong to accounts or keys that are at their cap of leases");
}

void core_worker_view(const struct core *core, uint64_t now, uint32_t worker, struct core_worker_view *ret_view)
{
        const struct worker *w;

        (void)now;
        *ret_view = (struct core_worker_view){0};
        if (!worker_known(core, worker))
                return;
        w = WORKER(core, worker);
        ret_view->state = w->told;
        ret_view->slots = w->slots;
        ret_view->ready = w->ready;
        ret_view->leases = w->leases;
        ret_view->last_heard = w->last_heard;
        ret_view->outstanding_cost = w->outstanding;
        ret_view->done = w->done;
        ret_view->failed = w->failed;
        ret_view->lost = w->lost;
        ret_view->queued = (uint32_t)core->statistics.tasks[CORE_QUEUED];
        if (w->profile != NONE) {
                const struct profile *p = PROFILE(core, w->profile);
                uint64_t fitting = 0;

                for (uint32_t i = 0; i < CORE_CLASSES / 64 && p->owner == NONE; i++) {
                        for (uint64_t bits = p->classes[i]; bits; bits &= bits - 1) {
                                const struct class *c = CLASS(core, i * 64 + (uint32_t)__builtin_ctzll(bits));

                                for (int band = 0; band < CORE_BANDS; band++)
                                        fitting += c->queued[band];
                        }
                }
                for (uint32_t i = p->owner == NONE ? NONE : ACCOUNT(core, p->owner)->first_flow; i != NONE; i = FLOW(core, i)->next)
                        fitting += class_fits(CLASS(core, FLOW(core, i)->k.class), p) ? FLOW(core, i)->count : 0;
                ret_view->fitting = fitting > 1000 ? 1000 : (uint32_t)fitting;
        }
        if (w->leases < w->slots)
                why_idle(core, w, ret_view, ret_view->why_idle);
}

void core_statistics(const struct core *core, struct core_statistics *ret)
{
        *ret = core->statistics;
        memset(ret->workers, 0, sizeof(ret->workers));
        ret->slots = ret->ready = 0;
        for (const struct worker *w = core->workers_by_id; w; w = w->hh.next) {
                ret->workers[w->told]++;
                ret->slots += w->slots;
                ret->ready += w->ready_at != NONE ? w->ready : 0;
        }
        ret->profiles = core->profiles.live;
        ret->classes = core->classes.live;
}
