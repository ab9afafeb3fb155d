/* runners.h: processes by how long they waited for a processor and how many system calls they made, summed up in the probes process. Pure. Bounded: what falls out
 * of it stays in the machine's sums.
 */
#pragma once

#include "base/scope.h"
#include "bpf/latency-map.h"
#include "bpf/probes.h"

#define RUNNERS_KEPT 1024

struct runners;

must_check int runners_new(struct runners **ret);
void runners_free(struct runners *runners);
SCOPED_FN(struct runners *, runners_free)

/* A new window begins: what rows have as `now` is of the old one; those that were not seen for the longest go where there are more than RUNNERS_KEPT. */
void runners_turn(struct runners *runners);
/* Without memory for another row it is in no row. */
void runners_waited(struct runners *runners, const struct runner_key *key, const struct sched_counts *counts);
/* counts->uid UINT32_MAX: more of one whose name and user were told before. */
void runners_called(struct runners *runners, const struct runner_key *key, const struct syscall_counts *counts);

uint32_t runners_count(const struct runners *runners);
/* At most `room` rows: a half those that waited longest, now and then ever; then those with the most calls. How many. */
uint32_t runners_rows(struct runners *runners, struct probes_runner *rows, uint32_t room);
