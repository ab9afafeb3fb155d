/* node-report.h: what a worker tells of its machine (docs/worker-protocol.md, "The node report"), checked and written anew. Pure: JSON in, text out. What is
 * written has every member, null where nothing was told, and nothing else: so a reader needs no checks of its own, and a stranger's members go no further.
 */
#pragma once

#include "service/report-read.h"

#define NODE_REPORT_BYTES (64u << 10)
#define NODE_REPORT_DEVICES 64
#define NODE_REPORT_CLIENTS 256
#define NODE_REPORT_WHY REPORT_WHY

/* 0 and text added; -EINVAL and why: what is wrong and where; -ENOMEM. */
must_check int node_report_read(const json_t *report, struct strbuf *text, char why[NODE_REPORT_WHY]);
