/* gate.c: the books of the gate, and the events that change them.
 *
 * Every message is checked against the books before anything changes: what contradicts them, or is out of turn, is refused with
 * -E_MESSAGE. Messages that may have crossed an action on the way are in turn. Events only change books; gate_settle() then lets plan.c
 * decide, at once, or, when actions of the last decision are still to be carried out, right after the last of them. So the ring is empty
 * whenever a decision begins, which bounds its size.
 */
#include "gate/gate-internal.h"

#include <string.h>

#define NS_PER_S UINT64_C(1000000000)

const struct gate_settings gate_default_settings = {
        .reserve_percent = 10,
        .client_part_bytes = UINT64_C(512) << 20,
        .slice_mode = GATE_SLICE_AUTO,
        .slice_fixed_ns = 30 * NS_PER_S,
        .slice_multiplier = 5,
        .slice_multiplier_batch = 25,
        .slice_min_ns = 2 * NS_PER_S,
        .slice_max_ns = 300 * NS_PER_S,
        .age_ns = 30 * NS_PER_S,
        .idle_ns = NS_PER_S / 2,
        .give_way_bound_ns = 30 * NS_PER_S,
        .kill_after_ns = 300 * NS_PER_S,
        .move_bound_ns = 10 * NS_PER_S,
        .move_bytes_per_s = UINT64_C(1) << 30,
};

struct gate *gate_new(uint32_t max_clients, uint32_t max_devices, const struct gate_settings *settings)
{
        uint32_t ring = max_clients * GATE_ACTIONS_PER_CLIENT + 2 * max_devices + 1;
        uint64_t devices = sizeof(struct gate), clients, actions, state, block;
        struct gate *g;

        if (max_clients > UINT32_MAX / 64 || max_devices > UINT32_MAX / 64)
                return NULL;
        clients = devices + max_devices * sizeof(struct device);
        actions = clients + max_clients * sizeof(struct client);
        state = actions + ring * sizeof(struct gate_action);
        block = state + sizeof(struct scratch) + max_devices * sizeof(struct pass) +
                max_clients * (sizeof(struct unit) + sizeof(struct victim));
        g = calloc(1, block);
        if (!g)
                return NULL;
        g->devices_at = devices;
        g->clients_at = clients;
        g->ring_at = actions;
        g->state_bytes = state;
        g->block_bytes = block;
        g->max_clients = max_clients;
        g->max_devices = max_devices;
        g->ring_size = ring;
        g->arena_free = UINT64_MAX;
        g->deadline = GATE_NEVER;
        g->quiet = 1;
        memcpy(&g->settings, settings, sizeof(*settings));
        return g;
}

void gate_free(struct gate *gate)
{
        free(gate);
}

struct gate *gate_clone(const struct gate *gate)
{
        struct gate *copy = malloc(gate->block_bytes);

        if (copy)
                memcpy(copy, gate, gate->block_bytes);
        return copy;
}

size_t gate_bytes(const struct gate *gate)
{
        return gate->state_bytes;
}

/* What all clients of the device may hold together. */
static uint64_t room_beside(const struct gate *g, const struct device *d, uint64_t foreign)
{
        uint64_t room = d->total / 100 * (100 - least(g->settings.reserve_percent, 100)) +
                        d->total % 100 * (100 - least(g->settings.reserve_percent, 100)) / 100;

        room = minus(room, foreign);
        if (g->settings.limits_classes) {
                uint64_t gib = d->total >> 30, percent = gib >= 24 ? 80 : gib >= 12 ? 75 : 70;

                room = least(room, d->total / 100 * percent + d->total % 100 * percent / 100);
        }
        return room;
}

uint64_t gate_device_room(const struct gate *g, const struct device *d)
{
        return room_beside(g, d, d->foreign);
}

bool gate_foreign_may_pass(const struct gate *g, const struct device *d)
{
        return d->foreign && g->now < plus(d->foreign_at, GATE_FOREIGN_GRACE_NS);
}

