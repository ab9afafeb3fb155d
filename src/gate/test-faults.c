/* test-faults.c: clients that are silent, refuse, fail or lie; restarts; the table of states. */
#include "gate/test-gate.h"

/* --- the silent and the refusing --- */

static void test_one_that_never_gives_way_is_contained(void **state)
{
        uint32_t a, b, c;
        uint64_t asked;

        (void)state;
        begin();
        a = running(WIRE_BATCH, 60);
        b = asking(WIRE_NORMAL, 60);
        expect(GATE_GIVE_WAY, a);
        asked = now;
        tick_to(now + 30 * S);
        assert_int_equal(expect(GATE_REPORT, a)->code, -E_STUCK);
        assert_int_equal(expect(GATE_WAIT, b)->reason, WIRE_WAIT_STUCK);
        assert_true(view(a).stuck);
        c = asking(WIRE_NORMAL, 40);
        expect(GATE_GO, c); /* the others go on with what is left */
        owns(c, 40, 0);
        while (!find(GATE_KILL, a)) {
                assert_true(gate_next_deadline(g) <= 500 * S);
                gate_active(g, now, c);
                tick_to(gate_next_deadline(g));
        }
        assert_int_equal(now, asked + 330 * S);
        gone(a);
        expect(GATE_GO, b);
}

static void test_stuck_one_that_answers_after_all(void **state)
{
        uint32_t a;

        (void)state;
        begin();
        a = running(WIRE_BATCH, 60);
        asking(WIRE_NORMAL, 60);
        tick_to(now + 30 * S);
        gives_way(a, true);
        assert_false(view(a).stuck);
        assert_int_equal(expect(GATE_EVICT, a)->bytes, 20);
}

static void test_silent_one_is_evicted_like_any_other(void **state)
{
        uint32_t a;

        (void)state;
        begin();
        a = asking(WIRE_BATCH, 80); /* and never tells what it does with it */
        asking(WIRE_NORMAL, 60);
        for (uint32_t i = 0; i < 10 && !find(GATE_GIVE_WAY, a); i++)
                tick_to(gate_next_deadline(g));
        gives_way(a, false);
        assert_int_equal(expect(GATE_EVICT, a)->bytes, 40);
}

static void test_stuck_victim_frees_the_half_filled(void **state)
{
        uint32_t a, c;

        (void)state;
        begin();
        a = running(WIRE_BATCH, 60);
        asking(WIRE_NORMAL, 60); /* gets the 40 that are free, waits for 20 */
        c = asking(WIRE_NORMAL, 40);
        assert_null(find(GATE_GO, c));
        tick_to(now + 30 * S);
        expect(GATE_REPORT, a);
        expect(GATE_GO, c);
}

static void test_failed_move_in_backs_off(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 60);
        b = asking(WIRE_NORMAL, 60);
        work_for(60 * S, a, GATE_NONE);
        gives_way(a, true);
        evicted(a, 40, 20, true);
        gone(b);
        assert_int_equal(expect(GATE_BRING_IN, a)->bytes, 20);
        assert_int_equal(gate_brought_in(g, now, a, 0, 60, 0, 0, false, -ENOMEM), 0);
        hear();
        assert_null(find(GATE_BRING_IN, a));
        assert_int_equal(view(a).state, WIRE_WAITING);
        b = asking(WIRE_NORMAL, 60);
        expect(GATE_GO, b); /* others first */
        gone(b);
        tick_to(now + 1 * S);
        assert_int_equal(expect(GATE_BRING_IN, a)->bytes, 60);
}

static void test_failed_move_out_does_not_spin(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_BATCH, 60);
        b = asking(WIRE_NORMAL, 60);
        gives_way(a, false);
        expect(GATE_EVICT, a);
        assert_int_equal(gate_evicted(g, now, a, 60, 0, 0, 0, true, -E_ARENA), 0);
        hear();
        assert_null(find(GATE_EVICT, a));
        assert_int_equal(expect(GATE_WAIT, b)->reason, WIRE_WAIT_ARENA);
        tick_to(now + 1 * S);
        expect(GATE_EVICT, a);
}

