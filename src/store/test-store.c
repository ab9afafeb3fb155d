/* test-store.c: what every store must do, run on SQLite and on PostgreSQL alike: rows, lists, atomic batches, bad input. */
#include "store/test-store.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

/* --- rows --- */

static void test_what_was_put_is_there_after_opening_again(void **state)
{
        char url[300];
        struct store *store = open_store(fresh_url(*state, url));
        struct store_row row = task_row(1, 5, 2);
        uint64_t epochs[STORE_QUEUES];
        struct found f;

        claim_all(store, epochs);
        row.until_ms = INT64_C(1732190400000);
        row.text_key = "a key";
        assert_int_equal(put(store, epochs, &row), 0);
        store_close(store);
        store = open_store(url);
        f = get(store, STORE_TASK, 1);
        assert_int_equal(f.last.table, STORE_TASK);
        assert_int_equal(f.last.queue, 5);
        assert_int_equal(f.last.state, 2);
        assert_int_equal(f.last.kind, 7);
        assert_true(f.last.until_ms == row.until_ms);
        assert_true(id_equal(&f.last.id, &row.id));
        assert_true(id_equal(&f.last.account, &row.account));
        assert_string_equal(f.text_key, "a key");
        assert_string_equal(f.spec, row.spec);
        assert_int_equal(f.last.spec_bytes, row.spec_bytes);
        assert_string_equal(f.status, row.status);
        assert_int_equal(f.last.status_bytes, row.status_bytes);
        assert_false(is_there(store, STORE_TASK, 2));
        assert_false(is_there(store, STORE_WORKER, 1));
        store_close(store);
}

static void test_a_status_changes_the_mutable_half_alone(void **state)
{
        char url[300];
        struct store *store = open_store(fresh_url(*state, url));
        struct store_row row = task_row(1, 5, 2), changed;
        uint64_t epochs[STORE_QUEUES];
        struct found f;

        claim_all(store, epochs);
        row.text_key = "a key";
        assert_int_equal(put(store, epochs, &row), 0);
        changed = row;
        changed.spec = NULL;
        changed.text_key = NULL;
        changed.account = id_number(9);
        changed.kind = 9;
        changed.state = 3;
        changed.status = "{\"attempt\":1}";
        assert_int_equal(put(store, epochs, &changed), 0);
        f = get(store, STORE_TASK, 1);
        assert_int_equal(f.last.state, 3);
        assert_string_equal(f.status, "{\"attempt\":1}");
        assert_string_equal(f.spec, row.spec);
        assert_string_equal(f.text_key, "a key");
        assert_int_equal(f.last.kind, 7);
        assert_true(id_equal(&f.last.account, &row.account));
        /* Into the ended states, between them, and back out. */
        for (uint32_t s = STORE_TASK_ENDED; s <= STORE_TASK_ENDED + 2; s++) {
                assert_int_equal(put_status(store, epochs, &row, s == STORE_TASK_ENDED + 2 ? 2 : s, NULL), 0);
                f = get(store, STORE_TASK, 1);
                assert_int_equal(f.last.state, s == STORE_TASK_ENDED + 2 ? 2 : s);
                assert_string_equal(f.status, "{\"attempt\":1}"); /* NULL: kept */
        }
        assert_int_equal(put_status(store, epochs, &(struct store_row){.table = STORE_TASK, .queue = 5, .id = id_number(2)}, 3, "{}"), -ENOENT);
        assert_false(is_there(store, STORE_TASK, 2));
        store_close(store);
}

static void test_a_put_with_spec_replaces(void **state)
{
        char url[300];
        struct store *store = open_store(fresh_url(*state, url));
        struct store_row row = setting_row(1, "before");
        struct found f;

        row.status = "{\"kept\":true}";
        row.status_bytes = strlen(row.status);
        assert_int_equal(put(store, NULL, &row), 0);
        row.text_key = "after";
        row.spec = "[1]";
        row.spec_bytes = 3;
        row.status = NULL;
        assert_int_equal(put(store, NULL, &row), 0);
        assert_int_equal(put(store, NULL, &row), 0); /* twice is once */
        f = get(store, STORE_SETTING, 1);
        assert_string_equal(f.text_key, "after");
        assert_string_equal(f.spec, "[1]");
        assert_string_equal(f.status, "{\"kept\":true}");
        assert_int_equal(count_rows(store, STORE_SETTING), 1);
        assert_false(has_setting(store, "before"));
        assert_int_equal(drop(store, NULL, &row), 0);
        assert_int_equal(drop(store, NULL, &row), 0); /* likewise */
        assert_int_equal(count_rows(store, STORE_SETTING), 0);
        store_close(store);
}

