/* own-context.c: hooks of look-up, contexts and captures, and what happens on fork. */
#include "cuda/lane.h"
#include "cuda/link.h"
#include "cuda/memory.h"
#include "cuda/own-ipc.h"
#include "cuda/ordered.h"
#include "cuda/pool.h"
#include "cuda/say.h"
#include "cuda/tell.h"

#include <pthread.h>
#include <string.h>

/* The real driver is asked first, with the program's own version and flags; what it returned tells which binary interface was
 * meant. A hooked function we do not recognise by its address is found by name where that leaves no doubt. */
static void substitute(const char *name, void **ret, int version, unsigned long long flags)
{
        void *wrapper;

        if (!berth_enabled || !name || !ret || !*ret)
                return;
        wrapper = real_wrapper_of(*ret);
        if (!wrapper)
                wrapper = real_wrapper_by_name(name, version, flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM);
        if (wrapper && *ret != wrapper)
                *ret = wrapper;
        real_doctor("proc", name, version, wrapper ? "hooked" : "passed");
}

CUresult hook_cuGetProcAddress(const char *name, void **ret, int version, unsigned long long flags)
{
        CUresult r = real.cuGetProcAddress(name, ret, version, flags);

        if (r == CUDA_SUCCESS)
                substitute(name, ret, version, flags);
        return r;
}

CUresult hook_cuGetProcAddress_v2(const char *name, void **ret, int version, unsigned long long flags, int *status)
{
        CUresult r = real.cuGetProcAddress_v2(name, ret, version, flags, status);

        if (r == CUDA_SUCCESS)
                substitute(name, ret, version, flags);
        return r;
}

void own_remember(CUdevice handle, CUcontext context)
{
        struct device *d = link_attach(handle);

        if (!d || !d->managed)
                return;
        books_lock();
        for (unsigned int i = 0; i < d->contexts_n; i++)
                if (d->contexts[i] == context) {
                        books_unlock();
                        return;
                }
        if (d->contexts_n < MAX_CONTEXTS)
                d->contexts[d->contexts_n++] = context;
        else
                say("more than %d contexts on a device: work in further ones is not waited for when memory moves", MAX_CONTEXTS);
        books_unlock();
        link_kick(); /* host memory can be pinned now */
}

/* Admission comes before the context, which costs memory itself. */
#define CREATE(call)                                        \
        do {                                                \
                CUresult r_;                                \
                                                            \
                if (berth_enabled)                          \
                        (void)link_attach(device);          \
                r_ = call;                                  \
                if (berth_enabled && r_ == CUDA_SUCCESS)    \
                        own_remember(device, *ret);             \
                return r_;                                  \
        } while (0)

CUresult hook_cuDevicePrimaryCtxRetain(CUcontext *ret, CUdevice device)
{
        CREATE(real.cuDevicePrimaryCtxRetain(ret, device));
}

CUresult hook_cuCtxCreate(CUcontext *ret, unsigned int flags, CUdevice device)
{
        CREATE(real.cuCtxCreate(ret, flags, device));
}

CUresult hook_cuCtxCreate_v2(CUcontext *ret, unsigned int flags, CUdevice device)
{
        CREATE(real.cuCtxCreate_v2(ret, flags, device));
}

CUresult hook_cuCtxCreate_v3(CUcontext *ret, void *affinity, int n, unsigned int flags, CUdevice device)
{
        CREATE(real.cuCtxCreate_v3(ret, affinity, n, flags, device));
}

CUresult hook_cuCtxCreate_v4(CUcontext *ret, void *params, unsigned int flags, CUdevice device)
{
        CREATE(real.cuCtxCreate_v4(ret, params, flags, device));
}

/* Memory of a context ends with it; ours has to be told so before. */
#define DESTROY(call)                                \
        do {                                         \
                if (berth_enabled)                   \
                        memory_drop_context(context); \
                return call;                         \
        } while (0)

CUresult hook_cuCtxDestroy(CUcontext context)
{
        DESTROY(real.cuCtxDestroy(context));
}

CUresult hook_cuCtxDestroy_v2(CUcontext context)
{
        DESTROY(real.cuCtxDestroy_v2(context));
}

