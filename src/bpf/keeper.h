/* keeper.h: the process that starts the probes process, and the only one of berthd's that keeps what loading probes takes.
 *
 * It is forked when berthd begins, before berthd gives up CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH for good, and does nothing but start
 * one program, whose path it was given then, and end it: so a daemon that was taken over can start probes, but not load a program of its own. At most one probes
 * process at a time; both end with the daemon, however that ends.
 */
#pragma once

#include "base/scope.h"

#include <stdint.h>

/* Capabilities that the probes process is given, as bits; 1 << CAP_…. */
uint64_t keeper_capabilities(void);
/* Starts the keeper: *ret_fd is its socket, and its end is the keeper's. program: NULL: berth-probes beside this program, as installed or as built. Before there are threads.
 * 0, -ENOENT: there is no such program, or -errno. */
must_check int keeper_start(const char *program, int *ret_fd);

/* For remote.c. Never block. Starts the program with theirs (which stays the caller's) as its socket, once the one before has ended; when that can't be done, theirs is closed. 0 or -errno. */
must_check int keeper_spawn(int keeper, int theirs);
/* Ends the program, if one runs. */
must_check int keeper_end(int keeper);
