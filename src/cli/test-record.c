/* test-record.c: looks go into a file and come back; damaged, cut and strange files end before what is wrong, and are walked both ways. */
#include "cli/replay.h"
#include "base/error.h"
#include "base/text.h"
#include "cli/test-snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define S UINT64_C(1000000000)
#define LOOKS 150

static struct machine_look look;
static struct machine_rates rates;
static struct machine_process list[3];
static struct machine_processes processes = {.count = 3, .list = list};

/* The n-th second of a machine: launches and processor time grow, a process comes in the middle. */
static struct top_world world_of(const struct snapshot *s, uint64_t n)
{
        struct top_world w = {.now = n == 70 ? NULL : s, .look = &look, .rates = &rates, .processes = &processes, .hertz = 100, .page = 4096};

        memset(&look, 0, sizeof look);
        look.taken_ns = n * S;
        look.memory.total = GIB;
        look.memory.available = GIB / 2 + n;
        look.stat.all.user = 50 * n;
        look.stat.all.idle = 50 * n;
        look.disk_error = -EACCES;
        look.heat_error = -ENOENT;
        for (int i = 0; i < 3; i++) {
                list[i] = (struct machine_process){.stat = {.pid = 10 + i, .parent = 1, .ticks = (uint64_t)(i + 1) * n, .start_ticks = 7, .state = 'S', .threads = 1},
                                                   .uid = 5, .use = {false, MACHINE_UNKNOWN, MACHINE_UNKNOWN}};
                snprintf(list[i].stat.name, sizeof list[i].stat.name, "p%d", i);
        }
        processes.count = n < 75 ? 2 : 3;
        processes.taken_ns = n * S;
        return w;
}

/* Every third look has what probes counted: process 11 with seven files, one of a long name, and an idle family of the GPU. */
static struct probes_snapshot *probes_of(uint64_t n)
{
        struct probes_snapshot *s = calloc(1, probes_bytes(2, 7, 7, 0, 0));
        struct probes_process *p;
        struct probes_use *u;

        assert_non_null(s);
        *s = (struct probes_snapshot){.processes = 2, .files = 7, .uses = 7, .taken_ns = n * S, .window_ns = S, .all_total = {.reads = n}, .gpu_now = {.launches = 3}};
        for (uint32_t i = 0; i < PROBES_FAMILY_N; i++)
                s->families[i] = (struct probes_family){.one_in = 1, .window_permille = 1000};
        s->families[PROBES_FILES] = (struct probes_family){.state = PROBES_ATTACHED, .rung = PROBES_KPROBE, .one_in = 1, .window_permille = 1000, .hits = 7 * n};
        s->families[PROBES_GPU] = (struct probes_family){.state = PROBES_NOTHING_YET, .one_in = 1, .window_permille = 1000};
        p = (struct probes_process *)(uintptr_t)probes_processes(s);
        u = (struct probes_use *)(uintptr_t)probes_uses(s);
        p[0] = (struct probes_process){.pid = 12, .start_ns = 7 * S / 100, .alive = 1, .comm = "did nothing"};
        p[1] = (struct probes_process){.pid = 11, .start_ns = 7 * S / 100, .alive = 1, .comm = "\x1b\xff", .now = {.writes = 1, .write_bytes = n}, .gpu_total = {.copies_out = 5, .other_bytes = 6}};
        for (uint32_t i = 0; i < 7; i++) {
                struct probes_file *f = (struct probes_file *)(uintptr_t)&probes_files(s)[i];

                f->flags = PROBES_FILE_PATH;
                memset(f->name, '/', 200);
                snprintf(f->name + (i == 6 ? 200 : 0), 32, "/file-%u", i);
                u[i] = (struct probes_use){.process = 1, .file = i, .now = {.write_bytes = i}, .total = {.writes = 1, .write_bytes = n + i}};
        }
        return s;
}

