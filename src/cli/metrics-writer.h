/* metrics-writer.h: lines of metrics on their way to a text, for the files that make them (metrics.h is for all others). */
#pragma once

#include "cli/metrics.h"

#include "bpf/latency.h"

enum metric {
#define METRIC(id, name, type, help) METRIC_##id,
#include "cli/metrics.def"
#undef METRIC
        METRIC_N
};

/* Lines of one metric have to stand together, but come device by device: so each metric has its own text until the end. */
struct metric_writer {
        struct strbuf lines[METRIC_N];
};

/* Labels are pairs of name and value, ended by NULL; values are clean text. A negative value is none, and has no line. */
void metric_put(struct metric_writer *w, enum metric m, double value, ...) __attribute__((sentinel));

/* A histogram in seconds: a line for each bucket, then sum and count. */
void metric_put_latency(struct metric_writer *w, enum metric m, const struct latency *latency, ...) __attribute__((sentinel));

/* What the kernel's probes counted, or why nothing did. */
void metrics_probes(struct metric_writer *w, const struct top_world *world);
/* Of it, waits and system calls. */
void metrics_latency(struct metric_writer *w, const struct probes_snapshot *s);
