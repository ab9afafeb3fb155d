/* test-judge.c: rules and the judge in made-up time: hangs are found, and nothing else is called one. */
#include "watchdog/judge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define S UINT64_C(1000000000)
#define U JUDGE_UNKNOWN

static const double nan_value = __builtin_nan("");

static void a_level_has_to_last(void **state)
{
        static const struct rule rule = {"r", RULE_LEVEL, RULE_WARNING, 10, 5, 3 * S, 0, 0};
        struct rule_state s = {0};
        double v;

        (void)state;
        assert_int_equal(rule_step(&rule, &s, 1 * S, 20, &v), RULE_NOTHING);
        assert_int_equal(rule_step(&rule, &s, 3 * S, 20, &v), RULE_NOTHING);
        assert_int_equal(rule_step(&rule, &s, 3 * S + 1, 9, &v), RULE_NOTHING);
        assert_int_equal(rule_step(&rule, &s, 4 * S, 20, &v), RULE_NOTHING);
        assert_int_equal(rule_step(&rule, &s, 7 * S, 10, &v), RULE_TRIGGERED);
        assert_true(v == 10);
        /* Between the two marks nothing changes; below it has to last again. */
        assert_int_equal(rule_step(&rule, &s, 20 * S, 7, &v), RULE_NOTHING);
        assert_int_equal(rule_step(&rule, &s, 21 * S, 4, &v), RULE_NOTHING);
        assert_int_equal(rule_step(&rule, &s, 22 * S, 6, &v), RULE_NOTHING);
        assert_int_equal(rule_step(&rule, &s, 23 * S, 4, &v), RULE_NOTHING);
        assert_int_equal(rule_step(&rule, &s, 26 * S, 4, &v), RULE_RESOLVED);
        assert_int_equal(s.triggered, 1);
}

static void what_nobody_sees_neither_begins_nor_ends(void **state)
{
        static const struct rule rule = {"r", RULE_LEVEL, RULE_WARNING, 10, 5, 3 * S, 0, 0};
        struct rule_state s = {0};
        double v;

        (void)state;
        assert_int_equal(rule_step(&rule, &s, 1 * S, 20, &v), RULE_NOTHING);
        assert_int_equal(rule_step(&rule, &s, 5 * S, nan_value, &v), RULE_NOTHING);
        assert_int_equal(rule_step(&rule, &s, 6 * S, 20, &v), RULE_NOTHING);
        assert_int_equal(rule_step(&rule, &s, 9 * S, 20, &v), RULE_TRIGGERED);
        for (uint64_t t = 10; t < 100; t++)
                assert_int_equal(rule_step(&rule, &s, t * S, nan_value, &v), RULE_NOTHING);
        assert_true(s.active);
}

static void cooldown_is_silence_not_blindness(void **state)
{
        static const struct rule rule = {"r", RULE_LEVEL, RULE_WARNING, 10, 10, 0, 0, 60 * S};
        struct rule_state s = {0};
        unsigned int told = 0, resolved = 0;
        double v;

        (void)state;
        for (uint64_t t = 0; t < 120; t++) {
                enum rule_news news = rule_step(&rule, &s, t * S, t % 2 ? 20 : 0, &v);

                told += news == RULE_TRIGGERED;
                resolved += news == RULE_RESOLVED;
        }
        assert_int_equal(s.triggered, 60);
        assert_int_equal(told, 2);
        /* Each that was told is told to be over. */
        assert_int_equal(resolved, told);
}

