/* sqlite.h: the SQLite body, for its own sources. A commit goes into the log (redo.h) and is durable there; the database gets it later, many commits at once, each row in
 * its last form (sqlite-fold.c). Whoever reads has that done first, so that every reader sees all that was committed.
 *
 * One table for each store_table, without rowid, by id. A spec above SQLITE_INLINE bytes stands in TABLE_spec, so that a change of status never writes it
 * again; a small one stands in the row, where it costs one search less. Indexes (all partial: what they don't apply to costs nothing): account, text_key
 * (unique), until_ms, and for tasks the live ones. The table `redo` has the log's identity and the number of the last commit that is in the database, written in
 * the same transaction.
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
        SQLITE_EXISTS,
        SQLITE_HOLDER,      /* id of the row with a text_key */
        SQLITE_STATEMENTS
};

struct sqlite_fold;

struct sqlite_store {
        struct store store;
        sqlite3 *db;
        int lock; /* PATH-lock, held by who may write */
        char *path;
        bool unchecked; /* too large to be looked through at start */
        struct sqlite_fold *fold; /* of who may write; NULL: each commit goes into the database by itself (a copy that is made) */
        sqlite3_stmt *statements[STORE_TABLES][SQLITE_STATEMENTS];
};

struct sqlite_migration {
        const char *const *sql; /* NULL-ended */
};

/* Takes the database from its version to the last, in one transaction; a database above it is -E_VERSION. */
must_check int sqlite_migrate(struct sqlite_store *s, const struct sqlite_migration *migrations, int count);
/* Berth's own. */
must_check int sqlite_schema(struct sqlite_store *s);

/* A connection to s->path, with nothing looked at yet. */
must_check int sqlite_connect(struct sqlite_store *s);
void sqlite_disconnect(struct sqlite_store *s);
/* Our number for SQLite's error, with the problem said: "doing: what SQLite says". Rolls back. */
int sqlite_error(struct sqlite_store *s, int code, const char *doing);
must_check int sqlite_run(struct sqlite_store *s, const char *sql);
/* Prepared once, kept. */
must_check int sqlite_statement(struct sqlite_store *s, enum store_table table, enum sqlite_statement which, sqlite3_stmt **ret_statement);

/* sqlite-rows.c: within a transaction; an error has rolled it back. */
must_check int sqlite_step(struct sqlite_store *s, sqlite3_stmt *statement, const char *doing);
must_check int sqlite_put_row(struct sqlite_store *s, const struct store_row *row);
must_check int sqlite_put_status(struct sqlite_store *s, const struct store_row *row);
must_check int sqlite_remove_row(struct sqlite_store *s, const struct store_row *row);
must_check int sqlite_change_row(struct sqlite_store *s, const struct store_change *change);

/* sqlite-fold.c: from the log into the database. */
/* Takes in what an earlier start left in the log, and starts the thread. */
must_check int sqlite_fold_open(struct sqlite_store *s);
/* For a reader: -E_UNAVAILABLE when the log holds what is not in the database, and nobody is there to take it in. */
must_check int sqlite_fold_check(struct sqlite_store *s);
void sqlite_fold_close(struct sqlite_store *s);
must_check int sqlite_commit(struct store *store, const uint64_t *epochs, const struct store_batch *batches, size_t count);
/* All that was committed before this call to the file, by this store or another of this process, is in the database now. When that can't be, still 0 if the table
 * (or its one row, id) has nothing outside the database. */
must_check int sqlite_fold_read(struct sqlite_store *s, enum store_table table, const struct id *id);
/* The connection that may write, ours alone until sqlite_write_end, with all that was committed in the database; what is changed by it is durable at its COMMIT. */
must_check int sqlite_write_begin(struct sqlite_store *s, struct sqlite_store **ret_writer);
void sqlite_write_end(struct sqlite_store *s);

must_check int sqlite_list(struct store *store, const struct store_query *query, store_row_fn row, void *context);
must_check int sqlite_get(struct store *store, enum store_table table, const struct id *id, store_row_fn row, void *context);
must_check int sqlite_count(struct store *store, const struct store_query *query, uint64_t *ret_count);
must_check int sqlite_sweep(struct store *store, enum store_table table, int64_t now_ms, size_t limit, uint64_t *ret_count);
must_check int sqlite_backup(struct store *store, const char *path, int (*progress)(void *context, double share), void *context);
must_check int sqlite_about(struct store *store, char *text, size_t size);

/* For a copy made of another store's rows: no log and no waiting for the disk (the caller makes the file durable), and the queues as they are there, ours to write. */
must_check int sqlite_import(struct store *store);
must_check int sqlite_import_queue(struct store *store, uint32_t queue, uint64_t epoch, const char *server);
