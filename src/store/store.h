/* store.h: where the pool's state survives. One interface, two bodies: sqlite.c (one machine, no set-up) and postgres.c (several pool servers).
 *
 * The store is the durable copy of what the pool knows; the scheduler never queries it on its way. Everything is a row of one of a few tables, with
 * an id, the account it belongs to, a state and a time to list by, an immutable `spec` and a mutable `status` (both JSON text; the store does not
 * look inside). Changes are made in batches: a batch is in the store wholly or not at all, and store_commit returns 0 only when it will survive a
 * power cut (SQLite: WAL with synchronous=FULL; PostgreSQL: synchronous_commit=on). Ids are ordered by time (base/id.h), lists go by id.
 *
 * Ownership. Tasks belong to one of STORE_QUEUES queues (by hash of the account). A pool server writes only to queues that it claimed; a claim gives
 * an epoch, higher than any before. A batch that names a queue with an epoch that is not the current claim's is refused whole with
 * -ESTALE: who was replaced can't write any more. SQLite has one server, but keeps the same books: each start is a new epoch.
 *
 * A row has two halves. The immutable one is written when spec is given: account, queue, kind, text_key, spec. The mutable one is state, until_ms and
 * status: a put without spec changes these three (status NULL: two of them) and nothing else, so it costs little, however large the spec is.
 *
 * Threads. A struct store may be used by one thread at a time, and not from inside a row callback. Readers beside the writer open their own (store_open
 * again, read_only). One process writes to a SQLite file: a second one that opens it for writing gets -EBUSY.
 *
 * Errors. To be tried again, the same call: -ENOSPC (disk full), -E_UNAVAILABLE (the server is gone, or takes too long; the store reconnects by itself at
 * the next call), -EIO, -ENOMEM. Puts and deletes are by id, so twice is once. Of the batch itself, and nothing of the call was done: -EINVAL (a text that is not
 * UTF-8 or holds a zero byte, a number out of range), -E2BIG (above STORE_TEXT_MAX), -ENOENT (a put without spec of a row that isn't there), -EEXIST (another
 * row of the table has the text_key). Final: -ESTALE (see above), -EBADMSG (damaged: `berth backup` restores), -E_VERSION (made by a newer Berth), -EROFS
 * (opened read_only). store_problem has a sentence about the last one.
 */
#pragma once

#include "base/id.h"
#include "base/scope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_QUEUES 16
#define STORE_MESSAGE 512
#define STORE_TEXT_MAX (16u << 20) /* bytes of a spec or a status */
#define STORE_KEY_MAX 1024u        /* bytes of a text_key */
#define STORE_TASK_ENDED 5         /* states of STORE_TASK from here on have ended (pool/core.h): listing those below costs what there is of them */

enum store_table {
        STORE_TASK,     /* spec: what was submitted; status: attempts, result, times */
        STORE_WORKER,   /* spec: how it joined; status: drained, statistics */
        STORE_ACCOUNT,  /* spec: name; status: role, limits, password hash */
        STORE_KEY,      /* API keys; text_key: the keyed hash */
        STORE_SESSION,  /* refresh tokens' families */
        STORE_AUDIT,    /* who did what; append only */
        STORE_FEED,     /* last sequence of each source of pushed events; text_key: account and source */
        STORE_ANSWER,   /* idempotency keys and the answers given; text_key: account and key; until_ms: when it may go */
        STORE_OBJECT,   /* artifacts; text_key: sha256 in hex */
        STORE_SETTING,  /* secrets and marks of the pool itself; text_key: its name */
        STORE_USAGE,    /* tokens by day, account and model, of one start of a pool server each; until_ms: when it may go */
        STORE_TABLES
};

struct store_row {
        enum store_table table;
        uint32_t queue;        /* STORE_TASK: which; else 0 */
        struct id id;          /* primary key */
        struct id account;     /* whose; all zero: nobody's */
        uint32_t state;        /* meaning belongs to the table's owner; lists filter by it */
        uint32_t kind;         /* likewise (a task's type number) */
        int64_t until_ms;      /* unix ms when the row may be swept (store_sweep); 0: never */
        const char *text_key;  /* second, unique key within the table, or NULL */
        const char *spec;      /* JSON; NULL on a put: keep the immutable half (the row must exist) */
        const char *status;    /* JSON; NULL on a put: keep what is there, if anything */
        size_t spec_bytes, status_bytes;
};

enum store_change_kind { STORE_PUT, STORE_DELETE };

struct store_change {
        enum store_change_kind kind;
        struct store_row row; /* STORE_DELETE: table and id (and queue); a row that isn't there is no error */
};

struct store_batch {
        const struct store_change *changes;
        size_t count;
};

struct store;

struct store_options {
        const char *url;     /* "sqlite:PATH", or a libpq URL "postgresql://…"; a plain path is SQLite */
        bool read_only;
        const char *server;  /* this pool server's address for others, written beside its claims; may be NULL */
        const char *pin;     /* what others know its certificate by; may be NULL */
        uint32_t patience_ms; /* PostgreSQL: how long the server may say nothing before it counts as gone; 0: 15 s */
};

