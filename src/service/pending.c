/* pending.c: the batch being gathered, and the operations that wait for batches. Everything that changes between two turns is one batch, so that a commit's
 * cost is shared; a task that changes twice in one batch has one row. Answers that wait for no change go past those that do. */
#include "base/error.h"
#include "service/internal.h"

#include <stdarg.h>
#include <stdio.h>

static size_t keep_text(struct service *s, const char *text, size_t bytes)
{
        size_t place = s->texts.length;

        if (!text)
                return SIZE_MAX;
        strbuf_put(&s->texts, text, bytes);
        strbuf_put(&s->texts, "", 1);
        return place;
}

static struct pending_change *add_change(struct service *s)
{
        if (s->pending_count == s->pending_size) {
                size_t size = s->pending_size ? s->pending_size * 2 : 64;
                struct pending_change *more = realloc(s->pending, size * sizeof(*more));

                if (!more)
                        return NULL;
                s->pending = more;
                s->pending_size = size;
        }
        service_want_turn(s);
        return &s->pending[s->pending_count];
}

int pending_put(struct service *s, const struct store_change *change)
{
        struct pending_change *p = add_change(s);

        if (!p)
                return -ENOMEM;
        p->task = NULL;
        p->change = *change;
        p->key = keep_text(s, change->row.text_key, change->row.text_key ? strlen(change->row.text_key) : 0);
        p->spec = keep_text(s, change->row.spec, change->row.spec_bytes);
        p->status = keep_text(s, change->row.status, change->row.status_bytes);
        if (s->texts.failed)
                return -ENOMEM;
        s->pending_count++;
        return 0;
}

/* Its row, as it will be when the batch is handed over. */
void pending_put_task(struct service *s, struct task *task)
{
        struct pending_change *p;

        if (task->batch == s->batch)
                return;
        p = add_change(s);
        if (!p)
                abort(); /* as in add() below */
        p->task = task;
        task->batch = s->batch;
        s->pending_count++;
}

/* Texts of a task's row. The task is there: operations of this batch hold it. */
static void write_task(struct service *s, struct pending_change *p)
{
        struct task *task = p->task;

        p->key = p->spec = SIZE_MAX;
        p->change = (struct store_change){.kind = STORE_PUT,
                                          .row = {.table = STORE_TASK, .queue = task->queue, .id = task->id, .account = task->account,
                                                  .state = task->now.state, .kind = task->kind,
                                                  .until_ms = sweep_until(s, task->now.state)}};
        if (!task->stored) {
                p->spec = s->texts.length;
                task_spec_text(&s->texts, task);
                p->change.row.spec_bytes = s->texts.length - p->spec;
                strbuf_put(&s->texts, "", 1);
        }
        p->status = s->texts.length;
        task_status_text(&s->texts, task);
        p->change.row.status_bytes = s->texts.length - p->status;
        strbuf_put(&s->texts, "", 1);
}

static const char *text_at(const struct service *s, size_t offset)
{
        return offset == SIZE_MAX ? NULL : s->texts.text + offset;
}

/* Hands the batch over. While the writer has too much waiting it stays here, and grows: new work is refused then (service_store_error). */
void pending_flush(struct service *s)
{
        struct store_change *changes scoped_free = NULL;
        size_t texts = s->texts.length;
        uint64_t number;
        int r;

        if (!s->pending_count || s->reopening)
                return;
        changes = malloc(s->pending_count * sizeof(*changes));
        for (size_t i = 0; changes && i < s->pending_count; i++)
                if (s->pending[i].task)
                        write_task(s, &s->pending[i]);
        if (!changes || s->texts.failed)
                return;
        for (size_t i = 0; i < s->pending_count; i++) {
                const struct pending_change *p = &s->pending[i];

                changes[i] = p->change;
                changes[i].row.text_key = text_at(s, p->key);
                changes[i].row.spec = text_at(s, p->spec);
                changes[i].row.status = text_at(s, p->status);
        }
        r = writer_put(s->writer, &(struct store_batch){.changes = changes, .count = s->pending_count}, &number);
        if (r < 0) {
                s->texts.length = texts;
                s->overrun = true;
                return;
        }
        s->overrun = false;
        for (size_t i = 0; i < s->pending_count; i++)
                if (s->pending[i].task)
                        s->pending[i].task->stored = true;
        s->batch = number + 1;
        s->pending_count = 0;
        s->counters.batches++;
        if (s->texts.size > (4u << 20))
                strbuf_done(&s->texts);
        else
                strbuf_clear(&s->texts);
}

uint64_t pending_number(const struct service *s)
{
        return s->pending_count ? s->batch : s->batch - 1;
}

static struct operation *add(struct operations *o)
{
        struct operation *op;

        if (o->count == o->size) {
                size_t size = o->size ? o->size * 2 : 256;
                struct operation *ring = malloc(size * sizeof(*ring));

                /* Nothing may be lost here: what was accepted must be answered. A process that can't get some bytes for that ends, as if killed. */
                if (!ring)
                        abort();
                for (size_t i = 0; i < o->count; i++)
                        ring[i] = o->ring[(o->first + i) & (o->size - 1)];
                free(o->ring);
                o->ring = ring;
                o->first = 0;
                o->size = size;
        }
        op = &o->ring[(o->first + o->count++) & (o->size - 1)];
        memset(op, 0, sizeof(*op));
        return op;
}

struct operation *operation_add(struct service *s, enum operation_kind kind)
{
        struct operation *op = add(&s->operations);

        op->kind = kind;
        op->number = pending_number(s);
        service_want_turn(s);
        return op;
}

