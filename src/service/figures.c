/* figures.c: what the pool counts, looked at once a second for its history (history.h), and the history for people. */
#include "base/error.h"
#include "service/internal.h"

#include <stdio.h>

static void told_since(struct service *s, enum history_series series, uint64_t now, uint64_t *before)
{
        if (now > *before)
                history_add(s->history, s->now_ms, series, now - *before);
        *before = now;
}

static void look(struct service *s)
{
        struct core_statistics c;
        uint64_t here = 0;

        core_statistics(s->core, &c);
        for (size_t i = 0; i < ARRAY_SIZE(c.workers); i++)
                here += c.workers[i];
        told_since(s, HISTORY_TASKS_SUBMITTED, c.submitted, &s->looked.submitted);
        told_since(s, HISTORY_TASKS_STARTED, c.leases, &s->looked.started);
        told_since(s, HISTORY_TASKS_DONE, c.tasks[CORE_DONE], &s->looked.done);
        told_since(s, HISTORY_TASKS_FAILED, c.tasks[CORE_FAILED] + c.tasks[CORE_EXPIRED], &s->looked.failed);
        history_level(s->history, s->now_ms, HISTORY_TASKS_RUNNING, c.tasks[CORE_LEASED]);
        history_level(s->history, s->now_ms, HISTORY_TASKS_QUEUED, c.tasks[CORE_QUEUED]);
        history_level(s->history, s->now_ms, HISTORY_WORKERS_ACTIVE, c.workers[CORE_ALIVE]);
        history_level(s->history, s->now_ms, HISTORY_WORKERS_SUSPECT, c.workers[CORE_SUSPECT]);
        history_level(s->history, s->now_ms, HISTORY_WORKERS_DRAINING, c.workers[CORE_DRAINING] + c.workers[CORE_DRAINED]);
        history_level(s->history, s->now_ms, HISTORY_WORKERS_AWAY, HASH_CNT(by_id, s->workers) > here ? HASH_CNT(by_id, s->workers) - here : 0);
        history_level(s->history, s->now_ms, HISTORY_SLOTS_READY, c.ready);
}

void figures_turn(struct service *s)
{
        if (s->now_ms < s->figures_due_ms)
                return;
        look(s);
        s->figures_due_ms = s->now_ms - s->now_ms % 1000 + 1000;
}

void service_history_add(struct service *s, enum history_series series, uint64_t amount)
{
        service_time(s);
        history_add(s->history, s->now_ms, series, amount);
}

void service_history_level(struct service *s, enum history_series series, uint64_t value)
{
        service_time(s);
        history_level(s->history, s->now_ms, series, value);
}

static void put_series(struct strbuf *b, struct service *s, const struct history_view *view, enum history_series series)
{
        put_literal(b, "\"");
        put_text(b, history_name(series));
        put_literal(b, "\":[");
        for (size_t i = 0; i < view->count; i++) {
                if (i)
                        put_literal(b, ",");
                put_real(b, history_value(s->history, view, series, i));
        }
        put_literal(b, "]");
}

void service_history(struct service *s, const char *names, uint64_t since_s, service_done_fn done, void *context)
{
        bool wanted[HISTORIES] = {false}, first = true;
        struct history_view view;
        struct strbuf b = {0};
        char detail[160];

        service_time(s);
        for (const char *at = names; at && *at; at += strcspn(at, ","), at += *at == ',') {
                size_t n = strcspn(at, ",");
                enum history_series series;

                if (history_parse(at, n, &series) < 0) {
                        snprintf(detail, sizeof(detail), "series: there is no \"%.*s\"; without it all are given", n > 60 ? 60 : (int)n, at);
                        answer_problem(s, done, context, 400, "request.parameter", detail, NULL);
                        return;
                }
                wanted[series] = true;
        }
        history_tick(s->history, s->now_ms);
        history_look(s->history, s->now_ms, since_s * 1000, &view);
        put_literal(&b, "{\"object\":\"history\",\"from\":");
        put_time(&b, s->unix_ms - (int64_t)(s->now_ms - view.from_ms));
        strbuf_add(&b, ",\"from_ms\":%lld,\"step_ms\":%llu,\"count\":%zu,\"partial\":%s,\"series\":{", (long long)(s->unix_ms - (int64_t)(s->now_ms - view.from_ms)),
                   (unsigned long long)view.step_ms, view.count, service_is_partial(s) ? "true" : "false");
        for (enum history_series i = 0; i < HISTORIES; i++) {
                if (names && *names && !wanted[i])
                        continue;
                if (!first)
                        put_literal(&b, ",");
                first = false;
                put_series(&b, s, &view, i);
        }
        put_literal(&b, "}}");
        if (b.failed)
                answer_error(s, done, context, -ENOMEM);
        else
                answer_text(s, done, context, 200, b.text, b.length, 0);
}
