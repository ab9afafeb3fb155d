/* message.c: checks what a pool says before anybody acts on it; see message.h. */
#include "worker/message.h"

#include "base/error.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int bad(char why[MESSAGE_WHY], const char *format, ...) __attribute__((format(printf, 2, 3)));
static int bad(char why[MESSAGE_WHY], const char *format, ...)
{
        va_list args;

        va_start(args, format);
        vsnprintf(why, MESSAGE_WHY, format, args);
        va_end(args);
        return -E_MESSAGE;
}

bool message_is_name(const char *s, size_t size)
{
        size_t length = strnlen(s, size);

        return length && length < size && s[0] != '.' && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_-.") == length;
}

int message_pool_url(const char *given, char url[MESSAGE_URL])
{
        static const struct {
                const char *from, *to;
        } schemes[] = {{"https://", "wss://"}, {"wss://", "wss://"}, {"http://", "ws://"}, {"ws://", "ws://"}};

        for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
                size_t length = strlen(schemes[i].from), host;
                int n;

                if (strncmp(given, schemes[i].from, length) != 0)
                        continue;
                host = strcspn(given + length, "/?#");
                if (!host || strcspn(given + length, " \t\r\n\"'\\@") < host || !text_is_clean(given, strlen(given) + 1))
                        return -EINVAL;
                n = snprintf(url, MESSAGE_URL, "%s%.*s", schemes[i].to, (int)host, given + length);
                return n < 0 || n >= MESSAGE_URL ? -ENAMETOOLONG : 0;
        }
        return -EINVAL;
}

/* A number member within bounds. */
static int number(const json_t *o, const char *name, uint64_t least, uint64_t most, uint64_t otherwise, uint64_t *ret, char why[MESSAGE_WHY])
{
        const json_t *v = json_object_get(o, name);

        *ret = otherwise;
        if (!v || json_is_null(v))
                return 0;
        if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) < least || (uint64_t)json_integer_value(v) > most)
                return bad(why, "%s is no number from %llu to %llu", name, (unsigned long long)least, (unsigned long long)most);
        *ret = (uint64_t)json_integer_value(v);
        return 0;
}

static int name(const json_t *o, const char *member, char *to, size_t size, bool needed, char why[MESSAGE_WHY])
{
        const char *s = json_string_value(json_object_get(o, member));

        to[0] = 0;
        if (!s && !needed && !json_object_get(o, member))
                return 0;
        if (!s || !message_is_name(s, size) || json_string_length(json_object_get(o, member)) != strlen(s))
                return bad(why, "%s is no name of up to %zu characters", member, size - 1);
        memcpy(to, s, strlen(s) + 1);
        return 0;
}

static int about_task(const json_t *o, struct message *m, char why[MESSAGE_WHY])
{
        const char *s = json_string_value(json_object_get(o, "nonce"));

        if (name(o, "task", m->task, sizeof m->task, true, why) < 0)
                return -E_MESSAGE;
        if (!s || text_parse_u64(s, 0, UINT64_MAX, &m->nonce) < 0)
                return bad(why, "nonce is no decimal string");
        return 0;
}

static int welcome(const json_t *o, struct message *m, char why[MESSAGE_WHY])
{
        const json_t *servers = json_object_get(o, "servers"), *v;
        const char *s = json_string_value(json_object_get(o, "server"));
        size_t i;

        if (name(o, "worker", m->worker, sizeof m->worker, true, why) < 0 || number(o, "lease_ms", 100, 86400000, 30000, &m->lease_ms, why) < 0 ||
            number(o, "heartbeat_ms", 50, 3600000, 10000, &m->heartbeat_ms, why) < 0 ||
            number(o, "payload_bytes", 1024, MESSAGE_BYTES, 256 << 10, &m->payload_bytes, why) < 0 || number(o, "node_ms", 100, 86400000, 2000, &m->node_ms, why) < 0)
                return -E_MESSAGE;
        if (s)
                text_copy_clean(m->server, sizeof m->server, s);
        if (json_object_get(o, "tunnel") && name(o, "tunnel", m->tunnel, sizeof m->tunnel, true, why) < 0)
                return -E_MESSAGE;
        if (servers && !json_is_null(servers) && !json_is_array(servers))
                return bad(why, "servers is no list");
        /* More than we connect to, or addresses of a kind that we do not know, are no reason to refuse the pool. */
        json_array_foreach (servers, i, v)
                if (m->server_count < MESSAGE_SERVERS && json_is_string(v) && message_pool_url(json_string_value(v), m->servers[m->server_count]) == 0)
                        m->server_count++;
        m->lost = json_object_get(o, "lost");
        if (m->lost && !json_is_array(m->lost)) {
                if (!json_is_null(m->lost))
                        return bad(why, "lost is no list");
                m->lost = NULL;
        }
        m->elsewhere = json_object_get(o, "elsewhere");
        if (m->elsewhere && !json_is_array(m->elsewhere)) {
                if (!json_is_null(m->elsewhere))
                        return bad(why, "elsewhere is no list");
                m->elsewhere = NULL;
        }
        return 0;
}

