/* test-runners.c: sums of windows add up, another process of the same number is another one, both kinds of rows are shown, and there are never too many. */
#include "bpf/runners.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void waited(struct runners *s, uint32_t pid, uint64_t start, uint64_t times, uint64_t sum, uint64_t longest)
{
        const struct runner_key key = {.start_ns = start, .pid = pid};
        struct sched_counts c = {.times = times, .sum_ns = sum, .longest_ns = longest, .uid = 7};

        snprintf(c.comm, sizeof c.comm, "p%u", pid);
        runners_waited(s, &key, &c);
}

static void called(struct runners *s, uint32_t pid, uint64_t start, uint64_t calls, uint32_t uid)
{
        const struct runner_key key = {.start_ns = start, .pid = pid};
        const struct syscall_counts c = {.calls = calls, .uid = uid, .comm = "caller"};

        runners_called(s, &key, &c);
}

static void windows_add_up(void **state)
{
        scoped(runners_free) struct runners *s = NULL;
        struct probes_runner rows[8];

        assert_int_equal(runners_new(&s), 0);
        runners_turn(s);
        waited(s, 1, 100, 3, 900, 500);
        called(s, 1, 100, 40, 7);
        called(s, 1, 100, 2, UINT32_MAX); /* the rest of a processor's */
        waited(s, 1, 200, 1, 5, 5);       /* the number again, of another process */
        assert_int_equal(runners_count(s), 2);
        assert_int_equal(runners_rows(s, rows, 8), 2);
        assert_int_equal(rows[0].start_ns, 100);
        assert_int_equal(rows[0].wait_now.times, 3);
        assert_int_equal(rows[0].calls_now, 42);
        assert_string_equal(rows[0].comm, "caller");
        assert_int_equal(rows[0].uid, 7);
        runners_turn(s);
        waited(s, 1, 100, 2, 100, 60);
        assert_int_equal(runners_rows(s, rows, 8), 2);
        assert_int_equal(rows[0].wait_now.times, 2);
        assert_int_equal(rows[0].wait_now.longest_ns, 60);
        assert_int_equal(rows[0].wait_total.times, 5);
        assert_int_equal(rows[0].wait_total.sum_ns, 1000);
        assert_int_equal(rows[0].wait_total.longest_ns, 500);
        assert_int_equal(rows[0].calls_now, 0);
        assert_int_equal(rows[0].calls_total, 42);
        assert_int_equal(rows[1].wait_now.times, 0);
        assert_int_equal(rows[1].wait_total.times, 1);
}

static void who_waits_and_who_calls_share_the_places(void **state)
{
        scoped(runners_free) struct runners *s = NULL;
        struct probes_runner rows[4];

        assert_int_equal(runners_new(&s), 0);
        runners_turn(s);
        for (uint32_t pid = 1; pid <= 10; pid++)
                waited(s, pid, 1, 1, pid * 1000, pid * 1000);
        for (uint32_t pid = 1; pid <= 10; pid++)
                called(s, pid, 1, 100 - pid, 7);
        assert_int_equal(runners_rows(s, rows, 4), 4);
        assert_int_equal(rows[0].pid, 10);
        assert_int_equal(rows[1].pid, 9);
        assert_int_equal(rows[2].pid, 1);
        assert_int_equal(rows[3].pid, 2);
        assert_int_equal(runners_rows(s, rows, 1), 1);
        assert_int_equal(rows[0].pid, 10);
        assert_int_equal(runners_rows(s, rows, 0), 0);
}

static void there_are_never_too_many(void **state)
{
        scoped(runners_free) struct runners *s = NULL;
        struct probes_runner *rows scoped_free = calloc(PROBES_MAX_RUNNERS, sizeof *rows);

        assert_non_null(rows);
        assert_int_equal(runners_new(&s), 0);
        runners_turn(s);
        waited(s, 77, 5, 1, 1000, 1); /* goes on being seen */
        for (uint32_t turn = 0; turn < 5; turn++) {
                for (uint32_t i = 0; i < 3 * RUNNERS_KEPT; i++)
                        waited(s, i + 1000, 100 + turn, 1, 10, 10);
                runners_turn(s);
                waited(s, 77, 5, 1, 1000000, 1);
                assert_int_equal(runners_count(s), PROBES_MAX_RUNNERS);
        }
        assert_int_equal(runners_rows(s, rows, PROBES_MAX_RUNNERS), PROBES_MAX_RUNNERS);
        assert_int_equal(rows[0].pid, 77);
        assert_int_equal(rows[0].wait_total.times, 6);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(windows_add_up),
                cmocka_unit_test(who_waits_and_who_calls_share_the_places),
                cmocka_unit_test(there_are_never_too_many),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
