/* check.c: works the invariants of core.h out anew from the books. For tests, simulation and fuzzing: it looks at everything. */
#include "pool/internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

struct sums {
        uint32_t queued, leased, unfinished;
        uint64_t outstanding;
};

struct check {
        const struct core *core;
        struct sums *accounts;
        uint32_t *key_leases, *class_tasks;
        char *message;
        int r;
};

__attribute__((format(printf, 3, 4))) static void wrong(struct check *k, int invariant, const char *format, ...)
{
        va_list arguments;
        int n;

        if (k->r)
                return;
        n = snprintf(k->message, 256, "invariant %d: ", invariant);
        va_start(arguments, format);
        vsnprintf(k->message + n, 256 - (size_t)n, format, arguments);
        va_end(arguments);
        k->r = -EINVAL;
}

static void check_task(struct check *k, uint32_t number, uint32_t *timers)
{
        const struct core *core = k->core;
        const struct task *t = TASK(core, number);
        const struct account *a = ACCOUNT(core, t->account);
        uint64_t due = t->deadline < t->wake_at ? t->deadline : t->wake_at;

        k->accounts[t->account].unfinished++;
        k->class_tasks[t->class]++;
        if (t->state > CORE_BACKOFF)
                wrong(k, 2, "task %" PRIu32 " ended (%u) and is still here", number, t->state);
        if (core_find(core, &t->id) != number)
                wrong(k, 2, "task %" PRIu32 " is not found by its id", number);
        if ((t->state == CORE_LEASED) != (t->lease != NONE))
                wrong(k, 1, "task %" PRIu32 " in state %u with lease %" PRIu32, number, t->state, t->lease);
        if ((t->state == CORE_QUEUED) != (t->flow != NONE))
                wrong(k, 3, "task %" PRIu32 " in state %u with flow %" PRIu32, number, t->state, t->flow);
        if (t->state == CORE_QUEUED) {
                const struct flow *f = FLOW(core, t->flow);

                k->accounts[t->account].queued++;
                if (f->k.account != t->account || f->k.class != t->class || f->k.band != t->band_now || f->k.key != t->key)
                        wrong(k, 3, "task %" PRIu32 " stands in a flow that is not its", number);
                if (t->wake_at != CORE_NEVER || t->first_wait != NONE)
                        wrong(k, 3, "task %" PRIu32 " is queued and waits", number);
        }
        if (t->state == CORE_LEASED) {
                const struct lease *l = LEASE(core, t->lease);

                k->accounts[t->account].leased++;
                k->accounts[t->account].outstanding += l->units;
                if (t->key != NONE)
                        k->key_leases[t->key]++;
                if (!l->live || l->task != number || !l->nonce)
                        wrong(k, 1, "task %" PRIu32 "'s lease is another's", number);
                due = due < l->expires ? due : l->expires;
        }
        if (t->state == CORE_HELD && t->wake_at == CORE_NEVER && t->first_wait == NONE)
                wrong(k, 4, "task %" PRIu32 " is held by nothing", number);
        if ((t->state == CORE_LEASED || t->state == CORE_BACKOFF) && due == CORE_NEVER)
                wrong(k, 4, "task %" PRIu32 " in state %u has no deadline", number, t->state);
        if ((due != CORE_NEVER) != (t->timer_at != NONE) || (t->timer_at != NONE && core->timers.entries[t->timer_at].key != due))
                wrong(k, 4, "task %" PRIu32 "'s timer is not when it is due", number);
        *timers += t->timer_at != NONE;
        if (a->weight < 1)
                wrong(k, 5, "account %" PRIu32 " has no weight", t->account);
}

/* The order inside a flow, and that its class's heap has it exactly when it could run. */
static void check_flow(struct check *k, const struct flow *f)
{
        const struct core *core = k->core;
        const struct class *c = CLASS(core, f->k.class);
        const struct account *a = ACCOUNT(core, f->k.account);
        bool part = !a->capped && !(f->k.key != NONE && KEY(core, f->k.key)->capped);
        uint32_t n = f->urgent.count;

        for (uint32_t i = f->first; i != NONE; i = TASK(core, i)->next, n++) {
                uint32_t next = TASK(core, i)->next;

                if (next != NONE && memcmp(&TASK(core, i)->id, &TASK(core, next)->id, sizeof(struct id)) >= 0)
                        wrong(k, 3, "flow %" PRIu32 " is out of order", f->number);
                if (TASK(core, i)->flow != f->number || TASK(core, i)->heap_at != NONE)
                        wrong(k, 3, "flow %" PRIu32 " has a stranger in its line", f->number);
        }
        for (uint32_t i = 0; i < f->urgent.count; i++) {
                if (TASK(core, f->urgent.entries[i].item)->heap_at != i || TASK(core, f->urgent.entries[i].item)->flow != f->number)
                        wrong(k, 3, "flow %" PRIu32 " has a stranger in its heap", f->number);
        }
        if (n != f->count || !n)
                wrong(k, 3, "flow %" PRIu32 " counts %" PRIu32 ", not %" PRIu32, f->number, f->count, n);
        if (part != (f->at != NONE))
                wrong(k, 3, "flow %" PRIu32 " takes part: %d, should: %d", f->number, f->at != NONE, part);
        if (part && (a->bands[f->k.band].turns[f->at].flow != f->number || c->bands[f->k.band].flows[f->class_at] != f->number))
                wrong(k, 3, "flow %" PRIu32 " stands at another's place", f->number);
        if (f->at != NONE && !bit_get(core->band_classes[f->k.band], f->k.class))
                wrong(k, 3, "class %" PRIu32 " has work in band %" PRIu32 " and is not marked", f->k.class, f->k.band);
}

