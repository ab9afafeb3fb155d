/* own-green.c: green contexts, and contexts that are attached to and detached from.
 *
 * A green context has streams of its own but lives in the device's primary context, which it holds, and so does what is allocated while it is
 * current. Its work is waited for like that of any other context when memory moves.
 */
#include "cuda/cache.h"
#include "cuda/link.h"
#include "cuda/memory.h"
#include "cuda/say.h"

#include <pthread.h>

enum { MAX_GREEN = 64, MAX_ATTACHED = 64 };

static struct green {
        CUgreenCtx green;
        CUcontext context, primary;
        CUdevice device;
} greens[MAX_GREEN];
static CUcontext attached[MAX_ATTACHED];
static unsigned int greens_n, attached_n;
static pthread_mutex_t green_lock = PTHREAD_MUTEX_INITIALIZER;

/* The primary context comes first: what moves memory must not end with a green one. */
static void green_began(CUgreenCtx green, CUdevice device)
{
        struct green g = {.green = green, .device = device};
        bool room;

        if (!real.cuCtxFromGreenCtx || real.cuCtxFromGreenCtx(&g.context, green) != CUDA_SUCCESS ||
            real.cuDevicePrimaryCtxRetain(&g.primary, device) != CUDA_SUCCESS)
                return;
        real.cuDevicePrimaryCtxRelease_v2(device);
        own_remember(device, g.primary);
        own_remember(device, g.context);
        pthread_mutex_lock(&green_lock);
        room = greens_n < MAX_GREEN;
        if (room)
                greens[greens_n++] = g;
        pthread_mutex_unlock(&green_lock);
        if (!room)
                say("more than %d green contexts: work in further ones may still be waited for when they have ended", MAX_GREEN);
}

CUresult hook_cuGreenCtxCreate(CUgreenCtx *ret, void *resources, CUdevice device, unsigned int flags)
{
        CUresult r;

        if (berth_enabled)
                (void)link_attach(device); /* admission comes before the context, which costs memory */
        r = real.cuGreenCtxCreate(ret, resources, device, flags);
        if (berth_enabled && r == CUDA_SUCCESS)
                green_began(*ret, device);
        return r;
}

/* The context ends, its memory lives on in another. */
static void leave(CUcontext context, CUcontext to)
{
        books_lock();
        for (unsigned int i = 0; i < berth.devices_n; i++) {
                struct device *d = &berth.devices[i];

                for (unsigned int c = 0; c < d->contexts_n; c++)
                        if (d->contexts[c] == context)
                                d->contexts[c--] = d->contexts[--d->contexts_n];
                cache_drop_context(d, context);
        }
        for (size_t i = 0; i < berth.blocks_n; i++)
                if (berth.blocks[i]->context == context)
                        berth.blocks[i]->context = to;
        books_unlock();
        link_kick();
}

CUresult hook_cuGreenCtxDestroy(CUgreenCtx green)
{
        struct green g = {0};
        unsigned int flags;
        int active = 1;
        CUresult r;

        pthread_mutex_lock(&green_lock);
        for (unsigned int i = 0; i < greens_n; i++)
                if (greens[i].green == green) {
                        g = greens[i];
                        greens[i] = greens[--greens_n];
                        break;
                }
        pthread_mutex_unlock(&green_lock);
        if (g.green)
                leave(g.context, g.primary);
        r = real.cuGreenCtxDestroy(green);
        if (g.green && real.cuDevicePrimaryCtxGetState(g.device, &flags, &active) == CUDA_SUCCESS && !active)
                memory_drop_context(g.primary);
        return r;
}

CUresult hook_cuCtxAttach(CUcontext *ret, unsigned int flags)
{
        CUresult r = real.cuCtxAttach(ret, flags);

        if (!berth_enabled || r != CUDA_SUCCESS)
                return r;
        pthread_mutex_lock(&green_lock);
        if (attached_n < MAX_ATTACHED)
                attached[attached_n++] = *ret;
        pthread_mutex_unlock(&green_lock);
        return r;
}

/* The last one to detach ends the context. */
CUresult hook_cuCtxDetach(CUcontext context)
{
        bool lives = false;

        pthread_mutex_lock(&green_lock);
        for (unsigned int i = 0; i < attached_n && !lives; i++)
                if (attached[i] == context) {
                        attached[i] = attached[--attached_n];
                        lives = true;
                }
        pthread_mutex_unlock(&green_lock);
        if (berth_enabled && !lives)
                memory_drop_context(context);
        return real.cuCtxDetach(context);
}

void own_green_forked(void)
{
        pthread_mutex_init(&green_lock, NULL);
        greens_n = attached_n = 0;
}