static void test_a_text_key_is_of_one_row(void **state)
{
        char url[300];
        struct store *store = open_store(fresh_url(*state, url));
        struct store_row one = setting_row(1, "same"), two = setting_row(2, "same"), other = setting_row(3, "same");

        other.table = STORE_KEY;
        assert_int_equal(put(store, NULL, &one), 0);
        assert_int_equal(put(store, NULL, &two), -EEXIST);
        assert_true(*store_problem(store));
        assert_int_equal(put(store, NULL, &other), 0); /* another table's */
        assert_string_equal(store_problem(store), "");
        assert_int_equal(drop(store, NULL, &one), 0);
        assert_int_equal(put(store, NULL, &two), 0);
        store_close(store);
}

/* Fills text with bytes of valid UTF-8 of all lengths. */
static void random_text(char *text, size_t bytes, unsigned *seed)
{
        static const char *const pieces[] = {"a", "\n", "\\", "\"", "'", "é", "€", "𝄞", "\x7f", "\x01", "%s", "\t", "$1", "--"};
        size_t at = 0;

        while (at < bytes) {
                const char *piece = pieces[(unsigned)rand_r(seed) % ARRAY_SIZE(pieces)];
                size_t n = strlen(piece);

                if (at + n > bytes) {
                        piece = "x";
                        n = 1;
                }
                memcpy(text + at, piece, n);
                at += n;
        }
        text[bytes] = '\0';
}

struct expected {
        const char *spec, *status;
        size_t spec_bytes, status_bytes;
        unsigned seen;
};

static int compare(void *context, const struct store_row *row)
{
        struct expected *e = context;

        e->seen++;
        assert_int_equal(row->spec_bytes, e->spec_bytes);
        assert_int_equal(row->status_bytes, e->status_bytes);
        assert_memory_equal(row->spec, e->spec, e->spec_bytes + 1);
        assert_memory_equal(row->status, e->status, e->status_bytes + 1);
        return 0;
}

static void test_texts_come_back_byte_by_byte(void **state)
{
        static const size_t sizes[] = {0, 1, 2, 100, 511, 512, 513, 1000, 4096, 70000, 3000000};
        char url[300];
        struct store *store = open_store(fresh_url(*state, url));
        unsigned seed = 1;

        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
                char *spec scoped_free = malloc(sizes[i] + 1), *status scoped_free = malloc(sizes[ARRAY_SIZE(sizes) - 1 - i] + 1);
                struct store_row row = setting_row((uint32_t)i + 1, NULL);
                struct expected e = {spec, status, sizes[i], sizes[ARRAY_SIZE(sizes) - 1 - i], 0};

                random_text(spec, e.spec_bytes, &seed);
                random_text(status, e.status_bytes, &seed);
                row.spec = spec;
                row.spec_bytes = e.spec_bytes;
                row.status = status;
                row.status_bytes = e.status_bytes;
                assert_int_equal(put(store, NULL, &row), 0);
                assert_int_equal(store_get(store, STORE_SETTING, &row.id, compare, &e), 0);
                /* A new status leaves the spec, a shorter or longer spec replaces the one before. */
                assert_int_equal(put_status(store, NULL, &row, 1, ""), 0);
                e.status = "";
                e.status_bytes = 0;
                assert_int_equal(store_get(store, STORE_SETTING, &row.id, compare, &e), 0);
                row.spec = e.spec = i % 2 ? "short" : "";
                row.spec_bytes = e.spec_bytes = strlen(row.spec);
                row.status = "";
                row.status_bytes = 0;
                assert_int_equal(put(store, NULL, &row), 0);
                assert_int_equal(store_get(store, STORE_SETTING, &row.id, compare, &e), 0);
                assert_int_equal(e.seen, 3);
        }
        store_close(store);
}

/* --- lists --- */

