/* task.c: the record of a task that has not ended, and the texts that it has in views and rows.
 *
 * A row's spec is {"head":LENGTH,HEAD,"payload":PAYLOAD}, its status {"view":LENGTH,"full":LENGTH,MEMBERS,"result":…,more}: the lengths (eight digits) tell where to
 * cut, so that a view of an ended task is pasted together without reading the JSON. HEAD begins with type and name.
 */
#include "base/error.h"
#include "service/internal.h"

#include <stdio.h>

static const char *const state_names[] = {[CORE_HELD] = "held", [CORE_QUEUED] = "queued", [CORE_LEASED] = "leased", [CORE_BACKOFF] = "backoff",
                                          [CORE_DONE] = "done", [CORE_FAILED] = "failed", [CORE_DEAD] = "dead", [CORE_CANCELLED] = "cancelled",
                                          [CORE_EXPIRED] = "expired"};
static const char *const reason_names[CORE_REASONS] = {
        [CORE_BECAUSE_SUBMITTED] = "submitted", [CORE_BECAUSE_READY] = "ready", [CORE_BECAUSE_RESULT] = "result", [CORE_BECAUSE_FAILED] = "failed",
        [CORE_BECAUSE_LEASE_LOST] = "lease_lost", [CORE_BECAUSE_WORKER_LOST] = "worker_lost", [CORE_BECAUSE_DECLINED] = "declined",
        [CORE_BECAUSE_CANCELLED] = "cancelled", [CORE_BECAUSE_DEADLINE] = "deadline", [CORE_BECAUSE_DEPENDENCY] = "dependency",
        [CORE_BECAUSE_POISON] = "poison", [CORE_BECAUSE_DRAIN] = "drain"};

#define SPEC_START (sizeof("{\"head\":12345678,") - 1)
#define STATUS_START (sizeof("{\"view\":12345678,\"full\":12345678,") - 1)

const char *task_state_name(uint32_t state)
{
        return state < ARRAY_SIZE(state_names) && state_names[state] ? state_names[state] : "unknown";
}

const char *task_reason_name(uint32_t reason)
{
        return reason < CORE_REASONS && reason_names[reason] ? reason_names[reason] : "unknown";
}

int task_state_parse(const char *name, uint32_t *ret_state)
{
        for (uint32_t i = CORE_HELD; i <= CORE_EXPIRED; i++)
                if (!strcmp(name, state_names[i])) {
                        *ret_state = i;
                        return 0;
                }
        return -EINVAL;
}

struct task *task_find(struct service *s, const struct id *id)
{
        struct task *task;

        HASH_FIND(by_id, s->tasks, id, sizeof(*id), task);
        return task;
}

bool task_readable(const struct account_caller *caller, const struct id *account)
{
        return (id_equal(&caller->account, account) && account_may(caller, RIGHT_TASK_READ)) || account_may(caller, RIGHT_TASK_READ_ALL);
}

bool task_changeable(const struct account_caller *caller, const struct id *account)
{
        return (id_equal(&caller->account, account) && account_may(caller, RIGHT_TASK_CHANGE)) || account_may(caller, RIGHT_TASK_CHANGE_ALL);
}

struct task *task_new(struct service *s, const struct id *id, const struct id *account, struct strbuf *head, size_t brief, struct strbuf *payload)
{
        struct task *task = calloc(1, sizeof(*task));
        size_t bytes = head->length + payload->length + 2;

        if (!task || head->failed || payload->failed || !(task->head = malloc(bytes))) {
                free(task);
                return NULL;
        }
        memcpy(task->head, head->text, head->length + 1);
        memcpy(task->head + head->length + 1, payload->text, payload->length + 1);
        task->payload = task->head + head->length + 1;
        task->head_bytes = (uint32_t)head->length;
        task->brief_bytes = (uint32_t)brief;
        task->payload_bytes = (uint32_t)payload->length;
        task->id = *id;
        task->account = *account;
        task->queue = service_queue_of(account);
        task->number = CORE_NONE;
        task->created = (int64_t)id_unix_ms(id);
        task->deadline = UNIX_NEVER;
        task->owner = service_account_record(s, account);
        if (!task->owner) {
                free(task->head);
                free(task);
                return NULL;
        }
        task->owner->unfinished++;
        s->queues[task->queue].tasks++;
        s->task_bytes += sizeof(*task) + bytes;
        HASH_ADD(by_id, s->tasks, id, sizeof(task->id), task);
        objects_named(s, task->payload, 1);
        return task;
}

