/* test-core-order.c: who goes first: bands and ageing, accounts by their shares, deadlines inside an account, caps. */
#include "pool/test-core.h"

static uint32_t put(uint32_t number, uint32_t account, uint32_t band, uint64_t deadline)
{
        struct core_task_spec spec = task_spec(number, account);

        spec.band = band;
        spec.deadline = deadline;
        return submit_spec(&spec);
}

/* The next slot's task: it is leased and done at once. */
static uint32_t serve(uint32_t worker, uint64_t ms)
{
        uint32_t task;

        ready(worker, 1);
        task = expect(CORE_LEASE, NONE)->task;
        now += ms;
        core_heartbeat(core, now, worker);
        result(task);
        return task;
}

static void test_bands_come_first(void **state)
{
        uint32_t worker, tasks[CORE_BANDS];

        (void)state;
        begin();
        worker = join(1, 1);
        for (uint32_t i = 0; i < CORE_BANDS; i++)
                tasks[CORE_BANDS - 1 - i] = put(1 + i, 1, CORE_BANDS - 1 - i, CORE_NEVER);
        for (uint32_t i = 0; i < CORE_BANDS; i++)
                assert_int_equal(serve(worker, 10), tasks[i]);
}

static void test_waiting_moves_up(void **state)
{
        struct core_settings settings = core_default_settings;
        uint32_t idle, fresh, worker;

        (void)state;
        settings.age_ms = MINUTE;
        begin_with(&settings);
        idle = put(1, 1, CORE_IDLE, CORE_NEVER);
        wait_for(MINUTE);
        assert_int_equal(view_of(idle).band_now, CORE_LOW);
        assert_int_equal(view_of(idle).band, CORE_IDLE);
        wait_for(MINUTE);
        fresh = put(2, 1, CORE_NORMAL, CORE_NEVER);
        assert_int_equal(view_of(idle).band_now, CORE_NORMAL);
        worker = join(1, 1);
        assert_int_equal(serve(worker, 10), idle);
        assert_int_equal(serve(worker, 10), fresh);
}

static void test_many_that_age_at_once_are_done_in_pieces(void **state)
{
        struct core_settings settings = core_default_settings;
        uint32_t calls = 0;

        (void)state;
        settings.age_ms = MINUTE;
        begin_with(&settings);
        for (uint32_t i = 0; i < 3 * CORE_STEP; i++)
                put(1 + i, 1, CORE_LOW, CORE_NEVER);
        now += MINUTE;
        for (; core_next_deadline(core) <= now; calls++)
                core_tick(core, now);
        hear();
        assert_in_range(calls, 3, 4);
        assert_int_equal(view_of(0).band_now, CORE_NORMAL);
}

static void test_prioritise(void **state)
{
        uint32_t worker, first, second;

        (void)state;
        begin();
        worker = join(1, 1);
        first = submit(1);
        second = submit(2);
        assert_int_equal(core_prioritise(core, now, second, CORE_URGENT), 0);
        assert_int_equal(core_prioritise(core, now, second, CORE_BANDS), -EINVAL);
        hear();
        assert_int_equal(serve(worker, 10), second);
        assert_int_equal(serve(worker, 10), first);
        assert_int_equal(core_prioritise(core, now, second, CORE_URGENT), -EALREADY);
}

static void test_deadlines_inside_an_account(void **state)
{
        uint32_t worker, tasks[4];

        (void)state;
        begin();
        worker = join(1, 1);
        tasks[2] = put(1, 1, CORE_NORMAL, CORE_NEVER);
        tasks[1] = put(2, 1, CORE_NORMAL, now + 2 * MINUTE);
        tasks[0] = put(3, 1, CORE_NORMAL, now + MINUTE);
        tasks[3] = put(4, 1, CORE_NORMAL, CORE_NEVER);
        for (uint32_t i = 0; i < 4; i++)
                assert_int_equal(serve(worker, 10), tasks[i]);
}

static void test_earlier_id_first_whatever_the_order_of_arrival(void **state)
{
        uint32_t worker, late, early;

        (void)state;
        begin();
        worker = join(1, 1);
        late = submit(9);
        early = submit(3);
        assert_int_equal(serve(worker, 10), early);
        assert_int_equal(serve(worker, 10), late);
}

/* --- shares --- */

static uint64_t service_of(uint32_t account)
{
        struct id id = id_of('a', account);
        uint64_t service, counter;
        uint32_t queued, leased;

        assert_int_equal(core_account_view(core, &id, &service, &counter, &queued, &leased), 0);
        return service;
}

static void test_equal_accounts_share_equally(void **state)
{
        uint32_t worker, of[3] = {0};

        (void)state;
        begin();
        worker = join(1, 1);
        for (uint32_t i = 0; i < 300; i++)
                put(1 + i, i < 250 ? 1 : 2, CORE_NORMAL, CORE_NEVER); /* one has five times as much queued */
        for (uint32_t i = 0; i < 80; i++)
                of[serve(worker, 100) < 250 ? 1 : 2]++;
        assert_in_range(of[1], 39, 41);
        assert_in_range(of[2], 39, 41);
        assert_int_equal(service_of(1) + service_of(2), 8000);
}

