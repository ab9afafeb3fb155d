/* pools.c: a program that takes its memory in stream order from a pool that keeps everything, as PyTorch's cudaMallocAsync backend does.
 *
 * In every round it allocates pieces from the pool, fills and changes them, compares what is in them, and frees them again, all in the stream's order;
 * memory of cuMemAlloc is changed beside it; with --graph also by a graph that has memory of its own. --idle ms between the rounds. One line of JSON with what the pool kept at most; status 0: all right.
 */
#include "cu.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define PIECES 6

static uint64_t wrong, most_kept;
static struct cu_base base;

static void one_round(uint64_t bytes, uint32_t round, CUstream s)
{
        CUdeviceptr at[PIECES];

        for (uint32_t i = 0; i < PIECES; i++) {
                CU(cu.cuMemAllocAsync(&at[i], bytes / PIECES, s));
                CU(cu_words(base.fill, at[i], bytes / PIECES / 4, round * 7 + i, s));
                CU(cu_words(base.add, at[i], bytes / PIECES / 4, i, s));
        }
        for (uint32_t i = 0; i < PIECES; i++)
                wrong += cu_wrong(at[i], bytes / PIECES, round * 7 + 2 * i, s);
        for (uint32_t i = 0; i < PIECES; i++)
                CU(cu.cuMemFreeAsync(at[i], s));
        CU(cu.cuStreamSynchronize(s));
}

/* Memory that is the graph's own: allocated, changed, copied out and freed by every launch. */
static CUgraphExec make_graph(CUdeviceptr out, uint64_t bytes, CUstream s)
{
        CUgraphExec exec;
        CUgraph graph;
        CUdeviceptr at;

        CU(cu.cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
        CU(cu.cuMemAllocAsync(&at, bytes, s));
        CU(cu.cuMemcpyDtoDAsync(at, out, bytes, s));
        CU(cu_words(base.add, at, bytes / 4, 5, s));
        CU(cu.cuMemcpyDtoDAsync(out, at, bytes, s));
        CU(cu.cuMemFreeAsync(at, s));
        CU(cu.cuStreamEndCapture(s, &graph));
        CU(cu.cuGraphInstantiateWithFlags(&exec, graph, 0));
        CU(cu.cuGraphDestroy(graph));
        return exec;
}

static void look_at_pool(CUmemoryPool pool)
{
        uint64_t reserved = 0, used = 0;

        CU(cu.cuMemPoolGetAttribute(pool, 5, &reserved));
        CU(cu.cuMemPoolGetAttribute(pool, 7, &used));
        if (reserved - used > most_kept)
                most_kept = reserved - used;
}

int main(int argc, char **argv)
{
        uint64_t bytes, own, idle, threshold = UINT64_MAX;
        uint32_t round = 0, value = 3;
        CUgraphExec exec = NULL;
        CUmemoryPool pool;
        CUdeviceptr at, graphs;
        CUstream s;
        struct cu_course course;

        (void)argc;
        cu_known(argv, "--memory= --own= --idle= --graph " CU_COURSE);
        bytes = cu_size(argv, "--memory", 48 * MIB);
        own = cu_size(argv, "--own", 16 * MIB);
        idle = cu_number(argv, "--idle", 0);
        cu_open(argv);
        cu_begin(&base);
        CU(cu.cuDeviceGetDefaultMemPool(&pool, base.device));
        CU(cu.cuMemPoolSetAttribute(pool, 4, &threshold));
        CU(cu.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
        CU(cu.cuMemAlloc(&at, own));
        CU(cu_words(base.fill, at, own / 4, value, s));
        CU(cu.cuStreamSynchronize(s));
        CU(cu.cuMemAlloc(&graphs, own / 4));
        CU(cu.cuMemsetD32(graphs, 0, own / 16));
        if (cu_flag(argv, "--graph"))
                exec = make_graph(graphs, own / 4, s);
        for (cu_course_begin(&course, argv, 20); cu_course_goes_on(&course, round); round++) {
                struct timespec pause = {.tv_sec = (time_t)(idle / 1000), .tv_nsec = (long)(idle % 1000) * 1000000};

                one_round(bytes, round, s);
                look_at_pool(pool);
                CU(cu_words(base.step, at, own / 4, round, s));
                value = value * 1664525U + 1013904223U + round;
                if (exec)
                        CU(cu.cuGraphLaunch(exec, s));
                nanosleep(&pause, NULL);
        }
        wrong += cu_wrong(at, own, value, s);
        wrong += cu_wrong(graphs, own / 4, exec ? round * 5 : 0, s);
        if (exec)
                CU(cu.cuGraphExecDestroy(exec));
        printf("{\"name\":\"pools\",\"pid\":%d,\"ok\":%s,\"rounds\":%u,\"kept\":%llu,\"wrong_words\":%llu}\n", (int)getpid(), wrong ? "false" : "true",
               round, (unsigned long long)most_kept, (unsigned long long)wrong);
        return wrong ? 1 : 0;
}
