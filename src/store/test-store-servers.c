/* test-store-servers.c: who shares a store, and what the others changed: on SQLite, where nobody does, and on PostgreSQL, where servers come, go and lose
 * their connections. */
#include "store/test-store.h"

#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct store *open_server(const char *url, const char *server, const char *pin)
{
        char message[STORE_MESSAGE];
        struct store *store;

        if (store_open(&(struct store_options){.url = url, .server = server, .pin = pin}, &store, message))
                fail_msg("%s", message);
        return store;
}

/* The commit that a broken connection fails is tried again, as the writer does. */
static void survey_again(struct store *store, struct store_survey *survey)
{
        int r = store_survey(store, survey);

        for (int i = 0; i < 100 && r == -E_UNAVAILABLE; i++)
                r = store_survey(store, survey);
        assert_int_equal(r, 0);
}

static void test_alone(void **state)
{
        char url[300], owner[256];
        struct store *store = open_server(fresh_url(*state, url), "https://one", "sha256//abc");
        struct store_survey survey;
        struct found f = {0};
        uint64_t epoch, cursor = 0;
        struct store_row row = setting_row(1, "one");

        assert_int_equal(store_claim(store, 3, &epoch, owner), 0);
        assert_int_equal(store_survey(store, &survey), 0);
        assert_int_equal(survey.server_count, 1);
        assert_string_equal(survey.servers[0].address, "https://one");
        for (uint32_t q = 0; q < STORE_QUEUES; q++)
                assert_int_equal(survey.queues[q].claimed, q == 3);
        assert_string_equal(survey.queues[3].owner, "https://one");
        assert_int_equal(store_changed(store, &cursor, note, &f), -ERANGE);
        assert_true(cursor > 0);
        assert_int_equal(put(store, NULL, &row), 0);
        assert_int_equal(store_changed(store, &cursor, note, &f), 0);
        assert_int_equal(f.count, 0); /* its own */
        store_close(store);
        store = open_server(url, NULL, NULL);
        assert_int_equal(store_survey(store, &survey), 0);
        assert_int_equal(survey.server_count, 0); /* no address: nobody can reach it */
        store_close(store);
}

