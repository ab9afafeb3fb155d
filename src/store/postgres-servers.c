/* postgres-servers.c: pool servers beside each other: who is there, who has which queue, and what the others changed.
 *
 * A server is there while it holds the advisory lock of its number, which ends with its connection as its claims do; so a server that died is out of the list in
 * the moment its queues are free. Rows of servers that are gone are removed by the next one that comes.
 *
 * Changes carry the number of their commit, which goes up in the order of commits (postgres-commit.c), so a reader that has seen a number has seen all below it.
 * The last CHANGES_KEPT numbers are kept; who is further behind reads the tables whole.
 */
#include "store/postgres.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

#define CHANGES_KEPT 10000
#define CHANGES_CUT 1000 /* what is older goes whenever so many more came */

/* The advisory locks of a class, of this database. */
#define LOCKS(class)                                                                                                                                    \
        "(SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND classid = " class                                       \
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
#define CLASS_QUEUES "1114797160"  /* POSTGRES_LOCK_CLASS */
#define CLASS_SERVERS "1114797161" /* POSTGRES_LOCK_SERVERS */
_Static_assert(POSTGRES_LOCK_CLASS == 1114797160 && POSTGRES_LOCK_SERVERS == 1114797161, "the same numbers in decimal");

/* A number that nobody had. */
static int take_number(struct postgres_store *p)
{
        PGresult *result;
        int r = postgres_query(p, "SELECT nextval(pg_get_serial_sequence('server', 'number'))::int", NULL, "joining the servers", &result);

        if (r)
                return r;
        p->number = postgres_int4(result, 0, 0);
        PQclear(result);
        return 0;
}

int postgres_enlist(struct postgres_store *p)
{
        struct postgres_parameters q = {0}, row = {0};
        PGresult *result;
        int r = 0;

        if (!p->store.server[0] || p->store.read_only)
                return 0;
        if (!p->number)
                r = take_number(p);
        if (r)
                return r;
        /* The lock first: a row without one may be removed. It is free: the number is ours, and the connection before was ended. */
        postgres_add_int4(&q, (int32_t)POSTGRES_LOCK_SERVERS);
        postgres_add_int4(&q, p->number);
        r = postgres_query(p, "SELECT pg_advisory_lock($1, $2)", &q, "joining the servers", &result);
        if (r)
                return r;
        PQclear(result);
        postgres_add_int4(&row, p->number);
        postgres_add_text(&row, p->store.server, strlen(p->store.server));
        postgres_add_text(&row, p->pin, strlen(p->pin));
        r = postgres_query(p, "INSERT INTO server (number, address, pin) VALUES ($1, $2, $3) ON CONFLICT (number) DO UPDATE SET address = $2, pin = $3", &row,
                           "joining the servers", &result);
        if (r)
                return r;
        PQclear(result);
        return postgres_run(p, "DELETE FROM server WHERE number::bigint NOT IN " LOCKS(CLASS_SERVERS), "joining the servers");
}

int postgres_survey(struct store *store, struct store_survey *ret)
{
        struct postgres_store *p = (struct postgres_store *)store;
        PGresult *result;
        int r = postgres_connected(p);

        if (!r)
                r = postgres_query(p,
                                   "SELECT -1, address, max(pin), true FROM server WHERE number::bigint IN " LOCKS(CLASS_SERVERS) " GROUP BY address"
                                   " UNION ALL SELECT n, coalesce(q.server, ''), '', n IN " LOCKS(CLASS_QUEUES)
                                   " FROM generate_series(0, 15) n LEFT JOIN queue q ON q.queue = n ORDER BY 1, 2",
                                   NULL, "looking who is there", &result);
        if (r)
                return r;
        _Static_assert(STORE_QUEUES == 16, "the series above");
        for (int i = 0; i < PQntuples(result); i++) {
                int32_t queue = postgres_int4(result, i, 0);
                const char *address = PQgetvalue(result, i, 1);

                if (queue < 0 && ret->server_count < STORE_SERVERS) {
                        snprintf(ret->servers[ret->server_count].address, sizeof(ret->servers[0].address), "%s", address);
                        snprintf(ret->servers[ret->server_count++].pin, sizeof(ret->servers[0].pin), "%s", PQgetvalue(result, i, 2));
                } else if (queue >= 0 && queue < STORE_QUEUES) {
                        snprintf(ret->queues[queue].owner, sizeof(ret->queues[queue].owner), "%s", address);
                        ret->queues[queue].claimed = *PQgetvalue(result, i, 3);
                }
        }
        PQclear(result);
        return 0;
}

