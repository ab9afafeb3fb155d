/* test-postgres.c: what only a server can do to us: two pool servers, connections that die or hang, other databases, versions. Runs under tools/with-postgres. */
#include "base/error.h"
#include "base/fd.h"
#include "store/postgres.h"
#include "store/test-store.h"
#include "store/writer.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

static struct store *open_server(const char *url, const char *server, uint32_t patience_ms)
{
        struct store_options options = {.url = url, .server = server, .patience_ms = patience_ms};
        char message[STORE_MESSAGE];
        struct store *store;
        int r = store_open(&options, &store, message);

        if (r)
                fail_msg("%d: %s", r, message);
        return store;
}

static int backend_of(struct store *store)
{
        return PQbackendPID(((struct postgres_store *)store)->connection);
}

/* The server ends the store's connection; gone when it returns. */
static void end_connection(const char *url, struct store *store)
{
        char sql[100];

        snprintf(sql, sizeof(sql), "SELECT pg_terminate_backend(%d, 10000)", backend_of(store));
        on_server(url, sql);
}

static void test_two_servers_share_the_queues(void **state)
{
        char url[300], owner[256];
        struct store *one = open_server(fresh_url(*state, url), "https://one", 0), *two = open_server(url, "https://two", 0);
        uint64_t first, second, again, epochs[STORE_QUEUES] = {0};
        struct store_row row = task_row(1, 3, 2);

        assert_int_equal(store_claim(one, 3, &first, owner), 0);
        assert_int_equal(store_claim(two, 3, &second, owner), -EBUSY);
        assert_string_equal(owner, "https://one");
        assert_int_equal(store_claim(two, 4, &second, owner), 0); /* another queue */
        epochs[3] = first;
        assert_int_equal(put(one, epochs, &row), 0);
        assert_int_equal(put(two, epochs, &row), -ESTALE); /* not its own */
        assert_int_equal(store_release(one, 3), 0);
        assert_int_equal(store_claim(two, 3, &second, owner), 0);
        assert_true(second > first);
        assert_int_equal(store_claim(one, 3, &again, owner), -EBUSY);
        assert_string_equal(owner, "https://two");
        store_close(two);
        for (int r = -EBUSY; r;) { /* its process on the server ends a moment later */
                r = store_claim(one, 3, &again, owner);
                assert_true(r == 0 || r == -EBUSY);
        }
        assert_true(again > second);
        store_close(one);
}

static void test_who_was_replaced_unnoticed_writes_nothing(void **state)
{
        char url[300], owner[256];
        struct store *stale = open_server(fresh_url(*state, url), "https://stale", 0), *fresh = open_server(url, "https://fresh", 0);
        struct store_change changes[2] = {{STORE_PUT, setting_row(1, "beside it")}, {STORE_PUT, task_row(1, 3, 2)}};
        struct store_batch batches[2] = {{changes, 1}, {changes + 1, 1}};
        uint64_t epochs[STORE_QUEUES] = {0}, epoch;

        assert_int_equal(store_claim(stale, 3, &epochs[3], owner), 0);
        assert_int_equal(store_claim(stale, 5, &epochs[5], owner), 0);
        /* The connection stands, but the queue's epoch is another's now. */
        on_server(url, "UPDATE berth.queue SET epoch = epoch + 1, server = 'https://fresh' WHERE queue = 3");
        assert_int_equal(store_commit(stale, epochs, batches, 2), -ESTALE);
        assert_int_equal(count_rows(fresh, STORE_TASK), 0);
        assert_int_equal(count_rows(fresh, STORE_SETTING), 0);
        changes[1].row.queue = 5;
        assert_int_equal(store_commit(stale, epochs, batches, 2), 0); /* the other queue is still its own */
        /* The connection, and with it the lock, is lost; another server takes the queue before this one looks. */
        end_connection(url, stale);
        assert_int_equal(store_claim(fresh, 5, &epoch, owner), 0);
        assert_true(epoch > epochs[5]);
        changes[0].row = setting_row(2, "late");
        changes[1].row = task_row(2, 5, 2);
        for (int r = -E_UNAVAILABLE; r != -ESTALE; r = store_commit(stale, epochs, batches, 2))
                assert_int_equal(r, -E_UNAVAILABLE);
        assert_int_equal(store_owned(stale), -ESTALE);
        assert_int_equal(count_rows(fresh, STORE_TASK), 1);
        assert_false(has_setting(fresh, "late"));
        store_close(stale);
        store_close(fresh);
}

