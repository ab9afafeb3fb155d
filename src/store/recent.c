/* recent.c: changes laid one over the other; see recent.h. */
#include "store/recent.h"

#include <string.h>

static void key_add(struct recent *recent, struct recent_row *r)
{
        struct recent_row *before;

        if (!r->row.text_key)
                return;
        /* Who had it in the meantime has given it up: the store lets two rows never have it at once. */
        before = recent_row_find_key(recent, r->row.table, r->row.text_key);
        if (before)
                HASH_DELETE(by_key, recent->keys[r->row.table], before);
        HASH_ADD_KEYPTR(by_key, recent->keys[r->row.table], r->row.text_key, strlen(r->row.text_key), r);
}

static void key_remove(struct recent *recent, struct recent_row *r)
{
        if (r->row.text_key && recent_row_find_key(recent, r->row.table, r->row.text_key) == r)
                HASH_DELETE(by_key, recent->keys[r->row.table], r);
}

bool recent_row_add(struct recent *recent, const struct store_change *change, struct recent_row *fresh)
{
        const struct store_row *row = &change->row;
        struct recent_row *r = recent_row_find(recent, row->table, &row->id);
        bool known = r != NULL;
        const char *status = NULL;
        size_t status_bytes = 0;

        if (!known) {
                *fresh = (struct recent_row){.id = row->id, .row = {.table = row->table, .queue = row->queue, .id = row->id}};
                r = fresh;
                HASH_ADD(by_id, recent->rows[row->table], id, sizeof(r->id), r);
                recent->count++;
        }
        if (change->kind == STORE_DELETE) {
                key_remove(recent, r);
                r->removed = r->gone = true;
                r->full = false;
                r->row = (struct store_row){.table = row->table, .queue = row->queue, .id = row->id};
        } else if (row->spec) {
                if (!r->gone) {
                        status = r->row.status;
                        status_bytes = r->row.status_bytes;
                }
                key_remove(recent, r);
                r->row = *row;
                if (!row->status) {
                        r->row.status = status;
                        r->row.status_bytes = status_bytes;
                }
                r->full = true;
                r->gone = false;
                key_add(recent, r);
        } else {
                r->row.state = row->state;
                r->row.until_ms = row->until_ms;
                if (row->status) {
                        r->row.status = row->status;
                        r->row.status_bytes = row->status_bytes;
                }
        }
        return !known;
}

struct recent_row *recent_row_find(const struct recent *recent, enum store_table table, const struct id *id)
{
        struct recent_row *r;

        HASH_FIND(by_id, recent->rows[table], id, sizeof(*id), r);
        return r;
}

struct recent_row *recent_row_find_key(const struct recent *recent, enum store_table table, const char *text_key)
{
        struct recent_row *r;

        HASH_FIND(by_key, recent->keys[table], text_key, strlen(text_key), r);
        return r;
}

void recent_rows_clear(struct recent *recent)
{
        for (int t = 0; t < STORE_TABLES; t++) {
                HASH_CLEAR(by_key, recent->keys[t]);
                HASH_CLEAR(by_id, recent->rows[t]);
        }
        recent->count = 0;
}
