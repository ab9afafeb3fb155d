/* test-machine-report.c: machines in full, right and wrong ones: what comes out is whole or nothing, and processes stand apart from the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "service/machine-report.h"

#include <stdio.h>
#include <string.h>

static int read_text(const char *text, struct strbuf *figures, struct strbuf *processes, char why[MACHINE_REPORT_WHY])
{
        json_t *report = json_loads(text, 0, NULL);
        int r;

        assert_non_null(report);
        r = machine_report_read(report, figures, processes, why);
        json_decref(report);
        return r;
}

static json_t *whole(const struct strbuf *part)
{
        char *text scoped_free = NULL;
        json_t *o;

        assert_true(asprintf(&text, "{%s}", part->text) > 0);
        o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(o);
        return o;
}

static void processes_stand_apart(void **state)
{
        struct strbuf figures = {0}, processes = {0};
        char why[MACHINE_REPORT_WHY];
        json_t *f, *p, *one;

        (void)state;
        assert_int_equal(read_text("{\"m\":\"machine\",\"span_s\":600,\"shown\":\"files\",\"host\":{\"cpus\":2,\"cpu_user_pct\":12.5},\"secret\":1,"
                                   "\"unavailable\":[{\"what\":\"pressure\",\"why\":\"the kernel does not tell\"}],\"devices\":[{\"index\":0,\"kind\":\"gpu\"}],"
                                   "\"history\":{\"step_s\":5,\"end_s\":1000,\"series\":[{\"name\":\"cpu.busy\",\"values\":[1,null,2.5]}]},"
                                   "\"processes\":[{\"pid\":7,\"name\":\"a\\u202eb\\u0001\\u00e9\",\"files\":[{\"name\":\"/home/\\u2028x\",\"deleted\":true}]}]}",
                                   &figures, &processes, why), 0);
        f = whole(&figures);
        p = whole(&processes);
        assert_null(strstr(figures.text, "secret"));
        assert_null(strstr(figures.text, "home"));
        assert_null(strstr(figures.text, "\"pid\""));
        assert_int_equal(json_integer_value(json_object_get(json_object_get(f, "host"), "cpus")), 2);
        assert_true(json_is_null(json_object_get(json_object_get(f, "host"), "load")));
        assert_int_equal(json_array_size(json_object_get(json_array_get(json_object_get(json_object_get(f, "history"), "series"), 0), "values")), 3);
        one = json_array_get(json_object_get(p, "processes"), 0);
        assert_string_equal(json_string_value(json_object_get(one, "name")), "a?b?\u00e9");
        assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(one, "files"), 0), "name")), "/home/?x");
        json_decref(f);
        json_decref(p);
        strbuf_clear(&figures);
        strbuf_clear(&processes);
        assert_int_equal(read_text("{}", &figures, &processes, why), 0);
        assert_string_equal(figures.text, "\"shown\":null,\"host\":null,\"unavailable\":[],\"devices\":[],\"probes\":[],\"history\":null");
        assert_string_equal(processes.text, "\"processes_left_out\":null,\"processes\":[]");
        strbuf_done(&figures);
        strbuf_done(&processes);
}

static void what_is_wrong_is_named(void **state)
{
        static const struct {
                const char *json, *word;
        } cases[] = {
                {"{\"host\":[]}", "host: an object"},
                {"{\"host\":{\"cpu_user_pct\":101}}", "host.cpu_user_pct"},
                {"{\"devices\":[{\"kind\":\"toaster\"}]}", "devices.kind"},
                {"{\"devices\":7}", "devices: an array"},
                {"{\"unavailable\":[[]]}", "unavailable: an object"},
                {"{\"probes\":[{\"state\":7}]}", "probes.state"},
                {"{\"history\":{\"series\":[{\"name\":\"x\"}]}}", "history.series.values"},
                {"{\"history\":{\"series\":[{\"name\":\"x\",\"values\":[\"1\"]}]}}", "history.series.values"},
                {"{\"history\":{\"series\":[{\"name\":\"x\",\"values\":[1e300]}]}}", "history.series.values"},
                {"{\"history\":{\"step_s\":true}}", "history.step_s"},
                {"{\"history\":[]}", "history: an object"},
                {"{\"processes\":{}}", "processes: an array"},
                {"{\"processes\":[{\"pid\":-1}]}", "processes.pid"},
                {"{\"processes\":[{\"launches_s\":1e300}]}", "processes.launches_s"},
                {"{\"processes\":[{\"files\":[{\"deleted\":0}]}]}", "files.deleted"},
                {"{\"processes\":[{\"files\":3}]}", "files: an array"},
                {"{\"processes_left_out\":-1}", "machine.processes_left_out"},
                {"{\"shown\":\"0123456789abcdef\"}", "machine.shown"},
        };
        char why[MACHINE_REPORT_WHY];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct strbuf figures = {0}, processes = {0};

                if (read_text(cases[i].json, &figures, &processes, why) != -EINVAL || !strstr(why, cases[i].word))
                        fail_msg("%s: \"%s\"", cases[i].json, why);
                strbuf_done(&figures);
                strbuf_done(&processes);
        }
}

/* A list of `count` copies of item, which is taken over. */
static json_t *many(json_t *item, size_t count)
{
        json_t *list = json_array();

        for (size_t i = 0; i < count; i++)
                json_array_append(list, item);
        json_decref(item);
        return list;
}

