/* queue.c: what is queued. Tasks of one account and key, of one class, in one band are a flow. Accounts with flows that could run stand in their band's heap
 * by their counters, so that a counter that changes moves one entry a band, however much its account has queued. Inside a flow: earlier deadline, then earlier id. Most tasks have no deadline and come in order of their ids: they stand in a plain
 * line, so that ten million of them cost no heap. Ageing: queued tasks of a band stand in the order they came into it, so that the first is due first. */
#include "pool/internal.h"

static void moved_task(void *context, uint32_t item, uint32_t at)
{
        TASK((struct core *)context, item)->heap_at = at;
}

static bool task_before(const struct task *a, const struct task *b)
{
        if (a->deadline != b->deadline)
                return a->deadline < b->deadline;
        return memcmp(&a->id, &b->id, sizeof(a->id)) < 0;
}

/* The task that goes first of a flow, or NONE. */
uint32_t queue_head(const struct core *core, const struct flow *f)
{
        const struct heap_entry *top = heap_top(&f->urgent);

        if (!top)
                return f->first;
        if (f->first == NONE || task_before(TASK(core, top->item), TASK(core, f->first)))
                return top->item;
        return f->first;
}

static uint64_t order_of(const struct core *core, const struct flow *f)
{
        const struct task *head = TASK(core, queue_head(core, f));

        return head->deadline != CORE_NEVER ? head->deadline >> 1 : UINT64_C(1) << 63 | id_half(&head->id, 0) >> 1;
}

/* Its head changed. */
void queue_flow_place(struct core *core, struct flow *f)
{
        if (f->at != NONE)
                ACCOUNT(core, f->k.account)->bands[f->k.band].turns[f->at].order = order_of(core, f);
}

struct band_context {
        struct core *core;
        uint32_t band;
};

static void moved_account(void *context, uint32_t item, uint32_t at)
{
        struct band_context *c = context;

        ACCOUNT(c->core, item)->bands[c->band].at = at;
}

static void turns_add(struct core *core, struct account *a, struct flow *f)
{
        struct band_context context = {core, f->k.band};
        __auto_type band = &a->bands[f->k.band];

        if (band->count == band->size) {
                uint32_t size = band->size ? band->size * 2 : 4;
                struct turn *turns = realloc(band->turns, size * sizeof(*turns));

                core_memory(turns ? 0 : -ENOMEM);
                band->turns = turns;
                band->size = size;
        }
        f->at = band->count++;
        band->turns[f->at] = (struct turn){order_of(core, f), f->k.class, f->number};
        if (band->count == 1) {
                core_memory(heap_reserve(&core->turns[f->k.band], core->turns[f->k.band].count + 1));
                heap_add(&core->turns[f->k.band], (struct heap_entry){.key = a->counter, .item = a->number}, moved_account, &context);
        }
}

static void turns_take(struct core *core, struct account *a, struct flow *f)
{
        struct band_context context = {core, f->k.band};
        __auto_type band = &a->bands[f->k.band];

        band->turns[f->at] = band->turns[--band->count];
        if (f->at < band->count)
                FLOW(core, band->turns[f->at].flow)->at = f->at;
        f->at = NONE;
        if (!band->count)
                heap_take(&core->turns[f->k.band], band->at, moved_account, &context);
}

/* The account's counter changed. */
void queue_account_place(struct core *core, struct account *a)
{
        for (uint32_t band = 0; band < CORE_BANDS; band++) {
                struct band_context context = {core, band};

                if (a->bands[band].count)
                        heap_change(&core->turns[band], a->bands[band].at, (struct heap_entry){.key = a->counter}, moved_account, &context);
        }
}

/* The flow could run, or no longer. */
void queue_flow_enter(struct core *core, struct flow *f, bool on)
{
        struct account *a = ACCOUNT(core, f->k.account);
        __auto_type band = &CLASS(core, f->k.class)->bands[f->k.band];

        if (on) {
                turns_add(core, a, f);
                if (band->count == band->size) {
                        uint32_t size = band->size ? band->size * 2 : 4, *flows = realloc(band->flows, size * sizeof(*flows));

                        core_memory(flows ? 0 : -ENOMEM);
                        band->flows = flows;
                        band->size = size;
                }
                f->class_at = band->count++;
                band->flows[f->class_at] = f->number;
        } else {
                turns_take(core, a, f);
                band->flows[f->class_at] = band->flows[--band->count];
                if (f->class_at < band->count)
                        FLOW(core, band->flows[f->class_at])->class_at = f->class_at;
                f->class_at = NONE;
        }
        bit_set(core->band_classes[f->k.band], f->k.class, band->count > 0);
}

static struct flow *flow_of(struct core *core, const struct task *t)
{
        struct flow *f, key = {.k = {t->class, t->band_now, t->account, t->key}};
        struct account *a = ACCOUNT(core, t->account);
        uint32_t number;

