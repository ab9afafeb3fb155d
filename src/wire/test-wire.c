/* test-wire.c: the bytes of every message, and every reason for which wire_check refuses one.
 *
 * Golden bytes: tests/golden/messages.hex ($BERTH_GOLDEN) holds one of each message with a pattern in its fields. They change only when the
 * protocol is meant to change; then regenerate them, and docs/protocol.md with them:
 *     build/src/wire/test-wire --write tests/golden/messages.hex && tools/protocol-doc
 */
#include "base/error.h"
#include "wire/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum kind { FIELD_u32, FIELD_i32, FIELD_u64, FIELD_TEXT, FIELD_RAW, FIELD_RESERVED };
struct field {
        uint16_t type, offset, bytes, kind;
        const char *name;
};
static const struct field fields[] = {
#define AT(message, field) WIRE_##message, offsetof(struct wire_##message, field), sizeof(((struct wire_##message *)0)->field)
#define MESSAGE(...)
#define FIELD(message, type, field, meaning) {AT(message, field), FIELD_##type, #field},
#define TEXT(message, size, field, meaning) {AT(message, field), FIELD_TEXT, #field},
#define RAW(message, size, field, meaning) {AT(message, field), FIELD_RAW, #field},
#define RESERVED(message, type) {AT(message, reserved), FIELD_RESERVED, "reserved"},
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD
#undef TEXT
#undef RAW
#undef RESERVED
};

static const struct {
        const char *name;
        uint16_t type, bytes, direction;
} messages[] = {
#define MESSAGE(name, number, direction, bytes, summary) {#name, number, bytes, direction},
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

/* What a receiver accepts, stated here once more and apart from the checker: field, first value refused. */
static const struct {
        const char *name; /* "*": in every message that has such a field and is not named itself */
        const char *field;
        uint32_t bound;
} bounds[] = {
        {"HELLO", "role", WIRE_ROLE_N},
        {"HELLO", "priority", WIRE_PRIORITY_N},
        {"PEAK", "action", WIRE_PEAK_N},
        {"HELLO", "soft_permille", 1001},
        {"HELLO", "job_limit_permille", 1001},
        {"TRIM", "soft", 2},
        {"STATUS_DAEMON", "limits_classes", 2},
        {"TRIM_ASK", "soft", 2},
        {"STATUS_CLIENT", "ended", 2},
        {"HELLO", "limit_permille", 1001},
        {"HELLO", "resumes", 2},
        {"DEVICE", "running", 2},
        {"DEVICE_OK", "kind", WIRE_DEVICE_KIND_N},
        {"WAIT", "reason", WIRE_WAIT_REASON_N},
        {"GIVE_WAY", "reason", WIRE_GIVE_REASON_N},
        {"GIVEN_WAY", "wants", 2},
        {"EVICTED", "done", 2},
        {"BROUGHT_IN", "done", 2},
        {"STATUS_ASK", "flags", 1},
        {"RELOAD", "flags", 1},
        {"DUMP", "flags", 1},
        {"PROBES", "flags", 1 << WIRE_PROBE_FAMILIES},
        {"HISTORY", "flags", 1},
        {"ERROR", "ordinal", 0}, /* any: 0xffffffff stands for no device */
        {"*", "ordinal", WIRE_MAX_DEVICES},
};

/* 0: any value goes. */
static uint32_t bound_of(const struct field *field)
{
        for (size_t i = 0; i < ARRAY_SIZE(bounds); i++)
                if (!strcmp(bounds[i].field, field->name) &&
                    (!strcmp(bounds[i].name, "*") || !strcmp(bounds[i].name, wire_name(field->type))))
                        return bounds[i].bound;
        return 0;
}

static enum wire_direction one_way(uint16_t direction)
{
        return direction & TO_DAEMON ? TO_DAEMON : TO_CLIENT;
}

/* One of each type, every field different from its neighbours and, where bounded, at its largest. */
static size_t make(uint16_t type, struct wire_message *message)
{
        *message = (struct wire_message){0};
        for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
                const struct field *f = &fields[i];
                uint8_t *at = message->raw + f->offset;
                uint32_t bound, u32 = 0x80000000u | (uint32_t)type << 16 | f->offset;
                uint64_t u64 = UINT64_C(0x8899aabb00000000) | (uint64_t)type << 16 | f->offset;

                if (f->type != type)
                        continue;
                switch ((enum kind)f->kind) {
                case FIELD_u32:
                case FIELD_i32:
                        bound = bound_of(f);
                        u32 = bound ? bound - 1 : u32;
                        memcpy(at, &u32, sizeof u32);
                        break;
                case FIELD_u64:
                        memcpy(at, &u64, sizeof u64);
                        break;
                case FIELD_TEXT:
                        for (int j = 0; j < f->bytes - 1; j++)
                                at[j] = (uint8_t)(' ' + (j + f->offset) % 95);
                        break;
                case FIELD_RAW:
                        for (int j = 0; j < f->bytes; j++)
                                at[j] = (uint8_t)(0xf0 + j);
                        break;
                case FIELD_RESERVED:
                        break;
                }
        }
        return wire_seal(message, (enum wire_type)type, WIRE_VERSION_MAX, 0x01020304);
}

