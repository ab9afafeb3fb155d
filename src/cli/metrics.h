/* metrics.h: one look at everything as text for Prometheus: the exposition format 0.0.4, or OpenMetrics 1.0. Pure.
 *
 * What can't be measured has no line, never a zero, and a line of berth_unavailable says why. The number of lines is bounded: programs are told by name, job
 * and user, never by pid, METRICS_GROUPS groups of them at most, those with the most memory first; devices by the wire's bounds. Of what the
 * kernel's probes counted there are totals, and the METRICS_PROCESSES most active names of processes. Rates of programs and processes are gauges: a sum of
 * counters over those that come and go would jump at each end.
 */
#pragma once

#include "base/strbuf.h"
#include "cli/top-view.h"

#define METRICS_GROUPS 64
#define METRICS_PROCESSES 16

enum metrics_form { METRICS_PROMETHEUS, METRICS_OPEN };

void metrics_write(const struct top_world *w, bool up, enum metrics_form form, struct strbuf *b);
/* The Content-Type of the form. */
const char *metrics_type(enum metrics_form form);
