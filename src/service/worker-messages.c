/* worker-messages.c: the worker protocol (docs/worker-protocol.md). A message is looked at strictly: a member of a wrong type ends the connection, a lease that is
 * not the worker's is answered `stale` and changes nothing, and what it claims in numbers is bounded by what it was given. What a flood could use up has a
 * bucket and a counter.
 */
#include "base/error.h"
#include "base/text.h"
#include "service/internal.h"
#include "service/members.h"

#include <stdio.h>

#define MESSAGE_BYTES (1u << 20)
#define MESSAGES_PER_S 20000u
#define MESSAGES_BURST 40000u
#define EVENT_BYTES_PER_S (256u << 10)
#define EVENT_BYTES_BURST (1u << 20)
#define EVENT_TEXT 4096u
#define PROGRESS_PER_S 10
#define JOINED_WORKERS 20000
#define NS_S UINT64_C(1000000000)

bool bucket_take(struct bucket *bucket, uint64_t now_ns, uint64_t per_s, uint64_t burst, uint64_t amount)
{
        uint64_t passed = bucket->at_ns ? now_ns - bucket->at_ns : NS_S * 1000;
        uint64_t more = passed > NS_S * 1000 ? burst : passed * per_s / NS_S;

        if (more) {
                bucket->level = bucket->level + more > burst ? burst : bucket->level + more;
                bucket->at_ns = now_ns;
        }
        if (bucket->level < amount)
                return false;
        bucket->level -= amount;
        return true;
}

int message_malformed(struct service_worker *c, const char *text)
{
        c->service->counters.worker_malformed++;
        connection_end(c, "message.malformed", text);
        return -E_MESSAGE;
}

/* Members of a message. Each is absent (0), right (1), or of a wrong kind (negative, and the connection ended). */
int message_text_of(struct service_worker *c, const json_t *m, const char *name, size_t most, const char **ret)
{
        const json_t *value = json_object_get(m, name);
        char text[120];

        if (!value || json_is_null(value))
                return 0;
        if (!json_is_string(value) || json_string_length(value) > most) {
                snprintf(text, sizeof(text), "%s: a text of at most %zu bytes", name, most);
                return message_malformed(c, text);
        }
        *ret = json_string_value(value);
        return 1;
}

int message_integer_of(struct service_worker *c, const json_t *m, const char *name, int64_t low, int64_t high, int64_t *ret)
{
        const json_t *value = json_object_get(m, name);
        char text[120];

        if (!value || json_is_null(value))
                return 0;
        if (!json_is_integer(value) || json_integer_value(value) < low || json_integer_value(value) > high) {
                snprintf(text, sizeof(text), "%s: a number from %lld to %lld", name, (long long)low, (long long)high);
                return message_malformed(c, text);
        }
        *ret = json_integer_value(value);
        return 1;
}

void message_tell_lease(struct service *s, struct service_worker *c, enum operation_kind kind, const struct id *task, uint64_t nonce)
{
        struct operation *op = operation_add(s, kind);

        op->task_id = *task;
        op->nonce = nonce;
        op->connection = c;
        c->references++;
}

void message_stale(struct service_worker *c, const struct id *task, uint64_t nonce)
{
        if (lease_moved(c->service, task))
                return;
        c->service->counters.stale++;
        message_tell_lease(c->service, c, OPERATION_STALE, task, nonce);
}

/* The lease that a message is about: 1 and its task, 0 when it is not this worker's (answered), or the connection ended. */
int message_lease_of(struct service_worker *c, const json_t *m, struct id *id, uint64_t *nonce, struct task **ret_task)
{
        const char *text = json_string_value(json_object_get(m, "task"));
        struct task *task;

        if (!text || id_parse("task", text, id) < 0)
                return message_malformed(c, "task: an id");
        text = json_string_value(json_object_get(m, "nonce"));
        if (!text || text_parse_u64(text, 0, UINT64_MAX, nonce) < 0)
                return message_malformed(c, "nonce: a number as text");
        task = task_find(c->service, id);
        *ret_task = task;
        if (task && task->now.state == CORE_LEASED && task->now.nonce == *nonce && id_equal(&task->now.worker, &c->worker->id))
                return 1;
        if (task && !id_equal(&task->now.worker, &c->worker->id))
                c->service->counters.foreign++;
        return 0;
}