uint64_t gate_lasting_room(const struct gate *g, const struct device *d)
{
        return minus(room_beside(g, d, gate_foreign_may_pass(g, d) ? 0 : d->foreign), g->settings.client_part_bytes);
}

/* Negative: more is held than there is room for. */
int64_t gate_free_bytes(const struct gate *g, uint32_t device)
{
        const struct device *d = device_at(g, device);

        return (int64_t)gate_device_room(g, d) - (int64_t)d->used;
}

uint64_t gate_room(const struct gate *gate, uint32_t device)
{
        if (device >= gate->max_devices || !device_at(gate, device)->present)
                return 0;
        return minus(gate_device_room(gate, device_at(gate, device)), gate->settings.client_part_bytes);
}

bool gate_contended(const struct gate *gate, uint32_t device)
{
        return device < gate->max_devices && device_at(gate, device)->contended;
}

void gate_charge(struct gate *g, struct client *c, uint64_t bytes)
{
        device_at(g, c->device)->used += bytes;
}

void gate_uncharge(struct gate *g, struct client *c, uint64_t bytes)
{
        struct device *d = device_at(g, c->device);

        d->used = minus(d->used, bytes);
}

uint64_t gate_back_off(uint32_t failures)
{
        return GATE_BACK_OFF_NS << (failures < GATE_BACK_OFF_STEPS ? failures : GATE_BACK_OFF_STEPS);
}

void gate_settle(struct gate *g)
{
        if (g->ring_count)
                g->dirty = 1;
        else
                gate_plan(g);
}

bool gate_next_action(struct gate *gate, struct gate_action *ret_action)
{
        if (!gate->ring_count && gate->dirty)
                gate_plan(gate);
        if (!gate->ring_count)
                return false;
        *ret_action = *ring_at(gate, gate->ring_first);
        memset(ring_at(gate, gate->ring_first), 0, sizeof(*ret_action));
        gate->ring_first = (gate->ring_first + 1) % gate->ring_size;
        if (!--gate->ring_count)
                gate->ring_first = 0;
        return true;
}

static void advance(struct gate *g, uint64_t now)
{
        g->now = most(g->now, now);
}

/* The client's number, or NULL when there is none such. */
static struct client *known(struct gate *g, uint64_t now, uint32_t client)
{
        if (client >= g->max_clients || !client_at(g, client)->used)
                return NULL;
        advance(g, now);
        return client_at(g, client);
}

void gate_change_settings(struct gate *gate, uint64_t now, const struct gate_settings *settings)
{
        advance(gate, now);
        memcpy(&gate->settings, settings, sizeof(*settings));
        gate->eased_at = gate->now;
        gate_settle(gate);
}

int gate_add_device(struct gate *gate, uint32_t device, uint64_t total_bytes)
{
        struct device *d;

        if (device >= gate->max_devices)
                return -ENOSPC;
        d = device_at(gate, device);
        if (d->present)
                return -EEXIST;
        memset(d, 0, sizeof(*d));
        d->total = least(total_bytes, INT64_MAX / 4);
        d->present = 1;
        d->first = GATE_NONE;
        return 0;
}

void gate_foreign(struct gate *gate, uint64_t now, uint32_t device, uint64_t bytes)
{
        if (device >= gate->max_devices || !device_at(gate, device)->present)
                return;
        advance(gate, now);
        if (most(bytes, device_at(gate, device)->foreign) - least(bytes, device_at(gate, device)->foreign) >
            device_at(gate, device)->total / 256)
                device_at(gate, device)->foreign_at = gate->now;
        device_at(gate, device)->foreign = bytes;
        gate->eased_at = gate->now;
        gate_settle(gate);
}

void gate_arena(struct gate *gate, uint64_t now, uint64_t free_bytes)
{
        bool grew = free_bytes > gate->arena_free;

        advance(gate, now);
        gate->arena_free = free_bytes;
        if (grew)
                for_each_client (gate, c)
                        c->keep_until = 0;
        gate_settle(gate);
}

