/* launch-bench.c: what a kernel launch costs the caller.
 *
 * Many short bursts of launches of an empty kernel, or with --graph N of a graph of N of them, run to their end; the fastest burst counts, and the
 * median is told. With --pairs and
 * BERTH_BARE=path-of-the-driver, bursts through the functions as this program found them (hooked, under Berth)
 * alternate with bursts that call the driver directly, in the same process, so both see the same machine in the same
 * state. With --told it does all that anew for each line of its input.
 */
#include "cu.h"

#include <string.h>

static CUgraphExec graph; /* NULL: kernels */

static double burst(const struct cu *c, CUfunction f, CUstream s, uint64_t launches)
{
        double begin = cu_seconds();

        for (uint64_t i = 0; i < launches; i++)
                if ((graph ? c->cuGraphLaunch(graph, s) : c->cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, s, NULL, NULL)) != CUDA_SUCCESS)
                        CU(CUDA_ERROR_LAUNCH_FAILED);
        if (graph)
                CU(c->cuStreamSynchronize(s));
        return (cu_seconds() - begin) * 1e9 / (double)launches;
}

static void capture(CUfunction f, CUstream s, uint64_t kernels)
{
        CUgraph captured;

        CU(cu.cuStreamBeginCapture(s, 0));
        for (uint64_t i = 0; i < kernels; i++)
                CU(cu.cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, s, NULL, NULL));
        CU(cu.cuStreamEndCapture(s, &captured));
        CU(cu.cuGraphInstantiateWithFlags(&graph, captured, 0));
        CU(cu.cuGraphLaunch(graph, s));
        CU(cu.cuStreamSynchronize(s));
}

static int ascending(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

static double median(double *all, uint64_t n)
{
        qsort(all, n, sizeof *all, ascending);
        return all[n / 2];
}

/* All bursts, and what they took. */
static void measure(const struct cu *direct, CUfunction f, CUstream s, uint64_t launches, uint64_t bursts, double *hooked_all, double *bare_all)
{
        double hooked = 1e18, bare = 1e18;

        for (uint64_t i = 0; i < bursts; i++) {
                double t = hooked_all[i] = burst(&cu, f, s, launches);

                hooked = t < hooked ? t : hooked;
                CU(cu.cuStreamSynchronize(s));
                if (!direct)
                        continue;
                t = bare_all[i] = burst(direct, f, s, launches);
                bare = t < bare ? t : bare;
                CU(cu.cuStreamSynchronize(s));
        }
        if (direct)
                printf("{\"name\":\"launch-bench\",\"unit\":\"ns\",\"hooked\":%.2f,\"bare\":%.2f,\"added\":%.2f,"
                       "\"hooked_median\":%.2f,\"bare_median\":%.2f,\"launches\":%llu}\n",
                       hooked, bare, hooked - bare, median(hooked_all, bursts), median(bare_all, bursts), (unsigned long long)(launches * bursts));
        else
                printf("{\"name\":\"launch-bench\",\"unit\":\"ns\",\"value\":%.2f,\"median\":%.2f,\"launches\":%llu}\n", hooked,
                       median(hooked_all, bursts), (unsigned long long)(launches * bursts));
        fflush(stdout);
}

int main(int argc, char **argv)
{
        const char *bare_path = getenv("BERTH_BARE");
        double *hooked_all, *bare_all;
        uint64_t launches, bursts, kernels;
        struct cu_base base;
        struct cu direct;
        CUstream s;
        bool pairs, told;
        char line[64];

        (void)argc;
        cu_known(argv, "--pairs --told --launches= --bursts= --graph=");
        kernels = cu_number(argv, "--graph", 0);
        launches = cu_number(argv, "--launches", kernels ? 20 : 200);
        bursts = cu_number(argv, "--bursts", kernels ? 500 : 2000);
        pairs = cu_flag(argv, "--pairs");
        told = cu_flag(argv, "--told");
        if (launches == 0 || bursts == 0 || bursts > 1000000)
                return 64;
        hooked_all = calloc(bursts, sizeof *hooked_all);
        bare_all = calloc(bursts, sizeof *bare_all);
        if (!hooked_all || !bare_all)
                return 2;
        cu_open(argv);
        cu_begin(&base);
        if (pairs && (!bare_path || !cu_open_path(bare_path, &direct))) {
                fprintf(stderr, "--pairs needs BERTH_BARE=path of the driver's libcuda.so.1\n");
                return 64;
        }
        CU(cu.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
        if (kernels)
                capture(base.nop, s, kernels);
        do
                measure(pairs ? &direct : NULL, base.nop, s, launches, bursts, hooked_all, bare_all);
        while (told && fgets(line, sizeof line, stdin));
        free(hooked_all);
        free(bare_all);
        return 0;
}
