/* feed.c: events pushed from outside. Each source of an account counts its events; one whose number is not above the source's last was told before and is
 * answered as known. The last numbers are rows of the store, committed with the events they let pass. */
#include "base/error.h"
#include "base/text.h"
#include "service/internal.h"

#include <openssl/evp.h>
#include <stdio.h>

#define SOURCE_BYTES 64
#define SOURCES_PER_ACCOUNT 1000
#define DATA_BYTES (64u << 10)
#define PUSHED_AT_ONCE 1000
#define KEPT_MS (INT64_C(90) * 24 * 3600 * 1000)

struct feed_source {
        UT_hash_handle by_key;
        char key[ID_TEXT + SOURCE_BYTES + 2];
        uint64_t last;
};

void feed_free(struct service *s)
{
        struct feed_source *source, *next;

        HASH_ITER(by_key, s->sources, source, next) {
                HASH_DELETE(by_key, s->sources, source);
                free(source);
        }
}

static struct feed_source *source_get(struct service *s, const char *key, bool make)
{
        struct feed_source *source;

        HASH_FIND(by_key, s->sources, key, strlen(key), source);
        if (source || !make)
                return source;
        source = calloc(1, sizeof(*source));
        if (!source)
                return NULL;
        snprintf(source->key, sizeof(source->key), "%s", key);
        HASH_ADD(by_key, s->sources, key, strlen(source->key), source);
        return source;
}

int feed_row_restore(struct service *s, const struct store_row *row)
{
        json_t *status = row->status ? json_loadb(row->status, row->status_bytes, 0, NULL) : NULL;
        const char *last = json_string_value(json_object_get(status, "last"));
        struct feed_source *source = NULL;
        uint64_t number;
        int r = -EBADMSG;

        if (row->text_key && strlen(row->text_key) < sizeof(source->key) && last && !text_parse_u64(last, 0, UINT64_MAX, &number)) {
                source = source_get(s, row->text_key, true);
                r = source ? 0 : -ENOMEM;
                if (source && number > source->last)
                        source->last = number;
        }
        json_decref(status);
        return r;
}

static unsigned int sources_of(struct service *s, const char *account)
{
        struct feed_source *source, *next;
        unsigned int count = 0;

        HASH_ITER(by_key, s->sources, source, next)
                count += !strncmp(source->key, account, strlen(account));
        return count;
}

static int put_row(struct service *s, const struct feed_source *source, const struct id *account)
{
        uint8_t digest[32];
        char status[64];
        struct id id;
        int n = snprintf(status, sizeof(status), "{\"last\":\"%llu\"}", (unsigned long long)source->last);

        EVP_Digest(source->key, strlen(source->key), digest, NULL, EVP_sha256(), NULL);
        memcpy(&id, digest, sizeof(id));
        return pending_put(s, &(struct store_change){.kind = STORE_PUT, .row = {.table = STORE_FEED, .id = id, .account = *account, .text_key = source->key,
                                                                                  .until_ms = s->unix_ms + KEPT_MS, .spec = "{}", .spec_bytes = 2,
                                                                                  .status = status, .status_bytes = (size_t)n}});
}

