/* main.c: crowd-bench: what very many workers or subscribers cost a pool, as a line of JSON; see crowd.h. */
#include "bench/crowd/crowd.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

_Noreturn void fail(const char *format, ...)
{
        va_list args;

        va_start(args, format);
        fputs("crowd-bench: ", stderr);
        vfprintf(stderr, format, args);
        fputc('\n', stderr);
        va_end(args);
        _exit(1);
}

uint64_t now_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return x < y ? -1 : x > y;
}

uint64_t quantile(uint64_t *values, size_t count, double share)
{
        size_t at = (size_t)(share * (double)count);

        if (!count)
                return 0;
        qsort(values, count, sizeof *values, compare);
        return values[at < count ? at : count - 1];
}

static void many_descriptors(size_t wanted)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                fail("no limit of descriptors");
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        if (limit.rlim_cur < wanted)
                fail("%zu descriptors are needed, the system allows %llu", wanted, (unsigned long long)limit.rlim_cur);
}

int main(int argc, char **argv)
{
        struct crowd crowd = {.address = argc > 2 ? argv[2] : NULL};
        bool workers = argc == 8 && !strcmp(argv[1], "workers"), subscribers = argc == 10 && !strcmp(argv[1], "subscribers");

        if (workers || subscribers) {
                crowd.tls = !strncmp(crowd.address, "tls:", 4);
                crowd.address += crowd.tls ? 4 : 0;
                crowd.pid = atoi(argv[3]);
                crowd.count = strtoul(argv[6], NULL, 10);
        }
        if (!crowd.count || crowd.pid <= 0) {
                fputs("usage: crowd-bench workers [tls:]ADDRESS:PORT PID-OF-POOL ADMIN-KEY WORKER-KEY COUNT SECONDS\n"
                      "       crowd-bench subscribers [tls:]ADDRESS:PORT PID-OF-POOL IDLE-KEY BUSY-KEY COUNT BUSY EVENTS-PER-SECOND SECONDS\n", stderr);
                return 2;
        }
        many_descriptors(crowd.count + 64);
        crowd.lines = calloc(crowd.count, sizeof *crowd.lines);
        if (!crowd.lines)
                fail("out of memory");
        if (workers)
                crowd_of_workers(&crowd, argv[4], argv[5], (unsigned)atoi(argv[7]));
        else
                crowd_of_subscribers(&crowd, argv[4], argv[5], strtoul(argv[7], NULL, 10), (unsigned)atoi(argv[8]), (unsigned)atoi(argv[9]));
        return 0;
}
