/* vmm.c: reserved addresses, physical allocations, and the mappings between them.
 *
 * A reserved address range is never accessible to the CPU, as with a real device: each physical allocation is mapped
 * once, elsewhere, and kernels and copies look addresses up here. So memory that is not mapped, or has no access
 * rights, cannot be touched by accident. Tables are sorted by address, under memory_lock.
 */
#include "fake.h"
#include "physical.h"
#include "table.h"

#include <string.h>
#include <sys/mman.h>

struct reservation {
        CUdeviceptr base;
        uint64_t bytes;
};

struct mapping {
        CUdeviceptr base;
        uint64_t bytes;
        struct handle *handle;
        bool plain; /* not the program's own mapping: access goes by context, not by access[] */
        unsigned char access[STORE_DEVICES];
};

pthread_rwlock_t memory_lock = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
static struct table reservations = {.bytes = sizeof(struct reservation)};
static struct table mappings = {.bytes = sizeof(struct mapping)};
static _Atomic unsigned open_pools[STORE_DEVICES];

/* --- addresses --- */

/* Space of this size and alignment, at the wish if it is free there. */
static CUdeviceptr reserve(uint64_t bytes, uint64_t alignment, CUdeviceptr wish)
{
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        char *p, *at;

        if (wish && wish % alignment == 0) {
                p = mmap((void *)(uintptr_t)wish, bytes, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);
                if (p != MAP_FAILED && (uintptr_t)p == wish)
                        return wish;
                if (p != MAP_FAILED)
                        munmap(p, bytes);
        }
        p = mmap(NULL, bytes + alignment, PROT_NONE, flags, -1, 0);
        if (p == MAP_FAILED)
                return 0;
        at = (char *)(((uintptr_t)p + alignment - 1) / alignment * alignment);
        if (at > p)
                munmap(p, (size_t)(at - p));
        munmap(at + bytes, alignment - (size_t)(at - p));
        return (CUdeviceptr)(uintptr_t)at;
}

static CUresult reserve_locked(uint64_t bytes, uint64_t alignment, CUdeviceptr wish, CUdeviceptr *ret)
{
        CUdeviceptr at = reserve(bytes, alignment, wish);
        struct reservation r = {at, bytes};

        if (!at)
                return CUDA_ERROR_OUT_OF_MEMORY;
        if (!table_add(&reservations, &r)) {
                munmap((void *)(uintptr_t)at, bytes);
                return CUDA_ERROR_OUT_OF_MEMORY;
        }
        *ret = at;
        return CUDA_SUCCESS;
}

API(cuMemAddressReserve, (CUdeviceptr *at, size_t bytes, size_t alignment, CUdeviceptr wish, unsigned long long flags),
    (at, bytes, alignment, wish, flags))
{
        CUresult r;

        TRY(need_ready());
        if (!at || bytes == 0 || bytes % GRANULE || flags || (alignment & (alignment - 1)) ||
            bytes > (uint64_t)1 << 46 || alignment > (uint64_t)1 << 40)
                return CUDA_ERROR_INVALID_VALUE;
        pthread_rwlock_wrlock(&memory_lock);
        r = reserve_locked(bytes, alignment > GRANULE ? alignment : GRANULE, wish, at);
        pthread_rwlock_unlock(&memory_lock);
        return r;
}

static CUresult unreserve_locked(CUdeviceptr at, uint64_t bytes)
{
        struct reservation *r = table_find(&reservations, at);

        if (!r || r->base != at || r->bytes != bytes || table_meets(&mappings, at, bytes))
                return CUDA_ERROR_INVALID_VALUE;
        table_remove(&reservations, r);
        munmap((void *)(uintptr_t)at, bytes);
        return CUDA_SUCCESS;
}

API(cuMemAddressFree, (CUdeviceptr at, size_t bytes), (at, bytes))
{
        CUresult r;

        TRY(need_ready());
        pthread_rwlock_wrlock(&memory_lock);
        r = unreserve_locked(at, bytes);
        pthread_rwlock_unlock(&memory_lock);
        return r;
}

static CUresult map_locked(CUdeviceptr at, uint64_t bytes, struct handle *h)
{
        struct reservation *r = table_find(&reservations, at);
        struct mapping m = {.base = at, .bytes = bytes, .handle = h};

        if (!h || !r || bytes == 0 || at % GRANULE || bytes % GRANULE)
                return CUDA_ERROR_INVALID_VALUE;
        if (bytes != h->file.bytes)
                return CUDA_ERROR_NOT_SUPPORTED;
        if (at - r->base + bytes > r->bytes || table_meets(&mappings, at, bytes))
                return CUDA_ERROR_INVALID_VALUE;
        if (!handle_map(h) || !table_add(&mappings, &m))
                return CUDA_ERROR_OUT_OF_MEMORY;
        h->mappings++;
        return CUDA_SUCCESS;
}

