/* test-status.c: `berth status` as text and JSON: golden texts, hostile names, what is unavailable. */
#include "cli/status-render.h"
#include "cli/table.h"
#include "cli/test-snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const char golden[] =
        "berthd 0.1.0  pid 4000, up 1.2 min, 3 programs, memory 6.0 MiB\n"
        "host arena  384 MiB lent, 64.0 MiB ready, of 1.0 GiB; messages 1234, refused 2\n"
        "\n"
        "device 0  Berth software device (software)  GPU-01020304-0506-0708-090a-0b0c0d0e0f10\n"
        "  memory    [##########################...   ] 208 MiB granted of 230 MiB room, 256 MiB in all\n"
        "  in use    unavailable by the driver's count, unavailable by programs outside Berth\n"
        "  moved     out 1.2 GiB (2.3 GiB/s), in 1000 MiB (3.9 GiB/s); 380 MiB swapped out now\n"
        "  switches  12, slice 2.00 s\n"
        "  waiting   2 of 3; longest wait 3.00 s, bound 30.00 s\n"
        "  sensors   unavailable\n"
        "\n"
        "   PID  NAME                      USER     PRIORITY     JOB   STATE                RESIDENT / OWNED    LIMIT  "
        "WAITING                WAITED  SLICE LEFT\n"
        "  4001  train                     4000001  normal       -     running             200 MiB / 200 MiB     none  "
        "-                         0 s      1.50 s\n"
        "  4002  \"; rm -rf / #<b>%s%n</b>  4000001  batch        both  waiting                 0 B / 190 MiB  200 MiB "
        " 1. for memory, 2.00 s  5.00 s           -\n"
        "  4003  a-name-that-is-as-long-a  4000001  interactive  -     going-out (stuck)  10.0 MiB / 190 MiB     none  "
        "2. for queue, 1.00 s   1.00 s           -\n";

static void test_text(void **state)
{
        struct snapshot s = test_world();
        struct strbuf b = {0};

        status_text(&s, &b);
        assert_false(b.failed);
        assert_string_equal(b.text, golden);
        strbuf_done(&b);
}

static void test_small_arena(void **state)
{
        struct snapshot s = test_world();
        struct strbuf b = {0};

        s.daemon.arena_needed_mib = 1500;
        status_text(&s, &b);
        assert_false(b.failed);
        assert_non_null(strstr(b.text, "too small for these programs to take turns"));
        assert_non_null(strstr(b.text, "Set arena.size to at least 1500 MiB and restart berthd"));
        strbuf_done(&b);
}

static void test_empty(void **state)
{
        struct snapshot s = {.daemon = {.version = "0.1.0", .pid = 5}};
        struct strbuf b = {0};

        status_text(&s, &b);
        assert_non_null(strstr(b.text, "no device to share; `berth doctor' tells what is missing\n"));
        assert_non_null(strstr(b.text, "memory unavailable"));
        strbuf_done(&b);
}

static void test_soft_and_job_limits(void **state)
{
        struct snapshot s = test_world();
        struct strbuf b = {0};

        s.clients[0].soft_bytes = 100 << 20;
        s.clients[1].job_limit_bytes = 220 << 20;
        status_text(&s, &b);
        assert_non_null(strstr(b.text, "    none, soft 100 MiB  "));
        assert_non_null(strstr(b.text, "  200 MiB, job 220 MiB  "));
        strbuf_done(&b);
}

/* Clients of a device that was not listed are shown all the same. */
static void test_unknown_device(void **state)
{
        struct snapshot s = test_world();
        struct strbuf b = {0};

        s.clients[2].device = 7;
        status_text(&s, &b);
        assert_non_null(strstr(b.text, "no such device\n"));
        assert_non_null(strstr(b.text, "4003"));
        strbuf_done(&b);
}

static void test_nothing_measured(void **state)
{
        struct snapshot s = test_world();
        struct strbuf b = {0};

        s.devices[0].valid = 0;
        s.devices[0].out_ns = s.devices[0].in_ns = 0;
        status_text(&s, &b);
        assert_non_null(strstr(b.text, "granted of 230 MiB room, unavailable in all"));
        assert_non_null(strstr(b.text, "out 1.2 GiB (unavailable)"));
        assert_null(strchr(b.text, '['));
        strbuf_done(&b);
}

