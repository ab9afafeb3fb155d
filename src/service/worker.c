/* worker.c: workers that are known, and their connections. A worker is who it says it is when its key's account is the one that it first joined with; the newest
 * connection counts. What it says of itself is checked once, kept as JSON, and handed to the core.
 *
 * Joining settles what it holds: of the leases we know as its, those it lists under "running" go on; of the others, the same start of the worker never
 * got them (handed on as if declined), an earlier start died with them (a failed attempt that blames nobody).
 */
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "service/internal.h"
#include "service/members.h"

#include <stdio.h>

#define LOG_ROOM "service"
#define KEPT_MS (INT64_C(30) * 24 * 3600 * 1000)
#define SLOTS 4096

struct worker *worker_find(struct service *s, const struct id *id)
{
        struct worker *worker;

        HASH_FIND(by_id, s->workers, id, sizeof(*id), worker);
        return worker;
}

static struct worker *worker_new(struct service *s, const struct id *id, const struct id *account)
{
        struct worker *worker = calloc(1, sizeof(*worker));

        if (!worker)
                return NULL;
        worker->id = *id;
        worker->account = *account;
        worker->number = CORE_NONE;
        worker->state = CORE_LOST;
        worker->leases.before = worker->leases.next = &worker->leases;
        worker->version_number = 1;
        worker->joined = s->unix_ms;
        HASH_ADD(by_id, s->workers, id, sizeof(worker->id), worker);
        return worker;
}

void worker_free(struct service *s, struct worker *worker)
{
        while (worker->leases.next != &worker->leases)
                task_lease_unlink((struct task *)(void *)((char *)worker->leases.next - offsetof(struct task, lease)));
        nodes_forget(s, worker);
        machines_forget(s, worker);
        engines_gone(s, worker);
        members_forget(s, worker);
        HASH_DELETE(by_id, s->workers, worker);
        json_decref(worker->abilities);
        json_decref(worker->resident);
        json_decref(worker->load);
        free(worker->stored);
        free(worker);
}

void workers_free(struct service *s)
{
        struct worker *worker, *next;

        HASH_ITER(by_id, s->workers, worker, next)
                worker_free(s, worker);
}

/* What a worker says of itself. */

static bool texts_fit(const json_t *list, size_t most, size_t size)
{
        const json_t *item;
        size_t i;

        if (!list)
                return true;
        if (!json_is_array(list) || json_array_size(list) > most)
                return false;
        json_array_foreach(list, i, item)
                if (!json_is_string(item) || json_string_length(item) >= size || !json_string_length(item))
                        return false;
        return true;
}

static const char *short_text(const json_t *object, const char *name)
{
        const char *text = json_string_value(json_object_get(object, name));

        return text ? text : "";
}

int worker_spec_check(const json_t *a, char reason[160])
{
        const json_t *item, *value;
        const char *name;
        size_t i;

        reason[0] = '\0';
        if (!texts_fit(json_object_get(a, "types"), CORE_TYPES, CORE_TEXT))
                snprintf(reason, 160, "types: at most %d texts of at most %d bytes", CORE_TYPES, CORE_TEXT - 1);
        if (!texts_fit(json_object_get(a, "models"), CORE_MODELS, CORE_TEXT * 2))
                snprintf(reason, 160, "models: at most %d texts of at most %d bytes", CORE_MODELS, CORE_TEXT * 2 - 1);
        if (!texts_fit(json_object_get(a, "resident"), CORE_MODELS, CORE_TEXT * 2))
                snprintf(reason, 160, "resident: at most %d texts of at most %d bytes", CORE_MODELS, CORE_TEXT * 2 - 1);
        item = json_object_get(a, "host_memory_bytes");
        if (item && (!json_is_integer(item) || json_integer_value(item) < 0))
                snprintf(reason, 160, "host_memory_bytes: a number of bytes");
        item = json_object_get(a, "slots");
        if (item && (!json_is_integer(item) || json_integer_value(item) < 1 || json_integer_value(item) > SLOTS))
                snprintf(reason, 160, "slots: a number from 1 to %d", SLOTS);
        value = json_object_get(a, "devices");
        if (value && (!json_is_array(value) || json_array_size(value) > CORE_DEVICES))
                snprintf(reason, 160, "devices: at most %d", CORE_DEVICES);
        json_array_foreach(value, i, item) {
                const json_t *memory = json_object_get(item, "memory_bytes");
                const char *kind = short_text(item, "kind");

                if (!kind[0] || strlen(kind) >= 16 || (memory && (!json_is_integer(memory) || json_integer_value(memory) < 0)))
                        snprintf(reason, 160, "devices: each has a kind of at most 15 bytes and memory_bytes");
        }
        value = json_object_get(a, "labels");
        if (value && (!json_is_object(value) || json_object_size(value) > CORE_LABELS))
                snprintf(reason, 160, "labels: at most %d", CORE_LABELS);
        json_object_foreach((json_t *)value, name, item)
                if (!name[0] || strlen(name) >= CORE_TEXT || !json_is_string(item) || json_string_length(item) >= CORE_TEXT)
                        snprintf(reason, 160, "labels: names and values of at most %d bytes", CORE_TEXT - 1);
        item = json_object_get(a, "private");
        if (item && !json_is_boolean(item))
                snprintf(reason, 160, "private: true or false");
        return reason[0] || members_check(a, reason) < 0 ? -EINVAL : engines_check(a, reason);
}

