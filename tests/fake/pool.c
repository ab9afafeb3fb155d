/* pool.c: stream-ordered allocation, in its simplest form: memory is there at once and goes when the stream gets to it.
 * A pool keeps what is freed up to its threshold (keep.c).
 */
#include "fake.h"
#include "keep.h"
#include "table.h"

#include <string.h>

struct CUmemPoolHandle_st {
        uint32_t mark;
        int device;
        uint64_t threshold, used, peak, kept;
        int reuse[3];
        struct CUmemPoolHandle_st *next;
};

struct loan {
        CUdeviceptr base;
        uint64_t bytes;
        CUmemoryPool pool;
};

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static struct CUmemPoolHandle_st defaults[STORE_DEVICES];
static CUmemoryPool chosen[STORE_DEVICES]; /* NULL: the default one */
static CUmemoryPool made;                  /* every one ever made */
static struct table loans = {.bytes = sizeof(struct loan)};

/* Kept memory goes until the pool keeps at most so much. */
static void trim(CUmemoryPool p, uint64_t most)
{
        for (;;) {
                uint64_t kept, bytes;

                pthread_mutex_lock(&pool_lock);
                kept = p->kept;
                pthread_mutex_unlock(&pool_lock);
                bytes = kept > most ? keep_drop(p) : 0;
                if (!bytes)
                        return;
                pthread_mutex_lock(&pool_lock);
                p->kept -= bytes;
                pthread_mutex_unlock(&pool_lock);
        }
}

/* Before any thread can ask for one. */
__attribute__((constructor)) static void make_defaults(void)
{
        for (int i = 0; i < STORE_DEVICES; i++) {
                defaults[i].mark = MARK_POOL;
                defaults[i].device = i;
        }
}

static CUmemoryPool default_pool(int device)
{
        return &defaults[device];
}

static CUmemoryPool current_pool(int device)
{
        return chosen[device] ? chosen[device] : default_pool(device);
}

void pool_freed(CUdeviceptr at)
{
        struct loan *l;
        CUmemoryPool pool = NULL;
        uint64_t bytes = 0;
        bool keep = false;

        pthread_mutex_lock(&pool_lock);
        l = table_find(&loans, at);
        if (l && l->base == at) {
                pool = l->pool;
                bytes = l->bytes;
                pool->used -= bytes;
                keep = pool->used + pool->kept + bytes <= pool->threshold;
                table_remove(&loans, l);
        }
        pthread_mutex_unlock(&pool_lock);
        if (keep && keep_bytes(pool, pool->device, bytes)) {
                pthread_mutex_lock(&pool_lock);
                pool->kept += bytes;
                pthread_mutex_unlock(&pool_lock);
        }
}

CUmemoryPool pool_lender(CUdeviceptr at)
{
        const struct loan *l;
        CUmemoryPool pool;

        pthread_mutex_lock(&pool_lock);
        l = table_find(&loans, at);
        pool = l && l->base == at ? l->pool : NULL;
        pthread_mutex_unlock(&pool_lock);
        return pool;
}

/* In a capture: the memory is there from now on and as long as the graph or an instance of it. */
static CUresult capture_allocation(CUstream s, size_t bytes, CUdeviceptr *at)
{
        struct work w = {.kind = WORK_KEEP};
        CUresult r;

        TRY(memory_alloc(s->context->device, bytes, at));
        w.holding = holding_new(s->context->device, *at, bytes);
        if (!w.holding) {
                (void)memory_free(*at);
                return CUDA_ERROR_OUT_OF_MEMORY;
        }
        r = stream_submit(s, &w, false);
        holding_unref(w.holding);
        return r;
}

static CUresult allocate(CUdeviceptr *at, size_t bytes, CUmemoryPool pool, CUstream s)
{
        struct loan l = {.bytes = bytes};

        TRY(stream_of(s, &s));
        if (!at || bytes == 0)
                return CUDA_ERROR_INVALID_VALUE;
        if (atomic_load(&s->capture))
                return capture_allocation(s, bytes, at);
        pthread_mutex_lock(&pool_lock);
        if (!pool)
                pool = current_pool(s->context->device);
        pthread_mutex_unlock(&pool_lock);
        if (pool->mark != MARK_POOL)
                return CUDA_ERROR_INVALID_VALUE;
        trim(pool, pool->kept > bytes ? pool->kept - bytes : 0); /* what was kept serves this one */
        TRY(memory_alloc(pool->device, bytes, &l.base));
        l.pool = pool;
        pthread_mutex_lock(&pool_lock);
        if (table_add(&loans, &l)) {
                pool->used += bytes;
                if (pool->used > pool->peak)
                        pool->peak = pool->used;
        }
        pthread_mutex_unlock(&pool_lock);
        *at = l.base;
        return CUDA_SUCCESS;
}

