/* socket.h: WebSocket connections: the handshake, messages in, frames out, an orderly close. */
#pragma once

#include "gateway/connection.h"
#include "gateway/frame.h"
#include "gateway/request.h"

struct socket_user {
        void (*message)(struct connection *connection, const char *text, size_t bytes); /* text frames only */
        void (*binary)(struct connection *connection, const uint8_t *data, size_t bytes); /* binary frames; of message and binary one may be NULL: such frames are refused */
        void (*drained)(struct connection *connection); /* NULL: not interested */
        void (*gone)(struct connection *connection);
};

/* Answers the request with 101 and makes its connection a socket; limit: of a message. The user's data is socket_data(). False: answered with a problem, data
 * stays the caller's. Nothing of the request may be used after true. */
bool socket_open(struct request *request, const char *protocol, uint64_t limit, const struct socket_user *user, void *data);
void *socket_data(const struct connection *connection);
void socket_send(struct connection *connection, const char *text, size_t bytes);
/* A binary message of two parts. */
void socket_send_binary(struct connection *connection, const void *first, size_t first_bytes, const void *second, size_t second_bytes);
/* Tells the code, then ends. */
void socket_close(struct connection *connection, enum frame_close code, const char *reason);
bool connection_is_socket(const struct connection *connection);
