/* test-engine.c: one engine's life under made-up time, step by step and in made-up histories. */
#include "engine/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct engine_rules rules = {.managed = true, .idle_ms = 600000, .start_ms = 30000, .stop_ms = 10000};
#define HALF 0x80000000U

static struct engine e;
static uint64_t now;

static void begin(void)
{
        engine_init(&e, &rules);
        now = 1000000;
}

static uint32_t tick(void)
{
        return engine_tick(&e, now);
}

/* Wanted, started, looked at once, healthy. */
static void make_ready(void)
{
        engine_want(&e, now, 0, true, -1, false);
        assert_int_equal(tick(), ENGINE_START);
        now = engine_next(&e);
        assert_int_equal(tick(), ENGINE_CHECK);
        engine_checked(&e, now, true, "");
        assert_int_equal(e.state, ENGINE_READY);
}

static void starts_on_demand_and_stops_when_idle(void **state)
{
        begin();
        assert_int_equal(tick(), 0);
        assert_true(engine_next(&e) == UINT64_MAX);
        engine_want(&e, now, 0, true, 1, false);
        assert_int_equal(tick(), ENGINE_START);
        assert_int_equal(e.state, ENGINE_STARTING);
        assert_int_equal(tick(), 0);
        now = engine_next(&e);
        assert_int_equal(tick(), ENGINE_CHECK);
        assert_int_equal(tick(), 0);
        engine_checked(&e, now, false, "connection refused");
        assert_true(engine_next(&e) > now && engine_next(&e) <= now + 1000);
        now = engine_next(&e);
        assert_int_equal(tick(), ENGINE_CHECK);
        engine_says(&e, "loading");
        assert_string_equal(e.text, "loading");
        engine_checked(&e, now, true, "");
        assert_int_equal(e.state, ENGINE_READY);
        assert_string_equal(e.text, "");
        /* Never idle while a server says that requests are about. */
        now += 10 * rules.idle_ms;
        assert_int_equal(tick(), ENGINE_CHECK);
        engine_checked(&e, now, true, "");
        engine_want(&e, now, 0, true, 0, false);
        now += rules.idle_ms - 1;
        assert_int_equal(tick(), ENGINE_CHECK);
        engine_checked(&e, now, true, "");
        assert_true(engine_next(&e) == now + 1);
        now += 1;
        assert_int_equal(tick(), ENGINE_TERM);
        assert_int_equal(e.state, ENGINE_STOPPING);
        assert_int_equal(tick(), 0);
        now = engine_next(&e);
        assert_int_equal(tick(), ENGINE_KILL);
        engine_ended(&e, now, "ended by signal 9", false, HALF);
        assert_int_equal(e.state, ENGINE_COLD);
        assert_string_equal(e.text, "");
        assert_int_equal(tick(), 0);
}

static void wanted_again_while_it_stops(void **state)
{
        begin();
        make_ready();
        engine_want(&e, now, 0, false, -1, false);
        assert_int_equal(tick(), ENGINE_TERM);
        engine_want(&e, now, 0, true, 1, false);
        assert_int_equal(tick(), 0);
        assert_int_equal(e.state, ENGINE_STOPPING);
        engine_ended(&e, now, "exit code 0", false, HALF);
        assert_int_equal(e.state, ENGINE_STARTING);
        assert_int_equal(tick(), ENGINE_START);
        assert_int_equal(e.bad, 0);
}

static void comes_back_with_jitter_and_the_brake(void **state)
{
        uint64_t before;

        begin();
        make_ready();
        engine_ended(&e, now, "exit code 3: no luck", false, UINT32_MAX);
        assert_int_equal(e.state, ENGINE_STARTING);
        assert_string_equal(e.text, "exit code 3: no luck; started again");
        assert_true(engine_next(&e) == now + 1000);
        assert_int_equal(tick(), 0);
        now = engine_next(&e);
        assert_int_equal(tick(), ENGINE_START);
        engine_ended(&e, now, "exit code 3: no luck", false, HALF);
        assert_true(engine_next(&e) == now + 1000); /* half of 2 s */
        now = engine_next(&e);
        assert_int_equal(tick(), ENGINE_START);
        engine_ended(&e, now, "exit code 3: no luck", false, 0);
        assert_int_equal(e.state, ENGINE_FAILED);
        assert_string_equal(e.text, "exit code 3: no luck; tried again after 30 s if asked for");
        /* The pool asking on makes it no sooner; a person does. */
        before = engine_next(&e);
        engine_want(&e, now, 0, true, 5, false);
        assert_int_equal(tick(), 0);
        assert_true(engine_next(&e) == before);
        engine_want(&e, now, 0, true, 5, true);
        assert_int_equal(tick(), ENGINE_START);
        for (int i = 0; i < 3; i++) {
                engine_ended(&e, now, "again", false, 0);
                now = engine_next(&e);
                if (i < 2)
                        assert_int_equal(tick(), ENGINE_START);
        }
        assert_int_equal(e.state, ENGINE_FAILED);
        assert_int_equal(tick(), ENGINE_START); /* now is when the brake is over */
        engine_ended(&e, now, "again", true, 0);
        assert_int_equal(e.state, ENGINE_FAILED); /* hopeless: at once */
        assert_true(engine_next(&e) == now + 60000);
}

