/* own-pool.c: hooks of memory pools and of allocations in stream order: those that we serve (ordered.h), and those that are the driver's (pool.h). */
#include "cuda/cache.h"
#include "cuda/lane.h"
#include "cuda/link.h"
#include "cuda/memory.h"
#include "cuda/ordered.h"
#include "cuda/pool.h"

/* The pool of ours that it comes from, or NULL. */
static CUmemoryPool served(struct device *d, CUmemoryPool pool)
{
        books_lock();
        pool = pool_ours(d, pool);
        books_unlock();
        return pool;
}

/* What the pool keeps serves the allocation, or else goes, as far as it lies beyond the grant. */
static void pooled(struct device *d, uint64_t key, uint64_t bytes, bool failed)
{
        memory_pin_keep(d, key, bytes, failed);
        books_lock();
        d->pooled = true;
        cache_limit(d, device_spare(d));
        books_unlock();
}

/* A capture makes a graph node of an allocation in stream order: nothing is allocated yet, and nothing may wait. */
#define POOLED(pool, per_thread, call)                                                     \
        do {                                                                               \
                struct device *d_;                                                         \
                CUmemoryPool pool_;                                                        \
                CUresult r_;                                                               \
                                                                                           \
                if (!ret || !bytes || lane_captures() || !(d_ = link_current()))         \
                        return call;                                                       \
                if ((pool_ = served(d_, pool)))                                            \
                        return ordered_allocate(d_, ret, bytes, pool_, s, per_thread);     \
                if (memory_pin_await(d_, bytes) < 0)                                       \
                        return CUDA_ERROR_OUT_OF_MEMORY;                                   \
                r_ = call;                                                                 \
                pooled(d_, r_ == CUDA_SUCCESS ? (uint64_t)*ret : 0, bytes, r_ != CUDA_SUCCESS); \
                return r_;                                                                 \
        } while (0)

CUresult hook_cuMemAllocAsync(CUdeviceptr *ret, size_t bytes, CUstream s)
{
        POOLED(NULL, false, real.cuMemAllocAsync(ret, bytes, s));
}

CUresult hook_cuMemAllocAsync_ptsz(CUdeviceptr *ret, size_t bytes, CUstream s)
{
        POOLED(NULL, true, real.cuMemAllocAsync_ptsz(ret, bytes, s));
}

CUresult hook_cuMemAllocFromPoolAsync(CUdeviceptr *ret, size_t bytes, CUmemoryPool pool, CUstream s)
{
        POOLED(pool, false, real.cuMemAllocFromPoolAsync(ret, bytes, pool, s));
}

CUresult hook_cuMemAllocFromPoolAsync_ptsz(CUdeviceptr *ret, size_t bytes, CUmemoryPool pool, CUstream s)
{
        POOLED(pool, true, real.cuMemAllocFromPoolAsync_ptsz(ret, bytes, pool, s));
}

/* cuMemFreeAsync of ordinary memory is allowed and ordered after the stream's work; ours waits for the device, which is stricter. */
static bool free_ours(CUdeviceptr address, CUstream s, bool per_thread, CUresult *ret)
{
        if (!berth_enabled)
                return false;
        if (ordered_free(address, s, per_thread, ret))
                return true;
        *ret = memory_free(address);
        return *ret != CUDA_ERROR_NOT_FOUND;
}

CUresult hook_cuMemFreeAsync(CUdeviceptr address, CUstream s)
{
        CUresult r;

        if (free_ours(address, s, false, &r))
                return r;
        r = real.cuMemFreeAsync(address, s);
        if (r == CUDA_SUCCESS && !lane_captures())
                memory_pin_drop(address);
        return r;
}

CUresult hook_cuMemFreeAsync_ptsz(CUdeviceptr address, CUstream s)
{
        CUresult r;

        if (free_ours(address, s, true, &r))
                return r;
        r = real.cuMemFreeAsync_ptsz(address, s);
        if (r == CUDA_SUCCESS && !lane_captures())
                memory_pin_drop(address);
        return r;
}

/* The beginning of CUmemPoolProps. */
struct pool_properties {
        int type, handle_types;
        CUmemLocation location;
};

CUresult hook_cuMemPoolCreate(CUmemoryPool *ret, const void *properties)
{
        const struct pool_properties *p = properties;
        CUresult r = real.cuMemPoolCreate(ret, properties);
        struct device *d;

        if (r != CUDA_SUCCESS || !berth_enabled || p->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
                return r;
        d = link_attach(p->location.id);
        books_lock();
        if (d && d->managed && !pool_made(d, *ret, p->type == CU_MEM_ALLOCATION_TYPE_PINNED && !p->handle_types)) {
                real.cuMemPoolDestroy(*ret);
                r = CUDA_ERROR_OUT_OF_MEMORY;
        }
        books_unlock();
        return r;
}

CUresult hook_cuMemPoolDestroy(CUmemoryPool pool)
{
        books_lock();
        pool_gone(pool);
        books_unlock();
        return real.cuMemPoolDestroy(pool);
}

CUresult hook_cuMemPoolGetAttribute(CUmemoryPool pool, int attribute, void *ret)
{
        CUresult r = real.cuMemPoolGetAttribute(pool, attribute, ret);
        uint64_t figure;

        if (!berth_enabled || r != CUDA_SUCCESS)
                return r;
        books_lock();
        if (pool_figure(pool, attribute, &figure))
                *(uint64_t *)ret += figure; /* beside what captures took from it */
        books_unlock();
        return r;
}

CUresult hook_cuMemPoolSetAttribute(CUmemoryPool pool, int attribute, void *value)
{
        CUresult r = real.cuMemPoolSetAttribute(pool, attribute, value);

        if (!berth_enabled || r != CUDA_SUCCESS)
                return r;
        if (attribute == 4 && link_current())
                (void)served(link_current(), pool); /* known from now on */
        books_lock();
        if (attribute == 4)
                pool_threshold(pool, *(uint64_t *)value);
        else
                pool_figure_anew(pool, attribute);
        books_unlock();
        return r;
}

/* What was taken from the pool and what will be is open to those devices from now on, as all memory of the device that moves. */
CUresult hook_cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *access, size_t n)
{
        struct page_lane *lane;
        struct device *d;
        CUresult r;

        if (!berth_enabled)
                return real.cuMemPoolSetAccess(pool, access, n);
        lane = lane_enter();
        r = real.cuMemPoolSetAccess(pool, access, n);
        books_lock();
        d = r == CUDA_SUCCESS ? pool_device(pool) : NULL;
        for (size_t i = 0; d && i < n && r == CUDA_SUCCESS; i++)
                if (access[i].location.type == CU_MEM_LOCATION_TYPE_DEVICE && access[i].location.id != d->handle && access[i].flags != CU_MEM_ACCESS_FLAGS_PROT_NONE)
                        r = memory_open_to(d, access[i].location.id);
        books_unlock();
        lane_leave(lane, false);
        return r;
}

CUresult hook_cuMemPoolTrimTo(CUmemoryPool pool, size_t keep)
{
        CUresult r = real.cuMemPoolTrimTo(pool, keep);
        struct device *d;
        uint64_t in_use, kept;

        if (!berth_enabled || r != CUDA_SUCCESS)
                return r;
        books_lock();
        d = pool_device(pool);
        if (d && pool_figure(pool, 7, &in_use)) {
                kept = keep > in_use ? keep - in_use : 0;
                ordered_limit(d, kept);
        }
        books_unlock();
        link_kick();
        return r;
}
