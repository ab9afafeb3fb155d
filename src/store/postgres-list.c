/* postgres-list.c: the PostgreSQL body's reading side: lists (row by row, never all in memory), counts, single rows, sweeping. */
#include "store/postgres.h"

#include "base/error.h"
#include "base/strbuf.h"

#include <string.h>

static void id_at(const PGresult *result, int at, int column, struct id *id)
{
        *id = (struct id){{0}};
        if (PQgetlength(result, at, column) == sizeof(id->bytes))
                memcpy(id->bytes, PQgetvalue(result, at, column), sizeof(id->bytes));
}

static const char *text_at(const PGresult *result, int at, int column, size_t *ret_bytes)
{
        bool none = PQgetisnull(result, at, column);

        *ret_bytes = none ? 0 : (size_t)PQgetlength(result, at, column);
        return none ? NULL : PQgetvalue(result, at, column);
}

void postgres_row_at(const PGresult *result, int at, enum store_table table, struct store_row *row)
{
        size_t key_bytes;

        *row = (struct store_row){
                .table = table,
                .queue = (uint32_t)postgres_int4(result, at, 0),
                .state = (uint32_t)postgres_int4(result, at, 3),
                .kind = (uint32_t)postgres_int4(result, at, 4),
                .until_ms = postgres_int8(result, at, 5),
        };
        id_at(result, at, 1, &row->id);
        id_at(result, at, 2, &row->account);
        row->text_key = text_at(result, at, 6, &key_bytes);
        row->status = text_at(result, at, 7, &row->status_bytes);
        row->spec = text_at(result, at, 8, &row->spec_bytes);
}

/* --- streams --- */

/* Ends what the server still sends. */
static void cut_short(struct postgres_store *p)
{
        PGcancel *cancel = PQgetCancel(p->connection);
        char why[256];

        if (cancel) {
                (void)PQcancel(cancel, why, sizeof(why)); /* if it fails, the rest is read */
                PQfreeCancel(cancel);
        }
}

int postgres_stream(struct postgres_store *p, const char *sql, const struct postgres_parameters *q, int (*each)(void *context, PGresult *result), void *context)
{
        int ended = 0, failed = 0;

        if (!PQsendQueryParams(p->connection, sql, q->count, q->types, q->values, q->lengths, q->formats, 1) || !PQsetSingleRowMode(p->connection))
                return postgres_broken(p, "listing", PQerrorMessage(p->connection));
        for (;;) {
                PGresult *result;
                int r = postgres_wait(p, "listing");

                if (r)
                        return ended ? ended : r;
                result = PQgetResult(p->connection);
                if (!result)
                        return ended ? ended : failed;
                if (PQresultStatus(result) == PGRES_SINGLE_TUPLE && !ended) {
                        ended = each(context, result);
                        if (ended)
                                cut_short(p);
                        continue;
                }
                if (PQresultStatus(result) != PGRES_SINGLE_TUPLE && PQresultStatus(result) != PGRES_TUPLES_OK && !ended)
                        failed = postgres_error(p, result, "listing");
                PQclear(result);
                if (!p->connection)
                        return failed;
        }
}

/* --- queries --- */

static bool only_live(const struct store_query *query)
{
        if (query->table != STORE_TASK || !query->state_count)
                return false;
        for (size_t i = 0; i < query->state_count; i++)
                if (query->states[i] >= STORE_TASK_ENDED)
                        return false;
        return true;
}

static void add_conditions(struct strbuf *sql, struct postgres_parameters *q, const struct store_query *query)
{
        strbuf_add(sql, " WHERE true");
        if (only_live(query))
                strbuf_add(sql, " AND NOT ended");
        if (query->account) {
                postgres_add_id(q, query->account);
                strbuf_add(sql, id_is_none(query->account) ? " AND account IS NULL AND $%d IS NULL" : " AND account = $%d", q->count);
        }
        if (query->text_key) {
                postgres_add_text(q, query->text_key, strlen(query->text_key));
                strbuf_add(sql, " AND text_key = $%d", q->count);
        }
        if (!id_is_none(&query->after)) {
                postgres_add_id(q, &query->after);
                strbuf_add(sql, " AND id %s $%d", query->newest_first ? "<" : ">", q->count);
        }
        if (query->kind >= 0)
                strbuf_add(sql, " AND kind = %d", query->kind);
        if (query->queues)
                strbuf_add(sql, " AND (%u >> queue) & 1 = 1", query->queues & ((1u << STORE_QUEUES) - 1));
        if (query->state_count) {
                strbuf_add(sql, " AND state IN (");
                for (size_t i = 0; i < query->state_count; i++)
                        strbuf_add(sql, "%s%u", i ? "," : "", query->states[i]);
                strbuf_add(sql, ")");
        }
}

