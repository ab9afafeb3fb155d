/* rounds.c: a known number of system calls and of short sleeps, for the probes that count calls and waits for a processor.
 *
 *   rounds CALLS NAPS      prints its number, both, and how often it has left a processor until then
 *
 * Two runs that differ in CALLS alone make so many calls more, and no other.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
        const struct timespec nap = {.tv_nsec = 100000};
        long calls = argc == 3 ? strtol(argv[1], NULL, 10) : -1, naps = argc == 3 ? strtol(argv[2], NULL, 10) : -1;
        struct rusage usage;

        if (calls < 0 || naps < 0) {
                fputs("usage: rounds CALLS NAPS\n", stderr);
                return 2;
        }
        for (long i = 0; i < calls; i++)
                (void)syscall(SYS_getppid);
        for (long i = 0; i < naps; i++)
                (void)nanosleep(&nap, NULL);
        if (getrusage(RUSAGE_SELF, &usage) < 0)
                return 1;
        printf("{\"pid\": %d, \"calls\": %ld, \"naps\": %ld, \"switches\": %ld}\n", getpid(), calls, naps, usage.ru_nvcsw + usage.ru_nivcsw);
        return 0;
}
