/* judge.c: see judge.h. */
#include "watchdog/judge.h"

#include <string.h>

#define S UINT64_C(1000000000)
#define CPU_SHARE 50 /* less than one part in so many of a processor is no progress: programs that wait wake up now and then */

static const struct rule rules[JUDGE_ALERT_N] = {
        [JUDGE_HANG] = {"hang", RULE_LEVEL, RULE_CRITICAL, 1, 1, 0, 0, 0},
        [JUDGE_SLOWNESS] = {"slow", RULE_LEVEL, RULE_WARNING, 1, 1, 0, 0, 300 * S},
        [JUDGE_DEVICE_FULL] = {"device_memory_full", RULE_LEVEL, RULE_CRITICAL, 0.97, 0.90, 10 * S, 0, 60 * S},
        [JUDGE_DEVICE_SPIKE] = {"device_memory_spike", RULE_RISE, RULE_WARNING, 0.25, 0.10, 0, 5 * S, 60 * S},
        [JUDGE_HOST_FULL] = {"host_memory_full", RULE_LEVEL, RULE_CRITICAL, 0.95, 0.90, 10 * S, 0, 60 * S},
        [JUDGE_HOST_SPIKE] = {"host_memory_spike", RULE_RISE, RULE_WARNING, 0.25, 0.10, 0, 5 * S, 60 * S},
        [JUDGE_PRESSURE] = {"memory_stalled", RULE_LEVEL, RULE_WARNING, 200, 50, 10 * S, 0, 300 * S},
        [JUDGE_OOM_KILL] = {"oom_kill", RULE_LEVEL, RULE_CRITICAL, 1, 1, 0, 0, 0},
};

const struct rule *judge_rule(enum judge_alert alert)
{
        return &rules[alert];
}

const char *judge_state_name(enum judge_state state)
{
        static const char *const names[JUDGE_STATE_N] = {"begins", "works", "waits", "slow", "hangs"};

        return (unsigned int)state < JUDGE_STATE_N ? names[state] : "?";
}

void judge_begin(struct judge *j, const struct judge_settings *settings)
{
        memset(j, 0, sizeof *j);
        j->settings = *settings;
        j->oom_first = JUDGE_UNKNOWN;
}

uint64_t judge_limit_ns(const struct judge *j)
{
        uint64_t five = j->longest_step_ns > UINT64_MAX / 5 ? UINT64_MAX : j->longest_step_ns * 5;

        return j->used_counter && five > j->settings.limit_ns ? five : j->settings.limit_ns;
}

static uint64_t since(uint64_t now, uint64_t then)
{
        return now > then ? now - then : 0;
}

uint64_t judge_stood_ns(const struct judge *j)
{
        uint64_t strong = since(j->last.now_ns, j->strong_ns), weak = since(j->last.now_ns, j->weak_ns);

        return j->used_counter || strong < weak ? strong : weak;
}

/* A counter that is known on both sides and differs: also one that went back, when a process of it ended and its part is gone. */
static bool moved(uint64_t now, uint64_t before)
{
        return now != JUDGE_UNKNOWN && (before == JUDGE_UNKNOWN || now != before);
}

/* What does not count moves all of the job's marks along. */
static void forgive(struct judge *j, uint64_t ns)
{
        j->strong_ns += ns;
        j->weak_ns += ns;
        j->step_ns += ns;
}

static void take_progress(struct judge *j, const struct judge_look *now, uint64_t elapsed)
{
        const struct judge_look *before = &j->last;
        bool worked = moved(now->work, before->work), launched = moved(now->device, before->device);

        j->used_device |= now->device != JUDGE_UNKNOWN && now->device > 0;
        if (worked) {
                uint64_t step = since(now->now_ns, j->step_ns);

                if (j->used_counter && step > j->longest_step_ns)
                        j->longest_step_ns = step;
                j->used_counter = true;
                j->step_ns = now->now_ns;
        }
        if (worked || launched || (!j->used_counter && moved(now->bytes, before->bytes)))
                j->strong_ns = now->now_ns;
        if (now->cpu_ns != JUDGE_UNKNOWN && before->cpu_ns != JUDGE_UNKNOWN && since(now->cpu_ns, before->cpu_ns) >= elapsed / CPU_SHARE)
                j->weak_ns = now->now_ns;
}

static enum judge_state state_of(const struct judge *j, const struct judge_look *now)
{
        uint64_t limit = judge_limit_ns(j);
        bool strong, weak;

        if (now->waits)
                return JUDGE_WAITS;
        strong = !limit || since(now->now_ns, j->strong_ns) < limit;
        weak = !limit || since(now->now_ns, j->weak_ns) < limit;
        if (strong)
                return JUDGE_WORKS;
        if (j->used_counter || !weak)
                return JUDGE_HANGS;
        /* A long calculation without a device may well print nothing for an hour. */
        return j->used_device ? JUDGE_SLOW : JUDGE_WORKS;
}

static double share(uint64_t part, uint64_t whole)
{
        return part == JUDGE_UNKNOWN || whole == JUDGE_UNKNOWN || !whole ? __builtin_nan("") : (double)part / (double)whole;
}

static double figure(const struct judge *j, const struct judge_look *l, enum judge_alert alert)
{
        switch (alert) {
        case JUDGE_HANG:
                return j->state == JUDGE_HANGS;
        case JUDGE_SLOWNESS:
                return j->state == JUDGE_SLOW;
        case JUDGE_DEVICE_FULL:
        case JUDGE_DEVICE_SPIKE:
                return share(l->device_bytes, l->device_limit);
        case JUDGE_HOST_FULL:
        case JUDGE_HOST_SPIKE:
                return share(l->host_bytes, l->host_limit);
        case JUDGE_PRESSURE:
                return l->pressure_permille < 0 ? __builtin_nan("") : l->pressure_permille;
        case JUDGE_OOM_KILL:
                return l->oom_kills == JUDGE_UNKNOWN || j->oom_first == JUDGE_UNKNOWN ? __builtin_nan("") : (double)since(l->oom_kills, j->oom_first);
        case JUDGE_ALERT_N:
                break;
        }
        return __builtin_nan("");
}

size_t judge_step(struct judge *j, const struct judge_look *look, struct judge_news news[JUDGE_ALERT_N])
{
        size_t count = 0;

        if (!j->any) {
                j->strong_ns = j->weak_ns = j->step_ns = look->now_ns;
                j->used_device = look->device != JUDGE_UNKNOWN && look->device > 0;
                j->used_counter = look->work != JUDGE_UNKNOWN;
                j->state = JUDGE_BEGINS;
        } else {
                uint64_t elapsed = since(look->now_ns, j->last.now_ns);

                /* A machine that slept, or a watchdog that got no processor: nobody knows what the job could have done. */
                if (look->waits || j->last.waits)
                        forgive(j, elapsed);
                else if (elapsed > 5 * j->settings.period_ns)
                        forgive(j, elapsed - j->settings.period_ns);
                take_progress(j, look, elapsed);
                j->state = state_of(j, look);
        }
        if (j->oom_first == JUDGE_UNKNOWN)
                j->oom_first = look->oom_kills;
        j->last = *look;
        j->any = true;
        for (enum judge_alert a = 0; a < JUDGE_ALERT_N; a++) {
                double value;
                enum rule_news r = rule_step(&rules[a], &j->rules[a], look->now_ns, figure(j, look, a), &value);

                if (r != RULE_NOTHING)
                        news[count++] = (struct judge_news){a, r, value};
        }
        return count;
}