static void test_lists(void **state)
{
        static const uint32_t live[] = {1, 2, 3, 4}, ended[] = {5, 6}, mixed[] = {2, 6};
        char url[300];
        struct store *store = open_store(fresh_url(*state, url));
        uint64_t epochs[STORE_QUEUES];
        struct id account = id_number(1000001);
        struct found f = {0};

        claim_all(store, epochs);
        for (uint32_t n = 12; n >= 1; n--) { /* states 1 … 6 twice, queues 0 … 2, kinds 0 and 1 */
                struct store_row row = task_row(n, n % 3, (n - 1) % 6 + 1);

                row.kind = n % 2;
                assert_int_equal(put(store, epochs, &row), 0);
        }
        LIST(Q(.limit = 0), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);
        LIST(Q(.limit = 3), 1, 2, 3);
        LIST(Q(.limit = 3, .newest_first = true), 12, 11, 10);
        LIST(Q(.limit = 3, .after = id_number(3)), 4, 5, 6);
        LIST(Q(.limit = 3, .after = id_number(3), .newest_first = true), 2, 1);
        LIST(Q(.after = id_number(12)));
        LIST(Q(.states = live, .state_count = 4), 1, 2, 3, 4, 7, 8, 9, 10);
        LIST(Q(.states = ended, .state_count = 2), 5, 6, 11, 12);
        LIST(Q(.states = mixed, .state_count = 2, .newest_first = true), 12, 8, 6, 2);
        LIST({.kind = 1}, 1, 3, 5, 7, 9, 11);
        LIST(Q(.queues = 1u << 0 | 1u << 2), 2, 3, 5, 6, 8, 9, 11, 12);
        LIST(Q(.queues = 1u << 15));
        LIST(Q(.account = &account), 1, 4, 7, 10);
        LIST(Q(.account = &account, .states = live, .state_count = 4, .after = id_number(1), .limit = 2), 4, 7);
        LIST(Q(.table = STORE_WORKER));
        /* The end comes from the callback, too. */
        f.end_at = 2;
        assert_int_equal(store_list(store, &(struct store_query)Q(.limit = 0), note, &f), -ECANCELED);
        assert_int_equal(f.count, 2);
        f = (struct found){0};
        assert_int_equal(store_list(store, &(struct store_query)Q(.limit = 1, .without_spec = true), note, &f), 0);
        assert_string_equal(f.spec, "(none)");
        assert_string_equal(f.status, "{\"attempt\":0}");
        /* A task that ends leaves the live ones, one that comes back is among them again. */
        {
                struct store_row row = task_row(1, 1, 1);

                assert_int_equal(put_status(store, epochs, &row, 6, NULL), 0);
                LIST(Q(.states = live, .state_count = 4, .limit = 1), 2);
                assert_int_equal(put_status(store, epochs, &row, 4, NULL), 0);
                LIST(Q(.states = live, .state_count = 4, .limit = 1), 1);
                assert_int_equal(drop(store, epochs, &row), 0);
                LIST(Q(.states = live, .state_count = 4, .limit = 1), 2);
        }
        store_close(store);
}

static void test_list_by_text_key(void **state)
{
        char url[300];
        struct store *store = open_store(fresh_url(*state, url));
        struct store_row one = setting_row(1, "a'; DROP TABLE task; --"), two = setting_row(2, "b");

        assert_int_equal(put(store, NULL, &one), 0);
        assert_int_equal(put(store, NULL, &two), 0);
        LIST(Q(.table = STORE_SETTING, .text_key = "a'; DROP TABLE task; --"), 1);
        LIST(Q(.table = STORE_SETTING, .text_key = "b"), 2);
        LIST(Q(.table = STORE_SETTING, .text_key = "c"));
        assert_int_equal(count_rows(store, STORE_TASK), 0);
        store_close(store);
}

/* --- batches --- */

static void test_a_batch_is_there_wholly_or_not_at_all(void **state)
{
        char url[300];
        struct store *store = open_store(fresh_url(*state, url));
        struct store_change good[2] = {{STORE_PUT, setting_row(1, "one")}, {STORE_PUT, setting_row(2, "two")}};
        struct store_change bad[3] = {{STORE_PUT, setting_row(3, "three")}, {STORE_DELETE, setting_row(1, NULL)}, {STORE_PUT, setting_row(4, "two")}};
        struct store_batch both[2] = {{bad, 2}, {bad + 2, 1}};

        assert_int_equal(store_commit(store, NULL, &(struct store_batch){good, 2}, 1), 0);
        assert_int_equal(store_commit(store, NULL, both, 2), -EEXIST);
        LIST(Q(.table = STORE_SETTING), 1, 2);
        bad[2].row.text_key = "four";
        assert_int_equal(store_commit(store, NULL, both, 2), 0);
        LIST(Q(.table = STORE_SETTING), 2, 3, 4);
        /* Nothing to do is done at once; a batch may change a row several times, in order. */
        assert_int_equal(store_commit(store, NULL, NULL, 0), 0);
        good[0] = (struct store_change){STORE_DELETE, setting_row(2, NULL)};
        good[1] = (struct store_change){STORE_PUT, setting_row(2, "again")};
        assert_int_equal(store_commit(store, NULL, &(struct store_batch){good, 2}, 1), 0);
        assert_true(has_setting(store, "again"));
        store_close(store);
}