static void a_minute_of_health_forgives(void **state)
{
        begin();
        for (int i = 0; i < 10; i++) {
                make_ready();
                now += ENGINE_STABLE_MS;
                engine_ended(&e, now, "exit code 1", false, HALF);
                assert_int_equal(e.state, ENGINE_STARTING);
                assert_int_equal(e.bad, 1);
                now = engine_next(&e);
        }
}

static void never_healthy(void **state)
{
        begin();
        engine_want(&e, now, 0, true, 1, false);
        assert_int_equal(tick(), ENGINE_START);
        for (uint64_t end = now + rules.start_ms; e.state == ENGINE_STARTING;) {
                now = engine_next(&e);
                assert_true(now <= end + 1000);
                if (tick() == ENGINE_CHECK)
                        engine_checked(&e, now, false, "HTTP 503");
        }
        assert_int_equal(e.state, ENGINE_STOPPING);
        assert_int_equal(tick(), ENGINE_TERM);
        engine_ended(&e, now, "ended by signal 15", false, 0);
        assert_int_equal(e.state, ENGINE_FAILED);
        assert_string_equal(e.text, "was not healthy within 30 s: HTTP 503; tried again after 30 s if asked for");
        now += 30000;
        assert_int_equal(tick(), ENGINE_START);
}

static void failed_is_forgotten_when_nobody_asks(void **state)
{
        begin();
        engine_want(&e, now, 0, true, -1, false);
        assert_int_equal(tick(), ENGINE_START);
        engine_ended(&e, now, "no such program", true, UINT32_MAX);
        assert_int_equal(e.state, ENGINE_FAILED);
        engine_want(&e, now, 0, false, -1, false);
        assert_int_equal(tick(), 0);
        assert_int_equal(e.state, ENGINE_FAILED);
        now = engine_next(&e);
        assert_int_equal(tick(), 0);
        assert_int_equal(e.state, ENGINE_COLD);
        assert_true(engine_next(&e) == UINT64_MAX);
}

static void one_that_hangs_is_started_again(void **state)
{
        begin();
        make_ready();
        engine_swapped(&e, true);
        for (int i = 0; i < 20; i++) {
                now = engine_next(&e);
                assert_int_equal(tick(), ENGINE_CHECK);
                engine_checked(&e, now, false, "no answer");
                assert_int_equal(e.state, ENGINE_READY);
        }
        engine_swapped(&e, false);
        for (int i = 0; i < ENGINE_MISSES; i++) {
                assert_int_equal(e.state, ENGINE_READY);
                now = engine_next(&e);
                assert_int_equal(tick(), ENGINE_CHECK);
                engine_checked(&e, now, false, "no answer");
        }
        assert_int_equal(tick(), ENGINE_TERM);
        engine_ended(&e, now, "ended by signal 15", false, 0);
        assert_int_equal(e.state, ENGINE_STARTING);
        assert_int_equal(e.bad, 1);
        assert_int_equal(tick(), ENGINE_START);
}

static void servers_count_apart(void **state)
{
        begin();
        make_ready();
        engine_want(&e, now, 0, true, 3, false);
        engine_want(&e, now, 5, true, 2, false);
        assert_int_equal(engine_requests(&e), 5);
        engine_server_gone(&e, now, 0);
        assert_int_equal(engine_requests(&e), 2);
        now += rules.idle_ms * 2;
        engine_server_gone(&e, now, 5);
        assert_int_equal(tick(), ENGINE_CHECK);
        now += rules.idle_ms;
        assert_int_equal(tick(), ENGINE_TERM);
        engine_want(&e, now, 999, true, 1, false);
        assert_int_equal(engine_requests(&e), 0);
}