struct spec_room {
        struct core_worker_spec spec;
        char types[CORE_TYPES][CORE_TEXT];
        char models[CORE_MODELS][CORE_TEXT * 2];
};

static void resident_to_core(struct service *s, struct worker *worker)
{
        char(*models)[CORE_TEXT * 2];
        const json_t *item;
        size_t i;

        if (!worker->resident)
                return;
        models = calloc(CORE_MODELS, sizeof(*models));
        if (!models)
                return;
        json_array_foreach(worker->resident, i, item)
                strcpy(models[i], json_string_value(item));
        core_worker_models(s->core, s->now_ms, worker->number, (const char(*)[CORE_TEXT * 2])models, (uint32_t)i);
        free(models);
}

/* What it said, to the core: as a new member or as a change. */
int worker_to_core(struct service *s, struct worker *worker, bool join)
{
        struct spec_room *room = calloc(1, sizeof(*room));
        const json_t *a = worker->abilities, *item;
        struct core_worker_spec *spec;
        const char *name;
        size_t i;
        int r;

        if (!room)
                return -ENOMEM;
        spec = &room->spec;
        spec->id = worker->id;
        spec->account = worker->account;
        strcpy(spec->name, worker->name);
        spec->slots = worker->slots;
        spec->host_memory_bytes = (uint64_t)json_integer_value(json_object_get(a, "host_memory_bytes"));
        spec->private_pool = worker->private_pool;
        json_array_foreach(json_object_get(a, "devices"), i, item) {
                strcpy(spec->devices[spec->device_count].kind, short_text(item, "kind"));
                spec->devices[spec->device_count++].memory_bytes = (uint64_t)json_integer_value(json_object_get(item, "memory_bytes"));
        }
        json_array_foreach(json_object_get(a, "types"), i, item)
                strcpy(room->types[spec->type_count++], json_string_value(item));
        json_array_foreach(json_object_get(a, "models"), i, item)
                strcpy(room->models[spec->model_count++], json_string_value(item));
        spec->types = (const char(*)[CORE_TEXT])room->types;
        spec->models = (const char(*)[CORE_TEXT * 2])room->models;
        json_object_foreach(json_object_get(a, "labels"), name, item) {
                strcpy(spec->labels[spec->label_count].name, name);
                strcpy(spec->labels[spec->label_count++].value, json_string_value(item));
        }
        r = join ? core_worker_join(s->core, s->now_ms, spec, worker, &worker->number) : core_worker_change(s->core, s->now_ms, worker->number, spec);
        free(room);
        if (!r)
                resident_to_core(s, worker);
        return r;
}

/* Rows. */

static void row_put(struct service *s, struct worker *worker)
{
        struct strbuf spec = {0}, status = {0};

        put_literal(&spec, "{\"name\":");
        put_string(&spec, worker->name, strlen(worker->name));
        put_literal(&spec, ",\"instance\":");
        put_string(&spec, worker->instance, strlen(worker->instance));
        strbuf_add(&spec, ",\"slots\":%u,\"private\":%s,\"abilities\":", worker->slots, worker->private_pool ? "true" : "false");
        put_json(&spec, worker->abilities);
        put_literal(&spec, "}");
        strbuf_add(&status, "{\"drained\":%s}", worker->drained ? "true" : "false");
        if (!spec.failed && !status.failed && (!worker->stored || strcmp(worker->stored, spec.text) || worker->version_number > 1)) {
                free(worker->stored);
                worker->stored = spec.text;
                (void)!pending_put(s, &(struct store_change){.kind = STORE_PUT,
                                                      .row = {.table = STORE_WORKER, .id = worker->id, .account = worker->account,
                                                              .until_ms = s->unix_ms + KEPT_MS, .spec = spec.text, .spec_bytes = spec.length,
                                                              .status = status.text, .status_bytes = status.length}});
                spec.text = NULL;
        }
        strbuf_done(&spec);
        strbuf_done(&status);
}

