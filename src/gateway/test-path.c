/* test-path.c: targets, queries, patterns. */
#include "gateway/path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>

static int decode(const char *target, struct path *path)
{
        return path_decode(target, strlen(target), path);
}

static void clean_paths_are_decoded_once(void **state)
{
        struct path path;

        assert_int_equal(decode("/", &path), 0);
        assert_string_equal(path.text, "/");
        assert_null(path.query);
        assert_int_equal(decode("/api/v1/tasks/task_1?limit=5&x", &path), 0);
        assert_string_equal(path.text, "/api/v1/tasks/task_1");
        assert_int_equal(path.query_length, strlen("limit=5&x"));
        assert_int_equal(decode("/a%20b/%e2%82%ac", &path), 0);
        assert_string_equal(path.text, "/a b/\xe2\x82\xac");
        /* Decoded once only: what comes out is not decoded again. */
        assert_int_equal(decode("/%2541", &path), 0);
        assert_string_equal(path.text, "/%41");
}

static void tricks_are_refused(void **state)
{
        static const char *const bad[] = {
                "",         "api",        "*",         "http://x/",   "//",         "/a//b",      "/a/",       "/..",         "/a/../b",    "/a/%2e%2e/b", "/%2e",
                "/a/./b",   "/.%2e/b",    "/a%2fb",    "/a%2Fb",      "/a%5cb",     "/a\\b",      "/%00",      "/a%00.json",  "/a%0d%0ab",  "/%",          "/%1",
                "/%zz",     "/%c0%af",    "/%ff",      "/%ed%a0%80",  "/a#b",       "/a\x01",     "/a\x7f",    "/%c3",        "/a%7f",
        };
        struct path path;

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                if (decode(bad[i], &path) != -EINVAL)
                        fail_msg("%s was taken", bad[i]);
}

static void length_is_bounded(void **state)
{
        char target[4 * PATH_MAX_BYTES];
        struct path path;

        memset(target, 'a', sizeof target);
        target[0] = '/';
        assert_int_equal(path_decode(target, PATH_MAX_BYTES - 1, &path), 0);
        assert_int_equal(path_decode(target, PATH_MAX_BYTES, &path), -ENAMETOOLONG);
        /* A NUL is no end. */
        assert_int_equal(path_decode("/a\0b", 4, &path), -EINVAL);
}

static void patterns_match_whole_segments(void **state)
{
        struct path_part parts[PATH_PARTS];

        assert_true(path_match("/a/{x}/b", "/a/1/b", parts));
        assert_int_equal(parts[0].length, 1);
        assert_memory_equal(parts[0].text, "1", 1);
        assert_true(path_match("/a/{x}", "/a/{x}", parts));
        assert_false(path_match("/a/{x}", "/a/", parts));
        assert_false(path_match("/a/{x}", "/a/1/2", parts));
        assert_false(path_match("/a/{x}/b", "/a/1/c", parts));
        assert_false(path_match("/a", "/ab", parts));
        assert_false(path_match("/ab", "/a", parts));
        assert_true(path_match("/m/{x...}", "/m/a/b:c", parts));
        assert_int_equal(parts[0].length, 5);
        assert_true(path_match("/m/{x...}/start", "/m/a/b/start", parts));
        assert_int_equal(parts[0].length, 3);
        assert_true(path_match("/m/{x...}/start", "/m/start/start", parts));
        assert_false(path_match("/m/{x...}/start", "/m/start", parts));
        assert_false(path_match("/m/{x...}/start", "/m/a/stop", parts));
        assert_false(path_match("/m/{x...}", "/m/", parts));
}

/* Names of models have slashes; all else of a clean path holds for them, too. */
static void models_may_have_slashes(void **state)
{
        static const char *const bad[] = {"/v1/models/%2f", "/v1/models/a%2f%2fb", "/v1/models/a%2f..%2fb", "/v1/models/..%2f..%2fapi", "/v1/models%2fa", "/v1/models/a%5cb", "/v1/tasks/a%2fb"};
        struct path path;

        assert_int_equal(decode("/v1/models/org%2Fname:1", &path), 0);
        assert_string_equal(path.text, "/v1/models/org/name:1");
        assert_int_equal(decode("/api/v1/models/org%2fname/start", &path), 0);
        assert_string_equal(path.text, "/api/v1/models/org/name/start");
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                if (decode(bad[i], &path) != -EINVAL)
                        fail_msg("%s was taken", bad[i]);
}

static int get(const char *query, const char *name, char *value, size_t size)
{
        return query_get(query, strlen(query), name, value, size);
}

static void queries(void **state)
{
        char value[8];

        assert_int_equal(get("a=1&b=two%20x&c", "b", value, sizeof value), 1);
        assert_string_equal(value, "two x");
        assert_int_equal(get("a=1&b=a+b", "b", value, sizeof value), 1);
        assert_string_equal(value, "a b");
        assert_int_equal(get("a=1&c", "c", value, sizeof value), 1);
        assert_string_equal(value, "");
        assert_int_equal(get("&&a=1&", "a", value, sizeof value), 1);
        assert_int_equal(get("aa=1", "a", value, sizeof value), 0);
        assert_int_equal(get("a=1&a=2", "a", value, sizeof value), -EINVAL);
        assert_int_equal(get("a=%0", "a", value, sizeof value), -EINVAL);
        assert_int_equal(get("a=%00", "a", value, sizeof value), -EINVAL);
        assert_int_equal(get("a=%ff", "a", value, sizeof value), -EINVAL);
        assert_int_equal(get("a=12345678", "a", value, sizeof value), -ENAMETOOLONG);
        assert_int_equal(query_get(NULL, 0, "a", value, sizeof value), 0);
}

static void unknown_names_are_told(void **state)
{
        char unknown[8];

        assert_int_equal(query_check("limit=1&after=x", 15, "after limit", unknown, sizeof unknown), 0);
        assert_int_equal(query_check("limt=1", 6, "after limit", unknown, sizeof unknown), -ENOENT);
        assert_string_equal(unknown, "limt");
        assert_int_equal(query_check("li=1", 4, "after limit", unknown, sizeof unknown), -ENOENT);
        assert_int_equal(query_check("a\"b\x01ttttttttt=1", 15, "", unknown, sizeof unknown), -ENOENT);
        assert_string_equal(unknown, "a?b?ttt");
        assert_int_equal(query_check(NULL, 0, "", unknown, sizeof unknown), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(clean_paths_are_decoded_once), cmocka_unit_test(tricks_are_refused), cmocka_unit_test(length_is_bounded),
                cmocka_unit_test(patterns_match_whole_segments), cmocka_unit_test(models_may_have_slashes), cmocka_unit_test(queries), cmocka_unit_test(unknown_names_are_told),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
