/* test-service-worker.c: the worker protocol with workers that die, come back, lie and send garbage: nothing of it reaches another's task, and nothing counts twice. */
#include "service/test-service.h"

#include <stdio.h>

static struct test_worker a, b;
static char text[4096];

static char *word(const json_t *lease, const char *kind, const char *more)
{
        snprintf(text, sizeof(text), "{\"m\":\"%s\",\"task\":\"%s\",\"nonce\":\"%s\"%s}", kind, test_text(lease, "task"), test_text(lease, "nonce"), more);
        return text;
}

static bool none(struct test_worker *w, const char *kind)
{
        json_t *m = test_heard(w, kind);

        json_decref(m);
        return !m;
}

static void a_worker_that_was_lost_counts_nothing(void **state)
{
        json_t *lease, *again, *m;
        struct id id;
        int rounds = 0;

        test_join(&a, &farm, "one", 1, NULL);
        id = test_task(&alice, "{\"type\":\"t\",\"payload\":1}");
        lease = test_heard(&a, "lease");
        assert_non_null(lease);
        test_join(&b, &farm2, "two", 1, NULL);
        /* a is not heard of any more, b is. */
        for (again = NULL; !again && rounds < 1000; rounds++) {
                test_pass_ms(1000);
                assert_int_equal(test_say(&b, "{\"m\":\"heartbeat\"}"), 0);
                again = test_heard(&b, "lease");
        }
        assert_non_null(again);
        assert_string_not_equal(test_text(lease, "nonce"), test_text(again, "nonce"));
        /* The first one comes after all: a is told so, and b's counts. A third that guesses gets nothing. */
        if (!a.closed)
                assert_int_equal(test_say(&a, "%s", word(lease, "result", ",\"result\":\"late\"")), 0);
        assert_int_equal(test_say(&b, "%s", word(lease, "result", ",\"result\":\"guessed\"")), 0);
        m = test_heard(&b, "stale");
        assert_non_null(m);
        json_decref(m);
        assert_int_equal(test_say(&b, "%s", word(again, "result", ",\"result\":\"right\"")), 0);
        json_decref(test_heard(&b, "ack"));
        m = test_view(&alice, &id, 200);
        assert_string_equal(test_text(m, "result"), "right");
        assert_int_equal(json_integer_value(json_object_get(m, "attempt")), 2);
        json_decref(m);
        /* Said again, it changes nothing. */
        assert_int_equal(test_say(&b, "%s", word(again, "result", ",\"result\":\"twice\"")), 0);
        m = test_view(&alice, &id, 200);
        assert_string_equal(test_text(m, "result"), "right");
        json_decref(m);
        json_decref(lease);
        json_decref(again);
        test_worker_close(&a);
        test_worker_close(&b);
}

static void a_connection_that_broke_is_taken_up_again(void **state)
{
        json_t *lease, *other, *m;
        char running[400];
        struct id id;

        test_join(&a, &farm, "one", 2, NULL);
        id = test_task(&alice, "{\"type\":\"t\",\"payload\":1}");
        lease = test_heard(&a, "lease");
        (void)test_task(&alice, "{\"type\":\"t\",\"payload\":2}");
        other = test_heard(&a, "lease");
        assert_non_null(other);
        test_worker_close(&a);
        snprintf(running, sizeof(running), "[{\"task\":\"%s\",\"nonce\":\"%s\"},{\"task\":\"task_00000000000000000000000000000001\",\"nonce\":\"7\"}]",
                 test_text(lease, "task"), test_text(lease, "nonce"));
        test_worker_open(&b, &farm);
        assert_int_equal(test_say(&b, "{\"m\":\"hello\",\"protocol\":1,\"worker\":\"%s\",\"instance\":\"one\",\"slots\":2,\"types\":[\"t\"],\"running\":%s}", a.id, running), 0);
        m = test_heard(&b, "welcome");
        assert_non_null(m);
        assert_string_equal(test_text(m, "worker"), a.id);
        assert_int_equal(json_array_size(json_object_get(m, "lost")), 1);
        json_decref(m);
        /* The one it did not list goes to whoever is ready, as the same attempt. */
        assert_int_equal(test_say(&b, "{\"m\":\"ready\",\"slots\":1}"), 0);
        m = test_heard(&b, "lease");
        assert_non_null(m);
        assert_string_equal(test_text(m, "task"), test_text(other, "task"));
        assert_int_equal(json_integer_value(json_object_get(m, "attempt")), 1);
        json_decref(m);
        assert_int_equal(test_say(&b, "%s", word(lease, "result", ",\"result\":5")), 0);
        m = test_heard(&b, "ack");
        assert_non_null(m);
        json_decref(m);
        test_expect_state(&id, "done");
        json_decref(lease);
        json_decref(other);
        test_worker_close(&b);
}

