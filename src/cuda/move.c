/* move.c: the mover; see move.h.
 *
 * Invariant: a unit's memory is released only after the event behind its copy has ended well; on any error in the middle the unit stays where it
 * was, the move ends with a status, and nothing is lost. */
#include "cuda/move.h"

#include "base/clock.h"
#include "base/error.h"
#include "cuda/host.h"
#include "cuda/lane.h"
#include "cuda/memory.h"
#include "cuda/say.h"

#include <errno.h>
#include <string.h>

#define PROGRESS_BYTES (UINT64_C(256) << 20)

void (*move_on_evicted)(struct device *d, uint64_t returned, bool done, int status);
void (*move_on_brought_in)(struct device *d, uint64_t returned, bool done, int status);

static void begin(struct device *d)
{
        d->move_since = clock_now_ns();
        d->moved = 0;
        d->progress_returned = 0;
        d->progress_at = 0;
        d->move_status = 0;
        d->cursor_block = 0;
        d->cursor_unit = 0;
}

void move_evict(struct device *d, uint64_t bytes)
{
        if (!d->evicting)
                begin(d);
        d->coming = false;
        d->evicting = true;
        d->evict_left += bytes;
        d->cursor_block = 0;
        d->cursor_unit = 0;
}

void move_come(struct device *d)
{
        if (!d->coming)
                begin(d);
        d->coming = true;
        d->cursor_block = 0;
        d->cursor_unit = 0;
}

void move_stop(struct device *d)
{
        d->evicting = d->coming = false;
        d->evict_left = 0;
}

uint64_t move_out_bytes(const struct device *d)
{
        return d->movable - d->resident;
}

/* The next unit of the device, from the cursor on, that is (not) resident and not in flight. */
static struct unit *next_unit(struct device *d, bool resident)
{
        for (; d->cursor_block < berth.blocks_n; d->cursor_block++, d->cursor_unit = 0) {
                struct block *block = berth.blocks[d->cursor_block];

                if (block->device != d)
                        continue;
                for (; d->cursor_unit < block->units_n; d->cursor_unit++) {
                        struct unit *unit = &block->units[d->cursor_unit];

                        if (unit->resident == resident && !unit->in_flight)
                                return unit;
                }
        }
        return NULL;
}

/* Streams and events live in one context of the device; made on first use and again when that context ended. */
static bool ready(struct device *d)
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

static CUresult take_off(struct device *d, struct unit *unit, bool out)
{
        struct flight *flight = &d->flights[(d->flight_head + d->flights_n) % MOVE_WINDOW];
        CUstream stream = out ? d->out_stream : d->in_stream;
        CUresult r = out ? real.cuMemcpyDtoHAsync_v2(host_address(unit), unit->address, unit->bytes, stream)
                         : real.cuMemcpyHtoDAsync_v2(unit->address, host_address(unit), unit->bytes, stream);

        if (r == CUDA_SUCCESS)
                r = real.cuEventRecord(flight->event, stream);
        if (r != CUDA_SUCCESS)
                return r;
        flight->unit = unit;
        flight->out = out;
        unit->in_flight = true;
        d->flights_n++;
        return CUDA_SUCCESS;
}

/* Waits for the oldest copy. *ret_out: it was on its way out, so the host's copy counts only from now on. */
static CUresult land(struct device *d, struct unit **ret, bool *ret_out)
{
        struct flight *flight = &d->flights[d->flight_head];
        CUresult r = real.cuEventSynchronize(flight->event);

        *ret = flight->unit;
        *ret_out = flight->out;
        flight->unit->in_flight = false;
        d->flight_head = (d->flight_head + 1) % MOVE_WINDOW;
        d->flights_n--;
        if (!d->flights_n)
                pthread_cond_broadcast(&berth_changed);
        return r;
}

static void count_moved(struct device *d, uint64_t bytes, bool out)
{
        d->moved += bytes;
        if (d->page)
                atomic_fetch_add_explicit(out ? &d->page->out_bytes : &d->page->in_bytes, bytes, memory_order_relaxed);
}

static void tell_evicted(struct device *d, bool done)
{
        d->move_ns = clock_now_ns() - d->move_since;
        move_on_evicted(d, d->progress_returned, done, d->move_status);
        d->progress_returned = 0;
}

static void give_back(struct device *d, uint64_t bytes)
{
        d->granted -= bytes;
        d->progress_returned += bytes;
        d->evict_left -= bytes < d->evict_left ? bytes : d->evict_left;
}

