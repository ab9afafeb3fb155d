/* postgres.c: the connection to PostgreSQL: opening it, waiting on it with a bound, naming its errors, making it again. See postgres.h.
 *
 * No message of ours holds the password: libpq's are taken as they are but for the password itself, and a URL that can't be read is never shown.
 */
#include "store/postgres.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"

#include <endian.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

/* --- errors --- */

/* Takes every occurrence of the word out of the text. */
static void scrub(char *text, const char *word)
{
        size_t n = word ? strlen(word) : 0;

        for (char *at = n ? strstr(text, word) : NULL; at; at = strstr(at, word)) {
                memmove(at, at + n, strlen(at + n) + 1);
        }
}

static int fail(struct postgres_store *p, int error, const char *doing, const char *says)
{
        store_fail(&p->store, error, "%s: %.400s", doing, says && *says ? says : error_text(error));
        scrub(p->store.problem, p->connection ? PQpass(p->connection) : NULL);
        return error;
}

int postgres_broken(struct postgres_store *p, const char *doing, const char *why)
{
        char says[STORE_MESSAGE];

        snprintf(says, sizeof(says), "%s", why);
        fail(p, -E_UNAVAILABLE, doing, says);
        if (p->connection) {
                if (!p->old_pid && *p->start) {
                        p->old_pid = PQbackendPID(p->connection);
                        memcpy(p->old_start, p->start, sizeof(p->old_start));
                }
                PQfinish(p->connection);
                p->connection = NULL;
                p->start[0] = '\0';
        }
        return -E_UNAVAILABLE;
}

/* By SQLSTATE, PostgreSQL's appendix A. */
static int number_of(const char *state)
{
        static const struct {
                const char *state;
                int error;
        } states[] = {
                {"08", -E_UNAVAILABLE},    {"57P", -E_UNAVAILABLE},   {"57014", -E_UNAVAILABLE}, {"55P03", -E_UNAVAILABLE}, {"40", -E_UNAVAILABLE},
                {"25006", -E_UNAVAILABLE}, {"53300", -E_UNAVAILABLE}, {"53100", -ENOSPC},        {"53200", -ENOMEM},        {"23505", -EEXIST},
                {"22012", -ENOENT},        {"42501", -EACCES},        {"28", -EACCES},           {"3D000", -ENOENT},        {"22021", -EINVAL},
                {"22P05", -EINVAL},        {"54", -E2BIG},            {"XX001", -EBADMSG},       {"XX002", -EBADMSG},       {"42", -EBADMSG},
        };

        for (size_t i = 0; state && i < ARRAY_SIZE(states); i++)
                if (!strncmp(state, states[i].state, strlen(states[i].state)))
                        return states[i].error;
        return -EIO;
}

int postgres_error(struct postgres_store *p, const PGresult *result, const char *doing)
{
        const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
        const char *says = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;

        if (PQstatus(p->connection) == CONNECTION_BAD || !state)
                return postgres_broken(p, doing, says ? says : PQerrorMessage(p->connection));
        return fail(p, number_of(state), doing, says);
}

/* --- waiting --- */

static int poll_for(PGconn *connection, short events, int timeout_ms)
{
        struct pollfd at = {.fd = PQsocket(connection), .events = events};
        int n;

        do
                n = poll(&at, 1, timeout_ms);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n ? at.revents : 0;
}

int postgres_wait(struct postgres_store *p, const char *doing)
{
        for (;;) {
                int unsent = PQflush(p->connection), events;

                if (unsent < 0)
                        return postgres_broken(p, doing, PQerrorMessage(p->connection));
                if (!PQisBusy(p->connection))
                        return 0;
                events = poll_for(p->connection, (short)(POLLIN | (unsent ? POLLOUT : 0)), (int)p->patience_ms);
                if (events < 0)
                        return postgres_broken(p, doing, error_text(events));
                if (!events)
                        return postgres_broken(p, doing, "the server does not answer");
                if (events & ~POLLOUT && !PQconsumeInput(p->connection))
                        return postgres_broken(p, doing, PQerrorMessage(p->connection));
        }
}

/* --- one statement --- */

static void add(struct postgres_parameters *q, Oid type, const void *value, size_t bytes)
{
        int i = q->count++;

        q->types[i] = type;
        q->values[i] = value;
        q->lengths[i] = (int)bytes;
        q->formats[i] = 1;
}

void postgres_add_id(struct postgres_parameters *q, const struct id *id)
{
        add(q, POSTGRES_UUID, id_is_none(id) ? NULL : id->bytes, sizeof(id->bytes));
}

