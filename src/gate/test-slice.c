/* test-slice.c: slices, turns and waits, one small scenario each. */
#include "gate/test-gate.h"

static void test_slice_exceeds_the_measured_switch(void **state)
{
        struct gate_client_view v;
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 60);
        b = asking(WIRE_NORMAL, 60);
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
        b = asking(WIRE_NORMAL, 60);
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

/* Before anything was measured, bounds and slices are reckoned with what is known of the link. */
static void test_a_known_link_tightens_the_bound(void **state)
{
        struct gate_settings s = gate_default_settings;
        uint64_t unknown;
        uint32_t a, b;

        (void)state;
        gate_free(g);
        now = 0;
        g = gate_new(CLIENTS, DEVICES, &s);
        assert_int_equal(gate_add_device(g, 0, UINT64_C(140) << 30), 0);
        a = running(WIRE_NORMAL, UINT64_C(90) << 30);
        b = add(WIRE_NORMAL);
        unknown = gate_wait_bound(g, now, b);
        gate_link(g, 0, UINT64_C(50000000000));
        want(b, UINT64_C(90) << 30);
        assert_true(view(b).wait_bound_ns < unknown / 4);
        work_for(25 * S, a, GATE_NONE); /* 90 out and 56 in at 50 GB/s, five times */
        assert_int_equal(expect(GATE_GIVE_WAY, a)->reason, WIRE_GIVE_SLICE);
        assert_true(now < view(b).wait_bound_ns);
}

static void test_long_runner_gives_way_at_once(void **state)
{
        uint32_t a;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 60);
        work_for(1000 * S, a, GATE_NONE); /* nobody else came */
        asking(WIRE_NORMAL, 60);
        expect(GATE_GIVE_WAY, a);
}

static void test_fixed_slice_as_with_nvshare(void **state)
{
        struct gate_settings s = plain();
        uint64_t began;
        uint32_t a;

        (void)state;
        s.slice_mode = GATE_SLICE_FIXED;
        s.slice_fixed_ns = 30 * S;
        s.age_ns = 3600 * S;
        begin_with(&s);
        a = running(WIRE_NORMAL, 60);
        began = now;
        asking(WIRE_NORMAL, 60);
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
        batch = asking(WIRE_BATCH, 60);
        work_for(10 * S, a, GATE_NONE);
        seen_n = 0;
        for (uint32_t i = 0; i < 6; i++)
                work_for(10 * S, a, GATE_NONE);
        young = asking(WIRE_INTERACTIVE, 60);
        assert_int_equal(view(batch).position, 1); /* 2 × 30 s later it is interactive itself, and was there before */
        assert_int_equal(view(young).position, 2);
}

static void test_small_one_fills_the_gap_without_protection(void **state)
{
        uint32_t a, head, small;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 60);
        head = asking(WIRE_NORMAL, 70);
        small = asking(WIRE_NORMAL, 30);
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
        b = asking(WIRE_NORMAL, 60);
        assert_int_equal(gate_memory(g, now, a, 30, 0, 30, 30, 30), 0);
        hear();
        expect(GATE_GO, b);
        assert_int_equal(expect(GATE_CONTENDED, 0)->bytes, 0); /* overloaded no more */
        begin();
        a = running(WIRE_NORMAL, 60);
        b = asking(WIRE_NORMAL, 60);
        gone(a);
        expect(GATE_GO, b);
        begin();
        a = running(WIRE_NORMAL, 30);
        gate_foreign(g, now, 0, 50);
        b = asking(WIRE_NORMAL, 40);
        expect(GATE_WAIT, b);
        gate_foreign(g, now, 0, 0);
        hear();
        expect(GATE_GO, b);
}

/* --- growth beside those who wait --- */

