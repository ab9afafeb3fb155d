/* odd-clock.c: libodd-clock.so, to be preloaded: clocks that jump. The file that BERTH_ODD_CLOCK names holds two numbers of 64 bits, in nanoseconds: what is added to the time of
 * day, and to the monotonic clock; they may change at any time.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))

static const volatile int64_t *added;

static __attribute__((constructor)) void begin(void)
{
        const char *path = getenv("BERTH_ODD_CLOCK");
        int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        void *page = fd < 0 ? MAP_FAILED : mmap(NULL, 16, PROT_READ, MAP_SHARED, fd, 0);

        if (fd >= 0)
                close(fd);
        added = page == MAP_FAILED ? NULL : page;
}

API int clock_gettime(clockid_t clock, struct timespec *t)
{
        int r = (int)syscall(SYS_clock_gettime, clock, t);
        int64_t add = !added ? 0 : clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE ? added[0] : clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE ? added[1] : 0;
        int64_t ns;

        if (r < 0 || !add)
                return r;
        ns = t->tv_sec * INT64_C(1000000000) + t->tv_nsec + add;
        t->tv_sec = ns / 1000000000;
        t->tv_nsec = ns % 1000000000;
        return 0;
}

API time_t time(time_t *ret)
{
        struct timespec t = {0};

        (void)clock_gettime(CLOCK_REALTIME, &t);
        if (ret)
                *ret = t.tv_sec;
        return t.tv_sec;
}
