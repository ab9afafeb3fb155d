/* memory.c: blocks and their units; see memory.h.
 *
 * Accounting is exact: movable counts the bytes of units, changes in the same critical section that creates or destroys them, and
 * so does the peak. Source of the rules: CUDA driver API 13.0, section "Virtual Memory Management".
 */
#include "cuda/memory.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/scope.h"
#include "cuda/cache.h"
#include "cuda/clean.h"
#include "cuda/defer.h"
#include "cuda/hand.h"
#include "cuda/host.h"
#include "cuda/lane.h"
#include "cuda/link.h"
#include "cuda/ordered.h"
#include "cuda/say.h"
#include "cuda/tier.h"
#include "cuda/trim.h"
#include "cuda/vmm.h"
#include "wire/window.h"

#include <stdlib.h>
#include <string.h>

struct berth berth;
pthread_mutex_t berth_books = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t berth_changed = PTHREAD_COND_INITIALIZER;

/* One allocation at a time asks the daemon, so that a client has one open WANT. Taken before the books. */
static pthread_mutex_t allocating = PTHREAD_MUTEX_INITIALIZER;

static uint64_t round_up(uint64_t value, uint64_t to)
{
        return (value + to - 1) / to * to;
}

void memory_note(struct device *d)
{
        struct page *page = d->page;

        if (d->movable + d->pinned > d->peak)
                d->peak = d->movable + d->pinned;
        if (page) {
                atomic_store_explicit(&page->movable_bytes, d->movable, memory_order_relaxed);
                atomic_store_explicit(&page->pinned_bytes, d->pinned, memory_order_relaxed);
                atomic_store_explicit(&page->resident_bytes, d->resident, memory_order_relaxed);
                atomic_store_explicit(&page->granted_bytes, d->granted, memory_order_relaxed);
                atomic_store_explicit(&page->peak_bytes, d->peak, memory_order_relaxed);
                page_note(page, d->movable + d->pinned, clock_now_ns());
        }
        d->dirty = true;
}