static void a_spike_is_what_grew_within_the_window(void **state)
{
        static const struct rule rule = {"r", RULE_RISE, RULE_WARNING, 0.25, 0.1, 0, 5 * S, 0};
        struct rule_state s = {0};
        double v;

        (void)state;
        /* Slowly, a hundredth a second up to 0.5: never a spike. */
        for (uint64_t t = 0; t < 50; t++)
                assert_int_equal(rule_step(&rule, &s, t * S, (double)t / 100, &v), RULE_NOTHING);
        assert_int_equal(rule_step(&rule, &s, 50 * S, 0.9, &v), RULE_TRIGGERED);
        assert_true(v > 0.4 && v < 0.5);
        /* It stays high: no longer a rise. */
        for (uint64_t t = 51; t < 54; t++)
                assert_int_equal(rule_step(&rule, &s, t * S, 0.9, &v), RULE_NOTHING);
        for (uint64_t t = 54; t < 60 && s.active; t++)
                (void)rule_step(&rule, &s, t * S, 0.9, &v);
        assert_false(s.active);
        /* A clock that starts at 0 has no window before it. */
        memset(&s, 0, sizeof s);
        assert_int_equal(rule_step(&rule, &s, 0, 0.9, &v), RULE_NOTHING);
        assert_true(v == 0);
}

/* --- the judge --- */

static struct judge judge;
static struct judge_look at;
static unsigned int triggered[JUDGE_ALERT_N], resolved[JUDGE_ALERT_N];

static void begin(void)
{
        static const struct judge_settings settings = {45 * S, S};

        judge_begin(&judge, &settings);
        memset(triggered, 0, sizeof triggered);
        memset(resolved, 0, sizeof resolved);
        at = (struct judge_look){.now_ns = 1000 * S, .work = U, .device = U, .device_bytes = U, .host_bytes = U, .pressure_permille = -1, .oom_kills = U};
}

static void step(void)
{
        struct judge_news news[JUDGE_ALERT_N];
        size_t count = judge_step(&judge, &at, news);

        for (size_t i = 0; i < count; i++) {
                triggered[news[i].alert] += news[i].news == RULE_TRIGGERED;
                resolved[news[i].alert] += news[i].news == RULE_RESOLVED;
        }
        at.now_ns += S;
}

static void a_deadlock_is_found_within_a_minute(void **state)
{
        (void)state;
        begin();
        for (int i = 0; i < 100; i++, at.device += 5, at.cpu_ns += S / 2) {
                at.device = at.device == U ? 0 : at.device;
                step();
        }
        assert_int_equal(judge.state, JUDGE_WORKS);
        for (int i = 0; i < 46; i++, at.cpu_ns += S / 200) /* a thread that wakes up now and then */
                step();
        assert_int_equal(judge.state, JUDGE_HANGS);
        assert_int_equal(triggered[JUDGE_HANG], 1);
        assert_int_equal(judge_stood_ns(&judge) / S, 45);
        at.device++;
        step();
        assert_int_equal(judge.state, JUDGE_WORKS);
        assert_int_equal(resolved[JUDGE_HANG], 1);
}

static void long_calculations_are_no_hang(void **state)
{
        (void)state;
        begin();
        for (int i = 0; i < 3600; i++, at.cpu_ns += S)
                step();
        assert_int_equal(judge.state, JUDGE_WORKS);
        /* One that only reads and writes, neither. */
        for (int i = 0; i < 3600; i++, at.bytes += 100)
                step();
        assert_int_equal(judge.state, JUDGE_WORKS);
        assert_int_equal(triggered[JUDGE_HANG] + triggered[JUDGE_SLOWNESS], 0);
}

static void one_that_spins_without_launching_is_slow(void **state)
{
        (void)state;
        begin();
        at.device = 10;
        for (int i = 0; i < 200; i++, at.cpu_ns += S)
                step();
        assert_int_equal(judge.state, JUDGE_SLOW);
        assert_int_equal(triggered[JUDGE_SLOWNESS], 1);
        assert_int_equal(triggered[JUDGE_HANG], 0);
}

