/* figures.c: what the pool counts, looked at once a second for its history (history.h), and the history for people.
 *
 * A slot of a second is filled once it is over, with what was counted since the last one was. A second or a few that the loop slept over were quiet like
 * their neighbours; longer, and nobody knows what was: these slots hold no number.
 */
#include "base/clock.h"
#include "base/error.h"
#include "base/history.h"
#include "generate/generate.h"
#include "service/internal.h"

#include <math.h>
#include <stdio.h>

#define SLEPT_S 5

struct figures {
        uint64_t epoch_ns;                   /* Unix time less monotonic time, as it was at the start */
        uint64_t begun_s, done_s;            /* the first whole second, and the first that is not filled yet; of epoch_ns + monotonic */
        uint64_t submitted, started, done, failed, asked; /* of the core and of generate, as last looked at */
        double values[HISTORIES];            /* counters: since the last slot; levels: as last told, NaN: never */
        struct history *history[HISTORIES];
};

static const struct {
        const char *name, *text;
        bool level;
} series_table[HISTORIES] = {
#define HISTORY_COUNTER(symbol, name, text) [HISTORY_##symbol] = {name, text, false},
#define HISTORY_LEVEL(symbol, name, text) [HISTORY_##symbol] = {name, text, true},
        HISTORY_SERIES(HISTORY_COUNTER, HISTORY_LEVEL)
#undef HISTORY_COUNTER
#undef HISTORY_LEVEL
};

static uint64_t time_of(const struct service *s)
{
        return s->figures->epoch_ns + s->now_ns;
}

int figures_open(struct service *s)
{
        struct figures *f = calloc(1, sizeof(*f));
        int r = 0;

        if (!f)
                return -ENOMEM;
        s->figures = f;
        f->epoch_ns = (uint64_t)s->unix_ms * NS_PER_MS - s->now_ns;
        f->begun_s = f->done_s = (time_of(s) + NS_PER_S - 1) / NS_PER_S;
        for (size_t i = 0; i < HISTORIES && !r; i++) {
                f->values[i] = series_table[i].level ? NAN : 0;
                r = history_new(history_usual, HISTORY_USUAL_LEVELS, &f->history[i]);
        }
        return r;
}

void figures_close(struct service *s)
{
        for (size_t i = 0; s->figures && i < HISTORIES; i++)
                history_free(s->figures->history[i]);
        free(s->figures);
        s->figures = NULL;
}

static void more(struct figures *f, enum history_series series, uint64_t now, uint64_t *before)
{
        f->values[series] += now > *before ? (double)(now - *before) : 0;
        *before = now;
}

static void look(struct service *s)
{
        struct figures *f = s->figures;
        struct core_statistics c;
        struct generate_counts g;
        uint64_t here = 0;

        core_statistics(s->core, &c);
        generate_counts(s->generate, &g);
        for (size_t i = 0; i < ARRAY_SIZE(c.workers); i++)
                here += c.workers[i];
        more(f, HISTORY_TASKS_SUBMITTED, c.submitted, &f->submitted);
        more(f, HISTORY_TASKS_STARTED, c.leases, &f->started);
        more(f, HISTORY_TASKS_DONE, c.tasks[CORE_DONE], &f->done);
        more(f, HISTORY_TASKS_FAILED, c.tasks[CORE_FAILED] + c.tasks[CORE_EXPIRED], &f->failed);
        more(f, HISTORY_REQUESTS, g.asked, &f->asked);
        f->values[HISTORY_REQUESTS_RUNNING] = g.running;
        f->values[HISTORY_REQUESTS_QUEUED] = g.waiting;
        f->values[HISTORY_TASKS_RUNNING] = (double)c.tasks[CORE_LEASED];
        f->values[HISTORY_TASKS_QUEUED] = (double)c.tasks[CORE_QUEUED];
        f->values[HISTORY_WORKERS_ACTIVE] = (double)c.workers[CORE_ALIVE];
        f->values[HISTORY_WORKERS_SUSPECT] = (double)c.workers[CORE_SUSPECT];
        f->values[HISTORY_WORKERS_DRAINING] = (double)(c.workers[CORE_DRAINING] + c.workers[CORE_DRAINED]);
        f->values[HISTORY_WORKERS_AWAY] = HASH_CNT(by_id, s->workers) > here ? (double)(HASH_CNT(by_id, s->workers) - here) : 0;
        f->values[HISTORY_SLOTS_READY] = c.ready;
}

