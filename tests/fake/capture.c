/* capture.c: stream capture.
 *
 * It follows the driver's rules: what would make the captured work depend on the rest of the world, or the world on it,
 * fails with an error of the 900s and the capture is lost, which its end reports. Under engine_lock.
 */
#include "graph.h"

#include <string.h>

_Atomic unsigned captures_active;
static struct capture *captures;
static uint64_t last_id;

static struct capture *find_capture(uint64_t id)
{
        for (struct capture *p = captures; p; p = p->next)
                if (p->id == id)
                        return p;
        return NULL;
}

CUresult capture_forbids(void)
{
        CUresult r = CUDA_SUCCESS;
        pthread_t me;

        if (LIKELY(atomic_load(&captures_active) == 0) || this_thread.capture_mode == CU_STREAM_CAPTURE_MODE_RELAXED)
                return CUDA_SUCCESS;
        me = pthread_self();
        pthread_mutex_lock(&engine_lock);
        for (struct capture *p = captures; p; p = p->next) {
                bool mine = p->mode != CU_STREAM_CAPTURE_MODE_RELAXED && pthread_equal(p->thread, me);
                bool any = p->mode == CU_STREAM_CAPTURE_MODE_GLOBAL &&
                           this_thread.capture_mode == CU_STREAM_CAPTURE_MODE_GLOBAL;

                if (mine || any) {
                        p->invalid = true;
                        r = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
                }
        }
        pthread_mutex_unlock(&engine_lock);
        return r;
}

static CUresult lose_captures(CUcontext c, bool blocking_only, CUresult result)
{
        CUresult r = CUDA_SUCCESS;

        pthread_mutex_lock(&engine_lock);
        for (struct CUstream_st *s = c->streams; s; s = s->next) {
                struct capture *p = atomic_load(&s->capture);

                if (!p || (blocking_only && (s->flags & CU_STREAM_NON_BLOCKING)))
                        continue;
                p->invalid = true;
                r = result;
        }
        pthread_mutex_unlock(&engine_lock);
        return r;
}

