/* context.c: contexts, primary and made, and each thread's stack of them.
 *
 * A context that exists takes BERTH_SOFTWARE_CONTEXT bytes of its device. Handles of destroyed contexts stay
 * recognisable for the life of the process. The context list is under engine_lock.
 */
#include "fake.h"

#include <string.h>

__thread struct thread this_thread __attribute__((tls_model("initial-exec")));

static struct CUctx_st *contexts; /* every one ever made */
static uint64_t last_id;

static struct {
        pthread_mutex_t lock;
        CUcontext context;
        unsigned users, flags;
} primary[STORE_DEVICES] = {[0 ... STORE_DEVICES - 1] = {.lock = PTHREAD_MUTEX_INITIALIZER}};

void context_fail(CUcontext c, CUresult fault)
{
        int none = CUDA_SUCCESS;

        atomic_compare_exchange_strong(&c->sticky, &none, fault);
}

static CUresult context_make(CUdevice d, unsigned flags, bool is_primary, bool counted, unsigned version, CUcontext *ret)
{
        CUcontext c = calloc(1, sizeof(*c));
        CUresult r;
        int e = 0;

        if (!c)
                return CUDA_ERROR_OUT_OF_MEMORY;
        if (counted)
                e = store_create(d, store()->context_bytes, false, &c->file);
        if (e < 0) {
                free(c);
                return e == -ENOMEM ? CUDA_ERROR_OUT_OF_MEMORY : FAKE_ERROR_OPERATING_SYSTEM;
        }
        c->mark = MARK_CONTEXT;
        c->device = d;
        c->flags = flags;
        c->primary = is_primary;
        c->version = version;
        c->counted = counted;
        pthread_mutex_lock(&engine_lock);
        c->id = ++last_id;
        c->next = contexts;
        contexts = c;
        pthread_mutex_unlock(&engine_lock);
        r = stream_create(c, CU_STREAM_DEFAULT, 0, &c->legacy);
        if (r)
                return r;
        c->legacy->legacy = true;
        *ret = c;
        return CUDA_SUCCESS;
}

static void context_end(CUcontext c)
{
        context_stop(c);
        c->mark = MARK_GONE;
        if (c->counted)
                store_drop(&c->file);
        c->counted = false;
}

static CUresult push(CUcontext c)
{
        struct thread *t = &this_thread;

        if (t->depth == THREAD_STACK)
                return CUDA_ERROR_OUT_OF_MEMORY;
        t->stack[t->depth++] = t->current;
        t->current = c;
        return CUDA_SUCCESS;
}

static CUresult pop(CUcontext *ret)
{
        struct thread *t = &this_thread;

        if (!t->current)
                return CUDA_ERROR_INVALID_CONTEXT;
        if (ret)
                *ret = t->current;
        t->current = t->depth > 0 ? t->stack[--t->depth] : NULL;
        return CUDA_SUCCESS;
}

/* NULL is the thread's own. */
static CUresult context_or_current(CUcontext *c)
{
        TRY(need_ready());
        if (!*c)
                *c = this_thread.current;
        if (!*c)
                return CUDA_ERROR_INVALID_CONTEXT;
        return (*c)->mark == MARK_CONTEXT ? CUDA_SUCCESS : FAKE_ERROR_CONTEXT_IS_DESTROYED;
}

CUresult primary_hold(CUdevice d, CUcontext *context)
{
        CUresult r = CUDA_SUCCESS;

        pthread_mutex_lock(&primary[d].lock);
        if (!primary[d].context)
                r = context_make(d, primary[d].flags, true, true, 3020, &primary[d].context);
        if (r == CUDA_SUCCESS) {
                primary[d].users++;
                *context = primary[d].context;
        }
        pthread_mutex_unlock(&primary[d].lock);
        return r;
}

API(cuDevicePrimaryCtxRetain, (CUcontext *context, CUdevice d), (context, d))
{
        TRY(device_check(d));
        return context ? primary_hold(d, context) : CUDA_ERROR_INVALID_VALUE;
}

static CUresult primary_release(CUdevice d, bool reset)
{
        CUcontext gone = NULL;
        CUresult r = CUDA_SUCCESS;

        TRY(device_check(d));
        pthread_mutex_lock(&primary[d].lock);
        if (!reset && primary[d].users == 0)
                r = CUDA_ERROR_INVALID_CONTEXT;
        else if (reset || --primary[d].users == 0)
                gone = take(primary[d].context);
        if (reset)
                primary[d].users = 0;
        if (gone)
                context_end(gone);
        pthread_mutex_unlock(&primary[d].lock);
        return r;
}

CUresult primary_let_go(CUdevice d)
{
        return primary_release(d, false);
}

CUresult context_make_green(CUdevice d, CUcontext *ret)
{
        return context_make(d, 0, false, false, 3020, ret);
}

void context_end_green(CUcontext c)
{
        context_end(c);
}

API(cuDevicePrimaryCtxRelease_v2, (CUdevice d), (d))
{
        return primary_release(d, false);
}

