/* spec.c: what people submit, read and checked member by member. Every fault is told with the path to it, all of them at once; members that don't exist are
 * faults, too, because a misspelt limit that is silently ignored costs more than an error. The same reader takes rows of the store back in. */
#include "base/error.h"
#include "base/text.h"
#include "service/internal.h"
#include "service/members.h"

#include <stdarg.h>
#include <stdio.h>

const char *const band_names[CORE_BANDS] = {[CORE_URGENT] = "urgent", [CORE_HIGH] = "high", [CORE_NORMAL] = "normal", [CORE_LOW] = "low", [CORE_IDLE] = "idle"};

#define VIOLATIONS 50

int band_parse(const char *name, uint32_t *ret_band)
{
        for (uint32_t i = 0; i < CORE_BANDS; i++)
                if (!strcmp(name, band_names[i])) {
                        *ret_band = i;
                        return 0;
                }
        return -EINVAL;
}

/* A number for the store's lists; names that share one are told apart there by the text. */
uint32_t type_kind(const char *type)
{
        uint32_t hash = 2166136261u;

        for (; *type; type++)
                hash = (hash ^ (uint8_t)*type) * 16777619u;
        return hash & 0x7fffffff;
}

void violation_add(json_t *violations, const char *path, const char *format, ...)
{
        char text[256];
        va_list args;
        json_t *one;

        if (!violations || json_array_size(violations) >= VIOLATIONS)
                return;
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        one = json_pack("{s:s, s:s}", "path", path, "text", text);
        if (!one) /* the path holds a cut character */
                one = json_pack("{s:s, s:s}", "path", "", "text", text);
        if (one)
                json_array_append_new(violations, one);
}

struct reader {
        struct service *service;
        json_t *violations;
        const char *path;
        char at[256];
        bool wrong;
};

static const char *at(struct reader *r, const char *member)
{
        char clean[80];

        text_copy_clean(clean, sizeof(clean), member);
        snprintf(r->at, sizeof(r->at), "%s%s%s", r->path, r->path[0] ? "." : "", clean);
        return r->at;
}

#define wrong(r, member, ...)                                            \
        do {                                                             \
                violation_add((r)->violations, at(r, member), __VA_ARGS__); \
                (r)->wrong = true;                                       \
        } while (0)

/* A string that fits and holds no control characters; 1 when it is there. */
static int text_member(struct reader *r, const json_t *value, const char *member, char *to, size_t size)
{
        const char *text = json_string_value(value);
        size_t n = json_string_length(value);

        if (!value || json_is_null(value))
                return 0;
        if (!text) {
                wrong(r, member, "a text is wanted here");
                return 0;
        }
        if (n >= size) {
                wrong(r, member, "%zu bytes; at most %zu", n, size - 1);
                return 0;
        }
        for (size_t i = 0; i < n; i++)
                if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
                        wrong(r, member, "holds control characters");
                        return 0;
                }
        memcpy(to, text, n + 1);
        return n > 0;
}

