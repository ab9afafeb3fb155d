/* test-places.c: an engine's places among servers, in made-up time. */
#include "worker/places.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
/* cmocka wants those four first */
#include <cmocka.h>

static void no_more_than_there_are(void **state)
{
        struct places p = {0};

        assert_int_equal(places_take(&p, 1, 2, 0), 0);
        assert_int_equal(places_take(&p, 1, 2, 1), 0);
        assert_int_equal(places_take(&p, 1, 2, 0), -EBUSY);
        assert_int_equal(places_next(&p, 1, 2), PLACE_NOBODY);
        places_give(&p);
        assert_int_equal(places_next(&p, 1, 2), 0);
        assert_int_equal(places_next(&p, 1, 2), PLACE_NOBODY);
        assert_int_equal(places_take(&p, 2, 2, 0), 0);
        assert_int_equal(places_due(&p), UINT64_MAX);
}

static void servers_take_turns(void **state)
{
        struct places p = {0};
        uint32_t got[3] = {0};

        /* Each asks again the moment its own request has ended; all want more than there is. */
        assert_int_equal(places_take(&p, 1, 1, 0), 0);
        for (uint64_t now = 2; now < 302; now++) {
                uint32_t who;

                for (uint32_t server = 0; server < 3; server++)
                        assert_int_equal(places_take(&p, now, 1, server), -EBUSY);
                places_give(&p);
                who = places_next(&p, now, 1);
                assert_int_equal(places_next(&p, now, 1), PLACE_NOBODY);
                for (uint32_t server = 0; server < 3; server++)
                        assert_int_equal(places_take(&p, now, 1, server), server == who ? 0 : -EBUSY);
                got[who]++;
        }
        for (uint32_t server = 0; server < 3; server++)
                assert_int_equal(got[server], 100);
}

static void who_does_not_come_has_lost_it(void **state)
{
        struct places p = {0};

        assert_int_equal(places_take(&p, 1, 1, 0), 0);
        assert_int_equal(places_take(&p, 1, 1, 1), -EBUSY);
        places_give(&p);
        assert_int_equal(places_next(&p, 10, 1), 1);
        /* It is 1's for a while. */
        assert_int_equal(places_take(&p, 11, 1, 0), -EBUSY);
        assert_int_equal(places_due(&p), 10 + PLACE_HELD_MS);
        assert_int_equal(places_next(&p, 10 + PLACE_HELD_MS, 1), 0);
        assert_int_equal(places_take(&p, 11 + PLACE_HELD_MS, 1, 0), 0);
        /* One that left holds nothing. */
        assert_int_equal(places_take(&p, 600, 1, 2), -EBUSY);
        places_give(&p);
        assert_int_equal(places_next(&p, 600, 1), 2);
        places_leave(&p, 2);
        assert_int_equal(places_take(&p, 601, 1, 0), 0);
}

static void any_order_of_events(void **state)
{
        struct places p = {0};
        uint32_t runs = 0;

        srand(7);
        for (uint64_t now = 1; now < 20000; now += (uint64_t)(rand() % 3)) {
                uint32_t parallel = 1 + (uint32_t)(now / 5000), server = (uint32_t)rand() % PLACE_SERVERS;

                switch (rand() % 5) {
                case 0:
                case 1:
                        runs += places_take(&p, now, parallel, server) == 0;
                        break;
                case 2:
                case 3:
                        if (runs) {
                                places_give(&p);
                                runs--;
                        }
                        while (places_next(&p, now, parallel) != PLACE_NOBODY)
                                ;
                        break;
                default:
                        places_leave(&p, server);
                }
                assert_int_equal(p.running, runs);
                assert_true(p.running <= 1 + (uint32_t)(now / 5000) && p.waiting <= PLACE_SERVERS);
                for (uint32_t i = 0; i < p.waiting; i++)
                        for (uint32_t k = 0; k < i; k++)
                                assert_int_not_equal(p.line[i], p.line[k]);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(no_more_than_there_are), cmocka_unit_test(servers_take_turns), cmocka_unit_test(who_does_not_come_has_lost_it),
                                           cmocka_unit_test(any_order_of_events)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
