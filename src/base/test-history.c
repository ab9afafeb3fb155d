/* test-history.c: slots, levels, plots and sets; bytes come back as they went, damaged ones not at all. */
#include "base/history.h"

#include "base/error.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define S UINT64_C(1000000000)

static const struct history_level small[] = {{S, 10}, {5 * S, 4}};

static void mean_and_most_of_a_slot(void **state)
{
        scoped(history_free) struct history *h = NULL;

        (void)state;
        assert_int_equal(history_new(small, 2, &h), 0);
        assert_false(history_known(history_at(h, 0, 100)));
        history_put(h, 100 * S, 1);
        history_put(h, 100 * S + S / 2, 4);
        history_put(h, 100 * S + S / 2, NAN);
        assert_true(history_at(h, 0, 100).mean == 2.5f);
        assert_true(history_at(h, 0, 100).most == 4);
        history_put(h, 103 * S, -2);
        assert_false(history_known(history_at(h, 0, 101)));
        assert_false(history_known(history_at(h, 0, 102)));
        assert_true(history_at(h, 0, 103).mean == -2);
        assert_true(history_at(h, 0, 103).most == -2);
        assert_true(history_at(h, 1, 20).mean == 1);
        assert_true(history_at(h, 1, 20).most == 4);
        /* What couldn't be measured is no number and no zero. */
        history_put(h, 104 * S, NAN);
        assert_false(history_known(history_at(h, 0, 104)));
        history_put(h, 104 * S, INFINITY);
        assert_false(history_known(history_at(h, 0, 104)));
}

static void old_slots_are_given_up(void **state)
{
        scoped(history_free) struct history *h = NULL;

        (void)state;
        assert_int_equal(history_new(small, 2, &h), 0);
        for (uint64_t i = 0; i < 30; i++)
                history_put(h, i * S, (double)i);
        for (uint64_t i = 0; i < 40; i++)
                assert_int_equal(history_known(history_at(h, 0, i)), i >= 20 && i < 30);
        assert_true(history_at(h, 0, 25).mean == 25);
        for (uint64_t i = 0; i < 10; i++)
                assert_int_equal(history_known(history_at(h, 1, i)), i >= 2 && i < 6);
        assert_true(history_at(h, 1, 5).mean == 27);
        /* A late one does nothing; a gap longer than the ring empties it. */
        history_put(h, 21 * S, 1000);
        assert_true(history_at(h, 0, 21).mean == 21);
        history_put(h, 1000000 * S, 7);
        for (uint64_t i = 0; i < 40; i++)
                assert_false(history_known(history_at(h, 0, i)));
        assert_true(history_at(h, 0, 1000000).mean == 7);
        history_put(h, UINT64_MAX, 8);
        assert_true(history_at(h, 0, UINT64_MAX / S).mean == 8);
}

static void a_plot_moves_by_whole_columns(void **state)
{
        scoped(history_free) struct history *h = NULL;
        struct history_point columns[5];

        (void)state;
        assert_int_equal(history_new(small, 2, &h), 0);
        for (uint64_t i = 0; i < 20; i++)
                history_put(h, i * S, (double)i);
        assert_int_equal(history_plot(h, 19 * S, 5 * S, columns, 5), S);
        for (int i = 0; i < 5; i++)
                assert_true(columns[i].mean == 15 + i);
        /* Two seconds a column, the last one with one of its two. */
        history_put(h, 20 * S, 20);
        assert_int_equal(history_plot(h, 20 * S, 10 * S, columns, 5), 2 * S);
        assert_true(columns[4].mean == 20 && columns[3].mean == 18.5f && columns[3].most == 19 && columns[0].mean == 12.5f);
        /* Beyond the first level's reach the second answers. */
        assert_int_equal(history_plot(h, 20 * S, 20 * S, columns, 5), 5 * S);
        assert_true(columns[4].mean == 20 && columns[3].mean == 17 && columns[3].most == 19);
        assert_true(history_known(columns[1]));
        assert_false(history_known(columns[0]));
        /* Nothing is there before the clock began. */
        assert_int_equal(history_plot(h, 0, 5 * S, columns, 5), S);
        assert_false(history_known(columns[0]));
        assert_int_equal(history_plot(h, UINT64_MAX, UINT64_MAX, columns, 5), (UINT64_MAX / 5 / (5 * S) + 1) * 5 * S);
        assert_int_equal(history_plot(h, 20 * S, 10 * S, columns, 0), 0);
}

static void wrong_levels_are_refused(void **state)
{
        static const struct history_level wrong[][2] = {
                {{0, 5}, {S, 5}}, {{S, 0}, {2 * S, 5}}, {{S, 5}, {S, 5}}, {{2 * S, 5}, {S, 5}}, {{S, HISTORY_MAX_SLOTS + 1}, {2 * S, 5}},
        };
        struct history *h = NULL;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
                assert_int_equal(history_new(wrong[i], 2, &h), -EINVAL);
        assert_int_equal(history_new(small, 0, &h), -EINVAL);
        assert_int_equal(history_new(small, HISTORY_MAX_LEVELS + 1, &h), -EINVAL);
        assert_null(h);
        assert_int_equal(history_new(history_usual, HISTORY_USUAL_LEVELS, &h), 0);
        assert_true(history_bytes(h) < 31 * 1024);
        history_free(h);
}

