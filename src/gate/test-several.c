/* test-several.c: programs that have memory on several devices and one gate for all of them. */
#include "gate/test-gate.h"

static uint32_t on(uint32_t device, uint64_t process)
{
        return add_spec((struct gate_client_spec){.priority = WIRE_NORMAL, .device = device, .job = process, .process = process});
}

static void runs(uint32_t client, uint64_t bytes)
{
        want(client, bytes);
        assert_int_equal(view(client).state, WIRE_RUNNING);
        owns(client, bytes, 0);
        now += 1 * MS;
}

/* Each waits for what the other holds, on another device: on neither do all that run want to grow. */
static void test_each_holds_what_the_other_waits_for(void **state)
{
        uint32_t a0, a1, b0, b1;

        (void)state;
        begin();
        a0 = on(0, 1);
        a1 = on(1, 1);
        b0 = on(0, 2);
        b1 = on(1, 2);
        runs(a0, 80);
        runs(b1, 80);
        runs(a1, 10);
        runs(b0, 10);
        want(a1, 40);
        assert_null(find(GATE_GIVE_WAY, b1)); /* it works, and has its slice */
        want(b0, 40);
        assert_int_equal(expect(GATE_GIVE_WAY, b1)->reason, WIRE_GIVE_DEADLOCK); /* the younger, at once, on both devices */
        assert_int_equal(expect(GATE_GIVE_WAY, b0)->reason, WIRE_GIVE_DEADLOCK);
        assert_null(find(GATE_GIVE_WAY, a0));
        gives_way(b0, true);
        gives_way(b1, true);
        assert_int_equal(expect(GATE_EVICT, b1)->bytes, 80);
        evicted(b1, 50, 30, false);
        assert_int_equal(expect(GATE_AVAILABLE, a1)->bytes, 30); /* before b, which began to wait as early */
}

/* Three in a ring, and one beside it that waits for one of them. */
static void test_whoever_works_breaks_the_ring(void **state)
{
        uint32_t a0, a1, b0, b1, c;

        (void)state;
        begin();
        a0 = on(0, 1);
        a1 = on(1, 1);
        b0 = on(0, 2);
        b1 = on(1, 2);
        runs(a0, 40);
        runs(b1, 80);
        runs(a1, 10);
        runs(b0, 10);
        c = running(WIRE_NORMAL, 40);
        want(a1, 40);
        want(b0, 60);
        assert_null(find(GATE_GIVE_WAY, b1)); /* c works on device 0, and b waits for it, too */
        assert_null(find(GATE_GIVE_WAY, a0));
        want(c, 70); /* now nobody works on either, and c came last */
        assert_int_equal(expect(GATE_GIVE_WAY, c)->reason, WIRE_GIVE_DEADLOCK);
}

/* It comes to one more device while others wait there for its slice to end: with the memory of those that don't run, as if it grew. */
static void test_one_that_runs_comes_to_one_more_device(void **state)
{
        uint32_t a0, a1, b0, b1, c1;

        (void)state;
        begin();
        a0 = on(0, 1);
        b0 = on(0, 2);
        b1 = on(1, 2);
        runs(b0, 70);
        runs(b1, 70);
        work_for(1 * S, b0, b1);
        want(a0, 80); /* waits for b's slice */
        work_for(400 * S, b0, b1);
        expect(GATE_GIVE_WAY, b0);
        gives_way(b0, true);
        gives_way(b1, true);
        evicted(b0, 20, 50, true);
        expect(GATE_GO, a0);
        owns(a0, 80, 0);
        assert_int_equal(view(b1).resident, 70); /* nobody wants it yet, and b is the head of both devices */
        a1 = on(1, 1);
        want(a1, 60);
        assert_int_equal(expect(GATE_EVICT, b1)->bytes, 30);
        evicted(b1, 40, 30, true);
        expect(GATE_GO, a1);
        c1 = on(1, 3); /* who does not run anywhere waits its turn */
        want(c1, 30);
        assert_null(find(GATE_EVICT, b1));
        assert_int_equal(view(c1).state, WIRE_WAITING);
}

/* What is told of a wait counts the devices that its job is on by now. */
static void test_a_bound_counts_the_device_of_a_mate_that_joins(void **state)
{
        uint32_t a, b;
        uint64_t before;

        (void)state;
        begin();
        gate_link(g, 0, 100);
        gate_link(g, 1, 1);
        running(WIRE_NORMAL, 100);
        a = on(0, 1);
        want(a, 50);
        b = asking(WIRE_NORMAL, 50);
        before = view(b).wait_bound_ns;
        assert_true(view(a).wait_bound_ns < 1000 * S);
        on(1, 1);
        assert_true(view(a).wait_bound_ns > 1000 * S); /* the other link carries a hundredth */
        assert_true(view(b).wait_bound_ns > before);   /* who waits behind it, too: devices depend on each other now */
        before = view(a).wait_bound_ns;
        on(0, 3);
        on(1, 3);
        assert_int_equal(view(a).wait_bound_ns, before); /* others that come later are no reason */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_each_holds_what_the_other_waits_for),
                cmocka_unit_test(test_whoever_works_breaks_the_ring),
                cmocka_unit_test(test_one_that_runs_comes_to_one_more_device),
                cmocka_unit_test(test_a_bound_counts_the_device_of_a_mate_that_joins),
        };

        return cmocka_run_group_tests(tests, NULL, end);
}