static void a_worker_that_lies_gets_no_more_than_it_has(void **state)
{
        json_t *lease, *m;
        struct id id;

        test_join(&a, &farm, "one", 2, NULL);
        test_join(&b, &farm2, "two", 1, NULL);
        assert_int_equal(test_say(&a, "{\"m\":\"ready\",\"slots\":1000000}"), 0);
        assert_int_equal(test_say(&a, "{\"m\":\"ready\",\"slots\":4294967295}"), 0);
        for (int i = 0; i < 10; i++)
                id = test_task(&alice, "{\"type\":\"t\",\"payload\":1}");
        test_settle();
        for (int i = 0; i < 2; i++) {
                m = test_heard(&a, "lease");
                assert_non_null(m);
                json_decref(m);
        }
        assert_true(none(&a, "lease"));
        /* Another's task, with its nonce even. */
        lease = test_heard(&b, "lease");
        assert_non_null(lease);
        assert_int_equal(test_say(&a, "%s", word(lease, "result", ",\"result\":\"stolen\"")), 0);
        m = test_heard(&a, "stale");
        assert_non_null(m);
        json_decref(m);
        assert_int_equal(test_say(&a, "%s", word(lease, "fail", "")), 0);
        m = test_heard(&a, "stale");
        assert_non_null(m);
        json_decref(m);
        assert_int_equal(id_parse("task", test_text(lease, "task"), &id), 0);
        test_expect_state(&id, "leased");
        json_decref(lease);
        /* Another account's worker's name: it becomes somebody new. */
        test_worker_close(&a);
        strcpy(a.id, b.id);
        test_join(&a, &farm, "three", 1, NULL);
        assert_string_not_equal(a.id, b.id);
        assert_false(b.closed);
        test_worker_close(&a);
        test_worker_close(&b);
}