API(cuDevicePrimaryCtxRelease, (CUdevice d), (d))
{
        return primary_release(d, false);
}

API(cuDevicePrimaryCtxReset_v2, (CUdevice d), (d))
{
        return primary_release(d, true);
}

API(cuDevicePrimaryCtxReset, (CUdevice d), (d))
{
        return primary_release(d, true);
}

static CUresult primary_flags(CUdevice d, unsigned flags)
{
        TRY(device_check(d));
        pthread_mutex_lock(&primary[d].lock);
        primary[d].flags = flags;
        if (primary[d].context)
                primary[d].context->flags = flags;
        pthread_mutex_unlock(&primary[d].lock);
        return CUDA_SUCCESS;
}

API(cuDevicePrimaryCtxSetFlags_v2, (CUdevice d, unsigned flags), (d, flags))
{
        return primary_flags(d, flags);
}

API(cuDevicePrimaryCtxSetFlags, (CUdevice d, unsigned flags), (d, flags))
{
        return primary_flags(d, flags);
}

API(cuDevicePrimaryCtxGetState, (CUdevice d, unsigned *flags, int *active), (d, flags, active))
{
        TRY(device_check(d));
        if (!flags || !active)
                return CUDA_ERROR_INVALID_VALUE;
        pthread_mutex_lock(&primary[d].lock);
        *flags = primary[d].flags;
        *active = primary[d].context != NULL;
        pthread_mutex_unlock(&primary[d].lock);
        return CUDA_SUCCESS;
}

static CUresult create(CUcontext *context, unsigned flags, CUdevice d, unsigned version)
{
        CUcontext c;
        CUresult r;

        TRY(device_check(d));
        if (!context)
                return CUDA_ERROR_INVALID_VALUE;
        TRY(context_make(d, flags, false, true, version, &c));
        r = push(c);
        if (r) {
                context_end(c);
                return r;
        }
        *context = c;
        return CUDA_SUCCESS;
}

API(cuCtxCreate_v2, (CUcontext *context, unsigned flags, CUdevice d), (context, flags, d))
{
        return create(context, flags, d, 3020);
}

API(cuCtxCreate_v3, (CUcontext *context, void *affinity, int count, unsigned flags, CUdevice d),
    (context, affinity, count, flags, d))
{
        (void)affinity;
        return count ? CUDA_ERROR_NOT_SUPPORTED : create(context, flags, d, 3020);
}

API(cuCtxCreate_v4, (CUcontext *context, void *params, unsigned flags, CUdevice d), (context, params, flags, d))
{
        return params ? CUDA_ERROR_NOT_SUPPORTED : create(context, flags, d, 3020);
}

API(cuCtxDestroy_v2, (CUcontext c), (c))
{
        TRY(need_ready());
        if (!c || c->mark != MARK_CONTEXT || c->primary)
                return CUDA_ERROR_INVALID_CONTEXT;
        context_end(c);
        if (this_thread.current == c)
                pop(NULL);
        return CUDA_SUCCESS;
}

API(cuCtxDestroy, (CUcontext c), (c))
{
        return cuCtxDestroy_v2_body(c);
}

/* Users are counted: the last one to detach ends the context. */
API(cuCtxAttach, (CUcontext *c, unsigned flags), (c, flags))
{
        CUcontext current;

        TRY(need_context(&current));
        if (!c || flags)
                return CUDA_ERROR_INVALID_VALUE;
        atomic_fetch_add(&current->attached, 1);
        *c = current;
        return CUDA_SUCCESS;
}

API(cuCtxDetach, (CUcontext c), (c))
{
        CUcontext current;

        TRY(need_context(&current));
        if (c != current || c->primary)
                return CUDA_ERROR_INVALID_CONTEXT;
        if (atomic_load(&c->attached)) {
                atomic_fetch_sub(&c->attached, 1);
                return CUDA_SUCCESS;
        }
        return cuCtxDestroy_v2_body(c);
}

API(cuCtxPushCurrent_v2, (CUcontext c), (c))
{
        TRY(need_ready());
        if (!c || c->mark != MARK_CONTEXT)
                return CUDA_ERROR_INVALID_CONTEXT;
        return push(c);
}

API(cuCtxPushCurrent, (CUcontext c), (c))
{
        return cuCtxPushCurrent_v2_body(c);
}

API(cuCtxPopCurrent_v2, (CUcontext *c), (c))
{
        TRY(need_ready());
        return pop(c);
}

API(cuCtxPopCurrent, (CUcontext *c), (c))
{
        return cuCtxPopCurrent_v2_body(c);
}

API(cuCtxSetCurrent, (CUcontext c), (c))
{
        TRY(need_ready());
        if (c && c->mark != MARK_CONTEXT)
                return CUDA_ERROR_INVALID_CONTEXT;
        this_thread.current = c;
        return CUDA_SUCCESS;
}

API(cuCtxGetCurrent, (CUcontext *c), (c))
{
        TRY(need_ready());
        if (!c)
                return CUDA_ERROR_INVALID_VALUE;
        *c = this_thread.current;
        return CUDA_SUCCESS;
}