void postgres_add_text(struct postgres_parameters *q, const char *text, size_t bytes)
{
        add(q, POSTGRES_TEXT, text, bytes);
}

void postgres_add_int4(struct postgres_parameters *q, int32_t value)
{
        uint32_t big = htobe32((uint32_t)value);
        char *room = q->room[q->count];

        memcpy(room, &big, sizeof(big));
        add(q, POSTGRES_INT4, room, sizeof(big));
}

void postgres_add_int8(struct postgres_parameters *q, int64_t value)
{
        uint64_t big = htobe64((uint64_t)value);
        char *room = q->room[q->count];

        memcpy(room, &big, sizeof(big));
        add(q, POSTGRES_INT8, room, sizeof(big));
}

void postgres_add_bool(struct postgres_parameters *q, bool value)
{
        char *room = q->room[q->count];

        *room = value;
        add(q, POSTGRES_BOOL, room, 1);
}

int32_t postgres_int4(const PGresult *result, int row, int column)
{
        uint32_t big = 0;

        if (PQgetlength(result, row, column) == sizeof(big))
                memcpy(&big, PQgetvalue(result, row, column), sizeof(big));
        return (int32_t)be32toh(big);
}

int64_t postgres_int8(const PGresult *result, int row, int column)
{
        uint64_t big = 0;

        if (PQgetlength(result, row, column) == sizeof(big))
                memcpy(&big, PQgetvalue(result, row, column), sizeof(big));
        return (int64_t)be64toh(big);
}

int postgres_query(struct postgres_store *p, const char *sql, const struct postgres_parameters *q, const char *doing, PGresult **ret_result)
{
        static const struct postgres_parameters none;
        PGresult *result = NULL, *next;
        int r;

        q = q ? q : &none;
        if (!PQsendQueryParams(p->connection, sql, q->count, q->types, q->values, q->lengths, q->formats, 1))
                return postgres_broken(p, doing, PQerrorMessage(p->connection));
        for (;;) { /* to the end, also after an error: the next statement finds the connection idle */
                r = postgres_wait(p, doing);
                if (r) {
                        PQclear(result);
                        return r;
                }
                next = PQgetResult(p->connection);
                if (!next)
                        break;
                PQclear(result);
                result = next;
        }
        if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK) {
                r = postgres_error(p, result, doing);
                PQclear(result);
                return r;
        }
        *ret_result = result;
        return 0;
}

int postgres_run(struct postgres_store *p, const char *sql, const char *doing)
{
        PGresult *result;
        int r = postgres_query(p, sql, NULL, doing, &result);

        if (!r)
                PQclear(result);
        return r;
}

/* --- the connection --- */

#define STARTED "(extract(epoch FROM backend_start) * 1000000)::bigint::text"

/* Notices would go to standard error; what matters comes as an error of a call. */
static void ignore_notice(void *context, const PGresult *result)
{
        (void)context;
        (void)result;
}

static int connect_now(struct postgres_store *p)
{
        /* What stands before dbname is a default, what stands behind it holds whatever the URL says. */
        static const char *const names[] = {"keepalives_idle", "keepalives_interval", "keepalives_count",          "tcp_user_timeout",
                                            "dbname",          "client_encoding",     "fallback_application_name", NULL};
        const char *const values[] = {"10", "5", "3", "15000", p->url, "UTF8", "berth-pool", NULL};
        uint64_t until = clock_now_ns() + p->patience_ms * NS_PER_MS;
        PostgresPollingStatusType want = PGRES_POLLING_WRITING;

        p->connection = PQconnectStartParams(names, values, 1);
        if (!p->connection)
                return fail(p, -ENOMEM, "connecting", NULL);
        PQsetNoticeReceiver(p->connection, ignore_notice, NULL);
        while (PQstatus(p->connection) != CONNECTION_BAD && want != PGRES_POLLING_OK && want != PGRES_POLLING_FAILED) {
                uint64_t now = clock_now_ns();
                int events = now < until ? poll_for(p->connection, want == PGRES_POLLING_READING ? POLLIN : POLLOUT, (int)((until - now) / NS_PER_MS) + 1) : 0;

                if (events <= 0)
                        return postgres_broken(p, "connecting", events ? error_text(events) : "the server does not answer");
                want = PQconnectPoll(p->connection);
        }
        if (PQstatus(p->connection) == CONNECTION_OK)
                return PQsetnonblocking(p->connection, 1) ? postgres_broken(p, "connecting", PQerrorMessage(p->connection)) : 0;
        {
                /* libpq gives no SQLSTATE here; what a person has to mend is told from what may pass by its words. */
                const char *says = PQerrorMessage(p->connection);
                bool refused = strstr(says, "FATAL:") && (strstr(says, "authentication") || strstr(says, "role") || strstr(says, "no pg_hba.conf"));
                bool missing = strstr(says, "FATAL:") && strstr(says, "database") && strstr(says, "does not exist");
                int r = refused || missing ? fail(p, refused ? -EACCES : -ENOENT, "connecting", says) : postgres_broken(p, "connecting", says);

                PQfinish(p->connection);
                p->connection = NULL;
                return r;
        }
}

