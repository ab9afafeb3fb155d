/* test-prefetch.c: clients that are announced come in before they ask, and cost nobody anything. */
#include "gate/test-gate.h"

/* A client all of whose memory is out, and that does not ask for it. */
static uint32_t out(uint64_t bytes)
{
        return add_spec((struct gate_client_spec){.priority = WIRE_NORMAL, .admitted = true, .movable_bytes = bytes, .backed_bytes = bytes});
}

static void announce(uint32_t client, uint64_t ns)
{
        assert_int_equal(gate_prefetch(g, now, client, now + ns), 0);
        hear();
}

static void test_comes_into_free_room(void **state)
{
        uint32_t a, c;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 50);
        c = out(40);
        announce(c, 10 * S);
        assert_int_equal(expect(GATE_BRING_IN, c)->bytes, 40);
        assert_null(find(GATE_WAIT, c)); /* it asked for nothing */
        brought_in(c, 40, true);
        expect(GATE_GO, c);
        assert_int_equal(view(a).state, WIRE_RUNNING);
        assert_int_equal(view(c).state, WIRE_RUNNING);
        /* It was never a wait of anybody's. */
        assert_int_equal(view(c).waited_ns, 0);
}

static void test_takes_the_place_of_one_that_is_idle_never_of_one_that_works(void **state)
{
        uint32_t a, b, c;

        (void)state;
        begin();
        a = running(WIRE_BATCH, 50);
        b = running(WIRE_NORMAL, 50);
        c = out(40);
        announce(c, 400 * S);
        assert_true(gate_contended(g, 0)); /* now it is looked at who works */
        work_for(300 * S, a, b);
        assert_int_equal(seen_n, 0); /* not even one of a lower class whose slice has long ended */
        work_for(2 * S, a, GATE_NONE);
        assert_int_equal(expect(GATE_GIVE_WAY, b)->reason, WIRE_GIVE_IDLE);
        gives_way(b, false);
        assert_int_equal(expect(GATE_EVICT, b)->bytes, 40);
        evicted(b, 10, 40, true);
        brought_in(c, 40, true);
        expect(GATE_GO, c);
        assert_int_equal(view(a).state, WIRE_RUNNING);
}

static void test_is_forgotten_in_time(void **state)
{
        uint32_t a, c;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 80);
        c = out(40);
        announce(c, 10 * S);
        work_for(20 * S, a, GATE_NONE);
        expect(GATE_CONTENDED, GATE_NONE);
        assert_false(gate_contended(g, 0));
        assert_int_equal(gate_next_deadline(g), GATE_NEVER);
        gone(a);
        assert_null(find(GATE_BRING_IN, c));
}

static void test_whoever_asks_goes_before(void **state)
{
        uint32_t b, c, d;

        (void)state;
        begin();
        running(WIRE_NORMAL, 20);
        c = out(60);
        announce(c, 60 * S);
        assert_int_equal(expect(GATE_BRING_IN, c)->bytes, 60);
        brought_in(c, 30, false); /* in the middle of it */
        d = asking(WIRE_BATCH, 70);
        assert_int_equal(expect(GATE_EVICT, c)->bytes, 50);
        evicted(c, 10, 50, true);
        assert_non_null(find(GATE_GO, d));
        /* And while somebody waits nothing of the kind begins. */
        b = asking(WIRE_NORMAL, 50);
        assert_null(find(GATE_GO, b));
        announce(c, 60 * S);
        assert_null(find(GATE_BRING_IN, c));
}

static void test_what_asks_in_the_middle_is_served_as_any(void **state)
{
        uint32_t c;

        (void)state;
        begin();
        c = out(60);
        announce(c, 60 * S);
        brought_in(c, 30, false);
        want(c, 60);
        brought_in(c, 60, true);
        assert_int_equal(expect(GATE_GO, c)->ticket, 7);
}

static void test_what_was_announced_while_it_gave_way_and_asks_is_not_forgotten(void **state)
{
        uint32_t a, here, there;

        (void)state;
        begin();
        a = running(WIRE_NORMAL, 60);
        here = add_spec((struct gate_client_spec){.priority = WIRE_NORMAL, .job = 3, .admitted = true, .movable_bytes = 60, .backed_bytes = 60});
        there = add_spec((struct gate_client_spec){.priority = WIRE_NORMAL, .device = 1, .job = 3, .admitted = true});
        want(there, 10); /* nobody waits for the device of a but by a mate that asks elsewhere */
        work_for(10 * S, GATE_NONE, GATE_NONE);
        expect(GATE_GIVE_WAY, a);
        announce(a, 20 * S);
        gives_way(a, true);
        evicted(a, 40, 20, true);
        brought_in(here, 60, true);
        expect(GATE_GO, there);
        assert_true(view(a).wants);
        now += 21 * S; /* the announcement is over, its own wish is not */
        gone(here);
        expect(GATE_BRING_IN, a);
        brought_in(a, 60, true);
        expect(GATE_GO, a);
}

static void test_announced_ones_leave_each_other_alone(void **state)
{
        uint32_t a, c;

        (void)state;
        begin();
        a = out(60);
        c = out(60);
        announce(a, 60 * S);
        brought_in(a, 60, true);
        expect(GATE_GO, a);
        announce(c, 60 * S);
        work_for(30 * S, GATE_NONE, GATE_NONE); /* a is idle, and stays */
        assert_null(find(GATE_GIVE_WAY, a));
        assert_int_equal(gate_prefetch(g, now, a, now), 0); /* taken back */
        hear();
        assert_int_equal(expect(GATE_GIVE_WAY, a)->reason, WIRE_GIVE_IDLE);
}

static void test_who_can_not_be_announced(void **state)
{
        uint32_t job, storage;

        (void)state;
        begin();
        job = add_spec((struct gate_client_spec){.priority = WIRE_NORMAL, .job = 3, .admitted = true});
        assert_int_equal(gate_prefetch(g, now, job, now + S), 0); /* alone in it */
        add_spec((struct gate_client_spec){.priority = WIRE_NORMAL, .job = 3, .admitted = true});
        storage = add_spec((struct gate_client_spec){.storage = true});
        assert_int_equal(gate_prefetch(g, now, job, now + S), -E_MESSAGE);
        assert_int_equal(gate_prefetch(g, now, storage, now + S), -E_MESSAGE);
        assert_int_equal(gate_prefetch(g, now, CLIENTS, now + S), -E_MESSAGE);
        assert_int_equal(gate_prefetch(g, now, add(WIRE_NORMAL), now + S), -E_MESSAGE); /* it never ran */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_comes_into_free_room),
                cmocka_unit_test(test_takes_the_place_of_one_that_is_idle_never_of_one_that_works),
                cmocka_unit_test(test_is_forgotten_in_time),
                cmocka_unit_test(test_whoever_asks_goes_before),
                cmocka_unit_test(test_what_asks_in_the_middle_is_served_as_any),
                cmocka_unit_test(test_what_was_announced_while_it_gave_way_and_asks_is_not_forgotten),
                cmocka_unit_test(test_announced_ones_leave_each_other_alone),
                cmocka_unit_test(test_who_can_not_be_announced),
        };

        return cmocka_run_group_tests(tests, NULL, end);
}