static void test_shares_are_of_service_not_of_tasks(void **state)
{
        uint32_t worker;

        (void)state;
        begin();
        worker = join(1, 1);
        for (uint32_t i = 0; i < 2000; i++)
                put(1 + i, 1 + i % 2, CORE_NORMAL, CORE_NEVER);
        for (uint32_t i = 0; i < 800; i++) {
                uint32_t task;

                ready(worker, 1);
                task = expect(CORE_LEASE, NONE)->task;
                now += task % 2 ? 700 : 100;
                core_heartbeat(core, now, worker);
                result(task);
        }
        assert_in_range(service_of(1) * 100 / service_of(2), 97, 103);
}

static void test_weights(void **state)
{
        struct id id = id_of('a', 1);
        uint32_t worker, of[2] = {0};

        (void)state;
        begin();
        assert_int_equal(core_account(core, &id, 300, 0), 0);
        assert_int_equal(core_account(core, &id, 0, 0), -EINVAL);
        assert_int_equal(core_account(core, &id, 1001, 0), -EINVAL);
        worker = join(1, 1);
        for (uint32_t i = 0; i < 400; i++)
                put(1 + i, 1 + i % 2, CORE_NORMAL, CORE_NEVER);
        for (uint32_t i = 0; i < 100; i++)
                of[serve(worker, 100) % 2]++;
        assert_in_range(of[0], 73, 77);
}

static void test_who_was_idle_does_not_come_back_with_credit(void **state)
{
        uint32_t worker, of[3] = {0};

        (void)state;
        begin();
        worker = join(1, 1);
        for (uint32_t i = 0; i < 400; i++)
                put(1 + i, 1, CORE_NORMAL, CORE_NEVER);
        for (uint32_t i = 0; i < 200; i++)
                serve(worker, 100);
        for (uint32_t i = 0; i < 100; i++)
                put(1000 + i, 2, CORE_NORMAL, CORE_NEVER);
        for (uint32_t i = 0; i < 40; i++) {
                ready(worker, 1);
                of[expect(CORE_LEASE, NONE)->task_id.bytes[14] >= 3 ? 2 : 1]++;
                now += 100;
                core_heartbeat(core, now, worker);
                result(LEASE(core, WORKER(core, worker)->first_lease)->task);
        }
        assert_in_range(of[2], 18, 22);
}

/* --- caps --- */

static void test_an_account_at_its_cap_is_passed_over(void **state)
{
        struct id id = id_of('a', 1);
        uint32_t worker, one, two, three, other;

        (void)state;
        begin();
        assert_int_equal(core_account(core, &id, 100, 2), 0);
        worker = join(1, 8);
        one = submit(1);
        two = submit(2);
        three = submit(3);
        other = put(4, 2, CORE_IDLE, CORE_NEVER);
        ready(worker, 8);
        assert_int_equal(state_of(one), CORE_LEASED);
        assert_int_equal(state_of(two), CORE_LEASED);
        assert_int_equal(state_of(three), CORE_QUEUED);
        assert_true(view_of(three).capped);
        assert_int_equal(state_of(other), CORE_LEASED);
        result(one); /* its lease ended: the next may go at once, a slot is ready */
        assert_int_equal(state_of(three), CORE_LEASED);
}

static void test_a_key_at_its_cap_holds_back_only_its_own(void **state)
{
        struct core_task_spec spec = task_spec(1, 1);
        uint32_t worker, mine, more, others;

        (void)state;
        begin();
        worker = join(1, 8);
        spec.key = id_of('k', 1);
        assert_int_equal(core_key(core, &spec.key, 1), 0);
        mine = submit_spec(&spec);
        spec.id = id_of('t', 2);
        more = submit_spec(&spec);
        others = submit(3);
        ready(worker, 8);
        assert_int_equal(state_of(mine), CORE_LEASED);
        assert_int_equal(state_of(more), CORE_QUEUED);
        assert_int_equal(state_of(others), CORE_LEASED);
        assert_int_equal(core_key(core, &spec.key, 2), 0);
        hear();
        assert_int_equal(state_of(more), CORE_LEASED);
}

static void test_the_pools_cap_can_change(void **state)
{
        struct core_settings settings = core_default_settings;
        uint32_t task;

        (void)state;
        settings.max_leases_per_account = 1;
        begin_with(&settings);
        ready(join(1, 4), 4);
        submit(1);
        task = submit(2);
        assert_int_equal(state_of(task), CORE_QUEUED);
        settings.max_leases_per_account = 2;
        core_change_settings(core, now, &settings);
        hear();
        assert_int_equal(state_of(task), CORE_LEASED);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_bands_come_first, end_core),
                cmocka_unit_test_teardown(test_waiting_moves_up, end_core),
                cmocka_unit_test_teardown(test_many_that_age_at_once_are_done_in_pieces, end_core),
                cmocka_unit_test_teardown(test_prioritise, end_core),
                cmocka_unit_test_teardown(test_deadlines_inside_an_account, end_core),
                cmocka_unit_test_teardown(test_earlier_id_first_whatever_the_order_of_arrival, end_core),
                cmocka_unit_test_teardown(test_equal_accounts_share_equally, end_core),
                cmocka_unit_test_teardown(test_shares_are_of_service_not_of_tasks, end_core),
                cmocka_unit_test_teardown(test_weights, end_core),
                cmocka_unit_test_teardown(test_who_was_idle_does_not_come_back_with_credit, end_core),
                cmocka_unit_test_teardown(test_an_account_at_its_cap_is_passed_over, end_core),
                cmocka_unit_test_teardown(test_a_key_at_its_cap_holds_back_only_its_own, end_core),
                cmocka_unit_test_teardown(test_the_pools_cap_can_change, end_core),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
