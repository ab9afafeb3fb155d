/* test-store-queues.c: what every store must do beside keeping rows, on SQLite and on PostgreSQL alike: queues and epochs, sweeping, readers, backup. */
#include "store/test-store.h"

#include <stdio.h>
#include <string.h>

/* --- queues and sweeping --- */

static void test_claims_give_rising_epochs(void **state)
{
        char url[300], owner[256];
        struct store *store = open_store(fresh_url(*state, url));
        uint64_t first, epoch, epochs[STORE_QUEUES] = {0};
        struct store_row row = task_row(1, 4, 2);

        assert_int_equal(store_owner(store, 4, &epoch, owner), -ENOENT);
        assert_int_equal(store_claim(store, STORE_QUEUES, &epoch, owner), -EINVAL);
        assert_int_equal(put(store, epochs, &row), -ESTALE); /* nobody claimed it */
        assert_int_equal(store_claim(store, 4, &first, owner), 0);
        assert_true(first > 0);
        assert_int_equal(store_claim(store, 4, &epoch, owner), 0);
        assert_int_equal(epoch, first); /* ours already */
        assert_int_equal(store_owner(store, 4, &epoch, owner), 0);
        assert_int_equal(epoch, first);
        assert_string_equal(owner, "https://one.example");
        assert_int_equal(store_owned(store), 0);
        epochs[4] = first;
        assert_int_equal(put(store, epochs, &row), 0);
        epochs[4] = first + 1;
        assert_int_equal(put_status(store, epochs, &row, 3, NULL), -ESTALE);
        assert_int_equal(drop(store, epochs, &row), -ESTALE);
        assert_int_equal(put(store, NULL, &row), -ESTALE);
        epochs[4] = first;
        row.queue = 5;
        assert_int_equal(put(store, epochs, &row), -ESTALE); /* another queue's claim helps nothing */
        row.queue = 4;
        assert_int_equal(store_release(store, 4), 0);
        assert_int_equal(store_release(store, 4), 0);
        assert_int_equal(put_status(store, epochs, &row, 3, NULL), -ESTALE);
        assert_int_equal(store_claim(store, 4, &epoch, owner), 0);
        assert_true(epoch > first);
        assert_int_equal(put_status(store, epochs, &row, 3, NULL), -ESTALE); /* in the epoch before */
        epochs[4] = epoch;
        assert_int_equal(put_status(store, epochs, &row, 3, NULL), 0);
        store_close(store);
        store = open_store(url);
        first = epoch;
        assert_int_equal(store_claim(store, 4, &epoch, owner), 0);
        assert_true(epoch > first);
        store_close(store);
}

static void test_sweep_takes_what_is_past(void **state)
{
        char url[300];
        struct store *store = open_store(fresh_url(*state, url));
        char *large scoped_free = malloc(2001);
        uint64_t epochs[STORE_QUEUES], count;

        claim_all(store, epochs);
        memset(large, 'x', 2000);
        large[2000] = '\0';
        for (uint32_t n = 1; n <= 10; n++) {
                struct store_row row = task_row(n, n == 10, 5);

                row.until_ms = n == 5 ? 0 : 1000 - n; /* the highest number is the oldest; 5 stays for ever */
                row.spec = large;
                row.spec_bytes = 2000;
                assert_int_equal(put(store, epochs, &row), 0);
        }
        assert_int_equal(store_release(store, 1), 0); /* 10 is another server's to sweep */
        assert_int_equal(store_sweep(store, STORE_TASK, 990, 100, &count), 0);
        assert_int_equal(count, 0);
        assert_int_equal(store_sweep(store, STORE_TASK, 994, 2, &count), 0);
        assert_int_equal(count, 2);
        LIST(Q(.limit = 0), 1, 2, 3, 4, 5, 6, 7, 10);
        assert_int_equal(store_sweep(store, STORE_TASK, 997, 100, &count), 0);
        assert_int_equal(count, 4);
        LIST(Q(.limit = 0), 1, 2, 5, 10);
        assert_int_equal(store_sweep(store, STORE_TASK, INT64_MAX, 0, &count), 0);
        assert_int_equal(count, 2);
        LIST(Q(.limit = 0), 5, 10);
        assert_int_equal(store_sweep(store, STORE_ANSWER, INT64_MAX, 10, &count), 0);
        assert_int_equal(count, 0);
        store_close(store);
}

