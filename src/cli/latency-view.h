/* latency-view.h: waits for devices and processors, and system calls, as text for a terminal and as JSON. Pure. */
#pragma once

#include "base/strbuf.h"
#include "bpf/probes.h"
#include "machine/machine.h"

/* Between two snapshots of the same probes; before NULL: since they began. What can't be measured says so. Plain ASCII, 80 columns but for long names. */
void latency_view(const struct probes_snapshot *now, const struct probes_snapshot *before, struct strbuf *b);
/* The share of time in which tasks stood still for lack of processors, memory or devices, as the kernel tells it (PSI). */
void latency_pressure(const struct machine_look *look, struct strbuf *b);
/* A histogram: a line for each bucket from the first to the last that holds something, with a bar. */
void latency_bars(const struct latency *latency, struct strbuf *b);
/* "850 ns", "12.3 us", "1.25 ms", "3.2 s"; "unavailable" for what is negative. 16 bytes are enough. */
char *latency_time(double ns, char *buffer, size_t size);
