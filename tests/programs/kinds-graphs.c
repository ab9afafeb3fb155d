/* kinds-graphs.c: the kinds of kinds.c that have graphs, captured and put together by hand, and streams that wait for values in memory. */
#include "kinds.h"

#include <time.h>

/* --- graphs, with memory of their own, too --- */

static CUstream graph_stream;
static CUgraphExec plain_graph, memory_graph;

static CUgraphExec captured(void)
{
        CUgraphExec exec;
        CUgraph graph;

        CU(cu.cuStreamEndCapture(graph_stream, &graph));
        CU(cu.cuGraphInstantiateWithFlags(&exec, graph, 0));
        CU(cu.cuGraphDestroy(graph));
        return exec;
}

void graphs_begin(void)
{
        CUdeviceptr inside;

        CU(cu.cuStreamCreate(&graph_stream, CU_STREAM_NON_BLOCKING));
        CU(cu.cuMemsetD8(area, 0, AREA_WORDS * 4));
        CU(cu.cuStreamBeginCapture(graph_stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
        CU(cu_words(base.add, area, 1024, 1, graph_stream));
        CU(cu.cuMemcpyDtoDAsync(area + 4096, area, 4096, graph_stream));
        CU(cu.cuMemsetD32Async(area + 8192, 5, 1024, graph_stream));
        CU(cu_words(base.add, area + 8192, 1024, 2, graph_stream));
        plain_graph = captured();
        CU(cu.cuStreamBeginCapture(graph_stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
        CU(cu.cuMemAllocAsync(&inside, MIB, graph_stream));
        CU(cu_words(base.fill, inside, MIB / 4, 40, graph_stream));
        CU(cu_words(base.add, inside, MIB / 4, 2, graph_stream));
        CU(cu.cuMemcpyDtoDAsync(area + 16384, inside + MIB - 4096, 4096, graph_stream));
        CU(cu.cuMemFreeAsync(inside, graph_stream));
        memory_graph = captured();
}

void graphs_round(uint32_t round)
{
        CU(cu.cuGraphLaunch(plain_graph, graph_stream));
        CU(cu.cuMemsetD8Async(area + 16384, 0, 4096, graph_stream));
        CU(cu.cuGraphLaunch(memory_graph, graph_stream));
        WANT(all_are(area + 4096, 1024, round + 1, graph_stream));
        WANT(all_are(area + 8192, 1024, 7, graph_stream));
        WANT(all_are(area + 16384, 1024, 42, graph_stream));
}

void graphs_end(void)
{
        uint64_t used = 1;

        CU(cu.cuGraphExecDestroy(plain_graph));
        CU(cu.cuGraphExecDestroy(memory_graph));
        CU(cu.cuStreamSynchronize(graph_stream));
        CU(cu.cuDeviceGraphMemTrim(base.device));
        CU(cu.cuDeviceGetGraphMemAttribute(base.device, CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT, &used));
        WANT(used == 0);
        CU(cu.cuStreamDestroy(graph_stream));
}

/* --- graphs whose nodes are added by hand, and changed after they were instantiated --- */

static struct {
        CUstream stream;
        CUgraph graph, memory;
        CUgraphExec exec, memory_exec;
        CUgraphNode add, copy;
        uint32_t by, sum;   /* what the first node adds now, and has added */
        CUdeviceptr copied; /* where the second one copies to */
} nodes;

CUDA_KERNEL_NODE_PARAMS on_words(CUfunction f, void **parameters)
{
        return (CUDA_KERNEL_NODE_PARAMS){.func = f, .gridDimX = 4, .gridDimY = 1, .gridDimZ = 1, .blockDimX = 256, .blockDimY = 1, .blockDimZ = 1,
                                         .kernelParams = parameters};
}

static CUDA_MEMCPY3D line(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
        return (CUDA_MEMCPY3D){.srcMemoryType = CU_MEMORYTYPE_DEVICE, .srcDevice = from, .srcPitch = bytes, .srcHeight = 1,
                               .dstMemoryType = CU_MEMORYTYPE_DEVICE, .dstDevice = to, .dstPitch = bytes, .dstHeight = 1,
                               .WidthInBytes = bytes, .Height = 1, .Depth = 1};
}

static void first_node(void (*what)(const CUDA_KERNEL_NODE_PARAMS *), uint32_t by)
{
        uint64_t words = 1024;
        void *parameters[] = {&area, &words, &by};
        CUDA_KERNEL_NODE_PARAMS p = on_words(base.add, parameters);

        nodes.by = by;
        what(&p);
}

static void add_first(const CUDA_KERNEL_NODE_PARAMS *p)
{
        CU(cu.cuGraphAddKernelNode(&nodes.add, nodes.graph, NULL, 0, p));
}

static void change_first(const CUDA_KERNEL_NODE_PARAMS *p)
{
        CU(cu.cuGraphExecKernelNodeSetParams(nodes.exec, nodes.add, p));
}

static void memory_by_hand(void)
{
        CUDA_MEM_ALLOC_NODE_PARAMS wanted = {.poolProps = {.allocType = 1, .location = {CU_MEM_LOCATION_TYPE_DEVICE, base.device}}, .bytesize = MIB};
        CUgraphNode have, fill, copy, gone;
        uint64_t words = MIB / 4;
        uint32_t value = 42;
        void *parameters[] = {&wanted.dptr, &words, &value};
        CUDA_KERNEL_NODE_PARAMS p = on_words(base.fill, parameters);
        CUDA_MEMCPY3D out;

        CU(cu.cuGraphCreate(&nodes.memory, 0));
        CU(cu.cuGraphAddMemAllocNode(&have, nodes.memory, NULL, 0, &wanted));
        CU(cu.cuGraphAddKernelNode(&fill, nodes.memory, &have, 1, &p));
        out = line(area + 16384, wanted.dptr + MIB - 4096, 4096);
        CU(cu.cuGraphAddMemcpyNode(&copy, nodes.memory, &fill, 1, &out, base.context));
        CU(cu.cuGraphAddMemFreeNode(&gone, nodes.memory, &copy, 1, wanted.dptr));
        CU(cu.cuGraphInstantiateWithFlags(&nodes.memory_exec, nodes.memory, 0));
}

void nodes_begin(void)
{
        CUdeviceptr third = area + 8192;
        CUDA_MEMSET_NODE_PARAMS set = {.dst = third, .value = 5, .elementSize = 4, .width = 1024, .height = 1};
        CUDA_MEMCPY3D copy = line(area + 4096, area, 4096);
        CUgraphNodeParams any = {.type = CU_GRAPH_NODE_TYPE_KERNEL};
        uint64_t words = 1024;
        uint32_t two = 2;
        void *parameters[] = {&third, &words, &two};
        CUgraphNode filled, last;

        CU(cu.cuStreamCreate(&nodes.stream, CU_STREAM_NON_BLOCKING));
        CU(cu.cuMemsetD8(area, 0, AREA_WORDS * 4));
        CU(cu.cuGraphCreate(&nodes.graph, 0));
        first_node(add_first, 1);
        CU(cu.cuGraphAddMemcpyNode(&nodes.copy, nodes.graph, &nodes.add, 1, &copy, base.context));
        CU(cu.cuGraphAddMemsetNode(&filled, nodes.graph, NULL, 0, &set, base.context));
        any.kernel = on_words(base.add, parameters);
        CU(cu.cuGraphAddNode(&last, nodes.graph, &filled, NULL, 1, &any));
        CU(cu.cuGraphInstantiateWithFlags(&nodes.exec, nodes.graph, 0));
        nodes.copied = area + 4096;
        memory_by_hand();
}

/* What is changed for one launch is changed while memory may be away. */
void nodes_round(uint32_t round)
{
        CUgraphExecUpdateResultInfo info = {0};
        CUDA_MEMCPY3D copy;

        CU(cu.cuGraphLaunch(nodes.exec, nodes.stream));
        nodes.sum += nodes.by;
        CU(cu.cuMemsetD8Async(area + 16384, 0, 4096, nodes.stream));
        CU(cu.cuGraphLaunch(nodes.memory_exec, nodes.stream));
        WANT(all_are(area, 1024, nodes.sum, nodes.stream));
        WANT(all_are(nodes.copied, 1024, nodes.sum, nodes.stream));
        WANT(all_are(area + 8192, 1024, 7, nodes.stream));
        WANT(all_are(area + 16384, 1024, 42, nodes.stream));
        switch (round % 3) {
        case 0:
                first_node(change_first, 1 + round % 5);
                break;
        case 1:
                nodes.copied = area + 32768 + round % 4 * 4096;
                copy = line(nodes.copied, area, 4096);
                CU(cu.cuGraphExecMemcpyNodeSetParams(nodes.exec, nodes.copy, &copy, base.context));
                break;
        default: /* as the graph says */
                CU(cu.cuGraphExecUpdate(nodes.exec, nodes.graph, &info));
                WANT(info.result == 0);
                nodes.by = 1;
                nodes.copied = area + 4096;
                break;
        }
}

void nodes_end(void)
{
        CU(cu.cuStreamSynchronize(nodes.stream));
        CU(cu.cuGraphExecDestroy(nodes.exec));
        CU(cu.cuGraphExecDestroy(nodes.memory_exec));
        CU(cu.cuGraphDestroy(nodes.graph));
        CU(cu.cuGraphDestroy(nodes.memory));
        CU(cu.cuDeviceGraphMemTrim(base.device));
        CU(cu.cuStreamDestroy(nodes.stream));
}

/* --- streams that wait for values in memory --- */

enum { WAIT_EQUAL = 1 };
static CUstream waiting, writing;
static CUdeviceptr flag;

void values_begin(void)
{
        CU(cu.cuStreamCreate(&waiting, CU_STREAM_NON_BLOCKING));
        CU(cu.cuStreamCreate(&writing, CU_STREAM_NON_BLOCKING));
        CU(cu.cuMemsetD8(area, 0, AREA_WORDS * 4));
        flag = area + AREA_WORDS * 4 - 64;
        CU(cu.cuStreamSynchronize(NULL));
}

/* One stream waits for what the next call writes on the other: between the two the program may be asked to give way. */
void values_round(uint32_t round)
{
        CUstreamBatchMemOpParams both[2] = {
                {.value = {.operation = CU_STREAM_MEM_OP_WAIT_VALUE_32, .address = flag, .value = 2 * round + 1, .flags = WAIT_EQUAL}},
                {.value = {.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32, .address = flag + 8, .value = round}}};
        uint32_t seen = 0;

        CU(cu.cuStreamBatchMemOp(waiting, 2, both, 0));
        CU(cu_words(base.add, area, 1024, 1, waiting));
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL); /* so that most often it is here when it is asked to */
        CU(cu_words(base.add, area + 8192, 1024, 3, writing));
        CU(cu.cuStreamWriteValue32(writing, flag, 2 * round + 1, 0));
        CU(cu.cuStreamWaitValue32(writing, flag, 2 * round + 2, WAIT_EQUAL));
        CU(cu_words(base.add, area + 8192, 1024, 1, writing));
        CU(cu.cuStreamWriteValue32(waiting, flag, 2 * round + 2, 0)); /* after the other's word, by the wait before it */
        WANT(all_are(area, 1024, round + 1, waiting));
        WANT(all_are(area + 8192, 1024, 4 * (round + 1), writing));
        CU(cu.cuMemcpyDtoH(&seen, flag + 8, 4));
        WANT(seen == round);
}

void values_end(void)
{
        CU(cu.cuStreamDestroy(waiting));
        CU(cu.cuStreamDestroy(writing));
}