static int lease(const json_t *o, struct message *m, char why[MESSAGE_WHY])
{
        if (about_task(o, m, why) < 0 || name(o, "type", m->type, sizeof m->type, true, why) < 0 ||
            number(o, "attempt", 0, UINT32_MAX, 1, &m->attempt, why) < 0 || number(o, "deadline_ms", 0, INT64_MAX, 0, &m->deadline_ms, why) < 0 ||
            number(o, "lease_ms", 100, 86400000, 30000, &m->lease_ms, why) < 0)
                return -E_MESSAGE;
        m->payload = json_object_get(o, "payload");
        m->needs = json_object_get(o, "needs");
        if (m->needs && !json_is_object(m->needs)) {
                if (!json_is_null(m->needs))
                        return bad(why, "needs is no object");
                m->needs = NULL;
        }
        return m->payload ? 0 : bad(why, "there is no payload");
}

static int flag(const json_t *o, const char *member, bool *ret, char why[MESSAGE_WHY])
{
        const json_t *v = json_object_get(o, member);

        *ret = json_is_true(v);
        return !v || json_is_null(v) || json_is_boolean(v) ? 0 : bad(why, "%s is neither true nor false", member);
}

static int model(const json_t *v, const char *member, struct message *m, char why[MESSAGE_WHY])
{
        const char *s = json_string_value(v);

        if (!s || json_string_length(v) != strlen(s) || !catalogue_is_name(s))
                return bad(why, "%s: no name of a model of up to %d characters", member, CATALOGUE_NAME - 1);
        memcpy(m->models[m->model_count++], s, strlen(s) + 1);
        return 0;
}

static int engine(const json_t *o, struct message *m, char why[MESSAGE_WHY])
{
        const char *want = json_string_value(json_object_get(o, "want"));
        uint64_t requests;

        if (model(json_object_get(o, "model"), "model", m, why) < 0 || number(o, "requests", 0, UINT32_MAX, 0, &requests, why) < 0 ||
            flag(o, "again", &m->again, why) < 0)
                return -E_MESSAGE;
        if (!want || (strcmp(want, "ready") != 0 && strcmp(want, "cold") != 0))
                return bad(why, "want is neither ready nor cold");
        m->ready = !strcmp(want, "ready");
        m->has_requests = json_is_integer(json_object_get(o, "requests"));
        m->requests = (uint32_t)requests;
        return 0;
}

static int upcoming(const json_t *o, struct message *m, char why[MESSAGE_WHY])
{
        const json_t *list = json_object_get(o, "models"), *v;
        size_t i;

        if (!json_is_array(list))
                return bad(why, "models is no list");
        /* What stands further back is too far away to matter. */
        json_array_foreach (list, i, v)
                if (m->model_count < MESSAGE_UPCOMING && model(v, "models", m, why) < 0)
                        return -E_MESSAGE;
        return 0;
}

static void words(const json_t *o, const char *member, char *to, size_t size)
{
        const char *s = json_string_value(json_object_get(o, member));

        text_copy_clean(to, size, s ? s : "");
}

int message_parse(const char *text, size_t bytes, struct message *ret, char why[MESSAGE_WHY])
{
        static const struct {
                const char *name;
                enum message_kind kind;
        } kinds[] = {{"welcome", MESSAGE_WELCOME}, {"lease", MESSAGE_LEASE}, {"ack", MESSAGE_ACK},      {"stale", MESSAGE_STALE},
                     {"cancel", MESSAGE_CANCEL},   {"drain", MESSAGE_DRAIN}, {"message", MESSAGE_TEXT}, {"error", MESSAGE_ERROR},
                     {"engine", MESSAGE_ENGINE},   {"upcoming", MESSAGE_UPCOMING_MODELS}, {"look", MESSAGE_LOOK}};
        scoped_message struct message m = {.kind = MESSAGE_UNKNOWN};
        json_error_t error;
        const char *kind;
        int r = 0;

        if (bytes > MESSAGE_BYTES)
                return bad(why, "a message of %zu bytes, more than %u", bytes, MESSAGE_BYTES);
        m.json = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
        if (!json_is_object(m.json))
                return bad(why, "no JSON object%s%.100s", m.json ? "" : ": ", m.json ? "" : error.text);
        kind = json_string_value(json_object_get(m.json, "m"));
        if (!kind)
                return bad(why, "no member m");
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
                if (!strcmp(kind, kinds[i].name))
                        m.kind = kinds[i].kind;
        switch (m.kind) {
        case MESSAGE_WELCOME:
                r = welcome(m.json, &m, why);
                break;
        case MESSAGE_LEASE:
                r = lease(m.json, &m, why);
                break;
        case MESSAGE_ACK:
        case MESSAGE_STALE:
                r = about_task(m.json, &m, why);
                break;
        case MESSAGE_CANCEL:
                r = about_task(m.json, &m, why);
                words(m.json, "reason", m.text, sizeof m.text);
                break;
        case MESSAGE_DRAIN:
                if (!json_is_boolean(json_object_get(m.json, "on")))
                        return bad(why, "on is neither true nor false");
                m.on = json_is_true(json_object_get(m.json, "on"));
                break;
        case MESSAGE_ENGINE:
                r = engine(m.json, &m, why);
                break;
        case MESSAGE_UPCOMING_MODELS:
                r = upcoming(m.json, &m, why);
                break;
        case MESSAGE_LOOK:
                r = number(m.json, "span_s", 1, 604800, 600, &m.span_s, why);
                break;
        case MESSAGE_TEXT:
        case MESSAGE_ERROR:
                words(m.json, "code", m.code, sizeof m.code);
                words(m.json, "text", m.text, sizeof m.text);
                break;
        case MESSAGE_UNKNOWN:
                break;
        }
        if (r < 0)
                return r;
        *ret = m;
        m.json = NULL;
        return 0;
}

void message_done(struct message *m)
{
        json_decref(m->json);
        m->json = NULL;
}
