/* climb.h: what families on tracepoints share: typed programs first, then those with a probe read for each field; and whether the kernel's tracepoint is the one that
 * the programs were written for.
 */
#pragma once

#include "bpf/ladder.h"
#include "bpf/latency-map.h"

/* Tries PROBES_TP_BTF, then PROBES_RAW_TP, until try() gives 0; text is for what it has to say else. family gets state, rung and refusals. Whether one took. */
bool climb(struct probes_family *family, uint32_t forced, uint32_t refuse, int (*try)(void *data, uint32_t rung, char text[120]), void *data);

struct bpf_program;
/* Runs of a program that the kernel left out, because an interrupt came while the same one ran on that processor. */
uint64_t climb_missed(const struct bpf_program *program);

/* One processor's to the sum of all; and the sum as the family tells it: hits, hooked, full, cost. */
void climb_add(struct probe_totals *to, const struct probe_totals *one);
void climb_told(const struct probe_totals *totals, struct probes_family *family);

struct climb_point {
        const char *name;
        uint32_t least, most; /* arguments that the programs can read it with */
};
/* Whether the kernel has all of these so: 0, or -errno with text. */
must_check int climb_check(const struct climb_point *points, size_t count, char text[120]);