static void worker_drained(struct service *s, struct worker *worker, bool on)
{
        struct strbuf b = {0};

        worker->drained = on;
        worker->version_number++;
        if (worker->number != CORE_NONE)
                (void)!core_worker_drain(s->core, s->now_ms, worker->number, on);
        engines_again(s, worker);
        if (worker->connection) {
                strbuf_add(&b, "{\"m\":\"drain\",\"on\":%s}", on ? "true" : "false");
                connection_send(worker->connection, &b);
                strbuf_done(&b);
        }
}

/* A worker that joined some server before: not here now, but known, so that its leases find it. */
int worker_row_restore(struct service *s, const struct store_row *row)
{
        json_t *spec = row->spec ? json_loadb(row->spec, row->spec_bytes, 0, NULL) : NULL;
        json_t *status = row->status ? json_loadb(row->status, row->status_bytes, 0, NULL) : NULL;
        json_t *abilities = json_object_get(spec, "abilities");
        struct worker *worker = NULL;
        char reason[160];
        int r = -EBADMSG;

        if (worker_find(s, &row->id)) {
                r = 0;
        } else if (json_is_object(abilities) && !worker_spec_check(abilities, reason)) {
                r = -ENOMEM;
                worker = worker_new(s, &row->id, &row->account);
        }
        if (worker) {
                text_copy_clean(worker->name, sizeof(worker->name), short_text(spec, "name"));
                text_copy_clean(worker->instance, sizeof(worker->instance), short_text(spec, "instance"));
                worker->slots = (uint32_t)json_integer_value(json_object_get(spec, "slots"));
                worker->private_pool = json_is_true(json_object_get(spec, "private"));
                worker->drained = json_is_true(json_object_get(status, "drained"));
                worker->abilities = json_incref(abilities);
                r = 0;
        }
        json_decref(spec);
        json_decref(status);
        return r;
}

void worker_row_changed(struct service *s, const struct store_row *row)
{
        struct worker *worker = worker_find(s, &row->id);
        json_t *status = row->status ? json_loadb(row->status, row->status_bytes, 0, NULL) : NULL;
        bool drained = json_is_true(json_object_get(status, "drained"));

        if (worker && !row->spec) {
                /* Removed at another server. */
                if (worker->connection)
                        connection_end(worker->connection, "worker.removed", "an operator removed this worker");
                worker = worker_find(s, &row->id);
                if (worker && worker->number != CORE_NONE)
                        core_worker_leave(s->core, s->now_ms, worker->number);
                else if (worker)
                        worker_free(s, worker);
        } else if (worker && worker->drained != drained) {
                worker_drained(s, worker, drained);
        } else if (!worker && row->spec) {
                (void)!worker_row_restore(s, row);
        }
        json_decref(status);
}

/* Connections. */

struct service_worker *service_worker_open(struct service *s, const struct account_caller *caller, const char *address, service_send_fn send,
                                           void (*close)(void *context, const char *reason), void *context)
{
        struct service_worker *c = calloc(1, sizeof(*c));

        if (!c)
                return NULL;
        *c = (struct service_worker){.service = s, .caller = *caller, .send = send, .close = close, .context = context};
        snprintf(c->address, sizeof(c->address), "%s", address ? address : "");
        c->next = s->connections;
        if (c->next)
                c->next->before = c;
        s->connections = c;
        return c;
}

void connection_release(struct service_worker *c)
{
        if (!--c->references && c->gone) {
                json_decref(c->hello);
                free(c);
        }
}

static void detach(struct service_worker *c)
{
        struct service *s = c->service;
        struct worker *worker = c->worker;

        c->worker = NULL;
        c->state = CONNECTION_ENDED;
        if (!worker || worker->connection != c)
                return;
        worker->connection = NULL;
        worker->seen = s->unix_ms;
        engines_away(s, worker);
        if (worker->number != CORE_NONE)
                core_worker_silent(s->core, s->now_ms, worker->number);
        else
                worker_free(s, worker);
}

void connection_send(struct service_worker *c, const struct strbuf *text)
{
        if (c->gone || text->failed)
                return;
        if (c->send(c->context, text->text, text->length) < 0 && c->state != CONNECTION_ENDED) {
                detach(c);
                c->close(c->context, "its buffer is full");
        }
}

