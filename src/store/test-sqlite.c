/* test-sqlite.c: what only a file can suffer: two writers, damage, other programs' files, versions, a full disk; and URLs that name no store. */
#include "base/error.h"
#include "base/fd.h"
#include "store/sqlite.h"
#include "store/test-store.h"
#include "store/writer.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opening must fail so, with all of the words (separated by '|') in the message. */
static void expect_refused(const char *url, bool read_only, int error, const char *words)
{
        struct store_options options = {.url = url, .read_only = read_only};
        char message[STORE_MESSAGE] = "", wanted[200];
        struct store *store;
        int r = store_open(&options, &store, message);

        if (!r)
                store_close(store);
        if (r != error)
                fail_msg("%s: %d (%s) in place of %d", url, r, message, error);
        snprintf(wanted, sizeof(wanted), "%s", words);
        for (char *word = strtok(wanted, "|"); word; word = strtok(NULL, "|"))
                if (!strstr(message, word))
                        fail_msg("\"%s\" is not in: %s", word, message);
        assert_null(strstr(message, "secret"));
        assert_null(strchr(message, '\n'));
}

static void test_urls_that_name_no_store(void **state)
{
        struct test_place *place = *state;
        char url[300];

        expect_refused("", false, -EINVAL, "no store named");
        expect_refused("sqlite:", false, -EINVAL, "without a path");
        expect_refused("mysql://me:secret@host/db", false, -EINVAL, "mysql|postgresql://");
        expect_refused("postgresql:me:secret@host/db", false, -EINVAL, "two slashes");
        expect_refused("postgresql://me:secret@host:port/db", false, -EINVAL, "can't be read");
        expect_refused("postgresql://me:secret%zz@host/db", false, -EINVAL, "can't be read");
        expect_refused("postgresql://me:sec@secret@host/db", false, -EINVAL, "as %XX");
        expect_refused("postgresql://me:12/secret@host/db", false, -EINVAL, "as %XX");
        expect_refused("postgresql://me:secret/x@host/db", false, -EINVAL, "as %XX");
        expect_refused("postgresql://me:secret@[::1/db", false, -EINVAL, "can't be read");
        expect_refused("postgresql://me:secret@host/db?color=blue", false, -EINVAL, "can't be read");
        snprintf(url, sizeof(url), "postgresql://me:secret@/db?host=%s", place->folder); /* nobody listens there */
        expect_refused(url, false, -E_UNAVAILABLE, "connecting");
        snprintf(url, sizeof(url), "%s/no/pool.db", place->folder);
        expect_refused(url, false, -ENOENT, "no/pool.db");
        snprintf(url, sizeof(url), "%s/none.db", place->folder);
        expect_refused(url, true, -ENOENT, "none.db");
        assert_int_not_equal(access(url, F_OK), 0); /* a reader makes nothing */
        snprintf(url, sizeof(url), "%s", place->folder);
        {
                struct store *store;
                char message[STORE_MESSAGE];

                assert_true(store_open(&(struct store_options){.url = url}, &store, message) < 0);
                assert_true(*message);
        }
}

static void test_a_second_writer_is_refused(void **state)
{
        char url[300], pid[40];
        struct store *store = open_store(fresh_url(*state, url));
        struct store *reader;
        struct stat there;

        snprintf(pid, sizeof(pid), "process %d|stop that one", (int)getpid());
        expect_refused(url, false, -EBUSY, pid);
        reader = open_reader(url);
        store_close(reader);
        store_close(store);
        store = open_store(url);
        store_close(store);
        assert_int_equal(stat(url + strlen("sqlite:"), &there), 0);
        assert_int_equal(there.st_mode & 0777, 0600);
}

static void fill(struct store *store, uint32_t rows)
{
        char spec[400];

        memset(spec, 'x', sizeof(spec));
        for (uint32_t n = 1; n <= rows; n++) {
                struct store_row row = setting_row(n, NULL);

                row.spec = spec;
                row.spec_bytes = sizeof(spec);
                assert_int_equal(put(store, NULL, &row), 0);
        }
}

static void scribble(const char *path, off_t at, size_t bytes)
{
        int fd scoped_fd = open(path, O_WRONLY | O_CREAT, 0600);
        char noise[4096];

        memset(noise, 0xa5, sizeof(noise));
        for (; bytes; at += (off_t)sizeof(noise), bytes -= bytes < sizeof(noise) ? bytes : sizeof(noise))
                assert_true(pwrite(fd, noise, bytes < sizeof(noise) ? bytes : sizeof(noise), at) > 0);
}

