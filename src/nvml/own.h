/* own.h: which processes are the program's own.
 *
 * A process is our own when it is this one; when it descends from the process that `berth run` became, which BERTH_RUN names as "PID START"
 * (its number and its start time in clock ticks since boot, so that a reused number is not taken for it); or when it was started with
 * the same BERTH_RUN, though its parents are gone. Who has no BERTH_RUN owns itself and its descendants. Looks into /proc, bounded: 64
 * generations, 1 MiB of environment.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

bool own_process(pid_t pid);

/* The same for a BERTH_RUN given, for tests; NULL: none. */
bool own_process_of(const char *run, pid_t pid);
