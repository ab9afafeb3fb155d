/* test-slab.c: small allocations inside one granule: exact sizes, no overlap, everything comes back. */
#include "cuda/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static void takes_and_gives_back(void **state)
{
        struct slab *slab = slab_new();
        uint64_t a, b, start, bytes;

        (void)state;
        assert_non_null(slab);
        assert_true(slab_is_empty(slab));
        assert_true(slab_take(slab, 1, &a));
        assert_true(slab_take(slab, 513, &b));
        assert_int_equal(a % 512, 0);
        assert_int_equal(b % 512, 0);
        assert_int_not_equal(a, b);
        assert_true(slab_containing(slab, b + 512, &start, &bytes));
        assert_int_equal(start, b);
        assert_int_equal(bytes, 513);
        assert_false(slab_containing(slab, b + 513, &start, &bytes));
        assert_int_equal(slab_release(slab, b + 512), 0);
        assert_int_equal(slab_release(slab, a), 1);
        assert_int_equal(slab_release(slab, a), 0);
        assert_int_equal(slab_release(slab, b), 513);
        assert_true(slab_is_empty(slab));
        slab_free(slab);
}

static void fills_up_whole(void **state)
{
        struct slab *slab = slab_new();
        uint64_t offset;

        (void)state;
        for (uint64_t i = 0; i < GRANULE / 512; i++)
                assert_true(slab_take(slab, 512, &offset));
        assert_false(slab_take(slab, 1, &offset));
        assert_int_equal(slab_release(slab, 512 * 7), 512);
        assert_true(slab_take(slab, 500, &offset));
        assert_int_equal(offset, 512 * 7);
        assert_false(slab_take(slab, 0, &offset));
        slab_free(slab);
}

/* Against a plain model: owner of each page. */
static void random_against_model(void **state)
{
        enum { PAGES = GRANULE / 512, N = 400 };
        static int owner[PAGES];
        static uint64_t at[N], size[N];
        struct slab *slab = slab_new();

        (void)state;
        srandom(7);
        for (int step = 0; step < 40000; step++) {
                int i = (int)(random() % N);

                if (size[i]) {
                        assert_int_equal(slab_release(slab, at[i]), size[i]);
                        for (uint64_t p = at[i] / 512; p < (at[i] + size[i] + 511) / 512; p++) {
                                assert_int_equal(owner[p], i + 1);
                                owner[p] = 0;
                        }
                        size[i] = 0;
                } else {
                        uint64_t want = 1 + (uint64_t)random() % 20000, offset;

                        if (!slab_take(slab, want, &offset))
                                continue;
                        at[i] = offset;
                        size[i] = want;
                        for (uint64_t p = offset / 512; p < (offset + want + 511) / 512; p++) {
                                assert_true(p < PAGES);
                                assert_int_equal(owner[p], 0);
                                owner[p] = i + 1;
                        }
                }
        }
        slab_free(slab);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(takes_and_gives_back),
                cmocka_unit_test(fills_up_whole),
                cmocka_unit_test(random_against_model),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
