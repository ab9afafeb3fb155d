/* postgres-backup.c: every table of one snapshot (one repeatable-read transaction) as a SQLite file that can be opened as a store. */
#include "store/postgres.h"

#include "base/error.h"
#include "store/sqlite.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ROWS_A_BATCH 256

/* Rows gathered, with the results that hold their texts. */
struct gathering {
        struct postgres_store *from;
        struct store *to;
        enum store_table table;
        size_t count;
        uint64_t done, all;
        int (*progress)(void *context, double share);
        void *context;
        PGresult *results[ROWS_A_BATCH];
        struct store_change changes[ROWS_A_BATCH];
};

static int write_rows(struct gathering *g)
{
        int r = store_commit(g->to, g->to->claimed, &(struct store_batch){g->changes, g->count}, 1);

        if (r)
                store_fail(&g->from->store, r, "writing the backup: %s", store_problem(g->to));
        g->done += g->count;
        for (size_t i = 0; i < g->count; i++)
                PQclear(g->results[i]);
        g->count = 0;
        if (!r && g->progress)
                r = g->progress(g->context, g->all && g->done < g->all ? (double)g->done / (double)g->all : 1);
        return r;
}

static int gather(void *context, PGresult *result)
{
        struct gathering *g = context;

        g->changes[g->count] = (struct store_change){.kind = STORE_PUT};
        postgres_row_at(result, 0, g->table, &g->changes[g->count].row);
        g->results[g->count++] = result;
        return g->count == ROWS_A_BATCH ? write_rows(g) : 0;
}

static int copy_table(struct gathering *g)
{
        static const struct postgres_parameters none;
        char sql[200];
        int r;

        snprintf(sql, sizeof(sql), "SELECT " POSTGRES_COLUMNS " FROM %s ORDER BY id", store_table_name(g->table));
        r = postgres_stream(g->from, sql, &none, gather, g);
        if (!r && g->count)
                r = write_rows(g);
        for (size_t i = 0; i < g->count; i++)
                PQclear(g->results[i]);
        g->count = 0;
        return r;
}

static int copy_queues(struct gathering *g)
{
        PGresult *result;
        int r = postgres_query(g->from, "SELECT queue, epoch, server FROM queue", NULL, "reading the queues", &result);

        if (r)
                return r;
        r = sqlite_import(g->to);
        for (int i = 0; i < PQntuples(result) && !r; i++)
                r = sqlite_import_queue(g->to, (uint32_t)postgres_int4(result, i, 0), (uint64_t)postgres_int8(result, i, 1), PQgetvalue(result, i, 2));
        if (r)
                store_fail(&g->from->store, r, "writing the backup: %s", store_problem(g->to));
        PQclear(result);
        return r;
}

static int count_all(struct gathering *g)
{
        for (int table = 0; table < STORE_TABLES; table++) {
                char sql[100];
                PGresult *result;
                int r;

                snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", store_table_name((enum store_table)table));
                r = postgres_query(g->from, sql, NULL, "counting", &result);
                if (r)
                        return r;
                g->all += (uint64_t)postgres_int8(result, 0, 0);
                PQclear(result);
        }
        return 0;
}

int postgres_backup(struct store *store, const char *path, int (*progress)(void *context, double share), void *context)
{
        struct postgres_store *p = (struct postgres_store *)store;
        struct gathering *g scoped_free = calloc(1, sizeof(*g));
        char message[STORE_MESSAGE];
        char *lock scoped_free = NULL;
        int r = postgres_connected(p);

        if (r)
                return r;
        if (!g || asprintf(&lock, "%s-lock", path) < 0)
                return -ENOMEM;
        r = sqlite_open(&(struct store_options){.url = path}, path, &g->to, message);
        if (r)
                return store_fail(store, r, "%s", message);
        g->from = p;
        g->progress = progress;
        g->context = context;
        r = postgres_run(p, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "beginning a backup");
        if (!r) {
                r = count_all(g);
                if (!r)
                        r = copy_queues(g);
                for (int table = 0; table < STORE_TABLES && !r; table++) {
                        g->table = (enum store_table)table;
                        r = copy_table(g);
                }
                if (p->connection) {
                        char problem[STORE_MESSAGE];

                        memcpy(problem, store->problem, sizeof(problem));
                        if (postgres_run(p, "ROLLBACK", "ending a backup") && !r)
                                r = -E_UNAVAILABLE;
                        else
                                memcpy(store->problem, problem, sizeof(problem));
                }
        }
        store_close(g->to);
        (void)unlink(lock);
        if (!r && progress && !g->all)
                r = progress(context, 1);
        return r;
}
