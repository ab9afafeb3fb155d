/* flight.c: copies on their way; see flight.h. */
#include "cuda/flight.h"

#include "cuda/clean.h"
#include "cuda/host.h"
#include "cuda/lane.h"
#include "cuda/tier.h"

/* Streams and events live in one context of the device; made on first use and again when that context ended. */
bool flight_ready(struct device *d)
{
        CUcontext popped;
        bool ok;

        if (d->move_context)
                return real.cuCtxPushCurrent_v2(d->move_context) == CUDA_SUCCESS;
        if (!d->contexts_n || real.cuCtxPushCurrent_v2(d->contexts[0]) != CUDA_SUCCESS)
                return false;
        ok = real.cuStreamCreate(&d->out_stream, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS &&
             real.cuStreamCreate(&d->in_stream, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS;
        for (unsigned int i = 0; ok && i < MOVE_WINDOW; i++)
                ok = real.cuEventCreate(&d->flights[i].event, CU_EVENT_DISABLE_TIMING) == CUDA_SUCCESS;
        if (!ok) {
                real.cuCtxPopCurrent_v2(&popped);
                return false;
        }
        d->move_context = d->contexts[0];
        return true;
}

static CUresult copy(struct unit *unit, enum route route, CUstream stream)
{
        switch (route) {
        case ROUTE_OUT:
                return real.cuMemcpyDtoHAsync_v2(host_address(unit), unit->address, unit->bytes, stream);
        case ROUTE_IN:
                return real.cuMemcpyHtoDAsync_v2(unit->address, host_address(unit), unit->bytes, stream);
        case ROUTE_SHELVE:
                return real.cuMemcpyDtoDAsync_v2(tier_address(unit), unit->address, unit->bytes, stream);
        case ROUTE_FETCH:
                return real.cuMemcpyDtoDAsync_v2(unit->address, tier_address(unit), unit->bytes, stream);
        case ROUTE_EMPTY:
                return real.cuMemcpyDtoHAsync_v2(host_address(unit), tier_address(unit), unit->bytes, stream);
        }
        return CUDA_ERROR_INVALID_VALUE;
}

bool flight_leaves(enum route route)
{
        return route == ROUTE_OUT || route == ROUTE_SHELVE;
}

CUresult flight_start(struct device *d, struct unit *unit, enum route route)
{
        struct flight *flight = &d->flights[(d->flight_head + d->flights_n) % MOVE_WINDOW];
        CUstream stream = route == ROUTE_IN || route == ROUTE_FETCH ? d->in_stream : d->out_stream;
        CUresult r = copy(unit, route, stream);

        if (r == CUDA_SUCCESS)
                r = real.cuEventRecord(flight->event, stream);
        if (r != CUDA_SUCCESS)
                return r;
        if (route == ROUTE_OUT || route == ROUTE_EMPTY)
                unit->host_valid = false; /* it is being written */
        flight->unit = unit;
        flight->route = route;
        flight->hashed = route == ROUTE_OUT && d->clean && unit->bytes >= CLEAN_BYTES &&
                         clean_begin(d, (d->flight_head + d->flights_n) % MOVE_WINDOW, &unit, 1);
        unit->in_flight = true;
        d->flights_n++;
        return CUDA_SUCCESS;
}

/* Waits for the oldest copy. After one to the host, the host's copy counts; after one to a shelf, it does not any more. */
CUresult flight_land(struct device *d, struct unit **ret, enum route *ret_route)
{
        struct flight *flight = &d->flights[d->flight_head];
        CUresult r = real.cuEventSynchronize(flight->event);

        *ret = flight->unit;
        *ret_route = flight->route;
        flight->unit->in_flight = false;
        if (flight->route == ROUTE_SHELVE) {
                flight->unit->host_valid = false;
        } else if (r == CUDA_SUCCESS && flight->route != ROUTE_FETCH) {
                /* Nothing of the program runs: both copies are the same until its next call. */
                flight->unit->host_valid = true;
                flight->unit->clean_at = lane_calls();
        }
        if (flight->route == ROUTE_OUT || flight->route == ROUTE_EMPTY)
                flight->unit->host_hashed = r == CUDA_SUCCESS && flight->hashed && clean_end(d, d->flight_head, &flight->unit->host_hash);
        d->flight_head = (d->flight_head + 1) % MOVE_WINDOW;
        d->flights_n--;
        if (!d->flights_n)
                pthread_cond_broadcast(&berth_changed);
        return r;
}

uint64_t flight_bytes(const struct device *d)
{
        uint64_t planned = 0;

        for (unsigned int i = 0; i < d->flights_n; i++)
                planned += d->flights[(d->flight_head + i) % MOVE_WINDOW].unit->bytes;
        return planned;
}
