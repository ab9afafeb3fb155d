/* why.c: why a task is not running yet, and why a worker is idle: the core's view in words, with counts for each need. */
#include "base/error.h"
#include "service/internal.h"

#include <stdio.h>

void service_task_why(struct service *s, const struct account_caller *caller, const struct id *id, service_done_fn done, void *context)
{
        struct task *task;
        struct core_task_view v;
        struct strbuf b = {0};
        char words[200], other[ID_TEXT];
        int r;

        service_time(s);
        task = task_find(s, id);
        if (!task || !task->shown.state || task->ended) {
                answer_problem(s, done, context, task ? 409 : 404, task ? "task.ended" : "not_found", task ? "it ended" : "no such task is unfinished", NULL);
                return;
        }
        if (!task_readable(caller, &task->account)) {
                answer_error(s, done, context, -ENOENT);
                return;
        }
        core_task_view(s->core, s->now_ms, task->number, &v);
        switch (v.state) {
        case CORE_HELD:
                if (id_is_none(&v.waits_for))
                        snprintf(words, sizeof(words), "it waits for the time it was given");
                else
                        snprintf(words, sizeof(words), "it waits for %s to be done", id_text("task", &v.waits_for, other));
                break;
        case CORE_QUEUED:
                if (!v.fitting)
                        snprintf(words, sizeof(words), "no worker that is known could run it");
                else if (!v.fitting_ready && v.fitting == 1)
                        snprintf(words, sizeof(words), "one worker could run it, and its slots are taken");
                else if (!v.fitting_ready)
                        snprintf(words, sizeof(words), "%u workers could run it, and all of their slots are taken", v.fitting);
                else
                        snprintf(words, sizeof(words), "it is about to start, or its account is at its limit of running tasks");
                break;
        case CORE_BACKOFF:
                snprintf(words, sizeof(words), "it failed and waits before attempt %u", v.attempt + 1);
                break;
        default:
                snprintf(words, sizeof(words), "it runs");
        }
        put_literal(&b, "{\"object\":\"why\",\"task\":");
        put_id(&b, "task", id);
        put_literal(&b, ",\"state\":\"");
        put_text(&b, task_state_name(v.state));
        put_literal(&b, "\",\"text\":");
        put_string(&b, words, strlen(words));
        strbuf_add(&b, ",\"position\":%u,\"fitting\":%u,\"fitting_ready\":%u,\"priority_now\":\"%s\"", v.position, v.fitting, v.fitting_ready,
                   v.band_now < CORE_BANDS ? band_names[v.band_now] : "unknown");
        if (v.eta_ms != CORE_NEVER)
                strbuf_add(&b, ",\"eta_ms\":%llu", (unsigned long long)v.eta_ms);
        if (v.why.unmet_count) {
                json_t *unmet = refusal_json(&v.why);

                put_literal(&b, ",\"unmet\":");
                r = put_json(&b, json_object_get(unmet, "unmet"));
                json_decref(unmet);
                b.failed |= r < 0;
        }
        put_literal(&b, "}");
        if (b.failed) {
                strbuf_done(&b);
                answer_error(s, done, context, -ENOMEM);
        } else {
                answer_text(s, done, context, 200, b.text, b.length, 0);
        }
}

void service_worker_why(struct service *s, const struct account_caller *caller, const struct id *id, service_done_fn done, void *context)
{
        struct worker *worker;
        struct core_worker_view v = {0};
        struct strbuf b = {0};
        const char *words;

        service_time(s);
        worker = worker_find(s, id);
        if (!worker || (!account_may(caller, RIGHT_WORKER_READ) && !id_equal(&worker->account, &caller->account))) {
                answer_error(s, done, context, -ENOENT);
                return;
        }
        if (worker->number != CORE_NONE)
                core_worker_view(s->core, s->now_ms, worker->number, &v);
        words = worker->number == CORE_NONE ? "it is not connected" : v.why_idle[0] ? v.why_idle : "it is busy";
        put_literal(&b, "{\"object\":\"why\",\"worker\":");
        put_id(&b, "worker", id);
        put_literal(&b, ",\"state\":\"");
        put_text(&b, worker_state_name(worker));
        put_literal(&b, "\",\"text\":");
        put_string(&b, words, strlen(words));
        strbuf_add(&b, ",\"slots\":%u,\"ready\":%u,\"leases\":%u,\"queued\":%u,\"fitting\":%u}", v.slots, v.ready, v.leases, v.queued, v.fitting);
        if (b.failed)
                answer_error(s, done, context, -ENOMEM);
        else
                answer_text(s, done, context, 200, b.text, b.length, 0);
}
