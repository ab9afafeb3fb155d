/* engines.c: what workers say of their engines, checked and handed to generate/generate.h; its actions carried out; see engines.h. */
#include "service/engines.h"

#include "base/error.h"
#include "base/text.h"
#include "service/internal.h"

#include <stdio.h>

#define ENGINES 256          /* of one worker */
#define PARALLEL 65536
#define EXPECT_MS 10000      /* after a start, for the workers that are known to connect */

const char *const engine_state_names[GENERATE_AWAY + 1] = {
        [GENERATE_COLD] = "cold", [GENERATE_STARTING] = "starting", [GENERATE_READY] = "ready", [GENERATE_STOPPING] = "stopping", [GENERATE_FAILED] = "failed",
        [GENERATE_AWAY] = "away",
};
const char *const engine_task_names[ENGINE_TASKS] = {"chat", "completion", "embedding"};

static const char *text_of(const json_t *object, const char *name)
{
        const char *text = json_string_value(json_object_get(object, name));

        return text ? text : "";
}

static int state_parse(const char *name, enum generate_state *ret)
{
        for (unsigned i = 0; i < GENERATE_AWAY; i++)
                if (!strcmp(name, engine_state_names[i])) {
                        *ret = (enum generate_state)i;
                        return 0;
                }
        return -EINVAL;
}

/* Printable without blanks and quotes: goes into request heads and JSON as it is. */
static bool is_plain(const char *text, size_t size)
{
        size_t n = strlen(text);

        for (size_t i = 0; i < n; i++)
                if (text[i] <= ' ' || text[i] > '~' || text[i] == '"' || text[i] == '\\')
                        return false;
        return n < size;
}

static const char *wrong_engine(const json_t *e)
{
        static const struct {
                const char *name;
                json_int_t most;
        } numbers[] = {{"parallel", PARALLEL}, {"context", INT32_MAX}, {"memory_bytes", INT64_MAX}};
        static const char *const texts[] = {"model", "kind", "state", "address", "key", "revision", "text"};
        const json_t *value, *tasks = json_object_get(e, "tasks");
        enum generate_state state;

        if (!json_is_object(e))
                return "each is an object";
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                value = json_object_get(e, texts[i]);
                if (value && !json_is_string(value) && !json_is_null(value))
                        return "model, kind, state, address, key, revision and text are texts";
        }
        for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
                value = json_object_get(e, numbers[i].name);
                if (value && !json_is_null(value) && (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > numbers[i].most))
                        return "parallel, context and memory_bytes are numbers";
        }
        if (!text_of(e, "model")[0] || !is_plain(text_of(e, "model"), GENERATE_MODEL))
                return "model: a name of 1 to 127 printable characters without blanks and quotes";
        if (state_parse(text_of(e, "state"), &state) < 0)
                return "state: cold, starting, ready, stopping or failed";
        if (text_of(e, "address")[0] && strncmp(text_of(e, "address"), "http://", 7))
                return "address: http://HOST:PORT, or none where only the tunnel leads";
        if (!is_plain(text_of(e, "address"), 200) || !is_plain(text_of(e, "key"), 512) || !is_plain(text_of(e, "kind"), 16))
                return "address, key or kind: too long, or with characters that don't belong there";
        if (tasks && (!json_is_array(tasks) || json_array_size(tasks) > 16))
                return "tasks: an array of names";
        value = json_object_get(e, "resident");
        if (value && !json_is_boolean(value) && !json_is_null(value))
                return "resident: true, false or null";
        return NULL;
}

int engines_check(const json_t *m, char reason[160])
{
        const json_t *list = json_object_get(m, "engines"), *item;
        size_t i;

        if (!list)
                return 0;
        if (!json_is_array(list) || json_array_size(list) > ENGINES) {
                snprintf(reason, 160, "engines: at most %d", ENGINES);
                return -EINVAL;
        }
        json_array_foreach(list, i, item)
        {
                const char *wrong = wrong_engine(item);

                if (wrong) {
                        snprintf(reason, 160, "engines: %s", wrong);
                        return -EINVAL;
                }
        }
        return 0;
}

