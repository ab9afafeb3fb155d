/* test-libraries.c: copies of the driver's library come and go, more of them than there are places: each is found, none is kept longer than it is of use. This process maps them, and is the
 * only one that is looked at.
 */
#include "bpf/libraries.h"

#include "base/clock.h"
#include "base/fd.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SCAN_NS (65 * NS_PER_S) /* longer than any process is left alone */
#define COPIES (LIBRARIES_MOST + 10)

static char folder[] = "/tmp/berth-libraries-XXXXXX", proc[64];

/* Ours by their inodes, and what is known of them. */
static struct {
        ino_t inode;
        void *at;
        bool there;
        uint32_t number, times;
} copies[COPIES];
static bool taken[LIBRARIES_MOST];

static const char *path_of(int i)
{
        static char path[80];

        snprintf(path, sizeof path, "%s/%d/libcuda.so.1", folder, i);
        return path;
}

static void map(int i)
{
        scoped_fd int fd = -1;
        char within[64];
        struct stat st;

        snprintf(within, sizeof within, "%s/%d", folder, i);
        (void)mkdir(within, 0700);
        fd = open(path_of(i), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0 && ftruncate(fd, 4096) == 0 && fstat(fd, &st) == 0);
        copies[i].inode = st.st_ino;
        copies[i].at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
        assert_true(copies[i].at != MAP_FAILED);
}

static void unmap(int i)
{
        assert_int_equal(munmap(copies[i].at, 4096), 0);
        copies[i].at = NULL;
}

static void found(void *data, uint32_t number, int fd)
{
        struct stat st;

        assert_int_equal(fstat(fd, &st), 0);
        assert_true(number < LIBRARIES_MOST && !taken[number]);
        taken[number] = true;
        for (int i = 0; i < COPIES; i++)
                if (copies[i].inode == st.st_ino && copies[i].at) {
                        assert_false(copies[i].there);
                        copies[i].there = true;
                        copies[i].number = number;
                        copies[i].times++;
                }
}

static void gone(void *data, uint32_t number)
{
        assert_true(taken[number]);
        taken[number] = false;
        for (int i = 0; i < COPIES; i++)
                if (copies[i].there && copies[i].number == number)
                        copies[i].there = false;
}

static const struct libraries_news news = {.found = found, .gone = gone};

static int begin(void **state)
{
        memset(copies, 0, sizeof copies);
        memset(taken, 0, sizeof taken);
        return 0;
}

static int clear(void **state)
{
        char within[64];

        for (int i = 0; i < COPIES; i++) {
                if (copies[i].at)
                        unmap(i);
                snprintf(within, sizeof within, "%s/%d", folder, i);
                (void)unlink(path_of(i));
                (void)rmdir(within);
        }
        return 0;
}

static void kept_while_it_is_mapped_or_may_be_again(void **state)
{
        scoped(libraries_free) struct libraries *l = NULL;
        uint64_t now = NS_PER_S;

        assert_int_equal(libraries_new(proc, &l), 0);
        map(0);
        libraries_scan(l, now, &news);
        assert_true(copies[0].there);
        /* Its next program finds it probed, from its first call on. */
        unmap(0);
        libraries_scan(l, now += SCAN_NS, &news);
        assert_true(copies[0].there);
        map(0);
        libraries_scan(l, now += SCAN_NS, &news);
        assert_int_equal(copies[0].times, 1);
        /* Ten minutes count from when it was last mapped. */
        for (int i = 0; i < 3; i++)
                libraries_scan(l, now += 10 * SCAN_NS, &news);
        assert_true(copies[0].there);
        unmap(0);
        for (int i = 0; i < 3; i++)
                libraries_scan(l, now += 3 * SCAN_NS, &news);
        assert_true(copies[0].there);
        libraries_scan(l, now += SCAN_NS, &news);
        assert_false(copies[0].there);
        map(0);
        libraries_scan(l, now += SCAN_NS, &news);
        assert_int_equal(copies[0].times, 2);
}

static void one_without_a_name_goes_with_its_last_process(void **state)
{
        scoped(libraries_free) struct libraries *l = NULL;
        uint64_t now = NS_PER_S;

        assert_int_equal(libraries_new(proc, &l), 0);
        map(1);
        libraries_scan(l, now, &news);
        assert_int_equal(unlink(path_of(1)), 0);
        for (int i = 0; i < 3; i++)
                libraries_scan(l, now += 10 * SCAN_NS, &news);
        assert_true(copies[1].there);
        unmap(1);
        libraries_scan(l, now += SCAN_NS, &news);
        assert_false(copies[1].there);
}

static void one_after_the_other_each_is_found(void **state)
{
        scoped(libraries_free) struct libraries *l = NULL;
        uint64_t now = NS_PER_S;

        assert_int_equal(libraries_new(proc, &l), 0);
        for (int i = 0; i < COPIES; i++) {
                map(i);
                libraries_scan(l, now += SCAN_NS, &news);
                assert_int_equal(copies[i].times, 1);
                unmap(i);
        }
        assert_int_equal(libraries_refused(l), 0);
}

static void at_the_same_time_as_many_as_there_are_places(void **state)
{
        scoped(libraries_free) struct libraries *l = NULL;
        uint64_t now = NS_PER_S;
        int known = 0;

        assert_int_equal(libraries_new(proc, &l), 0);
        for (int i = 0; i < COPIES; i++)
                map(i);
        libraries_scan(l, now, &news);
        for (int i = 0; i < COPIES; i++)
                known += copies[i].there;
        assert_int_equal(known, LIBRARIES_MOST);
        assert_int_equal(libraries_refused(l), COPIES - LIBRARIES_MOST);
        for (int i = 0; i < COPIES; i++)
                if (copies[i].there)
                        unmap(i);
        for (int i = 0; i < 2; i++)
                libraries_scan(l, now += SCAN_NS, &news);
        for (int i = 0; i < COPIES; i++)
                assert_true(copies[i].times == 1 && (copies[i].there || !copies[i].at));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(kept_while_it_is_mapped_or_may_be_again, begin, clear),
                cmocka_unit_test_setup_teardown(one_without_a_name_goes_with_its_last_process, begin, clear),
                cmocka_unit_test_setup_teardown(one_after_the_other_each_is_found, begin, clear),
                cmocka_unit_test_setup_teardown(at_the_same_time_as_many_as_there_are_places, begin, clear),
        };
        char own[96], there[64];
        int r;

        if (!mkdtemp(folder))
                return EXIT_FAILURE;
        snprintf(proc, sizeof proc, "%s/proc", folder);
        snprintf(own, sizeof own, "%s/%d", proc, getpid());
        snprintf(there, sizeof there, "/proc/%d", getpid());
        if (mkdir(proc, 0700) < 0 || symlink(there, own) < 0)
                return EXIT_FAILURE;
        r = cmocka_run_group_tests(tests, NULL, NULL);
        unlink(own);
        rmdir(proc);
        rmdir(folder);
        return r;
}
