/* launch-bench.c: what a kernel launch costs the caller.
 *
 * Many short bursts of launches of an empty kernel; the fastest burst counts. With --pairs and
 * BERTH_BARE=path-of-the-driver, bursts through the functions as this program found them (hooked, under Berth)
 * alternate with bursts that call the driver directly, in the same process, so both see the same machine in the same
 * state.
 */
#include "cu.h"

#include <string.h>

static double burst(const struct cu *c, CUfunction f, CUstream s, uint64_t launches)
{
        double begin = cu_seconds();

        for (uint64_t i = 0; i < launches; i++)
                if (c->cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, s, NULL, NULL) != CUDA_SUCCESS)
                        CU(CUDA_ERROR_LAUNCH_FAILED);
        return (cu_seconds() - begin) * 1e9 / (double)launches;
}

int main(int argc, char **argv)
{
        const char *bare_path = getenv("BERTH_BARE");
        double hooked = 1e18, bare = 1e18, t;
        uint64_t launches, bursts;
        struct cu_base base;
        struct cu direct;
        CUstream s;
        bool pairs;

        (void)argc;
        cu_known(argv, "--pairs --launches= --bursts=");
        launches = cu_number(argv, "--launches", 200);
        bursts = cu_number(argv, "--bursts", 2000);
        pairs = cu_flag(argv, "--pairs");
        if (launches == 0 || bursts == 0)
                return 64;
        cu_open(argv);
        cu_begin(&base);
        if (pairs && (!bare_path || !cu_open_path(bare_path, &direct))) {
                fprintf(stderr, "--pairs needs BERTH_BARE=path of the driver's libcuda.so.1\n");
                return 64;
        }
        CU(cu.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
        for (uint64_t i = 0; i < bursts; i++) {
                t = burst(&cu, base.nop, s, launches);
                hooked = t < hooked ? t : hooked;
                CU(cu.cuStreamSynchronize(s));
                if (!pairs)
                        continue;
                t = burst(&direct, base.nop, s, launches);
                bare = t < bare ? t : bare;
                CU(cu.cuStreamSynchronize(s));
        }
        if (pairs)
                printf("{\"name\":\"launch-bench\",\"unit\":\"ns\",\"hooked\":%.2f,\"bare\":%.2f,\"added\":%.2f,"
                       "\"launches\":%llu}\n",
                       hooked, bare, hooked - bare, (unsigned long long)(launches * bursts));
        else
                printf("{\"name\":\"launch-bench\",\"unit\":\"ns\",\"value\":%.2f,\"launches\":%llu}\n", hooked,
                       (unsigned long long)(launches * bursts));
        return 0;
}