static CUresult get_device(CUdevice *d, CUcontext c)
{
        TRY(context_or_current(&c));
        if (!d)
                return CUDA_ERROR_INVALID_VALUE;
        *d = c->device;
        return CUDA_SUCCESS;
}

API(cuCtxGetDevice, (CUdevice *d), (d))
{
        return get_device(d, NULL);
}

API(cuCtxGetDevice_v2, (CUdevice *d, CUcontext c), (d, c))
{
        return get_device(d, c);
}

static CUresult synchronize(CUcontext c)
{
        TRY(context_or_current(&c));
        TRY(atomic_load(&c->sticky));
        TRY(capture_context(c));
        context_drain(c);
        return atomic_load(&c->sticky);
}

API(cuCtxSynchronize, (void), ())
{
        return synchronize(NULL);
}

API(cuCtxSynchronize_v2, (CUcontext c), (c))
{
        return synchronize(c);
}

API(cuCtxGetApiVersion, (CUcontext c, unsigned *version), (c, version))
{
        TRY(context_or_current(&c));
        if (!version)
                return CUDA_ERROR_INVALID_VALUE;
        *version = c->version;
        return CUDA_SUCCESS;
}

API(cuCtxGetFlags, (unsigned *flags), (flags))
{
        CUcontext c = NULL;

        TRY(context_or_current(&c));
        if (!flags)
                return CUDA_ERROR_INVALID_VALUE;
        *flags = c->flags;
        return CUDA_SUCCESS;
}

API(cuCtxSetFlags, (unsigned flags), (flags))
{
        CUcontext c = NULL;

        TRY(context_or_current(&c));
        c->flags = flags;
        return CUDA_SUCCESS;
}

API(cuCtxGetId, (CUcontext c, unsigned long long *id), (c, id))
{
        TRY(context_or_current(&c));
        if (!id)
                return CUDA_ERROR_INVALID_VALUE;
        *id = c->id;
        return CUDA_SUCCESS;
}

API(cuCtxGetStreamPriorityRange, (int *least, int *greatest), (least, greatest))
{
        CUcontext c = NULL;

        TRY(context_or_current(&c));
        if (least)
                *least = 0;
        if (greatest)
                *greatest = -5;
        return CUDA_SUCCESS;
}

API(cuCtxGetLimit, (size_t *value, int limit), (value, limit))
{
        static const size_t limits[] = {1024, 1 << 20, 8 << 20, 2, 2048};
        CUcontext c = NULL;

        TRY(context_or_current(&c));
        if (!value || limit < 0 || limit > 6)
                return CUDA_ERROR_INVALID_VALUE;
        if ((size_t)limit >= ARRAY_SIZE(limits))
                return FAKE_ERROR_UNSUPPORTED_LIMIT;
        *value = limits[limit];
        return CUDA_SUCCESS;
}

API(cuCtxSetLimit, (int limit, size_t value), (limit, value))
{
        CUcontext c = NULL;

        (void)value;
        TRY(context_or_current(&c));
        if (limit < 0 || limit > 6)
                return CUDA_ERROR_INVALID_VALUE;
        return limit > 4 ? FAKE_ERROR_UNSUPPORTED_LIMIT : CUDA_SUCCESS;
}

API(cuCtxGetCacheConfig, (int *config), (config))
{
        CUcontext c = NULL;

        TRY(context_or_current(&c));
        if (!config)
                return CUDA_ERROR_INVALID_VALUE;
        *config = 0;
        return CUDA_SUCCESS;
}

API(cuCtxSetCacheConfig, (int config), (config))
{
        CUcontext c = NULL;

        (void)config;
        return context_or_current(&c);
}

/* The current context and the device of a peer that it may have access to. */
static CUresult peer_of(CUcontext peer, CUcontext *ret, unsigned *ret_bit)
{
        *ret = NULL;
        TRY(context_or_current(ret));
        if (!peer || peer->mark != MARK_CONTEXT || peer == *ret)
                return CUDA_ERROR_INVALID_CONTEXT;
        *ret_bit = 1U << peer->device;
        return CUDA_SUCCESS;
}

API(cuCtxEnablePeerAccess, (CUcontext peer, unsigned flags), (peer, flags))
{
        CUcontext c;
        unsigned bit;

        TRY(peer_of(peer, &c, &bit));
        if (flags)
                return CUDA_ERROR_INVALID_VALUE;
        if (peer->device == c->device)
                return FAKE_ERROR_PEER_UNSUPPORTED;
        return atomic_fetch_or(&c->peers, bit) & bit ? FAKE_ERROR_PEER_ALREADY_ENABLED : CUDA_SUCCESS;
}

API(cuCtxDisablePeerAccess, (CUcontext peer), (peer))
{
        CUcontext c;
        unsigned bit;

        TRY(peer_of(peer, &c, &bit));
        return atomic_fetch_and(&c->peers, ~bit) & bit ? CUDA_SUCCESS : FAKE_ERROR_PEER_NOT_ENABLED;
}
