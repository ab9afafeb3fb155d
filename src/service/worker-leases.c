/* worker-leases.c: how a lease ends, in the worker's words: result, failure, declined; and that it goes on: renewed. A result's texts are taken only when the core
 * takes the result; it is acknowledged when both are durable. Artifacts that it lists must have been uploaded by the worker's own account, and are then
 * readable by the task's. */
#include "base/error.h"
#include "base/text.h"
#include "service/internal.h"
#include "service/pass.h"

#include <stdio.h>

#define MESSAGE_BYTES (1u << 20)

static int take_usage(struct service_worker *c, struct task *task, const json_t *m)
{
        const json_t *usage = json_object_get(m, "usage");
        struct strbuf b = {0};
        json_t *value;
        const char *name;
        bool first = true;
        int count = 0;

        if (!usage || json_is_null(usage))
                return 0;
        if (!json_is_object(usage))
                return message_malformed(c, "usage: an object of numbers");
        put_literal(&b, "{");
        json_object_foreach((json_t *)usage, name, value)
                if (json_is_number(value) && strlen(name) < LABEL_BYTES && count++ < 32) {
                        if (!first)
                                put_literal(&b, ",");
                        first = false;
                        put_string(&b, name, strlen(name));
                        put_literal(&b, ":");
                        put_json(&b, value);
                }
        put_literal(&b, "}");
        free(task->usage);
        task->usage = b.failed ? NULL : b.text;
        return 0;
}

static uint64_t measured(const struct service *s, const struct task *task)
{
        uint64_t ms = (s->now_ns - task->leased_ns) / 1000000;

        return ms ? ms : 1;
}

static void replace(char **to, char *text)
{
        free(*to);
        *to = text;
}

static int ready_too(struct service_worker *c, const json_t *m)
{
        const json_t *ready = json_object_get(m, "ready");

        if (ready && !json_is_boolean(ready) && !json_is_null(ready))
                return message_malformed(c, "ready: true or false");
        if (json_is_true(ready))
                core_ready(c->service->core, c->service->now_ms, c->worker->number, 1);
        return 0;
}

/* A failure that the pool itself found. */
static void fail_for(struct service_worker *c, struct task *task, uint64_t nonce, const char *code, const char *text, bool retryable, bool blame_task)
{
        struct service *s = c->service;
        struct strbuf b = {0};
        struct id id = task->id;

        put_literal(&b, "{\"code\":");
        put_string(&b, code, strlen(code));
        put_literal(&b, ",\"text\":");
        put_string(&b, text, strlen(text));
        put_literal(&b, "}");
        replace(&task->error, b.failed ? NULL : b.text);
        if (core_fail(s->core, s->now_ms, c->worker->number, &id, nonce, retryable, blame_task) == CORE_OK) {
                act_drain(s);
                message_tell_lease(s, c, OPERATION_ACK, &id, nonce);
        } else {
                message_stale(c, &id, nonce);
        }
}

static void finish_result(struct service_worker *c, struct task *task, uint64_t nonce)
{
        struct service *s = c->service;
        struct id id = task->id;

        if (core_result(s->core, s->now_ms, c->worker->number, &id, nonce, measured(s, task)) != CORE_OK) {
                message_stale(c, &id, nonce);
                return;
        }
        act_drain(s);
        message_tell_lease(s, c, OPERATION_ACK, &id, nonce);
}

/* A result with artifacts: each must be there, and uploaded by the worker's own account; or it is an input of the task that came out unchanged. */
struct artifact_job {
        struct job job;
        struct service_worker *connection;
        struct id task, account, owner;
        uint64_t nonce;
        json_t *message;
        bool missing, inputs[ARTIFACTS];
        char sha256[65];
};

static int artifact_row(void *context, const struct store_row *row)
{
        *(bool *)context = true;
        return 0;
}

static void artifact_run(struct job *job, struct store *store)
{
        struct artifact_job *a = (struct artifact_job *)job;
        const json_t *item;
        size_t i;

        if (!store) {
                job->error = -E_UNAVAILABLE;
                return;
        }
        json_array_foreach(json_object_get(a->message, "artifacts"), i, item) {
                bool found = false;
                struct id row;
                int r;

                object_row_id(json_string_value(json_object_get(item, "sha256")), &a->account, &row);
                r = store_get(store, STORE_OBJECT, &row, artifact_row, &found);
                if (r == -ENOENT && a->inputs[i]) {
                        object_row_id(json_string_value(json_object_get(item, "sha256")), &a->owner, &row);
                        r = store_get(store, STORE_OBJECT, &row, artifact_row, &found);
                }
                if (r < 0 && r != -ENOENT) {
                        job->error = r;
                        return;
                }
                if (!found && !a->missing) {
                        a->missing = true;
                        snprintf(a->sha256, sizeof(a->sha256), "%s", json_string_value(json_object_get(item, "sha256")));
                }
        }
}

