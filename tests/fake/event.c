/* event.c: events: a point in a stream's work and when it was reached.
 *
 * An event recorded on a stream that has nothing to do is reached at once. Under engine_lock.
 */
#include "fake.h"

static struct CUevent_st *free_events, *events; /* events: every one ever made */

API(cuEventCreate, (CUevent *event, unsigned flags), (event, flags))
{
        CUcontext c;
        CUevent e;

        TRY(need_context(&c));
        if (!event || flags > 7 || ((flags & CU_EVENT_INTERPROCESS) && !(flags & CU_EVENT_DISABLE_TIMING)))
                return CUDA_ERROR_INVALID_VALUE;
        pthread_mutex_lock(&engine_lock);
        e = free_events;
        if (e) {
                free_events = e->next_free;
        } else if ((e = calloc(1, sizeof(*e)))) {
                e->next = events;
                events = e;
        }
        pthread_mutex_unlock(&engine_lock);
        if (!e)
                return CUDA_ERROR_OUT_OF_MEMORY;
        e->flags = flags;
        e->recorded = false;
        e->capture_id = 0;
        e->stream = NULL;
        e->page = NULL;
        e->mark = MARK_EVENT;
        *event = e;
        return CUDA_SUCCESS;
}

CUresult event_check(CUevent e)
{
        TRY(need_ready());
        return e && e->mark == MARK_EVENT ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

API(cuEventDestroy_v2, (CUevent e), (e))
{
        TRY(event_check(e));
        pthread_mutex_lock(&engine_lock);
        e->mark = MARK_GONE;
        e->generation++;
        e->next_free = free_events;
        free_events = e;
        pthread_mutex_unlock(&engine_lock);
        return CUDA_SUCCESS;
}

API(cuEventDestroy, (CUevent e), (e))
{
        return cuEventDestroy_v2_body(e);
}

API_STREAM(cuEventRecordWithFlags, (CUevent e, CUstream s, unsigned flags), (e, s, flags))
{
        struct work w = {.kind = WORK_EVENT};
        CUresult r = CUDA_SUCCESS;

        TRY(event_check(e));
        if (flags > 1)
                return CUDA_ERROR_INVALID_VALUE;
        TRY(stream_of(s, &s));
        if (s->legacy)
                TRY(capture_implicit(s->context));
        if (e->page)
                return event_page_record(e, s);
        pthread_mutex_lock(&engine_lock);
        e->generation++;
        w.event.event = e;
        w.event.generation = e->generation;
        if (atomic_load(&s->capture)) {
                r = capture_record(s, e);
        } else {
                struct work probe = {0};

                e->capture_id = 0;
                e->stream = s;
                if (!stream_busy(s) && work_add_implicit(&probe, s) && probe.dependencies == 0) {
                        e->sequence = atomic_load(&s->submitted);
                        e->time_ns = clock_now_ns();
                } else {
                        r = stream_submit_locked(s, &w, &e->sequence);
                }
                free(probe.dependency);
                e->recorded = r == CUDA_SUCCESS;
        }
        pthread_mutex_unlock(&engine_lock);
        return r;
}

API_STREAM(cuEventRecord, (CUevent e, CUstream s), (e, s))
{
        return cuEventRecordWithFlags_body(e, s, 0);
}

static bool event_done(CUevent e)
{
        return !e->recorded || atomic_load(&e->stream->completed) >= e->sequence;
}

static CUresult event_observe(CUevent e)
{
        TRY(event_check(e));
        if (this_thread.current)
                TRY(atomic_load(&this_thread.current->sticky));
        TRY(capture_forbids());
        return e->capture_id ? capture_event_error(e) : CUDA_SUCCESS;
}

/* The fault of the context whose stream the event was recorded on. */
static CUresult event_fault(CUevent e)
{
        return e->recorded && e->stream->context ? atomic_load(&e->stream->context->sticky) : CUDA_SUCCESS;
}

API(cuEventQuery, (CUevent e), (e))
{
        bool done;

        TRY(event_observe(e));
        if (e->page)
                return event_page_done(e) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
        pthread_mutex_lock(&engine_lock);
        done = event_done(e);
        pthread_mutex_unlock(&engine_lock);
        return done ? event_fault(e) : CUDA_ERROR_NOT_READY;
}

API(cuEventSynchronize, (CUevent e), (e))
{
        TRY(event_observe(e));
        if (e->page) {
                event_page_synchronize(e);
                return CUDA_SUCCESS;
        }
        pthread_mutex_lock(&engine_lock);
        if (e->recorded)
                stream_wait_for(e->stream, e->sequence);
        pthread_mutex_unlock(&engine_lock);
        return event_fault(e);
}

API(cuEventElapsedTime_v2, (float *milliseconds, CUevent from, CUevent to), (milliseconds, from, to))
{
        CUresult r = CUDA_SUCCESS;

        TRY(event_check(from));
        TRY(event_check(to));
        if (!milliseconds)
                return CUDA_ERROR_INVALID_VALUE;
        pthread_mutex_lock(&engine_lock);
        if (from->capture_id || to->capture_id)
                r = CUDA_ERROR_INVALID_VALUE;
        else if (!from->recorded || !to->recorded || ((from->flags | to->flags) & CU_EVENT_DISABLE_TIMING))
                r = CUDA_ERROR_INVALID_HANDLE;
        else if (!event_done(from) || !event_done(to))
                r = CUDA_ERROR_NOT_READY;
        else
                *milliseconds = (float)((double)(int64_t)(to->time_ns - from->time_ns) / 1e6);
        pthread_mutex_unlock(&engine_lock);
        return r;
}

API(cuEventElapsedTime, (float *milliseconds, CUevent from, CUevent to), (milliseconds, from, to))
{
        return cuEventElapsedTime_v2_body(milliseconds, from, to);
}

API_STREAM(cuStreamWaitEvent, (CUstream s, CUevent e, unsigned flags), (s, e, flags))
{
        struct dependency d;
        struct work w = {.kind = WORK_WAIT, .dependencies = 1, .dependency = &d};
        CUresult r = CUDA_SUCCESS;
        uint64_t sequence;

        TRY(event_check(e));
        if (flags > 1)
                return CUDA_ERROR_INVALID_VALUE;
        TRY(stream_of(s, &s));
        if (s->legacy)
                TRY(capture_implicit(s->context));
        if (e->page)
                return event_page_wait(e, s);
        pthread_mutex_lock(&engine_lock);
        if (e->capture_id || atomic_load(&s->capture)) {
                r = capture_join(s, e);
        } else if (!event_done(e)) {
                d = (struct dependency){e->stream, e->sequence};
                r = stream_submit_locked(s, &w, &sequence);
        }
        pthread_mutex_unlock(&engine_lock);
        return r;
}
