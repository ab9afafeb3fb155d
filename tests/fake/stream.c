/* stream.c: the engine: one thread for each stream takes its work in order, each thing after what it depends on.
 *
 * A point in a stream's work is (stream, sequence number); numbers never go back, also not when a destroyed stream's
 * object is used again, so such a pair stays meaningful for ever. The legacy stream waits for all blocking streams and
 * they for it. Everything here is under engine_lock; what work does is not.
 */
#include "fake.h"

#include <signal.h>
#include <string.h>

enum { QUEUE = 1024, STACK_BYTES = 256 << 10 };

pthread_mutex_t engine_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t progress = PTHREAD_COND_INITIALIZER;
static struct CUstream_st *free_streams;
static uint64_t last_id;
static pthread_key_t own_key;
static pthread_once_t own_once = PTHREAD_ONCE_INIT;

static bool reached(const struct dependency *d)
{
        return atomic_load(&d->stream->completed) >= d->sequence;
}

static bool all_reached(const struct work *w)
{
        for (unsigned i = 0; i < w->dependencies; i++)
                if (!reached(&w->dependency[i]))
                        return false;
        return true;
}

bool stream_busy(CUstream s)
{
        return atomic_load(&s->completed) < atomic_load(&s->submitted);
}

static bool add_dependency(struct work *w, CUstream s, uint64_t sequence)
{
        if (w->dependencies == w->dependency_room) {
                unsigned room = w->dependency_room ? w->dependency_room * 2 : 4;
                struct dependency *d = realloc(w->dependency, room * sizeof(*d));

                if (!d)
                        return false;
                w->dependency = d;
                w->dependency_room = room;
        }
        w->dependency[w->dependencies++] = (struct dependency){s, sequence};
        return true;
}

static bool add_busy(struct work *w, CUstream s)
{
        return !stream_busy(s) || add_dependency(w, s, atomic_load(&s->submitted));
}

/* What work on the stream has to wait for beside the stream itself. */
bool work_add_implicit(struct work *w, CUstream s)
{
        if (s->flags & CU_STREAM_NON_BLOCKING)
                return true;
        if (!s->legacy)
                return add_busy(w, s->context->legacy);
        for (struct CUstream_st *o = s->context->streams; o; o = o->next)
                if (o != s && !(o->flags & CU_STREAM_NON_BLOCKING) && !add_busy(w, o))
                        return false;
        return true;
}

static void work_free(struct work *w)
{
        if (w->kind == WORK_GRAPH)
                program_unref(w->program);
        free(w->dependency);
        free(w);
}

/* The stream has nothing left to do and nobody may give it more. */
static void recycle(CUstream s)
{
        struct CUstream_st **at = &s->context->streams;

        while (*at && *at != s)
                at = &(*at)->next;
        if (*at)
                *at = s->next;
        s->mark = MARK_GONE;
        s->threaded = false;
        s->next_free = free_streams;
        free_streams = s;
        pthread_cond_broadcast(&progress);
}

static void event_happened(const struct work *w)
{
        CUevent e = w->event.event;

        if (e->generation == w->event.generation)
                e->time_ns = clock_now_ns();
}

static void *stream_main(void *argument)
{
        CUstream s = argument;
        CUcontext c = s->context;

        pthread_mutex_lock(&engine_lock);
        for (;;) {
                struct work *w = s->head;
                CUresult r = CUDA_SUCCESS;

                if (!w && s->dying)
                        break;
                if (!w) {
                        pthread_cond_wait(&s->wake, &engine_lock);
                        continue;
                }
                if (!all_reached(w) && !atomic_load(&c->abort)) {
                        pthread_cond_wait(&progress, &engine_lock);
                        continue;
                }
                s->head = w->next;
                if (!s->head)
                        s->end = &s->head;
                pthread_mutex_unlock(&engine_lock);
                if (!atomic_load(&c->abort))
                        r = work_run(w, c);
                if (r)
                        context_fail(c, r);
                pthread_mutex_lock(&engine_lock);
                if (w->kind == WORK_EVENT)
                        event_happened(w);
                s->queued--;
                atomic_store(&s->completed, w->sequence);
                pthread_cond_broadcast(&progress);
                work_free(w);
        }
        recycle(s);
        pthread_mutex_unlock(&engine_lock);
        return NULL;
}

static bool start(CUstream s)
{
        pthread_attr_t attributes;
        sigset_t all, before;
        pthread_t thread;
        int r;

        if (s->threaded)
                return true;
        if (pthread_attr_init(&attributes) != 0)
                return false;
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attributes, STACK_BYTES);
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        r = pthread_create(&thread, &attributes, stream_main, s);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
        s->threaded = r == 0;
        return r == 0;
}

