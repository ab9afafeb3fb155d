/* recent.h: rows that are in the log and not yet in the database: what is known of each, its changes laid one over the other, so that a row that changed five times is
 * written once. Pure; points into the records that the changes came with.
 */
#pragma once

#include "store/store.h"

#include <uthash.h>

/* A row and what became of it. `removed`: what the database has of it is to go first. `full`: row is all of it; else only state, until_ms and, where not NULL, status. */
struct recent_row {
        UT_hash_handle by_id, by_key;
        struct id id;
        bool removed, full, gone; /* gone: there is no such row now */
        struct store_row row;
};

struct recent {
        struct recent_row *rows[STORE_TABLES], *keys[STORE_TABLES];
        size_t count;
};

/* A change on top of those before. `fresh` is used for a row that is not known yet (then true is returned), and must live as long as this. */
bool recent_row_add(struct recent *recent, const struct store_change *change, struct recent_row *fresh);
struct recent_row *recent_row_find(const struct recent *recent, enum store_table table, const struct id *id);
/* Which row was said to have the key here, last. */
struct recent_row *recent_row_find_key(const struct recent *recent, enum store_table table, const char *text_key);
/* Forgets all; the rows are their owner's. */
void recent_rows_clear(struct recent *recent);