void task_free(struct service *s, struct task *task)
{
        task_lease_unlink(task);
        HASH_DELETE(by_id, s->tasks, task);
        if (!task->ended) {
                task->owner->unfinished--;
                s->queues[task->queue].tasks--;
        }
        objects_named(s, task->payload, -1);
        if (task->artifacts)
                objects_named(s, task->artifacts, 0);
        s->task_bytes -= sizeof(*task) + task->head_bytes + task->payload_bytes + 2;
        free(task->head);
        free(task->result);
        free(task->error);
        free(task->artifacts);
        free(task->usage);
        free(task);
}

/* An operation that referred to it is over; the last one of an ended task takes it out. */
void task_release(struct service *s, struct task *task)
{
        if (!--task->operations && task->ended && !task->waits)
                task_free(s, task);
}

void task_lease_link(struct task *task, struct worker *worker)
{
        task_lease_unlink(task);
        task->lease.before = worker->leases.before;
        task->lease.next = &worker->leases;
        task->lease.before->next = &task->lease;
        worker->leases.before = &task->lease;
}

void task_lease_unlink(struct task *task)
{
        if (!task->lease.next)
                return;
        task->lease.before->next = task->lease.next;
        task->lease.next->before = task->lease.before;
        task->lease.next = task->lease.before = NULL;
}

/* As the core has it: which workers it failed on, each once. For the row. */
void task_blamed_by(struct task *task, const struct id *worker)
{
        for (uint32_t i = 0; i < task->blamed_count; i++)
                if (id_equal(&task->blamed[i], worker))
                        return;
        if (task->blamed_count < ARRAY_SIZE(task->blamed))
                task->blamed[task->blamed_count++] = *worker;
}

static void put_progress(struct strbuf *b, const struct progress *p)
{
        put_literal(b, ",\"progress\":{\"share\":");
        put_real(b, p->share);
        if (p->steps) {
                put_literal(b, ",\"step\":");
                put_i64(b, p->step);
                put_literal(b, ",\"steps\":");
                put_i64(b, p->steps);
        }
        if (p->text[0]) {
                put_literal(b, ",\"text\":");
                put_string(b, p->text, strlen(p->text));
        }
        put_literal(b, "}");
}

static void put_part(struct strbuf *b, const char *name, const char *json)
{
        if (!json)
                return;
        put_literal(b, ",\"");
        put_text(b, name);
        put_literal(b, "\":");
        put_text(b, json);
}

static void put_when(struct strbuf *b, const char *name, int64_t unix_ms)
{
        if (!unix_ms || unix_ms == UNIX_NEVER)
                return;
        put_literal(b, ",\"");
        put_text(b, name);
        put_literal(b, "\":");
        put_time(b, unix_ms);
}

void task_status_members(struct strbuf *b, const struct task *task, const struct task_status *status, bool full)
{
        bool ended = task_state_ended(status->state);

        put_literal(b, "\"state\":\"");
        put_text(b, task_state_name(status->state));
        put_literal(b, "\",\"reason\":\"");
        put_text(b, task_reason_name(status->reason));
        put_literal(b, "\",\"account\":");
        put_id(b, "account", &task->account);
        put_literal(b, ",\"priority\":\"");
        put_text(b, band_names[task->band]);
        put_literal(b, "\",\"created\":");
        put_time(b, task->created);
        put_when(b, "queued", status->queued);
        put_when(b, "started", status->started);
        put_when(b, "ended", status->ended);
        put_when(b, "deadline", task->deadline);
        put_when(b, "retry_at", status->state == CORE_BACKOFF ? status->retry_at : 0);
        put_literal(b, ",\"attempt\":");
        put_u64(b, status->attempt);
        if (!id_is_none(&status->worker)) {
                put_literal(b, ",\"worker\":");
                put_id(b, "worker", &status->worker);
        }
        if (task->progress.known && status->state == CORE_LEASED)
                put_progress(b, &task->progress);
        if (status->state != CORE_DONE)
                put_part(b, "error", task->error);
        if (ended) {
                put_part(b, "artifacts", task->artifacts);
                put_part(b, "usage", task->usage);
        }
        if (full && ended)
                put_part(b, "result", task->result);
}