static void test_watched_device(void **state)
{
        struct snapshot s = test_world();
        struct strbuf b = {0};

        s.devices[0].kind = WIRE_CPU;
        s.devices[0].valid |= WIRE_VALID_UTILISATION;
        s.devices[0].utilisation_permille = 55;
        status_text(&s, &b);
        assert_non_null(strstr(
                b.text, "(cpu), watched only\n  in use    unavailable of 256 MiB\n  sensors   utilisation 5.5 %"));
        assert_null(strstr(b.text, "GPU-"));
        strbuf_done(&b);
}

static void test_extremes(void **state)
{
        struct snapshot s = test_world();
        struct strbuf b = {0};
        json_t *o;

        memset(&s.clients[0], 0xff, offsetof(struct wire_STATUS_CLIENT, job));
        memset(&s.devices[0], 0xff, offsetof(struct wire_STATUS_DEVICE, name));
        s.devices[0].total_bytes = 1;
        s.devices[0].kind = WIRE_CUDA;
        status_text(&s, &b);
        assert_false(b.failed);
        strbuf_done(&b);
        o = status_json(&s);
        assert_non_null(o);
        json_decref(o);
}

static json_t *reread(const struct snapshot *s)
{
        json_t *o = status_json(s), *again;
        char *text;

        assert_non_null(o);
        text = json_dumps(o, 0);
        assert_non_null(text);
        again = json_loads(text, 0, NULL);
        assert_non_null(again);
        assert_true(json_equal(o, again));
        json_decref(o);
        free(text);
        return again;
}

static void test_json(void **state)
{
        struct snapshot s = test_world();
        json_t *o = reread(&s), *device = json_array_get(json_object_get(o, "devices"), 0);
        json_t *clients = json_object_get(o, "clients"), *first = json_array_get(clients, 0),
               *second = json_array_get(clients, 1);

        assert_int_equal(json_array_size(clients), 3);
        assert_int_equal(json_integer_value(json_object_get(device, "total_bytes")), 256 << 20);
        assert_true(json_is_null(json_object_get(device, "used_bytes")));
        assert_true(json_is_null(json_object_get(device, "power_mw")));
        assert_string_equal(json_string_value(json_object_get(device, "uuid")),
                            "GPU-01020304-0506-0708-090a-0b0c0d0e0f10");
        assert_true(json_is_null(json_object_get(first, "limit_bytes")));
        assert_true(json_is_null(json_object_get(first, "position")));
        assert_true(json_is_null(json_object_get(first, "job")));
        assert_int_equal(json_integer_value(json_object_get(first, "owned_bytes")), 200 << 20);
        assert_string_equal(json_string_value(json_object_get(second, "name")), s.clients[1].name);
        assert_string_equal(json_string_value(json_object_get(second, "reason")), "memory");
        assert_int_equal(json_integer_value(json_object_get(second, "wait_bound_ns")), 30000000000);
        json_decref(o);
}

static void test_json_of_nothing(void **state)
{
        struct snapshot s = {0};
        json_t *o = reread(&s);

        assert_true(json_is_null(json_object_get(json_object_get(o, "daemon"), "rss_bytes")));
        assert_int_equal(json_array_size(json_object_get(o, "devices")), 0);
        json_decref(o);
}

static void test_table(void **state)
{
        static const char *const titles[] = {"A", ">B", NULL};
        scoped_table struct table t;
        struct strbuf b = {0};

        table_init(&t, titles);
        table_add(&t, "x");
        table_add(&t, "1");
        table_add(&t, "long");
        table_print(&t, 1, &b);
        assert_string_equal(b.text, " A     B\n x     1\n long\n");
        strbuf_clear(&b);
        table_add(&t, "%0100d", 7);
        table_print(&t, 0, &b);
        assert_non_null(strstr(b.text, "0~\n"));
        strbuf_done(&b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_text),           cmocka_unit_test(test_empty),
                cmocka_unit_test(test_small_arena),
                cmocka_unit_test(test_soft_and_job_limits),
                cmocka_unit_test(test_unknown_device), cmocka_unit_test(test_nothing_measured),
                cmocka_unit_test(test_watched_device), cmocka_unit_test(test_extremes),
                cmocka_unit_test(test_json),           cmocka_unit_test(test_json_of_nothing),
                cmocka_unit_test(test_table),
        };

        return cmocka_run_group_tests_name("cli-status", tests, NULL, NULL);
}
