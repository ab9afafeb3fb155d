/* task.c: tasks from submission to end: their states, and what moves them on. */
#include "pool/internal.h"

#include <inttypes.h>
#include <stdio.h>

#define AFTER_MAX 1000

static void moved_timer(void *context, uint32_t item, uint32_t at)
{
        TASK((struct core *)context, item)->timer_at = at;
}

/* When something is due about it. */
static uint64_t due_at(const struct core *core, const struct task *t)
{
        uint64_t due = t->deadline;

        if (t->wake_at < due)
                due = t->wake_at;
        if (t->lease != NONE && LEASE(core, t->lease)->expires < due)
                due = LEASE(core, t->lease)->expires;
        return due;
}

/* Puts its timer where it belongs. Room for it was made when the task came. */
void task_timer(struct core *core, uint32_t task)
{
        struct task *t = TASK(core, task);
        struct heap_entry entry = {.key = due_at(core, t), .item = task};

        if (entry.key == CORE_NEVER) {
                if (t->timer_at != NONE)
                        heap_take(&core->timers, t->timer_at, moved_timer, core);
        } else if (t->timer_at == NONE) {
                core_memory(heap_reserve(&core->timers, core->timers.count + 1));
                heap_add(&core->timers, entry, moved_timer, core);
        } else {
                heap_change(&core->timers, t->timer_at, entry, moved_timer, core);
        }
}

/* A new task in no state yet. */
int task_add(struct core *core, const struct core_task_spec *spec, void *data, uint32_t *ret_task)
{
        uint32_t number, account, key = NONE;
        struct task *t;
        int r = fair_account(core, &spec->account, &account);

        if (!r && !id_is_none(&spec->key))
                r = fair_key(core, &spec->key, &key);
        if (!r)
                r = slab_take(&core->tasks, &number);
        if (r)
                return r;
        t = TASK(core, number);
        *t = (struct task){.id = spec->id, .data = data, .deadline = spec->deadline, .wake_at = CORE_NEVER, .since = core->now, .account = account,
                           .key = key, .class = NONE, .flow = NONE, .lease = NONE, .next = NONE, .previous = NONE, .heap_at = NONE,
                           .age_next = NONE, .age_previous = NONE, .timer_at = NONE, .hash_next = NONE, .first_waiter = NONE,
                           .first_wait = NONE, .blame = NONE, .band = (uint8_t)spec->band, .band_now = (uint8_t)spec->band};
        t->attempts = (uint16_t)(spec->attempts ? spec->attempts : core->settings.attempts);
        t->queue = (uint16_t)spec->queue;
        t->given_cost = spec->cost > 0;
        t->cost = spec->cost > UINT32_MAX ? UINT32_MAX : (uint32_t)spec->cost;
        if (spec->not_before > core->now)
                t->wake_at = spec->not_before;
        r = find_add(core, number);
        if (r) {
                slab_give(&core->tasks, number);
                return r;
        }
        ACCOUNT(core, account)->unfinished++;
        if (key != NONE)
                KEY(core, key)->account = account;
        *ret_task = number;
        return 0;
}

/* Takes it out of the books. It has no lease and is not queued. */
void task_drop(struct core *core, uint32_t task)
{
        struct task *t = TASK(core, task);

        if (t->timer_at != NONE)
                heap_take(&core->timers, t->timer_at, moved_timer, core);
        depend_drop(core, task);
        if (t->blame != NONE)
                slab_give(&core->blames, t->blame);
        if (t->class != NONE)
                class_use(core, CLASS(core, t->class), t->account, -1);
        if (t->state && t->state < CORE_DONE)
                core->statistics.tasks[t->state]--;
        ACCOUNT(core, t->account)->unfinished--;
        find_remove(core, task);
        slab_give(&core->tasks, task);
}

/* Counts it under another state. */
void task_become(struct core *core, uint32_t task, uint32_t state, uint32_t reason)
{
        struct task *t = TASK(core, task);

        if (t->state)
                core->statistics.tasks[t->state]--;
        core->statistics.tasks[state]++;
        if (t->state != state)
                t->since = core->now;
        t->state = (uint8_t)state;
        t->reason = (uint8_t)reason;
}

