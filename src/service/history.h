/* history.h: what the pool keeps of its past, by name: the series of GET /api/v1/history. How values are kept: base/history.h (10 minutes by the second,
 * 3 hours by 10 s, 7 days by 5 min). Counters are told by how much more there is and kept as so many a second; levels as they are.
 */
#pragma once

#include "base/scope.h"

#include <stddef.h>
#include <stdint.h>

/* COUNTER(symbol, name, text), LEVEL(symbol, name, text): every series, once. */
#define HISTORY_SERIES(COUNTER, LEVEL)                                                            \
        COUNTER(TASKS_SUBMITTED, "tasks.submitted", "tasks taken, a second")                      \
        COUNTER(TASKS_STARTED, "tasks.started", "leases given, a second")                         \
        COUNTER(TASKS_DONE, "tasks.done", "tasks done, a second")                                 \
        COUNTER(TASKS_FAILED, "tasks.failed", "tasks that failed or expired, a second")           \
        COUNTER(REQUESTS, "requests", "requests to models, a second")                             \
        COUNTER(REQUESTS_FAILED, "requests.failed", "of them, not answered well, a second")       \
        COUNTER(TOKENS_IN, "tokens.in", "tokens read by models, a second")                        \
        COUNTER(TOKENS_OUT, "tokens.out", "tokens written by models, a second")                   \
        LEVEL(TASKS_RUNNING, "tasks.running", "tasks that run")                                   \
        LEVEL(TASKS_QUEUED, "tasks.queued", "tasks that wait for a worker")                       \
        LEVEL(REQUESTS_RUNNING, "requests.running", "requests that engines work on")              \
        LEVEL(REQUESTS_QUEUED, "requests.queued", "requests that wait for an engine")             \
        LEVEL(WORKERS_ACTIVE, "workers.active", "workers that take work")                         \
        LEVEL(WORKERS_SUSPECT, "workers.suspect", "workers that were not heard of for a while")   \
        LEVEL(WORKERS_DRAINING, "workers.draining", "workers that finish what they have")         \
        LEVEL(WORKERS_AWAY, "workers.away", "workers that are known and not here")                \
        LEVEL(SLOTS_READY, "slots.ready", "free slots of all workers")

enum history_series {
#define HISTORY_ENUM(symbol, name, text) HISTORY_##symbol,
        HISTORY_SERIES(HISTORY_ENUM, HISTORY_ENUM)
#undef HISTORY_ENUM
        HISTORIES
};

#define HISTORY_SPAN_S (7 * 24 * 3600)