/* Opens and, unless read_only, creates and migrates in one transaction. message says what to do on failure. */
must_check int store_open(const struct store_options *options, struct store **ret_store, char message[STORE_MESSAGE]);
void store_close(struct store *store);
SCOPED_FN(struct store *, store_close)
/* Why the last call failed, for people, in one line; "" after one that did not. Never a password. */
const char *store_problem(const struct store *store);
/* "task" … "usage": the table's name in both stores. NULL: no such table. */
const char *store_table_name(enum store_table table);

/* All batches in one transaction, in order. epochs: of the queues, as claimed (an array of STORE_QUEUES), looked at for the queues of the STORE_TASK rows in
 * it (NULL: there are none). 0 only when durable. A failure leaves nothing of it; but when the connection breaks while the server answers
 * (-E_UNAVAILABLE), all of it may be there: commit it again. */
must_check int store_commit(struct store *store, const uint64_t *epochs, const struct store_batch *batches, size_t count);

/* For each row that matches, in order of id; the row is valid during the call only. A result other than 0 ends the listing and is returned. */
typedef int (*store_row_fn)(void *context, const struct store_row *row);

struct store_query {
        enum store_table table;
        const struct id *account;   /* NULL: all */
        const uint32_t *states;
        size_t state_count;         /* 0: all */
        int32_t kind;               /* -1: all */
        uint32_t queues;            /* bit set; 0: all */
        const char *text_key;       /* NULL: all */
        struct id after;            /* all zero: from the first */
        bool newest_first;          /* then after counts downwards */
        size_t limit;               /* 0: no bound */
        bool without_spec;          /* rows come with spec NULL */
};

must_check int store_list(struct store *store, const struct store_query *query, store_row_fn row, void *context);
/* One row by id. 0, -ENOENT. */
must_check int store_get(struct store *store, enum store_table table, const struct id *id, store_row_fn row, void *context);
/* How many rows; a query's limit and after count. */
must_check int store_count(struct store *store, const struct store_query *query, uint64_t *ret_count);

/* Takes the queue if nobody has it: 0 and its new epoch (the one it has, when it is ours already); -EBUSY: another server has it, whose address is in
 * owner. A claim ends with store_release, store_close, or (PostgreSQL) with the connection it was made on: store_owned tells. */
must_check int store_claim(struct store *store, uint32_t queue, uint64_t *ret_epoch, char owner[256]);
must_check int store_release(struct store *store, uint32_t queue);
/* 0 while this store's claims hold, also when they went over to a new connection; -ESTALE: at least one was lost (another server had the queue meanwhile),
 * until the next store_claim; -E_UNAVAILABLE: can't be told now. */
must_check int store_owned(struct store *store);
/* Who owns the queue and since which epoch, as last written. -ENOENT: nobody ever did. */
must_check int store_owner(struct store *store, uint32_t queue, uint64_t *ret_epoch, char owner[256]);

/* Who shares this store, in one round trip. Servers: those that opened it with a `server` address and whose connection stands, in order of address, each
 * address once. An entry ends with its connection, as claims do. SQLite: this one alone, if it has an address. */
#define STORE_SERVERS 64
struct store_survey {
        struct {
                char address[256], pin[100];
        } servers[STORE_SERVERS];
        size_t server_count;
        struct {
                bool claimed;        /* by anybody, now */
                char owner[256];     /* who claimed it last; "": nobody ever did, or it had no address */
        } queues[STORE_QUEUES];
};
must_check int store_survey(struct store *store, struct store_survey *ret_survey);

/* What other servers changed of accounts, keys, sessions, settings and workers since *cursor: each such row once, as it is now (a row that is gone: its table and id,
 * with spec and status NULL), then *cursor moves on. -ERANGE: *cursor was 0, or too much changed since: *cursor stands at now, and the tables are to be read
 * whole. A commit of this store's own is not told. */
must_check int store_changed(struct store *store, uint64_t *cursor, store_row_fn row, void *context);

/* Deletes rows of the table whose until_ms is past (0 < until_ms <= now_ms), at most limit (0: all of them), the oldest first. Of STORE_TASK only rows of queues
 * that this store has claimed. */
must_check int store_sweep(struct store *store, enum store_table table, int64_t now_ms, size_t limit, uint64_t *ret_count);

/* A consistent copy at path while others read and write (SQLite: online backup; PostgreSQL: every table as a SQLite file, from one snapshot: it
 * can be opened as a store). progress: 0 … 1; a result other than 0 ends it. path must not exist. */
must_check int store_backup(struct store *store, const char *path, int (*progress)(void *context, double share), void *context,
                            char message[STORE_MESSAGE]);

/* "sqlite" or "postgresql", and a line about it for people (version, file or host, size; never a password). */
const char *store_kind(const struct store *store);
must_check int store_about(struct store *store, char *text, size_t size);
