/* worker.c: workers join, change, offer slots, drain and leave. */
#include "pool/internal.h"

#define SLOTS_MAX 1024

bool worker_known(const struct core *core, uint32_t worker)
{
        return worker < core->workers.used && WORKER(core, worker)->used;
}

uint32_t core_worker_find(const struct core *core, const struct id *id)
{
        struct worker *w;

        HASH_FIND(hh, core->workers_by_id, id, sizeof(*id), w);
        return w ? w->number : NONE;
}

static uint32_t state_of(const struct worker *w)
{
        if (w->silence != CORE_ALIVE)
                return w->silence;
        return !w->drain ? CORE_ALIVE : w->leases ? CORE_DRAINING : CORE_DRAINED;
}

/* Says so when its state is another than was said. */
void worker_told(struct core *core, uint32_t worker)
{
        struct worker *w = WORKER(core, worker);
        uint32_t state = state_of(w);

        if (state == w->told)
                return;
        w->told = (uint8_t)state;
        core_act_worker(core, core_act(core, CORE_WORKER), worker);
}

static bool text_ok(const char *s, size_t size)
{
        for (size_t i = 0; i < size; i++) {
                if (!s[i])
                        return true;
                if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
                        return false;
        }
        return false;
}

static bool check_spec(const struct core_worker_spec *spec)
{
        if (id_is_none(&spec->id) || !spec->slots || spec->slots > SLOTS_MAX || spec->device_count > CORE_DEVICES || spec->type_count > CORE_TYPES ||
            spec->model_count > CORE_MODELS || spec->label_count > CORE_LABELS || (spec->private_pool && id_is_none(&spec->account)) ||
            (spec->type_count && !spec->types) || (spec->model_count && !spec->models) || !text_ok(spec->name, sizeof(spec->name)))
                return false;
        for (uint32_t i = 0; i < spec->device_count; i++) {
                if (!text_ok(spec->devices[i].kind, sizeof(spec->devices[i].kind)) || !spec->devices[i].kind[0])
                        return false;
        }
        for (uint32_t i = 0; i < spec->type_count; i++) {
                if (!text_ok(spec->types[i], CORE_TEXT) || !spec->types[i][0])
                        return false;
        }
        for (uint32_t i = 0; i < spec->model_count; i++) {
                if (!text_ok(spec->models[i], CORE_TEXT * 2) || !spec->models[i][0])
                        return false;
        }
        for (uint32_t i = 0; i < spec->label_count; i++) {
                const struct core_label *l = &spec->labels[i];

                if (!text_ok(l->name, CORE_TEXT) || !text_ok(l->value, CORE_TEXT) || !l->name[0] || strchr(l->name, '='))
                        return false;
        }
        return true;
}

struct list {
        struct ability abilities[CORE_HOLDINGS];
        uint32_t count;
};

static int list_add(struct core *core, struct list *list, char kind, const char *name, const char *value, uint64_t amount)
{
        uint32_t token;
        int r = token_intern(core, kind, name, value, &token);

        if (r)
                return r;
        list->abilities[list->count++] = (struct ability){.token = token, .amount = amount};
        return 0;
}

/* All that it can, as words. A device of any kind counts as "any device", too; the host is a device "cpu". */
static int list_abilities(struct core *core, const struct core_worker_spec *spec, struct list *list)
{
        uint64_t most = spec->host_memory_bytes;
        char text[ID_TEXT];
        int r = 0;

        list->count = 0;
        for (uint32_t i = 0; i < spec->type_count && !r; i++)
                r = list_add(core, list, TOKEN_TYPE, spec->types[i], NULL, 0);
        for (uint32_t i = 0; i < spec->model_count && !r; i++)
                r = list_add(core, list, TOKEN_MODEL, spec->models[i], NULL, 0);
        for (uint32_t i = 0; i < spec->label_count && !r; i++)
                r = list_add(core, list, TOKEN_LABEL, spec->labels[i].name, spec->labels[i].value, 0);
        for (uint32_t i = 0; i < spec->device_count && !r; i++) {
                r = list_add(core, list, TOKEN_DEVICE, spec->devices[i].kind, NULL, spec->devices[i].memory_bytes);
                if (spec->devices[i].memory_bytes > most)
                        most = spec->devices[i].memory_bytes;
        }
        if (!r)
                r = list_add(core, list, TOKEN_DEVICE, "cpu", NULL, spec->host_memory_bytes);
        if (!r)
                r = list_add(core, list, TOKEN_DEVICE, "", NULL, most);
        id_text("", &spec->id, text);
        if (!r && token_find(core, TOKEN_WORKER, text, NULL) != NONE)
                r = list_add(core, list, TOKEN_WORKER, text, NULL, 0);
        return r;
}