static void test_servers_come_and_go(void **state)
{
        char url[300], owner[256];
        struct store *one = open_server(fresh_url(*state, url), "https://one", "sha256//1"), *two = open_server(url, "https://two", NULL), *reader = open_reader(url);
        struct store_survey survey;
        uint64_t epoch;

        assert_int_equal(store_claim(one, 1, &epoch, owner), 0);
        assert_int_equal(store_claim(two, 2, &epoch, owner), 0);
        assert_int_equal(store_claim(two, 1, &epoch, owner), -EBUSY);
        for (int i = 0; i < 3; i++) {
                assert_int_equal(store_survey(i == 0 ? one : i == 1 ? two : reader, &survey), 0);
                assert_int_equal(survey.server_count, 2);
                assert_string_equal(survey.servers[0].address, "https://one");
                assert_string_equal(survey.servers[0].pin, "sha256//1");
                assert_string_equal(survey.servers[1].address, "https://two");
                assert_string_equal(survey.servers[1].pin, "");
                for (uint32_t q = 0; q < STORE_QUEUES; q++) {
                        assert_int_equal(survey.queues[q].claimed, q == 1 || q == 2);
                        assert_string_equal(survey.queues[q].owner, q == 1 ? "https://one" : q == 2 ? "https://two" : "");
                }
        }
        /* All connections break; both come back with what they had. */
        on_server(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()");
        survey_again(one, &survey);
        survey_again(two, &survey);
        assert_int_equal(survey.server_count, 2);
        assert_true(survey.queues[1].claimed && survey.queues[2].claimed);
        assert_int_equal(store_owned(one), 0);
        assert_int_equal(store_owned(two), 0);
        store_close(one);
        /* Its process on the server ends a moment after its connection. */
        do
                survey_again(two, &survey);
        while (survey.server_count == 2 || survey.queues[1].claimed);
        assert_string_equal(survey.servers[0].address, "https://two");
        assert_string_equal(survey.queues[1].owner, "https://one"); /* once */
        assert_int_equal(store_claim(two, 1, &epoch, owner), 0);
        one = open_server(url, "https://one", "sha256//new");
        assert_int_equal(store_survey(two, &survey), 0);
        assert_int_equal(survey.server_count, 2);
        assert_string_equal(survey.servers[0].pin, "sha256//new");
        store_close(one);
        store_close(two);
        store_close(reader);
}

static struct store_row row_of(enum store_table table, uint32_t n)
{
        struct store_row row = setting_row(n, NULL);

        row.table = table;
        row.account = id_number(50);
        row.status = "{}";
        row.status_bytes = 2;
        return row;
}

static void test_changes_are_told_once(void **state)
{
        char url[300];
        struct store *one = open_server(fresh_url(*state, url), "https://one", NULL), *two = open_server(url, "https://two", NULL);
        struct store_row account = row_of(STORE_ACCOUNT, 50), key = row_of(STORE_KEY, 51), worker = row_of(STORE_WORKER, 52), audit = row_of(STORE_AUDIT, 53);
        struct found f = {0};
        uint64_t at_one = 0, at_two = 0;

        assert_int_equal(put(one, NULL, &account), 0);
        assert_int_equal(store_changed(one, &at_one, note, &f), -ERANGE);
        assert_int_equal(store_changed(two, &at_two, note, &f), -ERANGE);
        assert_int_equal(f.count, 0);
        assert_int_equal(put(one, NULL, &key), 0);
        assert_int_equal(put(one, NULL, &worker), 0);
        assert_int_equal(put(one, NULL, &audit), 0); /* of no interest */
        assert_int_equal(put_status(one, NULL, &account, 1, "{\"x\":1}"), 0);
        assert_int_equal(put_status(one, NULL, &account, 2, "{\"x\":2}"), 0);
        assert_int_equal(store_changed(two, &at_two, note, &f), 0);
        assert_int_equal(f.count, 3); /* twice changed is once told */
        assert_int_equal(f.numbers[0], 50);
        assert_int_equal(f.numbers[1], 51);
        assert_int_equal(f.numbers[2], 52);
        f = (struct found){0};
        assert_int_equal(store_changed(two, &at_two, note, &f), 0);
        assert_int_equal(store_changed(one, &at_one, note, &f), 0);
        assert_int_equal(f.count, 0);
        assert_int_equal(put_status(two, NULL, &account, 3, "{\"x\":3}"), 0);
        assert_int_equal(drop(two, NULL, &worker), 0);
        assert_int_equal(store_changed(one, &at_one, note, &f), 0);
        assert_int_equal(f.count, 2);
        assert_int_equal(f.numbers[0], 50);
        assert_int_equal(f.numbers[1], 52);
        assert_int_equal(f.last.table, STORE_WORKER);
        assert_null(f.last.spec); /* gone */
        assert_null(f.last.status);
        /* A listener that fails hears it again. */
        assert_int_equal(put_status(one, NULL, &key, 9, NULL), 0);
        f = (struct found){.end_at = 1};
        assert_int_equal(store_changed(two, &at_two, note, &f), -ECANCELED);
        f = (struct found){0};
        assert_int_equal(store_changed(two, &at_two, note, &f), 0);
        assert_int_equal(f.count, 1);
        assert_int_equal(f.last.state, 9);
        store_close(one);
        store_close(two);
}

static void test_who_was_away_too_long_reads_all(void **state)
{
        char url[300];
        struct store *one = open_server(fresh_url(*state, url), "https://one", NULL), *two = open_server(url, "https://two", NULL);
        struct store_row key = row_of(STORE_KEY, 51);
        struct found f = {0};
        uint64_t at = 0;

        assert_int_equal(store_changed(two, &at, note, &f), -ERANGE);
        assert_int_equal(put(one, NULL, &key), 0);
        on_server(url, "UPDATE berth.change_count SET number = number + 20000");
        assert_int_equal(store_changed(two, &at, note, &f), -ERANGE);
        assert_int_equal(put_status(one, NULL, &key, 4, NULL), 0);
        assert_int_equal(store_changed(two, &at, note, &f), 0);
        assert_int_equal(f.count, 1);
        assert_int_equal(f.last.state, 4);
        store_close(one);
        store_close(two);
}

#define CASE(name) cmocka_unit_test_setup_teardown(test_##name, make, remove_folder)

int main(void)
{
        int (*make)(void **state) = getenv("BERTH_TEST_POSTGRES") ? make_database : make_folder;
        const struct CMUnitTest anywhere[] = {
                CASE(alone),
        };
        const struct CMUnitTest shared[] = {
                CASE(servers_come_and_go),
                CASE(changes_are_told_once),
                CASE(who_was_away_too_long_reads_all),
        };
        int failed = cmocka_run_group_tests(anywhere, NULL, NULL);

        return failed || !getenv("BERTH_TEST_POSTGRES") ? failed : cmocka_run_group_tests(shared, NULL, NULL);
}
