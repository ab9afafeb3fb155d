/* latency-view.h: waits for devices and processors, and system calls, as text for a terminal and as JSON. Pure. */
#pragma once

#include "base/strbuf.h"
#include "bpf/probes.h"

/* Between two snapshots of the same probes; before NULL: since they began. What can't be measured says so. Plain ASCII, at most 80 columns. */
void latency_view(const struct probes_snapshot *now, const struct probes_snapshot *before, struct strbuf *b);
/* A histogram: a line for each bucket from the first to the last that holds something, with a bar. */
void latency_bars(const struct latency *latency, struct strbuf *b);
/* "850 ns", "12.3 us", "1.25 ms", "3.2 s"; "unavailable" for what is negative. 16 bytes are enough. */
char *latency_time(double ns, char *buffer, size_t size);