/* Places on the host may only just be on their way to the one that was to go out: it is asked again before anyone is refused. */
static void test_failed_move_out_refuses_no_growth(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_BATCH, 60);
        b = running(WIRE_NORMAL, 40);
        want(b, 50);
        gives_way(a, false);
        expect(GATE_EVICT, a);
        assert_int_equal(gate_evicted(g, now, a, 60, 0, 0, 0, true, -E_ARENA), 0);
        hear();
        assert_null(find(GATE_DENY, b));
        tick_to(now + 1 * S);
        expect(GATE_EVICT, a);
        evicted(a, 50, 10, true);
        assert_int_equal(expect(GATE_AVAILABLE, b)->bytes, 10);
        /* With nowhere to go it is refused. */
        gate_arena(g, now, 0);
        hear();
        assert_int_equal(gate_memory(g, now, b, 50, 0, 50, 0, 0), 0);
        want(b, 100);
        while (find(GATE_EVICT, a)) {
                assert_int_equal(gate_evicted(g, now, a, 50, 0, 0, 0, true, -E_ARENA), 0);
                hear();
                if (!find(GATE_DENY, b))
                        tick_to(g->deadline);
        }
        assert_int_equal(expect(GATE_DENY, b)->code, -E_ARENA);
}

/* It wants to run again, and does, in the very pass in which the other one's growth can't be met: its slice will end. */
static void test_who_failed_to_leave_and_runs_on_refuses_no_growth(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_BATCH, 60);
        b = running(WIRE_NORMAL, 40);
        want(b, 50);
        gives_way(a, true);
        expect(GATE_EVICT, a);
        assert_int_equal(gate_evicted(g, now, a, 60, 0, 0, 0, true, -E_ARENA), 0);
        hear();
        expect(GATE_GO, a);
        assert_null(find(GATE_DENY, b));
}

/* --- books --- */

static void test_lies_change_nothing(void **state)
{
        scoped(gate_free) struct gate *before = NULL;
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 60);
        b = add(WIRE_NORMAL);
        before = gate_clone(g);
        assert_non_null(before);
        assert_int_equal(gate_memory(g, now, a, 60, 0, 60, 60, 61), -E_MESSAGE);          /* returns more than it has */
        assert_int_equal(gate_memory(g, now, a, 60, 0, 60, 60, 1), -E_MESSAGE);           /* returns what it uses */
        assert_int_equal(gate_memory(g, now, a, 80, 0, 80, 80, 0), -E_MESSAGE);           /* more on the device than granted */
        assert_int_equal(gate_memory(g, now, a, 60, 1, 60, 60, 0), -E_MESSAGE);
        assert_int_equal(gate_memory(g, now, a, 30, 0, 60, 60, 0), -E_MESSAGE);           /* more resident than owned */
        assert_int_equal(gate_memory(g, now, a, 60, 0, 30, 60, 0), -E_MESSAGE);           /* runs with half of it outside */
        assert_int_equal(gate_memory(g, now, a, UINT64_MAX, UINT64_MAX, 1, 0, 0), -E_MESSAGE);
        assert_int_equal(gate_memory(g, now, b, 10, 0, 0, 0, 0), -E_MESSAGE);             /* owns before it was let in */
        assert_int_equal(gate_memory(g, now, 5, 0, 0, 0, 0, 0), -E_MESSAGE);              /* nobody */
        assert_int_equal(gate_given_way(g, now, a, true), -E_MESSAGE);                    /* was not asked */
        assert_int_equal(gate_evicted(g, now, a, 0, 60, 60, 1, true, 0), -E_MESSAGE);
        assert_int_equal(gate_brought_in(g, now, b, 0, 0, 0, 0, true, 0), -E_MESSAGE);
        assert_int_equal(gate_want(g, now, a, UINT64_MAX, 1), -E_MESSAGE);
        assert_int_equal(gate_want(g, now, GATE_NONE, 1, 1), -E_MESSAGE);
        assert_memory_equal(g, before, gate_bytes(g));
}

