/* test-generate.c: what generate.h promises, in small stories. */
#include "generate/generate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>

static struct generate *g;
static uint64_t now;

static int setup(void **state)
{
        now = 1000;
        return generate_new(&generate_default_settings, &g);
}

static int teardown(void **state)
{
        generate_free(g);
        return 0;
}

static uint32_t engine(const char *model, uint32_t site, enum generate_state s, uint32_t parallel, uint64_t memory)
{
        uint32_t number = GENERATE_NONE;

        assert_int_equal(generate_engine(g, now, &(struct generate_engine){.model = model, .site = site, .state = s, .resident = GENERATE_UNKNOWN, .parallel = parallel,
                                                                            .memory = memory, .startable = true},
                                         &number),
                         0);
        return number;
}

static struct generate_action next(void)
{
        struct generate_action a;
        char text[160] = "";

        if (generate_check(g, now, text))
                fail_msg("%s", text);
        do
                if (!generate_next(g, &a))
                        return (struct generate_action){.kind = (enum generate_action_kind)99};
        while (a.kind == GENERATE_SOON);
        return a;
}

static void expect(enum generate_action_kind kind, const struct generate_request *q, uint32_t e)
{
        struct generate_action a = next();

        assert_int_equal(a.kind, kind);
        assert_ptr_equal(a.request, q);
        if (e != GENERATE_NONE)
                assert_int_equal(a.engine, e);
}

static void expect_nothing(void)
{
        assert_int_equal(next().kind, 99);
}

static struct generate_request of(uint8_t account, uint32_t band)
{
        struct generate_request q = {.band = band, .cost = 100};

        q.account.bytes[0] = account;
        return q;
}

static void an_unknown_model_is_refused_unless_it_is_expected(void **state)
{
        struct generate_request a = of(1, 1), b = of(1, 1);
        struct generate_action got;

        generate_ask(g, now, "m", &a);
        got = next();
        assert_int_equal(got.kind, GENERATE_REFUSE);
        assert_int_equal(got.reason, GENERATE_NO_MODEL);
        generate_expect(g, now + 500);
        generate_ask(g, now, "m", &b);
        expect_nothing();
        now += 500;
        generate_tick(g, now);
        expect(GENERATE_REFUSE, &b, GENERATE_NONE);
}

static void the_least_busy_engine_is_taken_and_the_rest_waits(void **state)
{
        struct generate_request q[5];
        uint32_t a, b;

        assert_int_equal(generate_site(g, now, 1, 0), 0);
        assert_int_equal(generate_site(g, now, 2, 0), 0);
        a = engine("m", 1, GENERATE_READY, 2, 10);
        b = engine("m", 2, GENERATE_READY, 2, 10);
        for (int i = 0; i < 5; i++) {
                q[i] = of(1, 1);
                generate_ask(g, now, "m", &q[i]);
        }
        expect(GENERATE_DISPATCH, &q[0], a);
        expect(GENERATE_DISPATCH, &q[1], b);
        assert_int_equal(next().kind, GENERATE_DISPATCH);
        assert_int_equal(next().kind, GENERATE_DISPATCH);
        expect_nothing();
        generate_end(g, now, &q[1], 50);
        expect(GENERATE_DISPATCH, &q[4], b);
        for (int i = 0; i < 5; i++)
                generate_end(g, now, &q[i], 50);
        expect_nothing();
}

static void a_cold_engine_is_asked_to_start_once_a_while(void **state)
{
        struct generate_request q = of(1, 1), r = of(2, 1);
        uint32_t e;

        assert_int_equal(generate_site(g, now, 1, 0), 0);
        e = engine("m", 1, GENERATE_COLD, 1, 10);
        generate_ask(g, now, "m", &q);
        expect(GENERATE_START, NULL, e);
        generate_ask(g, now, "m", &r);
        expect_nothing();
        now = generate_next_deadline(g);
        generate_tick(g, now);
        expect(GENERATE_START, NULL, e);
        assert_int_equal(generate_engine(g, now, &(struct generate_engine){.state = GENERATE_READY, .parallel = 1}, &e), 0);
        expect(GENERATE_DISPATCH, &q, e);
        assert_int_equal(generate_engine(g, now, &(struct generate_engine){.state = GENERATE_FAILED, .parallel = 1, .startable = true}, &e), 0);
        expect(GENERATE_START, NULL, e);
        expect(GENERATE_REFUSE, &r, GENERATE_NONE);
        generate_end(g, now, &q, 1);
}