CUresult stream_submit_locked(CUstream s, const struct work *given, uint64_t *ret_sequence)
{
        struct work *w;

        while (s->queued >= QUEUE && !atomic_load(&s->context->abort))
                pthread_cond_wait(&progress, &engine_lock);
        w = malloc(sizeof(*w));
        if (!w)
                return CUDA_ERROR_OUT_OF_MEMORY;
        *w = *given;
        w->next = NULL;
        w->stream = s;
        w->dependency = NULL;
        w->dependencies = w->dependency_room = 0;
        for (unsigned i = 0; i < given->dependencies; i++)
                if (!add_dependency(w, given->dependency[i].stream, given->dependency[i].sequence))
                        goto failed;
        if (!work_add_implicit(w, s) || !start(s))
                goto failed;
        if (w->kind == WORK_GRAPH)
                program_ref(w->program);
        w->sequence = atomic_fetch_add(&s->submitted, 1) + 1;
        *s->end = w;
        s->end = &w->next;
        s->queued++;
        pthread_cond_signal(&s->wake);
        *ret_sequence = w->sequence;
        return CUDA_SUCCESS;
failed:
        free(w->dependency);
        free(w);
        return CUDA_ERROR_OUT_OF_MEMORY;
}

void stream_wait_for(CUstream s, uint64_t sequence)
{
        while (atomic_load(&s->completed) < sequence)
                pthread_cond_wait(&progress, &engine_lock);
}

CUresult stream_submit(CUstream s, const struct work *w, bool wait)
{
        CUcontext c = s->context;
        uint64_t sequence;
        CUresult r;

        if (UNLIKELY(s->legacy && atomic_load(&c->blocking_captures)))
                return capture_implicit(c);
        pthread_mutex_lock(&engine_lock);
        if (atomic_load(&s->capture)) {
                r = capture_add(s, w);
                pthread_mutex_unlock(&engine_lock);
                return r;
        }
        r = stream_submit_locked(s, w, &sequence);
        if (r == CUDA_SUCCESS && wait)
                stream_wait_for(s, sequence);
        pthread_mutex_unlock(&engine_lock);
        return r == CUDA_SUCCESS && wait ? atomic_load(&c->sticky) : r;
}

CUresult stream_create(CUcontext c, unsigned flags, int priority, CUstream *ret)
{
        CUstream s;

        pthread_mutex_lock(&engine_lock);
        s = free_streams;
        if (s) {
                free_streams = s->next_free;
        } else {
                s = calloc(1, sizeof(*s));
                if (!s) {
                        pthread_mutex_unlock(&engine_lock);
                        return CUDA_ERROR_OUT_OF_MEMORY;
                }
                pthread_cond_init(&s->wake, NULL);
        }
        s->context = c;
        s->flags = flags;
        s->priority = priority < -5 ? -5 : priority > 0 ? 0 : priority;
        s->id = ++last_id;
        s->legacy = s->dying = s->unjoined = false;
        s->queued = 0;
        s->head = NULL;
        s->end = &s->head;
        s->next = c->streams;
        c->streams = s;
        s->mark = MARK_STREAM;
        pthread_mutex_unlock(&engine_lock);
        *ret = s;
        return CUDA_SUCCESS;
}

static void end_locked(CUstream s)
{
        s->mark = MARK_GONE;
        if (s->dying)
                return;
        s->dying = true;
        if (s->threaded)
                pthread_cond_signal(&s->wake);
        else
                recycle(s);
}

/* Waits for what the given streams of the context were handed until now. */
static void drain(CUcontext c, bool blocking_only)
{
        struct work all = {0};
        bool complete = true;

        pthread_mutex_lock(&engine_lock);
        for (struct CUstream_st *s = c->streams; s; s = s->next)
                if (!blocking_only || !(s->flags & CU_STREAM_NON_BLOCKING))
                        complete = add_busy(&all, s) && complete;
        while (complete && !all_reached(&all))
                pthread_cond_wait(&progress, &engine_lock);
        pthread_mutex_unlock(&engine_lock);
        free(all.dependency);
}

void context_drain(CUcontext c)
{
        drain(c, false);
}

void context_stop(CUcontext c)
{
        struct CUstream_st *s, *next;

        atomic_store(&c->abort, true);
        pthread_mutex_lock(&engine_lock);
        pthread_cond_broadcast(&progress);
        for (s = c->streams; s; s = next) {
                next = s->next;
                end_locked(s);
        }
        while (c->streams)
                pthread_cond_wait(&progress, &engine_lock);
        pthread_mutex_unlock(&engine_lock);
}

/* --- handles --- */

static void own_end(void *argument)
{
        CUstream s = argument;

        pthread_mutex_lock(&engine_lock);
        if (s->mark == MARK_STREAM && this_thread.own == s && this_thread.own_context->mark == MARK_CONTEXT)
                end_locked(s);
        pthread_mutex_unlock(&engine_lock);
        this_thread.own = NULL;
}

static void own_setup(void)
{
        pthread_key_create(&own_key, own_end);
}

