/* core.c: birth and end of the books, settings, the queue of actions, chance. */
#include "pool/internal.h"

const struct core_settings core_default_settings = {
        .age_ms = 10 * 60 * 1000,
        .lease_ms = 60 * 1000,
        .suspect_ms = 25 * 1000,
        .drain_ms = 60 * 1000,
        .gone_ms = 10 * 60 * 1000,
        .brake_percent = 30,
        .brake_min = 3,
        .brake_ms = 30 * 1000,
        .brake_max_ms = 5 * 60 * 1000,
        .attempts = 3,
        .poison_workers = 3,
        .backoff_ms = 1000,
        .backoff_max_ms = 5 * 60 * 1000,
        .max_tasks = 10000000,
        .max_tasks_per_account = 1000000,
        .max_leases_per_account = 0,
        .resident_ms = 5000,
};

uint64_t core_mix(uint64_t value)
{
        value ^= value >> 30;
        value *= UINT64_C(0xbf58476d1ce4e5b9);
        value ^= value >> 27;
        value *= UINT64_C(0x94d049bb133111eb);
        return value ^ value >> 31;
}

static uint64_t rotate(uint64_t value, int by)
{
        return value << by | value >> (64 - by);
}

/* xoshiro256**. */
uint64_t core_random(struct core *core)
{
        uint64_t *s = core->random, result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;

        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = rotate(s[3], 45);
        return result;
}

static void sane(struct core_settings *s)
{
        if (!s->lease_ms)
                s->lease_ms = core_default_settings.lease_ms;
        if (!s->suspect_ms)
                s->suspect_ms = core_default_settings.suspect_ms;
        if (s->drain_ms <= s->suspect_ms)
                s->drain_ms = s->suspect_ms + 1;
        if (s->gone_ms <= s->drain_ms)
                s->gone_ms = s->drain_ms + 1;
        if (!s->attempts)
                s->attempts = core_default_settings.attempts;
        if (!s->poison_workers || s->poison_workers > CORE_BLAMED)
                s->poison_workers = s->poison_workers ? CORE_BLAMED : core_default_settings.poison_workers;
        if (!s->max_tasks || s->max_tasks > 100000000)
                s->max_tasks = s->max_tasks ? 100000000 : core_default_settings.max_tasks;
        if (!s->max_tasks_per_account)
                s->max_tasks_per_account = s->max_tasks;
        if (s->backoff_max_ms < s->backoff_ms)
                s->backoff_max_ms = s->backoff_ms;
}

struct core *core_new(const struct core_settings *settings, uint64_t seed)
{
        struct core *core = calloc(1, sizeof(*core));

        if (!core)
                return NULL;
        core->settings = *settings;
        sane(&core->settings);
        for (int i = 0; i < 4; i++)
                core->random[i] = core_mix(seed += UINT64_C(0x9e3779b97f4a7c15));
        slab_begin(&core->tasks, sizeof(struct task));
        slab_begin(&core->leases, sizeof(struct lease));
        slab_begin(&core->edges, sizeof(struct edge));
        slab_begin(&core->blames, sizeof(struct blame));
        slab_begin(&core->flows, sizeof(struct flow));
        slab_begin(&core->accounts, sizeof(struct account));
        slab_begin(&core->keys, sizeof(struct key));
        slab_begin(&core->workers, sizeof(struct worker));
        slab_begin(&core->tokens, sizeof(struct token));
        slab_begin(&core->classes, sizeof(struct class));
        slab_begin(&core->profiles, sizeof(struct profile));
        slab_begin(&core->places, sizeof(struct place));
        for (int i = 0; i < CORE_BANDS; i++)
                core->ages[i] = (struct line){NONE, NONE};
        core->suspects = core->idle_classes = (struct line){NONE, NONE};
        core->first_recent = NONE;
        core->brake_since = CORE_NEVER;
        core->ring_size = 64;
        core->ring = calloc(core->ring_size, sizeof(*core->ring));
        if (!core->ring || token_intern(core, TOKEN_DEVICE, "", NULL, &core->any_device)) {
                core_free(core);
                return NULL;
        }
        return core;
}

