/* match.c: a worker for a task, a task for a worker. One of the two was not there before, so one look is enough: a task that becomes able to run looks
 * for a ready worker, a worker that becomes ready looks for a task; what did not fit before still does not.
 *
 * Nothing is scanned that grows with tasks or workers: a task looks at the best ready worker of each profile that fits its class, a worker at the best
 * flow of each class that fits its profile and has something queued. */
#include "pool/internal.h"

#define LOOK_PROFILES 256 /* ready profiles looked at for one task */
#define LOOK_AROUND 4     /* further tasks or workers looked at, for one that this task has not failed on */

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

/* The account may have more leases than it could: its tasks look for workers, best first. */
void match_account(struct core *core, uint32_t account)
{
        struct account *a = ACCOUNT(core, account);
        bool again = true;

        while (again && core->ready_profiles_n && a->eligible) {
                again = false;
                for (uint32_t band = 0; band < CORE_BANDS && !again; band++) {
                        for (uint32_t i = a->first_flow; i != NONE && !again; i = FLOW(core, i)->next) {
                                const struct flow *f = FLOW(core, i);

                                again = f->k.band == band && f->at != NONE && match_task(core, queue_head(core, f));
                        }
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
        struct heap_entry entry;
        uint32_t task, avoided;
        bool resident;
};

static void consider_flow(const struct core *core, const struct worker *w, struct heap_entry entry, bool resident, struct pick *best)
{
        uint64_t slack = core->settings.resident_ms * CORE_UNITS;
        uint32_t task;

        if (resident)
                entry.key = entry.key > slack ? entry.key - slack : 0;
        if (best->task != NONE) {
                /* Of one account, what needs no loading goes first; ageing sees to the rest. */
                bool same = entry.second == best->entry.second && resident != best->resident && slack && entry.third >> 63 && best->entry.third >> 63;

                if (same ? !resident : !heap_before(&entry, &best->entry))
                        return;
        }
        task = task_for(core, FLOW(core, entry.item), w, &best->avoided);
        if (task == NONE)
                return;
        best->entry = entry;
        best->task = task;
        best->resident = resident;
}

static void consider_class(const struct core *core, const struct worker *w, uint32_t number, uint32_t band, struct pick *best)
{
        const struct class *c = CLASS(core, number);
        const struct heap *flows = &c->flows[band];
        bool resident = c->model != NONE && resident_of(w, c->model);

        for (uint32_t i = 0; i < flows->count && i <= LOOK_AROUND; i++) {
                uint32_t avoided = best->avoided;

                consider_flow(core, w, flows->entries[i], resident, best);
                if (avoided == best->avoided)
                        return; /* the first was looked at and was either better or not */
        }
}

/* The task that goes to the worker next, or NONE. */
uint32_t match_next(const struct core *core, const struct worker *w)
{
        const struct profile *p = PROFILE(core, w->profile);
        struct pick best = {.task = NONE, .avoided = NONE};

        for (uint32_t band = 0; band < CORE_BANDS && best.task == NONE; band++) {
                if (p->owner != NONE) {
                        for (uint32_t i = ACCOUNT(core, p->owner)->first_flow; i != NONE; i = FLOW(core, i)->next) {
                                const struct flow *f = FLOW(core, i);
                                const struct class *c = CLASS(core, f->k.class);

                                if (f->k.band == band && f->at != NONE && class_fits(c, p))
                                        consider_flow(core, w, c->flows[band].entries[f->at], c->model != NONE && resident_of(w, c->model), &best);
                        }
                        continue;
                }
                for (uint32_t i = 0; i < CORE_CLASSES / 64; i++) {
                        for (uint64_t bits = p->classes[i] & core->band_classes[band][i]; bits; bits &= bits - 1)
                                consider_class(core, w, i * 64 + (uint32_t)__builtin_ctzll(bits), band, &best);
                }
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
