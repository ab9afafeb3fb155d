/* test-latency.c: waits and calls as text and as JSON: differences between two looks, what is unavailable, hostile names, bars. */
#include "cli/latency-view.h"
#include "cli/probes-client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* A disk with reads and flushes, two processes; `times` as much of all. */
static struct probes_snapshot *made(uint64_t times)
{
        struct probes_snapshot *s = calloc(1, probes_bytes(0, 0, 0, 2, 2));
        struct probes_block *b;
        struct probes_runner *r;

        assert_non_null(s);
        *s = (struct probes_snapshot){.magic = PROBES_MAGIC, .version = PROBES_VERSION, .bytes = probes_bytes(0, 0, 0, 2, 2), .pid = 9, .blocks = 2, .runners = 2,
                                      .began_ns = 1000000000, .taken_ns = 1000000000 + times * 2000000000, .calls_total = 500 * times};
        for (uint32_t i = 0; i < PROBES_FAMILY_N; i++)
                s->families[i] = (struct probes_family){.state = PROBES_ATTACHED, .rung = PROBES_TP_BTF, .one_in = 1, .window_permille = 1000};
        s->wait_total.buckets[3] = 90 * times;
        s->wait_total.buckets[12] = 10 * times;
        s->wait_total.sum_ns = 30000000 * times;
        b = (struct probes_block *)(uintptr_t)probes_blocks(s);
        b[0] = (struct probes_block){.device = 254 << 20 | 1, .kind = PROBES_READ, .name = "vd\x1b[2Ja", .total = {.bytes = 4096 * times, .errors = times}};
        b[0].total.time.buckets[8] = 7 * times;
        b[0].total.time.sum_ns = 7 * 200000 * times;
        b[1] = (struct probes_block){.device = 254 << 20 | 1, .kind = PROBES_FLUSH};
        r = (struct probes_runner *)(uintptr_t)probes_runners(s);
        r[0] = (struct probes_runner){.pid = 100, .uid = 1, .start_ns = 5, .comm = "lazy", .wait_total = {times, 1000 * times, 900}, .calls_total = 3 * times};
        r[1] = (struct probes_runner){.pid = 200, .uid = 2, .start_ns = 6, .comm = "b\nusy", .wait_total = {10 * times, 2500000 * times, 800000}, .calls_total = 7};
        assert_int_equal(probes_check(s, s->bytes), 0);
        return s;
}

static char *text_of(const struct probes_snapshot *now, const struct probes_snapshot *before)
{
        struct strbuf b = {0};

        latency_view(now, before, &b);
        assert_false(b.failed);
        assert_null(strchr(b.text, '\x1b'));
        return b.text;
}

static void a_look_shows_what_came_since_the_last(void **state)
{
        struct probes_snapshot *before scoped_free = made(2), *now scoped_free = made(5);
        char *text scoped_free = text_of(now, before), *total scoped_free = text_of(now, NULL);

        assert_non_null(strstr(text, "in 6.0 s\n"));
        assert_non_null(strstr(text, "vd\\x1b[2Ja read: 21, 12.0 KiB, 3 failed; mean 200 us, p50 192 us, p95 250 us, p99 255 us\n"));
        assert_non_null(strstr(text, "    128 us - 256 us             21 |************************************|\n"));
        assert_null(strstr(text, "flush"));
        assert_non_null(strstr(text, "\n300: mean 300 us, p50 6.22 us, p95 3.07 ms, p99 3.89 ms\n"));
        /* Nine tenths and a tenth; what is there is seen, what lies between is shown as nothing. */
        assert_non_null(strstr(text, "   4.00 us - 8.00 us           270 |************************************|\n"));
        assert_non_null(strstr(text, "   8.00 us - 16.0 us             0 |                                    |\n"));
        assert_non_null(strstr(text, "   2.05 ms - 4.10 ms            30 |"));
        assert_non_null(strstr(text, "1500, 250 a second\n"));
        /* Who waited most first. */
        assert_true(strstr(text, "b\\x0ausy") < strstr(text, "lazy"));
        assert_non_null(strstr(text, "7.50 ms     30   250 us   800 us      0  200  b\\x0ausy\n"));
        assert_non_null(strstr(total, "in 10.0 s\n"));
        assert_non_null(strstr(total, "read: 35, 20.0 KiB, 5 failed;"));
        assert_non_null(strstr(total, "2500, 250 a second\n"));
}

/* A process that had fallen out of the list and came back has less than before. */
static void who_came_back_is_no_negative_number(void **state)
{
        struct probes_snapshot *before scoped_free = made(5), *now scoped_free = made(7);
        struct probes_runner *r = (struct probes_runner *)(uintptr_t)probes_runners(now);
        char *text scoped_free = NULL;

        r[0].wait_total = (struct probes_waits){2, 2000, 900};
        text = text_of(now, before);
        assert_null(strstr(text, "184467"));
        assert_non_null(strstr(text, "2.00 us      2  1.00 us   900 ns     21  100  lazy\n"));
}