/* Heaps and lists inside things of a slab: each thing that lives is in a table by its name. */
void core_free(struct core *core)
{
        struct account *a, *a2;
        struct key *k, *k2;
        struct worker *w, *w2;
        struct token *t, *t2;
        struct class *c, *c2;
        struct profile *p, *p2;
        struct place *l, *l2;
        struct flow *f, *f2;

        if (!core)
                return;
        HASH_ITER(hh, core->accounts_by_id, a, a2)
        {
                HASH_DELETE(hh, core->accounts_by_id, a);
                for (int i = 0; i < CORE_BANDS; i++)
                        free(a->bands[i].turns);
        }
        HASH_ITER(hh, core->keys_by_id, k, k2) HASH_DELETE(hh, core->keys_by_id, k);
        HASH_ITER(hh, core->workers_by_id, w, w2)
        {
                HASH_DELETE(hh, core->workers_by_id, w);
                free(w->holdings);
                free(w->residents);
        }
        HASH_ITER(hh, core->tokens_by_name, t, t2)
        {
                HASH_DELETE(hh, core->tokens_by_name, t);
                free(t->holders);
                free(t->thresholds);
                free(t->name);
        }
        HASH_ITER(hh, core->classes_by_needs, c, c2)
        {
                HASH_DELETE(hh, core->classes_by_needs, c);
                for (int i = 0; i < CORE_BANDS; i++)
                        free(c->bands[i].flows);
                free(c->profiles);
        }
        HASH_ITER(hh, core->profiles_by_abilities, p, p2)
        {
                HASH_DELETE(hh, core->profiles_by_abilities, p);
                heap_done(&p->ready);
                free(p->abilities);
        }
        HASH_ITER(hh, core->places_by_key, l, l2)
        {
                HASH_DELETE(hh, core->places_by_key, l);
                heap_done(&l->ready);
        }
        HASH_ITER(hh, core->flows_by_key, f, f2)
        {
                HASH_DELETE(hh, core->flows_by_key, f);
                heap_done(&f->urgent);
        }
        for (uint32_t i = 0; i < core->bucket_chunks_n; i++)
                free(core->bucket_chunks[i]);
        free(core->bucket_chunks);
        for (struct slab *s = &core->tasks; s <= &core->places; s++)
                slab_done(s);
        for (int i = 0; i < CORE_BANDS; i++)
                heap_done(&core->turns[i]);
        heap_done(&core->timers);
        heap_done(&core->worker_timers);
        free(core->ready_profiles);
        free(core->ring);
        free(core);
}

void core_change_settings(struct core *core, uint64_t now, const struct core_settings *settings)
{
        uint32_t before = core->settings.max_leases_per_account;
        struct account *a, *next;
        struct worker *w, *w_next;

        core_at(core, now);
        core->settings = *settings;
        sane(&core->settings);
        HASH_ITER(hh, core->workers_by_id, w, w_next) live_timer(core, w->number);
        if (before == core->settings.max_leases_per_account)
                return;
        HASH_ITER(hh, core->accounts_by_id, a, next)
        {
                fair_count(core, a, NULL, 0);
                match_account(core, a->number);
        }
}

/* The clock never goes back for us, whatever the caller's does. */
void core_at(struct core *core, uint64_t now)
{
        if (now > core->now)
                core->now = now;
}

struct core_action *core_act(struct core *core, uint32_t kind)
{
        struct core_action *action;

        if (core->ring_count == core->ring_size) {
                struct core_action *ring = calloc((size_t)core->ring_size * 2, sizeof(*ring));

                core_memory(ring ? 0 : -ENOMEM);
                for (uint32_t i = 0; i < core->ring_count; i++)
                        ring[i] = core->ring[(core->ring_first + i) % core->ring_size];
                free(core->ring);
                core->ring = ring;
                core->ring_size *= 2;
                core->ring_first = 0;
        }
        action = &core->ring[(core->ring_first + core->ring_count++) % core->ring_size];
        *action = (struct core_action){.kind = kind, .task = NONE, .worker = NONE, .retry_at = CORE_NEVER, .expires = CORE_NEVER};
        return action;
}

void core_act_task(struct core *core, struct core_action *action, uint32_t task)
{
        const struct task *t = TASK(core, task);

        action->task = task;
        action->task_id = t->id;
        action->task_data = t->data;
        action->attempt = t->attempt;
        action->state = t->state;
        action->reason = t->reason;
}

void core_act_worker(struct core *core, struct core_action *action, uint32_t worker)
{
        const struct worker *w = WORKER(core, worker);

        action->worker = worker;
        action->worker_id = w->id;
        action->worker_data = w->data;
        action->worker_state = w->told;
}

bool core_next_action(struct core *core, struct core_action *ret_action)
{
        if (!core->ring_count)
                return false;
        *ret_action = core->ring[core->ring_first];
        core->ring_first = (core->ring_first + 1) % core->ring_size;
        core->ring_count--;
        return true;
}

/* At least `needed` words, the new ones zero. */
uint32_t core_bits_grow(uint64_t **bits, uint32_t words, uint32_t needed)
{
        uint64_t *more;
        uint32_t size = words ? words : 4;

        if (needed <= words)
                return words;
        while (size < needed)
                size *= 2;
        more = realloc(*bits, size * sizeof(*more));
        core_memory(more ? 0 : -ENOMEM);
        memset(more + words, 0, (size - words) * sizeof(*more));
        *bits = more;
        return size;
}