API_STREAM(cuMemAllocAsync, (CUdeviceptr *at, size_t bytes, CUstream s), (at, bytes, s))
{
        return allocate(at, bytes, NULL, s);
}

API_STREAM(cuMemAllocFromPoolAsync, (CUdeviceptr *at, size_t bytes, CUmemoryPool pool, CUstream s),
           (at, bytes, pool, s))
{
        return pool ? allocate(at, bytes, pool, s) : CUDA_ERROR_INVALID_VALUE;
}

API_STREAM(cuMemFreeAsync, (CUdeviceptr at, CUstream s), (at, s))
{
        struct work w = {.kind = WORK_FREE, .free_at = at};
        CUdeviceptr base = 0;
        uint64_t bytes;
        bool found;

        TRY(stream_of(s, &s));
        pthread_rwlock_rdlock(&memory_lock);
        found = memory_find(at, &base, &bytes);
        pthread_rwlock_unlock(&memory_lock);
        return found && base == at ? stream_submit(s, &w, false) : CUDA_ERROR_INVALID_VALUE;
}

static CUresult give_pool(CUmemoryPool *pool, CUdevice d, bool is_default)
{
        TRY(device_check(d));
        if (!pool)
                return CUDA_ERROR_INVALID_VALUE;
        pthread_mutex_lock(&pool_lock);
        *pool = is_default ? default_pool(d) : current_pool(d);
        pthread_mutex_unlock(&pool_lock);
        return CUDA_SUCCESS;
}

static CUresult choose_pool(CUdevice d, CUmemoryPool pool)
{
        TRY(device_check(d));
        if (!pool || pool->mark != MARK_POOL || pool->device != d)
                return CUDA_ERROR_INVALID_VALUE;
        pthread_mutex_lock(&pool_lock);
        chosen[d] = pool;
        pthread_mutex_unlock(&pool_lock);
        return CUDA_SUCCESS;
}

API(cuDeviceGetDefaultMemPool, (CUmemoryPool *pool, CUdevice d), (pool, d))
{
        return give_pool(pool, d, true);
}

API(cuDeviceGetMemPool, (CUmemoryPool *pool, CUdevice d), (pool, d))
{
        return give_pool(pool, d, false);
}

API(cuDeviceSetMemPool, (CUdevice d, CUmemoryPool pool), (d, pool))
{
        return choose_pool(d, pool);
}

static CUresult pool_place(const CUmemLocation *location, int type)
{
        if (!location)
                return CUDA_ERROR_INVALID_VALUE;
        return type == CU_MEM_ALLOCATION_TYPE_PINNED && location->type == CU_MEM_LOCATION_TYPE_DEVICE
                       ? CUDA_SUCCESS
                       : CUDA_ERROR_NOT_SUPPORTED;
}

API(cuMemGetDefaultMemPool, (CUmemoryPool *pool, CUmemLocation *location, int type), (pool, location, type))
{
        TRY(pool_place(location, type));
        return give_pool(pool, location->id, true);
}

API(cuMemGetMemPool, (CUmemoryPool *pool, CUmemLocation *location, int type), (pool, location, type))
{
        TRY(pool_place(location, type));
        return give_pool(pool, location->id, false);
}

API(cuMemSetMemPool, (CUmemLocation *location, int type, CUmemoryPool pool), (location, type, pool))
{
        TRY(pool_place(location, type));
        return choose_pool(location->id, pool);
}

/* The beginning of CUmemPoolProps. */
struct pool_props {
        int type, handle_types;
        CUmemLocation location;
};