/* The primary context is counted: only the last release, or a reset, ends it. Its handle is what retain gave. */
static CUresult release_primary(CUdevice device, CUresult (*release)(CUdevice))
{
        CUcontext context = NULL;
        unsigned int flags;
        int active = 0;
        CUresult r;

        if (!berth_enabled)
                return release(device);
        /* Hold a reference of our own, so that the end of the context can be seen coming. */
        if (real.cuDevicePrimaryCtxGetState(device, &flags, &active) == CUDA_SUCCESS && active &&
            real.cuDevicePrimaryCtxRetain(&context, device) != CUDA_SUCCESS)
                context = NULL;
        r = release(device);
        if (!context)
                return r;
        real.cuDevicePrimaryCtxRelease_v2(device);
        if (real.cuDevicePrimaryCtxGetState(device, &flags, &active) == CUDA_SUCCESS && !active)
                memory_drop_context(context);
        return r;
}

CUresult hook_cuDevicePrimaryCtxRelease(CUdevice device)
{
        return release_primary(device, real.cuDevicePrimaryCtxRelease);
}

CUresult hook_cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
        return release_primary(device, real.cuDevicePrimaryCtxRelease_v2);
}

static CUresult reset_primary(CUdevice device, CUresult (*reset)(CUdevice))
{
        CUcontext context = NULL;
        unsigned int flags;
        int active = 0;

        if (berth_enabled && real.cuDevicePrimaryCtxGetState(device, &flags, &active) == CUDA_SUCCESS && active &&
            real.cuDevicePrimaryCtxRetain(&context, device) == CUDA_SUCCESS) {
                real.cuDevicePrimaryCtxRelease_v2(device);
                memory_drop_context(context);
        }
        return reset(device);
}

CUresult hook_cuDevicePrimaryCtxReset(CUdevice device)
{
        return reset_primary(device, real.cuDevicePrimaryCtxReset);
}

CUresult hook_cuDevicePrimaryCtxReset_v2(CUdevice device)
{
        return reset_primary(device, real.cuDevicePrimaryCtxReset_v2);
}

/* The device of a context of ours, and the current one. */
static bool peer_devices(CUcontext peer, struct device **ret, CUdevice *ret_current)
{
        CUcontext popped;
        CUdevice handle;
        bool ok = real.cuCtxGetDevice(ret_current) == CUDA_SUCCESS && real.cuCtxPushCurrent_v2(peer) == CUDA_SUCCESS;

        if (!ok)
                return false;
        ok = real.cuCtxGetDevice(&handle) == CUDA_SUCCESS;
        real.cuCtxPopCurrent_v2(&popped);
        *ret = ok ? link_attach(handle) : NULL;
        return *ret && (*ret)->managed;
}

/* The driver opens its own allocations to the current device; ours are opened here. */
CUresult hook_cuCtxEnablePeerAccess(CUcontext peer, unsigned int flags)
{
        struct page_lane *lane;
        struct device *d;
        CUdevice current;
        CUresult r;

        if (!berth_enabled || !peer_devices(peer, &d, &current))
                return real.cuCtxEnablePeerAccess(peer, flags);
        lane = lane_enter();
        r = real.cuCtxEnablePeerAccess(peer, flags);
        if (r == CUDA_SUCCESS) {
                books_lock();
                r = memory_open_to(d, current);
                books_unlock();
                if (r != CUDA_SUCCESS)
                        real.cuCtxDisablePeerAccess(peer);
        }
        lane_leave(lane, false);
        return r;
}

CUresult hook_cuCtxDisablePeerAccess(CUcontext peer)
{
        struct device *d;
        CUdevice current;
        CUresult r = real.cuCtxDisablePeerAccess(peer);

        if (r == CUDA_SUCCESS && berth_enabled && peer_devices(peer, &d, &current)) {
                books_lock();
                memory_close_to(d, current);
                books_unlock();
        }
        return r;
}

/* Streams that capture now, so that a stream destroyed in mid-capture does not hold the gate for ever. */
#define MAX_CAPTURES 64
static CUstream capturing[MAX_CAPTURES];
static unsigned int capturing_n;
static pthread_mutex_t captures_lock = PTHREAD_MUTEX_INITIALIZER;

static void capture_began(CUstream s)
{
        pthread_mutex_lock(&captures_lock);
        if (capturing_n < MAX_CAPTURES) {
                capturing[capturing_n++] = s;
                lane_capture_began();
        }
        pthread_mutex_unlock(&captures_lock);
}

