/* about.c: what the pool says of itself: health, figures, metrics, and the snapshot that a page begins with. */
#include "base/error.h"
#include "service/internal.h"

#include <stdio.h>

#define SNAPSHOT_TASKS 1000

void service_health(struct service *s, struct service_health *ret)
{
        unsigned int known = 0;
        char problem[STORE_MESSAGE] = "";

        *ret = (struct service_health){0};
        for (unsigned int i = 0; i < STORE_QUEUES; i++)
                known += s->queues[i].state == QUEUE_OURS || s->queues[i].owner[0];
        if (s->writer)
                writer_get_problem(s->writer, problem);
        if (s->reopening)
                snprintf(ret->reason, sizeof(ret->reason), "the store is being opened again");
        else if (s->writer_state.error)
                snprintf(ret->reason, sizeof(ret->reason), "the store takes nothing now: %.200s", problem[0] ? problem : error_text(s->writer_state.error));
        else if (!known)
                snprintf(ret->reason, sizeof(ret->reason), "no queue has an owner");
        ret->ready = !ret->reason[0];
}

void service_counts(struct service *s, struct strbuf *b)
{
        struct core_statistics c;
        unsigned int away = HASH_CNT(by_id, s->workers);

        core_statistics(s->core, &c);
        /* Those that the core knows are not away. */
        for (size_t i = 0; i < ARRAY_SIZE(c.workers); i++)
                away -= c.workers[i] < away ? (unsigned int)c.workers[i] : away;
        put_literal(b, "\"tasks\":{");
        for (uint32_t i = CORE_HELD; i <= CORE_EXPIRED; i++)
                strbuf_add(b, "%s\"%s\":%llu", i > CORE_HELD ? "," : "", task_state_name(i), (unsigned long long)c.tasks[i]);
        strbuf_add(b, "},\"workers\":{\"active\":%llu,\"suspect\":%llu,\"lost\":%llu,\"draining\":%llu,\"drained\":%llu,\"away\":%u,\"slots\":%u,\"ready\":%u}",
                   (unsigned long long)c.workers[CORE_ALIVE], (unsigned long long)c.workers[CORE_SUSPECT], (unsigned long long)c.workers[CORE_LOST],
                   (unsigned long long)c.workers[CORE_DRAINING], (unsigned long long)c.workers[CORE_DRAINED], away, c.slots, c.ready);
}

void service_about(struct service *s, const struct account_caller *caller, service_done_fn done, void *context)
{
        struct strbuf b = {0};
        unsigned int ours = 0;

        service_time(s);
        for (unsigned int i = 0; i < STORE_QUEUES; i++)
                ours += s->queues[i].state == QUEUE_OURS;
        put_literal(&b, "{\"object\":\"pool\",\"server\":");
        put_string(&b, s->server ? s->server : "", s->server ? strlen(s->server) : 0);
        strbuf_add(&b, ",\"version\":\"%s\",\"uptime_s\":%llu,\"queues\":{\"ours\":%u,\"total\":%d},\"servers\":[", BERTH_VERSION,
                   (unsigned long long)((s->now_ns - s->started_ns) / 1000000000), ours, STORE_QUEUES);
        for (size_t i = 0; i < s->survey.server_count; i++) {
                put_text(&b, i ? "," : "");
                put_string(&b, s->survey.servers[i].address, strlen(s->survey.servers[i].address));
        }
        put_literal(&b, "],");
        service_counts(s, &b);
        put_literal(&b, ",\"store\":{\"kind\":");
        put_string(&b, s->store_kind, strlen(s->store_kind));
        if (account_may(caller, RIGHT_METRICS)) {
                put_literal(&b, ",\"about\":");
                put_string(&b, s->store_text, strlen(s->store_text));
                strbuf_add(&b, ",\"commits\":%llu,\"rows\":%llu,\"commit_us_mean\":%llu,\"waiting_bytes\":%llu", (unsigned long long)s->writer_state.commits,
                           (unsigned long long)s->writer_state.rows,
                           (unsigned long long)(s->writer_state.commits ? s->writer_state.commit_ns_sum / s->writer_state.commits / 1000 : 0),
                           (unsigned long long)s->writer_state.waiting_bytes);
        }
        strbuf_add(&b, ",\"error\":");
        if (s->writer_state.error)
                put_string(&b, error_text(s->writer_state.error), strlen(error_text(s->writer_state.error)));
        else
                put_literal(&b, "null");
        strbuf_add(&b, "},\"events\":{\"epoch\":%llu,\"first\":%llu,\"last\":%llu}}", (unsigned long long)s->events.epoch, (unsigned long long)s->events.first,
                   (unsigned long long)s->events.last);
        if (b.failed)
                answer_error(s, done, context, -ENOMEM);
        else
                answer_text(s, done, context, 200, b.text, b.length, 0);
}

