/* tasks.c: routes of tasks: the service's answers, with waiting, logs and results. */
#include "gateway/handlers.h"
#include "gateway/range.h"

#include "base/error.h"
#include "base/text.h"

#include <string.h>
#include <unistd.h>

#define WAIT_MAX_S 300

static bool task_part(struct request *r, struct id *ret_id)
{
        return request_id_part(r, 0, "task", ret_id);
}

/* Tasks of the account in a minute, each of a batch counted. False: answered. */
static bool may_submit(struct request *r)
{
        uint64_t most = r->caller.limits.tasks_per_minute, count = json_array_size(json_object_get(r->json, "tasks"));
        struct limit_party *account = most ? limit_party(&r->server->parties, r->caller.account.bytes) : NULL;
        struct limit_state told;

        if (!account)
                return true;
        account->tasks_per_minute = most;
        if (limit_take(&account->tasks, server_now(r->server), most, count ? count : 1, &told))
                return true;
        r->allowance.retry_s = told.retry_s;
        reply_problem(r, "limit.tasks", NULL, "More than %llu tasks in a minute.", (unsigned long long)most);
        return false;
}

void handle_submit(struct request *r)
{
        const char *key = request_header(r, HEADER_IDEMPOTENCY_KEY);
        char text[8];
        bool dry_run = false;
        int found = request_query(r, "dry_run", text, sizeof text);

        if (found < 0)
                return;
        if (found && text_parse_bool(text, &dry_run) < 0) {
                reply_problem(r, "request.parameter", NULL, "dry_run: true or false.");
                return;
        }
        if (key && (!*key || strlen(key) > 255)) {
                reply_problem(r, "request.malformed", NULL, "Idempotency-Key: 1 to 255 characters.");
                return;
        }
        if (!dry_run && !may_submit(r))
                return;
        request_begin(r);
        service_submit_apart(r->server->service, &r->caller, r->json, r->payload.text ? &r->payload : NULL, key, dry_run, request_done, r);
}

void handle_tasks(struct request *r)
{
        struct service_list list;
        char state[64], type[64];

        if (!request_list(r, "task", &list, state, type))
                return;
        request_begin(r);
        service_tasks(r->server->service, &r->caller, &list, request_done, r);
}

static void wait_done(void *context, const struct service_answer *answer)
{
        struct request *r = context;

        r->work = NULL;
        request_done(r, answer);
}

static void wait_gone(struct request *r)
{
        if (r->work)
                service_wait_cancel(r->work);
        r->work = NULL;
        request_release(r);
}

void handle_task(struct request *r)
{
        struct service_wait *wait;
        struct id task;
        uint64_t seconds = 0;

        if (!task_part(r, &task) || request_query_number(r, "wait", 0, WAIT_MAX_S, &seconds) < 0)
                return;
        request_begin(r);
        if (!seconds) {
                service_task(r->server->service, &r->caller, &task, request_done, r);
                return;
        }
        request_watch(r, wait_gone);
        wait = service_task_wait(r->server->service, &r->caller, &task, seconds * 1000, wait_done, r);
        if (wait) {
                r->work = wait;
        } else {
                r->pending = false;
                reply_problem(r, "pool.busy", NULL, "Out of memory.");
        }
}

void handle_task_change(struct request *r)
{
        struct id task;

        if (!task_part(r, &task))
                return;
        request_begin(r);
        service_task_change(r->server->service, &r->caller, &task, r->json, request_done, r);
}

void handle_task_cancel(struct request *r)
{
        struct id task;

        if (!task_part(r, &task))
                return;
        request_begin(r);
        service_task_cancel(r->server->service, &r->caller, &task, request_done, r);
}

void handle_task_delete(struct request *r)
{
        handle_task_cancel(r);
}

void handle_task_why(struct request *r)
{
        struct id task;

        if (!task_part(r, &task))
                return;
        request_begin(r);
        service_task_why(r->server->service, &r->caller, &task, request_done, r);
}

static void log_done(void *context, int error, int fd, uint64_t bytes)
{
        struct request *r = context;
        uint64_t offset = 0;

        r->pending = false;
        if (!r->connection) {
                if (error == 0)
                        close(fd);
                request_release(r);
        } else if (error < 0) {
                reply_error(r, error, error == -ENOENT ? "There is no such task, or no output of it yet." : NULL);
        } else if (request_query_number(r, "offset", 0, UINT64_MAX, &offset) < 0) {
                close(fd);
        } else {
                reply_header(r, "X-Log-Bytes: %llu\r\n", (unsigned long long)bytes);
                reply_file(r, fd, bytes, "text/plain; charset=utf-8", offset);
        }
}

void handle_task_log(struct request *r)
{
        uint64_t offset;
        struct id task;

        if (!task_part(r, &task) || request_query_number(r, "offset", 0, UINT64_MAX, &offset) < 0)
                return;
        request_begin(r);
        service_task_log(r->server->service, &r->caller, &task, log_done, r);
}

/* The result alone: cut out of the task. */
static void result_done(void *context, const struct service_answer *answer)
{
        struct request *r = context;
        json_t *task, *body;

        if (!r->connection || answer->status != 200) {
                request_done(r, answer);
                return;
        }
        r->pending = false;
        task = answer->text ? json_loadb(answer->text, answer->bytes, 0, NULL) : json_incref(answer->body);
        if (!json_is_string(json_object_get(task, "ended"))) {
                reply_problem(r, "conflict", json_pack("{s:O?}", "state", json_object_get(task, "state")), "The task has not ended.");
        } else {
                body = json_pack("{s:O?, s:O?, s:O?, s:O?}", "state", json_object_get(task, "state"), "result", json_object_get(task, "result"), "artifacts",
                                 json_object_get(task, "artifacts"), "error", json_object_get(task, "error"));
                reply_json(r, 200, body);
        }
        json_decref(task);
}

void handle_task_result(struct request *r)
{
        struct id task;

        if (!task_part(r, &task))
                return;
        request_begin(r);
        service_task(r->server->service, &r->caller, &task, result_done, r);
}