static void test_bad_rows_are_refused(void **state)
{
        static const struct {
                const char *text;
                size_t bytes;
                int error;
        } texts[] = {
                {"\xff", 1, -EINVAL},         {"\xc0\x80", 2, -EINVAL},     {"\xed\xa0\x80", 3, -EINVAL}, {"\xf4\x90\x80\x80", 4, -EINVAL},
                {"abc\xe2\x82", 5, -EINVAL},  {"a\0b", 3, -EINVAL},         {"12345678\0", 9, -EINVAL},   {"\xe2\x82\xac", 3, 0},
                {"\xf0\x9d\x84\x9e", 4, 0},   {"12345678\x80", 9, -EINVAL}, {"\xc3", 1, -EINVAL},         {"\xf4\x8f\xbf\xbf", 4, 0},
        };
        char url[300], long_key[STORE_KEY_MAX + 2];
        char *huge scoped_free = malloc(STORE_TEXT_MAX + 1);
        struct store *store = open_store(fresh_url(*state, url));
        struct store_row row;

        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                row = setting_row(1, NULL);
                row.spec = texts[i].text;
                row.spec_bytes = texts[i].bytes;
                assert_int_equal(put(store, NULL, &row), texts[i].error);
                row = setting_row(1, NULL);
                row.status = texts[i].text;
                row.status_bytes = texts[i].bytes;
                assert_int_equal(put(store, NULL, &row), texts[i].error);
        }
        row = setting_row(2, "\xff");
        assert_int_equal(put(store, NULL, &row), -EINVAL);
        memset(long_key, 'k', sizeof(long_key) - 1);
        long_key[STORE_KEY_MAX + 1] = '\0';
        row = setting_row(2, long_key);
        assert_int_equal(put(store, NULL, &row), -E2BIG);
        long_key[STORE_KEY_MAX] = '\0';
        assert_int_equal(put(store, NULL, &row), 0);
        memset(huge, 'x', STORE_TEXT_MAX + 1);
        row = setting_row(3, NULL);
        row.spec = huge;
        row.spec_bytes = STORE_TEXT_MAX + 1;
        assert_int_equal(put(store, NULL, &row), -E2BIG);
        row.spec_bytes = STORE_TEXT_MAX;
        assert_int_equal(put(store, NULL, &row), 0);
        row = setting_row(4, NULL);
        row.id = (struct id){{0}};
        assert_int_equal(put(store, NULL, &row), -EINVAL);
        row = setting_row(4, NULL);
        row.state = UINT32_MAX;
        assert_int_equal(put(store, NULL, &row), -EINVAL);
        row = setting_row(4, NULL);
        row.until_ms = -1;
        assert_int_equal(put(store, NULL, &row), -EINVAL);
        row = setting_row(4, NULL);
        row.queue = 1;
        assert_int_equal(put(store, NULL, &row), -EINVAL);
        row.table = STORE_TASK;
        row.queue = STORE_QUEUES;
        assert_int_equal(put(store, NULL, &row), -EINVAL);
        row.table = STORE_TABLES;
        assert_int_equal(put(store, NULL, &row), -EINVAL);
        assert_true(*store_problem(store));
        assert_false(is_there(store, STORE_SETTING, 4));
        store_close(store);
}

#define CASE(name) cmocka_unit_test_setup_teardown(test_##name, make, remove_folder)

int main(void)
{
        int (*make)(void **state) = getenv("BERTH_TEST_POSTGRES") ? make_database : make_folder;
        const struct CMUnitTest tests[] = {
                CASE(what_was_put_is_there_after_opening_again),
                CASE(a_status_changes_the_mutable_half_alone),
                CASE(a_put_with_spec_replaces),
                CASE(a_text_key_is_of_one_row),
                CASE(texts_come_back_byte_by_byte),
                CASE(lists),
                CASE(list_by_text_key),
                CASE(a_batch_is_there_wholly_or_not_at_all),
                CASE(bad_rows_are_refused),
        };

        return cmocka_run_group_tests_name(getenv("BERTH_TEST_POSTGRES") ? "store on PostgreSQL" : "store on SQLite", tests, NULL, NULL);
}