/* --- readers, backup --- */

static void test_readers_see_what_is_committed_and_write_nothing(void **state)
{
        char url[300];
        struct store *store = open_store(fresh_url(*state, url)), *reader = open_reader(url);
        struct store_row row = setting_row(1, "one");
        char owner[256];
        uint64_t epoch, count;

        assert_int_equal(put(store, NULL, &row), 0);
        assert_true(has_setting(reader, "one"));
        row = setting_row(2, "two");
        assert_int_equal(put(reader, NULL, &row), -EROFS);
        assert_int_equal(store_claim(reader, 0, &epoch, owner), -EROFS);
        assert_int_equal(store_sweep(reader, STORE_TASK, 1, 1, &count), -EROFS);
        assert_int_equal(put(store, NULL, &row), 0);
        assert_int_equal(count_rows(reader, STORE_SETTING), 2);
        store_close(store);
        store_close(reader);
}

static int note_share(void *context, double share)
{
        double *last = context;

        assert_true(share >= *last && share <= 1);
        *last = share;
        return 0;
}

static int never(void *context, double share)
{
        (void)context;
        (void)share;
        return -ECANCELED;
}

static void test_a_backup_can_be_opened(void **state)
{
        struct test_place *place = *state;
        char url[300], path[300], message[STORE_MESSAGE];
        char *large scoped_free = malloc(5001);
        struct store *store = open_store(fresh_url(place, url)), *reader = open_reader(url), *copy;
        uint64_t epochs[STORE_QUEUES], epoch;
        double share = 0;
        struct found f;

        claim_all(store, epochs);
        memset(large, 'x', 5000);
        large[5000] = '\0';
        for (uint32_t n = 1; n <= 300; n++) {
                struct store_row row = task_row(n, n % STORE_QUEUES, n % 6 + 1);

                row.spec = large;
                row.spec_bytes = n % 2 ? 5000 : 20;
                assert_int_equal(put(store, epochs, &row), 0);
        }
        snprintf(path, sizeof(path), "%s/copy.db", place->folder);
        assert_int_equal(store_backup(reader, path, never, NULL, message), -ECANCELED);
        assert_int_equal(store_backup(reader, path, note_share, &share, message), 0);
        assert_true(share > 0.999);
        assert_int_equal(store_backup(store, path, NULL, NULL, message), -EEXIST);
        assert_non_null(strstr(message, "is there already"));
        copy = open_store(path);
        assert_string_equal(store_kind(copy), "sqlite");
        assert_int_equal(count_rows(copy, STORE_TASK), 300);
        f = get(copy, STORE_TASK, 299);
        assert_int_equal(f.last.spec_bytes, 5000);
        assert_int_equal(f.last.queue, 299 % STORE_QUEUES);
        {
                char owner[256];

                assert_int_equal(store_claim(copy, 3, &epoch, owner), 0); /* above every epoch of the original */
                assert_true(epoch > epochs[3]);
        }
        store_close(copy);
        snprintf(path, sizeof(path), "%s/no/such/folder/copy.db", place->folder);
        assert_int_equal(store_backup(store, path, NULL, NULL, message), -ENOENT);
        store_close(reader);
        store_close(store);
}

static void test_about(void **state)
{
        char url[300], text[300];
        struct store *store = open_store(fresh_url(*state, url));

        assert_int_equal(store_about(store, text, sizeof(text)), 0);
        assert_true(strlen(text) > 10);
        assert_string_equal(store_table_name(STORE_TASK), "task");
        assert_string_equal(store_table_name(STORE_SETTING), "setting");
        assert_null(store_table_name(STORE_TABLES));
        store_close(store);
}

#define CASE(name) cmocka_unit_test_setup_teardown(test_##name, make, remove_folder)

int main(void)
{
        int (*make)(void **state) = getenv("BERTH_TEST_POSTGRES") ? make_database : make_folder;
        const struct CMUnitTest tests[] = {
                CASE(claims_give_rising_epochs),
                CASE(sweep_takes_what_is_past),
                CASE(readers_see_what_is_committed_and_write_nothing),
                CASE(a_backup_can_be_opened),
                CASE(about),
        };

        return cmocka_run_group_tests_name(getenv("BERTH_TEST_POSTGRES") ? "queues on PostgreSQL" : "queues on SQLite", tests, NULL, NULL);
}
