/* memory.c: plain device allocations, host memory that the device knows, managed memory, and what a pointer is.
 *
 * Allocations below 1 MiB share 2 MiB slabs, as the real driver's do; others take whole granules. Host memory has the
 * same address on both sides. Managed memory is host memory throughout: it does not count against the device.
 */
#include "fake.h"
#include "table.h"

#include <string.h>
#include <sys/mman.h>

enum { UNIT = 512, UNITS = (2 << 20) / UNIT, SMALL = 1 << 20 };

struct slab {
        CUdeviceptr base;
        int device;
        unsigned used; /* units */
        struct slab *next;
        unsigned char taken[UNITS];
};

struct allocation {
        CUdeviceptr base;
        uint64_t bytes;    /* as asked for */
        struct slab *slab; /* NULL: has its own granules */
        int device;
        uint64_t id;
};

static struct table allocations = {.bytes = sizeof(struct allocation)};
static struct table hosts = {.bytes = sizeof(struct host_range)};
static struct slab *slabs;
static uint64_t last_id;

static unsigned units_of(uint64_t bytes)
{
        return (unsigned)((bytes + UNIT - 1) / UNIT);
}

/* Under memory_lock. 0 when no slab has room. */
static CUdeviceptr slab_take(int device, uint64_t bytes, struct slab **ret)
{
        unsigned need = units_of(bytes);

        for (struct slab *s = slabs; s; s = s->next) {
                unsigned run = 0;

                if (s->device != device || UNITS - s->used < need)
                        continue;
                for (unsigned i = 0; i < UNITS; i++) {
                        run = s->taken[i] ? 0 : run + 1;
                        if (run < need)
                                continue;
                        memset(s->taken + i + 1 - need, 1, need);
                        s->used += need;
                        *ret = s;
                        return s->base + (CUdeviceptr)(i + 1 - need) * UNIT;
                }
        }
        return 0;
}

static void slab_give(const struct allocation *a)
{
        struct slab *s = a->slab;
        unsigned n = units_of(a->bytes);

        memset(s->taken + (a->base - s->base) / UNIT, 0, n);
        s->used -= n;
        if (s->used > 0)
                return;
        for (struct slab **at = &slabs; *at; at = &(*at)->next)
                if (*at == s) {
                        *at = s->next;
                        break;
                }
        vmm_unback(s->base);
        free(s);
}

static CUresult slab_add(int device)
{
        struct slab *s = calloc(1, sizeof(*s));
        CUresult r;

        if (!s)
                return CUDA_ERROR_OUT_OF_MEMORY;
        r = vmm_back(device, GRANULE, &s->base);
        if (r) {
                free(s);
                return r;
        }
        s->device = device;
        pthread_rwlock_wrlock(&memory_lock);
        s->next = slabs;
        slabs = s;
        pthread_rwlock_unlock(&memory_lock);
        return CUDA_SUCCESS;
}