/* Listening on all addresses says nothing about which: then it is where the worker comes from. */
static void set_address(struct served *e, const char *address)
{
        static const char *const any[] = {"http://0.0.0.0:", "http://[::]:"};
        const char *peer = e->worker->address;

        snprintf(e->address, sizeof(e->address), "%s", address);
        for (size_t i = 0; i < ARRAY_SIZE(any); i++)
                if (!strncmp(address, any[i], strlen(any[i])) && peer[0])
                        snprintf(e->address, sizeof(e->address), strchr(peer, ':') ? "http://[%s]:%s" : "http://%s:%s", peer, address + strlen(any[i]));
}

static void tell_changed(struct service *s, const char *model)
{
        struct strbuf b = {0};

        if (!service_models_text(s, model, &b, NULL, NULL)) {
                put_literal(&b, "{\"name\":");
                put_string(&b, model, strlen(model));
                put_literal(&b, ",\"state\":\"gone\",\"workers\":[]}");
        }
        if (!b.failed)
                event_tell(s, NULL, NULL, "model.changed", b.text, b.length);
        strbuf_done(&b);
}

static int to_generate(struct service *s, struct served *e)
{
        const struct generate_engine spec = {.model = e->model, .site = e->worker->site, .state = engine_state_seen(s, e), .resident = e->resident, .parallel = e->parallel,
                                             .memory = e->memory, .startable = strcmp(e->kind, "url") != 0, .context = e};

        return generate_engine(s->generate, s->now_ms, &spec, &e->number);
}

static void free_served(struct served *e)
{
        if (e->key)
                explicit_bzero(e->key, strlen(e->key));
        free(e->key);
        free(e);
}

static unsigned tasks_of(const json_t *list)
{
        const json_t *item;
        unsigned tasks = 0;
        size_t i;

        if (!list)
                return ENGINE_CHAT | ENGINE_COMPLETION | ENGINE_EMBEDDING;
        json_array_foreach(list, i, item)
                for (unsigned bit = 0; bit < ENGINE_TASKS; bit++)
                        if (json_is_string(item) && !strcmp(json_string_value(item), engine_task_names[bit]))
                                tasks |= 1u << bit;
        return tasks;
}

/* One engine as it is now. True: something that people see changed. */
static bool update(struct served *e, const json_t *item)
{
        const json_t *resident = json_object_get(item, "resident");
        struct served before = *e;
        const char *key = text_of(item, "key");

        (void)!state_parse(text_of(item, "state"), &e->state);
        e->resident = json_is_true(resident) ? GENERATE_IN : json_is_false(resident) ? GENERATE_OUT : GENERATE_UNKNOWN;
        e->parallel = (uint32_t)json_integer_value(json_object_get(item, "parallel"));
        e->parallel = e->parallel ? e->parallel : 1;
        e->context = (uint32_t)json_integer_value(json_object_get(item, "context"));
        e->memory = (uint64_t)json_integer_value(json_object_get(item, "memory_bytes"));
        e->tasks = tasks_of(json_object_get(item, "tasks"));
        snprintf(e->kind, sizeof(e->kind), "%s", text_of(item, "kind"));
        text_copy_clean(e->revision, sizeof(e->revision), text_of(item, "revision"));
        text_copy_clean(e->text, sizeof(e->text), text_of(item, "text"));
        set_address(e, text_of(item, "address"));
        if (!e->key || strcmp(e->key, key)) {
                free(e->key);
                e->key = key[0] ? strdup(key) : NULL;
        }
        return e->number == GENERATE_NONE || before.state != e->state || before.resident != e->resident || strcmp(before.text, e->text) || before.parallel != e->parallel;
}

static void remove_served(struct service *s, struct worker *worker, struct served *e)
{
        struct served **at = &worker->served;
        char model[GENERATE_MODEL];

        while (*at != e)
                at = &(*at)->next;
        *at = e->next;
        memcpy(model, e->model, sizeof(model));
        if (e->number != GENERATE_NONE)
                generate_engine_gone(s->generate, s->now_ms, e->number);
        free_served(e);
        tell_changed(s, model);
}

static uint64_t room_of(const struct worker *worker)
{
        const json_t *devices = json_object_get(worker->abilities, "devices"), *item;
        uint64_t room = 0;
        size_t i;

        json_array_foreach(devices, i, item)
                room += (uint64_t)json_integer_value(json_object_get(item, "memory_bytes"));
        return room;
}