static void check_worker(struct check *k, const struct worker *w)
{
        const struct core *core = k->core;
        bool ready = w->ready && w->silence == CORE_ALIVE && !w->drain;
        uint64_t outstanding = 0;
        uint32_t leases = 0;

        for (uint32_t i = w->first_lease; i != NONE; i = LEASE(core, i)->next, leases++) {
                const struct lease *l = LEASE(core, i);

                outstanding += TASK(core, l->task)->cost;
                if (l->worker != w->number || TASK(core, l->task)->lease != i)
                        wrong(k, 1, "worker %" PRIu32 " has a lease that is not its", w->number);
        }
        if (leases != w->leases || outstanding != w->outstanding)
                wrong(k, 1, "worker %" PRIu32 " counts %" PRIu32 " leases, not %" PRIu32, w->number, w->leases, leases);
        if (w->ready && w->ready + w->leases > w->slots)
                wrong(k, 1, "worker %" PRIu32 ": %" PRIu32 " leases and %" PRIu32 " ready of %" PRIu32 " slots", w->number, w->leases, w->ready, w->slots);
        if (ready != (w->ready_at != NONE))
                wrong(k, 3, "worker %" PRIu32 " is ready: %d, stands among the ready: %d", w->number, ready, w->ready_at != NONE);
        if (w->ready_at != NONE && PROFILE(core, w->profile)->ready.entries[w->ready_at].item != w->number)
                wrong(k, 3, "worker %" PRIu32 " stands at another's place", w->number);
        if (ready && match_next(core, w) != NONE)
                wrong(k, 3, "worker %" PRIu32 " is ready and a queued task fits it", w->number);
        if (w->silence == CORE_LOST && w->leases)
                wrong(k, 1, "worker %" PRIu32 " is lost and has leases", w->number);
        if (w->timer_at == NONE || core->worker_timers.entries[w->timer_at].item != w->number)
                wrong(k, 4, "worker %" PRIu32 " has no timer", w->number);
        if (w->profile == NONE)
                wrong(k, 3, "worker %" PRIu32 " has no profile", w->number);
}

/* Fits and counts of a class, from what its workers hold. */
static void check_class(struct check *k, const struct class *c)
{
        const struct core *core = k->core;
        uint32_t workers = 0;

        if (k->class_tasks[c->number] != c->tasks || c->idle != !c->tasks)
                wrong(k, 2, "class %" PRIu32 " counts %" PRIu32 " tasks, not %" PRIu32, c->number, c->tasks, k->class_tasks[c->number]);
        for (const struct worker *w = core->workers_by_id; w; w = w->hh.next) {
                bool fits = true;

                for (uint32_t i = 0; i < c->needs_n && fits; i++) {
                        const struct holding *h = token_holding(w, c->needs[i].token);

                        fits = h && h->amount >= c->needs[i].amount;
                }
                if (w->profile != NONE && fits != class_fits(c, PROFILE(core, w->profile)))
                        wrong(k, 3, "worker %" PRIu32 " fits class %" PRIu32 ": %d, its profile says: %d", w->number, c->number, fits, !fits);
                workers += fits && !w->private_pool;
        }
        if (workers != c->workers)
                wrong(k, 3, "class %" PRIu32 " counts %" PRIu32 " workers, not %" PRIu32, c->number, c->workers, workers);
}

