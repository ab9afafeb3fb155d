/* test-config.c: what a settings file may hold, and that a refused one says where and why and changes nothing. */
#include "base/config.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct sample {
        uint64_t size, time, count;
        struct config_share share;
        bool on;
        uint32_t mode;
        char name[CONFIG_TEXT];
};

#define AT(field) .offset = offsetof(struct sample, field)
static const struct config_entry entries[] = {
        {"a", "size", CONFIG_BYTES, AT(size), "1GiB", 1024, UINT64_C(1) << 40, .live = true},
        {"a", "share", CONFIG_SHARE, AT(share), "50%", .live = true},
        {"a", "name", CONFIG_STRING, AT(name), ""},
        {"b", "time", CONFIG_DURATION, AT(time), "1500ms", .live = true},
        {"b", "count", CONFIG_NUMBER, AT(count), "5", 1, 10, .environment = "TEST_CONFIG_COUNT TEST_CONFIG_OTHER"},
        {"b", "on", CONFIG_BOOL, AT(on), "yes", .live = true},
        {"b", "mode", CONFIG_CHOICE, AT(mode), "auto", .choices = "auto|fixed"},
};
static const struct config_table table = {entries, ARRAY_SIZE(entries), sizeof(struct sample)};

static char folder[64], path[96];

static void put(const char *where, const char *text)
{
        FILE *f = fopen(where, "w");

        assert_non_null(f);
        fputs(text, f);
        fclose(f);
}

static int set_up(void **state)
{
        (void)state;
        snprintf(folder, sizeof folder, "/tmp/berth-test-XXXXXX");
        if (!mkdtemp(folder))
                return -1;
        snprintf(path, sizeof path, "%s/x.conf", folder);
        unsetenv("TEST_CONFIG_COUNT");
        unsetenv("TEST_CONFIG_OTHER");
        return 0;
}

static int tear_down(void **state)
{
        static const char *const names[] = {"x.conf.d/10.conf", "x.conf.d/20.conf", "x.conf.d/30.txt", "x.conf"};
        char name[160];

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                snprintf(name, sizeof name, "%s/%s", folder, names[i]);
                unlink(name);
        }
        snprintf(name, sizeof name, "%s/x.conf.d", folder);
        rmdir(name);
        return rmdir(folder);
}

static void test_accepts(void **state)
{
        char message[CONFIG_MESSAGE], text[300];
        struct sample s = {0};

        (void)state;
        put(path, "# comment\n; another\n[a]\n  size = 3MiB ; why\nname: with spaces\r\nshare=12.5%\n\n[b]\ntime = 2min\non=no\nmode = FIXED");
        assert_int_equal(config_load(&table, path, true, &s, message), 0);
        assert_int_equal(s.size, 3 << 20);
        assert_string_equal(s.name, "with spaces");
        assert_int_equal(s.share.permille, 125);
        assert_true(s.time == UINT64_C(120000000000));
        assert_int_equal(s.count, 5);
        assert_false(s.on);
        assert_int_equal(s.mode, 1);
        assert_string_equal(config_format(&entries[0], &s, text, sizeof text), "3MiB");
        assert_string_equal(config_format(&entries[1], &s, text, sizeof text), "12.5%");
        assert_string_equal(config_format(&entries[3], &s, text, sizeof text), "120s");
        assert_string_equal(config_format(&entries[5], &s, text, sizeof text), "no");
        assert_string_equal(config_format(&entries[6], &s, text, sizeof text), "fixed");
}

static void test_formats_read_back(void **state)
{
        char message[CONFIG_MESSAGE], text[300];
        struct sample a, b;

        (void)state;
        config_defaults(&table, &a);
        memset(&b, 0, sizeof b);
        for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
                assert_int_equal(config_set(&table, &b, entries[i].section, entries[i].name,
                                            config_format(&entries[i], &a, text, sizeof text), message), 0);
        assert_memory_equal(&a, &b, sizeof a);
}

