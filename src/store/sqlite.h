/* sqlite.h: the SQLite body, for its own sources: one connection, its prepared statements, the lock that keeps other writers out.
 *
 * One table for each store_table, without rowid, by id. A spec above SQLITE_INLINE bytes stands in TABLE_spec, so that a change of status never writes it
 * again; a small one stands in the row, where it costs one search less. Indexes (all partial: what they don't apply to costs nothing): account, text_key
 * (unique), until_ms, and for tasks the live ones.
 */
#pragma once

#include "store/body.h"

#include <sqlite3.h>

#define SQLITE_INLINE 512

enum sqlite_statement {
        SQLITE_PUT,         /* insert, or replace the row with that id */
        SQLITE_STATUS,      /* the mutable half of a row that stays live: its index is left alone */
        SQLITE_STATUS_MOVE, /* the mutable half, and whether it is live */
        SQLITE_REMOVE,
        SQLITE_SPEC_PUT,
        SQLITE_SPEC_REMOVE,
        SQLITE_GET,
        SQLITE_STATEMENTS
};

struct sqlite_store {
        struct store store;
        sqlite3 *db;
        int lock; /* PATH-lock, held by who may write */
        char *path;
        bool unchecked; /* too large to be looked through at start */
        sqlite3_stmt *begin, *commit, *rollback;
        sqlite3_stmt *statements[STORE_TABLES][SQLITE_STATEMENTS];
};

struct sqlite_migration {
        const char *const *sql; /* NULL-ended */
};

/* Takes the database from its version to the last, in one transaction; a database above it is -E_VERSION. */
must_check int sqlite_migrate(struct sqlite_store *s, const struct sqlite_migration *migrations, int count);
/* Berth's own. */
must_check int sqlite_schema(struct sqlite_store *s);

/* Our number for SQLite's error, with the problem said: "doing: what SQLite says". Rolls back. */
int sqlite_error(struct sqlite_store *s, int code, const char *doing);
must_check int sqlite_run(struct sqlite_store *s, const char *sql);
/* Prepared once, kept. */
must_check int sqlite_statement(struct sqlite_store *s, enum store_table table, enum sqlite_statement which, sqlite3_stmt **ret_statement);

/* Name of the file layer that gathers writes to the log (sqlite-log.c), for the one connection that writes; NULL: SQLite's own. */
const char *sqlite_log_vfs(void);

int sqlite_list(struct store *store, const struct store_query *query, store_row_fn row, void *context);
int sqlite_get(struct store *store, enum store_table table, const struct id *id, store_row_fn row, void *context);
int sqlite_count(struct store *store, const struct store_query *query, uint64_t *ret_count);
int sqlite_sweep(struct store *store, enum store_table table, int64_t now_ms, size_t limit, uint64_t *ret_count);
int sqlite_backup(struct store *store, const char *path, int (*progress)(void *context, double share), void *context);
int sqlite_about(struct store *store, char *text, size_t size);

/* For a copy made of another store's rows: no waiting for the disk (the caller makes the file durable), and the queues as they are there, ours to write. */
must_check int sqlite_import(struct store *store);
must_check int sqlite_import_queue(struct store *store, uint32_t queue, uint64_t epoch, const char *server);