static void test_resumed_clients_keep_what_they_hold(void **state)
{
        struct gate_client_spec spec = {.priority = WIRE_NORMAL, .admitted = true, .running = true, .grant_bytes = 60,
                                        .movable_bytes = 60, .resident_bytes = 60, .backed_bytes = 60};
        struct gate_device_view device;
        uint32_t a, b, bad;

        (void)state;
        begin();
        a = add_spec(spec);
        b = add_spec(spec); /* an earlier daemon had more room: nobody is cut off, one is asked to make room */
        assert_true(gate_view_device(g, now, 0, &device));
        assert_int_equal(device.granted, 120);
        assert_true(view(a).state == WIRE_GIVING_WAY || view(b).state == WIRE_GIVING_WAY);
        spec.resident_bytes = 50;
        assert_int_equal(gate_add_client(g, now, &spec, &bad), -E_MESSAGE);
        spec.device = 7;
        assert_int_equal(gate_add_client(g, now, &spec, &bad), -E_UNKNOWN_DEVICE);
}

static void test_foreign_growth_moves_all_but_the_last(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 50);
        b = running(WIRE_BATCH, 50);
        gate_foreign(g, now, 0, 20);
        hear();
        assert_int_equal(expect(GATE_GIVE_WAY, b)->reason, WIRE_GIVE_SETTINGS);
        gives_way(b, false);
        assert_int_equal(expect(GATE_EVICT, b)->bytes, 20);
        evicted(b, 30, 20, true);
        gate_foreign(g, now, 0, 90);
        hear();
        assert_null(find(GATE_GIVE_WAY, a)); /* alone: it stays */
}

/* The memory of a program that ends takes a while to go and looks foreign meanwhile: it makes others wait, but refuses nobody; what stays does. */
static void test_foreign_use_that_passes_refuses_nobody(void **state)
{
        uint32_t a;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 40);
        gate_foreign(g, now, 0, 55);
        hear();
        want(a, 50);
        assert_null(find(GATE_DENY, a));
        assert_non_null(find(GATE_WAIT, a));
        gate_foreign(g, now, 0, 0);
        hear();
        assert_non_null(find(GATE_AVAILABLE, a));
        gate_foreign(g, now, 0, 55);
        hear();
        want(a, 60);
        assert_null(find(GATE_DENY, a));
        assert_true(gate_next_deadline(g) <= now + 10 * S);
        tick_to(now + 10 * S);
        assert_non_null(find(GATE_DENY, a));
}

/* What gives way was meant to leave by 20, which have their places; then by 10 for a device that is too full and by more for who waits: the arena's places
 * count once. */
static void test_no_place_of_the_arena_is_counted_on_twice(void **state)
{
        const struct gate_client_spec more = {.priority = WIRE_NORMAL, .admitted = true, .grant_bytes = 30, .movable_bytes = 30, .resident_bytes = 30, .backed_bytes = 30};
        uint32_t a, b;

        (void)state;
        begin();
        a = asking(WIRE_NORMAL, 60);
        gate_arena(g, now, 20);
        assert_int_equal(gate_memory(g, now, a, 60, 0, 60, 20, 0), 0);
        now += 1 * MS;
        asking(WIRE_NORMAL, 60);
        work_for(10 * S, GATE_NONE, GATE_NONE);
        expect(GATE_GIVE_WAY, a);
        b = add_spec(more); /* 30 too many, 20 lacking: 40 of a have places, b has the other 10 */
        assert_int_equal(expect(GATE_EVICT, b)->bytes, 10);
}

