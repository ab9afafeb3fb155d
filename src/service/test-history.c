/* test-history.c: series over hours of invented time: what is known, what is not, and how far back. */
#include "service/history.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* after those: */
#include <cmocka.h>

#define START UINT64_C(1000500) /* in the middle of a second */

static struct history_view look(const struct history *h, uint64_t now, uint64_t since_s)
{
        struct history_view view;

        history_look(h, now, since_s * 1000, &view);
        return view;
}

static void counters_are_rates_and_levels_are_means(void **state)
{
        struct history *h scoped(history_free) = history_new(START);
        struct history_view view;

        assert_non_null(h);
        assert_int_equal(look(h, START, 600).count, 0);
        history_add(h, START + 100, HISTORY_TOKENS_OUT, 1000); /* in the second that was not whole: not told */
        history_add(h, START + 600, HISTORY_TOKENS_OUT, 30);
        history_add(h, START + 900, HISTORY_TOKENS_OUT, 12);
        history_level(h, START + 700, HISTORY_TASKS_RUNNING, 4);
        history_level(h, START + 1200, HISTORY_TASKS_RUNNING, 8);
        history_tick(h, START + 1500);
        view = look(h, START + 1500, 600);
        assert_int_equal(view.step_ms, 1000);
        assert_int_equal(view.count, 1);
        assert_int_equal(view.from_ms, 1001000);
        assert_float_equal(history_value(h, &view, HISTORY_TOKENS_OUT, 0), 42, 0.001);
        assert_float_equal(history_value(h, &view, HISTORY_TASKS_RUNNING, 0), 6, 0.001);
        assert_float_equal(history_value(h, &view, HISTORY_TOKENS_IN, 0), 0, 0.001);
        /* Never told, so unknown; outside of the view, too. */
        assert_true(isnan(history_value(h, &view, HISTORY_WORKERS_AWAY, 0)));
        assert_true(isnan(history_value(h, &view, HISTORY_TOKENS_IN, 1)));
}

static void a_quiet_while_is_nothing_and_a_long_one_unknown(void **state)
{
        struct history *h scoped(history_free) = history_new(10000);
        struct history_view view;

        history_level(h, 10000, HISTORY_TASKS_QUEUED, 3);
        history_add(h, 10100, HISTORY_REQUESTS, 5);
        history_tick(h, 13000); /* two seconds without a word */
        view = look(h, 13000, 600);
        assert_int_equal(view.count, 3);
        assert_float_equal(history_value(h, &view, HISTORY_REQUESTS, 0), 5, 0.001);
        assert_float_equal(history_value(h, &view, HISTORY_REQUESTS, 2), 0, 0.001);
        assert_float_equal(history_value(h, &view, HISTORY_TASKS_QUEUED, 2), 3, 0.001);
        history_tick(h, 33500); /* asleep */
        history_tick(h, 35000);
        view = look(h, 35000, 600);
        assert_int_equal(view.count, 25);
        assert_float_equal(history_value(h, &view, HISTORY_REQUESTS, 2), 0, 0.001);
        for (size_t i = 3; i < 24; i++)
                assert_true(isnan(history_value(h, &view, HISTORY_REQUESTS, i)));
        assert_float_equal(history_value(h, &view, HISTORY_REQUESTS, 24), 0, 0.001);
}

static void seconds_minutes_days(void **state)
{
        struct history *h scoped(history_free) = history_new(0);
        uint64_t now = 0;
        struct history_view view;

        /* Ten days, one request a second, as many running as days have passed. */
        for (uint64_t s = 0; s < 10 * 86400; s++) {
                now = s * 1000;
                history_add(h, now, HISTORY_REQUESTS, 1);
                history_level(h, now, HISTORY_REQUESTS_RUNNING, s / 86400);
                if (s == 1200) {
                        /* Seven days are asked for, twenty minutes are there. */
                        view = look(h, now, HISTORY_SPAN_S);
                        assert_int_equal(view.step_ms, 10000);
                        assert_int_equal(view.count, 120);
                }
        }
        view = look(h, now, 60);
        assert_int_equal(view.step_ms, 1000);
        assert_int_equal(view.count, 60);
        view = look(h, now, 600);
        assert_int_equal(view.step_ms, 1000);
        assert_in_range(view.count, 599, 600);
        view = look(h, now, 3600);
        assert_int_equal(view.step_ms, 10000);
        assert_in_range(view.count, 359, 360);
        view = look(h, now, HISTORY_SPAN_S * 5);
        assert_int_equal(view.step_ms, 300000);
        assert_in_range(view.count, 2015, 2016);
        for (size_t i = 0; i < view.count; i++)
                assert_float_equal(history_value(h, &view, HISTORY_REQUESTS, i), 1, 0.001);
        assert_float_equal(history_value(h, &view, HISTORY_REQUESTS_RUNNING, 0), 2, 0.001);
        assert_float_equal(history_value(h, &view, HISTORY_REQUESTS_RUNNING, view.count - 1), 9, 0.001);
        /* A month without a word, then on. */
        now += UINT64_C(30) * 86400 * 1000;
        history_tick(h, now);
        view = look(h, now, HISTORY_SPAN_S);
        assert_int_equal(view.count, 2016);
        for (size_t i = 0; i < view.count; i++)
                assert_true(isnan(history_value(h, &view, HISTORY_REQUESTS, i)));
}

static void time_going_back_changes_nothing(void **state)
{
        struct history *h scoped(history_free) = history_new(50000);
        struct history_view view;

        history_add(h, 51000, HISTORY_REQUESTS, 2);
        history_add(h, 20000, HISTORY_REQUESTS, 1);
        history_tick(h, 0);
        history_tick(h, 52000);
        view = look(h, 52000, 600);
        assert_int_equal(view.count, 2);
        assert_float_equal(history_value(h, &view, HISTORY_REQUESTS, 1), 3, 0.001);
}

static void names(void **state)
{
        enum history_series series;

        for (int i = 0; i < HISTORIES; i++) {
                assert_int_equal(history_parse(history_name((enum history_series)i), strlen(history_name((enum history_series)i)), &series), 0);
                assert_int_equal(series, i);
                assert_true(strlen(history_text(series)) > 0);
        }
        assert_int_equal(history_parse("tokens", 6, &series), -EINVAL);
        assert_int_equal(history_parse("tokens.outer", 10, &series), 0);
        assert_int_equal(series, HISTORY_TOKENS_OUT);
        assert_string_equal(history_name(HISTORIES), "?");
        /* A counter is no level, nor the other way round. */
        history_add(NULL, 0, HISTORY_TASKS_QUEUED, 1);
        history_level(NULL, 0, HISTORY_REQUESTS, 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(counters_are_rates_and_levels_are_means),
                cmocka_unit_test(a_quiet_while_is_nothing_and_a_long_one_unknown),
                cmocka_unit_test(seconds_minutes_days),
                cmocka_unit_test(time_going_back_changes_nothing),
                cmocka_unit_test(names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