static void test_a_claim_waits_for_a_commit_under_way(void **state)
{
        char url[300], owner[256], other[400];
        struct store *old = open_server(fresh_url(*state, url), "https://old", 2000), *new = open_server(url, "https://new", 2000);
        uint64_t epochs[STORE_QUEUES] = {0}, epoch;
        PGconn *slow;
        PGresult *result;

        /* As the old server's commit between its look at the epoch and its end: the row is held. */
        assert_int_equal(store_claim(old, 3, &epochs[3], owner), 0);
        snprintf(other, sizeof(other), "%s", url);
        slow = PQconnectdb(other);
        result = PQexec(slow, "BEGIN; SELECT 1 FROM berth.queue WHERE queue = 3 FOR SHARE");
        assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK);
        PQclear(result);
        end_connection(url, old);
        assert_int_equal(store_claim(new, 3, &epoch, owner), -E_UNAVAILABLE); /* waits, then says so; not granted beside it */
        result = PQexec(slow, "COMMIT");
        PQclear(result);
        PQfinish(slow);
        assert_int_equal(store_claim(new, 3, &epoch, owner), 0);
        assert_true(epoch > epochs[3]);
        store_close(old);
        store_close(new);
}

static void test_a_lost_connection_comes_back_with_its_claims(void **state)
{
        char url[300], owner[256];
        struct store *store = open_server(fresh_url(*state, url), "https://one", 0);
        uint64_t epochs[STORE_QUEUES] = {0}, epoch;
        struct store_row row = task_row(1, 3, 2);
        int before;

        assert_int_equal(store_claim(store, 3, &epochs[3], owner), 0);
        assert_int_equal(put(store, epochs, &row), 0);
        before = backend_of(store);
        end_connection(url, store);
        assert_int_equal(put_status(store, epochs, &row, 3, "{}"), -E_UNAVAILABLE);
        assert_true(*store_problem(store));
        assert_int_equal(put_status(store, epochs, &row, 3, "{}"), 0);
        assert_int_not_equal(backend_of(store), before);
        assert_int_equal(store_owned(store), 0);
        assert_int_equal(store_claim(store, 3, &epoch, owner), 0);
        assert_int_equal(epoch, epochs[3]);
        /* Reading and looking come back by themselves, too. */
        end_connection(url, store);
        while (store_owned(store) == -E_UNAVAILABLE)
                ;
        assert_int_equal(count_rows(store, STORE_TASK), 1);
        store_close(store);
}

static void test_a_database_that_is_away_is_waited_for(void **state)
{
        char url[300], sql[200], *name;
        struct store *store = open_server(fresh_url(*state, url), "https://one", 0);
        struct store_row row = setting_row(1, "one");
        int r;

        name = strstr(url, "dbname=") + strlen("dbname=");
        end_connection(getenv("BERTH_TEST_POSTGRES"), store);
        snprintf(sql, sizeof(sql), "ALTER DATABASE %s RENAME TO away", name);
        on_server(getenv("BERTH_TEST_POSTGRES"), sql);
        for (int i = 0; i < 3; i++)
                assert_int_equal(put(store, NULL, &row), -E_UNAVAILABLE); /* not -ENOENT: the row is not to blame */
        assert_non_null(strstr(store_problem(store), "does not exist"));
        snprintf(sql, sizeof(sql), "ALTER DATABASE away RENAME TO %s", name);
        on_server(getenv("BERTH_TEST_POSTGRES"), sql);
        while ((r = put(store, NULL, &row)) == -E_UNAVAILABLE)
                ;
        assert_int_equal(r, 0);
        store_close(store);
}

