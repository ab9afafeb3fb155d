/* syscalls.h: the family of probes on system calls: how many each process makes. It costs every call of every process something, so it is off unless the settings want it.
 * Needs CAP_BPF and CAP_PERFMON.
 *
 * What was attached ends with syscalls_free or with the process, however that ends.
 */
#pragma once

#include "base/scope.h"
#include "bpf/latency-map.h"
#include "bpf/probes.h"

struct syscalls;

/* Always answers: with no rung left *ret is NULL and family says why. uid: UINT32_MAX: rows for everybody's processes; the machine's sum is of all in any case. */
void syscalls_open(uint32_t forced, uint32_t refuse, uint32_t uid, struct probes_family *family, struct syscalls **ret);
void syscalls_free(struct syscalls *syscalls);
SCOPED_FN(struct syscalls *, syscalls_free)

/* One call or more for each process that called since the last reading, the first of them with uid and name; all calls of the machine since syscalls_open; fills in
 * what changes in family. 0 or -errno. */
must_check int syscalls_read(struct syscalls *syscalls, struct probes_family *family, uint64_t *ret_total,
                             void (*each)(void *data, const struct runner_key *key, const struct syscall_counts *counts), void *data);
