/* tunnel.c: exchanges with engines through the tunnel that a worker holds open (/worker/v1/tunnel): each a stream of wire/tunnel.h's frames; see upstream.h.
 *
 * Bounds. A stream's answer is held here while its client reads slowly: at most a window, since no more is credited. Bodies are sent as far as the worker credits and the connection's buffer has
 * room (SEND_MOST), streams in turn. A tunnel that goes ends all of its streams with an error. */
#include "gateway/admit.h"
#include "gateway/handlers.h"
#include "gateway/openai.h"
#include "gateway/socket.h"
#include "gateway/upstream-internal.h"

#include "service/engines.h"

#include <string.h>
#include <utlist.h>

#define PROTOCOL "berth.tunnel.v1"
#define SEND_MOST (256u << 10)

static void send_frame(struct tunnel *t, const uint8_t *frame, size_t length, const void *payload, size_t bytes)
{
        if (t->gone)
                return;
        t->all->counts.bytes_to_workers += length + bytes;
        socket_send_binary(t->connection, frame, length, payload, bytes);
}

static struct upstream *find(struct tunnel *t, uint32_t stream)
{
        struct upstream *u;

        HASH_FIND(of_tunnel, t->streams, &stream, sizeof(stream), u);
        return u;
}

/* ---- to the worker ---- */

static void push(struct upstream *u)
{
        struct tunnel *t = u->tunnel;
        uint8_t frame[TUNNEL_FRAME];

        while (u->body && u->sent < u->body_length && u->may_send && !t->gone) {
                size_t n = u->body_length - u->sent;

                if (connection_buffered(t->connection) >= SEND_MOST) {
                        t->blocked = true;
                        return;
                }
                n = n < TUNNEL_PAYLOAD ? n : TUNNEL_PAYLOAD;
                n = n < u->may_send ? n : u->may_send;
                send_frame(t, frame, tunnel_write_body(frame, u->stream, n), u->body + u->sent, n);
                u->sent += n;
                u->may_send -= (uint32_t)n;
        }
}

void tunnel_begin(struct upstream *u, const struct upstream_request *q)
{
        struct tunnel_request request = {.body_bytes = (uint32_t)q->body_length};
        uint8_t frame[TUNNEL_FRAME + TUNNEL_SMALL];
        struct tunnel *t;

        HASH_FIND(hh, u->all->tunnels, &q->worker, sizeof(q->worker), t);
        u->due_ms = server_now(u->all->server) + u->first_ms;
        if (!t || t->gone) {
                exchange_fail_later(u, "its worker's tunnel is not open");
                return;
        }
        if (q->body_length > UINT32_MAX || t->last == UINT32_MAX || HASH_CNT(of_tunnel, t->streams) >= TUNNEL_STREAMS) {
                exchange_fail_later(u, "its worker's tunnel has no room");
                return;
        }
        u->tunnel = t;
        u->stream = ++t->last;
        u->stage = UPSTREAM_RUNNING;
        u->may_send = TUNNEL_REQUEST_WINDOW;
        u->may_come = TUNNEL_ANSWER_WINDOW;
        HASH_ADD(of_tunnel, t->streams, stream, sizeof(u->stream), u);
        u->all->counts.streams++;
        u->all->counts.streams_ever++;
        snprintf(request.model, sizeof(request.model), "%s", q->model);
        snprintf(request.path, sizeof(request.path), "%s", q->path);
        snprintf(request.id, sizeof(request.id), "%s", q->id);
        send_frame(t, frame, tunnel_write_request(frame, u->stream, &request), NULL, 0);
        push(u);
}

static void forget_held(struct upstream *u, size_t bytes)
{
        u->held_begin += bytes;
        u->all->counts.held -= bytes;
        if (u->held_begin < u->held_end)
                return;
        u->held_begin = u->held_end = 0;
        free(take(u->held));
}

void tunnel_leave(struct upstream *u)
{
        struct tunnel *t = take(u->tunnel);
        uint8_t frame[TUNNEL_FRAME];

        HASH_DELETE(of_tunnel, t->streams, u);
        u->all->counts.streams--;
        forget_held(u, u->held_end - u->held_begin);
        if (!u->over)
                send_frame(t, frame, tunnel_write_cancel(frame, u->stream), NULL, 0);
}

/* ---- from the worker ---- */

/* Hands a part of the answer on; NULL: the exchange is gone. */
static struct upstream *hand_on(struct upstream *u, const char *data, size_t length)
{
        struct tunnel *t = u->tunnel;
        uint32_t stream = u->stream;
        uint8_t frame[TUNNEL_FRAME + TUNNEL_SMALL];