void engines_take(struct service *s, struct worker *worker, const json_t *m)
{
        const json_t *list = json_object_get(m, "engines"), *item;
        size_t i;

        if (!worker->site) {
                if (!list)
                        return;
                worker->site = ++s->sites;
        }
        if (generate_site(s->generate, s->now_ms, worker->site, room_of(worker)) < 0)
                return;
        if (!list) {
                engines_drain(s);
                return;
        }
        for (struct served *e = worker->served; e; e = e->next)
                e->listed = false;
        json_array_foreach(list, i, item)
        {
                struct served *e = worker->served;
                bool changed;

                while (e && strcmp(e->model, text_of(item, "model")))
                        e = e->next;
                if (!e) {
                        e = calloc(1, sizeof(*e));
                        if (!e)
                                continue;
                        e->worker = worker;
                        e->number = GENERATE_NONE;
                        snprintf(e->model, sizeof(e->model), "%s", text_of(item, "model"));
                        e->next = worker->served;
                        worker->served = e;
                }
                e->listed = true;
                changed = update(e, item);
                if (to_generate(s, e) == 0 && changed)
                        tell_changed(s, e->model);
        }
        for (struct served *e = worker->served, *next; e; e = next) {
                next = e->next;
                if (!e->listed)
                        remove_served(s, worker, e);
        }
        engines_drain(s);
}

void engines_again(struct service *s, struct worker *worker)
{
        for (struct served *e = worker->served; e; e = e->next)
                if (e->number != GENERATE_NONE)
                        (void)!to_generate(s, e);
        engines_drain(s);
}

void engines_away(struct service *s, struct worker *worker)
{
        for (struct served *e = worker->served; e; e = e->next) {
                e->state = GENERATE_AWAY;
                e->told_requests = 0; /* the worker forgets it with the connection */
                e->resident = GENERATE_UNKNOWN;
                (void)!to_generate(s, e);
                tell_changed(s, e->model);
        }
        engines_drain(s);
}

void engines_gone(struct service *s, struct worker *worker)
{
        while (worker->served)
                remove_served(s, worker, worker->served);
        if (worker->site)
                generate_site_gone(s->generate, s->now_ms, worker->site);
        worker->site = 0;
}

/* ---- what generate decides ---- */

/* Requests that it has, and those that wait for its model. */
static uint32_t requests_of(const struct service *s, const struct served *e, uint64_t *ret_sent)
{
        struct generate_view v = {0};
        uint32_t outstanding = 0;

        *ret_sent = e->told_sent;
        if (e->number != GENERATE_NONE)
                outstanding = generate_engine_load(s->generate, e->number, ret_sent);
        /* What waits for a worker that is to end goes to another, or waits until it is back. */
        if (e->worker->leaving)
                return outstanding;
        return outstanding + (generate_model_view(s->generate, s->now_ms, e->model, &v) ? v.waiting : 0);
}

static void engine_say(struct service *s, struct served *e, uint32_t requests)
{
        struct strbuf b = {0};

        e->told_requests = requests;
        if (!e->worker->connection)
                return;
        put_literal(&b, "{\"m\":\"engine\",\"model\":");
        put_string(&b, e->model, strlen(e->model));
        strbuf_add(&b, ",\"want\":\"ready\",\"requests\":%u}", requests);
        connection_send(e->worker->connection, &b);
        strbuf_done(&b);
}

void engine_want(struct served *e, bool ready)
{
        struct strbuf b = {0};

        if (!e->worker->connection)
                return;
        put_literal(&b, "{\"m\":\"engine\",\"model\":");
        put_string(&b, e->model, strlen(e->model));
        put_text(&b, ready ? ",\"want\":\"ready\",\"again\":true}" : ",\"want\":\"cold\"}");
        connection_send(e->worker->connection, &b);
        strbuf_done(&b);
}

/* Whether an engine is busy is looked at once a second, not at each request: its worker reckons in minutes. */
void service_engines_tick(struct service *s)
{
        struct worker *worker, *next;

        if (!s->sites)
                return;
        service_time(s);
        HASH_ITER(by_id, s->workers, worker, next)
        {
                for (struct served *e = worker->served; e; e = e->next) {
                        uint64_t sent;
                        uint32_t requests = requests_of(s, e, &sent);

                        if (e->state != GENERATE_READY && e->state != GENERATE_STARTING) {
                                e->told_requests = 0;
                                e->told_sent = sent;
                                continue;
                        }
                        /* What came and went since the last look counts as one that is there until the next. */
                        if (!requests && sent != e->told_sent)
                                requests = 1;
                        if ((requests != 0) != (e->told_requests != 0))
                                engine_say(s, e, requests);
                        e->told_sent = sent;
                }
        }
}