static void test_refuses(void **state)
{
        static const struct {
                const char *text, *says;
        } cases[] = {
                {"[a]\nsize = 3MiB\nsizes = 4\n", "x.conf:3: unknown setting \"sizes\" in [a]; there are: size, share, name"},
                {"[c]\n", "x.conf:1: unknown section [c]; there are: a, b"},
                {"size = 3\n", "x.conf:1: setting \"size\" stands before any [section]; there are: a, b"},
                {"[a]\n\nsize = big\n", "x.conf:3: a.size does not accept \"big\"; accepted: a size such as 512MiB from 1KiB to 1TiB"},
                {"[a]\nsize = 1\n", "x.conf:2: a.size does not accept \"1\"; accepted: a size such as 512MiB from 1KiB to 1TiB"},
                {"[b]\ncount=3\ncount=4\n", "x.conf:3: b.count is set twice; first on line 2"},
                {"[b]\ncount=11\n", "x.conf:2: b.count does not accept \"11\"; accepted: a whole number from 1 to 10"},
                {"[b]\nmode=x\n", "x.conf:2: b.mode does not accept \"x\"; accepted: auto|fixed"},
                {"[b]\non=\n", "x.conf:2: b.on does not accept \"\"; accepted: yes or no"},
                {"[b]\nhello\n", "x.conf:2: neither \"[section]\" nor \"name = value\""},
                {"[b\ncount=3\n", "x.conf:1: neither \"[section]\" nor \"name = value\""},
                {"[b]\nhello\ncount=99\n", "x.conf:2: neither \"[section]\" nor \"name = value\""},
                {"[b]\ncount=99\nhello\n", "x.conf:2: b.count does not accept \"99\"; accepted: a whole number from 1 to 10"},
        };
        char message[CONFIG_MESSAGE];
        struct sample s;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                memset(&s, 0x5a, sizeof s);
                put(path, cases[i].text);
                assert_int_equal(config_load(&table, path, true, &s, message), -E_CONFIG);
                assert_string_equal(message + strlen(folder) + 1, cases[i].says);
                assert_int_equal(s.size, UINT64_C(0x5a5a5a5a5a5a5a5a));
        }
}

static void test_refuses_long_and_binary(void **state)
{
        char message[CONFIG_MESSAGE], text[6000];
        struct sample s = {.count = 77};
        FILE *f;

        (void)state;
        memset(text, 'x', sizeof text);
        memcpy(text, "[a]\nname=", 9);
        text[sizeof text - 1] = 0;
        put(path, text);
        assert_int_equal(config_load(&table, path, true, &s, message), -E_CONFIG);
        assert_non_null(strstr(message, "x.conf:2: line of 5995 characters"));
        f = fopen(path, "w");
        assert_non_null(f);
        fwrite("[a]\n\0\n", 1, 6, f);
        fclose(f);
        assert_int_equal(config_load(&table, path, true, &s, message), -E_CONFIG);
        assert_non_null(strstr(message, "x.conf:2: holds a zero byte"));
        put(path, "[a]\nname = \033[31mred\n");
        assert_int_equal(config_load(&table, path, true, &s, message), -E_CONFIG);
        assert_null(strchr(message, '\033'));
        assert_int_equal(s.count, 77);
}

static void test_missing(void **state)
{
        char message[CONFIG_MESSAGE];
        struct sample s = {0};

        (void)state;
        assert_int_equal(config_load(&table, path, false, &s, message), 0);
        assert_int_equal(s.count, 5);
        assert_int_equal(config_load(&table, NULL, false, &s, message), 0);
        assert_int_equal(config_load(&table, path, true, &s, message), -ENOENT);
        assert_non_null(strstr(message, "x.conf: can't be opened: No such file"));
        assert_int_equal(config_load(&table, folder, true, &s, message), -EISDIR);
        put(path, "");
        chmod(path, 0);
        if (geteuid() != 0) /* root may read everything */
                assert_int_equal(config_load(&table, path, false, &s, message), -EACCES);
}

