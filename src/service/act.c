/* act.c: what the core decided, made rows and operations (act_drain), and what is done when the batch they belong to is durable (act_operation): a
 * lease goes to its worker, an event is told, whoever waited gets an answer. Nothing is told before. */
#include "base/error.h"
#include "base/log.h"
#include "service/internal.h"

#define LOG_ROOM "service"

static void state_operation(struct service *s, struct task *task)
{
        struct operation *op;

        pending_put_task(s, task);
        op = operation_add(s, OPERATION_STATE);
        op->task = task;
        op->status = task->now;
        task->operations++;
}

static struct operation *lease_operation(struct service *s, enum operation_kind kind, struct task *task, struct service_worker *connection, uint64_t nonce)
{
        struct operation *op = operation_add(s, kind);

        op->task = task;
        op->task_id = task->id;
        op->nonce = nonce;
        op->connection = connection;
        connection->references++;
        task->operations++;
        return op;
}

static void lease(struct service *s, const struct core_action *a)
{
        struct task *task = a->task_data;
        struct worker *worker = a->worker_data;

        task->now.state = CORE_LEASED;
        task->now.reason = a->reason;
        task->now.attempt = a->attempt;
        task->now.nonce = a->nonce;
        task->now.worker = worker->id;
        task->now.started = s->unix_ms;
        task->leased_ns = s->now_ns;
        task->progress.known = false;
        task_lease_link(task, worker);
        state_operation(s, task);
        if (worker->connection)
                lease_operation(s, OPERATION_LEASE, task, worker->connection, a->nonce);
}

static void end(struct service *s, struct task *task)
{
        task->ended = true;
        task->number = CORE_NONE;
        task->now.ended = s->unix_ms;
        task->owner->unfinished--;
        s->queues[task->queue].tasks--;
}

/* A fault of which nobody told the details. */
static void plain_error(struct task *task, const char *code, const char *text)
{
        struct strbuf b = {0};

        put_literal(&b, "{\"code\":\"");
        put_text(&b, code);
        put_literal(&b, "\",\"text\":\"");
        put_text(&b, text);
        put_literal(&b, "\"}");
        if (b.failed) {
                strbuf_done(&b);
                return;
        }
        free(task->error);
        task->error = b.text;
}

static void state(struct service *s, const struct core_action *a)
{
        struct task *task = a->task_data;
        bool leased = task->now.state == CORE_LEASED;

        task_lease_unlink(task);
        if (leased && (a->reason == CORE_BECAUSE_LEASE_LOST || a->reason == CORE_BECAUSE_WORKER_LOST)) {
                plain_error(task, "lease.lost", "the worker that ran it was not heard of any more");
                task_blamed_by(task, &task->now.worker);
        }
        if (a->state == CORE_CANCELLED && a->reason == CORE_BECAUSE_DEPENDENCY)
                plain_error(task, "task.dependency", "a task that it waited for did not succeed");
        task->now.state = a->state;
        task->now.reason = a->reason;
        task->now.attempt = a->attempt;
        task->now.retry_at = a->state == CORE_BACKOFF ? s->unix_ms + (int64_t)(a->retry_at - s->now_ms) : 0;
        if (a->state == CORE_QUEUED)
                task->now.queued = s->unix_ms;
        if (!task_state_ended(a->state)) {
                task->now.worker = (struct id){0};
                task->now.nonce = 0;
        }
        if (task_state_ended(a->state) && !task->ended)
                end(s, task);
        state_operation(s, task);
}

static void worker_action(struct service *s, const struct core_action *a)
{
        struct worker *worker = a->worker_data;

        worker->state = a->worker_state;
        if (a->gone) {
                worker->number = CORE_NONE;
                worker_event(s, worker, "gone");
                if (worker->connection)
                        connection_end(worker->connection, "worker.gone", "nothing was heard of you for too long: connect again");
                if (!worker->connection)
                        worker_free(s, worker);
                return;
        }
        worker_event(s, worker, NULL);
}

void act_drain(struct service *s)
{
        struct core_action a;

        while (core_next_action(s->core, &a)) {
                switch ((enum core_action_kind)a.kind) {
                case CORE_LEASE:
                        lease(s, &a);
                        break;
                case CORE_REVOKE: {
                        struct task *task = a.task_data;
                        struct worker *worker = a.worker_data;

                        if (task && worker && worker->connection)
                                lease_operation(s, OPERATION_CANCEL_LEASE, task, worker->connection, a.nonce)->status.reason = a.reason;
                        break;
                }
                case CORE_STATE:
                        state(s, &a);
                        break;
                case CORE_WORKER:
                        worker_action(s, &a);
                        break;
                case CORE_BRAKE:
                        log_warning("%s", a.gone ? "most workers went silent at once: none of them is taken for lost for now" :
                                                   "workers are heard of again: silence counts as before");
                        break;
                }
        }
}