static void tell_upcoming(struct service *s, uint32_t site)
{
        const char *models[GENERATE_UPCOMING];
        size_t n = generate_soon(s->generate, site, models);
        struct worker *worker, *next;
        struct strbuf b = {0};

        put_literal(&b, "{\"m\":\"upcoming\",\"models\":[");
        for (size_t i = 0; i < n; i++) {
                put_text(&b, i ? "," : "");
                put_string(&b, models[i], strlen(models[i]));
        }
        put_literal(&b, "]}");
        HASH_ITER(by_id, s->workers, worker, next)
        {
                if (worker->site == site && worker->connection)
                        connection_send(worker->connection, &b);
        }
        strbuf_done(&b);
}

/* The reason in words; of a failed engine its own. */
static void refuse(struct service *s, const struct generate_action *a)
{
        s->generate_calls.refuse(s->generate_context, a->request, a->reason, generate_reason_text(a->reason));
}

void engines_drain(struct service *s)
{
        struct generate_action a;

        /* The calls may bring more: those are carried out by the loop that is running. */
        if (s->generate_draining)
                return;
        s->generate_draining = true;
        while (generate_next(s->generate, &a)) {
                const struct generate_engine *spec = a.engine == GENERATE_NONE ? NULL : generate_engine_get(s->generate, a.engine);
                struct served *e = spec ? spec->context : NULL;

                switch (a.kind) {
                case GENERATE_DISPATCH:
                        if (e && s->generate_calls.dispatch) {
                                const struct service_engine engine = {.number = a.engine, .worker = e->worker->id, .worker_name = e->worker->name, .model = e->model,
                                                                      .kind = e->kind, .address = engine_is_direct(s, e) ? e->address : NULL, .key = e->key, .revision = e->revision,
                                                                      .context = e->context, .tasks = e->tasks};

                                s->generate_calls.dispatch(s->generate_context, a.request, &engine);
                        } else if (s->generate_calls.refuse) {
                                /* Its engine went in the same step. */
                                generate_end(s->generate, s->now_ms, a.request, 0);
                                s->generate_calls.refuse(s->generate_context, a.request, GENERATE_NO_ENGINE, "its worker left");
                        }
                        break;
                case GENERATE_REFUSE:
                        if (s->generate_calls.refuse)
                                refuse(s, &a);
                        break;
                case GENERATE_START:
                        if (e) {
                                uint64_t sent;

                                engine_say(s, e, requests_of(s, e, &sent));
                        }
                        break;
                case GENERATE_SOON:
                        tell_upcoming(s, a.site);
                        break;
                }
        }
        s->generate_draining = false;
}

int engines_open(struct service *s)
{
        int r = generate_new(s->options.generate ? s->options.generate : &generate_default_settings, &s->generate);

        s->usage_due_ms = GENERATE_NEVER;
        if (r == 0 && HASH_CNT(by_id, s->workers))
                generate_expect(s->generate, s->now_ms + EXPECT_MS);
        return r;
}

void service_generate_listen(struct service *s, const struct service_generate_calls *calls, void *context)
{
        s->generate_calls = *calls;
        s->generate_context = context;
}

void service_generate_ask(struct service *s, const char *model, struct generate_request *request)
{
        service_time(s);
        generate_ask(s->generate, s->now_ms, model, request);
        engines_drain(s);
}

void service_generate_first(struct service *s, struct generate_request *request)
{
        if (request->entered) {
                service_time(s);
                generate_first(s->generate, s->now_ms, request);
        }
}

void service_generate_end(struct service *s, struct generate_request *request, uint64_t cost)
{
        service_time(s);
        generate_end(s->generate, s->now_ms, request, cost);
        engines_drain(s);
}

void service_generate_busy(struct service *s, struct generate_request *request)
{
        service_time(s);
        generate_busy(s->generate, s->now_ms, request);
        engines_drain(s);
}

bool service_generate_again(struct service *s, struct generate_request *request)
{
        bool again;

        service_time(s);
        again = generate_again(s->generate, s->now_ms, request);
        engines_drain(s);
        return again;
}

void service_generate_judge(struct service *s, uint32_t engine, bool good)
{
        generate_judge(s->generate, engine, good);
}
