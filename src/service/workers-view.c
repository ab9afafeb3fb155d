/* workers-view.c: workers for people: lists, one, draining, removal. All from memory: a worker is connected to each server that has queues. */
#include "base/error.h"
#include "service/internal.h"

#include <stdio.h>

const char *worker_state_name(const struct worker *worker)
{
        static const char *const names[] = {[CORE_ALIVE] = "active", [CORE_SUSPECT] = "suspect", [CORE_LOST] = "lost", [CORE_DRAINING] = "draining",
                                            [CORE_DRAINED] = "drained"};

        if (worker->number == CORE_NONE)
                return "away";
        return worker->state < ARRAY_SIZE(names) ? names[worker->state] : "unknown";
}

static void put_member(struct strbuf *b, const char *name, const json_t *value)
{
        if (!value)
                return;
        put_literal(b, ",\"");
        put_text(b, name);
        put_literal(b, "\":");
        put_json(b, value);
}

void worker_view_open(struct strbuf *b, struct service *s, const struct worker *worker)
{
        static const char *const abilities[] = {"types", "devices", "models", "labels", "host_memory_bytes"};
        struct core_worker_view v = {0};
        unsigned int shown = 0;

        if (worker->number != CORE_NONE)
                core_worker_view(s->core, s->now_ms, worker->number, &v);
        put_literal(b, "{\"id\":");
        put_id(b, "worker", &worker->id);
        put_literal(b, ",\"object\":\"worker\",\"name\":");
        put_string(b, worker->name, strlen(worker->name));
        put_literal(b, ",\"account\":");
        put_id(b, "account", &worker->account);
        strbuf_add(b, ",\"state\":\"%s\",\"connected\":%s,\"slots\":%u,\"ready\":%u", worker_state_name(worker), worker->connection ? "true" : "false",
                   worker->slots, v.ready);
        put_literal(b, ",\"leases\":[");
        for (const struct lease_links *link = worker->leases.next; link != &worker->leases && shown < 100; link = link->next, shown++) {
                const struct task *task = (const struct task *)(const void *)((const char *)link - offsetof(struct task, lease));

                if (shown)
                        put_literal(b, ",");
                put_id(b, "task", &task->id);
        }
        put_literal(b, "]");
        for (size_t i = 0; i < ARRAY_SIZE(abilities); i++)
                put_member(b, abilities[i], json_object_get(worker->abilities, abilities[i]));
        put_member(b, "resident", worker->resident);
        put_member(b, "load", worker->load);
        strbuf_add(b, ",\"private\":%s,\"done\":%llu,\"failed\":%llu,\"lost\":%llu", worker->private_pool ? "true" : "false", (unsigned long long)v.done,
                   (unsigned long long)v.failed, (unsigned long long)v.lost);
        put_literal(b, ",\"address\":");
        put_string(b, worker->address, strlen(worker->address));
        put_literal(b, ",\"version\":");
        put_string(b, worker->version, strlen(worker->version));
        put_literal(b, ",\"seen\":");
        put_time(b, worker->connection && worker->seen_ns ? s->unix_ms - (int64_t)((s->now_ns - worker->seen_ns) / 1000000) : worker->seen);
}

void worker_view(struct strbuf *b, struct service *s, const struct worker *worker)
{
        worker_view_open(b, s, worker);
        put_literal(b, "}");
}

static int by_id(const void *a, const void *b)
{
        return memcmp(&(*(struct worker *const *)a)->id, &(*(struct worker *const *)b)->id, sizeof(struct id));
}

bool worker_readable(const struct account_caller *caller, const struct worker *worker)
{
        return account_may(caller, RIGHT_WORKER_READ) || id_equal(&caller->account, &worker->account);
}

/* The largest on top, so that of all those that were looked at the smallest stay. */
static void sift(struct worker **heap, size_t count, size_t at)
{
        for (size_t child; (child = 2 * at + 1) < count; at = child) {
                struct worker *held = heap[at];

                if (child + 1 < count && by_id(&heap[child], &heap[child + 1]) < 0)
                        child++;
                if (by_id(&held, &heap[child]) >= 0)
                        return;
                heap[at] = heap[child];
                heap[child] = held;
        }
}

static bool listed(const struct account_caller *caller, const struct service_list *list, const struct worker *worker)
{
        return memcmp(&worker->id, &list->after, sizeof(struct id)) > 0 && worker_readable(caller, worker) &&
               (!list->state || !strcmp(list->state, worker_state_name(worker)));
}