/* The lists are kept in the order of the numbers, so that equal worlds have equal blocks. */
static void link_client(struct gate *g, struct client *c)
{
        uint32_t me = client_index(g, c), *at = &device_at(g, c->device)->first, last = GATE_NONE;

        while (*at != GATE_NONE && *at < me)
                at = &client_at(g, *at)->next_on_device;
        c->next_on_device = *at;
        *at = me;
        c->leader = me;
        c->next_in_job = GATE_NONE;
        if (!c->job)
                return;
        for_each_client (g, other) {
                if (other == c || other->job != c->job)
                        continue;
                c->leader = other->leader;
                for_each_in_job (g, other->leader, mate)
                        last = client_index(g, mate);
                client_at(g, last)->next_in_job = me;
                return;
        }
}

static void unlink_client(struct gate *g, struct client *c)
{
        uint32_t me = client_index(g, c), *at = &device_at(g, c->device)->first;

        while (*at != me)
                at = &client_at(g, *at)->next_on_device;
        *at = c->next_on_device;
        if (c->leader == me) {
                for (uint32_t i = c->next_in_job; i != GATE_NONE; i = client_at(g, i)->next_in_job)
                        client_at(g, i)->leader = c->next_in_job;
                return;
        }
        at = &client_at(g, c->leader)->next_in_job;
        while (*at != me)
                at = &client_at(g, *at)->next_in_job;
        *at = c->next_in_job;
}

/* Sums of three such never overflow. */
static bool sane(uint64_t bytes)
{
        return bytes <= INT64_MAX / 4;
}

int gate_add_client(struct gate *gate, uint64_t now, const struct gate_client_spec *spec, uint32_t *ret_client)
{
        struct client *c = NULL;

        if (spec->device >= gate->max_devices || !device_at(gate, spec->device)->present)
                return -E_UNKNOWN_DEVICE;
        if (spec->priority >= WIRE_PRIORITY_N || !sane(spec->grant_bytes) || !sane(spec->movable_bytes) ||
            !sane(spec->pinned_bytes) || spec->resident_bytes > spec->movable_bytes ||
            spec->resident_bytes + spec->pinned_bytes > spec->grant_bytes || (spec->grant_bytes && !spec->admitted) ||
            (spec->movable_bytes && !spec->admitted) ||
            (spec->running && (!spec->admitted || spec->resident_bytes != spec->movable_bytes)))
                return -E_MESSAGE;
        for (uint32_t i = 0; i < gate->max_clients && !c; i++)
                if (!client_at(gate, i)->used)
                        c = client_at(gate, i);
        if (!c)
                return -ENOSPC;
        advance(gate, now);
        memset(c, 0, sizeof(*c));
        c->used = 1;
        c->device = spec->device;
        c->priority = c->class_in = spec->priority;
        c->job = spec->job;
        c->born = ++gate->born;
        c->limit = spec->limit_bytes;
        c->need = least(spec->limit_bytes ? least(spec->need_bytes, spec->limit_bytes) : spec->need_bytes, INT64_MAX / 4);
        c->came = gate->now;
        c->deadline = c->kill_at = GATE_NEVER;
        c->state = spec->running ? WIRE_RUNNING : WIRE_WAITING;
        c->run_since = c->active_at = gate->now;
        c->admitted = spec->admitted;
        c->grant = spec->grant_bytes;
        c->movable = spec->movable_bytes;
        c->pinned = spec->pinned_bytes;
        c->resident = spec->resident_bytes;
        c->backed = least(spec->backed_bytes, c->movable);
        c->part = c->admitted ? gate->settings.client_part_bytes : 0;
        gate_charge(gate, c, c->grant + c->part);
        link_client(gate, c);
        *ret_client = client_index(gate, c);
        gate_settle(gate);
        return 0;
}

/* The number may be given to another soon: nothing meant for this one may reach that. */
static void forget_actions(struct gate *g, uint32_t client)
{
        uint32_t kept = 0;

        for (uint32_t i = 0; i < g->ring_count; i++) {
                struct gate_action action = *ring_at(g, g->ring_first + i);

                memset(ring_at(g, g->ring_first + i), 0, sizeof(action));
                if (action.client != client)
                        *ring_at(g, g->ring_first + kept++) = action;
        }
        g->ring_count = kept;
}