static bool name_like(const char *text)
{
        for (; *text; text++)
                if (!((*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') || (*text >= '0' && *text <= '9') || strchr("._-:/+", *text)))
                        return false;
        return true;
}

static void time_member(struct reader *r, const json_t *value, const char *member, int64_t *to)
{
        if (!value || json_is_null(value))
                return;
        if (!json_is_string(value) || time_parse(json_string_value(value), to) < 0)
                wrong(r, member, "a time like \"2026-11-21T12:00:00Z\" is wanted here (RFC 3339)");
}

static void bytes_member(struct reader *r, const json_t *value, const char *member, uint64_t *to)
{
        if (!value || json_is_null(value))
                return;
        if (json_is_integer(value) && json_integer_value(value) >= 0)
                *to = (uint64_t)json_integer_value(value);
        else if (!json_is_string(value) || text_parse_bytes(json_string_value(value), to) < 0)
                wrong(r, member, "a size like \"24GiB\" or a number of bytes is wanted here");
}

static void cost_member(struct reader *r, const json_t *value, const char *member, uint64_t *to)
{
        uint64_t ns = 0;

        if (!value || json_is_null(value))
                return;
        if (json_is_integer(value) && json_integer_value(value) > 0 && json_integer_value(value) < 1000000000)
                ns = (uint64_t)json_integer_value(value) * 1000000000u;
        else if (!json_is_string(value) || text_parse_duration(json_string_value(value), &ns) < 0 || ns > UINT64_C(1000000000) * 1000000000u)
                wrong(r, member, "a duration like \"30s\" or a number of seconds is wanted here");
        *to = ns / 1000000;
        if (ns && !*to)
                *to = 1;
}

static void labels_member(struct reader *r, const json_t *value, struct core_needs *needs)
{
        const char *name;
        json_t *item;

        if (!value || json_is_null(value))
                return;
        if (!json_is_object(value)) {
                wrong(r, "needs.labels", "an object of texts is wanted here");
                return;
        }
        if (json_object_size(value) > CORE_LABELS) {
                wrong(r, "needs.labels", "%zu labels; at most %d", json_object_size(value), CORE_LABELS);
                return;
        }
        json_object_foreach((json_t *)value, name, item) {
                struct core_label *label = &needs->labels[needs->label_count];

                if (strlen(name) >= CORE_TEXT || !name[0] || !name_like(name)) {
                        wrong(r, "needs.labels", "a label's name is 1 to %d letters, digits and ._-:/+", CORE_TEXT - 1);
                        continue;
                }
                strcpy(label->name, name);
                if (text_member(r, item, "needs.labels", label->value, sizeof(label->value)) || (json_is_string(item) && !json_string_length(item)))
                        needs->label_count++;
                else if (!r->wrong)
                        wrong(r, "needs.labels", "a label's value is a text");
        }
}

static void known_members(struct reader *r, const json_t *object, const char *prefix, const char *const *names, size_t count)
{
        const char *name;
        json_t *item;

        json_object_foreach((json_t *)object, name, item) {
                bool known = false;
                char path[120];

                for (size_t i = 0; i < count && !known; i++)
                        known = !strcmp(name, names[i]);
                if (!known) {
                        snprintf(path, sizeof(path), "%s%.64s", prefix, name);
                        wrong(r, path, "there is no such member");
                }
        }
}

static void needs_member(struct reader *r, const json_t *needs, struct core_needs *to)
{
        static const char *const names[] = {"device", "memory", "model", "labels", "worker"};
        char worker[ID_TEXT];

        if (!needs || json_is_null(needs))
                return;
        if (!json_is_object(needs)) {
                wrong(r, "needs", "an object is wanted here");
                return;
        }
        known_members(r, needs, "needs.", names, ARRAY_SIZE(names));
        text_member(r, json_object_get(needs, "device"), "needs.device", to->device, sizeof(to->device));
        if (!strcmp(to->device, "any"))
                to->device[0] = '\0';
        bytes_member(r, json_object_get(needs, "memory"), "needs.memory", &to->memory_bytes);
        text_member(r, json_object_get(needs, "model"), "needs.model", to->model, sizeof(to->model));
        labels_member(r, json_object_get(needs, "labels"), to);
        if (text_member(r, json_object_get(needs, "worker"), "needs.worker", worker, sizeof(worker)) && id_parse("worker", worker, &to->worker) < 0)
                wrong(r, "needs.worker", "an id like \"worker_0192…\" is wanted here");
}

static void after_member(struct reader *r, const json_t *after, const struct id *earlier, size_t earlier_count, struct submission *to)
{
        const json_t *item;
        size_t i;

        if (!after || json_is_null(after))
                return;
        if (!json_is_array(after) || json_array_size(after) > AFTER_TASKS) {
                wrong(r, "after", "an array of at most %d ids is wanted here", AFTER_TASKS);
                return;
        }
        json_array_foreach(after, i, item) {
                const char *text = json_string_value(item);
                uint64_t n;
                char path[40];

                snprintf(path, sizeof(path), "after[%zu]", i);
                if (text && text[0] == '#' && !text_parse_u64(text + 1, 0, BATCH_TASKS, &n) && n < earlier_count)
                        to->after[to->after_count] = earlier[n];
                else if (text && text[0] == '#')
                        wrong(r, path, "only an earlier task of the same call can be named by \"#N\"");
                else if (!text || id_parse("task", text, &to->after[to->after_count]) < 0)
                        wrong(r, path, "an id like \"task_0192…\" is wanted here");
                to->after_count++;
        }
}

static void put_head(struct submission *to, const char *type, const char *name, const json_t *body)
{
        struct strbuf *b = &to->head;
        const json_t *needs = json_object_get(body, "needs");

        put_literal(b, "\"type\":");
        put_string(b, type, strlen(type));
        if (name[0]) {
                put_literal(b, ",\"name\":");
                put_string(b, name, strlen(name));
        }
        to->brief = b->length;
        if (to->attempts) {
                put_literal(b, ",\"attempts\":");
                put_u64(b, to->attempts);
        }
        if (json_is_object(needs)) {
                put_literal(b, ",\"needs\":");
                put_json(b, needs);
        }
        if (to->after_count) {
                put_literal(b, ",\"after\":[");
                for (uint32_t i = 0; i < to->after_count; i++) {
                        if (i)
                                put_literal(b, ",");
                        put_id(b, "task", &to->after[i]);
                }
                put_literal(b, "]");
        }
        if (to->not_before) {
                put_literal(b, ",\"not_before\":");
                put_time(b, to->not_before);
        }
        if (to->cost) {
                put_literal(b, ",\"cost\":\"");
                put_u64(b, to->cost);
                put_literal(b, "ms\"");
        }
        if (to->wait_for_workers)
                put_literal(b, ",\"wait_for_workers\":true");
        if (!id_is_none(&to->key)) {
                put_literal(b, ",\"key\":");
                put_id(b, "key", &to->key);
        }
}

void submission_done(struct submission *submission)
{
        strbuf_done(&submission->head);
        strbuf_done(&submission->payload);
}

int submission_read(struct service *s, const json_t *body, const char *path, const struct id *earlier, size_t earlier_count, json_t *violations,
                    struct submission *to)
{
        static const char *const names[] = {"type", "name", "payload", "needs", "priority", "deadline", "not_before", "attempts", "after", "cost",
                                            "wait_for_workers"};
        static const char *const row_names[] = {"type", "name", "payload", "needs", "not_before", "attempts", "after", "cost", "wait_for_workers", "head",
                                                "key"};
        struct reader reader = {.service = s, .violations = violations, .path = path}, *r = &reader;
        bool of_row = !violations;
        uint64_t payload_bytes = s->options.payload_bytes ? s->options.payload_bytes : 256u << 10;
        char type[CORE_TEXT] = "", name[NAME_BYTES] = "", band[16] = "";
        const json_t *item;

        to->band = CORE_NORMAL;
        to->deadline = UNIX_NEVER;
        if (!json_is_object(body)) {
                violation_add(violations, path, "an object is wanted here");
                return -EINVAL;
        }
        known_members(r, body, "", of_row ? row_names : names, of_row ? ARRAY_SIZE(row_names) : ARRAY_SIZE(names));
        if (!text_member(r, json_object_get(body, "type"), "type", type, sizeof(type)) || !name_like(type))
                wrong(r, "type", "what kind of task it is: 1 to %d letters, digits and ._-:/+", CORE_TEXT - 1);
        strcpy(to->needs.type, type);
        text_member(r, json_object_get(body, "name"), "name", name, sizeof(name));
        needs_member(r, json_object_get(body, "needs"), &to->needs);
        if (text_member(r, json_object_get(body, "priority"), "priority", band, sizeof(band)) && band_parse(band, &to->band) < 0)
                wrong(r, "priority", "urgent, high, normal, low or idle is wanted here");
        time_member(r, json_object_get(body, "deadline"), "deadline", &to->deadline);
        time_member(r, json_object_get(body, "not_before"), "not_before", &to->not_before);
        item = json_object_get(body, "attempts");
        if (item && !json_is_null(item)) {
                if (!json_is_integer(item) || json_integer_value(item) < 1 || json_integer_value(item) > 100)
                        wrong(r, "attempts", "a number from 1 to 100 is wanted here");
                else
                        to->attempts = (uint32_t)json_integer_value(item);
        }
        after_member(r, json_object_get(body, "after"), earlier, earlier_count, to);
        cost_member(r, json_object_get(body, "cost"), "cost", &to->cost);
        item = json_object_get(body, "wait_for_workers");
        if (item && !json_is_boolean(item) && !json_is_null(item))
                wrong(r, "wait_for_workers", "true or false is wanted here");
        to->wait_for_workers = json_is_true(item);
        item = json_object_get(body, "payload");
        if (!item)
                wrong(r, "payload", "is missing");
        else if (to->given)
                strbuf_put(&to->payload, to->given->text, to->given->length);
        else if (put_json(&to->payload, item) < 0)
                return -ENOMEM;
        if (item && !of_row && !r->wrong && !members_review(s, &to->account, type, to->given ? NULL : item, &to->payload, path, violations))
                r->wrong = true;
        if (to->payload.length > payload_bytes)
                wrong(r, "payload", "%zu bytes; at most %llu: upload it as an artifact and name it", to->payload.length, (unsigned long long)payload_bytes);
        if (r->wrong)
                return -EINVAL;
        put_head(to, type, name, body);
        return to->head.failed || to->payload.failed ? -ENOMEM : 0;
}

json_t *refusal_json(const struct core_refusal *refusal)
{
        json_t *unmet = json_array(), *body;

        for (uint32_t i = 0; i < refusal->unmet_count && i < CORE_UNMET; i++) {
                char need[CORE_TEXT * 3];
                size_t n = strnlen(refusal->unmet[i].need, sizeof(need) - 1);

                memcpy(need, refusal->unmet[i].need, n);
                need[n] = '\0';
                json_array_append_new(unmet, json_pack("{s:s, s:I, s:I}", "need", need, "matched", (json_int_t)refusal->unmet[i].matched, "total",
                                                       (json_int_t)refusal->unmet[i].total));
        }
        body = json_object();
        json_object_set_new(body, "unmet", unmet);
        return body;
}

/* Unix time is for people; from here on a deadline is so many milliseconds away, whatever happens to that clock. */
uint64_t deadline_on_core(const struct service *s, int64_t unix_ms)
{
        if (unix_ms == UNIX_NEVER)
                return CORE_NEVER;
        return unix_ms <= s->unix_ms ? s->now_ms : s->now_ms + (uint64_t)(unix_ms - s->unix_ms);
}
