/* move.c: the mover; see move.h.
 *
 * Invariant: a unit's memory is released only after the event behind its copy has ended well; on any error in the middle the unit stays where it
 * was, the move ends with a status, and nothing is lost. */
#include "cuda/move.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "cuda/clean.h"
#include "cuda/flight.h"
#include "cuda/hand.h"
#include "cuda/host.h"
#include "cuda/lane.h"
#include "cuda/memory.h"
#include "cuda/release.h"
#include "cuda/say.h"
#include "cuda/tier.h"

#include <errno.h>
#include <string.h>

#define PROGRESS_BYTES (UINT64_C(256) << 20)
#define HAND_BYTES (UINT64_C(16) << 20) /* smaller units are not worth a descriptor and a message each */
#define DROP_BATCH 256

void (*move_on_evicted)(struct device *d, const struct move_progress *progress);
void (*move_on_brought_in)(struct device *d, uint64_t returned, bool done, int status);

static void begin(struct device *d)
{
        d->move_since = clock_now_ns();
        d->moved = d->dropped = 0;
        d->progress_returned = 0;
        d->progress_at = 0;
        d->move_status = 0;
        d->cursor_block = 0;
        d->cursor_unit = 0;
}

void move_evict(struct device *d, uint64_t bytes, bool hand_over)
{
        if (!d->evicting)
                begin(d);
        d->coming = false;
        d->evicting = true;
        d->hand_over = hand_over;
        d->clean_block = 0;
        d->looked = false;
        hand_limit(d, 0);
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
        hand_limit(d, 0);
        release_wait();
        (void)release_done(d); /* whoever stops it tells the daemon anew what is granted */
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

                if (block->device != d || block->holds)
                        continue;
                for (; d->cursor_unit < block->units_n; d->cursor_unit++) {
                        struct unit *unit = &block->units[d->cursor_unit];

                        if (unit->resident == resident && !unit->in_flight)
                                return unit;
                }
        }
        return NULL;
}

static void count_moved(struct device *d, uint64_t bytes, bool out)
{
        d->moved += bytes;
        if (d->page)
                atomic_fetch_add_explicit(out ? &d->page->out_bytes : &d->page->in_bytes, bytes, memory_order_relaxed);
}

/* A unit that goes to another program: its own, by descriptor, or one that was handed over, by number. */
struct parcel {
        int fd;
        uint64_t bytes, number;
};

#define NO_PARCEL (struct parcel){.fd = -1}

/* The parcel is used up. */
static void tell_evicted(struct device *d, bool done, struct parcel parcel)
{
        struct move_progress progress = {.done = done, .status = d->move_status, .unit_fd = parcel.fd, .unit_bytes = parcel.bytes, .unit = parcel.number};

        if (done)
                release_wait();
        progress.returned = d->progress_returned + release_done(d);
        d->move_ns = clock_now_ns() - d->move_since;
        move_on_evicted(d, &progress);
        d->progress_returned = 0;
        fd_close_at(&parcel.fd);
}

static void leave(struct device *d, uint64_t bytes)
{
        d->granted -= bytes;
        d->evict_left -= bytes < d->evict_left ? bytes : d->evict_left;
}

static void give_back(struct device *d, uint64_t bytes)
{
        leave(d, bytes);
        d->progress_returned += bytes;
}

/* Gives up the device's copy of a unit that is on a neighbour now, and that no other program had. */
static bool let_go_aside(struct device *d, struct unit *unit)
{
        if (memory_unmap_aside(d, unit) != CUDA_SUCCESS)
                return false;
        d->resident -= unit->bytes;
        leave(d, unit->bytes);
        return true;
}