static void test_growth_in_a_slice_takes_from_those_who_wait(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 60);
        b = asking(WIRE_NORMAL, 60);
        work_for(60 * S, a, GATE_NONE);
        gives_way(a, true);
        evicted(a, 40, 20, true);
        expect(GATE_GO, b);
        owns(b, 60, 0); /* a waits with 40 on the device, and is the head */
        want(b, 70);
        assert_int_equal(expect(GATE_EVICT, a)->bytes, 10);
        assert_null(find(GATE_GIVE_WAY, b));
        evicted(a, 30, 10, true);
        assert_int_equal(expect(GATE_AVAILABLE, b)->bytes, 10);
        assert_null(find(GATE_GIVE_WAY, b)); /* its slice goes on */
        owns(b, 70, 0);
        work_for(60 * S, b, GATE_NONE);
        assert_int_equal(expect(GATE_GIVE_WAY, b)->reason, WIRE_GIVE_SLICE);
}

/* One of those that grow goes out for the other, not both of them for who waits to come in. */
static void test_two_grow_while_a_third_waits(void **state)
{
        uint32_t a, b, head;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 50);
        b = running(WIRE_NORMAL, 50);
        head = asking(WIRE_NORMAL, 60);
        want(a, 60);
        want(b, 60);
        assert_int_equal(expect(GATE_GIVE_WAY, b)->reason, WIRE_GIVE_DEADLOCK);
        assert_null(find(GATE_GIVE_WAY, a));
        gives_way(b, true);
        assert_null(find(GATE_GIVE_WAY, a));
        assert_int_equal(expect(GATE_EVICT, b)->bytes, 50);
        evicted(b, 40, 10, false);
        assert_int_equal(expect(GATE_AVAILABLE, a)->bytes, 10);
        assert_null(find(GATE_GIVE_WAY, a));
        assert_int_equal(view(head).position, 1);
}

/* Who has had most of its slice goes, though the other is younger: that one has just come in. */
static void test_two_grow_and_the_older_had_its_turn(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 50);
        work_for(1 * S, a, GATE_NONE);
        b = running(WIRE_NORMAL, 50);
        want(a, 60);
        want(b, 60);
        assert_int_equal(expect(GATE_GIVE_WAY, a)->reason, WIRE_GIVE_DEADLOCK);
        assert_null(find(GATE_GIVE_WAY, b));
}

static uint32_t declared(uint64_t need)
{
        uint32_t client = add_spec((struct gate_client_spec){.priority = WIRE_NORMAL, .need_bytes = need});

        want(client, 1);
        return client;
}

/* It gives back what it does not use yet, because others wait, and finds it again when it grows. */
static void test_declared_need_is_kept_while_it_grows(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = declared(60);
        assert_int_equal(expect(GATE_GO, a)->bytes, 60);
        b = declared(60);
        assert_null(find(GATE_GO, b)); /* not with a part of it: they would grow against each other */
        assert_int_equal(gate_memory(g, now, a, 1, 0, 1, 1, 59), 0);
        hear();
        assert_null(find(GATE_GO, b));
        want(a, 30);
        assert_int_equal(expect(GATE_AVAILABLE, a)->bytes, 29);
        owns(a, 30, 0);
        want(a, 60);
        assert_int_equal(expect(GATE_AVAILABLE, a)->bytes, 30);
        owns(a, 60, 0);
        assert_int_equal(gate_memory(g, now, a, 30, 0, 30, 30, 30), 0); /* it had all of it: this is given up */
        hear();
        expect(GATE_GO, b);
}

/* Told too much: others wait no longer than for a slice, and nothing moves. */
static void test_declared_too_much_ends_with_the_slice(void **state)
{
        uint32_t a, b, c;

        (void)state;
        begin();
        a = declared(90);
        owns(a, 10, 0);
        assert_int_equal(gate_memory(g, now, a, 10, 0, 10, 10, 80), 0);
        hear();
        b = asking(WIRE_NORMAL, 60);
        expect(GATE_WAIT, b);
        work_for(60 * S, a, GATE_NONE);
        assert_int_equal(expect(GATE_GO, b)->bytes, 60);
        assert_null(find(GATE_GIVE_WAY, a));
        owns(b, 60, 0);
        want(a, 40); /* from what is free, like anyone */
        expect(GATE_AVAILABLE, a);
        c = declared(100); /* does not fit beside anything: it has to wait for both */
        expect(GATE_WAIT, c);
        gate_gone(g, now, a);
        gone(b);
        expect(GATE_GO, c);
}

