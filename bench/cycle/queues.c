/* queues.c: beanstalkd, Redis streams and PostgreSQL as queues of cycle.h, by their own protocols and the settings that serve them best. */
#include "bench/cycle/cycle.h"

#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- beanstalkd: doc/protocol.txt -------------------------------------------------------------------------------- */

static void tube_open(struct actor *a)
{
        a->fd = dial(a->address);
        a->own = calloc(1, 32);
}

static void tube_put(struct actor *a, const char body[BODY])
{
        char text[BODY + 64], line[128];
        int n = snprintf(text, sizeof text, "put 0 0 60 %d\r\n", BODY);

        memcpy(text + n, body, BODY);
        memcpy(text + n + BODY, "\r\n", 2);
        send_all(a, text, (size_t)n + BODY + 2);
        if (!receive_line(a, line, sizeof line) || strncmp(line, "INSERTED ", 9))
                fail("beanstalkd: put: %s", line);
}

static bool tube_take(struct actor *a, char body[BODY])
{
        char line[128], end[2];
        unsigned long long id;
        int bytes;

        send_all(a, "reserve\r\n", 9);
        if (!receive_line(a, line, sizeof line))
                return false;
        if (sscanf(line, "RESERVED %llu %d", &id, &bytes) != 2 || bytes != BODY)
                fail("beanstalkd: reserve: %s", line);
        snprintf(a->own, 32, "%llu", id);
        return receive_exactly(a, body, BODY) && receive_exactly(a, end, 2);
}

static void tube_done(struct actor *a)
{
        char text[64], line[128];

        send_all(a, text, (size_t)snprintf(text, sizeof text, "delete %s\r\n", (char *)a->own));
        if (!receive_line(a, line, sizeof line) || strcmp(line, "DELETED"))
                fail("beanstalkd: delete: %s", line);
}

static void tube_close(struct actor *a)
{
        free(a->own);
        close(a->fd);
}

const struct queue queue_beanstalkd = {"beanstalkd", tube_open, tube_put, tube_take, tube_done, tube_close};

/* ---- Redis: one stream, one group; XACK and XDEL sent together ---------------------------------------------------- */

struct entry {
        char id[64];
};

static void redis_line(struct actor *a, const char *what)
{
        char line[256];

        if (!receive_line(a, line, sizeof line) || line[0] == '-')
                fail("redis: %s: %s", what, line);
}

/* A bulk string; false: nil. */
static bool redis_bulk(struct actor *a, char *to, size_t size, bool *ret_stopped)
{
        char line[64], end[2];
        long n;

        *ret_stopped = !receive_line(a, line, sizeof line);
        if (*ret_stopped)
                return false;
        n = line[0] == '$' ? strtol(line + 1, NULL, 10) : -2;
        if (n == -1)
                return false;
        if (n < 0 || (size_t)n >= size || !receive_exactly(a, to, (size_t)n) || !receive_exactly(a, end, 2))
                fail("redis: %s in place of a string", line);
        to[n] = '\0';
        return true;
}

static void redis_open(struct actor *a)
{
        static const char make[] = "*6\r\n$6\r\nXGROUP\r\n$6\r\nCREATE\r\n$1\r\nq\r\n$1\r\ng\r\n$1\r\n$\r\n$8\r\nMKSTREAM\r\n";
        char line[256];

        a->fd = dial(a->address);
        a->own = calloc(1, sizeof(struct entry));
        send_all(a, make, sizeof make - 1);
        receive_line(a, line, sizeof line); /* +OK, or it exists */
}

static void redis_put(struct actor *a, const char body[BODY])
{
        char text[BODY + 128], id[64];
        int n = snprintf(text, sizeof text, "*5\r\n$4\r\nXADD\r\n$1\r\nq\r\n$1\r\n*\r\n$1\r\nb\r\n$%d\r\n", BODY);
        bool stopped;

        memcpy(text + n, body, BODY);
        memcpy(text + n + BODY, "\r\n", 2);
        send_all(a, text, (size_t)n + BODY + 2);
        if (!redis_bulk(a, id, sizeof id, &stopped))
                fail("redis: XADD gave no id");
}

static bool redis_take(struct actor *a, char body[BODY])
{
        char text[256], line[64], name[16], bulk[BODY + 1], consumer[24];
        struct entry *e = a->own;
        bool stopped;
        int n = snprintf(consumer, sizeof consumer, "c%llu", (unsigned long long)a->number);

        n = snprintf(text, sizeof text,
                     "*11\r\n$10\r\nXREADGROUP\r\n$5\r\nGROUP\r\n$1\r\ng\r\n$%d\r\n%s\r\n$5\r\nCOUNT\r\n$1\r\n1\r\n$5\r\nBLOCK\r\n$1\r\n0\r\n"
                     "$7\r\nSTREAMS\r\n$1\r\nq\r\n$1\r\n>\r\n",
                     n, consumer);
        send_all(a, text, (size_t)n);
        if (!receive_line(a, line, sizeof line))
                return false;
        if (strcmp(line, "*1"))
                fail("redis: XREADGROUP: %s", line);
        redis_line(a, "stream");
        if (!redis_bulk(a, name, sizeof name, &stopped))
                fail("redis: no stream's name");
        redis_line(a, "entries");
        redis_line(a, "entry");
        if (!redis_bulk(a, e->id, sizeof e->id, &stopped))
                fail("redis: no entry's id");
        redis_line(a, "fields");
        if (!redis_bulk(a, name, sizeof name, &stopped) || !redis_bulk(a, bulk, sizeof bulk, &stopped))
                fail("redis: no body");
        memcpy(body, bulk, BODY);
        return true;
}

