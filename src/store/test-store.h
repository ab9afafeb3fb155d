/* test-store.h: what the store's tests share: fresh stores of either kind, rows made by number. BERTH_TEST_POSTGRES (tools/with-postgres) names a server
 * for the tests that run on PostgreSQL; each test then works in a database of its own.
 */
#pragma once

#include "store/store.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* cmocka fixtures: *state is a struct test_place. */
struct test_place {
        char folder[200];
        unsigned made;
        bool postgres;
};
int make_folder(void **state);     /* SQLite */
int make_database(void **state);   /* PostgreSQL */
int remove_folder(void **state);
/* One statement on the PostgreSQL server at url. */
void on_server(const char *url, const char *sql);

/* The URL of a store that does not exist yet (its database, for PostgreSQL, does), into url. */
const char *fresh_url(struct test_place *place, char url[300]);

/* Opens, or fails the test with the message. */
struct store *open_store(const char *url);
struct store *open_reader(const char *url);

struct id id_number(uint32_t n);    /* ordered as n */
uint32_t number_of(const struct id *id);
/* Literal texts only are pointed to. */
struct store_row setting_row(uint32_t n, const char *text_key);
struct store_row task_row(uint32_t n, uint32_t queue, uint32_t state);

uint64_t count_rows(struct store *store, enum store_table table);
bool has_setting(struct store *store, const char *text_key);
/* One put, or delete. The result of store_commit. */
int put(struct store *store, const uint64_t *epochs, const struct store_row *row);
int put_status(struct store *store, const uint64_t *epochs, const struct store_row *row, uint32_t state, const char *status);
int drop(struct store *store, const uint64_t *epochs, const struct store_row *row);
/* Claims all queues. */
void claim_all(struct store *store, uint64_t epochs[STORE_QUEUES]);

/* What a listing brought: a row callback's context. */
struct found {
        unsigned count;
        uint32_t numbers[64];
        struct store_row last;
        char text_key[64], spec[4096], status[4096];
        int end_at; /* result to give at the row of this count; 0: never */
};
int note(void *context, const struct store_row *row);
/* The row, which must be there. */
struct found get(struct store *store, enum store_table table, uint32_t n);
bool is_there(struct store *store, enum store_table table, uint32_t n);
/* LIST(Q(.limit = 2), 1, 2): lists, and counts, to these numbers in this order. */
void expect_list(struct store *store, struct store_query query, const uint32_t *numbers, size_t count);
#define LIST(query, ...) expect_list(store, (struct store_query)query, (const uint32_t[]){__VA_ARGS__}, sizeof((uint32_t[]){__VA_ARGS__}) / 4)
#define Q(...) {.kind = -1, __VA_ARGS__}
