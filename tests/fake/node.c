/* node.c: graph nodes that are added by hand, and changed in instances. Each is what a capture of the same call gives: it is captured on a stream of its
 * own and taken over. What a node depends on becomes edges (edge.c).
 */
#include "graph.h"

CUresult cuStreamBeginCapture_v2(CUstream s, int mode);
CUresult cuStreamEndCapture(CUstream s, CUgraph *graph);
CUresult cuStreamDestroy_v2(CUstream s);
CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, CUstream s,
                        void **parameters, void **extra);
CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *p, CUstream s);
CUresult cuMemsetD2D8Async(CUdeviceptr to, size_t pitch, unsigned char value, size_t width, size_t height, CUstream s);
CUresult cuMemsetD2D16Async(CUdeviceptr to, size_t pitch, unsigned short value, size_t width, size_t height, CUstream s);
CUresult cuMemsetD2D32Async(CUdeviceptr to, size_t pitch, unsigned value, size_t width, size_t height, CUstream s);
CUresult cuMemAllocAsync(CUdeviceptr *at, size_t bytes, CUstream s);
CUresult cuMemFreeAsync(CUdeviceptr at, CUstream s);

/* A stream that captures in the current context. */
static CUresult begin(CUstream *ret)
{
        CUcontext c;

        TRY(need_context(&c));
        TRY(stream_create(c, CU_STREAM_NON_BLOCKING, 0, ret));
        return cuStreamBeginCapture_v2(*ret, CU_STREAM_CAPTURE_MODE_RELAXED);
}

/* What it captured, unless the call in it failed. */
static CUresult end(CUstream s, CUresult r, CUgraph *ret)
{
        CUresult ended = cuStreamEndCapture(s, ret);

        (void)cuStreamDestroy_v2(s);
        if (r == CUDA_SUCCESS && ended == CUDA_SUCCESS)
                return CUDA_SUCCESS;
        if (*ret)
                graph_end(*ret);
        return r ? r : ended;
}

static CUresult kernel(CUstream s, const CUDA_KERNEL_NODE_PARAMS *p)
{
        return cuLaunchKernel(p->func, p->gridDimX, p->gridDimY, p->gridDimZ, p->blockDimX, p->blockDimY, p->blockDimZ, p->sharedMemBytes, s,
                              p->kernelParams, p->extra);
}

static CUresult set(CUstream s, const CUDA_MEMSET_NODE_PARAMS *p)
{
        switch (p->elementSize) {
        case 1:
                return cuMemsetD2D8Async(p->dst, p->pitch, (unsigned char)p->value, p->width, p->height, s);
        case 2:
                return cuMemsetD2D16Async(p->dst, p->pitch, (unsigned short)p->value, p->width, p->height, s);
        case 4:
                return cuMemsetD2D32Async(p->dst, p->pitch, p->value, p->width, p->height, s);
        default:
                return CUDA_ERROR_INVALID_VALUE;
        }
}

static CUresult allocation(CUstream s, CUDA_MEM_ALLOC_NODE_PARAMS *p)
{
        return p->poolProps.location.type == CU_MEM_LOCATION_TYPE_DEVICE ? cuMemAllocAsync(&p->dptr, p->bytesize, s) : CUDA_ERROR_INVALID_VALUE;
}

/* dependencies: nodes of this graph. */
static CUresult check(CUgraphNode *ret, CUgraph graph, const CUgraphNode *dependencies, size_t n, const void *params)
{
        TRY(graph_check(graph));
        if (!ret || !params || (n && !dependencies))
                return CUDA_ERROR_INVALID_VALUE;
        for (size_t i = 0; i < n; i++)
                if (!dependencies[i] || ((const struct work *)dependencies[i])->owner != graph)
                        return CUDA_ERROR_INVALID_VALUE;
        return CUDA_SUCCESS;
}

static CUresult take_over(CUgraphNode *ret, CUgraph graph, const CUgraphNode *dependencies, const CUgraphEdgeData *edges, size_t n, CUgraph from)
{
        struct work *node;
        CUresult r;

        pthread_mutex_lock(&engine_lock);
        node = graph_take(graph, from);
        r = node ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
        for (size_t i = 0; i < n && r == CUDA_SUCCESS; i++)
                r = edge_add(graph, (struct work *)dependencies[i], node, edges ? &edges[i] : NULL);
        pthread_mutex_unlock(&engine_lock);
        *ret = (CUgraphNode)node;
        return r;
}

/* The one call that captures what params say. */
#define CAPTURE(call)                                                                                                  \
        ({                                                                                                             \
                CUgraph from_ = NULL;                                                                                  \
                CUstream s;                                                                                            \
                                                                                                                       \
                TRY(begin(&s));                                                                                        \
                TRY(end(s, (call), &from_));                                                                           \
                from_;                                                                                                 \
        })

API(cuGraphAddKernelNode_v2, (CUgraphNode *ret, CUgraph graph, const CUgraphNode *dependencies, size_t n, const CUDA_KERNEL_NODE_PARAMS *params),
    (ret, graph, dependencies, n, params))
{
        TRY(check(ret, graph, dependencies, n, params));
        return take_over(ret, graph, dependencies, NULL, n, CAPTURE(kernel(s, params)));
}

API(cuGraphAddKernelNode, (CUgraphNode *ret, CUgraph graph, const CUgraphNode *dependencies, size_t n, const CUDA_KERNEL_NODE_PARAMS *params),
    (ret, graph, dependencies, n, params))
{
        return cuGraphAddKernelNode_v2_body(ret, graph, dependencies, n, params);
}