static bool evict_step(struct device *d)
{
        uint64_t spare = device_spare(d), planned = 0;
        struct unit *unit = NULL;
        bool exhausted = false, out;

        if (spare && d->evict_left)
                give_back(d, spare < d->evict_left ? spare : d->evict_left);
        for (unsigned int i = 0; i < d->flights_n; i++)
                planned += d->flights[(d->flight_head + i) % MOVE_WINDOW].unit->bytes;
        while (!d->move_status && d->flights_n < MOVE_WINDOW && planned < d->evict_left) {
                unit = next_unit(d, true);
                if (!unit) {
                        exhausted = true;
                        break;
                }
                d->cursor_unit++;
                if (unit->segment == NO_SEGMENT) {
                        if (!host_place(unit))
                                continue; /* this one can't go; others may have a place */
                        d->backed += unit->bytes;
                }
                if (take_off(d, unit, true) != CUDA_SUCCESS)
                        d->move_status = -EIO;
                else
                        planned += unit->bytes;
        }
        if (d->flights_n) {
                CUresult r = land(d, &unit, &out);

                /* A copy in that was overtaken by this order: the host's copy is whole, whatever became of it. */
                if (!out)
                        r = CUDA_SUCCESS;
                if (r == CUDA_SUCCESS && !d->move_status)
                        r = memory_unmap_unit(unit);
                if (r != CUDA_SUCCESS || d->move_status) {
                        d->move_status = d->move_status ? d->move_status : -EIO;
                } else {
                        d->resident -= unit->bytes;
                        count_moved(d, unit->bytes, true);
                        give_back(d, unit->bytes);
                }
        }
        memory_note(d);
        if (d->flights_n || (d->evict_left && !d->move_status && !exhausted)) {
                if (d->progress_returned >= PROGRESS_BYTES)
                        tell_evicted(d, false);
                return true;
        }
        if (d->evict_left && !d->move_status && d->resident)
                d->move_status = -E_ARENA;
        if (d->move_status == -EIO)
                say("device memory could not be moved to the host; it stays on the device");
        d->evicting = false;
        d->evict_left = 0;
        tell_evicted(d, true);
        return false;
}

static bool come_step(struct device *d)
{
        struct unit *unit = NULL;
        bool tight = false, out;

        while (!d->move_status && d->flights_n < MOVE_WINDOW && (unit = next_unit(d, false))) {
                if (device_spare(d) < unit->bytes) {
                        tight = true;
                        break;
                }
                if (memory_map_unit(d, unit) != CUDA_SUCCESS) {
                        d->move_status = -ENOMEM;
                        break;
                }
                d->resident += unit->bytes;
                if (take_off(d, unit, false) != CUDA_SUCCESS) {
                        d->resident -= unit->bytes;
                        memory_unmap_unit(unit);
                        d->move_status = -EIO;
                        break;
                }
                d->cursor_unit++;
        }
        if (d->flights_n) {
                CUresult r = land(d, &unit, &out);

                if (out) {
                        /* An order to leave that was withdrawn: the unit is still here. */
                } else if (r != CUDA_SUCCESS) {
                        /* What arrived is not to be trusted, the host's copy is. */
                        if (memory_unmap_unit(unit) == CUDA_SUCCESS)
                                d->resident -= unit->bytes;
                        d->move_status = -EIO;
                } else {
                        count_moved(d, unit->bytes, false);
                        d->progress_returned += unit->bytes; /* here: brought in since the last report */
                }
        }
        memory_note(d);
        if (d->flights_n)
                return true;
        if (d->move_status) {
                uint64_t spare = device_spare(d);

                d->coming = false;
                d->granted -= spare;
                d->move_ns = clock_now_ns() - d->move_since;
                move_on_brought_in(d, spare, true, d->move_status);
                return false;
        }
        d->cursor_block = 0;
        d->cursor_unit = 0;
        if (!next_unit(d, false)) {
                d->coming = false;
                d->move_ns = clock_now_ns() - d->move_since;
                move_on_brought_in(d, 0, true, 0);
                return false;
        }
        if (d->progress_returned >= PROGRESS_BYTES || tight) {
                d->move_ns = clock_now_ns() - d->move_since;
                if (d->progress_returned)
                        move_on_brought_in(d, 0, false, 0);
                d->progress_returned = 0;
        }
        return !tight;
}

bool move_step(struct device *d)
{
        CUcontext popped;
        bool more;

        if (!d->evicting && !d->coming && !d->flights_n)
                return false;
        if (!ready(d)) {
                /* No context: nothing can be resident, so only unused grant can go back. */
                if (d->evicting) {
                        give_back(d, device_spare(d) < d->evict_left ? device_spare(d) : d->evict_left);
                        d->evicting = false;
                        d->evict_left = 0;
                        d->move_status = d->resident ? -EIO : 0;
                        tell_evicted(d, true);
                } else if (d->coming) {
                        d->coming = false;
                        move_on_brought_in(d, 0, true, move_out_bytes(d) ? -EIO : 0);
                }
                return false;
        }
        if (d->evicting) {
                more = evict_step(d);
        } else if (d->coming) {
                more = come_step(d);
        } else {
                struct unit *unit;
                bool out;

                /* Orders were withdrawn while copies ran: let them land. A copy out leaves its unit resident; a copy in is complete. */
                if (land(d, &unit, &out) != CUDA_SUCCESS && !out && memory_unmap_unit(unit) == CUDA_SUCCESS)
                        d->resident -= unit->bytes;
                more = d->flights_n;
        }
        real.cuCtxPopCurrent_v2(&popped);
        return more;
}