void gate_gone(struct gate *gate, uint64_t now, uint32_t client)
{
        struct client *c = known(gate, now, client);

        if (!c)
                return;
        gate->eased_at = gate->now;
        gate_uncharge(gate, c, c->grant + c->part + c->reserved);
        unlink_client(gate, c);
        forget_actions(gate, client);
        memset(c, 0, sizeof(*c));
        gate->quiet = 0;
        gate_settle(gate);
}

void gate_begin_wait(struct gate *g, struct client *c)
{
        c->wants = 1;
        c->modest = 0;
        c->wait_since = g->now;
        c->told_reason = WIRE_WAIT_NONE;
        c->wait_bound = gate_wait_bound(g, g->now, client_index(g, c));
}

void gate_end_wait(struct gate *g, struct client *c)
{
        struct device *d = device_at(g, c->device);
        uint64_t waited = g->now - c->wait_since;

        if (!c->wants)
                return;
        c->waited_ns += waited;
        if (waited > d->max_wait_ns) {
                d->max_wait_ns = waited;
                d->max_wait_bound_ns = c->wait_bound;
        }
        c->wants = 0;
        c->asked = 0;
        c->reason = c->told_reason = WIRE_WAIT_NONE;
        c->position = 0;
}

static void take_back(struct gate *g, struct client *c, uint64_t returned)
{
        c->grant -= returned;
        gate_uncharge(g, c, returned);
        c->evict_left = minus(c->evict_left, returned);
        c->trim_slack = least(c->trim_slack, slack(c));
}

/* What is on the device must be owned and granted, also after `returned` is gone. */
static bool fits_books(const struct client *c, uint64_t movable, uint64_t pinned, uint64_t resident, uint64_t returned)
{
        return sane(movable) && sane(pinned) && resident <= movable && returned <= c->grant &&
               resident + pinned <= c->grant - returned;
}

int gate_memory(struct gate *gate, uint64_t now, uint32_t client, uint64_t movable, uint64_t pinned, uint64_t resident,
                uint64_t backed, uint64_t returned)
{
        struct client *c = known(gate, now, client);

        if (!c || !fits_books(c, movable, pinned, resident, returned) || ((movable || pinned) && !c->admitted) ||
            (c->state == WIRE_RUNNING && resident != movable))
                return -E_MESSAGE;
        if (c->backed < least(backed, movable))
                c->keep_until = 0;
        c->movable = movable;
        c->pinned = pinned;
        c->resident = resident;
        c->backed = least(backed, movable);
        take_back(gate, c, returned);
        if (!gate->quiet)
                gate_settle(gate);
        return 0;
}

int gate_want(struct gate *gate, uint64_t now, uint32_t client, uint64_t need, uint32_t ticket)
{
        struct client *c = known(gate, now, client);

        if (!c || !sane(need))
                return -E_MESSAGE;
        gate->quiet = 0;
        if (c->filling && need > c->target) { /* the fill keeps its aim; the new want is taken up after it */
                c->late = 1;
                c->late_need = need;
                c->late_ticket = ticket;
        } else if (c->filling && c->wants) {
                c->late = 0;
                c->ticket = ticket;
        } else {
                uint64_t elapsed = gate->now - c->wait_since, since = c->wait_since;
                bool waited = c->wants;

                c->asked = need;
                c->ticket = ticket;
                gate_begin_wait(gate, c);
                if (waited) { /* it keeps its place */
                        c->wait_since = since;
                        c->wait_bound = plus(c->wait_bound, elapsed);
                }
        }
        gate_settle(gate);
        return 0;
}

int gate_given_way(struct gate *gate, uint64_t now, uint32_t client, bool wants)
{
        struct client *c = known(gate, now, client);

        if (!c || c->state != WIRE_GIVING_WAY)
                return -E_MESSAGE;
        gate_drained(device_at(gate, c->device), gate->now - c->gave_at);
        gate_move(gate, c, WIRE_WAITING);
        if (wants && !c->wants) {
                c->asked = 0;
                c->ticket = 0;
                gate_begin_wait(gate, c);
        }
        gate->quiet = 0;
        gate_settle(gate);
        return 0;
}

