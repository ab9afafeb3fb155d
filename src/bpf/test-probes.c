/* test-probes.c: a snapshot that is not whole or consistent is refused, a user sees own rows only, hostile names become safe text. */
#include "bpf/probes.h"

#include "base/error.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* Two processes of users 1 and 2 on two files; both use file 1. */
static struct probes_snapshot *made(void)
{
        size_t bytes = probes_bytes(2, 2, 3, 2, 3);
        struct probes_snapshot *s = calloc(1, bytes);
        struct probes_process *p = (void *)(uintptr_t)probes_processes(s);
        struct probes_file *f;
        struct probes_use *u;
        struct probes_block *b;
        struct probes_runner *r;

        assert_non_null(s);
        s->magic = PROBES_MAGIC;
        s->version = PROBES_VERSION;
        s->bytes = bytes;
        s->processes = s->files = 2;
        s->uses = 3;
        s->blocks = 2;
        s->runners = 3;
        for (int i = 0; i < PROBES_FAMILY_N; i++)
                s->families[i] = (struct probes_family){.one_in = 1, .window_permille = 1000};
        p[0] = (struct probes_process){.pid = 10, .uid = 1, .comm = "one", .total = {.reads = 3}};
        p[1] = (struct probes_process){.pid = 20, .uid = 2, .comm = "two", .total = {.reads = 9}};
        f = (void *)(uintptr_t)probes_files(s);
        f[0] = (struct probes_file){.inode = 100, .name = "/secret", .total = {.reads = 5}};
        f[1] = (struct probes_file){.inode = 101, .name = "/shared", .total = {.reads = 7}};
        u = (void *)(uintptr_t)probes_uses(s);
        u[0] = (struct probes_use){.process = 1, .file = 0, .total = {.reads = 5}};
        u[1] = (struct probes_use){.process = 1, .file = 1, .total = {.reads = 4}};
        u[2] = (struct probes_use){.process = 0, .file = 1, .total = {.reads = 3}};
        b = (void *)(uintptr_t)probes_blocks(s);
        b[0] = (struct probes_block){.device = 254 << 20, .kind = PROBES_READ, .name = "vda", .total = {.bytes = 4096, .time = {.buckets = {0, 3}}}};
        b[1] = (struct probes_block){.device = 254 << 20, .kind = PROBES_FLUSH};
        r = (void *)(uintptr_t)probes_runners(s);
        r[0] = (struct probes_runner){.pid = 10, .uid = 1, .comm = "one", .calls_total = 4};
        r[1] = (struct probes_runner){.pid = 20, .uid = 2, .comm = "two", .wait_total = {.times = 5}};
        r[2] = (struct probes_runner){.pid = 30, .uid = 1, .comm = "three", .wait_total = {.times = 6}};
        return s;
}

static void what_is_not_consistent_is_refused(void **state)
{
        struct probes_snapshot *s scoped_free = made();
        size_t bytes = s->bytes;

        assert_int_equal(probes_check(s, bytes), 0);
        assert_int_equal(probes_check(s, bytes - 8), -E_MESSAGE);
        assert_int_equal(probes_check(s, 0), -E_MESSAGE);
#define REFUSED(field, value)                                            \
        do {                                                             \
                __auto_type keep_ = (field);                             \
                (field) = (value);                                       \
                assert_int_equal(probes_check(s, bytes), -E_MESSAGE);    \
                (field) = keep_;                                         \
                assert_int_equal(probes_check(s, bytes), 0);             \
        } while (0)
        REFUSED(s->magic, 1);
        REFUSED(s->version, PROBES_VERSION + 1);
        REFUSED(s->bytes, bytes + 1);
        REFUSED(s->processes, 3);
        REFUSED(s->processes, UINT32_MAX);
        REFUSED(s->uses, UINT32_MAX);
        REFUSED(s->blocks, PROBES_MAX_BLOCKS + 1);
        REFUSED(s->blocks, 3);
        REFUSED(s->runners, UINT32_MAX);
        REFUSED(((struct probes_block *)(uintptr_t)probes_blocks(s))[1].kind, PROBES_REQUEST_KINDS);
        for (size_t i = 0; i < sizeof probes_runners(s)[2].comm; i++)
                ((char *)(uintptr_t)probes_runners(s)[2].comm)[i] = 'x';
        assert_int_equal(probes_check(s, bytes), -E_MESSAGE);
        memset((char *)(uintptr_t)probes_runners(s)[2].comm, 0, sizeof probes_runners(s)[2].comm);
        REFUSED(s->families[0].state, PROBES_STATE_N);
        REFUSED(s->families[0].state, PROBES_ATTACHED); /* on no rung */
        REFUSED(s->families[1].rung, PROBES_RUNG_N);
        REFUSED(s->families[1].refused_count, PROBES_RUNG_N + 1);
        REFUSED(s->families[1].refused_count, 1); /* of no error */
        REFUSED(s->families[0].blind_count, PROBES_MAX_BLIND + 1);
        REFUSED(s->families[0].one_in, 0);
        REFUSED(s->families[0].window_permille, 1001);
        REFUSED(((struct probes_use *)(uintptr_t)probes_uses(s))[0].file, 2);
        REFUSED(((struct probes_use *)(uintptr_t)probes_uses(s))[0].process, 2);
        REFUSED(((struct probes_file *)(uintptr_t)probes_files(s))[0].flags, 8);
        memset((char *)(uintptr_t)probes_files(s)[1].name, 'x', sizeof probes_files(s)[1].name);
        assert_int_equal(probes_check(s, bytes), -E_MESSAGE);
}

