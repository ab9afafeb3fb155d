/* runqueue.h: the family of probes on the scheduler: how long threads that could run wait for a processor. Needs CAP_BPF and CAP_PERFMON.
 *
 * What was attached ends with sched_free or with the process, however that ends.
 */
#pragma once

#include "base/scope.h"
#include "bpf/latency-map.h"
#include "bpf/probes.h"

struct sched;

/* Always answers: with no rung left *ret is NULL and family says why. uid: UINT32_MAX: rows for everybody's processes; the machine's sums are of all in any case. */
void sched_open(uint32_t forced, uint32_t refuse, uint32_t uid, struct probes_family *family, struct sched **ret);
void sched_free(struct sched *sched);
SCOPED_FN(struct sched *, sched_free)

/* One call for each process that waited since the last reading, and all waits of the machine since sched_open; fills in what changes in family. 0 or -errno. */
must_check int sched_read(struct sched *sched, struct probes_family *family, struct latency *ret_total,
                          void (*each)(void *data, const struct runner_key *key, const struct sched_counts *counts), void *data);
