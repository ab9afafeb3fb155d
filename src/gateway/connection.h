/* connection.h: bytes of one connection: plain or TLS, read when wanted, written from a buffer, with deadlines.
 *
 * Its user (http.c, socket.c, events.c) is a table of functions that may change while it lives. A killed connection tells its user `gone` at once
 * and is freed when the loop has let go of it, so its pointer stays good until the present call stack has ended; `dead` says so.
 */
#pragma once

#include "gateway/gateway.h"

#include <http_parser.h>

struct connection_user {
        void (*input)(struct connection *connection, uint8_t *data, size_t length); /* may overwrite data; length 0: the peer sends no more */
        void (*drained)(struct connection *connection);  /* all that was written has left; NULL: not interested */
        void (*overdue)(struct connection *connection);  /* its deadline passed; NULL: killed */
        void (*gone)(struct connection *connection);     /* forget it; NULL: nothing to forget */
};

struct connection {
        uv_poll_t poll;
        struct server *server;
        const struct connection_user *user;
        void *data;                       /* the user's */
        struct connection *next, *prev, *dirty_next, *dirty_prev;
        struct ssl_st *ssl;
        struct limit_party *network;
        struct limit_party *account;      /* whose connection count it is part of; NULL: none */
        struct identity *identity;        /* of an event stream or socket */
        int fd, watched, file;
        uint64_t file_at, file_left;
        char *out, *in;                   /* NULL when empty */
        size_t out_begin, out_end, out_size, in_length;
        uint64_t deadline, write_deadline; /* 0: none */
        uint64_t moved;                   /* when bytes went or came last */
        char address[46];
        http_parser parser;
        struct request *request;          /* being read or answered */
        bool dead, paused, held, finishing, handshaken, dirty, resume_due, stranger, peer_ended, tls_wants_write, writing;
};

/* Takes the descriptor over. NULL: it was closed again, for lack of memory. */
struct connection *connection_new(struct server *server, int fd, struct limit_party *network, const char *address);
/* Appends; sent when the loop is about to sleep. Out of memory kills it. */
void connection_write(struct connection *connection, const void *data, size_t length);
static inline size_t connection_buffered(const struct connection *connection)
{
        return connection->out_end - connection->out_begin;
}
/* After what is buffered: so much of the file, whose descriptor it takes over. */
void connection_write_file(struct connection *connection, int file, uint64_t offset, uint64_t count);
/* Sends what is buffered, then ends it in order. */
void connection_finish(struct connection *connection);
void connection_kill(struct connection *connection);
/* No more input for now; what was read already but not used is kept (data may be NULL). */
void connection_pause(struct connection *connection, const uint8_t *data, size_t length);
/* Input again, what was kept first; not from inside this call. */
void connection_resume(struct connection *connection);
/* Milliseconds from now; 0: none. */
void connection_deadline(struct connection *connection, uint64_t ms);
/* The server's turn: flushes and resumes all that is due. */
void connections_flush(struct server *server);
