/* node-report.c: the members of a node report, each once in a table; see node-report.h. */
#include "service/node-report.h"

#include "base/error.h"
#include "base/text.h"
#include "service/text.h"

#include <stdarg.h>
#include <stdio.h>

#define TEXT_MOST 256

enum kind { TEXT, WHOLE, REAL, CHOICE };

struct member {
        const char *name;
        enum kind kind;
        double most;                /* of a text: bytes with its end */
        const char *const *choices; /* ended by NULL */
};

static const char *const kinds[] = {"gpu", "software", "npu", "cpu", NULL};
static const char *const states[] = {"waiting", "coming-in", "running", "giving-way", "going-out", NULL};
static const char *const priorities[] = {"interactive", "normal", "batch", NULL};

#define BYTES_MOST 9e18

static const struct member device_members[] = {
        {"uuid", TEXT, 64, NULL}, {"name", TEXT, 128, NULL}, {"kind", CHOICE, 0, kinds}, {"memory_total_bytes", WHOLE, BYTES_MOST, NULL},
        {"memory_room_bytes", WHOLE, BYTES_MOST, NULL}, {"memory_used_bytes", WHOLE, BYTES_MOST, NULL}, {"memory_foreign_bytes", WHOLE, BYTES_MOST, NULL},
        {"swapped_bytes", WHOLE, BYTES_MOST, NULL}, {"utilization_pct", REAL, 1000, NULL}, {"power_watts", REAL, 1e6, NULL}, {"temperature_c", REAL, 1000, NULL},
        {"switches", WHOLE, BYTES_MOST, NULL}, {"waiting", WHOLE, 1e6, NULL},
};
static const struct member client_members[] = {
        {"pid", WHOLE, 4e9, NULL}, {"name", TEXT, 80, NULL}, {"job", TEXT, 64, NULL}, {"state", CHOICE, 0, states}, {"priority", CHOICE, 0, priorities},
        {"owned_bytes", WHOLE, BYTES_MOST, NULL}, {"resident_bytes", WHOLE, BYTES_MOST, NULL}, {"swapped_bytes", WHOLE, BYTES_MOST, NULL},
        {"wait_ms", WHOLE, BYTES_MOST, NULL}, {"position", WHOLE, 1e6, NULL},
};
static const struct member host_members[] = {
        {"memory_total_bytes", WHOLE, BYTES_MOST, NULL}, {"memory_available_bytes", WHOLE, BYTES_MOST, NULL}, {"cpu_pct", REAL, 1000, NULL}, {"cpus", WHOLE, 1e6, NULL},
};
static const struct member daemon_members[] = {
        {"version", TEXT, 64, NULL}, {"uptime_s", WHOLE, BYTES_MOST, NULL}, {"arena_bytes", WHOLE, BYTES_MOST, NULL}, {"arena_lent_bytes", WHOLE, BYTES_MOST, NULL},
};

struct reading {
        struct strbuf *text;
        char *why;
        size_t clients;
};

