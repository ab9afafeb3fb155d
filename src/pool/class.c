/* class.c: tasks with equal needs are a class, workers with equal abilities a profile; which fits which is worked out once and kept as bits on both
 * sides. Profiles hold only what some class needs (token.c), so there are about as many as kinds of workers, however many workers there are. */
#include "pool/internal.h"

static struct class *class_find(const struct core *core, const struct ability *needs, uint32_t count)
{
        struct class *c;

        HASH_FIND(hh, core->classes_by_needs, needs, count * sizeof(*needs), c);
        return c;
}

static const struct ability *profile_ability(const struct profile *p, uint32_t token)
{
        uint32_t low = 1, high = p->abilities_n; /* 0 is the owner */

        while (low < high) {
                uint32_t middle = (low + high) / 2;

                if (p->abilities[middle].token < token)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low < p->abilities_n && p->abilities[low].token == token ? &p->abilities[low] : NULL;
}

/* Workers that have so much of it: exact for amounts that some class needs. */
uint32_t class_count_ability(const struct core *core, uint32_t token, uint64_t amount)
{
        uint32_t workers = 0;

        for (const struct profile *p = core->profiles_by_abilities; p; p = p->hh.next) {
                const struct ability *a = profile_ability(p, token);

                if (a && a->amount >= amount)
                        workers += p->workers;
        }
        return workers;
}

static bool work_out(const struct class *c, const struct profile *p)
{
        for (uint32_t i = 0; i < c->needs_n; i++) {
                const struct ability *a = profile_ability(p, c->needs[i].token);

                if (!a || a->amount < c->needs[i].amount)
                        return false;
        }
        return true;
}

bool class_fits(const struct class *c, const struct profile *p)
{
        return bit_get(p->classes, c->number);
}

static void fit(struct core *core, struct class *c, struct profile *p)
{
        bool fits = work_out(c, p);

        bit_set(p->classes, c->number, fits);
        c->profile_words = core_bits_grow(&c->profiles, c->profile_words, p->number / 64 + 1);
        bit_set(c->profiles, p->number, fits);
        if (fits && p->owner == NONE) {
                c->workers += p->workers;
                c->slots += p->slots;
        }
}

/* Workers that could take it, and their slots: those open to all, and the account's own. */
uint32_t class_workers(const struct core *core, const struct class *c, uint32_t account, uint32_t *ret_slots)
{
        uint32_t workers = c->workers, slots = c->slots;

        for (uint32_t i = account == NONE ? NONE : ACCOUNT(core, account)->first_private; i != NONE; i = PROFILE(core, i)->next_private) {
                if (class_fits(c, PROFILE(core, i))) {
                        workers += PROFILE(core, i)->workers;
                        slots += PROFILE(core, i)->slots;
                }
        }
        if (ret_slots)
                *ret_slots = slots;
        return workers;
}

static void idle_add(struct core *core, struct class *c)
{
        c->idle = true;
        c->idle_next = NONE;
        c->idle_previous = core->idle_classes.last;
        if (core->idle_classes.last != NONE)
                CLASS(core, core->idle_classes.last)->idle_next = c->number;
        else
                core->idle_classes.first = c->number;
        core->idle_classes.last = c->number;
}

static void idle_take(struct core *core, struct class *c)
{
        if (c->idle_next != NONE)
                CLASS(core, c->idle_next)->idle_previous = c->idle_previous;
        else
                core->idle_classes.last = c->idle_previous;
        if (c->idle_previous != NONE)
                CLASS(core, c->idle_previous)->idle_next = c->idle_next;
        else
                core->idle_classes.first = c->idle_next;
        c->idle = false;
}

/* One task more or less of the account has these needs. Whose task is the first, his are the needs for as long as there are any. */
void class_use(struct core *core, struct class *c, uint32_t account, int by)
{
        if (by > 0 && c->idle) {
                idle_take(core, c);
                c->maker = account;
                ACCOUNT(core, account)->classes++;
        }
        c->tasks += (uint32_t)by;
        if (!c->tasks && !c->idle) {
                idle_add(core, c);
                ACCOUNT(core, c->maker)->classes--;
        }
}

static void class_remove(struct core *core, struct class *c)
{
        idle_take(core, c);
        HASH_DELETE(hh, core->classes_by_needs, c);
        for (struct profile *p = core->profiles_by_abilities; p; p = p->hh.next)
                bit_set(p->classes, c->number, false);
        for (int i = 0; i < CORE_BANDS; i++)
                free(c->bands[i].flows);
        free(c->profiles);
        for (uint32_t i = 0; i < c->needs_n; i++)
                token_need(core, &c->needs[i], false);
        slab_give(&core->classes, c->number);
}

/* 0; -E_QUOTA: too many different needs at a time; -ENOMEM. */
static int class_make(struct core *core, const struct core_needs *needs, uint32_t *ret_class)
{
        struct ability abilities[CORE_NEEDS];
        uint32_t count, number;
        struct class *c;
        int r;

        if (core->classes.live == CORE_CLASSES) {
                if (core->idle_classes.first == NONE)
                        return -E_QUOTA;
                class_remove(core, CLASS(core, core->idle_classes.first));
        }
        r = need_abilities(core, needs, true, abilities, &count);
        if (!r)
                r = slab_take(&core->classes, &number);
        if (r)
                return r; /* words that nobody has and nobody needs stay; they are few, and found again */
        c = CLASS(core, number);
        c->number = number;
        memcpy(c->needs, abilities, count * sizeof(*abilities));
        c->needs_n = count;
        c->model = NONE;
        for (uint32_t i = 0; i < count; i++) {
                const struct token *token = TOKEN(core, abilities[i].token);

                if (token->name[0] == TOKEN_MODEL)
                        c->model = token->number;
                else if (token->name[0] == TOKEN_TYPE)
                        c->type = token->number;
                else if (token->name[0] == TOKEN_WORKER) {
                        struct worker *w;

                        HASH_FIND(hh, core->workers_by_id, &needs->worker, sizeof(needs->worker), w);
                        if (w)
                                core_memory(token_add_holding(core, w->number, token->number));
                }
        }
        HASH_ADD_KEYPTR(hh, core->classes_by_needs, c->needs, count * sizeof(*c->needs), c);
        idle_add(core, c);
        for (uint32_t i = 0; i < count; i++)
                token_need(core, &c->needs[i], true); /* makes new profiles, which look at this class, too */
        c->workers = c->slots = 0;
        for (struct profile *p = core->profiles_by_abilities; p; p = p->hh.next)
                fit(core, c, p);
        *ret_class = number;
        return 0;
}

/* The class of these needs, made when there is none: also of needs that nobody meets, so that asking again costs little. */
int class_of(struct core *core, const struct core_needs *needs, uint32_t *ret_class)
{
        struct ability abilities[CORE_NEEDS];
        uint32_t count;
        struct class *c = need_abilities(core, needs, false, abilities, &count) ? NULL : class_find(core, abilities, count);

        if (!c)
                return class_make(core, needs, ret_class);
        *ret_class = c->number;
        return 0;
}

/* --- profiles --- */

static uint32_t profile_key(const struct core *core, const struct worker *w, struct ability key[CORE_HOLDINGS + 1])
{
        uint32_t n = 1;

        key[0] = (struct ability){.token = NONE, .amount = w->private_pool ? w->account : NONE};
        for (uint32_t i = 0; i < w->holdings_n; i++) {
                const struct token *token = TOKEN(core, w->holdings[i].token);

                if (token->refs)
                        key[n++] = (struct ability){.token = token->number, .amount = token_floor(token, w->holdings[i].amount)};
        }
        return n;
}

static struct profile *profile_make(struct core *core, const struct ability *abilities, uint32_t count, uint64_t virtual_units)
{
        struct ability *key = malloc(count * sizeof(*key));
        struct profile *p;
        uint32_t number;

        core_memory(key ? slab_take(&core->profiles, &number) : -ENOMEM);
        memcpy(key, abilities, count * sizeof(*key));
        p = PROFILE(core, number);
        p->number = number;
        p->abilities = key;
        p->abilities_n = count;
        p->owner = (uint32_t)key[0].amount;
        p->virtual_units = virtual_units;
        p->next_private = NONE;
        if (p->owner != NONE) {
                p->next_private = ACCOUNT(core, p->owner)->first_private;
                ACCOUNT(core, p->owner)->first_private = number;
        }
        HASH_ADD_KEYPTR(hh, core->profiles_by_abilities, p->abilities, count * sizeof(*key), p);
        core->ready_words = core_bits_grow(&core->ready_profiles, core->ready_words, number / 64 + 1);
        for (struct class *c = core->classes_by_needs; c; c = c->hh.next)
                fit(core, c, p);
        return p;
}

static void profile_remove(struct core *core, struct profile *p)
{
        for (struct class *c = core->classes_by_needs; c; c = c->hh.next) {
                if (p->number / 64 < c->profile_words)
                        bit_set(c->profiles, p->number, false);
        }
        if (p->owner != NONE) {
                uint32_t *link = &ACCOUNT(core, p->owner)->first_private;

                while (*link != p->number)
                        link = &PROFILE(core, *link)->next_private;
                *link = p->next_private;
        }
        for (uint32_t i = 1; i < p->abilities_n; i++) {
                const struct token *token = TOKEN(core, p->abilities[i].token);
                struct place *place;
                struct { uint32_t profile, model; } key = {p->number, p->abilities[i].token};
                uint32_t *link;

                HASH_FIND(hh, core->places_by_key, &key, sizeof(key), place);
                if (!place)
                        continue;
                link = &((struct token *)token)->first_place;
                while (*link != place->number)
                        link = &PLACE(core, *link)->next;
                *link = place->next;
                HASH_DELETE(hh, core->places_by_key, place);
                heap_done(&place->ready);
                slab_give(&core->places, place->number);
        }
        bit_set(core->ready_profiles, p->number, false);
        HASH_DELETE(hh, core->profiles_by_abilities, p);
        heap_done(&p->ready);
        free(p->abilities);
        slab_give(&core->profiles, p->number);
}

static void count_worker(struct core *core, struct profile *p, const struct worker *w, int by)
{
        p->workers += (uint32_t)by;
        p->slots += (uint32_t)by * w->slots;
        if (p->owner != NONE)
                return;
        for (uint32_t i = 0; i < CORE_CLASSES / 64; i++) {
                for (uint64_t bits = p->classes[i]; bits; bits &= bits - 1) {
                        struct class *c = CLASS(core, i * 64 + (uint32_t)__builtin_ctzll(bits));

                        c->workers += (uint32_t)by;
                        c->slots += (uint32_t)by * w->slots;
                }
        }
}

/* The worker belongs to no profile for now. */
void class_leave(struct core *core, uint32_t worker)
{
        struct worker *w = WORKER(core, worker);
        struct profile *p;

        if (w->profile == NONE)
                return;
        p = PROFILE(core, w->profile);
        match_unready(core, worker);
        count_worker(core, p, w, -1);
        w->profile = NONE;
        if (!p->workers)
                profile_remove(core, p);
}

/* Puts the worker where its abilities belong. */
void class_place(struct core *core, uint32_t worker)
{
        struct worker *w = WORKER(core, worker);
        uint64_t virtual_units = w->profile == NONE ? core->virtual_units : PROFILE(core, w->profile)->virtual_units;
        struct ability key[CORE_HOLDINGS + 1];
        uint32_t count = profile_key(core, w, key);
        struct profile *p;

        HASH_FIND(hh, core->profiles_by_abilities, key, count * sizeof(*key), p);
        if (p && p->number == w->profile)
                return;
        if (!p)
                p = profile_make(core, key, count, virtual_units);
        class_leave(core, worker);
        w->profile = p->number;
        count_worker(core, p, w, 1);
        match_ready(core, worker);
}