static void test_damage_is_named(void **state)
{
        char url[300];
        const char *path;
        struct stat there;

        path = url + strlen("sqlite:");
        /* Not a database at all, or one only by its first bytes. */
        for (int i = 0; i < 2; i++) {
                struct store *store;

                fresh_url(*state, url);
                store = open_store(url);
                fill(store, 200);
                store_close(store);
                assert_int_equal(stat(path, &there), 0);
                scribble(path, i ? 8192 : 0, (size_t)there.st_size - (i ? 8192 : 0));
                expect_refused(url, false, -EBADMSG, "damaged|restore a backup");
                expect_refused(url, true, -EBADMSG, "damaged");
        }
        /* Cut off. */
        {
                struct store *store;

                fresh_url(*state, url);
                store = open_store(url);
                fill(store, 200);
                store_close(store);
                assert_int_equal(truncate(path, there.st_size / 2 / 4096 * 4096), 0);
                expect_refused(url, false, -EBADMSG, "damaged");
        }
        /* A short text file. */
        fresh_url(*state, url);
        scribble(path, 0, 100);
        expect_refused(url, false, -EBADMSG, "damaged");
        /* An empty one becomes a store. */
        fresh_url(*state, url);
        scribble(path, 0, 0);
        store_close(open_store(url));
}

static void run_sql(const char *url, const char *sql)
{
        sqlite3 *db;

        assert_int_equal(sqlite3_open(url + strlen("sqlite:"), &db), SQLITE_OK);
        if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
                fail_msg("%s: %s", sql, sqlite3_errmsg(db));
        sqlite3_close(db);
}

static void test_other_databases_and_versions_are_left_alone(void **state)
{
        char url[300];
        struct store *store;

        fresh_url(*state, url);
        run_sql(url, "CREATE TABLE photos (name TEXT)");
        expect_refused(url, false, -EBADMSG, "not a pool's");
        fresh_url(*state, url);
        store = open_store(url);
        fill(store, 1);
        store_close(store);
        run_sql(url, "PRAGMA user_version = 99");
        expect_refused(url, false, -E_VERSION, "newer Berth|99");
        expect_refused(url, true, -E_VERSION, "newer Berth");
        fresh_url(*state, url);
        run_sql(url, "PRAGMA application_id = 1114797160"); /* ours, still without tables: as a start that was cut short leaves it */
        expect_refused(url, true, -E_VERSION, "older Berth");
        store_close(open_store(url));
}

