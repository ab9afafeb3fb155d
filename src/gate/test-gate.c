/* test-gate.c: the rules of the gate, one small scenario each: what fits, growth, who gives way, slices and waits, jobs. */
#include "gate/test-gate.h"

/* --- what fits --- */

static void test_what_fits_runs_together(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = add(WIRE_NORMAL);
        b = add(WIRE_BATCH);
        want(a, 60);
        assert_int_equal(expect(GATE_GO, a)->bytes, 60);
        assert_int_equal(expect(GATE_GO, a)->ticket, 7);
        want(b, 40);
        assert_int_equal(expect(GATE_GO, b)->bytes, 40);
        assert_int_equal(seen_n, 1);
        assert_false(gate_contended(g, 0));
        assert_int_equal(gate_next_deadline(g), GATE_NEVER); /* no timer */
        tick_to(now + 1000 * S);
        assert_int_equal(seen_n, 0); /* nothing moves, however long */
}

static void test_declared_need_counts_first(void **state)
{
        uint32_t a;

        (void)state;
        begin();
        a = add_spec((struct gate_client_spec){.priority = WIRE_NORMAL, .need_bytes = 50});
        want(a, 1);
        assert_int_equal(expect(GATE_GO, a)->bytes, 50);
}

static void test_part_and_reserve_and_classes(void **state)
{
        struct gate_settings s = plain();
        struct gate_device_view device;

        (void)state;
        s.reserve_percent = 10;
        s.client_part_bytes = 5;
        begin_with(&s);
        assert_int_equal(gate_room(g, 0), 85);
        running(WIRE_NORMAL, 40);
        assert_true(gate_view_device(g, now, 0, &device));
        assert_int_equal(device.granted, 45);
        s.limits_classes = true;
        gate_change_settings(g, now, &s);
        hear();
        assert_int_equal(gate_room(g, 0), 65); /* 70 % of a small device */
}

/* --- growth after admission --- */

static void test_growth_that_fits_is_available_at_once(void **state)
{
        uint32_t a;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 40);
        want(a, 70);
        assert_int_equal(expect(GATE_AVAILABLE, a)->bytes, 30);
}

static void test_growth_after_admission_waits_and_is_served(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 60);
        b = running(WIRE_NORMAL, 40);
        want(a, 80);
        assert_int_equal(expect(GATE_WAIT, a)->reason, WIRE_WAIT_MEMORY);
        assert_int_equal(expect(GATE_WAIT, a)->bytes, 20);
        assert_int_equal(expect(GATE_CONTENDED, 0)->bytes, 1);
        work_for(60 * S, a, b);
        expect(GATE_GIVE_WAY, b);
        assert_null(find(GATE_GIVE_WAY, a));
        gives_way(b, true);
        assert_int_equal(expect(GATE_EVICT, b)->bytes, 20); /* not more than needed */
        evicted(b, 20, 20, true);
        assert_int_equal(expect(GATE_AVAILABLE, a)->bytes, 20);
}

static void test_growth_over_limit_and_device_is_denied(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = add_spec((struct gate_client_spec){.priority = WIRE_NORMAL, .limit_bytes = 30});
        b = add(WIRE_NORMAL);
        want(a, 31);
        assert_int_equal(expect(GATE_DENY, a)->code, -E_LIMIT);
        assert_int_equal(expect(GATE_DENY, a)->bytes, 30);
        want(a, 30);
        expect(GATE_GO, a);
        want(b, 101);
        assert_int_equal(expect(GATE_DENY, b)->code, -E_DEVICE_SIZE);
        assert_int_equal(expect(GATE_DENY, b)->bytes, 100);
        want(b, 50);
        expect(GATE_GO, b);
}

static void test_two_grow_and_both_wait(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 50);
        b = running(WIRE_NORMAL, 50);
        want(b, 60);
        assert_null(find(GATE_GIVE_WAY, a));
        want(a, 60); /* now nobody can go on: the younger goes out whole */
        assert_int_equal(expect(GATE_GIVE_WAY, b)->reason, WIRE_GIVE_DEADLOCK);
        assert_null(find(GATE_GIVE_WAY, a));
        gives_way(b, true);
        assert_int_equal(expect(GATE_EVICT, b)->bytes, 50);
        evicted(b, 30, 20, false);
        assert_int_equal(expect(GATE_AVAILABLE, a)->bytes, 10); /* with the first bytes already */
        evicted(b, 0, 30, true);
        assert_null(find(GATE_GO, b));
}