/* About a lease that is not its any more: a result that was taken already (said twice, because the answer was lost) is so acknowledged once it is durable. */
int message_not_its_lease(struct service_worker *c, const struct id *id, uint64_t nonce, const struct task *task)
{
        if (task && task->ended && task->now.nonce == nonce && id_equal(&task->now.worker, &c->worker->id) && task->now.state != CORE_CANCELLED)
                message_tell_lease(c->service, c, OPERATION_ACK, id, nonce);
        else
                message_stale(c, id, nonce);
        return 0;
}

struct join_job {
        struct job job;
        struct service_worker *connection;
        struct id id, account;
        json_t *spec, *status;
        char *spec_text, *status_text;
        bool found;
};

static int join_row(void *context, const struct store_row *row)
{
        struct join_job *join = context;

        join->found = row->spec && row->status;
        join->account = row->account;
        join->spec_text = row->spec ? strndup(row->spec, row->spec_bytes) : NULL;
        join->status_text = row->status ? strndup(row->status, row->status_bytes) : NULL;
        return 0;
}

static void join_run(struct job *job, struct store *store)
{
        struct join_job *join = (struct join_job *)job;

        job->error = store ? store_get(store, STORE_WORKER, &join->id, join_row, join) : -E_UNAVAILABLE;
}

static void join_finish(struct service *s, struct job *job)
{
        struct join_job *join = (struct join_job *)job;
        struct service_worker *c = join->connection;
        struct worker *worker = NULL;

        if (c->state == CONNECTION_JOINING && !c->gone) {
                if (join->found && id_equal(&join->account, &c->caller.account) && join->spec_text && join->status_text) {
                        struct store_row row = {.table = STORE_WORKER, .id = join->id, .account = join->account, .spec = join->spec_text,
                                                .status = join->status_text, .spec_bytes = strlen(join->spec_text), .status_bytes = strlen(join->status_text)};

                        if (!worker_row_restore(s, &row))
                                worker = worker_find(s, &join->id);
                }
                if (job->error && job->error != -ENOENT)
                        connection_end(c, "store.unavailable", "the pool can't look you up now: try again");
                else
                        (void)worker_join(c, c->hello, worker);
        }
        connection_release(c);
        free(join->spec_text);
        free(join->status_text);
        free(join);
        act_drain(s);
}