        HASH_FIND(hh, core->flows_by_key, &key.k, sizeof(key.k), f);
        if (f)
                return f;
        core_memory(slab_take(&core->flows, &number));
        f = FLOW(core, number);
        f->k = key.k;
        f->number = number;
        f->first = f->last = f->at = f->class_at = f->previous = NONE;
        f->next = a->first_flow;
        if (f->next != NONE)
                FLOW(core, f->next)->previous = number;
        a->first_flow = number;
        HASH_ADD(hh, core->flows_by_key, k, sizeof(f->k), f);
        return f;
}

static void flow_remove(struct core *core, struct flow *f)
{
        if (f->next != NONE)
                FLOW(core, f->next)->previous = f->previous;
        if (f->previous != NONE)
                FLOW(core, f->previous)->next = f->next;
        else
                ACCOUNT(core, f->k.account)->first_flow = f->next;
        HASH_DELETE(hh, core->flows_by_key, f);
        heap_done(&f->urgent);
        slab_give(&core->flows, f->number);
}

static void age_add(struct core *core, uint32_t task)
{
        struct task *t = TASK(core, task);
        struct line *line = &core->ages[t->band_now];

        t->band_since = core->now;
        t->age_next = NONE;
        t->age_previous = line->last;
        if (line->last != NONE)
                TASK(core, line->last)->age_next = task;
        else
                line->first = task;
        line->last = task;
}

static void age_take(struct core *core, uint32_t task)
{
        struct task *t = TASK(core, task);
        struct line *line = &core->ages[t->band_now];

        if (t->age_next != NONE)
                TASK(core, t->age_next)->age_previous = t->age_previous;
        else
                line->last = t->age_previous;
        if (t->age_previous != NONE)
                TASK(core, t->age_previous)->age_next = t->age_next;
        else
                line->first = t->age_next;
}

/* Into its flow, behind whom it belongs. */
void queue_in(struct core *core, uint32_t task)
{
        struct task *t = TASK(core, task);
        struct flow *f = flow_of(core, t);

        t->flow = f->number;
        t->heap_at = t->next = t->previous = NONE;
        if (t->deadline == CORE_NEVER && (f->last == NONE || task_before(TASK(core, f->last), t))) {
                t->previous = f->last;
                if (f->last != NONE)
                        TASK(core, f->last)->next = task;
                else
                        f->first = task;
                f->last = task;
        } else {
                struct heap_entry entry = {.key = t->deadline, .second = id_half(&t->id, 0), .third = id_half(&t->id, 1), .item = task};

                core_memory(heap_reserve(&f->urgent, f->urgent.count + 1));
                heap_add(&f->urgent, entry, moved_task, core);
        }
        f->count++;
        ACCOUNT(core, t->account)->queued++;
        CLASS(core, t->class)->queued[t->band_now]++;
        age_add(core, task);
        fair_take_part(core, f);
}

void queue_out(struct core *core, uint32_t task)
{
        struct task *t = TASK(core, task);
        struct flow *f = FLOW(core, t->flow);

        age_take(core, task);
        f->count--;
        ACCOUNT(core, t->account)->queued--;
        CLASS(core, t->class)->queued[t->band_now]--;
        if (!f->count)
                fair_take_part(core, f); /* while its head can still be asked for */
        if (t->heap_at != NONE) {
                heap_take(&f->urgent, t->heap_at, moved_task, core);
        } else {
                if (t->next != NONE)
                        TASK(core, t->next)->previous = t->previous;
                else
                        f->last = t->previous;
                if (t->previous != NONE)
                        TASK(core, t->previous)->next = t->next;
                else
                        f->first = t->next;
        }
        t->flow = NONE;
        if (f->count)
                queue_flow_place(core, f);
        else
                flow_remove(core, f);
}

static void move(struct core *core, uint32_t task, uint32_t band, uint64_t deadline)
{
        struct account *a = ACCOUNT(core, TASK(core, task)->account);

        a->eligible++; /* it was not idle in between */
        queue_out(core, task);
        TASK(core, task)->band_now = (uint8_t)band;
        TASK(core, task)->deadline = deadline;
        queue_in(core, task);
        a->eligible--;
}

void queue_band(struct core *core, uint32_t task, uint32_t band)
{
        move(core, task, band, TASK(core, task)->deadline);
}

/* Its place in its flow is by its deadline. */
void queue_deadline(struct core *core, uint32_t task, uint64_t deadline)
{
        move(core, task, TASK(core, task)->band_now, deadline);
}

/* When the next queued task moves up a band. */
uint64_t queue_age_due(const struct core *core)
{
        uint64_t due = CORE_NEVER;

        for (int band = CORE_HIGH; band < CORE_BANDS && core->settings.age_ms; band++) {
                uint32_t first = core->ages[band].first;

                if (first != NONE && TASK(core, first)->band_since + core->settings.age_ms < due)
                        due = TASK(core, first)->band_since + core->settings.age_ms;
        }
        return due;
}

/* Moves the first that is due up; false: none is. It can't run now that could not before: a band is no need. */
bool queue_age_one(struct core *core)
{
        for (uint32_t band = CORE_HIGH; band < CORE_BANDS && core->settings.age_ms; band++) {
                uint32_t first = core->ages[band].first;

                if (first == NONE || TASK(core, first)->band_since + core->settings.age_ms > core->now)
                        continue;
                queue_band(core, first, band - 1);
                return true;
        }
        return false;
}