static void test_a_server_that_hangs_counts_as_gone(void **state)
{
        char url[300], owner[256];
        struct store *store = open_server(fresh_url(*state, url), "https://one", 300);
        uint64_t epochs[STORE_QUEUES] = {0};
        struct store_row row = task_row(1, 3, 2);
        int backend = backend_of(store), r;

        assert_int_equal(store_claim(store, 3, &epochs[3], owner), 0);
        assert_int_equal(kill(backend, SIGSTOP), 0);
        assert_int_equal(put(store, epochs, &row), -E_UNAVAILABLE);
        assert_non_null(strstr(store_problem(store), "does not answer"));
        /* Its process may still commit what it was sent: nothing goes on before that one is gone. */
        do /* on a busy machine the new connection takes longer than the patience, too */
                assert_int_equal(put(store, epochs, &row), -E_UNAVAILABLE);
        while (!strstr(store_problem(store), "does not end"));
        assert_int_equal(kill(backend, SIGCONT), 0);
        while ((r = put(store, epochs, &row)) == -E_UNAVAILABLE)
                ;
        assert_int_equal(r, 0);
        assert_int_equal(store_owned(store), 0);
        store_close(store);
}

static void tell(void *context)
{
        uint64_t one = 1;

        assert_int_equal(write(*(int *)context, &one, sizeof(one)), sizeof(one));
}