static void redis_done(struct actor *a)
{
        const struct entry *e = a->own;
        char text[320];
        size_t id = strlen(e->id);
        int n = snprintf(text, sizeof text, "*4\r\n$4\r\nXACK\r\n$1\r\nq\r\n$1\r\ng\r\n$%zu\r\n%s\r\n*3\r\n$4\r\nXDEL\r\n$1\r\nq\r\n$%zu\r\n%s\r\n", id, e->id, id, e->id);

        send_all(a, text, (size_t)n);
        redis_line(a, "XACK");
        redis_line(a, "XDEL");
}

const struct queue queue_redis = {"redis", redis_open, redis_put, redis_take, redis_done, tube_close};

/* ---- PostgreSQL: SKIP LOCKED, prepared, the plan pinned ----------------------------------------------------------- */

struct lease {
        PGconn *connection;
        char id[32];
};

static PGresult *want(struct actor *a, PGresult *r, const char *what)
{
        struct lease *l = a->own;

        if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK)
                fail("postgresql: %s: %s", what, PQerrorMessage(l->connection));
        return r;
}

static void pg_open(struct actor *a)
{
        static const char *const statements[] = {
                "SET enable_seqscan = off", "SET enable_bitmapscan = off", "SET synchronous_commit = on",
        };
        struct lease *l = a->own = calloc(1, sizeof *l);

        l->connection = PQconnectdb(a->address);
        if (PQstatus(l->connection) != CONNECTION_OK)
                fail("postgresql: %s", PQerrorMessage(l->connection));
        for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++)
                PQclear(want(a, PQexec(l->connection, statements[i]), statements[i]));
        if (a->taker) {
                PQclear(want(a, PQexec(l->connection, "LISTEN job"), "listen"));
                PQclear(want(a, PQprepare(l->connection, "take", "UPDATE job SET state = 1 WHERE id = ANY(ARRAY(SELECT id FROM job WHERE state = 0 "
                                                                 "ORDER BY prio, id LIMIT 1 FOR UPDATE SKIP LOCKED)) RETURNING id, body", 0, NULL), "prepare take"));
                PQclear(want(a, PQprepare(l->connection, "done", "DELETE FROM job WHERE id = $1", 1, NULL), "prepare done"));
        } else {
                PQclear(want(a, PQprepare(l->connection, "put", "WITH n AS (INSERT INTO job (prio, state, body) VALUES (0, 0, $1) RETURNING id) "
                                                                "SELECT pg_notify('job', '') FROM n", 1, NULL), "prepare put"));
                PQclear(want(a, PQprepare(l->connection, "plain", "INSERT INTO job (prio, state, body) VALUES (0, 0, $1)", 1, NULL), "prepare plain put"));
        }
}

bool postgresql_notifies; /* for the latency alone: a notification is a lock at commit, and the busy queue needs none */

static void pg_put(struct actor *a, const char body[BODY])
{
        struct lease *l = a->own;
        const char *values[] = {body};
        int lengths[] = {BODY}, formats[] = {1};

        PQclear(want(a, PQexecPrepared(l->connection, postgresql_notifies ? "put" : "plain", 1, values, lengths, formats, 0), "put"));
}

static bool pg_take(struct actor *a, char body[BODY])
{
        struct lease *l = a->own;

        while (!stopping) {
                PGresult *r = want(a, PQexecPrepared(l->connection, "take", 0, NULL, NULL, NULL, 1), "take");
                bool got = PQntuples(r) == 1;
                uint64_t id = 0;

                if (got) {
                        for (int i = 0; i < PQgetlength(r, 0, 0); i++)
                                id = id << 8 | (uint8_t)PQgetvalue(r, 0, 0)[i];
                        snprintf(l->id, sizeof l->id, "%llu", (unsigned long long)id);
                        memcpy(body, PQgetvalue(r, 0, 1), BODY);
                }
                PQclear(r);
                if (got)
                        return true;
                if (postgresql_notifies) {
                        PGnotify *n;
                        struct pollfd p = {.fd = PQsocket(l->connection), .events = POLLIN};

                        while (!(n = PQnotifies(l->connection)) && !stopping) {
                                poll(&p, 1, 100);
                                PQconsumeInput(l->connection);
                        }
                        PQfreemem(n);
                        while ((n = PQnotifies(l->connection)))
                                PQfreemem(n);
                } else {
                        usleep(500);
                }
        }
        return false;
}

static void pg_done(struct actor *a)
{
        struct lease *l = a->own;
        const char *values[] = {l->id};

        PQclear(want(a, PQexecPrepared(l->connection, "done", 1, values, NULL, NULL, 0), "done"));
}

static void pg_close(struct actor *a)
{
        struct lease *l = a->own;

        PQfinish(l->connection);
        free(l);
}

const struct queue queue_postgresql = {"postgresql", pg_open, pg_put, pg_take, pg_done, pg_close};
