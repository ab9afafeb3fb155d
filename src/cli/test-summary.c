/* test-summary.c: the summary of a run, for people and as JSON. */
#include "cli/summary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct wire_STATUS_DEVICE device = {.index = 0, .kind = WIRE_CUDA, .name = "a device"};
static struct wire_STATUS_CLIENT clients[12];

static struct summary of(const struct snapshot *programs, bool complete)
{
        return (struct summary){.program = "train", .pid = 41, .wall_ns = 90000000000, .complete = complete, .programs = programs};
}

static void test_nothing(void **state)
{
        struct snapshot programs = {.devices = &device, .device_count = 1};
        struct summary s = of(&programs, true);
        struct strbuf b = {0};

        (void)state;
        summary_text(&s, &b);
        assert_null(b.text);
        s.complete = false;
        summary_text(&s, &b);
        assert_string_equal(b.text, "berth: train (pid 41) took 1.5 min; the daemon was restarted meanwhile, what moved or waited before is not counted\n");
        strbuf_done(&b);
}

static void test_text(void **state)
{
        static const char golden[] =
                "berth: train (pid 41) took 1.5 min\n"
                "berth:   device 0, a device: peak 3.0 GiB, average 2.0 GiB; moved out 2.0 GiB (1.0 GiB/s), in 0 B; waited 1.50 s (1 time at the gate), "
                "could run 1.3 min\n"
                "berth:   helper (pid 42) on device 7: peak 0 B, average 0 B; moved out 0 B, in 0 B; waited 0 s, could run 0 s; still there\n";
        struct snapshot programs = {.devices = &device, .device_count = 1, .clients = clients, .client_count = 2};
        struct summary s = of(&programs, true);
        struct strbuf b = {0};
        json_t *o, *list;

        (void)state;
        memset(clients, 0, sizeof clients);
        clients[0] = (struct wire_STATUS_CLIENT){.pid = 41, .peak_bytes = UINT64_C(3) << 30, .average_bytes = UINT64_C(2) << 30, .out_bytes = UINT64_C(2) << 30,
                                                 .out_ns = 2000000000, .waits = 1, .waited_ns = 1500000000, .ran_ns = 80000000000, .ended = 1, .name = "train"};
        clients[1] = (struct wire_STATUS_CLIENT){.pid = 42, .device = 7, .name = "helper"};
        summary_text(&s, &b);
        assert_string_equal(b.text, golden);
        o = summary_json(&s);
        assert_non_null(o);
        list = json_object_get(o, "clients");
        assert_int_equal(json_array_size(list), 2);
        assert_int_equal(json_integer_value(json_object_get(o, "peak_bytes")), INT64_C(3) << 30);
        assert_int_equal(json_integer_value(json_object_get(o, "waited_ns")), 1500000000);
        assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "device_name")), "a device");
        assert_true(json_is_null(json_object_get(json_array_get(list, 1), "device_name")));
        json_decref(o);
        strbuf_done(&b);
}

static void test_many(void **state)
{
        struct snapshot programs = {.devices = &device, .device_count = 1, .clients = clients, .client_count = 12};
        struct summary s = of(&programs, true);
        struct strbuf b = {0};

        (void)state;
        summary_text(&s, &b);
        assert_non_null(strstr(b.text, "berth:   and 4 more; berth run --summary FILE has them all\n"));
        strbuf_done(&b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_nothing), cmocka_unit_test(test_text), cmocka_unit_test(test_many)};

        return cmocka_run_group_tests_name("cli-summary", tests, NULL, NULL);
}
