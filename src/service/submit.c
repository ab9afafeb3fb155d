/* submit.c: new work. A body is read whole, checked whole and taken whole or not at all; the answer goes out when it is durable.
 */
#include "base/error.h"
#include "service/submit.h"

#include <stdio.h>

void submit_problem(struct submit *u, int status, const char *code, const char *detail, json_t *body)
{
        struct answer_entry *entry = u->entry;

        if (!entry) {
                answer_problem(u->service, u->asker.done, u->asker.context, status, code, detail, body);
                return;
        }
        for (size_t i = 0; i < entry->asker_count; i++)
                answer_problem(u->service, entry->askers[i].done, entry->askers[i].context, status, code, detail, body ? json_incref(body) : NULL);
        if (body)
                json_decref(body);
        answer_entry_free(u->service, entry);
}

void submit_failed(struct submit *u, int error)
{
        int status = error == -ENOMEM || error == -E_QUOTA || error == -EAGAIN || error == -E_UNAVAILABLE || error == -ENOSPC || error == -ESTALE ? 503 : 500;
        const char *code = error == -ENOSPC ? "store.full" : error == -ENOMEM ? "pool.memory" : error == -ESTALE ? "pool.moved" :
                           error == -E_UNAVAILABLE ? "store.unavailable" : error == -EAGAIN || error == -E_QUOTA ? "pool.busy" : "internal";

        if (status == 503)
                u->service->counters.refused_store++;
        submit_problem(u, status, code, status == 503 ? "new work is not taken now; what was taken goes on" : NULL, NULL);
}

static void accepted(struct submit *u, struct strbuf *text, const char *location)
{
        struct service *s = u->service;
        struct answer_entry *entry = u->entry;
        struct operation *op;

        if (text->failed) {
                /* The tasks are taken all the same; who asked can look for them. */
                submit_failed(u, -ENOMEM);
                strbuf_done(text);
                return;
        }
        if (!entry) {
                answer_when_durable(s, u->asker.done, u->asker.context, 202, text->text, text->length, location);
                return;
        }
        entry->text = text->text;
        entry->bytes = text->length;
        snprintf(entry->location, sizeof(entry->location), "%s", location);
        if (entry->keyed && answer_entry_put_row(s, entry) < 0)
                abort(); /* see operation_add: the tasks are in this batch, the answer must be, too */
        op = operation_add(s, OPERATION_CALL);
        op->call = answer_entry_tell;
        op->context = entry;
}

/* Tasks to wait for: ours to wait for, and those that are done already need no waiting. */
static bool check_after(struct submit *u, const char *path, struct submission *one, const struct id *own, size_t own_count, json_t *violations)
{
        struct service *s = u->service;
        uint32_t left = 0;
        char at[64];
        bool right = true;

        for (uint32_t i = 0; i < one->after_count; i++) {
                struct id id = one->after[i];
                struct task *task = task_find(s, &id);
                bool known = false, done = false;

                for (size_t k = 0; k < own_count && !known; k++)
                        known = id_equal(&own[k], &id);
                if (!known && task && id_equal(&task->account, &u->caller->account)) {
                        known = true;
                        done = task->ended;
                        if (task->ended && task->now.state != CORE_DONE) {
                                snprintf(at, sizeof(at), "%s%safter[%u]", path, path[0] ? "." : "", i);
                                violation_add(violations, at, "that task ended without success");
                                right = false;
                        }
                }
                for (size_t k = 0; u->entry && !known && k < u->entry->ended_count; k++)
                        if (id_equal(&u->entry->ended[k].id, &id) && u->entry->ended[k].known) {
                                known = done = true;
                                if (!u->entry->ended[k].done) {
                                        snprintf(at, sizeof(at), "%s%safter[%u]", path, path[0] ? "." : "", i);
                                        violation_add(violations, at, "that task ended without success");
                                        right = false;
                                }
                        }
                if (!known) {
                        snprintf(at, sizeof(at), "%s%safter[%u]", path, path[0] ? "." : "", i);
                        violation_add(violations, at, "there is no such task");
                        right = false;
                }
                if (!done)
                        one->after[left++] = id;
        }
        one->after_count = left;
        return right;
}

static void core_spec_of(const struct service *s, const struct submission *one, const struct id *id, const struct account_caller *caller, struct core_task_spec *spec)
{
        memset(spec, 0, sizeof(*spec));
        spec->id = *id;
        spec->account = caller->account;
        spec->key = caller->key;
        spec->needs = one->needs;
        spec->band = one->band;
        spec->attempts = one->attempts;
        spec->deadline = deadline_on_core(s, one->deadline);
        spec->not_before = one->not_before ? deadline_on_core(s, one->not_before) : 0;
        spec->cost = one->cost;
        spec->after = one->after;
        spec->after_count = one->after_count;
        spec->queue = service_queue_of(&caller->account);
        spec->wait_for_workers = one->wait_for_workers;
}