static int read_of(json_t *report, char why[MACHINE_REPORT_WHY])
{
        struct strbuf figures = {0}, processes = {0};
        int r = machine_report_read(report, &figures, &processes, why);

        strbuf_done(&figures);
        strbuf_done(&processes);
        json_decref(report);
        return r;
}

static void no_more_than_agreed(void **state)
{
        char why[MACHINE_REPORT_WHY], name[240];
        json_t *values = many(json_real(123456.5), MACHINE_REPORT_POINTS);

        (void)state;
        memset(name, '"', sizeof name);
        name[239] = 0;
        assert_int_equal(read_of(json_pack("{s:o}", "devices", many(json_object(), MACHINE_REPORT_DEVICES)), why), 0);
        assert_int_equal(read_of(json_pack("{s:o}", "devices", many(json_object(), MACHINE_REPORT_DEVICES + 1)), why), -EINVAL);
        assert_int_equal(read_of(json_pack("{s:o}", "processes", many(json_object(), MACHINE_REPORT_PROCESSES)), why), 0);
        assert_int_equal(read_of(json_pack("{s:o}", "processes", many(json_object(), MACHINE_REPORT_PROCESSES + 1)), why), -EINVAL);
        assert_int_equal(read_of(json_pack("{s:[{s:o}]}", "processes", "files", many(json_object(), MACHINE_REPORT_FILES + 1)), why), -EINVAL);
        assert_int_equal(read_of(json_pack("{s:{s:o}}", "history", "series", many(json_pack("{s:s, s:O}", "name", "x", "values", values), MACHINE_REPORT_SERIES)), why), 0);
        /* Each bound kept, and too much altogether. */
        assert_int_equal(read_of(json_pack("{s:{s:o}, s:o}", "history", "series", many(json_pack("{s:s, s:O}", "name", "x", "values", values), MACHINE_REPORT_SERIES), "processes",
                                           many(json_pack("{s:o}", "files", many(json_pack("{s:s}", "name", name), MACHINE_REPORT_FILES)), MACHINE_REPORT_PROCESSES)), why), -EINVAL);
        assert_non_null(strstr(why, "131072 bytes"));
        json_array_append_new(values, json_null());
        assert_int_equal(read_of(json_pack("{s:{s:[{s:o}]}}", "history", "series", "values", values), why), -EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(processes_stand_apart),
                cmocka_unit_test(what_is_wrong_is_named),
                cmocka_unit_test(no_more_than_agreed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