void task_state(struct core *core, uint32_t task, uint32_t state, uint32_t reason)
{
        struct task *t = TASK(core, task);
        struct core_action *action = core_act(core, CORE_STATE);

        task_become(core, task, state, reason);
        core_act_task(core, action, task);
        action->retry_at = t->wake_at;
}

/* HELD as long as it waits for something, else QUEUED, and on to a ready worker at once when one fits. quiet: the caller knows the state. */
void task_go_on(struct core *core, uint32_t task, uint32_t reason, bool quiet)
{
        struct task *t = TASK(core, task);
        bool held = t->first_wait != NONE || t->wake_at != CORE_NEVER;

        if (quiet)
                task_become(core, task, held ? CORE_HELD : CORE_QUEUED, reason);
        else
                task_state(core, task, held ? CORE_HELD : CORE_QUEUED, reason);
        task_timer(core, task);
        if (held)
                return;
        queue_in(core, task);
        match_task(core, task);
}

/* What waited for it hears: done → one thing less; else they end, too. */
void task_end(struct core *core, uint32_t task, uint32_t state, uint32_t reason)
{
        uint32_t doomed = NONE; /* a list through hash_next's neighbour `next`: they are HELD, so that no flow uses it */

        for (;;) {
                uint32_t waiter;

                TASK(core, task)->wake_at = CORE_NEVER;
                task_state(core, task, state, reason);
                while ((waiter = depend_next(core, task)) != NONE) {
                        struct task *w = TASK(core, waiter);

                        if (state == CORE_DONE) {
                                if (w->first_wait == NONE)
                                        task_go_on(core, waiter, CORE_BECAUSE_READY, w->wake_at != CORE_NEVER);
                        } else {
                                depend_drop(core, waiter);
                                w->next = doomed;
                                doomed = waiter;
                        }
                }
                task_drop(core, task);
                if (doomed == NONE)
                        return;
                task = doomed;
                doomed = TASK(core, task)->next;
                state = CORE_CANCELLED;
                reason = CORE_BECAUSE_DEPENDENCY;
        }
}

bool task_blames(const struct core *core, const struct task *t, const struct id *worker)
{
        const struct blame *b = t->blame == NONE ? NULL : BLAME(core, t->blame);

        for (uint32_t i = 0; b && i < b->count; i++) {
                if (id_equal(&b->workers[i], worker))
                        return true;
        }
        return false;
}

void task_blame(struct core *core, uint32_t task, const struct id *worker, bool blame)
{
        struct task *t = TASK(core, task);
        struct blame *b;

        if (id_is_none(worker) || task_blames(core, t, worker))
                return;
        if (t->blame == NONE) {
                core_memory(slab_take(&core->blames, &t->blame));
                BLAME(core, t->blame)->live = 1;
        }
        b = BLAME(core, t->blame);
        if (b->count < CORE_BLAMED)
                b->workers[b->count++] = *worker;
        b->against += blame;
}

static uint64_t back_off(struct core *core, const struct task *t)
{
        uint64_t wait = core->settings.backoff_ms;

        for (uint32_t i = 1; i < t->attempt && wait < core->settings.backoff_max_ms; i++)
                wait *= 2;
        if (wait > core->settings.backoff_max_ms)
                wait = core->settings.backoff_max_ms;
        return wait - wait / 4 + core_random(core) % (wait / 2 + 1);
}

/* An attempt ended without a result. Its lease is gone already. */
void task_failed(struct core *core, uint32_t task, const struct id *worker, bool retryable, bool blame, uint32_t reason)
{
        struct task *t = TASK(core, task);

        task_blame(core, task, worker, blame);
        if (!retryable) {
                task_end(core, task, CORE_FAILED, reason);
        } else if (t->blame != NONE && BLAME(core, t->blame)->against >= core->settings.poison_workers) {
                task_end(core, task, CORE_DEAD, CORE_BECAUSE_POISON);
        } else if (t->attempt >= t->attempts) {
                task_end(core, task, CORE_FAILED, reason);
        } else {
                core->statistics.retried++;
                t->band_now = t->band;
                t->wake_at = core->now + back_off(core, t);
                task_state(core, task, CORE_BACKOFF, reason);
                task_timer(core, task);
        }
}

