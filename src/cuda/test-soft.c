/* test-soft.c: refusals over the soft limit: once, not for small ones, not again at once; and that both kinds of programs get on. */
#include "cuda/soft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

static void test_below(void **state)
{
        struct soft s = {.limit = 100 * MIB}, none = {0};
        uint64_t last = 0;

        (void)state;
        assert_false(soft_refuse(&s, &last, 0, 100 * MIB));
        assert_false(soft_refuse(&s, &last, 90 * MIB, 10 * MIB));
        assert_false(soft_refuse(&none, &last, 1000 * MIB, 1000 * MIB));
}

static void test_once(void **state)
{
        struct soft s = {.limit = 100 * MIB};
        uint64_t last = 0, other = 0;

        (void)state;
        assert_true(soft_refuse(&s, &last, 95 * MIB, 10 * MIB));
        assert_false(soft_refuse(&s, &other, 95 * MIB, 10 * MIB)); /* another thread's: too little grown */
        assert_false(soft_refuse(&s, &last, 105 * MIB, 10 * MIB)); /* the same again gets it */
        assert_false(soft_refuse(&s, &last, 115 * MIB, 10 * MIB));
        assert_true(soft_refuse(&s, &last, 125 * MIB, 10 * MIB)); /* grown by an eighth of the limit since */
        assert_false(soft_refuse(&s, &last, 125 * MIB, 10 * MIB));
}

static void test_small(void **state)
{
        struct soft s = {.limit = 100 * MIB, .asked = true};
        uint64_t last = 0;

        (void)state;
        assert_false(soft_refuse(&s, &last, 200 * MIB, MIB));
        assert_true(s.asked);
        assert_true(soft_refuse(&s, &last, 200 * MIB, 2 * MIB));
        assert_false(s.asked);
}

/* A soft trim does so below the limit, and without one. */
static void test_asked(void **state)
{
        struct soft s = {.asked = true};
        uint64_t last = 0;

        (void)state;
        assert_true(soft_refuse(&s, &last, 0, 4 * MIB));
        assert_false(soft_refuse(&s, &last, 0, 4 * MIB));
        assert_false(soft_refuse(&s, &last, 4 * MIB, 4 * MIB));
}

/* A program that frees its cache stays near the limit and is refused each time that it comes there. */
static void test_cache(void **state)
{
        struct soft s = {.limit = 100 * MIB};
        uint64_t last = 0, used = 20 * MIB, highest = 0;
        unsigned int refused = 0;

        (void)state;
        for (int i = 0; i < 100; i++) {
                if (soft_refuse(&s, &last, used, 8 * MIB)) {
                        refused++;
                        used = 20 * MIB;
                        assert_false(soft_refuse(&s, &last, used, 8 * MIB));
                }
                used += 8 * MIB;
                highest = used > highest ? used : highest;
        }
        assert_int_equal(highest, 100 * MIB);
        assert_int_equal(refused, 9);
}

/* One without a cache asks again, and gets whatever it wants. */
static void test_no_cache(void **state)
{
        struct soft s = {.limit = 100 * MIB};
        uint64_t last = 0, used = 0;
        unsigned int refused = 0;

        (void)state;
        for (int i = 0; i < 100; i++) {
                if (soft_refuse(&s, &last, used, 4 * MIB)) {
                        refused++;
                        assert_false(soft_refuse(&s, &last, used, 4 * MIB));
                }
                used += 4 * MIB;
        }
        assert_int_equal(used, 400 * MIB);
        assert_in_range(refused, 10, 24);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_below), cmocka_unit_test(test_once),  cmocka_unit_test(test_small),
                cmocka_unit_test(test_asked), cmocka_unit_test(test_cache), cmocka_unit_test(test_no_cache),
        };

        return cmocka_run_group_tests_name("soft", tests, NULL, NULL);
}
