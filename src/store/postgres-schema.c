/* postgres-schema.c: the tables in PostgreSQL, by version; as sqlite-schema.c. Several pool servers may start at once: one migrates, the others wait.
 *
 * `ended` stands apart from state, so that going from queued to leased changes no indexed column and PostgreSQL can update the row within its page
 * (heap-only). Room for that is left in the pages, and dead rows are vacuumed early.
 */
#include "store/postgres.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

#define TABLE(name)                                                                                                                                   \
        "CREATE TABLE " name " (id uuid NOT NULL PRIMARY KEY, account uuid, queue int NOT NULL, state int NOT NULL, ended boolean NOT NULL,"                 \
        " kind int NOT NULL, until_ms bigint NOT NULL, text_key text COLLATE \"C\", status text COLLATE \"C\", spec text COLLATE \"C\")"                  \
        " WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,"         \
        " autovacuum_analyze_scale_factor = 0.05)",                                                                                                \
                "CREATE INDEX " name "_account ON " name " (account, id) WHERE account IS NOT NULL",                                                 \
                "CREATE INDEX " name "_until ON " name " (until_ms) WHERE until_ms > 0",                                                              \
                "CREATE UNIQUE INDEX " name "_text_key ON " name " (text_key) WHERE text_key IS NOT NULL"

static const char *const version_1[] = {
        TABLE("task"),    TABLE("worker"), TABLE("account"), TABLE("key"),    TABLE("session"),
        TABLE("audit"),   TABLE("feed"),   TABLE("answer"),  TABLE("object"), TABLE("setting"),
        "CREATE INDEX task_live ON task (id) WHERE NOT ended",
        "CREATE TABLE queue (queue int NOT NULL PRIMARY KEY, epoch bigint NOT NULL, server text NOT NULL, since_ms bigint NOT NULL)",
        NULL,
};

static const struct postgres_migration migrations[] = {{version_1}};

/* 0 with the version; 0 when there is no schema yet. */
static int find_version(struct postgres_store *p, int *ret_version)
{
        PGresult *result;
        /* From the catalogue itself: what a name means is remembered by the session, also that it meant nothing before another server made it. */
        int r = postgres_query(p,
                               "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                               " WHERE n.nspname = 'berth' AND c.relname = 'version')",
                               NULL, "reading the schema's version", &result);
        bool there;

        if (r)
                return r;
        there = PQntuples(result) == 1 && *PQgetvalue(result, 0, 0);
        PQclear(result);
        *ret_version = 0;
        if (!there)
                return 0;
        r = postgres_query(p, "SELECT version FROM berth.version", NULL, "reading the schema's version", &result);
        if (r)
                return r;
        *ret_version = PQntuples(result) == 1 ? postgres_int4(result, 0, 0) : 0;
        PQclear(result);
        return 0;
}

static int migrate(struct postgres_store *p, const struct postgres_migration *list, int from, int count)
{
        char sql[100];
        int r = 0;

        if (!from) {
                r = postgres_run(p, "CREATE SCHEMA IF NOT EXISTS berth", "making the schema");
                if (!r)
                        r = postgres_run(p, "CREATE TABLE berth.version (version int NOT NULL)", "making the schema");
                if (!r)
                        r = postgres_run(p, "INSERT INTO berth.version (version) VALUES (0)", "making the schema");
        }
        for (int v = from; v < count; v++)
                for (const char *const *at = list[v].sql; *at && !r; at++)
                        r = postgres_run(p, *at, "making the schema");
        if (r)
                return r;
        snprintf(sql, sizeof(sql), "UPDATE berth.version SET version = %d", count);
        return postgres_run(p, sql, "making the schema");
}

/* The version once nobody else migrates, then what is missing. */
static int migrate_alone(struct postgres_store *p, const struct postgres_migration *list, int count)
{
        char sql[100];
        int version, r;

        snprintf(sql, sizeof(sql), "SELECT pg_advisory_xact_lock(%d, %d)", POSTGRES_LOCK_CLASS, POSTGRES_LOCK_SCHEMA);
        r = postgres_run(p, sql, "waiting for another server to make the schema");
        if (!r)
                r = find_version(p, &version);
        return r || version >= count ? r : migrate(p, list, version, count);
}

int postgres_migrate(struct postgres_store *p, const struct postgres_migration *list, int count)
{
        int version, r = find_version(p, &version);

        if (!r && version > count)
                return store_fail(&p->store, -E_VERSION, "the database was written by a newer Berth (its schema is %d, this Berth knows %d); start that one, or restore a backup",
                                  version, count);
        if (r || version == count)
                return r;
        if (p->store.read_only)
                return store_fail(&p->store, -E_VERSION, "the database has %s; start the pool on it once",
                                  version ? "the schema of an older Berth" : "no tables of Berth's");
        r = postgres_run(p, "BEGIN", "making the schema");
        if (r)
                return r;
        r = migrate_alone(p, list, count);
        if (r) {
                char problem[STORE_MESSAGE];

                memcpy(problem, p->store.problem, sizeof(problem));
                if (p->connection && postgres_run(p, "ROLLBACK", "making the schema"))
                        return r;
                memcpy(p->store.problem, problem, sizeof(problem));
                return r;
        }
        return postgres_run(p, "COMMIT", "making the schema");
}

int postgres_schema(struct postgres_store *p)
{
        return postgres_migrate(p, migrations, ARRAY_SIZE(migrations));
}