static int check(const struct wire_message *message, size_t bytes, enum wire_direction to, const char **ret_what)
{
        /* A copy of exactly this size: reading past the end shows under the address sanitizer. */
        void *exact scoped_free = malloc(bytes ? bytes : 1);

        assert_non_null(exact);
        memcpy(exact, message, bytes);
        return wire_check(exact, bytes, to, WIRE_VERSION_MAX, ret_what);
}

static void refused(const struct wire_message *message, size_t bytes, enum wire_direction to, int error, const char *word)
{
        const char *what = NULL;
        int result = check(message, bytes, to, &what);

        if (result != error || !what || !strstr(what, word))
                fail_msg("%s of %zu bytes: got %d (%s), wanted %d (…%s…)", wire_name(message->header.type) ?: "?", bytes, result,
                         what ?: "no word", error, word);
        assert_int_equal(check(message, bytes, to, NULL), error);
}

static void write_all(FILE *to)
{
        fputs("# One of each message, header first. See src/wire/test-wire.c for what is in the fields and how to regenerate this.\n", to);
        for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
                struct wire_message message;
                size_t bytes = make(messages[i].type, &message);

                fprintf(to, "%s", messages[i].name);
                for (size_t j = 0; j < bytes; j++)
                        fprintf(to, "%s%02x", j % 32 ? "" : "\n  ", ((const uint8_t *)&message)[j]);
                fputc('\n', to);
        }
}

static void test_golden(void **state)
{
        const char *path = getenv("BERTH_GOLDEN");
        char *now scoped_free = NULL, was[200];
        const char *line;
        size_t size = 0;
        FILE *memory, *golden;

        (void)state;
        assert_non_null(path);
        golden = fopen(path, "re");
        assert_non_null(golden);
        memory = open_memstream(&now, &size);
        assert_non_null(memory);
        write_all(memory);
        fclose(memory);
        line = now;
        for (int number = 1; *line; number++) {
                size_t length = strcspn(line, "\n") + 1;

                if (!fgets(was, sizeof was, golden) || strlen(was) != length || strncmp(line, was, length))
                        fail_msg("%s:%d: the bytes on the wire changed:\n was %s now %.*s", path, number, was, (int)length, line);
                line += length;
        }
        assert_null(fgets(was, sizeof was, golden));
        fclose(golden);
}

static void test_every_message_passes(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
                struct wire_message message;
                const char *what = "";
                size_t bytes = make(messages[i].type, &message);

                assert_int_equal(bytes, sizeof message.header + messages[i].bytes);
                if (check(&message, bytes, one_way(messages[i].direction), &what))
                        fail_msg("%s: %s", messages[i].name, what);
                /* And empty: all zero is a value of every field. */
                memset(message.raw, 0, sizeof message.raw);
                if (check(&message, bytes, one_way(messages[i].direction), &what))
                        fail_msg("%s, empty: %s", messages[i].name, what);
        }
}

static void test_sizes(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
                enum wire_direction to = one_way(messages[i].direction);
                struct wire_message message;
                size_t bytes = make(messages[i].type, &message);

                for (size_t cut = 0; cut < sizeof message.header; cut++)
                        refused(&message, cut, to, -E_MESSAGE, "shorter than a header");
                for (size_t cut = sizeof message.header; cut <= sizeof message; cut++)
                        if (cut != bytes)
                                refused(&message, cut, to, -E_MESSAGE, "wrong size");
                /* Header and datagram agree, but not with the type. */
                for (int off = -1; off <= 1; off += 2) {
                        message.header.bytes = (uint32_t)((int)bytes + off);
                        refused(&message, bytes, to, -E_MESSAGE, "wrong size");
                        refused(&message, (size_t)((int)bytes + off), to, -E_MESSAGE, "wrong size");
                }
        }
}

