/* sqlite-commit.c: commits of the SQLite body: looked at against all that was committed before, written into the log, and then known to sqlite-fold.c. After the log has it
 * nothing can fail any more.
 */
#include "store/sqlite-fold.h"

#include "base/clock.h"
#include "base/error.h"

#include <stdio.h>
#include <string.h>

/* --- looking --- */

static const struct recent_row *newest(const struct sqlite_fold *f, enum store_table table, const struct id *id)
{
        const struct recent_row *r = recent_row_find(&f->staged, table, id);

        if (!r)
                r = recent_row_find(&f->young->recent, table, id);
        return r ? r : recent_row_find(&f->old->recent, table, id);
}

/* 0, -ENOENT. */
static int must_exist(struct sqlite_store *s, const struct store_row *row)
{
        const struct recent_row *r = newest(s->fold, row->table, &row->id);
        sqlite3_stmt *statement;
        int code, e;

        if (!r) {
                e = sqlite_statement(s, row->table, SQLITE_EXISTS, &statement);
                if (e)
                        return e;
                sqlite3_bind_blob(statement, 1, row->id.bytes, sizeof(row->id.bytes), SQLITE_STATIC);
                code = sqlite3_step(statement);
                e = code == SQLITE_ROW || code == SQLITE_DONE ? 0 : sqlite_error(s, code, "looking for a row");
                sqlite3_reset(statement);
                if (e || code == SQLITE_ROW)
                        return e;
        }
        return r && !r->gone ? 0 : store_fail(&s->store, -ENOENT, "a status for a %s that is not stored", store_table_name(row->table));
}

/* That a row which once had the key has it still. */
static bool holds(const struct sqlite_fold *f, const struct store_row *row, const struct id *candidate)
{
        const struct recent_row *now;

        if (id_equal(&row->id, candidate))
                return false;
        now = newest(f, row->table, candidate);
        return !now || (!now->gone && (!now->full || (now->row.text_key && !strcmp(now->row.text_key, row->text_key))));
}

/* 0, -EEXIST. */
static int must_be_free(struct sqlite_store *s, const struct store_row *row)
{
        struct sqlite_fold *f = s->fold;
        const struct recent *const layers[] = {&f->staged, &f->young->recent, &f->old->recent};
        bool taken = false;
        sqlite3_stmt *statement;
        struct id holder;
        int code, r;

        for (size_t i = 0; i < ARRAY_SIZE(layers) && !taken; i++) {
                const struct recent_row *one = recent_row_find_key(layers[i], row->table, row->text_key);

                taken = one && holds(f, row, &one->id);
        }
        if (!taken) {
                r = sqlite_statement(s, row->table, SQLITE_HOLDER, &statement);
                if (r)
                        return r;
                sqlite3_bind_text(statement, 1, row->text_key, -1, SQLITE_STATIC);
                code = sqlite3_step(statement);
                if (code == SQLITE_ROW && sqlite3_column_bytes(statement, 0) == sizeof(holder.bytes)) {
                        memcpy(holder.bytes, sqlite3_column_blob(statement, 0), sizeof(holder.bytes));
                        taken = holds(f, row, &holder);
                }
                r = code == SQLITE_ROW || code == SQLITE_DONE ? 0 : sqlite_error(s, code, "looking for a key");
                sqlite3_reset(statement);
                if (r)
                        return r;
        }
        return taken ? store_fail(&s->store, -EEXIST, "another %s has this key", store_table_name(row->table)) : 0;
}

/* Whether the database could take it. Under lock. */
static int look(struct sqlite_store *s, const struct redo_record *record)
{
        struct sqlite_fold *f = s->fold;
        struct store_change change;
        size_t at = 0, used = 0;
        int r = 0;

        while (!r && !redo_record_next(record, &at, &change)) {
                if (change.kind == STORE_PUT && !change.row.spec)
                        r = must_exist(s, &change.row);
                else if (change.kind == STORE_PUT && change.row.text_key)
                        r = must_be_free(s, &change.row);
                used += recent_row_add(&f->staged, &change, &f->staged_rows[used]);
        }
        recent_rows_clear(&f->staged);
        return r;
}

/* --- committing --- */

/* By itself, in a transaction of the connection's. */
static int commit_directly(struct sqlite_store *w, const struct store_batch *batches, size_t count)
{
        int r = sqlite_run(w, "BEGIN IMMEDIATE");

        for (size_t b = 0; b < count && !r; b++)
                for (size_t c = 0; c < batches[b].count && !r; c++)
                        r = sqlite_change_row(w, &batches[b].changes[c]);
        return r ? r : sqlite_run(w, "COMMIT");
}