static bool type_valid(const char *type)
{
        static const char *const own[] = {"snapshot", "task.", "worker.", "pool.", "error"};
        size_t n = strlen(type);

        for (size_t i = 0; i < ARRAY_SIZE(own); i++)
                if (!strncmp(type, own[i], strlen(own[i])))
                        return false;
        return n > 0 && n < 64 && strspn(type, "abcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

static bool source_valid(const char *source)
{
        size_t n = strlen(source);

        for (size_t i = 0; i < n; i++)
                if (source[i] < 0x21 || source[i] > 0x7e)
                        return false;
        return n > 0 && n <= SOURCE_BYTES;
}

static bool check(const json_t *one, const char *path, json_t *violations)
{
        const char *source = json_string_value(json_object_get(one, "source")), *type = json_string_value(json_object_get(one, "type")),
                   *task = json_string_value(json_object_get(one, "task"));
        const json_t *sequence = json_object_get(one, "sequence"), *data = json_object_get(one, "data");
        size_t before = json_array_size(violations);
        struct strbuf b = {0};
        struct id id;
        char at[64];

#define wrong(member, text)                                              \
        do {                                                             \
                snprintf(at, sizeof(at), "%s%s%s", path, path[0] ? "." : "", member); \
                violation_add(violations, at, "%s", text);               \
        } while (0)
        if (!json_is_object(one)) {
                violation_add(violations, path, "an object is wanted here");
                return false;
        }
        if (!source || !source_valid(source))
                wrong("source", "1 to 64 visible ASCII characters are wanted here");
        if (!json_is_integer(sequence) || json_integer_value(sequence) < 1)
                wrong("sequence", "a number from 1 up is wanted here");
        if (!type || !type_valid(type))
                wrong("type", "1 to 63 of a-z 0-9 . _ - are wanted here, not one of the pool's own (task., worker., pool., snapshot, error)");
        if (json_object_get(one, "task") && (!task || id_parse("task", task, &id) < 0))
                wrong("task", "an id like \"task_0192…\" is wanted here");
        if (!data || put_json(&b, data) < 0 || b.length > DATA_BYTES)
                wrong("data", "any JSON up to 64 KiB is wanted here");
#undef wrong
        strbuf_done(&b);
        return json_array_size(violations) == before;
}

/* An event on its way to its commit. */
struct pushed {
        struct id account, task;
        char type[64];
        size_t bytes;
        char data[];
};

static void tell_pushed(struct service *s, void *context, int error)
{
        struct pushed *p = context;

        if (!error)
                event_tell(s, &p->account, &p->task, p->type, p->data, p->bytes);
        free(p);
}

static int push(struct service *s, const struct account_caller *caller, const json_t *one, bool *ret_known)
{
        char key[ID_TEXT + SOURCE_BYTES + 2], account[ID_TEXT];
        const char *task = json_string_value(json_object_get(one, "task"));
        uint64_t sequence = (uint64_t)json_integer_value(json_object_get(one, "sequence"));
        struct feed_source *source;
        struct operation *op;
        struct strbuf b = {0};
        struct pushed *p;

        snprintf(key, sizeof(key), "%s %s", id_text("account", &caller->account, account), json_string_value(json_object_get(one, "source")));
        source = source_get(s, key, false);
        if (!source && sources_of(s, account) >= SOURCES_PER_ACCOUNT)
                return -E_QUOTA;
        if (!source && !(source = source_get(s, key, true)))
                return -ENOMEM;
        *ret_known = sequence <= source->last;
        if (*ret_known) {
                s->counters.events_known++;
                return 0;
        }
        if (put_json(&b, json_object_get(one, "data")) < 0 || !(p = malloc(sizeof(*p) + b.length))) {
                strbuf_done(&b);
                return -ENOMEM;
        }
        *p = (struct pushed){.account = caller->account, .bytes = b.length};
        snprintf(p->type, sizeof(p->type), "%s", json_string_value(json_object_get(one, "type")));
        if (task && id_parse("task", task, &p->task) < 0)
                p->task = (struct id){0};
        memcpy(p->data, b.text, b.length);
        strbuf_done(&b);
        source->last = sequence;
        if (put_row(s, source, &caller->account) < 0) {
                free(p);
                return -ENOMEM;
        }
        s->counters.events_pushed++;
        op = operation_add(s, OPERATION_CALL);
        op->call = tell_pushed;
        op->context = p;
        return 0;
}

void service_events_push(struct service *s, const struct account_caller *caller, const json_t *body, service_done_fn done, void *context)
{
        size_t count = json_is_array(body) ? json_array_size(body) : 1, known = 0;
        json_t *violations = json_array(), *problem;
        struct strbuf b = {0};
        char path[32] = "";
        int r;

        service_time(s);
        r = service_store_error(s);
        if (!r && s->queues[service_queue_of(&caller->account)].state != QUEUE_OURS)
                r = -ESTALE;
        if (r < 0 || !count || count > PUSHED_AT_ONCE) {
                if (r < 0)
                        answer_error(s, done, context, r);
                else
                        answer_problem(s, done, context, 422, "event.invalid", "1 to 1000 events at once", NULL);
                json_decref(violations);
                return;
        }
        for (size_t i = 0; i < count; i++) {
                if (json_is_array(body))
                        snprintf(path, sizeof(path), "[%zu]", i);
                (void)check(json_is_array(body) ? json_array_get(body, i) : body, path, violations);
        }
        if (json_array_size(violations)) {
                problem = json_object();
                json_object_set_new(problem, "violations", violations);
                answer_problem(s, done, context, 422, "event.invalid", "see violations", problem);
                return;
        }
        json_decref(violations);
        for (size_t i = 0; i < count && !r; i++) {
                bool was = false;

                r = push(s, caller, json_is_array(body) ? json_array_get(body, i) : body, &was);
                known += was;
        }
        if (r == -E_QUOTA) {
                answer_problem(s, done, context, 429, "event.sources", "an account has at most 1000 sources of events", NULL);
                return;
        }
        strbuf_add(&b, "{\"accepted\":%zu,\"known\":%zu}", count - known, known);
        if (r < 0 || b.failed)
                answer_error(s, done, context, -ENOMEM);
        else
                /* Known ones, too, are answered when what made them known is durable. */
                answer_when_durable(s, done, context, 200, b.text, b.length, NULL);
}