/* Index of the first block above the address. */
static size_t upper(CUdeviceptr address)
{
        size_t low = 0, high = berth.blocks_n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (berth.blocks[middle]->address <= address)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

struct block *memory_find(CUdeviceptr address)
{
        size_t i = upper(address);

        if (!i || address >= berth.blocks[i - 1]->address + berth.blocks[i - 1]->mapped)
                return NULL;
        return berth.blocks[i - 1];
}

bool memory_insert(struct block *block)
{
        size_t i;

        if (berth.blocks_n == berth.blocks_size) {
                size_t size = berth.blocks_size ? berth.blocks_size * 2 : 256;
                struct block **grown = realloc(berth.blocks, size * sizeof *grown);

                if (!grown)
                        return false;
                berth.blocks = grown;
                berth.blocks_size = size;
        }
        i = upper(block->address);
        memmove(&berth.blocks[i + 1], &berth.blocks[i], (berth.blocks_n - i) * sizeof *berth.blocks);
        berth.blocks[i] = block;
        berth.blocks_n++;
        return true;
}

void memory_withdraw(struct block *block)
{
        size_t i = upper(block->address) - 1;

        memmove(&berth.blocks[i], &berth.blocks[i + 1], (berth.blocks_n - i - 1) * sizeof *berth.blocks);
        berth.blocks_n--;
        if (block->device->small == block)
                block->device->small = NULL;
}

void memory_dismantle(struct block *block)
{
        for (uint32_t i = 0; i < block->units_n; i++)
                if (block->units[i].resident)
                        memory_unmap_unit(&block->units[i]);
        real.cuMemAddressFree(block->address, block->mapped);
        free(block);
}

/* The block is the program's no more: out of the books, wherever its bytes are. Kept for the next of its size, or given back. */
static void destroy(struct block *block)
{
        struct device *d = block->device;

        for (uint32_t i = 0; i < block->units_n; i++) {
                struct unit *unit = &block->units[i];

                if (unit->resident)
                        d->resident -= block->holds ? 0 : unit->bytes;
                if (unit->segment != NO_SEGMENT)
                        d->backed -= unit->bytes;
                host_release(unit);
                unit->host_valid = false;
                *(block->holds ? &d->pinned : &d->movable) -= unit->bytes;
        }
        slab_free(block->slab);
        block->slab = NULL;
        if (block->holds)
                block->context = NULL; /* others may have it: not one to keep */
        if (!cache_put(d, block))
                memory_dismantle(block);
        memory_note(d);
}

/* A kept block is the program's again. */
static struct block *reuse(struct device *d, uint64_t bytes, uint64_t mapped)
{
        CUcontext context;
        struct block *block = d->cache && real.cuCtxGetCurrent(&context) == CUDA_SUCCESS ? cache_take(d, mapped, context) : NULL;

        if (!block)
                return NULL;
        if (!memory_insert(block)) {
                memory_dismantle(block);
                return NULL;
        }
        block->bytes = bytes;
        for (uint32_t i = 0; i < block->units_n; i++) {
                struct unit *unit = &block->units[i];

                d->movable += unit->bytes;
                d->resident += unit->bytes;
                if (host_place(unit))
                        d->backed += unit->bytes;
        }
        memory_note(d);
        return block;
}

static CUresult new_block(struct device *d, uint64_t bytes, struct block **ret)
{
        uint64_t mapped = round_up(bytes, GRANULE), unit_bytes = berth.unit_bytes;
        uint32_t n = (uint32_t)((mapped + unit_bytes - 1) / unit_bytes);
        struct block *block = calloc(1, sizeof *block + n * sizeof block->units[0]);
        CUresult r;

        if (!block)
                return CUDA_ERROR_OUT_OF_MEMORY;
        block->bytes = bytes;
        block->mapped = mapped;
        block->device = d;
        if (real.cuCtxGetCurrent(&block->context) != CUDA_SUCCESS || (r = real.cuMemAddressReserve(&block->address, mapped, 0, 0, 0)) != CUDA_SUCCESS) {
                free(block);
                return CUDA_ERROR_OUT_OF_MEMORY;
        }
        for (r = CUDA_SUCCESS; block->units_n < n && r == CUDA_SUCCESS;) {
                struct unit *unit = &block->units[block->units_n];
                uint64_t offset = block->units_n * unit_bytes;

                unit->address = block->address + offset;
                unit->bytes = mapped - offset < unit_bytes ? mapped - offset : unit_bytes;
                unit->segment = NO_SEGMENT;
                r = memory_back_unit(d, unit, false);
                if (r != CUDA_SUCCESS)
                        break;
                block->units_n++;
                d->movable += unit->bytes;
                d->resident += unit->bytes;
                if (host_place(unit))
                        d->backed += unit->bytes;
        }
        if (r == CUDA_SUCCESS)
                r = memory_access(d, block->address, mapped);
        if (r != CUDA_SUCCESS || !memory_insert(block)) {
                block->context = NULL; /* not one to keep */
                destroy(block);
                return r != CUDA_SUCCESS ? r : CUDA_ERROR_OUT_OF_MEMORY;
        }
        memory_note(d);
        *ret = block;
        return CUDA_SUCCESS;
}

static bool take_from(struct device *d, struct block *block, uint64_t bytes, CUdeviceptr *ret)
{
        uint64_t offset;

        if (!block->slab || block->device != d || !slab_take(block->slab, bytes, &offset))
                return false;
        *ret = block->address + offset;
        d->small = block;
        return true;
}

static bool take_small(struct device *d, uint64_t bytes, CUdeviceptr *ret)
{
        if (d->small && take_from(d, d->small, bytes, ret))
                return true;
        for (size_t i = berth.blocks_n; i-- > 0;)
                if (take_from(d, berth.blocks[i], bytes, ret))
                        return true;
        return false;
}

/* A block for which there is spare grant: a kept one, or a new one in place of kept ones. */
static CUresult obtain(struct device *d, uint64_t bytes, uint64_t mapped, struct block **ret)
{
        *ret = reuse(d, bytes, mapped);
        if (*ret)
                return CUDA_SUCCESS;
        cache_limit(d, device_spare(d) - mapped);
        return new_block(d, bytes, ret);
}

static void say_refused(const struct device *d, uint64_t bytes, int code)
{
        if (code == -E_LIMIT && d->denied_have && (!d->limit || d->movable + d->pinned + bytes <= d->limit))
                say("device memory limit of the job reached: %lu MiB asked, %lu MiB in use here, at most %lu MiB beside its other programs; see berth run --job-memory",
                    (unsigned long)(bytes >> 20), (unsigned long)((d->movable + d->pinned) >> 20), (unsigned long)(d->denied_have >> 20));
        else if (code == -E_LIMIT)
                say("device memory limit reached: %lu MiB asked, %lu MiB in use, limit %lu MiB; see berth run --memory", (unsigned long)(bytes >> 20),
                    (unsigned long)((d->movable + d->pinned) >> 20), (unsigned long)(d->limit >> 20));
        else
                say("%lu MiB of device memory refused: %s (in use %lu MiB, at most %lu MiB possible)", (unsigned long)(bytes >> 20), error_text(code),
                    (unsigned long)((d->movable + d->pinned) >> 20), (unsigned long)((d->denied_have ? d->denied_have : d->room) >> 20));
}

/* During a capture the driver refuses allocations from threads in its stricter modes, and that breaks the capture. Its own rules decide: a
 * small allocation of its own is tried, and freed after the capture. */
static CUresult driver_allows(void)
{
        CUdeviceptr trial;
        CUresult r;

        if (!lane_captures())
                return CUDA_SUCCESS;
        r = real.cuMemAlloc_v2(&trial, 512);
        if (r == CUDA_SUCCESS) {
                books_lock();
                if (!defer_free(trial))
                        real.cuMemFree_v2(trial);
                books_unlock();
        }
        return r;
}

CUresult memory_allocate(struct device *d, CUdeviceptr *ret, size_t bytes)
{
        struct block *block = NULL;
        bool small = bytes <= SLAB_MAX;
        unsigned int tries = 0;
        uint64_t mapped;
        CUresult result;
        int r;

        if (!ret || !bytes || bytes > UINT64_C(1) << 46)
                return bytes > UINT64_C(1) << 46 ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_VALUE;
        mapped = small ? GRANULE : round_up(bytes, GRANULE);
        result = driver_allows();
        if (result != CUDA_SUCCESS)
                return result;
        pthread_mutex_lock(&allocating);
        books_lock();
        if (small && take_small(d, bytes, ret)) {
                result = CUDA_SUCCESS;
        } else if (!small && trim_refuses(d, mapped)) {
                result = CUDA_ERROR_OUT_OF_MEMORY;
        } else {
                if (device_spare(d) < mapped || d->limit || d->soft.limit)
                        ordered_limit(d, 0);
                do
                        result = (r = link_await(d, mapped)) < 0 ? CUDA_ERROR_OUT_OF_MEMORY : obtain(d, small ? GRANULE : bytes, mapped, &block);
                while (r == 0 && result == CUDA_ERROR_OUT_OF_MEMORY && link_full(&tries));
                if (r == -EIO)
                        result = berth.broken;
                else if (r < 0)
                        say_refused(d, mapped, r);
                if (result == CUDA_SUCCESS && small) {
                        uint64_t offset = 0;

                        block->slab = slab_new();
                        if (block->slab && slab_take(block->slab, bytes, &offset)) {
                                *ret = block->address + offset;
                        } else {
                                memory_withdraw(block);
                                destroy(block);
                                result = CUDA_ERROR_OUT_OF_MEMORY;
                        }
                } else if (result == CUDA_SUCCESS) {
                        *ret = block->address;
                }
        }
        link_report(d);
        books_unlock();
        pthread_mutex_unlock(&allocating);
        return result;
}

bool memory_range(CUdeviceptr address, CUdeviceptr *ret_base, uint64_t *ret_bytes, struct block **ret_block)
{
        struct block *block = memory_find(address);
        uint64_t start = 0, bytes;

        if (!block || block->vmm)
                return false;
        bytes = block->bytes;
        if (block->slab && !slab_containing(block->slab, address - block->address, &start, &bytes))
                return false;
        if (address >= block->address + start + bytes)
                return false;
        *ret_base = block->address + start;
        *ret_bytes = bytes;
        *ret_block = block;
        return true;
}

CUresult memory_free(CUdeviceptr address)
{
        struct device *d;
        CUdeviceptr base;
        uint64_t bytes;
        struct block *block;
        CUresult result = CUDA_SUCCESS;
        CUcontext context, popped;
        bool closed;

        books_lock();
        if (!memory_range(address, &base, &bytes, &block)) {
                block = memory_find(address);
                books_unlock();
                return block ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_NOT_FOUND;
        }
        if (base != address) {
                books_unlock();
                return CUDA_ERROR_INVALID_VALUE;
        }
        if (lane_captures() && defer_free(address)) {
                books_unlock();
                return CUDA_SUCCESS;
        }
        context = block->context;
        closed = !lane_is_open() && !block->device->draining;
        books_unlock();
        /* The driver's free waits until the device is done with the memory; so do we, unless nothing of us runs anyway. */
        if (!closed && real.cuCtxPushCurrent_v2(context) == CUDA_SUCCESS) {
                result = real.cuCtxSynchronize();
                real.cuCtxPopCurrent_v2(&popped);
        }
        books_lock();
        if (!memory_range(address, &base, &bytes, &block) || base != address) {
                books_unlock();
                return CUDA_ERROR_INVALID_VALUE; /* another thread freed it meanwhile */
        }
        if (block->slab) {
                slab_release(block->slab, address - block->address);
                if (!slab_is_empty(block->slab)) {
                        books_unlock();
                        return result;
                }
        }
        d = block->device;
        while (d->flights_n || !tier_quiet())
                pthread_cond_wait(&berth_changed, &berth_books);
        /* The wait let others in: look again. */
        block = memory_find(address);
        if (block && (!block->slab || slab_is_empty(block->slab))) {
                memory_withdraw(block);
                destroy(block);
        }
        link_report(d);
        books_unlock();
        return result;
}

void memory_drop(CUdeviceptr address)
{
        CUdeviceptr base;
        uint64_t bytes;
        struct block *block;

        if (!memory_range(address, &base, &bytes, &block) || base != address)
                return;
        if (block->slab) {
                slab_release(block->slab, address - block->address);
                if (!slab_is_empty(block->slab))
                        return;
        }
        memory_withdraw(block);
        destroy(block);
}

void memory_drop_context(CUcontext context)
{
        books_lock();
        for (unsigned int i = 0; i < berth.devices_n; i++) {
                struct device *d = &berth.devices[i];

                while (d->flights_n)
                        pthread_cond_wait(&berth_changed, &berth_books);
                for (unsigned int c = 0; c < d->contexts_n; c++)
                        if (d->contexts[c] == context)
                                d->contexts[c--] = d->contexts[--d->contexts_n];
                cache_drop_context(d, context);
                if (d->move_context == context) {
                        clean_forget(d);
                        d->move_context = NULL; /* its streams and events ended with it */
                        memset(d->flights, 0, sizeof d->flights);
                }
        }
        for (size_t i = berth.blocks_n; i-- > 0;) {
                struct block *block = berth.blocks[i];

                if (block->context == context && !block->vmm) {
                        memory_withdraw(block);
                        block->context = NULL; /* not one to keep */
                        destroy(block);
                }
        }
        ordered_drop_context(context);
        host_forget_context(context);
        books_unlock();
        link_kick();
}

static int reserve_pinned(struct device *d, uint64_t bytes, int (*wait)(struct device *d, uint64_t bytes))
{
        int r;

        pthread_mutex_lock(&allocating);
        books_lock();
        r = wait(d, bytes);
        if (r == 0) {
                d->pinned += bytes; /* counted before the driver gives it: never more than granted */
                memory_note(d);
        } else {
                say_refused(d, bytes, r);
        }
        books_unlock();
        pthread_mutex_unlock(&allocating);
        return r;
}

int memory_pin_reserve(struct device *d, uint64_t bytes)
{
        return reserve_pinned(d, bytes, link_reserve);
}

int memory_pin_await(struct device *d, uint64_t bytes)
{
        return reserve_pinned(d, bytes, link_await);
}

void memory_forked(void)
{
        pthread_mutex_init(&allocating, NULL);
        defer_forked();
}