static void test_numbers_run_out_and_come_back(void **state)
{
        struct gate_client_spec spec = {.priority = WIRE_NORMAL};
        uint32_t client;

        (void)state;
        begin();
        for (uint32_t i = 0; i < CLIENTS; i++)
                add(WIRE_NORMAL);
        assert_int_equal(gate_add_client(g, now, &spec, &client), -ENOSPC);
        gate_gone(g, now, 3);
        assert_int_equal(gate_add_client(g, now, &spec, &client), 0);
        assert_int_equal(client, 3);
        assert_int_equal(gate_add_device(g, 0, 1), -EEXIST);
        assert_int_equal(gate_add_device(g, DEVICES, 1), -ENOSPC);
}

static void test_nothing_reaches_the_next_of_that_number(void **state)
{
        struct gate_action action;
        uint32_t a;

        (void)state;
        begin();
        a = add(WIRE_NORMAL);
        assert_int_equal(gate_want(g, now, a, 10, 1), 0); /* the GO is not fetched */
        gate_gone(g, now, a);
        assert_false(gate_next_action(g, &action));
}

/* --- states --- */

static void test_state_table(void **state)
{
        static const uint32_t allowed[][2] = {{WIRE_WAITING, WIRE_RUNNING},  {WIRE_WAITING, WIRE_COMING_IN}, {WIRE_WAITING, WIRE_GOING_OUT},
                                              {WIRE_COMING_IN, WIRE_WAITING}, {WIRE_RUNNING, WIRE_GIVING_WAY},
                                              {WIRE_GIVING_WAY, WIRE_WAITING}, {WIRE_GOING_OUT, WIRE_WAITING}};

        (void)state;
        for (uint32_t from = 0; from <= WIRE_STATE_N; from++) {
                for (uint32_t to = 0; to <= WIRE_STATE_N; to++) {
                        bool may = false;

                        for (size_t i = 0; i < ARRAY_SIZE(allowed); i++)
                                may |= allowed[i][0] == from && allowed[i][1] == to;
                        assert_int_equal(gate_may_move(from, to), may);
                }
        }
}

static void test_states_are_walked(void **state)
{
        uint32_t a, b;

        (void)state;
        begin();
        a = add(WIRE_BATCH);
        assert_int_equal(view(a).state, WIRE_WAITING);
        want(a, 60);
        assert_int_equal(view(a).state, WIRE_RUNNING);
        owns(a, 60, 0);
        now += 1 * MS;
        b = asking(WIRE_NORMAL, 60);
        assert_int_equal(view(a).state, WIRE_GIVING_WAY);
        gives_way(a, true);
        assert_int_equal(view(a).state, WIRE_GOING_OUT);
        evicted(a, 40, 20, true);
        assert_int_equal(view(a).state, WIRE_WAITING);
        gone(b);
        assert_int_equal(view(a).state, WIRE_COMING_IN);
        brought_in(a, 60, true);
        assert_int_equal(view(a).state, WIRE_RUNNING);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_one_that_never_gives_way_is_contained),
                cmocka_unit_test(test_stuck_one_that_answers_after_all),
                cmocka_unit_test(test_silent_one_is_evicted_like_any_other),
                cmocka_unit_test(test_stuck_victim_frees_the_half_filled),
                cmocka_unit_test(test_failed_move_in_backs_off),
                cmocka_unit_test(test_failed_move_out_does_not_spin),
                cmocka_unit_test(test_failed_move_out_refuses_no_growth),
                cmocka_unit_test(test_who_failed_to_leave_and_runs_on_refuses_no_growth),
                cmocka_unit_test(test_lies_change_nothing),
                cmocka_unit_test(test_resumed_clients_keep_what_they_hold),
                cmocka_unit_test(test_foreign_growth_moves_all_but_the_last),
                cmocka_unit_test(test_foreign_use_that_passes_refuses_nobody),
                cmocka_unit_test(test_no_place_of_the_arena_is_counted_on_twice),
                cmocka_unit_test(test_numbers_run_out_and_come_back),
                cmocka_unit_test(test_nothing_reaches_the_next_of_that_number),
                cmocka_unit_test(test_state_table),
                cmocka_unit_test(test_states_are_walked),
        };

        return cmocka_run_group_tests(tests, NULL, end);
}
