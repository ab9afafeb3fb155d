/* test-core-lease.c: a task's way from submission over a lease to its end, and every word about a lease that is not believed. */
#include "pool/test-core.h"

static void test_a_task_runs(void **state)
{
        const struct core_action *lease;
        uint32_t worker, task;

        (void)state;
        begin();
        worker = join(1, 2);
        assert_int_equal(expect(CORE_WORKER, NONE)->worker_state, CORE_ALIVE);
        task = submit(1);
        expect_state(task, CORE_QUEUED, CORE_BECAUSE_SUBMITTED);
        assert_null(find_action(CORE_LEASE, task)); /* nothing is pushed to a worker that did not ask */
        ready(worker, 1);
        lease = expect(CORE_LEASE, task);
        assert_int_equal(lease->worker, worker);
        assert_int_equal(lease->attempt, 1);
        assert_true(lease->nonce != 0);
        assert_int_equal(lease->expires, now + core_default_settings.lease_ms);
        now += 500;
        result(task);
        expect_state(task, CORE_DONE, CORE_BECAUSE_RESULT);
        assert_int_equal(core_find(core, &lease->task_id), NONE);
}

static void test_a_ready_worker_gets_a_new_task_at_once(void **state)
{
        uint32_t worker, task;

        (void)state;
        begin();
        worker = join(1, 1);
        ready(worker, 1);
        assert_int_equal(seen_n, 0);
        task = submit(1);
        assert_int_equal(expect(CORE_LEASE, task)->worker, worker);
        submit(2);
        assert_null(find_action(CORE_LEASE, NONE)); /* its slot is taken */
}

static void test_more_slots_than_it_has_are_cut(void **state)
{
        uint32_t worker;

        (void)state;
        begin();
        worker = join(1, 2);
        for (uint32_t i = 0; i < 5; i++)
                submit(i + 1);
        ready(worker, 1000000);
        assert_int_equal(count_actions(CORE_LEASE), 2);
        ready(worker, UINT32_MAX);
        assert_int_equal(count_actions(CORE_LEASE), 0);
}

static void test_stale_words_change_nothing(void **state)
{
        uint32_t worker, other, task;
        struct id id = id_of('t', 1), unknown = id_of('t', 99);
        uint64_t nonce;
        struct core_statistics statistics;

        (void)state;
        begin();
        worker = join(1, 2);
        other = join(2, 2);
        ready(worker, 1);
        task = submit(1);
        nonce = nonce_of(task);
        assert_int_equal(core_result(core, now, worker, &id, nonce + 1, 0), CORE_STALE);
        assert_int_equal(core_result(core, now, worker, &id, 0, 0), CORE_STALE);
        assert_int_equal(core_result(core, now, other, &id, nonce, 0), CORE_STALE);
        assert_int_equal(core_result(core, now, 12345, &id, nonce, 0), CORE_STALE);
        assert_int_equal(core_result(core, now, worker, &unknown, nonce, 0), CORE_STALE);
        assert_int_equal(core_fail(core, now, other, &id, nonce, false, true), CORE_STALE);
        assert_int_equal(core_renew(core, now, worker, &id, nonce ^ 1), CORE_STALE);
        assert_int_equal(core_decline(core, now, other, &id, nonce), CORE_STALE);
        hear();
        assert_int_equal(seen_n, 0);
        assert_int_equal(state_of(task), CORE_LEASED);
        result(task);
        assert_int_equal(core_result(core, now, worker, &id, nonce, 0), CORE_STALE); /* twice */
        hear();
        assert_int_equal(seen_n, 0);
        core_statistics(core, &statistics);
        assert_int_equal(statistics.stale, 9);
        assert_int_equal(statistics.tasks[CORE_DONE], 1);
}

static void test_a_lease_not_renewed_ends(void **state)
{
        uint32_t worker, task;
        struct id id = id_of('t', 1);
        uint64_t nonce;

        (void)state;
        begin();
        worker = join(1, 1);
        ready(worker, 1);
        task = submit(1);
        nonce = nonce_of(task);
        for (int i = 0; i < 20; i++) { /* renewed, it lives on */
                wait_for(20 * SECOND);
                assert_int_equal(core_renew(core, now, worker, &id, nonce), CORE_OK);
                hear();
        }
        assert_int_equal(state_of(task), CORE_LEASED);
        for (int i = 0; i < 4; i++) { /* the worker lives, but says nothing of this task */
                wait_for(15 * SECOND);
                core_heartbeat(core, now, worker);
        }
        expect_state(task, CORE_BACKOFF, CORE_BECAUSE_LEASE_LOST);
        assert_int_equal(expect(CORE_REVOKE, task)->worker, worker);
        assert_int_equal(core_result(core, now, worker, &id, nonce, 0), CORE_STALE);
        hear();
}

