/* test-service-figures.c: what the pool tells of its past and of its workers' machines. */
#include "service/test-service.h"

#include <string.h>

#define NODE_DEVICES 64

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
        assert_true(sum_of(series, "requests") == 0 && sum_of(series, "requests.queued") == 0);
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

static struct test_worker one, other;

static json_t *node_of(const struct account_caller *caller, const char *id_, int status)
{
        struct test_answer answer = {0};
        struct id id;
        json_t *json;

        assert_int_equal(id_parse("worker", id_, &id), 0);
        service_worker_node(service, caller, &id, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_int_equal(answer.status, status);
        json = json_incref(answer.json);
        test_answer_done(&answer);
        return json;
}

/* Events of that type that the caller sees after the cursor; the last one's data. */
static unsigned int events(const struct account_caller *caller, const char *type, uint64_t *cursor, json_t **ret_data)
{
        struct service_event event;
        unsigned int count = 0;
        int r;

        while ((r = service_event_next(service, caller, NULL, cursor, &event)) != -EAGAIN || *cursor < service_event_last(service)) {
                json_t *json;

                if (r < 0 || strcmp(event.type, type) != 0)
                        continue;
                json = json_loadb(event.json, event.bytes, 0, NULL);
                count++;
                if (ret_data) {
                        json_decref(*ret_data);
                        *ret_data = json_incref(json_object_get(json, "data"));
                }
                json_decref(json);
        }
        return count;
}

static void a_nodes_report_is_kept_and_told(void **state)
{
        static const char report[] = "{\"m\":\"node\",\"devices\":[{\"name\":\"d\",\"kind\":\"gpu\",\"memory_used_bytes\":%d}]}";
        uint64_t cursor, mine;
        json_t *node, *data = NULL;

        test_join(&one, &farm, "one", 1, NULL);
        cursor = mine = service_event_last(service);
        node = node_of(&admin, one.id, 200);
        assert_true(json_is_null(json_object_get(node, "node")) && json_is_null(json_object_get(node, "seen")));
        json_decref(node);
        json_decref(node_of(&alice, one.id, 404));
        /* Three at once: the last is kept, the first is told at once, then at most every 2 s, and what is the same is not told. */
        for (int i = 1; i <= 3; i++)
                assert_int_equal(test_say(&one, report, i), 0);
        test_settle();
        for (int i = 4; i <= 6; i++)
                assert_int_equal(test_say(&one, report, i), 0);
        test_settle();
        assert_int_equal(events(&admin, "worker.node", &cursor, &data), 1);
        node = node_of(&admin, one.id, 200);
        assert_int_equal(json_integer_value(json_object_get(json_array_get(json_object_get(json_object_get(node, "node"), "devices"), 0), "memory_used_bytes")), 6);
        json_decref(node);
        test_pass_ms(2000);
        assert_int_equal(events(&admin, "worker.node", &cursor, &data), 1);
        assert_int_equal(json_integer_value(json_object_get(json_array_get(json_object_get(json_object_get(data, "node"), "devices"), 0), "memory_used_bytes")), 6);
        assert_string_equal(test_text(data, "worker"), one.id);
        test_pass_ms(4000);
        assert_int_equal(test_say(&one, report, 6), 0);
        test_pass_ms(4000);
        assert_int_equal(events(&admin, "worker.node", &cursor, NULL), 0);
        /* Who may not see workers is told nothing; its own account is. */
        cursor = mine;
        assert_int_equal(events(&alice, "worker.node", &cursor, NULL), 0);
        cursor = mine;
        assert_int_equal(events(&farm, "worker.node", &cursor, NULL), 2);
        json_decref(data);
        test_worker_close(&one);
}

static void who_sees_all_tasks_sees_no_workers_by_that(void **state)
{
        struct account_caller tasks_only = admin;
        uint64_t cursor;

        tasks_only.scopes = UINT64_C(1) << RIGHT_TASK_READ | UINT64_C(1) << RIGHT_TASK_READ_ALL;
        cursor = service_event_last(service);
        test_join(&one, &farm, "one", 1, NULL);
        assert_int_equal(test_say(&one, "{\"m\":\"node\"}"), 0);
        test_settle();
        assert_int_equal(events(&tasks_only, "worker.node", &cursor, NULL), 0);
        cursor = 0;
        assert_int_equal(events(&tasks_only, "worker.state", &cursor, NULL), 0);
        cursor = 0;
        assert_true(events(&admin, "worker.state", &cursor, NULL) > 0);
        test_worker_close(&one);
}

static void reports_that_are_too_many_or_wrong(void **state)
{
        test_join(&one, &farm, "one", 1, NULL);
        test_join(&other, &farm, "other", 1, NULL);
        /* A flood is dropped, and costs the one who sends it nothing else. */
        for (int i = 0; i < 1000; i++)
                assert_int_equal(test_say(&one, "{\"m\":\"node\",\"clients_left_out\":%d}", i), 0);
        assert_int_equal(test_say(&one, "{\"m\":\"heartbeat\"}"), 0);
        assert_false(one.closed);
        /* What is wrong ends its connection, and that one's only; what was known stays. */
        test_pass_ms(1000);
        assert_int_equal(test_say(&other, "{\"m\":\"node\",\"clients_left_out\":7}"), 0);
        assert_int_equal(test_say(&other, "{\"m\":\"node\",\"devices\":[{\"memory_used_bytes\":-1}]}"), -E_MESSAGE);
        assert_true(other.closed);
        assert_false(one.closed);
        json_decref(node_of(&admin, other.id, 200));
        test_worker_close(&one);
        test_worker_close(&other);
}

static void a_snapshot_holds_reports(void **state)
{
        struct test_answer answer = {0};
        const json_t *worker;

        test_join(&one, &farm, "one", 1, NULL);
        assert_int_equal(test_say(&one, "{\"m\":\"node\",\"host\":{\"cpus\":2}}"), 0);
        service_snapshot(service, &admin, test_answer_fn, &answer);
        test_until(&answer.came);
        worker = json_array_get(json_object_get(json_object_get(answer.json, "data"), "workers_list"), 0);
        assert_int_equal(json_integer_value(json_object_get(json_object_get(json_object_get(worker, "node"), "host"), "cpus")), 2);
        assert_int_equal(json_integer_value(json_object_get(json_object_get(answer.json, "data"), "nodes_left_out")), 0);
        test_answer_done(&answer);
        service_workers(service, &admin, &(struct service_list){.limit = 10}, test_answer_fn, &answer);
        test_until(&answer.came);
        assert_null(json_object_get(json_array_get(json_object_get(answer.json, "data"), 0), "node"));
        test_answer_done(&answer);
        test_worker_close(&one);
}

/* A thousand workers report at once: all of it is told in the end, none sooner than the others' turns and the bytes a second allow. */
static void many_reports_are_told_one_after_the_other(void **state)
{
        static struct test_worker many[200];
        json_t *report = json_object(), *devices = json_array();
        char *text;
        uint64_t cursor;
        unsigned int told, all;
        int seconds = 0;

        for (int i = 0; i < NODE_DEVICES; i++)
                json_array_append_new(devices, json_pack("{s:s, s:s}", "name", "a device", "kind", "gpu"));
        json_object_set_new(report, "m", json_string("node"));
        json_object_set_new(report, "devices", devices);
        text = json_dumps(report, JSON_COMPACT);
        for (size_t i = 0; i < 200; i++)
                test_join(&many[i], &farm, "many", 1, NULL);
        cursor = service_event_last(service);
        for (size_t i = 0; i < 200; i++)
                assert_int_equal(test_say(&many[i], "%s", text), 0);
        test_settle();
        told = all = events(&admin, "worker.node", &cursor, NULL);
        assert_in_range(told, 1, 100); /* a report is some 19 kB: 1 MiB at once */
        while (all < 200 && seconds++ < 100) {
                test_pass_ms(1000);
                told = events(&admin, "worker.node", &cursor, NULL);
                assert_in_range(told, 0, 30);
                all += told;
        }
        assert_int_equal(all, 200);
        free(text);
        json_decref(report);
        for (size_t i = 0; i < 200; i++)
                test_worker_close(&many[i]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(history_tells_what_happened, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(a_nodes_report_is_kept_and_told, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(who_sees_all_tasks_sees_no_workers_by_that, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(reports_that_are_too_many_or_wrong, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(a_snapshot_holds_reports, test_setup, test_teardown),
                cmocka_unit_test_setup_teardown(many_reports_are_told_one_after_the_other, test_setup, test_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