static int say(struct sqlite_store *s, int r)
{
        return r == -ENOSPC ? store_fail(&s->store, r, "writing the log of commits: no room on the disk of %.200s", s->path)
                            : store_fail(&s->store, r, "writing the log of commits %.200s" REDO_PATH_SUFFIX ": %s", s->path, error_text(r));
}

/* Into the log; then it is durable. */
static int append(struct sqlite_store *s, struct redo_record *record)
{
        struct sqlite_fold *f = s->fold;
        char *path scoped_free = NULL;
        int r = 0;

        if (!f->redo) {
                if (asprintf(&path, "%s" REDO_PATH_SUFFIX, s->path) < 0)
                        return -ENOMEM;
                r = redo_make(path, f->identity, &f->redo);
                if (r)
                        return say(s, r);
                redo_restart(f->redo, f->number);
        }
        for (int i = 0; i < 2; i++) {
                pthread_mutex_lock(&f->lock);
                redo_forget(f->redo, f->forgotten);
                pthread_mutex_unlock(&f->lock);
                r = redo_append(f->redo, record);
                if (r != -EAGAIN)
                        return r ? say(s, r) : 0;
                /* The log's other half is not in the database yet: it can't wait any longer. */
                pthread_mutex_lock(&f->lock);
                f->full = true;
                pthread_mutex_unlock(&f->lock);
                r = sqlite_fold_all(f, s->store.problem);
                if (r)
                        return r;
        }
        return store_fail(&s->store, -EIO, "the log of commits is full");
}

/* What the log has, known to others. */
static void join(struct sqlite_fold *f, struct sqlite_commit *one)
{
        struct sqlite_generation *g;
        struct store_change change;
        size_t at = 0, used = 0;
        bool wake;

        pthread_mutex_lock(&f->lock);
        g = f->young;
        while (!redo_record_next(one->record, &at, &change))
                used += recent_row_add(&g->recent, &change, &one->rows[used]);
        wake = !g->first || (g->bytes < SQLITE_FOLD_BYTES && g->bytes + one->record->bytes >= SQLITE_FOLD_BYTES);
        if (!g->first)
                f->oldest_ns = clock_now_ns();
        *g->last = one;
        g->last = &one->next;
        g->bytes += one->record->bytes;
        g->number = f->number = one->record->number;
        if (redo_waits(f->redo) && !f->full)
                f->full = wake = true;
        if (wake)
                pthread_cond_signal(&f->work);
        pthread_mutex_unlock(&f->lock);
}

static int reserve(struct sqlite_fold *f, size_t rows)
{
        struct recent_row *more;

        if (rows <= f->staged_size)
                return 0;
        more = realloc(f->staged_rows, 2 * rows * sizeof(*more));
        if (!more)
                return -ENOMEM;
        f->staged_rows = more;
        f->staged_size = 2 * rows;
        return 0;
}

static int commit_large(struct sqlite_store *s, const struct store_batch *batches, size_t count)
{
        struct sqlite_store *w;
        int r = sqlite_write_begin(s, &w);

        if (r)
                return r;
        r = commit_directly(w, batches, count);
        sqlite_write_end(s);
        return r;
}

int sqlite_commit(struct store *store, const uint64_t *epochs, const struct store_batch *batches, size_t count)
{
        struct sqlite_store *s = (struct sqlite_store *)store;
        struct sqlite_fold *f = s->fold;
        struct redo_record *record scoped_free = NULL;
        struct sqlite_commit *one;
        uint32_t queues;
        bool stuck;
        int r = store_check_epochs(store, epochs, batches, count, &queues);

        if (r || !f)
                return r ? r : commit_directly(s, batches, count);
        record = redo_record_new(batches, count);
        if (!record)
                return -ENOMEM;
        if (!record->changes)
                return 0;
        if (!redo_fits(record))
                return commit_large(s, batches, count);
        /* What the database does not take, the log must not go on taking. */
        pthread_mutex_lock(&f->lock);
        stuck = f->error;
        pthread_mutex_unlock(&f->lock);
        r = stuck ? sqlite_fold_all(f, store->problem) : 0;
        if (r)
                return r;
        one = reserve(f, record->changes) ? NULL : malloc(sizeof(*one) + record->changes * sizeof(one->rows[0]));
        if (!one)
                return -ENOMEM;
        pthread_mutex_lock(&f->lock);
        r = look(s, record);
        pthread_mutex_unlock(&f->lock);
        if (!r)
                r = append(s, record);
        if (r) {
                free(one);
                return r;
        }
        one->next = NULL;
        one->record = take(record);
        join(f, one);
        return 0;
}
