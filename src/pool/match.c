/* match.c: a worker for a task, a task for a worker. One of the two was not there before, so one look is enough: a task that becomes able to run looks
 * for a ready worker, a worker that becomes ready looks for a task; what did not fit before still does not.
 *
 * Nothing is scanned that grows with tasks or workers: a task looks at the best ready worker of each profile that fits its class; a worker goes
 * through the accounts in order of their turns, until one has something that fits: nearly always the first. Where few accounts have, it looks at
 * theirs instead, by class. */
#include "pool/internal.h"

#define LOOK_PROFILES 256 /* ready profiles looked at for one task */
#define LOOK_AROUND 4     /* further tasks or workers looked at, for one that this task has not failed on */
#define LOOK_ACCOUNTS 32  /* accounts gone through in order, before it is done by class */
#define LOOK_RESIDENT 4   /* accounts looked at for work whose model is resident, once one has work that fits */

/* --- the ready ones --- */

static void moved_worker(void *context, uint32_t item, uint32_t at)
{
        WORKER((struct core *)context, item)->ready_at = at;
}

struct resident_context {
        struct core *core;
        uint32_t token;
};

static struct resident *resident_of(const struct worker *w, uint32_t token)
{
        for (uint32_t i = 0; i < w->residents_n; i++) {
                if (w->residents[i].token == token)
                        return &w->residents[i];
        }
        return NULL;
}

static void moved_resident(void *context, uint32_t item, uint32_t at)
{
        struct resident_context *c = context;

        resident_of(WORKER(c->core, item), c->token)->at = at;
}

static struct place *place_of(struct core *core, uint32_t profile, uint32_t token)
{
        struct place *place, key = {.key = {profile, token}};
        uint32_t number;

        HASH_FIND(hh, core->places_by_key, &key.key, sizeof(key.key), place);
        if (place)
                return place;
        core_memory(slab_take(&core->places, &number));
        place = PLACE(core, number);
        place->key = key.key;
        place->number = number;
        place->next = TOKEN(core, token)->first_place;
        TOKEN(core, token)->first_place = number;
        HASH_ADD(hh, core->places_by_key, key, sizeof(place->key), place);
        return place;
}

static struct heap_entry ready_entry(const struct worker *w)
{
        return (struct heap_entry){.key = w->outstanding / w->slots, .second = w->ready_since, .third = w->number, .item = w->number};
}

static void enter(struct core *core, struct worker *w)
{
        struct profile *p = PROFILE(core, w->profile);

        core_memory(heap_reserve(&p->ready, p->ready.count + 1));
        heap_add(&p->ready, ready_entry(w), moved_worker, core);
        if (p->ready.count == 1) {
                bit_set(core->ready_profiles, p->number, true);
                core->ready_profiles_n++;
        }
        for (uint32_t i = 0; i < w->residents_n; i++) {
                struct resident *r = &w->residents[i];
                struct resident_context context = {core, r->token};
                struct place *place;

                if (!TOKEN(core, r->token)->refs)
                        continue; /* no task asks for it; when one does, the worker gets another profile and comes by again */
                place = place_of(core, w->profile, r->token);
                core_memory(heap_reserve(&place->ready, place->ready.count + 1));
                r->place = place->number;
                heap_add(&place->ready, ready_entry(w), moved_resident, &context);
        }
}

void match_unready(struct core *core, uint32_t worker)
{
        struct worker *w = WORKER(core, worker);
        struct profile *p;

        if (w->ready_at == NONE)
                return;
        p = PROFILE(core, w->profile);
        heap_take(&p->ready, w->ready_at, moved_worker, core);
        if (!p->ready.count) {
                bit_set(core->ready_profiles, p->number, false);
                core->ready_profiles_n--;
        }
        for (uint32_t i = 0; i < w->residents_n; i++) {
                struct resident *r = &w->residents[i];
                struct resident_context context = {core, r->token};

                if (r->at != NONE)
                        heap_take(&PLACE(core, r->place)->ready, r->at, moved_resident, &context);
        }
}

/* In or out of the ready ones, or at another place among them, as its books say. */
void match_ready(struct core *core, uint32_t worker)
{
        struct worker *w = WORKER(core, worker);
        bool ready = w->profile != NONE && w->ready && w->silence == CORE_ALIVE && !w->drain;

        if (!ready || w->ready_at == NONE) {
                match_unready(core, worker);
                if (ready)
                        enter(core, w);
                return;
        }
        heap_change(&PROFILE(core, w->profile)->ready, w->ready_at, ready_entry(w), moved_worker, core);
        for (uint32_t i = 0; i < w->residents_n; i++) {
                struct resident *r = &w->residents[i];
                struct resident_context context = {core, r->token};

                if (r->at != NONE)
                        heap_change(&PLACE(core, r->place)->ready, r->at, ready_entry(w), moved_resident, &context);
        }
}

