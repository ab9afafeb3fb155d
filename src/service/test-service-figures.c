/* test-service-figures.c: what the pool tells of its past and of its workers' machines. */
#include "service/test-service.h"

#include <string.h>

static double sum_of(const json_t *series, const char *name)
{
        const json_t *value;
        double sum = 0;
        size_t i;

        assert_true(json_is_array(json_object_get(series, name)));
        json_array_foreach(json_object_get(series, name), i, value)
                sum += json_number_value(value);
        return sum;
}

static void history_tells_what_happened(void **state)
{
        struct test_answer answer = {0};
        const json_t *series;

        for (int n = 0; n < 3; n++) {
                (void)test_task(&alice, "{\"type\":\"t\",\"payload\":1,\"wait_for_workers\":true}");
                service_history_add(service, HISTORY_TOKENS_OUT, 10);
                service_history_level(service, HISTORY_REQUESTS_QUEUED, 4);
                test_pass_ms(1000);
        }
        test_pass_ms(1000);
        service_history(service, NULL, 60, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, 200);
        assert_int_equal(json_integer_value(json_object_get(answer.json, "step_ms")), 1000);
        assert_int_equal(json_integer_value(json_object_get(answer.json, "count")), 4);
        assert_int_equal(json_integer_value(json_object_get(answer.json, "from_ms")), test_unix_ms - 4000);
        series = json_object_get(answer.json, "series");
        assert_int_equal(json_object_size(series), HISTORIES);
        assert_true(sum_of(series, "tasks.submitted") == 3);
        assert_true(sum_of(series, "tokens.out") == 30);
        assert_true(sum_of(series, "requests.queued") == 16);
        assert_true(json_integer_value(json_array_get(json_object_get(series, "tasks.queued"), 3)) == 3 ||
                    json_number_value(json_array_get(json_object_get(series, "tasks.queued"), 3)) == 3);
        test_answer_done(&answer);

        service_history(service, "tokens.out,workers.active", 1, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(json_object_size(json_object_get(answer.json, "series")), 2);
        assert_int_equal(json_integer_value(json_object_get(answer.json, "count")), 1);
        test_answer_done(&answer);

        service_history(service, "tokens.out,nothing", 60, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, 400);
        assert_non_null(strstr(answer.detail, "nothing"));
        test_answer_done(&answer);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(history_tells_what_happened, test_setup, test_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