        u->calls->body(u->context, data, length);
        u = find(t, stream);
        if (!u)
                return NULL;
        u->taken += (uint32_t)length;
        if (u->taken >= TUNNEL_ANSWER_WINDOW / 2 && !u->over) {
                send_frame(t, frame, tunnel_write_credit(frame, stream, u->taken), NULL, 0);
                u->may_come += u->taken;
                u->taken = 0;
        }
        return u;
}

bool tunnel_is_due(const struct upstream *u)
{
        return u->tunnel && !u->paused && (u->held_begin < u->held_end || u->over);
}

void tunnel_go_on(struct upstream *u)
{
        struct tunnel *t = u->tunnel;

        t->depth++;
        while (u && !u->paused && u->held_begin < u->held_end) {
                char part[TUNNEL_PAYLOAD];
                size_t n = u->held_end - u->held_begin;

                n = n < sizeof(part) ? n : sizeof(part);
                memcpy(part, u->held + u->held_begin, n);
                forget_held(u, n);
                u = hand_on(u, part, n);
        }
        if (u && tunnel_is_due(u))
                exchange_end(u, u->last_words ? -EPIPE : 0, u->last_words ? u->last_words : "");
        if (!--t->depth && t->gone)
                free(t);
}

static int on_body(struct upstream *u, const struct tunnel_frame *f)
{
        if (!u->headed || f->length > u->may_come)
                return -EPROTO;
        u->may_come -= (uint32_t)f->length;
        u->due_ms = server_now(u->all->server) + u->quiet_ms;
        if (!u->paused && u->held_begin == u->held_end) {
                (void)!hand_on(u, (const char *)f->payload, f->length);
                return 0;
        }
        if (!u->held)
                u->held = malloc(TUNNEL_ANSWER_WINDOW);
        if (!u->held) {
                exchange_fail(u, "out of memory");
                return 0;
        }
        if (u->held_end + f->length > TUNNEL_ANSWER_WINDOW) {
                memmove(u->held, u->held + u->held_begin, u->held_end - u->held_begin);
                u->held_end -= u->held_begin;
                u->held_begin = 0;
        }
        memcpy(u->held + u->held_end, f->payload, f->length);
        u->held_end += f->length;
        u->all->counts.held += f->length;
        return 0;
}

static int on_head(struct upstream *u, const struct tunnel_frame *f)
{
        struct tunnel_answer a;

        if (u->headed || tunnel_read_answer(f, &a) < 0)
                return -EPROTO;
        u->headed = u->any = true;
        u->due_ms = server_now(u->all->server) + u->quiet_ms;
        u->answer.status = (int)a.status;
        u->answer.retry_after_s = a.retry_after_s;
        snprintf(u->answer.type, sizeof(u->answer.type), "%s", a.type);
        if (u->sent < u->body_length && a.status < 300) {
                exchange_fail(u, "the engine answered before it had the request");
                return 0;
        }
        /* Refused in the middle of a long body: the rest is not sent. */
        u->body = NULL;
        u->body_length = u->sent = 0;
        u->calls->head(u->context, &u->answer);
        return 0;
}

static int on_end(struct upstream *u, const struct tunnel_frame *f)
{
        char text[TUNNEL_TEXT];
        enum tunnel_end how;

        if (tunnel_read_end(f, &how, text) < 0 || (how == TUNNEL_WHOLE && !u->headed))
                return -EPROTO;
        u->over = true;
        if ((how == TUNNEL_BUSY || how == TUNNEL_GONE) && !u->headed) {
                u->all->counts.turned_away++;
                exchange_end(u, -EBUSY, text);
                return 0;
        }
        u->last_words = how == TUNNEL_WHOLE ? NULL : strdup(text[0] ? text : "the engine broke off");
        if (how != TUNNEL_WHOLE && !u->last_words)
                exchange_fail(u, "out of memory");
        else if (tunnel_is_due(u) && u->held_begin == u->held_end)
                exchange_end(u, u->last_words ? -EPIPE : 0, u->last_words ? u->last_words : "");
        return 0;
}