static void garbage_ends_the_connection_and_nothing_else(void **state)
{
        static const char *const bad[] = {
                "", "x", "[]", "null", "{}", "{\"m\":7}", "{\"m\":\"result\"}", "{\"m\":\"result\",\"task\":7}", "{\"m\":\"result\",\"task\":\"task_1\",\"nonce\":\"1\"}",
                "{\"m\":\"result\",\"task\":\"task_00000000000000000000000000000001\",\"nonce\":1}",
                "{\"m\":\"result\",\"task\":\"task_00000000000000000000000000000001\",\"nonce\":\"99999999999999999999999\"}",
                "{\"m\":\"ready\",\"slots\":-1}", "{\"m\":\"ready\",\"slots\":1e30}", "{\"m\":\"ready\",\"slots\":\"1\"}", "{\"m\":\"renew\"}", "{\"m\":\"renew\",\"leases\":[7]}",
                "{\"m\":\"change\",\"types\":[7]}", "{\"m\":\"change\",\"devices\":[{\"kind\":\"gpu\",\"memory_bytes\":-1}]}", "{\"m\":\"change\",\"labels\":[]}", "{\"m\":\"hello\"}",
                "{\"m\":\"ready\",\"m\":\"ready\"}", "{\"m\":\"a\\u0000b\"}", "{\"m\":\"\xff\"}",
        };
        static const char *const bad_hello[] = {
                "{\"m\":\"ready\",\"slots\":1}", "{\"m\":\"hello\"}", "{\"m\":\"hello\",\"protocol\":2,\"slots\":1}", "{\"m\":\"hello\",\"protocol\":1}",
                "{\"m\":\"hello\",\"protocol\":1,\"slots\":0}", "{\"m\":\"hello\",\"protocol\":1,\"slots\":9999999999}", "{\"m\":\"hello\",\"protocol\":1,\"slots\":1,\"worker\":\"x\"}",
                "{\"m\":\"hello\",\"protocol\":1,\"slots\":1,\"running\":{}}", "{\"m\":\"hello\",\"protocol\":1,\"slots\":1,\"running\":[{}]}",
                "{\"m\":\"hello\",\"protocol\":1,\"slots\":1,\"name\":[]}", "{\"m\":\"hello\",\"protocol\":1,\"slots\":1,\"labels\":{\"a\":7}}",
        };

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                test_join(&a, &farm, "one", 1, NULL);
                assert_int_equal(test_say(&a, "%s", bad[i]), -E_MESSAGE);
                assert_false(none(&a, "error"));
                assert_true(a.closed);
                /* It may go on sending until the gateway has closed it: nothing is heard. */
                assert_int_equal(test_say(&a, "{\"m\":\"ready\",\"slots\":1}"), -E_MESSAGE);
                test_worker_close(&a);
        }
        for (size_t i = 0; i < ARRAY_SIZE(bad_hello); i++) {
                test_worker_open(&a, &farm);
                assert_int_equal(test_say(&a, "%s", bad_hello[i]), -E_MESSAGE);
                assert_false(none(&a, "error"));
                test_worker_close(&a);
        }
        test_join(&a, &farm, "one", 1, NULL);
        assert_int_equal(test_say(&a, "{\"m\":\"unheard-of\",\"x\":1}"), 0);
        assert_int_equal(test_say(&a, "{\"m\":\"heartbeat\",\"load\":\"no\",\"x\":[1]}"), 0);
        test_worker_close(&a);
}

/* A worker says heartbeat where it said nothing else. */
static void whatever_it_says_a_worker_is_heard(void **state)
{
        static const char *const words[] = {"{\"m\":\"node\",\"node\":{}}", "{\"m\":\"change\",\"resident\":[]}", "{\"m\":\"renew\",\"leases\":[]}", "{\"m\":\"unheard-of\"}"};

        for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
                json_t *lease = NULL;
                char name[20];

                snprintf(name, sizeof(name), "w%zu", i);
                a.id[0] = '\0';
                test_join(&a, &farm, name, 1, NULL);
                for (int rounds = 0; rounds < 300; rounds++) {
                        test_pass_ms(1000);
                        assert_false(a.closed);
                        if (test_say(&a, "%s", words[i]) < 0)
                                fail_msg("%s", words[i]);
                }
                test_task(&alice, "{\"type\":\"t\",\"payload\":1}");
                lease = test_heard(&a, "lease");
                assert_non_null(lease); /* it was not lost meanwhile */
                assert_int_equal(test_say(&a, "%s", word(lease, "result", ",\"result\":1")), 0);
                json_decref(lease);
                assert_int_equal(test_say(&a, "{\"m\":\"bye\"}"), 0);
                test_worker_close(&a);
        }
}

static void a_task_that_fails_everywhere_ends(void **state)
{
        struct id id = test_task(&alice, "{\"type\":\"t\",\"payload\":1,\"attempts\":20,\"wait_for_workers\":true}");
        char name[20];
        json_t *m;

        for (int i = 0; i < 3; i++) {
                snprintf(name, sizeof(name), "w%d", i);
                a.id[0] = '\0';
                test_join(&a, &farm, name, 1, NULL);
                m = NULL;
                for (int rounds = 0; !m && rounds < 100; rounds++) {
                        m = test_heard(&a, "lease");
                        if (!m) {
                                test_pass_ms(2000);
                                assert_int_equal(test_say(&a, "{\"m\":\"heartbeat\"}"), 0);
                        }
                }
                assert_non_null(m);
                assert_int_equal(test_say(&a, "%s", word(m, "fail", ",\"error\":{\"code\":\"crash\",\"text\":\"boom\"},\"blame\":\"task\"")), 0);
                json_decref(m);
                json_decref(test_heard(&a, "ack"));
                assert_int_equal(test_say(&a, "{\"m\":\"bye\"}"), 0);
                test_worker_close(&a);
        }
        test_expect_state(&id, "dead");
}

