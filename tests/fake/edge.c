/* edge.c: what graph nodes depend on, beside the order in which they were captured or added.
 *
 * An instance runs its nodes one after the other, so all that edges say is which order is right: each node after those that it depends on. Edges with
 * data of their own (programmatic ones, between kernels) say less than that, and hold all the same. Under engine_lock.
 */
#include "graph.h"

#include <string.h>

static bool sound(const struct edge *e)
{
        static const unsigned char zeros[sizeof(e->data.reserved)];

        if (memcmp(e->data.reserved, zeros, sizeof(zeros)))
                return false;
        if (e->data.type == CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC)
                return e->from->kind == WORK_KERNEL && e->to->kind == WORK_KERNEL && e->data.from_port <= 2 && !e->data.to_port;
        return e->data.type == CU_GRAPH_DEPENDENCY_TYPE_DEFAULT && !e->data.from_port && !e->data.to_port;
}

static struct edge *find(CUgraph g, const struct work *from, const struct work *to)
{
        for (size_t i = 0; i < g->edges_n; i++)
                if (g->edges[i].from == from && g->edges[i].to == to)
                        return &g->edges[i];
        return NULL;
}

CUresult edge_add(CUgraph g, struct work *from, struct work *to, const CUgraphEdgeData *data)
{
        struct edge e = {.from = from, .to = to};

        if (!from || !to || from == to || from->owner != g || to->owner != g || find(g, from, to))
                return CUDA_ERROR_INVALID_VALUE;
        if (data)
                e.data = *data;
        if (!sound(&e))
                return CUDA_ERROR_INVALID_VALUE;
        if (g->edges_n == g->edges_room) {
                size_t room = g->edges_room ? 2 * g->edges_room : 16;
                struct edge *grown = realloc(g->edges, room * sizeof(*grown));

                if (!grown)
                        return CUDA_ERROR_OUT_OF_MEMORY;
                g->edges = grown;
                g->edges_room = room;
        }
        g->edges[g->edges_n++] = e;
        return CUDA_SUCCESS;
}

static bool listed(struct work *const *nodes, size_t n, const struct work *w)
{
        for (size_t i = 0; i < n; i++)
                if (nodes[i] == w)
                        return true;
        return false;
}

static bool ready(CUgraph g, struct work *const *nodes, size_t n, const struct work *w)
{
        for (size_t i = 0; i < g->edges_n; i++)
                if (g->edges[i].to == w && !listed(nodes, n, g->edges[i].from))
                        return false;
        return true;
}

bool edge_sort(CUgraph g, struct work **nodes)
{
        size_t n = 0, before;

        if (!g->edges_n) {
                for (struct work *w = g->first; w; w = w->next)
                        nodes[n++] = w;
                return true;
        }
        do {
                before = n;
                for (struct work *w = g->first; w; w = w->next)
                        if (!listed(nodes, n, w) && ready(g, nodes, n, w))
                                nodes[n++] = w;
        } while (n < g->count && n > before);
        return n == g->count;
}

static CUresult add(CUgraph g, const CUgraphNode *from, const CUgraphNode *to, const CUgraphEdgeData *data, size_t n)
{
        CUresult r = CUDA_SUCCESS;

        TRY(graph_check(g));
        if (n && (!from || !to))
                return CUDA_ERROR_INVALID_VALUE;
        pthread_mutex_lock(&engine_lock);
        for (size_t i = 0; i < n && r == CUDA_SUCCESS; i++)
                r = edge_add(g, (struct work *)from[i], (struct work *)to[i], data ? &data[i] : NULL);
        pthread_mutex_unlock(&engine_lock);
        return r;
}

API(cuGraphAddDependencies, (CUgraph g, const CUgraphNode *from, const CUgraphNode *to, size_t n), (g, from, to, n))
{
        return add(g, from, to, NULL, n);
}

API(cuGraphAddDependencies_v2, (CUgraph g, const CUgraphNode *from, const CUgraphNode *to, const CUgraphEdgeData *data, size_t n), (g, from, to, data, n))
{
        return add(g, from, to, data, n);
}

static CUresult cut(CUgraph g, const CUgraphNode *from, const CUgraphNode *to, size_t n)
{
        CUresult r = CUDA_SUCCESS;

        TRY(graph_check(g));
        if (n && (!from || !to))
                return CUDA_ERROR_INVALID_VALUE;
        pthread_mutex_lock(&engine_lock);
        for (size_t i = 0; i < n && r == CUDA_SUCCESS; i++) {
                struct edge *e = find(g, (struct work *)from[i], (struct work *)to[i]);

                if (e)
                        *e = g->edges[--g->edges_n];
                else
                        r = CUDA_ERROR_INVALID_VALUE;
        }
        pthread_mutex_unlock(&engine_lock);
        return r;
}

API(cuGraphRemoveDependencies, (CUgraph g, const CUgraphNode *from, const CUgraphNode *to, size_t n), (g, from, to, n))
{
        return cut(g, from, to, n);
}

API(cuGraphRemoveDependencies_v2, (CUgraph g, const CUgraphNode *from, const CUgraphNode *to, const CUgraphEdgeData *data, size_t n), (g, from, to, data, n))
{
        return cut(g, from, to, n);
}

API(cuGraphGetEdges_v2, (CUgraph g, CUgraphNode *from, CUgraphNode *to, CUgraphEdgeData *data, size_t *n), (g, from, to, data, n))
{
        size_t i = 0;

        TRY(graph_check(g));
        if (!n || !from != !to || (data && !from))
                return CUDA_ERROR_INVALID_VALUE;
        pthread_mutex_lock(&engine_lock);
        for (; from && i < *n && i < g->edges_n; i++) {
                from[i] = (CUgraphNode)g->edges[i].from;
                to[i] = (CUgraphNode)g->edges[i].to;
                if (data)
                        data[i] = g->edges[i].data;
        }
        *n = g->edges_n;
        pthread_mutex_unlock(&engine_lock);
        return CUDA_SUCCESS;
}

API(cuGraphGetEdges, (CUgraph g, CUgraphNode *from, CUgraphNode *to, size_t *n), (g, from, to, n))
{
        return cuGraphGetEdges_v2_body(g, from, to, NULL, n);
}