static int wrong(struct reading *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int wrong(struct reading *r, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(r->why, NODE_REPORT_WHY, format, arguments);
        va_end(arguments);
        return -EINVAL;
}

static bool is_choice(const char *const *choices, const char *text)
{
        for (; *choices; choices++)
                if (!strcmp(*choices, text))
                        return true;
        return false;
}

static int read_member(struct reading *r, const char *where, const struct member *m, const json_t *value)
{
        char clean[TEXT_MOST];

        if (!value || json_is_null(value)) {
                put_literal(r->text, "null");
                return 0;
        }
        switch (m->kind) {
        case TEXT:
                if (!json_is_string(value) || json_string_length(value) >= (size_t)m->most)
                        return wrong(r, "%s.%s: a text of at most %d bytes", where, m->name, (int)m->most - 1);
                text_copy_clean(clean, sizeof(clean), json_string_value(value));
                put_string(r->text, clean, strlen(clean));
                return 0;
        case CHOICE:
                if (!json_is_string(value) || !is_choice(m->choices, json_string_value(value)))
                        return wrong(r, "%s.%s: not one of what it can be", where, m->name);
                put_string(r->text, json_string_value(value), json_string_length(value));
                return 0;
        case WHOLE:
                if (!json_is_integer(value) || json_integer_value(value) < 0 || (double)json_integer_value(value) > m->most)
                        return wrong(r, "%s.%s: a whole number from 0 to %.0f", where, m->name, m->most);
                put_i64(r->text, json_integer_value(value));
                return 0;
        case REAL:
                if (!json_is_number(value) || !(json_number_value(value) >= -m->most && json_number_value(value) <= m->most))
                        return wrong(r, "%s.%s: a number from %.0f to %.0f", where, m->name, -m->most, m->most);
                put_real(r->text, json_number_value(value));
                return 0;
        }
        return wrong(r, "%s", where);
}

static int read_members(struct reading *r, const char *where, const struct member *members, size_t count, const json_t *object)
{
        int result = 0;

        if (!json_is_object(object))
                return wrong(r, "%s: an object", where);
        for (size_t i = 0; i < count && !result; i++) {
                strbuf_add(r->text, "%s\"%s\":", i ? "," : "{", members[i].name);
                result = read_member(r, where, &members[i], json_object_get(object, members[i].name));
        }
        return result;
}

static int read_clients(struct reading *r, const json_t *list)
{
        const json_t *client;
        int result = 0;
        size_t i;

        put_literal(r->text, ",\"clients\":[");
        if (list && !json_is_null(list) && !json_is_array(list))
                return wrong(r, "devices.clients: an array");
        json_array_foreach(list, i, client) {
                if (++r->clients > NODE_REPORT_CLIENTS)
                        return wrong(r, "devices.clients: at most %d of all devices; the rest is clients_left_out", NODE_REPORT_CLIENTS);
                if (i)
                        put_literal(r->text, ",");
                result = read_members(r, "devices.clients", client_members, ARRAY_SIZE(client_members), client);
                if (result < 0)
                        return result;
                put_literal(r->text, "}");
        }
        put_literal(r->text, "]}");
        return 0;
}

static int read_devices(struct reading *r, const json_t *list)
{
        const json_t *device;
        int result;
        size_t i;

        put_literal(r->text, "{\"devices\":[");
        if (list && !json_is_null(list) && (!json_is_array(list) || json_array_size(list) > NODE_REPORT_DEVICES))
                return wrong(r, "devices: an array of at most %d", NODE_REPORT_DEVICES);
        json_array_foreach(list, i, device) {
                if (i)
                        put_literal(r->text, ",");
                result = read_members(r, "devices", device_members, ARRAY_SIZE(device_members), device);
                if (!result)
                        result = read_clients(r, json_object_get(device, "clients"));
                if (result < 0)
                        return result;
        }
        put_literal(r->text, "]");
        return 0;
}

static int read_object(struct reading *r, const char *name, const struct member *members, size_t count, const json_t *object)
{
        int result;

        strbuf_add(r->text, ",\"%s\":", name);
        if (!object || json_is_null(object)) {
                put_literal(r->text, "null");
                return 0;
        }
        result = read_members(r, name, members, count, object);
        put_literal(r->text, "}");
        return result;
}

int node_report_read(const json_t *report, struct strbuf *text, char why[NODE_REPORT_WHY])
{
        static const struct member left_out = {"clients_left_out", WHOLE, 1e6, NULL};
        struct reading r = {.text = text, .why = why};
        size_t before = text->length;
        int result;

        why[0] = '\0';
        result = read_devices(&r, json_object_get(report, "devices"));
        if (!result) {
                put_literal(text, ",\"clients_left_out\":");
                result = read_member(&r, "node", &left_out, json_object_get(report, "clients_left_out"));
        }
        if (!result)
                result = read_object(&r, "host", host_members, ARRAY_SIZE(host_members), json_object_get(report, "host"));
        if (!result)
                result = read_object(&r, "daemon", daemon_members, ARRAY_SIZE(daemon_members), json_object_get(report, "daemon"));
        put_literal(text, "}");
        if (result < 0)
                return result;
        if (text->failed)
                return -ENOMEM;
        if (text->length - before > NODE_REPORT_BYTES)
                return wrong(&r, "node: at most %u bytes", NODE_REPORT_BYTES);
        return 0;
}