/* Ends the task in whatever state it is. */
static void stop(struct core *core, uint32_t task, uint32_t state, uint32_t reason)
{
        uint32_t account = TASK(core, task)->account;
        bool leased = TASK(core, task)->state == CORE_LEASED;

        if (leased)
                lease_revoke(core, task, reason);
        else if (TASK(core, task)->state == CORE_QUEUED)
                queue_out(core, task);
        task_end(core, task, state, reason);
        if (leased)
                match_account(core, account);
}

/* Its timer came. */
void task_due(struct core *core, uint32_t task)
{
        struct task *t = TASK(core, task);

        if (t->deadline <= core->now) {
                stop(core, task, CORE_EXPIRED, CORE_BECAUSE_DEADLINE);
        } else if (t->wake_at <= core->now) {
                t->wake_at = CORE_NEVER;
                if (t->first_wait == NONE)
                        task_go_on(core, task, CORE_BECAUSE_READY, false);
                else
                        task_timer(core, task);
        } else if (!live_spares(core, task)) {
                lease_lost(core, task, CORE_BECAUSE_LEASE_LOST);
        }
}

static int refuse(struct core_refusal *refusal, int error, const char *text)
{
        refusal->error = error;
        snprintf(refusal->text, sizeof(refusal->text), "%s", text);
        return error;
}

/* What can be said without the books. */
static int check_spec(const struct core *core, const struct core_task_spec *spec, struct core_refusal *refusal)
{
        if (id_is_none(&spec->id))
                return refuse(refusal, -EINVAL, "id: missing");
        if (id_is_none(&spec->account))
                return refuse(refusal, -EINVAL, "account: missing");
        if (spec->band >= CORE_BANDS)
                return refuse(refusal, -EINVAL, "priority: not one of urgent, high, normal, low, idle");
        if (spec->attempts > CORE_ATTEMPTS)
                return refuse(refusal, -EINVAL, "attempts: more than 100");
        if (spec->queue > UINT16_MAX)
                return refuse(refusal, -EINVAL, "queue: no such queue");
        if (spec->deadline <= core->now)
                return refuse(refusal, -EINVAL, "deadline: has passed");
        if (spec->not_before >= spec->deadline)
                return refuse(refusal, -EINVAL, "not_before: not before the deadline");
        if (spec->after_count > AFTER_MAX || (spec->after_count && !spec->after))
                return refuse(refusal, -EINVAL, "after: more than 1000 tasks to wait for");
        return need_check(&spec->needs, refusal);
}

/* All that can be said against it; *ret_class: its needs', made when there was none. */
static int judge(struct core *core, const struct core_task_spec *spec, uint32_t *ret_workers, uint32_t *ret_class, struct core_refusal *refusal)
{
        struct account *a;
        uint32_t account, made;
        int r = check_spec(core, spec, refusal);

        if (r)
                return r;
        if (core_find(core, &spec->id) != NONE)
                return refuse(refusal, -EEXIST, "id: there is such a task already");
        for (uint32_t i = 0; i < spec->after_count; i++) {
                if (core_find(core, &spec->after[i]) == NONE) {
                        snprintf(refusal->text, sizeof(refusal->text), "after[%" PRIu32 "]: no such unfinished task", i);
                        return refusal->error = -ENOENT;
                }
        }
        HASH_FIND(hh, core->accounts_by_id, &spec->account, sizeof(spec->account), a);
        account = a ? a->number : NONE;
        if (!id_is_none(&spec->key) && !fair_key_fits(core, spec))
                return refuse(refusal, -EINVAL, "key: is another account's");
        if (core->tasks.live >= core->settings.max_tasks)
                return refuse(refusal, -E_QUOTA, "the pool holds as many unfinished tasks as it may");
        if (a && a->unfinished >= core->settings.max_tasks_per_account)
                return refuse(refusal, -E_QUOTA, "the account has as many unfinished tasks as it may");
        r = class_of(core, &spec->needs, ret_class);
        if (r)
                return refuse(refusal, r, r == -E_QUOTA ? "too many different needs at a time in this pool" : "out of memory");
        made = CLASS(core, *ret_class)->tasks ? 0 : 1;
        if (a && made && a->classes >= CORE_CLASSES_PER_ACCOUNT)
                return refuse(refusal, -E_QUOTA, "too many different needs at a time of this account");
        *ret_workers = class_workers(core, CLASS(core, *ret_class), account, NULL);
        if (!*ret_workers && !spec->wait_for_workers) {
                need_explain(core, CLASS(core, *ret_class), account, refusal);
                return refusal->error;
        }
        return 0;
}

