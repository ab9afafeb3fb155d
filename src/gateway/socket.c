/* socket.c: WebSocket connections; see socket.h. */
#include "gateway/socket.h"

#include "gateway/admit.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

struct socket {
        struct frame_reader reader;
        const struct socket_user *user;
        void *data;
        bool closing;
};

static void send_frame(struct connection *c, enum frame_opcode opcode, const void *data, size_t length)
{
        uint8_t head[FRAME_HEAD];

        connection_write(c, head, frame_head(head, opcode, length));
        connection_write(c, data, length);
}

void socket_close(struct connection *c, enum frame_close code, const char *reason)
{
        struct socket *s = c->data;
        uint8_t body[FRAME_CONTROL];
        size_t n = strlen(reason) < FRAME_CONTROL - 2 ? strlen(reason) : FRAME_CONTROL - 2;

        if (c->dead || s->closing)
                return;
        s->closing = true;
        body[0] = (uint8_t)(code >> 8);
        body[1] = (uint8_t)code;
        memcpy(body + 2, reason, n);
        send_frame(c, FRAME_CLOSE, body, n + 2);
        connection_finish(c);
}

static void socket_input(struct connection *c, uint8_t *data, size_t length)
{
        struct socket *s = c->data;
        struct frame_message message;

        if (!length) {
                connection_kill(c);
                return;
        }
        while (!c->dead && !s->closing) {
                int r = frame_read(&s->reader, &data, &length, &message);

                if (!r)
                        return;
                if (r < 0) {
                        c->server->counters.malformed++;
                        socket_close(c, (enum frame_close)-r, r == -FRAME_CLOSE_BIG ? "message too large" : "not a frame that is taken here");
                        return;
                }
                switch (message.opcode) {
                case FRAME_TEXT:
                        if (s->user->message)
                                s->user->message(c, message.text, message.length);
                        else
                                socket_close(c, FRAME_CLOSE_UNFIT, "binary messages are taken here");
                        break;
                case FRAME_PING:
                        /* Answers to pings that pile up are no use to anybody. */
                        if (connection_buffered(c) < 4096)
                                send_frame(c, FRAME_PONG, message.text, message.length);
                        break;
                case FRAME_CLOSE:
                        socket_close(c, FRAME_CLOSE_NORMAL, "");
                        break;
                case FRAME_BINARY:
                        if (s->user->binary)
                                s->user->binary(c, (const uint8_t *)message.text, message.length);
                        else
                                socket_close(c, FRAME_CLOSE_UNFIT, "text is taken here");
                        break;
                case FRAME_PONG:
                case FRAME_MORE:
                        break;
                }
        }
}

static void socket_drained(struct connection *c)
{
        struct socket *s = c->data;

        if (s->user->drained && !s->closing)
                s->user->drained(c);
}

static void socket_overdue(struct connection *c)
{
        uint64_t ping = c->server->settings.ping_ns / 1000000, quiet = server_now(c->server) - c->moved;

        if (quiet >= ping) {
                send_frame(c, FRAME_PING, "", 0);
                quiet = 0;
        }
        connection_deadline(c, ping - quiet ? ping - quiet : 1);
}

static void socket_gone(struct connection *c)
{
        struct socket *s = c->data;

        s->user->gone(c);
        frame_reader_done(&s->reader);
        free(s);
}

static const struct connection_user socket_connection = {.input = socket_input, .drained = socket_drained, .overdue = socket_overdue, .gone = socket_gone};

bool connection_is_socket(const struct connection *c)
{
        return c->user == &socket_connection;
}

void *socket_data(const struct connection *c)
{
        return ((struct socket *)c->data)->data;
}

void socket_send(struct connection *c, const char *text, size_t bytes)
{
        struct socket *s = c->data;

        if (!c->dead && !s->closing)
                send_frame(c, FRAME_TEXT, text, bytes);
}

void socket_send_binary(struct connection *c, const void *first, size_t first_bytes, const void *second, size_t second_bytes)
{
        struct socket *s = c->data;
        uint8_t head[FRAME_HEAD];

        if (c->dead || s->closing)
                return;
        connection_write(c, head, frame_head(head, FRAME_BINARY, first_bytes + second_bytes));
        connection_write(c, first, first_bytes);
        connection_write(c, second, second_bytes);
}

/* The list names the protocol. */
static bool offers(const char *list, const char *protocol)
{
        size_t n = strlen(protocol);

        for (const char *at = list; at && *at; at += strcspn(at, ",")) {
                at += strspn(at, ", \t");
                if (!strncmp(at, protocol, n) && strchr(", \t", at[n]))
                        return true;
        }
        return false;
}

bool socket_open(struct request *r, const char *protocol, uint64_t limit, const struct socket_user *user, void *data)
{
        const char *upgrade = request_header(r, HEADER_UPGRADE), *key = request_header(r, HEADER_WS_KEY), *version = request_header(r, HEADER_WS_VERSION),
                   *offered = request_header(r, HEADER_WS_PROTOCOL);
        struct connection *c = r->connection;
        struct socket *s;
        char accept[29], head[400];
        int n;

        if (!upgrade || strcasecmp(upgrade, "websocket") || !version || strcmp(version, "13") || !key || frame_accept_key(key, accept) < 0) {
                reply_header(r, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
                reply_problem(r, "request.upgrade", NULL, "A WebSocket handshake of version 13 is needed.");
                return false;
        }
        if (offered && !offers(offered, protocol)) {
                reply_problem(r, "request.malformed", NULL, "The subprotocol here is %s.", protocol);
                return false;
        }
        if (!admit_origin(r) || !admit_stream(r))
                return false;
        s = calloc(1, sizeof *s);
        if (!s) {
                reply_problem(r, "pool.busy", NULL, "Out of memory.");
                return false;
        }
        frame_reader_init(&s->reader, limit);
        s->user = user;
        s->data = data;
        n = snprintf(head, sizeof head,
                     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\nX-Request-Id: %s\r\n%s%s%s\r\n",
                     accept, r->id, offered ? "Sec-WebSocket-Protocol: " : "", offered ? protocol : "", offered ? "\r\n" : "");
        r->answered = true;
        r->server->counters.answers[1]++;
        connection_write(c, head, (size_t)n);
        if (c->dead) {
                free(s);
                return false;
        }
        request_detach(r, &socket_connection, s);
        connection_deadline(c, c->server->settings.ping_ns / 1000000);
        return true;
}
