/* machine-report.h: what a worker tells of its machine when somebody looks (docs/worker-protocol.md, "Looks"), checked and written anew in two parts: what everybody
 * who may see the worker sees, and what only those see who may change it: processes, their users, their files. Pure: JSON in, text out, as node-report.h.
 */
#pragma once

#include "service/report-read.h"

#define MACHINE_REPORT_BYTES (128u << 10) /* of both parts */
#define MACHINE_REPORT_DEVICES 64
#define MACHINE_REPORT_SERIES 48
#define MACHINE_REPORT_POINTS 240
#define MACHINE_REPORT_PROCESSES 32
#define MACHINE_REPORT_FILES 8 /* of a process */
#define MACHINE_REPORT_WHY REPORT_WHY

/* Members without the braces around them: "host":…,"devices":…; and "processes":…. 0 and both added; -EINVAL and why: what is wrong and where; -ENOMEM. */
must_check int machine_report_read(const json_t *report, struct strbuf *figures, struct strbuf *processes, char why[MACHINE_REPORT_WHY]);
