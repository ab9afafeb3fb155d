/* clean.c: hashing device memory on the device; see clean.h. The kernel is clean-hash.cu, carried as clean-hash.ptx. */
#include "cuda/clean.h"

#include "cuda/lane.h"
#include "cuda/say.h"

#include <stddef.h>
#include <stdlib.h>
#include <sys/random.h>

#define BLOCKS 64 /* a unit's blocks of threads; each leaves one partial sum */
#define THREADS 256

extern const char clean_hash_ptx[]; /* generated from clean-hash.ptx */

/* What the kernel reads and writes: memory of the host that the device sees. */
struct exchange {
        struct {
                CUdeviceptr data;
                uint64_t pairs;
        } ranges[CLEAN_SLOTS];
        struct clean_hash sums[CLEAN_SLOTS][BLOCKS];
};

struct clean {
        CUmodule module;
        CUfunction kernel;
        CUstream stream;
        CUevent events[CLEAN_SLOTS];
        unsigned int event_of[CLEAN_SLOTS]; /* slots of one launch share the first one's event */
        struct exchange *exchange;
        CUdeviceptr address; /* of the exchange, as the device sees it */
        uint64_t seed;
};

static bool make(struct clean *c)
{
        bool ok = getrandom(&c->seed, sizeof c->seed, GRND_NONBLOCK) == sizeof c->seed &&
                  real.cuModuleLoadData(&c->module, clean_hash_ptx) == CUDA_SUCCESS &&
                  real.cuModuleGetFunction(&c->kernel, c->module, "berth_hash") == CUDA_SUCCESS &&
                  real.cuMemHostAlloc((void **)&c->exchange, sizeof *c->exchange, CU_MEMHOSTALLOC_DEVICEMAP) == CUDA_SUCCESS &&
                  real.cuMemHostGetDevicePointer_v2(&c->address, c->exchange, 0) == CUDA_SUCCESS &&
                  real.cuStreamCreate(&c->stream, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS;

        for (unsigned int i = 0; ok && i < CLEAN_SLOTS; i++)
                ok = real.cuEventCreate(&c->events[i], CU_EVENT_DISABLE_TIMING) == CUDA_SUCCESS;
        return ok;
}

void clean_prepare(struct device *d)
{
        struct clean *c;
        CUcontext context;
        bool ok;

        if (d->clean_tried || !berth.clean)
                return;
        d->clean_tried = true;
        context = d->move_context;
        c = calloc(1, sizeof *c);
        books_unlock();
        ok = c && make(c);
        books_lock();
        if (ok && d->move_context == context) {
                d->clean = c;
                return;
        }
        /* What was made of it goes with the context. */
        if (c && c->exchange && !ok)
                real.cuMemFreeHost(c->exchange);
        free(c);
        if (!ok)
                say("this driver does not load the kernel that finds unchanged memory: all of it will be copied on every switch");
}

bool clean_begin(struct device *d, unsigned int first, struct unit *const *units, unsigned int n)
{
        struct clean *c = d->clean;
        CUdeviceptr ranges, sums;
        void *arguments[3];

        if (!c || first + n > CLEAN_SLOTS)
                return false;
        ranges = c->address + offsetof(struct exchange, ranges) + first * sizeof c->exchange->ranges[0];
        sums = c->address + offsetof(struct exchange, sums) + first * sizeof c->exchange->sums[0];
        arguments[0] = &ranges;
        arguments[1] = &sums;
        arguments[2] = &c->seed;
        for (unsigned int i = 0; i < n; i++) {
                c->exchange->ranges[first + i].data = units[i]->address;
                c->exchange->ranges[first + i].pairs = units[i]->bytes / 16;
                c->event_of[first + i] = first;
        }
        return real.cuLaunchKernel(c->kernel, BLOCKS, n, 1, THREADS, 1, 1, 0, c->stream, arguments, NULL) == CUDA_SUCCESS &&
               real.cuEventRecord(c->events[first], c->stream) == CUDA_SUCCESS;
}

bool clean_end(struct device *d, unsigned int slot, struct clean_hash *ret)
{
        struct clean *c = d->clean;
        unsigned __int128 sum = 0;

        if (!c || real.cuEventSynchronize(c->events[c->event_of[slot]]) != CUDA_SUCCESS)
                return false;
        for (unsigned int i = 0; i < BLOCKS; i++)
                sum += (unsigned __int128)c->exchange->sums[slot][i].high << 64 | c->exchange->sums[slot][i].low;
        ret->low = (uint64_t)sum;
        ret->high = (uint64_t)(sum >> 64);
        return true;
}

void clean_forget(struct device *d)
{
        /* Stream, events, module and the mapped memory end with the context. */
        free(d->clean);
        d->clean = NULL;
        d->clean_tried = false;
}

/* Bytes found clean among n units. */
static uint64_t hash_batch(struct device *d, struct unit *const *units, unsigned int n, uint64_t calls, uint64_t *looked)
{
        struct clean_hash hash;
        uint64_t found = 0;

        if (!n || !clean_begin(d, 0, units, n))
                return 0;
        for (unsigned int i = 0; i < n; i++) {
                *looked += units[i]->bytes;
                if (!clean_end(d, i, &hash) || hash.low != units[i]->host_hash.low || hash.high != units[i]->host_hash.high)
                        continue;
                units[i]->clean_at = calls;
                found += units[i]->bytes;
        }
        return found;
}

/* Hashes what came in from the host once, and marks what did not change since. When that was in vain twice in a row, only a sample is looked
 * at first: a training changes everything. */
void clean_look(struct device *d)
{
        unsigned int step = d->vain_looks >= 2 ? 16 : 1, seen = 0, n = 0;
        uint64_t calls = lane_calls(), looked = 0, found = 0;
        struct unit *batch[CLEAN_SLOTS];

again:
        for (size_t b = 0; b < berth.blocks_n && found < d->evict_left; b++) {
                struct block *block = berth.blocks[b];

                for (uint32_t i = 0; block->device == d && !block->holds && i < block->units_n; i++) {
                        struct unit *unit = &block->units[i];

                        if (unit->resident && unit->host_valid && unit->host_hashed && unit->clean_at != calls && seen++ % step == 0)
                                batch[n++] = unit;
                        if (n == CLEAN_SLOTS) {
                                found += hash_batch(d, batch, n, calls, &looked);
                                n = 0;
                        }
                }
        }
        found += hash_batch(d, batch, n, calls, &looked);
        n = 0;
        if (step > 1 && found) {
                step = 1;
                goto again;
        }
        if (looked)
                d->vain_looks = found * 32 < looked ? d->vain_looks + 1 : 0;
}
