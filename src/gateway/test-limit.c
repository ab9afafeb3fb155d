/* test-limit.c: allowances and parties. */
#include "gateway/limit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
/* cmocka wants those four first */
#include <cmocka.h>

static void no_limit_never_refuses(void **state)
{
        struct limit_bucket bucket = {0};
        struct limit_state told;

        for (unsigned i = 0; i < 100000; i++)
                assert_true(limit_take(&bucket, 0, 0, 1000000, &told));
        assert_int_equal(told.limit, 0);
}

static void bucket_empties_and_fills(void **state)
{
        struct limit_bucket bucket = {0};
        struct limit_state told;

        for (unsigned i = 0; i < 60; i++) {
                assert_true(limit_take(&bucket, 5000, 60, 1, &told));
                assert_int_equal(told.remaining, 59 - i);
        }
        assert_int_equal(told.reset_s, 60);
        assert_false(limit_take(&bucket, 5000, 60, 1, &told));
        assert_int_equal(told.retry_s, 1);
        assert_false(limit_take(&bucket, 5999, 60, 1, &told));
        assert_true(limit_take(&bucket, 6000, 60, 1, &told));
        assert_false(limit_take(&bucket, 6000, 60, 1, &told));
        /* Asking in vain costs nothing. */
        assert_true(limit_take(&bucket, 7000, 60, 1, &told));
        assert_false(limit_is_full(&bucket, 60000, 60));
        assert_true(limit_is_full(&bucket, 67000, 60));
        /* More than a minute holds is never there. */
        assert_false(limit_take(&bucket, 1000000, 60, 61, &told));
        assert_int_equal(told.retry_s, 60);
        /* A clock that steps back gives nothing. */
        assert_true(limit_take(&bucket, 1000000, 60, 60, &told));
        assert_false(limit_take(&bucket, 0, 60, 1, &told));
        /* A limit that shrank holds at once. */
        assert_true(limit_take(&bucket, 2000000, 60, 1, &told));
        assert_false(limit_take(&bucket, 2000000, 2, 3, &told));
        assert_true(limit_take(&bucket, 2000000, UINT64_MAX, 1, &told));
}

static void parties_go_when_they_use_nothing(void **state)
{
        struct limit_table table = {.max = 2};
        struct limit_party *a, *b;
        struct limit_state told;

        a = limit_party(&table, (const uint8_t *)"aaaaaaaaaaaaaaaa");
        b = limit_party(&table, (const uint8_t *)"bbbbbbbbbbbbbbbb");
        assert_non_null(a);
        assert_non_null(b);
        assert_null(limit_party(&table, (const uint8_t *)"cccccccccccccccc"));
        assert_ptr_equal(limit_party(&table, (const uint8_t *)"aaaaaaaaaaaaaaaa"), a);
        a->holds = 1;
        b->per_minute = 10;
        assert_true(limit_take(&b->requests, 0, 10, 10, &told));
        limit_sweep(&table, 1000);
        assert_int_equal(table.count, 2);
        limit_sweep(&table, 61000);
        assert_int_equal(table.count, 1);
        assert_non_null(limit_find(&table, (const uint8_t *)"aaaaaaaaaaaaaaaa"));
        assert_null(limit_find(&table, (const uint8_t *)"bbbbbbbbbbbbbbbb"));
        limit_done(&table);
        assert_int_equal(table.count, 0);
}

static void key_of(const char *address, uint8_t key[16], char text[64])
{
        struct sockaddr_in6 six = {.sin6_family = AF_INET6};
        struct sockaddr_in four = {.sin_family = AF_INET};

        if (inet_pton(AF_INET, address, &four.sin_addr) == 1) {
                limit_address((struct sockaddr *)&four, key, text);
        } else {
                assert_int_equal(inet_pton(AF_INET6, address, &six.sin6_addr), 1);
                limit_address((struct sockaddr *)&six, key, text);
        }
}

static void networks(void **state)
{
        uint8_t a[16], b[16];
        char text[64];

        /* The same host by either family. */
        key_of("192.0.2.7", a, text);
        assert_string_equal(text, "192.0.2.7");
        key_of("::ffff:192.0.2.7", b, text);
        assert_memory_equal(a, b, 16);
        assert_string_equal(text, "192.0.2.7");
        key_of("192.0.2.8", b, text);
        assert_memory_not_equal(a, b, 16);
        /* Somebody's whole IPv6 network is one party. */
        key_of("2001:db8:1:2:3::4", a, text);
        assert_string_equal(text, "2001:db8:1:2:3::4");
        key_of("2001:db8:1:2::5", b, text);
        assert_memory_equal(a, b, 16);
        key_of("2001:db8:1:3::5", b, text);
        assert_memory_not_equal(a, b, 16);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(no_limit_never_refuses), cmocka_unit_test(bucket_empties_and_fills), cmocka_unit_test(parties_go_when_they_use_nothing),
                cmocka_unit_test(networks),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