static void answer_wait(struct service *s, struct service_wait *wait, struct task *task)
{
        struct strbuf b = {0};

        if (wait->before)
                wait->before->next = wait->next;
        else
                task->waits = wait->next;
        if (wait->next)
                wait->next->before = wait->before;
        if (wait->due_before)
                wait->due_before->due_next = wait->due_next;
        else
                s->waits = wait->due_next;
        if (wait->due_next)
                wait->due_next->due_before = wait->due_before;
        s->counters.waits--;
        task_view(&b, task, &task->shown, true);
        if (b.failed)
                answer_error(s, wait->done, wait->context, -ENOMEM);
        else
                wait->done(wait->context, &(struct service_answer){.status = 200, .text = b.text, .bytes = b.length});
        strbuf_done(&b);
        free(wait);
}

/* Waits whose time is over; looked through only when the earliest is. */
void act_waits_due(struct service *s)
{
        uint64_t next = UINT64_MAX;

        if (s->now_ms < s->waits_due_ms)
                return;
        for (struct service_wait *wait = s->waits, *after; wait; wait = after) {
                after = wait->due_next;
                if (wait->due_ms <= s->now_ms) {
                        struct task *task = wait->task;

                        answer_wait(s, wait, task);
                        /* The receiver may have cancelled others: begin anew. */
                        after = s->waits;
                        next = UINT64_MAX;
                } else if (wait->due_ms < next) {
                        next = wait->due_ms;
                }
        }
        s->waits_due_ms = next;
}

static void told_state(struct service *s, struct operation *op)
{
        struct task *task = op->task;

        task->shown = op->status;
        event_task_state(s, task, &op->status);
        if (task_state_ended(op->status.state))
                while (task->waits)
                        answer_wait(s, task->waits, task);
}

static void send_lease_word(struct service *s, const struct operation *op, const char *kind, const char *reason)
{
        struct strbuf *b = &s->scratch;

        strbuf_clear(b);
        put_literal(b, "{\"m\":\"");
        put_text(b, kind);
        put_literal(b, "\",\"task\":");
        put_id(b, "task", &op->task_id);
        put_literal(b, ",\"nonce\":\"");
        put_u64(b, op->nonce);
        put_literal(b, "\"");
        if (reason) {
                put_literal(b, ",\"reason\":\"");
                put_text(b, reason);
                put_literal(b, "\"");
        }
        put_literal(b, "}");
        connection_send(op->connection, b);
}

void act_operation(struct service *s, struct operation *op)
{
        switch (op->kind) {
        case OPERATION_ANSWER: {
                struct service_answer answer = {.status = op->http, .text = op->text, .bytes = op->bytes, .version = op->nonce};

                memcpy(answer.location, op->location, sizeof(answer.location));
                s->counters.answered++;
                op->done(op->context, &answer);
                break;
        }
        case OPERATION_STATE:
                told_state(s, op);
                break;
        case OPERATION_LEASE:
                /* Revoked meanwhile: the worker need not hear of it at all. */
                if (op->task->now.state == CORE_LEASED && op->task->now.nonce == op->nonce) {
                        strbuf_clear(&s->scratch);
                        worker_lease_text(s, &s->scratch, op->task, op->nonce);
                        connection_send(op->connection, &s->scratch);
                }
                break;
        case OPERATION_CANCEL_LEASE:
                send_lease_word(s, op, "cancel", task_reason_name(op->status.reason));
                break;
        case OPERATION_ACK:
                s->counters.acks++;
                send_lease_word(s, op, "ack", NULL);
                break;
        case OPERATION_STALE:
                send_lease_word(s, op, "stale", NULL);
                break;
        case OPERATION_WELCOME:
                connection_send(op->connection, &(struct strbuf){.text = op->text, .length = op->bytes});
                break;
        case OPERATION_CALL:
                op->call(s, op->context, 0);
                break;
        }
        if (op->connection)
                connection_release(op->connection);
        if (op->task)
                task_release(s, op->task);
}