static void its_own_counter_counts_more_than_anything(void **state)
{
        (void)state;
        begin();
        at.work = 1;
        for (int i = 0; i < 200; i++, at.cpu_ns += S, at.bytes += 1000) {
                at.work += i < 100 && i % 10 == 0;
                step();
        }
        /* Steps of 10 s: five of them are 50 s. */
        assert_int_equal(judge_limit_ns(&judge) / S, 50);
        assert_int_equal(judge.state, JUDGE_HANGS);
        begin();
        at.work = 1;
        for (int i = 0; i < 1000; i++, at.work += i % 40 == 0)
                step();
        assert_int_equal(triggered[JUDGE_HANG], 0);
}

static void waiting_its_turn_is_no_hang(void **state)
{
        (void)state;
        begin();
        at.device = 10;
        step();
        at.waits = true;
        for (int i = 0; i < 1000; i++)
                step();
        assert_int_equal(judge.state, JUDGE_WAITS);
        at.waits = false;
        for (int i = 0; i < 40; i++)
                step();
        assert_int_equal(judge.state, JUDGE_WORKS);
        for (int i = 0; i < 10; i++)
                step();
        assert_int_equal(judge.state, JUDGE_HANGS);
}

static void a_machine_that_slept_accuses_nobody(void **state)
{
        (void)state;
        begin();
        step();
        at.now_ns += 3600 * S;
        step();
        assert_int_equal(judge.state, JUDGE_WORKS);
        at.now_ns -= 1800 * S; /* a clock that goes back harms nobody either */
        step();
        assert_int_equal(judge.state, JUDGE_WORKS);
        assert_int_equal(triggered[JUDGE_HANG], 0);
}

static void no_limit_no_hang(void **state)
{
        (void)state;
        begin();
        judge.settings.limit_ns = 0;
        for (int i = 0; i < 1000; i++)
                step();
        assert_int_equal(judge.state, JUDGE_WORKS);
}

static void memory(void **state)
{
        (void)state;
        begin();
        at.device_limit = 1000;
        at.host_limit = 1000;
        at.device_bytes = at.host_bytes = 100;
        at.oom_kills = 7; /* of before */
        for (int i = 0; i < 5; i++, at.cpu_ns += S)
                step();
        at.device_bytes = 400;
        for (int i = 0; i < 8; i++, at.cpu_ns += S)
                step();
        assert_int_equal(triggered[JUDGE_DEVICE_SPIKE], 1);
        assert_int_equal(resolved[JUDGE_DEVICE_SPIKE], 1);
        for (int i = 0; i < 70; i++, at.cpu_ns += S) { /* slowly full */
                at.device_bytes += at.device_bytes < 980 ? 10 : 0;
                step();
        }
        assert_int_equal(triggered[JUDGE_DEVICE_SPIKE], 1);
        assert_int_equal(triggered[JUDGE_DEVICE_FULL], 1);
        at.oom_kills = 8;
        at.pressure_permille = 900;
        for (int i = 0; i < 12; i++, at.cpu_ns += S)
                step();
        assert_int_equal(triggered[JUDGE_OOM_KILL], 1);
        assert_int_equal(triggered[JUDGE_PRESSURE], 1);
        assert_int_equal(triggered[JUDGE_HOST_FULL] + triggered[JUDGE_HOST_SPIKE], 0);
        assert_int_equal(triggered[JUDGE_HANG], 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_level_has_to_last),
                cmocka_unit_test(what_nobody_sees_neither_begins_nor_ends),
                cmocka_unit_test(cooldown_is_silence_not_blindness),
                cmocka_unit_test(a_spike_is_what_grew_within_the_window),
                cmocka_unit_test(a_deadlock_is_found_within_a_minute),
                cmocka_unit_test(long_calculations_are_no_hang),
                cmocka_unit_test(one_that_spins_without_launching_is_slow),
                cmocka_unit_test(its_own_counter_counts_more_than_anything),
                cmocka_unit_test(waiting_its_turn_is_no_hang),
                cmocka_unit_test(a_machine_that_slept_accuses_nobody),
                cmocka_unit_test(no_limit_no_hang),
                cmocka_unit_test(memory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
