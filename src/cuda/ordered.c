/* ordered.c: pieces and what is pending of them; see ordered.h. Source of the rules: CUDA driver API 13.0, "Stream Ordered Memory Allocator".
 *
 * Invariant: a piece is handed out again, or given up, only when what was issued before its free comes before whatever uses it next: on the same stream, or after
 * the event. A stream's handle may come back as another stream's, so nothing is taken for the same stream's once that has ended. */
#include "cuda/ordered.h"

#include "cuda/lane.h"
#include "cuda/memory.h"
#include "cuda/pool.h"
#include "cuda/say.h"
#include "cuda/tier.h"

#include <stdlib.h>

#define STEP UINT64_C(512) /* sizes are multiples, so that pieces fit again */
#define LEGACY ((CUstream)(uintptr_t)1)
#define PER_THREAD ((CUstream)(uintptr_t)2)
#define MISSES 8 /* events asked in vain, at most, each time */

struct piece {
        struct piece *next; /* of the same bucket */
        CUdeviceptr address;
        uint64_t bytes;
        struct device *device;
        CUmemoryPool pool;
        CUcontext context;
        enum { LIVE, FREEING, PENDING } state; /* FREEING: a thread is about to record its event */

        /* While pending. */
        struct piece *newer;
        CUstream stream; /* NULL: nobody's */
        CUevent event;
};

struct spare_event {
        CUevent event;
        CUcontext context;
};

static struct piece **buckets;
static size_t buckets_n, pieces_n;
static struct piece *oldest, **newest = &oldest;
static struct spare_event *events;
static size_t events_n, events_size;

static struct piece **bucket_of(CUdeviceptr address)
{
        return &buckets[(size_t)((address * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (buckets_n - 1)];
}

static bool make_room(void)
{
        size_t n = buckets_n ? buckets_n * 2 : 256;
        struct piece **old = buckets, **grown;
        size_t old_n = buckets_n;

        if (pieces_n < buckets_n)
                return true;
        grown = calloc(n, sizeof *grown);
        if (!grown)
                return false;
        buckets = grown;
        buckets_n = n;
        for (size_t i = 0; i < old_n; i++)
                for (struct piece *p = old[i], *next; p; p = next) {
                        next = p->next;
                        p->next = *bucket_of(p->address);
                        *bucket_of(p->address) = p;
                }
        free(old);
        return true;
}

static struct piece *find(CUdeviceptr address)
{
        struct piece *p = buckets_n ? *bucket_of(address) : NULL;

        while (p && p->address != address)
                p = p->next;
        return p;
}

static void remove_piece(struct piece *piece)
{
        struct piece **at = bucket_of(piece->address);

        while (*at != piece)
                at = &(*at)->next;
        *at = piece->next;
        pieces_n--;
        free(piece);
}

static CUevent take_event(CUcontext context)
{
        CUevent event;

        for (size_t i = 0; i < events_n; i++)
                if (events[i].context == context) {
                        event = events[i].event;
                        events[i] = events[--events_n];
                        return event;
                }
        return real.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING) == CUDA_SUCCESS ? event : NULL;
}

static void keep_event(CUevent event, CUcontext context)
{
        if (events_n == events_size) {
                size_t size = events_size ? events_size * 2 : 64;
                struct spare_event *grown = realloc(events, size * sizeof *grown);

                if (!grown) {
                        real.cuEventDestroy_v2(event);
                        return;
                }
                events = grown;
                events_size = size;
        }
        events[events_n++] = (struct spare_event){event, context};
}

/* No more pending: at is the link that leads to it. */
static struct piece *unlink_at(struct piece **at)
{
        struct piece *piece = *at;

        *at = piece->newer;
        if (newest == &piece->newer)
                newest = at;
        piece->newer = NULL;
        piece->state = LIVE;
        piece->device->pending -= piece->bytes;
        if (piece->event)
                keep_event(piece->event, piece->context);
        piece->event = NULL;
        return piece;
}

static bool passed(const struct piece *piece)
{
        return real.cuEventQuery(piece->event) == CUDA_SUCCESS;
}

/* Which stream it is, as far as that can be said by its handle. */
static CUstream stream_key(CUstream s, bool per_thread)
{
        if (s == PER_THREAD || (!s && per_thread))
                return NULL;
        return s ? s : LEGACY;
}

/* A pending piece that will do: of the same stream, or else one whose event has passed. */
static struct piece *take_pending(struct device *d, uint64_t bytes, CUmemoryPool pool, CUcontext context, CUstream key)
{
        struct piece **found = NULL;
        unsigned int misses = 0;