static void nobody_waits_beyond_the_bound(void **state)
{
        struct generate_request q = of(1, 1), r = of(1, 1);
        uint32_t e;

        assert_int_equal(generate_site(g, now, 1, 0), 0);
        e = engine("m", 1, GENERATE_READY, 1, 10);
        generate_ask(g, now, "m", &q);
        expect(GENERATE_DISPATCH, &q, e);
        generate_ask(g, now, "m", &r);
        expect_nothing();
        assert_int_equal(generate_next_deadline(g), now + generate_default_settings.wait_ms);
        now += generate_default_settings.wait_ms;
        generate_tick(g, now);
        expect(GENERATE_REFUSE, &r, GENERATE_NONE);
        generate_end(g, now, &q, 1);
}

/* One account asks for much, the other for little: it does not stand behind all of that. */
static void accounts_take_turns(void **state)
{
        struct generate_request many[6], one = of(2, 1), first = of(3, 1);
        uint32_t e;

        assert_int_equal(generate_site(g, now, 1, 0), 0);
        e = engine("m", 1, GENERATE_READY, 1, 10);
        generate_ask(g, now, "m", &first);
        expect(GENERATE_DISPATCH, &first, e);
        for (int i = 0; i < 6; i++) {
                many[i] = of(1, 1);
                generate_ask(g, now, "m", &many[i]);
        }
        now++;
        generate_ask(g, now, "m", &one);
        generate_end(g, now, &first, 100);
        expect(GENERATE_DISPATCH, &many[0], e);
        generate_end(g, now, &many[0], 100);
        expect(GENERATE_DISPATCH, &one, e);
        generate_end(g, now, &one, 100);
        for (int i = 1; i < 6; i++) {
                expect(GENERATE_DISPATCH, &many[i], e);
                generate_end(g, now, &many[i], 100);
        }
}

static void bands_go_first_and_age_raises(void **state)
{
        struct generate_request first = of(1, 1), low = of(1, 2), high = of(1, 0), old = of(1, 2);
        uint32_t e;

        assert_int_equal(generate_site(g, now, 1, 0), 0);
        e = engine("m", 1, GENERATE_READY, 1, 10);
        generate_ask(g, now, "m", &first);
        expect(GENERATE_DISPATCH, &first, e);
        generate_ask(g, now, "m", &low);
        generate_ask(g, now, "m", &high);
        generate_end(g, now, &first, 1);
        expect(GENERATE_DISPATCH, &high, e);
        generate_ask(g, now, "m", &old);
        now += 3 * generate_default_settings.age_ms;
        generate_ask(g, now, "m", &first);
        generate_end(g, now, &high, 1);
        expect(GENERATE_DISPATCH, &low, e);
        generate_end(g, now, &low, 1);
        generate_end(g, now, &old, 1);
        expect(GENERATE_DISPATCH, &first, e);
        generate_end(g, now, &first, 1);
}

/* Two models, room for one: what is in goes on until the other's wait is over, then gives way; what runs ends first. */
static void models_take_turns_on_a_device(void **state)
{
        struct generate_request a1 = of(1, 1), a2 = of(1, 1), b1 = of(1, 1), b2 = of(1, 1);
        const char *soon[GENERATE_UPCOMING];
        uint32_t a, b;

        assert_int_equal(generate_site(g, now, 1, 100), 0);
        a = engine("a", 1, GENERATE_READY, 4, 60);
        b = engine("b", 1, GENERATE_READY, 4, 60);
        generate_ask(g, now, "a", &a1);
        expect(GENERATE_DISPATCH, &a1, a);
        generate_ask(g, now, "b", &b1);
        generate_ask(g, now, "b", &b2);
        expect_nothing();
        assert_int_equal(generate_soon(g, 1, soon), 1);
        assert_string_equal(soon[0], "b");
        now += generate_default_settings.delay_ms - 1;
        generate_ask(g, now, "a", &a2);
        expect(GENERATE_DISPATCH, &a2, a);
        generate_end(g, now, &a2, 1);
        now = generate_next_deadline(g);
        generate_tick(g, now);
        generate_ask(g, now, "a", &a2);
        expect_nothing();
        generate_end(g, now, &a1, 1);
        expect(GENERATE_DISPATCH, &b1, b);
        expect(GENERATE_DISPATCH, &b2, b);
        now += 500;
        generate_first(g, now, &b1);
        generate_end(g, now, &b1, 1);
        generate_end(g, now, &b2, 1);
        expect(GENERATE_DISPATCH, &a2, a);
        generate_end(g, now, &a2, 1);
        assert_int_equal(generate_soon(g, 1, soon), 0);
}

