/* sqlite-rows.c: one row's change in the database, within a transaction that somebody else began. */
#include "store/sqlite.h"

#include "base/error.h"

#include <string.h>

int sqlite_step(struct sqlite_store *s, sqlite3_stmt *statement, const char *doing)
{
        int code = sqlite3_step(statement), r = 0;

        if (code != SQLITE_DONE && code != SQLITE_ROW)
                r = sqlite_error(s, code, doing);
        sqlite3_reset(statement);
        return r;
}

static void bind_text(sqlite3_stmt *statement, int at, const char *text, size_t bytes)
{
        if (text)
                sqlite3_bind_text(statement, at, text, (int)bytes, SQLITE_STATIC);
        else
                sqlite3_bind_null(statement, at);
}

static bool has_ended(const struct store_row *row)
{
        return row->table == STORE_TASK && row->state >= STORE_TASK_ENDED;
}

static int put_spec(struct sqlite_store *s, const struct store_row *row)
{
        sqlite3_stmt *statement;
        int r = sqlite_statement(s, row->table, SQLITE_SPEC_PUT, &statement);

        if (r)
                return r;
        sqlite3_bind_blob(statement, 1, row->id.bytes, sizeof(row->id.bytes), SQLITE_STATIC);
        bind_text(statement, 2, row->spec, row->spec_bytes);
        return sqlite_step(s, statement, "writing a spec");
}

int sqlite_put_row(struct sqlite_store *s, const struct store_row *row)
{
        bool apart = row->spec_bytes > SQLITE_INLINE;
        sqlite3_stmt *statement;
        int r = sqlite_statement(s, row->table, SQLITE_PUT, &statement);

        if (r)
                return r;
        sqlite3_bind_blob(statement, 1, row->id.bytes, sizeof(row->id.bytes), SQLITE_STATIC);
        if (id_is_none(&row->account))
                sqlite3_bind_null(statement, 2);
        else
                sqlite3_bind_blob(statement, 2, row->account.bytes, sizeof(row->account.bytes), SQLITE_STATIC);
        sqlite3_bind_int(statement, 3, (int)row->queue);
        sqlite3_bind_int(statement, 4, (int)row->state);
        sqlite3_bind_int(statement, 5, has_ended(row));
        sqlite3_bind_int(statement, 6, (int)row->kind);
        sqlite3_bind_int64(statement, 7, row->until_ms);
        bind_text(statement, 8, row->text_key, row->text_key ? strlen(row->text_key) : 0);
        bind_text(statement, 9, row->status, row->status_bytes);
        bind_text(statement, 10, apart ? NULL : row->spec, row->spec_bytes);
        r = sqlite_step(s, statement, "writing a row");
        return r || !apart ? r : put_spec(s, row);
}

int sqlite_put_status(struct sqlite_store *s, const struct store_row *row)
{
        /* First as if the row stayed live, which touches no index; a row that was or is to be ended takes the second way. */
        for (enum sqlite_statement which = has_ended(row) ? SQLITE_STATUS_MOVE : SQLITE_STATUS; which <= SQLITE_STATUS_MOVE; which++) {
                sqlite3_stmt *statement;
                int r = sqlite_statement(s, row->table, which, &statement);

                if (r)
                        return r;
                sqlite3_bind_blob(statement, 1, row->id.bytes, sizeof(row->id.bytes), SQLITE_STATIC);
                sqlite3_bind_int(statement, 2, (int)row->state);
                sqlite3_bind_int64(statement, 3, row->until_ms);
                bind_text(statement, 4, row->status, row->status_bytes);
                if (which == SQLITE_STATUS_MOVE)
                        sqlite3_bind_int(statement, 5, has_ended(row));
                r = sqlite_step(s, statement, "writing a status");
                if (r || sqlite3_changes(s->db))
                        return r;
        }
        store_fail(&s->store, -ENOENT, "a status for a %s that is not stored", store_table_name(row->table));
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
        return -ENOENT;
}

int sqlite_remove_row(struct sqlite_store *s, const struct store_row *row)
{
        sqlite3_stmt *statement;
        bool apart = false;
        int code, r = sqlite_statement(s, row->table, SQLITE_REMOVE, &statement);

        if (r)
                return r;
        sqlite3_bind_blob(statement, 1, row->id.bytes, sizeof(row->id.bytes), SQLITE_STATIC);
        code = sqlite3_step(statement);
        if (code == SQLITE_ROW) {
                apart = sqlite3_column_int(statement, 0);
                code = sqlite3_step(statement);
        }
        if (code != SQLITE_DONE)
                r = sqlite_error(s, code, "deleting a row");
        sqlite3_reset(statement);
        if (r || !apart)
                return r;
        r = sqlite_statement(s, row->table, SQLITE_SPEC_REMOVE, &statement);
        if (r)
                return r;
        sqlite3_bind_blob(statement, 1, row->id.bytes, sizeof(row->id.bytes), SQLITE_STATIC);
        return sqlite_step(s, statement, "deleting a spec");
}

int sqlite_change_row(struct sqlite_store *s, const struct store_change *change)
{
        return change->kind == STORE_DELETE ? sqlite_remove_row(s, &change->row) : change->row.spec ? sqlite_put_row(s, &change->row) : sqlite_put_status(s, &change->row);
}