static int on_hello(struct service_worker *c, const json_t *m)
{
        struct service *s = c->service;
        const char *id_text_ = NULL, *text = NULL;
        const json_t *running = json_object_get(m, "running"), *item;
        struct worker *worker = NULL;
        struct join_job *join;
        int64_t number = 0;
        char reason[160];
        struct id id;
        size_t i;
        int r;

        if (message_integer_of(c, m, "protocol", 0, INT64_MAX, &number) < 0)
                return -E_MESSAGE;
        if (number != 1) {
                connection_end(c, "protocol.version", "this pool speaks version 1 of the worker protocol");
                return -E_MESSAGE;
        }
        if (message_text_of(c, m, "name", CORE_TEXT - 1, &text) < 0 || message_text_of(c, m, "instance", LABEL_BYTES - 1, &text) < 0 ||
            message_text_of(c, m, "version", LABEL_BYTES - 1, &text) < 0)
                return -E_MESSAGE;
        if (worker_spec_check(m, reason) < 0)
                return message_malformed(c, reason);
        r = message_integer_of(c, m, "slots", 1, 4096, &number);
        if (r <= 0)
                return r < 0 ? r : message_malformed(c, "slots: a number");
        if (running && (!json_is_array(running) || json_array_size(running) > RUNNING_LEASES))
                return message_malformed(c, "running: an array of leases");
        json_array_foreach(running, i, item)
                if (!json_is_object(item) || !json_is_string(json_object_get(item, "task")) || !json_is_string(json_object_get(item, "nonce")))
                        return message_malformed(c, "running: each has task and nonce");
        r = message_text_of(c, m, "worker", ID_TEXT, &id_text_);
        if (r < 0)
                return r;
        if (r && id_text_[0] && id_parse("worker", id_text_, &id) < 0)
                return message_malformed(c, "worker: an id that an earlier welcome gave, or none");
        if (HASH_CNT(by_id, s->workers) >= JOINED_WORKERS) {
                s->counters.worker_quota++;
                connection_end(c, "pool.full", "too many workers are known here");
                return -E_QUOTA;
        }
        if (r && id_text_[0]) {
                worker = worker_find(s, &id);
                if (worker && !id_equal(&worker->account, &c->caller.account)) {
                        s->counters.foreign++;
                        worker = NULL; /* another account's: it becomes a new one */
                } else if (!worker) {
                        join = calloc(1, sizeof(*join));
                        if (!join)
                                return message_malformed(c, "the pool is out of memory");
                        *join = (struct join_job){.job = {.run = join_run, .finish = join_finish}, .connection = c, .id = id};
                        if (jobs_put(s->reader, &join->job) < 0) {
                                free(join);
                                connection_end(c, "pool.busy", "too many workers connect at once: try again");
                                return -E_QUOTA;
                        }
                        c->references++;
                        c->state = CONNECTION_JOINING;
                        c->hello = json_incref((json_t *)m);
                        return 0;
                }
        }
        r = worker_join(c, m, worker);
        return r < 0 ? -E_QUOTA : 0;
}

static int on_change(struct service_worker *c, const json_t *m)
{
        static const char *const kept[] = {"types", "devices", "models", "labels"};
        struct worker *worker = c->worker;
        char reason[160];

        if (worker_spec_check(m, reason) < 0)
                return message_malformed(c, reason);
        for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
                if (json_object_get(m, kept[i]))
                        json_object_set(worker->abilities, kept[i], json_object_get(m, kept[i]));
        if (json_object_get(m, "resident")) {
                json_decref(worker->resident);
                worker->resident = json_incref(json_object_get(m, "resident"));
        }
        members_told(c->service, worker, json_object_get(m, "members"));
        if (worker_to_core(c->service, worker, false) < 0)
                return message_malformed(c, "these abilities can't be taken");
        engines_take(c->service, worker, m);
        return 0;
}

static int on_ready(struct service_worker *c, const json_t *m)
{
        int64_t slots = 0;
        int r = message_integer_of(c, m, "slots", 0, UINT32_MAX, &slots);

        if (r < 0)
                return r;
        /* A slot whose result is still looked at counts as taken: said to be free now it would not be believed, and be lost. */
        if (c->checking)
                c->ready_later = slots > UINT32_MAX - c->ready_later ? UINT32_MAX : c->ready_later + (uint32_t)slots;
        else
                core_ready(c->service->core, c->service->now_ms, c->worker->number, (uint32_t)slots);
        return 0;
}

static int on_heartbeat(struct service_worker *c, const json_t *m)
{
        struct worker *worker = c->worker;
        json_t *load = json_object(), *value;
        const char *name;

        json_object_foreach((json_t *)m, name, value)
                if (json_is_number(value) && json_object_size(load) < 32 && strlen(name) < LABEL_BYTES)
                        json_object_set(load, name, value);
        json_decref(worker->load);
        worker->load = load;
        return 0;
}

static int on_accepted(struct service_worker *c, const json_t *m)
{
        struct task *task;
        struct id id;
        uint64_t nonce;
        int r = message_lease_of(c, m, &id, &nonce, &task);

        return r == 0 ? message_not_its_lease(c, &id, nonce, task) : r < 0 ? r : 0;
}