static void only_what_is_sealed_is_mapped(void **state)
{
        struct probes_snapshot *s scoped_free = made();
        const struct probes_snapshot *map = NULL;
        int fd = probes_seal(s, s->bytes), open_fd = memfd_create("open", MFD_ALLOW_SEALING);

        assert_true(fd >= 0 && open_fd >= 0);
        assert_int_equal(probes_map(fd, &map), 0);
        assert_memory_equal(map, s, s->bytes);
        probes_unmap(map);
        assert_int_equal(write(open_fd, s, s->bytes), (ssize_t)s->bytes);
        assert_int_equal(probes_map(open_fd, &map), -E_MESSAGE);
        close(fd);
        close(open_fd);
        fd = probes_seal(s, 100);
        assert_int_equal(probes_map(fd, &map), -E_MESSAGE);
        close(fd);
        assert_int_equal(probes_map(STDIN_FILENO, &map), -E_MESSAGE);
}

static void a_user_sees_own_rows_only(void **state)
{
        struct probes_snapshot *s scoped_free = made();
        const struct probes_snapshot *own = NULL;
        int fd = probes_for_user(s, 1);

        assert_int_equal(probes_map(fd, &own), 0);
        assert_int_equal(own->processes, 1);
        assert_int_equal(own->files, 1);
        assert_int_equal(own->uses, 1);
        assert_string_equal(probes_files(own)[0].name, "/shared");
        assert_int_equal(probes_files(own)[0].total.reads, 3);
        assert_int_equal(own->all_total.reads, 3);
        assert_int_equal(own->runners, 2);
        assert_string_equal(probes_runners(own)[0].comm, "one");
        assert_string_equal(probes_runners(own)[1].comm, "three");
        assert_int_equal(own->blocks, 2);
        assert_string_equal(probes_blocks(own)[0].name, "vda");
        assert_int_equal(probes_blocks(own)[0].total.time.buckets[1], 3);
        probes_unmap(own);
        close(fd);
        fd = probes_for_user(s, 3);
        assert_int_equal(probes_map(fd, &own), 0);
        assert_int_equal(own->processes + own->files + own->uses + own->runners, 0);
        probes_unmap(own);
        close(fd);
}

static void hostile_names_become_text(void **state)
{
        static const struct {
                const char *from, *to;
        } cases[] = {
                {"plain", "plain"},
                {"", ""},
                {"a\\b", "a\\\\b"},
                {"\033[2J\nx\t", "\\x1b[2J\\x0ax\\x09"},
                {"\x7f\xc2\x9b" "31m", "\\x7f\\xc2\\x9b31m"},           /* DEL, and the C1 form of ESC [ */
                {"\xd1\x84\xd0\xb0\xd0\xb9\xd0\xbb", "\xd1\x84\xd0\xb0\xd0\xb9\xd0\xbb"},
                {"\xe2\x80\xaetxt.exe", "\\xe2\\x80\\xaetxt.exe"},       /* right to left from here */
                {"\xc0\xaf\xff\xe2\x82", "\\xc0\\xaf\\xff\\xe2\\x82"},   /* overlong, never valid, cut off */
                {"\xed\xa0\x80", "\\xed\\xa0\\x80"},                     /* half of a pair */
        };
        char text[64];

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                assert_string_equal(probes_escape(text, sizeof text, cases[i].from, 64), cases[i].to);
        assert_string_equal(probes_escape(text, 6, "ab\ncd", 64), "ab");
        assert_string_equal(probes_escape(text, 7, "ab\ncd", 64), "ab\\x0a");
        assert_string_equal(probes_escape(text, sizeof text, "abcdef", 3), "abc");
        assert_string_equal(probes_escape(text, 1, "abc", 3), "");
}

static void names(void **state)
{
        for (uint32_t i = 0; i < PROBES_RUNG_N; i++)
                assert_string_not_equal(probes_rung_name(i), "?");
        for (uint32_t i = 0; i < PROBES_STATE_N; i++)
                assert_string_not_equal(probes_state_name(i), "?");
        for (uint32_t i = 0; i < PROBES_FAMILY_N; i++)
                assert_string_not_equal(probes_family_name(i), "?");
        for (uint32_t i = 0; i < PROBES_REQUEST_KINDS; i++)
                assert_string_not_equal(probes_request_kind_name(i), "?");
        assert_string_equal(probes_rung_name(99), "?");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_not_consistent_is_refused),
                cmocka_unit_test(only_what_is_sealed_is_mapped),
                cmocka_unit_test(a_user_sees_own_rows_only),
                cmocka_unit_test(hostile_names_become_text),
                cmocka_unit_test(names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
