/* pick.c: of a model's waiting requests the next one, and of its engines the best. */
#include "generate/internal.h"

#include <string.h>

static uint64_t least_level(const struct generate_model *model)
{
        uint64_t least = UINT64_MAX;

        for (const struct generate_share *share = model->shares; share; share = share->hh.next)
                if ((share->waiting || share->running) && share->level < least)
                        least = share->level;
        return least;
}

int pick_share(struct generate_model *model, const struct id *account, struct generate_share **ret_share)
{
        struct generate_share *share;

        HASH_FIND(hh, model->shares, account, sizeof(*account), share);
        if (!share) {
                share = calloc(1, sizeof(*share));
                if (!share)
                        return -ENOMEM;
                share->account = *account;
                HASH_ADD(hh, model->shares, account, sizeof(share->account), share);
        }
        /* Who comes back has saved nothing up. Looked at only where others are there. */
        if (!share->waiting && !share->running && model->waiting) {
                uint64_t least = least_level(model);

                if (least != UINT64_MAX && share->level < least)
                        share->level = least;
        }
        *ret_share = share;
        return 0;
}

/* An account that asks for nothing is forgotten once its counter says nothing any more. */
void share_release(struct generate_model *model, struct generate_share *share)
{
        struct generate_share *next;

        if (share->waiting || share->running)
                return;
        if (model->waiting) {
                if (share->level <= least_level(model)) {
                        HASH_DEL(model->shares, share);
                        free(share);
                }
                return;
        }
        /* Nobody competes: all begin anew; many that are idle go at once. */
        if (HASH_COUNT(model->shares) < 64) {
                share->level = 0;
                return;
        }
        HASH_ITER(hh, model->shares, share, next)
        {
                if (!share->waiting && !share->running) {
                        HASH_DEL(model->shares, share);
                        free(share);
                }
        }
}

struct generate_request *pick_request(const struct generate *g, struct generate_model *model, uint64_t now_ms)
{
        struct generate_request *best = NULL;
        uint64_t best_rise = 0;

        for (struct generate_share *share = model->shares; share; share = share->hh.next) {
                for (uint32_t band = 0; share->waiting && band < GENERATE_BANDS; band++) {
                        struct generate_request *q = share->bands[band];
                        uint64_t rise;

                        if (!q)
                                continue;
                        rise = GENERATE_BANDS - band + (now_ms - q->asked_ms) / g->settings.age_ms;
                        if (best && (rise < best_rise || (rise == best_rise && (share->level > best->share->level ||
                                                                                  (share->level == best->share->level && q->asked_ms >= best->asked_ms)))))
                                continue;
                        best = q;
                        best_rise = rise;
                }
        }
        return best;
}

bool engine_open(const struct engine *e)
{
        return e->spec.state == GENERATE_READY && !e->full_ms && e->outstanding < e->spec.parallel && (!e->site->contended || !e->spec.memory || (e->in && !e->leaving));
}

static bool better(const struct engine *a, const struct engine *b, uint32_t avoid)
{
        if ((a->number == avoid) != (b->number == avoid))
                return b->number == avoid;
        if (a->failed != b->failed)
                return b->failed;
        if ((a->spec.resident == GENERATE_IN) != (b->spec.resident == GENERATE_IN))
                return a->spec.resident == GENERATE_IN;
        if ((uint64_t)a->outstanding * b->spec.parallel != (uint64_t)b->outstanding * a->spec.parallel)
                return (uint64_t)a->outstanding * b->spec.parallel < (uint64_t)b->outstanding * a->spec.parallel;
        return a->used_ms < b->used_ms;
}

struct engine *pick_engine(struct generate_model *model, uint32_t avoid)
{
        struct engine *best = NULL, *e;

        DL_FOREACH2(model->engines, e, same_next)
                if (engine_open(e) && (!best || better(e, best, avoid)))
                        best = e;
        return best;
}

void dispatch(struct generate *g, uint64_t now_ms, struct generate_request *q, struct engine *e)
{
        uint64_t waited = now_ms - q->asked_ms;

        if (q->stage == GENERATE_WAITING)
                unwait(g, q);
        q->stage = GENERATE_SENT;
        q->sent_ms = now_ms;
        q->engine = e->number;
        q->charged = q->cost * 100 / (q->weight ? q->weight : 100);
        q->share->level += q->charged;
        q->entered = e->fresh && e->in;
        e->fresh = false;
        e->outstanding++;
        e->sent++;
        e->used_ms = now_ms;
        q->share->running++;
        q->model->running++;
        g->counts.running++;
        g->counts.dispatched++;
        if (waited > g->counts.longest_wait_ms)
                g->counts.longest_wait_ms = waited;
        act(g, (struct generate_action){.kind = GENERATE_DISPATCH, .request = q, .engine = e->number});
}