static void what_is_said_too_often_is_dropped(void **state)
{
        struct test_answer answer = {0};
        json_t *lease;
        uint64_t before;
        int r = 0, said = 0;

        test_join(&a, &farm, "one", 1, NULL);
        (void)test_task(&alice, "{\"type\":\"t\",\"payload\":1}");
        lease = test_heard(&a, "lease");
        before = service_event_last(service);
        for (int i = 0; i < 100; i++)
                assert_int_equal(test_say(&a, "%s", word(lease, "progress", ",\"share\":0.25")), 0);
        assert_true(service_event_last(service) - before <= 11);
        while (!(r = test_say(&a, "{\"m\":\"x\"}")) && said < 1000000)
                said++;
        assert_int_equal(r, -E_QUOTA);
        json_decref(lease);
        test_answer_done(&answer);
        test_worker_close(&a);
}

static void results_over_the_limit_fail_the_task(void **state)
{
        char *big = malloc(300000 + 400);
        json_t *lease, *view;
        struct id id;
        int n;

        test_join(&a, &farm, "one", 1, NULL);
        id = test_task(&alice, "{\"type\":\"t\",\"payload\":1}");
        lease = test_heard(&a, "lease");
        n = sprintf(big, "{\"m\":\"result\",\"task\":\"%s\",\"nonce\":\"%s\",\"result\":\"", test_text(lease, "task"), test_text(lease, "nonce"));
        memset(big + n, 'x', 300000);
        strcpy(big + n + 300000, "\"}");
        assert_int_equal(service_worker_receive(a.connection, big, strlen(big)), 0);
        json_decref(test_heard(&a, "ack"));
        view = test_view(&alice, &id, 200);
        assert_string_equal(test_text(view, "state"), "failed");
        assert_string_equal(test_text(json_object_get(view, "error"), "code"), "result.too_large");
        json_decref(view);
        json_decref(lease);
        free(big);
        test_worker_close(&a);
}

static void drained_and_removed_by_people(void **state)
{
        struct test_answer answer = {0};
        json_t *body = json_pack("{s:s}", "state", "draining"), *m;
        struct id id;

        test_join(&a, &farm, "one", 1, NULL);
        assert_int_equal(id_parse("worker", a.id, &id), 0);
        service_worker_change(service, &alice, &id, body, 0, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, 404);
        test_answer_done(&answer);
        service_worker_change(service, &admin, &id, body, 99, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, 412);
        test_answer_done(&answer);
        service_worker_change(service, &admin, &id, body, 0, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, 200);
        test_answer_done(&answer);
        m = test_heard(&a, "drain");
        assert_true(json_is_true(json_object_get(m, "on")));
        json_decref(m);
        (void)test_task(&alice, "{\"type\":\"t\",\"payload\":1,\"wait_for_workers\":true}");
        assert_true(none(&a, "lease"));
        /* It stays drained when it comes back, also after a restart of the pool. */
        test_worker_close(&a);
        test_close();
        test_open();
        test_join(&a, &farm, "one", 1, NULL);
        assert_true(none(&a, "lease"));
        json_object_set_new(body, "state", json_string("active"));
        service_worker_change(service, &admin, &id, body, 0, test_answer_fn, &answer);
        test_until(&answer.came);
        test_answer_done(&answer);
        m = test_heard(&a, "lease");
        assert_non_null(m);
        json_decref(m);
        json_decref(body);
        service_worker_remove(service, &admin, &id, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, 204);
        test_answer_done(&answer);
        assert_true(a.closed);
        test_worker_close(&a);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_worker_that_was_lost_counts_nothing, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(a_connection_that_broke_is_taken_up_again, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(a_worker_that_lies_gets_no_more_than_it_has, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(garbage_ends_the_connection_and_nothing_else, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(whatever_it_says_a_worker_is_heard, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(a_task_that_fails_everywhere_ends, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(what_is_said_too_often_is_dropped, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(results_over_the_limit_fail_the_task, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(drained_and_removed_by_people, test_setup, test_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