void service_workers(struct service *s, const struct account_caller *caller, const struct service_list *list, service_done_fn done, void *context)
{
        size_t n = 0, limit = list->limit < 1 ? 1 : list->limit > 1000 ? 1000 : list->limit, i;
        /* One more than is told, to know whether there are more. */
        struct worker **all scoped_free = calloc(limit + 1, sizeof(*all)), *worker, *next;
        struct strbuf b = {0};
        char text[ID_TEXT];

        service_time(s);
        if (!all) {
                answer_error(s, done, context, -ENOMEM);
                return;
        }
        HASH_ITER(by_id, s->workers, worker, next) {
                if (n <= limit) {
                        if (!listed(caller, list, worker))
                                continue;
                        all[n++] = worker;
                        for (i = n / 2; n > limit && i-- > 0;)
                                sift(all, n, i);
                } else if (by_id(&worker, &all[0]) < 0 && listed(caller, list, worker)) {
                        all[0] = worker;
                        sift(all, n, 0);
                }
        }
        qsort(all, n, sizeof(*all), by_id);
        put_literal(&b, "{\"object\":\"list\",\"data\":[");
        for (i = 0; i < n && i < limit; i++) {
                if (i)
                        put_literal(&b, ",");
                worker_view(&b, s, all[i]);
        }
        strbuf_add(&b, "],\"has_more\":%s", i < n ? "true" : "false");
        if (i < n && i)
                strbuf_add(&b, ",\"next\":\"%s\"", id_text("worker", &all[i - 1]->id, text));
        put_literal(&b, "}");
        if (b.failed)
                answer_error(s, done, context, -ENOMEM);
        else
                answer_text(s, done, context, 200, b.text, b.length, 0);
}

static struct worker *find(struct service *s, const struct account_caller *caller, const struct id *id, service_done_fn done, void *context)
{
        struct worker *worker;

        service_time(s);
        worker = worker_find(s, id);
        if (worker && worker_readable(caller, worker))
                return worker;
        answer_error(s, done, context, -ENOENT);
        return NULL;
}

void service_worker(struct service *s, const struct account_caller *caller, const struct id *id, service_done_fn done, void *context)
{
        struct worker *worker = find(s, caller, id, done, context);
        struct strbuf b = {0};

        if (!worker)
                return;
        worker_view(&b, s, worker);
        if (b.failed)
                answer_error(s, done, context, -ENOMEM);
        else
                answer_text(s, done, context, 200, b.text, b.length, worker->version_number);
}

static bool may_change(const struct account_caller *caller, const struct worker *worker)
{
        return account_may(caller, RIGHT_WORKER_CHANGE) || (id_equal(&caller->account, &worker->account) && account_may(caller, RIGHT_WORKER_JOIN));
}

void service_worker_change(struct service *s, const struct account_caller *caller, const struct id *id, const json_t *body, uint64_t version,
                           service_done_fn done, void *context)
{
        struct worker *worker = find(s, caller, id, done, context);
        const char *state = json_string_value(json_object_get(body, "state"));
        struct strbuf b = {0};

        if (!worker)
                return;
        if (!may_change(caller, worker)) {
                answer_error(s, done, context, -EACCES);
        } else if (json_object_size(body) != 1 || !state || (strcmp(state, "draining") && strcmp(state, "active"))) {
                answer_problem(s, done, context, 422, "worker.invalid", "{\"state\": \"draining\"} or {\"state\": \"active\"} is wanted", NULL);
        } else if (version && version != worker->version_number) {
                answer_problem(s, done, context, 412, "worker.changed", "it was changed meanwhile: look at it again", NULL);
        } else {
                worker_drain(s, worker, !strcmp(state, "draining"));
                worker_view(&b, s, worker);
                if (b.failed)
                        answer_error(s, done, context, -ENOMEM);
                else
                        answer_when_durable(s, done, context, 200, b.text, b.length, NULL);
        }
}

void service_worker_remove(struct service *s, const struct account_caller *caller, const struct id *id, service_done_fn done, void *context)
{
        struct worker *worker = find(s, caller, id, done, context);

        if (!worker)
                return;
        if (!may_change(caller, worker)) {
                answer_error(s, done, context, -EACCES);
                return;
        }
        worker_remove(s, worker);
        answer_when_durable(s, done, context, 204, NULL, 0, NULL);
}