/* Its abilities are these now. It stands in no profile while they change. */
static int equip(struct core *core, uint32_t worker, const struct core_worker_spec *spec)
{
        struct worker *w = WORKER(core, worker);
        struct list list;
        uint32_t account = NONE;
        int r = 0;

        if (!id_is_none(&spec->account))
                r = fair_account(core, &spec->account, &account);
        if (!r)
                r = list_abilities(core, spec, &list);
        if (r)
                return r;
        class_leave(core, worker);
        r = token_hold(core, worker, list.abilities, list.count);
        w->account = account;
        w->private_pool = spec->private_pool;
        w->slots = spec->slots;
        memcpy(w->name, spec->name, sizeof(w->name));
        if (w->ready > w->slots - (w->leases < w->slots ? w->leases : w->slots))
                w->ready = w->slots - (w->leases < w->slots ? w->leases : w->slots);
        class_place(core, worker);
        return r;
}

static void forget_residents(struct core *core, uint32_t worker)
{
        struct worker *w = WORKER(core, worker);

        match_unready(core, worker);
        free(w->residents);
        w->residents = NULL;
        w->residents_n = 0;
}

/* Models that are no ability of its any more are not resident either. */
static void trim_residents(struct core *core, uint32_t worker)
{
        struct worker *w = WORKER(core, worker);
        uint32_t n = 0;

        match_unready(core, worker);
        for (uint32_t i = 0; i < w->residents_n; i++) {
                if (token_holding(w, w->residents[i].token))
                        w->residents[n++] = w->residents[i];
        }
        w->residents_n = n;
}

int core_worker_join(struct core *core, uint64_t now, const struct core_worker_spec *spec, void *data, uint32_t *ret_worker)
{
        uint32_t number = core_worker_find(core, &spec->id);
        struct worker *w;
        int r;

        core_at(core, now);
        if (!check_spec(spec))
                return -EINVAL;
        if (number != NONE) {
                w = WORKER(core, number);
                w->data = data;
                w->ready = 0; /* it says anew what is free */
                live_heard(core, number);
                r = core_worker_change(core, now, number, spec);
                if (!r)
                        *ret_worker = number;
                return r;
        }
        r = heap_reserve(&core->worker_timers, core->workers.live + 1);
        if (!r)
                r = slab_take(&core->workers, &number);
        if (r)
                return r;
        w = WORKER(core, number);
        *w = (struct worker){.id = spec->id, .data = data, .number = number, .account = NONE, .first_lease = NONE, .profile = NONE, .ready_at = NONE,
                             .timer_at = NONE, .suspect_next = NONE, .suspect_previous = NONE, .last_heard = core->now, .silence = CORE_ALIVE,
                             .told = UINT8_MAX, .used = true};
        HASH_ADD(hh, core->workers_by_id, id, sizeof(w->id), w);
        core->known_workers++;
        r = equip(core, number, spec);
        if (r) {
                worker_forget(core, number);
                return r;
        }
        live_timer(core, number);
        worker_told(core, number);
        *ret_worker = number;
        return 0;
}

int core_worker_change(struct core *core, uint64_t now, uint32_t worker, const struct core_worker_spec *spec)
{
        int r;

        core_at(core, now);
        if (!worker_known(core, worker))
                return -ENOENT;
        if (!check_spec(spec) || !id_equal(&spec->id, &WORKER(core, worker)->id))
                return -EINVAL;
        live_heard(core, worker);
        r = equip(core, worker, spec);
        trim_residents(core, worker);
        match_worker(core, worker);
        return r;
}