static void refused(struct submit *u, const struct core_refusal *refusal)
{
        switch (refusal->error) {
        case -ENOTSUP:
                submit_problem(u, 422, "task.impossible", refusal->text[0] ? refusal->text : "no worker could ever run this", refusal_json(refusal));
                break;
        case -E_QUOTA:
                u->service->counters.refused_full++;
                submit_problem(u, 429, "task.too_many", refusal->text[0] ? refusal->text : "too many unfinished tasks", NULL);
                break;
        case -ENOMEM:
                submit_failed(u, -ENOMEM);
                break;
        default:
                submit_problem(u, 422, "task.invalid", refusal->text, NULL);
        }
}

static struct task *submit_one(struct submit *u, struct submission *one, const struct id *id, struct core_refusal *refusal)
{
        struct service *s = u->service;
        struct core_task_spec spec;
        struct task *task = task_new(s, id, &u->caller->account, &one->head, one->brief, &one->payload);
        int r;

        if (!task) {
                refusal->error = -ENOMEM;
                return NULL;
        }
        task->key = u->caller->key;
        task->band = one->band;
        task->kind = type_kind(one->needs.type);
        task->deadline = one->deadline;
        core_spec_of(s, one, id, u->caller, &spec);
        r = core_submit(s->core, s->now_ms, &spec, task, &task->number, refusal);
        if (r < 0) {
                refusal->error = r;
                task_free(s, task);
                return NULL;
        }
        return task;
}

static void after_submit(struct service *s, struct task **tasks, size_t count)
{
        act_drain(s);
        for (size_t i = 0; i < count; i++)
                s->counters.submitted++;
}

static void dry(struct submit *u, struct submission *ones, size_t count, const struct id *ids, bool list)
{
        struct strbuf b = {0};

        if (list)
                put_literal(&b, "{\"object\":\"list\",\"data\":[");
        for (size_t i = 0; i < count; i++) {
                struct core_task_spec spec;
                struct core_refusal refusal = {0};
                uint32_t workers = 0, own = ones[i].after_count;
                int r;

                ones[i].after_count = 0;
                core_spec_of(u->service, &ones[i], &ids[i], u->caller, &spec);
                ones[i].after_count = own;
                r = core_try(u->service->core, &spec, &workers, &refusal);
                if (r < 0) {
                        refusal.error = r;
                        refused(u, &refusal);
                        strbuf_done(&b);
                        return;
                }
                strbuf_add(&b, "%s{\"object\":\"dry_run\",\"workers\":%u}", i ? "," : "", workers);
        }
        if (list)
                put_literal(&b, "],\"has_more\":false}");
        if (b.failed)
                submit_failed(u, -ENOMEM);
        else if (u->entry)
                accepted(u, &b, "");
        else
                answer_text(u->service, u->asker.done, u->asker.context, 200, b.text, b.length, 0);
}