static void retired(void **state)
{
        begin();
        make_ready();
        engine_retire(&e, now);
        engine_want(&e, now, 0, true, 1, true);
        assert_int_equal(tick(), ENGINE_TERM);
        engine_ended(&e, now, "exit code 0", false, 0);
        assert_int_equal(e.state, ENGINE_COLD);
        assert_int_equal(tick(), 0);
}

static void one_that_is_there_anyway(void **state)
{
        const struct engine_rules there = {.managed = false};

        engine_init(&e, &there);
        now = 5;
        assert_int_equal(tick(), ENGINE_CHECK);
        assert_true(engine_next(&e) == UINT64_MAX);
        engine_checked(&e, now, false, "connection refused");
        assert_int_equal(e.state, ENGINE_FAILED);
        assert_string_equal(e.text, "does not answer: connection refused");
        engine_want(&e, now, 0, true, 1, true);
        assert_int_equal(tick(), 0);
        now = engine_next(&e);
        assert_int_equal(tick(), ENGINE_CHECK);
        engine_checked(&e, now, true, "");
        assert_int_equal(e.state, ENGINE_READY);
        now = engine_next(&e);
        assert_int_equal(tick(), ENGINE_CHECK);
        engine_checked(&e, now, false, "timed out");
        assert_int_equal(e.state, ENGINE_READY); /* once is none */
        now = engine_next(&e);
        assert_int_equal(tick(), ENGINE_CHECK);
        engine_checked(&e, now, false, "timed out");
        assert_int_equal(e.state, ENGINE_FAILED);
}

/* Whatever happens in whatever order: one process at a time, none without an order, none left when nobody wants it, always a time to look again when
 * something is due. */
static void made_up_histories(void **state)
{
        uint64_t seed = 42;

        for (int history = 0; history < 300; history++) {
                bool process = false, looking = false;
                int unwanted = 0;

                begin();
                for (int step = 0; step < 400; step++) {
                        uint32_t chance, todo;

                        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
                        chance = (uint32_t)(seed >> 32);
                        switch (chance % 9) {
                        case 0:
                                engine_want(&e, now, chance >> 8 & 7, true, chance >> 12 & 3, chance >> 16 & 1);
                                break;
                        case 1:
                                engine_want(&e, now, chance >> 8 & 7, false, -1, false);
                                break;
                        case 2:
                                if (process)
                                        engine_ended(&e, now, "it ended", chance >> 8 & 1, chance);
                                process = looking = false;
                                break;
                        case 3:
                                if (looking)
                                        engine_checked(&e, now, chance >> 8 & 1, "not well");
                                looking = false;
                                break;
                        case 4:
                                engine_server_gone(&e, now, chance >> 8 & 7);
                                break;
                        case 5:
                                engine_swapped(&e, chance >> 8 & 1);
                                break;
                        case 6:
                                if ((chance >> 8) % 50 == 0)
                                        engine_retire(&e, now);
                                break;
                        default:
                                if (engine_next(&e) != UINT64_MAX && engine_next(&e) > now)
                                        now = engine_next(&e);
                        }
                        for (int again = 0; (todo = engine_tick(&e, now)); again++) {
                                assert_true(again < 5);
                                if (todo & ENGINE_START) {
                                        assert_false(process);
                                        process = true;
                                }
                                if (todo & ENGINE_CHECK) {
                                        assert_true(process && !looking);
                                        looking = true;
                                }
                                if (todo & (ENGINE_TERM | ENGINE_KILL))
                                        assert_true(process && e.state == ENGINE_STOPPING);
                        }
                        assert_true(e.alive == process);
                        assert_true(engine_next(&e) > now);
                        assert_false(e.state == ENGINE_COLD && process);
                        assert_false(e.state == ENGINE_READY && !process);
                        assert_false(e.state == ENGINE_STOPPING && !process);
                        unwanted = e.wanted ? 0 : unwanted + 1;
                        if (unwanted)
                                assert_true(!process || e.state == ENGINE_STOPPING);
                        /* With a process and nothing under way there is always a next time. */
                        assert_true(engine_next(&e) != UINT64_MAX || !process || looking);
                }
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(starts_on_demand_and_stops_when_idle), cmocka_unit_test(wanted_again_while_it_stops),
                cmocka_unit_test(comes_back_with_jitter_and_the_brake), cmocka_unit_test(a_minute_of_health_forgives), cmocka_unit_test(never_healthy),
                cmocka_unit_test(failed_is_forgotten_when_nobody_asks), cmocka_unit_test(one_that_hangs_is_started_again),
                cmocka_unit_test(servers_count_apart), cmocka_unit_test(retired), cmocka_unit_test(one_that_is_there_anyway), cmocka_unit_test(made_up_histories)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
