/* test-gate.c: the rules of the gate, one small scenario each: what fits, growth, who gives way, jobs, storage. */
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
        s.limits_classes = false;
        s.band_high_percent = 60;
        gate_change_settings(g, now, &s);
        hear();
        assert_int_equal(gate_room(g, 0), 55);
        gate_foreign(g, now, 0, 20); /* what others use counts in the band */
        hear();
        assert_int_equal(gate_room(g, 0), 35);
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
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_BATCH, 50);
        b = running(WIRE_NORMAL, 50);
        asking(WIRE_NORMAL, 30);
        assert_int_equal(expect(GATE_GIVE_WAY, a)->reason, WIRE_GIVE_PRIORITY); /* lower class: at once */
        begin();
        a = running(WIRE_NORMAL, 50);
        b = running(WIRE_NORMAL, 50);
        asking(WIRE_NORMAL, 30);
        assert_null(find(GATE_GIVE_WAY, a));
        work_for(1 * S, a, GATE_NONE); /* b does nothing */
        assert_int_equal(expect(GATE_GIVE_WAY, b)->reason, WIRE_GIVE_IDLE);
}

static void test_bytes_of_the_waiting_leave_first(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 60);
        b = asking(WIRE_NORMAL, 50);
        work_for(60 * S, a, GATE_NONE);
        gives_way(a, false); /* stops wanting, 50 of its 60 stay */
        assert_int_equal(expect(GATE_EVICT, a)->bytes, 10);
        evicted(a, 50, 10, true);
        expect(GATE_GO, b);
        owns(b, 50, 0);
        asking(WIRE_NORMAL, 40);
        assert_int_equal(expect(GATE_EVICT, a)->bytes, 40); /* b runs on */
        assert_null(find(GATE_GIVE_WAY, b));
}

static void test_as_few_as_needed(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_BATCH, 20);
        b = running(WIRE_BATCH, 80);
        asking(WIRE_INTERACTIVE, 50);
        expect(GATE_GIVE_WAY, b);
        assert_null(find(GATE_GIVE_WAY, a)); /* its 20 would not help */
}

/* No more of it leaves than it may have places for; the rest comes from others, or is waited for with the reason. */
static void test_no_more_leaves_than_has_places(void **state)
{
        uint32_t a, b, c;

        (void)state;
        begin();
        a = running(WIRE_BATCH, 40);
        b = running(WIRE_BATCH, 40);
        gate_places(g, now, a, 15);
        gate_places(g, now, b, 15);
        c = asking(WIRE_INTERACTIVE, 60);
        assert_int_equal(expect(GATE_WAIT, c)->reason, WIRE_WAIT_ARENA);
        assert_null(find(GATE_GIVE_WAY, a));
        gate_places(g, now, b, 25);
        gate_arena(g, now, 0); /* counts from here on */
        hear();
        expect(GATE_GIVE_WAY, a);
        expect(GATE_GIVE_WAY, b);
        gives_way(a, false);
        assert_true(expect(GATE_EVICT, a)->bytes <= 15);
        gives_way(b, false);
        assert_true(expect(GATE_EVICT, b)->bytes <= 25);
}

static void test_unused_grant_is_asked_back_first(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 50);
        want(a, 90);
        b = asking(WIRE_NORMAL, 40);
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
        b = asking(WIRE_NORMAL, 60);
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

/* Whoever comes in begins with what is free, while the other still drains; then each step out is one step in, whole, for the head alone. */
static void test_exchange_begins_before_the_first_return(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        b = running(WIRE_NORMAL, 90);
        a = asking(WIRE_NORMAL, 80);
        work_for(60 * S, b, GATE_NONE);
        gives_way(b, true);
        evicted(b, 0, 90, true); /* more than it was asked for: all of it is outside */
        owns(a, 80, 0);
        asking(WIRE_NORMAL, 90);
        work_for(60 * S, a, GATE_NONE);
        expect(GATE_GIVE_WAY, a);
        assert_int_equal(expect(GATE_BRING_IN, b)->bytes, 20);
        assert_int_equal(gate_brought_in(g, now, b, 20, 0, 20, 1000, false, 0), 0);
        hear();
        gives_way(a, true);
        assert_int_equal(expect(GATE_EVICT, a)->bytes, 70);
        for (uint64_t left = 70; left; left -= 14) {
                evicted(a, 80 - 70 + left - 14, 14, left == 14);
                assert_int_equal(expect(GATE_BRING_IN, b)->bytes, 14);
                for (uint32_t i = 0; i < seen_n; i++)
                        assert_true(seen[i].client == b || seen[i].kind == GATE_WAIT);
        }
        brought_in(b, 90, true);
        expect(GATE_GO, b);
}

static void test_pinned_memory_stays(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = asking(WIRE_NORMAL, 60);
        owns(a, 10, 50);
        b = asking(WIRE_INTERACTIVE, 60);
        assert_int_equal(expect(GATE_WAIT, b)->reason, WIRE_WAIT_PINNED);
        assert_null(find(GATE_GIVE_WAY, a)); /* useless */
        gone(a);
        expect(GATE_GO, b);
}