void service_snapshot(struct service *s, const struct account_caller *caller, service_done_fn done, void *context)
{
        bool all = account_may(caller, RIGHT_TASK_READ_ALL), first = true;
        size_t node_room = nodes_snapshot_room();
        struct worker *worker, *next_worker;
        struct task *task, *next;
        unsigned int count = 0, left_out = 0, nodes_left_out = 0;
        struct strbuf b = {0};

        service_time(s);
        strbuf_add(&b, "{\"id\":\"%llu-%llu\",\"type\":\"snapshot\",\"time\":", (unsigned long long)s->events.epoch, (unsigned long long)s->events.last);
        put_time(&b, s->unix_ms);
        put_literal(&b, ",\"data\":{");
        if (all) {
                service_counts(s, &b);
        } else {
                /* Only its own are counted. */
                unsigned int states[CORE_BACKOFF + 1] = {0};

                HASH_ITER(by_id, s->tasks, task, next)
                        if (id_equal(&task->account, &caller->account) && task->shown.state && task->shown.state <= CORE_BACKOFF)
                                states[task->shown.state]++;
                put_literal(&b, "\"tasks\":{");
                for (uint32_t i = CORE_HELD; i <= CORE_BACKOFF; i++)
                        strbuf_add(&b, "%s\"%s\":%u", i > CORE_HELD ? "," : "", task_state_name(i), states[i]);
                put_literal(&b, "}");
        }
        put_literal(&b, ",\"unfinished\":[");
        HASH_ITER(by_id, s->tasks, task, next) {
                if (!task->shown.state || task_state_ended(task->shown.state) || (!all && !id_equal(&task->account, &caller->account)))
                        continue;
                if (count == SNAPSHOT_TASKS) {
                        left_out++;
                        continue;
                }
                if (count++)
                        put_literal(&b, ",");
                task_view(&b, task, &task->shown, false);
        }
        strbuf_add(&b, "],\"partial\":%s,\"unfinished_left_out\":%u,\"workers_list\":[", all && service_is_partial(s) ? "true" : "false", left_out);
        HASH_ITER(by_id, s->workers, worker, next_worker) {
                if (worker->number == CORE_NONE || !worker_readable(caller, worker))
                        continue;
                if (!first)
                        put_literal(&b, ",");
                first = false;
                worker_view_open(&b, s, worker);
                nodes_put(&b, worker, &node_room, &nodes_left_out);
                put_literal(&b, "}");
                if (b.length > (16u << 20))
                        break;
        }
        strbuf_add(&b, "],\"nodes_left_out\":%u}}", nodes_left_out);
        if (b.failed)
                answer_error(s, done, context, -ENOMEM);
        else
                answer_text(s, done, context, 200, b.text, b.length, 0);
}

static void metric(struct strbuf *b, const char *name, const char *kind, const char *help, uint64_t value)
{
        strbuf_add(b, "# HELP %s %s\n# TYPE %s %s\n%s %llu\n", name, help, name, kind, name, (unsigned long long)value);
}

