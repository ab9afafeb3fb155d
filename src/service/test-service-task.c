/* test-service-task.c: a task's walks: submitted, leased, done; failed and tried again; cancelled, late, waiting for others; what people see of it and who does not. */
#include "service/test-service.h"

#include <poll.h>
#include <stdio.h>
#include <unistd.h>

static char *lease_word(const json_t *lease, const char *kind, const char *more, char *text, size_t size)
{
        snprintf(text, size, "{\"m\":\"%s\",\"task\":\"%s\",\"nonce\":\"%s\"%s}", kind, test_text(lease, "task"), test_text(lease, "nonce"), more);
        return text;
}

static struct test_worker w;
static char text[4096];

static json_t *next_lease(struct test_worker *worker)
{
        json_t *lease = test_heard(worker, "lease");

        assert_non_null(lease);
        return lease;
}

static void done_and_seen(void **state)
{
        json_t *lease, *ack, *view;
        struct id id;

        test_join(&w, &farm, "one", 1, NULL);
        id = test_task(&alice, "{\"type\":\"t\",\"name\":\"my \\\"task\\\" é\",\"payload\":{\"x\":[1,2,{\"payload\":3}]},\"needs\":{\"memory\":\"24GiB\",\"labels\":{\"zone\":\"a\"}},"
                               "\"priority\":\"high\",\"cost\":\"30s\"}");
        lease = next_lease(&w);
        assert_string_equal(test_text(lease, "type"), "t");
        assert_int_equal(json_integer_value(json_array_get(json_object_get(json_object_get(lease, "payload"), "x"), 1)), 2);
        assert_int_equal(json_integer_value(json_object_get(lease, "attempt")), 1);
        test_expect_state(&id, "leased");
        assert_int_equal(test_say(&w, "%s", lease_word(lease, "progress", ",\"share\":0.5,\"step\":1,\"steps\":2,\"text\":\"half\"", text, sizeof(text))), 0);
        view = test_view(&alice, &id, 200);
        assert_true(json_real_value(json_object_get(json_object_get(view, "progress"), "share")) == 0.5);
        assert_string_equal(test_text(view, "name"), "my \"task\" é");
        assert_string_equal(test_text(view, "priority"), "high");
        assert_string_equal(test_text(json_object_get(view, "needs"), "memory"), "24GiB");
        json_decref(view);
        assert_int_equal(test_say(&w, "%s", lease_word(lease, "result", ",\"result\":{\"ok\":true},\"usage\":{\"wall_ms\":12,\"x\":\"no\"},\"ready\":true", text, sizeof(text))), 0);
        ack = test_heard(&w, "ack");
        assert_non_null(ack);
        assert_string_equal(test_text(ack, "nonce"), test_text(lease, "nonce"));
        view = test_view(&alice, &id, 200);
        assert_string_equal(test_text(view, "state"), "done");
        assert_true(json_is_true(json_object_get(json_object_get(view, "result"), "ok")));
        assert_int_equal(json_integer_value(json_object_get(json_object_get(view, "usage"), "wall_ms")), 12);
        assert_null(json_object_get(json_object_get(view, "usage"), "x"));
        assert_non_null(json_object_get(json_object_get(view, "payload"), "x"));
        assert_string_equal(test_text(view, "worker"), w.id);
        json_decref(view);
        json_decref(test_view(&bob, &id, 404));
        json_decref(test_view(&admin, &id, 200));
        json_decref(lease);
        json_decref(ack);
        test_worker_close(&w);
}

