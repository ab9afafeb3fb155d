/* graph.c: graphs and their instances.
 *
 * A graph is a list of work in the order of capture, which respects every dependency; an instance is a copy of it that
 * launches hold on to. Under engine_lock.
 */
#include "graph.h"

/* A fixed list of work, shared by an instance and its launches. */
struct program {
        _Atomic unsigned users;
        size_t count;
        struct work *work;
        struct work **nodes; /* which node each was: to be compared only */
};

struct CUgraphExec_st {
        uint32_t mark;
        unsigned long long flags;
        struct program *program;
        struct CUgraphExec_st *next;
};

/* CUgraphNodeType */
enum {
        NODE_KERNEL = 0,
        NODE_MEMCPY = 1,
        NODE_MEMSET = 2,
        NODE_HOST = 3,
        NODE_GRAPH = 4,
        NODE_EMPTY = 5,
        NODE_ALLOCATE = 10,
        NODE_FREE = 11,
        NODE_MEMORY_OPERATION = 12,
        NODE_CONDITIONAL = 13
};

static CUgraph graphs; /* every one ever made: stale handles stay recognisable */
static CUgraphExec execs;

/* --- programs --- */

/* Memory that a graph allocated: every node and instance that names it keeps it. */
struct holding {
        _Atomic unsigned users;
        int device;
        CUdeviceptr at;
        uint64_t bytes;
};

/* What graphs have of each device. */
static struct {
        _Atomic uint64_t used, high;
} graph_memory[STORE_DEVICES];

struct holding *holding_new(int device, CUdeviceptr at, uint64_t bytes)
{
        struct holding *h = calloc(1, sizeof(*h));
        uint64_t used, high;

        if (!h)
                return NULL;
        *h = (struct holding){.users = 1, .device = device, .at = at, .bytes = bytes};
        used = atomic_fetch_add(&graph_memory[device].used, bytes) + bytes;
        high = atomic_load(&graph_memory[device].high);
        while (high < used && !atomic_compare_exchange_weak(&graph_memory[device].high, &high, used))
                ;
        return h;
}

void holding_unref(struct holding *h)
{
        if (atomic_fetch_sub(&h->users, 1) != 1)
                return;
        (void)memory_free(h->at);
        atomic_fetch_sub(&graph_memory[h->device].used, h->bytes);
        free(h);
}

static void node_ref(struct work *w)
{
        if (w->kind == WORK_GRAPH)
                program_ref(w->program);
        else if (w->kind == WORK_KEEP)
                atomic_fetch_add(&w->holding->users, 1);
}

static void node_unref(struct work *w)
{
        if (w->kind == WORK_GRAPH)
                program_unref(w->program);
        else if (w->kind == WORK_KEEP)
                holding_unref(w->holding);
        else if (w->kind == WORK_BRANCH)
                branch_end(w->branch);
}

void program_ref(struct program *p)
{
        atomic_fetch_add(&p->users, 1);
}

void program_unref(struct program *p)
{
        if (!p || atomic_fetch_sub(&p->users, 1) != 1)
                return;
        for (size_t i = 0; i < p->count; i++)
                node_unref(&p->work[i]);
        free(p->work);
        free(p->nodes);
        free(p);
}

CUresult program_run(struct program *p, CUcontext c)
{
        for (size_t i = 0; i < p->count; i++)
                TRY(work_run(&p->work[i], c));
        return CUDA_SUCCESS;
}

static struct program *program_new(size_t count)
{
        struct program *p = calloc(1, sizeof(*p));

        if (!p)
                return NULL;
        p->users = 1;
        p->work = calloc(count + 1, sizeof(*p->work));
        p->nodes = calloc(count + 1, sizeof(struct work *));
        if (p->work && p->nodes)
                return p;
        program_unref(p);
        return NULL;
}

/* NULL: no memory, or nodes that depend on each other. */
static struct program *program_of(CUgraph g)
{
        struct program *p = program_new(g->count);

        if (!p || !edge_sort(g, p->nodes)) {
                program_unref(p);
                return NULL;
        }
        for (; p->count < g->count; p->count++) {
                struct work *w = &p->work[p->count];
                CUgraph taken;

                *w = *p->nodes[p->count];
                if (w->kind != WORK_BRANCH) {
                        node_ref(w);
                        continue;
                }
                taken = branch_taken(w->branch);
                w->kind = WORK_GRAPH;
                w->program = taken ? program_of(taken) : program_new(0);
                if (!w->program) {
                        program_unref(p);
                        return NULL;
                }
        }
        return p;
}

