/* machine-report.c: the members of a machine report, each once in a table; see machine-report.h. */
#include "service/machine-report.h"

#include "service/text.h"

#define COUNT REPORT_BYTES_MOST
#define RATE 1e15

static const char *const kinds[] = {"gpu", "software", "npu", "cpu", NULL};

static const struct report_member host_members[] = {
        {"cpu_user_pct", REPORT_REAL, 100, NULL},
        {"cpu_system_pct", REPORT_REAL, 100, NULL},
        {"cpu_wait_pct", REPORT_REAL, 100, NULL},
        {"cpu_stolen_pct", REPORT_REAL, 100, NULL},
        {"cpus", REPORT_WHOLE, 1e6, NULL},
        {"load", REPORT_REAL, 1e9, NULL},
        {"memory_total_bytes", REPORT_WHOLE, COUNT, NULL},
        {"memory_available_bytes", REPORT_WHOLE, COUNT, NULL},
        {"swap_total_bytes", REPORT_WHOLE, COUNT, NULL},
        {"swap_free_bytes", REPORT_WHOLE, COUNT, NULL},
        {"network_in_bytes_s", REPORT_REAL, RATE, NULL},
        {"network_out_bytes_s", REPORT_REAL, RATE, NULL},
        {"disk_read_bytes_s", REPORT_REAL, RATE, NULL},
        {"disk_written_bytes_s", REPORT_REAL, RATE, NULL},
        {"pressure_cpu_pct", REPORT_REAL, 100, NULL},
        {"pressure_memory_pct", REPORT_REAL, 100, NULL},
        {"pressure_io_pct", REPORT_REAL, 100, NULL},
        {"temperature_c", REPORT_REAL, 1000, NULL},
        {"oom_kills", REPORT_WHOLE, COUNT, NULL},
};
static const struct report_member missing_members[] = {{"what", REPORT_TEXT, 40, NULL}, {"why", REPORT_TEXT, 160, NULL}};
static const struct report_member device_members[] = {
        {"index", REPORT_WHOLE, 1e6, NULL},
        {"name", REPORT_TEXT, 128, NULL},
        {"kind", REPORT_CHOICE, 0, kinds},
        {"utilization_pct", REPORT_REAL, 1000, NULL},
        {"memory_busy_pct", REPORT_REAL, 1000, NULL},
        {"power_watts", REPORT_REAL, 1e6, NULL},
        {"power_limit_watts", REPORT_REAL, 1e6, NULL},
        {"temperature_c", REPORT_REAL, 1000, NULL},
        {"clock_mhz", REPORT_WHOLE, 1e6, NULL},
        {"memory_clock_mhz", REPORT_WHOLE, 1e6, NULL},
        {"held_back", REPORT_TEXT, 120, NULL},
        {"errors", REPORT_WHOLE, COUNT, NULL},
        {"why", REPORT_TEXT, 160, NULL},
};
static const struct report_member series_members[] = {{"name", REPORT_TEXT, 64, NULL}};
static const struct report_member probe_members[] = {
        {"family", REPORT_TEXT, 40, NULL}, {"state", REPORT_TEXT, 24, NULL}, {"rung", REPORT_TEXT, 40, NULL},
        {"share_pct", REPORT_REAL, 100, NULL}, {"cost_pct", REPORT_REAL, 1e6, NULL}, {"per_s", REPORT_REAL, RATE, NULL}, {"p95_us", REPORT_REAL, RATE, NULL}, {"why", REPORT_TEXT, 160, NULL},
};
static const struct report_member process_members[] = {
        {"pid", REPORT_WHOLE, 4.3e9, NULL},
        {"name", REPORT_NAME, 80, NULL},
        {"user", REPORT_TEXT, 64, NULL},
        {"state", REPORT_TEXT, 16, NULL},
        {"cpu_pct", REPORT_REAL, 1e6, NULL},
        {"memory_bytes", REPORT_WHOLE, COUNT, NULL},
        {"owned_bytes", REPORT_WHOLE, COUNT, NULL},
        {"resident_bytes", REPORT_WHOLE, COUNT, NULL},
        {"peak_bytes", REPORT_WHOLE, COUNT, NULL},
        {"waiting_pct", REPORT_REAL, 100, NULL},
        {"launches_s", REPORT_REAL, RATE, NULL},
        {"graphs_s", REPORT_REAL, RATE, NULL},
        {"waits_s", REPORT_REAL, RATE, NULL},
        {"copies_in_bytes_s", REPORT_REAL, RATE, NULL},
        {"copies_out_bytes_s", REPORT_REAL, RATE, NULL},
        {"opens_s", REPORT_REAL, RATE, NULL},
        {"reads_s", REPORT_REAL, RATE, NULL},
        {"writes_s", REPORT_REAL, RATE, NULL},
        {"read_bytes_s", REPORT_REAL, RATE, NULL},
        {"written_bytes_s", REPORT_REAL, RATE, NULL},
        {"files_left_out", REPORT_WHOLE, 1e9, NULL},
};
static const struct report_member file_members[] = {
        {"name", REPORT_NAME, 240, NULL},      {"deleted", REPORT_FLAG, 0, NULL},         {"opens", REPORT_WHOLE, COUNT, NULL},
        {"reads", REPORT_WHOLE, COUNT, NULL},  {"writes", REPORT_WHOLE, COUNT, NULL},     {"read_bytes", REPORT_WHOLE, COUNT, NULL},
        {"written_bytes", REPORT_WHOLE, COUNT, NULL}, {"read_bytes_s", REPORT_REAL, RATE, NULL}, {"written_bytes_s", REPORT_REAL, RATE, NULL},
};