static void test_connections_killed_in_the_middle_lose_nothing(void **state)
{
        char url[300], owner[256];
        int fd scoped_fd = eventfd(0, EFD_CLOEXEC);
        struct writer_options options = {.store = open_server(fresh_url(*state, url), "https://one", 0), .wake = tell, .context = &fd, .max_bytes = 1 << 24};
        struct writer *writer;
        struct writer_state now;
        struct store *store;
        uint64_t epoch, number, count;
        unsigned killed = 0;

        assert_int_equal(store_claim(options.store, 1, &epoch, owner), 0);
        assert_int_equal(writer_start(&options, &writer), 0);
        writer_set_epoch(writer, 1, epoch);
        for (uint32_t n = 1; n <= 2000; n++) {
                struct store_change changes[2] = {{STORE_PUT, task_row(n, 1, 2)}, {STORE_PUT, task_row(n / 2 + 1, 1, 3)}};

                if (n > 2)
                        changes[1].row.spec = NULL;
                assert_int_equal(writer_put(writer, &(struct store_batch){changes, 2}, &number), 0);
                if (n % 200 == 0) { /* while commits are under way */
                        on_server(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()");
                        killed++;
                }
        }
        do {
                assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
                writer_get_state(writer, &now);
                assert_false(now.final);
        } while (now.durable < number);
        assert_true(now.failures >= 1 && killed == 10);
        assert_int_equal(now.refused, 0);
        assert_int_equal(writer_stop(writer, 0), number);
        store = open_server(url, "https://two", 0);
        assert_int_equal(count_rows(store, STORE_TASK), 2000);
        {
                static const uint32_t leased[] = {3};

                assert_int_equal(store_count(store, &(struct store_query){.table = STORE_TASK, .kind = -1, .states = leased, .state_count = 1}, &count), 0);
                assert_int_equal(count, 1001); /* 1 … 1001 were changed, each for the last time after its own put */
        }
        store_close(store);
}

static void test_servers_that_start_at_once_make_one_schema(void **state)
{
        char url[300];
        pid_t children[6];

        fresh_url(*state, url);
        for (size_t i = 0; i < ARRAY_SIZE(children); i++) {
                children[i] = fork();
                assert_true(children[i] >= 0);
                if (!children[i]) {
                        struct store *store;
                        char message[STORE_MESSAGE];
                        int r = store_open(&(struct store_options){.url = url}, &store, message);

                        if (r)
                                fprintf(stderr, "%s\n", message);
                        _exit(r != 0);
                }
        }
        for (size_t i = 0; i < ARRAY_SIZE(children); i++) {
                int status;

                assert_int_equal(waitpid(children[i], &status, 0), children[i]);
                assert_int_equal(status, 0);
        }
}

static void expect_refused(const char *url, bool read_only, int error, const char *word)
{
        char message[STORE_MESSAGE];
        struct store *store;
        int r = store_open(&(struct store_options){.url = url, .read_only = read_only}, &store, message);

        if (r != error || !strstr(message, word) || strstr(message, "secret"))
                fail_msg("%d in place of %d: %s", r, error, message);
}

static void test_databases_that_can_not_be_used_are_named(void **state)
{
        char url[300];

        fresh_url(*state, url);
        expect_refused(url, true, -E_VERSION, "start the pool on it once");
        store_close(open_server(url, NULL, 0));
        on_server(url, "UPDATE berth.version SET version = 99");
        expect_refused(url, false, -E_VERSION, "newer Berth");
        expect_refused(url, true, -E_VERSION, "newer Berth");
        on_server(getenv("BERTH_TEST_POSTGRES"), "CREATE DATABASE other_encoding ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
        snprintf(url, sizeof(url), "%s&dbname=other_encoding", getenv("BERTH_TEST_POSTGRES"));
        expect_refused(url, false, -EINVAL, "UTF8");
        on_server(getenv("BERTH_TEST_POSTGRES"), "DROP DATABASE other_encoding");
        snprintf(url, sizeof(url), "%s&dbname=none&password=secret", getenv("BERTH_TEST_POSTGRES"));
        expect_refused(url, false, -ENOENT, "does not exist");
        fresh_url(*state, url);
        on_server(getenv("BERTH_TEST_POSTGRES"), "DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN PASSWORD 'secret'");
        snprintf(url + strlen(url), sizeof(url) - strlen(url), "&user=plain&password=secret");
        expect_refused(url, false, -EACCES, "permission denied");
        snprintf(url, sizeof(url), "%s&user=nobody-here", getenv("BERTH_TEST_POSTGRES"));
        expect_refused(url, false, -EACCES, "does not exist");
}

static void test_migrations_are_whole_or_not_at_all(void **state)
{
        static const char *const first[] = {"CREATE TABLE berth.one (a text)", "INSERT INTO berth.one VALUES ('kept')", NULL};
        static const char *const second[] = {"CREATE TABLE berth.two (b text)", "INSERT INTO berth.two SELECT a FROM berth.one", NULL};
        static const char *const broken[] = {"CREATE TABLE berth.two (b text)", "INSERT INTO berth.no_such_table VALUES (1)", NULL};
        const struct postgres_migration old[] = {{first}}, good[] = {{first}, {second}}, bad[] = {{first}, {broken}};
        char url[300];
        struct store *store = open_server(fresh_url(*state, url), NULL, 0);
        struct postgres_store *p = (struct postgres_store *)store;

        on_server(url, "DROP SCHEMA berth CASCADE");
        assert_int_equal(postgres_migrate(p, old, 1), 0);
        assert_int_equal(postgres_migrate(p, bad, 2), -EBADMSG);
        assert_non_null(strstr(store_problem(store), "no_such_table"));
        assert_int_equal(postgres_migrate(p, good, 2), 0);
        on_server(url, "SELECT 1/count(*) FROM berth.two");
        assert_int_equal(postgres_migrate(p, good, 2), 0);
        assert_int_equal(postgres_migrate(p, old, 1), -E_VERSION);
        store_close(store);
}

#define CASE(name) cmocka_unit_test_setup_teardown(test_##name, make_database, remove_folder)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(two_servers_share_the_queues),
                CASE(who_was_replaced_unnoticed_writes_nothing),
                CASE(a_claim_waits_for_a_commit_under_way),
                CASE(a_lost_connection_comes_back_with_its_claims),
                CASE(a_database_that_is_away_is_waited_for),
                CASE(a_server_that_hangs_counts_as_gone),
                CASE(connections_killed_in_the_middle_lose_nothing),
                CASE(servers_that_start_at_once_make_one_schema),
                CASE(databases_that_can_not_be_used_are_named),
                CASE(migrations_are_whole_or_not_at_all),
        };

        if (!getenv("BERTH_TEST_POSTGRES")) {
                fprintf(stderr, "test-postgres: run it under tools/with-postgres\n");
                return 1;
        }
        return cmocka_run_group_tests_name("postgres", tests, NULL, NULL);
}