static void submit_all(struct submit *u, const json_t *list, size_t count, struct submission *ones, struct id *ids)
{
        struct service *s = u->service;
        json_t *violations = json_array();
        struct core_refusal refusal = {0};
        struct account_record *record;
        struct task *task = NULL;
        struct strbuf text = {0};
        bool batch = json_is_array(list);
        uint64_t bytes = 0;
        char path[32] = "", location[96] = "", id[ID_TEXT];
        int r = 0;

        for (size_t i = 0; i < count; i++) {
                int one;

                if (batch)
                        snprintf(path, sizeof(path), "tasks[%zu]", i);
                ids[i] = service_new_id(s);
                ones[i].key = u->caller->key;
                ones[i].account = u->caller->account;
                ones[i].given = batch ? NULL : u->payload;
                one = submission_read(s, batch ? json_array_get(list, i) : list, path, ids, i, violations, &ones[i]);
                if (!one && !check_after(u, path, &ones[i], ids, i, violations))
                        one = -EINVAL;
                r = one ? one : r;
                bytes += ones[i].head.length + ones[i].payload.length;
        }
        if (r == -ENOMEM || !violations) {
                submit_failed(u, -ENOMEM);
        } else if (r < 0) {
                json_t *body = json_object(), *first = json_array_get(violations, 0);
                char detail[320];

                snprintf(detail, sizeof(detail), "%s: %s", json_string_value(json_object_get(first, "path")), json_string_value(json_object_get(first, "text")));
                json_object_set(body, "violations", violations);
                submit_problem(u, 422, "task.invalid", detail, body);
        } else if (u->dry_run) {
                dry(u, ones, count, ids, batch);
        } else if (s->task_bytes + bytes > (s->options.memory_bytes ? s->options.memory_bytes : UINT64_C(2) << 30)) {
                s->counters.refused_full++;
                submit_problem(u, 503, "pool.full", "too much unfinished work is held; ask again when some is done", NULL);
        } else if ((r = service_caller_limits(s, u->caller, &record)) < 0) {
                submit_failed(u, r);
        } else if (u->caller->limits.max_tasks && record->unfinished + count > u->caller->limits.max_tasks) {
                s->counters.refused_full++;
                submit_problem(u, 429, "task.too_many", "your account's limit of unfinished tasks is reached", NULL);
        } else {
                struct core_task_spec spec;

                /* All or none: the core is asked about each before any is given to it. */
                for (size_t i = 0; batch && i < count && !refusal.error; i++) {
                        uint32_t workers, own = ones[i].after_count;

                        ones[i].after_count = 0;
                        core_spec_of(s, &ones[i], &ids[i], u->caller, &spec);
                        ones[i].after_count = own;
                        refusal.error = core_try(s->core, &spec, &workers, &refusal);
                }
                if (batch)
                        put_literal(&text, "{\"object\":\"list\",\"data\":[");
                for (size_t i = 0; i < count && !refusal.error; i++)
                        task = submit_one(u, &ones[i], &ids[i], &refusal);
                if (refusal.error) {
                        /* What went in before (only a limit that was reached in between can do this) goes out again before anything is told. */
                        for (size_t i = 0; i < count; i++) {
                                struct task *in = task_find(s, &ids[i]);

                                if (in && core_cancel(s->core, s->now_ms, in->number) < 0)
                                        continue;
                        }
                        act_drain(s);
                        refused(u, &refusal);
                        strbuf_done(&text);
                } else {
                        after_submit(s, &task, count);
                        for (size_t i = 0; i < count; i++) {
                                task = task_find(s, &ids[i]);
                                if (i)
                                        put_literal(&text, ",");
                                task_view(&text, task, &task->now, false);
                        }
                        if (batch)
                                put_literal(&text, "],\"has_more\":false}");
                        else
                                snprintf(location, sizeof(location), "/api/v1/tasks/%s", id_text("task", &ids[0], id));
                        accepted(u, &text, location);
                }
        }
        json_decref(violations);
        for (size_t i = 0; i < count; i++)
                submission_done(&ones[i]);
}

void submit_now(struct submit *u, const json_t *body)
{
        const json_t *list = json_object_get(body, "tasks");
        size_t count = json_array_size(list);
        struct submission *ones, one;
        struct id *ids, id;

        /* Once more: the store may have been asked since. */
        if (u->service->queues[service_queue_of(&u->caller->account)].state != QUEUE_OURS) {
                submit_failed(u, -ESTALE);
                return;
        }
        if (!list) {
                memset(&one, 0, sizeof(one));
                submit_all(u, body, 1, &one, &id);
                return;
        }
        if (!json_is_array(list) || !count || count > BATCH_TASKS || json_object_size(body) != 1) {
                submit_problem(u, 422, "task.invalid", "tasks: an array of 1 to 1000 tasks, and no other member beside it", NULL);
                return;
        }
        ones = calloc(count, sizeof(*ones));
        ids = calloc(count, sizeof(*ids));
        if (ones && ids)
                submit_all(u, list, count, ones, ids);
        else
                submit_failed(u, -ENOMEM);
        free(ones);
        free(ids);
}

/* The payload back in its place: what waits for the store is one tree. */
static int put_back(json_t *body, const struct strbuf *payload)
{
        json_t *tree = json_loadb(payload->text, payload->length, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);

        return tree && !json_object_set_new(body, "payload", tree) ? 0 : -ENOMEM;
}

void service_submit(struct service *s, const struct account_caller *caller, const json_t *body, const char *key, bool dry_run, service_done_fn done, void *context)
{
        service_submit_apart(s, caller, (json_t *)body, NULL, key, dry_run, done, context);
}

void service_submit_apart(struct service *s, const struct account_caller *caller, json_t *body, const struct strbuf *payload, const char *key, bool dry_run, service_done_fn done,
                          void *context)
{
        struct submit u = {.service = s, .caller = caller, .dry_run = dry_run, .asker = {done, context}, .payload = payload};
        bool through;
        int r;

        service_time(s);
        r = service_store_error(s);
        through = !r && json_is_object(body) && (key || submit_names_ended(s, body));
        if (through && payload) {
                r = put_back(body, payload);
                u.payload = NULL;
        }
        if (r < 0)
                submit_failed(&u, r);
        else if (s->queues[service_queue_of(&caller->account)].state != QUEUE_OURS)
                submit_problem(&u, 503, "pool.elsewhere", "another server serves this account", NULL);
        else if (!json_is_object(body))
                submit_problem(&u, 422, "task.invalid", "an object is wanted", NULL);
        else if (key && !submit_key_valid(key))
                submit_problem(&u, 400, "idempotency.key", "an Idempotency-Key is 1 to 255 visible ASCII characters", NULL);
        else if (through)
                submit_through_store(&u, body, key);
        else
                submit_now(&u, body);
}
