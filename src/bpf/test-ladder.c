/* test-ladder.c: rungs are tried in order, any error means the next, the settings force and refuse, every reason is kept. */
#include "bpf/ladder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const uint32_t rungs[] = {PROBES_FEXIT, PROBES_KPROBE, PROBES_SYS_EXIT};

static void any_error_is_next(void **state)
{
        struct probes_family f = {0};
        struct ladder l = {.rungs = rungs, .count = 3};

        assert_int_equal(ladder_next(&l, &f), PROBES_FEXIT);
        ladder_refused(&f, PROBES_FEXIT, -EPERM, "vfs_read: operation\nnot permitted");
        assert_int_equal(ladder_next(&l, &f), PROBES_KPROBE);
        ladder_refused(&f, PROBES_KPROBE, 0, "no error, but not there either");
        assert_int_equal(ladder_next(&l, &f), PROBES_SYS_EXIT);
        assert_int_equal(ladder_next(&l, &f), PROBES_RUNG_NONE);
        assert_int_equal(f.refused_count, 2);
        assert_int_equal(f.refused[0].error, -EPERM);
        assert_string_equal(f.refused[0].text, "vfs_read: operation?not permitted");
        assert_true(f.refused[1].error < 0);
}

static void settings_force_and_refuse(void **state)
{
        struct probes_family f = {0};
        struct ladder forced = {.rungs = rungs, .count = 3, .forced = PROBES_KPROBE};
        struct ladder refusing = {.rungs = rungs, .count = 3, .refuse = 1 << PROBES_FEXIT | 1 << PROBES_KPROBE};
        struct ladder both = {.rungs = rungs, .count = 3, .forced = PROBES_FEXIT, .refuse = 1 << PROBES_FEXIT};

        assert_int_equal(ladder_next(&forced, &f), PROBES_KPROBE);
        assert_int_equal(ladder_next(&forced, &f), PROBES_RUNG_NONE);
        assert_int_equal(f.refused_count, 0);
        assert_int_equal(ladder_next(&refusing, &f), PROBES_SYS_EXIT);
        assert_int_equal(f.refused_count, 2);
        assert_int_equal(f.refused[1].error, -ECANCELED);
        assert_int_equal(ladder_next(&both, &f), PROBES_RUNG_NONE);
}

static void no_more_refusals_than_there_is_room(void **state)
{
        struct probes_family f = {0};

        for (int i = 0; i < 1000; i++)
                ladder_refused(&f, PROBES_FEXIT, -EPERM, "again");
        assert_int_equal(f.refused_count, PROBES_RUNG_N);
}

static void rungs_by_name(void **state)
{
        const char *word = NULL;
        uint32_t bits = 77;

        assert_int_equal(ladder_parse_rungs("", &bits, &word), 0);
        assert_int_equal(bits, 0);
        assert_int_equal(ladder_parse_rungs(" fexit, kprobe,,uprobe_multi ", &bits, &word), 0);
        assert_int_equal(bits, 1 << PROBES_FEXIT | 1 << PROBES_KPROBE | 1 << PROBES_UPROBE_MULTI);
        assert_int_equal(ladder_parse_rungs("fexit,none", &bits, &word), -EINVAL);
        assert_string_equal(word, "none");
        assert_int_equal(ladder_parse_rungs("fexi", &bits, &word), -EINVAL);
        assert_int_equal(bits, 1 << PROBES_FEXIT | 1 << PROBES_KPROBE | 1 << PROBES_UPROBE_MULTI);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(any_error_is_next),
                cmocka_unit_test(settings_force_and_refuse),
                cmocka_unit_test(no_more_refusals_than_there_is_room),
                cmocka_unit_test(rungs_by_name),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
