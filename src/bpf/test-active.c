/* test-active.c: who did most comes first, callers of the driver and users of files both have their places, and files are those that were used most. */
#include "bpf/active.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct probes_snapshot *made(uint32_t processes, uint32_t files, uint32_t uses, struct probes_process **p, struct probes_use **u)
{
        struct probes_snapshot *s = calloc(1, probes_bytes(processes, files, uses, 0, 0));

        assert_non_null(s);
        s->processes = processes;
        s->files = files;
        s->uses = uses;
        *p = (struct probes_process *)(uintptr_t)probes_processes(s);
        *u = (struct probes_use *)(uintptr_t)probes_uses(s);
        return s;
}

static void both_kinds_have_places(void **state)
{
        struct active_process list[8];
        struct probes_process *p;
        struct probes_use *u;
        struct probes_snapshot *s scoped_free = made(40, 0, 0, &p, &u);

        (void)state;
        for (uint32_t i = 0; i < 40; i++)
                p[i].pid = 100 + i;
        for (uint32_t i = 0; i < 20; i++)
                p[i].gpu_now.launches = i;
        for (uint32_t i = 20; i < 39; i++)
                p[i].now.write_bytes = i;
        assert_int_equal(active_list(s, list, 8), 8);
        for (uint32_t i = 0; i < 4; i++) {
                assert_int_equal(list[i].process->pid, 119 - i);
                assert_int_equal(list[4 + i].process->pid, 138 - i);
        }
        /* Few of one kind leave their places to the other; who did nothing is not there. */
        for (uint32_t i = 0; i < 19; i++)
                p[i].gpu_now.launches = 0;
        assert_int_equal(active_list(s, list, 8), 8);
        assert_int_equal(list[0].process->pid, 119);
        assert_int_equal(list[7].process->pid, 132);
        assert_int_equal(active_list(s, list, 0), 0);
        s->processes = 2;
        assert_int_equal(active_list(s, list, 8), 0);
}

static void lately_comes_before_ever(void **state)
{
        struct active_process list[4];
        struct probes_process *p;
        struct probes_use *u;
        struct probes_snapshot *s scoped_free = made(3, 0, 0, &p, &u);

        (void)state;
        p[0] = (struct probes_process){.pid = 1, .total = {.read_bytes = UINT64_MAX, .reads = UINT64_MAX}};
        p[1] = (struct probes_process){.pid = 2, .now = {.reads = 1}};
        p[2] = (struct probes_process){.pid = 3, .gpu_total = {.copies_out = 1}};
        assert_int_equal(active_list(s, list, 4), 3);
        assert_int_equal(list[0].process->pid, 3);
        assert_int_equal(list[1].process->pid, 2);
        assert_int_equal(list[2].process->pid, 1);
}

static void files_are_the_most_used_ones(void **state)
{
        struct active_process list[2];
        struct probes_process *p;
        struct probes_use *u;
        struct probes_snapshot *s scoped_free = made(2, 20, 20, &p, &u);

        (void)state;
        p[0].total.reads = p[1].total.reads = 1;
        for (uint32_t i = 0; i < 20; i++)
                u[i] = (struct probes_use){.process = i == 7 ? PROBES_NONE : i % 2, .file = i == 8 ? PROBES_NONE : i, .total = {.reads = 100 - i}};
        u[15].now.opens = 1;
        assert_int_equal(active_list(s, list, 2), 2);
        assert_ptr_equal(list[1].process, &p[1]);
        assert_int_equal(list[1].files, 8);
        assert_int_equal(list[1].more, 1);
        assert_int_equal(list[1].file[0]->file, 15);
        assert_int_equal(list[1].file[1]->file, 1);
        assert_int_equal(list[1].file[7]->file, 17);
        assert_int_equal(list[0].files, 8);
        assert_int_equal(list[0].more, 1);
        assert_int_equal(list[0].file[7]->file, 16);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(both_kinds_have_places),
                cmocka_unit_test(lately_comes_before_ever),
                cmocka_unit_test(files_are_the_most_used_ones),
        };

        return cmocka_run_group_tests_name("active", tests, NULL, NULL);
}