void core_worker_models(struct core *core, uint64_t now, uint32_t worker, const char (*resident)[CORE_TEXT * 2], uint32_t count)
{
        struct worker *w;

        core_at(core, now);
        if (!worker_known(core, worker))
                return;
        live_heard(core, worker);
        forget_residents(core, worker);
        w = WORKER(core, worker);
        if (count > CORE_MODELS)
                count = CORE_MODELS;
        w->residents = calloc(count ? count : 1, sizeof(*w->residents));
        core_memory(w->residents ? 0 : -ENOMEM);
        for (uint32_t i = 0; i < count; i++) {
                uint32_t token = text_ok(resident[i], CORE_TEXT * 2) ? token_find(core, TOKEN_MODEL, resident[i], NULL) : NONE;
                bool twice = false;

                if (token == NONE || !token_holding(w, token))
                        continue;
                for (uint32_t j = 0; j < w->residents_n; j++)
                        twice |= w->residents[j].token == token;
                if (!twice)
                        w->residents[w->residents_n++] = (struct resident){token, NONE, NONE};
        }
        match_worker(core, worker);
}

void core_heartbeat(struct core *core, uint64_t now, uint32_t worker)
{
        core_at(core, now);
        if (worker_known(core, worker))
                live_heard(core, worker);
}

void core_ready(struct core *core, uint64_t now, uint32_t worker, uint32_t slots)
{
        struct worker *w;
        uint32_t most;

        core_at(core, now);
        if (!worker_known(core, worker))
                return;
        w = WORKER(core, worker);
        most = w->slots > w->leases ? w->slots - w->leases : 0;
        if (!w->ready)
                w->ready_since = core->now;
        w->ready = slots > most || w->ready > most - slots ? most : w->ready + slots;
        live_heard(core, worker);
        match_worker(core, worker);
}

/* All its leases go back to the queue. */
void worker_hand_on(struct core *core, uint32_t worker, bool count_attempt, uint32_t reason)
{
        struct worker *w = WORKER(core, worker);

        w->ready = 0;
        match_ready(core, worker);
        while (w->first_lease != NONE) {
                uint32_t task = LEASE(core, w->first_lease)->task, account = TASK(core, task)->account;

                if (count_attempt) {
                        lease_lost(core, task, reason);
                        continue;
                }
                lease_end(core, task, 0);
                TASK(core, task)->attempt--;
                task_go_on(core, task, reason, false);
                match_account(core, account);
        }
}

/* Out of the books. It has no leases. */
void worker_forget(struct core *core, uint32_t worker)
{
        struct worker *w = WORKER(core, worker);

        forget_residents(core, worker);
        live_leave(core, w);
        class_leave(core, worker);
        token_unhold(core, worker);
        HASH_DELETE(hh, core->workers_by_id, w);
        core->known_workers--;
        slab_give(&core->workers, worker);
}

static void gone(struct core *core, uint32_t worker)
{
        struct core_action *action = core_act(core, CORE_WORKER);

        core_act_worker(core, action, worker);
        action->gone = true;
        worker_forget(core, worker);
}

void core_worker_leave(struct core *core, uint64_t now, uint32_t worker)
{
        core_at(core, now);
        if (!worker_known(core, worker))
                return;
        WORKER(core, worker)->drain = true; /* nothing comes back to it */
        worker_hand_on(core, worker, false, CORE_BECAUSE_DRAIN);
        gone(core, worker);
}

/* It was silent for too long. */
void worker_gone(struct core *core, uint32_t worker)
{
        worker_hand_on(core, worker, true, CORE_BECAUSE_WORKER_LOST);
        gone(core, worker);
}

int core_worker_drain(struct core *core, uint64_t now, uint32_t worker, bool on)
{
        core_at(core, now);
        if (!worker_known(core, worker))
                return -ENOENT;
        WORKER(core, worker)->drain = on;
        match_worker(core, worker);
        worker_told(core, worker);
        return 0;
}
