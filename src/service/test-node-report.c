/* test-node-report.c: reports of nodes, right and wrong ones: what comes out is whole or nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "service/node-report.h"

#include <stdio.h>
#include <string.h>

static int read_text(const char *json, struct strbuf *text, char why[NODE_REPORT_WHY])
{
        json_t *report = json_loads(json, 0, NULL);
        int r;

        assert_non_null(report);
        r = node_report_read(report, text, why);
        json_decref(report);
        return r;
}

static void every_member_stands_there(void **state)
{
        char why[NODE_REPORT_WHY];
        struct strbuf text = {0};
        json_t *out;

        assert_int_equal(read_text("{\"m\":\"node\",\"devices\":[{\"name\":\"H200\\u0007\",\"kind\":\"gpu\",\"memory_used_bytes\":5,\"utilization_pct\":12.5,\"secret\":1,"
                                   "\"clients\":[{\"pid\":7,\"name\":\"a\",\"state\":\"running\",\"priority\":null}]}],\"host\":{\"cpus\":2},\"daemon\":null}",
                                   &text, why), 0);
        out = json_loads(text.text, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(out);
        assert_string_equal(text.text,
                            "{\"devices\":[{\"uuid\":null,\"name\":\"H200?\",\"kind\":\"gpu\",\"memory_total_bytes\":null,\"memory_room_bytes\":null,\"memory_used_bytes\":5,"
                            "\"memory_foreign_bytes\":null,\"swapped_bytes\":null,\"utilization_pct\":12.5,\"power_watts\":null,\"temperature_c\":null,\"switches\":null,"
                            "\"waiting\":null,\"clients\":[{\"pid\":7,\"name\":\"a\",\"job\":null,\"state\":\"running\",\"priority\":null,\"owned_bytes\":null,"
                            "\"resident_bytes\":null,\"swapped_bytes\":null,\"wait_ms\":null,\"position\":null}]}],\"clients_left_out\":null,"
                            "\"host\":{\"memory_total_bytes\":null,\"memory_available_bytes\":null,\"cpu_pct\":null,\"cpus\":2},\"daemon\":null}");
        json_decref(out);
        strbuf_clear(&text);
        assert_int_equal(read_text("{}", &text, why), 0);
        assert_string_equal(text.text, "{\"devices\":[],\"clients_left_out\":null,\"host\":null,\"daemon\":null}");
        strbuf_done(&text);
}

static void what_is_wrong_is_named(void **state)
{
        static const struct {
                const char *json, *word;
        } cases[] = {
                {"{\"devices\":{}}", "devices: an array"}, {"{\"devices\":[1]}", "devices: an object"}, {"{\"devices\":[{\"kind\":\"toaster\"}]}", "devices.kind"},
                {"{\"devices\":[{\"kind\":3}]}", "devices.kind"}, {"{\"devices\":[{\"memory_used_bytes\":-1}]}", "devices.memory_used_bytes"},
                {"{\"devices\":[{\"memory_used_bytes\":1.5}]}", "memory_used_bytes"}, {"{\"devices\":[{\"memory_used_bytes\":\"1\"}]}", "memory_used_bytes"},
                {"{\"devices\":[{\"utilization_pct\":1e300}]}", "utilization_pct"}, {"{\"devices\":[{\"temperature_c\":true}]}", "temperature_c"},
                {"{\"devices\":[{\"clients\":{}}]}", "devices.clients"}, {"{\"devices\":[{\"clients\":[[]]}]}", "devices.clients: an object"},
                {"{\"devices\":[{\"clients\":[{\"state\":\"asleep\"}]}]}", "devices.clients.state"}, {"{\"host\":[]}", "host: an object"},
                {"{\"host\":{\"cpus\":9999999}}", "host.cpus"}, {"{\"daemon\":{\"version\":7}}", "daemon.version"}, {"{\"clients_left_out\":-1}", "node.clients_left_out"},
                {"{\"daemon\":{\"version\":\"0123456789012345678901234567890123456789012345678901234567890123\"}}", "at most 63 bytes"},
        };
        char why[NODE_REPORT_WHY];

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct strbuf text = {0};

                if (read_text(cases[i].json, &text, why) != -EINVAL || !strstr(why, cases[i].word))
                        fail_msg("%s: \"%s\"", cases[i].json, why);
                strbuf_done(&text);
        }
}

static void no_more_than_agreed(void **state)
{
        char why[NODE_REPORT_WHY], name[80];
        json_t *report = json_object(), *devices = json_array(), *clients = json_array(), *device;
        struct strbuf text = {0};

        json_object_set_new(report, "devices", devices);
        for (int i = 0; i < NODE_REPORT_DEVICES; i++)
                json_array_append_new(devices, json_pack("{s:s}", "name", "d"));
        assert_int_equal(node_report_read(report, &text, why), 0);
        json_array_append_new(devices, json_object());
        assert_int_equal(node_report_read(report, &text, why), -EINVAL);
        json_array_clear(devices);
        device = json_pack("{s:o}", "clients", clients);
        json_array_append_new(devices, device);
        for (int i = 0; i < NODE_REPORT_CLIENTS; i++)
                json_array_append_new(clients, json_pack("{s:i}", "pid", i));
        strbuf_clear(&text);
        assert_int_equal(node_report_read(report, &text, why), 0);
        json_array_append_new(clients, json_object());
        assert_int_equal(node_report_read(report, &text, why), -EINVAL);
        assert_non_null(strstr(why, "clients_left_out"));
        /* Names of bytes that take six each when they are written: too much altogether. */
        json_array_clear(clients);
        memset(name, '"', sizeof name);
        name[79] = 0;
        for (int i = 0; i < NODE_REPORT_CLIENTS; i++)
                json_array_append_new(clients, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "name", name, "pid", (json_int_t)4000000000, "owned_bytes", (json_int_t)1 << 60, "resident_bytes",
                                                         (json_int_t)1 << 60, "swapped_bytes", (json_int_t)1 << 60, "wait_ms", (json_int_t)1 << 60));
        strbuf_clear(&text);
        assert_int_equal(node_report_read(report, &text, why), -EINVAL);
        assert_non_null(strstr(why, "65536 bytes"));
        strbuf_done(&text);
        json_decref(report);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_member_stands_there),
                cmocka_unit_test(what_is_wrong_is_named),
                cmocka_unit_test(no_more_than_agreed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
