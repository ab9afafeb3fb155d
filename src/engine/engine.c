/* engine.c: one engine's state machine; see engine.h. */
#include "engine/engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BACKOFF_FIRST_MS UINT64_C(1000)
#define BACKOFF_LAST_MS UINT64_C(60000)
#define BRAKE_FIRST_MS UINT64_C(60000)
#define BRAKE_LAST_MS UINT64_C(600000)
#define LOOK_FIRST_MS UINT64_C(50)
#define LOOK_LAST_MS UINT64_C(1000) /* while it starts */
#define ABSENT_LOOK_MS UINT64_C(10000)
#define KILL_AGAIN_MS UINT64_C(1000)

const char *engine_state_name(enum engine_state state)
{
        static const char *const names[] = {"cold", "starting", "ready", "stopping", "failed"};

        return names[state];
}

static void tell(struct engine *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void tell(struct engine *e, const char *format, ...)
{
        char text[ENGINE_TEXT];
        va_list args;

        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        if (!strcmp(text, e->text))
                return;
        memcpy(e->text, text, sizeof text);
        e->version++;
}

static void become(struct engine *e, enum engine_state state)
{
        if (e->state != state)
                e->version++;
        e->state = state;
}

/* 0 … bound */
static uint64_t jitter(uint64_t bound, uint32_t chance)
{
        return (uint64_t)chance * (bound + 1) >> 32;
}

static uint64_t doubled(uint64_t first, uint64_t last, uint32_t times)
{
        return times > 20 || first << times > last ? last : first << times;
}

void engine_init(struct engine *e, const struct engine_rules *rules)
{
        *e = (struct engine){.rules = *rules, .state = rules->managed ? ENGINE_COLD : ENGINE_STARTING};
}

void engine_rules_changed(struct engine *e, const struct engine_rules *rules)
{
        e->rules = *rules;
}

uint64_t engine_requests(const struct engine *e)
{
        uint64_t n = 0;

        for (uint32_t i = 0; i < ENGINE_SERVERS; i++)
                n += e->requests[i];
        return n;
}

static void forgive(struct engine *e)
{
        e->bad = e->brakes = 0;
        e->retry_at = 0;
}

void engine_want(struct engine *e, uint64_t now, uint32_t server, bool ready, int64_t requests, bool again)
{
        if (!e->rules.managed)
                return;
        if (server < ENGINE_SERVERS && requests >= 0)
                e->requests[server] = (uint32_t)requests;
        e->used_at = now;
        if (again)
                forgive(e);
        e->wanted = ready && !e->retired;
        if (!ready)
                memset(e->requests, 0, sizeof e->requests);
}

void engine_server_gone(struct engine *e, uint64_t now, uint32_t server)
{
        if (server >= ENGINE_SERVERS || !e->requests[server])
                return;
        e->requests[server] = 0;
        e->used_at = now;
}

void engine_swapped(struct engine *e, bool out)
{
        e->swapped = out;
}

void engine_retire(struct engine *e, uint64_t now)
{
        e->retired = true;
        e->wanted = false;
        e->used_at = now;
}

static void begin_stop(struct engine *e, uint64_t now, bool give_up)
{
        become(e, ENGINE_STOPPING);
        e->give_up = give_up;
        e->asked = false;
        e->kill_at = now + e->rules.stop_ms;
        e->misses = 0;
}

static void healthy(struct engine *e, uint64_t now)
{
        e->misses = 0;
        if (e->state != ENGINE_READY) {
                e->ready_at = e->used_at = now;
                become(e, ENGINE_READY);
        }
        tell(e, "%s", "");
}

void engine_checked(struct engine *e, uint64_t now, bool good, const char *why)
{
        e->checking = false;
        if (!e->rules.managed) {
                if (good)
                        healthy(e, now);
                else if (e->state != ENGINE_READY || ++e->misses >= 2) {
                        become(e, ENGINE_FAILED);
                        tell(e, "does not answer: %s", why);
                }
                e->look_at = now + (good ? ENGINE_LOOK_MS : e->state == ENGINE_READY ? LOOK_LAST_MS : ABSENT_LOOK_MS);
                return;
        }
        if ((e->state != ENGINE_STARTING && e->state != ENGINE_READY) || !e->alive)
                return;
        if (good) {
                healthy(e, now);
                e->look_at = now + ENGINE_LOOK_MS;
        } else if (e->state == ENGINE_STARTING) {
                /* Often at first, since small engines are there at once. */
                uint64_t pause = (now - e->started_at) / 8;

                e->look_at = now + (pause < LOOK_FIRST_MS ? LOOK_FIRST_MS : pause > LOOK_LAST_MS ? LOOK_LAST_MS : pause);
                if (now >= e->started_at + e->rules.start_ms) {
                        tell(e, "was not healthy within %llu s: %s", (unsigned long long)(e->rules.start_ms / 1000), why);
                        begin_stop(e, now, true);
                }
        } else {
                e->look_at = now + ENGINE_LOOK_MS;
                /* Swapped out, some servers answer nothing: that is no fault of theirs. */
                if (!e->swapped && ++e->misses >= ENGINE_MISSES) {
                        tell(e, "does not answer any more: %s; started again", why);
                        begin_stop(e, now, false);
                }
        }
}

void engine_says(struct engine *e, const char *line)
{
        if (e->state == ENGINE_STARTING && e->alive && line[0])
                tell(e, "%s", line);
}

/* Not before some time, which grows with each brake in a row. */
static void brake(struct engine *e, uint64_t now, const char *why, uint32_t chance)
{
        uint64_t bound = doubled(BRAKE_FIRST_MS, BRAKE_LAST_MS, e->brakes++), wait = bound / 2 + jitter(bound / 2, chance);
        char reason[ENGINE_TEXT];

        snprintf(reason, sizeof reason, "%s", why);
        e->retry_at = now + wait;
        e->bad = 0;
        become(e, ENGINE_FAILED);
        tell(e, "%.200s; tried again after %llu s if asked for", reason, (unsigned long long)((wait + 999) / 1000));
}

void engine_ended(struct engine *e, uint64_t now, const char *how, bool hopeless, uint32_t chance)
{
        bool was_stopping = e->state == ENGINE_STOPPING, stable = e->state == ENGINE_READY && now - e->ready_at >= ENGINE_STABLE_MS;
        uint64_t wait;

        if (!e->alive)
                return;
        e->alive = e->checking = e->swapped = false;
        if (was_stopping && e->give_up) {
                e->give_up = false;
                brake(e, now, e->text, chance);
                return;
        }
        if (!e->wanted) {
                become(e, ENGINE_COLD);
                if (!was_stopping)
                        tell(e, "%s", how);
                return;
        }
        if (stable)
                forgive(e);
        /* Stopped because it did not answer, or a moment before it was wanted again. */
        if (!was_stopping || e->text[0])
                e->bad++;
        if (hopeless || e->bad >= ENGINE_BRAKE) {
                brake(e, now, was_stopping && e->text[0] ? e->text : how, chance);
                return;
        }
        wait = e->bad ? jitter(doubled(BACKOFF_FIRST_MS, BACKOFF_LAST_MS, e->bad - 1), chance) : 0;
        e->retry_at = now + wait;
        become(e, ENGINE_STARTING);
        if (!was_stopping)
                tell(e, "%.220s; started again", how);
}

/* While it comes up it is waited for; that has a bound of its own. */
static bool counts_idle(const struct engine *e)
{
        return e->rules.idle_ms && !engine_requests(e) && (e->state != ENGINE_STARTING || !e->alive);
}

/* What a managed engine does by itself at this time. */
static uint32_t tick(struct engine *e, uint64_t now)
{
        bool idle = counts_idle(e) && now - e->used_at >= e->rules.idle_ms;

        if (idle)
                e->wanted = false;
        switch (e->state) {
        case ENGINE_COLD:
        case ENGINE_FAILED:
                if (!e->wanted) {
                        /* What failed stays told as failed until it is tried again or its time is over. */
                        if (e->state == ENGINE_FAILED && (e->retired || now >= e->retry_at))
                                become(e, ENGINE_COLD);
                        return 0;
                }
                if (now < e->retry_at && e->state == ENGINE_FAILED)
                        return 0;
                become(e, ENGINE_STARTING);
                e->retry_at = now;
                __attribute__((fallthrough));
        case ENGINE_STARTING:
                if (!e->wanted) {
                        if (!e->alive) {
                                become(e, ENGINE_COLD);
                                return 0;
                        }
                        begin_stop(e, now, false);
                        goto stop;
                }
                if (!e->alive) {
                        if (now < e->retry_at)
                                return 0;
                        e->alive = true;
                        e->misses = 0;
                        e->started_at = now;
                        e->look_at = now + LOOK_FIRST_MS;
                        if (!e->bad)
                                tell(e, "%s", "");
                        return ENGINE_START;
                }
                break;
        case ENGINE_READY:
                if (!e->wanted) {
                        begin_stop(e, now, false);
                        tell(e, "%s", "");
                        goto stop;
                }
                if (e->bad && now - e->ready_at >= ENGINE_STABLE_MS)
                        forgive(e);
                break;
        case ENGINE_STOPPING:
                goto stop;
        }
        if (!e->checking && now >= e->look_at) {
                e->checking = true;
                return ENGINE_CHECK;
        }
        return 0;
stop:
        if (!e->asked) {
                e->asked = true;
                return ENGINE_TERM;
        }
        if (now < e->kill_at)
                return 0;
        e->kill_at = now + KILL_AGAIN_MS;
        return ENGINE_KILL;
}

uint32_t engine_tick(struct engine *e, uint64_t now)
{
        if (e->rules.managed)
                return tick(e, now);
        if (e->retired || e->checking || now < e->look_at)
                return 0;
        e->checking = true;
        return ENGINE_CHECK;
}

static uint64_t least(uint64_t a, uint64_t b)
{
        return a < b ? a : b;
}

uint64_t engine_next(const struct engine *e)
{
        uint64_t next = UINT64_MAX;

        if (!e->rules.managed)
                return e->checking || e->retired ? UINT64_MAX : e->look_at;
        switch (e->state) {
        case ENGINE_COLD:
                return e->wanted ? 0 : UINT64_MAX;
        case ENGINE_FAILED:
                next = e->retry_at;
                break;
        case ENGINE_STARTING:
        case ENGINE_READY:
                if (!e->wanted)
                        return 0;
                next = !e->alive ? e->retry_at : e->checking ? UINT64_MAX : e->look_at;
                break;
        case ENGINE_STOPPING:
                return e->asked ? e->kill_at : 0;
        }
        if (e->wanted && counts_idle(e))
                next = least(next, e->used_at + e->rules.idle_ms);
        return next;
}