API(cuMemMap,
    (CUdeviceptr at, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle, unsigned long long flags),
    (at, bytes, offset, handle, flags))
{
        CUresult r;

        TRY(need_ready());
        if (offset || flags)
                return offset ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
        pthread_rwlock_wrlock(&memory_lock);
        r = map_locked(at, bytes, handle_get(handle));
        pthread_rwlock_unlock(&memory_lock);
        return r;
}

/* Whether [at, at + bytes) is whole mappings without a gap. */
static bool whole_mappings(CUdeviceptr at, uint64_t bytes)
{
        CUdeviceptr end = at + bytes;

        if (bytes == 0 || end < at)
                return false;
        while (at < end) {
                struct mapping *m = table_find(&mappings, at);

                if (!m || m->base != at || m->bytes > end - at)
                        return false;
                at += m->bytes;
        }
        return true;
}

/* Holes are no mistake, cutting a mapping is. */
static CUresult unmap_locked(CUdeviceptr at, uint64_t bytes)
{
        const struct reservation *r = table_find(&reservations, at);
        CUdeviceptr end = at + bytes;
        struct mapping *m = table_find(&mappings, at);

        if (!r || bytes == 0 || end < at || end - r->base > r->bytes || (m && m->base != at))
                return CUDA_ERROR_INVALID_VALUE;
        m = table_find(&mappings, end - 1);
        if (m && m->base + m->bytes != end)
                return CUDA_ERROR_INVALID_VALUE;
        while ((m = table_from(&mappings, at)) && m->base < end) {
                struct handle *h = m->handle;

                table_remove(&mappings, m);
                h->mappings--;
                handle_put(h);
        }
        return CUDA_SUCCESS;
}

API(cuMemUnmap, (CUdeviceptr at, size_t bytes), (at, bytes))
{
        CUresult r;

        TRY(need_ready());
        pthread_rwlock_wrlock(&memory_lock);
        r = unmap_locked(at, bytes);
        pthread_rwlock_unlock(&memory_lock);
        return r;
}

