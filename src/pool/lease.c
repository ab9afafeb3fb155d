/* lease.c: leases from first to last word. A lease is given with a nonce; every word about it must come from its worker with that nonce, or is stale and
 * changes nothing. What a lease costs is charged when it is given and corrected when it ends. */
#include "pool/internal.h"

static void attach(struct core *core, uint32_t lease, uint32_t worker)
{
        struct lease *l = LEASE(core, lease);
        struct worker *w = WORKER(core, worker);

        l->worker = worker;
        l->previous = NONE;
        l->next = w->first_lease;
        if (l->next != NONE)
                LEASE(core, l->next)->previous = lease;
        w->first_lease = lease;
        w->leases++;
        w->outstanding += TASK(core, l->task)->cost;
}

static void detach(struct core *core, uint32_t lease)
{
        struct lease *l = LEASE(core, lease);
        struct worker *w = WORKER(core, l->worker);

        if (l->next != NONE)
                LEASE(core, l->next)->previous = l->previous;
        if (l->previous != NONE)
                LEASE(core, l->previous)->next = l->next;
        else
                w->first_lease = l->next;
        w->leases--;
        w->outstanding -= TASK(core, l->task)->cost;
        if (w->ready_at != NONE)
                match_ready(core, w->number);
        worker_told(core, w->number);
}

static uint64_t predicted(const struct core *core, const struct task *t)
{
        const struct token *type = TOKEN(core, CLASS(core, t->class)->type);
        uint64_t cost = t->given_cost ? t->cost : type->samples ? (type->mean_units + 128) / 256 : 1000;

        return cost < 1 ? 1 : cost > UINT32_MAX ? UINT32_MAX : cost;
}

/* A queued task goes to a ready worker. */
void lease_give(struct core *core, uint32_t task, uint32_t worker)
{
        struct task *t = TASK(core, task);
        struct worker *w = WORKER(core, worker);
        struct account *a = ACCOUNT(core, t->account);
        struct core_action *action;
        struct lease *l;
        uint32_t number;

        core_memory(slab_take(&core->leases, &number));
        core->virtual_units = PROFILE(core, w->profile)->virtual_units = a->counter - a->outstanding;
        queue_out(core, task);
        t->cost = (uint32_t)predicted(core, t);
        l = LEASE(core, number);
        *l = (struct lease){.task = task, .worker_id = w->id, .live = 1, .started = core->now, .expires = core->now + core->settings.lease_ms};
        do
                l->nonce = core_random(core);
        while (!l->nonce);
        l->units = fair_units(a, t->cost);
        a->outstanding += l->units;
        a->charged += t->cost;
        t->lease = number;
        t->attempt++;
        task_become(core, task, CORE_LEASED, CORE_BECAUSE_READY);
        attach(core, number, worker);
        w->ready--;
        fair_counter(core, a, a->counter + l->units);
        fair_count(core, a, t->key == NONE ? NULL : KEY(core, t->key), 1);
        task_timer(core, task);
        if (w->ready_at != NONE)
                match_ready(core, worker);
        worker_told(core, worker);
        core->statistics.leases++;
        action = core_act(core, CORE_LEASE);
        core_act_task(core, action, task);
        core_act_worker(core, action, worker);
        action->nonce = l->nonce;
        action->expires = l->expires;
}

/* The lease is no more, and cost milliseconds of it count. Whose it was. The caller says what becomes of the task, and then calls match_account. */
struct id lease_end(struct core *core, uint32_t task, uint64_t cost)
{
        struct task *t = TASK(core, task);
        struct account *a = ACCOUNT(core, t->account);
        struct lease *l = LEASE(core, t->lease);
        struct id worker = l->worker_id;
        uint32_t number = t->lease;

        a->outstanding -= l->units;
        a->service += cost;
        fair_counter(core, a, a->counter - l->units + fair_units(a, cost));
        if (l->worker != NONE)
                detach(core, number);
        t->lease = NONE;
        slab_give(&core->leases, number);
        fair_count(core, a, t->key == NONE ? NULL : KEY(core, t->key), -1);
        return worker;
}

/* Tells the worker that it is not its task any more. */
static void tell_revoked(struct core *core, uint32_t task, uint32_t reason)
{
        const struct lease *l = LEASE(core, TASK(core, task)->lease);
        struct core_action *action;

        if (l->worker == NONE)
                return;
        action = core_act(core, CORE_REVOKE);
        core_act_task(core, action, task);
        core_act_worker(core, action, l->worker);
        action->nonce = l->nonce;
        action->reason = reason;
}

static uint64_t elapsed(const struct core *core, uint32_t task)
{
        return core->now - LEASE(core, TASK(core, task)->lease)->started;
}

/* Nothing was heard of it for too long, or its worker is lost: the attempt counts. */
void lease_lost(struct core *core, uint32_t task, uint32_t reason)
{
        uint32_t account = TASK(core, task)->account, worker = LEASE(core, TASK(core, task)->lease)->worker;
        struct id id;

        tell_revoked(core, task, reason);
        if (worker != NONE)
                WORKER(core, worker)->lost++;
        core->statistics.lost++;
        id = lease_end(core, task, 0);
        task_failed(core, task, &id, true, true, reason);
        match_account(core, account);
}

