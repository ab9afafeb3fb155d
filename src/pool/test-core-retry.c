/* test-core-retry.c: what happens after a failure: back-off, attempts, other workers, the dead letter; and tasks that wait for others. */
#include "pool/test-core.h"

static void test_back_off_doubles_with_chance(void **state)
{
        struct core_settings settings = core_default_settings;
        struct core_task_spec spec = task_spec(1, 1);
        uint32_t worker, task;

        (void)state;
        settings.poison_workers = 8;
        settings.backoff_max_ms = 3000;
        begin_with(&settings);
        worker = join(1, 1);
        spec.attempts = 5;
        task = submit_spec(&spec);
        for (uint32_t i = 0; i < 4; i++) {
                uint64_t nominal = i < 2 ? 1000U << i : 3000, retry_at;

                ready(worker, 1);
                assert_int_equal(state_of(task), CORE_LEASED);
                fails(task, true, true);
                expect_state(task, CORE_BACKOFF, CORE_BECAUSE_FAILED);
                retry_at = expect(CORE_STATE, task)->retry_at;
                assert_in_range(retry_at - now, nominal * 3 / 4, nominal * 5 / 4);
                wait_until(retry_at - 1);
                assert_int_equal(state_of(task), CORE_BACKOFF);
                wait_for(1);
                expect_state(task, CORE_QUEUED, CORE_BECAUSE_READY);
        }
        ready(worker, 1);
        fails(task, true, true);
        expect_state(task, CORE_FAILED, CORE_BECAUSE_FAILED);
}

static void test_not_retryable_fails_at_once(void **state)
{
        uint32_t task;

        (void)state;
        begin();
        ready(join(1, 1), 1);
        task = submit(1);
        fails(task, false, true);
        expect_state(task, CORE_FAILED, CORE_BECAUSE_FAILED);
}

static void test_another_worker_is_preferred_after_a_failure(void **state)
{
        uint32_t one, two, task;

        (void)state;
        begin();
        one = join(1, 1);
        two = join(2, 1);
        ready(one, 1);
        task = submit(1);
        fails(task, true, true);
        ready(one, 1);
        wait_for(100);
        ready(two, 1); /* ready for less long: it would come second */
        wait_for(2 * SECOND);
        assert_int_equal(worker_of(task), two);
}

static void test_a_worker_takes_another_task_first(void **state)
{
        uint32_t worker, failed, other;

        (void)state;
        begin();
        worker = join(1, 1);
        ready(worker, 1);
        failed = submit(1);
        fails(failed, true, true);
        other = submit(2);
        wait_for(2 * SECOND);
        assert_int_equal(state_of(failed), CORE_QUEUED);
        ready(worker, 1);
        assert_int_equal(state_of(other), CORE_LEASED);
        result(other);
        ready(worker, 1); /* nobody else: it gets it after all */
        assert_int_equal(state_of(failed), CORE_LEASED);
}

static void test_poison_ends_in_the_dead_letter(void **state)
{
        struct core_task_spec spec = task_spec(1, 1);
        uint32_t task;

        (void)state;
        begin();
        spec.attempts = 100;
        task = submit_spec(&spec);
        for (uint32_t i = 1; i <= 3; i++) {
                uint32_t worker = join(i, 1);

                ready(worker, 1);
                assert_int_equal(worker_of(task), worker);
                if (i == 2) { /* twice on the same one counts once */
                        fails(task, true, true);
                        wait_for(3 * SECOND);
                        ready(worker, 1);
                }
                fails(task, true, true);
                if (i < 3)
                        wait_for(20 * SECOND);
        }
        expect_state(task, CORE_DEAD, CORE_BECAUSE_POISON);
}

static void test_who_does_not_blame_the_task_poisons_nothing(void **state)
{
        struct core_task_spec spec = task_spec(1, 1);
        uint32_t task;

        (void)state;
        begin();
        spec.attempts = 6;
        task = submit_spec(&spec);
        for (uint32_t i = 1; i <= 5; i++) {
                ready(join(i, 1), 1);
                fails(task, true, false);
                expect_state(task, CORE_BACKOFF, CORE_BECAUSE_FAILED);
                wait_for(2 * MINUTE);
        }
}

/* --- waiting for others --- */

static uint32_t submit_after(uint32_t number, uint32_t first, uint32_t second)
{
        struct core_task_spec spec = task_spec(number, 1);
        struct id after[2] = {id_of('t', first), id_of('t', second)};

        spec.after = after;
        spec.after_count = second ? 2 : 1;
        return submit_spec(&spec);
}

