/* probes-client.h: what the kernel's probes counted, as the daemon tells it. */
#pragma once

#include "bpf/probes.h"
#include "cli/connection.h"

#include <jansson.h>

/* Asks for the last snapshot; unmap it (probes_unmap). -EAGAIN: the question has just made the daemon start its probes, so ask again a second later; -E_UNAVAILABLE:
 * there is none and will be none; message says why. */
must_check int probes_fetch(struct connection *c, const struct probes_snapshot **ret, char message[CLI_MESSAGE]);
/* The same for other families than files and gpu: bits 1 << family. */
must_check int probes_fetch_families(struct connection *c, uint32_t families, const struct probes_snapshot **ret, char message[CLI_MESSAGE]);
/* The same, and while it is -EAGAIN again and again, for at most patience_ns. */
must_check int probes_fetch_within(struct connection *c, uint32_t families, uint64_t patience_ns, const struct probes_snapshot **ret, char message[CLI_MESSAGE]);

/* Names in it are escaped. NULL: out of memory. */
json_t *probes_json(const struct probes_snapshot *snapshot);
/* The same in short: families, totals, and the `most` processes that did most, each with its files. Of each what the last window held and what the totals hold. */
json_t *probes_active_json(const struct probes_snapshot *snapshot, size_t most);
/* Of it what tells of latencies: block devices, waits for processors, system calls, and at most so many processes. */
json_t *probes_latency_json(const struct probes_snapshot *snapshot, uint32_t most);
/* One family: its state, rung, what was refused, what it can't see, what it costs. */
json_t *probes_family_json(const struct probes_snapshot *snapshot, uint32_t family);
