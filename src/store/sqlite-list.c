/* sqlite-list.c: the SQLite body's reading side: lists, counts, single rows, sweeping. Statements of lists are made to measure; texts come straight
 * from SQLite's page cache, valid during the callback.
 */
#include "store/sqlite.h"

#include "base/strbuf.h"

#include <string.h>

static const char *text_at(sqlite3_stmt *statement, int column, size_t *ret_bytes)
{
        const char *text = (const char *)sqlite3_column_text(statement, column);

        *ret_bytes = text ? (size_t)sqlite3_column_bytes(statement, column) : 0;
        return text;
}

static void id_at(sqlite3_stmt *statement, int column, struct id *id)
{
        const void *blob = sqlite3_column_blob(statement, column);

        *id = (struct id){{0}};
        if (blob && sqlite3_column_bytes(statement, column) == sizeof(id->bytes))
                memcpy(id->bytes, blob, sizeof(id->bytes));
}

/* Columns as both SELECTs have them: queue, id, account, state, kind, until_ms, text_key, status, spec. */
static void row_at(sqlite3_stmt *statement, enum store_table table, struct store_row *row)
{
        size_t key_bytes;

        *row = (struct store_row){
                .table = table,
                .queue = (uint32_t)sqlite3_column_int(statement, 0),
                .state = (uint32_t)sqlite3_column_int(statement, 3),
                .kind = (uint32_t)sqlite3_column_int(statement, 4),
                .until_ms = sqlite3_column_int64(statement, 5),
        };
        id_at(statement, 1, &row->id);
        id_at(statement, 2, &row->account);
        row->text_key = text_at(statement, 6, &key_bytes);
        row->status = text_at(statement, 7, &row->status_bytes);
        row->spec = text_at(statement, 8, &row->spec_bytes);
}

/* All of a task's states asked for are live ones: then the small index of these is enough. */
static bool only_live(const struct store_query *query)
{
        if (query->table != STORE_TASK || !query->state_count)
                return false;
        for (size_t i = 0; i < query->state_count; i++)
                if (query->states[i] >= STORE_TASK_ENDED)
                        return false;
        return true;
}

/* " WHERE …" for the query; the parameters are bound by bind_query. */
static void add_conditions(struct strbuf *sql, const struct store_query *query)
{
        strbuf_add(sql, " WHERE 1");
        if (only_live(query))
                strbuf_add(sql, " AND ended=0");
        if (query->account)
                strbuf_add(sql, " AND account=?1");
        if (query->text_key)
                strbuf_add(sql, " AND text_key=?2");
        if (!id_is_none(&query->after))
                strbuf_add(sql, " AND id%s?3", query->newest_first ? "<" : ">");
        if (query->kind >= 0)
                strbuf_add(sql, " AND kind=%d", query->kind);
        if (query->queues)
                strbuf_add(sql, " AND (%u>>queue)&1", query->queues);
        if (query->state_count) {
                strbuf_add(sql, " AND state IN (");
                for (size_t i = 0; i < query->state_count; i++)
                        strbuf_add(sql, "%s%u", i ? "," : "", query->states[i]);
                strbuf_add(sql, ")");
        }
}

static int prepare(struct sqlite_store *s, struct strbuf *sql, const struct store_query *query, sqlite3_stmt **ret_statement)
{
        sqlite3_stmt *statement;
        int code;

        if (sql->failed)
                return -ENOMEM;
        code = sqlite3_prepare_v2(s->db, sql->text, -1, &statement, NULL);
        if (code != SQLITE_OK)
                return sqlite_error(s, code, "preparing a list");
        if (query->account)
                sqlite3_bind_blob(statement, 1, query->account->bytes, sizeof(query->account->bytes), SQLITE_STATIC);
        if (query->text_key)
                sqlite3_bind_text(statement, 2, query->text_key, -1, SQLITE_STATIC);
        if (!id_is_none(&query->after))
                sqlite3_bind_blob(statement, 3, query->after.bytes, sizeof(query->after.bytes), SQLITE_STATIC);
        *ret_statement = statement;
        return 0;
}

int sqlite_list(struct store *store, const struct store_query *query, store_row_fn row, void *context)
{
        struct sqlite_store *s = (struct sqlite_store *)store;
        const char *name = store_table_name(query->table);
        struct strbuf sql scoped(strbuf_done) = {0};
        sqlite3_stmt *statement;
        int code, r = sqlite_fold_read(s, query->table, NULL);

        if (r)
                return r;
        strbuf_add(&sql, "SELECT queue, id, account, state, kind, until_ms, text_key, status, ");
        if (query->without_spec)
                strbuf_add(&sql, "NULL FROM %s", name);
        else
                strbuf_add(&sql, "coalesce(spec, (SELECT x.spec FROM %s_spec x WHERE x.id=%s.id)) FROM %s", name, name, name);
        add_conditions(&sql, query);
        strbuf_add(&sql, " ORDER BY id%s", query->newest_first ? " DESC" : "");
        if (query->limit)
                strbuf_add(&sql, " LIMIT %zu", query->limit);
        r = prepare(s, &sql, query, &statement);
        if (r)
                return r;
        while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
                struct store_row found;

                row_at(statement, query->table, &found);
                if (query->without_spec)
                        found.spec = NULL;
                r = row(context, &found);
                if (r)
                        break;
        }
        if (!r && code != SQLITE_DONE)
                r = sqlite_error(s, code, "listing");
        sqlite3_finalize(statement);
        return r;
}