static void check_probes(const struct top_world *w, size_t n)
{
        const struct probes_snapshot *s = w->probes;

        if (n % 3) {
                assert_null(s);
                assert_non_null(w->probes_why);
                return;
        }
        assert_non_null(s);
        assert_int_equal(s->processes, 1);
        assert_int_equal(s->uses, RECORD_PROBED_FILES);
        assert_int_equal(probes_processes(s)[0].pid, 11);
        assert_int_equal(probes_processes(s)[0].now.write_bytes, n);
        assert_int_equal(probes_processes(s)[0].gpu_total.other_bytes, 6);
        assert_memory_equal(probes_processes(s)[0].comm, "\x1b\xff", 3);
        assert_int_equal(probes_uses(s)[0].total.write_bytes, n + 6);
        assert_string_equal(probes_files(s)[1].name, "/file-5");
        assert_int_equal(probes_files(s)[1].flags, PROBES_FILE_PATH);
        assert_int_equal(strlen(probes_files(s)[0].name), 127);
        assert_string_equal(probes_files(s)[0].name + 120, "/file-6");
        assert_int_equal(probes_files(s)[0].flags, 0);
        assert_int_equal(s->all_total.reads, n);
        assert_int_equal(s->gpu_now.launches, 3);
        assert_int_equal(s->families[PROBES_FILES].rung, PROBES_KPROBE);
        assert_int_equal(s->families[PROBES_FILES].hits, 7 * n);
        assert_int_equal(s->families[PROBES_GPU].state, PROBES_NOTHING_YET);
}

static void make(struct strbuf *b)
{
        struct record_state state = {0};
        struct snapshot s = test_world();

        record_head(b);
        for (uint64_t n = 0; n < LOOKS; n++) {
                struct probes_snapshot *probes scoped_free = n % 3 ? NULL : probes_of(n);
                struct top_world w;

                s.taken_ns = (100 + n) * S;
                s.clients[0].launches = 1000 * n;
                w = world_of(&s, n);
                w.probes = probes;
                assert_int_equal(record_put(&state, &w, (1000000 + n) * S, b), 0);
        }
        assert_false(b->failed);
        record_state_done(&state);
}

static char path[64];

static struct replay *open_bytes(const char *bytes, size_t count, int expected)
{
        struct replay *r = NULL;
        char message[CLI_MESSAGE];
        int fd;

        snprintf(path, sizeof path, "/tmp/berth-test-XXXXXX");
        fd = mkstemp(path);
        assert_true(fd >= 0 && write(fd, bytes, count) == (ssize_t)count);
        close(fd);
        assert_int_equal(replay_open(path, &r, message), expected);
        unlink(path);
        return r;
}

static void check_at(struct replay *r, size_t n, bool with_probes)
{
        struct top_world w;
        uint64_t when;
        char message[CLI_MESSAGE];

        assert_int_equal(replay_go(r, n, &w, &when, message), 0);
        assert_int_equal(when, (1000000 + n) * S);
        assert_int_equal(replay_at(r), n);
        assert_int_equal(w.look->memory.available, GIB / 2 + n);
        assert_int_equal(w.look->disk_error, -EACCES);
        assert_int_equal(w.processes->count, n < 75 ? 2 : 3);
        assert_int_equal(w.processes->list[1].stat.ticks, 2 * n);
        assert_string_equal(w.processes->list[1].stat.name, "p1");
        if (with_probes)
                check_probes(&w, n);
        else
                assert_null(w.probes);
        if (n == 70) {
                assert_null(w.now);
                return;
        }
        assert_int_equal(w.now->client_count, 3);
        assert_int_equal(w.now->clients[0].launches, 1000 * n);
        assert_string_equal(w.now->clients[1].name, "\"; rm -rf / #<b>%s%n</b>\\");
        if (n && n != 71)
                assert_int_equal(w.before->clients[0].launches, 1000 * (n - 1));
        else
                assert_null(w.before);
        if (n)
                assert_true(w.rates->busy == 500);
}