static void fails_and_is_tried_again(void **state)
{
        json_t *lease, *view;
        struct id id;

        test_join(&w, &farm, "one", 1, NULL);
        id = test_task(&alice, "{\"type\":\"t\",\"payload\":null,\"attempts\":2}");
        for (int attempt = 1; attempt <= 2; attempt++) {
                lease = next_lease(&w);
                assert_int_equal(json_integer_value(json_object_get(lease, "attempt")), attempt);
                assert_int_equal(test_say(&w, "%s", lease_word(lease, "fail", ",\"error\":{\"code\":\"exit\",\"text\":\"no\",\"exit\":3},\"ready\":true", text, sizeof(text))), 0);
                json_decref(test_heard(&w, "ack"));
                json_decref(lease);
                test_expect_state(&id, attempt == 1 ? "backoff" : "failed");
                test_pass_ms(10 * 60 * 1000);
                assert_int_equal(test_say(&w, "{\"m\":\"heartbeat\",\"load\":0.5}"), w.closed ? -E_MESSAGE : 0);
                if (attempt == 1 && w.closed) {
                        test_worker_close(&w);
                        test_join(&w, &farm, "one", 1, NULL);
                }
        }
        view = test_view(&alice, &id, 200);
        assert_int_equal(json_integer_value(json_object_get(json_object_get(view, "error"), "exit")), 3);
        json_decref(view);
        test_worker_close(&w);
}

static void cancelled_while_it_runs(void **state)
{
        struct test_answer answer = {0};
        json_t *lease, *m;
        struct id id;

        test_join(&w, &farm, "one", 1, NULL);
        id = test_task(&alice, "{\"type\":\"t\",\"payload\":1}");
        lease = next_lease(&w);
        service_task_cancel(service, &bob, &id, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, 404);
        test_answer_done(&answer);
        service_task_cancel(service, &alice, &id, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, 200);
        assert_string_equal(test_text(answer.json, "state"), "cancelled");
        test_answer_done(&answer);
        m = test_heard(&w, "cancel");
        assert_string_equal(test_text(m, "nonce"), test_text(lease, "nonce"));
        json_decref(m);
        /* What it says about it now is late and counts nothing. */
        assert_int_equal(test_say(&w, "%s", lease_word(lease, "result", ",\"result\":1", text, sizeof(text))), 0);
        m = test_heard(&w, "stale");
        assert_non_null(m);
        json_decref(m);
        test_expect_state(&id, "cancelled");
        service_task_cancel(service, &alice, &id, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, 409);
        test_answer_done(&answer);
        json_decref(lease);
        test_worker_close(&w);
}

static void deadlines_run_on_the_clock_that_never_goes_back(void **state)
{
        struct id late, queued;

        test_join(&w, &farm, "one", 1, NULL);
        test_worker_close(&w);
        /* 2026-11-18T11:06:40Z is the test's beginning. */
        late = test_task(&alice, "{\"type\":\"t\",\"payload\":1,\"deadline\":\"2026-11-18T11:07:40Z\"}");
        queued = test_task(&alice, "{\"type\":\"t\",\"payload\":1,\"deadline\":\"2026-11-18T11:08:40Z\"}");
        test_expect_state(&late, "queued");
        /* Set forward by a year: nothing expires. Set back by a year: nothing lives longer. */
        test_unix_ms += INT64_C(365) * 24 * 3600 * 1000;
        test_pass_ms(1000);
        test_expect_state(&late, "queued");
        test_unix_ms -= INT64_C(730) * 24 * 3600 * 1000;
        test_pass_ms(59100);
        test_expect_state(&late, "expired");
        test_expect_state(&queued, "queued");
        test_pass_ms(60000);
        test_expect_state(&queued, "expired");
        test_pass_ms(1000);
        test_expect_state(&late, "expired");
}

static void waits_for_others(void **state)
{
        struct test_answer answer;
        char body[400], id_[ID_TEXT];
        json_t *lease, *view;
        struct id first, id;

        test_join(&w, &farm, "one", 4, NULL);
        test_submit(&alice, "{\"tasks\":[{\"type\":\"t\",\"payload\":1},{\"type\":\"t\",\"payload\":2,\"after\":[\"#0\"]}]}", NULL, &answer);
        assert_int_equal(answer.status, 202);
        view = json_object_get(answer.json, "data");
        assert_int_equal(json_array_size(view), 2);
        assert_int_equal(id_parse("task", test_text(json_array_get(view, 0), "id"), &first), 0);
        assert_int_equal(id_parse("task", test_text(json_array_get(view, 1), "id"), &id), 0);
        test_answer_done(&answer);
        lease = next_lease(&w);
        assert_int_equal(json_integer_value(json_object_get(lease, "payload")), 1);
        test_expect_state(&id, "held");
        test_say(&w, "%s", lease_word(lease, "result", "", text, sizeof(text)));
        json_decref(lease);
        lease = next_lease(&w);
        assert_int_equal(json_integer_value(json_object_get(lease, "payload")), 2);
        json_decref(lease);
        /* One that ended long ago needs no waiting; another's can't be waited for. */
        snprintf(body, sizeof(body), "{\"type\":\"t\",\"payload\":3,\"after\":[\"%s\"]}", id_text("task", &first, id_));
        id = test_task(&alice, body);
        lease = next_lease(&w);
        assert_int_equal(json_integer_value(json_object_get(lease, "payload")), 3);
        json_decref(lease);
        test_submit(&bob, body, NULL, &answer);
        assert_int_equal(answer.status, 422);
        assert_string_equal(test_text(json_array_get(json_object_get(answer.problem, "violations"), 0), "path"), "after[0]");
        test_answer_done(&answer);
        test_worker_close(&w);
}