/* Gives up the device's copy of a unit whose host copy is whole and equal; parcel: its memory is to live on, NULL: not. */
static bool let_go(struct device *d, struct unit *unit, struct parcel *parcel)
{
        uint64_t lent = unit->lent;

        if (parcel && d->hand_over && unit->bytes >= HAND_BYTES) {
                *parcel = (struct parcel){lent ? -1 : hand_export(unit), unit->bytes, lent};
                unit->lent = 0; /* its number goes with the parcel */
        }
        if (memory_unmap_unit(unit) != CUDA_SUCCESS) {
                unit->lent = lent;
                if (parcel) {
                        fd_close_at(&parcel->fd);
                        *parcel = NO_PARCEL;
                }
                return false;
        }
        d->resident -= unit->bytes;
        give_back(d, unit->bytes);
        return true;
}

/* Units that nothing wrote to since both copies were equal need no copy. Some of them, or one that goes with the parcel; true: there may be more. */
static bool drop_clean(struct device *d, struct parcel *parcel)
{
        uint64_t calls = lane_calls();
        unsigned int n = 0;

        for (; d->clean_block < berth.blocks_n && d->evict_left; d->clean_block++) {
                struct block *block = berth.blocks[d->clean_block];

                if (block->device != d || block->holds)
                        continue;
                for (uint32_t i = 0; i < block->units_n && d->evict_left; i++) {
                        struct unit *unit = &block->units[i];

                        if (!unit->resident || unit->in_flight || !unit->host_valid || unit->clean_at != calls)
                                continue;
                        if (n++ == DROP_BATCH || parcel->fd >= 0 || parcel->number)
                                return true;
                        if (!let_go(d, unit, parcel)) {
                                unit->host_valid = false; /* goes the long way, and fails there with a report */
                                continue;
                        }
                        d->dropped += unit->bytes;
                }
        }
        return false;
}

/* Whether the unit has a place on the host now. */
static bool placed(struct device *d, struct unit *unit)
{
        if (unit->segment != NO_SEGMENT)
                return true;
        if (!host_place(unit))
                return false;
        d->backed += unit->bytes;
        return true;
}

static bool evict_step(struct device *d)
{
        uint64_t spare = device_spare(d), planned;
        struct unit *unit = NULL;
        struct parcel parcel = NO_PARCEL;
        bool exhausted = false;
        enum route route;
        bool waits;

        if (spare && d->evict_left)
                give_back(d, spare < d->evict_left ? spare : d->evict_left);
        if (!d->looked && !d->flights_n && d->clean) {
                d->looked = true;
                clean_look(d);
        }
        if (d->evict_left && !d->move_status && (drop_clean(d, &parcel) || parcel.fd >= 0 || parcel.number)) {
                memory_note(d);
                tell_evicted(d, false, parcel);
                return true;
        }
        planned = flight_bytes(d);
        if (d->evict_left > planned && !d->move_status)
                tier_ask(d, d->evict_left - planned); /* more was ordered since an answer came */
        waits = d->evict_left && tier_waits(d);
        if (waits && !d->flights_n) {
                memory_note(d);
                return false; /* a neighbour's answer is on its way, and wakes us */
        }
        while (!waits && !d->move_status && d->flights_n < MOVE_WINDOW && planned < d->evict_left) {
                unit = next_unit(d, true);
                if (!unit) {
                        exhausted = true;
                        break;
                }
                d->cursor_unit++;
                route = tier_place(d, unit) ? ROUTE_SHELVE : ROUTE_OUT;
                if (route == ROUTE_OUT && !placed(d, unit))
                        continue; /* this one can't go; others may have a place */
                if (flight_start(d, unit, route) == CUDA_SUCCESS) {
                        planned += unit->bytes;
                } else {
                        d->move_status = -EIO;
                        tier_release(unit);
                }
        }
        if (d->flights_n) {
                CUresult r = flight_land(d, &unit, &route);

                /* A copy in that was overtaken by this order: what it came from is whole, whatever became of it. */
                if (route == ROUTE_IN)
                        unit->host_valid = true;
                else if (flight_leaves(route) && r != CUDA_SUCCESS && !d->move_status)
                        d->move_status = -EIO;
                if (!d->move_status && !(route == ROUTE_SHELVE && !d->hand_over && !unit->lent ? let_go_aside(d, unit) : let_go(d, unit, &parcel)))
                        d->move_status = -EIO;
                else if (!d->move_status && flight_leaves(route))
                        count_moved(d, unit->bytes, true);
                if (unit->resident && route == ROUTE_SHELVE)
                        tier_release(unit);
        }
        d->progress_returned += release_done(d);
        memory_note(d);
        if (d->flights_n || (d->evict_left && !d->move_status && !exhausted)) {
                if (parcel.fd >= 0 || parcel.number || d->progress_returned >= PROGRESS_BYTES)
                        tell_evicted(d, false, parcel);
                return true;
        }
        if (d->evict_left && !d->move_status && d->resident)
                d->move_status = -E_ARENA;
        if (d->move_status == -EIO)
                say("device memory could not be moved to the host; it stays on the device");
        d->evicting = false;
        d->evict_left = 0;
        tier_done();
        tell_evicted(d, true, parcel);
        return false;
}

