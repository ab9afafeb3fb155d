/* test-fold.c: SQLite's two places, the log of commits and the database: a power cut between them, readers beside them, copies, keys that change hands, a database that takes
 * nothing. That both together are a store like any other is what test-store.c shows.
 */
#include "base/error.h"
#include "base/fd.h"
#include "store/redo.h"
#include "store/test-store.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *path_of(const char *url)
{
        return url + strlen("sqlite:");
}

static void copy(const char *from, const char *from_suffix, const char *to, const char *to_suffix)
{
        char a[400], b[400], bytes[65536];
        int in scoped_fd = -1, out scoped_fd = -1;
        ssize_t n;

        snprintf(a, sizeof(a), "%s%s", from, from_suffix);
        snprintf(b, sizeof(b), "%s%s", to, to_suffix);
        in = open(a, O_RDONLY | O_CLOEXEC);
        if (in < 0 && errno == ENOENT)
                return;
        out = open(b, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(in >= 0 && out >= 0);
        while ((n = read(in, bytes, sizeof(bytes))) > 0)
                assert_int_equal(write(out, bytes, (size_t)n), n);
        assert_int_equal(n, 0);
}

static void work(struct store *store, const uint64_t *epochs, uint32_t first)
{
        char key[32] = "";
        struct store_row setting = setting_row(first, key);

        snprintf(key, sizeof(key), "passed on %u", first);
        for (uint32_t n = first; n < first + 20; n++) {
                struct store_row task = task_row(n, 1, 2);

                assert_int_equal(put(store, epochs, &task), 0);
                if (n % 2)
                        assert_int_equal(put_status(store, epochs, &task, 5, "{\"done\":1}"), 0);
                if (n % 5 == 0)
                        assert_int_equal(drop(store, epochs, &task), 0);
        }
        /* From one row to the next, many times. */
        assert_int_equal(put(store, NULL, &setting), 0);
        for (uint32_t n = first + 1; n < first + 10; n++) {
                struct store_row next = setting_row(n, key), before = setting_row(n - 1, NULL);

                assert_int_equal(put(store, NULL, &next), -EEXIST);
                assert_int_equal(n % 2 ? drop(store, NULL, &before) : put(store, NULL, &before), 0);
                assert_int_equal(put(store, NULL, &next), 0);
        }
}

/* Round in a circle, so that no order of the rows' last forms is free of a key that is there twice. */
static void trade(struct store *store, uint32_t first)
{
        struct store_row one = setting_row(first, "x"), two = setting_row(first + 1, "y");

        assert_int_equal(put(store, NULL, &one), 0);
        assert_int_equal(put(store, NULL, &two), 0);
        assert_int_equal(count_rows(store, STORE_SETTING), 2);
        for (int i = 0; i < 50; i++) {
                one.text_key = "z";
                assert_int_equal(put(store, NULL, &one), 0);
                two.text_key = i % 2 ? "y" : "x";
                assert_int_equal(put(store, NULL, &two), 0);
                one.text_key = i % 2 ? "x" : "y";
                assert_int_equal(put(store, NULL, &one), 0);
                if (i % 10 == 0)
                        assert_true(has_setting(store, "x") && has_setting(store, "y"));
        }
        expect_list(store, (struct store_query)Q(.table = STORE_SETTING, .text_key = "x"), (const uint32_t[]){first}, 1);
        expect_list(store, (struct store_query)Q(.table = STORE_SETTING, .text_key = "y"), (const uint32_t[]){first + 1}, 1);
}

static void check_work(struct store *store, uint32_t first)
{
        char key[32];

        for (uint32_t n = first; n < first + 20; n++) {
                assert_int_equal(is_there(store, STORE_TASK, n), n % 5 != 0);
                if (n % 5) {
                        struct found found = get(store, STORE_TASK, n);

                        assert_int_equal(found.last.state, n % 2 ? 5 : 2);
                        assert_string_equal(found.status, n % 2 ? "{\"done\":1}" : "{\"attempt\":0}");
                        assert_string_equal(found.spec, "{\"type\":\"command\"}");
                }
        }
        snprintf(key, sizeof(key), "passed on %u", first);
        expect_list(store, (struct store_query)Q(.table = STORE_SETTING, .text_key = key), (const uint32_t[]){first + 9}, 1);
}

/* The database as it was before, the log as it is: what a power cut may leave when the database's own writes were not on the disk yet. */
static void test_a_power_cut_loses_nothing(void **state)
{
        char url[300], cut[300];
        struct store *store = open_store(fresh_url(*state, url)), *again;
        uint64_t epochs[STORE_QUEUES];

        fresh_url(*state, cut);
        claim_all(store, epochs);
        work(store, epochs, 100);
        check_work(store, 100); /* and with that in the database */
        copy(path_of(url), "", path_of(cut), "");
        copy(path_of(url), "-wal", path_of(cut), "-wal");
        work(store, epochs, 200);
        check_work(store, 200);
        work(store, epochs, 300);
        copy(path_of(url), "-redo", path_of(cut), "-redo");
        for (int i = 0; i < 3; i++) {
                again = open_store(cut);
                for (uint32_t first = 100; first <= 300; first += 100)
                        check_work(again, first);
                claim_all(again, epochs);
                work(again, epochs, 400 + 100 * (uint32_t)i);
                store_close(again);
        }
        again = open_reader(cut);
        check_work(again, 600);
        store_close(again);
        store_close(store);
}

static void test_keys_change_hands(void **state)
{
        char url[300];
        struct store *store = open_store(fresh_url(*state, url));

        trade(store, 1);
        store_close(store);
        store = open_store(url);
        expect_list(store, (struct store_query)Q(.table = STORE_SETTING, .text_key = "x"), (const uint32_t[]){1}, 1);
        store_close(store);
}

static void refused(const char *url, bool read_only, int error, const char *word)
{
        char message[STORE_MESSAGE] = "";
        struct store *store;
        int r = store_open(&(struct store_options){.url = url, .read_only = read_only}, &store, message);

        if (!r)
                store_close(store);
        if (r != error || !strstr(message, word))
                fail_msg("%d (%s) in place of %d (%s)", r, message, error, word);
}

static void test_a_damaged_log_is_named(void **state)
{
        char url[300], cut[300], log[400], aside[420];
        struct store *store = open_store(fresh_url(*state, url));
        uint8_t noise[3000];
        int fd;

        fresh_url(*state, cut);
        copy(path_of(url), "", path_of(cut), "");
        copy(path_of(url), "-wal", path_of(cut), "-wal");
        for (uint32_t n = 1; n < 10; n++) {
                struct store_row row = setting_row(n, NULL);

                assert_int_equal(put(store, NULL, &row), 0);
        }
        store_close(store);
        copy(path_of(url), "-redo", path_of(cut), "-redo");
        refused(cut, true, -E_UNAVAILABLE, "start the pool");
        snprintf(log, sizeof(log), "%s-redo", path_of(cut));
        memset(noise, 0xa5, sizeof(noise));
        fd = open(log, O_WRONLY | O_CLOEXEC);
        assert_int_equal(pwrite(fd, noise, sizeof(noise), 4096 + 200), sizeof(noise));
        close(fd);
        refused(cut, false, -EBADMSG, "-redo is damaged");
        refused(cut, true, -EBADMSG, "-redo is damaged");
        snprintf(aside, sizeof(aside), "%s-aside", log);
        assert_int_equal(rename(log, aside), 0);
        store = open_store(cut); /* as the message says */
        assert_int_equal(count_rows(store, STORE_SETTING), 0);
        store_close(store);
}

static void test_a_log_of_another_database_is_put_aside(void **state)
{
        char url[300], other[300], aside[400];
        struct store *store = open_store(fresh_url(*state, url));
        struct store_row row = setting_row(1, "here"), there = setting_row(2, "there");

        assert_int_equal(put(store, NULL, &row), 0);
        store_close(store);
        store = open_store(fresh_url(*state, other));
        assert_int_equal(put(store, NULL, &there), 0);
        store_close(store);
        copy(path_of(other), "", path_of(url), "");
        store = open_store(url);
        assert_true(has_setting(store, "there"));
        assert_false(has_setting(store, "here"));
        assert_int_equal(put(store, NULL, &row), 0);
        store_close(store);
        snprintf(aside, sizeof(aside), "%s-redo.other", path_of(url));
        assert_int_equal(access(aside, F_OK), 0);
}

static void test_readers_see_what_was_committed(void **state)
{
        char url[300], saved[400], message[STORE_MESSAGE];
        struct store *store = open_store(fresh_url(*state, url)), *reader = open_reader(url);
        uint64_t epochs[STORE_QUEUES];

        claim_all(store, epochs);
        for (uint32_t n = 1; n <= 50; n++) {
                struct store_row task = task_row(n, 2, 2);

                assert_int_equal(put(store, epochs, &task), 0);
                assert_int_equal(count_rows(reader, STORE_TASK), n);
                assert_int_equal(put_status(store, epochs, &task, 6, NULL), 0);
                assert_int_equal(get(reader, STORE_TASK, n).last.state, 6);
        }
        work(store, epochs, 100);
        snprintf(saved, sizeof(saved), "%s.saved", path_of(url));
        assert_int_equal(store_backup(reader, saved, NULL, NULL, message), 0);
        store_close(reader);
        store_close(store);
        store = open_store(saved);
        check_work(store, 100);
        store_close(store);
}

/* More than the log holds, in commits small and too large for it. */
static void test_more_than_the_log_holds(void **state)
{
        const size_t large = REDO_HALF + 100;
        char url[300], *text scoped_free = malloc(large);
        struct store *store = open_store(fresh_url(*state, url));

        memset(text, 'y', large);
        for (uint32_t n = 1; n <= 60; n++) {
                struct store_row row = setting_row(n, NULL);

                row.spec = text;
                row.spec_bytes = n % 20 ? REDO_HALF / 7 : large;
                assert_int_equal(put(store, NULL, &row), 0);
        }
        store_close(store);
        store = open_store(url);
        assert_int_equal(count_rows(store, STORE_SETTING), 60);
        store_close(store);
}

static void limit_files(rlim_t bytes)
{
        struct rlimit limit;

        assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = bytes;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The log has room, the database has not: it is told soon, nothing that was acknowledged is lost, and reads of what is not concerned go on. */
static void test_a_database_that_takes_nothing(void **state)
{
        char url[300], *text scoped_free = malloc(100000);
        struct store *store = open_store(fresh_url(*state, url)), *reader = open_reader(url);
        struct store_row first = setting_row(1, "first");
        uint32_t acknowledged = 1;
        int r = 0;

        signal(SIGXFSZ, SIG_IGN);
        memset(text, 'z', 100000);
        assert_int_equal(put(store, NULL, &first), 0);
        assert_int_equal(count_rows(reader, STORE_SETTING), 1);
        limit_files(600000);
        for (uint32_t n = 2; n < 100 && !r; n++) {
                struct store_row row = setting_row(n, NULL);

                row.spec = text;
                row.spec_bytes = 100000;
                r = put(store, NULL, &row);
                acknowledged += !r;
        }
        assert_int_equal(r, -ENOSPC);
        assert_true(acknowledged > 1);
        assert_int_equal(count_rows(reader, STORE_WORKER), 0);
        limit_files(RLIM_INFINITY);
        assert_int_equal(count_rows(reader, STORE_SETTING), acknowledged);
        assert_int_equal(put(store, NULL, &(struct store_row){.table = STORE_SETTING, .id = id_number(200), .spec = "{}", .spec_bytes = 2}), 0);
        store_close(reader);
        store_close(store);
        store = open_store(url);
        assert_int_equal(count_rows(store, STORE_SETTING), acknowledged + 1);
        store_close(store);
}

#define CASE(name) cmocka_unit_test_setup_teardown(test_##name, make_folder, remove_folder)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(a_power_cut_loses_nothing),
                CASE(keys_change_hands),
                CASE(a_damaged_log_is_named),
                CASE(a_log_of_another_database_is_put_aside),
                CASE(readers_see_what_was_committed),
                CASE(more_than_the_log_holds),
                CASE(a_database_that_takes_nothing),
        };

        return cmocka_run_group_tests_name("fold", tests, NULL, NULL);
}
