/* test-spread.c: servers that come, go, and do nothing: each gets its part in bounded time, and then nothing moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "service/spread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVERS 20

/* A world of servers on one store, each of which looks and acts once a second. */
struct world {
        struct {
                bool there, hung;
                char name[32];
                uint32_t ours;
                struct spread spread;
        } servers[SERVERS];
        uint64_t tasks[STORE_QUEUES];
        uint64_t now_ms;
        char last[STORE_QUEUES][32];
        unsigned moves;
};

static struct world *new_world(void)
{
        struct world *w = calloc(1, sizeof(*w));

        for (int i = 0; i < SERVERS; i++)
                snprintf(w->servers[i].name, sizeof(w->servers[i].name), "https://server-%02d", i);
        w->now_ms = 1000;
        return w;
}

static void survey(const struct world *w, struct store_survey *s)
{
        memset(s, 0, sizeof(*s));
        for (int i = 0; i < SERVERS; i++) {
                if (!w->servers[i].there)
                        continue;
                strcpy(s->servers[s->server_count++].address, w->servers[i].name);
                for (uint32_t q = 0; q < STORE_QUEUES; q++)
                        s->queues[q].claimed |= w->servers[i].ours >> q & 1;
        }
        for (uint32_t q = 0; q < STORE_QUEUES; q++)
                strcpy(s->queues[q].owner, w->last[q]);
}

static void act(struct world *w, int i)
{
        struct spread_decision d;
        struct store_survey s;

        survey(w, &s);
        spread_decide(&w->servers[i].spread, &s, w->servers[i].name, w->servers[i].ours, w->tasks, w->now_ms, &d);
        assert_int_equal(d.claim & w->servers[i].ours, 0);
        assert_int_equal(d.release & ~w->servers[i].ours, 0);
        w->servers[i].ours &= ~d.release;
        for (uint32_t q = 0; q < STORE_QUEUES; q++) {
                w->moves += d.release >> q & 1;
                if (!(d.claim & 1u << q))
                        continue;
                assert_false(s.queues[q].claimed);
                w->servers[i].ours |= 1u << q;
                strcpy(w->last[q], w->servers[i].name);
        }
}

static void second(struct world *w)
{
        w->now_ms += 1000;
        for (int i = 0; i < SERVERS; i++)
                if (w->servers[i].there && !w->servers[i].hung)
                        act(w, i);
}

static void die(struct world *w, int i)
{
        w->servers[i].there = false;
        w->servers[i].ours = 0;
        memset(&w->servers[i].spread, 0, sizeof(w->servers[i].spread));
}

/* Everything is owned once, and the parts differ by one at most. */
static void expect_fair(const struct world *w)
{
        uint32_t all = 0, least = STORE_QUEUES, most = 0;

        for (int i = 0; i < SERVERS; i++) {
                uint32_t n = (uint32_t)__builtin_popcount(w->servers[i].ours);

                if (!w->servers[i].there)
                        continue;
                assert_int_equal(all & w->servers[i].ours, 0);
                all |= w->servers[i].ours;
                least = n < least ? n : least;
                most = n > most ? n : most;
        }
        assert_int_equal(all, (1u << STORE_QUEUES) - 1);
        assert_true(most - least <= 1);
}

static void one_takes_all_and_shares(void **state)
{
        struct world *w = new_world();

        w->servers[3].there = true;
        second(w);
        expect_fair(w);
        assert_int_equal(w->servers[3].ours, 0xffff);
        w->servers[1].there = true;
        for (int i = 0; i < 4; i++)
                second(w);
        expect_fair(w); /* idle queues go at once */
        assert_int_equal(w->moves, 8);
        die(w, 3);
        second(w);
        expect_fair(w); /* the dead one's in the next look */
        assert_int_equal(w->moves, 8);
        free(w);
}

static void busy_queues_go_one_by_one(void **state)
{
        struct world *w = new_world();

        for (uint32_t q = 0; q < STORE_QUEUES; q++)
                w->tasks[q] = 100 + q;
        w->tasks[15] = 1;
        w->servers[0].there = true;
        second(w);
        w->servers[1].there = true;
        for (int i = 0; i < 3; i++)
                second(w);
        assert_int_equal(w->moves, 1);
        assert_false(w->servers[0].ours & 1u << 15); /* the least work first */
        for (int i = 0; i < 8; i++)
                second(w);
        expect_fair(w);
        assert_int_equal(w->moves, 8);
        free(w);
}

/* Whoever comes and goes: fair within 20 s of quiet, and nothing moves after. */
static void any_history_ends_in_fair_parts(void **state)
{
        for (unsigned seed = 1; seed <= 300; seed++) {
                struct world *w = new_world();
                unsigned moved;

                srand(seed);
                for (int step = 0; step < 60; step++) {
                        int i = rand() % SERVERS;

                        if (w->servers[i].there && rand() % 2)
                                die(w, i);
                        else
                                w->servers[i].there = true;
                        for (uint32_t q = 0; q < STORE_QUEUES; q++)
                                w->tasks[q] = rand() % 2 ? (unsigned)rand() % 1000 : 0;
                        for (int t = rand() % 6; t; t--)
                                second(w);
                }
                w->servers[7].there = true;
                for (int t = 0; t < 20 + SPREAD_KEEP_MS / 1000; t++)
                        second(w);
                expect_fair(w);
                moved = w->moves;
                for (int t = 0; t < 200; t++) {
                        w->tasks[rand() % STORE_QUEUES] = (unsigned)rand() % 100;
                        second(w);
                }
                assert_int_equal(w->moves, moved);
                free(w);
        }
}

static void one_that_does_nothing_leaves_nothing_idle(void **state)
{
        struct world *w = new_world();
        unsigned moved;

        w->servers[0].there = true;
        second(w);
        w->servers[1].there = w->servers[1].hung = true;
        for (int t = 0; t < 12; t++)
                second(w);
        assert_int_equal(w->servers[0].ours, 0xffff); /* given up, not taken, and back again */
        moved = w->moves;
        for (int t = 0; t < 40; t++)
                second(w);
        assert_int_equal(w->moves, moved);
        free(w);
}

static void without_an_address_still_a_part(void **state)
{
        struct world *w = new_world();
        struct store_survey s;
        struct spread spread = {0};
        struct spread_decision d;

        survey(w, &s);
        spread_decide(&spread, &s, "", 0, w->tasks, 1, &d);
        assert_int_equal(d.claim, 0xffff);
        w->servers[0].there = true;
        survey(w, &s);
        spread_decide(&spread, &s, "", 0, w->tasks, 1, &d);
        assert_int_equal(d.part, 8);
        free(w);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(one_takes_all_and_shares),
                cmocka_unit_test(busy_queues_go_one_by_one),
                cmocka_unit_test(any_history_ends_in_fair_parts),
                cmocka_unit_test(one_that_does_nothing_leaves_nothing_idle),
                cmocka_unit_test(without_an_address_still_a_part),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
