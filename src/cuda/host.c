/* host.c: places in the host arena; see host.h. */
#include "cuda/host.h"

#include "base/scope.h"
#include "cuda/say.h"
#include "cuda/tell.h"
#include "cuda/tier.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t recall_left, recalled;
static bool recalling;

int host_add_segment(uint32_t id, uint64_t bytes, int fd)
{
        struct segment s = {.used = true, .id = id, .fd = fd, .bytes = bytes, .free_bytes = bytes};
        struct segment *grown;

        if (!bytes || bytes % GRANULE)
                return -EINVAL;
        s.bits = calloc((bytes / GRANULE + 63) / 64, sizeof *s.bits);
        grown = realloc(berth.segments, (berth.segments_n + 1) * sizeof *grown);
        if (grown)
                berth.segments = grown;
        if (!s.bits || !grown) {
                free(s.bits);
                return -ENOMEM;
        }
        s.map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (s.map == MAP_FAILED) {
                int r = -errno;

                free(s.bits);
                return r;
        }
        madvise(s.map, bytes, MADV_DONTFORK);
        for (size_t k = 0; k <= berth.segments_n; k++)
                if (k == berth.segments_n || !berth.segments[k].used) {
                        berth.segments_n += k == berth.segments_n;
                        berth.segments[k] = s;
                        break;
                }
        host_place_all();
        return 0;
}

static bool bit(const struct segment *s, uint64_t i)
{
        return s->bits[i / 64] >> (i % 64) & 1;
}

static void set_bits(struct segment *s, uint64_t from, uint64_t n, bool taken)
{
        for (uint64_t i = from; i < from + n; i++) {
                if (taken)
                        s->bits[i / 64] |= UINT64_C(1) << (i % 64);
                else
                        s->bits[i / 64] &= ~(UINT64_C(1) << (i % 64));
        }
}

bool host_place(struct unit *unit)
{
        uint64_t n = (unit->bytes + GRANULE - 1) / GRANULE;

        if (unit->segment != NO_SEGMENT)
                return true;
        for (size_t k = 0; k < berth.segments_n; k++) {
                struct segment *s = &berth.segments[k];
                uint64_t run = 0;

                if (!s->used || s->free_bytes < unit->bytes)
                        continue;
                for (uint64_t i = 0; i < s->bytes / GRANULE; i++) {
                        run = bit(s, i) ? 0 : run + 1;
                        if (run < n)
                                continue;
                        set_bits(s, i + 1 - n, n, true);
                        s->free_bytes -= n * GRANULE;
                        unit->segment = (uint32_t)k;
                        unit->host_offset = (i + 1 - n) * GRANULE;
                        return true;
                }
        }
        return false;
}

void host_release(struct unit *unit)
{
        uint64_t n = (unit->bytes + GRANULE - 1) / GRANULE;
        struct segment *s;

        tier_release(unit);
        if (unit->segment == NO_SEGMENT)
                return;
        s = &berth.segments[unit->segment];
        set_bits(s, unit->host_offset / GRANULE, n, false);
        s->free_bytes += n * GRANULE;
        unit->segment = NO_SEGMENT;
}

void host_place_all(void)
{
        for (size_t b = 0; b < berth.blocks_n; b++) {
                struct block *block = berth.blocks[b];

                if (block->holds)
                        continue;
                for (uint32_t u = 0; u < block->units_n; u++) {
                        struct unit *unit = &block->units[u];

                        if (unit->segment != NO_SEGMENT)
                                continue;
                        if (!host_place(unit))
                                return;
                        block->device->backed += unit->bytes;
                        block->device->dirty = true;
                }
        }
}

static CUcontext any_context(void)
{
        for (unsigned int i = 0; i < berth.devices_n; i++)
                if (berth.devices[i].managed && berth.devices[i].contexts_n)
                        return berth.devices[i].contexts[0];
        return NULL;
}

