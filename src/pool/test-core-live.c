/* test-core-live.c: workers that fall silent, all at once or one by one; draining, leaving, coming back. */
#include "pool/test-core.h"

static struct core_settings plain(void)
{
        struct core_settings s = core_default_settings;

        s.brake_percent = 100; /* never, unless a test says so */
        s.lease_ms = 10 * MINUTE;
        return s;
}

static void expect_worker(uint32_t worker, uint32_t worker_state, bool gone)
{
        for (uint32_t i = 0; i < seen_n; i++) {
                if (seen[i].kind == CORE_WORKER && seen[i].worker == worker && seen[i].worker_state == worker_state && seen[i].gone == gone)
                        return;
        }
        fail_msg("worker %u did not become %u", worker, worker_state);
}

static void test_suspect_lost_gone(void **state)
{
        struct core_settings s = plain();
        uint32_t worker, task, queued;

        (void)state;
        begin_with(&s);
        worker = join(1, 2);
        ready(worker, 2);
        task = submit(1);
        wait_for(s.suspect_ms - 1);
        assert_int_equal(seen_n, 0);
        wait_for(1);
        expect_worker(worker, CORE_SUSPECT, false);
        assert_int_equal(state_of(task), CORE_LEASED); /* nothing taken away yet */
        queued = submit(2);
        assert_int_equal(state_of(queued), CORE_QUEUED); /* nothing new */
        wait_for(s.drain_ms - s.suspect_ms);
        expect_worker(worker, CORE_LOST, false);
        expect_state(task, CORE_BACKOFF, CORE_BECAUSE_WORKER_LOST);
        expect(CORE_REVOKE, task);
        wait_for(s.gone_ms - s.drain_ms);
        expect_worker(worker, CORE_LOST, true);
        assert_int_equal(core->workers.live, 0);
}

static void test_a_word_brings_a_suspect_back(void **state)
{
        struct core_settings s = plain();
        uint32_t worker, task;

        (void)state;
        begin_with(&s);
        worker = join(1, 1);
        ready(worker, 1);
        wait_for(s.suspect_ms);
        task = submit(1);
        assert_int_equal(state_of(task), CORE_QUEUED);
        core_heartbeat(core, now, worker);
        hear();
        expect_worker(worker, CORE_ALIVE, false);
        assert_int_equal(worker_of(task), worker); /* its free slot counts again */
}

static void test_a_closed_connection_and_back(void **state)
{
        struct core_settings s = plain();
        struct core_worker_spec spec = worker_spec(1, 1);
        uint32_t worker, task, again;
        struct id id = id_of('t', 1);
        uint64_t nonce;

        (void)state;
        begin_with(&s);
        worker = join(1, 1);
        ready(worker, 1);
        task = submit(1);
        nonce = nonce_of(task);
        core_worker_silent(core, now, worker);
        hear();
        expect_worker(worker, CORE_SUSPECT, false);
        wait_for(10 * SECOND);
        again = join_spec(&spec);
        assert_int_equal(again, worker);
        expect_worker(worker, CORE_ALIVE, false);
        assert_int_equal(core_resume(core, now, worker, &id, nonce), CORE_OK);
        result(task);
        expect_state(task, CORE_DONE, CORE_BECAUSE_RESULT);
}

static void test_a_lost_worker_that_comes_back_has_nothing(void **state)
{
        struct core_settings s = plain();
        uint32_t worker, task;
        struct id id = id_of('t', 1);
        uint64_t nonce;

        (void)state;
        begin_with(&s);
        worker = join(1, 1);
        ready(worker, 1);
        task = submit(1);
        nonce = nonce_of(task);
        wait_for(s.drain_ms + SECOND);
        assert_int_equal(core_result(core, now, worker, &id, nonce, 0), CORE_STALE);
        hear();
        expect_worker(worker, CORE_ALIVE, false);
        assert_int_not_equal(state_of(task), CORE_LEASED);
        wait_for(5 * SECOND);
        assert_int_equal(state_of(task), CORE_QUEUED);
        core_heartbeat(core, now, worker);
        hear();
        assert_int_equal(state_of(task), CORE_QUEUED); /* it has not said that it is ready */
}

/* --- the brake --- */

static void join_ten(uint32_t workers[10])
{
        for (uint32_t i = 0; i < 10; i++) {
                workers[i] = join(1 + i, 1);
                ready(workers[i], 1);
                submit(1 + i);
        }
}

static void test_many_at_once_pull_the_brake(void **state)
{
        struct core_settings s = plain();
        uint32_t workers[10];

        (void)state;
        s.brake_percent = 30;
        s.lease_ms = 40 * SECOND; /* would end while nobody can renew */
        begin_with(&s);
        join_ten(workers);
        wait_for(s.suspect_ms);
        assert_true(expect(CORE_BRAKE, NONE)->gone);
        wait_for(s.brake_max_ms - SECOND);
        for (uint32_t i = 0; i < 10; i++)
                assert_int_equal(state_of(i), CORE_LEASED); /* nothing is handed on */
        assert_int_equal(count_actions(CORE_REVOKE), 0);
        for (uint32_t i = 0; i < 10; i++) {
                core_heartbeat(core, now, workers[i]);
                hear();
        }
        assert_int_equal(core->brake_since, CORE_NEVER);
        for (uint32_t i = 0; i < 10; i++)
                result(i);
}