uint64_t figures_turn(struct service *s)
{
        struct figures *f = s->figures;
        uint64_t now = time_of(s), now_s = now / NS_PER_S, seconds;

        if (now_s > f->done_s) {
                look(s);
                seconds = now_s - f->done_s;
                for (size_t i = 0; i < HISTORIES; i++) {
                        double value = series_table[i].level ? f->values[i] : f->values[i] / (double)seconds;

                        for (uint64_t n = seconds > SLEPT_S ? now_s - 1 : f->done_s; n < now_s; n++)
                                history_put(f->history[i], n * NS_PER_S, value);
                        if (!series_table[i].level)
                                f->values[i] = 0;
                }
                f->done_s = now_s;
        }
        return s->now_ms + (NS_PER_S - now % NS_PER_S + NS_PER_MS - 1) / NS_PER_MS;
}

void service_history_add(struct service *s, enum history_series series, uint64_t amount)
{
        if ((unsigned int)series < HISTORIES && !series_table[series].level)
                s->figures->values[series] += (double)amount;
}

static int parse(const char *name, size_t bytes, enum history_series *ret)
{
        for (unsigned int i = 0; i < HISTORIES; i++)
                if (strlen(series_table[i].name) == bytes && !memcmp(series_table[i].name, name, bytes)) {
                        *ret = (enum history_series)i;
                        return 0;
                }
        return -EINVAL;
}

/* Complete slots of one level. */
struct span {
        size_t level, count;
        uint64_t step_ns, first;
};

/* The finest level that reaches so far back, or to the start of this server. */
static struct span span_of(const struct figures *f, uint64_t since_s)
{
        const struct history *any = f->history[0];
        uint64_t end_ns = f->done_s * NS_PER_S, begin_ns = f->begun_s * NS_PER_S, back_ns = since_s * NS_PER_S;
        struct span span = {0};

        if (back_ns > end_ns - begin_ns)
                back_ns = end_ns - begin_ns;
        while (span.level + 1 < history_levels(any) && history_level(any, span.level).step_ns * history_level(any, span.level).slots < back_ns)
                span.level++;
        span.step_ns = history_level(any, span.level).step_ns;
        span.count = back_ns / span.step_ns;
        span.first = end_ns / span.step_ns - span.count;
        return span;
}

static void put_series(struct strbuf *b, const struct history *history, const struct span *span)
{
        for (size_t i = 0; i < span->count; i++) {
                if (i)
                        put_literal(b, ",");
                put_real(b, (double)history_at(history, span->level, span->first + i).mean);
        }
}

void service_history(struct service *s, const char *names, uint64_t since_s, service_done_fn done, void *context)
{
        bool wanted[HISTORIES] = {false}, all = !names || !*names, first = true;
        struct strbuf b = {0};
        struct span span;
        int64_t from_ms;
        char detail[160];

        service_time(s);
        for (const char *at = names; !all && *at; at += strcspn(at, ","), at += *at == ',') {
                size_t n = strcspn(at, ",");
                enum history_series series;

                if (parse(at, n, &series) < 0) {
                        snprintf(detail, sizeof(detail), "series: there is no \"%.*s\"; without it all are given", n > 60 ? 60 : (int)n, at);
                        answer_problem(s, done, context, 400, "request.parameter", detail, NULL);
                        return;
                }
                wanted[series] = true;
        }
        (void)figures_turn(s);
        span = span_of(s->figures, since_s);
        /* In time as it is told now, should it have been set since the start. */
        from_ms = (int64_t)(span.first * span.step_ns / NS_PER_MS) + s->unix_ms - (int64_t)(time_of(s) / NS_PER_MS);
        put_literal(&b, "{\"object\":\"history\",\"from\":");
        put_time(&b, from_ms);
        strbuf_add(&b, ",\"from_ms\":%lld,\"step_ms\":%llu,\"count\":%zu,\"partial\":%s,\"series\":{", (long long)from_ms,
                   (unsigned long long)(span.step_ns / NS_PER_MS), span.count, service_is_partial(s) ? "true" : "false");
        for (size_t i = 0; i < HISTORIES; i++) {
                if (!all && !wanted[i])
                        continue;
                strbuf_add(&b, "%s\"%s\":[", first ? "" : ",", series_table[i].name);
                put_series(&b, s->figures->history[i], &span);
                put_literal(&b, "]");
                first = false;
        }
        put_literal(&b, "}}");
        if (b.failed)
                answer_error(s, done, context, -ENOMEM);
        else
                answer_text(s, done, context, 200, b.text, b.length, 0);
}
