/* test-table.c: sums stay what was counted whatever comes and goes: processes that end, reused numbers, more rows than there is room for. */
#include "bpf/table.h"

#include "base/clock.h"
#include "base/memory.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct probes_snapshot head = {.magic = PROBES_MAGIC, .version = PROBES_VERSION,
                                            .families = {[0 ... PROBES_FAMILY_N - 1] = {.one_in = 1, .window_permille = 1000}}};

static struct probes_snapshot *snapshot(struct table *t)
{
        struct probes_snapshot *s = table_snapshot(t, &head);

        assert_non_null(s);
        assert_int_equal(probes_check(s, s->bytes), 0);
        return s;
}

static void count(struct table *t, uint32_t pid, uint64_t start, uint64_t inode, uint32_t generation, uint32_t reads, uint64_t bytes)
{
        const struct file_key key = {.inode = inode, .start_ns = start, .device = 8 << 20, .pid = pid};
        const struct file_counts counts = {.reads = reads, .read_bytes = bytes, .generation = generation, .fd = -1};
        const struct file_user user = {.uid = 7, .comm = "test"};

        table_file(t, &key, &counts, &user);
}

static void a_reused_number_is_another_process(void **state)
{
        struct probes_snapshot *s scoped_free = NULL;
        scoped(table_free) struct table *t = NULL;

        assert_int_equal(table_new(&t), 0);
        table_turn(t, 1);
        count(t, 100, 5000, 1, 0, 3, 30);
        count(t, 100, 9000, 1, 0, 4, 40);
        s = snapshot(t);
        assert_int_equal(s->processes, 2);
        assert_int_equal(s->files, 1);
        assert_int_equal(s->uses, 2);
        assert_int_equal(probes_processes(s)[0].start_ns, 9000); /* the busier one first */
        assert_int_equal(probes_processes(s)[0].total.read_bytes, 40);
        assert_int_equal(probes_processes(s)[1].total.read_bytes, 30);
        assert_int_equal(probes_files(s)[0].total.read_bytes, 70);
}

static void a_reused_inode_is_another_file(void **state)
{
        struct probes_snapshot *s scoped_free = NULL;
        scoped(table_free) struct table *t = NULL;

        assert_int_equal(table_new(&t), 0);
        table_turn(t, 1);
        count(t, 100, 5000, 1, 1, 3, 30);
        count(t, 100, 5000, 1, 2, 1, 1);
        s = snapshot(t);
        assert_int_equal(s->files, 2);
        assert_int_equal(s->processes, 1);
}

static void a_window_has_its_own_sums(void **state)
{
        struct probes_snapshot *first scoped_free = NULL, *second scoped_free = NULL;
        const struct probes_gpu calls = {.launches = 5, .allocs = 1, .alloc_bytes = 4096};
        scoped(table_free) struct table *t = NULL;

        assert_int_equal(table_new(&t), 0);
        table_turn(t, 1);
        count(t, 100, 5000, 1, 0, 3, 30);
        table_gpu(t, 100, 5000, 7, "test-with-a-long", &calls);
        first = snapshot(t);
        assert_int_equal(first->all_now.reads, 3);
        assert_int_equal(first->gpu_now.launches, 5);
        table_turn(t, 2);
        count(t, 100, 5000, 1, 0, 1, 10);
        second = snapshot(t);
        assert_int_equal(second->all_now.reads, 1);
        assert_int_equal(second->all_total.reads, 4);
        assert_int_equal(second->gpu_now.launches, 0);
        assert_int_equal(probes_processes(second)[0].gpu_total.launches, 5);
        assert_int_equal(probes_files(second)[0].now.read_bytes, 10);
        assert_int_equal(probes_uses(second)[0].total.read_bytes, 40);
        assert_int_equal(second->others_total.reads, 0);
}

static void what_falls_out_stays_in_the_sums(void **state)
{
        struct probes_snapshot *s scoped_free = NULL;
        scoped(table_free) struct table *t = NULL;
        uint64_t listed = 0;

        assert_int_equal(table_new(&t), 0);
        for (uint32_t round = 0; round < 5; round++) {
                table_turn(t, round + 1);
                for (uint32_t i = 0; i < 3000; i++)
                        count(t, round * 3000 + i + 1, 1, i % 100 ? round * 3000 + i : 1, 0, 1, 10);
                table_sweep(t, round + 1);
        }
        s = snapshot(t);
        assert_true(s->processes <= PROBES_MAX_PROCESSES && s->left_out > 0);
        for (uint32_t i = 0; i < s->processes; i++)
                listed += probes_processes(s)[i].total.reads;
        assert_int_equal(s->all_total.reads, 15000);
        assert_int_equal(listed + s->others_total.reads, 15000);
        assert_int_equal(s->all_total.read_bytes, 150000);
}