/* --- a worker for a task --- */

struct choice {
        struct heap_entry entry;
        uint32_t avoided; /* failed on it before: only when there is no other */
        bool found;
};

static void consider_worker(const struct core *core, const struct task *t, const struct heap *ready, struct choice *best)
{
        for (uint32_t i = 0; i < ready->count && i <= LOOK_AROUND; i++) {
                const struct heap_entry *e = &ready->entries[i];

                if (t->blame != NONE && task_blames(core, t, &WORKER(core, e->item)->id)) {
                        if (best->avoided == NONE)
                                best->avoided = e->item;
                        continue;
                }
                if (!best->found || heap_before(e, &best->entry)) {
                        best->entry = *e;
                        best->found = true;
                }
                if (!i)
                        return;
        }
}

static uint32_t find_worker(const struct core *core, const struct task *t)
{
        const struct class *c = CLASS(core, t->class);
        struct choice best = {.avoided = NONE};
        uint32_t seen = 0, words = c->profile_words < core->ready_words ? c->profile_words : core->ready_words;

        for (uint32_t i = c->model == NONE ? NONE : TOKEN(core, c->model)->first_place; i != NONE; i = PLACE(core, i)->next) {
                const struct place *place = PLACE(core, i);
                const struct profile *p = PROFILE(core, place->key.profile);

                if (place->ready.count && class_fits(c, p) && (p->owner == NONE || p->owner == t->account))
                        consider_worker(core, t, &place->ready, &best);
        }
        if (best.found)
                return best.entry.item;
        for (uint32_t i = 0; i < words && seen < LOOK_PROFILES; i++) {
                for (uint64_t bits = c->profiles[i] & core->ready_profiles[i]; bits; bits &= bits - 1) {
                        const struct profile *p = PROFILE(core, i * 64 + (uint32_t)__builtin_ctzll(bits));

                        if (p->owner != NONE && p->owner != t->account)
                                continue;
                        consider_worker(core, t, &p->ready, &best);
                        seen++;
                }
        }
        return best.found ? best.entry.item : best.avoided;
}

/* Leases the queued task if a ready worker fits. */
bool match_task(struct core *core, uint32_t task)
{
        const struct task *t = TASK(core, task);
        uint32_t worker;

        if (!core->ready_profiles_n || FLOW(core, t->flow)->at == NONE)
                return false;
        worker = find_worker(core, t);
        if (worker == NONE)
                return false;
        lease_give(core, task, worker);
        return true;
}

/* If the account may have more leases than it could, its tasks look for workers, best first. */
void match_account(struct core *core, uint32_t account)
{
        struct account *a = ACCOUNT(core, account);
        bool again = a->freed;

        a->freed = false;
        while (again && core->ready_profiles_n && a->eligible) {
                again = false;
                for (uint32_t band = 0; band < CORE_BANDS && !again; band++) {
                        for (uint32_t i = 0; i < a->bands[band].count && !again; i++)
                                again = match_task(core, queue_head(core, FLOW(core, a->bands[band].turns[i].flow)));
                }
        }
}

/* --- a task for a worker --- */

/* The first of the flow that has not failed on w, as far as a short look goes. */
static uint32_t task_for(const struct core *core, const struct flow *f, const struct worker *w, uint32_t *avoided)
{
        uint32_t head = queue_head(core, f), line = f->first;

        if (TASK(core, head)->blame == NONE || !task_blames(core, TASK(core, head), &w->id))
                return head;
        if (*avoided == NONE)
                *avoided = head;
        for (uint32_t i = 0; i < f->urgent.count && i <= LOOK_AROUND; i++) {
                const struct task *t = TASK(core, f->urgent.entries[i].item);

                if (t->blame == NONE || !task_blames(core, t, &w->id))
                        return f->urgent.entries[i].item;
        }
        for (uint32_t i = 0; line != NONE && i <= LOOK_AROUND; i++, line = TASK(core, line)->next) {
                if (TASK(core, line)->blame == NONE || !task_blames(core, TASK(core, line), &w->id))
                        return line;
        }
        return NONE;
}

struct pick {
        uint64_t key, order;        /* of the best so far: its account's counter (less the favour for what is resident), its turn's order */
        uint32_t task, avoided;
        uint32_t account;
        bool resident;
};

