/* task-change.c: cancelling, and changing what a task may still change: its priority and its deadline. */
#include "base/error.h"
#include "service/internal.h"

static struct task *changeable(struct service *s, const struct account_caller *caller, const struct id *id, service_done_fn done, void *context)
{
        struct task *task = task_find(s, id);

        if (!task || !task->shown.state || !task_readable(caller, &task->account)) {
                /* It may have ended long ago, or be another's; service_task says which. Either way there is nothing to change. */
                answer_problem(s, done, context, task ? 404 : 409, task ? "not_found" : "task.ended",
                               task ? "there is no such task" : "no such task is unfinished: it ended, or never was", NULL);
                return NULL;
        }
        if (!task_changeable(caller, &task->account)) {
                answer_error(s, done, context, -EACCES);
                return NULL;
        }
        if (task->ended) {
                answer_problem(s, done, context, 409, "task.ended", "it ended already", NULL);
                return NULL;
        }
        if (s->queues[task->queue].state != QUEUE_OURS) {
                answer_error(s, done, context, -ESTALE);
                return NULL;
        }
        return task;
}

static void answer_task(struct service *s, struct task *task, service_done_fn done, void *context)
{
        struct strbuf b = {0};

        task_view(&b, task, &task->now, true);
        if (b.failed)
                answer_error(s, done, context, -ENOMEM);
        else
                answer_when_durable(s, done, context, 200, b.text, b.length, NULL);
}

void service_task_cancel(struct service *s, const struct account_caller *caller, const struct id *id, service_done_fn done, void *context)
{
        struct task *task;

        service_time(s);
        task = changeable(s, caller, id, done, context);
        if (!task)
                return;
        if (core_cancel(s->core, s->now_ms, task->number) < 0) {
                answer_problem(s, done, context, 409, "task.ended", "it ended already", NULL);
                return;
        }
        act_drain(s);
        answer_task(s, task, done, context);
}

void service_task_change(struct service *s, const struct account_caller *caller, const struct id *id, const json_t *body, service_done_fn done, void *context)
{
        const json_t *priority = json_object_get(body, "priority"), *deadline = json_object_get(body, "deadline");
        json_t *violations = json_array(), *problem;
        struct task *task;
        uint32_t band = CORE_NORMAL;
        int64_t when = UNIX_NEVER;
        const char *name;
        json_t *value;
        int r = 0;

        service_time(s);
        json_object_foreach((json_t *)body, name, value)
                if (strcmp(name, "priority") && strcmp(name, "deadline"))
                        violation_add(violations, name, "can't be changed");
        if (!json_is_object(body) || !json_object_size(body))
                violation_add(violations, "", "an object with priority or deadline is wanted");
        if (priority && (!json_is_string(priority) || band_parse(json_string_value(priority), &band) < 0))
                violation_add(violations, "priority", "urgent, high, normal, low or idle is wanted here");
        if (deadline && !json_is_null(deadline) && (!json_is_string(deadline) || time_parse(json_string_value(deadline), &when) < 0))
                violation_add(violations, "deadline", "a time like \"2026-11-21T12:00:00Z\" or null is wanted here");
        if (json_array_size(violations)) {
                problem = json_object();
                json_object_set_new(problem, "violations", violations);
                answer_problem(s, done, context, 422, "task.invalid", "see violations", problem);
                return;
        }
        json_decref(violations);
        task = changeable(s, caller, id, done, context);
        if (!task)
                return;
        if (priority)
                r = core_prioritise(s->core, s->now_ms, task->number, band);
        if (!r && deadline)
                r = core_set_deadline(s->core, s->now_ms, task->number, deadline_on_core(s, when));
        if (r < 0) {
                answer_problem(s, done, context, 409, "task.ended", "it ended already", NULL);
                return;
        }
        if (priority)
                task->band = band;
        if (deadline)
                task->deadline = when;
        /* The row is written, and everybody told, even when nothing but these changed. */
        {
                struct operation *op;

                pending_put_task(s, task);
                op = operation_add(s, OPERATION_STATE);
                op->task = task;
                op->status = task->now;
                task->operations++;
        }
        act_drain(s);
        answer_task(s, task, done, context);
}
