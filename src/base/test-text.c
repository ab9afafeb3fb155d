/* test-text.c: sizes, shares, durations and clean text, at their edges. */
#include "base/text.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_bytes(void **state)
{
        static const struct {
                const char *text;
                int result;
                uint64_t value;
        } cases[] = {
                {"0", 0, 0},
                {"4096", 0, 4096},
                {"64K", 0, 64 * KIB},
                {"1.5GiB", 0, GIB + GIB / 2},
                {"2 MB", 0, 2 * MIB},
                {"2mib", 0, 2 * MIB},
                {"0.000000001G", 0, 1},
                {"18446744073709551615", 0, UINT64_MAX},
                {"18446744073709551616", -ERANGE, 0},
                {"17179869184G", -ERANGE, 0},
                {"16777216.5T", -ERANGE, 0},
                {"", -EINVAL, 0},
                {".", -EINVAL, 0},
                {"-1", -EINVAL, 0},
                {"5x", -EINVAL, 0},
                {"5 M M", -EINVAL, 0},
                {" 5", -EINVAL, 0},
                {"0x10", -EINVAL, 0},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                uint64_t value = 0;

                assert_int_equal(text_parse_bytes(cases[i].text, &value), cases[i].result);
                assert_int_equal(value, cases[i].value);
        }
}

static void test_share(void **state)
{
        uint64_t bytes = 7;
        uint32_t permille = 7;

        (void)state;
        assert_int_equal(text_parse_share("40%", &bytes, &permille), 0);
        assert_int_equal(bytes, 0);
        assert_int_equal(permille, 400);
        assert_int_equal(text_parse_share("12.5 %", &bytes, &permille), 0);
        assert_int_equal(permille, 125);
        assert_int_equal(text_parse_share("4GiB", &bytes, &permille), 0);
        assert_int_equal(bytes, 4 * GIB);
        assert_int_equal(permille, 0);
        assert_int_equal(text_parse_share("0%", &bytes, &permille), -ERANGE);
        assert_int_equal(text_parse_share("100.1%", &bytes, &permille), -ERANGE);
        assert_int_equal(text_parse_share("%", &bytes, &permille), -EINVAL);
        assert_int_equal(text_parse_share("5%%", &bytes, &permille), -EINVAL);
}

static void test_fraction(void **state)
{
        static const struct {
                const char *text;
                int result;
                uint32_t permille;
        } cases[] = {
                {"1", 0, 1000},       {"1.0", 0, 1000},     {"0.4", 0, 400},     {".5", 0, 500},          {"0.3333", 0, 333},
                {"0.0001", 0, 1},     {"0", -ERANGE, 7},    {"0.0", -ERANGE, 7}, {"1.001", -ERANGE, 7},   {"2", -ERANGE, 7},
                {"", -EINVAL, 7},     {"-0.5", -EINVAL, 7}, {"40%", -EINVAL, 7}, {"half", -EINVAL, 7},    {"0,5", -EINVAL, 7},
                {"0.5x", -EINVAL, 7}, {"nan", -EINVAL, 7},  {".", -EINVAL, 7},   {"1e-1", -EINVAL, 7},    {"99999999999", -ERANGE, 7},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                uint32_t permille = 7;

                assert_int_equal(text_parse_fraction(cases[i].text, &permille), cases[i].result);
                assert_int_equal(permille, cases[i].permille);
        }
}

static void test_duration(void **state)
{
        uint64_t ns;

        (void)state;
        assert_int_equal(text_parse_duration("250ms", &ns), 0);
        assert_int_equal(ns, 250000000);
        assert_int_equal(text_parse_duration("30", &ns), 0);
        assert_int_equal(ns, UINT64_C(30000000000));
        assert_int_equal(text_parse_duration("2min", &ns), 0);
        assert_int_equal(ns, UINT64_C(120000000000));
        assert_int_equal(text_parse_duration("soon", &ns), -EINVAL);
        assert_int_equal(text_parse_duration("99999999999999999999h", &ns), -ERANGE);
}

static void test_numbers(void **state)
{
        uint64_t value = 9;
        bool yes = false;

        (void)state;
        assert_int_equal(text_parse_u64("5", 1, 5, &value), 0);
        assert_int_equal(value, 5);
        assert_int_equal(text_parse_u64("6", 1, 5, &value), -ERANGE);
        assert_int_equal(text_parse_u64("1.5", 1, 5, &value), -EINVAL);
        assert_int_equal(text_parse_u64("", 0, 5, &value), -EINVAL);
        assert_int_equal(value, 5);
        assert_int_equal(text_parse_bool("On", &yes), 0);
        assert_true(yes);
        assert_int_equal(text_parse_bool("false", &yes), 0);
        assert_false(yes);
        assert_int_equal(text_parse_bool("maybe", &yes), -EINVAL);
}

static void test_format(void **state)
{
        char text[16];

        (void)state;
        assert_string_equal(text_bytes(0, text, sizeof text), "0 B");
        assert_string_equal(text_bytes(GIB + GIB / 2, text, sizeof text), "1.5 GiB");
        assert_string_equal(text_bytes(UINT64_MAX, text, sizeof text), "16.0 EiB");
        assert_string_equal(text_duration(1250000000, text, sizeof text), "1.25 s");
        assert_string_equal(text_duration(UINT64_MAX, text, 8), text);
        assert_int_equal(strlen(text), 7);
}

static void test_clean(void **state)
{
        char text[8];

        (void)state;
        memset(text, 'x', sizeof text);
        text_copy_clean(text, sizeof text, "a\033[2J\xc3\xa4" "b");
        assert_string_equal(text, "a?[2J??");
        text_copy_clean(text, sizeof text, "ok");
        assert_memory_equal(text, "ok\0\0\0\0\0\0", 8);
        assert_true(text_is_clean(text, sizeof text));
        assert_false(text_is_clean("abcd", 4));
        assert_false(text_is_clean("a\n", 3));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_bytes),   cmocka_unit_test(test_share),  cmocka_unit_test(test_fraction), cmocka_unit_test(test_duration),
                cmocka_unit_test(test_numbers), cmocka_unit_test(test_format), cmocka_unit_test(test_clean),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