static void test_the_brake_does_not_hold_for_ever(void **state)
{
        struct core_settings s = plain();
        uint32_t workers[10];

        (void)state;
        s.brake_percent = 30;
        begin_with(&s);
        join_ten(workers);
        wait_for(s.suspect_ms + s.brake_max_ms);
        assert_int_equal(count_actions(CORE_BRAKE), 2);
        assert_int_equal(count_actions(CORE_REVOKE), 10);
}

static void test_the_brake_ends_when_few_are_silent(void **state)
{
        struct core_settings s = plain();
        uint32_t workers[10];

        (void)state;
        s.brake_percent = 30;
        begin_with(&s);
        join_ten(workers);
        for (uint32_t i = 0; i < 5; i++)
                core_worker_silent(core, now, workers[i]);
        hear();
        assert_true(expect(CORE_BRAKE, NONE)->gone);
        core_heartbeat(core, now, workers[0]);
        hear();
        assert_null(find_action(CORE_BRAKE, NONE)); /* 4 of 10 are still more than 30 % */
        core_heartbeat(core, now, workers[1]);
        hear();
        assert_false(expect(CORE_BRAKE, NONE)->gone);
        wait_for(20 * SECOND);
        for (uint32_t i = 0; i < 10; i++) {
                if (i < 2 || i > 4)
                        core_heartbeat(core, now, workers[i]);
        }
        hear();
        wait_for(20 * SECOND); /* the others go the usual way */
        assert_int_equal(count_actions(CORE_REVOKE), 3);
}

static void test_a_few_silent_ones_pull_no_brake(void **state)
{
        struct core_settings s = plain();
        uint32_t workers[10];

        (void)state;
        s.brake_percent = 30;
        begin_with(&s);
        join_ten(workers);
        for (uint32_t i = 0; i < 3; i++)
                core_worker_silent(core, now, workers[i]);
        hear();
        assert_null(find_action(CORE_BRAKE, NONE));
}

static void test_a_pool_that_slept_gives_everybody_time(void **state)
{
        struct core_settings s = plain();
        uint32_t worker, task;

        (void)state;
        s.lease_ms = MINUTE;
        begin_with(&s);
        worker = join(1, 1);
        ready(worker, 1);
        task = submit(1);
        now += 60 * MINUTE; /* the machine was suspended: no tick came */
        for (int i = 0; i < 10; i++)
                core_tick(core, now);
        hear();
        assert_int_equal(seen_n, 0);
        wait_for(5 * SECOND);
        assert_int_equal(state_of(task), CORE_LEASED);
        core_heartbeat(core, now, worker);
        result(task);
        expect_state(task, CORE_DONE, CORE_BECAUSE_RESULT);
}

static void test_a_clock_that_goes_back_is_not_believed(void **state)
{
        struct core_settings s = plain();
        uint32_t worker, task;

        (void)state;
        begin_with(&s);
        worker = join(1, 1);
        ready(worker, 1);
        now -= 50 * MINUTE;
        task = submit(1);
        result(task);
        core_tick(core, 0);
        hear();
        assert_int_equal(core->workers.live, 1);
}

/* --- going on purpose --- */

static void test_drain(void **state)
{
        uint32_t worker, task, queued;

        (void)state;
        begin();
        worker = join(1, 2);
        ready(worker, 2);
        task = submit(1);
        assert_int_equal(core_worker_drain(core, now, worker, true), 0);
        hear();
        expect_worker(worker, CORE_DRAINING, false);
        queued = submit(2);
        assert_int_equal(state_of(queued), CORE_QUEUED);
        result(task);
        expect_worker(worker, CORE_DRAINED, false);
        assert_int_equal(core_worker_drain(core, now, worker, false), 0);
        hear();
        expect_worker(worker, CORE_ALIVE, false);
        assert_int_equal(worker_of(queued), worker);
        assert_int_equal(core_worker_drain(core, now, 999, true), -ENOENT);
}

static void test_leave_hands_on_without_an_attempt(void **state)
{
        uint32_t worker, other, task;

        (void)state;
        begin();
        worker = join(1, 1);
        other = join(2, 1);
        ready(worker, 1);
        task = submit(1);
        ready(other, 1);
        core_worker_leave(core, now, worker);
        hear();
        expect_state(task, CORE_QUEUED, CORE_BECAUSE_DRAIN);
        assert_int_equal(worker_of(task), other);
        assert_int_equal(view_of(task).attempt, 1);
        assert_int_equal(core_worker_find(core, &(struct id){.bytes = {'w', [15] = 1}}), NONE);
        core_worker_leave(core, now, worker); /* twice harms nothing */
        core_heartbeat(core, now, worker);
        core_ready(core, now, worker, 5);
        hear();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_suspect_lost_gone, end_core),
                cmocka_unit_test_teardown(test_a_word_brings_a_suspect_back, end_core),
                cmocka_unit_test_teardown(test_a_closed_connection_and_back, end_core),
                cmocka_unit_test_teardown(test_a_lost_worker_that_comes_back_has_nothing, end_core),
                cmocka_unit_test_teardown(test_many_at_once_pull_the_brake, end_core),
                cmocka_unit_test_teardown(test_the_brake_does_not_hold_for_ever, end_core),
                cmocka_unit_test_teardown(test_the_brake_ends_when_few_are_silent, end_core),
                cmocka_unit_test_teardown(test_a_few_silent_ones_pull_no_brake, end_core),
                cmocka_unit_test_teardown(test_a_pool_that_slept_gives_everybody_time, end_core),
                cmocka_unit_test_teardown(test_a_clock_that_goes_back_is_not_believed, end_core),
                cmocka_unit_test_teardown(test_drain, end_core),
                cmocka_unit_test_teardown(test_leave_hands_on_without_an_attempt, end_core),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