/* The process of the connection that broke may still hold a transaction, complete but for its last step. */
static int end_old_process(struct postgres_store *p)
{
        struct postgres_parameters q = {0};
        PGresult *result;
        bool ended = true;
        int r;

        if (!p->old_pid)
                return 0;
        postgres_add_int4(&q, p->old_pid);
        postgres_add_text(&q, p->old_start, strlen(p->old_start));
        postgres_add_int8(&q, p->patience_ms / 2 + 1);
        r = postgres_query(p, "SELECT pg_terminate_backend(pid, $3) FROM pg_stat_activity WHERE pid = $1 AND " STARTED " = $2", &q,
                           "ending the connection before", &result);
        if (r)
                return r;
        if (PQntuples(result) == 1)
                ended = *PQgetvalue(result, 0, 0);
        PQclear(result);
        if (!ended)
                return postgres_broken(p, "ending the connection before", "its process on the server does not end");
        p->old_pid = 0;
        return 0;
}

/* How the session is to behave, and what the server is. The plans are pinned (no scans of whole tables because statistics are stale), timeouts are ours. */
static int set_up(struct postgres_store *p)
{
        char sql[1000];
        PGresult *result;
        int r;

        snprintf(sql, sizeof(sql),
                 "SELECT set_config('search_path', 'berth', false), set_config('enable_seqscan', 'off', false), set_config('enable_bitmapscan', 'off', false),"
                 " set_config('jit', 'off', false), set_config('plan_cache_mode', 'force_generic_plan', false), set_config('lock_timeout', '%u', false),"
                 " set_config('idle_in_transaction_session_timeout', '%u', false), set_config('default_transaction_read_only', '%s', false),"
                 " set_config('default_transaction_isolation', 'read committed', false), set_config('client_min_messages', 'error', false)",
                 p->patience_ms / 2 + 1, p->patience_ms, p->store.read_only ? "on" : "off");
        r = postgres_run(p, sql, "setting up the connection");
        /* A host that vanished, or a network that was cut, must not keep its claims: the server ends such a connection within 10 s (it sends nothing, so nothing
         * else would tell it). On a Unix socket these do nothing. */
        if (!r)
                r = postgres_run(p,
                                 "SELECT set_config('tcp_keepalives_idle', '3', false), set_config('tcp_keepalives_interval', '2', false),"
                                 " set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '9000', false)",
                                 "setting up the connection");
        if (!r)
                r = postgres_run(p, "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')",
                                 "setting up the connection");
        if (!r)
                r = postgres_query(p,
                                   "SELECT " STARTED ", current_setting('server_encoding'), current_setting('fsync'), current_setting('server_version_num')"
                                   " FROM pg_stat_activity WHERE pid = pg_backend_pid()",
                                   NULL, "setting up the connection", &result);
        if (r)
                return r;
        if (PQntuples(result) == 1) {
                snprintf(p->start, sizeof(p->start), "%s", PQgetvalue(result, 0, 0));
                p->unsafe = strcmp(PQgetvalue(result, 0, 2), "on");
                if (strcmp(PQgetvalue(result, 0, 1), "UTF8"))
                        r = store_fail(&p->store, -EINVAL, "the database's encoding is %.40s; make one with ENCODING 'UTF8'", PQgetvalue(result, 0, 1));
                else if (atoi(PQgetvalue(result, 0, 3)) < 140000)
                        r = store_fail(&p->store, -E_VERSION, "the server is PostgreSQL %.20s; Berth needs 14 or newer", PQgetvalue(result, 0, 3));
        }
        PQclear(result);
        return r;
}