static void check_account(struct check *k, const struct account *a)
{
        const struct sums *s = &k->accounts[a->number];
        uint32_t cap = a->max_leases ? a->max_leases : k->core->settings.max_leases_per_account, eligible = 0;

        for (uint32_t band = 0; band < CORE_BANDS; band++) {
                const struct heap *turns = &k->core->turns[band];

                if (a->bands[band].count && (turns->entries[a->bands[band].at].item != a->number || turns->entries[a->bands[band].at].key != a->counter))
                        wrong(k, 5, "account %" PRIu32 " stands at a counter that is not its own", a->number);
        }
        for (uint32_t i = a->first_flow; i != NONE; i = FLOW(k->core, i)->next)
                eligible += FLOW(k->core, i)->at != NONE;
        if (s->queued != a->queued || s->leased != a->leased || s->unfinished != a->unfinished || eligible != a->eligible)
                wrong(k, 5, "account %" PRIu32 " counts %" PRIu32 " queued, %" PRIu32 " leased, %" PRIu32 " in all; they are %" PRIu32 ", %" PRIu32 ", %" PRIu32,
                      a->number, a->queued, a->leased, a->unfinished, s->queued, s->leased, s->unfinished);
        if (s->outstanding != a->outstanding || a->counter < a->outstanding)
                wrong(k, 5, "account %" PRIu32 "'s leases are charged %" PRIu64 ", not %" PRIu64 " (counter %" PRIu64 ")", a->number, a->outstanding,
                      s->outstanding, a->counter);
        if (a->capped != (cap && a->leased >= cap))
                wrong(k, 3, "account %" PRIu32 ": %" PRIu32 " leases of %" PRIu32 ", passed over: %d", a->number, a->leased, cap, a->capped);
}

static void check_ages(struct check *k)
{
        for (int band = 0; band < CORE_BANDS; band++) {
                uint64_t since = 0;

                for (uint32_t i = k->core->ages[band].first; i != NONE; i = TASK(k->core, i)->age_next) {
                        const struct task *t = TASK(k->core, i);

                        if (t->state != CORE_QUEUED || t->band_now != band || t->band_since < since)
                                wrong(k, 4, "task %" PRIu32 " stands wrong in the line of band %d", i, band);
                        since = t->band_since;
                }
        }
}

static void check_all(struct check *k, uint64_t now)
{
        const struct core *core = k->core;
        uint32_t timers = 0, leases = 0, claimed = 0, suspects = 0, recent = 0, lost = 0;
        uint64_t counts[CORE_BACKOFF + 1] = {0};

        (void)now;
        for (uint32_t i = 0; i < core->tasks.used && !k->r; i++) {
                if (!TASK(core, i)->state)
                        continue;
                check_task(k, i, &timers);
                if (TASK(core, i)->state <= CORE_BACKOFF)
                        counts[TASK(core, i)->state]++;
                if (TASK(core, i)->lease != NONE) {
                        leases++;
                        claimed += LEASE(core, TASK(core, i)->lease)->worker != NONE;
                }
        }
        for (int state = CORE_HELD; state <= CORE_BACKOFF; state++) {
                if (counts[state] != core->statistics.tasks[state])
                        wrong(k, 2, "%" PRIu64 " tasks in state %d, counted %" PRIu64, counts[state], state, core->statistics.tasks[state]);
        }
        if (timers != core->timers.count || leases != core->leases.live)
                wrong(k, 4, "%" PRIu32 " timers of %" PRIu32 ", %" PRIu32 " leases of %" PRIu32, timers, core->timers.count, leases, core->leases.live);
        for (const struct flow *f = core->flows_by_key; f && !k->r; f = f->hh.next)
                check_flow(k, f);
        for (const struct worker *w = core->workers_by_id; w && !k->r; w = w->hh.next) {
                check_worker(k, w);
                claimed -= w->leases;
                suspects += w->silence == CORE_SUSPECT;
                recent += w->recent;
                lost += w->silence == CORE_LOST;
        }
        if (claimed)
                wrong(k, 1, "%" PRIu32 " leases of nobody", claimed);
        if (suspects != core->suspects_n || recent != core->recent_n || lost != core->lost_n)
                wrong(k, 4, "%" PRIu32 " suspects, %" PRIu32 " lost; counted %" PRIu32 " and %" PRIu32, suspects, lost, core->suspects_n, core->lost_n);
        for (const struct class *c = core->classes_by_needs; c && !k->r; c = c->hh.next)
                check_class(k, c);
        for (const struct account *a = core->accounts_by_id; a && !k->r; a = a->hh.next)
                check_account(k, a);
        for (const struct key *key = core->keys_by_id; key && !k->r; key = key->hh.next) {
                if (k->key_leases[key->number] != key->leased || key->capped != (key->max_leases && key->leased >= key->max_leases))
                        wrong(k, 3, "key %" PRIu32 " counts %" PRIu32 " leases, not %" PRIu32, key->number, key->leased, k->key_leases[key->number]);
        }
        check_ages(k);
}

int core_check(const struct core *core, uint64_t now, char message[256])
{
        struct check k = {.core = core, .message = message};

        message[0] = '\0';
        k.accounts = calloc(core->accounts.used + 1, sizeof(*k.accounts));
        k.key_leases = calloc(core->keys.used + 1, sizeof(*k.key_leases));
        k.class_tasks = calloc(core->classes.used + 1, sizeof(*k.class_tasks));
        if (k.accounts && k.key_leases && k.class_tasks)
                check_all(&k, now);
        else
                wrong(&k, 0, "out of memory for the check");
        free(k.accounts);
        free(k.key_leases);
        free(k.class_tasks);
        return k.r;
}