/* The flow, if it goes before the best so far. */
static void consider_turn(const struct core *core, const struct worker *w, uint32_t account, const struct turn *turn, struct pick *best)
{
        const struct class *c = CLASS(core, turn->class);
        bool resident = w->residents_n && c->model != NONE && resident_of(w, c->model);
        uint64_t slack = core->settings.resident_ms * CORE_UNITS, key = ACCOUNT(core, account)->counter;
        uint32_t task;

        if (resident)
                key = key > slack ? key - slack : 0;
        if (best->task != NONE) {
                /* Of one account, what needs no loading goes before what came earlier, but not before a deadline; ageing sees to the rest. */
                bool same = account == best->account && turn->order >> 63 && best->order >> 63 && slack;

                if (same && resident != best->resident ? !resident
                    : account == best->account         ? turn->order >= best->order
                                                       : key > best->key || (key == best->key && account > best->account))
                        return;
        }
        task = task_for(core, FLOW(core, turn->flow), w, &best->avoided);
        if (task != NONE)
                *best = (struct pick){key, turn->order, task, best->avoided, account, resident};
}

static void consider_account(const struct core *core, const struct worker *w, uint32_t account, uint32_t band, struct pick *best)
{
        const uint64_t *fits = PROFILE(core, w->profile)->classes;
        const struct account *a = ACCOUNT(core, account);

        for (uint32_t i = 0; i < a->bands[band].count; i++) {
                const struct turn *turn = &a->bands[band].turns[i];

                if (!bit_get(fits, turn->class))
                        continue;
                if (best->task != NONE && best->account == account && turn->order >= best->order && (best->resident || !w->residents_n))
                        continue;
                consider_turn(core, w, account, turn, best);
        }
}

/* The accounts of the band in order of their counters: the least of those whose parent in the heap was seen is next. False: not all were gone through. */
static bool go_through_accounts(const struct core *core, const struct worker *w, uint32_t band, struct pick *best)
{
        const struct heap *turns = &core->turns[band];
        uint32_t open[LOOK_ACCOUNTS + LOOK_RESIDENT + 2], open_n = 0, beyond = 0;
        uint64_t slack = w->residents_n ? core->settings.resident_ms * CORE_UNITS : 0;

        if (turns->count)
                open[open_n++] = 0;
        for (uint32_t seen = 0; open_n; seen++) {
                uint32_t least = 0, at;

                if (best->task != NONE && (!slack || best->resident || beyond++ == LOOK_RESIDENT))
                        return true;
                if (seen == LOOK_ACCOUNTS)
                        return best->task != NONE;
                for (uint32_t i = 1; i < open_n; i++) {
                        if (heap_before(&turns->entries[open[i]], &turns->entries[open[least]]))
                                least = i;
                }
                at = open[least];
                open[least] = open[--open_n];
                if (best->task != NONE && turns->entries[at].key > best->key + slack)
                        return true;
                consider_account(core, w, turns->entries[at].item, band, best);
                if (at * 2 + 1 < turns->count)
                        open[open_n++] = at * 2 + 1;
                if (at * 2 + 2 < turns->count)
                        open[open_n++] = at * 2 + 2;
        }
        return true;
}

static void go_through_classes(const struct core *core, const struct worker *w, uint32_t band, struct pick *best)
{
        const struct profile *p = PROFILE(core, w->profile);

        for (uint32_t i = 0; i < CORE_CLASSES / 64; i++) {
                for (uint64_t bits = p->classes[i] & core->band_classes[band][i]; bits; bits &= bits - 1) {
                        const struct class *c = CLASS(core, i * 64 + (uint32_t)__builtin_ctzll(bits));

                        for (uint32_t j = 0; j < c->bands[band].count; j++) {
                                const struct flow *f = FLOW(core, c->bands[band].flows[j]);

                                consider_turn(core, w, f->k.account, &ACCOUNT(core, f->k.account)->bands[band].turns[f->at], best);
                        }
                }
        }
}

static bool anything(const struct core *core, const struct profile *p, uint32_t band)
{
        uint64_t any = 0;

        for (uint32_t i = 0; i < CORE_CLASSES / 64; i++)
                any |= p->classes[i] & core->band_classes[band][i];
        return any;
}

/* The task that goes to the worker next, or NONE. */
uint32_t match_next(const struct core *core, const struct worker *w)
{
        const struct profile *p = PROFILE(core, w->profile);
        struct pick best = {.task = NONE, .avoided = NONE};

        for (uint32_t band = 0; band < CORE_BANDS && best.task == NONE; band++) {
                if (p->owner != NONE)
                        consider_account(core, w, p->owner, band, &best);
                else if (core->turns[band].count && anything(core, p, band) && !go_through_accounts(core, w, band, &best))
                        go_through_classes(core, w, band, &best);
        }
        return best.task != NONE ? best.task : best.avoided;
}

/* Fills the worker's free slots. */
void match_worker(struct core *core, uint32_t worker)
{
        struct worker *w = WORKER(core, worker);

        while (w->profile != NONE && w->ready && w->silence == CORE_ALIVE && !w->drain) {
                uint32_t task = match_next(core, w);

                if (task == NONE)
                        break;
                lease_give(core, task, worker);
        }
        match_ready(core, worker);
}