void connection_end(struct service_worker *c, const char *code, const char *text)
{
        struct strbuf b = {0};

        if (c->state == CONNECTION_ENDED || c->gone)
                return;
        put_literal(&b, "{\"m\":\"error\",\"code\":");
        put_string(&b, code, strlen(code));
        put_literal(&b, ",\"text\":");
        put_string(&b, text, strlen(text));
        put_literal(&b, "}");
        connection_send(c, &b);
        strbuf_done(&b);
        detach(c);
        c->close(c->context, code);
}

void service_worker_closed(struct service_worker *c)
{
        struct service *s = c->service;

        service_time(s);
        detach(c);
        if (c->before)
                c->before->next = c->next;
        else
                s->connections = c->next;
        if (c->next)
                c->next->before = c->before;
        c->gone = true;
        c->references++;
        connection_release(c);
        act_drain(s);
        service_want_turn(s);
}

void worker_event(struct service *s, const struct worker *worker, const char *state)
{
        struct strbuf *b = &s->scratch;

        strbuf_clear(b);
        put_literal(b, "{\"worker\":");
        put_id(b, "worker", &worker->id);
        put_literal(b, ",\"name\":");
        put_string(b, worker->name, strlen(worker->name));
        put_literal(b, ",\"state\":\"");
        put_text(b, state ? state : worker_state_name(worker));
        strbuf_add(b, "\",\"slots\":%u}", worker->slots);
        event_tell(s, &worker->account, NULL, "worker.state", b->text, b->length);
}

/* Joining. */

static bool lists_lease(const json_t *running, const struct task *task)
{
        const json_t *item;
        size_t i;

        json_array_foreach(running, i, item) {
                struct id id;

                if (!id_parse("task", short_text(item, "task"), &id) && id_equal(&id, &task->id) &&
                    strtoull(short_text(item, "nonce"), NULL, 10) == task->now.nonce)
                        return true;
        }
        return false;
}

static void settle_leases(struct service *s, struct worker *worker, const json_t *running, bool same_start, struct strbuf *lost, struct strbuf *elsewhere)
{
        struct lease_links *link, *next;
        const json_t *item;
        bool first = true;
        size_t i;

        json_array_foreach(running, i, item) {
                struct task *task;
                struct id id;

                if (id_parse("task", short_text(item, "task"), &id) < 0)
                        continue;
                if (lease_moved(s, &id)) {
                        put_text(elsewhere, elsewhere->length ? "," : "");
                        put_id(elsewhere, "task", &id);
                        continue;
                }
                task = task_find(s, &id);
                if (task && task->now.state == CORE_LEASED && id_equal(&task->now.worker, &worker->id) &&
                    core_resume(s->core, s->now_ms, worker->number, &id, strtoull(short_text(item, "nonce"), NULL, 10)) == CORE_OK) {
                        task_lease_link(task, worker);
                        s->counters.resumed++;
                        continue;
                }
                put_text(lost, first ? "" : ",");
                put_id(lost, "task", &id);
                first = false;
        }
        for (link = worker->leases.next; link != &worker->leases; link = next) {
                struct task *task = (struct task *)(void *)((char *)link - offsetof(struct task, lease));

                next = link->next;
                if (lists_lease(running, task) || task->now.state != CORE_LEASED)
                        continue;
                s->counters.lost_unlisted++;
                if (core_resume(s->core, s->now_ms, worker->number, &task->id, task->now.nonce) != CORE_OK)
                        continue;
                if (same_start)
                        (void)core_decline(s->core, s->now_ms, worker->number, &task->id, task->now.nonce);
                else
                        (void)core_fail(s->core, s->now_ms, worker->number, &task->id, task->now.nonce, true, false);
        }
}

static void welcome(struct service_worker *c, const struct strbuf *lost, const struct strbuf *elsewhere)
{
        struct service *s = c->service;
        struct operation *op = operation_add(s, OPERATION_WELCOME);
        struct strbuf b = {0};
        const struct core_settings *settings = &s->core_settings;

        put_literal(&b, "{\"m\":\"welcome\",\"worker\":");
        put_id(&b, "worker", &c->worker->id);
        put_literal(&b, ",\"server\":");
        put_string(&b, s->server ? s->server : "", s->server ? strlen(s->server) : 0);
        put_literal(&b, ",\"servers\":[");
        for (size_t i = 0; i < s->survey.server_count; i++) {
                put_text(&b, i ? "," : "");
                put_string(&b, s->survey.servers[i].address, strlen(s->survey.servers[i].address));
        }
        strbuf_add(&b, "],\"lease_ms\":%llu,\"heartbeat_ms\":%llu,\"node_ms\":%llu,\"payload_bytes\":%llu,\"lost\":[", (unsigned long long)settings->lease_ms,
                   (unsigned long long)(settings->suspect_ms / 3), (unsigned long long)nodes_every_ms(s), (unsigned long long)s->options.payload_bytes);
        if (lost->length)
                strbuf_put(&b, lost->text, lost->length);
        if (elsewhere->length) {
                put_literal(&b, "],\"elsewhere\":[");
                strbuf_put(&b, elsewhere->text, elsewhere->length);
        }
        put_literal(&b, "]");
        tunnel_secret(c->worker);
        if (c->worker->tunnel_secret[0])
                strbuf_add(&b, ",\"tunnel\":\"%s\"", c->worker->tunnel_secret);
        put_literal(&b, "}");
        op->text = b.text;
        op->bytes = b.length;
        op->connection = c;
        c->references++;
}