int postgres_connected(struct postgres_store *p)
{
        int r;

        if (p->connection && PQstatus(p->connection) == CONNECTION_OK)
                return 0;
        if (p->connection)
                (void)postgres_broken(p, "the connection", PQerrorMessage(p->connection));
        r = connect_now(p);
        if (!r)
                r = set_up(p);
        if (!r)
                r = end_old_process(p);
        if (!r)
                r = postgres_schema(p);
        if (!r && !p->store.read_only)
                r = postgres_prepare(p);
        if (!r)
                r = postgres_resume_claims(p);
        if (!r)
                r = postgres_enlist(p);
        if (r && p->connection) { /* half set up is not connected */
                char problem[STORE_MESSAGE];

                memcpy(problem, p->store.problem, sizeof(problem));
                (void)postgres_broken(p, "", "");
                memcpy(p->store.problem, problem, sizeof(problem));
        }
        /* A database that is away for a while (renamed, restored, its rights being changed) is no fault of the batch at hand. */
        if (r && p->opened && r != -E_VERSION)
                r = -E_UNAVAILABLE;
        p->opened = p->opened || !r;
        return r;
}

/* --- open and close --- */

static void close_store(struct store *store)
{
        struct postgres_store *p = (struct postgres_store *)store;

        if (p->connection)
                PQfinish(p->connection);
        free(p->url);
        free(p);
}

static int about(struct store *store, char *text, size_t size)
{
        struct postgres_store *p = (struct postgres_store *)store;
        char bytes[16];
        PGresult *result;
        int r = postgres_connected(p);

        if (!r)
                r = postgres_query(p, "SELECT current_setting('server_version'), pg_database_size(current_database())", NULL, "asking about the server", &result);
        if (r)
                return r;
        snprintf(text, size, "PostgreSQL %.30s, %.100s port %.10s, database %.100s as %.100s, %s%s", PQgetvalue(result, 0, 0), PQhost(p->connection),
                 PQport(p->connection), PQdb(p->connection), PQuser(p->connection), text_bytes((uint64_t)postgres_int8(result, 0, 1), bytes, sizeof(bytes)),
                 p->unsafe ? "; fsync is off there: a power cut loses what was acknowledged" : "");
        PQclear(result);
        scrub(text, PQpass(p->connection));
        return 0;
}

static const struct store_body body = {
        .kind = "postgresql",
        .close = close_store,
        .commit = postgres_commit,
        .list = postgres_list,
        .get = postgres_get,
        .count = postgres_count,
        .claim = postgres_claim,
        .release = postgres_release,
        .owned = postgres_owned,
        .owner = postgres_owner,
        .survey = postgres_survey,
        .changed = postgres_changed,
        .sweep = postgres_sweep,
        .backup = postgres_backup,
        .about = about,
};

/* Checked before libpq uses it: its messages repeat what it can't make sense of, and that may be the password or, where one character was not written as %XX, a
 * part of it. */
static bool url_is_good(const char *url)
{
        const char *authority = strstr(url, "//") + 2, *slash = strchr(authority, '/'), *question = strchr(authority, '?'), *at = strchr(authority, '@');
        const char *end = question ? question : authority + strlen(authority);
        char *why = NULL;
        PQconninfoOption *parsed = NULL;
        bool good = true;

        if (at && at < end && ((slash && slash < at) || memchr(at + 1, '@', (size_t)(end - at) - 1)))
                return false;
        parsed = PQconninfoParse(url, &why);
        if (why)
                PQfreemem(why);
        if (!parsed)
                return false;
        for (PQconninfoOption *o = parsed; o->keyword; o++)
                if (!strcmp(o->keyword, "port") && o->val && o->val[strspn(o->val, "0123456789,")]) /* several hosts: several ports */
                        good = false;
        PQconninfoFree(parsed);
        return good;
}

int postgres_open(const struct store_options *options, struct store **ret_store, char message[STORE_MESSAGE])
{
        struct postgres_store *p;
        int r = 0;

        if (!url_is_good(options->url)) {
                snprintf(message, STORE_MESSAGE, "the store's URL can't be read; it is postgresql://USER@HOST:PORT/DATABASE, special characters as %%XX");
                return -EINVAL;
        }
        p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->store.body = &body;
        p->store.read_only = options->read_only;
        p->patience_ms = options->patience_ms ? options->patience_ms : POSTGRES_PATIENCE_MS;
        snprintf(p->store.server, sizeof(p->store.server), "%s", options->server ? options->server : "");
        snprintf(p->pin, sizeof(p->pin), "%s", options->pin ? options->pin : "");
        if (getrandom(&p->life, sizeof(p->life), 0) != sizeof(p->life))
                r = -EIO;
        p->life >>= 1; /* a bigint there */
        p->url = strdup(options->url);
        if (!r)
                r = p->url ? postgres_connected(p) : -ENOMEM;
        if (r) {
                snprintf(message, STORE_MESSAGE, "%s", *p->store.problem ? p->store.problem : error_text(r));
                close_store(&p->store);
                return r;
        }
        *ret_store = &p->store;
        return 0;
}