static void a_full_set_gives_up_the_oldest(void **state)
{
        scoped(history_set_free) struct history_set *set = NULL;
        char name[HISTORY_NAME + 1];

        (void)state;
        assert_int_equal(history_set_new(small, 2, 3, &set), 0);
        assert_int_equal(history_set_put(set, "a", 1 * S, 1), 0);
        assert_int_equal(history_set_put(set, "b", 2 * S, 2), 0);
        assert_int_equal(history_set_put(set, "c", 3 * S, 3), 0);
        assert_int_equal(history_set_put(set, "d", 4 * S, 4), -ENOSPC);
        assert_int_equal(history_set_refused(set), 1);
        assert_int_equal(history_set_put(set, "a", 13 * S, 1), 0);
        assert_int_equal(history_set_put(set, "d", 13 * S, 4), 0);
        assert_null(history_set_find(set, "b"));
        assert_true(history_at(history_set_find(set, "a"), 0, 13).mean == 1);
        assert_int_equal(history_set_count(set), 3);
        assert_string_equal(history_set_name(set, 2), "d");
        assert_null(history_set_name(set, 3));
        assert_null(history_set_at(set, 3));
        history_set_forget(set, "a");
        history_set_forget(set, "nobody");
        assert_int_equal(history_set_count(set), 2);

        memset(name, 'x', sizeof name);
        name[HISTORY_NAME] = 0;
        assert_int_equal(history_set_put(set, name, 14 * S, 1), -EINVAL);
        assert_int_equal(history_set_put(set, "", 14 * S, 1), -EINVAL);
        assert_int_equal(history_set_put(set, "a\033[2J", 14 * S, 1), -EINVAL);
        assert_null(history_set_find(set, name));
}

static void bytes_come_back(void **state)
{
        scoped(history_set_free) struct history_set *set = NULL, *again = NULL, *other = NULL;
        char *bytes scoped_free = NULL;
        size_t count = 0;

        (void)state;
        assert_int_equal(history_set_new(small, 2, 4, &set), 0);
        for (uint64_t i = 0; i < 15; i++)
                assert_int_equal(history_set_put(set, "busy", (100 + i) * S, (double)i), 0);
        assert_int_equal(history_set_put(set, "late", 114 * S, 9), 0);
        assert_int_equal(history_set_save(set, &bytes, &count), 0);

        assert_int_equal(history_set_new(small, 2, 4, &again), 0);
        assert_int_equal(history_set_load(again, 117 * S, bytes, count), 0);
        assert_int_equal(history_set_count(again), 2);
        for (uint64_t i = 0; i < 20; i++)
                assert_int_equal(history_known(history_at(history_set_find(again, "busy"), 0, 100 + i)), i >= 8 && i < 15);
        assert_true(history_at(history_set_find(again, "busy"), 0, 114).mean == 14);
        assert_true(history_at(history_set_find(again, "busy"), 1, 22).mean == 12);
        assert_int_equal(history_set_put(again, "busy", 117 * S, 77), 0);
        assert_true(history_at(history_set_find(again, "busy"), 0, 114).mean == 14);
        assert_false(history_known(history_at(history_set_find(again, "busy"), 0, 105)));
        assert_int_equal(history_set_load(again, 117 * S, bytes, count), -EEXIST);

        /* A clock that was set back: what would lie in the future is not there. */
        history_set_free(again);
        again = NULL;
        assert_int_equal(history_set_new(small, 2, 4, &again), 0);
        assert_int_equal(history_set_load(again, 107 * S, bytes, count), 0);
        for (uint64_t i = 100; i < 120; i++)
                assert_int_equal(history_known(history_at(history_set_find(again, "busy"), 0, i)), i >= 105 && i <= 107);
        assert_int_equal(history_set_put(again, "busy", 107 * S, 9), 0);
        assert_true(history_at(history_set_find(again, "busy"), 0, 107).most == 9);
        assert_false(history_known(history_at(history_set_find(again, "late"), 0, 114)));

        assert_int_equal(history_set_new(history_usual, HISTORY_USUAL_LEVELS, 4, &other), 0);
        assert_int_equal(history_set_load(other, 117 * S, bytes, count), -E_VERSION);
}

static void damaged_bytes_are_refused(void **state)
{
        scoped(history_set_free) struct history_set *set = NULL, *again = NULL;
        char *bytes scoped_free = NULL, *changed scoped_free = NULL;
        size_t count = 0;

        (void)state;
        assert_int_equal(history_set_new(small, 2, 4, &set), 0);
        for (uint64_t i = 0; i < 5; i++)
                assert_int_equal(history_set_put(set, "busy", (100 + i) * S, (double)i), 0);
        assert_int_equal(history_set_save(set, &bytes, &count), 0);
        assert_int_equal(history_set_new(small, 2, 4, &again), 0);
        for (size_t i = 0; i < count; i++)
                assert_true(history_set_load(again, 104 * S, bytes, i) < 0);
        changed = malloc(count);
        assert_non_null(changed);
        for (size_t i = 0; i < count; i++) {
                memcpy(changed, bytes, count);
                changed[i] ^= 0x40;
                assert_true(history_set_load(again, 104 * S, changed, count) < 0);
                assert_int_equal(history_set_count(again), 0);
        }
        assert_int_equal(history_set_load(again, 104 * S, bytes, count), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(mean_and_most_of_a_slot),    cmocka_unit_test(old_slots_are_given_up),
                cmocka_unit_test(a_plot_moves_by_whole_columns), cmocka_unit_test(wrong_levels_are_refused),
                cmocka_unit_test(a_full_set_gives_up_the_oldest), cmocka_unit_test(bytes_come_back),
                cmocka_unit_test(damaged_bytes_are_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