static void a_request_that_will_not_end_holds_the_device_so_long_only(void **state)
{
        struct generate_request a1 = of(1, 1), b1 = of(1, 1);
        uint32_t b;

        assert_int_equal(generate_site(g, now, 1, 100), 0);
        engine("a", 1, GENERATE_READY, 4, 60);
        b = engine("b", 1, GENERATE_READY, 4, 60);
        generate_ask(g, now, "a", &a1);
        assert_int_equal(next().kind, GENERATE_DISPATCH);
        generate_ask(g, now, "b", &b1);
        now += generate_default_settings.delay_ms;
        generate_tick(g, now);
        expect_nothing();
        assert_int_equal(generate_next_deadline(g), now + generate_default_settings.drain_ms);
        now += generate_default_settings.drain_ms;
        generate_tick(g, now);
        expect(GENERATE_DISPATCH, &b1, b);
        generate_end(g, now, &a1, 1);
        generate_end(g, now, &b1, 1);
}

static void a_failed_request_goes_to_another_engine_once(void **state)
{
        struct generate_request q = of(1, 1), r = of(1, 1);
        uint32_t a, b;

        assert_int_equal(generate_site(g, now, 1, 0), 0);
        a = engine("m", 1, GENERATE_READY, 1, 10);
        generate_ask(g, now, "m", &q);
        expect(GENERATE_DISPATCH, &q, a);
        assert_false(generate_again(g, now, &q));
        expect_nothing();
        b = engine("m", 1, GENERATE_READY, 1, 10);
        generate_ask(g, now, "m", &r);
        assert_int_equal(next().kind, GENERATE_DISPATCH);
        generate_judge(g, r.engine, false);
        a = r.engine == a ? b : a;
        assert_true(generate_again(g, now, &r));
        expect(GENERATE_DISPATCH, &r, a);
        assert_false(generate_again(g, now, &r));
        expect_nothing();
}

static void too_many_are_refused(void **state)
{
        struct generate_settings s = generate_default_settings;
        struct generate_request q[6];

        generate_free(g);
        s.waiting_max = 3;
        s.waiting_per_account = 2;
        assert_int_equal(generate_new(&s, &g), 0);
        assert_int_equal(generate_site(g, now, 1, 0), 0);
        engine("m", 1, GENERATE_STARTING, 1, 10);
        for (int i = 0; i < 6; i++) {
                q[i] = of(i < 3 ? 1 : 2, 1);
                generate_ask(g, now, "m", &q[i]);
        }
        assert_int_equal(next().reason, GENERATE_FULL_ACCOUNT);
        assert_int_equal(next().reason, GENERATE_FULL);
        assert_int_equal(next().reason, GENERATE_FULL);
        expect_nothing();
        for (int i = 0; i < 6; i++)
                generate_end(g, now, &q[i], 0);
}

static void an_engine_whose_places_others_have_gets_nothing_until_one_is_free(void **state)
{
        struct generate_request q = of(1, 1), r = of(2, 1);
        uint32_t e;

        assert_int_equal(generate_site(g, now, 1, 0), 0);
        e = engine("m", 1, GENERATE_READY, 4, 0);
        generate_ask(g, now, "m", &q);
        expect(GENERATE_DISPATCH, &q, e);
        now += 10;
        generate_ask(g, now, "m", &r);
        expect(GENERATE_DISPATCH, &r, e);
        generate_busy(g, now, &r);
        expect_nothing();
        generate_busy(g, now, &q);
        expect_nothing();
        /* A place: those that wait go there, who asked first is first. */
        generate_engine_free(g, now, e);
        expect(GENERATE_DISPATCH, &q, e);
        expect(GENERATE_DISPATCH, &r, e);
        generate_busy(g, now, &r);
        expect_nothing();
        /* Nobody tells of one: it is tried in time, not before. */
        assert_true(generate_next_deadline(g) <= now + generate_default_settings.busy_ms);
        now += generate_default_settings.busy_ms - 1;
        generate_tick(g, now);
        expect_nothing();
        now++;
        generate_tick(g, now);
        expect(GENERATE_DISPATCH, &r, e);
        /* The bound is from when it was asked, however often it was turned away. */
        generate_busy(g, now, &r);
        now = 1010 + generate_default_settings.wait_ms;
        generate_tick(g, now);
        assert_int_equal(next().reason, GENERATE_TOO_LONG);
        generate_busy(g, now, &q);
        generate_engine_gone(g, now, e);
        assert_int_equal(next().kind, GENERATE_REFUSE);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
                TEST(an_unknown_model_is_refused_unless_it_is_expected), TEST(the_least_busy_engine_is_taken_and_the_rest_waits),
                TEST(a_cold_engine_is_asked_to_start_once_a_while), TEST(nobody_waits_beyond_the_bound), TEST(accounts_take_turns), TEST(bands_go_first_and_age_raises),
                TEST(models_take_turns_on_a_device), TEST(a_request_that_will_not_end_holds_the_device_so_long_only), TEST(a_failed_request_goes_to_another_engine_once),
                TEST(too_many_are_refused), TEST(an_engine_whose_places_others_have_gets_nothing_until_one_is_free),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
