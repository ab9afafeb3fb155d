/* node-report.c: the members of a node report, each once in a table; see node-report.h. */
#include "service/node-report.h"

#include "service/report-read.h"
#include "service/text.h"

static const char *const kinds[] = {"gpu", "software", "npu", "cpu", NULL};
static const char *const states[] = {"waiting", "coming-in", "running", "giving-way", "going-out", NULL};
static const char *const priorities[] = {"interactive", "normal", "batch", NULL};

static const struct report_member device_members[] = {
        {"uuid", REPORT_TEXT, 64, NULL}, {"name", REPORT_TEXT, 128, NULL}, {"kind", REPORT_CHOICE, 0, kinds}, {"memory_total_bytes", REPORT_WHOLE, REPORT_BYTES_MOST, NULL},
        {"memory_room_bytes", REPORT_WHOLE, REPORT_BYTES_MOST, NULL}, {"memory_used_bytes", REPORT_WHOLE, REPORT_BYTES_MOST, NULL}, {"memory_foreign_bytes", REPORT_WHOLE, REPORT_BYTES_MOST, NULL},
        {"swapped_bytes", REPORT_WHOLE, REPORT_BYTES_MOST, NULL}, {"utilization_pct", REPORT_REAL, 1000, NULL}, {"power_watts", REPORT_REAL, 1e6, NULL}, {"temperature_c", REPORT_REAL, 1000, NULL},
        {"switches", REPORT_WHOLE, REPORT_BYTES_MOST, NULL}, {"waiting", REPORT_WHOLE, 1e6, NULL},
};
static const struct report_member client_members[] = {
        {"pid", REPORT_WHOLE, 4e9, NULL}, {"name", REPORT_TEXT, 80, NULL}, {"job", REPORT_TEXT, 64, NULL}, {"state", REPORT_CHOICE, 0, states}, {"priority", REPORT_CHOICE, 0, priorities},
        {"owned_bytes", REPORT_WHOLE, REPORT_BYTES_MOST, NULL}, {"resident_bytes", REPORT_WHOLE, REPORT_BYTES_MOST, NULL}, {"swapped_bytes", REPORT_WHOLE, REPORT_BYTES_MOST, NULL},
        {"wait_ms", REPORT_WHOLE, REPORT_BYTES_MOST, NULL}, {"position", REPORT_WHOLE, 1e6, NULL},
};
static const struct report_member host_members[] = {
        {"memory_total_bytes", REPORT_WHOLE, REPORT_BYTES_MOST, NULL}, {"memory_available_bytes", REPORT_WHOLE, REPORT_BYTES_MOST, NULL}, {"cpu_pct", REPORT_REAL, 1000, NULL}, {"cpus", REPORT_WHOLE, 1e6, NULL},
};
static const struct report_member daemon_members[] = {
        {"version", REPORT_TEXT, 64, NULL}, {"uptime_s", REPORT_WHOLE, REPORT_BYTES_MOST, NULL}, {"arena_bytes", REPORT_WHOLE, REPORT_BYTES_MOST, NULL}, {"arena_lent_bytes", REPORT_WHOLE, REPORT_BYTES_MOST, NULL},
};

struct node_reading {
        struct report_reading reading;
        size_t clients;
};

static int read_clients(struct node_reading *r, const json_t *list)
{
        const json_t *client;
        int result = 0;
        size_t i;

        put_literal(r->reading.text, ",\"clients\":[");
        if (list && !json_is_null(list) && !json_is_array(list))
                return report_wrong(&r->reading, "devices.clients: an array");
        json_array_foreach(list, i, client) {
                if (++r->clients > NODE_REPORT_CLIENTS)
                        return report_wrong(&r->reading, "devices.clients: at most %d of all devices; the rest is clients_left_out", NODE_REPORT_CLIENTS);
                if (i)
                        put_literal(r->reading.text, ",");
                result = report_members(&r->reading, "devices.clients", client_members, ARRAY_SIZE(client_members), client);
                if (result < 0)
                        return result;
                put_literal(r->reading.text, "}");
        }
        put_literal(r->reading.text, "]}");
        return 0;
}

static int read_devices(struct node_reading *r, const json_t *list)
{
        const json_t *device;
        int result;
        size_t i;

        put_literal(r->reading.text, "{\"devices\":[");
        if (list && !json_is_null(list) && (!json_is_array(list) || json_array_size(list) > NODE_REPORT_DEVICES))
                return report_wrong(&r->reading, "devices: an array of at most %d", NODE_REPORT_DEVICES);
        json_array_foreach(list, i, device) {
                if (i)
                        put_literal(r->reading.text, ",");
                result = report_members(&r->reading, "devices", device_members, ARRAY_SIZE(device_members), device);
                if (!result)
                        result = read_clients(r, json_object_get(device, "clients"));
                if (result < 0)
                        return result;
        }
        put_literal(r->reading.text, "]");
        return 0;
}

int node_report_read(const json_t *report, struct strbuf *text, char why[NODE_REPORT_WHY])
{
        static const struct report_member left_out = {"clients_left_out", REPORT_WHOLE, 1e6, NULL};
        struct node_reading r = {.reading = {.text = text, .why = why}};
        size_t before = text->length;
        int result;

        why[0] = '\0';
        result = read_devices(&r, json_object_get(report, "devices"));
        if (!result) {
                put_literal(text, ",\"clients_left_out\":");
                result = report_member(&r.reading, "node", &left_out, json_object_get(report, "clients_left_out"));
        }
        if (!result)
                result = report_object(&r.reading, "host", host_members, ARRAY_SIZE(host_members), json_object_get(report, "host"));
        if (!result)
                result = report_object(&r.reading, "daemon", daemon_members, ARRAY_SIZE(daemon_members), json_object_get(report, "daemon"));
        put_literal(text, "}");
        if (result < 0)
                return result;
        if (text->failed)
                return -ENOMEM;
        if (text->length - before > NODE_REPORT_BYTES)
                return report_wrong(&r.reading, "node: at most %u bytes", NODE_REPORT_BYTES);
        return 0;
}
