/* machines.c: workers' machines in full, for who looks right now (machine-report.h). Nobody looks: nothing is asked, sent or kept.
 *
 * A look is a request: it is answered at once with the last report, and when that is not fresh the worker is asked for another (`look`), which whoever asks again a
 * moment later gets. So nobody waits, and a worker is asked at most once a second for each of the spans, however many look. One report is taken for
 * one question. Reports are forgotten after a minute; all that are kept count into the bound of node reports.
 */
#include "base/clock.h"
#include "base/error.h"
#include "service/internal.h"
#include "service/machine-report.h"

#include <stdio.h>
#include <utlist.h>

#define KEPT_BYTES (UINT64_C(128) << 20)
#define ASK_EVERY_MS 1000
#define ANSWER_MS 30000
#define FORGET_MS 60000

static const uint32_t spans[MACHINE_SPANS] = {600, 10800, 604800};

static void forget_one(struct service *s, struct machine_kept *kept)
{
        s->node_bytes -= kept->figures_bytes + kept->processes_bytes;
        free(kept->figures);
        free(kept->processes);
        *kept = (struct machine_kept){.asked_ms = kept->asked_ms, .owed = kept->owed};
}

static bool is_empty(const struct worker_machine *machine)
{
        for (size_t i = 0; i < MACHINE_SPANS; i++)
                if (machine->kept[i].figures)
                        return false;
        return true;
}

static void leave_line(struct service *s, struct worker *worker)
{
        if (worker->machine.in_line && is_empty(&worker->machine)) {
                DL_DELETE2(s->machine_line, worker, machine.before, machine.next);
                worker->machine.in_line = false;
        }
}

void machines_forget(struct service *s, struct worker *worker)
{
        for (size_t i = 0; i < MACHINE_SPANS; i++)
                forget_one(s, &worker->machine.kept[i]);
        leave_line(s, worker);
}

uint64_t machines_turn(struct service *s)
{
        struct worker *worker, *next;
        uint64_t due = UINT64_MAX;

        DL_FOREACH_SAFE2(s->machine_line, worker, next, machine.next) {
                for (size_t i = 0; i < MACHINE_SPANS; i++) {
                        struct machine_kept *kept = &worker->machine.kept[i];

                        if (kept->figures && s->now_ms >= kept->at_ms + FORGET_MS)
                                forget_one(s, kept);
                        else if (kept->figures && kept->at_ms + FORGET_MS < due)
                                due = kept->at_ms + FORGET_MS;
                }
                leave_line(s, worker);
        }
        return due;
}

/* The shortest that reaches so far back. */
static size_t span_of(uint64_t since_s)
{
        size_t i = 0;

        while (i + 1 < MACHINE_SPANS && spans[i] < since_s)
                i++;
        return i;
}

int on_machine(struct service_worker *c, const json_t *m)
{
        struct service *s = c->service;
        struct worker *worker = c->worker;
        struct strbuf figures = {0}, processes = {0};
        char why[MACHINE_REPORT_WHY];
        struct machine_kept *kept;
        int64_t span = 0;
        int r = message_integer_of(c, m, "span_s", 1, INT32_MAX, &span);

        if (r <= 0)
                return r < 0 ? r : message_malformed(c, "span_s: a number");
        s->counters.machine_reports++;
        kept = &worker->machine.kept[span_of((uint64_t)span)];
        if (!kept->owed || s->now_ms >= kept->asked_ms + ANSWER_MS) {
                s->counters.machine_dropped++; /* nobody asked */
                return 0;
        }
        kept->owed = false;
        r = machine_report_read(m, &figures, &processes, why);
        if (r == 0 && s->node_bytes - kept->figures_bytes - kept->processes_bytes + figures.length + processes.length <= KEPT_BYTES) {
                forget_one(s, kept);
                kept->figures = figures.text;
                kept->figures_bytes = figures.length;
                kept->processes = processes.text;
                kept->processes_bytes = processes.length;
                kept->at = s->unix_ms;
                kept->at_ms = s->now_ms;
                s->node_bytes += figures.length + processes.length;
                if (!worker->machine.in_line)
                        DL_APPEND2(s->machine_line, worker, machine.before, machine.next);
                worker->machine.in_line = true;
                return 0;
        }
        s->counters.machine_dropped++;
        strbuf_done(&figures);
        strbuf_done(&processes);
        return r == -EINVAL ? message_malformed(c, why) : 0;
}

static void ask(struct service *s, struct worker *worker, size_t span)
{
        struct machine_kept *kept = &worker->machine.kept[span];
        struct strbuf b = {0};

        if (!worker->connection || (kept->asked_ms && s->now_ms < kept->asked_ms + ASK_EVERY_MS))
                return;
        kept->asked_ms = s->now_ms;
        kept->owed = true;
        strbuf_add(&b, "{\"m\":\"look\",\"span_s\":%u}", spans[span]);
        connection_send(worker->connection, &b);
        strbuf_done(&b);
}

void service_worker_machine(struct service *s, const struct account_caller *caller, const struct id *id, uint64_t since_s, service_done_fn done, void *context)
{
        const struct machine_kept *kept;
        size_t span = span_of(since_s);
        struct strbuf b = {0};
        struct worker *worker;
        bool all = account_may(caller, RIGHT_WORKER_CHANGE);

        service_time(s);
        worker = worker_find(s, id);
        if (!worker || !worker_readable(caller, worker)) {
                answer_error(s, done, context, -ENOENT);
                return;
        }
        ask(s, worker, span);
        kept = &worker->machine.kept[span];
        put_literal(&b, "{\"object\":\"machine\",\"worker\":");
        put_id(&b, "worker", &worker->id);
        strbuf_add(&b, ",\"connected\":%s,\"span_s\":%u,\"seen\":", worker->connection ? "true" : "false", spans[span]);
        put_time(&b, kept->figures ? kept->at : 0);
        put_literal(&b, ",\"machine\":");
        if (kept->figures) {
                put_literal(&b, "{");
                strbuf_put(&b, kept->figures, kept->figures_bytes);
                /* Processes, their users and files: for who answers for the machine. */
                if (all) {
                        put_literal(&b, ",");
                        strbuf_put(&b, kept->processes, kept->processes_bytes);
                } else {
                        put_literal(&b, ",\"processes_left_out\":null,\"processes\":null");
                }
                put_literal(&b, "}");
        } else {
                put_literal(&b, "null");
        }
        put_literal(&b, "}");
        if (b.failed) {
                strbuf_done(&b);
                answer_error(s, done, context, -ENOMEM);
        } else {
                answer_text(s, done, context, 200, b.text, b.length, 0);
        }
}