void service_metrics(struct service *s, struct strbuf *b)
{
        static const char *const workers[] = {"active", "suspect", "lost", "draining", "drained"};
        const struct counters *n = &s->counters;
        const struct writer_state *w = &s->writer_state;
        struct core_statistics c;
        unsigned int ours = 0;

        service_time(s);
        core_statistics(s->core, &c);
        for (unsigned int i = 0; i < STORE_QUEUES; i++)
                ours += s->queues[i].state == QUEUE_OURS;
        put_literal(b, "# HELP pool_tasks Unfinished tasks by state.\n# TYPE pool_tasks gauge\n");
        for (uint32_t i = CORE_HELD; i <= CORE_BACKOFF; i++)
                strbuf_add(b, "pool_tasks{state=\"%s\"} %llu\n", task_state_name(i), (unsigned long long)c.tasks[i]);
        put_literal(b, "# HELP pool_tasks_ended_total Tasks that ended, by how.\n# TYPE pool_tasks_ended_total counter\n");
        for (uint32_t i = CORE_DONE; i <= CORE_EXPIRED; i++)
                strbuf_add(b, "pool_tasks_ended_total{state=\"%s\"} %llu\n", task_state_name(i), (unsigned long long)c.tasks[i]);
        put_literal(b, "# HELP pool_workers Workers by state.\n# TYPE pool_workers gauge\n");
        for (size_t i = 0; i < ARRAY_SIZE(workers); i++)
                strbuf_add(b, "pool_workers{state=\"%s\"} %llu\n", workers[i], (unsigned long long)c.workers[i]);
        metric(b, "pool_worker_slots", "gauge", "Slots of all workers.", c.slots);
        metric(b, "pool_worker_slots_ready", "gauge", "Of them, free.", c.ready);
        metric(b, "pool_submitted_total", "counter", "Tasks taken.", c.submitted);
        metric(b, "pool_refused_total", "counter", "Tasks refused by the scheduler.", c.refused);
        metric(b, "pool_refused_store_total", "counter", "Requests refused because the store takes nothing.", n->refused_store);
        metric(b, "pool_refused_full_total", "counter", "Requests refused because too much is unfinished.", n->refused_full);
        metric(b, "pool_leases_total", "counter", "Leases given.", c.leases);
        metric(b, "pool_leases_expired_total", "counter", "Leases lost with their worker or not renewed.", c.lost);
        metric(b, "pool_leases_resumed_total", "counter", "Leases that went on after a worker or the pool came back.", n->resumed);
        metric(b, "pool_leases_unlisted_total", "counter", "Leases that a worker that came back did not know of.", n->lost_unlisted);
        metric(b, "pool_retries_total", "counter", "Attempts after the first.", c.retried);
        metric(b, "pool_declined_total", "counter", "Leases that workers did not take.", c.declined);
        metric(b, "pool_stale_total", "counter", "Words about leases that were not the worker's.", n->stale);
        metric(b, "pool_worker_foreign_total", "counter", "Of them, about another worker's task.", n->foreign);
        metric(b, "pool_brake", "gauge", "1: most workers went silent at once, none is taken for lost.", c.brake);
        metric(b, "pool_worker_messages_total", "counter", "Messages of workers.", n->worker_messages);
        metric(b, "pool_worker_messages_unknown_total", "counter", "Of them, of an unknown kind.", n->worker_unknown);
        metric(b, "pool_worker_messages_malformed_total", "counter", "Of them, malformed.", n->worker_malformed);
        metric(b, "pool_worker_messages_refused_total", "counter", "Connections ended for too many.", n->worker_quota);
        metric(b, "pool_node_reports_total", "counter", "Reports of workers' machines.", n->node_reports);
        metric(b, "pool_node_reports_dropped_total", "counter", "Of them, too soon after one another, or more than is kept.", n->node_dropped);
        metric(b, "pool_machine_reports_total", "counter", "Reports of workers' machines in full, for who looked.", n->machine_reports);
        metric(b, "pool_machine_reports_dropped_total", "counter", "Of them, that nobody had asked for, wrong, or more than is kept.", n->machine_dropped);
        metric(b, "pool_node_report_bytes", "gauge", "Kept of both.", s->node_bytes);
        metric(b, "pool_progress_dropped_total", "counter", "Progress messages over the limit.", n->progress_dropped);
        metric(b, "pool_log_bytes_total", "counter", "Output of tasks taken.", n->log_bytes);
        metric(b, "pool_log_bytes_lost_total", "counter", "Output that did not arrive or could not be written.", n->log_dropped);
        metric(b, "pool_artifacts_swept_total", "counter", "Artifacts and abandoned uploads removed because nobody used them for long.", n->objects_swept);
        metric(b, "pool_logs_swept_total", "counter", "Logs removed because their tasks ended long ago.", n->logs_swept);
        metric(b, "pool_log_bytes_cut_total", "counter", "Output left out of the middle of long logs.", n->log_cut);
        metric(b, "pool_events_total", "counter", "Events told.", s->events.last);
        metric(b, "pool_events_dropped_total", "counter", "Events too large for the log.", s->events.dropped);
        metric(b, "pool_events_pushed_total", "counter", "Events taken from outside.", n->events_pushed);
        metric(b, "pool_events_known_total", "counter", "Events from outside that had come before.", n->events_known);
        metric(b, "pool_artifacts_total", "counter", "Artifacts uploaded.", n->objects);
        metric(b, "pool_artifact_bytes_total", "counter", "Bytes of them.", n->object_bytes);
        metric(b, "pool_artifact_wrong_digest_total", "counter", "Uploads whose digest was wrong.", n->wrong_digests);
        metric(b, "pool_waits", "gauge", "Requests that wait for a task to end.", n->waits);
        metric(b, "pool_memory_bytes", "gauge", "Held by unfinished tasks.", s->task_bytes);
        metric(b, "pool_queues", "gauge", "Queues of the store that this server owns.", ours);
        metric(b, "pool_servers", "gauge", "Pool servers that share the store and others can reach.", s->survey.server_count);
        metric(b, "pool_queues_taken_total", "counter", "Queues claimed since the start.", n->queues_taken);
        metric(b, "pool_queues_given_total", "counter", "Queues given up to other servers.", n->queues_given);
        metric(b, "pool_rows_told_total", "counter", "Rows of accounts, keys, sessions and workers that other servers changed.", n->rows_told);
        metric(b, "pool_store_commits_total", "counter", "Commits.", w->commits);
        metric(b, "pool_store_rows_total", "counter", "Rows in them.", w->rows);
        metric(b, "pool_store_failures_total", "counter", "Commits that failed and were tried again.", w->failures);
        metric(b, "pool_usage_unsettled", "gauge", "Requests for models whose usage is not durable yet.", usage_unsettled(s));
        metric(b, "pool_store_waiting_bytes", "gauge", "Waiting to be committed.", w->waiting_bytes);
        strbuf_add(b, "# HELP pool_store_commit_seconds Time of commits.\n# TYPE pool_store_commit_seconds summary\npool_store_commit_seconds_sum %.6f\n"
                      "pool_store_commit_seconds_count %llu\n",
                   (double)w->commit_ns_sum / 1e9, (unsigned long long)w->commits);
        metric(b, "pool_store_up", "gauge", "1: the store takes commits.", !service_store_error(s));
}