static bool access_known(const CUmemAccessDesc *d)
{
        return d->location.type == CU_MEM_LOCATION_TYPE_DEVICE && device_check(d->location.id) == CUDA_SUCCESS &&
               (d->flags == CU_MEM_ACCESS_FLAGS_PROT_NONE || d->flags == CU_MEM_ACCESS_FLAGS_PROT_READ ||
                d->flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
}

API(cuMemSetAccess, (CUdeviceptr at, size_t bytes, const CUmemAccessDesc *access, size_t count),
    (at, bytes, access, count))
{
        CUresult r = CUDA_ERROR_INVALID_VALUE;

        TRY(need_ready());
        if (!access || count == 0)
                return CUDA_ERROR_INVALID_VALUE;
        for (size_t i = 0; i < count; i++)
                if (!access_known(&access[i]))
                        return CUDA_ERROR_INVALID_VALUE;
        pthread_rwlock_wrlock(&memory_lock);
        if (whole_mappings(at, bytes)) {
                for (CUdeviceptr end = at + bytes; at < end;) {
                        struct mapping *m = table_find(&mappings, at);

                        for (size_t i = 0; i < count; i++)
                                m->access[access[i].location.id] = (unsigned char)access[i].flags;
                        at += m->bytes;
                }
                r = CUDA_SUCCESS;
        }
        pthread_rwlock_unlock(&memory_lock);
        return r;
}

API(cuMemRetainAllocationHandle, (CUmemGenericAllocationHandle *handle, void *address), (handle, address))
{
        struct mapping *m;

        TRY(need_ready());
        if (!handle)
                return CUDA_ERROR_INVALID_VALUE;
        pthread_rwlock_wrlock(&memory_lock);
        m = table_find(&mappings, (CUdeviceptr)(uintptr_t)address);
        if (m) {
                m->handle->users++;
                *handle = handle_value(m->handle);
        }
        pthread_rwlock_unlock(&memory_lock);
        return m ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API(cuMemGetAccess, (unsigned long long *flags, const CUmemLocation *location, CUdeviceptr at), (flags, location, at))
{
        struct mapping *m;

        TRY(need_ready());
        if (!flags || !location || location->type != CU_MEM_LOCATION_TYPE_DEVICE || device_check(location->id))
                return CUDA_ERROR_INVALID_VALUE;
        pthread_rwlock_rdlock(&memory_lock);
        m = table_find(&mappings, at);
        if (m)
                *flags = m->access[location->id];
        pthread_rwlock_unlock(&memory_lock);
        return m ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* --- for the rest of the device --- */

void vmm_open_pools(int device, int peer)
{
        atomic_fetch_or(&open_pools[device], 1U << peer);
}

static bool may_touch(const struct mapping *m, CUcontext c, unsigned touch)
{
        unsigned need = touch & TOUCH_WRITE ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : CU_MEM_ACCESS_FLAGS_PROT_READ;
        int owner = m->handle->file.device;

        if (!m->plain)
                return (m->access[c->device] & need) == need;
        return owner == c->device || (touch & TOUCH_COPY) || ((atomic_load(&c->peers) >> owner) & 1) ||
               ((atomic_load(&open_pools[owner]) >> c->device) & 1);
}

CUresult span_device(CUdeviceptr at, uint64_t length, CUcontext c, unsigned touch, struct span *ret)
{
        const struct mapping *m = table_find(&mappings, at);
        uint64_t rest;

        if (m) {
                if (!may_touch(m, c, touch))
                        return CUDA_ERROR_ILLEGAL_ADDRESS;
                rest = m->bytes - (at - m->base);
                ret->at = m->handle->host + (at - m->base);
                ret->device = m->handle->file.device;
        } else {
                const struct host_range *h = host_find(at);

                if (!h)
                        return CUDA_ERROR_ILLEGAL_ADDRESS;
                rest = h->bytes - (at - h->base);
                ret->at = (void *)(uintptr_t)at;
                ret->device = -1;
        }
        ret->bytes = length < rest ? length : rest;
        return CUDA_SUCCESS;
}

CUresult span_any(CUdeviceptr at, uint64_t length, CUcontext c, unsigned touch, struct span *ret)
{
        if (is_device_address(at))
                return span_device(at, length, c, touch, ret);
        *ret = (struct span){(void *)(uintptr_t)at, length, -1};
        return CUDA_SUCCESS;
}

CUresult range_check(CUdeviceptr at, uint64_t length, CUcontext c, unsigned touch)
{
        struct span s = {0};

        if (at + length < at)
                return CUDA_ERROR_ILLEGAL_ADDRESS;
        for (; length > 0; at += s.bytes, length -= s.bytes)
                TRY(span_device(at, length, c, touch, &s));
        return CUDA_SUCCESS;
}

bool is_device_address(CUdeviceptr at)
{
        return table_find(&reservations, at) != NULL;
}

bool vmm_find(CUdeviceptr at, CUdeviceptr *ret_base, uint64_t *ret_bytes, int *ret_device, bool *ret_accessible)
{
        const struct mapping *m = table_find(&mappings, at);

        if (!m)
                return false;
        *ret_base = m->base;
        *ret_bytes = m->bytes;
        *ret_device = m->handle->file.device;
        *ret_accessible = false;
        for (int i = 0; i < STORE_DEVICES; i++)
                *ret_accessible = *ret_accessible || m->access[i];
        return true;
}

static CUresult back_locked(struct handle *h, uint64_t bytes, CUdeviceptr *ret_at)
{
        struct mapping *m;
        CUresult r;

        TRY(reserve_locked(bytes, GRANULE, 0, ret_at));
        r = map_locked(*ret_at, bytes, h);
        if (r) {
                (void)unreserve_locked(*ret_at, bytes);
                return r;
        }
        m = table_find(&mappings, *ret_at);
        m->plain = true;
        memset(m->access, CU_MEM_ACCESS_FLAGS_PROT_READWRITE, sizeof(m->access));
        store_seal(&h->file); /* the mapping holds it; a descriptor for each allocation would be too many */
        return CUDA_SUCCESS;
}

/* The file becomes a handle's that lives as long as its mapping. */
static CUresult back_with(struct store_file *file, CUdeviceptr *ret_at)
{
        const CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                          .location = {CU_MEM_LOCATION_TYPE_DEVICE, file->device}};
        CUmemGenericAllocationHandle value;
        CUresult r = CUDA_ERROR_OUT_OF_MEMORY;
        struct handle *h;

        pthread_rwlock_wrlock(&memory_lock);
        h = physical_add(file, &prop, &value);
        if (h) {
                r = back_locked(h, h->file.bytes, ret_at);
                h->users--;
                handle_put(h);
        }
        pthread_rwlock_unlock(&memory_lock);
        if (!h)
                store_drop(file);
        return r;
}

CUresult vmm_back(int device, uint64_t bytes, CUdeviceptr *ret_at)
{
        struct store_file file;

        TRY(physical_create(device, bytes, &file));
        return back_with(&file, ret_at);
}

bool vmm_publish(CUdeviceptr at, unsigned long long *ret_serial, uint64_t *ret_offset)
{
        struct mapping *m;

        pthread_rwlock_wrlock(&memory_lock);
        m = table_find(&mappings, at);
        *ret_serial = m && m->plain ? store_publish(&m->handle->file) : 0;
        *ret_offset = m ? at - m->base : 0;
        pthread_rwlock_unlock(&memory_lock);
        return *ret_serial != 0;
}

CUresult vmm_open_published(unsigned long long serial, CUdeviceptr *ret_at)
{
        struct store_file file;

        if (store_open_published(serial, &file) < 0)
                return CUDA_ERROR_INVALID_HANDLE;
        return back_with(&file, ret_at);
}

void vmm_unback(CUdeviceptr at)
{
        struct mapping *m = table_find(&mappings, at);
        uint64_t bytes;

        if (!m)
                return;
        bytes = m->bytes;
        (void)unmap_locked(at, bytes);
        (void)unreserve_locked(at, bytes);
}

/* The memory itself did not come along (MADV_DONTFORK), the descriptors are closed: only the tables are left, and
 * nobody may use them. */
void vmm_forked(void)
{
        reservations.count = mappings.count = 0;
}