static void test_growth_without_arena_is_denied(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        gate_arena(g, now, 0);
        a = add(WIRE_NORMAL);
        b = add(WIRE_NORMAL);
        want(a, 50);
        want(b, 50);
        assert_int_equal(gate_memory(g, now, a, 50, 0, 50, 0, 0), 0);
        assert_int_equal(gate_memory(g, now, b, 50, 0, 50, 0, 0), 0);
        hear();
        want(a, 60);
        assert_int_equal(expect(GATE_WAIT, a)->reason, WIRE_WAIT_ARENA);
        want(b, 60);
        assert_int_equal(expect(GATE_DENY, b)->code, -E_ARENA); /* the younger */
        assert_null(find(GATE_DENY, a));
}

/* --- who gives way --- */

static void test_idle_gives_way_first(void **state)
{
        uint32_t a, b, c;

        (void)state;
        begin();
        a = running(WIRE_BATCH, 50);
        b = running(WIRE_NORMAL, 50);
        c = add(WIRE_NORMAL);
        want(c, 30);
        assert_int_equal(expect(GATE_GIVE_WAY, a)->reason, WIRE_GIVE_PRIORITY); /* lower class: at once */
        begin();
        a = running(WIRE_NORMAL, 50);
        b = running(WIRE_NORMAL, 50);
        c = add(WIRE_NORMAL);
        want(c, 30);
        assert_null(find(GATE_GIVE_WAY, a));
        work_for(1 * S, a, GATE_NONE); /* b does nothing */
        assert_int_equal(expect(GATE_GIVE_WAY, b)->reason, WIRE_GIVE_IDLE);
}

static void test_bytes_of_the_waiting_leave_first(void **state)
{
        uint32_t a, b, c;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 60);
        b = add(WIRE_NORMAL);
        want(b, 50);
        work_for(60 * S, a, GATE_NONE);
        gives_way(a, false); /* stops wanting, 50 of its 60 stay */
        assert_int_equal(expect(GATE_EVICT, a)->bytes, 10);
        evicted(a, 50, 10, true);
        expect(GATE_GO, b);
        owns(b, 50, 0);
        c = add(WIRE_NORMAL);
        want(c, 40);
        assert_int_equal(expect(GATE_EVICT, a)->bytes, 40); /* b runs on */
        assert_null(find(GATE_GIVE_WAY, b));
}

static void test_as_few_as_needed(void **state)
{
        uint32_t a, b, c;

        (void)state;
        begin();
        a = running(WIRE_BATCH, 20);
        b = running(WIRE_BATCH, 80);
        c = add(WIRE_INTERACTIVE);
        want(c, 50);
        expect(GATE_GIVE_WAY, b);
        assert_null(find(GATE_GIVE_WAY, a)); /* its 20 would not help */
}

static void test_unused_grant_is_asked_back_first(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 50);
        want(a, 90);
        b = add(WIRE_NORMAL);
        want(b, 40);
        expect(GATE_TRIM, a);
        assert_null(find(GATE_GIVE_WAY, a));
        assert_int_equal(gate_memory(g, now, a, 50, 0, 50, 50, 40), 0);
        hear();
        expect(GATE_GO, b); /* nothing moved */
}

static void test_exchange_overlaps(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 60);
        b = add(WIRE_NORMAL);
        want(b, 60);
        work_for(60 * S, a, GATE_NONE);
        gives_way(a, true);
        evicted(a, 40, 20, true);
        expect(GATE_GO, b);
        owns(b, 60, 0);
        work_for(60 * S, b, GATE_NONE); /* now a, with 20 outside, waits */
        expect(GATE_GIVE_WAY, b);
        gives_way(b, true);
        assert_int_equal(expect(GATE_EVICT, b)->bytes, 20);
        evicted(b, 55, 5, false);
        assert_int_equal(expect(GATE_BRING_IN, a)->bytes, 5); /* each step out feeds a step in */
        evicted(b, 50, 5, false);
        assert_int_equal(expect(GATE_BRING_IN, a)->bytes, 5);
        brought_in(a, 45, false);
        evicted(b, 40, 10, true);
        assert_int_equal(expect(GATE_BRING_IN, a)->bytes, 10);
        assert_null(find(GATE_GO, a));
        brought_in(a, 60, true);
        assert_int_equal(expect(GATE_GO, a)->bytes, 0);
}

static void test_pinned_memory_stays(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = add(WIRE_NORMAL);
        want(a, 60);
        owns(a, 10, 50);
        b = add(WIRE_INTERACTIVE);
        want(b, 60);
        assert_int_equal(expect(GATE_WAIT, b)->reason, WIRE_WAIT_PINNED);
        assert_null(find(GATE_GIVE_WAY, a)); /* useless */
        gate_gone(g, now, a);
        hear();
        expect(GATE_GO, b);
}