int sqlite_get(struct store *store, enum store_table table, const struct id *id, store_row_fn row, void *context)
{
        struct sqlite_store *s = (struct sqlite_store *)store;
        sqlite3_stmt *statement;
        struct store_row found;
        int code, r = sqlite_fold_read(s, table, id);

        if (!r)
                r = sqlite_statement(s, table, SQLITE_GET, &statement);
        if (r)
                return r;
        sqlite3_bind_blob(statement, 1, id->bytes, sizeof(id->bytes), SQLITE_STATIC);
        code = sqlite3_step(statement);
        if (code == SQLITE_ROW) {
                row_at(statement, table, &found);
                r = row(context, &found);
        } else {
                r = code == SQLITE_DONE ? -ENOENT : sqlite_error(s, code, "reading a row");
        }
        sqlite3_reset(statement);
        return r;
}

int sqlite_count(struct store *store, const struct store_query *query, uint64_t *ret_count)
{
        struct sqlite_store *s = (struct sqlite_store *)store;
        struct strbuf sql scoped(strbuf_done) = {0};
        sqlite3_stmt *statement;
        int code, r = sqlite_fold_read(s, query->table, NULL);

        if (r)
                return r;
        strbuf_add(&sql, query->limit ? "SELECT count(*) FROM (SELECT 1 FROM %s" : "SELECT count(*) FROM %s", store_table_name(query->table));
        add_conditions(&sql, query);
        if (query->limit)
                strbuf_add(&sql, " LIMIT %zu)", query->limit);
        r = prepare(s, &sql, query, &statement);
        if (r)
                return r;
        code = sqlite3_step(statement);
        if (code == SQLITE_ROW)
                *ret_count = (uint64_t)sqlite3_column_int64(statement, 0);
        else
                r = sqlite_error(s, code, "counting");
        sqlite3_finalize(statement);
        return r;
}

/* --- sweeping --- */

/* Statement with the bounds of a sweep bound. */
static int sweep_part(struct sqlite_store *s, const uint64_t *claimed, const char *format, enum store_table table, int64_t now_ms, size_t limit)
{
        const char *name = store_table_name(table);
        uint32_t queues = table == STORE_TASK ? 0 : 1;
        struct strbuf sql scoped(strbuf_done) = {0};
        sqlite3_stmt *statement;
        int code;

        for (uint32_t q = 0; q < STORE_QUEUES && table == STORE_TASK; q++)
                queues |= claimed[q] ? 1u << q : 0;
        strbuf_add(&sql, format, name);
        strbuf_add(&sql, " WHERE id IN (SELECT id FROM %s WHERE until_ms>0 AND until_ms<=?1 AND (%u>>queue)&1 ORDER BY until_ms, id LIMIT ?2)", name, queues);
        if (sql.failed)
                return -ENOMEM;
        code = sqlite3_prepare_v2(s->db, sql.text, -1, &statement, NULL);
        if (code == SQLITE_OK) {
                sqlite3_bind_int64(statement, 1, now_ms);
                sqlite3_bind_int64(statement, 2, limit ? (sqlite3_int64)limit : -1);
                code = sqlite3_step(statement);
                sqlite3_finalize(statement);
        }
        return code == SQLITE_DONE ? 0 : sqlite_error(s, code, "sweeping");
}

static int sweep_in(struct sqlite_store *s, const uint64_t *claimed, enum store_table table, int64_t now_ms, size_t limit, uint64_t *ret_count)
{
        int count = 0, r = sqlite_run(s, "BEGIN IMMEDIATE");

        if (!r)
                r = sweep_part(s, claimed, "DELETE FROM %s_spec", table, now_ms, limit);
        if (!r)
                r = sweep_part(s, claimed, "DELETE FROM %s", table, now_ms, limit);
        if (!r)
                count = sqlite3_changes(s->db);
        if (!r)
                r = sqlite_run(s, "COMMIT");
        if (!r)
                *ret_count = (uint64_t)count;
        return r;
}

int sqlite_sweep(struct store *store, enum store_table table, int64_t now_ms, size_t limit, uint64_t *ret_count)
{
        struct sqlite_store *s = (struct sqlite_store *)store, *writer;
        int r = sqlite_write_begin(s, &writer);

        if (r)
                return r;
        r = sweep_in(writer, store->claimed, table, now_ms, limit, ret_count);
        sqlite_write_end(s);
        return r;
}
