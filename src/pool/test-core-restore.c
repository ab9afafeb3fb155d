/* test-core-restore.c: tasks from the store after a restart, and queues that go to another server. */
#include "pool/test-core.h"

static uint32_t restore(uint32_t number, const struct core_restored *was, int expected)
{
        struct core_task_spec spec = task_spec(number, 1);
        uint32_t task = NONE;

        assert_int_equal(core_restore(core, now, &spec, was, NULL, &task), expected);
        hear();
        return task;
}

static void test_states_come_back(void **state)
{
        uint32_t queued, backoff, worker;

        (void)state;
        begin();
        queued = restore(1, &(struct core_restored){.state = CORE_QUEUED, .attempt = 1}, 0);
        assert_int_equal(state_of(queued), CORE_QUEUED);
        backoff = restore(2, &(struct core_restored){.state = CORE_BACKOFF, .attempt = 1, .retry_at = now + MINUTE}, 0);
        assert_int_equal(state_of(backoff), CORE_BACKOFF);
        worker = join(1, 1);
        ready(worker, 1);
        assert_int_equal(expect(CORE_LEASE, queued)->attempt, 2);
        wait_for(MINUTE);
        assert_int_equal(state_of(backoff), CORE_QUEUED);
}

static void test_a_lease_is_claimed_by_its_worker(void **state)
{
        struct core_restored was = {.state = CORE_LEASED, .attempt = 1, .nonce = 4711, .worker = id_of('w', 1)};
        struct id id = id_of('t', 1);
        uint32_t task, worker, other;

        (void)state;
        begin();
        task = restore(1, &was, 0);
        assert_int_equal(state_of(task), CORE_LEASED);
        other = join(2, 1);
        worker = join(1, 1);
        assert_int_equal(core_resume(core, now, other, &id, 4711), CORE_STALE);
        assert_int_equal(core_resume(core, now, worker, &id, 4712), CORE_STALE);
        assert_int_equal(core_result(core, now, worker, &id, 4711, 0), CORE_STALE); /* claims first */
        assert_int_equal(core_resume(core, now, worker, &id, 4711), CORE_OK);
        assert_int_equal(core_resume(core, now, worker, &id, 4711), CORE_OK); /* twice is once */
        hear();
        ready(worker, 1);
        submit(2);
        assert_null(find_action(CORE_LEASE, NONE)); /* its one slot is taken by what it resumed */
        result(task);
        expect_state(task, CORE_DONE, CORE_BECAUSE_RESULT);
}

static void test_a_lease_that_nobody_claims_is_lost(void **state)
{
        struct core_restored was = {.state = CORE_LEASED, .attempt = 1, .nonce = 4711, .worker = id_of('w', 1)};
        uint32_t task;

        (void)state;
        begin();
        task = restore(1, &was, 0);
        wait_for(core_default_settings.lease_ms - 1);
        assert_int_equal(state_of(task), CORE_LEASED);
        wait_for(1);
        expect_state(task, CORE_BACKOFF, CORE_BECAUSE_LEASE_LOST);
}

static void test_blame_survives(void **state)
{
        struct core_restored was = {.state = CORE_QUEUED, .attempt = 2, .blamed = {id_of('w', 1), id_of('w', 2)}, .blamed_count = 2};
        uint32_t task;

        (void)state;
        begin();
        task = restore(1, &was, 0);
        ready(join(3, 1), 1);
        fails(task, true, true);
        expect_state(task, CORE_DEAD, CORE_BECAUSE_POISON);
}

static void test_dependencies(void **state)
{
        struct core_task_spec spec = task_spec(3, 1);
        struct id after[2] = {id_of('t', 1), id_of('t', 2)};
        uint32_t one, task;

        (void)state;
        begin();
        one = restore(1, &(struct core_restored){.state = CORE_QUEUED}, 0);
        spec.after = after;
        spec.after_count = 2; /* 2 is done, so the store did not bring it */
        assert_int_equal(core_restore(core, now, &spec, &(struct core_restored){.state = CORE_HELD}, NULL, &task), 0);
        hear();
        assert_int_equal(state_of(task), CORE_HELD);
        assert_int_equal(seen_n, 0);
        ready(join(1, 1), 1);
        result(one);
        assert_int_equal(state_of(task), CORE_QUEUED);
        spec.id = id_of('t', 4);
        assert_int_equal(core_restore(core, now, &spec, &(struct core_restored){.state = CORE_HELD, .broken = true}, NULL, &task), 0);
        hear();
        expect_state(task, CORE_CANCELLED, CORE_BECAUSE_DEPENDENCY);
}

static void test_nonsense_is_refused(void **state)
{
        (void)state;
        begin();
        restore(1, &(struct core_restored){.state = CORE_DONE}, -EINVAL);
        restore(1, &(struct core_restored){.state = 0}, -EINVAL);
        restore(1, &(struct core_restored){.state = CORE_LEASED, .attempt = 1}, -EINVAL);
        restore(1, &(struct core_restored){.state = CORE_LEASED, .attempt = 1, .worker = id_of('w', 1)}, -EINVAL);
        restore(1, &(struct core_restored){.state = CORE_QUEUED, .attempt = 70000}, -EINVAL);
        restore(1, &(struct core_restored){.state = CORE_QUEUED}, 0);
        restore(1, &(struct core_restored){.state = CORE_QUEUED}, -EEXIST);
}

static void test_a_deadline_that_passed_meanwhile(void **state)
{
        struct core_task_spec spec = task_spec(1, 1);
        uint32_t task;

        (void)state;
        begin();
        spec.deadline = now - 1;
        assert_int_equal(core_restore(core, now, &spec, &(struct core_restored){.state = CORE_QUEUED}, NULL, &task), 0);
        hear();
        wait_for(0);
        expect_state(task, CORE_EXPIRED, CORE_BECAUSE_DEADLINE);
}

static void test_forget_says_nothing(void **state)
{
        uint32_t leased, queued, worker;

        (void)state;
        begin();
        worker = join(1, 1);
        ready(worker, 1);
        leased = submit(1);
        queued = submit(2);
        core_forget(core, leased);
        core_forget(core, queued);
        core_forget(core, queued);
        hear();
        assert_int_equal(seen_n, 0);
        assert_int_equal(core->tasks.live, 0);
        assert_int_equal(core->leases.live, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_states_come_back, end_core),
                cmocka_unit_test_teardown(test_a_lease_is_claimed_by_its_worker, end_core),
                cmocka_unit_test_teardown(test_a_lease_that_nobody_claims_is_lost, end_core),
                cmocka_unit_test_teardown(test_blame_survives, end_core),
                cmocka_unit_test_teardown(test_dependencies, end_core),
                cmocka_unit_test_teardown(test_nonsense_is_refused, end_core),
                cmocka_unit_test_teardown(test_a_deadline_that_passed_meanwhile, end_core),
                cmocka_unit_test_teardown(test_forget_says_nothing, end_core),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
