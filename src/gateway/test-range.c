/* test-range.c: ranges, entity tags, event ids. */
#include "gateway/range.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>

static void ranges(void **state)
{
        static const struct {
                const char *text;
                uint64_t total;
                int result;
                uint64_t first, count;
        } cases[] = {
                {"bytes=0-0", 10, 0, 0, 1},      {"bytes=0-99", 10, 0, 0, 10},    {"bytes=3-", 10, 0, 3, 7},          {"bytes=-3", 10, 0, 7, 3},
                {"bytes=-30", 10, 0, 0, 10},     {"bytes=9-9", 10, 0, 9, 1},      {"bytes=10-", 10, -ERANGE, 0, 0},   {"bytes=-0", 10, -ERANGE, 0, 0},
                {"bytes=0-0", 0, -ERANGE, 0, 0}, {"bytes=-1", 0, -ERANGE, 0, 0},  {"bytes=5-4", 10, -ENOTSUP, 0, 0},  {"bytes=0-1,3-4", 10, -ENOTSUP, 0, 0},
                {"bytes=", 10, -ENOTSUP, 0, 0},  {"bytes=-", 10, -ENOTSUP, 0, 0}, {"items=0-1", 10, -ENOTSUP, 0, 0},  {"bytes= 0-1", 10, -ENOTSUP, 0, 0},
                {"bytes=0-18446744073709551616", 10, -ENOTSUP, 0, 0},             {"bytes=0-18446744073709551615", 10, 0, 0, 10},
                {"bytes=+1-2", 10, -ENOTSUP, 0, 0},
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                uint64_t first = 0, count = 0;

                if (range_parse(cases[i].text, cases[i].total, &first, &count) != cases[i].result || first != cases[i].first || count != cases[i].count)
                        fail_msg("%s of %llu", cases[i].text, (unsigned long long)cases[i].total);
        }
}

static void content_ranges(void **state)
{
        static const char *const bad[] = {"", "bytes", "bytes 0-1", "bytes 0-1/", "bytes 0-1/*", "bytes 2-1/3", "bytes 0-3/3", "bytes */3", "0-1/3", "bytes 0-1/3 ",
                                          "bytes 0-1/99999999999999999999", "bytes -1/3", "bytes 4-3/3"};
        uint64_t first, count, total;

        assert_int_equal(range_parse_content("bytes 5-9/10", &first, &count, &total), 0);
        assert_int_equal(first, 5);
        assert_int_equal(count, 5);
        assert_int_equal(total, 10);
        assert_int_equal(range_parse_content("bytes */0", &first, &count, &total), 0);
        assert_int_equal(total, 0);
        /* Nothing is left to send, only the end. */
        assert_int_equal(range_parse_content("bytes 3-2/3", &first, &count, &total), 0);
        assert_int_equal(first, 3);
        assert_int_equal(count, 0);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                if (range_parse_content(bad[i], &first, &count, &total) != -EINVAL)
                        fail_msg("\"%s\" was taken", bad[i]);
}

static void entity_tags(void **state)
{
        static const char *const bad[] = {"", "1", "\"\"", "\"0\"", "\"a\"", "\"1", "W/\"1\"", "\"1\", \"2\"", "**"};
        uint64_t version;
        bool any;

        assert_int_equal(etag_parse("\"17\"", &version, &any), 0);
        assert_int_equal(version, 17);
        assert_false(any);
        assert_int_equal(etag_parse("*", &version, &any), 0);
        assert_true(any);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_int_equal(etag_parse(bad[i], &version, &any), -EINVAL);
        assert_true(etag_listed("\"1\", W/\"17\"", 17));
        assert_true(etag_listed("*", 17));
        assert_false(etag_listed("\"1\", \"170\"", 17));
        assert_false(etag_listed(",,, \"", 17));
}

static void event_ids(void **state)
{
        static const char *const bad[] = {"", "1", "-1", "1-", "1-2-3", "a-1", "1-99999999999999999999", " 1-2"};
        uint64_t epoch, number;

        assert_int_equal(event_id_parse("12-34", &epoch, &number), 0);
        assert_int_equal(epoch, 12);
        assert_int_equal(number, 34);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_int_equal(event_id_parse(bad[i], &epoch, &number), -EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(ranges), cmocka_unit_test(content_ranges), cmocka_unit_test(entity_tags), cmocka_unit_test(event_ids),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