/* Which of the artifacts the payload names as inputs. */
static void mark_inputs(struct artifact_job *a, const struct task *task)
{
        const json_t *item;
        char wanted[80];
        size_t i;

        a->owner = task->account;
        json_array_foreach(json_object_get(a->message, "artifacts"), i, item) {
                snprintf(wanted, sizeof(wanted), "\"sha256\":\"%.64s\"", json_string_value(json_object_get(item, "sha256")));
                a->inputs[i] = strstr(task->payload, wanted);
        }
}

static void artifact_finish(struct service *s, struct job *job)
{
        struct artifact_job *a = (struct artifact_job *)job;
        struct service_worker *c = a->connection;
        struct task *task = task_find(s, &a->task);
        const json_t *list = json_object_get(a->message, "artifacts"), *item;
        char text[160];
        size_t i;

        if (c->state != CONNECTION_JOINED || c->gone || !task || task->now.state != CORE_LEASED || task->now.nonce != a->nonce ||
            !id_equal(&task->now.worker, &c->worker->id)) {
                if (c->state == CONNECTION_JOINED && !c->gone)
                        message_stale(c, &a->task, a->nonce);
        } else if (job->error < 0) {
                fail_for(c, task, a->nonce, "artifact.unknown", "the store could not be asked for its artifacts", true, false);
        } else if (a->missing) {
                snprintf(text, sizeof(text), "the artifact %s was not uploaded by this worker's account", a->sha256);
                fail_for(c, task, a->nonce, "artifact.missing", text, true, false);
        } else {
                struct strbuf b = {0};

                put_literal(&b, "[");
                json_array_foreach(list, i, item) {
                        const char *name = json_string_value(json_object_get(item, "name"));

                        put_text(&b, i ? ",{\"name\":" : "{\"name\":");
                        put_string(&b, name, strlen(name));
                        strbuf_add(&b, ",\"sha256\":\"%s\",\"bytes\":%lld}", json_string_value(json_object_get(item, "sha256")),
                                   (long long)json_integer_value(json_object_get(item, "bytes")));
                        (void)!object_grant(s, json_string_value(json_object_get(item, "sha256")), &task->account,
                                            (uint64_t)json_integer_value(json_object_get(item, "bytes")));
                }
                put_literal(&b, "]");
                replace(&task->artifacts, b.failed ? NULL : b.text);
                finish_result(c, task, a->nonce);
        }
        c->checking--;
        if (c->state == CONNECTION_JOINED && !c->gone) {
                (void)!ready_too(c, a->message);
                if (!c->checking && c->ready_later) {
                        core_ready(s->core, s->now_ms, c->worker->number, c->ready_later);
                        c->ready_later = 0;
                }
        }
        act_drain(s);
        connection_release(c);
        json_decref(a->message);
        free(a);
}

static int check_artifacts(struct service_worker *c, const json_t *list)
{
        const json_t *item;
        size_t i;

        if (!json_is_array(list) || json_array_size(list) > ARTIFACTS)
                return message_malformed(c, "artifacts: an array of at most 100");
        json_array_foreach(list, i, item) {
                const json_t *name = json_object_get(item, "name"), *sha256 = json_object_get(item, "sha256"), *bytes = json_object_get(item, "bytes");

                if (!json_is_string(name) || json_string_length(name) > 255 || !json_is_string(sha256) || !object_sha256_valid(json_string_value(sha256)) ||
                    !json_is_integer(bytes) || json_integer_value(bytes) < 0)
                        return message_malformed(c, "artifacts: each has name, sha256 (64 hex digits) and bytes");
        }
        return 0;
}

