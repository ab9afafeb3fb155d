/* test-spec.c: what payloads are taken, and with which words others are refused. */
#include "worker/spec.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct spec_limits most = {.wall_ms = 3600000, .cpu_ms = 3600000, .memory_bytes = 1 << 30, .disk_bytes = 1 << 30, .processes = 100};

static int parse(const char *type, const char *text, struct spec *ret, char why[SPEC_MESSAGE], json_t **keep)
{
        *keep = json_loads(text, 0, NULL);
        assert_non_null(*keep);
        return spec_parse(type, *keep, NULL, &most, false, ret, why);
}

static void good(void **state)
{
        char why[SPEC_MESSAGE];
        struct spec s;
        json_t *o;

        assert_int_equal(parse("command",
                               "{\"argv\": [\"sh\", \"-c\", \"\"], \"env\": {\"A\": \"b\"}, \"stdin\": {\"name\": \"in/x\"}, \"files\": [{\"name\": \"in/x\", \"text\": \"t\"}], "
                               "\"outputs\": [\"*.png\"], \"limits\": {\"wall\": \"10min\", \"cpu\": 1.5, \"memory\": \"512MiB\", \"processes\": 5}, \"device\": {\"memory\": \"40%\"}}",
                               &s, why, &o),
                         0);
        assert_int_equal(s.limits.wall_ms, 600000);
        assert_int_equal(s.limits.cpu_ms, 1500);
        assert_int_equal(s.limits.memory_bytes, 512 << 20);
        assert_int_equal(s.limits.disk_bytes, 1 << 30);
        assert_int_equal(s.limits.processes, 5);
        assert_string_equal(s.input_file, "in/x");
        assert_true(s.device.wanted);
        assert_string_equal(s.device.memory, "40.0%");
        json_decref(o);
        assert_int_equal(parse("validate", "{\"input\": \"a.csv\", \"limits\": {\"wall\": 1}}", &s, why, &o), 0);
        assert_string_equal(s.function, "validate");
        assert_false(s.device.wanted);
        json_decref(o);
        /* What a type of others' making holds is not ours to judge. */
        assert_int_equal(parse("theirs", "{\"anything\": 1}", &s, why, &o), 0);
        json_decref(o);
        /* A function has no device, and no member of another's. */
        assert_int_equal(parse("validate", "{\"input\": \"a.csv\", \"device\": {}}", &s, why, &o), -EINVAL);
        assert_string_equal(why, "the payload has no member \"device\"");
        json_decref(o);
        assert_int_equal(parse("probe", "{\"limits.wall\": 1}", &s, why, &o), -EINVAL);
        json_decref(o);
}

static void refused(void **state)
{
        static const struct {
                const char *payload, *why;
                int error;
        } cases[] = {
                {"[]", "no object", -EINVAL},
                {"{}", "argv", -EINVAL},
                {"{\"argv\": []}", "argv", -EINVAL},
                {"{\"argv\": [1]}", "argv[0]", -EINVAL},
                {"{\"argv\": [\"\"]}", "argv[0]", -EINVAL},
                {"{\"argv\": [\"x\"], \"enviroment\": {}}", "enviroment", -EINVAL},
                {"{\"argv\": [\"x\"], \"env\": {\"LD_PRELOAD\": \"x\"}}", "not for tasks", -EINVAL},
                {"{\"argv\": [\"x\"], \"env\": {\"BERTH_SOCKET\": \"x\"}}", "not for tasks", -EINVAL},
                {"{\"argv\": [\"x\"], \"env\": {\"A=B\": \"x\"}}", "env", -EINVAL},
                {"{\"argv\": [\"x\"], \"env\": {\"A\": 1}}", "env", -EINVAL},
                {"{\"argv\": [\"x\"], \"files\": [{\"name\": \"../x\", \"text\": \"\"}]}", "files[0].name", -EINVAL},
                {"{\"argv\": [\"x\"], \"files\": [{\"name\": \"/x\", \"text\": \"\"}]}", "files[0].name", -EINVAL},
                {"{\"argv\": [\"x\"], \"files\": [{\"name\": \"a//b\", \"text\": \"\"}]}", "files[0].name", -EINVAL},
                {"{\"argv\": [\"x\"], \"files\": [{\"name\": \"x\"}]}", "sha256", -EINVAL},
                {"{\"argv\": [\"x\"], \"files\": [{\"name\": \"x\", \"sha256\": \"abc\"}]}", "sha256", -EINVAL},
                {"{\"argv\": [\"x\"], \"files\": [5]}", "files[0]", -EINVAL},
                {"{\"argv\": [\"x\"], \"outputs\": [\"../*\"]}", "outputs[0]", -EINVAL},
                {"{\"argv\": [\"x\"], \"limits\": {\"memroy\": 1}}", "memroy", -EINVAL},
                {"{\"argv\": [\"x\"], \"limits\": {\"memory\": \"2GiB\"}}", "more than this worker allows (1", -E_LIMIT},
                {"{\"argv\": [\"x\"], \"limits\": {\"wall\": \"2h\"}}", "more than this worker allows", -E_LIMIT},
                {"{\"argv\": [\"x\"], \"limits\": {\"wall\": -1}}", "limits.wall", -EINVAL},
                {"{\"argv\": [\"x\"], \"limits\": {\"memory\": 0}}", "limits.memory is 0", -EINVAL},
                {"{\"argv\": [\"x\"], \"network\": true}", "no network", -E_LIMIT},
                {"{\"argv\": [\"x\"], \"network\": 1}", "network", -EINVAL},
                {"{\"argv\": [\"x\"], \"stdin\": {\"name\": \"y\"}}", "stdin.name", -EINVAL},
                {"{\"argv\": [\"x\"], \"stdin\": 4}", "stdin", -EINVAL},
                {"{\"argv\": [\"x\"], \"device\": {\"memory\": \"lots\"}}", "device.memory", -EINVAL},
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char why[SPEC_MESSAGE] = "";
                struct spec s;
                json_t *o;

                assert_int_equal(parse("command", cases[i].payload, &s, why, &o), cases[i].error);
                if (!strstr(why, cases[i].why))
                        fail_msg("%s: %s", cases[i].payload, why);
                json_decref(o);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(good), cmocka_unit_test(refused)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
