/* test-parse.c: texts of the kernel as numbers; what is not one of them is refused and nothing is written. */
#include "machine/parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void a_name_ends_at_the_last_bracket(void **state)
{
        static const char rest[] = " S 1 7 7 0 -1 4194304 1000 0 3 0 70 30 0 0 20 -5 2 0 99 500 25 18446744073709551615 1\n";
        struct machine_process_stat s;
        char text[256];

        (void)state;
        memcpy(text, "7 (a) S 1 (b)", 14);
        strcat(text, rest);
        assert_int_equal(machine_parse_process(text, &s), 0);
        assert_string_equal(s.name, "a) S 1 (b");
        assert_int_equal(s.pid, 7);
        assert_int_equal(s.parent, 1);
        assert_int_equal(s.nice, -5);
        assert_int_equal(s.threads, 2);
        assert_int_equal(s.ticks, 100);
        assert_int_equal(s.start_ticks, 99);
        assert_int_equal(s.resident_pages, 25);
        assert_int_equal(s.major_faults, 3);
        assert_int_equal(s.state, 'S');
        memcpy(text, "7 (\033[2J\n)", 9);
        strcpy(text + 9, rest);
        assert_int_equal(machine_parse_process(text, &s), 0);
        assert_string_equal(s.name, "?[2J?");
}

static void what_is_cut_short_is_refused(void **state)
{
        static const char whole[] = "7 (p) S 1 7 7 0 -1 4194304 1000 0 3 0 70 30 0 0 20 0 2 0 99 500 25 ";
        struct machine_process_stat s;
        char text[sizeof whole];

        (void)state;
        for (size_t i = 0; i + 3 < sizeof whole; i++) {
                memcpy(text, whole, i);
                text[i] = 0;
                assert_int_equal(machine_parse_process(text, &s), -EINVAL);
        }
}

static void pressure(void **state)
{
        static const char *const wrong[] = {"", "some", "some avg10=1.5 total=1", "some avg10=101.00 total=1", "some avg10=1.00\nfull total=5",
                                            "full avg10=1.00 total=1", "some avg10=1.00 total=x", "some avg10=-1.00 total=1",
                                            "some avg10=1.00 total=1\nfull avg10=1.00"};
        struct machine_pressure p = {.some_permille = 77};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
                assert_int_equal(machine_parse_pressure(wrong[i], &p), -EINVAL);
        assert_int_equal(p.some_permille, 77);
        assert_int_equal(machine_parse_pressure("some avg10=12.34 avg60=0.00 avg300=0.00 total=55\n", &p), 0);
        assert_int_equal(p.some_permille, 123);
        assert_int_equal(p.some_us, 55);
        assert_true(p.full_us == MACHINE_UNKNOWN); /* processors have no "full" on older kernels */
}

static void numbers_that_do_not_fit(void **state)
{
        struct machine_stat *s = calloc(1, sizeof *s);
        struct machine_memory m;
        struct machine_load l;
        struct machine_vm v;

        (void)state;
        assert_non_null(s);
        assert_int_equal(machine_parse_stat("cpu 1 2 3\n", s), -EINVAL);
        assert_int_equal(machine_parse_stat("cpu 18446744073709551616 2 3 4\n", s), -EINVAL);
        assert_int_equal(machine_parse_stat("cpu 1 2 3 4\n", s), 0);
        assert_true(s->switches == MACHINE_UNKNOWN);
        assert_int_equal(s->all.user, 3);
        assert_int_equal(machine_parse_meminfo("MemTotal: 18446744073709551615 kB\n", &m), -EINVAL);
        assert_int_equal(machine_parse_meminfo("MemTotal: 0 kB\n", &m), -EINVAL);
        assert_int_equal(machine_parse_meminfo("MemTotal: 4 kB\nMemFree: 99999999999999999999 kB\n", &m), 0);
        assert_true(m.free == MACHINE_UNKNOWN && m.total == 4096);
        assert_int_equal(machine_parse_load("1.00 2.00 3.00 4/5 6", &l), 0);
        assert_int_equal(l.centi[2], 300);
        assert_int_equal(machine_parse_load("1.00 2.00 99999999999.00 4/5 6", &l), -EINVAL);
        assert_int_equal(machine_parse_vm("oom_kill 3\n", &v), 0);
        assert_int_equal(v.oom_kills, 3);
        assert_true(v.major_faults == MACHINE_UNKNOWN);
        free(s);
}

static void more_engines_than_fit_are_left_out(void **state)
{
        struct machine_drm d;
        char text[4096] = "drm-driver:\tx\n";

        (void)state;
        for (int i = 0; i < 30; i++) {
                char line[64];

                snprintf(line, sizeof line, "drm-engine-e%d:\t%d ns\ndrm-total-r%d:\t%d KiB\n", i, i, i, i);
                strcat(text, line);
        }
        assert_int_equal(machine_parse_drm(text, &d), 0);
        assert_int_equal(d.engines, MACHINE_ENGINES);
        assert_int_equal(d.regions, MACHINE_REGIONS);
        assert_int_equal(d.engine[7].busy_ns, 7);
        assert_int_equal(d.region[7].total, 7 * 1024);
        assert_true(d.region[7].resident == MACHINE_UNKNOWN);
        assert_int_equal(machine_parse_drm("pos: 0\nflags: 0\n", &d), -ENODATA);
        assert_int_equal(machine_parse_drm("drm-driver: a\ndrm-engine-: 5 ns\ndrm-engine-x 5\ndrm-engine-capacity-x: 0\n", &d), 0);
        assert_int_equal(d.engines, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_name_ends_at_the_last_bracket), cmocka_unit_test(what_is_cut_short_is_refused),
                cmocka_unit_test(pressure),                        cmocka_unit_test(numbers_that_do_not_fit),
                cmocka_unit_test(more_engines_than_fit_are_left_out),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