static int on_frame(struct tunnel *t, const struct tunnel_frame *f)
{
        struct upstream *u = f->kind == TUNNEL_FREE ? NULL : find(t, f->stream);
        char model[TUNNEL_MODEL];
        uint32_t credit;

        if (f->kind == TUNNEL_FREE) {
                if (tunnel_read_free(f, model) < 0)
                        return -EPROTO;
                service_tunnel_free(t->all->server->service, &t->worker, model);
                server_turn_soon(t->all->server);
                return 0;
        }
        if (f->stream > t->last)
                return -EPROTO;
        /* It crossed the cancellation on its way. */
        if (!u || u->over)
                return 0;
        switch (f->kind) {
        case TUNNEL_HEAD:
                return on_head(u, f);
        case TUNNEL_BODY:
                return on_body(u, f);
        case TUNNEL_END:
                return on_end(u, f);
        case TUNNEL_CREDIT:
                if (tunnel_read_credit(f, &credit) < 0 || u->may_send + credit > 2 * TUNNEL_REQUEST_WINDOW)
                        return -EPROTO;
                u->may_send += credit;
                if (!u->headed)
                        u->due_ms = server_now(u->all->server) + u->first_ms;
                push(u);
                return 0;
        case TUNNEL_OPEN:
        case TUNNEL_CANCEL:
        case TUNNEL_FREE:
                break;
        }
        return -EPROTO;
}

static void on_message(struct connection *c, const uint8_t *data, size_t bytes)
{
        struct tunnel *t = socket_data(c);
        struct tunnel_frame f;
        int r;

        t->all->counts.bytes_from_workers += bytes;
        t->depth++;
        do {
                r = tunnel_next(&data, &bytes, false, &f);
                if (r == 1 && on_frame(t, &f) < 0)
                        r = -EPROTO;
        } while (r == 1 && !t->gone);
        if (r < 0 && !t->gone) {
                t->all->counts.malformed++;
                socket_close(c, FRAME_CLOSE_PROTOCOL, "not a frame that is taken here");
        }
        if (!--t->depth && t->gone)
                free(t);
}

static void on_drained(struct connection *c)
{
        struct tunnel *t = socket_data(c);

        if (!t->blocked)
                return;
        t->blocked = false;
        for (struct upstream *u = t->streams; u; u = u->of_tunnel.next)
                push(u);
}

/* Whoever has a stream in it hears that it broke. */
static void end_streams(struct tunnel *t)
{
        t->gone = true;
        while (t->streams)
                exchange_fail(t->streams, "the connection to the engine's worker was lost");
}

static void on_gone(struct connection *c)
{
        struct tunnel *t = socket_data(c);
        struct upstreams *all = t->all;

        server_turn_soon(c->server);
        all->counts.tunnels--;
        t->depth++;
        t->gone = true;
        if (t->current) {
                HASH_DELETE(hh, all->tunnels, t);
                service_tunnel_closed(c->server->service, &t->worker);
        }
        end_streams(t);
        if (!--t->depth)
                free(t);
        all->handles--;
        upstreams_free(all);
}

static const struct socket_user tunnel_user = {.binary = on_message, .drained = on_drained, .gone = on_gone};

void handle_worker_tunnel(struct request *r)
{
        struct server *server = r->server;
        struct connection *c = r->connection;
        const char *credential = request_header(r, HEADER_BERTH_TUNNEL);
        struct upstreams *all = server->generations->upstreams;
        struct tunnel *t, *before;
        struct id worker;

        if (!credential) {
                reply_problem(r, "request.upgrade", NULL, "A WebSocket handshake with X-Berth-Tunnel is needed.");
                return;
        }
        if (service_tunnel_whose(server->service, &r->caller, credential, &worker) < 0) {
                reply_problem(r, "auth.forbidden", NULL, "A tunnel is opened with what the worker's welcome told.");
                return;
        }
        t = calloc(1, sizeof(*t));
        if (!t) {
                reply_problem(r, "pool.busy", NULL, "Out of memory.");
                return;
        }
        *t = (struct tunnel){.worker = worker, .all = all, .connection = c};
        if (!socket_open(r, PROTOCOL, TUNNEL_MESSAGE, &tunnel_user, t)) {
                free(t);
                return;
        }
        all->handles++;
        all->counts.tunnels++;
        if (c->dead) {
                t->gone = true;
                return;
        }
        HASH_FIND(hh, all->tunnels, &worker, sizeof(worker), before);
        if (before) {
                HASH_DELETE(hh, all->tunnels, before);
                before->current = false;
                end_streams(before);
                socket_close(before->connection, FRAME_CLOSE_POLICY, "the same worker opened another");
        }
        t->current = true;
        HASH_ADD(hh, all->tunnels, worker, sizeof(t->worker), t);
        service_tunnel_opened(server->service, &worker);
        server_turn_soon(server);
}