/* What it owned in its last turn is what it comes in with, though it owns less for the moment. */
/* Its slice has only begun, but its mate's has ended, and with that it would go as well: nobody has to as long as what is kept for it suffices. */
static void test_what_is_kept_for_a_mate_goes_before_anybody(void **state)
{
        uint32_t a, mate, b, c;

        (void)state;
        begin();
        a = add_spec((struct gate_client_spec){.priority = WIRE_NORMAL, .job = 3});
        want(a, 30);
        owns(a, 30, 0);
        b = running(WIRE_BATCH, 10);
        c = running(WIRE_NORMAL, 10);
        work_for(60 * S, a, b);
        mate = add_spec((struct gate_client_spec){.priority = WIRE_NORMAL, .job = 3, .need_bytes = 50});
        want(mate, 10);
        expect(GATE_GO, mate);
        assert_int_equal(gate_memory(g, now, mate, 0, 0, 0, 0, 50), 0);
        hear();
        now += 1 * MS;
        want(c, 30);
        assert_int_equal(expect(GATE_AVAILABLE, c)->bytes, 20);
        assert_null(find(GATE_GIVE_WAY, a));
        assert_null(find(GATE_GIVE_WAY, b));
}

static void test_need_as_observed(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 60);
        owns(a, 20, 0);
        b = asking(WIRE_NORMAL, 100);
        expect(GATE_TRIM, a);
        assert_int_equal(gate_memory(g, now, a, 20, 0, 20, 20, 40), 0);
        work_for(60 * S, a, GATE_NONE);
        gives_way(a, true);
        evicted(a, 0, 20, true);
        expect(GATE_GO, b);
        assert_int_equal(gate_memory(g, now, b, 30, 0, 30, 30, 70), 0);
        hear();
        assert_int_equal(expect(GATE_BRING_IN, a)->bytes, 20);
        assert_int_equal(view(a).need, 60);
        brought_in(a, 20, true);
        assert_int_equal(expect(GATE_GO, a)->bytes, 40);
        assert_int_equal(gate_memory(g, now, a, 20, 0, 20, 20, 40), 0); /* nobody waits, it returns it all the same */
        hear();
        want(b, 40);
        assert_int_equal(expect(GATE_AVAILABLE, b)->bytes, 10);
        want(a, 60);
        assert_int_equal(expect(GATE_AVAILABLE, a)->bytes, 40);
}

/* One of a lower class that was let in has a turn that pays for its coming in, and no longer. */
static void test_least_turn_of_a_lower_class(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_BATCH, 60);
        b = asking(WIRE_INTERACTIVE, 60);
        expect(GATE_GIVE_WAY, a);
        now += 1 * S; /* so long do switches take here */
        gives_way(a, true);
        evicted(a, 40, 20, true);
        expect(GATE_GO, b);
        owns(b, 60, 0);
        work_for(1 * S, GATE_NONE, GATE_NONE);
        expect(GATE_GIVE_WAY, b); /* idle */
        gives_way(b, false);
        evicted(b, 40, 20, true);
        brought_in(a, 60, true);
        expect(GATE_GO, a);
        want(b, 60); /* at once again */
        assert_null(find(GATE_GIVE_WAY, a));
        assert_non_null(find(GATE_WAIT, b));
        work_for(100 * MS, a, GATE_NONE);
        assert_null(find(GATE_GIVE_WAY, a));
        work_for(10 * S, a, GATE_NONE);
        assert_int_equal(expect(GATE_GIVE_WAY, a)->reason, WIRE_GIVE_PRIORITY);
        assert_true(view(a).ran_ns <= 2 * S + 100 * MS); /* slice.min, not the slice */
}

