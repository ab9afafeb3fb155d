/* test-latency.c: each time is in the bucket that it belongs to, sums are exact, quantiles lie where they must. */
#include "bpf/latency.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* As it is meant, with loop and division. */
static uint32_t plainly(uint64_t ns)
{
        uint64_t us = ns / 1000;
        uint32_t bucket = 0;

        while (us && bucket < LATENCY_BUCKETS - 1) {
                us >>= 1;
                bucket++;
        }
        return bucket;
}

static void each_time_is_in_its_bucket(void **state)
{
        assert_int_equal(latency_bucket(0), 0);
        assert_int_equal(latency_bucket(999), 0);
        assert_int_equal(latency_bucket(1000), 1);
        assert_int_equal(latency_bucket(1999), 1);
        assert_int_equal(latency_bucket(2000), 2);
        assert_int_equal(latency_bucket(UINT64_MAX), LATENCY_BUCKETS - 1);
        for (unsigned int bit = 0; bit < 64; bit++)
                for (int64_t k = -3000; k <= 3000; k++) {
                        uint64_t near_power = (UINT64_C(1) << bit) + (uint64_t)k, near_micros = (UINT64_C(1) << bit) * 1000 + (uint64_t)k;

                        assert_int_equal(latency_bucket(near_power), plainly(near_power));
                        assert_int_equal(latency_bucket(near_micros), plainly(near_micros));
                }
        /* The multiplication in place of the division is right up to its limit. */
        for (uint64_t ns = UINT32_MAX - 100000; ns <= (uint64_t)UINT32_MAX + 100000; ns++)
                assert_int_equal(latency_bucket(ns), plainly(ns));
        for (uint64_t ns = 0; ns < UINT64_C(1) << 32; ns += 9973)
                assert_int_equal(latency_bucket(ns), plainly(ns));
}

static void buckets_meet_where_they_say(void **state)
{
        assert_int_equal(latency_from_ns(0), 0);
        for (uint32_t i = 1; i < LATENCY_BUCKETS; i++) {
                assert_int_equal(latency_bucket(latency_from_ns(i)), i);
                assert_int_equal(latency_bucket(latency_from_ns(i) - 1), i - 1);
        }
}

static void count(struct latency *l, uint64_t ns)
{
        l->buckets[latency_bucket(ns)]++;
        l->sum_ns += ns;
}

static void sums_are_exact(void **state)
{
        struct latency l = {0}, before, since, all = {0};

        for (uint64_t ns = 1; ns <= 1000000; ns += 999)
                count(&l, ns);
        assert_int_equal(latency_count(&l), 1002);
        assert_int_equal(l.sum_ns, UINT64_C(1002) + UINT64_C(999) * 1001 * 1002 / 2);
        before = l;
        count(&l, 5000);
        count(&l, 70000);
        latency_since(&since, &l, &before);
        assert_int_equal(latency_count(&since), 2);
        assert_int_equal(since.sum_ns, 75000);
        assert_int_equal(since.buckets[3], 1); /* 4 to 8 µs */
        assert_int_equal(since.buckets[7], 1); /* 64 to 128 µs */
        latency_add(&all, &before);
        latency_add(&all, &since);
        assert_memory_equal(&all, &l, sizeof l);
        assert_true(latency_mean(&since) == 37500);
}

static void of_nothing_nothing_is_said(void **state)
{
        const struct latency none = {0};

        assert_true(latency_quantile(&none, 500) < 0);
        assert_true(latency_mean(&none) < 0);
        assert_int_equal(latency_count(&none), 0);
}

static void quantiles_lie_in_their_bucket(void **state)
{
        struct latency l = {0};

        l.buckets[1] = 100; /* 1 to 2 µs */
        assert_true(latency_quantile(&l, 500) == 1500);
        assert_true(latency_quantile(&l, 1000) == 2000);
        assert_true(latency_quantile(&l, 0) == 1000);
        l.buckets[11] = 100; /* 1024 to 2048 µs */
        assert_true(latency_quantile(&l, 500) == 2000);
        assert_true(latency_quantile(&l, 750) == 1536000);
        assert_true(latency_quantile(&l, 990) > 2027000 && latency_quantile(&l, 990) < 2028000);
        /* One that took longer than all that can be told apart. */
        l.buckets[LATENCY_BUCKETS - 1] = 1;
        assert_true(latency_quantile(&l, 1000) == (double)latency_from_ns(LATENCY_BUCKETS - 1));
        assert_true(latency_quantile(&l, 500) < latency_quantile(&l, 950) && latency_quantile(&l, 950) < latency_quantile(&l, 999));
}

static void numbers_that_cannot_be_give_none_that_cannot_be(void **state)
{
        struct latency l;

        for (uint32_t seed = 1; seed < 20000; seed++) {
                uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15);

                for (uint32_t i = 0; i < LATENCY_BUCKETS; i++) {
                        x ^= x << 13;
                        x ^= x >> 7;
                        x ^= x << 17;
                        l.buckets[i] = x;
                }
                for (unsigned int permille = 0; permille <= 1000; permille += 100) {
                        double q = latency_quantile(&l, permille);

                        assert_true(q >= 0 && q <= (double)latency_from_ns(LATENCY_BUCKETS - 1));
                }
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_time_is_in_its_bucket),
                cmocka_unit_test(buckets_meet_where_they_say),
                cmocka_unit_test(sums_are_exact),
                cmocka_unit_test(of_nothing_nothing_is_said),
                cmocka_unit_test(numbers_that_cannot_be_give_none_that_cannot_be),
                cmocka_unit_test(quantiles_lie_in_their_bucket),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