/* Ends the lease for a task that is cancelled or late; the caller ends the task. What it used is the account's. */
void lease_revoke(struct core *core, uint32_t task, uint32_t reason)
{
        uint64_t used = elapsed(core, task);

        tell_revoked(core, task, reason);
        lease_end(core, task, used);
}

/* The worker's lease on the task, if the nonce is the right one. */
static uint32_t believed(struct core *core, uint64_t now, uint32_t worker, const struct id *id, uint64_t nonce)
{
        uint32_t task;

        core_at(core, now);
        if (worker_known(core, worker)) {
                live_heard(core, worker);
                task = core_find(core, id);
                if (task != NONE && TASK(core, task)->state == CORE_LEASED) {
                        const struct lease *l = LEASE(core, TASK(core, task)->lease);

                        if (l->worker == worker && l->nonce == nonce)
                                return task;
                }
        }
        core->statistics.stale++;
        return NONE;
}

/* What the type of work costs: a plain mean at first, then one that forgets slowly. */
static void learn(struct core *core, const struct task *t, uint64_t cost)
{
        struct token *type = TOKEN(core, CLASS(core, t->class)->type);
        uint64_t units = (cost > UINT32_MAX ? UINT32_MAX : cost) * 256, n = ++type->samples < 64 ? type->samples : 64;

        type->mean_units = units > type->mean_units ? type->mean_units + (units - type->mean_units) / n : type->mean_units - (type->mean_units - units) / n;
}

enum core_verdict core_result(struct core *core, uint64_t now, uint32_t worker, const struct id *id, uint64_t nonce, uint64_t measured_cost)
{
        uint32_t task = believed(core, now, worker, id, nonce), account;
        uint64_t cost;

        if (task == NONE)
                return CORE_STALE;
        /* No slot was busy for longer than the lease was held, whatever is said. */
        cost = measured_cost && measured_cost < elapsed(core, task) ? measured_cost : elapsed(core, task);
        cost = cost ? cost : 1;
        account = TASK(core, task)->account;
        learn(core, TASK(core, task), cost);
        WORKER(core, worker)->done++;
        lease_end(core, task, cost);
        task_end(core, task, CORE_DONE, CORE_BECAUSE_RESULT);
        match_account(core, account);
        return CORE_OK;
}

enum core_verdict core_fail(struct core *core, uint64_t now, uint32_t worker, const struct id *id, uint64_t nonce, bool retryable, bool blame_task)
{
        uint32_t task = believed(core, now, worker, id, nonce), account;
        struct id whose;

        if (task == NONE)
                return CORE_STALE;
        account = TASK(core, task)->account;
        WORKER(core, worker)->failed++;
        whose = lease_end(core, task, blame_task ? elapsed(core, task) : 0);
        task_failed(core, task, &whose, retryable, blame_task, CORE_BECAUSE_FAILED);
        match_account(core, account);
        return CORE_OK;
}

enum core_verdict core_renew(struct core *core, uint64_t now, uint32_t worker, const struct id *id, uint64_t nonce)
{
        uint32_t task = believed(core, now, worker, id, nonce);

        if (task == NONE)
                return CORE_STALE;
        LEASE(core, TASK(core, task)->lease)->expires = core->now + core->settings.lease_ms;
        task_timer(core, task);
        return CORE_OK;
}

enum core_verdict core_decline(struct core *core, uint64_t now, uint32_t worker, const struct id *id, uint64_t nonce)
{
        uint32_t task = believed(core, now, worker, id, nonce), account;

        if (task == NONE)
                return CORE_STALE;
        account = TASK(core, task)->account;
        core->statistics.declined++;
        lease_end(core, task, 0);
        TASK(core, task)->attempt--;
        task_go_on(core, task, CORE_BECAUSE_DECLINED, false);
        match_account(core, account);
        return CORE_OK;
}

enum core_verdict core_resume(struct core *core, uint64_t now, uint32_t worker, const struct id *id, uint64_t nonce)
{
        uint32_t task;
        struct lease *l;

        core_at(core, now);
        if (!worker_known(core, worker))
                return CORE_STALE;
        live_heard(core, worker);
        task = core_find(core, id);
        if (task == NONE || TASK(core, task)->state != CORE_LEASED)
                goto stale;
        l = LEASE(core, TASK(core, task)->lease);
        if (l->nonce != nonce || !id_equal(&l->worker_id, &WORKER(core, worker)->id) || (l->worker != NONE && l->worker != worker))
                goto stale;
        if (l->worker == NONE) {
                struct worker *w = WORKER(core, worker);

                if (w->leases >= w->slots)
                        goto stale;
                attach(core, TASK(core, task)->lease, worker);
                if (w->ready > w->slots - w->leases)
                        w->ready = w->slots - w->leases;
                match_ready(core, worker);
                worker_told(core, worker);
        }
        l->expires = core->now + core->settings.lease_ms;
        task_timer(core, task);
        return CORE_OK;
stale:
        core->statistics.stale++;
        return CORE_STALE;
}