CUresult capture_implicit(CUcontext c)
{
        if (LIKELY(atomic_load(&c->blocking_captures) == 0))
                return CUDA_SUCCESS;
        return lose_captures(c, true, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
}

CUresult capture_context(CUcontext c)
{
        if (LIKELY(atomic_load(&captures_active) == 0))
                return CUDA_SUCCESS;
        return lose_captures(c, false, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
}

CUresult capture_observed(CUstream s)
{
        struct capture *p;

        pthread_mutex_lock(&engine_lock);
        p = atomic_load(&s->capture);
        if (p)
                p->invalid = true;
        pthread_mutex_unlock(&engine_lock);
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

CUresult capture_event_error(CUevent e)
{
        CUresult r;

        pthread_mutex_lock(&engine_lock);
        r = find_capture(e->capture_id) ? FAKE_ERROR_CAPTURED_EVENT : CUDA_ERROR_INVALID_VALUE;
        pthread_mutex_unlock(&engine_lock);
        return r;
}

CUresult capture_add(CUstream s, const struct work *given)
{
        struct capture *p = atomic_load(&s->capture);
        struct work kept = *given;
        const struct work *w = &kept;

        if (p->invalid)
                return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        if (w->kind == WORK_FREE)
                kept.kind = WORK_UNKEEP;
        if (w->kind == WORK_CALLBACK) {
                p->invalid = true;
                return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
        s->tail++;
        s->unjoined = s != p->origin;
        return graph_append(p->graph, w);
}

CUresult capture_record(CUstream s, CUevent e)
{
        struct capture *p = atomic_load(&s->capture);

        if (p->invalid)
                return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        e->capture_id = p->id;
        e->stream = s;
        e->tail = s->tail;
        e->recorded = false;
        return CUDA_SUCCESS;
}

static void enter_capture(CUstream s, struct capture *p)
{
        s->tail = 0;
        s->unjoined = false;
        atomic_store(&s->capture, p);
        if (!(s->flags & CU_STREAM_NON_BLOCKING))
                atomic_fetch_add(&s->context->blocking_captures, 1);
}

CUresult capture_join(CUstream s, CUevent e)
{
        struct capture *mine = atomic_load(&s->capture), *p = e->capture_id ? find_capture(e->capture_id) : NULL;

        if (mine && mine->invalid)
                return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        if (!e->capture_id) { /* the captured work would wait for something outside */
                if (!e->recorded)
                        return CUDA_SUCCESS;
                mine->invalid = true;
                return FAKE_ERROR_CAPTURE_ISOLATION;
        }
        if (!p) /* a capture that has ended */
                return CUDA_ERROR_INVALID_VALUE;
        if (mine && mine != p) {
                mine->invalid = p->invalid = true;
                return FAKE_ERROR_CAPTURE_MERGE;
        }
        if (p->invalid)
                return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        if (!mine) {
                if (s->legacy || s->context != p->context) {
                        p->invalid = true;
                        return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
                }
                enter_capture(s, p);
        } else if (e->stream != s && e->tail == e->stream->tail) {
                s->unjoined = s != p->origin && (s->unjoined || e->stream->unjoined);
                e->stream->unjoined = false;
        }
        return CUDA_SUCCESS;
}

static void free_capture(struct capture *p)
{
        if (p)
                free(p->after);
        free(p);
}

/* What was captured into a graph of the program's: in order, and behind what it was to be behind. */
static CUresult tie(const struct capture *p)
{
        struct work *first = p->before ? p->before->next : p->graph->first;
        CUresult r = CUDA_SUCCESS;

        for (size_t i = 0; first && i < p->after_n && r == CUDA_SUCCESS; i++)
                r = edge_add(p->graph, (struct work *)p->after[i], first, NULL);
        for (struct work *w = first; w && w->next && r == CUDA_SUCCESS; w = w->next)
                r = edge_add(p->graph, w, w->next, NULL);
        return r;
}

/* graph: where it goes to, behind these nodes; NULL: to one of its own. */
static CUresult begin(CUstream s, int mode, CUgraph graph, const CUgraphNode *after, size_t n)
{
        struct capture *p;
        CUresult r = CUDA_SUCCESS;

        TRY(stream_of(s, &s));
        if (graph) {
                TRY(graph_check(graph));
                for (size_t i = 0; i < n; i++)
                        if (!after || !after[i] || ((const struct work *)after[i])->owner != graph)
                                return CUDA_ERROR_INVALID_VALUE;
        }
        if (mode < CU_STREAM_CAPTURE_MODE_GLOBAL || mode > CU_STREAM_CAPTURE_MODE_RELAXED)
                return CUDA_ERROR_INVALID_VALUE;
        if (s->legacy)
                return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        p = calloc(1, sizeof(*p));
        if (p && n)
                p->after = calloc(n, sizeof(CUgraphNode));
        if (!p || (n && !p->after)) {
                free(p);
                return CUDA_ERROR_OUT_OF_MEMORY;
        }
        if (n)
                memcpy(p->after, after, n * sizeof(CUgraphNode));
        p->after_n = n;
        pthread_mutex_lock(&engine_lock);
        p->into = graph;
        p->before = graph ? graph->last : NULL;
        p->graph = graph ? graph : graph_new();
        if (!p->graph) {
                r = CUDA_ERROR_OUT_OF_MEMORY;
        } else if (atomic_load(&s->capture)) {
                if (!graph)
                        graph_end(p->graph);
                r = CUDA_ERROR_ILLEGAL_STATE;
        } else {
                p->origin = s;
                p->context = s->context;
                p->thread = pthread_self();
                p->mode = mode;
                p->id = ++last_id;
                p->next = captures;
                captures = p;
                atomic_fetch_add(&captures_active, 1);
                enter_capture(s, p);
                p = NULL;
        }
        pthread_mutex_unlock(&engine_lock);
        free_capture(p);
        return r;
}

API_STREAM(cuStreamBeginCapture_v2, (CUstream s, int mode), (s, mode))
{
        return begin(s, mode, NULL, NULL, 0);
}

API_STREAM(cuStreamBeginCapture, (CUstream s, int mode), (s, mode))
{
        return begin(s, mode, NULL, NULL, 0);
}

API_STREAM(cuStreamBeginCaptureToGraph,
           (CUstream s, CUgraph graph, const CUgraphNode *dependencies, const CUgraphEdgeData *edges, size_t n, int mode),
           (s, graph, dependencies, edges, n, mode))
{
        if (!graph)
                return CUDA_ERROR_INVALID_VALUE;
        return begin(s, mode, graph, dependencies, n);
}

/* Captured work is in order in any case; so what is to be depended on must only be there. */
static CUresult update_dependencies(CUstream s, const CUgraphNode *nodes, size_t n, unsigned flags)
{
        CUresult r = CUDA_SUCCESS;
        struct capture *p;

        TRY(stream_of(s, &s));
        if (flags > CU_STREAM_SET_CAPTURE_DEPENDENCIES || (n && !nodes))
                return CUDA_ERROR_INVALID_VALUE;
        pthread_mutex_lock(&engine_lock);
        p = atomic_load(&s->capture);
        if (!p)
                r = CUDA_ERROR_ILLEGAL_STATE;
        for (size_t i = 0; p && i < n; i++)
                if (!nodes[i] || ((const struct work *)nodes[i])->owner != p->graph)
                        r = CUDA_ERROR_INVALID_VALUE;
        pthread_mutex_unlock(&engine_lock);
        return r;
}

API_STREAM(cuStreamUpdateCaptureDependencies, (CUstream s, CUgraphNode *nodes, size_t n, unsigned flags), (s, nodes, n, flags))
{
        return update_dependencies(s, nodes, n, flags);
}

API_STREAM(cuStreamUpdateCaptureDependencies_v2,
           (CUstream s, CUgraphNode *nodes, const CUgraphEdgeData *edges, size_t n, unsigned flags), (s, nodes, edges, n, flags))
{
        return update_dependencies(s, nodes, n, flags);
}

/* Takes every stream out of the capture; the error if one of them was never waited for. */
static CUresult leave_capture(struct capture *p)
{
        CUresult r = p->invalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_SUCCESS;

        for (struct CUstream_st *s = p->context->streams; s; s = s->next) {
                if (atomic_load(&s->capture) != p)
                        continue;
                if (r == CUDA_SUCCESS && s->unjoined)
                        r = FAKE_ERROR_CAPTURE_UNJOINED;
                atomic_store(&s->capture, NULL);
                if (!(s->flags & CU_STREAM_NON_BLOCKING))
                        atomic_fetch_sub(&s->context->blocking_captures, 1);
        }
        for (struct capture **at = &captures; *at; at = &(*at)->next)
                if (*at == p) {
                        *at = p->next;
                        break;
                }
        atomic_fetch_sub(&captures_active, 1);
        return r;
}

API_STREAM(cuStreamEndCapture, (CUstream s, CUgraph *graph), (s, graph))
{
        struct capture *p;
        CUresult r;

        TRY(stream_of(s, &s));
        if (!graph)
                return CUDA_ERROR_INVALID_VALUE;
        *graph = NULL;
        pthread_mutex_lock(&engine_lock);
        p = atomic_load(&s->capture);
        if (!p) {
                r = CUDA_ERROR_ILLEGAL_STATE;
        } else if (p->origin != s) {
                p->invalid = true;
                r = FAKE_ERROR_CAPTURE_UNMATCHED;
        } else if (p->mode != CU_STREAM_CAPTURE_MODE_RELAXED && !pthread_equal(p->thread, pthread_self())) {
                r = FAKE_ERROR_CAPTURE_WRONG_THREAD;
        } else {
                r = leave_capture(p);
                if (r == CUDA_SUCCESS && p->into)
                        r = tie(p);
                if (r == CUDA_SUCCESS)
                        *graph = p->graph;
                else if (!p->into)
                        graph_end(p->graph);
                free_capture(p);
        }
        pthread_mutex_unlock(&engine_lock);
        return r;
}

static CUresult capture_info(CUstream s, int *status, unsigned long long *id, CUgraph *graph, const CUgraphNode **nodes,
                             size_t *count)
{
        static const CUgraphNode none;
        struct capture *p;

        TRY(stream_of(s, &s));
        if (!status)
                return CUDA_ERROR_INVALID_VALUE;
        if (s->legacy)
                TRY(capture_implicit(s->context));
        pthread_mutex_lock(&engine_lock);
        p = atomic_load(&s->capture);
        *status = !p           ? CU_STREAM_CAPTURE_STATUS_NONE
                  : p->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                               : CU_STREAM_CAPTURE_STATUS_ACTIVE;
        if (*status == CU_STREAM_CAPTURE_STATUS_ACTIVE) {
                if (id)
                        *id = p->id;
                if (graph)
                        *graph = p->graph;
                if (nodes)
                        *nodes = p->graph->last ? (const CUgraphNode *)&p->graph->last : &none;
                if (count)
                        *count = p->graph->last ? 1 : 0;
        }
        pthread_mutex_unlock(&engine_lock);
        return CUDA_SUCCESS;
}

API_STREAM(cuStreamIsCapturing, (CUstream s, int *status), (s, status))
{
        return capture_info(s, status, NULL, NULL, NULL, NULL);
}

API_STREAM(cuStreamGetCaptureInfo, (CUstream s, int *status, unsigned long long *id), (s, status, id))
{
        return capture_info(s, status, id, NULL, NULL, NULL);
}

API_STREAM(cuStreamGetCaptureInfo_v2,
           (CUstream s, int *status, unsigned long long *id, CUgraph *graph, const CUgraphNode **nodes, size_t *count),
           (s, status, id, graph, nodes, count))
{
        return capture_info(s, status, id, graph, nodes, count);
}

API_STREAM(cuStreamGetCaptureInfo_v3,
           (CUstream s, int *status, unsigned long long *id, CUgraph *graph, const CUgraphNode **nodes,
            const void **edges, size_t *count),
           (s, status, id, graph, nodes, edges, count))
{
        if (edges)
                *edges = NULL;
        return capture_info(s, status, id, graph, nodes, count);
}

API(cuThreadExchangeStreamCaptureMode, (int *mode), (mode))
{
        int before = this_thread.capture_mode;

        if (!mode || *mode < CU_STREAM_CAPTURE_MODE_GLOBAL || *mode > CU_STREAM_CAPTURE_MODE_RELAXED)
                return CUDA_ERROR_INVALID_VALUE;
        this_thread.capture_mode = *mode;
        *mode = before;
        return CUDA_SUCCESS;
}
