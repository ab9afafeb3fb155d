/* test-choose.c: the best device for a need, rule by rule. */
#include "cli/choose.h"

#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct wire_STATUS_DEVICE d[4];
static struct snapshot s;

static void machine(void)
{
        memset(d, 0, sizeof d);
        for (uint32_t i = 0; i < 4; i++) {
                d[i] = (struct wire_STATUS_DEVICE){.index = i, .kind = WIRE_CUDA, .room_bytes = 80 * GIB, .uuid = {0xab, (uint8_t)i}};
                d[i].valid = WIRE_VALID_UTILISATION;
        }
        d[3].kind = WIRE_CPU;
        d[3].room_bytes = 1000 * GIB;
        s = (struct snapshot){.devices = d, .device_count = 4, .daemon = {.client_part_bytes = GIB / 2}};
}

static int chosen(uint64_t need, uint32_t kind)
{
        struct choice c = choose_device(&s, need, kind);

        return c.device ? (int)c.device->index : -1;
}

static void test_fit(void **state)
{
        (void)state;
        machine();
        assert_int_equal(chosen(40 * GIB, CHOOSE_ANY), 0); /* all the same: the first */
        d[0].granted_bytes = 50 * GIB;
        assert_int_equal(chosen(40 * GIB, CHOOSE_ANY), 1);
        d[1].granted_bytes = 40 * GIB; /* 40 GiB are left, but for the context */
        assert_int_equal(chosen(40 * GIB, CHOOSE_ANY), 2);
        assert_true(choose_device(&s, 40 * GIB, CHOOSE_ANY).now);
        d[2].granted_bytes = 79 * GIB;
        assert_int_equal(chosen(40 * GIB, CHOOSE_ANY), 1); /* none now: where most is free */
        assert_false(choose_device(&s, 40 * GIB, CHOOSE_ANY).now);
        assert_int_equal(choose_device(&s, 40 * GIB, CHOOSE_ANY).free_bytes, 79 * GIB / 2);
        assert_int_equal(chosen(80 * GIB, CHOOSE_ANY), -1); /* never */
}

static void test_kind(void **state)
{
        (void)state;
        machine();
        assert_int_equal(chosen(GIB, WIRE_SOFTWARE), -1);
        assert_int_equal(chosen(GIB, WIRE_CPU), -1); /* only watched */
        d[2].kind = WIRE_SOFTWARE;
        assert_int_equal(chosen(GIB, WIRE_SOFTWARE), 2);
        assert_int_equal(chosen(GIB, WIRE_CUDA), 0);
}

static void test_load(void **state)
{
        (void)state;
        machine();
        d[0].waiting = 1;
        assert_int_equal(chosen(GIB, CHOOSE_ANY), 1);
        d[1].utilisation_permille = 900;
        assert_int_equal(chosen(GIB, CHOOSE_ANY), 2);
        d[2].granted_bytes = 70 * GIB; /* fuller, but idle */
        assert_int_equal(chosen(GIB, CHOOSE_ANY), 2);
        d[2].utilisation_permille = 950; /* the same quarter: now the emptier one */
        assert_int_equal(chosen(GIB, CHOOSE_ANY), 1);
        d[1].valid = 0; /* no sensor: programs count */
        d[1].clients = 1;
        assert_int_equal(chosen(GIB, CHOOSE_ANY), 1);
        d[1].clients = 7;
        assert_int_equal(chosen(GIB, CHOOSE_ANY), 1); /* as many quarters as the other, and emptier */
}

static void test_named(void **state)
{
        char uuid[WIRE_UUID_TEXT];

        (void)state;
        machine();
        assert_ptr_equal(choose_named(&s, "2"), &d[2]);
        assert_null(choose_named(&s, "3"));
        assert_null(choose_named(&s, "9"));
        assert_null(choose_named(&s, ""));
        assert_null(choose_named(&s, "GPU-"));
        assert_ptr_equal(choose_named(&s, wire_uuid_text(d[1].uuid, uuid)), &d[1]);
        assert_ptr_equal(choose_named(&s, "GPU-ab01"), &d[1]);
        assert_null(choose_named(&s, "GPU-ab")); /* which? */
        assert_null(choose_named(&s, "GPU-ff"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_fit), cmocka_unit_test(test_kind), cmocka_unit_test(test_load), cmocka_unit_test(test_named)};

        return cmocka_run_group_tests_name("cli-choose", tests, NULL, NULL);
}
