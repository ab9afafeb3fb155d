/* test-cache.c: the same question is found again however it is written, no other one is, and memory is bounded. */
#include "gateway/cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>

static const struct id one = {.bytes = {1}}, two = {.bytes = {2}};

static bool same(const char *a, const char *b)
{
        uint8_t x[CACHE_KEY], y[CACHE_KEY];

        assert_int_equal(cache_key(&one, "/p", "r", a, strlen(a), x), 0);
        assert_int_equal(cache_key(&one, "/p", "r", b, strlen(b), y), 0);
        return !memcmp(x, y, CACHE_KEY);
}

static void one_question_has_one_key(void **state)
{
        uint8_t x[CACHE_KEY], y[CACHE_KEY];

        assert_true(same("{\"a\":1,\"b\":{\"c\":[1,2.0],\"d\":0.5}}", " {\"b\" : {\"d\":5e-1,\"c\":[1.0,2]},\"a\":1e0, \"stream\":false,\"user\":\"x\",\"cache\":true}"));
        assert_true(same("{\"a\":\"\\u00e9\"}", "{\"a\":\"\xc3\xa9\"}"));
        assert_false(same("{\"a\":[1,2]}", "{\"a\":[2,1]}"));
        assert_false(same("{\"a\":0.7}", "{\"a\":0.70000001}"));
        assert_false(same("{\"a\":1}", "{\"a\":true}"));
        assert_false(same("{\"a\":\"1\"}", "{\"a\":1}"));
        assert_int_equal(cache_key(&one, "/p", "r", "{}", 2, x), 0);
        assert_int_equal(cache_key(&two, "/p", "r", "{}", 2, y), 0);
        assert_memory_not_equal(x, y, CACHE_KEY);
        assert_int_equal(cache_key(&one, "/p", "s", "{}", 2, y), 0);
        assert_memory_not_equal(x, y, CACHE_KEY);
        assert_int_equal(cache_key(&one, "/q", "r", "{}", 2, y), 0);
        assert_memory_not_equal(x, y, CACHE_KEY);
        assert_int_equal(cache_key(&one, "/p", "r", "[]", 2, y), -EINVAL);
}

static void memory_is_bounded_and_time_ends_it(void **state)
{
        struct cache cache = {.most = 10000};
        char text[1000] = "";
        uint8_t key[CACHE_KEY] = {0};

        for (uint8_t i = 0; i < 50; i++) {
                key[0] = i;
                cache_put(&cache, 0, key, text, sizeof(text), 1, 2);
                assert_true(cache.bytes <= cache.most);
                key[0] = 0;
                assert_non_null(cache_find(&cache, 0, key));
        }
        /* What was used all the time is there; what was not is gone. */
        key[0] = 1;
        assert_null(cache_find(&cache, 0, key));
        key[0] = 49;
        assert_int_equal(cache_find(&cache, 0, key)->completion_tokens, 2);
        assert_null(cache_find(&cache, CACHE_MS, key));
        cache_put(&cache, 0, key, text, 5000, 1, 2);
        assert_null(cache_find(&cache, 0, key));
        cache_done(&cache);
        assert_int_equal(cache.bytes, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(one_question_has_one_key), cmocka_unit_test(memory_is_bounded_and_time_ends_it)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
