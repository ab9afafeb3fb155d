/* test-service-machines.c: a machine is asked for while somebody looks, and not otherwise; who sees what; floods, garbage, what is old. */
#include "service/test-service.h"

#include <string.h>

static struct test_worker one;

static json_t *machine_of(const struct account_caller *caller, uint64_t since_s, int status)
{
        struct test_answer answer = {0};
        struct id id;
        json_t *json;

        assert_int_equal(id_parse("worker", one.id, &id), 0);
        service_worker_machine(service, caller, &id, since_s, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, status);
        json = json_incref(answer.json);
        test_answer_done(&answer);
        return json;
}

/* Looks, and says whether something was there. */
static bool seen(uint64_t since_s)
{
        json_t *o = machine_of(&admin, since_s, 200);
        bool any = !json_is_null(json_object_get(o, "machine"));

        assert_true(any != json_is_null(json_object_get(o, "seen")));
        json_decref(o);
        return any;
}

static int asked(void)
{
        json_t *look;
        int count = 0;

        while ((look = test_heard(&one, "look"))) {
                count++;
                json_decref(look);
        }
        return count;
}

static const char report[] = "{\"m\":\"machine\",\"span_s\":%d,\"shown\":\"files\",\"host\":{\"cpus\":%d},\"processes\":[{\"pid\":7,\"name\":\"sh\",\"files\":[{\"name\":\"/secret\"}]}]}";

static void asked_for_while_somebody_looks(void **state)
{
        json_t *o, *look;

        (void)state;
        test_join(&one, &farm, "one", 1, NULL);
        test_pass_ms(5000);
        assert_int_equal(asked(), 0);
        assert_false(seen(600));
        look = test_heard(&one, "look");
        assert_int_equal(json_integer_value(json_object_get(look, "span_s")), 600);
        json_decref(look);
        /* However many look at once: one question; another span is another question. */
        assert_false(seen(600) || seen(1) || seen(300));
        assert_int_equal(asked(), 0);
        assert_false(seen(601));
        look = test_heard(&one, "look");
        assert_int_equal(json_integer_value(json_object_get(look, "span_s")), 10800);
        json_decref(look);
        assert_int_equal(test_say(&one, report, 600, 2), 0);
        o = machine_of(&admin, 600, 200);
        assert_int_equal(json_integer_value(json_object_get(o, "span_s")), 600);
        assert_int_equal(json_integer_value(json_object_get(json_object_get(json_object_get(o, "machine"), "host"), "cpus")), 2);
        json_decref(o);
        assert_false(seen(10800));
        /* A second later the next question; its answer takes the place of the first. */
        test_pass_ms(1000);
        assert_true(seen(600));
        assert_int_equal(asked(), 1);
        assert_int_equal(test_say(&one, report, 600, 3), 0);
        o = machine_of(&admin, 600, 200);
        assert_int_equal(json_integer_value(json_object_get(json_object_get(json_object_get(o, "machine"), "host"), "cpus")), 3);
        json_decref(o);
        /* Nobody looks: nothing is asked, and after a minute nothing is kept. */
        test_pass_ms(59000);
        assert_int_equal(asked(), 0);
        assert_true(seen(600));
        test_pass_ms(2000);
        assert_false(seen(600));
        test_worker_close(&one);
        assert_false(seen(600));
}

static void who_sees_what(void **state)
{
        struct account_caller auditor = admin;
        json_t *o;

        (void)state;
        auditor.scopes = UINT64_C(1) << RIGHT_WORKER_READ;
        test_join(&one, &farm, "one", 1, NULL);
        assert_false(seen(600));
        assert_int_equal(test_say(&one, report, 600, 2), 0);
        o = machine_of(&admin, 600, 200);
        assert_int_equal(json_array_size(json_object_get(json_object_get(o, "machine"), "processes")), 1);
        json_decref(o);
        /* Processes and files are for who may change workers; strangers learn not even that there is one. */
        o = machine_of(&auditor, 600, 200);
        assert_true(json_is_null(json_object_get(json_object_get(o, "machine"), "processes")));
        assert_int_equal(json_integer_value(json_object_get(json_object_get(json_object_get(o, "machine"), "host"), "cpus")), 2);
        json_decref(o);
        json_decref(machine_of(&alice, 600, 404));
        o = machine_of(&farm, 600, 200);
        assert_true(json_is_null(json_object_get(json_object_get(o, "machine"), "processes")));
        json_decref(o);
        test_worker_close(&one);
}

static void what_nobody_asked_for_and_what_is_wrong(void **state)
{
        (void)state;
        test_join(&one, &farm, "one", 1, NULL);
        for (int i = 0; i < 1000; i++)
                assert_int_equal(test_say(&one, report, 600, 2), 0);
        assert_false(seen(600));
        assert_int_equal(test_say(&one, report, 10800, 2), 0); /* of another span than asked */
        assert_false(seen(10800));
        assert_int_equal(test_say(&one, report, 600, 2), 0);
        assert_true(seen(600));
        /* One answer for one question. */
        assert_int_equal(test_say(&one, report, 600, 9), 0);
        test_pass_ms(1000);
        assert_true(seen(600));
        assert_false(one.closed);
        assert_int_equal(test_say(&one, "{\"m\":\"machine\",\"span_s\":600,\"host\":{\"cpus\":-1}}"), -E_MESSAGE);
        assert_true(one.closed);
        /* What was known stays as long as it would have. */
        assert_true(seen(600));
        test_worker_close(&one);
        test_join(&one, &farm, "one", 1, NULL);
        assert_int_equal(test_say(&one, "{\"m\":\"machine\"}"), -E_MESSAGE);
        test_worker_close(&one);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(asked_for_while_somebody_looks, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(who_sees_what, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(what_nobody_asked_for_and_what_is_wrong, test_setup, test_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