static void test_waits_until_all_are_done(void **state)
{
        uint32_t worker, one, two, last;
        struct id waits_for;

        (void)state;
        begin();
        worker = join(1, 4);
        one = submit(1);
        two = submit(2);
        last = submit_after(3, 1, 2);
        expect_state(last, CORE_HELD, CORE_BECAUSE_SUBMITTED);
        ready(worker, 3);
        assert_int_equal(state_of(last), CORE_HELD);
        result(one);
        assert_int_equal(state_of(last), CORE_HELD);
        waits_for = view_of(last).waits_for;
        assert_true(id_equal(&waits_for, &TASK(core, two)->id));
        result(two);
        expect_state(last, CORE_QUEUED, CORE_BECAUSE_READY);
        assert_non_null(find_action(CORE_LEASE, last));
}

static void test_a_bad_end_cancels_what_waits(void **state)
{
        uint32_t one, two, three, other;

        (void)state;
        begin();
        one = submit(1);
        two = submit_after(2, 1, 0);
        three = submit_after(3, 2, 1);
        other = submit(4);
        assert_int_equal(core_cancel(core, now, one), 0);
        hear();
        expect_state(two, CORE_CANCELLED, CORE_BECAUSE_DEPENDENCY);
        expect_state(three, CORE_CANCELLED, CORE_BECAUSE_DEPENDENCY);
        assert_int_equal(state_of(other), CORE_QUEUED);
        assert_int_equal(core->edges.live, 0);
}

static void test_unknown_dependencies_are_refused(void **state)
{
        struct core_task_spec spec = task_spec(1, 1);
        struct id after[2] = {id_of('t', 1), id_of('t', 77)};
        uint32_t task;

        (void)state;
        begin();
        spec.after = after;
        spec.after_count = 1; /* itself */
        assert_int_equal(core_submit(core, now, &spec, NULL, &task, &refusal), -ENOENT);
        submit(1);
        spec.id = id_of('t', 2);
        spec.after_count = 2;
        assert_int_equal(core_submit(core, now, &spec, NULL, &task, &refusal), -ENOENT);
        assert_string_equal(refusal.text, "after[1]: no such unfinished task");
        hear();
        assert_int_equal(core->edges.live, 0);
}

static void test_not_before_and_dependency(void **state)
{
        struct core_task_spec spec = task_spec(2, 1);
        struct id after = id_of('t', 1);
        uint32_t one, two;

        (void)state;
        begin();
        one = submit(1);
        spec.after = &after;
        spec.after_count = 1;
        spec.not_before = now + MINUTE;
        two = submit_spec(&spec);
        ready(join(1, 1), 1);
        result(one);
        assert_int_equal(state_of(two), CORE_HELD);
        wait_for(MINUTE);
        assert_int_equal(state_of(two), CORE_QUEUED);
}

static void test_a_long_chain_ends_without_recursion(void **state)
{
        (void)state;
        begin();
        submit(1);
        for (uint32_t i = 2; i <= 2000; i++) {
                struct core_task_spec spec = task_spec(i, 1);
                struct id after = id_of('t', i - 1);
                uint32_t task;

                spec.after = &after;
                spec.after_count = 1;
                assert_int_equal(core_submit(core, now, &spec, NULL, &task, &refusal), 0);
        }
        hear();
        assert_int_equal(core_cancel(core, now, 0), 0);
        hear();
        assert_int_equal(core->tasks.live, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_back_off_doubles_with_chance, end_core),
                cmocka_unit_test_teardown(test_not_retryable_fails_at_once, end_core),
                cmocka_unit_test_teardown(test_another_worker_is_preferred_after_a_failure, end_core),
                cmocka_unit_test_teardown(test_a_worker_takes_another_task_first, end_core),
                cmocka_unit_test_teardown(test_poison_ends_in_the_dead_letter, end_core),
                cmocka_unit_test_teardown(test_who_does_not_blame_the_task_poisons_nothing, end_core),
                cmocka_unit_test_teardown(test_waits_until_all_are_done, end_core),
                cmocka_unit_test_teardown(test_a_bad_end_cancels_what_waits, end_core),
                cmocka_unit_test_teardown(test_unknown_dependencies_are_refused, end_core),
                cmocka_unit_test_teardown(test_not_before_and_dependency, end_core),
                cmocka_unit_test_teardown(test_a_long_chain_ends_without_recursion, end_core),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