static void test_given_way_for_one_who_died(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_BATCH, 60);
        b = asking(WIRE_NORMAL, 60);
        expect(GATE_GIVE_WAY, a);
        gone(b);
        gives_way(a, true);
        assert_int_equal(expect(GATE_GO, a)->bytes, 0); /* nothing left */
        assert_null(find(GATE_EVICT, a));
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

/* --- storage --- */

static uint32_t storing(uint64_t bytes)
{
        uint32_t client = add_spec((struct gate_client_spec){.priority = WIRE_NORMAL, .job = 5, .storage = true});

        want(client, bytes);
        assert_int_equal(expect(GATE_AVAILABLE, client)->bytes, bytes);
        owns(client, bytes, 0);
        return client;
}

static void test_storage_gets_what_is_free(void **state)
{
        struct gate_settings s = plain();
        uint32_t a, store;

        (void)state;
        s.client_part_bytes = 5;
        begin_with(&s);
        running(WIRE_NORMAL, 55);
        store = storing(30); /* without a part */
        want(store, 60);
        assert_int_equal(expect(GATE_AVAILABLE, store)->bytes, 10); /* as much as there is */
        want(store, 60);
        assert_int_equal(expect(GATE_DENY, store)->code, -E_UNAVAILABLE);
        assert_int_equal(expect(GATE_DENY, store)->bytes, 40);
        assert_int_equal(seen_n, 1); /* nobody gives way, nobody waits */
        assert_false(gate_contended(g, 0));
        assert_true(view(store).storage);
        a = add_spec((struct gate_client_spec){.priority = WIRE_NORMAL, .limit_bytes = 3, .storage = true, .device = 1});
        want(a, 4);
        assert_int_equal(expect(GATE_AVAILABLE, a)->bytes, 3);
        want(a, 4);
        assert_int_equal(expect(GATE_DENY, a)->code, -E_LIMIT);
}

static void test_storage_leaves_for_those_with_work(void **state)
{
        uint32_t a, b, store;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 30);
        store = storing(70);
        b = asking(WIRE_BATCH, 50);
        assert_int_equal(expect(GATE_EVICT, store)->bytes, 50);
        assert_null(find(GATE_GIVE_WAY, a));
        want(store, 80);
        expect(GATE_DENY, store);
        evicted(store, 20, 50, true);
        expect(GATE_GO, b);
        owns(b, 50, 0);
        assert_int_equal(view(store).movable, 20);
        want(a, 40); /* growth, too */
        assert_int_equal(expect(GATE_EVICT, store)->bytes, 10);
        evicted(store, 10, 10, true);
        expect(GATE_AVAILABLE, a);
}

/* It would not be enough, and a slice protects the rest: storage leaves all the same, and is given nothing meanwhile. */
static void test_storage_leaves_ahead_of_a_slice(void **state)
{
        uint32_t a, b, store;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 60);
        store = storing(30);
        b = asking(WIRE_NORMAL, 60);
        assert_null(find(GATE_GIVE_WAY, a));
        assert_int_equal(expect(GATE_EVICT, store)->bytes, 30);
        evicted(store, 0, 30, true);
        want(store, 10);
        expect(GATE_DENY, store);
        work_for(60 * S, a, GATE_NONE);
        expect(GATE_GIVE_WAY, a);
        gives_way(a, false);
        assert_int_equal(expect(GATE_EVICT, a)->bytes, 20);
        evicted(a, 40, 20, true);
        expect(GATE_GO, b);
        want(store, 10);
        expect(GATE_DENY, store); /* full */
}

static void test_storage_is_resumed_and_never_runs(void **state)
{
        struct gate_client_spec spec = {.priority = WIRE_NORMAL, .storage = true, .grant_bytes = 40, .movable_bytes = 40, .resident_bytes = 40,
                                        .running = true};
        uint32_t store;

        (void)state;
        begin();
        assert_int_equal(gate_add_client(g, now, &spec, &store), -E_MESSAGE);
        spec.running = false;
        store = add_spec(spec);
        assert_int_equal(view(store).grant, 40);
        assert_int_equal(gate_given_way(g, now, store, true), -E_MESSAGE);
        assert_int_equal(gate_brought_in(g, now, store, 40, 0, 0, 0, true, 0), -E_MESSAGE);
        gate_foreign(g, now, 0, 80);
        hear();
        assert_int_equal(expect(GATE_EVICT, store)->bytes, 20);
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
                cmocka_unit_test(test_no_more_leaves_than_has_places),
                cmocka_unit_test(test_unused_grant_is_asked_back_first),
                cmocka_unit_test(test_exchange_overlaps),
                cmocka_unit_test(test_exchange_begins_before_the_first_return),
                cmocka_unit_test(test_pinned_memory_stays),
                cmocka_unit_test(test_given_way_for_one_who_died),
                cmocka_unit_test(test_job_comes_in_on_all_devices_or_none),
                cmocka_unit_test(test_storage_gets_what_is_free),
                cmocka_unit_test(test_storage_leaves_for_those_with_work),
                cmocka_unit_test(test_storage_leaves_ahead_of_a_slice),
                cmocka_unit_test(test_storage_is_resumed_and_never_runs),
        };

        return cmocka_run_group_tests(tests, NULL, end);
}