static void test_drop_ins(void **state)
{
        char message[CONFIG_MESSAGE], name[160];
        struct sample s = {0};

        (void)state;
        put(path, "[b]\ncount = 2\n[a]\nname = base\n");
        snprintf(name, sizeof name, "%s/x.conf.d", folder);
        assert_int_equal(mkdir(name, 0700), 0);
        snprintf(name, sizeof name, "%s/x.conf.d/20.conf", folder);
        put(name, "[b]\ncount = 4\n");
        snprintf(name, sizeof name, "%s/x.conf.d/10.conf", folder);
        put(name, "[b]\ncount = 3\non = no\n");
        snprintf(name, sizeof name, "%s/x.conf.d/30.txt", folder);
        put(name, "[b]\ncount = 9\n");
        assert_int_equal(config_load(&table, path, true, &s, message), 0);
        assert_int_equal(s.count, 4);
        assert_false(s.on);
        assert_string_equal(s.name, "base");
        snprintf(name, sizeof name, "%s/x.conf.d/10.conf", folder);
        put(name, "[b]\ncount = many\n");
        assert_int_equal(config_load(&table, path, true, &s, message), -E_CONFIG);
        assert_non_null(strstr(message, "x.conf.d/10.conf:2: b.count"));
}

static void test_environment(void **state)
{
        char message[CONFIG_MESSAGE];
        struct sample s = {0};

        (void)state;
        put(path, "[b]\ncount = 2\n");
        setenv("TEST_CONFIG_OTHER", "7", 1);
        setenv("TEST_CONFIG_COUNT", "", 1);
        assert_int_equal(config_load(&table, path, true, &s, message), 0);
        assert_int_equal(s.count, 7);
        setenv("TEST_CONFIG_COUNT", "x", 1);
        assert_int_equal(config_load(&table, path, true, &s, message), -E_CONFIG);
        assert_non_null(strstr(message, "environment variable TEST_CONFIG_COUNT: b.count does not accept \"x\""));
        assert_int_equal(s.count, 7);
}

static void test_frozen(void **state)
{
        struct sample a, b;

        (void)state;
        config_defaults(&table, &a);
        b = a;
        b.size = 1 << 20;
        assert_null(config_frozen_change(&table, &a, &b));
        b.count = 3;
        assert_string_equal(config_frozen_change(&table, &a, &b), "b.count");
}

static void test_overrides(void **state)
{
        struct config_overrides overrides = {0};
        char message[CONFIG_MESSAGE] = "";
        struct sample s;

        (void)state;
        config_defaults(&table, &s);
        assert_true(config_override_keep(&overrides, "b.count=3"));
        assert_true(config_override_keep(&overrides, "a.name=x=y"));
        assert_true(config_override_keep(&overrides, "b.count=4")); /* the last word */
        assert_int_equal(config_override_all(&table, &s, &overrides, message), 0);
        assert_int_equal(s.count, 4);
        assert_string_equal(s.name, "x=y");
        assert_true(config_override_keep(&overrides, "b.count"));
        assert_int_equal(config_override_all(&table, &s, &overrides, message), -E_CONFIG);
        assert_non_null(strstr(message, "SECTION.NAME=VALUE"));
        while (overrides.count < CONFIG_OVERRIDES)
                assert_true(config_override_keep(&overrides, "b.count=1"));
        assert_false(config_override_keep(&overrides, "b.count=1"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_accepts, set_up, tear_down),
                cmocka_unit_test(test_formats_read_back),
                cmocka_unit_test_setup_teardown(test_refuses, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_refuses_long_and_binary, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_missing, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_drop_ins, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_environment, set_up, tear_down),
                cmocka_unit_test(test_frozen),
                cmocka_unit_test(test_overrides),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
