/* test-core-view.c: the answers to "why is it queued" and "why is it idle", statistics; and input that makes no sense, which changes nothing. */
#include "pool/test-core.h"

static struct core_worker_view worker_view(uint32_t worker)
{
        struct core_worker_view view;

        core_worker_view(core, now, worker, &view);
        return view;
}

static void expect_idle(uint32_t worker, const char *part)
{
        struct core_worker_view view = worker_view(worker);

        if (!strstr(view.why_idle, part))
                fail_msg("\"%s\" lacks \"%s\"", view.why_idle, part);
}

static void test_why_queued(void **state)
{
        uint32_t worker, first, second, third;
        struct core_task_view view;

        (void)state;
        begin();
        first = submit(1);
        view = view_of(first);
        assert_int_equal(view.fitting, 0);
        assert_int_equal(view.why.error, -ENOTSUP);
        assert_string_equal(view.why.text, "no worker is known yet");
        worker = join(1, 1);
        second = submit(2);
        third = submit(3);
        view = view_of(third);
        assert_int_equal(view.position, 2);
        assert_int_equal(view.fitting, 1);
        assert_int_equal(view.fitting_ready, 0);
        assert_int_equal(view.why.error, 0);
        assert_true(view.eta_ms == CORE_NEVER); /* nothing was measured */
        ready(worker, 1);
        now += 5 * SECOND;
        result(first);
        assert_int_equal(view_of(second).position, 0);
        assert_int_equal(view_of(third).position, 1);
        assert_in_range(view_of(third).eta_ms, 9 * SECOND, 11 * SECOND);
}

static void test_position_counts_other_accounts_by_turns(void **state)
{
        struct core_task_spec spec = task_spec(1000, 2);
        uint32_t task;

        (void)state;
        begin();
        for (uint32_t i = 0; i < 100; i++)
                submit(1 + i);
        task = submit_spec(&spec);
        assert_int_equal(view_of(task).position, 0); /* its turn comes first or second, not 101st */
        spec.id = id_of('t', 1001);
        task = submit_spec(&spec);
        assert_int_equal(view_of(task).position, 2);
        spec.id = id_of('t', 1002);
        spec.band = CORE_LOW;
        task = submit_spec(&spec);
        assert_int_equal(view_of(task).position, 102);
}

static void test_why_idle(void **state)
{
        struct core_task_spec spec = task_spec(1, 1);
        struct id account = id_of('a', 1);
        uint32_t worker, task;

        (void)state;
        begin();
        worker = join(1, 2);
        expect_idle(worker, "has not said that it is ready");
        ready(worker, 1);
        expect_idle(worker, "no task is queued");
        snprintf(spec.needs.type, CORE_TEXT, "other");
        submit_spec(&spec);
        expect_idle(worker, "1 tasks are queued, and it fits the needs of none");
        assert_int_equal(core_account(core, &account, 100, 1), 0);
        task = submit(2);
        submit(3);
        ready(worker, 1);
        assert_int_equal(worker_view(worker).fitting, 1);
        expect_idle(worker, "at their cap of leases");
        assert_int_equal(core_worker_drain(core, now, worker, true), 0);
        hear();
        expect_idle(worker, "draining");
        assert_int_equal(core_worker_drain(core, now, worker, false), 0);
        core_worker_silent(core, now, worker);
        hear();
        expect_idle(worker, "not heard of");
        core_heartbeat(core, now, worker);
        result(task);
        ready(worker, 2);
        assert_int_equal(worker_view(worker).done, 1);
}

static void test_statistics(void **state)
{
        struct core_statistics s;
        uint32_t worker, task;

        (void)state;
        begin();
        worker = join(1, 3);
        join(2, 4);
        ready(worker, 3);
        task = submit(1);
        submit(2);
        result(task);
        core_statistics(core, &s);
        assert_int_equal(s.submitted, 2);
        assert_int_equal(s.leases, 2);
        assert_int_equal(s.tasks[CORE_DONE], 1);
        assert_int_equal(s.tasks[CORE_LEASED], 1);
        assert_int_equal(s.tasks[CORE_QUEUED], 0);
        assert_int_equal(s.workers[CORE_ALIVE], 2);
        assert_int_equal(s.slots, 7);
        assert_int_equal(s.ready, 1);
}

/* --- bad input --- */

static void refused(const struct core_task_spec *spec, int error, const char *text)
{
        uint32_t task = 12345;

        assert_int_equal(core_submit(core, now, spec, NULL, &task, &refusal), error);
        assert_int_equal(refusal.error, error);
        if (!strstr(refusal.text, text))
                fail_msg("\"%s\" lacks \"%s\"", refusal.text, text);
        assert_int_equal(task, 12345);
        hear();
        assert_int_equal(seen_n, 0);
        assert_int_equal(core->tasks.live, 0);
}

