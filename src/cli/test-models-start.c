/* test-models-start.c: what the pool says of a model, as it looks to who waits for it. */
#include "cli/models-start.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ENGINE(kind, state, text) "{\"kind\": \"" kind "\", \"state\": \"" state "\", \"text\": " text "}"
#define MODEL(state, engines) "{\"name\": \"m\", \"state\": \"" state "\", \"workers\": [" engines "]}"

static void test_states(void **context)
{
        static const struct {
                const char *model;
                bool asked, was_starting;
                enum start_state want;
                const char *text;
        } cases[] = {
                {MODEL("ready", ENGINE("llama", "ready", "\"\"")), false, false, START_READY, ""},
                {MODEL("cold", ENGINE("llama", "cold", "\"\"")), true, false, START_GOES_ON, ""},
                {MODEL("starting", ENGINE("llama", "starting", "\"loading 3 of 7\"")), true, true, START_GOES_ON, "loading 3 of 7"},
                {MODEL("stopping", ENGINE("llama", "stopping", "\"\"")), true, true, START_GOES_ON, ""},
                /* One that failed earlier is told so until its worker has heard. */
                {MODEL("failed", ENGINE("command", "failed", "\"exit code 3\"")), false, false, START_GOES_ON, "exit code 3"},
                {MODEL("failed", ENGINE("command", "failed", "\"exit code 3\"")), true, true, START_FAILED, "exit code 3"},
                {MODEL("failed", ENGINE("command", "failed", "\"\"")), true, true, START_FAILED, "its worker does not say why; that worker's log may"},
                {MODEL("failed", ENGINE("url", "failed", "\"does not answer: refused\"")), false, false, START_FAILED, "does not answer: refused"},
                /* The best of several is the model's. */
                {MODEL("starting", ENGINE("llama", "failed", "\"no\"") ", " ENGINE("llama", "starting", "\"yes\"")), true, true, START_GOES_ON, "yes"},
                {MODEL("away", ENGINE("llama", "away", "\"\"")), true, false, START_FAILED, "no worker that has it is connected"},
                {MODEL("gone", ""), true, true, START_FAILED, "no worker has it any more"},
                {MODEL("cold", ENGINE("llama", "cold", "\"\"")), true, true, START_FAILED, "it was stopped before it was ready"},
                {MODEL("cold", ENGINE("llama", "cold", "\"ended by signal 15\"")), true, true, START_FAILED, "it was stopped before it was ready: ended by signal 15"},
                /* What is no such answer says nothing; what a server says does not reach the terminal as it is. */
                {"{}", true, true, START_GOES_ON, ""},
                {"[7]", true, true, START_GOES_ON, ""},
                {"{\"state\": 7, \"workers\": {\"a\": 1}}", true, true, START_GOES_ON, ""},
                {MODEL("starting", ENGINE("llama", "starting", "7")), true, true, START_GOES_ON, ""},
                {MODEL("starting", "null, 3"), true, true, START_GOES_ON, ""},
                {MODEL("from a newer pool", ENGINE("llama", "warm", "\"\"")), true, true, START_GOES_ON, ""},
        };

        (void)context;
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                json_t *model = json_loads(cases[i].model, 0, NULL);
                char text[CLI_MESSAGE];

                assert_non_null(model);
                assert_int_equal(models_start_state(model, cases[i].asked, cases[i].was_starting, text), cases[i].want);
                assert_string_equal(text, cases[i].text);
                json_decref(model);
        }
}

static void test_texts_are_harmless_and_cut(void **context)
{
        json_t *model = json_loads(MODEL("starting", ENGINE("llama", "starting", "\"a\\u001b[2Jb\"")), 0, NULL), *engine;
        char text[CLI_MESSAGE], longer[3 * CLI_MESSAGE];

        (void)context;
        assert_int_equal(models_start_state(model, true, true, text), START_GOES_ON);
        assert_null(strchr(text, '\033'));
        memset(longer, 'x', sizeof longer);
        longer[sizeof longer - 1] = '\0';
        engine = json_array_get(json_object_get(model, "workers"), 0);
        json_object_set_new(engine, "text", json_string(longer));
        assert_int_equal(models_start_state(model, true, true, text), START_GOES_ON);
        assert_in_range(strlen(text), 100, CLI_MESSAGE - 1);
        json_decref(model);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_states),
                cmocka_unit_test(test_texts_are_harmless_and_cut),
        };

        return cmocka_run_group_tests_name("cli-models-start", tests, NULL, NULL);
}
