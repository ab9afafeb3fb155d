/* runner-watch.c: the runner as its task's watchdog: whether it gets on, by the rules of src/watchdog; see docs/watchdog.md.
 *
 * The runner is a process of its own outside of the confinement, so it is what a watchdog has to be. Alerts are progress of the task, so that everybody who follows
 * it sees them; at a critical one the task's last state goes into its log. A hang is ended only where task.on_hang says so.
 */
#include "worker/runner-internal.h"

#include "base/clock.h"
#include "base/text.h"
#include "watchdog/look.h"

#include <stdio.h>

#define PERIOD_NS NS_PER_S
#define REPORT_BYTES 16384 /* of one report that go into the log */

struct run_watch {
        struct look look;
        struct judge judge;
        uint64_t next_ns;
};

static void say(struct run *r, const char *text)
{
        run_tell(r, json_pack("{s:s, s:s}", "m", "progress", "text", text));
}

static void report(struct run *r, const char *text)
{
        struct strbuf b = {0};

        strbuf_add(&b, "berth-runner: %s; its last state:\n", text);
        look_tell(&r->watch->look, &b);
        if (!b.failed)
                run_log(r, b.text, b.length < REPORT_BYTES ? b.length : REPORT_BYTES);
        strbuf_done(&b);
}

static void hear(struct run *r, const struct judge_news *n)
{
        const struct rule *rule = judge_rule(n->alert);
        char text[160], a[16];

        if (n->news == RULE_RESOLVED)
                snprintf(text, sizeof text, "watchdog: over: %s", rule->name);
        else if (n->alert == JUDGE_HANG || n->alert == JUDGE_SLOWNESS)
                snprintf(text, sizeof text, "watchdog: %s: no progress for %s", rule->name, text_duration(judge_stood_ns(&r->watch->judge), a, sizeof a));
        else
                snprintf(text, sizeof text, "watchdog: %s (%s)", rule->name, rule_severity_name(rule->severity));
        say(r, text);
        if (n->news == RULE_TRIGGERED && rule->severity == RULE_CRITICAL)
                report(r, text);
        if (n->news == RULE_TRIGGERED && n->alert == JUDGE_HANG && r->settings->end_hangs)
                run_kill(r, "limit.hang", true, false, "no progress for %s", text_duration(judge_stood_ns(&r->watch->judge), a, sizeof a));
}

void run_watch(struct run *r, uint64_t now)
{
        struct judge_news news[JUDGE_ALERT_N];
        struct judge_look l;
        size_t count;

        if (!r->watch) {
                const struct judge_settings settings = {.limit_ns = r->settings->hang_after_ns, .period_ns = PERIOD_NS};

                r->watch = calloc(1, sizeof *r->watch);
                if (!r->watch)
                        return;
                judge_begin(&r->watch->judge, &settings);
                /* Without /proc nothing is known, and nothing is said. */
                if (look_open(&r->watch->look, r->child, r->settings->socket, NULL) < 0) {
                        run_watch_end(r);
                        return;
                }
        }
        if (now < r->watch->next_ns)
                return;
        r->watch->next_ns = now + PERIOD_NS;
        look_at(&r->watch->look, now, &l);
        if (r->told_progress)
                l.work = r->told_progress;
        if (r->spec.limits.memory_bytes)
                l.host_limit = r->spec.limits.memory_bytes;
        count = judge_step(&r->watch->judge, &l, news);
        for (size_t i = 0; i < count; i++)
                hear(r, &news[i]);
}

void run_watch_end(struct run *r)
{
        if (!r->watch)
                return;
        look_close(&r->watch->look);
        free(r->watch);
        r->watch = NULL;
}