/* The next unit on one of a storage's shelves. */
static struct unit *next_on_shelf(const struct device *s)
{
        for (size_t b = 0; b < berth.blocks_n; b++)
                for (uint32_t i = 0; i < berth.blocks[b]->units_n; i++) {
                        struct unit *unit = &berth.blocks[b]->units[i];

                        if (tier_holds(unit) && tier_of(unit) == s && !unit->resident && !unit->in_flight)
                                return unit;
                }
        return NULL;
}

/* A neighbour's memory is wanted back: what lies there goes on to the host. */
static bool empty_step(struct device *s)
{
        uint64_t spare = device_spare(s), planned;
        struct unit *unit = NULL;
        bool exhausted = false;
        enum route route;

        if (!s->flights_n) {
                tier_clear(s);
                spare = device_spare(s);
        }
        if (spare && s->evict_left)
                give_back(s, spare < s->evict_left ? spare : s->evict_left);
        planned = flight_bytes(s);
        while (!s->move_status && s->flights_n < MOVE_WINDOW && planned < s->evict_left) {
                unit = next_on_shelf(s);
                if (!unit || !placed(memory_find(unit->address)->device, unit)) {
                        exhausted = true;
                        break;
                }
                if (flight_start(s, unit, ROUTE_EMPTY) != CUDA_SUCCESS)
                        s->move_status = -EIO;
                else
                        planned += unit->bytes;
        }
        if (s->flights_n) {
                if (flight_land(s, &unit, &route) != CUDA_SUCCESS) {
                        s->move_status = -EIO; /* the shelf still holds it */
                } else {
                        count_moved(s, unit->bytes, true);
                        tier_release(unit);
                        spare = device_spare(s);
                        give_back(s, spare < s->evict_left ? spare : s->evict_left);
                }
        }
        memory_note(s);
        if (s->flights_n || (s->evict_left && !s->move_status && !exhausted)) {
                if (s->progress_returned >= PROGRESS_BYTES)
                        tell_evicted(s, false, NO_PARCEL);
                return true;
        }
        if (s->evict_left && !s->move_status && s->resident)
                s->move_status = -E_ARENA;
        s->evicting = false;
        s->evict_left = 0;
        tell_evicted(s, true, NO_PARCEL);
        return false;
}

/* The next unit to come in: one that fits the gift that waits longest, else any. */
static struct unit *next_in(struct device *d)
{
        uint64_t gift;

        while ((gift = hand_next(d))) {
                for (size_t i = 0; i < berth.blocks_n; i++) {
                        struct block *block = berth.blocks[i];

                        for (uint32_t k = 0; block->device == d && k < block->units_n; k++)
                                if (!block->units[k].resident && block->units[k].bytes == gift)
                                        return &block->units[k];
                }
                hand_limit(d, d->gifts_bytes - gift); /* none of that size is out */
        }
        return next_unit(d, false);
}

