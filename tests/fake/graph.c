/* graph.c: stream capture and graphs.
 *
 * A graph is a list of work in the order of capture, which respects every dependency; an instance is a copy of it that launches hold. Capture
 * follows the driver's rules: what would make the captured work depend on the rest of the world fails with an error of the 900s and the
 * capture is lost, which its end reports. Under engine_lock.
 */
#include "fake.h"

#include <string.h>

/* A fixed list of work, shared by an instance and its launches. */
struct program {
        _Atomic unsigned users;
        size_t count;
        struct work *work;
};

struct CUgraph_st {
        uint32_t mark;
        struct work *first, **end;
        size_t count;
        struct work *last;
        struct CUgraph_st *next;
};

struct CUgraphExec_st {
        uint32_t mark;
        unsigned long long flags;
        struct program *program;
        struct CUgraphExec_st *next;
};

/* CUgraphNodeType */
enum { NODE_KERNEL = 0, NODE_MEMCPY = 1, NODE_MEMSET = 2, NODE_HOST = 3, NODE_GRAPH = 4, NODE_EMPTY = 5, NODE_MEMORY_OPERATION = 12 };

_Atomic unsigned captures_active;
static struct capture *captures;
static uint64_t last_id;
static CUgraph graphs;      /* every one ever made: stale handles stay recognisable */
static CUgraphExec execs;

/* --- programs --- */

void program_ref(struct program *p)
{
        atomic_fetch_add(&p->users, 1);
}

void program_unref(struct program *p)
{
        if (!p || atomic_fetch_sub(&p->users, 1) != 1)
                return;
        for (size_t i = 0; i < p->count; i++)
                if (p->work[i].kind == WORK_GRAPH)
                        program_unref(p->work[i].program);
        free(p->work);
        free(p);
}

CUresult program_run(struct program *p, CUcontext c)
{
        for (size_t i = 0; i < p->count; i++)
                TRY(work_run(&p->work[i], c));
        return CUDA_SUCCESS;
}

static struct program *program_of(CUgraph g)
{
        struct program *p = calloc(1, sizeof(*p));

        if (p)
                p->work = calloc(g->count ? g->count : 1, sizeof(*p->work));
        if (!p || !p->work) {
                free(p);
                return NULL;
        }
        p->users = 1;
        for (struct work *w = g->first; w; w = w->next) {
                p->work[p->count] = *w;
                if (w->kind == WORK_GRAPH)
                        program_ref(w->program);
                p->count++;
        }
        return p;
}

/* --- captures --- */

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
                bool any = p->mode == CU_STREAM_CAPTURE_MODE_GLOBAL && this_thread.capture_mode == CU_STREAM_CAPTURE_MODE_GLOBAL;

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

static unsigned node_type(enum work_kind kind)
{
        switch (kind) {
        case WORK_KERNEL:
                return NODE_KERNEL;
        case WORK_COPY:
                return NODE_MEMCPY;
        case WORK_SET:
                return NODE_MEMSET;
        case WORK_HOST:
                return NODE_HOST;
        case WORK_GRAPH:
                return NODE_GRAPH;
        case WORK_WRITE_VALUE:
        case WORK_WAIT_VALUE:
                return NODE_MEMORY_OPERATION;
        case WORK_CALLBACK:
        case WORK_EVENT:
        case WORK_WAIT:
        case WORK_FREE:
                break;
        }
        return NODE_EMPTY;
}

static CUresult graph_append(CUgraph g, const struct work *w)
{
        struct work *n = malloc(sizeof(*n));

        if (!n)
                return CUDA_ERROR_OUT_OF_MEMORY;
        *n = *w;
        n->next = NULL;
        n->dependency = NULL;
        n->dependencies = n->dependency_room = 0;
        n->owner = g;
        n->type = node_type(w->kind);
        if (n->kind == WORK_GRAPH)
                program_ref(n->program);
        *g->end = n;
        g->end = &n->next;
        g->last = n;
        g->count++;
        return CUDA_SUCCESS;
}

