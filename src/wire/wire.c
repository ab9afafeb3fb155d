/* wire.c: names and checks of messages, generated from messages.def; see wire.h. No I/O, no allocation: the interposer links it too. */
#include "wire/wire.h"

#include "base/error.h"
#include "base/text.h"

#include <string.h>
#include <strings.h>

struct message_info {
        const char *name;
        uint16_t type, bytes, direction;
};

static const struct message_info messages[] = {
#define MESSAGE(name, number, direction, size, summary) {#name, number, size, direction},
#define FIELD(...)
#define TEXT(...)
#define RAW(...)
#define RESERVED(...)
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD
#undef TEXT
#undef RAW
#undef RESERVED
};

/* What a field must satisfy: text, zero, or an enum below its bound. Plain numbers have no entry here. */
struct rule {
        uint16_t type, offset, bytes;
        enum { RULE_TEXT, RULE_BELOW } kind;
        uint32_t bound;
        const char *what;
};

#define BELOW(message, field, limit)                                                                                  \
        {WIRE_##message, offsetof(struct wire_##message, field), sizeof(((struct wire_##message *)0)->field), RULE_BELOW, \
         limit, #message "." #field " out of range"},

static const struct rule rules[] = {
#define MESSAGE(...)
#define FIELD(...)
#define RAW(...)
#define RESERVED(...)
#define TEXT(message, size, field, meaning) \
        {WIRE_##message, offsetof(struct wire_##message, field), size, RULE_TEXT, 0, #message "." #field " is no clean text"},
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD
#undef TEXT
#undef RAW
#undef RESERVED
        BELOW(HELLO, role, WIRE_ROLE_N)
        BELOW(HELLO, priority, WIRE_PRIORITY_N)
        BELOW(HELLO, limit_permille, 1001)
        BELOW(HELLO, resumes, 2)
        BELOW(DEVICE, ordinal, WIRE_MAX_DEVICES)
        BELOW(DEVICE, running, 2)
        BELOW(DEVICE_OK, ordinal, WIRE_MAX_DEVICES)
        BELOW(DEVICE_OK, kind, WIRE_DEVICE_KIND_N)
        BELOW(MEMORY, ordinal, WIRE_MAX_DEVICES)
        BELOW(WANT, ordinal, WIRE_MAX_DEVICES)
        BELOW(WAIT, ordinal, WIRE_MAX_DEVICES)
        BELOW(WAIT, reason, WIRE_WAIT_REASON_N)
        BELOW(AVAILABLE, ordinal, WIRE_MAX_DEVICES)
        BELOW(GO, ordinal, WIRE_MAX_DEVICES)
        BELOW(GIVE_WAY, ordinal, WIRE_MAX_DEVICES)
        BELOW(GIVE_WAY, reason, WIRE_GIVE_REASON_N)
        BELOW(GIVEN_WAY, ordinal, WIRE_MAX_DEVICES)
        BELOW(GIVEN_WAY, wants, 2)
        BELOW(EVICT, ordinal, WIRE_MAX_DEVICES)
        BELOW(EVICTED, ordinal, WIRE_MAX_DEVICES)
        BELOW(EVICTED, done, 2)
        BELOW(BRING_IN, ordinal, WIRE_MAX_DEVICES)
        BELOW(BROUGHT_IN, ordinal, WIRE_MAX_DEVICES)
        BELOW(BROUGHT_IN, done, 2)
        BELOW(SETTINGS, ordinal, WIRE_MAX_DEVICES)
        BELOW(DENIED, ordinal, WIRE_MAX_DEVICES)
        BELOW(STATUS_ASK, flags, 1)
        BELOW(RELOAD, flags, 1)
        BELOW(DUMP, flags, 1)
        BELOW(PROBES, flags, 1 << WIRE_PROBE_FAMILIES)
        BELOW(HISTORY, flags, 1)
        BELOW(STATUS_CLIENT, ended, 2)
        BELOW(PEAK, action, WIRE_PEAK_N)
        BELOW(HELLO, soft_permille, 1001)
        BELOW(HELLO, job_limit_permille, 1001)
        BELOW(TRIM, ordinal, WIRE_MAX_DEVICES)
        BELOW(TRIM, soft, 2)
        BELOW(STATUS_DAEMON, limits_classes, 2)
        BELOW(TRIM_ASK, soft, 2)
#define MESSAGE(...)
#define FIELD(...)
#define TEXT(...)
#define RAW(...)
#define RESERVED(message, type) BELOW(message, reserved, 1)
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD
#undef TEXT
#undef RAW
#undef RESERVED
};

static const struct message_info *find(uint32_t type)
{
        for (size_t i = 0; i < ARRAY_SIZE(messages); i++)
                if (messages[i].type == type)
                        return &messages[i];
        return NULL;
}

size_t wire_seal(struct wire_message *message, enum wire_type type, uint16_t version, uint32_t sequence)
{
        size_t bytes = sizeof message->header + (size_t)wire_body_bytes(type);

        message->header = (struct wire_header){
                .magic = WIRE_MAGIC, .version = version, .type = (uint16_t)type, .bytes = (uint32_t)bytes, .sequence = sequence};
        return bytes;
}

static int refuse(int error, const char *what, const char **ret_what)
{
        if (ret_what)
                *ret_what = what;
        return error;
}

int wire_check(const void *data, size_t bytes, enum wire_direction to, uint16_t version, const char **ret_what)
{
        const struct message_info *info;
        struct wire_header header;
        const char *body = (const char *)data + sizeof header;

        if (bytes < sizeof header)
                return refuse(-E_MESSAGE, "shorter than a header", ret_what);
        memcpy(&header, data, sizeof header);
        if (header.magic != WIRE_MAGIC)
                return refuse(-E_MESSAGE, "not a Berth message", ret_what);
        /* Only HELLO and the ERROR that may answer it are read before a version is agreed. */
        if (header.type != WIRE_HELLO && header.type != WIRE_ERROR && header.version != version)
                return refuse(-E_VERSION, "protocol version", ret_what);
        info = find(header.type);
        if (!info)
                return refuse(-E_MESSAGE, "unknown message number", ret_what);
        if (!(info->direction & to))
                return refuse(-E_MESSAGE, "sent in the wrong direction", ret_what);
        if (header.bytes != bytes || bytes != sizeof header + info->bytes)
                return refuse(-E_MESSAGE, "wrong size", ret_what);
        for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
                const struct rule *rule = &rules[i];
                uint32_t value;

                if (rule->type != header.type)
                        continue;
                if (rule->kind == RULE_TEXT) {
                        if (!text_is_clean(body + rule->offset, rule->bytes))
                                return refuse(-E_MESSAGE, rule->what, ret_what);
                } else {
                        memcpy(&value, body + rule->offset, sizeof value);
                        if (value >= rule->bound)
                                return refuse(-E_MESSAGE, rule->what, ret_what);
                }
        }
        return 0;
}

const char *wire_name(uint32_t type)
{
        const struct message_info *info = find(type);
        return info ? info->name : NULL;
}

int wire_body_bytes(uint32_t type)
{
        const struct message_info *info = find(type);
        return info ? info->bytes : -1;
}

static const char *const state_names[WIRE_STATE_N] = {"waiting", "coming-in", "running", "giving-way", "going-out"};
static const char *const priority_names[WIRE_PRIORITY_N] = {"interactive", "normal", "batch"};
static const char *const reason_names[WIRE_WAIT_REASON_N] = {"none", "memory", "queue", "arena", "stuck", "pinned"};
static const char *const kind_names[WIRE_DEVICE_KIND_N] = {"cuda", "npu", "cpu", "software"};

#define NAME_OF(names, i) ((i) < ARRAY_SIZE(names) ? (names)[i] : "?")

const char *wire_state_name(uint32_t state)
{
        return NAME_OF(state_names, state);
}

const char *wire_priority_name(uint32_t priority)
{
        return NAME_OF(priority_names, priority);
}

const char *wire_throttle_name(unsigned int bit)
{
        static const char *const names[WIRE_THROTTLE_N] = {"idle", "setting", "power cap", "hardware", "sync", "heat", "hardware heat", "power brake", "display"};

        return bit < WIRE_THROTTLE_N ? names[bit] : NULL;
}

const char *wire_reason_name(uint32_t reason)
{
        return NAME_OF(reason_names, reason);
}

const char *wire_kind_name(uint32_t kind)
{
        return NAME_OF(kind_names, kind);
}

int wire_priority_parse(const char *s, uint32_t *ret_priority)
{
        for (uint32_t i = 0; i < WIRE_PRIORITY_N; i++)
                if (!strcasecmp(s, priority_names[i])) {
                        *ret_priority = i;
                        return 0;
                }
        return -EINVAL;
}

char *wire_uuid_text(const uint8_t uuid[16], char text[WIRE_UUID_TEXT])
{
        static const char hex[] = "0123456789abcdef";
        char *p = text;

        memcpy(p, "GPU-", 4);
        p += 4;
        for (int i = 0; i < 16; i++) {
                if (i == 4 || i == 6 || i == 8 || i == 10)
                        *p++ = '-';
                *p++ = hex[uuid[i] >> 4];
                *p++ = hex[uuid[i] & 15];
        }
        *p = 0;
        return text;
}
