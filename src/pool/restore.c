/* restore.c: tasks from the store, at a start or when a queue is taken over: as they were, without a word about what did not change. */
#include "pool/internal.h"

static void restore_lease(struct core *core, uint32_t task, const struct core_restored *was)
{
        struct task *t = TASK(core, task);
        struct account *a = ACCOUNT(core, t->account);
        struct lease *l;
        uint32_t number;

        core_memory(slab_take(&core->leases, &number));
        l = LEASE(core, number);
        *l = (struct lease){.task = task, .worker = NONE, .next = NONE, .previous = NONE, .nonce = was->nonce, .worker_id = was->worker, .live = 1,
                            .started = core->now, .expires = core->now + core->settings.lease_ms};
        t->cost = t->cost ? t->cost : 1000;
        l->units = fair_units(a, t->cost);
        a->outstanding += l->units;
        a->charged += t->cost;
        t->lease = number;
        task_become(core, task, CORE_LEASED, CORE_BECAUSE_READY);
        fair_counter(core, a, a->counter + l->units);
        fair_count(core, a, t->key == NONE ? NULL : KEY(core, t->key), 1);
        task_timer(core, task);
}

int core_restore(struct core *core, uint64_t now, const struct core_task_spec *spec, const struct core_restored *was, void *data, uint32_t *ret_task)
{
        struct core_refusal refusal = {0};
        uint32_t task, class;
        int r;

        core_at(core, now);
        if (was->state < CORE_HELD || was->state > CORE_BACKOFF || id_is_none(&spec->id) || id_is_none(&spec->account) || spec->band >= CORE_BANDS ||
            spec->attempts > CORE_ATTEMPTS || was->attempt > CORE_ATTEMPTS || spec->queue > UINT16_MAX || need_check(&spec->needs, &refusal))
                return -EINVAL;
        if (was->state == CORE_LEASED && (!was->attempt || !was->nonce || id_is_none(&was->worker)))
                return -EINVAL;
        if (core_find(core, &spec->id) != NONE)
                return -EEXIST;
        if (!fair_key_fits(core, spec))
                return -EINVAL;
        r = class_of(core, &spec->needs, &class);
        if (!r)
                r = heap_reserve(&core->timers, core->tasks.live + 1);
        if (!r)
                r = task_add(core, spec, data, &task);
        if (r)
                return r;
        TASK(core, task)->class = class;
        class_use(core, CLASS(core, class), TASK(core, task)->account, 1);
        r = depend_on(core, task, spec->after, spec->after_count, false);
        if (r) {
                task_drop(core, task);
                return r;
        }
        *ret_task = task;
        TASK(core, task)->attempt = (uint16_t)was->attempt;
        for (uint32_t i = 0; i < was->blamed_count && i < CORE_BLAMED; i++)
                task_blame(core, task, &was->blamed[i], true);
        if (was->broken) {
                task_end(core, task, CORE_CANCELLED, CORE_BECAUSE_DEPENDENCY);
                return 0;
        }
        if (was->state == CORE_LEASED) {
                depend_drop(core, task);
                TASK(core, task)->wake_at = CORE_NEVER;
                restore_lease(core, task, was);
        } else if (was->state == CORE_BACKOFF) {
                depend_drop(core, task);
                TASK(core, task)->wake_at = was->retry_at > core->now ? was->retry_at : core->now;
                task_become(core, task, CORE_BACKOFF, CORE_BECAUSE_FAILED);
                task_timer(core, task);
        } else {
                task_go_on(core, task, CORE_BECAUSE_SUBMITTED, was->state == CORE_HELD && (TASK(core, task)->first_wait != NONE ||
                                                                                             TASK(core, task)->wake_at != CORE_NEVER));
        }
        return 0;
}