/* Moved and elapsed count from the start of the move: the difference is new. */
static void count_move(struct gate *g, struct client *c, uint64_t moved, uint64_t elapsed, bool out)
{
        struct device *d = device_at(g, c->device);
        uint64_t bytes = least(minus(moved, c->moved_seen), INT64_MAX / 4);
        uint64_t ns = least(minus(elapsed, c->elapsed_seen), INT64_MAX / 4);

        *(out ? &c->out_bytes : &c->in_bytes) += bytes;
        *(out ? &c->out_ns : &c->in_ns) += ns;
        *(out ? &d->out_bytes : &d->in_bytes) += bytes;
        *(out ? &d->out_ns : &d->in_ns) += ns;
        c->moved_seen = most(moved, c->moved_seen);
        c->elapsed_seen = most(elapsed, c->elapsed_seen);
}

int gate_evicted(struct gate *gate, uint64_t now, uint32_t client, uint64_t resident, uint64_t returned, uint64_t moved,
                 uint64_t elapsed_ns, bool done, int status)
{
        struct client *c = known(gate, now, client);

        if (!c || c->state != WIRE_GOING_OUT || !fits_books(c, c->movable, c->pinned, resident, returned))
                return -E_MESSAGE;
        c->resident = resident;
        take_back(gate, c, returned);
        count_move(gate, c, moved, elapsed_ns, true);
        if (done || status < 0) {
                gate_measured(&device_at(gate, c->device)->out_rate, moved, elapsed_ns);
                if (c->evict_left && c->grant > c->pinned)
                        c->keep_until = gate->now + gate_back_off(c->out_failures++);
                else
                        c->out_failures = 0;
                c->evict_left = 0;
                c->whole = c->bringing = 0;
                gate_move(gate, c, WIRE_WAITING);
        }
        gate->quiet = 0;
        gate_settle(gate);
        return 0;
}

/* In turn while coming in, and also later when the fill was called off before the client heard of it. */
int gate_brought_in(struct gate *gate, uint64_t now, uint32_t client, uint64_t resident, uint64_t returned,
                    uint64_t moved, uint64_t elapsed_ns, bool done, int status)
{
        struct client *c = known(gate, now, client);

        if (!c || !c->bringing || (c->state != WIRE_COMING_IN && c->state != WIRE_WAITING && c->state != WIRE_GOING_OUT) ||
            !fits_books(c, c->movable, c->pinned, resident, returned))
                return -E_MESSAGE;
        done &= status >= 0;
        c->resident = resident;
        take_back(gate, c, returned);
        if (done)
                c->movable = resident; /* it owns nothing else */
        if (c->state == WIRE_COMING_IN) {
                count_move(gate, c, moved, elapsed_ns, false);
                if (done)
                        gate_measured(&device_at(gate, c->device)->in_rate, moved, elapsed_ns);
        }
        if (done || status < 0) {
                c->bringing = 0;
                if (c->state == WIRE_COMING_IN)
                        gate_move(gate, c, WIRE_WAITING);
        }
        if (done) {
                c->in_failures = 0;
        } else if (status < 0) {
                c->hold_until = gate->now + gate_back_off(c->in_failures++);
                if (c->filling)
                        gate_abort_fill(gate, c);
        }
        gate->quiet = 0;
        gate_settle(gate);
        return 0;
}

void gate_active(struct gate *gate, uint64_t now, uint32_t client)
{
        struct client *c = known(gate, now, client);

        if (c)
                c->active_at = gate->now;
}

void gate_tick(struct gate *gate, uint64_t now)
{
        advance(gate, now);
        if (gate->now >= gate->deadline || gate->dirty)
                gate_settle(gate);
}

uint64_t gate_next_deadline(const struct gate *gate)
{
        return gate->deadline;
}