        for (struct piece **at = &oldest; *at; at = &(*at)->newer) {
                struct piece *p = *at;

                if (p->device != d || p->bytes != bytes || p->pool != pool || p->context != context)
                        continue;
                if (key && p->stream == key) {
                        found = at;
                        break;
                }
                if (!found && misses < MISSES && !passed(p))
                        misses++;
                else if (!found && misses < MISSES)
                        found = at;
        }
        return found ? unlink_at(found) : NULL;
}

static bool add(struct device *d, CUdeviceptr address, uint64_t bytes, CUmemoryPool pool, CUcontext context)
{
        struct piece *piece = make_room() ? calloc(1, sizeof *piece) : NULL;

        if (!piece)
                return false;
        *piece = (struct piece){.address = address, .bytes = bytes, .device = d, .pool = pool, .context = context};
        piece->next = *bucket_of(address);
        *bucket_of(address) = piece;
        pieces_n++;
        return true;
}

/* The driver, too, waits for frees that have not come true before it says that there is no memory. False: there were none. */
static bool give_up_pending(struct device *d)
{
        uint64_t pending;

        books_lock();
        pending = d->pending;
        books_unlock();
        if (!pending || real.cuCtxSynchronize() != CUDA_SUCCESS)
                return false;
        books_lock();
        ordered_limit(d, 0);
        books_unlock();
        return true;
}

CUresult ordered_allocate(struct device *d, CUdeviceptr *ret, size_t bytes, CUmemoryPool pool, CUstream s, bool per_thread)
{
        CUstream key = stream_key(s, per_thread);
        CUcontext context;
        struct piece *piece;
        uint64_t size;
        CUresult r = real.cuCtxGetCurrent(&context);

        if (r != CUDA_SUCCESS)
                return r;
        if (bytes > UINT64_C(1) << 46)
                return CUDA_ERROR_OUT_OF_MEMORY;
        size = (bytes + STEP - 1) / STEP * STEP;
        books_lock();
        d->pooled = true;
        piece = take_pending(d, size, pool, context, key);
        if (piece) {
                *ret = piece->address;
                pool_lent(pool, size);
                books_unlock();
                return CUDA_SUCCESS;
        }
        if (device_spare(d) < size || (d->limit && d->movable + d->pinned + size > d->limit))
                ordered_limit(d, 0);
        books_unlock();
        r = memory_allocate(d, ret, size);
        if (r == CUDA_ERROR_OUT_OF_MEMORY && give_up_pending(d))
                r = memory_allocate(d, ret, size);
        if (r != CUDA_SUCCESS)
                return r;
        books_lock();
        if (add(d, *ret, size, pool, context)) {
                pool_lent(pool, size);
                books_unlock();
                return CUDA_SUCCESS;
        }
        books_unlock();
        memory_free(*ret);
        return CUDA_ERROR_OUT_OF_MEMORY;
}

/* The node of a graph frees memory that is not the graph's: when, only its launches tell. The memory stays. */
static bool captured(CUstream s)
{
        static bool said;
        int status = 0;

        if (!lane_captures() || real.cuStreamIsCapturing(s, &status) != CUDA_SUCCESS || !status)
                return false;
        if (!said)
                say("a graph frees memory that was allocated outside of it: it stays allocated until the context ends");
        said = true;
        return true;
}

/* An event where the stream is now. Books not held: it waits while the stream's queue is full. */
static CUresult record(CUevent event, CUcontext context, CUstream s, bool per_thread)
{
        CUcontext popped;
        CUresult r = real.cuCtxPushCurrent_v2(context);

        if (r != CUDA_SUCCESS)
                return r;
        r = per_thread && real.cuEventRecord_ptsz ? real.cuEventRecord_ptsz(event, s) : real.cuEventRecord(event, s);
        real.cuCtxPopCurrent_v2(&popped);
        return r;
}

static CUevent event_in(CUcontext context)
{
        CUcontext popped;
        CUevent event;

        if (real.cuCtxPushCurrent_v2(context) != CUDA_SUCCESS)
                return NULL;
        event = take_event(context);
        real.cuCtxPopCurrent_v2(&popped);
        return event;
}

/* From now on pending behind the event. */
static void append(struct piece *piece, CUevent event, CUstream key)
{
        piece->state = PENDING;
        piece->event = event;
        piece->stream = key;
        piece->newer = NULL;
        *newest = piece;
        newest = &piece->newer;
        piece->device->pending += piece->bytes;
        pool_returned(piece->pool, piece->bytes);
        ordered_settle(piece->device);
}

bool ordered_free(CUdeviceptr address, CUstream s, bool per_thread, CUresult *ret)
{
        struct piece *piece;
        CUcontext context;
        CUevent event;

        books_lock();
        piece = find(address);
        *ret = piece && piece->state != LIVE ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
        if (!piece || piece->state != LIVE || captured(s)) {
                books_unlock();
                return piece;
        }
        context = piece->context;
        event = event_in(context);
        if (!event) {
                books_unlock();
                *ret = CUDA_ERROR_OUT_OF_MEMORY;
                return true;
        }
        piece->state = FREEING;
        books_unlock();
        *ret = record(event, context, s, per_thread);
        books_lock();
        piece = find(address);
        if (!piece || piece->state != FREEING) {
                books_unlock(); /* its context ended meanwhile, and the event with it */
                return true;
        }
        if (*ret == CUDA_SUCCESS) {
                append(piece, event, stream_key(s, per_thread));
        } else {
                piece->state = LIVE; /* it stays allocated, and the caller knows */
                keep_event(event, context);
        }
        books_unlock();
        return true;
}

bool ordered_forget(CUdeviceptr address)
{
        struct piece *piece = find(address);

        if (!piece)
                return true;
        if (piece->state != LIVE)
                return false;
        pool_returned(piece->pool, piece->bytes);
        remove_piece(piece);
        return true;
}

CUmemoryPool ordered_pool_of(CUdeviceptr base)
{
        const struct piece *piece = find(base);

        return piece ? piece->pool : NULL;
}

uint64_t ordered_pending(const struct device *d, CUmemoryPool pool)
{
        uint64_t bytes = 0;

        for (const struct piece *p = oldest; p; p = p->newer)
                if (p->device == d && p->pool == pool)
                        bytes += p->bytes;
        return bytes;
}

void ordered_limit(struct device *d, uint64_t bytes)
{
        unsigned int misses = 0;

        /* Asking an event would break a capture; and what is being moved is not to be freed under the copy. */
        if (d->pending <= bytes || lane_captures() || d->flights_n || !tier_quiet())
                return;
        for (struct piece **at = &oldest; *at && d->pending > bytes && misses < MISSES;) {
                struct piece *piece = *at;

                if (piece->device != d || !passed(piece)) {
                        misses += piece->device == d;
                        at = &piece->newer;
                        continue;
                }
                unlink_at(at);
                memory_drop(piece->address);
                remove_piece(piece);
        }
}

void ordered_settle(struct device *d)
{
        bool wanted = d->trim || (d->page && atomic_load(&d->page->contended));

        ordered_limit(d, wanted ? 0 : d->pool_keep > d->slack ? d->pool_keep : d->slack);
}

void ordered_stream_ended(CUstream s)
{
        for (struct piece *p = oldest; p; p = p->newer)
                if (p->stream == s)
                        p->stream = NULL;
}

void ordered_drop_context(CUcontext context)
{
        for (struct piece **at = &oldest; *at;) {
                if ((*at)->context == context) {
                        (*at)->event = NULL; /* it ended with the context */
                        unlink_at(at);
                } else {
                        at = &(*at)->newer;
                }
        }
        for (size_t i = 0; i < buckets_n; i++)
                for (struct piece *p = buckets[i], *next; p; p = next) {
                        next = p->next;
                        if (p->context == context)
                                remove_piece(p);
                }
        for (size_t i = 0; i < events_n; i++)
                if (events[i].context == context)
                        events[i--] = events[--events_n];
}

void ordered_forked(void)
{
        buckets = NULL;
        buckets_n = pieces_n = events_n = 0;
        oldest = NULL;
        newest = &oldest;
}
