/* gateway.h: the pool's door: one loop (libuv) that accepts connections, speaks TLS, HTTP/1.1, server-sent events and WebSocket, and brings what is
 * asked to the service (service/service.h), which it owns.
 *
 *   server.c      the loop: listening, accepting, the service's turns, what is overdue, an orderly end
 *   connection.c  bytes of one connection, plain or TLS: reading on request, buffered writing, files, deadlines
 *   head.c, http.c  requests read (http_parser), bounded; reply.c: answers written
 *   routes.c      the one table of routes (routes.def): finds the route, names its right, limits and schemas
 *   admit.c       one admission for every route: identity, right, limits
 *   forward.c     requests for another server of the store, sent on to it
 *   openai.h      OpenAI's routes: requests for models, on their way to engines and back
 *   socket.c      WebSocket connections (frame.h), for worker-socket.c and events.c
 *
 * Life of a request. The head is read and admitted before a byte of the body is taken; the body is read up to the route's limit; the handler
 * answers at once or later, from the service's turn. While it is pending nothing more is read from its connection, so that requests that follow in
 * the same packet (pipelining) wait in order and in bounded memory. When the client goes away first, the request stays as long as the service holds
 * it, and its answer is dropped.
 *
 * Nothing is written to a socket from inside a handler: bytes go to the connection's buffer, and buffers are flushed once before the loop sleeps.
 */
#pragma once

#include "account/account.h"
#include "base/strbuf.h"
#include "gateway/limit.h"
#include "gateway/settings.h"
#include "service/service.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

struct connection;
struct hub;
struct identity;
struct request;
struct ticket;
typedef struct ssl_ctx_st SSL_CTX;

struct counters {
        uint64_t accepted, refused_connections, requests, refused_requests, too_slow, tls_failed, malformed, bytes_in, bytes_out, password_refused,
                events_sent, events_skipped, sockets_refused, forwarded;
        uint64_t answers[6];              /* by hundreds of the status */
};

struct server {
        struct gateway_settings settings;
        uv_loop_t *loop;
        struct service *service;
        struct accounts *accounts;
        SSL_CTX *tls;                     /* NULL: plain */
        char fingerprint[100];            /* of the certificate, "" when plain */
        char url[300];                    /* "http://127.0.0.1:7780" */
        char origin_host[280];            /* host:port of url */

        int listener;                     /* -1 once closed */
        uv_poll_t listening;
        uv_async_t wake;
        uv_timer_t tick, turn;            /* every second; when the service wants its next turn */
        uv_prepare_t prepare;
        uv_idle_t more;                   /* runs while work is left over from a turn */
        unsigned handles;                 /* of these, not closed yet */

        struct connection *connections;   /* list of all */
        struct connection *dirty;         /* have something to flush */
        size_t connection_count, connection_max;
        struct limit_table networks;      /* where peers come from: connections of strangers, requests without identity, failed identities */
        struct limit_table parties;       /* keys, and accounts of tokens: requests; accounts: connections */
        struct known_key *known_keys;     /* of the last second (admit.c) */
        struct identity *identities;      /* by credential; kept while a connection or request uses them */
        struct ticket *tickets;
        size_t ticket_count, in_flight, password_works;
        struct hub *hub;                  /* subscribers */
        struct forwards *forwards;        /* requests that other servers answer */
        struct generations *generations;  /* requests for models (openai.h) */
        struct counters counters;

        bool turn_due, stopping;
        uint64_t stop_at;                 /* then what is left is cut */
        uint64_t request_number, request_base;
        char date[40];                    /* "Date:" header's value, of this second */
        uint64_t date_at;
        uint8_t *scratch;                 /* what one read brings */
        uint8_t chance[256];              /* random bytes, not used yet: the first chance_left */
        size_t chance_left;
        char *openapi;                    /* made at start */
        size_t openapi_bytes;
};

#define SERVER_SCRATCH 65536
#define SERVER_MESSAGE 600

/* Listens and is ready to run; nothing is served until the loop runs. */
must_check int server_open(struct server *server, uv_loop_t *loop, const struct gateway_settings *settings, char message[SERVER_MESSAGE]);
/* Stops accepting, lets answers finish (at most settings.stop_ms), closes everything; then the loop ends by itself. */
void server_stop(struct server *server);
/* After the loop ended: the service is closed (waits for what was accepted to be durable). */
void server_done(struct server *server);
uint64_t server_now(const struct server *server); /* monotonic milliseconds */
/* Something was asked of the service: it gets a turn before the loop sleeps. */
static inline void server_turn_soon(struct server *server)
{
        server->turn_due = true;
}
/* For account calls: clocks, fresh random bytes (into random), address may be NULL. */
struct account_now server_account_now(struct server *server, uint8_t random[64], const char *address);