/* It came in past the head: it stays for as long as that cost, and is not let in and asked out in the same step. */
static void test_let_in_past_the_head_for_a_turn(void **state)
{
        uint32_t a, head, small;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 60);
        head = asking(WIRE_NORMAL, 50);
        work_for(1500 * MS, a, GATE_NONE);
        assert_int_equal(seen_n, 0);
        small = asking(WIRE_NORMAL, 40);
        expect(GATE_GO, small);
        owns(small, 40, 0);
        work_for(60 * S, a, small);
        expect(GATE_GIVE_WAY, a);
        assert_null(find(GATE_GIVE_WAY, small)); /* a's suffices */
        gives_way(a, true);
        assert_int_equal(expect(GATE_EVICT, a)->bytes, 50);
        evicted(a, 10, 50, true);
        expect(GATE_GO, head);
}

/* In small steps it does not wait for a move at each. */
static void test_growth_moves_some_more_than_it_lacks(void **state)
{
        struct gate_settings s = plain();
        uint64_t gib = UINT64_C(1) << 30;
        uint32_t a, b;

        (void)state;
        gate_free(g);
        now = 0;
        g = gate_new(CLIENTS, DEVICES, &s);
        assert_int_equal(gate_add_device(g, 0, 100 * gib), 0);
        a = running(WIRE_NORMAL, 60 * gib);
        b = running(WIRE_BATCH, 40 * gib);
        want(a, 70 * gib);
        work_for(2 * S, a, b);
        gives_way(b, true);
        assert_int_equal(expect(GATE_EVICT, b)->bytes, 12 * gib); /* what is lacking, and 2 */
        evicted(b, 30 * gib, 10 * gib, false);
        assert_int_equal(expect(GATE_AVAILABLE, a)->bytes, 10 * gib);
        evicted(b, 28 * gib, 2 * gib, true);
        owns(a, 70 * gib, 0);
        want(a, 72 * gib);
        assert_int_equal(expect(GATE_AVAILABLE, a)->bytes, 2 * gib); /* at once */
        owns(a, 72 * gib, 0);
        want(a, 73 * gib);
        assert_int_equal(expect(GATE_EVICT, b)->bytes, 3 * gib);
}

static void test_growth_past_the_head_keeps_the_slice(void **state)
{
        uint32_t a;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 50);
        asking(WIRE_NORMAL, 60);
        want(a, 60); /* the 50 that are free are no use to the head yet */
        assert_int_equal(expect(GATE_AVAILABLE, a)->bytes, 10);
        assert_null(find(GATE_GIVE_WAY, a));
        owns(a, 60, 0);
        work_for(60 * S, a, GATE_NONE);
        assert_int_equal(expect(GATE_GIVE_WAY, a)->reason, WIRE_GIVE_SLICE);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_slice_exceeds_the_measured_switch),
                cmocka_unit_test(test_forced_rotation_under_default_settings),
                cmocka_unit_test(test_long_runner_gives_way_at_once),
                cmocka_unit_test(test_fixed_slice_as_with_nvshare),
                cmocka_unit_test(test_ageing_lifts_a_batch_waiter),
                cmocka_unit_test(test_small_one_fills_the_gap_without_protection),
                cmocka_unit_test(test_freed_memory_wakes_a_waiter_in_the_same_step),
                cmocka_unit_test(test_growth_in_a_slice_takes_from_those_who_wait),
                cmocka_unit_test(test_growth_past_the_head_keeps_the_slice),
                cmocka_unit_test(test_growth_moves_some_more_than_it_lacks),
                cmocka_unit_test(test_a_known_link_tightens_the_bound),
                cmocka_unit_test(test_least_turn_of_a_lower_class),
                cmocka_unit_test(test_two_grow_while_a_third_waits),
                cmocka_unit_test(test_two_grow_and_the_older_had_its_turn),
                cmocka_unit_test(test_declared_need_is_kept_while_it_grows),
                cmocka_unit_test(test_declared_too_much_ends_with_the_slice),
                cmocka_unit_test(test_what_is_kept_for_a_mate_goes_before_anybody),
                cmocka_unit_test(test_need_as_observed),
                cmocka_unit_test(test_let_in_past_the_head_for_a_turn),
        };

        return cmocka_run_group_tests(tests, NULL, end);
}