/* --- graphs --- */

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
        case WORK_KEEP:
                return NODE_ALLOCATE;
        case WORK_UNKEEP:
                return NODE_FREE;
        case WORK_BRANCH:
                return NODE_CONDITIONAL;
        case WORK_CALLBACK:
        case WORK_EVENT:
        case WORK_WAIT:
        case WORK_FREE:
                break;
        }
        return NODE_EMPTY;
}

CUresult graph_append(CUgraph g, const struct work *w)
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
        node_ref(n);
        *g->end = n;
        g->end = &n->next;
        g->last = n;
        g->count++;
        return CUDA_SUCCESS;
}

struct work *graph_take(CUgraph g, CUgraph from)
{
        struct work *last = from->last;

        for (struct work *w = from->first; w; w = w->next)
                w->owner = g;
        if (from->first) {
                *g->end = from->first;
                g->end = from->end;
                g->last = last;
                g->count += from->count;
                from->first = NULL;
        }
        graph_end(from);
        return last;
}

CUgraph graph_new(void)
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

void graph_end(CUgraph g)
{
        struct work *next;

        for (struct work *w = g->first; w; w = next) {
                next = w->next;
                node_unref(w);
                free(w);
        }
        free(g->edges);
        g->edges = NULL;
        g->edges_n = g->edges_room = 0;
        g->first = NULL;
        g->count = 0;
        g->mark = MARK_GONE;
}

CUresult graph_check(CUgraph g)
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

API(cuGraphInstantiate, (CUgraphExec *exec, CUgraph graph, CUgraphNode *node, char *log, size_t bytes),
    (exec, graph, node, log, bytes))
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

static CUresult instantiate_params(CUgraphExec *exec, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *params)
{
        CUresult r;

        if (!params)
                return CUDA_ERROR_INVALID_VALUE;
        r = instantiate(exec, graph, params->flags);
        params->hErrNode_out = NULL;
        params->result_out = r ? 1 : 0;
        return r;
}

API(cuGraphInstantiateWithParams, (CUgraphExec *exec, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *params),
    (exec, graph, params))
{
        return instantiate_params(exec, graph, params);
}

API(cuGraphInstantiateWithParams_ptsz, (CUgraphExec *exec, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *params),
    (exec, graph, params))
{
        return instantiate_params(exec, graph, params);
}

API(cuDeviceGetGraphMemAttribute, (CUdevice d, int which, void *value), (d, which, value))
{
        TRY(device_check(d));
        if (!value || which < CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT || which > CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH)
                return CUDA_ERROR_INVALID_VALUE;
        *(uint64_t *)value = atomic_load(which % 2 ? &graph_memory[d].high : &graph_memory[d].used);
        return CUDA_SUCCESS;
}

/* Only the high marks can be set, and only back. */
API(cuDeviceSetGraphMemAttribute, (CUdevice d, int which, void *value), (d, which, value))
{
        TRY(device_check(d));
        if (!value || *(uint64_t *)value ||
            (which != CU_GRAPH_MEM_ATTR_USED_MEM_HIGH && which != CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH))
                return CUDA_ERROR_INVALID_VALUE;
        atomic_store(&graph_memory[d].high, atomic_load(&graph_memory[d].used));
        return CUDA_SUCCESS;
}

/* Nothing is kept that no graph has. */
API(cuDeviceGraphMemTrim, (CUdevice d), (d))
{
        return device_check(d);
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

CUresult exec_replace(CUgraphExec e, CUgraphNode node, CUgraph instead)
{
        struct work *now = (struct work *)node;
        struct program *fresh;
        size_t i = 0;

        if (!e || e->mark != MARK_EXEC || !now || !now->owner || now->owner->mark != MARK_GRAPH || instead->count != 1)
                return CUDA_ERROR_INVALID_VALUE;
        while (i < e->program->count && e->program->nodes[i] != now)
                i++;
        if (i >= e->program->count || e->program->work[i].kind != instead->first->kind)
                return CUDA_ERROR_INVALID_VALUE;
        fresh = program_new(e->program->count);
        if (!fresh)
                return CUDA_ERROR_OUT_OF_MEMORY;
        for (; fresh->count < e->program->count; fresh->count++) {
                fresh->nodes[fresh->count] = e->program->nodes[fresh->count];
                fresh->work[fresh->count] = fresh->count == i ? *instead->first : e->program->work[fresh->count];
                node_ref(&fresh->work[fresh->count]);
        }
        program_unref(e->program);
        e->program = fresh;
        return CUDA_SUCCESS;
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
