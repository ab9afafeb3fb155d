/* history.h: how measured values went: fixed memory, several resolutions, "unavailable" kept apart from zero. Pure: time is an argument.
 *
 * A series keeps mean and greatest value of every slot of every level; the usual levels are 1 s for 10 min, 10 s for 3 h, 5 min for 7 days (30 KiB).
 * A slot that nobody measured holds no number (history_known). Time is nanoseconds since 1970, going on with a clock that doesn't go back: take the
 * time of day once, at the start, and add the monotonic time since. So slots mean the same to everybody and over restarts. What comes for a slot before
 * the newest one is not kept. A set is a bounded table of series by name. It can be written to bytes and read back; what is read may be a stranger's: it
 * is checked whole, then taken or refused.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HISTORY_MAX_LEVELS 4
#define HISTORY_MAX_SLOTS 16384
#define HISTORY_NAME 64 /* of a series, with its end */
#define HISTORY_USUAL_LEVELS 3

struct history_level {
        uint64_t step_ns;
        uint32_t slots;
};

/* Finest first. */
extern const struct history_level history_usual[HISTORY_USUAL_LEVELS];

/* About seven digits: enough for a plot, not for accounting. */
struct history_point {
        float mean, most;
};

static inline bool history_known(struct history_point point)
{
        return point.mean == point.mean;
}

/* --- one series --- */

struct history;

/* Levels finest first, each step longer than the one before. -EINVAL, -ENOMEM. */
must_check int history_new(const struct history_level *levels, size_t count, struct history **ret);
void history_free(struct history *history);
SCOPED_FN(struct history *, history_free)
size_t history_bytes(const struct history *history);

/* A measured value. Not a finite number: it could not be measured, which leaves the slot as it is. */
void history_put(struct history *history, uint64_t now_ns, double value);

size_t history_levels(const struct history *history);
struct history_level history_level(const struct history *history, size_t level);
/* The slot that holds time slot × step; unknown when it is too long ago, not yet, or was not measured. */
struct history_point history_at(const struct history *history, size_t level, uint64_t slot);

/* The last span_ns as count columns, oldest first, from the finest level that reaches so far back. Columns begin at multiples of their own width,
 * so that a plot moves by whole columns; the last one holds now. Returns the width of a column. */
uint64_t history_plot(const struct history *history, uint64_t now_ns, uint64_t span_ns, struct history_point *columns, size_t count);

/* --- series by name --- */

struct history_set;

/* Holds at most max_series; every one has the same levels. */
must_check int history_set_new(const struct history_level *levels, size_t count, size_t max_series, struct history_set **ret);
void history_set_free(struct history_set *set);
SCOPED_FN(struct history_set *, history_set_free)

/* Makes the series when it is new; a full set gives up the series that was not put to for longest, unless all were put to within the finest
 * level's length: then -ENOSPC, counted. -EINVAL: not a name (clean text, 1 … 63 characters). -ENOMEM. */
int history_set_put(struct history_set *set, const char *name, uint64_t now_ns, double value);
const struct history *history_set_find(const struct history_set *set, const char *name);
void history_set_forget(struct history_set *set, const char *name);
size_t history_set_count(const struct history_set *set);
/* The index-th, in the order of their making; NULL beyond the last. */
const char *history_set_name(const struct history_set *set, size_t index);
const struct history *history_set_at(const struct history_set *set, size_t index);
uint64_t history_set_refused(const struct history_set *set);

/* --- over a restart --- */

/* As bytes, to be freed. */
must_check int history_set_save(const struct history_set *set, char **ret, size_t *ret_bytes);
/* Into an empty set of the same levels. What is older than the levels reach, or lies in the future, is left out. -E_MESSAGE: not such bytes, or damaged;
 * -E_VERSION: of another version or other levels; -EEXIST: the set is not empty; -ENOSPC: more series than it may hold. On failure it stays empty. */
must_check int history_set_load(struct history_set *set, uint64_t now_ns, const char *bytes, size_t count);