CUresult capture_add(CUstream s, const struct work *w)
{
        struct capture *p = atomic_load(&s->capture);

        if (p->invalid)
                return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        if (w->kind == WORK_FREE || w->kind == WORK_CALLBACK) {
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
        if (!p)
                return FAKE_ERROR_CAPTURED_EVENT;
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

static CUgraph graph_new(void)
{
        CUgraph g = calloc(1, sizeof(*g));

        if (!g)
                return NULL;
        g->mark = MARK_GRAPH;
        g->end = &g->first;
        g->next = graphs;
        graphs = g;
        return g;
}

static void graph_end(CUgraph g)
{
        struct work *next;

        for (struct work *w = g->first; w; w = next) {
                next = w->next;
                if (w->kind == WORK_GRAPH)
                        program_unref(w->program);
                free(w);
        }
        g->first = NULL;
        g->count = 0;
        g->mark = MARK_GONE;
}

static CUresult begin(CUstream s, int mode)
{
        struct capture *p;
        CUresult r = CUDA_SUCCESS;

        TRY(stream_of(s, &s));
        if (mode < CU_STREAM_CAPTURE_MODE_GLOBAL || mode > CU_STREAM_CAPTURE_MODE_RELAXED)
                return CUDA_ERROR_INVALID_VALUE;
        if (s->legacy)
                return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        p = calloc(1, sizeof(*p));
        if (!p)
                return CUDA_ERROR_OUT_OF_MEMORY;
        pthread_mutex_lock(&engine_lock);
        p->graph = graph_new();
        if (!p->graph) {
                r = CUDA_ERROR_OUT_OF_MEMORY;
        } else if (atomic_load(&s->capture)) {
                atomic_load(&s->capture)->invalid = true;
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
        free(p);
        return r;
}

API_STREAM(cuStreamBeginCapture_v2, (CUstream s, int mode), (s, mode))
{
        return begin(s, mode);
}

API_STREAM(cuStreamBeginCapture, (CUstream s, int mode), (s, mode))
{
        return begin(s, mode);
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
                if (r)
                        graph_end(p->graph);
                else
                        *graph = p->graph;
                free(p);
        }
        pthread_mutex_unlock(&engine_lock);
        return r;
}

static CUresult capture_info(CUstream s, int *status, unsigned long long *id, CUgraph *graph, const CUgraphNode **nodes, size_t *count)
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
        *status = !p          ? CU_STREAM_CAPTURE_STATUS_NONE
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
           (CUstream s, int *status, unsigned long long *id, CUgraph *graph, const CUgraphNode **nodes, const void **edges, size_t *count),
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

/* --- graphs --- */

static CUresult graph_check(CUgraph g)
{
        TRY(need_ready());
        return g && g->mark == MARK_GRAPH ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API(cuGraphCreate, (CUgraph *graph, unsigned flags), (graph, flags))
{
        TRY(need_ready());
        if (!graph || flags)
                return CUDA_ERROR_INVALID_VALUE;
        pthread_mutex_lock(&engine_lock);
        *graph = graph_new();
        pthread_mutex_unlock(&engine_lock);
        return *graph ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

API(cuGraphDestroy, (CUgraph graph), (graph))
{
        TRY(graph_check(graph));
        pthread_mutex_lock(&engine_lock);
        graph_end(graph);
        pthread_mutex_unlock(&engine_lock);
        return CUDA_SUCCESS;
}

API(cuGraphGetNodes, (CUgraph graph, CUgraphNode *nodes, size_t *count), (graph, nodes, count))
{
        size_t i = 0;

        TRY(graph_check(graph));
        if (!count)
                return CUDA_ERROR_INVALID_VALUE;
        pthread_mutex_lock(&engine_lock);
        if (nodes) {
                for (struct work *w = graph->first; w && i < *count; w = w->next)
                        nodes[i++] = (CUgraphNode)w;
                for (; i < *count; i++)
                        nodes[i] = NULL;
        }
        *count = graph->count;
        pthread_mutex_unlock(&engine_lock);
        return CUDA_SUCCESS;
}

API(cuGraphGetRootNodes, (CUgraph graph, CUgraphNode *nodes, size_t *count), (graph, nodes, count))
{
        TRY(graph_check(graph));
        if (!count)
                return CUDA_ERROR_INVALID_VALUE;
        if (nodes && *count > 0)
                nodes[0] = (CUgraphNode)graph->first;
        *count = graph->first ? 1 : 0;
        return CUDA_SUCCESS;
}

API(cuGraphNodeGetType, (CUgraphNode node, int *type), (node, type))
{
        TRY(need_ready());
        if (!node || !type)
                return CUDA_ERROR_INVALID_VALUE;
        *type = (int)((struct work *)node)->type;
        return CUDA_SUCCESS;
}

static CUresult instantiate(CUgraphExec *exec, CUgraph graph, unsigned long long flags)
{
        CUgraphExec e;
        CUcontext c;

        TRY(need_context(&c));
        TRY(graph_check(graph));
        if (!exec)
                return CUDA_ERROR_INVALID_VALUE;
        e = calloc(1, sizeof(*e));
        if (!e)
                return CUDA_ERROR_OUT_OF_MEMORY;
        pthread_mutex_lock(&engine_lock);
        e->program = program_of(graph);
        e->flags = flags;
        e->mark = e->program ? MARK_EXEC : MARK_GONE;
        e->next = execs;
        execs = e;
        pthread_mutex_unlock(&engine_lock);
        if (!e->program)
                return CUDA_ERROR_OUT_OF_MEMORY;
        *exec = e;
        return CUDA_SUCCESS;
}

API(cuGraphInstantiate, (CUgraphExec *exec, CUgraph graph, CUgraphNode *node, char *log, size_t bytes), (exec, graph, node, log, bytes))
{
        if (log && bytes)
                *log = 0;
        return instantiate(exec, graph, 0);
}

API(cuGraphInstantiate_v2, (CUgraphExec *exec, CUgraph graph, CUgraphNode *node, char *log, size_t bytes),
    (exec, graph, node, log, bytes))
{
        return cuGraphInstantiate_body(exec, graph, node, log, bytes);
}

API(cuGraphInstantiateWithFlags, (CUgraphExec *exec, CUgraph graph, unsigned long long flags), (exec, graph, flags))
{
        return instantiate(exec, graph, flags);
}

struct instantiate_params {
        unsigned long long flags;
        CUstream upload_stream;
        CUgraphNode error_node;
        int result;
};

static CUresult instantiate_params(CUgraphExec *exec, CUgraph graph, struct instantiate_params *params)
{
        CUresult r;

        if (!params)
                return CUDA_ERROR_INVALID_VALUE;
        r = instantiate(exec, graph, params->flags);
        params->error_node = NULL;
        params->result = r ? 1 : 0;
        return r;
}

API(cuGraphInstantiateWithParams, (CUgraphExec *exec, CUgraph graph, struct instantiate_params *params), (exec, graph, params))
{
        return instantiate_params(exec, graph, params);
}

API(cuGraphInstantiateWithParams_ptsz, (CUgraphExec *exec, CUgraph graph, struct instantiate_params *params), (exec, graph, params))
{
        return instantiate_params(exec, graph, params);
}

static CUresult exec_check(CUgraphExec e)
{
        TRY(need_ready());
        return e && e->mark == MARK_EXEC ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API(cuGraphExecDestroy, (CUgraphExec e), (e))
{
        struct program *p;

        TRY(exec_check(e));
        pthread_mutex_lock(&engine_lock);
        e->mark = MARK_GONE;
        p = take(e->program);
        program_unref(p);
        pthread_mutex_unlock(&engine_lock);
        return CUDA_SUCCESS;
}

API(cuGraphExecGetFlags, (CUgraphExec e, unsigned long long *flags), (e, flags))
{
        TRY(exec_check(e));
        if (!flags)
                return CUDA_ERROR_INVALID_VALUE;
        *flags = e->flags;
        return CUDA_SUCCESS;
}

/* Only work that differs in its arguments: 0 updated, 2 other topology, 3 other kinds of node. */
static int update(CUgraphExec e, CUgraph graph)
{
        struct program *fresh = program_of(graph);
        int result = !fresh ? 1 : fresh->count != e->program->count ? 2 : 0;

        for (size_t i = 0; result == 0 && i < fresh->count; i++)
                if (fresh->work[i].kind != e->program->work[i].kind)
                        result = 3;
        if (result == 0) {
                program_unref(e->program);
                e->program = fresh;
        } else {
                program_unref(fresh);
        }
        return result;
}

static CUresult exec_update(CUgraphExec e, CUgraph graph, CUgraphNode *node, int *result)
{
        int r;

        TRY(exec_check(e));
        TRY(graph_check(graph));
        pthread_mutex_lock(&engine_lock);
        r = update(e, graph);
        pthread_mutex_unlock(&engine_lock);
        if (node)
                *node = NULL;
        if (result)
                *result = r;
        return r ? FAKE_ERROR_GRAPH_UPDATE : CUDA_SUCCESS;
}

API(cuGraphExecUpdate, (CUgraphExec e, CUgraph graph, CUgraphNode *node, int *result), (e, graph, node, result))
{
        return exec_update(e, graph, node, result);
}

struct update_result {
        int result;
        CUgraphNode node, from;
};

API(cuGraphExecUpdate_v2, (CUgraphExec e, CUgraph graph, struct update_result *info), (e, graph, info))
{
        if (!info)
                return CUDA_ERROR_INVALID_VALUE;
        info->from = NULL;
        return exec_update(e, graph, &info->node, &info->result);
}

API_STREAM(cuGraphLaunch, (CUgraphExec e, CUstream s), (e, s))
{
        struct work w = {.kind = WORK_GRAPH};
        CUresult r;

        TRY(exec_check(e));
        TRY(stream_of(s, &s));
        pthread_mutex_lock(&engine_lock);
        w.program = e->program;
        program_ref(w.program);
        pthread_mutex_unlock(&engine_lock);
        r = stream_submit(s, &w, false);
        program_unref(w.program);
        return r;
}

API_STREAM(cuGraphUpload, (CUgraphExec e, CUstream s), (e, s))
{
        TRY(exec_check(e));
        return stream_of(s, &s);
}