static bool come_step(struct device *d)
{
        struct unit *unit = NULL;
        bool tight = false;
        enum route route;

        while (!d->move_status && d->flights_n < MOVE_WINDOW && (unit = next_in(d))) {
                if (device_spare(d) < unit->bytes) {
                        tight = true;
                        break;
                }
                if (hand_next(d) != unit->bytes)
                        hand_limit(d, device_spare(d) - unit->bytes);
                if (memory_map_unit(d, unit) != CUDA_SUCCESS) {
                        d->move_status = -ENOMEM;
                        break;
                }
                d->resident += unit->bytes;
                if (flight_start(d, unit, tier_holds(unit) ? ROUTE_FETCH : ROUTE_IN) != CUDA_SUCCESS) {
                        d->resident -= unit->bytes;
                        memory_unmap_unit(unit);
                        d->move_status = -EIO;
                        break;
                }
        }
        if (d->flights_n) {
                CUresult r = flight_land(d, &unit, &route);

                if (!flight_leaves(route) && r == CUDA_SUCCESS)
                        r = memory_protect_unit(unit);
                if (flight_leaves(route)) {
                        /* An order to leave that was withdrawn: the unit is still here. */
                        tier_release(unit);
                } else if (r != CUDA_SUCCESS) {
                        /* What arrived is not to be trusted, what it came from is. */
                        if (memory_unmap_unit(unit) == CUDA_SUCCESS)
                                d->resident -= unit->bytes;
                        d->move_status = -EIO;
                } else {
                        tier_release(unit);
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
                hand_limit(d, 0);
                d->granted -= spare;
                d->move_ns = clock_now_ns() - d->move_since;
                move_on_brought_in(d, spare, true, d->move_status);
                return false;
        }
        d->cursor_block = 0;
        d->cursor_unit = 0;
        if (!tier_quiet())
                return true; /* some are on their way from a neighbour to the host */
        if (!next_unit(d, false)) {
                d->coming = false;
                hand_limit(d, 0);
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

bool move_prepare(void)
{
        for (unsigned int i = 0; i < berth.devices_n; i++) {
                struct device *d = &berth.devices[i];
                CUcontext popped;

                /* Whoever has a place on the host may have to leave. */
                if (!d->managed || !berth.clean || d->clean_tried || !d->backed || !flight_ready(d))
                        continue;
                clean_prepare(d);
                real.cuCtxPopCurrent_v2(&popped);
                return true;
        }
        return false;
}

bool move_step(struct device *d)
{
        CUcontext popped;
        bool more;

        if (!d->evicting && !d->coming && !d->flights_n)
                return false;
        if (!flight_ready(d)) {
                /* No context: nothing can be resident, so only unused grant can go back. */
                if (d->evicting) {
                        give_back(d, device_spare(d) < d->evict_left ? device_spare(d) : d->evict_left);
                        d->evicting = false;
                        d->evict_left = 0;
                        d->move_status = d->resident ? -EIO : 0;
                        tell_evicted(d, true, NO_PARCEL);
                } else if (d->coming) {
                        d->coming = false;
                        move_on_brought_in(d, 0, true, move_out_bytes(d) ? -EIO : 0);
                }
                return false;
        }
        if (d->evicting) {
                more = d->storage ? empty_step(d) : evict_step(d);
        } else if (d->coming) {
                more = come_step(d);
        } else {
                struct unit *unit;
                enum route route;
                CUresult r = flight_land(d, &unit, &route);

                /* Orders were withdrawn while copies ran: let them land. A copy out leaves its unit resident; a copy in is complete. */
                if (flight_leaves(route) || route == ROUTE_EMPTY || r != CUDA_SUCCESS)
                        ;
                else if (memory_protect_unit(unit) != CUDA_SUCCESS)
                        r = CUDA_ERROR_UNKNOWN;
                if (route == ROUTE_EMPTY ? r == CUDA_SUCCESS : flight_leaves(route) || r == CUDA_SUCCESS)
                        tier_release(unit);
                else if (route != ROUTE_EMPTY && memory_unmap_unit(unit) == CUDA_SUCCESS)
                        d->resident -= unit->bytes;
                more = d->flights_n;
        }
        real.cuCtxPopCurrent_v2(&popped);
        return more;
}
