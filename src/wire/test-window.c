/* test-window.c: peaks by window: exact, independent of each other, and complete when they are begun and ended from elsewhere meanwhile. */
#include "wire/window.h"

#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct page *new_page(void)
{
        struct page *page = calloc(1, sizeof *page);

        assert_non_null(page);
        return page;
}

static uint64_t peak_of(struct page *page, const char *name, bool end)
{
        uint64_t peak = UINT64_MAX;

        assert_int_equal(page_window_peak(page, name, WINDOW_DAEMON, end, &peak), 0);
        return peak;
}

static void test_peaks(void **state)
{
        struct page *page = new_page();
        uint64_t peak;

        (void)state;
        page_note(page, 500, 1);
        assert_int_equal(page_window_begin(page, "a", WINDOW_PROGRAM), 0);
        assert_int_equal(peak_of(page, "a", false), 500); /* what is there at the begin counts */
        page_note(page, 700, 2);
        page_note(page, 100, 3);
        assert_int_equal(page_window_begin(page, "b", WINDOW_DAEMON), 0);
        page_note(page, 300, 4);
        page_note(page, 200, 5);
        assert_int_equal(peak_of(page, "b", false), 300);
        assert_int_equal(peak_of(page, "a", false), 700);
        assert_int_equal(page_window_begin(page, "a", WINDOW_DAEMON), 0); /* anew, whoever began it */
        assert_int_equal(peak_of(page, "a", false), 200);
        assert_int_equal(peak_of(page, "b", true), 300);
        assert_int_equal(page_window_peak(page, "b", WINDOW_DAEMON, false, &peak), -ENOENT);
        page_note(page, 250, 6);
        assert_int_equal(peak_of(page, "a", true), 250);
        assert_int_equal(atomic_load(&page->windows_active), 0);
        free(page);
}

static void test_bounds(void **state)
{
        struct page *page = new_page();
        char name[64];

        (void)state;
        for (int i = 0; i < PAGE_WINDOWS; i++) {
                snprintf(name, sizeof name, "window %d", i);
                assert_int_equal(page_window_begin(page, name, WINDOW_PROGRAM), 0);
        }
        assert_int_equal(page_window_begin(page, "one more", WINDOW_PROGRAM), -ENOSPC);
        assert_int_equal(page_window_begin(page, "window 7", WINDOW_PROGRAM), 0);
        assert_int_equal(peak_of(page, "window 7", true), 0);
        assert_int_equal(page_window_begin(page, "one more", WINDOW_PROGRAM), 0);
        assert_int_equal(page_window_begin(page, "", WINDOW_PROGRAM), -EINVAL);
        assert_int_equal(page_window_begin(page, "bell\a", WINDOW_PROGRAM), -EINVAL);
        memset(name, 'x', sizeof name);
        name[48] = 0;
        assert_int_equal(page_window_begin(page, name, WINDOW_PROGRAM), -EINVAL);
        free(page);
}

/* A daemon that died in the middle of a change. */
static void test_clean(void **state)
{
        struct page *page = new_page();
        uint64_t peak;

        (void)state;
        assert_int_equal(page_window_begin(page, "mine", WINDOW_PROGRAM), 0);
        assert_int_equal(page_window_begin(page, "half", WINDOW_DAEMON), 0);
        atomic_store(&page->windows[1].state, WINDOW_DAEMON);
        assert_int_equal(page_window_peak(page, "half", WINDOW_DAEMON, false, &peak), -ENOENT);
        page_windows_clean(page);
        assert_int_equal(atomic_load(&page->windows_active), 1);
        assert_int_equal(page_window_begin(page, "half", WINDOW_DAEMON), 0);
        assert_int_equal(peak_of(page, "mine", true), 0);
        free(page);
}

/* Anything may stand on a page that a program wrote. */
static void test_garbage(void **state)
{
        struct page *page = new_page();
        uint64_t peak;

        (void)state;
        memset((char *)page + offsetof(struct page, used_bytes), 0xff, PAGE_BYTES - offsetof(struct page, used_bytes));
        assert_int_equal(page_window_begin(page, "a", WINDOW_DAEMON), -ENOSPC);
        assert_int_equal(page_window_peak(page, "a", WINDOW_DAEMON, true, &peak), -ENOENT);
        page_windows_clean(page);
        page_note(page, 1, 1);
        (void)page_average(page, 5);
        free(page);
}

static void test_average(void **state)
{
        struct page *page = new_page();

        (void)state;
        assert_int_equal(page_average(page, 1000), 0);
        atomic_store(&page->peak_bytes, 3 << 20);
        page_note(page, 1 << 20, NS_PER_S);
        assert_int_equal(page_average(page, NS_PER_S), 1 << 20);
        page_note(page, 3 << 20, 2 * NS_PER_S);
        page_note(page, 0, 3 * NS_PER_S);
        assert_int_equal(page_average(page, 3 * NS_PER_S), 2 << 20);
        assert_int_equal(page_average(page, 5 * NS_PER_S), 1 << 20);
        free(page);
}

/* A writer with spikes, and windows begun and ended from another thread: no spike that lay wholly inside a window is missed. */
#define RACE_WINDOWS 20000

struct race {
        struct page *page;
        _Atomic uint64_t before, after; /* spikes that began, and that are over */
        _Atomic bool stop;
};

static void *spikes(void *argument)
{
        struct race *r = argument;

        for (uint64_t i = 1; !atomic_load(&r->stop); i++) {
                atomic_store(&r->before, i);
                page_note(r->page, i, i);
                page_note(r->page, 0, i);
                atomic_store(&r->after, i);
        }
        return NULL;
}

static void test_race(void **state)
{
        struct race r = {.page = new_page()};
        pthread_t thread;

        (void)state;
        assert_int_equal(pthread_create(&thread, NULL, spikes, &r), 0);
        for (int i = 0; i < RACE_WINDOWS; i++) {
                uint64_t over, first, last, began, peak;

                over = atomic_load(&r.after); /* spikes up to here were before the window */
                assert_int_equal(page_window_begin(r.page, "race", WINDOW_DAEMON), 0);
                first = atomic_load(&r.before);
                last = atomic_load(&r.after);
                peak = peak_of(r.page, "race", true);
                began = atomic_load(&r.before);
                if (last > first)
                        assert_true(peak >= last); /* spike `last` began after the begin and was over before the end */
                assert_true(peak <= began);
                assert_true(!peak || peak >= over);
        }
        atomic_store(&r.stop, true);
        pthread_join(thread, NULL);
        free(r.page);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_peaks),   cmocka_unit_test(test_bounds),  cmocka_unit_test(test_clean),
                cmocka_unit_test(test_garbage), cmocka_unit_test(test_average), cmocka_unit_test(test_race),
        };

        return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}