static int on_progress(struct service_worker *c, const json_t *m)
{
        struct service *s = c->service;
        const json_t *share = json_object_get(m, "share");
        struct progress *p;
        const char *text = NULL;
        int64_t step = 0, steps = 0;
        struct strbuf *b = &s->scratch;
        struct task *task;
        struct id id;
        uint64_t nonce;
        int r = message_lease_of(c, m, &id, &nonce, &task);

        if (r <= 0)
                return r < 0 ? r : message_not_its_lease(c, &id, nonce, task);
        if (share && !json_is_number(share) && !json_is_null(share))
                return message_malformed(c, "share: a number from 0 to 1");
        if (message_integer_of(c, m, "step", 0, INT64_MAX, &step) < 0 || message_integer_of(c, m, "steps", 0, INT64_MAX, &steps) < 0 || message_text_of(c, m, "text", 4096, &text) < 0)
                return -E_MESSAGE;
        p = &task->progress;
        if (p->window_ms / 1000 != s->now_ms / 1000) {
                p->window_ms = s->now_ms;
                p->in_window = 0;
        }
        if (p->in_window++ >= PROGRESS_PER_S || !bucket_take(&c->event_bytes, s->now_ns, EVENT_BYTES_PER_S, EVENT_BYTES_BURST, 400)) {
                s->counters.progress_dropped++;
                return 0;
        }
        p->known = true;
        p->share = share ? json_number_value(share) : steps ? (double)step / (double)steps : 0;
        p->share = p->share > 1 ? 1 : p->share > 0 ? p->share : 0;
        p->step = step;
        p->steps = steps;
        text_copy_clean(p->text, sizeof(p->text), text ? text : "");
        strbuf_clear(b);
        put_literal(b, "{\"share\":");
        put_real(b, p->share);
        if (steps)
                strbuf_add(b, ",\"step\":%lld,\"steps\":%lld", (long long)step, (long long)steps);
        if (p->text[0]) {
                put_literal(b, ",\"text\":");
                put_string(b, p->text, strlen(p->text));
        }
        put_literal(b, "}");
        event_tell(s, &task->account, &task->id, "task.progress", b->text, b->length);
        return 0;
}

static int on_log(struct service_worker *c, const json_t *m)
{
        struct service *s = c->service;
        const json_t *text = json_object_get(m, "text");
        struct strbuf *b = &s->scratch;
        int64_t offset = 0;
        size_t shown;
        struct task *task;
        struct id id;
        uint64_t nonce;
        int r = message_lease_of(c, m, &id, &nonce, &task);

        if (r <= 0)
                return r < 0 ? r : message_not_its_lease(c, &id, nonce, task);
        if (!json_is_string(text))
                return message_malformed(c, "text: a text");
        if (message_integer_of(c, m, "offset", 0, INT64_MAX / 2, &offset) <= 0)
                return c->state == CONNECTION_ENDED ? -E_MESSAGE : message_malformed(c, "offset: a number");
        log_write(s, task, (uint64_t)offset, json_string_value(text), json_string_length(text));
        shown = json_string_length(text) < EVENT_TEXT ? json_string_length(text) : EVENT_TEXT;
        if (!bucket_take(&c->event_bytes, s->now_ns, EVENT_BYTES_PER_S, EVENT_BYTES_BURST, 300 + shown))
                return 0;
        strbuf_clear(b);
        strbuf_add(b, "{\"offset\":%lld,\"bytes\":%zu,\"text\":", (long long)offset, json_string_length(text));
        while (shown && shown < json_string_length(text) && (json_string_value(text)[shown] & 0xc0) == 0x80)
                shown--;
        put_string(b, json_string_value(text), shown);
        put_literal(b, "}");
        event_tell(s, &task->account, &task->id, "task.log", b->text, b->length);
        return 0;
}