static void test_bad_tasks(void **state)
{
        struct core_task_spec spec;

        (void)state;
        begin();
        spec = task_spec(1, 1);
        memset(spec.needs.type, 'x', sizeof(spec.needs.type));
        refused(&spec, -EINVAL, "needs.type: not plain text");
        spec = task_spec(1, 1);
        spec.needs.type[0] = '\0';
        refused(&spec, -EINVAL, "needs.type: missing");
        spec = task_spec(1, 1);
        spec.needs.type[1] = '\n';
        refused(&spec, -EINVAL, "needs.type");
        spec = task_spec(1, 1);
        memset(spec.needs.model, 'x', sizeof(spec.needs.model));
        refused(&spec, -EINVAL, "needs.model");
        spec = task_spec(1, 1);
        memset(spec.needs.device, 'x', sizeof(spec.needs.device));
        refused(&spec, -EINVAL, "needs.device");
        spec = task_spec(1, 1);
        spec.needs.label_count = UINT32_MAX;
        refused(&spec, -EINVAL, "needs.labels: 4294967295 labels");
        spec = task_spec(1, 1);
        spec.needs.label_count = 1;
        refused(&spec, -EINVAL, "needs.labels[0]: a name must not be empty");
        memset(spec.needs.labels[0].value, 'x', CORE_TEXT);
        spec.needs.labels[0].name[0] = 'n';
        refused(&spec, -EINVAL, "needs.labels[0]: not plain text");
        spec = task_spec(1, 1);
        spec.band = 17;
        refused(&spec, -EINVAL, "priority");
        spec = task_spec(1, 1);
        spec.deadline = now;
        refused(&spec, -EINVAL, "deadline");
        spec = task_spec(1, 1);
        spec.not_before = spec.deadline = now + 5;
        refused(&spec, -EINVAL, "not_before");
        spec = task_spec(1, 1);
        spec.attempts = 101;
        refused(&spec, -EINVAL, "attempts");
        spec = task_spec(1, 1);
        spec.after_count = UINT32_MAX;
        refused(&spec, -EINVAL, "after");
        spec = task_spec(1, 1);
        spec.id = (struct id){0};
        refused(&spec, -EINVAL, "id: missing");
        spec = task_spec(1, 1);
        spec.account = (struct id){0};
        refused(&spec, -EINVAL, "account: missing");
}

static void test_twice_and_too_many(void **state)
{
        struct core_settings settings = core_default_settings;
        struct core_task_spec spec = task_spec(1, 1);
        uint32_t task;

        (void)state;
        settings.max_tasks = 3;
        settings.max_tasks_per_account = 2;
        begin_with(&settings);
        submit(1);
        assert_int_equal(core_submit(core, now, &spec, NULL, &task, &refusal), -EEXIST);
        submit(2);
        spec.id = id_of('t', 3);
        assert_int_equal(core_submit(core, now, &spec, NULL, &task, &refusal), -E_QUOTA);
        assert_non_null(strstr(refusal.text, "account"));
        spec.account = id_of('a', 2);
        submit_spec(&spec);
        spec.id = id_of('t', 4);
        assert_int_equal(core_submit(core, now, &spec, NULL, &task, &refusal), -E_QUOTA);
        assert_non_null(strstr(refusal.text, "the pool"));
        spec = task_spec(5, 2);
        spec.key = id_of('k', 1);
        assert_int_equal(core_cancel(core, now, 0), 0);
        submit_spec(&spec);
        assert_int_equal(core_cancel(core, now, 1), 0);
        spec = task_spec(6, 1);
        spec.key = id_of('k', 1);
        assert_int_equal(core_submit(core, now, &spec, NULL, &task, &refusal), -EINVAL);
        assert_string_equal(refusal.text, "key: is another account's");
        hear();
}

static void test_bad_workers(void **state)
{
        struct core_worker_spec spec;
        char types[2][CORE_TEXT];
        uint32_t worker;

        (void)state;
        begin();
        spec = worker_spec(1, 0);
        assert_int_equal(core_worker_join(core, now, &spec, NULL, &worker), -EINVAL);
        spec = worker_spec(1, UINT32_MAX);
        assert_int_equal(core_worker_join(core, now, &spec, NULL, &worker), -EINVAL);
        spec = worker_spec(1, 1);
        spec.id = (struct id){0};
        assert_int_equal(core_worker_join(core, now, &spec, NULL, &worker), -EINVAL);
        spec = worker_spec(1, 1);
        spec.type_count = UINT32_MAX;
        assert_int_equal(core_worker_join(core, now, &spec, NULL, &worker), -EINVAL);
        spec = worker_spec(1, 1);
        spec.model_count = 3; /* and no list */
        assert_int_equal(core_worker_join(core, now, &spec, NULL, &worker), -EINVAL);
        spec = worker_spec(1, 1);
        spec.label_count = CORE_LABELS + 1;
        assert_int_equal(core_worker_join(core, now, &spec, NULL, &worker), -EINVAL);
        spec = worker_spec(1, 1);
        spec.private_pool = true; /* and nobody's */
        assert_int_equal(core_worker_join(core, now, &spec, NULL, &worker), -EINVAL);
        spec = worker_spec(1, 1);
        memset(types, 'x', sizeof(types));
        spec.types = (const char (*)[CORE_TEXT])types;
        spec.type_count = 2; /* text without an end */
        assert_int_equal(core_worker_join(core, now, &spec, NULL, &worker), -EINVAL);
        hear();
        assert_int_equal(seen_n, 0);
        assert_int_equal(core->workers.live, 0);
        core_worker_models(core, now, 5, NULL, 3);
        core_worker_silent(core, now, 5);
        core_forget(core, 5);
        assert_int_equal(view_of(5).state, 0);
        assert_int_equal(worker_view(5).slots, 0);
        hear();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_why_queued, end_core),
                cmocka_unit_test_teardown(test_position_counts_other_accounts_by_turns, end_core),
                cmocka_unit_test_teardown(test_why_idle, end_core),
                cmocka_unit_test_teardown(test_statistics, end_core),
                cmocka_unit_test_teardown(test_bad_tasks, end_core),
                cmocka_unit_test_teardown(test_twice_and_too_many, end_core),
                cmocka_unit_test_teardown(test_bad_workers, end_core),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