void task_spec_text(struct strbuf *b, const struct task *task)
{
        size_t place;

        put_literal(b, "{\"head\":");
        place = put_length(b);
        fill_length(b, place, task->head_bytes);
        put_literal(b, ",");
        strbuf_put(b, task->head, task->head_bytes);
        put_literal(b, ",\"payload\":");
        strbuf_put(b, task->payload, task->payload_bytes);
        put_literal(b, "}");
}

/* The row's status. What comes after the members is for rows_load only. */
void task_status_text(struct strbuf *b, const struct task *task)
{
        size_t view, full, start;

        put_literal(b, "{\"view\":");
        view = put_length(b);
        put_literal(b, ",\"full\":");
        full = put_length(b);
        put_literal(b, ",");
        start = b->length;
        task_status_members(b, task, &task->now, false);
        fill_length(b, view, (uint32_t)(b->length - start));
        if (task_state_ended(task->now.state))
                put_part(b, "result", task->result);
        fill_length(b, full, (uint32_t)(b->length - start));
        if (!task_state_ended(task->now.state)) {
                if (task->now.nonce) {
                        put_literal(b, ",\"nonce\":\"");
                        put_u64(b, task->now.nonce);
                        put_literal(b, "\"");
                }
                if (task->blamed_count) {
                        put_literal(b, ",\"blamed\":[");
                        for (uint32_t i = 0; i < task->blamed_count; i++) {
                                if (i)
                                        put_literal(b, ",");
                                put_id(b, "worker", &task->blamed[i]);
                        }
                        put_literal(b, "]");
                }
        }
        put_literal(b, "}");
}

static void view_start(struct strbuf *b, const struct id *id)
{
        put_literal(b, "{\"id\":");
        put_id(b, "task", id);
        put_literal(b, ",\"object\":\"task\",");
}

void task_view(struct strbuf *b, const struct task *task, const struct task_status *status, bool full)
{
        view_start(b, &task->id);
        task_status_members(b, task, status, full);
        put_literal(b, ",");
        strbuf_put(b, task->head, task->head_bytes);
        if (full) {
                put_literal(b, ",\"payload\":");
                strbuf_put(b, task->payload, task->payload_bytes);
        }
        put_literal(b, "}");
}

static bool read_length(const char *text, size_t bytes, size_t at, uint32_t *ret)
{
        uint32_t value = 0;

        if (bytes < at + 8)
                return false;
        for (int i = 0; i < 8; i++) {
                if (text[at + (size_t)i] < '0' || text[at + (size_t)i] > '9')
                        return false;
                value = value * 10 + (uint32_t)(text[at + (size_t)i] - '0');
        }
        *ret = value - 10000000;
        return value >= 10000000;
}

static bool row_parts(const struct store_row *row, uint32_t *head, uint32_t *view, uint32_t *full)
{
        return row->spec && row->status && read_length(row->spec, row->spec_bytes, 8, head) && SPEC_START + *head + 11 <= row->spec_bytes &&
               read_length(row->status, row->status_bytes, 8, view) && read_length(row->status, row->status_bytes, 24, full) && *view <= *full &&
               STATUS_START + *full < row->status_bytes;
}

int task_row_view(struct strbuf *b, const struct store_row *row, bool full)
{
        uint32_t head, view, all;

        if (!row_parts(row, &head, &view, &all))
                return -EBADMSG;
        view_start(b, &row->id);
        strbuf_put(b, row->status + STATUS_START, full ? all : view);
        put_literal(b, ",");
        if (full)
                strbuf_put(b, row->spec + SPEC_START, row->spec_bytes - SPEC_START - 1);
        else
                strbuf_put(b, row->spec + SPEC_START, head);
        put_literal(b, "}");
        return b->failed ? -ENOMEM : 0;
}

static int64_t member_time(const json_t *status, const char *name)
{
        const char *text = json_string_value(json_object_get(status, name));
        int64_t ms = 0;

        return text && !time_parse(text, &ms) ? ms : 0;
}