static CUresult own_stream(CUcontext c, CUstream *ret)
{
        struct thread *t = &this_thread;

        if (UNLIKELY(!t->own || t->own_context != c)) {
                pthread_once(&own_once, own_setup);
                if (t->own)
                        own_end(t->own);
                TRY(stream_create(c, CU_STREAM_DEFAULT, 0, &t->own));
                t->own_context = c;
                pthread_setspecific(own_key, t->own);
        }
        *ret = t->own;
        return CUDA_SUCCESS;
}

CUresult stream_of(CUstream handle, CUstream *ret)
{
        CUcontext c;

        TRY(need_context(&c));
        if (!handle || handle == CU_STREAM_LEGACY) {
                *ret = c->legacy;
                return CUDA_SUCCESS;
        }
        if (handle == CU_STREAM_PER_THREAD)
                return own_stream(c, ret);
        if (handle->mark != MARK_STREAM)
                return CUDA_ERROR_INVALID_HANDLE;
        *ret = handle;
        return atomic_load_explicit(&handle->context->sticky, memory_order_relaxed);
}

API(cuStreamCreateWithPriority, (CUstream *stream, unsigned flags, int priority), (stream, flags, priority))
{
        CUcontext c;

        TRY(need_context(&c));
        if (!stream || flags > CU_STREAM_NON_BLOCKING)
                return CUDA_ERROR_INVALID_VALUE;
        return stream_create(c, flags, priority, stream);
}

API(cuStreamCreate, (CUstream *stream, unsigned flags), (stream, flags))
{
        return cuStreamCreateWithPriority_body(stream, flags, 0);
}

API(cuStreamDestroy_v2, (CUstream stream), (stream))
{
        CUstream s;

        TRY(need_ready());
        if (this_thread.current)
                TRY(atomic_load(&this_thread.current->sticky));
        if ((uintptr_t)stream <= 2 || stream->mark != MARK_STREAM || stream->legacy)
                return CUDA_ERROR_INVALID_HANDLE;
        s = stream;
        if (atomic_load(&s->capture))
                return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        pthread_mutex_lock(&engine_lock);
        end_locked(s);
        pthread_mutex_unlock(&engine_lock);
        return CUDA_SUCCESS;
}

API(cuStreamDestroy, (CUstream stream), (stream))
{
        return cuStreamDestroy_v2_body(stream);
}

/* Looking at a stream that captures is a mistake that ends the capture. */
static CUresult observe(CUstream handle, CUstream *s)
{
        TRY(stream_of(handle, s));
        if (atomic_load(&(*s)->capture))
                return capture_observed(*s);
        if ((*s)->legacy)
                TRY(capture_implicit((*s)->context));
        return capture_forbids();
}

API_STREAM(cuStreamQuery, (CUstream s), (s))
{
        bool done;

        TRY(observe(s, &s));
        done = !stream_busy(s);
        if (s->legacy && done) {
                pthread_mutex_lock(&engine_lock);
                for (struct CUstream_st *o = s->context->streams; o; o = o->next)
                        done = done && ((o->flags & CU_STREAM_NON_BLOCKING) || !stream_busy(o));
                pthread_mutex_unlock(&engine_lock);
        }
        return done ? atomic_load(&s->context->sticky) : CUDA_ERROR_NOT_READY;
}

API_STREAM(cuStreamSynchronize, (CUstream s), (s))
{
        uint64_t until;

        TRY(observe(s, &s));
        if (s->legacy) {
                drain(s->context, true);
        } else if (stream_busy(s)) {
                until = atomic_load(&s->submitted);
                pthread_mutex_lock(&engine_lock);
                stream_wait_for(s, until);
                pthread_mutex_unlock(&engine_lock);
        }
        return atomic_load(&s->context->sticky);
}

API_STREAM(cuStreamGetPriority, (CUstream s, int *priority), (s, priority))
{
        TRY(stream_of(s, &s));
        if (!priority)
                return CUDA_ERROR_INVALID_VALUE;
        *priority = s->priority;
        return CUDA_SUCCESS;
}

API_STREAM(cuStreamGetFlags, (CUstream s, unsigned *flags), (s, flags))
{
        TRY(stream_of(s, &s));
        if (!flags)
                return CUDA_ERROR_INVALID_VALUE;
        *flags = s->flags;
        return CUDA_SUCCESS;
}

API_STREAM(cuStreamGetId, (CUstream s, unsigned long long *id), (s, id))
{
        TRY(stream_of(s, &s));
        if (!id)
                return CUDA_ERROR_INVALID_VALUE;
        *id = s->id;
        return CUDA_SUCCESS;
}

API_STREAM(cuStreamGetCtx, (CUstream s, CUcontext *context), (s, context))
{
        TRY(stream_of(s, &s));
        if (!context)
                return CUDA_ERROR_INVALID_VALUE;
        *context = s->context;
        return CUDA_SUCCESS;
}

API_STREAM(cuStreamGetDevice, (CUstream s, CUdevice *device), (s, device))
{
        TRY(stream_of(s, &s));
        if (!device)
                return CUDA_ERROR_INVALID_VALUE;
        *device = s->context->device;
        return CUDA_SUCCESS;
}