bool host_register_next(void)
{
        CUcontext context = any_context(), popped;

        if (!context)
                return false;
        for (size_t k = 0; k < berth.segments_n; k++) {
                struct segment *s = &berth.segments[k];
                char *map = s->map;
                uint64_t bytes = s->bytes;
                CUresult r;

                if (!s->used || s->registered || s->free_bytes == s->bytes)
                        continue; /* pinning is slow, and other calls of the driver are slow meanwhile: not for nothing */
                s->registered = true; /* tried once; unregistered memory works, only slower */
                s->context = context;
                /* Pinning takes 45-80 ms a GiB: not under the books. */
                books_unlock();
                r = real.cuCtxPushCurrent_v2(context);
                if (r == CUDA_SUCCESS) {
                        r = real.cuMemHostRegister_v2(map, bytes, CU_MEMHOSTREGISTER_PORTABLE);
                        real.cuCtxPopCurrent_v2(&popped);
                }
                if (r != CUDA_SUCCESS && r != CUDA_ERROR_DEINITIALIZED) /* the latter: the program is on its way out */
                        say("the driver did not pin %lu MiB of host memory (error %d): moving them will be slow", (unsigned long)(bytes >> 20), r);
                books_lock();
                return true;
        }
        return false;
}

void host_recall(uint64_t bytes)
{
        recall_left = bytes;
        recalled = 0;
        recalling = true;
}

void host_recall_forget(void)
{
        recalling = false;
}

/* Marks the segments that hold the only copy of something, or are in use by a copy. */
static void mark_needed(void)
{
        for (size_t k = 0; k < berth.segments_n; k++)
                berth.segments[k].needed = false;
        for (size_t b = 0; b < berth.blocks_n; b++)
                for (uint32_t u = 0; u < berth.blocks[b]->units_n; u++) {
                        const struct unit *unit = &berth.blocks[b]->units[u];

                        if (unit->segment != NO_SEGMENT && (!unit->resident || unit->in_flight))
                                berth.segments[unit->segment].needed = true;
                }
}

static void empty(uint32_t segment)
{
        for (size_t b = 0; b < berth.blocks_n; b++) {
                struct block *block = berth.blocks[b];

                for (uint32_t u = 0; u < block->units_n; u++) {
                        struct unit *unit = &block->units[u];

                        if (unit->segment != segment)
                                continue;
                        block->device->backed -= unit->bytes;
                        block->device->dirty = true;
                        host_release(unit);
                        unit->host_valid = unit->host_hashed = false;
                }
        }
}

static void give_back(struct segment *segment)
{
        struct segment s = *segment;
        CUcontext popped;

        *segment = (struct segment){.fd = -1}; /* its number is another's soon: units know segments by it */
        books_unlock();
        if (s.registered && real.cuCtxPushCurrent_v2(s.context) == CUDA_SUCCESS) {
                real.cuMemHostUnregister(s.map);
                real.cuCtxPopCurrent_v2(&popped);
        }
        munmap(s.map, s.bytes);
        close(s.fd);
        free(s.bits);
        books_lock();
        tell_segment_back(s.id);
}

bool host_recall_next(void)
{
        struct segment *best = NULL;

        if (!recalling)
                return false;
        if (recall_left) {
                mark_needed();
                for (size_t k = 0; k < berth.segments_n; k++) { /* the emptiest first */
                        struct segment *s = &berth.segments[k];

                        if (s->used && !s->needed && !s->resumed && (!best || s->free_bytes > best->free_bytes))
                                best = s;
                }
        }
        if (!best) {
                recalling = false;
                tell_recalled(recalled);
                return false;
        }
        recalled += best->bytes;
        recall_left -= best->bytes < recall_left ? best->bytes : recall_left;
        empty((uint32_t)(best - berth.segments));
        give_back(best);
        return true;
}

void host_forget_context(CUcontext context)
{
        for (size_t k = 0; k < berth.segments_n; k++)
                if (berth.segments[k].context == context) {
                        berth.segments[k].registered = false;
                        berth.segments[k].context = NULL;
                }
}

uint64_t host_wanted(void)
{
        uint64_t bytes = 0, placed = 0, free_bytes = 0, segments = 0;

        for (unsigned int i = 0; i < berth.devices_n; i++) {
                if (berth.devices[i].storage)
                        continue; /* its bytes are those of another device */
                bytes += berth.devices[i].movable;
                placed += berth.devices[i].backed;
        }
        for (size_t k = 0; k < berth.segments_n; k++)
                if (berth.segments[k].used) {
                        free_bytes += berth.segments[k].free_bytes;
                        segments += berth.segments[k].bytes;
                }
        /* What has no place yet comes on top of what is lent: free space that served nobody so far is too small or torn. */
        if (bytes > placed && free_bytes >= bytes - placed)
                return segments + (bytes - placed);
        return segments + (bytes > placed ? bytes - placed - free_bytes : 0);
}