static void what_is_not_measured_says_why(void **state)
{
        struct probes_snapshot *s scoped_free = made(1);
        char *text scoped_free = NULL;
        json_t *json;

        s->families[PROBES_BLOCK] = (struct probes_family){.state = PROBES_UNAVAILABLE, .one_in = 1, .window_permille = 1000, .refused_count = 1,
                                                           .refused = {{PROBES_RAW_TP, -1, "Operation not permitted"}}};
        s->families[PROBES_SCHED].state = PROBES_NOT_ASKED;
        s->families[PROBES_SYSCALLS].state = PROBES_OFF;
        text = text_of(s, NULL);
        assert_non_null(strstr(text, "requests to block devices: unavailable: Operation not permitted\n"));
        assert_non_null(strstr(text, "waits for a processor: unavailable: nobody has asked for it\n"));
        assert_non_null(strstr(text, "system calls: unavailable: observe.syscalls is no in the settings\n"));
        assert_null(strstr(text, "lazy"));
        json = probes_latency_json(s, 10);
        assert_true(json_is_null(json_object_get(json, "block")) && json_is_null(json_object_get(json, "sched")));
        assert_true(json_is_null(json_object_get(json, "syscalls")) && json_is_null(json_object_get(json, "processes")));
        assert_int_equal(json_array_size(json_object_get(json, "families")), 3);
        json_decref(json);
}

static void json_has_it_all(void **state)
{
        struct probes_snapshot *s scoped_free = made(1);
        json_t *json = probes_latency_json(s, 1), *disk, *total;

        s->families[PROBES_SYSCALLS].state = PROBES_OFF;
        disk = json_array_get(json_object_get(json, "block"), 0);
        total = json_object_get(disk, "total");
        assert_string_equal(json_string_value(json_object_get(disk, "name")), "vd\\x1b[2Ja");
        assert_int_equal(json_integer_value(json_object_get(total, "count")), 7);
        assert_int_equal(json_integer_value(json_array_get(json_object_get(total, "buckets"), 8)), 7);
        assert_int_equal(json_array_size(json_object_get(total, "buckets")), json_array_size(json_object_get(json, "bucket_from_ns")));
        /* Nothing was done in the last window: no quantile, rather than zero. */
        assert_true(json_is_null(json_object_get(json_object_get(disk, "now"), "p50_ns")));
        assert_int_equal(json_array_size(json_object_get(json, "processes")), 1);
        assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "syscalls"), "total")), 500);
        json_decref(json);
}

static void times_are_short(void **state)
{
        char text[16];

        assert_string_equal(latency_time(-1, text, sizeof text), "unavailable");
        assert_string_equal(latency_time(0, text, sizeof text), "0 ns");
        assert_string_equal(latency_time(999, text, sizeof text), "999 ns");
        assert_string_equal(latency_time(1000, text, sizeof text), "1.00 us");
        assert_string_equal(latency_time(12345, text, sizeof text), "12.3 us");
        assert_string_equal(latency_time(123456789, text, sizeof text), "123 ms");
        assert_string_equal(latency_time(67e9, text, sizeof text), "67.0 s");
}

static void bars_of_nothing_are_none(void **state)
{
        const struct latency none = {0}, longest = {.buckets = {[LATENCY_BUCKETS - 1] = UINT64_MAX / 2}};
        struct strbuf b = {0};

        latency_bars(&none, &b);
        assert_int_equal(b.length, 0);
        latency_bars(&longest, &b);
        assert_non_null(strstr(b.text, "    67.1 s +"));
        strbuf_done(&b);
}

static void pressure_is_told_or_missing(void **state)
{
        struct machine_look look = {.pressure_error = {0, -ENOENT, 0}};
        struct strbuf b = {0};

        look.pressure[MACHINE_PRESSURE_CPU].some_permille = 123;
        latency_pressure(&look, &b);
        assert_non_null(strstr(b.text, "stalled for lack of processors 12.3 %, memory unavailable ("));
        assert_non_null(strstr(b.text, "), devices 0.0 %\n"));
        strbuf_done(&b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_look_shows_what_came_since_the_last),
                cmocka_unit_test(who_came_back_is_no_negative_number),
                cmocka_unit_test(what_is_not_measured_says_why),
                cmocka_unit_test(json_has_it_all),
                cmocka_unit_test(times_are_short),
                cmocka_unit_test(bars_of_nothing_are_none),
                cmocka_unit_test(pressure_is_told_or_missing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