API(cuGraphAddMemcpyNode, (CUgraphNode *ret, CUgraph graph, const CUgraphNode *dependencies, size_t n, const CUDA_MEMCPY3D *params, CUcontext context),
    (ret, graph, dependencies, n, params, context))
{
        TRY(check(ret, graph, dependencies, n, params));
        return take_over(ret, graph, dependencies, NULL, n, CAPTURE(cuMemcpy3DAsync_v2(params, s)));
}

API(cuGraphAddMemsetNode,
    (CUgraphNode *ret, CUgraph graph, const CUgraphNode *dependencies, size_t n, const CUDA_MEMSET_NODE_PARAMS *params, CUcontext context),
    (ret, graph, dependencies, n, params, context))
{
        TRY(check(ret, graph, dependencies, n, params));
        return take_over(ret, graph, dependencies, NULL, n, CAPTURE(set(s, params)));
}

API(cuGraphAddMemAllocNode, (CUgraphNode *ret, CUgraph graph, const CUgraphNode *dependencies, size_t n, CUDA_MEM_ALLOC_NODE_PARAMS *params),
    (ret, graph, dependencies, n, params))
{
        TRY(check(ret, graph, dependencies, n, params));
        return take_over(ret, graph, dependencies, NULL, n, CAPTURE(allocation(s, params)));
}

API(cuGraphAddMemFreeNode, (CUgraphNode *ret, CUgraph graph, const CUgraphNode *dependencies, size_t n, CUdeviceptr at), (ret, graph, dependencies, n, at))
{
        TRY(check(ret, graph, dependencies, n, graph));
        return take_over(ret, graph, dependencies, NULL, n, CAPTURE(cuMemFreeAsync(at, s)));
}

static CUresult capture_params(CUgraphNodeParams *p, CUgraph *ret)
{
        switch (p->type) {
        case CU_GRAPH_NODE_TYPE_KERNEL:
                *ret = CAPTURE(kernel(s, &p->kernel));
                return CUDA_SUCCESS;
        case CU_GRAPH_NODE_TYPE_MEMCPY:
                *ret = CAPTURE(cuMemcpy3DAsync_v2(&p->memcpy.copyParams, s));
                return CUDA_SUCCESS;
        case CU_GRAPH_NODE_TYPE_MEMSET:
                *ret = CAPTURE(set(s, &p->memset));
                return CUDA_SUCCESS;
        case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
                *ret = CAPTURE(allocation(s, &p->alloc));
                return CUDA_SUCCESS;
        case CU_GRAPH_NODE_TYPE_MEM_FREE:
                *ret = CAPTURE(cuMemFreeAsync(p->free, s));
                return CUDA_SUCCESS;
        default:
                return CUDA_ERROR_NOT_SUPPORTED;
        }
}

/* A conditional node is none that a capture could make. */
static CUresult add_branch(CUgraph graph, CUDA_CONDITIONAL_NODE_PARAMS *params, CUgraph *ret)
{
        CUresult r;

        pthread_mutex_lock(&engine_lock);
        *ret = graph_new();
        r = *ret ? branch_new(graph, *ret, params) : CUDA_ERROR_OUT_OF_MEMORY;
        if (r && *ret)
                graph_end(*ret);
        pthread_mutex_unlock(&engine_lock);
        return r;
}

static CUresult add_node(CUgraphNode *ret, CUgraph graph, const CUgraphNode *dependencies, const CUgraphEdgeData *edges, size_t n,
                         CUgraphNodeParams *params)
{
        CUgraph from;

        TRY(check(ret, graph, dependencies, n, params));
        if (params->type == CU_GRAPH_NODE_TYPE_CONDITIONAL)
                TRY(add_branch(graph, &params->conditional, &from));
        else
                TRY(capture_params(params, &from));
        return take_over(ret, graph, dependencies, edges, n, from);
}

API(cuGraphAddNode, (CUgraphNode *ret, CUgraph graph, const CUgraphNode *dependencies, size_t n, CUgraphNodeParams *params),
    (ret, graph, dependencies, n, params))
{
        return add_node(ret, graph, dependencies, NULL, n, params);
}

API(cuGraphAddNode_v2,
    (CUgraphNode *ret, CUgraph graph, const CUgraphNode *dependencies, const CUgraphEdgeData *edges, size_t n, CUgraphNodeParams *params),
    (ret, graph, dependencies, edges, n, params))
{
        return add_node(ret, graph, dependencies, edges, n, params);
}

static CUresult replace(CUgraphExec e, CUgraphNode node, CUgraph instead)
{
        CUresult r;

        pthread_mutex_lock(&engine_lock);
        r = exec_replace(e, node, instead);
        graph_end(instead);
        pthread_mutex_unlock(&engine_lock);
        return r;
}

API(cuGraphExecKernelNodeSetParams_v2, (CUgraphExec e, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *params), (e, node, params))
{
        TRY(need_ready());
        return params ? replace(e, node, CAPTURE(kernel(s, params))) : CUDA_ERROR_INVALID_VALUE;
}

API(cuGraphExecKernelNodeSetParams, (CUgraphExec e, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *params), (e, node, params))
{
        return cuGraphExecKernelNodeSetParams_v2_body(e, node, params);
}

API(cuGraphExecMemcpyNodeSetParams, (CUgraphExec e, CUgraphNode node, const CUDA_MEMCPY3D *params, CUcontext context), (e, node, params, context))
{
        TRY(need_ready());
        return params ? replace(e, node, CAPTURE(cuMemcpy3DAsync_v2(params, s))) : CUDA_ERROR_INVALID_VALUE;
}

API(cuGraphExecMemsetNodeSetParams, (CUgraphExec e, CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS *params, CUcontext context),
    (e, node, params, context))
{
        TRY(need_ready());
        return params ? replace(e, node, CAPTURE(set(s, params))) : CUDA_ERROR_INVALID_VALUE;
}
