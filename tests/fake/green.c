/* green.c: green contexts: a share of a device's processors with streams of its own, inside the primary context.
 *
 * Processors are counted and not divided: work in one green context does not slow down for its share.
 */
#include "fake.h"

#include <string.h>

struct CUgreenCtx_st {
        uint32_t mark;
        CUdevice device;
        CUcontext context; /* with its streams; it takes nothing of the device */
        CUdevResource share;
        struct CUgreenCtx_st *next;
};

enum { PROCESSORS = 4, LEAST = 2 }; /* as CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT says */

static pthread_mutex_t green_lock = PTHREAD_MUTEX_INITIALIZER;
static CUgreenCtx greens; /* every one ever made */

static CUdevResource share_of(unsigned processors)
{
        CUdevResource r = {.type = processors ? CU_DEV_RESOURCE_TYPE_SM : CU_DEV_RESOURCE_TYPE_INVALID};

        r.sm.smCount = processors;
        r.sm.minSmPartitionSize = r.sm.smCoscheduledAlignment = LEAST;
        return r;
}

API(cuDeviceGetDevResource, (CUdevice d, CUdevResource *ret, int type), (d, ret, type))
{
        TRY(device_check(d));
        if (!ret || type != CU_DEV_RESOURCE_TYPE_SM)
                return CUDA_ERROR_INVALID_VALUE;
        *ret = share_of(PROCESSORS);
        return CUDA_SUCCESS;
}

API(cuDevSmResourceSplitByCount,
    (CUdevResource *ret, unsigned *groups, const CUdevResource *whole, CUdevResource *rest, unsigned flags,
     unsigned least),
    (ret, groups, whole, rest, flags, least))
{
        unsigned size = least < LEAST ? LEAST : (least + LEAST - 1) / LEAST * LEAST, n;

        TRY(need_ready());
        if (!groups || !whole || whole->type != CU_DEV_RESOURCE_TYPE_SM || flags > 3 || size > whole->sm.smCount)
                return CUDA_ERROR_INVALID_VALUE;
        n = whole->sm.smCount / size;
        if (ret && *groups < n)
                n = *groups;
        for (unsigned i = 0; ret && i < n; i++)
                ret[i] = share_of(size);
        if (rest)
                *rest = share_of(whole->sm.smCount - n * size);
        *groups = n;
        return CUDA_SUCCESS;
}

/* What a descriptor is: the number of processors, which no pointer could be. */
API(cuDevResourceGenerateDesc, (void **ret, const CUdevResource *shares, unsigned count), (ret, shares, count))
{
        unsigned n = 0;

        TRY(need_ready());
        if (!ret || !shares || count == 0)
                return CUDA_ERROR_INVALID_VALUE;
        for (unsigned i = 0; i < count; i++) {
                if (shares[i].type != CU_DEV_RESOURCE_TYPE_SM)
                        return CUDA_ERROR_INVALID_VALUE;
                n += shares[i].sm.smCount;
        }
        *ret = (void *)(uintptr_t)n;
        return CUDA_SUCCESS;
}

API(cuGreenCtxCreate, (CUgreenCtx * ret, void *share, CUdevice d, unsigned flags), (ret, share, d, flags))
{
        CUgreenCtx g;
        CUcontext primary;
        CUresult r;

        TRY(device_check(d));
        if (!ret || !share || (uintptr_t)share > PROCESSORS || flags != CU_GREEN_CTX_DEFAULT_STREAM)
                return CUDA_ERROR_INVALID_VALUE;
        g = calloc(1, sizeof(*g));
        if (!g)
                return CUDA_ERROR_OUT_OF_MEMORY;
        r = primary_hold(d, &primary);
        if (r == CUDA_SUCCESS) {
                r = context_make_green(d, &g->context);
                if (r)
                        (void)primary_let_go(d);
        }
        if (r) {
                free(g);
                return r;
        }
        g->device = d;
        g->share = share_of((unsigned)(uintptr_t)share);
        g->mark = MARK_GREEN;
        pthread_mutex_lock(&green_lock);
        g->next = greens;
        greens = g;
        pthread_mutex_unlock(&green_lock);
        *ret = g;
        return CUDA_SUCCESS;
}

static CUresult green_check(CUgreenCtx g)
{
        TRY(need_ready());
        return g && g->mark == MARK_GREEN ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

API(cuGreenCtxDestroy, (CUgreenCtx g), (g))
{
        TRY(green_check(g));
        g->mark = MARK_GONE;
        context_drain(g->context);
        context_end_green(g->context);
        return primary_let_go(g->device);
}

API(cuCtxFromGreenCtx, (CUcontext * ret, CUgreenCtx g), (ret, g))
{
        TRY(green_check(g));
        if (!ret)
                return CUDA_ERROR_INVALID_VALUE;
        *ret = g->context;
        return CUDA_SUCCESS;
}

API(cuGreenCtxGetDevResource, (CUgreenCtx g, CUdevResource *ret, int type), (g, ret, type))
{
        TRY(green_check(g));
        if (!ret || type != CU_DEV_RESOURCE_TYPE_SM)
                return CUDA_ERROR_INVALID_VALUE;
        *ret = g->share;
        return CUDA_SUCCESS;
}

API(cuGreenCtxStreamCreate, (CUstream * ret, CUgreenCtx g, unsigned flags, int priority), (ret, g, flags, priority))
{
        TRY(green_check(g));
        if (!ret || flags != CU_STREAM_NON_BLOCKING)
                return CUDA_ERROR_INVALID_VALUE;
        return stream_create(g->context, flags, priority, ret);
}

API(cuStreamGetGreenCtx, (CUstream s, CUgreenCtx *ret), (s, ret))
{
        TRY(stream_of(s, &s));
        if (!ret)
                return CUDA_ERROR_INVALID_VALUE;
        *ret = NULL;
        pthread_mutex_lock(&green_lock);
        for (CUgreenCtx g = greens; g && !*ret; g = g->next)
                if (g->mark == MARK_GREEN && g->context == s->context)
                        *ret = g;
        pthread_mutex_unlock(&green_lock);
        return CUDA_SUCCESS;
}
