/* test-fake-capture.c: stream capture on the software device, above all its errors. */
#include "test-fake.h"

#include <pthread.h>

static CUstream s, t, blocking;
static CUdeviceptr a;
static CUgraph graph;
static CUevent e, f;

static void start(void)
{
        begin();
        OK(cuMemAlloc_v2(&a, 4096));
        OK(cuMemsetD32_v2(a, 0, 1024));
        OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
        OK(cuStreamCreate(&t, CU_STREAM_NON_BLOCKING));
        OK(cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
        OK(cuEventCreate(&e, CU_EVENT_DISABLE_TIMING));
        OK(cuEventCreate(&f, CU_EVENT_DISABLE_TIMING));
}

/* The capture on the stream is lost, and its end says so. */
static void lost(CUstream stream)
{
        EXPECT(words(add, a, 1, 1, stream), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        EXPECT(cuStreamEndCapture(stream, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        CHECK(graph == NULL);
}

static void graphs(void)
{
        struct {
                int result;
                void *node, *from;
        } info;
        CUgraphExec exec;
        CUgraph other;
        size_t nodes = 0;

        start();
        OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
        OK(words(add, a, 1024, 5, s));
        OK(cuMemsetD32Async(a + 4, 7, 1, s));
        OK(cuStreamEndCapture(s, &graph));
        OK(cuGraphGetNodes(graph, NULL, &nodes));
        CHECK(nodes == 2 && word_at(a) == 0); /* nothing ran */
        OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
        OK(cuGraphDestroy(graph));
        OK(cuGraphLaunch(exec, s));
        OK(cuGraphLaunch(exec, s));
        OK(cuStreamSynchronize(s));
        CHECK(word_at(a) == 10 && word_at(a + 4) == 7 && word_at(a + 8) == 10);
        OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
        OK(words(add, a, 1024, 100, s));
        OK(cuMemsetD32Async(a + 4, 8, 1, s));
        OK(cuStreamEndCapture(s, &other));
        OK(cuGraphExecUpdate_v2(exec, other, &info));
        OK(cuGraphLaunch(exec, s));
        OK(cuGraphExecDestroy(exec)); /* while it may still run */
        OK(cuStreamSynchronize(s));
        CHECK(word_at(a) == 110 && word_at(a + 4) == 8);
        EXPECT(cuGraphLaunch(exec, s), CUDA_ERROR_INVALID_VALUE);
        OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
        OK(cuStreamEndCapture(s, &graph)); /* empty */
        OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
        EXPECT(cuGraphExecUpdate_v2(exec, other, &info), 910);
        OK(cuGraphLaunch(exec, NULL));
        OK(cuCtxSynchronize());
}

static void forbidden(void)
{
        CUdeviceptr b;
        int status;

        start();
        EXPECT(cuStreamBeginCapture_v2(NULL, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        EXPECT(cuStreamEndCapture(s, &graph), CUDA_ERROR_ILLEGAL_STATE);
        OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
        OK(cuStreamIsCapturing(s, &status));
        CHECK(status == CU_STREAM_CAPTURE_STATUS_ACTIVE);
        EXPECT(cuMemAlloc_v2(&b, 4), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        OK(cuStreamIsCapturing(s, &status));
        CHECK(status == CU_STREAM_CAPTURE_STATUS_INVALIDATED);
        lost(s);
        OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_RELAXED));
        EXPECT(cuCtxSynchronize(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        lost(s);
        OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_RELAXED));
        EXPECT(cuStreamSynchronize(s), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        lost(s);
        OK(cuEventRecord(e, t));
        OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
        EXPECT(cuEventQuery(e), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        lost(s);
        OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_RELAXED));
        OK(cuMemAlloc_v2(&b, 4)); /* relaxed: as one likes */
        OK(cuEventQuery(e));
        OK(words(add, a, 1, 1, NULL)); /* the legacy stream does not wait for a non-blocking one */
        OK(cuStreamEndCapture(s, &graph));
        CHECK(graph);
        OK(cuStreamBeginCapture_v2(blocking, CU_STREAM_CAPTURE_MODE_RELAXED));
        EXPECT(words(add, a, 1, 1, NULL), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
        lost(blocking);
        OK(cuStreamBeginCapture_v2(blocking, CU_STREAM_CAPTURE_MODE_RELAXED));
        EXPECT(cuMemcpyHtoD_v2(a, &status, 4), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
        lost(blocking);
        OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
        OK(cuMemcpyHtoD_v2(a, &status, 4));
        EXPECT(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_ERROR_ILLEGAL_STATE);
        OK(cuStreamEndCapture(s, &graph)); /* neither has harmed it */
        OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
        EXPECT(cuStreamQuery(t), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED); /* another stream's, too */
        lost(s);
        OK(words(add, a, 1, 1, NULL)); /* all is as before */
        OK(cuCtxSynchronize());
}

static void branches(void)
{
        CUgraphExec exec;

        start();
        OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
        OK(cuEventRecord(e, s));
        OK(cuStreamWaitEvent(t, e, 0)); /* t takes part */
        OK(words(add, a, 1, 3, t));
        OK(cuEventRecord(f, t));
        OK(cuStreamWaitEvent(s, f, 0));
        OK(words(step, a, 1, 0, s));
        EXPECT(cuStreamEndCapture(t, &graph), 903); /* not where it began */
        EXPECT(cuStreamEndCapture(s, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
        OK(cuEventRecord(e, s));
        OK(cuStreamWaitEvent(t, e, 0));
        OK(words(add, a, 1, 3, t));
        OK(cuEventRecord(f, t));
        OK(cuStreamWaitEvent(s, f, 0));
        OK(words(step, a, 1, 0, s));
        OK(cuStreamEndCapture(s, &graph));
        OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
        OK(cuGraphLaunch(exec, s));
        OK(cuStreamSynchronize(s));
        CHECK(word_at(a) == 3U * 1664525U + 1013904223U);
        OK(words(add, a, 1, 1, t)); /* t is free again */
        OK(cuStreamSynchronize(t));
        OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
        OK(cuEventRecord(e, s));
        OK(cuStreamWaitEvent(t, e, 0));
        OK(words(add, a, 1, 3, t)); /* and nobody waits for it */
        EXPECT(cuStreamEndCapture(s, &graph), 904);
        OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
        OK(cuEventRecord(e, s));
        EXPECT(cuEventSynchronize(e), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        lost(s);
        OK(cuEventRecord(f, t));
        OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
        EXPECT(cuStreamWaitEvent(s, f, 0), 905); /* something from outside */
        lost(s);
}

/* Memory allocated in a capture is the graph's: there for every launch, gone with the last instance. */
static void own_memory(void)
{
        size_t before, between, after, total;
        CUgraphExec exec;
        CUdeviceptr b;

        start();
        OK(cuMemGetInfo_v2(&before, &total));
        OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
        OK(cuMemAllocAsync(&b, 4 * MIB, s));
        OK(cuMemsetD32Async(b, 6, 1, s));
        OK(words(add, b, 1, 1, s));
        OK(cuMemcpyDtoDAsync_v2(a, b, 4, s));
        OK(cuMemFreeAsync(b, s));
        OK(cuStreamEndCapture(s, &graph));
        OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
        OK(cuGraphDestroy(graph));
        OK(cuGraphLaunch(exec, s));
        OK(cuGraphLaunch(exec, s));
        OK(cuStreamSynchronize(s));
        CHECK(word_at(a) == 7);
        OK(cuMemGetInfo_v2(&between, &total));
        CHECK(between == before - 4 * MIB);
        OK(cuGraphExecDestroy(exec));
        OK(cuMemGetInfo_v2(&after, &total));
        CHECK(after == before);
}

static CUgraphNode node_of(CUgraph g, CUfunction function, uint32_t value)
{
        uint64_t words = 1;
        void *parameters[] = {&a, &words, &value};
        CUgraphNodeParams p = {.type = CU_GRAPH_NODE_TYPE_KERNEL,
                               .kernel = {.func = function, .gridDimX = 1, .gridDimY = 1, .gridDimZ = 1, .blockDimX = 1, .blockDimY = 1, .blockDimZ = 1,
                                          .kernelParams = parameters}};
        CUgraphNode node;

        OK(cuGraphAddNode(&node, g, NULL, 0, &p));
        return node;
}

/* Nodes run in the order that edges say; those that depend on each other make no instance; one graph's are none of another's. */
static void edges(void)
{
        CUgraphEdgeData odd = {.reserved = {1}}, early = {.type = CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC, .from_port = 1};
        CUgraphNode first, second, third, other, from[4], to[4];
        CUgraphEdgeData data[4];
        CUgraphExec exec;
        CUgraph more, g;
        size_t n = 4;

        start();
        OK(cuGraphCreate(&g, 0));
        OK(cuGraphCreate(&more, 0));
        second = node_of(g, add, 2);
        first = node_of(g, fill, 5);
        third = node_of(g, add, 1);
        other = node_of(more, add, 1);
        OK(cuGraphAddDependencies_v2(g, &first, &second, &early, 1));
        EXPECT(cuGraphAddDependencies_v2(g, &first, &second, NULL, 1), CUDA_ERROR_INVALID_VALUE); /* there already */
        EXPECT(cuGraphAddDependencies_v2(g, &first, &third, &odd, 1), CUDA_ERROR_INVALID_VALUE);
        EXPECT(cuGraphAddDependencies_v2(g, &first, &other, NULL, 1), CUDA_ERROR_INVALID_VALUE);
        EXPECT(cuGraphAddDependencies_v2(g, &first, &first, NULL, 1), CUDA_ERROR_INVALID_VALUE);
        EXPECT(cuGraphRemoveDependencies(g, &second, &third, 1), CUDA_ERROR_INVALID_VALUE);
        OK(cuGraphAddDependencies(g, &second, &third, 1));
        OK(cuGraphGetEdges_v2(g, from, to, data, &n));
        CHECK(n == 2 && from[0] == first && to[0] == second && data[0].type == early.type && to[1] == third && !data[1].type);
        OK(cuGraphAddDependencies(g, &third, &first, 1));
        CHECK(cuGraphInstantiateWithFlags(&exec, g, 0) != CUDA_SUCCESS);
        OK(cuGraphRemoveDependencies_v2(g, &third, &first, NULL, 1));
        OK(cuGraphInstantiateWithFlags(&exec, g, 0));
        OK(cuGraphLaunch(exec, s));
        OK(cuStreamSynchronize(s));
        CHECK(word_at(a) == 8);
        EXPECT(cuStreamUpdateCaptureDependencies_v2(s, &first, NULL, 1, 0), CUDA_ERROR_ILLEGAL_STATE);
        EXPECT(cuStreamBeginCaptureToGraph(s, g, &other, NULL, 1, CU_STREAM_CAPTURE_MODE_RELAXED), CUDA_ERROR_INVALID_VALUE);
        OK(cuStreamBeginCaptureToGraph(s, g, &third, NULL, 1, CU_STREAM_CAPTURE_MODE_RELAXED));
        EXPECT(cuStreamUpdateCaptureDependencies_v2(s, &other, NULL, 1, 0), CUDA_ERROR_INVALID_VALUE);
        OK(words(add, a, 1, 4, s));
        OK(cuStreamEndCapture(s, &graph));
        CHECK(graph == g);
        OK(cuGraphInstantiateWithFlags(&exec, g, 0));
        OK(cuGraphLaunch(exec, s));
        OK(cuStreamSynchronize(s));
        CHECK(word_at(a) == 12);
}

/* The body that the handle's value chooses; what could never end is refused. */
static void conditions(void)
{
        CUgraphNodeParams p = {.type = CU_GRAPH_NODE_TYPE_CONDITIONAL, .conditional = {.type = CU_GRAPH_COND_TYPE_SWITCH, .size = 3, .ctx = context}};
        CUgraphConditionalHandle handle;
        CUgraphExec exec;
        CUgraphNode node;
        CUgraph g, other;

        start();
        OK(cuMemsetD32_v2(a, 0, 1));
        OK(cuGraphCreate(&g, 0));
        OK(cuGraphCreate(&other, 0));
        OK(cuGraphConditionalHandleCreate(&handle, g, context, 2, CU_GRAPH_COND_ASSIGN_DEFAULT));
        EXPECT(cuGraphAddNode_v2(&node, g, NULL, NULL, 0, &p), CUDA_ERROR_INVALID_VALUE); /* no such handle */
        p.conditional.handle = handle;
        EXPECT(cuGraphAddNode_v2(&node, other, NULL, NULL, 0, &p), CUDA_ERROR_INVALID_VALUE);
        OK(cuGraphAddNode_v2(&node, g, NULL, NULL, 0, &p));
        for (uint32_t i = 0; i < 3; i++)
                (void)node_of(p.conditional.phGraph_out[i], add, 1u << i);
        p.conditional.type = CU_GRAPH_COND_TYPE_WHILE;
        p.conditional.size = 1;
        EXPECT(cuGraphAddNode_v2(&node, g, NULL, NULL, 0, &p), CUDA_ERROR_NOT_SUPPORTED);
        OK(cuGraphInstantiateWithFlags(&exec, g, 0));
        OK(cuGraphDestroy(g));
        OK(cuGraphLaunch(exec, s));
        OK(cuGraphLaunch(exec, s));
        OK(cuStreamSynchronize(s));
        CHECK(word_at(a) == 8);
        OK(cuGraphExecDestroy(exec));
}

static void *relaxed_thread(void *argument)
{
        int mode = CU_STREAM_CAPTURE_MODE_RELAXED;
        CUdeviceptr b;

        (void)argument;
        OK(cuCtxSetCurrent(context));
        OK(cuThreadExchangeStreamCaptureMode(&mode));
        CHECK(mode == CU_STREAM_CAPTURE_MODE_GLOBAL);
        OK(cuMemAlloc_v2(&b, 4));
        EXPECT(cuStreamEndCapture(s, &graph), 908); /* begun elsewhere */
        return NULL;
}

static void *careless_thread(void *argument)
{
        CUdeviceptr b;

        (void)argument;
        OK(cuCtxSetCurrent(context));
        EXPECT(cuMemAlloc_v2(&b, 4), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        return NULL;
}

static void *local_thread(void *argument)
{
        CUdeviceptr b;

        (void)argument;
        OK(cuCtxSetCurrent(context));
        OK(cuMemAlloc_v2(&b, 4)); /* a thread-local capture of another thread is no concern */
        return NULL;
}

static void run(void *(*body)(void *))
{
        pthread_t thread;

        CHECK(pthread_create(&thread, NULL, body, NULL) == 0);
        pthread_join(thread, NULL);
}

static void thread_modes(void)
{
        start();
        OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
        run(relaxed_thread);
        OK(words(add, a, 1, 1, s));
        run(careless_thread);
        lost(s);
        OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
        run(local_thread);
        OK(words(add, a, 1, 1, s));
        OK(cuStreamEndCapture(s, &graph));
        CHECK(graph);
}

const struct test_case capture_cases[] = {
        {"graphs", graphs, NULL},         {"forbidden", forbidden, NULL},       {"branches", branches, NULL},
        {"own-memory", own_memory, NULL}, {"thread-modes", thread_modes, NULL}, {"edges", edges, NULL},
        {"conditions", conditions, NULL}, {NULL, NULL, NULL},
};
