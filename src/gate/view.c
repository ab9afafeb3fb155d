/* view.c: what people see of a gate: copies of the books, and times worked out for the moment of asking. */
#include "gate/gate-internal.h"

#include <string.h>

bool gate_view_client(const struct gate *gate, uint64_t now, uint32_t client, struct gate_client_view *ret_view)
{
        const struct client *c;
        uint64_t ran, slice;

        if (client >= gate->max_clients || !client_at(gate, client)->used)
                return false;
        c = client_at(gate, client);
        now = most(now, gate->now);
        memset(ret_view, 0, sizeof(*ret_view));
        ran = c->state == WIRE_RUNNING ? now - c->run_since : 0;
        pass_at(gate, c->device)->only_batch = gate_only_batch(gate, c->device);
        slice = gate_slice(gate, c, 0);
        *ret_view = (struct gate_client_view){
                .device = c->device,
                .priority = c->priority,
                .state = c->state,
                .position = c->wants ? c->position : 0,
                .reason = c->wants ? c->reason : WIRE_WAIT_NONE,
                .job = c->job,
                .grant = c->grant,
                .part = c->part,
                .movable = c->movable,
                .pinned = c->pinned,
                .resident = c->resident,
                .backed = c->backed,
                .need = most(gate_required(gate, c), c->need),
                .limit = c->limit,
                .waited_ns = c->waited_ns + (c->wants ? now - c->wait_since : 0),
                .wait_ns = c->wants ? now - c->wait_since : 0,
                .wait_bound_ns = c->wants ? c->wait_bound : 0,
                .ran_ns = c->ran_ns + ran,
                .slice_left_ns = c->state == WIRE_RUNNING ? minus(slice, ran) : 0,
                .age_ns = now - c->came,
                .switches = c->switches,
                .out_bytes = c->out_bytes,
                .in_bytes = c->in_bytes,
                .out_ns = c->out_ns,
                .in_ns = c->in_ns,
                .admitted = c->admitted,
                .wants = c->wants || c->late,
                .stuck = c->stuck,
                .storage = c->storage,
        };
        return true;
}

bool gate_view_device(const struct gate *gate, uint64_t now, uint32_t device, struct gate_device_view *ret_view)
{
        const struct device *d;

        (void)now;
        if (device >= gate->max_devices || !device_at(gate, device)->present)
                return false;
        d = device_at(gate, device);
        *ret_view = (struct gate_device_view){
                .total = d->total,
                .room = gate_device_room(gate, d),
                .granted = d->used,
                .foreign = d->foreign,
                .out_bytes = d->out_bytes,
                .in_bytes = d->in_bytes,
                .out_ns = d->out_ns,
                .in_ns = d->in_ns,
                .switches = d->switches,
                .slice_ns = d->slice_ns,
                .max_wait_ns = d->max_wait_ns,
                .max_wait_bound_ns = d->max_wait_bound_ns,
                .contended = d->contended,
        };
        for_each_on_device (gate, d, c) {
                ret_view->clients++;
                ret_view->waiting += c->wants;
                ret_view->stuck += c->stuck;
        }
        return true;
}
