/* body.h: what a kind of store has to do; store.c checks arguments and calls it. Only the store's own sources include this.
 *
 * Calls come with arguments that are in range: tables, queues, ids, texts that are UTF-8 without zero bytes and within their limits, a table's read-only
 * flag respected. A body writes store->problem when it fails.
 */
#pragma once

#include "store/store.h"

struct store_body {
        const char *kind;
        void (*close)(struct store *store);
        int (*commit)(struct store *store, const uint64_t *epochs, const struct store_batch *batches, size_t count);
        int (*list)(struct store *store, const struct store_query *query, store_row_fn row, void *context);
        int (*get)(struct store *store, enum store_table table, const struct id *id, store_row_fn row, void *context);
        int (*count)(struct store *store, const struct store_query *query, uint64_t *ret_count);
        int (*claim)(struct store *store, uint32_t queue, uint64_t *ret_epoch, char owner[256]);
        int (*release)(struct store *store, uint32_t queue);
        int (*owned)(struct store *store);
        int (*owner)(struct store *store, uint32_t queue, uint64_t *ret_epoch, char owner[256]);
        int (*survey)(struct store *store, struct store_survey *ret_survey);                                   /* NULL: nobody shares it */
        int (*changed)(struct store *store, uint64_t *cursor, store_row_fn row, void *context);                /* likewise */
        int (*sweep)(struct store *store, enum store_table table, int64_t now_ms, size_t limit, uint64_t *ret_count);
        int (*backup)(struct store *store, const char *path, int (*progress)(void *context, double share), void *context);
        int (*about)(struct store *store, char *text, size_t size);
};

/* What both bodies begin with. */
struct store {
        const struct store_body *body;
        bool read_only;
        char server[256];
        uint64_t claimed[STORE_QUEUES]; /* epochs of this store's claims; 0: not ours */
        char problem[STORE_MESSAGE];
};

int sqlite_open(const struct store_options *options, const char *path, struct store **ret_store, char message[STORE_MESSAGE]);
int postgres_open(const struct store_options *options, struct store **ret_store, char message[STORE_MESSAGE]);

/* Says why, in store->problem; returns error. */
int store_fail(struct store *store, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The first task change whose queue's epoch is not this store's claim: -ESTALE with the problem said. What a body can tell without asking its server. */
must_check int store_check_epochs(struct store *store, const uint64_t *epochs, const struct store_batch *batches, size_t count, uint32_t *ret_queues);

/* A file for a backup: PATH.part while it is written, its name when it is whole and durable. */
must_check int store_backup_begin(const char *path, char part[4096], char message[STORE_MESSAGE]);
must_check int store_backup_end(const char *path, const char *part, char message[STORE_MESSAGE]);