/* All at once, each with a file of its own: memory has its bound before the sweep, too, and who was there first is counted to the end. */
static void a_crowd_within_one_window(void **state)
{
        struct probes_snapshot *s scoped_free = NULL;
        scoped(table_free) struct table *t = NULL;
        size_t before = mallinfo2().uordblks;

        assert_int_equal(table_new(&t), 0);
        table_turn(t, 1);
        count(t, UINT32_MAX - 1, 1, UINT32_MAX, 0, 1, 10);
        for (uint32_t i = 0; i < 200000; i++)
                count(t, i + 1, 1, i + 1, 0, 1, 10);
        count(t, UINT32_MAX - 1, 1, UINT32_MAX, 0, 2, 20);
        assert_true(mallinfo2().uordblks - before < (size_t)32 << 20);
        table_sweep(t, 1);
        s = snapshot(t);
        assert_int_equal(s->all_total.reads, 200003);
        assert_int_equal(probes_processes(s)[0].pid, UINT32_MAX - 1);
        assert_int_equal(probes_processes(s)[0].total.read_bytes, 30);
        assert_int_equal(probes_files(s)[0].total.reads, 3);
        for (size_t i = 0; i < PROBES_CACHE_N; i++)
                assert_true(s->caches[i].entries <= s->caches[i].limit);
}

/* Windows of a machine on which processes and files come and go: what the heap has of them, and what it takes from the system. */
static void churn(struct table *t, uint32_t from, uint32_t to, size_t *ret_used, size_t *ret_taken)
{
        struct mallinfo2 heap;

        for (uint32_t window = from; window < to; window++) {
                struct probes_snapshot *s scoped_free = NULL;

                table_turn(t, window * NS_PER_S);
                for (uint32_t i = 0; i < 800; i++)
                        count(t, window * 400 + i / 2 + 1, 1, UINT64_C(800) * window + i + 1, 0, 1, 10);
                for (uint32_t i = 0; i < 400; i++)
                        count(t, window * 400 + i + 1, 1, UINT64_MAX, 0, 1, 10); /* a file that all of them use */
                table_sweep(t, window * NS_PER_S);
                s = snapshot(t);
        }
        heap = mallinfo2();
        *ret_used = heap.uordblks + heap.hblkhd;
        *ret_taken = heap.arena + heap.hblkhd;
}

static void whatever_comes_and_goes_memory_stays(void **state)
{
        scoped(table_free) struct table *t = NULL;
        size_t used[2], taken[2];

        assert_int_equal(table_new(&t), 0);
        churn(t, 1, 40, &used[0], &taken[0]); /* until there are as many rows as are kept */
        churn(t, 40, 160, &used[1], &taken[1]);
        /* The tables that rows are found through may double once more; what was counted meanwhile would be 45 MiB. */
        assert_true(used[1] <= used[0] + (512 << 10));
        assert_true(taken[1] <= taken[0] + (512 << 10));
}

static void an_ended_process_goes_after_a_while(void **state)
{
        struct probes_snapshot *before scoped_free = NULL, *after scoped_free = NULL;
        scoped(table_free) struct table *t = NULL;

        assert_int_equal(table_new(&t), 0);
        table_turn(t, 1);
        count(t, UINT32_MAX - 1, 1, 1, 0, 1, 10); /* no process has this number */
        table_names(t, NS_PER_S, 10, NULL, NULL);
        table_sweep(t, NS_PER_S);
        before = snapshot(t);
        assert_int_equal(before->processes, 1);
        assert_int_equal(probes_processes(before)[0].alive, 0);
        table_turn(t, 120 * NS_PER_S);
        table_sweep(t, 120 * NS_PER_S);
        after = snapshot(t);
        assert_int_equal(after->processes, 0);
        assert_int_equal(after->others_total.reads, 1);
        assert_true(after->caches[PROBES_CACHE_PROCESS].asked > 0);
}

static bool parts(void *data, const struct file_name_key *key, struct file_name *ret)
{
        *ret = (struct file_name){.magic = key->inode == 2 ? 0x9fa0 : 0x9123683e, .folders = 2, .base = "name", .up = {"folder", "/"}};
        return true;
}

static void names_come_from_the_kernel_where_no_descriptor_tells(void **state)
{
        struct probes_snapshot *s scoped_free = NULL;
        scoped(table_free) struct table *t = NULL;

        assert_int_equal(table_new(&t), 0);
        table_turn(t, 1);
        count(t, (uint32_t)getpid(), 1, 1, 0, 2, 10);
        count(t, (uint32_t)getpid(), 1, 2, 0, 1, 10);
        table_names(t, NS_PER_S, 10, parts, NULL);
        s = snapshot(t);
        assert_string_equal(probes_files(s)[0].name, "/folder/name");
        assert_true(probes_files(s)[0].flags & PROBES_FILE_APPROXIMATE); /* btrfs */
        assert_false(probes_files(s)[0].flags & PROBES_FILE_PATH);
        assert_string_equal(probes_files(s)[1].name, "/proc/folder/name");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_reused_number_is_another_process),
                cmocka_unit_test(a_reused_inode_is_another_file),
                cmocka_unit_test(a_window_has_its_own_sums),
                cmocka_unit_test(what_falls_out_stays_in_the_sums),
                cmocka_unit_test(a_crowd_within_one_window),
                cmocka_unit_test(whatever_comes_and_goes_memory_stays),
                cmocka_unit_test(an_ended_process_goes_after_a_while),
                cmocka_unit_test(names_come_from_the_kernel_where_no_descriptor_tells),
        };

        memory_keep_small(); /* as the probes process does */
        return cmocka_run_group_tests(tests, NULL, NULL);
}
