/* judge.h: whether a job gets on, from what a look at it found. Pure: takes (now, look), returns what it is and which alerts changed.
 *
 * It watches progress, not life. Progress is the job's own counter where it has one (page.h); else launches and copies, bytes that its calls moved, and
 * processor time. A job with a counter hangs when the counter and its launches have stood for the limit, whatever the processor does; the limit is then
 * at least five times the longest step so far. One without a counter hangs when nothing of all these has moved for the limit; if it has worked on a device
 * and only burns processor time, it is slow, which is told and never acted on. While it stands at Berth's gate, or is stopped by a signal, it is
 * not its fault: that time does not count. Nor does time in which the watchdog itself did not run.
 */
#pragma once

#include "watchdog/rule.h"

#define JUDGE_UNKNOWN UINT64_MAX

struct judge_look {
        uint64_t now_ns;
        uint64_t work;   /* the job's own counter; unknown: it never counted */
        uint64_t device; /* launches and copies; unknown: no program of it is on a device */
        uint64_t bytes;  /* read and written by its calls, files, pipes and sockets alike */
        uint64_t cpu_ns; /* processor time, of ended children too */
        bool waits;      /* every program of it that is on a device stands at Berth's gate, or it is stopped */
        /* Memory: of all of it; unknown, or 0 for a limit: not compared. */
        uint64_t device_bytes, device_limit, host_bytes, host_limit;
        double pressure_permille; /* of the machine's memory, some; negative: unknown */
        uint64_t oom_kills;       /* of its control group; or unknown */
};

enum judge_state { JUDGE_BEGINS, JUDGE_WORKS, JUDGE_WAITS, JUDGE_SLOW, JUDGE_HANGS, JUDGE_STATE_N };

enum judge_alert { JUDGE_HANG, JUDGE_SLOWNESS, JUDGE_DEVICE_FULL, JUDGE_DEVICE_SPIKE, JUDGE_HOST_FULL, JUDGE_HOST_SPIKE, JUDGE_PRESSURE, JUDGE_OOM_KILL, JUDGE_ALERT_N };

struct judge_settings {
        uint64_t limit_ns;  /* no progress for so long is a hang; 0: never */
        uint64_t period_ns; /* of looks */
};

struct judge {
        struct judge_settings settings;
        enum judge_state state;
        struct judge_look last;
        bool any;                          /* last is filled */
        bool used_device, used_counter;
        uint64_t strong_ns, weak_ns;       /* when the job, and when only its processor time, got on last; both moved by what does not count */
        uint64_t step_ns, longest_step_ns; /* since the counter moved last; longest so far */
        uint64_t oom_first;
        struct rule_state rules[JUDGE_ALERT_N];
};

struct judge_news {
        enum judge_alert alert;
        enum rule_news news; /* RULE_TRIGGERED or RULE_RESOLVED */
        double value;        /* what was compared with the rule's threshold */
};

void judge_begin(struct judge *j, const struct judge_settings *settings);
/* At most JUDGE_ALERT_N news; how many. j->state is the new state. */
size_t judge_step(struct judge *j, const struct judge_look *look, struct judge_news news[JUDGE_ALERT_N]);
/* How long it has not got on, at the last look. */
uint64_t judge_stood_ns(const struct judge *j);
/* What its limit is now. */
uint64_t judge_limit_ns(const struct judge *j);
const struct rule *judge_rule(enum judge_alert alert);
const char *judge_state_name(enum judge_state state);
