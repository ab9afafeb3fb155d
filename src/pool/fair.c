/* fair.c: accounts take turns. Each has a counter of the service that it was charged, over its weight; the smallest goes next (virtual token
 * counter, VTC). A lease charges the predicted cost at once, its end corrects that to the measured.
 *
 * An account that was idle (nothing queued, or at its cap) comes back at the counter that those whom it competes with have settled: not counting
 * what is charged ahead for leases that still run, because a wrong prediction comes back, and would leave the newcomer behind by as much. */
#include "pool/internal.h"

int fair_account(struct core *core, const struct id *id, uint32_t *ret_account)
{
        struct account *a;
        uint32_t number;
        int r;

        HASH_FIND(hh, core->accounts_by_id, id, sizeof(*id), a);
        if (a) {
                *ret_account = a->number;
                return 0;
        }
        r = slab_take(&core->accounts, &number);
        if (r)
                return r;
        a = ACCOUNT(core, number);
        *a = (struct account){.id = *id, .number = number, .weight = 100, .first_flow = NONE, .first_private = NONE};
        HASH_ADD(hh, core->accounts_by_id, id, sizeof(a->id), a);
        *ret_account = number;
        return 0;
}

int fair_key(struct core *core, const struct id *id, uint32_t *ret_key)
{
        struct key *k;
        uint32_t number;
        int r;

        HASH_FIND(hh, core->keys_by_id, id, sizeof(*id), k);
        if (k) {
                *ret_key = k->number;
                return 0;
        }
        r = slab_take(&core->keys, &number);
        if (r)
                return r;
        k = KEY(core, number);
        *k = (struct key){.id = *id, .number = number, .account = NONE};
        HASH_ADD(hh, core->keys_by_id, id, sizeof(k->id), k);
        *ret_key = number;
        return 0;
}

/* A key is one account's. */
bool fair_key_fits(const struct core *core, const struct core_task_spec *spec)
{
        struct account *a;
        struct key *key;

        HASH_FIND(hh, core->keys_by_id, &spec->key, sizeof(spec->key), key);
        if (!key || key->account == NONE)
                return true;
        HASH_FIND(hh, core->accounts_by_id, &spec->account, sizeof(spec->account), a);
        return a && a->number == key->account;
}

uint64_t fair_units(const struct account *a, uint64_t cost)
{
        return cost * CORE_UNITS * 100 / a->weight;
}

void fair_counter(struct core *core, struct account *a, uint64_t counter)
{
        if (counter == a->counter)
                return;
        a->counter = counter;
        queue_account_place(core, a);
}

/* Called before an account's work of this class could run, when none could until now. */
void fair_wake(struct core *core, struct account *a, const struct class *c)
{
        uint64_t level = CORE_NEVER;
        uint32_t seen = 0;

        if (a->eligible)
                return;
        for (uint32_t i = 0; i < c->profile_words && seen < 64; i++) {
                for (uint64_t bits = c->profiles[i]; bits && seen < 64; bits &= bits - 1) {
                        const struct profile *p = PROFILE(core, i * 64 + (uint32_t)__builtin_ctzll(bits));

                        if (p->owner != NONE)
                                continue; /* nobody to compete with */
                        seen++;
                        if (p->virtual_units < level)
                                level = p->virtual_units;
                }
        }
        if (level == CORE_NEVER || level <= a->counter)
                return;
        fair_counter(core, a, level);
}

static uint32_t cap(const struct core *core, const struct account *a)
{
        return a->max_leases ? a->max_leases : core->settings.max_leases_per_account;
}

/* A flow could run when it is not empty and no cap says no. */
void fair_take_part(struct core *core, struct flow *f)
{
        struct account *a = ACCOUNT(core, f->k.account);
        bool part = f->count && !a->capped && !(f->k.key != NONE && KEY(core, f->k.key)->capped);

        if (part == (f->at != NONE)) {
                if (part)
                        queue_flow_place(core, f);
                return;
        }
        if (part)
                fair_wake(core, a, CLASS(core, f->k.class));
        a->eligible += part ? 1U : -1U;
        queue_flow_enter(core, f, part);
}

/* Leases of the account and the key changed by so many, or their caps did. */
void fair_count(struct core *core, struct account *a, struct key *k, int by)
{
        bool changed = false, capped;

        a->leased += (uint32_t)by;
        capped = cap(core, a) && a->leased >= cap(core, a);
        changed |= capped != a->capped;
        a->freed |= a->capped && !capped;
        a->capped = capped;
        if (k) {
                k->leased += (uint32_t)by;
                capped = k->max_leases && k->leased >= k->max_leases;
                changed |= capped != k->capped;
                a->freed |= k->capped && !capped;
                k->capped = capped;
        }
        for (uint32_t i = changed ? a->first_flow : NONE; i != NONE; i = FLOW(core, i)->next)
                fair_take_part(core, FLOW(core, i));
}

int core_account(struct core *core, const struct id *account, uint32_t weight, uint32_t max_leases)
{
        struct account *a;
        uint32_t number;
        int r;

        if (weight < 1 || weight > 1000 || id_is_none(account))
                return -EINVAL;
        r = fair_account(core, account, &number);
        if (r)
                return r;
        a = ACCOUNT(core, number);
        a->weight = weight;
        a->max_leases = max_leases;
        fair_count(core, a, NULL, 0);
        match_account(core, number);
        return 0;
}

int core_key(struct core *core, const struct id *key, uint32_t max_leases)
{
        struct account *a;
        struct key *k;
        uint32_t number;
        int r;

        if (id_is_none(key))
                return -EINVAL;
        r = fair_key(core, key, &number);
        if (r)
                return r;
        k = KEY(core, number);
        k->max_leases = max_leases;
        k->capped = max_leases && k->leased >= max_leases;
        a = k->account == NONE ? NULL : ACCOUNT(core, k->account);
        for (uint32_t i = a ? a->first_flow : NONE; i != NONE; i = FLOW(core, i)->next)
                fair_take_part(core, FLOW(core, i));
        if (a) {
                a->freed = true;
                match_account(core, a->number);
        }
        return 0;
}

int core_account_view(const struct core *core, const struct id *account, uint64_t *ret_service, uint64_t *ret_counter, uint32_t *ret_queued,
                      uint32_t *ret_leased)
{
        struct account *a;

        HASH_FIND(hh, core->accounts_by_id, account, sizeof(*account), a);
        if (!a)
                return -ENOENT;
        *ret_service = a->service;
        *ret_counter = a->counter / CORE_UNITS;
        *ret_queued = a->queued;
        *ret_leased = a->leased;
        return 0;
}