static void test_given_way_for_one_who_died(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_BATCH, 60);
        b = add(WIRE_NORMAL);
        want(b, 60);
        expect(GATE_GIVE_WAY, a);
        gate_gone(g, now, b);
        hear();
        gives_way(a, true);
        assert_int_equal(expect(GATE_GO, a)->bytes, 0); /* nothing left */
        assert_null(find(GATE_EVICT, a));
}

/* --- slices and waits --- */

static void test_slice_exceeds_the_measured_switch(void **state)
{
        struct gate_client_view v;
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 60);
        b = add(WIRE_NORMAL);
        want(b, 60);
        work_for(60 * S, a, GATE_NONE);
        gives_way(a, true);
        now += 20 * S; /* a very slow link: 1 byte a second would be slower still, and is taken as 1 MB/s */
        assert_int_equal(gate_evicted(g, now, a, 40, 20, 20, 20 * S, true, 0), 0);
        hear();
        expect(GATE_GO, b);
        v = view(b);
        assert_true(v.slice_left_ns >= gate_default_settings.slice_min_ns);
        begin();
        a = running(WIRE_NORMAL, 60);
        b = add(WIRE_NORMAL);
        want(b, 60);
        work_for(60 * S, a, GATE_NONE);
        now += 8 * S;
        gives_way(a, true); /* drained for 8 s */
        evicted(a, 40, 20, true);
        owns(b, 60, 0);
        v = view(b);
        assert_true(v.slice_left_ns >= 5 * 8 * S && v.slice_left_ns <= 6 * 8 * S);
        work_for(30 * S, b, GATE_NONE);
        assert_null(find(GATE_GIVE_WAY, b));
        work_for(30 * S, b, GATE_NONE);
        expect(GATE_GIVE_WAY, b);
}

static void test_forced_rotation_under_default_settings(void **state)
{
        struct gate_settings s = gate_default_settings;
        uint64_t bound, wants_at;
        uint32_t a, b;

        (void)state;
        gate_free(g);
        now = 0;
        g = gate_new(CLIENTS, DEVICES, &s);
        assert_int_equal(gate_add_device(g, 0, UINT64_C(80) << 30), 0);
        a = running(WIRE_NORMAL, UINT64_C(50) << 30);
        b = add(WIRE_NORMAL);
        wants_at = now;
        want(b, UINT64_C(50) << 30);
        bound = view(b).wait_bound_ns;
        assert_int_equal(bound, gate_wait_bound(g, now, b));
        work_for(400 * S, a, GATE_NONE); /* it never idles */
        assert_int_equal(expect(GATE_GIVE_WAY, a)->reason, WIRE_GIVE_SLICE);
        gives_way(a, true);
        now += 1 * S;
        assert_int_equal(gate_evicted(g, now, a, UINT64_C(20) << 30, UINT64_C(30) << 30, UINT64_C(30) << 30, S, true, 0), 0);
        hear();
        expect(GATE_GO, b);
        assert_true(now - wants_at < bound);
}

static void test_long_runner_gives_way_at_once(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 60);
        work_for(1000 * S, a, GATE_NONE); /* nobody else came */
        b = add(WIRE_NORMAL);
        want(b, 60);
        expect(GATE_GIVE_WAY, a);
}

static void test_fixed_slice_as_with_nvshare(void **state)
{
        struct gate_settings s = plain();
        uint64_t began;
        uint32_t a, b;

        (void)state;
        s.slice_mode = GATE_SLICE_FIXED;
        s.slice_fixed_ns = 30 * S;
        s.age_ns = 3600 * S;
        begin_with(&s);
        a = running(WIRE_NORMAL, 60);
        began = now;
        b = add(WIRE_NORMAL);
        want(b, 60);
        work_for(100 * S, a, GATE_NONE);
        expect(GATE_GIVE_WAY, a);
        assert_int_equal(now - began, 30 * S);
}

static void test_ageing_lifts_a_batch_waiter(void **state)
{
        struct gate_settings s = plain();
        uint32_t a, batch, young;

        (void)state;
        s.slice_mode = GATE_SLICE_FIXED;
        s.slice_fixed_ns = 200 * S;
        begin_with(&s);
        a = running(WIRE_INTERACTIVE, 60);
        batch = add(WIRE_BATCH);
        want(batch, 60);
        work_for(10 * S, a, GATE_NONE);
        seen_n = 0;
        for (uint32_t i = 0; i < 6; i++)
                work_for(10 * S, a, GATE_NONE);
        young = add(WIRE_INTERACTIVE);
        want(young, 60);
        assert_int_equal(view(batch).position, 1); /* 2 × 30 s later it is interactive itself, and was there before */
        assert_int_equal(view(young).position, 2);
}