static void test_migrations_are_whole_or_not_at_all(void **state)
{
        static const char *const first[] = {"CREATE TABLE one (a TEXT)", "INSERT INTO one VALUES ('kept')", NULL};
        static const char *const second[] = {"CREATE TABLE two (b TEXT)", "INSERT INTO two SELECT a FROM one", NULL};
        static const char *const broken[] = {"CREATE TABLE two (b TEXT)", "INSERT INTO no_such_table VALUES (1)", NULL};
        const struct sqlite_migration old[] = {{first}}, good[] = {{first}, {second}}, bad[] = {{first}, {broken}};
        struct sqlite_store s = {.lock = -1, .path = (char[]){"in memory"}};
        (void)state;

        assert_int_equal(sqlite3_open(":memory:", &s.db), SQLITE_OK);
        assert_int_equal(sqlite_migrate(&s, old, 1), 0);
        assert_int_equal(sqlite_migrate(&s, bad, 2), -EBADMSG);
        assert_true(sqlite3_get_autocommit(s.db));
        assert_int_equal(sqlite3_exec(s.db, "SELECT * FROM two", NULL, NULL, NULL), SQLITE_ERROR);
        assert_int_equal(sqlite_migrate(&s, good, 2), 0); /* from version 1, with its rows */
        assert_int_equal(sqlite3_exec(s.db, "INSERT INTO one SELECT b || b FROM two", NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_changes(s.db), 1);
        assert_int_equal(sqlite_migrate(&s, good, 2), 0);
        assert_int_equal(sqlite_migrate(&s, old, 1), -E_VERSION);
        sqlite3_close(s.db);
}

static void limit_files(rlim_t bytes)
{
        struct rlimit limit;

        assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = bytes;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_a_full_disk_loses_nothing_and_goes_on(void **state)
{
        char url[300];
        struct store *store = open_store(fresh_url(*state, url));
        char *large scoped_free = malloc(2000000);
        struct store_row row = setting_row(2, "large"), small = setting_row(3, "small");

        signal(SIGXFSZ, SIG_IGN);
        fill(store, 1);
        memset(large, 'x', 2000000);
        row.spec = large;
        row.spec_bytes = 2000000;
        limit_files(1000000); /* as a full disk for this process: a write that would go further fails */
        for (int i = 0; i < 3; i++) {
                assert_int_equal(put(store, NULL, &row), -ENOSPC);
                assert_non_null(strstr(store_problem(store), "no room"));
        }
        assert_int_equal(count_rows(store, STORE_SETTING), 1);
        assert_int_equal(put(store, NULL, &small), 0); /* what fits goes on */
        limit_files(RLIM_INFINITY);
        assert_int_equal(put(store, NULL, &row), 0);
        assert_int_equal(count_rows(store, STORE_SETTING), 3);
        store_close(store);
        store = open_store(url);
        assert_int_equal(count_rows(store, STORE_SETTING), 3);
        store_close(store);
}

static void tell(void *context)
{
        uint64_t one = 1;

        assert_int_equal(write(*(int *)context, &one, sizeof(one)), sizeof(one));
}

static void test_the_writer_waits_for_room(void **state)
{
        char url[300], problem[STORE_MESSAGE];
        char *large scoped_free = malloc(2000000);
        int fd scoped_fd = eventfd(0, EFD_CLOEXEC);
        struct writer_options options = {.store = open_store(fresh_url(*state, url)), .wake = tell, .context = &fd, .max_bytes = 1 << 24};
        struct store_change change = {STORE_PUT, setting_row(1, "large")};
        struct writer *writer;
        struct writer_state now;
        uint64_t number, count;
        struct store *store;

        signal(SIGXFSZ, SIG_IGN);
        memset(large, 'x', 2000000);
        change.row.spec = large;
        change.row.spec_bytes = 2000000;
        limit_files(1000000);
        assert_int_equal(writer_start(&options, &writer), 0);
        assert_int_equal(writer_put(writer, &(struct store_batch){&change, 1}, &number), 0);
        do {
                assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
                writer_get_state(writer, &now);
        } while (!now.error);
        assert_int_equal(now.error, -ENOSPC);
        assert_false(now.final);
        assert_int_equal(now.durable, 0);
        writer_get_problem(writer, problem);
        assert_non_null(strstr(problem, "no room"));
        change = (struct store_change){STORE_PUT, setting_row(2, "behind it")};
        assert_int_equal(writer_put(writer, &(struct store_batch){&change, 1}, &number), 0);
        limit_files(RLIM_INFINITY);
        do {
                assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
                writer_get_state(writer, &now);
        } while (now.durable < number);
        assert_int_equal(now.error, 0);
        assert_true(now.failures >= 1);
        assert_int_equal(writer_stop(writer, 0), 2);
        store = open_store(url);
        assert_true(has_setting(store, "large"));
        assert_true(has_setting(store, "behind it"));
        store_close(store);
}

static void test_stopping_does_not_wait_for_ever(void **state)
{
        char url[300];
        char *large scoped_free = malloc(2000000);
        struct writer_options options = {.store = open_store(fresh_url(*state, url)), .max_bytes = 1 << 24};
        struct store_change change = {STORE_PUT, setting_row(1, "large")};
        struct writer *writer;
        uint64_t number;

        signal(SIGXFSZ, SIG_IGN);
        memset(large, 'x', 2000000);
        change.row.spec = large;
        change.row.spec_bytes = 2000000;
        limit_files(1000000);
        assert_int_equal(writer_start(&options, &writer), 0);
        assert_int_equal(writer_put(writer, &(struct store_batch){&change, 1}, &number), 0);
        assert_int_equal(writer_stop(writer, 50), 0); /* told honestly: not durable */
        limit_files(RLIM_INFINITY);
}

#define CASE(name) cmocka_unit_test_setup_teardown(test_##name, make_folder, remove_folder)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(urls_that_name_no_store),
                CASE(a_second_writer_is_refused),
                CASE(damage_is_named),
                CASE(other_databases_and_versions_are_left_alone),
                CASE(migrations_are_whole_or_not_at_all),
                CASE(a_full_disk_loses_nothing_and_goes_on),
                CASE(the_writer_waits_for_room),
                CASE(stopping_does_not_wait_for_ever),
        };

        return cmocka_run_group_tests_name("sqlite", tests, NULL, NULL);
}
