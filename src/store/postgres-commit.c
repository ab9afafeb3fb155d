/* postgres-commit.c: a group of batches as one transaction in one round trip: everything is sent at once (libpq's pipeline), then the answers are read.
 *
 * Statements that must find their row divide one by how many they found: none is an error on the server, and what follows, COMMIT too, does nothing.
 * What is acknowledged is the COMMIT's own answer.
 */
#include "store/postgres.h"

#include "base/error.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

enum statement { PUT, STATUS, REMOVE, STATEMENTS };

static const char *const names[STATEMENTS] = {"put", "status", "remove"};

static const char *const texts[STATEMENTS] = {
        [PUT] = "INSERT INTO %s (id, account, queue, state, ended, kind, until_ms, text_key, status, spec) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)"
                " ON CONFLICT (id) DO UPDATE SET account=$2, queue=$3, state=$4, ended=$5, kind=$6, until_ms=$7, text_key=$8,"
                " status=coalesce($9, %s.status), spec=$10",
        [STATUS] = "WITH changed AS (UPDATE %s SET state=$2, ended=$3, until_ms=$4, status=coalesce($5, status) WHERE id=$1 RETURNING 1)"
                   " SELECT 1/count(*) FROM changed",
        [REMOVE] = "DELETE FROM %s WHERE id=$1",
};

static const Oid types[STATEMENTS][POSTGRES_PARAMETERS] = {
        [PUT] = {POSTGRES_UUID, POSTGRES_UUID, POSTGRES_INT4, POSTGRES_INT4, POSTGRES_BOOL, POSTGRES_INT4, POSTGRES_INT8, POSTGRES_TEXT, POSTGRES_TEXT,
                 POSTGRES_TEXT},
        [STATUS] = {POSTGRES_UUID, POSTGRES_INT4, POSTGRES_BOOL, POSTGRES_INT8, POSTGRES_TEXT},
        [REMOVE] = {POSTGRES_UUID},
};
static const int type_counts[STATEMENTS] = {10, 5, 1};

/* Holds the queues' rows until the transaction's end: a claim, which changes the row, waits for us or we see its epoch. */
static const char hold_text[] = "WITH held AS (SELECT 1 FROM queue WHERE (queue, epoch) IN (SELECT * FROM unnest($1::int[], $2::bigint[])) FOR SHARE)"
                                " SELECT 1/(count(*) = cardinality($1))::int FROM held";

/* Numbers of changes go up in the order of commits, as the one row of change_count is held until the transaction's end. */
static const char count_text[] = "UPDATE change_count SET number = number + 1";
static const char changed_text[] = "INSERT INTO change SELECT number, $1, $2, $3 FROM change_count ON CONFLICT DO NOTHING";

static bool is_told(enum store_table table)
{
        return table == STORE_ACCOUNT || table == STORE_KEY || table == STORE_SESSION || table == STORE_SETTING || table == STORE_WORKER;
}

static void name_of(char name[40], enum store_table table, enum statement which)
{
        snprintf(name, 40, "%s_%s", names[which], store_table_name(table));
}

/* --- the pipeline --- */

/* Reads the answers to `count` commands and the sync behind them. The first error's number and which command it was. */
static int read_answers(struct postgres_store *p, size_t count, const char *doing, size_t *ret_wrong)
{
        int failed = 0;

        for (size_t i = 0; i <= count; i++) {
                PGresult *result;
                ExecStatusType status;
                int r = postgres_wait(p, doing);

                if (r)
                        return r;
                result = PQgetResult(p->connection);
                status = PQresultStatus(result); /* of NULL: fatal error */
                if (i == count) {
                        PQclear(result);
                        if (status != PGRES_PIPELINE_SYNC)
                                return postgres_broken(p, doing, "the server's answers are out of step");
                        break;
                }
                if (!failed && status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
                        failed = postgres_error(p, result, doing);
                        *ret_wrong = i;
                }
                PQclear(result);
                if (!p->connection)
                        return failed;
                r = postgres_wait(p, doing);
                if (r)
                        return r;
                result = PQgetResult(p->connection); /* the end of this command's */
                if (result) {
                        PQclear(result);
                        return postgres_broken(p, doing, "the server's answers are out of step");
                }
        }
        if (!PQexitPipelineMode(p->connection))
                return postgres_broken(p, doing, PQerrorMessage(p->connection));
        return failed;
}

int postgres_prepare(struct postgres_store *p)
{
        char sql[600], name[40];
        size_t sent = 0, wrong;
        bool ok = PQenterPipelineMode(p->connection) == 1;

        for (int table = 0; table < STORE_TABLES; table++)
                for (int which = 0; which < STATEMENTS && ok; which++, sent++) {
                        const char *of = store_table_name((enum store_table)table);

                        snprintf(sql, sizeof(sql), texts[which], of, of);
                        name_of(name, (enum store_table)table, (enum statement)which);
                        ok = PQsendPrepare(p->connection, name, sql, type_counts[which], types[which]);
                }
        if (ok)
                ok = PQsendPrepare(p->connection, "hold", hold_text, 0, NULL);
        ok = ok && PQsendPrepare(p->connection, "count", count_text, 0, NULL) &&
             PQsendPrepare(p->connection, "changed", changed_text, 3, (const Oid[]){POSTGRES_INT4, POSTGRES_UUID, POSTGRES_INT8});
        sent += 2;
        if (!ok || !PQpipelineSync(p->connection))
                return postgres_broken(p, "preparing", PQerrorMessage(p->connection));
        return read_answers(p, sent + 1, "preparing", &wrong);
}

/* --- a commit --- */

/* One-dimensional arrays of int4 and int8, as PostgreSQL sends and receives them. */
struct array {
        char bytes[20 + STORE_QUEUES * 12];
        int length;
};