int worker_join(struct service_worker *c, const json_t *hello, struct worker *worker)
{
        static const char *const kept[] = {"types", "devices", "models", "labels", "host_memory_bytes"};
        struct service *s = c->service;
        const json_t *running = json_object_get(hello, "running");
        struct strbuf lost = {0}, elsewhere = {0};
        struct id id = {0};
        bool same_start;
        int r;

        if (!worker) {
                id = service_new_id(s);
                worker = worker_new(s, &id, &c->caller.account);
                if (!worker) {
                        connection_end(c, "pool.memory", "the pool is out of memory");
                        return -ENOMEM;
                }
        }
        if (worker->connection) {
                struct service_worker *before = worker->connection;

                worker->connection = NULL;
                before->worker = NULL;
                connection_end(before, "worker.replaced", "the same worker connected anew");
        }
        same_start = worker->instance[0] && !strcmp(worker->instance, short_text(hello, "instance"));
        text_copy_clean(worker->name, sizeof(worker->name), short_text(hello, "name"));
        text_copy_clean(worker->instance, sizeof(worker->instance), short_text(hello, "instance"));
        text_copy_clean(worker->version, sizeof(worker->version), short_text(hello, "version"));
        snprintf(worker->address, sizeof(worker->address), "%s", c->address);
        worker->slots = (uint32_t)json_integer_value(json_object_get(hello, "slots"));
        worker->private_pool = json_is_true(json_object_get(hello, "private"));
        json_decref(worker->abilities);
        worker->abilities = json_object();
        for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
                if (json_object_get(hello, kept[i]))
                        json_object_set(worker->abilities, kept[i], json_object_get(hello, kept[i]));
        if (json_object_get(hello, "resident")) {
                json_decref(worker->resident);
                worker->resident = json_incref(json_object_get(hello, "resident"));
        }
        members_told(s, worker, json_object_get(hello, "members"));
        worker->leaving = false;
        worker->seen = s->unix_ms;
        worker->seen_ns = s->now_ns;
        r = worker_to_core(s, worker, true);
        if (r < 0) {
                connection_end(c, "worker.refused", error_text(r));
                worker_free(s, worker);
                return r;
        }
        worker->connection = c;
        c->worker = worker;
        c->state = CONNECTION_JOINED;
        settle_leases(s, worker, running, same_start, &lost, &elsewhere);
        if (worker->drained)
                (void)!core_worker_drain(s->core, s->now_ms, worker->number, true);
        act_drain(s);
        row_put(s, worker);
        welcome(c, &lost, &elsewhere);
        worker_event(s, worker, NULL);
        engines_take(s, worker, hello);
        strbuf_done(&lost);
        strbuf_done(&elsewhere);
        if (worker->drained) {
                struct strbuf b = {0};

                put_literal(&b, "{\"m\":\"drain\",\"on\":true}");
                connection_send(c, &b);
                strbuf_done(&b);
        }
        return 0;
}

/* By people. */

void worker_drain(struct service *s, struct worker *worker, bool on)
{
        worker_drained(s, worker, on);
        row_put(s, worker);
        act_drain(s);
}

void worker_remove(struct service *s, struct worker *worker)
{
        (void)!pending_put(s, &(struct store_change){.kind = STORE_DELETE, .row = {.table = STORE_WORKER, .id = worker->id}});
        if (worker->connection) {
                struct service_worker *c = worker->connection;

                worker->connection = NULL;
                c->worker = NULL;
                connection_end(c, "worker.removed", "an operator removed this worker");
        }
        if (worker->number != CORE_NONE)
                core_worker_leave(s->core, s->now_ms, worker->number);
        else
                worker_free(s, worker);
        act_drain(s);
}
