/* gate.c: the books of the gate: devices, clients and settings that come, change and go, and the ring of actions.
 *
 * What is told only changes books; gate_settle() then lets plan.c decide, at once, or, when actions of the last decision are still to be
 * carried out, right after the last of them. So the ring is empty whenever a decision begins, which bounds its size.
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

        if (g->settings.band_high_percent)
                room = least(room, d->total / 100 * g->settings.band_high_percent + d->total % 100 * g->settings.band_high_percent / 100);
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
        g->events++;
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

void gate_change_settings(struct gate *gate, uint64_t now, const struct gate_settings *settings)
{
        gate_advance(gate, now);
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

void gate_link(struct gate *gate, uint32_t device, uint64_t bytes_per_s)
{
        if (device < gate->max_devices && device_at(gate, device)->present)
                device_at(gate, device)->link = bytes_per_s;
}

void gate_foreign(struct gate *gate, uint64_t now, uint32_t device, uint64_t bytes)
{
        if (device >= gate->max_devices || !device_at(gate, device)->present)
                return;
        gate_advance(gate, now);
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

        gate_advance(gate, now);
        gate->arena_free = free_bytes;
        if (grew)
                for_each_client (gate, c)
                        c->keep_until = 0;
        gate_settle(gate);
}

void gate_places(struct gate *gate, uint64_t now, uint32_t client, uint64_t bytes)
{
        struct client *c = gate_known(gate, now, client);

        if (!c || c->places == bytes)
                return;
        if (bytes > c->places)
                c->keep_until = 0;
        c->places = bytes;
        gate->quiet = 0;
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

/* Its mates wait for its device as well from now on; the first that links devices makes everybody wait for more than was reckoned with. */
static void renew_bounds(struct gate *g, const struct client *joined, bool all)
{
        for_each_client (g, c)
                if (c != joined && c->wants && (all || c->leader == joined->leader))
                        c->wait_bound = plus(g->now - c->wait_since, gate_wait_bound(g, g->now, client_index(g, c)));
}

int gate_add_client(struct gate *gate, uint64_t now, const struct gate_client_spec *spec, uint32_t *ret_client)
{
        struct client *c = NULL;
        bool linked;

        if (spec->device >= gate->max_devices || !device_at(gate, spec->device)->present)
                return -E_UNKNOWN_DEVICE;
        if (spec->priority >= WIRE_PRIORITY_N || !gate_sane(spec->grant_bytes) || !gate_sane(spec->movable_bytes) ||
            !gate_sane(spec->pinned_bytes) || spec->resident_bytes > spec->movable_bytes ||
            spec->resident_bytes + spec->pinned_bytes > spec->grant_bytes || (spec->grant_bytes && !spec->admitted && !spec->storage) ||
            (spec->movable_bytes && !spec->admitted && !spec->storage) || (spec->storage && spec->running) ||
            (spec->running && (!spec->admitted || spec->resident_bytes != spec->movable_bytes)))
                return -E_MESSAGE;
        for (uint32_t i = 0; i < gate->max_clients && !c; i++)
                if (!client_at(gate, i)->used)
                        c = client_at(gate, i);
        if (!c)
                return -ENOSPC;
        gate_advance(gate, now);
        linked = gate_linked(gate);
        memset(c, 0, sizeof(*c));
        c->used = 1;
        c->device = spec->device;
        c->priority = c->class_in = spec->priority;
        c->storage = spec->storage;
        c->job = c->storage ? 0 : spec->job;
        c->process = c->job ? spec->process : 0;
        c->born = ++gate->born;
        c->limit = spec->limit_bytes;
        c->places = UINT64_MAX;
        c->need = c->storage ? 0 : least(spec->limit_bytes ? least(spec->need_bytes, spec->limit_bytes) : spec->need_bytes, INT64_MAX / 4);
        c->came = gate->now;
        c->deadline = c->kill_at = GATE_NEVER;
        c->state = spec->running ? WIRE_RUNNING : WIRE_WAITING;
        c->run_since = c->active_at = gate->now;
        c->admitted = spec->admitted || c->storage;
        c->grant = spec->grant_bytes;
        c->movable = spec->movable_bytes;
        c->pinned = spec->pinned_bytes;
        c->resident = spec->resident_bytes;
        c->backed = least(spec->backed_bytes, c->movable);
        c->peak = owned(c);
        c->part = c->admitted && !c->storage ? gate->settings.client_part_bytes : 0;
        gate_charge(gate, c, c->grant + c->part);
        link_client(gate, c);
        renew_bounds(gate, c, linked != gate_linked(gate));
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
        struct client *c = gate_known(gate, now, client);

        if (!c)
                return;
        gate->eased_at = gate->now;
        gate_uncharge(gate, c, c->grant + c->part + c->reserved + c->kept);
        unlink_client(gate, c);
        forget_actions(gate, client);
        memset(c, 0, sizeof(*c));
        gate->quiet = 0;
        gate_settle(gate);
}

