/* postgres.h: the PostgreSQL body, for its own sources: one connection that comes back by itself, and every wait on it bounded.
 *
 * Tables stand in the schema "berth" of the database. Queues are claimed by session advisory locks, so the server gives them free when a pool server's
 * connection ends, and by an epoch in berth.queue, which every commit looks at (and holds, FOR SHARE) in its own transaction: a server that lost its lock
 * without noticing is refused by the epoch.
 *
 * A connection that broke is made again by the next call. First the old one is ended for certain (its process on the server may still be about to commit),
 * then each queue is locked again; where the epoch is still ours, nobody had it meanwhile, and the claim goes on.
 */
#pragma once

#include "store/body.h"

#include <libpq-fe.h>

#define POSTGRES_PATIENCE_MS 15000
#define POSTGRES_LOCK_CLASS 0x42727468 /* "Brth": first half of our advisory locks' keys; the second is the queue, or the schema's: */
#define POSTGRES_LOCK_SCHEMA 1000
#define POSTGRES_LOCK_SERVERS 0x42727469 /* first half of the locks that show who is there; the second is the server's number */

/* Types of parameters, by their numbers in pg_type. */
enum { POSTGRES_BOOL = 16, POSTGRES_INT8 = 20, POSTGRES_INT4 = 23, POSTGRES_TEXT = 25, POSTGRES_UUID = 2950 };

#define POSTGRES_PARAMETERS 10

/* Binary parameters of one statement. Integers stand here in network order; texts and ids are pointed to. */
struct postgres_parameters {
        int count;
        Oid types[POSTGRES_PARAMETERS];
        const char *values[POSTGRES_PARAMETERS];
        int lengths[POSTGRES_PARAMETERS], formats[POSTGRES_PARAMETERS];
        char room[POSTGRES_PARAMETERS][8];
};

struct postgres_store {
        struct store store;
        char *url;
        uint32_t patience_ms;
        PGconn *connection;  /* NULL: none now */
        int old_pid;         /* of a connection that broke, whose process may still run; 0: none */
        char old_start[64];  /* when that process began, as the server wrote it */
        char start[64];      /* when this connection's did */
        bool opened;         /* it was connected before */
        bool lost;           /* a claim was lost with a connection; until the next claim */
        bool unsafe;         /* the server runs with fsync off */
        char pin[100];       /* of our certificate, for other servers */
        int32_t number;      /* ours among the servers; 0: not there */
        uint64_t life;       /* random: what this store writes is told from what others write */
};

/* postgres.c */
must_check int postgres_connected(struct postgres_store *p);
/* Our number for the result's error (or the connection's, result NULL), with the problem said. Ends a broken connection. */
int postgres_error(struct postgres_store *p, const PGresult *result, const char *doing);
/* Gives the connection up: -E_UNAVAILABLE, with the problem said. */
int postgres_broken(struct postgres_store *p, const char *doing, const char *why);
/* Waits, at most patience_ms without anything coming, until PQgetResult would not block, sending what is to be sent. */
must_check int postgres_wait(struct postgres_store *p, const char *doing);
/* One statement and its whole result (rows, or done). The result is the caller's. */
must_check int postgres_query(struct postgres_store *p, const char *sql, const struct postgres_parameters *parameters, const char *doing, PGresult **ret_result);
/* Statements without parameters or interest in rows. */
must_check int postgres_run(struct postgres_store *p, const char *sql, const char *doing);

void postgres_add_id(struct postgres_parameters *parameters, const struct id *id); /* all zero: NULL */
void postgres_add_text(struct postgres_parameters *parameters, const char *text, size_t bytes);
void postgres_add_int4(struct postgres_parameters *parameters, int32_t value);
void postgres_add_int8(struct postgres_parameters *parameters, int64_t value);
void postgres_add_bool(struct postgres_parameters *parameters, bool value);
/* Of a binary result. */
int32_t postgres_int4(const PGresult *result, int row, int column);
int64_t postgres_int8(const PGresult *result, int row, int column);

/* postgres-schema.c */
struct postgres_migration {
        const char *const *sql; /* NULL-ended */
};
must_check int postgres_migrate(struct postgres_store *p, const struct postgres_migration *migrations, int count);
must_check int postgres_schema(struct postgres_store *p);

/* postgres-commit.c */
must_check int postgres_prepare(struct postgres_store *p);
int postgres_commit(struct store *store, const uint64_t *epochs, const struct store_batch *batches, size_t count);

/* postgres-queue.c */
int postgres_claim(struct store *store, uint32_t queue, uint64_t *ret_epoch, char owner[256]);
int postgres_release(struct store *store, uint32_t queue);
int postgres_owned(struct store *store);
int postgres_owner(struct store *store, uint32_t queue, uint64_t *ret_epoch, char owner[256]);
/* On a new connection: the claims of the one before, as far as they still hold. */
must_check int postgres_resume_claims(struct postgres_store *p);

/* postgres-servers.c */
/* On a new connection: this server is there. */
must_check int postgres_enlist(struct postgres_store *p);
int postgres_survey(struct store *store, struct store_survey *ret_survey);
int postgres_changed(struct store *store, uint64_t *cursor, store_row_fn row, void *context);

/* postgres-list.c */
int postgres_list(struct store *store, const struct store_query *query, store_row_fn row, void *context);
int postgres_get(struct store *store, enum store_table table, const struct id *id, store_row_fn row, void *context);
int postgres_count(struct store *store, const struct store_query *query, uint64_t *ret_count);
int postgres_sweep(struct store *store, enum store_table table, int64_t now_ms, size_t limit, uint64_t *ret_count);
#define POSTGRES_COLUMNS "queue, id, account, state, kind, until_ms, text_key, status, spec"
void postgres_row_at(const PGresult *result, int at, enum store_table table, struct store_row *row);
/* Rows one by one, each result the callee's to clear. */
must_check int postgres_stream(struct postgres_store *p, const char *sql, const struct postgres_parameters *parameters,
                               int (*each)(void *context, PGresult *result), void *context);

/* postgres-backup.c */
int postgres_backup(struct store *store, const char *path, int (*progress)(void *context, double share), void *context);
