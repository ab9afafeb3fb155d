/* engine.h: the life of one engine: when it is started, looked at, started again, given up for a while, and let go. Pure: time and chance are arguments.
 *
 *              want ready                  healthy                     nobody asked for `idle`, want cold
 *   COLD ──────────────────▶ STARTING ───────────────▶ READY ─────────────────────────────────────────────▶ STOPPING ──ended──▶ COLD
 *                              │   ▲  started again after 0 … bound   │ it ended, or does not answer any more
 *                              │   └──────────────────────────────────┘
 *                              └──▶ FAILED: not healthy within `start`, or ended ENGINE_BRAKE times without a minute of health in between; again after a while, if wanted
 *
 * Between two tries lies a time from 0 to a bound that doubles from 1 s to 60 s (full jitter), so that engines that fall together do not come back together. The
 * brake's bound doubles from 1 to 10 minutes, of which the first half is waited for certain.
 *
 * A server that is there anyway (not managed) is only looked at: READY or FAILED.
 *
 * After each event, and when engine_next says so, the caller calls engine_tick and does what it returns; what comes of that are events again.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stdint.h>

#define ENGINE_SERVERS 8      /* that may ask for it */
#define ENGINE_TEXT 256
#define ENGINE_BRAKE 3        /* bad ends in a row */
#define ENGINE_MISSES 6       /* looks in a row that a healthy engine may fail */
#define ENGINE_STABLE_MS 60000
#define ENGINE_LOOK_MS 5000   /* between two looks at a healthy engine */

enum engine_state { ENGINE_COLD, ENGINE_STARTING, ENGINE_READY, ENGINE_STOPPING, ENGINE_FAILED };

enum engine_action {
        ENGINE_START = 1, /* start its program: engine_ended follows some time, whatever becomes of it */
        ENGINE_CHECK = 2, /* one look at its health: engine_checked follows */
        ENGINE_TERM = 4,  /* ask it to end */
        ENGINE_KILL = 8,  /* end it */
};

struct engine_rules {
        bool managed;
        uint64_t idle_ms, start_ms, stop_ms; /* idle_ms 0: never stopped for being idle; stop_ms: between being asked to end and being made to */
};

struct engine {
        struct engine_rules rules;
        enum engine_state state;
        bool wanted, alive, checking, swapped, retired;
        bool asked, give_up;          /* STOPPING: TERM was said; FAILED comes next, not COLD or another try */
        uint64_t used_at;             /* when somebody asked for it last */
        uint64_t started_at, ready_at, look_at, retry_at, kill_at;
        uint32_t bad, brakes, misses; /* in a row: bad ends, brakes, looks */
        uint32_t requests[ENGINE_SERVERS];
        uint32_t version;             /* counts what others may see of it: state, text */
        char text[ENGINE_TEXT];       /* why, in one line; "" when there is nothing to say */
};

const char *engine_state_name(enum engine_state state);
void engine_init(struct engine *e, const struct engine_rules *rules);

/* A server wants it, or wants it cold. requests: how many of that server's are about, or -1: not said. again: a person asks, failures are forgotten. */
void engine_want(struct engine *e, uint64_t now, uint32_t server, bool ready, int64_t requests, bool again);
/* That server is not connected any more. */
void engine_server_gone(struct engine *e, uint64_t now, uint32_t server);
/* One look's result; why (clean text) when it is not healthy. */
void engine_checked(struct engine *e, uint64_t now, bool healthy, const char *why);
/* A line of its output; told while it starts. */
void engine_says(struct engine *e, const char *line);
/* It ended, or could not be started; how: clean text. hopeless: trying again is of no use before somebody changed something. */
void engine_ended(struct engine *e, uint64_t now, const char *how, bool hopeless, uint32_t chance);
/* Whether its memory is out of the device: then it may be slow to answer looks. */
void engine_swapped(struct engine *e, bool out);
/* It is to end and not to be started any more: the machine's worker ends, or its entry changed or went. */
void engine_retire(struct engine *e, uint64_t now);
/* Other rules from now on. */
void engine_rules_changed(struct engine *e, const struct engine_rules *rules);

/* What is due, as bits of enum engine_action. */
must_check uint32_t engine_tick(struct engine *e, uint64_t now);
/* When to call engine_tick if nothing happens before; UINT64_MAX: never. */
uint64_t engine_next(const struct engine *e);
/* Requests of all servers. */
uint64_t engine_requests(const struct engine *e);