static void test_small_one_fills_the_gap_without_protection(void **state)
{
        uint32_t a, head, small;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 60);
        head = add(WIRE_NORMAL);
        want(head, 70);
        small = add(WIRE_NORMAL);
        want(small, 30);
        expect(GATE_GO, small); /* the head can't use it yet */
        owns(small, 30, 0);
        for (uint32_t i = 0; i < 200 && !find(GATE_GIVE_WAY, a); i++)
                work_for(60 * S, a, small);
        expect(GATE_GIVE_WAY, a);
        gives_way(a, true);
        if (find(GATE_EVICT, a))
                evicted(a, 0, 60, true);
        assert_non_null(find(GATE_GO, head));
}

static void test_freed_memory_wakes_a_waiter_in_the_same_step(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 60);
        b = add(WIRE_NORMAL);
        want(b, 60);
        assert_int_equal(gate_memory(g, now, a, 30, 0, 30, 30, 30), 0);
        hear();
        expect(GATE_GO, b);
        assert_int_equal(expect(GATE_CONTENDED, 0)->bytes, 0); /* overloaded no more */
        begin();
        a = running(WIRE_NORMAL, 60);
        b = add(WIRE_NORMAL);
        want(b, 60);
        gate_gone(g, now, a);
        hear();
        expect(GATE_GO, b);
        begin();
        a = running(WIRE_NORMAL, 30);
        gate_foreign(g, now, 0, 50);
        b = add(WIRE_NORMAL);
        want(b, 40);
        expect(GATE_WAIT, b);
        gate_foreign(g, now, 0, 0);
        hear();
        expect(GATE_GO, b);
}

/* --- jobs --- */

static void test_job_comes_in_on_all_devices_or_none(void **state)
{
        uint32_t a, m0, m1;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 80);
        m0 = add_spec((struct gate_client_spec){.priority = WIRE_NORMAL, .job = 9, .need_bytes = 50});
        m1 = add_spec((struct gate_client_spec){.priority = WIRE_NORMAL, .job = 9, .device = 1, .need_bytes = 50});
        want(m0, 50);
        want(m1, 50);
        assert_null(find(GATE_GO, m1)); /* its device is empty, but its mate does not fit */
        work_for(60 * S, a, GATE_NONE);
        gives_way(a, true);
        evicted(a, 50, 30, true);
        expect(GATE_GO, m0);
        expect(GATE_GO, m1);
        assert_int_equal(gate_memory(g, now, m0, 50, 0, 50, 50, 0), 0);
        assert_int_equal(gate_memory(g, now, m1, 50, 0, 50, 50, 0), 0);
        hear();
        for (uint32_t i = 0; i < 10 && !find(GATE_GIVE_WAY, m0); i++)
                work_for(60 * S, m0, m1);
        expect(GATE_GIVE_WAY, m0);
        expect(GATE_GIVE_WAY, m1); /* together */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_what_fits_runs_together),
                cmocka_unit_test(test_declared_need_counts_first),
                cmocka_unit_test(test_part_and_reserve_and_classes),
                cmocka_unit_test(test_growth_that_fits_is_available_at_once),
                cmocka_unit_test(test_growth_after_admission_waits_and_is_served),
                cmocka_unit_test(test_growth_over_limit_and_device_is_denied),
                cmocka_unit_test(test_two_grow_and_both_wait),
                cmocka_unit_test(test_growth_without_arena_is_denied),
                cmocka_unit_test(test_idle_gives_way_first),
                cmocka_unit_test(test_bytes_of_the_waiting_leave_first),
                cmocka_unit_test(test_as_few_as_needed),
                cmocka_unit_test(test_unused_grant_is_asked_back_first),
                cmocka_unit_test(test_exchange_overlaps),
                cmocka_unit_test(test_pinned_memory_stays),
                cmocka_unit_test(test_given_way_for_one_who_died),
                cmocka_unit_test(test_slice_exceeds_the_measured_switch),
                cmocka_unit_test(test_forced_rotation_under_default_settings),
                cmocka_unit_test(test_long_runner_gives_way_at_once),
                cmocka_unit_test(test_fixed_slice_as_with_nvshare),
                cmocka_unit_test(test_ageing_lifts_a_batch_waiter),
                cmocka_unit_test(test_small_one_fills_the_gap_without_protection),
                cmocka_unit_test(test_freed_memory_wakes_a_waiter_in_the_same_step),
                cmocka_unit_test(test_job_comes_in_on_all_devices_or_none),
        };

        return cmocka_run_group_tests(tests, NULL, end);
}
