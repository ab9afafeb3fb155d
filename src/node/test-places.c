/* test-places.c: whoever asks next can come in whole; nobody has more than is there. */
#include "node/places.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdlib.h>

#define GIB (UINT64_C(1) << 30)

static void test_what_fits_is_not_bounded(void **state)
{
        struct places_program p[] = {{.wanted = 60 * GIB, .devices = 1}, {.wanted = 40 * GIB, .devices = 1}};
        uint64_t over[64] = {20 * GIB};

        (void)state;
        assert_false(places_share(p, 2, over, 104 * GIB, GIB));
        assert_true(p[0].places == PLACES_UNBOUNDED && p[1].places == PLACES_UNBOUNDED);
}

/* Three models of which two fit, and a host that can't hold all three. */
static void test_three_models(void **state)
{
        struct places_program p[] = {{.wanted = 60 * GIB, .devices = 1}, {.wanted = 60 * GIB, .devices = 1}, {.wanted = 60 * GIB, .devices = 1}};
        uint64_t over[64] = {57 * GIB};

        (void)state;
        assert_true(places_share(p, 3, over, 104 * GIB, GIB));
        for (int i = 0; i < 3; i++)
                assert_int_equal(p[i].places, 34 * GIB);
}

/* Two that need more than half of the arena from each other: first come, first served. */
static void test_too_small(void **state)
{
        struct places_program p[] = {{.wanted = 101 * GIB, .devices = 1}, {.wanted = 101 * GIB, .devices = 1}};
        uint64_t over[64] = {77 * GIB};

        (void)state;
        assert_false(places_share(p, 2, over, 104 * GIB, GIB));
        assert_true(p[0].places == PLACES_UNBOUNDED);
        assert_int_equal(places_needed(p, 2, over, GIB), 154 * GIB);
        assert_true(places_share(p, 2, over, 154 * GIB, GIB));
        assert_false(places_share(p, 2, over, 153 * GIB, GIB));
}

/* Never more than what all want, and what is said to be needed is enough: it bounds them, or all fit. */
static void test_needed(void **state)
{
        struct places_program three[] = {{.wanted = 60 * GIB, .devices = 1}, {.wanted = 60 * GIB, .devices = 1}, {.wanted = 60 * GIB, .devices = 1}};
        struct places_program two[] = {{.wanted = 60 * GIB, .devices = 1}, {.wanted = 60 * GIB, .devices = 1}};
        struct places_program crossing[] = {{.wanted = 120 * GIB, .devices = 3}, {.wanted = 60 * GIB, .devices = 1}, {.wanted = 60 * GIB, .devices = 2}};
        uint64_t one[64] = {57 * GIB}, all[64] = {60 * GIB}, none[64] = {0}, both[64] = {30 * GIB, 30 * GIB};

        (void)state;
        assert_int_equal(places_needed(three, 3, one, GIB), 87 * GIB); /* heights are whole segments: three times 29 */
        assert_int_equal(places_needed(two, 2, all, GIB), 120 * GIB);
        assert_int_equal(places_needed(two, 2, none, GIB), 0);
        assert_int_equal(places_needed(two, 0, one, GIB), 0);
        assert_true(places_share(crossing, 3, both, places_needed(crossing, 3, both, GIB), GIB));
}

static void test_small_ones_keep_what_they_want(void **state)
{
        struct places_program p[] = {{.wanted = 4 * GIB, .devices = 1}, {.wanted = 80 * GIB, .devices = 1}, {.wanted = 80 * GIB, .devices = 1}};
        uint64_t over[64] = {40 * GIB};

        (void)state;
        assert_true(places_share(p, 3, over, 100 * GIB, GIB));
        assert_true(p[0].places >= 4 * GIB);
        assert_true(p[1].places >= 40 * GIB && p[1].places == p[2].places);
}

static void test_nobody(void **state)
{
        uint64_t over[64] = {0};

        (void)state;
        assert_false(places_share(NULL, 0, over, 0, GIB));
}

/* Whatever they want: the sum stays within the arena, and bounds are given only where everyone can come in beside them. */
static void test_many(void **state)
{
        (void)state;
        srand(7);
        for (int round = 0; round < 20000; round++) {
                struct places_program p[9];
                uint64_t over[64] = {0}, sum = 0, need[4] = {0}, budget = (uint64_t)(rand() % 300) * GIB / 2;
                size_t n = 1 + (size_t)rand() % 9;

                for (size_t i = 0; i < n; i++) {
                        p[i] = (struct places_program){.wanted = (uint64_t)(rand() % 900) * GIB / 10, .devices = 1u << rand() % 4};
                        need[__builtin_ctzll(p[i].devices)] += p[i].wanted;
                }
                for (int d = 0; d < 4; d++)
                        over[d] = need[d] > 126 * GIB ? need[d] - 126 * GIB + GIB : 0;
                if (!places_share(p, n, over, budget, GIB)) {
                        for (size_t i = 0; i < n; i++)
                                assert_true(p[i].places == PLACES_UNBOUNDED);
                        continue;
                }
                for (size_t i = 0; i < n; i++) {
                        uint64_t others = 0;

                        sum += p[i].places;
                        for (size_t k = 0; k < n; k++)
                                others += k != i && p[k].devices == p[i].devices ? p[k].places : 0;
                        assert_true(others >= over[__builtin_ctzll(p[i].devices)]);
                }
                assert_true(sum <= budget);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_what_fits_is_not_bounded), cmocka_unit_test(test_three_models),
                cmocka_unit_test(test_too_small), cmocka_unit_test(test_needed),                cmocka_unit_test(test_small_ones_keep_what_they_want),
                cmocka_unit_test(test_nobody),                   cmocka_unit_test(test_many),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