static int read_points(struct report_reading *r, const json_t *series)
{
        const json_t *list = json_object_get(series, "values"), *value;
        size_t i;

        put_literal(r->text, ",\"values\":[");
        if (!json_is_array(list) || json_array_size(list) > MACHINE_REPORT_POINTS)
                return report_wrong(r, "history.series.values: an array of at most %d", MACHINE_REPORT_POINTS);
        json_array_foreach(list, i, value) {
                if (i)
                        put_literal(r->text, ",");
                if (json_is_null(value))
                        put_literal(r->text, "null");
                else if (json_is_number(value) && json_number_value(value) >= -RATE && json_number_value(value) <= RATE)
                        put_real(r->text, json_number_value(value));
                else
                        return report_wrong(r, "history.series.values: numbers from %.0f to %.0f, or null", -RATE, RATE);
        }
        put_literal(r->text, "]");
        return 0;
}

static int read_history(struct report_reading *r, const json_t *history)
{
        static const struct report_member members[] = {{"step_s", REPORT_REAL, 1e7, NULL}, {"end_s", REPORT_WHOLE, 1e11, NULL}};
        int result;

        put_literal(r->text, ",\"history\":");
        if (!history || json_is_null(history)) {
                put_literal(r->text, "null");
                return 0;
        }
        result = report_members(r, "history", members, ARRAY_SIZE(members), history);
        if (!result)
                result = report_list(r, "series", series_members, ARRAY_SIZE(series_members), MACHINE_REPORT_SERIES, json_object_get(history, "series"), read_points);
        put_literal(r->text, "}");
        return result;
}

static int read_files(struct report_reading *r, const json_t *process)
{
        return report_list(r, "files", file_members, ARRAY_SIZE(file_members), MACHINE_REPORT_FILES, json_object_get(process, "files"), NULL);
}

int machine_report_read(const json_t *report, struct strbuf *figures, struct strbuf *processes, char why[MACHINE_REPORT_WHY])
{
        static const struct report_member left_out = {"processes_left_out", REPORT_WHOLE, 1e9, NULL}, shown = {"shown", REPORT_TEXT, 16, NULL};
        struct report_reading r = {.text = figures, .why = why}, p = {.text = processes, .why = why};
        size_t before = figures->length + processes->length;
        int result;

        why[0] = '\0';
        put_literal(figures, "\"shown\":");
        result = report_member(&r, "machine", &shown, json_object_get(report, "shown"));
        if (!result)
                result = report_object(&r, "host", host_members, ARRAY_SIZE(host_members), json_object_get(report, "host"));
        if (!result)
                result = report_list(&r, "unavailable", missing_members, ARRAY_SIZE(missing_members), 16, json_object_get(report, "unavailable"), NULL);
        if (!result)
                result = report_list(&r, "devices", device_members, ARRAY_SIZE(device_members), MACHINE_REPORT_DEVICES, json_object_get(report, "devices"), NULL);
        if (!result)
                result = report_list(&r, "probes", probe_members, ARRAY_SIZE(probe_members), 16, json_object_get(report, "probes"), NULL);
        if (!result)
                result = read_history(&r, json_object_get(report, "history"));
        if (!result) {
                put_literal(processes, "\"processes_left_out\":");
                result = report_member(&p, "machine", &left_out, json_object_get(report, "processes_left_out"));
        }
        if (!result)
                result = report_list(&p, "processes", process_members, ARRAY_SIZE(process_members), MACHINE_REPORT_PROCESSES, json_object_get(report, "processes"), read_files);
        if (result < 0)
                return result;
        if (figures->failed || processes->failed)
                return -ENOMEM;
        if (figures->length + processes->length - before > MACHINE_REPORT_BYTES)
                return report_wrong(&r, "machine: at most %u bytes", MACHINE_REPORT_BYTES);
        return 0;
}
