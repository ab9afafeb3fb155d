/* sqlite-schema.c: the tables, by version. A new version is a new list at the end of `migrations`; lists that were released never change.
 *
 * The version stands in the file's user_version, which SQLite keeps with the transaction: a migration is there wholly or not at all.
 */
#include "store/sqlite.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

#define APPLICATION 0x42727468 /* "Brth": tells file(1), and us that it is not somebody else's database */

#define TABLE(name)                                                                                                                             \
        "CREATE TABLE " name " (id BLOB NOT NULL PRIMARY KEY, account BLOB, queue INTEGER NOT NULL, state INTEGER NOT NULL, ended INTEGER NOT NULL,"   \
        " kind INTEGER NOT NULL, until_ms INTEGER NOT NULL, text_key TEXT, status TEXT, spec TEXT) STRICT, WITHOUT ROWID",                       \
                "CREATE TABLE " name "_spec (id BLOB NOT NULL PRIMARY KEY, spec TEXT NOT NULL) STRICT",                                        \
                "CREATE INDEX " name "_account ON " name " (account) WHERE account IS NOT NULL",                                                \
                "CREATE INDEX " name "_until ON " name " (until_ms) WHERE until_ms > 0",                                                        \
                "CREATE UNIQUE INDEX " name "_text_key ON " name " (text_key) WHERE text_key IS NOT NULL"

static const char *const version_1[] = {
        TABLE("task"),    TABLE("worker"), TABLE("account"), TABLE("key"),    TABLE("session"),
        TABLE("audit"),   TABLE("feed"),   TABLE("answer"),  TABLE("object"), TABLE("setting"),
        "CREATE INDEX task_live ON task (id) WHERE ended = 0",
        "CREATE TABLE queue (queue INTEGER NOT NULL PRIMARY KEY, epoch INTEGER NOT NULL, server TEXT NOT NULL, since_ms INTEGER NOT NULL) STRICT",
        NULL,
};

static const char *const version_2[] = {
        "CREATE TABLE redo (one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1), log BLOB NOT NULL, number INTEGER NOT NULL) STRICT",
        "INSERT INTO redo (one, log, number) VALUES (1, randomblob(16), 0)",
        NULL,
};

static const char *const version_3[] = {TABLE("usage"), NULL};

static const struct sqlite_migration migrations[] = {{version_1}, {version_2}, {version_3}};

static int number(struct sqlite_store *s, const char *sql, int *ret_number)
{
        sqlite3_stmt *statement;
        int code = sqlite3_prepare_v2(s->db, sql, -1, &statement, NULL);

        if (code == SQLITE_OK) {
                code = sqlite3_step(statement);
                if (code == SQLITE_ROW) {
                        *ret_number = sqlite3_column_int(statement, 0);
                        code = SQLITE_OK;
                }
                sqlite3_finalize(statement);
        }
        return code == SQLITE_OK ? 0 : sqlite_error(s, code, "reading the schema's version");
}

int sqlite_migrate(struct sqlite_store *s, const struct sqlite_migration *list, int count)
{
        int version, application, tables, r;
        char text[80];

        r = sqlite_run(s, s->store.read_only ? "BEGIN" : "BEGIN IMMEDIATE");
        if (!r)
                r = number(s, "PRAGMA user_version", &version);
        if (!r)
                r = number(s, "PRAGMA application_id", &application);
        if (!r)
                r = number(s, "SELECT count(*) FROM sqlite_schema", &tables);
        if (r)
                return r;
        if (application != APPLICATION && (application || version || tables)) {
                sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
                return store_fail(&s->store, -EBADMSG, "%.300s is a database, but not a pool's; name another file", s->path);
        }
        if (version > count) {
                sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
                return store_fail(&s->store, -E_VERSION, "%.300s was written by a newer Berth (its schema is %d, this Berth knows %d); start that one, or restore a backup",
                                  s->path, version, count);
        }
        if (version < count && s->store.read_only) {
                sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
                return store_fail(&s->store, -E_VERSION, "%.300s was written by an older Berth (schema %d, this one has %d); start the pool on it once", s->path,
                                  version, count);
        }
        for (int v = version; v < count; v++)
                for (const char *const *sql = list[v].sql; *sql; sql++) {
                        r = sqlite_run(s, *sql);
                        if (r)
                                return r;
                }
        if (version < count) {
                snprintf(text, sizeof(text), "PRAGMA user_version = %d; PRAGMA application_id = %d", count, APPLICATION);
                r = sqlite_run(s, text);
                if (r)
                        return r;
        }
        return sqlite_run(s, "COMMIT");
}

int sqlite_schema(struct sqlite_store *s)
{
        return sqlite_migrate(s, migrations, ARRAY_SIZE(migrations));
}