static void test_declined_goes_back_without_an_attempt(void **state)
{
        uint32_t one, two, task;
        struct id id = id_of('t', 1);

        (void)state;
        begin();
        one = join(1, 1);
        task = submit(1);
        ready(one, 1);
        assert_int_equal(core_decline(core, now, one, &id, nonce_of(task)), CORE_OK);
        hear();
        expect_state(task, CORE_QUEUED, CORE_BECAUSE_DECLINED);
        two = join(2, 1);
        ready(two, 1);
        assert_int_equal(expect(CORE_LEASE, task)->attempt, 1);
        assert_int_equal(expect(CORE_LEASE, task)->worker, two);
}

static void test_cancel_in_every_state(void **state)
{
        uint32_t worker, leased, queued, held, backoff;
        struct core_task_spec spec = task_spec(9, 1);

        (void)state;
        begin();
        worker = join(1, 2);
        ready(worker, 2);
        leased = submit(1);
        backoff = submit(2);
        fails(backoff, true, true);
        queued = submit(3);
        spec.not_before = now + MINUTE;
        held = submit_spec(&spec);
        assert_int_equal(state_of(backoff), CORE_BACKOFF);
        assert_int_equal(state_of(held), CORE_HELD);
        assert_int_equal(core_cancel(core, now, leased), 0);
        hear();
        assert_int_equal(expect(CORE_REVOKE, leased)->worker, worker);
        expect_state(leased, CORE_CANCELLED, CORE_BECAUSE_CANCELLED);
        assert_int_equal(core_cancel(core, now, queued), 0);
        assert_int_equal(core_cancel(core, now, held), 0);
        assert_int_equal(core_cancel(core, now, backoff), 0);
        hear();
        assert_int_equal(count_actions(CORE_STATE), 3);
        assert_int_equal(core_cancel(core, now, queued), -EALREADY);
        assert_int_equal(core_cancel(core, now, 1000000), -EALREADY);
        assert_int_equal(core->tasks.live, 0);
}

static void test_deadline_ends_queued_and_running(void **state)
{
        uint32_t worker, running, queued;
        struct core_task_spec spec = task_spec(1, 1);

        (void)state;
        begin();
        worker = join(1, 1);
        ready(worker, 1);
        spec.deadline = now + 5 * SECOND;
        running = submit_spec(&spec);
        spec.id = id_of('t', 2);
        queued = submit_spec(&spec);
        wait_for(5 * SECOND - 1);
        assert_int_equal(seen_n, 0);
        wait_for(1);
        expect_state(running, CORE_EXPIRED, CORE_BECAUSE_DEADLINE);
        expect(CORE_REVOKE, running);
        expect_state(queued, CORE_EXPIRED, CORE_BECAUSE_DEADLINE);
}

static void test_deadline_can_be_set_later(void **state)
{
        uint32_t task, other;

        (void)state;
        begin();
        task = submit(1);
        other = submit(2);
        assert_int_equal(core_set_deadline(core, now, other, now + MINUTE), 0);
        hear();
        ready(join(1, 1), 1);
        assert_int_equal(state_of(other), CORE_LEASED); /* who has a deadline goes first */
        assert_int_equal(core_set_deadline(core, now, task, now), 0);
        hear();
        expect_state(task, CORE_EXPIRED, CORE_BECAUSE_DEADLINE);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_a_task_runs, end_core),
                cmocka_unit_test_teardown(test_a_ready_worker_gets_a_new_task_at_once, end_core),
                cmocka_unit_test_teardown(test_more_slots_than_it_has_are_cut, end_core),
                cmocka_unit_test_teardown(test_stale_words_change_nothing, end_core),
                cmocka_unit_test_teardown(test_a_lease_not_renewed_ends, end_core),
                cmocka_unit_test_teardown(test_declined_goes_back_without_an_attempt, end_core),
                cmocka_unit_test_teardown(test_cancel_in_every_state, end_core),
                cmocka_unit_test_teardown(test_deadline_ends_queued_and_running, end_core),
                cmocka_unit_test_teardown(test_deadline_can_be_set_later, end_core),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
