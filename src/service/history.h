/* history.h: what happened in this pool lately, as series of numbers in fixed memory: the last 10 minutes by the second, the last 3 hours by 10 s, the last
 * 7 days by 5 min. Pure: time comes in as monotonic milliseconds, so a clock that is set moves nothing.
 *
 * A counter's value is its sum over a slot divided by the slot's length (so many a second); a level's is the mean of what was told during the slot. A slot
 * in which nothing was known (before the start, or asleep) is unknown, which is not zero: NaN in memory, null outside.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* COUNTER(symbol, name, text), LEVEL(symbol, name, text): every series, once. */
#define HISTORY_SERIES(COUNTER, LEVEL)                                                            \
        COUNTER(TASKS_SUBMITTED, "tasks.submitted", "tasks taken, a second")                      \
        COUNTER(TASKS_STARTED, "tasks.started", "leases given, a second")                         \
        COUNTER(TASKS_DONE, "tasks.done", "tasks done, a second")                                 \
        COUNTER(TASKS_FAILED, "tasks.failed", "tasks that failed, expired or ran out of attempts, a second") \
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

struct history;

/* Some 250 KiB, never more. NULL: out of memory. */
struct history *history_new(uint64_t now_ms);
void history_free(struct history *h);
SCOPED_FN(struct history *, history_free)

/* So much more of a counter. */
void history_add(struct history *h, uint64_t now_ms, enum history_series series, uint64_t amount);
/* How a level stands now: told when it changes, or every second. */
void history_level(struct history *h, uint64_t now_ms, enum history_series series, uint64_t value);
/* Time passed though nothing happened: counters were known to be 0. */
void history_tick(struct history *h, uint64_t now_ms);

/* The finest of the three resolutions that reaches back since_ms (1 … HISTORY_SPAN_S * 1000), as complete slots only. */
struct history_view {
        uint64_t step_ms;
        uint64_t from_ms;   /* monotonic: when the first slot began */
        size_t count;       /* slots, the oldest first; 0: none is complete yet */
};
void history_look(const struct history *h, uint64_t now_ms, uint64_t since_ms, struct history_view *ret_view);
/* Value of slot i of the view; NaN: unknown. */
double history_value(const struct history *h, const struct history_view *view, enum history_series series, size_t i);

const char *history_name(enum history_series series);
const char *history_text(enum history_series series);
/* 0 or -EINVAL. */
must_check int history_parse(const char *name, size_t bytes, enum history_series *ret_series);