/* Its owner ends it, or thinks better of it. What people said about it (worker_drain) stays as it is. */
static int on_drain(struct service_worker *c, const json_t *m)
{
        const json_t *on = json_object_get(m, "on");

        if (!json_is_boolean(on))
                return message_malformed(c, "on: true or false");
        if (json_is_true(on) || !c->worker->drained)
                (void)!core_worker_drain(c->service->core, c->service->now_ms, c->worker->number, json_is_true(on));
        c->worker->leaving = json_is_true(on);
        engines_again(c->service, c->worker);
        /* It hears which requests it still has, then that this was all. */
        if (c->worker->leaving && c->worker->connection) {
                struct strbuf b = {0};

                service_engines_tick(c->service);
                put_literal(&b, "{\"m\":\"drain\",\"on\":true}");
                connection_send(c, &b);
                strbuf_done(&b);
        }
        return 0;
}

static int on_bye(struct service_worker *c, const json_t *m)
{
        struct worker *worker = c->worker;

        worker->connection = NULL;
        c->worker = NULL;
        c->state = CONNECTION_ENDED;
        engines_away(c->service, worker);
        core_worker_leave(c->service->core, c->service->now_ms, worker->number);
        return 0;
}

static const struct {
        const char *name;
        int (*on)(struct service_worker *c, const json_t *m);
} messages[] = {{"result", on_result},   {"progress", on_progress}, {"log", on_log},       {"heartbeat", on_heartbeat}, {"renew", on_renew}, {"accepted", on_accepted},
                {"ready", on_ready},     {"fail", on_fail},         {"decline", on_decline}, {"change", on_change},       {"bye", on_bye},
                {"drain", on_drain},     {"node", on_node},       {"machine", on_machine}};

int connection_message(struct service_worker *c, const json_t *m)
{
        struct service *s = c->service;
        const char *kind = json_string_value(json_object_get(m, "m"));

        if (!kind)
                return message_malformed(c, "m: the kind of message");
        if (c->state == CONNECTION_NEW && !strcmp(kind, "hello"))
                return on_hello(c, m);
        if (c->state != CONNECTION_JOINED)
                return message_malformed(c, c->state == CONNECTION_NEW ? "hello comes first" : "wait for the welcome");
        if (!strcmp(kind, "hello"))
                return message_malformed(c, "hello comes once");
        c->worker->seen_ns = s->now_ns;
        core_heartbeat(s->core, s->now_ms, c->worker->number); /* whatever it says: a worker sends no heartbeat where it said something else */
        for (size_t i = 0; i < ARRAY_SIZE(messages); i++)
                if (!strcmp(kind, messages[i].name))
                        return messages[i].on(c, m);
        s->counters.worker_unknown++;
        return 0;
}

int service_worker_receive(struct service_worker *c, const char *text, size_t bytes)
{
        struct service *s = c->service;
        json_error_t error;
        json_t *m;
        int r;

        if (c->state == CONNECTION_ENDED)
                return -E_MESSAGE;
        service_time(s);
        s->counters.worker_messages++;
        if (!bucket_take(&c->messages, s->now_ns, MESSAGES_PER_S, MESSAGES_BURST, 1)) {
                s->counters.worker_quota++;
                connection_end(c, "message.too_many", "more than 20000 messages a second");
                return -E_QUOTA;
        }
        if (bytes > MESSAGE_BYTES)
                return message_malformed(c, "a message is at most 1 MiB");
        if (c->state == CONNECTION_JOINED && !on_plain_result(c, text, bytes)) {
                act_drain(s);
                service_want_turn(s);
                return 0;
        }
        m = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
        if (!json_is_object(m)) {
                json_decref(m);
                return message_malformed(c, "a JSON object is wanted");
        }
        r = connection_message(c, m);
        json_decref(m);
        act_drain(s);
        service_want_turn(s);
        return r;
}
