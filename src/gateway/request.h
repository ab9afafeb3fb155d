/* request.h: one request, from its first byte to its answer: what handlers see (head.c and http.c read it, reply.c answers it). */
#pragma once

#include "gateway/gateway.h"
#include "gateway/path.h"
#include "gateway/routes.h"

struct connection;

/* Headers that anything here looks at; others are counted and passed over. */
#define REQUEST_HEADERS(X)                                                                                                              \
        X(ACCEPT_ENCODING, "accept-encoding") X(AUTHORIZATION, "authorization") X(CONTENT_TYPE, "content-type") X(CONTENT_RANGE, "content-range") X(EXPECT, "expect")           \
        X(FORWARDED, "berth-forwarded")                                                                                                   \
        X(HOST, "host") X(IDEMPOTENCY_KEY, "idempotency-key") X(IF_MATCH, "if-match") X(IF_NONE_MATCH, "if-none-match")                   \
        X(LAST_EVENT_ID, "last-event-id") X(ORIGIN, "origin") X(RANGE, "range") X(UPGRADE, "upgrade")                                     \
        X(WS_KEY, "sec-websocket-key") X(WS_PROTOCOL, "sec-websocket-protocol") X(WS_VERSION, "sec-websocket-version")            \
        X(BERTH_CACHE, "x-berth-cache") X(BERTH_PRIORITY, "x-berth-priority") X(BERTH_TUNNEL, "x-berth-tunnel")

enum request_header {
#define REQUEST_HEADER_ENUM(symbol, name) HEADER_##symbol,
        REQUEST_HEADERS(REQUEST_HEADER_ENUM)
#undef REQUEST_HEADER_ENUM
        HEADERS
};

#define REQUEST_HEAD_MAX (16 << 10) /* target and headers */
#define REQUEST_TARGET_MAX (8 << 10)
#define REQUEST_HEADERS_MAX 100
#define REQUEST_DEPTH 64            /* of a JSON body */

struct request {
        struct server *server;
        struct connection *connection;   /* NULL: the client went away; the answer is dropped */
        const struct route *route;       /* NULL: none found (yet) */
        struct account_caller caller;    /* all zero: nobody */
        const char *credential;          /* what it was known by: an Authorization header's value, of the head or (a ticket's) own */
        char *own_credential;
        char *elsewhere;                 /* the server that it is to be sent on to; NULL: ours */
        struct limit_party *counted;     /* whose in_flight it is part of */
        struct limit_state allowance;    /* for the RateLimit headers */

        enum http_way way;
        char *head;                      /* the target and kept headers, each ended */
        uint32_t head_length, head_size, head_seen;
        uint32_t target_length, headers[HEADERS]; /* places in head; 0: absent (the target is at 0) */
        uint32_t header_count;
        int8_t header_now;               /* being read: which; -1: not one of ours */
        uint8_t header_stage, name_length;
        char name[32];
        struct path path;
        struct path_part parts[PATH_PARTS];

        char *body;
        size_t body_length, body_size;
        uint64_t body_seen, content_length; /* UINT64_MAX: none told */
        struct strbuf payload;           /* of a task that is submitted, when it is not in json (service/pass.h) */
        json_t *json;

        char id[20];                     /* told with each answer and problem */
        struct strbuf extra;             /* further header lines of the answer */
        uint64_t body_mark;
        bool keep_alive, http10, pending, answered, sending, discard, chunked, in_parser, complete, flying;
        uint64_t started;                /* ms */

        int file;                        /* body goes here; -1: none */
        uint64_t file_at;
        void *work;                      /* the handler's */
        void (*client_gone)(struct request *request); /* ends what the handler waits for; may call request_free_pending */
        void (*drained)(struct request *request);     /* of an answer that comes in parts: all of it so far has left */
};

static inline const char *request_header(const struct request *request, enum request_header header)
{
        return request->headers[header] ? request->head + request->headers[header] : NULL;
}

/* Handlers that answer later, from a service call that takes (done, context): pass request_done and request. */
void request_begin(struct request *request);
void request_done(void *context, const struct service_answer *answer);
/* The service let go of it without an answer. */
void request_release(struct request *request);
/* The client is to be noticed going away while it waits. */
void request_watch(struct request *request, void (*client_gone)(struct request *request));

/* Ids in the path and the query. They answer the problem themselves: true: good. */
bool request_id_part(struct request *request, unsigned part, const char *prefix, struct id *ret_id);
/* 1: there, 0: not there, -1: refused and answered. */
int request_query(struct request *request, const char *name, char *value, size_t size);
int request_query_number(struct request *request, const char *name, uint64_t least, uint64_t most, uint64_t *ret_number);
bool request_list(struct request *request, const char *prefix, struct service_list *ret_list, char state[64], char type[64]);
/* If-Match, which must be there: true and the version (0: "*"); else answered. */
bool request_if_match(struct request *request, uint64_t *ret_version);

/* Answers (reply.c). Each request gets exactly one. */
void reply_header(struct request *request, const char *format, ...) __attribute__((format(printf, 2, 3)));
void reply_text(struct request *request, int status, const char *type, const char *text, size_t bytes);
void reply_json(struct request *request, int status, json_t *body); /* takes body over; NULL: out of memory */
void reply_empty(struct request *request, int status);
void reply_service(struct request *request, const struct service_answer *answer);
/* more: further members, taken over; may be NULL. */
void reply_problem(struct request *request, const char *code, json_t *more, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The OpenAI shape of a problem. */
json_t *reply_openai_error(const struct request *request, int status, const char *code, const char *detail);
/* An error number of accounts or the service as a problem. */
void reply_error(struct request *request, int error, const char *what);
/* A file: with Range where it was asked for. Takes the descriptor over. */
void reply_file(struct request *request, int file, uint64_t bytes, const char *type, uint64_t from);
/* An answer without an end: its head; then connection writes through reply_part, until the connection ends. */
void reply_stream(struct request *request, const char *type);
/* The same with any status, for what another server answered. */
void reply_begin(struct request *request, int status, const char *type);
/* A head for parts, after which the connection goes on with the next request: reply_part for each, then reply_last. */
void reply_open(struct request *request, int status, const char *type);
/* whole false: it broke off; the client sees that by the connection's end. */
void reply_last(struct request *request, bool whole);
void reply_part(struct connection *connection, bool chunked, const char *text, size_t bytes);

/* http.c */
extern const struct connection_user http_user;
/* The answer is written: the connection goes on with the next request, or ends. Frees the request. */
void request_end(struct request *request);
/* Takes the connection out of HTTP's hands (WebSocket, event streams): the request is freed, what came after it is returned in data. */
void request_detach(struct request *request, const struct connection_user *user, void *data);