int on_result(struct service_worker *c, const json_t *m)
{
        struct service *s = c->service;
        const json_t *result = json_object_get(m, "result"), *artifacts = json_object_get(m, "artifacts");
        struct strbuf b = {0};
        struct artifact_job *job;
        struct task *task;
        struct id id;
        uint64_t nonce;
        int r = message_lease_of(c, m, &id, &nonce, &task);

        if (r < 0)
                return r;
        if (r == 0) {
                message_not_its_lease(c, &id, nonce, task);
                return ready_too(c, m);
        }
        if (artifacts && json_is_null(artifacts))
                artifacts = NULL;
        if (artifacts && (r = check_artifacts(c, artifacts)) < 0)
                return r;
        for (size_t i = 0; i < json_array_size(artifacts); i++)
                object_touch(s, json_string_value(json_object_get(json_array_get(artifacts, i), "sha256")));
        r = take_usage(c, task, m);
        if (r < 0)
                return r;
        if (result)
                put_json(&b, result);
        if (b.failed || b.length > s->options.payload_bytes) {
                strbuf_done(&b);
                fail_for(c, task, nonce, "result.too_large", "the result is over the limit: larger ones go as artifacts", false, true);
                return ready_too(c, m);
        }
        replace(&task->result, b.text);
        if (!artifacts || !json_array_size(artifacts)) {
                finish_result(c, task, nonce);
                return ready_too(c, m);
        }
        job = calloc(1, sizeof(*job));
        if (!job)
                return message_malformed(c, "the pool is out of memory");
        *job = (struct artifact_job){.job = {.run = artifact_run, .finish = artifact_finish}, .connection = c, .task = id, .account = c->caller.account,
                                     .nonce = nonce, .message = json_incref((json_t *)m)};
        mark_inputs(job, task);
        if (jobs_put(s->reader, &job->job) < 0) {
                json_decref(job->message);
                free(job);
                connection_end(c, "pool.busy", "too much waits for the store: send it again");
                return -E_QUOTA;
        }
        c->references++;
        c->checking++;
        return 0;
}

/* A text of digits and letters, without its quotes. */
static bool short_span(struct text_span span, char *to, size_t size)
{
        if (span.bytes < 2 || span.bytes - 2 >= size || span.text[0] != '"' || memchr(span.text, '\\', span.bytes))
                return false;
        memcpy(to, span.text + 1, span.bytes - 2);
        to[span.bytes - 2] = '\0';
        return true;
}

int on_plain_result(struct service_worker *c, const char *text, size_t bytes)
{
        enum { M, TASK, NONCE, RESULT, READY, NAMES };
        static const struct text_span names[NAMES] = {{"m", 1}, {"task", 4}, {"nonce", 5}, {"result", 6}, {"ready", 5}};
        struct text_span name, value, found[NAMES] = {{NULL, 0}};
        struct service *s = c->service;
        char id_text[ID_TEXT], nonce_text[24];
        struct strbuf b = {0};
        struct task *task;
        struct id id;
        uint64_t nonce;
        size_t at = 0;
        int r;

        while ((r = pass_member(text, bytes, &at, &name, &value)) == 1) {
                int i = 0;

                while (i < NAMES && !span_is(name, names[i].text, names[i].bytes))
                        i++;
                if (i == NAMES || found[i].text)
                        return -EAGAIN;
                found[i] = value;
                if (i == M && !SPAN_IS(value, "\"result\""))
                        return -EAGAIN;
        }
        if (r || !found[M].text || !found[RESULT].text || !SPAN_IS(found[READY], "true") || !short_span(found[TASK], id_text, sizeof(id_text)) ||
            !short_span(found[NONCE], nonce_text, sizeof(nonce_text)) || id_parse("task", id_text, &id) < 0 || text_parse_u64(nonce_text, 0, UINT64_MAX, &nonce) < 0)
                return -EAGAIN;
        task = task_find(s, &id);
        if (!task || task->now.state != CORE_LEASED || task->now.nonce != nonce || !id_equal(&task->now.worker, &c->worker->id))
                return -EAGAIN;
        if (pass_value(found[RESULT].text, found[RESULT].bytes, &b) < 0 || b.failed || b.length > s->options.payload_bytes) {
                strbuf_done(&b);
                return -EAGAIN;
        }
        c->worker->seen_ns = s->now_ns;
        core_heartbeat(s->core, s->now_ms, c->worker->number);
        replace(&task->result, b.text);
        finish_result(c, task, nonce);
        core_ready(s->core, s->now_ms, c->worker->number, 1);
        return 0;
}