/* --- changes --- */

static int present_number(struct postgres_store *p, uint64_t *ret_number)
{
        PGresult *result;
        int r = postgres_query(p, "SELECT number FROM change_count", NULL, "looking for changes", &result);

        if (r)
                return r;
        *ret_number = PQntuples(result) == 1 ? (uint64_t)postgres_int8(result, 0, 0) : 0;
        PQclear(result);
        return *ret_number ? 0 : store_fail(&p->store, -EBADMSG, "the count of changes is missing");
}

struct listing {
        enum store_table table;
        store_row_fn row;
        void *context;
};

static int tell(void *context, PGresult *result)
{
        struct listing *l = context;
        struct store_row row;
        int r;

        postgres_row_at(result, 0, l->table, &row);
        r = l->row(l->context, &row);
        PQclear(result);
        return r;
}

/* Rows that are there as they are; of those that are gone the id. */
static int tell_table(struct postgres_store *p, enum store_table table, uint64_t from, uint64_t to, store_row_fn row, void *context)
{
        struct listing l = {table, row, context};
        struct postgres_parameters q = {0};
        const char *name = store_table_name(table);
        char sql[700];

        postgres_add_int8(&q, (int64_t)from);
        postgres_add_int8(&q, (int64_t)to);
        postgres_add_int8(&q, (int64_t)p->life);
        postgres_add_int4(&q, (int32_t)table);
        snprintf(sql, sizeof(sql),
                 "SELECT coalesce(t.queue, 0), c.id, t.account, coalesce(t.state, 0), coalesce(t.kind, 0), coalesce(t.until_ms, 0), t.text_key, t.status, t.spec FROM"
                 " (SELECT DISTINCT id FROM change WHERE number > $1 AND number <= $2 AND writer <> $3 AND kind = $4) c LEFT JOIN %s t ON t.id = c.id ORDER BY c.id",
                 name);
        return postgres_stream(p, sql, &q, tell, &l);
}

static int cut(struct postgres_store *p, uint64_t now)
{
        struct postgres_parameters q = {0};
        PGresult *result;
        int r;

        postgres_add_int8(&q, (int64_t)(now - CHANGES_KEPT));
        r = postgres_query(p, "DELETE FROM change WHERE number < $1", &q, "forgetting old changes", &result);
        if (!r)
                PQclear(result);
        return r;
}

int postgres_changed(struct store *store, uint64_t *cursor, store_row_fn row, void *context)
{
        /* Accounts before what belongs to them. */
        static const enum store_table tables[] = {STORE_ACCOUNT, STORE_KEY, STORE_SESSION, STORE_SETTING, STORE_WORKER};
        struct postgres_store *p = (struct postgres_store *)store;
        uint64_t now = 0;
        int r = postgres_connected(p);

        if (!r)
                r = present_number(p, &now);
        if (r || *cursor == now)
                return r;
        if (!*cursor || *cursor > now || now - *cursor >= CHANGES_KEPT) {
                *cursor = now;
                return -ERANGE;
        }
        for (size_t i = 0; i < ARRAY_SIZE(tables) && !r; i++)
                r = tell_table(p, tables[i], *cursor, now, row, context);
        if (!r && now > CHANGES_KEPT && now / CHANGES_CUT != *cursor / CHANGES_CUT && !store->read_only)
                r = cut(p, now);
        if (!r)
                *cursor = now;
        return r;
}
