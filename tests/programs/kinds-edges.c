/* kinds-edges.c: the kind of kinds.c whose graph is made as since CUDA 12.3: edges with data, captures into a graph that is there, and into the bodies of
 * conditional nodes, instantiated with parameters.
 *
 * What is right comes out only if every edge is kept: the node that fills is added after the one that adds to what it filled.
 */
#include "kinds.h"

enum { WORDS = 1024 };

static struct {
        CUstream stream;
        CUgraph graph;
        CUgraphExec exec;
} edged;

static CUgraphNode kernel_node(CUfunction f, CUdeviceptr at, uint32_t argument, const CUgraphNode *after, const CUgraphEdgeData *data, size_t n)
{
        uint64_t words = WORDS;
        void *parameters[] = {&at, &words, &argument};
        CUgraphNodeParams p = {.type = CU_GRAPH_NODE_TYPE_KERNEL, .kernel = on_words(f, parameters)};
        CUgraphNode node;

        CU(cu.cuGraphAddNode(&node, edged.graph, after, data, n, &p));
        return node;
}

/* Runs its body, captured, or never, as the handle's default says: no kernel of ours sets it. */
static CUgraphNode conditional(unsigned value, CUdeviceptr at, uint32_t argument, const CUgraphNode *after)
{
        CUgraphNodeParams p = {.type = CU_GRAPH_NODE_TYPE_CONDITIONAL, .conditional = {.type = CU_GRAPH_COND_TYPE_IF, .size = 1, .ctx = base.context}};
        CUgraph filled;
        CUgraphNode node;

        CU(cu.cuGraphConditionalHandleCreate(&p.conditional.handle, edged.graph, base.context, value, CU_GRAPH_COND_ASSIGN_DEFAULT));
        CU(cu.cuGraphAddNode(&node, edged.graph, after, NULL, 1, &p));
        CU(cu.cuStreamBeginCaptureToGraph(edged.stream, p.conditional.phGraph_out[0], NULL, NULL, 0, CU_STREAM_CAPTURE_MODE_RELAXED));
        CU(cu_words(base.add, at, WORDS, argument, edged.stream));
        CU(cu.cuStreamEndCapture(edged.stream, &filled));
        WANT(filled == p.conditional.phGraph_out[0]);
        return node;
}

/* Behind a node that is there already. */
static void capture_behind(CUgraphNode node)
{
        CUgraph same;

        CU(cu.cuStreamBeginCaptureToGraph(edged.stream, edged.graph, &node, NULL, 1, CU_STREAM_CAPTURE_MODE_RELAXED));
        CU(cu_words(base.add, area, WORDS, 3, edged.stream));
        CU(cu.cuStreamUpdateCaptureDependencies(edged.stream, &node, NULL, 1, CU_STREAM_ADD_CAPTURE_DEPENDENCIES));
        CU(cu.cuMemcpyDtoDAsync(area + 8192, area, WORDS * 4, edged.stream));
        CU(cu.cuStreamEndCapture(edged.stream, &same));
        WANT(same == edged.graph);
}

void edges_begin(void)
{
        CUDA_GRAPH_INSTANTIATE_PARAMS how = {0};
        CUgraphEdgeData plain = {0}, told = {.type = 7};
        CUgraphNode add, fill, taken, from[16], to[16];
        CUgraphEdgeData data[16];
        size_t n = 16, before;

        CU(cu.cuStreamCreate(&edged.stream, CU_STREAM_NON_BLOCKING));
        CU(cu.cuMemsetD8(area, 0, AREA_WORDS * 4));
        CU(cu.cuGraphCreate(&edged.graph, 0));
        add = kernel_node(base.add, area, 2, NULL, NULL, 0);
        fill = kernel_node(base.fill, area, 5, NULL, NULL, 0);
        CU(cu.cuGraphAddDependencies(edged.graph, &add, &fill, NULL, 1)); /* the wrong way round … */
        CU(cu.cuGraphRemoveDependencies(edged.graph, &add, &fill, NULL, 1));
        CU(cu.cuGraphAddDependencies(edged.graph, &fill, &add, &plain, 1));
        WANT(cu.cuGraphAddDependencies(edged.graph, &fill, &add, &told, 1) != CUDA_SUCCESS); /* no such kind, and it is there */
        (void)kernel_node(base.add, area + 16384, 1, &add, &plain, 1);
        taken = conditional(1, area, 10, &add);
        capture_behind(conditional(0, area, 100, &taken));
        CU(cu.cuGraphGetEdges(edged.graph, NULL, NULL, NULL, &before));
        CU(cu.cuGraphGetEdges(edged.graph, from, to, data, &n));
        WANT(n == before && n >= 6 && n <= 7); /* the copy may have two: the node that was added, and the one before it */
        for (size_t i = 0; i < n; i++)
                WANT(data[i].type == CU_GRAPH_DEPENDENCY_TYPE_DEFAULT && from[i] != to[i]);
        CU(cu.cuGraphInstantiateWithParams(&edged.exec, edged.graph, &how));
        WANT(how.result_out == 0);
}

void edges_round(uint32_t round)
{
        CU(cu.cuGraphLaunch(edged.exec, edged.stream));
        WANT(all_are(area, WORDS, 5 + 2 + 10 + 3, edged.stream));
        WANT(all_are(area + 8192, WORDS, 5 + 2 + 10 + 3, edged.stream));
        WANT(all_are(area + 16384, WORDS, round + 1, edged.stream));
}

void edges_end(void)
{
        CU(cu.cuStreamSynchronize(edged.stream));
        CU(cu.cuGraphExecDestroy(edged.exec));
        CU(cu.cuGraphDestroy(edged.graph));
        CU(cu.cuStreamDestroy(edged.stream));
}