static void impossible_work_is_refused_with_its_reasons(void **state)
{
        struct test_answer answer;

        test_join(&w, &farm, "one", 1, NULL);
        test_submit(&alice, "{\"type\":\"t\",\"payload\":1,\"needs\":{\"memory\":\"200GiB\",\"device\":\"gpu\"}}", NULL, &answer);
        assert_int_equal(answer.status, 422);
        assert_string_equal(answer.code, "task.impossible");
        assert_true(json_array_size(json_object_get(answer.problem, "unmet")) > 0);
        test_answer_done(&answer);
        test_submit(&alice, "{\"type\":\"t\",\"payload\":1,\"needs\":{\"memory\":\"200GiB\",\"device\":\"gpu\"},\"wait_for_workers\":true}", NULL, &answer);
        assert_int_equal(answer.status, 202);
        test_answer_done(&answer);
        test_worker_close(&w);
}

static void lists_and_waits(void **state)
{
        struct service_list list = {.limit = 3};
        struct test_answer answer = {0};
        struct service_wait *wait;
        struct id ids[7], id;
        json_t *lease;
        size_t seen = 0;

        for (int i = 0; i < 7; i++)
                ids[i] = test_task(&alice, i == 3 ? "{\"type\":\"u\",\"payload\":1,\"wait_for_workers\":true}" : "{\"type\":\"t\",\"payload\":1,\"wait_for_workers\":true}");
        for (;;) {
                json_t *data;

                service_tasks(service, &alice, &list, test_answer_fn, &answer);
                test_until(&answer.came);
                assert_int_equal(answer.status, 200);
                data = json_object_get(answer.json, "data");
                for (size_t i = 0; i < json_array_size(data); i++, seen++) {
                        assert_int_equal(id_parse("task", test_text(json_array_get(data, i), "id"), &id), 0);
                        assert_true(id_equal(&id, &ids[6 - seen]));
                        assert_null(json_object_get(json_array_get(data, i), "payload"));
                }
                if (!json_is_true(json_object_get(answer.json, "has_more")))
                        break;
                assert_int_equal(id_parse("task", test_text(answer.json, "next"), &list.after), 0);
                test_answer_done(&answer);
        }
        test_answer_done(&answer);
        assert_int_equal(seen, 7);
        list = (struct service_list){.limit = 100, .type = "u", .state = "queued"};
        service_tasks(service, &alice, &list, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(json_array_size(json_object_get(answer.json, "data")), 1);
        test_answer_done(&answer);
        list.type = NULL;
        service_tasks(service, &bob, &list, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(json_array_size(json_object_get(answer.json, "data")), 0);
        test_answer_done(&answer);
        list.state = "nonsense";
        service_tasks(service, &alice, &list, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, 400);
        test_answer_done(&answer);
        /* A wait ends with the task, or with its time, or by whoever waits going away. */
        wait = service_task_wait(service, &alice, &ids[0], 5000, test_answer_fn, &answer);
        assert_non_null(wait);
        service_wait_cancel(wait);
        wait = service_task_wait(service, &alice, &ids[1], 5000, test_answer_fn, &answer);
        test_pass_ms(5001);
        assert_true(answer.came);
        assert_string_equal(test_text(answer.json, "state"), "queued");
        test_answer_done(&answer);
        assert_non_null(service_task_wait(service, &alice, &ids[0], 5000000, test_answer_fn, &answer));
        test_join(&w, &farm, "one", 1, NULL);
        lease = next_lease(&w);
        assert_false(answer.came);
        test_say(&w, "%s", lease_word(lease, "result", ",\"result\":7", text, sizeof(text)));
        json_decref(lease);
        test_until(&answer.came);
        assert_int_equal(json_integer_value(json_object_get(answer.json, "result")), 7);
        test_answer_done(&answer);
        /* One that ended already. */
        assert_non_null(service_task_wait(service, &alice, &ids[0], 5000000, test_answer_fn, &answer));
        test_until(&answer.came);
        assert_string_equal(test_text(answer.json, "state"), "done");
        test_answer_done(&answer);
        test_worker_close(&w);
}

static void changes_and_reasons(void **state)
{
        struct test_answer answer = {0};
        json_t *body = json_pack("{s:s, s:n}", "priority", "urgent", "deadline");
        struct id id = test_task(&alice, "{\"type\":\"t\",\"payload\":1,\"wait_for_workers\":true,\"deadline\":\"2026-11-18T11:07:40Z\"}");

        service_task_change(service, &alice, &id, body, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, 200);
        assert_string_equal(test_text(answer.json, "priority"), "urgent");
        assert_null(json_object_get(answer.json, "deadline"));
        test_answer_done(&answer);
        json_object_set_new(body, "type", json_string("u"));
        service_task_change(service, &alice, &id, body, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, 422);
        test_answer_done(&answer);
        json_decref(body);
        service_task_why(service, &alice, &id, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, 200);
        assert_string_equal(test_text(answer.json, "text"), "no worker that is known could run it");
        test_answer_done(&answer);
        service_task_why(service, &bob, &id, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, 404);
        test_answer_done(&answer);
}

static bool log_is_there(const struct account_caller *caller, const struct id *id)
{
        char path[300], account[ID_TEXT], task[ID_TEXT];

        snprintf(path, sizeof(path), "%s/logs/%s/%s.1.log", folder, id_text("account", &caller->account, account), id_text("task", id, task));
        return access(path, F_OK) == 0;
}

static void what_ended_long_ago_goes(void **state)
{
        struct id ended, waiting;
        json_t *lease, *ack;

        options.keep_ms = 3600000;
        test_close();
        test_open();
        test_join(&w, &farm, "one", 1, NULL);
        ended = test_task(&alice, "{\"type\":\"t\",\"payload\":{}}");
        lease = next_lease(&w);
        assert_int_equal(test_say(&w, "%s", lease_word(lease, "log", ",\"offset\":0,\"text\":\"hello\"", text, sizeof(text))), 0);
        assert_int_equal(test_say(&w, "%s", lease_word(lease, "result", ",\"result\":1", text, sizeof(text))), 0);
        ack = test_heard(&w, "ack");
        waiting = test_task(&alice, "{\"type\":\"t\",\"payload\":{}}");
        test_settle();
        assert_true(log_is_there(&alice, &ended));
        test_pass_ms(1800000);
        json_decref(test_view(&alice, &ended, 200));
        assert_true(log_is_there(&alice, &ended));
        test_unix_ms += INT64_C(86400000) * 36500; /* files bear the real time, whatever it is */
        /* Their folder is looked through by a thread of its own: as long as that takes. */
        for (int i = 0; i < 60000 && log_is_there(&alice, &ended); i++) {
                if (i < 20)
                        test_pass_ms(61000);
                test_settle();
                (void)poll(NULL, 0, i < 20 ? 0 : 1);
        }
        json_decref(test_view(&alice, &ended, 404));
        assert_false(log_is_there(&alice, &ended));
        json_decref(test_view(&alice, &waiting, 200));
        json_decref(lease);
        json_decref(ack);
        test_worker_close(&w);
        options.keep_ms = 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(done_and_seen, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(fails_and_is_tried_again, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(cancelled_while_it_runs, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(deadlines_run_on_the_clock_that_never_goes_back, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(waits_for_others, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(impossible_work_is_refused_with_its_reasons, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(lists_and_waits, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(changes_and_reasons, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(what_ended_long_ago_goes, test_setup, test_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