static int restore_status(struct task *task, const json_t *status, struct core_restored *was)
{
        const char *nonce = json_string_value(json_object_get(status, "nonce")), *worker = json_string_value(json_object_get(status, "worker"));
        const json_t *item;
        size_t i;

        task->now.attempt = (uint32_t)json_integer_value(json_object_get(status, "attempt"));
        task->now.queued = member_time(status, "queued");
        task->now.started = member_time(status, "started");
        task->now.retry_at = member_time(status, "retry_at");
        task->now.nonce = nonce ? strtoull(nonce, NULL, 10) : 0;
        if (worker && id_parse("worker", worker, &task->now.worker) < 0)
                return -EBADMSG;
        json_array_foreach(json_object_get(status, "blamed"), i, item)
                if (task->blamed_count < ARRAY_SIZE(task->blamed) && json_is_string(item) &&
                    !id_parse("worker", json_string_value(item), &task->blamed[task->blamed_count]))
                        task->blamed_count++;
        item = json_object_get(status, "error");
        if (item && !(task->error = json_dumps(item, JSON_COMPACT | JSON_ENCODE_ANY)))
                return -ENOMEM;
        *was = (struct core_restored){.state = task->now.state, .attempt = task->now.attempt, .nonce = task->now.nonce, .worker = task->now.worker,
                                      .blamed_count = task->blamed_count};
        memcpy(was->blamed, task->blamed, sizeof(was->blamed));
        return 0;
}

static void drop_json(json_t **json)
{
        json_decref(*json);
}

/* A row of an unfinished task back into memory and the core. -EBADMSG: not one of ours. */
int task_row_restore(struct service *s, const struct store_row *row)
{
        json_t *spec __attribute__((cleanup(drop_json))) = json_loadb(row->spec, row->spec_bytes, 0, NULL);
        json_t *status __attribute__((cleanup(drop_json))) = json_loadb(row->status, row->status_bytes, 0, NULL);
        struct core_restored was;
        struct core_task_spec core_spec;
        struct submission submission = {0};
        struct task *task;
        const char *text;
        uint32_t head, view, full, band = CORE_NORMAL;
        int r;

        if (task_find(s, &row->id))
                return 0;
        if (!json_is_object(spec) || !json_is_object(status) || !row_parts(row, &head, &view, &full))
                return -EBADMSG;
        r = submission_read(s, spec, "", NULL, 0, NULL, &submission);
        if (r < 0) {
                submission_done(&submission);
                return r == -ENOMEM ? r : -EBADMSG;
        }
        strbuf_clear(&submission.head);
        strbuf_put(&submission.head, row->spec + SPEC_START, head);
        task = task_new(s, &row->id, &row->account, &submission.head, submission.brief, &submission.payload);
        if (!task) {
                submission_done(&submission);
                return -ENOMEM;
        }
        text = json_string_value(json_object_get(status, "priority"));
        if (text && band_parse(text, &band) < 0)
                band = CORE_NORMAL;
        task->band = band;
        task->kind = row->kind;
        task->deadline = member_time(status, "deadline");
        if (!task->deadline)
                task->deadline = UNIX_NEVER;
        text = json_string_value(json_object_get(spec, "key"));
        if (text && id_parse("key", text, &task->key) < 0)
                task->key = (struct id){0};
        task->now.state = row->state;
        r = restore_status(task, status, &was);
        if (!r) {
                core_spec = (struct core_task_spec){
                        .id = task->id, .account = task->account, .key = task->key, .needs = submission.needs, .band = band, .attempts = submission.attempts,
                        .deadline = deadline_on_core(s, task->deadline), .cost = submission.cost, .after = submission.after,
                        .after_count = submission.after_count, .queue = task->queue, .wait_for_workers = true};
                if (submission.not_before)
                        core_spec.not_before = deadline_on_core(s, submission.not_before);
                was.retry_at = was.state == CORE_BACKOFF ? deadline_on_core(s, task->now.retry_at) : 0;
                r = core_restore(s->core, s->now_ms, &core_spec, &was, task, &task->number);
        }
        submission_done(&submission);
        if (r < 0) {
                task_free(s, task);
                return r;
        }
        task->shown = task->now;
        task->stored = true;
        task->leased_ns = s->now_ms * 1000000;
        if (task->now.state == CORE_LEASED) {
                struct worker *worker = worker_find(s, &task->now.worker);

                if (worker)
                        task_lease_link(task, worker);
        }
        return 0;
}
