/* test-settings.c: the daemon's table of settings: its defaults hold, its names are unique, and paths follow the environment. */
#include "base/error.h"
#include "wire/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void test_table(void **state)
{
        const struct config_table *t = &settings_table;

        (void)state;
        assert_int_equal(t->bytes, sizeof(struct settings));
        for (size_t i = 0; i < t->count; i++) {
                const struct config_entry *e = &t->entries[i];

                assert_true(e->section && e->name && e->fallback && e->help && *e->help);
                assert_true(e->offset < t->bytes);
                assert_true(!e->max || e->min <= e->max);
                assert_int_equal(e->type == CONFIG_CHOICE, e->choices != NULL);
                for (size_t j = 0; j < i; j++) {
                        assert_true(strcmp(e->name, t->entries[j].name) || strcmp(e->section, t->entries[j].section));
                        assert_int_not_equal(e->offset, t->entries[j].offset);
                }
        }
}

static void test_defaults(void **state)
{
        struct settings s;
        char message[CONFIG_MESSAGE];

        (void)state;
        memset(&s, 0xff, sizeof s);
        config_defaults(&settings_table, &s);
        assert_int_equal(s.reserve_percent, 10);
        assert_int_equal(s.slice_multiplier, 5);
        assert_int_equal(s.arena_size.permille, 500);
        assert_string_equal(s.socket, "");
        /* What is shown can be read back and means the same. */
        for (size_t i = 0; i < settings_table.count; i++) {
                const struct config_entry *e = &settings_table.entries[i];
                struct settings back = s;
                char text[300];

                config_format(e, &s, text, sizeof text);
                if (config_set(&settings_table, &back, e->section, e->name, text, message))
                        fail_msg("%s.%s = %s: %s", e->section, e->name, text, message);
                assert_string_equal(config_format(e, &back, (char[300]){0}, 300), text);
        }
}

static void test_ranges(void **state)
{
        struct settings s, before;
        char message[CONFIG_MESSAGE];

        (void)state;
        config_defaults(&settings_table, &s);
        before = s;
        assert_int_equal(config_set(&settings_table, &s, "memory", "reserve_percent", "91", message) < 0, 1);
        assert_non_null(strstr(message, "90"));
        assert_int_equal(config_set(&settings_table, &s, "memory", "reserve", "5", message) < 0, 1);
        assert_int_equal(config_set(&settings_table, &s, "slice", "mode", "sometimes", message) < 0, 1);
        assert_memory_equal(&s, &before, sizeof s);
        assert_int_equal(config_set(&settings_table, &s, "memory", "reserve_percent", "90", message), 0);
        assert_int_equal(s.reserve_percent, 90);
}

static int load(const char *text, struct settings *s, char message[CONFIG_MESSAGE])
{
        char path[] = "/tmp/test-settings-XXXXXX";
        int fd = mkstemp(path), r;

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
        close(fd);
        r = settings_load(path, true, s, message);
        unlink(path);
        return r;
}

/* What no value alone is wrong about. */
static void test_together(void **state)
{
        struct settings s = {.reserve_percent = 77};
        char message[CONFIG_MESSAGE];

        (void)state;
        assert_int_equal(load("[slice]\nmin = 10s\nmax = 5s\n", &s, message), -E_CONFIG);
        assert_non_null(strstr(message, "slice.min"));
        assert_int_equal(load("[client]\nunit = 4MiB\n[arena]\nsegment = 6MiB\n", &s, message), -E_CONFIG);
        assert_non_null(strstr(message, "segment"));
        assert_int_equal(s.reserve_percent, 77); /* both changed nothing */
        assert_int_equal(load("[slice]\nmin = 1s\nmax = 5s\n", &s, message), 0);
        assert_int_equal(s.slice_max, UINT64_C(5000000000));
        assert_int_equal(s.reserve_percent, 10);
}

/* Those who come with the forerunner's variables find its shortest slice, unless they set ours. */
static void test_aliases(void **state)
{
        struct settings s;
        char message[CONFIG_MESSAGE];

        (void)state;
        assert_int_equal(settings_load(NULL, false, &s, message), 0);
        assert_int_equal(s.slice_min, UINT64_C(2000000000));
        setenv("NVSHARE_SWITCH_TIME_MULTIPLIER", "7", 1);
        setenv("NVSHARE_MEMORY_RESERVE_PERCENT", "15", 1);
        assert_int_equal(settings_load(NULL, false, &s, message), 0);
        assert_int_equal(s.slice_min, UINT64_C(10000000000));
        assert_int_equal(s.slice_multiplier, 7);
        assert_int_equal(s.reserve_percent, 15);
        assert_int_equal(load("[slice]\nmin = 3s\n", &s, message), 0);
        assert_int_equal(s.slice_min, UINT64_C(3000000000));
        setenv("NVSHARE_SWITCH_TIME_MULTIPLIER", "often", 1);
        assert_int_equal(settings_load(NULL, false, &s, message), -E_CONFIG);
        assert_non_null(strstr(message, "NVSHARE_SWITCH_TIME_MULTIPLIER"));
        unsetenv("NVSHARE_SWITCH_TIME_MULTIPLIER");
        unsetenv("NVSHARE_MEMORY_RESERVE_PERCENT");
}

static void test_paths(void **state)
{
        struct settings s;
        char path[128], small[8];

        (void)state;
        config_defaults(&settings_table, &s);
        setenv("BERTH_SOCKET", "/somewhere/socket", 1);
        assert_int_equal(settings_socket_path(&s, path, sizeof path), 0);
        assert_string_equal(path, "/somewhere/socket");
        assert_int_equal(settings_socket_path(&s, small, sizeof small), -ENAMETOOLONG);
        assert_int_equal(settings_socket_candidate(0, path, sizeof path), 0);
        assert_string_equal(path, "/somewhere/socket");
        assert_int_equal(settings_socket_candidate(1, path, sizeof path), -ENOENT);
        unsetenv("BERTH_SOCKET");

        strcpy(s.socket, "/set/socket");
        assert_int_equal(settings_socket_path(&s, path, sizeof path), 0);
        assert_string_equal(path, "/set/socket");

        setenv("BERTH_CONFIG", "/some/file", 1);
        assert_int_equal(settings_default_path(path, sizeof path), 0);
        assert_string_equal(path, "/some/file");
        unsetenv("BERTH_CONFIG");
        assert_int_equal(settings_default_path(path, sizeof path), 0);
        assert_non_null(strstr(path, "berthd.conf"));
        /* The system's daemon is always the last candidate. */
        for (unsigned int i = 0;; i++) {
                char next[128];

                if (settings_socket_candidate(i, next, sizeof next)) {
                        assert_true(i > 0);
                        break;
                }
                strcpy(path, next);
        }
        assert_string_equal(path, "/run/berth/node.sock");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_table),
                cmocka_unit_test(test_defaults),
                cmocka_unit_test(test_ranges),
                cmocka_unit_test(test_together),
                cmocka_unit_test(test_aliases),
                cmocka_unit_test(test_paths),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