struct operation *operation_now(struct service *s, enum operation_kind kind)
{
        struct operation *op = add(&s->immediate);

        op->kind = kind;
        service_want_turn(s);
        return op;
}

static void run_one(struct service *s, struct operations *o)
{
        struct operation op = o->ring[o->first];

        o->first = (o->first + 1) & (o->size - 1);
        o->count--;
        s->counters.operations++;
        act_operation(s, &op);
        free(op.text);
}

void operations_run(struct service *s, uint64_t durable)
{
        while (s->operations.count && s->operations.ring[s->operations.first].number <= durable)
                run_one(s, &s->operations);
        /* Only those of before: an answer whose receiver asks again at once must not keep the turn going for ever. */
        for (size_t n = s->immediate.count; n; n--)
                run_one(s, &s->immediate);
}

/* The changes of these were lost with the queue; who asked hears so, once. Leases are not sent, events not told. */
void operations_fail(struct service *s, int error)
{
        for (size_t n = s->operations.count; n; n--) {
                struct operation op = s->operations.ring[s->operations.first];

                s->operations.first = (s->operations.first + 1) & (s->operations.size - 1);
                s->operations.count--;
                if (op.kind == OPERATION_ANSWER && op.done)
                        answer_error(s, op.done, op.context, error);
                else if (op.kind == OPERATION_CALL)
                        op.call(s, op.context, error);
                if (op.connection)
                        connection_release(op.connection);
                if (op.task)
                        task_release(s, op.task);
                free(op.text);
        }
}

/* A problem is carried as its body with status, code and detail inside the operation. */
struct problem {
        service_done_fn done;
        void *context;
        json_t *body;
        char detail[320];
        char code[48];
        int status;
        uint64_t retry_after_s;
};

static void tell_problem(struct service *s, void *context, int error)
{
        struct problem *p = context;

        p->done(p->context, &(struct service_answer){.status = p->status, .code = p->code, .detail = p->detail, .body = p->body, .retry_after_s = p->retry_after_s});
        if (p->body)
                json_decref(p->body);
        free(p);
}

void answer_problem(struct service *s, service_done_fn done, void *context, int status, const char *code, const char *detail, json_t *body)
{
        struct problem *p = calloc(1, sizeof(*p));
        struct operation *op;

        if (!p)
                abort();
        *p = (struct problem){.done = done, .context = context, .body = body, .status = status, .retry_after_s = status == 503 ? 5 : status == 429 ? 1 : 0};
        snprintf(p->code, sizeof(p->code), "%s", code);
        snprintf(p->detail, sizeof(p->detail), "%s", detail ? detail : status_title(status));
        op = operation_now(s, OPERATION_CALL);
        op->call = tell_problem;
        op->context = p;
}

const char *status_title(int status)
{
        switch (status) {
        case 400: return "Bad request";
        case 403: return "Not allowed";
        case 404: return "Not found";
        case 409: return "Conflict";
        case 412: return "Changed meanwhile";
        case 413: return "Too large";
        case 422: return "Not acceptable as it is";
        case 428: return "If-Match is needed";
        case 429: return "Too many requests";
        case 503: return "Not available now";
        case 507: return "No space left";
        default: return status < 400 ? "OK" : "Internal error";
        }
}

void answer_error(struct service *s, service_done_fn done, void *context, int error)
{
        switch (error) {
        case -ENOENT:
                answer_problem(s, done, context, 404, "not_found", "there is no such thing, or it is not yours", NULL);
                return;
        case -EACCES:
        case -EPERM:
                answer_problem(s, done, context, 403, "not_allowed", NULL, NULL);
                return;
        case -ENOMEM:
                answer_problem(s, done, context, 503, "pool.memory", "the server is out of memory", NULL);
                return;
        case -ESTALE:
                answer_problem(s, done, context, 503, "pool.moved", "another server took this account over; ask again", NULL);
                return;
        case -E_QUOTA:
        case -EAGAIN:
                answer_problem(s, done, context, 503, "pool.busy", "too much is waiting; ask again", NULL);
                return;
        case -ENOSPC:
                answer_problem(s, done, context, 503, "store.full", "the store's disk is full; what is running goes on", NULL);
                return;
        default:
                answer_problem(s, done, context, 503, "store.unavailable", error_text(error), NULL);
        }
}

static struct operation *answer(struct operation *op, service_done_fn done, void *context, int status, char *text, size_t bytes)
{
        op->done = done;
        op->context = context;
        op->http = status;
        op->text = text;
        op->bytes = bytes;
        return op;
}

void answer_text(struct service *s, service_done_fn done, void *context, int status, char *text, size_t bytes, uint64_t version)
{
        answer(operation_now(s, OPERATION_ANSWER), done, context, status, text, bytes)->nonce = version;
}

void answer_when_durable(struct service *s, service_done_fn done, void *context, int status, char *text, size_t bytes, const char *location)
{
        struct operation *op = answer(operation_add(s, OPERATION_ANSWER), done, context, status, text, bytes);

        if (location)
                snprintf(op->location, sizeof(op->location), "%s", location);
}

struct file_error {
        service_file_fn done;
        void *context;
        int error;
};

static void tell_file_error(struct service *s, void *context, int error)
{
        struct file_error *f = context;

        f->done(f->context, f->error, -1, 0);
        free(f);
}

void answer_file_error(struct service *s, service_file_fn done, void *context, int error)
{
        struct file_error *f = malloc(sizeof(*f));
        struct operation *op;

        if (!f)
                abort();
        *f = (struct file_error){done, context, error};
        op = operation_now(s, OPERATION_CALL);
        op->call = tell_file_error;
        op->context = f;
}
