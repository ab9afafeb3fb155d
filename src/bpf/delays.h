/* delays.h: in the probes process, the three families that tell what waits and calls: block, sched and syscalls: opened and closed as the options say, read for each
 * snapshot.
 */
#pragma once

#include "bpf/remote.h"

struct delays;

must_check int delays_new(struct delays **ret);
void delays_free(struct delays *delays);

/* Opens and closes what differs between the options; before NULL: all is new. Families' states go into head. */
void delays_apply(struct delays *delays, const struct probes_options *before, const struct probes_options *options, struct probes_snapshot *head);
/* Reads what was counted: sums, families and the numbers of rows go into head. 0 or -errno. */
must_check int delays_read(struct delays *delays, struct probes_snapshot *head);
/* The rows of a snapshot that was made with that head. */
void delays_rows(struct delays *delays, struct probes_snapshot *snapshot);