static void check(struct replay *r, size_t n)
{
        check_at(r, n, true);
}

/* What was written once is read by every later release. */
static void records_of_earlier_versions(void **state)
{
        static const char *const names[] = {BERTH_GOLDEN "/record-1.berth", BERTH_GOLDEN "/record-2.berth"};

        (void)state;
        for (size_t k = 0; k < ARRAY_SIZE(names); k++) {
                char message[CLI_MESSAGE] = "";
                struct replay *r = NULL;

                if (replay_open(names[k], &r, message) < 0)
                        fail_msg("%s", message);
                assert_int_equal(replay_count(r), 8);
                for (size_t i = 8; i-- > 0;)
                        check_at(r, i, k > 0);
                replay_free(r);
        }
}

static void looks_come_back_in_any_order(void **state)
{
        static const size_t order[] = {0, 1, 2, 59, 60, 61, 149, 3, 75, 74, 70, 71, 149, 0};
        struct strbuf b = {0};
        struct replay *r;

        (void)state;
        make(&b);
        /* Less than a tenth of what stands there: two bodies of programs change by a number. */
        assert_true(b.length < LOOKS * 3500);
        r = open_bytes(b.text, b.length, 0);
        assert_int_equal(replay_count(r), LOOKS);
        for (size_t i = 0; i < ARRAY_SIZE(order); i++)
                check(r, order[i]);
        for (size_t i = 0; i < LOOKS; i++)
                check(r, i);
        replay_free(r);
        strbuf_done(&b);
}

static void a_cut_file_ends_before_the_cut(void **state)
{
        struct strbuf b = {0};
        size_t last = LOOKS;

        (void)state;
        make(&b);
        for (size_t cut = b.length; cut > RECORD_HEAD_BYTES + 6000; cut -= 997) {
                struct replay *r = open_bytes(b.text, cut, 0);

                assert_true(replay_count(r) <= last);
                last = replay_count(r);
                check(r, last - 1);
                replay_free(r);
        }
        assert_null(open_bytes(b.text, RECORD_HEAD_BYTES, -E_MESSAGE));
        assert_null(open_bytes(b.text, 3, -E_MESSAGE));
        b.text[4]++;
        assert_null(open_bytes(b.text, b.length, -E_VERSION));
        b.text[0]++;
        assert_null(open_bytes(b.text, b.length, -E_MESSAGE));
        strbuf_done(&b);
}

static void a_changed_byte_ends_the_file(void **state)
{
        struct record_state none = {0};
        struct strbuf b = {0};
        size_t first = 0;
        bool key;

        (void)state;
        make(&b);
        assert_int_equal(record_get(&none, b.text + RECORD_HEAD_BYTES, b.length - RECORD_HEAD_BYTES, &first, &key, NULL), 0);
        for (size_t at = RECORD_HEAD_BYTES; at < b.length; at += 211) {
                struct replay *r;

                b.text[at] ^= 0x10;
                r = open_bytes(b.text, b.length, at < RECORD_HEAD_BYTES + first ? -E_MESSAGE : 0);
                if (r) {
                        struct top_world w;
                        uint64_t when;
                        char message[CLI_MESSAGE];

                        assert_true(replay_count(r) < LOOKS);
                        (void)!replay_go(r, SIZE_MAX, &w, &when, message);
                }
                replay_free(r);
                b.text[at] ^= 0x10;
                if (at > 3000)
                        at += 2000;
        }
        strbuf_done(&b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(looks_come_back_in_any_order),
                cmocka_unit_test(records_of_earlier_versions),
                cmocka_unit_test(a_cut_file_ends_before_the_cut),
                cmocka_unit_test(a_changed_byte_ends_the_file),
        };

        return cmocka_run_group_tests_name("cli-record", tests, NULL, NULL);
}