int on_fail(struct service_worker *c, const json_t *m)
{
        struct service *s = c->service;
        const json_t *error = json_object_get(m, "error"), *retryable = json_object_get(m, "retryable"), *exit_ = json_object_get(error, "exit");
        const char *blame = NULL, *code = NULL, *text = NULL;
        struct strbuf b = {0};
        struct task *task;
        struct id id;
        uint64_t nonce;
        int r = message_lease_of(c, m, &id, &nonce, &task);

        if (r < 0)
                return r;
        if (r == 0) {
                message_not_its_lease(c, &id, nonce, task);
                return ready_too(c, m);
        }
        if ((error && !json_is_object(error)) || (retryable && !json_is_boolean(retryable)))
                return message_malformed(c, "error: an object; retryable: true or false");
        if (message_text_of(c, m, "blame", 16, &blame) < 0 || message_text_of(c, error, "code", 64, &code) < 0 || message_text_of(c, error, "text", MESSAGE_BYTES, &text) < 0)
                return -E_MESSAGE;
        if (blame && strcmp(blame, "task") && strcmp(blame, "worker"))
                return message_malformed(c, "blame: task or worker");
        r = take_usage(c, task, m);
        if (r < 0)
                return r;
        put_literal(&b, "{\"code\":");
        put_string(&b, code ? code : "failed", strlen(code ? code : "failed"));
        put_literal(&b, ",\"text\":");
        put_string(&b, text ? text : "", text ? strnlen(text, 4000) : 0);
        if (json_is_integer(exit_))
                strbuf_add(&b, ",\"exit\":%lld", (long long)json_integer_value(exit_));
        put_literal(&b, "}");
        replace(&task->error, b.failed ? NULL : b.text);
        if (core_fail(s->core, s->now_ms, c->worker->number, &id, nonce, !retryable || json_is_true(retryable), !blame || !strcmp(blame, "task")) == CORE_OK) {
                if (!blame || !strcmp(blame, "task"))
                        task_blamed_by(task, &c->worker->id);
                act_drain(s);
                message_tell_lease(s, c, OPERATION_ACK, &id, nonce);
        } else {
                message_stale(c, &id, nonce);
        }
        return ready_too(c, m);
}

int on_decline(struct service_worker *c, const json_t *m)
{
        struct task *task;
        struct id id;
        uint64_t nonce;
        int r = message_lease_of(c, m, &id, &nonce, &task);

        if (r <= 0)
                return r < 0 ? r : message_not_its_lease(c, &id, nonce, task);
        if (core_decline(c->service->core, c->service->now_ms, c->worker->number, &id, nonce) != CORE_OK)
                message_stale(c, &id, nonce);
        return 0;
}

int on_renew(struct service_worker *c, const json_t *m)
{
        const json_t *leases = json_object_get(m, "leases"), *item;
        size_t i;

        if (!json_is_array(leases) || json_array_size(leases) > RUNNING_LEASES)
                return message_malformed(c, "leases: an array");
        json_array_foreach(leases, i, item) {
                struct task *task;
                struct id id;
                uint64_t nonce;
                int r = message_lease_of(c, item, &id, &nonce, &task);

                if (r < 0)
                        return r;
                if (r == 0)
                        message_not_its_lease(c, &id, nonce, task);
                else if (core_renew(c->service->core, c->service->now_ms, c->worker->number, &id, nonce) != CORE_OK)
                        message_stale(c, &id, nonce);
        }
        return 0;
}

/* What the worker is to run. Everything that the task's head has (type, name, needs …) is in it. */
void worker_lease_text(struct service *s, struct strbuf *b, const struct task *task, uint64_t nonce)
{
        const struct core_settings *settings = &s->core_settings;

        put_literal(b, "{\"m\":\"lease\",\"task\":");
        put_id(b, "task", &task->id);
        put_literal(b, ",\"nonce\":\"");
        put_u64(b, nonce);
        put_literal(b, "\",\"attempt\":");
        put_u64(b, task->now.attempt);
        put_literal(b, ",\"lease_ms\":");
        put_u64(b, settings->lease_ms);
        if (task->deadline != UNIX_NEVER) {
                put_literal(b, ",\"deadline_ms\":");
                put_u64(b, task->deadline > s->unix_ms ? (uint64_t)(task->deadline - s->unix_ms) : 0);
        }
        put_literal(b, ",\"account\":");
        put_id(b, "account", &task->account);
        put_literal(b, ",");
        strbuf_put(b, task->head, task->head_bytes);
        put_literal(b, ",\"payload\":");
        strbuf_put(b, task->payload, task->payload_bytes);
        put_literal(b, "}");
}
