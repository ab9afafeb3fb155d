/* refuse.c: a client that never gives way: it holds memory and keeps the device busy without end, whatever it is asked.
 *
 * Prints "ready" once its memory is there and its first kernel runs. Only a signal ends it (or --seconds).
 */
#include "cu.h"

#include <string.h>

int main(int argc, char **argv)
{
        uint64_t memory, seconds, ns;
        struct cu_base base;
        CUdeviceptr at;
        CUstream s;
        double end;

        (void)argc;
        cu_known(argv, "--memory= --seconds= --kernel-ms=");
        memory = cu_size(argv, "--memory", UINT64_C(256) << 20);
        seconds = cu_number(argv, "--seconds", 0);
        ns = cu_number(argv, "--kernel-ms", 1000) * 1000000;
        cu_open(argv);
        cu_begin(&base);
        CU(cu.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
        CU(cu.cuMemAlloc(&at, memory));
        CU(cu_words(base.fill, at, memory / 4, 7, s));
        CU(cu_spin(base.spin, ns, s));
        puts("ready");
        fflush(stdout);
        end = cu_seconds() + (double)seconds;
        while (!seconds ||
               cu_seconds() <
                       end) /* the driver blocks when its queue is full: that is what keeps this from running away */
                CU(cu_spin(base.spin, ns, s));
        return 0;
}
