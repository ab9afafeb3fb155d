/* cost.c: times two system calls, the least of many short batches: what disturbs a batch only ever adds; see cost.h. */
#include "bpf/cost.h"

#include "base/clock.h"
#include "base/fd.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BATCHES 40
#define CALLS 100

int cost_measure(struct cost *ret)
{
        scoped_fd int fd = memfd_create("berth-cost", MFD_CLOEXEC);
        struct cost c = {UINT64_MAX, UINT64_MAX};
        char byte = 0;

        if (fd < 0)
                return -errno;
        if (write(fd, &byte, 1) != 1)
                return -EIO;
        for (int i = 0; i < BATCHES; i++) {
                uint64_t began = clock_now_ns(), middle, end;

                for (int k = 0; k < CALLS; k++)
                        if (pread(fd, &byte, 1, 0) != 1)
                                return -EIO;
                middle = clock_now_ns();
                for (int k = 0; k < CALLS; k++)
                        (void)syscall(SYS_getppid);
                end = clock_now_ns();
                if ((middle - began) * 1000 / CALLS < c.file_call_ps)
                        c.file_call_ps = (middle - began) * 1000 / CALLS;
                if ((end - middle) * 1000 / CALLS < c.other_call_ps)
                        c.other_call_ps = (end - middle) * 1000 / CALLS;
        }
        *ret = c;
        return 0;
}
