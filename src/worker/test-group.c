/* test-group.c: control groups of tasks: on a made-up tree for what is written where, and on the kernel's own where it lets us. */
#include "worker/group.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char root[64];

static void put(const char *name, const char *text)
{
        char path[256];
        FILE *f;

        snprintf(path, sizeof path, "%s/%s", root, name);
        f = fopen(path, "we");
        assert_non_null(f);
        fputs(text, f);
        fclose(f);
}

static void folder(const char *name)
{
        char path[256];

        snprintf(path, sizeof path, "%s/%s", root, name);
        assert_int_equal(mkdir(path, 0755), 0);
}

static const char *got(const char *name)
{
        static char text[256];
        char path[256];
        size_t n;
        FILE *f;

        snprintf(path, sizeof path, "%s/%s", root, name);
        f = fopen(path, "re");
        assert_non_null(f);
        n = fread(text, 1, sizeof text - 1, f);
        text[n] = 0;
        fclose(f);
        return text;
}

static int begin(void **state)
{
        (void)state;
        snprintf(root, sizeof root, "/tmp/berth-group-XXXXXX");
        return mkdtemp(root) ? 0 : -1;
}

static int end(void **state)
{
        char command[100];

        (void)state;
        snprintf(command, sizeof command, "rm -r %s", root);
        return system(command);
}

static void a_delegated_group_of_version_2(void **state)
{
        struct group_place place;
        struct group g;
        char why[200];

        (void)state;
        folder("unit");
        put("unit/cgroup.controllers", "cpu memory pids\n");
        put("unit/cgroup.subtree_control", "");
        folder("unit/berth-worker");
        put("unit/berth-worker/cgroup.procs", "");
        assert_int_equal(group_find(root, "0::/unit\n", &place, why), 0);
        assert_int_equal(place.version, 2);
        assert_string_equal(got("unit/berth-worker/cgroup.procs"), "0"); /* it went there itself */
        assert_string_equal(got("unit/cgroup.subtree_control"), "+memory");
        folder("unit/t");
        put("unit/t/memory.max", "max\n");
        put("unit/t/memory.swap.max", "");
        put("unit/t/memory.oom.group", "");
        put("unit/t/cgroup.procs", "");
        put("unit/t/memory.events", "low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\n");
        assert_int_equal(group_open(&place, "t", 1 << 30, &g), 0);
        assert_int_equal(atoi(got("unit/t/memory.max")), 1 << 30);
        assert_string_equal(got("unit/t/memory.oom.group"), "1");
        assert_int_equal(group_join(&g), 0);
        assert_string_equal(got("unit/t/cgroup.procs"), "0");
        assert_int_equal(group_killed(&g), 2);
        group_close(&g);
}

static void groups_that_are_not_ours(void **state)
{
        static const char *const lines[] = {"", "0::/gone\n", "nonsense", "1:cpu:/x\n0::/unit\n", "::::\n:\n", "4:memory\n", "4:memory:/../..\n"};
        struct group_place place;
        struct group g;
        char why[200];

        (void)state;
        folder("unit");
        put("unit/cgroup.controllers", "cpu pids\n"); /* no memory */
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
                assert_int_not_equal(group_find(root, lines[i], &place, why), 0);
                assert_int_equal(place.version, 0);
                assert_true(strlen(why) > 0);
        }
        assert_int_not_equal(group_open(&place, "t", 1, &g), 0);
        assert_int_equal(group_join(&g), 0); /* none: nothing to join */
        assert_int_equal(group_killed(&g), 0);
        group_close(&g);
}

static void a_failed_try_is_undone(void **state)
{
        struct group_place place;
        char why[200], path[128];

        (void)state;
        folder("unit");
        put("unit/cgroup.controllers", "memory\n");
        put("unit/cgroup.procs", "");
        /* berth-worker can be made, but has no cgroup.procs to write to: not a kernel's. */
        assert_int_not_equal(group_find(root, "0::/unit\n", &place, why), 0);
        snprintf(path, sizeof path, "%s/unit/berth-worker", root);
        assert_int_not_equal(access(path, F_OK), 0);
}

/* What the kernel does with it, where it lets this process make groups: else the reason has to be said. */
static void the_kernel_holds_the_limit(void **state)
{
        char self[8192], why[200] = "", name[40];
        FILE *f = fopen("/proc/self/cgroup", "re");
        struct group_place place;
        size_t n;
        struct group g;
        int status;
        pid_t child;

        (void)state;
        assert_non_null(f);
        n = fread(self, 1, sizeof self - 1, f);
        self[n] = 0;
        fclose(f);
        if (group_find("/sys/fs/cgroup", self, &place, why) < 0) {
                print_message("no groups here: %s\n", why);
                assert_true(strlen(why) > 0);
                return;
        }
        snprintf(name, sizeof name, "berth-test-%d", (int)getpid());
        assert_int_equal(group_open(&place, name, 64 << 20, &g), 0);
        assert_int_equal(group_killed(&g), 0);
        child = fork();
        if (!child) {
                size_t bytes = (size_t)256 << 20;
                char *memory;

                if (group_join(&g) < 0)
                        _exit(3);
                memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                for (size_t i = 0; memory != MAP_FAILED && i < bytes; i += 4096)
                        memory[i] = 1;
                _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_true(group_killed(&g) >= 1);
        group_close(&g);
        snprintf(why, sizeof why, "%.150s/%s", place.path, name);
        assert_int_not_equal(access(why, F_OK), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_delegated_group_of_version_2, begin, end),
                cmocka_unit_test_setup_teardown(groups_that_are_not_ours, begin, end),
                cmocka_unit_test_setup_teardown(a_failed_try_is_undone, begin, end),
                cmocka_unit_test(the_kernel_holds_the_limit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