int core_try(struct core *core, const struct core_task_spec *spec, uint32_t *ret_workers, struct core_refusal *ret_refusal)
{
        uint32_t class;

        *ret_refusal = (struct core_refusal){0};
        *ret_workers = 0;
        return judge(core, spec, ret_workers, &class, ret_refusal);
}

int core_submit(struct core *core, uint64_t now, const struct core_task_spec *spec, void *data, uint32_t *ret_task, struct core_refusal *ret_refusal)
{
        uint32_t task, class, workers;
        int r;

        core_at(core, now);
        /* All of it is 4 KiB; what counts is at its beginning. */
        ret_refusal->error = 0;
        ret_refusal->text[0] = '\0';
        ret_refusal->unmet_count = 0;
        r = judge(core, spec, &workers, &class, ret_refusal);
        if (!r) {
                r = heap_reserve(&core->timers, core->tasks.live + 1);
                if (!r)
                        r = task_add(core, spec, data, &task);
                if (r)
                        refuse(ret_refusal, r, "out of memory");
        }
        if (r)
                goto refused;
        TASK(core, task)->class = class;
        class_use(core, CLASS(core, class), TASK(core, task)->account, 1);
        r = depend_on(core, task, spec->after, spec->after_count, true);
        if (r) {
                refuse(ret_refusal, r, "out of memory");
                task_drop(core, task);
                goto refused;
        }
        core->statistics.submitted++;
        *ret_task = task;
        task_go_on(core, task, CORE_BECAUSE_SUBMITTED, false);
        return 0;
refused:
        core->statistics.refused++;
        return r;
}

static bool unfinished(const struct core *core, uint32_t task)
{
        return task < core->tasks.used && TASK(core, task)->state;
}

int core_cancel(struct core *core, uint64_t now, uint32_t task)
{
        core_at(core, now);
        if (!unfinished(core, task))
                return -EALREADY;
        stop(core, task, CORE_CANCELLED, CORE_BECAUSE_CANCELLED);
        return 0;
}

int core_prioritise(struct core *core, uint64_t now, uint32_t task, uint32_t band)
{
        core_at(core, now);
        if (band >= CORE_BANDS)
                return -EINVAL;
        if (!unfinished(core, task))
                return -EALREADY;
        TASK(core, task)->band = (uint8_t)band;
        if (TASK(core, task)->state == CORE_QUEUED)
                queue_band(core, task, band);
        else
                TASK(core, task)->band_now = (uint8_t)band;
        return 0;
}

int core_set_deadline(struct core *core, uint64_t now, uint32_t task, uint64_t deadline)
{
        struct task *t;
        bool queued;

        core_at(core, now);
        if (!unfinished(core, task))
                return -EALREADY;
        t = TASK(core, task);
        if (deadline <= core->now) {
                stop(core, task, CORE_EXPIRED, CORE_BECAUSE_DEADLINE);
                return 0;
        }
        queued = t->state == CORE_QUEUED;
        if (queued)
                queue_deadline(core, task, deadline);
        else
                t->deadline = deadline;
        task_timer(core, task);
        return 0;
}

/* Takes the task out without a word. What waits for it goes on as if it were done: its server knows better. */
void core_forget(struct core *core, uint32_t task)
{
        uint32_t account, waiter;

        if (!unfinished(core, task))
                return;
        account = TASK(core, task)->account;
        if (TASK(core, task)->state == CORE_LEASED)
                lease_end(core, task, 0);
        else if (TASK(core, task)->state == CORE_QUEUED)
                queue_out(core, task);
        while ((waiter = depend_next(core, task)) != NONE) {
                if (TASK(core, waiter)->first_wait == NONE)
                        task_go_on(core, waiter, CORE_BECAUSE_READY, TASK(core, waiter)->wake_at != CORE_NEVER);
        }
        task_drop(core, task);
        match_account(core, account);
}
