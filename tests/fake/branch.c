/* branch.c: conditional nodes.
 *
 * Kernels of the software device can't set a condition, so a handle keeps the value that it was made with, and an instance takes the graph for that
 * in place of the node. A loop, which only a kernel could end, is refused. Under engine_lock.
 */
#include "graph.h"

enum { BODIES = 64 };

struct condition {
        CUgraphConditionalHandle handle;
        CUgraph graph;
        unsigned value;
        struct condition *next;
};

struct branch {
        unsigned value, size;
        bool among; /* one of many, by its number */
        CUgraph bodies[BODIES];
};

static struct condition *conditions; /* every one ever made */

API(cuGraphConditionalHandleCreate, (CUgraphConditionalHandle *ret, CUgraph graph, CUcontext context, unsigned value, unsigned flags),
    (ret, graph, context, value, flags))
{
        struct condition *c;

        TRY(graph_check(graph));
        if (!ret || flags > CU_GRAPH_COND_ASSIGN_DEFAULT)
                return CUDA_ERROR_INVALID_VALUE;
        c = calloc(1, sizeof(*c));
        if (!c)
                return CUDA_ERROR_OUT_OF_MEMORY;
        pthread_mutex_lock(&engine_lock);
        *c = (struct condition){.handle = conditions ? conditions->handle + 1 : 1, .graph = graph, .value = value, .next = conditions};
        conditions = c;
        *ret = c->handle;
        pthread_mutex_unlock(&engine_lock);
        return CUDA_SUCCESS;
}

CUresult branch_new(CUgraph g, CUgraph alone, CUDA_CONDITIONAL_NODE_PARAMS *params)
{
        struct condition *c = conditions;
        struct work w = {.kind = WORK_BRANCH};
        CUresult r;

        while (c && c->handle != params->handle)
                c = c->next;
        if (!c || c->graph != g || !params->size || params->size > BODIES || (params->type == CU_GRAPH_COND_TYPE_IF && params->size > 2))
                return CUDA_ERROR_INVALID_VALUE;
        if (params->type != CU_GRAPH_COND_TYPE_IF && params->type != CU_GRAPH_COND_TYPE_SWITCH)
                return CUDA_ERROR_NOT_SUPPORTED;
        w.branch = calloc(1, sizeof(*w.branch));
        if (!w.branch)
                return CUDA_ERROR_OUT_OF_MEMORY;
        *w.branch = (struct branch){.value = c->value, .size = params->size, .among = params->type == CU_GRAPH_COND_TYPE_SWITCH};
        for (unsigned i = 0; i < params->size; i++)
                w.branch->bodies[i] = graph_new(); /* graphs are kept: one that could not be made is never taken */
        r = graph_append(alone, &w);
        if (r) {
                branch_end(w.branch);
                return r;
        }
        params->phGraph_out = w.branch->bodies;
        return CUDA_SUCCESS;
}

CUgraph branch_taken(const struct branch *b)
{
        unsigned i = b->among ? b->value : !b->value;

        return i < b->size ? b->bodies[i] : NULL;
}

void branch_end(struct branch *b)
{
        for (unsigned i = 0; i < b->size; i++)
                if (b->bodies[i])
                        graph_end(b->bodies[i]);
        free(b);
}
