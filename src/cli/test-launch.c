/* test-launch.c: what a program's environment becomes, and what is refused. */
#include "cli/launch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char message[CLI_MESSAGE];

static void preload(const char *before, const char *after)
{
        char *text = NULL;

        assert_int_equal(launch_preload("/lib/x.so", before, &text, message), 0);
        assert_string_equal(text, after);
        free(text);
}

static void test_preload(void **state)
{
        char *text = NULL;

        preload(NULL, "/lib/x.so");
        preload("", "/lib/x.so");
        preload("/lib/y.so", "/lib/x.so:/lib/y.so");
        preload("/lib/y.so:/lib/x.so", "/lib/y.so:/lib/x.so");
        preload("/lib/x.so /lib/y.so", "/lib/x.so /lib/y.so");
        preload("/lib/x.so.1", "/lib/x.so:/lib/x.so.1");
        preload("/my/lib/x.so", "/lib/x.so:/my/lib/x.so");
        assert_int_equal(launch_preload("/a path/x.so", NULL, &text, message), -EINVAL);
        assert_non_null(strstr(message, "/a path/x.so"));
        assert_int_equal(launch_preload("/a:b/x.so", NULL, &text, message), -EINVAL);
}

static int memory(const char *text)
{
        struct launch l = {.memory = text};
        return launch_check(&l, message);
}

static void test_check(void **state)
{
        struct launch l = {.need = "12GiB", .priority = "batch", .job = "a job"};

        assert_int_equal(launch_check(&l, message), 0);
        assert_int_equal(memory("40%"), 0);
        assert_int_equal(memory("100%"), 0);
        assert_int_equal(memory("512MiB"), 0);
        assert_int_equal(memory("0"), -EINVAL);
        assert_int_equal(memory("101%"), -ERANGE);
        assert_int_equal(memory("-1%"), -EINVAL);
        assert_int_equal(memory(""), -EINVAL);
        assert_int_equal(memory("99999999999999999999"), -ERANGE);
        assert_int_equal(memory("lots"), -EINVAL);
        assert_non_null(strstr(message, "lots"));
        l.job_memory = "50%";
        assert_int_equal(launch_check(&l, message), -EINVAL); /* not beside a need */
        l.need = NULL;
        assert_int_equal(launch_check(&l, message), 0);
        l.job = NULL;
        assert_int_equal(launch_check(&l, message), -EINVAL);
        assert_non_null(strstr(message, "--job NAME"));
        l.job_memory = NULL;
        l.soft_memory = "30%";
        assert_int_equal(launch_check(&l, message), 0);
        l.memory = "30%";
        assert_int_equal(launch_check(&l, message), -EINVAL);
        l.memory = "12GiB"; /* of a device whose size is not known here */
        assert_int_equal(launch_check(&l, message), 0);
        l.soft_memory = "little";
        assert_int_equal(launch_check(&l, message), -EINVAL);
        assert_non_null(strstr(message, "--soft-memory: \"little\""));
        l.memory = l.soft_memory = NULL;
        l.need = "half";
        assert_int_equal(launch_check(&l, message), -EINVAL);
        l.need = NULL;
        l.priority = "urgent";
        assert_int_equal(launch_check(&l, message), -EINVAL);
        assert_non_null(strstr(message, "interactive, normal, batch"));
        l.priority = NULL;
        l.job = "a job name that is longer than the field of the message";
        assert_int_equal(launch_check(&l, message), -EINVAL);
        l.job = "bell\a";
        assert_int_equal(launch_check(&l, message), -EINVAL);
        l.job = "";
        assert_int_equal(launch_check(&l, message), -EINVAL);
}

static void test_environment(void **state)
{
        struct launch l = {.memory = "40%",
                           .need = "1MiB",
                           .priority = "batch",
                           .job = "j",
                           .socket = "/s",
                           .software = true,
                           .software_devices = 2,
                           .software_bytes = 256 << 20,
                           .library = "/l.so",
                           .driver = "/d.so"};

        setenv("LD_PRELOAD", "", 1);
        unsetenv("LD_PRELOAD");
        setenv("BERTH_SOFTWARE_DIR", "/mine", 1);
        assert_int_equal(launch_environment(&l, message), 0);
        assert_string_equal(getenv("LD_PRELOAD"), "/l.so");
        unsetenv("LD_PRELOAD");
        assert_string_equal(getenv("BERTH_DRIVER"), "/d.so");
        assert_string_equal(getenv("BERTH_SOCKET"), "/s");
        assert_string_equal(getenv("BERTH_MEMORY"), "40%");
        assert_string_equal(getenv("BERTH_NEED"), "1048576");
        assert_string_equal(getenv("BERTH_PRIORITY"), "batch");
        assert_string_equal(getenv("BERTH_JOB"), "j");
        assert_string_equal(getenv("BERTH_SOFTWARE_MEMORY"), "268435456");
        assert_string_equal(getenv("BERTH_SOFTWARE_DEVICES"), "2");
        assert_string_equal(getenv("BERTH_SOFTWARE_DIR"), "/mine");
}

static void test_given_paths(void **state)
{
        struct launch l = {0};

        setenv("BERTH_LIBRARY", "nonexistent/libberth-cuda.so", 1);
        assert_int_equal(launch_find_library(&l, message), -ENOENT);
        assert_non_null(strstr(message, "BERTH_LIBRARY"));
        setenv("BERTH_LIBRARY", "/proc/self/exe", 1);
        assert_int_equal(launch_find_library(&l, message), 0);
        unsetenv("BERTH_LIBRARY");
        setenv("BERTH_DRIVER", "nonexistent/libcuda.so.1", 1);
        assert_int_equal(launch_find_driver(&l, message), -ENOENT);
        assert_non_null(strstr(message, "BERTH_DRIVER"));
        unsetenv("BERTH_DRIVER");
}

static void test_probe(void **state)
{
        char path[PATH_MAX], version[32] = "x";

        assert_int_equal(launch_probe("libm.so.6", path, version, message), 0);
        assert_int_equal(path[0], '/');
        assert_string_equal(version, "");
        assert_int_equal(launch_probe("libno-such-thing.so.7", path, NULL, message), -ENOENT);
        assert_non_null(strstr(message, "libno-such-thing.so.7"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_preload),     cmocka_unit_test(test_check), cmocka_unit_test(test_environment),
                cmocka_unit_test(test_given_paths), cmocka_unit_test(test_probe),
        };

        return cmocka_run_group_tests_name("cli-launch", tests, NULL, NULL);
}