static void put32(struct array *a, uint32_t value)
{
        value = htobe32(value);
        memcpy(a->bytes + a->length, &value, 4);
        a->length += 4;
}

static void begin_array(struct array *a, Oid type, uint32_t count)
{
        a->length = 0;
        put32(a, 1); /* dimensions */
        put32(a, 0); /* no NULLs */
        put32(a, type);
        put32(a, count);
        put32(a, 1); /* counted from */
}

static bool send_hold(struct postgres_store *p, uint32_t queues, const uint64_t *epochs)
{
        uint32_t count = (uint32_t)__builtin_popcount(queues);
        struct array q, e;
        const char *values[2] = {q.bytes, e.bytes};
        int lengths[2], formats[2] = {1, 1};

        begin_array(&q, POSTGRES_INT4, count);
        begin_array(&e, POSTGRES_INT8, count);
        for (uint32_t i = 0; i < STORE_QUEUES; i++) {
                if (!(queues & 1u << i))
                        continue;
                put32(&q, 4);
                put32(&q, i);
                put32(&e, 8);
                put32(&e, (uint32_t)(epochs[i] >> 32));
                put32(&e, (uint32_t)epochs[i]);
        }
        lengths[0] = q.length;
        lengths[1] = e.length;
        return PQsendQueryPrepared(p->connection, "hold", 2, values, lengths, formats, 1);
}

static bool send_change(struct postgres_store *p, const struct store_change *change)
{
        const struct store_row *row = &change->row;
        enum statement which = change->kind == STORE_DELETE ? REMOVE : row->spec ? PUT : STATUS;
        bool ended = row->table == STORE_TASK && row->state >= STORE_TASK_ENDED;
        struct postgres_parameters q = {0};
        char name[40];

        postgres_add_id(&q, &row->id);
        if (which == PUT) {
                postgres_add_id(&q, &row->account);
                postgres_add_int4(&q, (int32_t)row->queue);
        }
        if (which != REMOVE) {
                postgres_add_int4(&q, (int32_t)row->state);
                postgres_add_bool(&q, ended);
        }
        if (which == PUT)
                postgres_add_int4(&q, (int32_t)row->kind);
        if (which != REMOVE)
                postgres_add_int8(&q, row->until_ms);
        if (which == PUT)
                postgres_add_text(&q, row->text_key, row->text_key ? strlen(row->text_key) : 0);
        if (which != REMOVE)
                postgres_add_text(&q, row->status, row->status_bytes);
        if (which == PUT)
                postgres_add_text(&q, row->spec, row->spec_bytes);
        name_of(name, row->table, which);
        return PQsendQueryPrepared(p->connection, name, q.count, q.values, q.lengths, q.formats, 1);
}

static bool send_told(struct postgres_store *p, const struct store_row *row)
{
        struct postgres_parameters q = {0};

        postgres_add_int4(&q, (int32_t)row->table);
        postgres_add_id(&q, &row->id);
        postgres_add_int8(&q, (int64_t)p->life);
        return PQsendQueryPrepared(p->connection, "changed", q.count, q.values, q.lengths, q.formats, 1);
}

static bool any_told(const struct store_batch *batches, size_t count)
{
        for (size_t b = 0; b < count; b++)
                for (size_t c = 0; c < batches[b].count; c++)
                        if (is_told(batches[b].changes[c].row.table))
                                return true;
        return false;
}

static bool send_text(struct postgres_store *p, const char *sql)
{
        return PQsendQueryParams(p->connection, sql, 0, NULL, NULL, NULL, NULL, 0);
}

int postgres_commit(struct store *store, const uint64_t *epochs, const struct store_batch *batches, size_t count)
{
        struct postgres_store *p = (struct postgres_store *)store;
        size_t sent = 0, wrong = 0;
        uint32_t queues;
        bool ok;
        int r = postgres_connected(p); /* first: claims may go over to a new connection, or be lost */

        if (!r)
                r = store_check_epochs(store, epochs, batches, count, &queues);
        if (r)
                return r;
        ok = PQenterPipelineMode(p->connection) && send_text(p, "BEGIN");
        sent++;
        if (queues) {
                ok = ok && send_hold(p, queues, epochs);
                sent++;
        }
        if (any_told(batches, count)) {
                ok = ok && PQsendQueryPrepared(p->connection, "count", 0, NULL, NULL, NULL, 1);
                sent++;
        }
        for (size_t b = 0; b < count; b++)
                for (size_t c = 0; c < batches[b].count; c++, sent++) {
                        const struct store_row *row = &batches[b].changes[c].row;

                        ok = ok && send_change(p, &batches[b].changes[c]);
                        if (is_told(row->table)) {
                                ok = ok && send_told(p, row);
                                sent++;
                        }
                }
        ok = ok && send_text(p, "COMMIT") && PQpipelineSync(p->connection);
        sent++;
        if (!ok)
                return postgres_broken(p, "committing", PQerrorMessage(p->connection));
        r = read_answers(p, sent, "committing", &wrong);
        if (!r)
                return 0;
        if (p->connection) { /* an error of a statement: the transaction still stands, failed */
                char problem[STORE_MESSAGE];
                int undone;

                memcpy(problem, p->store.problem, sizeof(problem));
                undone = postgres_run(p, "ROLLBACK", "rolling back");
                memcpy(p->store.problem, problem, sizeof(problem));
                if (undone)
                        return r;
        }
        if (r == -ENOENT && queues && wrong == 1)
                return store_fail(store, -ESTALE, "another server has a queue of these changes now");
        if (r == -ENOENT)
                return store_fail(store, r, "a status for a row that is not stored");
        return r;
}
