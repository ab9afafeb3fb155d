/* test-place.c: where the store's tests work; see test-store.h. */
#include "store/test-store.h"

#include <ftw.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int make_folder(void **state)
{
        struct test_place *place = calloc(1, sizeof(*place));
        const char *tmp = getenv("TMPDIR");

        snprintf(place->folder, sizeof(place->folder), "%s/berth-store-XXXXXX", tmp && *tmp ? tmp : "/tmp");
        if (!mkdtemp(place->folder))
                return -1;
        *state = place;
        return 0;
}

static int remove_one(const char *path, const struct stat *about, int type, struct FTW *at)
{
        (void)about;
        (void)type;
        (void)at;
        return remove(path);
}

void on_server(const char *url, const char *sql)
{
        PGconn *connection = PQconnectdb(url);
        PGresult *result;

        PQclear(PQexec(connection, "SET client_min_messages = error"));
        result = PQexec(connection, sql);

        if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
                fail_msg("%s: %s", sql, PQerrorMessage(connection));
        PQclear(result);
        PQfinish(connection);
}

int make_database(void **state)
{
        int r = make_folder(state);

        if (!r)
                ((struct test_place *)*state)->postgres = true;
        return r;
}

int remove_folder(void **state)
{
        struct test_place *place = *state;
        char sql[100];

        for (unsigned i = 1; place->postgres && i <= place->made; i++) {
                snprintf(sql, sizeof(sql), "DROP DATABASE IF EXISTS test_%d_%u WITH (FORCE)", (int)getpid(), i);
                on_server(getenv("BERTH_TEST_POSTGRES"), sql);
        }
        nftw(place->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        free(place);
        return 0;
}

const char *fresh_url(struct test_place *place, char url[300])
{
        char sql[100];

        place->made++;
        if (place->postgres) {
                snprintf(sql, sizeof(sql), "CREATE DATABASE test_%d_%u", (int)getpid(), place->made);
                on_server(getenv("BERTH_TEST_POSTGRES"), sql);
                snprintf(url, 300, "%s&dbname=test_%d_%u", getenv("BERTH_TEST_POSTGRES"), (int)getpid(), place->made);
        } else {
                snprintf(url, 300, "sqlite:%s/pool-%u.db", place->folder, place->made);
        }
        return url;
}

static struct store *open_as(const char *url, bool read_only)
{
        struct store_options options = {.url = url, .read_only = read_only, .server = "https://one.example"};
        char message[STORE_MESSAGE];
        struct store *store;
        int r = store_open(&options, &store, message);

        if (r)
                fail_msg("%s: %d: %s", url, r, message);
        return store;
}

struct store *open_store(const char *url)
{
        return open_as(url, false);
}

struct store *open_reader(const char *url)
{
        return open_as(url, true);
}

struct id id_number(uint32_t n)
{
        struct id id = {.bytes = {0x01, 0x92, 0xf0, 0xc1, 0x23, 0x45, 0x70, 0x00, 0x80}};

        for (int i = 0; i < 4; i++)
                id.bytes[12 + i] = (uint8_t)(n >> (24 - 8 * i));
        return id;
}

uint32_t number_of(const struct id *id)
{
        uint32_t n = 0;

        for (int i = 0; i < 4; i++)
                n = n << 8 | id->bytes[12 + i];
        return n;
}

struct store_row setting_row(uint32_t n, const char *text_key)
{
        return (struct store_row){.table = STORE_SETTING, .id = id_number(n), .text_key = text_key, .spec = "{}", .spec_bytes = 2};
}

struct store_row task_row(uint32_t n, uint32_t queue, uint32_t state)
{
        return (struct store_row){
                .table = STORE_TASK,
                .queue = queue,
                .id = id_number(n),
                .account = id_number(1000000 + queue),
                .state = state,
                .kind = 7,
                .spec = "{\"type\":\"command\"}",
                .spec_bytes = 18,
                .status = "{\"attempt\":0}",
                .status_bytes = 13,
        };
}

uint64_t count_rows(struct store *store, enum store_table table)
{
        uint64_t count;

        assert_int_equal(store_count(store, &(struct store_query){.table = table, .kind = -1}, &count), 0);
        return count;
}

bool has_setting(struct store *store, const char *text_key)
{
        uint64_t count;

        assert_int_equal(store_count(store, &(struct store_query){.table = STORE_SETTING, .kind = -1, .text_key = text_key}, &count), 0);
        assert_in_range(count, 0, 1);
        return count;
}

int put(struct store *store, const uint64_t *epochs, const struct store_row *row)
{
        struct store_change change = {STORE_PUT, *row};

        return store_commit(store, epochs, &(struct store_batch){&change, 1}, 1);
}

int put_status(struct store *store, const uint64_t *epochs, const struct store_row *row, uint32_t state, const char *status)
{
        struct store_row changed = *row;

        changed.state = state;
        changed.spec = NULL;
        changed.spec_bytes = 0;
        changed.status = status;
        changed.status_bytes = status ? strlen(status) : 0;
        return put(store, epochs, &changed);
}

int drop(struct store *store, const uint64_t *epochs, const struct store_row *row)
{
        struct store_change change = {STORE_DELETE, *row};

        return store_commit(store, epochs, &(struct store_batch){&change, 1}, 1);
}

void claim_all(struct store *store, uint64_t epochs[STORE_QUEUES])
{
        char owner[256];

        for (uint32_t q = 0; q < STORE_QUEUES; q++)
                assert_int_equal(store_claim(store, q, &epochs[q], owner), 0);
}

/* --- what a listing brought --- */

int note(void *context, const struct store_row *row)
{
        struct found *f = context;

        if (f->count < ARRAY_SIZE(f->numbers))
                f->numbers[f->count] = number_of(&row->id);
        f->count++;
        f->last = *row;
        snprintf(f->text_key, sizeof(f->text_key), "%s", row->text_key ? row->text_key : "(none)");
        snprintf(f->spec, sizeof(f->spec), "%s", row->spec ? row->spec : "(none)");
        snprintf(f->status, sizeof(f->status), "%s", row->status ? row->status : "(none)");
        return f->end_at && f->count == (unsigned)f->end_at ? -ECANCELED : 0;
}

struct found get(struct store *store, enum store_table table, uint32_t n)
{
        struct found f = {0};
        struct id id = id_number(n);

        assert_int_equal(store_get(store, table, &id, note, &f), 0);
        return f;
}

bool is_there(struct store *store, enum store_table table, uint32_t n)
{
        struct found f = {0};
        struct id id = id_number(n);
        int r = store_get(store, table, &id, note, &f);

        assert_true(r == 0 || r == -ENOENT);
        return !r;
}

void expect_list(struct store *store, struct store_query query, const uint32_t *numbers, size_t count)
{
        struct found f = {0};
        uint64_t counted;

        assert_int_equal(store_list(store, &query, note, &f), 0);
        assert_int_equal(f.count, count);
        for (size_t i = 0; i < count; i++)
                assert_int_equal(f.numbers[i], numbers[i]);
        assert_int_equal(store_count(store, &query, &counted), 0);
        assert_int_equal(counted, count);
}