struct listing {
        enum store_table table;
        store_row_fn row;
        void *context;
};

static int list_row(void *context, PGresult *result)
{
        struct listing *l = context;
        struct store_row row;
        int r;

        postgres_row_at(result, 0, l->table, &row);
        r = l->row(l->context, &row);
        PQclear(result);
        return r;
}

int postgres_list(struct store *store, const struct store_query *query, store_row_fn row, void *context)
{
        struct postgres_store *p = (struct postgres_store *)store;
        struct listing l = {query->table, row, context};
        struct strbuf sql scoped(strbuf_done) = {0};
        struct postgres_parameters q = {0};
        int r = postgres_connected(p);

        if (r)
                return r;
        strbuf_add(&sql, "SELECT %s FROM %s", query->without_spec ? "queue, id, account, state, kind, until_ms, text_key, status, NULL::text" : POSTGRES_COLUMNS,
                   store_table_name(query->table));
        add_conditions(&sql, &q, query);
        strbuf_add(&sql, " ORDER BY id%s", query->newest_first ? " DESC" : "");
        if (query->limit)
                strbuf_add(&sql, " LIMIT %zu", query->limit);
        return sql.failed ? -ENOMEM : postgres_stream(p, sql.text, &q, list_row, &l);
}

int postgres_get(struct store *store, enum store_table table, const struct id *id, store_row_fn row, void *context)
{
        struct postgres_store *p = (struct postgres_store *)store;
        struct strbuf sql scoped(strbuf_done) = {0};
        struct postgres_parameters q = {0};
        struct store_row found;
        PGresult *result;
        int r = postgres_connected(p);

        if (r)
                return r;
        strbuf_add(&sql, "SELECT " POSTGRES_COLUMNS " FROM %s WHERE id = $1", store_table_name(table));
        postgres_add_id(&q, id);
        r = sql.failed ? -ENOMEM : postgres_query(p, sql.text, &q, "reading a row", &result);
        if (r)
                return r;
        if (PQntuples(result) == 1) {
                postgres_row_at(result, 0, table, &found);
                r = row(context, &found);
        } else {
                r = -ENOENT;
        }
        PQclear(result);
        return r;
}

int postgres_count(struct store *store, const struct store_query *query, uint64_t *ret_count)
{
        struct postgres_store *p = (struct postgres_store *)store;
        struct strbuf sql scoped(strbuf_done) = {0};
        struct postgres_parameters q = {0};
        PGresult *result;
        int r = postgres_connected(p);

        if (r)
                return r;
        strbuf_add(&sql, query->limit ? "SELECT count(*) FROM (SELECT 1 FROM %s" : "SELECT count(*) FROM %s", store_table_name(query->table));
        add_conditions(&sql, &q, query);
        if (query->limit)
                strbuf_add(&sql, " LIMIT %zu) AS bounded", query->limit);
        r = sql.failed ? -ENOMEM : postgres_query(p, sql.text, &q, "counting", &result);
        if (r)
                return r;
        *ret_count = (uint64_t)postgres_int8(result, 0, 0);
        PQclear(result);
        return 0;
}

/* --- sweeping --- */

int postgres_sweep(struct store *store, enum store_table table, int64_t now_ms, size_t limit, uint64_t *ret_count)
{
        struct postgres_store *p = (struct postgres_store *)store;
        const char *name = store_table_name(table);
        struct strbuf sql scoped(strbuf_done) = {0};
        struct postgres_parameters q = {0};
        uint32_t queues = table == STORE_TASK ? 0 : 1;
        PGresult *result;
        int r = postgres_connected(p);

        if (r)
                return r;
        for (uint32_t i = 0; i < STORE_QUEUES && table == STORE_TASK; i++)
                queues |= store->claimed[i] ? 1u << i : 0;
        strbuf_add(&sql,
                   "WITH past AS (SELECT id FROM %s WHERE until_ms > 0 AND until_ms <= $1 AND (%u >> queue) & 1 = 1 ORDER BY until_ms, id LIMIT $2),"
                   " gone AS (DELETE FROM %s WHERE id = ANY (ARRAY(SELECT id FROM past)) RETURNING 1) SELECT count(*) FROM gone",
                   name, queues, name);
        postgres_add_int8(&q, now_ms);
        postgres_add_int8(&q, limit ? (int64_t)limit : INT64_MAX);
        r = sql.failed ? -ENOMEM : postgres_query(p, sql.text, &q, "sweeping", &result);
        if (r)
                return r;
        *ret_count = (uint64_t)postgres_int8(result, 0, 0);
        PQclear(result);
        return 0;
}
