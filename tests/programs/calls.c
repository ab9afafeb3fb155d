/* calls.c: calls the driver a known number of times, when it is told to, for comparison with what probes counted. Until then it waits for its
 * context again and again, so that whoever counts sees when counting has begun; those calls are not in what it tells.
 *
 *   calls --go FILE --end FILE [--launches N]     begins when the one file is there, ends when the other is
 *
 * One line of JSON, after the calls. It has the driver mapped from its start, so that whoever looks for that finds it before the first call.
 */
#include "cu.h"

#include <string.h>
#include <unistd.h>

static void wait_for(char **argv, const char *option)
{
        const char *path = cu_option(argv, option);

        while (path && access(path, F_OK) < 0) {
                CU(cu.cuCtxSynchronize());
                usleep(5000);
        }
}

int main(int argc, char **argv)
{
        uint64_t launches, allocs = 37, copies = 11;
        struct cu_base base;
        CUdeviceptr at[64], other;
        char host[5000];
        CUgraphExec exec;
        CUgraph graph;
        CUstream s;

        (void)argc;
        cu_known(argv, "--go= --end= --launches=");
        launches = cu_number(argv, "--launches", 1234);
        cu_open(argv);
        cu_begin(&base);
        CU(cu.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
        CU(cu.cuMemAlloc(&other, sizeof host));
        CU(cu.cuStreamBeginCapture(s, 0));
        CU(cu.cuMemcpyDtoDAsync(other, other + 2500, 100, s));
        CU(cu.cuStreamEndCapture(s, &graph));
        CU(cu.cuGraphInstantiateWithFlags(&exec, graph, 0));
        memset(host, 1, sizeof host);
        wait_for(argv, "--go");
        for (uint64_t i = 0; i < launches; i++)
                CU(cu.cuLaunchKernel(base.nop, 1, 1, 1, 32, 1, 1, 0, s, NULL, NULL));
        for (uint64_t i = 0; i < allocs; i++)
                CU(cu.cuMemAlloc(&at[i], 1000 + i));
        for (uint64_t i = 0; i < copies; i++) {
                CU(cu.cuMemcpyHtoD(at[0], host, 500 + i));
                CU(cu.cuMemcpyDtoHAsync(host, at[0], 300 + i, s));
                CU(cu.cuMemcpyDtoD(other, other + 2500, 100 + i));
        }
        for (int i = 0; i < 5; i++)
                CU(cu.cuGraphLaunch(exec, s));
        CU(cu.cuStreamSynchronize(s));
        for (uint64_t i = 0; i < allocs; i++)
                CU(cu.cuMemFree(at[i]));
        printf("{\"launches\": %llu, \"graphs\": 5, \"frees\": %llu, \"allocs\": %llu, \"alloc_bytes\": %llu, "
               "\"copies_in\": %llu, \"in_bytes\": %llu, \"copies_out\": %llu, \"out_bytes\": %llu, \"copies_other\": %llu, \"other_bytes\": %llu}\n",
               (unsigned long long)launches, (unsigned long long)allocs, (unsigned long long)allocs,
               (unsigned long long)(allocs * 1000 + allocs * (allocs - 1) / 2), (unsigned long long)copies,
               (unsigned long long)(copies * 500 + copies * (copies - 1) / 2), (unsigned long long)copies,
               (unsigned long long)(copies * 300 + copies * (copies - 1) / 2), (unsigned long long)copies,
               (unsigned long long)(copies * 100 + copies * (copies - 1) / 2));
        fflush(stdout);
        wait_for(argv, "--end");
        return 0;
}