static void test_header(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
                enum wire_direction to = one_way(messages[i].direction);
                bool any_version = messages[i].type == WIRE_HELLO || messages[i].type == WIRE_ERROR;
                struct wire_message message, good;
                size_t bytes = make(messages[i].type, &good);

                for (int bit = 0; bit < 32; bit++) {
                        message = good;
                        message.header.magic ^= UINT32_C(1) << bit;
                        refused(&message, bytes, to, -E_MESSAGE, "not a Berth message");
                }
                message = good;
                message.header.version = WIRE_VERSION_MAX + 1;
                if (any_version)
                        assert_int_equal(check(&message, bytes, to, NULL), 0);
                else
                        refused(&message, bytes, to, -E_VERSION, "version");
                if (messages[i].direction != BOTH)
                        refused(&good, bytes, to == TO_DAEMON ? TO_CLIENT : TO_DAEMON, -E_MESSAGE, "direction");
                else
                        assert_int_equal(check(&good, bytes, TO_CLIENT, NULL), 0);
                message = good;
                message.header.sequence = UINT32_MAX;
                assert_int_equal(check(&message, bytes, to, NULL), 0);
        }
}

static void test_unknown_numbers(void **state)
{
        struct wire_message message = {0};
        unsigned int known = 0;

        (void)state;
        for (uint32_t type = 0; type <= UINT16_MAX; type++) {
                if (wire_name(type)) {
                        known++;
                        continue;
                }
                assert_int_equal(wire_body_bytes(type), -1);
                message.header = (struct wire_header){.magic = WIRE_MAGIC, .version = WIRE_VERSION_MAX, .type = (uint16_t)type,
                                                      .bytes = sizeof message.header};
                assert_int_equal(wire_check(&message, sizeof message.header, TO_DAEMON, WIRE_VERSION_MAX, NULL), -E_MESSAGE);
        }
        assert_int_equal(known, ARRAY_SIZE(messages));
        for (size_t i = 0; i < ARRAY_SIZE(messages); i++)
                for (size_t j = 0; j < i; j++)
                        assert_int_not_equal(messages[i].type, messages[j].type);
        assert_null(wire_name(UINT32_MAX));
}

static void test_fields(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
                const struct field *f = &fields[i];
                struct wire_message message;
                size_t bytes = make(f->type, &message);
                enum wire_direction to = BOTH;
                uint8_t *at = message.raw + f->offset;
                uint32_t bound, value;

                for (size_t j = 0; j < ARRAY_SIZE(messages); j++)
                        if (messages[j].type == f->type)
                                to = one_way(messages[j].direction);
                switch ((enum kind)f->kind) {
                case FIELD_RESERVED:
                        for (int byte = 0; byte < f->bytes; byte++) {
                                at[byte] = 1;
                                refused(&message, bytes, to, -E_MESSAGE, "reserved");
                                at[byte] = 0;
                        }
                        break;
                case FIELD_TEXT:
                        at[f->bytes - 1] = 'x'; /* does not end in its array */
                        refused(&message, bytes, to, -E_MESSAGE, f->name);
                        at[f->bytes - 1] = 0;
                        for (int c = 1; c < 256; c++) {
                                at[f->bytes / 2] = (uint8_t)c;
                                if (c >= ' ' && c < 0x7f)
                                        assert_int_equal(check(&message, bytes, to, NULL), 0);
                                else
                                        refused(&message, bytes, to, -E_MESSAGE, f->name);
                        }
                        break;
                case FIELD_u32:
                case FIELD_i32:
                        bound = bound_of(f);
                        if (!bound)
                                goto any;
                        for (int bit = 0; bit < 32; bit++) {
                                value = UINT32_C(1) << bit;
                                memcpy(at, &value, sizeof value);
                                if (value < bound)
                                        assert_int_equal(check(&message, bytes, to, NULL), 0);
                                else
                                        refused(&message, bytes, to, -E_MESSAGE, f->name);
                        }
                        memcpy(at, &bound, sizeof bound);
                        refused(&message, bytes, to, -E_MESSAGE, f->name);
                        break;
                case FIELD_u64:
                case FIELD_RAW:
                any:
                        memset(at, 0xff, f->bytes);
                        assert_int_equal(check(&message, bytes, to, NULL), 0);
                        break;
                }
        }
}

