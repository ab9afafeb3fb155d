/* test-budget.c: counting launches stays within its budget, and a rate is always known. */
#include "bpf/budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SECOND 1000000000ULL

static void what_is_cheap_enough_is_always_counted(void **state)
{
        assert_int_equal(budget_window(1000, SECOND, 700000, 10, SECOND), SECOND); /* 0.7 ms of 10 */
        assert_int_equal(budget_window(UINT64_MAX, SECOND, 700000, 0, SECOND), SECOND); /* no bound */
        assert_int_equal(budget_window(0, SECOND, 700000, 10, SECOND), SECOND);
        assert_int_equal(budget_window(0, 0, 700000, 10, SECOND), SECOND);
}

static void more_is_counted_part_of_the_time(void **state)
{
        /* 100,000 a second at 1 µs are 100 ms a second; 10 may be. */
        assert_int_equal(budget_window(100000, SECOND, 1000000, 10, SECOND), SECOND / 10);
        /* The same rate seen through a window stays there. */
        assert_int_equal(budget_window(10000, SECOND / 10, 1000000, 10, SECOND), SECOND / 10);
        /* However many there are: a thousandth. */
        assert_int_equal(budget_window(UINT64_MAX, SECOND, UINT64_MAX, 1, SECOND), SECOND / 1000);
}

static void a_window_grows_step_by_step(void **state)
{
        assert_int_equal(budget_window(0, SECOND / 1000, 1000000, 10, SECOND), SECOND / 250);
        assert_int_equal(budget_window(1, SECOND / 100, 1000000, 10, SECOND), SECOND / 25);
        assert_int_equal(budget_window(1, SECOND / 2, 1000000, 10, SECOND), SECOND);
}

static void in_the_long_run_it_keeps_to_its_budget(void **state)
{
        uint64_t window = SECOND;

        for (int i = 0; i < 50; i++)
                window = budget_window(300000 * window / SECOND, window, 1200000, 10, SECOND); /* 300,000 launches a second */
        assert_in_range(window, SECOND / 36 - SECOND / 1000, SECOND / 36 + SECOND / 1000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_cheap_enough_is_always_counted),
                cmocka_unit_test(more_is_counted_part_of_the_time),
                cmocka_unit_test(a_window_grows_step_by_step),
                cmocka_unit_test(in_the_long_run_it_keeps_to_its_budget),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