API(cuMemPoolCreate, (CUmemoryPool *pool, const struct pool_props *props), (pool, props))
{
        CUmemoryPool p;

        TRY(need_ready());
        if (!pool || !props)
                return CUDA_ERROR_INVALID_VALUE;
        TRY(pool_place(&props->location, props->type));
        TRY(device_check(props->location.id));
        p = calloc(1, sizeof(*p));
        if (!p)
                return CUDA_ERROR_OUT_OF_MEMORY;
        p->mark = MARK_POOL;
        p->device = props->location.id;
        pthread_mutex_lock(&pool_lock);
        p->next = made;
        made = p;
        pthread_mutex_unlock(&pool_lock);
        *pool = p;
        return CUDA_SUCCESS;
}

static CUresult pool_check(CUmemoryPool p)
{
        bool pool;

        TRY(need_ready());
        pthread_mutex_lock(&pool_lock);
        pool = p && p->mark == MARK_POOL;
        pthread_mutex_unlock(&pool_lock);
        return pool ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API(cuMemPoolDestroy, (CUmemoryPool p), (p))
{
        TRY(pool_check(p));
        trim(p, 0);
        if (p >= defaults && p < defaults + STORE_DEVICES)
                return CUDA_ERROR_INVALID_VALUE;
        pthread_mutex_lock(&pool_lock);
        p->mark = MARK_GONE;
        if (chosen[p->device] == p)
                chosen[p->device] = NULL;
        pthread_mutex_unlock(&pool_lock);
        return CUDA_SUCCESS;
}

API(cuMemPoolTrimTo, (CUmemoryPool p, size_t keep), (p, keep))
{
        uint64_t used;

        TRY(pool_check(p));
        pthread_mutex_lock(&pool_lock);
        used = p->used;
        pthread_mutex_unlock(&pool_lock);
        trim(p, keep > used ? keep - used : 0);
        return CUDA_SUCCESS;
}

API(cuMemPoolSetAccess, (CUmemoryPool p, const CUmemAccessDesc *access, size_t count), (p, access, count))
{
        TRY(pool_check(p));
        for (size_t i = 0; i < count; i++)
                if (!access || access[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
                    device_check(access[i].location.id))
                        return CUDA_ERROR_INVALID_VALUE;
        for (size_t i = 0; i < count; i++)
                if (access[i].flags != CU_MEM_ACCESS_FLAGS_PROT_NONE)
                        vmm_open_pools(p->device, access[i].location.id);
        return CUDA_SUCCESS;
}

API(cuMemPoolGetAccess, (int *flags, CUmemoryPool p, CUmemLocation *location), (flags, p, location))
{
        TRY(pool_check(p));
        if (!flags || !location)
                return CUDA_ERROR_INVALID_VALUE;
        *flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
        return CUDA_SUCCESS;
}

/* CUmemPool_attribute: 1 to 3 how freed memory is used again, 4 what is kept back, 5 to 8 reserved and used, now and at
 * most. */
API(cuMemPoolGetAttribute, (CUmemoryPool p, int which, void *value), (p, which, value))
{
        uint64_t reserved;

        TRY(pool_check(p));
        if (!value || which < 1 || which > 8)
                return CUDA_ERROR_INVALID_VALUE;
        pthread_mutex_lock(&pool_lock);
        reserved = p->used + p->kept;
        if (which <= 3)
                memcpy(value, &p->reuse[which - 1], sizeof(int));
        else
                memcpy(value, which == 4 ? &p->threshold : which == 5 ? &reserved : which == 7 ? &p->used : &p->peak, sizeof(uint64_t));
        pthread_mutex_unlock(&pool_lock);
        return CUDA_SUCCESS;
}

API(cuMemPoolSetAttribute, (CUmemoryPool p, int which, void *value), (p, which, value))
{
        TRY(pool_check(p));
        if (!value || which < 1 || which > 8 || which == 5 || which == 7)
                return CUDA_ERROR_INVALID_VALUE;
        pthread_mutex_lock(&pool_lock);
        if (which <= 3)
                memcpy(&p->reuse[which - 1], value, sizeof(int));
        else if (which == 4)
                memcpy(&p->threshold, value, sizeof(uint64_t));
        else
                p->peak = p->used;
        pthread_mutex_unlock(&pool_lock);
        return CUDA_SUCCESS;
}