static void capture_ended(CUstream s)
{
        pthread_mutex_lock(&captures_lock);
        for (unsigned int i = 0; i < capturing_n; i++)
                if (capturing[i] == s) {
                        capturing[i] = capturing[--capturing_n];
                        lane_capture_ended();
                        break;
                }
        pthread_mutex_unlock(&captures_lock);
        link_kick();
}

/* A capture begins only behind an open gate; from then on the gate lets everything of this process pass until it ends. */
#define BEGIN(call)                                   \
        do {                                          \
                struct page_lane *lane_ = lane_enter(); \
                CUresult r_ = call;                   \
                                                      \
                if (berth_enabled && r_ == CUDA_SUCCESS) \
                        capture_began(s);             \
                lane_leave(lane_, false);             \
                return r_;                            \
        } while (0)

CUresult hook_cuStreamBeginCapture(CUstream s)
{
        BEGIN(real.cuStreamBeginCapture(s));
}

CUresult hook_cuStreamBeginCapture_ptsz(CUstream s)
{
        BEGIN(real.cuStreamBeginCapture_ptsz(s));
}

CUresult hook_cuStreamBeginCapture_v2(CUstream s, int mode)
{
        BEGIN(real.cuStreamBeginCapture_v2(s, mode));
}

CUresult hook_cuStreamBeginCapture_v2_ptsz(CUstream s, int mode)
{
        BEGIN(real.cuStreamBeginCapture_v2_ptsz(s, mode));
}

CUresult hook_cuStreamBeginCaptureToGraph(CUstream s, CUgraph graph, const CUgraphNode *dependencies, const void *edges,
                                          size_t n, int mode)
{
        BEGIN(real.cuStreamBeginCaptureToGraph(s, graph, dependencies, edges, n, mode));
}

CUresult hook_cuStreamBeginCaptureToGraph_ptsz(CUstream s, CUgraph graph, const CUgraphNode *dependencies, const void *edges,
                                               size_t n, int mode)
{
        BEGIN(real.cuStreamBeginCaptureToGraph_ptsz(s, graph, dependencies, edges, n, mode));
}

/* Ends, successful or not, whenever the stream captures no more. */
static CUresult end_capture(CUstream s, CUgraph *ret, CUresult (*end)(CUstream, CUgraph *))
{
        CUresult r = end(s, ret);
        int status = CU_STREAM_CAPTURE_STATUS_NONE;

        if (berth_enabled && (r == CUDA_SUCCESS || real.cuStreamIsCapturing(s, &status) != CUDA_SUCCESS ||
                              status == CU_STREAM_CAPTURE_STATUS_NONE))
                capture_ended(s);
        return r;
}

CUresult hook_cuStreamEndCapture(CUstream s, CUgraph *ret)
{
        return end_capture(s, ret, real.cuStreamEndCapture);
}

CUresult hook_cuStreamEndCapture_ptsz(CUstream s, CUgraph *ret)
{
        return end_capture(s, ret, real.cuStreamEndCapture_ptsz);
}

static CUresult destroy_stream(CUstream s, CUresult (*destroy)(CUstream))
{
        CUresult r;

        if (berth_enabled) {
                books_lock();
                ordered_stream_ended(s); /* before its handle can be another's */
                books_unlock();
        }
        r = destroy(s);
        if (berth_enabled && r == CUDA_SUCCESS)
                capture_ended(s);
        return r;
}

CUresult hook_cuStreamDestroy(CUstream s)
{
        return destroy_stream(s, real.cuStreamDestroy);
}

CUresult hook_cuStreamDestroy_v2(CUstream s)
{
        return destroy_stream(s, real.cuStreamDestroy_v2);
}

/* Fork: the child starts afresh; the parent's helper, socket, page and memory are not its own. */
static bool forking_user;

static void before_fork(void)
{
        books_lock();
        forking_user = berth.devices_n > 0;
}

static void after_fork_parent(void)
{
        books_unlock();
}

static void after_fork_child(void)
{
        memory_forked();
        own_vmm_forked();
        own_ipc_forked();
        pool_forked();
        ordered_forked();
        own_green_forked();
        pthread_mutex_init(&captures_lock, NULL);
        capturing_n = 0;
        link_forked(forking_user);
        tell_set_page_fd(lane_start());
}

void own_start(void)
{
        tell_set_page_fd(lane_start());
        pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}