CUresult memory_alloc(int device, uint64_t bytes, CUdeviceptr *ret)
{
        struct allocation a = {.bytes = bytes, .device = device};
        bool added;

        if (bytes == 0)
                return CUDA_ERROR_INVALID_VALUE;
        if (bytes > store()->capacity)
                return CUDA_ERROR_OUT_OF_MEMORY;
        if (bytes >= SMALL)
                TRY(vmm_back(device, (bytes + GRANULE - 1) / GRANULE * GRANULE, &a.base));
        pthread_rwlock_wrlock(&memory_lock);
        while (bytes < SMALL && (a.base = slab_take(device, bytes, &a.slab)) == 0) {
                pthread_rwlock_unlock(&memory_lock);
                TRY(slab_add(device));
                pthread_rwlock_wrlock(&memory_lock);
        }
        a.id = ++last_id;
        added = table_add(&allocations, &a);
        if (!added && a.slab)
                slab_give(&a);
        else if (!added)
                vmm_unback(a.base);
        pthread_rwlock_unlock(&memory_lock);
        *ret = a.base;
        return added ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult memory_free(CUdeviceptr at)
{
        struct allocation *a, gone;

        pthread_rwlock_wrlock(&memory_lock);
        a = table_find(&allocations, at);
        if (a && a->base == at) {
                gone = *a;
                table_remove(&allocations, a);
                if (gone.slab)
                        slab_give(&gone);
                else
                        vmm_unback(at);
        } else {
                a = NULL;
        }
        pthread_rwlock_unlock(&memory_lock);
        if (!a)
                return CUDA_ERROR_INVALID_VALUE;
        pool_freed(at);
        return CUDA_SUCCESS;
}

bool memory_find(CUdeviceptr at, CUdeviceptr *ret_base, uint64_t *ret_bytes)
{
        const struct allocation *a = table_find(&allocations, at);

        if (!a)
                return false;
        *ret_base = a->base;
        *ret_bytes = a->bytes;
        return true;
}

API(cuMemAlloc_v2, (CUdeviceptr *at, size_t bytes), (at, bytes))
{
        CUcontext c;

        TRY(need_context(&c));
        if (!at)
                return CUDA_ERROR_INVALID_VALUE;
        TRY(capture_forbids());
        return memory_alloc(c->device, bytes, at);
}

API(cuMemAllocPitch_v2, (CUdeviceptr *at, size_t *pitch, size_t width, size_t height, unsigned element),
    (at, pitch, width, height, element))
{
        CUcontext c;

        TRY(need_context(&c));
        if (!at || !pitch || width == 0 || height == 0 || (element != 4 && element != 8 && element != 16) ||
            width > (uint64_t)1 << 40 || height > (uint64_t)1 << 40)
                return CUDA_ERROR_INVALID_VALUE;
        TRY(capture_forbids());
        *pitch = (width + 511) / 512 * 512;
        if (*pitch > store()->capacity / height)
                return CUDA_ERROR_OUT_OF_MEMORY;
        return memory_alloc(c->device, *pitch * height, at);
}

static CUresult host_remove(uint64_t at, enum host_kind kind, bool unmap)
{
        struct host_range *h, gone;

        pthread_rwlock_wrlock(&memory_lock);
        h = table_find(&hosts, at);
        if (h && h->base == at && h->kind == kind) {
                gone = *h;
                table_remove(&hosts, h);
                if (unmap)
                        munmap((void *)(uintptr_t)gone.base, gone.bytes);
        } else {
                h = NULL;
        }
        pthread_rwlock_unlock(&memory_lock);
        return h ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API(cuMemFree_v2, (CUdeviceptr at), (at))
{
        CUcontext c;

        TRY(need_context(&c));
        if (at == 0)
                return CUDA_SUCCESS;
        TRY(capture_forbids());
        context_drain(c); /* as the real one, it waits for what may still use the memory */
        if (memory_free(at) == CUDA_SUCCESS)
                return CUDA_SUCCESS;
        return host_remove(at, HOST_MANAGED, true);
}

API(cuMemGetAddressRange_v2, (CUdeviceptr *base, size_t *bytes, CUdeviceptr at), (base, bytes, at))
{
        CUdeviceptr b = 0;
        CUcontext c;
        uint64_t n = 0;
        int device;
        bool found, accessible = true;

        TRY(need_context(&c));
        pthread_rwlock_rdlock(&memory_lock);
        found = memory_find(at, &b, &n) || ipc_find(at, &b, &n) || (vmm_find(at, &b, &n, &device, &accessible) && accessible);
        if (!found) {
                const struct host_range *h = host_find(at);

                found = h != NULL;
                b = h ? h->base : 0;
                n = h ? h->bytes : 0;
        }
        pthread_rwlock_unlock(&memory_lock);
        if (!found)
                return CUDA_ERROR_NOT_FOUND;
        if (base)
                *base = b;
        if (bytes)
                *bytes = n;
        return CUDA_SUCCESS;
}

API(cuMemGetInfo_v2, (size_t *available, size_t *total), (available, total))
{
        uint64_t used;
        CUcontext c;

        TRY(need_context(&c));
        store_sweep();
        used = atomic_load(&store()->device[c->device].used);
        if (available)
                *available = used < store()->capacity ? store()->capacity - used : 0;
        if (total)
                *total = store()->capacity;
        return CUDA_SUCCESS;
}

/* --- host memory --- */

const struct host_range *host_find(uint64_t at)
{
        return table_find(&hosts, at);
}

static CUresult host_add(uint64_t at, uint64_t bytes, enum host_kind kind, unsigned flags)
{
        struct host_range h = {at, bytes, kind, flags};
        CUresult r = CUDA_SUCCESS;

        pthread_rwlock_wrlock(&memory_lock);
        if (table_meets(&hosts, at, bytes))
                r = FAKE_ERROR_HOST_ALREADY_REGISTERED;
        else if (!table_add(&hosts, &h))
                r = CUDA_ERROR_OUT_OF_MEMORY;
        pthread_rwlock_unlock(&memory_lock);
        return r;
}

CUresult host_check(uint64_t at, uint64_t bytes, bool *ret_pinned)
{
        const struct host_range *h;
        CUresult r = CUDA_SUCCESS;

        *ret_pinned = false;
        if (bytes == 0)
                return CUDA_SUCCESS;
        pthread_rwlock_rdlock(&memory_lock);
        h = table_find(&hosts, at);
        if (h && at - h->base + bytes <= h->bytes)
                *ret_pinned = true;
        else if (h)
                r = CUDA_ERROR_INVALID_VALUE;
        pthread_rwlock_unlock(&memory_lock);
        return r;
}

static CUresult host_alloc(size_t bytes, enum host_kind kind, unsigned flags, void **ret)
{
        void *p;
        CUresult r;

        if (!ret || bytes == 0)
                return CUDA_ERROR_INVALID_VALUE;
        p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
                return CUDA_ERROR_OUT_OF_MEMORY;
        r = host_add((uintptr_t)p, bytes, kind, flags);
        if (r)
                munmap(p, bytes);
        else
                *ret = p;
        return r;
}

API(cuMemHostAlloc, (void **at, size_t bytes, unsigned flags), (at, bytes, flags))
{
        CUcontext c;

        TRY(need_context(&c));
        TRY(capture_forbids());
        return flags > 7 ? CUDA_ERROR_INVALID_VALUE : host_alloc(bytes, HOST_ALLOCATED, flags, at);
}

API(cuMemAllocHost_v2, (void **at, size_t bytes), (at, bytes))
{
        CUcontext c;

        TRY(need_context(&c));
        TRY(capture_forbids());
        return host_alloc(bytes, HOST_ALLOCATED, 0, at);
}

API(cuMemFreeHost, (void *at), (at))
{
        CUcontext c;

        TRY(need_context(&c));
        if (!at)
                return CUDA_SUCCESS;
        TRY(capture_forbids());
        context_drain(c);
        return host_remove((uintptr_t)at, HOST_ALLOCATED, true);
}

API(cuMemAllocManaged, (CUdeviceptr *at, size_t bytes, unsigned flags), (at, bytes, flags))
{
        CUcontext c;
        void *p;

        TRY(need_context(&c));
        if (!at || (flags != 1 && flags != 2))
                return CUDA_ERROR_INVALID_VALUE;
        TRY(capture_forbids());
        TRY(host_alloc(bytes, HOST_MANAGED, flags, &p));
        *at = (CUdeviceptr)(uintptr_t)p;
        return CUDA_SUCCESS;
}

API(cuMemHostRegister_v2, (void *at, size_t bytes, unsigned flags), (at, bytes, flags))
{
        CUcontext c;

        TRY(need_context(&c));
        if (!at || bytes == 0 || (uintptr_t)at + bytes < (uintptr_t)at || flags > 15)
                return CUDA_ERROR_INVALID_VALUE;
        TRY(capture_forbids());
        return host_add((uintptr_t)at, bytes, HOST_REGISTERED, flags);
}

API(cuMemHostUnregister, (void *at), (at))
{
        CUcontext c;
        bool known;

        TRY(need_context(&c));
        TRY(capture_forbids());
        pthread_rwlock_rdlock(&memory_lock);
        known = host_find((uintptr_t)at) != NULL;
        pthread_rwlock_unlock(&memory_lock);
        if (!known)
                return FAKE_ERROR_HOST_NOT_REGISTERED;
        context_drain(c);
        return host_remove((uintptr_t)at, HOST_REGISTERED, false);
}

API(cuMemHostGetDevicePointer_v2, (CUdeviceptr *device, void *at, unsigned flags), (device, at, flags))
{
        const struct host_range *h;
        CUcontext c;
        CUresult r = CUDA_ERROR_INVALID_VALUE;

        TRY(need_context(&c));
        if (!device || flags)
                return CUDA_ERROR_INVALID_VALUE;
        pthread_rwlock_rdlock(&memory_lock);
        h = host_find((uintptr_t)at);
        if (h && h->kind != HOST_MANAGED) {
                *device = (CUdeviceptr)(uintptr_t)at;
                r = CUDA_SUCCESS;
        }
        pthread_rwlock_unlock(&memory_lock);
        return r;
}

API(cuMemHostGetFlags, (unsigned *flags, void *at), (flags, at))
{
        const struct host_range *h;
        CUcontext c;
        CUresult r = CUDA_ERROR_INVALID_VALUE;

        TRY(need_context(&c));
        pthread_rwlock_rdlock(&memory_lock);
        h = host_find((uintptr_t)at);
        if (h && flags && h->kind != HOST_MANAGED) {
                *flags = h->flags;
                r = CUDA_SUCCESS;
        }
        pthread_rwlock_unlock(&memory_lock);
        return r;
}