/* An old program meets a new daemon, and the other way round: HELLO is readable whatever its version, so that ERROR can answer
 * with the versions in common, and that is readable too. Nothing else is, before a version is agreed. */
static void test_mixed_versions(void **state)
{
        struct wire_message message;
        size_t bytes;

        (void)state;
        bytes = make(WIRE_HELLO, &message);
        for (uint32_t version = 0; version <= UINT16_MAX; version++) {
                message.header.version = (uint16_t)version;
                assert_int_equal(wire_check(&message, bytes, TO_DAEMON, WIRE_VERSION_MAX, NULL), 0);
        }
        bytes = make(WIRE_ERROR, &message);
        message.header.version = 7;
        assert_int_equal(wire_check(&message, bytes, TO_CLIENT, WIRE_VERSION_MAX, NULL), 0);
        bytes = make(WIRE_WANT, &message);
        assert_int_equal(wire_check(&message, bytes, TO_DAEMON, WIRE_VERSION_MAX + 1, NULL), -E_VERSION);
        message.header.version = WIRE_VERSION_MAX + 1;
        assert_int_equal(wire_check(&message, bytes, TO_DAEMON, WIRE_VERSION_MAX + 1, NULL), 0);
}

static void test_names(void **state)
{
        uint32_t priority = 77;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
                assert_string_equal(wire_name(messages[i].type), messages[i].name);
                assert_int_equal(wire_body_bytes(messages[i].type), messages[i].bytes);
        }
        for (uint32_t i = 0; i < WIRE_STATE_N; i++)
                assert_string_not_equal(wire_state_name(i), "?");
        for (uint32_t i = 0; i < WIRE_WAIT_REASON_N; i++)
                assert_string_not_equal(wire_reason_name(i), "?");
        for (uint32_t i = 0; i < WIRE_DEVICE_KIND_N; i++)
                assert_string_not_equal(wire_kind_name(i), "?");
        for (uint32_t i = 0; i < WIRE_PRIORITY_N; i++) {
                assert_int_equal(wire_priority_parse(wire_priority_name(i), &priority), 0);
                assert_int_equal(priority, i);
        }
        assert_string_equal(wire_state_name(WIRE_STATE_N), "?");
        assert_string_equal(wire_reason_name(UINT32_MAX), "?");
        assert_string_equal(wire_kind_name(WIRE_DEVICE_KIND_N), "?");
        assert_string_equal(wire_priority_name(WIRE_PRIORITY_N), "?");
        assert_int_equal(wire_priority_parse("BATCH", &priority), 0);
        assert_int_equal(priority, WIRE_BATCH);
        assert_int_equal(wire_priority_parse("urgent", &priority), -EINVAL);
        assert_int_equal(priority, WIRE_BATCH); /* written on success only */
}

static void test_uuid(void **state)
{
        uint8_t uuid[16];
        char text[WIRE_UUID_TEXT];

        (void)state;
        for (int i = 0; i < 16; i++)
                uuid[i] = (uint8_t)(i * 17);
        assert_string_equal(wire_uuid_text(uuid, text), "GPU-00112233-4455-6677-8899-aabbccddeeff");
        assert_int_equal(strlen(text), WIRE_UUID_TEXT - 1);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_golden),          cmocka_unit_test(test_every_message_passes),
                cmocka_unit_test(test_sizes),           cmocka_unit_test(test_header),
                cmocka_unit_test(test_unknown_numbers), cmocka_unit_test(test_fields),
                cmocka_unit_test(test_mixed_versions),  cmocka_unit_test(test_names),
                cmocka_unit_test(test_uuid),
        };

        if (argc == 3 && !strcmp(argv[1], "--write")) {
                FILE *to = fopen(argv[2], "we");

                if (!to) {
                        perror(argv[2]);
                        return 1;
                }
                write_all(to);
                return fclose(to) ? 1 : 0;
        }
        return cmocka_run_group_tests(tests, NULL, NULL);
}
