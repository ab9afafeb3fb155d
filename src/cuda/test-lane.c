/* test-lane.c: the gate: nothing runs behind a closed gate, whoever waits goes on when it opens, captures pass, lanes are not lost, a
 * forked child has a page of its own. */
#include "cuda/lane.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 80 /* more than there are lanes */

static _Atomic bool stop;
static _Atomic int inside;   /* threads between enter and leave */
static _Atomic int breaches; /* … seen while the gate was closed and quiet */
static _Atomic bool closed_and_quiet;
static _Atomic unsigned long rounds;

static void *work(void *unused)
{
        while (!atomic_load(&stop)) {
                struct page_lane *lane = lane_enter();

                atomic_fetch_add(&inside, 1);
                if (atomic_load(&closed_and_quiet))
                        atomic_fetch_add(&breaches, 1);
                atomic_fetch_add(&rounds, 1);
                atomic_fetch_sub(&inside, 1);
                lane_leave(lane, true);
                sched_yield();
        }
        return unused;
}

static void wait_quiet(void)
{
        while (!lane_quiet())
                sched_yield();
}

static void nothing_runs_behind_a_closed_gate(void **state)
{
        pthread_t threads[THREADS];
        uint64_t launches = 0;

        (void)state;
        atomic_store(&stop, false);
        for (int i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, work, NULL), 0);
        for (int i = 0; i < 50; i++) {
                unsigned long before;

                lane_close();
                wait_quiet();
                atomic_store(&closed_and_quiet, true);
                before = atomic_load(&rounds);
                for (int k = 0; k < 20; k++)
                        sched_yield();
                assert_int_equal(atomic_load(&inside), 0);
                assert_int_equal(atomic_load(&rounds), before);
                atomic_store(&closed_and_quiet, false);
                lane_open();
                while (atomic_load(&rounds) == before)
                        sched_yield();
        }
        atomic_store(&stop, true);
        for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(atomic_load(&breaches), 0);
        for (int i = 0; i < PAGE_LANES; i++) {
                launches += atomic_load(&berth_page->lanes[i].launches);
                assert_int_equal(atomic_load(&berth_page->lanes[i].in_call), 0);
        }
        assert_int_equal(launches, atomic_load(&rounds)); /* every call counted once, whatever lane it took */
        assert_int_equal(atomic_load(&berth_page->waiting), 0);
}

static void lanes_come_back(void **state)
{
        int owned = 0;

        (void)state;
        for (int i = 0; i < PAGE_LANES; i++)
                owned += (int)atomic_load(&berth_page->lanes[i].owned);
        assert_true(owned <= 1); /* at most the main thread's */
}

static void captures_pass_the_closed_gate(void **state)
{
        struct page_lane *lane;
        unsigned int passed = lane_passed();

        (void)state;
        lane_capture_began();
        lane_close();
        lane = lane_enter();
        assert_int_equal(lane_passed(), passed + 1);
        assert_false(lane_quiet());
        lane_leave(lane, false);
        assert_true(lane_quiet());
        lane_capture_ended();
        lane_capture_ended(); /* one too many: stays zero */
        assert_int_equal(lane_captures(), 0);
        lane_open();
}

static _Atomic bool came_through;

static void *one_call(void *argument)
{
        struct page_lane *lane = lane_enter();

        atomic_store(&came_through, true);
        lane_leave(lane, false);
        return argument;
}

/* The device waits for what a thread at the gate would issue: with the closer waiting, it is let through, and the closer sees it. */
static void one_that_is_waited_for_passes(void **state)
{
        unsigned int passed = lane_passed();
        pthread_t thread;

        (void)state;
        lane_close();
        lane_awaits();
        assert_int_equal(pthread_create(&thread, NULL, one_call, NULL), 0);
        while (!atomic_load(&berth_page->waiting))
                sched_yield();
        assert_int_equal(lane_passed(), passed);
        assert_false(atomic_load(&came_through)); /* nobody waits for the device yet */
        lane_draining(true);
        pthread_join(thread, NULL);
        lane_draining(false);
        assert_true(lane_quiet());
        assert_int_equal(lane_passed(), passed + 1);
        assert_int_equal(atomic_load(&berth_page->waiting), 0);
        lane_open();
}

static void a_child_has_its_own_page(void **state)
{
        int status = -1;
        pid_t child;

        (void)state;
        lane_close();
        child = fork();
        if (child == 0) {
                int fd = lane_start();
                struct page_lane *lane = lane_enter(); /* would sleep for ever at the parent's gate */

                lane_leave(lane, true);
                _exit(fd >= 0 && atomic_load(&lane->launches) == 1 ? 0 : 1);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_false(lane_is_open());
        lane_open();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(nothing_runs_behind_a_closed_gate),
                cmocka_unit_test(lanes_come_back),
                cmocka_unit_test(captures_pass_the_closed_gate),
                cmocka_unit_test(one_that_is_waited_for_passes),
                cmocka_unit_test(a_child_has_its_own_page),
        };

        if (lane_start() < 0)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
