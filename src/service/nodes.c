/* nodes.c: what workers' machines look like: the last report of each (node-report.h), told on as it changes. It decides nothing and is not stored.
 *
 * Bounded: reports a second and worker, bytes of all that are kept, bytes of events a second. A report whose event has to wait waits in a line, as a mark
 * on its worker: when its turn comes the newest is told, so whoever listens is never further behind than the line is long, and nothing piles up.
 */
#include "base/clock.h"
#include "base/error.h"
#include "service/internal.h"
#include "service/node-report.h"

#include <stdio.h>
#include <utlist.h>

#define KEPT_BYTES (UINT64_C(128) << 20)
#define REPORTS_PER_S 2
#define REPORTS_BURST 8
#define EVENT_BYTES_PER_S (256u << 10)
#define EVENT_BYTES_BURST (1u << 20)
#define EVENT_EVERY_MS 2000
#define SNAPSHOT_BYTES (4u << 20)
#define EVERY_LEAST_MS 2000
#define EVERY_MOST_MS 60000

uint64_t nodes_every_ms(const struct service *s)
{
        /* A thousand reports a second at most, however many workers there are. */
        uint64_t count = HASH_CNT(by_id, s->workers);

        return count < EVERY_LEAST_MS ? EVERY_LEAST_MS : count > EVERY_MOST_MS ? EVERY_MOST_MS : count;
}

void nodes_forget(struct service *s, struct worker *worker)
{
        if (worker->node.waiting)
                DL_DELETE2(s->node_line, worker, node.before, node.next);
        s->node_bytes -= worker->node.bytes;
        free(worker->node.text);
        worker->node = (struct worker_node){0};
}

int on_node(struct service_worker *c, const json_t *m)
{
        struct service *s = c->service;
        struct worker *worker = c->worker;
        struct worker_node *node = &worker->node;
        char why[NODE_REPORT_WHY];
        struct strbuf text = {0};
        int r;

        s->counters.node_reports++;
        if (!bucket_take(&c->node_reports, s->now_ns, REPORTS_PER_S, REPORTS_BURST, 1)) {
                s->counters.node_dropped++;
                return 0;
        }
        r = node_report_read(m, &text, why);
        if (r == -EINVAL) {
                strbuf_done(&text);
                return message_malformed(c, why);
        }
        if (r < 0 || s->node_bytes - node->bytes + text.length > KEPT_BYTES) {
                /* The one before stays, with the time that it is of. */
                s->counters.node_dropped++;
                strbuf_done(&text);
                return 0;
        }
        node->at = s->unix_ms;
        if (node->text && node->bytes == text.length && !memcmp(node->text, text.text, text.length)) {
                strbuf_done(&text);
                return 0;
        }
        s->node_bytes += text.length - node->bytes;
        free(node->text);
        node->text = text.text;
        node->bytes = text.length;
        if (!node->waiting)
                DL_APPEND2(s->node_line, worker, node.before, node.next);
        node->waiting = true;
        return 0;
}

static void tell(struct service *s, struct worker *worker)
{
        struct strbuf *b = &s->scratch;

        strbuf_clear(b);
        put_literal(b, "{\"worker\":");
        put_id(b, "worker", &worker->id);
        put_literal(b, ",\"name\":");
        put_string(b, worker->name, strlen(worker->name));
        put_literal(b, ",\"seen\":");
        put_time(b, worker->node.at);
        put_literal(b, ",\"node\":");
        strbuf_put(b, worker->node.text, worker->node.bytes);
        put_literal(b, "}");
        event_tell(s, &worker->account, NULL, "worker.node", b->text, b->length);
}

uint64_t nodes_turn(struct service *s)
{
        struct worker *worker;

        while ((worker = s->node_line)) {
                uint64_t due = worker->node.told_ms + EVENT_EVERY_MS;

                if (worker->node.told_ms && s->now_ms < due)
                        return due;
                if (!bucket_take(&s->node_events, s->now_ns, EVENT_BYTES_PER_S, EVENT_BYTES_BURST, worker->node.bytes + 400))
                        return s->now_ms + 1 + (worker->node.bytes + 400) * 1000 / EVENT_BYTES_PER_S;
                DL_DELETE2(s->node_line, worker, node.before, node.next);
                worker->node.waiting = false;
                worker->node.told_ms = s->now_ms;
                tell(s, worker);
        }
        return UINT64_MAX;
}

void nodes_put(struct strbuf *b, const struct worker *worker, size_t *room, unsigned int *left_out)
{
        if (!worker->node.text)
                return;
        if (worker->node.bytes > *room) {
                ++*left_out;
                return;
        }
        *room -= worker->node.bytes;
        put_literal(b, ",\"node\":");
        strbuf_put(b, worker->node.text, worker->node.bytes);
}

size_t nodes_snapshot_room(void)
{
        return SNAPSHOT_BYTES;
}

void service_worker_node(struct service *s, const struct account_caller *caller, const struct id *id, service_done_fn done, void *context)
{
        struct worker *worker;
        struct strbuf b = {0};

        service_time(s);
        worker = worker_find(s, id);
        if (!worker || !worker_readable(caller, worker)) {
                answer_error(s, done, context, -ENOENT);
                return;
        }
        put_literal(&b, "{\"object\":\"node\",\"worker\":");
        put_id(&b, "worker", &worker->id);
        strbuf_add(&b, ",\"connected\":%s,\"seen\":", worker->connection ? "true" : "false");
        put_time(&b, worker->node.at);
        put_literal(&b, ",\"node\":");
        if (worker->node.text)
                strbuf_put(&b, worker->node.text, worker->node.bytes);
        else
                put_literal(&b, "null");
        put_literal(&b, "}");
        if (b.failed)
                answer_error(s, done, context, -ENOMEM);
        else
                answer_text(s, done, context, 200, b.text, b.length, 0);
}
