/* upstream.c: exchanges with engines: a request sent, its answer read as it comes; see upstream.h. */
#include "gateway/upstream-internal.h"

#include "base/error.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utlist.h>

#define CONNECT_MS 5000
#define HEAD_MOST (64 << 10)

void upstreams_free(struct upstreams *all)
{
        struct target *t, *next;

        if (!all->closed || all->handles)
                return;
        HASH_ITER(hh, all->targets, t, next)
        {
                HASH_DEL(all->targets, t);
                free(t);
        }
        free(all);
}

static void exchange_free(struct upstream *u)
{
        DL_DELETE(u->all->active, u);
        free(u->head);
        free(u->held);
        free(u->last_words);
        free(u);
}

void exchange_end(struct upstream *u, int error, const char *text)
{
        const struct upstream_calls *calls = u->calls;
        char *words = take(u->last_words); /* text may be this */
        void *context = u->context;
        bool any = u->any;

        if (u->tunnel)
                tunnel_leave(u);
        if (u->link && (error || !u->keep))
                link_close(u->link);
        else if (u->link)
                link_keep(u->link);
        u->all->counts.failed += error && error != -EBUSY;
        exchange_free(u);
        calls->end(context, error, text, any);
        free(words);
}

void exchange_fail(struct upstream *u, const char *text)
{
        exchange_end(u, -EPIPE, text);
}

static void on_later(uv_idle_t *handle)
{
        struct upstreams *all = handle->data;
        struct upstream *u;
        bool more = true;

        while (more) {
                more = false;
                DL_FOREACH(all->active, u)
                {
                        if (u->stage != UPSTREAM_FAILED && !tunnel_is_due(u))
                                continue;
                        /* What the call does may end others: begin anew. */
                        if (u->stage == UPSTREAM_FAILED)
                                exchange_fail(u, u->failure);
                        else
                                tunnel_go_on(u);
                        more = true;
                        break;
                }
        }
        uv_idle_stop(handle);
}

void exchange_later(struct upstreams *all)
{
        uv_idle_start(&all->later, on_later);
}

void exchange_fail_later(struct upstream *u, const char *text)
{
        u->stage = UPSTREAM_FAILED;
        u->failure = text;
        exchange_later(u->all);
}

/* ---- sending ---- */

/* 0: all of it; -EAGAIN; another error. */
static int push(struct upstream *u)
{
        while (u->sent < u->head_length + u->body_length) {
                size_t of_body = u->sent > u->head_length ? u->sent - u->head_length : 0;
                struct iovec parts[2] = {
                        {.iov_base = u->head + (u->sent < u->head_length ? u->sent : u->head_length), .iov_len = u->sent < u->head_length ? u->head_length - u->sent : 0},
                        {.iov_base = (char *)u->body + of_body, .iov_len = u->body_length - of_body},
                };
                struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
                ssize_t n = sendmsg(u->link->fd, &message, MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                u->sent += (size_t)n;
        }
        return 0;
}

static void look(struct upstream *u, int blocked)
{
        link_watch(u->link, (u->paused ? 0 : UV_READABLE) | (blocked ? UV_WRITABLE : 0));
}

static int write_more(struct upstream *u)
{
        int r = push(u);

        if (r < 0 && r != -EAGAIN)
                return r;
        u->stage = UPSTREAM_RUNNING;
        look(u, r == -EAGAIN);
        return 0;
}

static bool again_on_a_fresh_one(struct upstream *u)
{
        if (!u->link || !u->link->reused || u->any)
                return false;
        link_close(u->link);
        u->all->counts.replaced++;
        u->sent = 0;
        return link_take(u, true) == 0;
}

void exchange_writable(struct link *l)
{
        struct upstream *u = l->exchange;

        /* Refused in the middle of a long body: its answer may say why, and is read. */
        if (u->stage == UPSTREAM_OPENING)
                u->due_ms = server_now(u->all->server) + u->first_ms;
        if (write_more(u) < 0 && !again_on_a_fresh_one(u))
                look(u, 0);
}

void exchange_go(struct upstream *u)
{
        int r = target_resolve(u->target);

        u->due_ms = server_now(u->all->server) + CONNECT_MS;
        if (r == -EAGAIN) {
                u->stage = UPSTREAM_RESOLVING;
                return;
        }
        u->stage = UPSTREAM_OPENING;
        if (r == 0)
                r = link_take(u, false);
        if (r < 0) {
                exchange_fail_later(u, r == -EMFILE || r == -ENFILE ? "too many open connections here" : "the engine can't be reached");
                return;
        }
        if (u->link->connecting)
                return;
        u->due_ms = server_now(u->all->server) + u->first_ms;
        if (write_more(u) < 0 && !again_on_a_fresh_one(u))
                exchange_fail_later(u, "the engine closed the connection");
}

/* ---- the answer ---- */

static struct upstream *of(http_parser *p)
{
        return ((struct link *)p->data)->exchange;
}

static int on_status(http_parser *p, const char *text, size_t length)
{
        struct upstream *u = of(p);

        u->any = true;
        return 0;
}

static int count_head(struct upstream *u, size_t length)
{
        u->head_bytes += (uint32_t)length;
        return u->head_bytes > HEAD_MOST ? -1 : 0;
}

static int on_field(http_parser *p, const char *text, size_t length)
{
        struct upstream *u = of(p);

        if (u->in_value)
                u->name_length = 0;
        u->in_value = false;
        /* Those that are longer than what is looked at fill it and match nothing. */
        for (size_t i = 0; i < length && u->name_length < sizeof(u->name); i++)
                u->name[u->name_length++] = text[i];
        return count_head(u, length);
}

static int on_value(http_parser *p, const char *text, size_t length)
{
        struct upstream *u = of(p);

        if (!u->in_value)
                u->header = u->name_length == 12 && !strncasecmp(u->name, "content-type", 12) ? 1 : u->name_length == 11 && !strncasecmp(u->name, "retry-after", 11) ? 2 : 0;
        u->in_value = true;
        if (u->header == 1) {
                size_t n = strlen(u->answer.type);

                for (size_t i = 0; i < length && n + 1 < sizeof(u->answer.type); i++)
                        u->answer.type[n++] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
                u->answer.type[n] = 0;
        } else if (u->header == 2) {
                for (size_t i = 0; i < length && u->number_length + 1u < sizeof(u->number); i++)
                        u->number[u->number_length++] = text[i];
        }
        return count_head(u, length);
}

/* After each call out the exchange may be gone, and its link with it. */
static int on_head(http_parser *p)
{
        struct link *l = p->data;
        struct upstream *u = l->exchange;
        uint64_t number;

        if (p->status_code < 200)
                return 0;
        u->number[u->number_length] = 0;
        u->answer.status = p->status_code;
        u->answer.retry_after_s = text_parse_u64(u->number, 0, 86400, &number) == 0 ? number : 0;
        /* An answer before the request was read whole: the rest is not sent, and the connection not used again. */
        u->keep = u->keep && u->sent == u->head_length + u->body_length;
        free(take(u->head));
        u->head_length = u->body_length = u->sent = 0;
        u->body = NULL;
        look(u, 0);
        u->calls->head(u->context, &u->answer);
        return l->exchange ? 0 : -1;
}

static int on_data(http_parser *p, const char *text, size_t length)
{
        struct link *l = p->data;

        l->exchange->calls->body(l->exchange->context, text, length);
        return l->exchange ? 0 : -1;
}

static int on_whole(http_parser *p)
{
        struct upstream *u = of(p);

        /* 100 Continue and its like go before the answer. */
        if (p->status_code < 200)
                return 0;
        u->complete = true;
        u->keep = u->keep && http_should_keep_alive(p);
        http_parser_pause(p, 1);
        return 0;
}

static const http_parser_settings parser_settings = {
        .on_status = on_status, .on_header_field = on_field, .on_header_value = on_value, .on_headers_complete = on_head, .on_body = on_data, .on_message_complete = on_whole,
};

void exchange_input(struct link *l, const char *data, size_t length)
{
        struct upstream *u = l->exchange;
        size_t used;

        if (!length && !u->any && again_on_a_fresh_one(u))
                return;
        u->any = u->any || length;
        u->due_ms = server_now(u->all->server) + u->quiet_ms;
        used = http_parser_execute(&l->parser, &parser_settings, data, length);
        u = l->exchange;
        if (!u)
                return;
        if (u->complete) {
                http_parser_pause(&l->parser, 0);
                u->keep = u->keep && used == length;
                exchange_end(u, 0, "");
        } else if (HTTP_PARSER_ERRNO(&l->parser) != HPE_OK) {
                exchange_fail(u, length ? "the engine's answer is not HTTP" : "the engine closed the connection in the middle of its answer");
        } else if (!length) {
                exchange_fail(u, u->any ? "the engine closed the connection in the middle of its answer" : "the engine closed the connection without an answer");
        }
}

/* ---- for others ---- */

int upstream_begin(struct upstreams *all, const struct upstream_request *q, const struct upstream_calls *calls, void *context, struct upstream **ret)
{
        struct target *t = NULL;
        struct upstream *u;
        int n, r = q->address ? target_get(all, q->address, &t) : 0;

        if (r < 0)
                return r;
        u = calloc(1, sizeof(*u));
        if (!u)
                return -ENOMEM;
        *u = (struct upstream){.all = all, .target = t, .calls = calls, .context = context, .body = q->body, .body_length = q->body_length, .first_ms = q->first_ms,
                               .quiet_ms = q->quiet_ms, .keep = true};
        if (!t) {
                DL_APPEND(all->active, u);
                *ret = u;
                tunnel_begin(u, q);
                return 0;
        }
        n = asprintf(&u->head, "POST %s%s HTTP/1.1\r\nHost: %s%s%s:%s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nX-Request-Id: %s\r\n%s%s%s\r\n", t->prefix, q->path,
                     strchr(t->host, ':') ? "[" : "", t->host, strchr(t->host, ':') ? "]" : "", t->port, q->body_length, q->id, q->key ? "Authorization: Bearer " : "",
                     q->key ? q->key : "", q->key ? "\r\n" : "");
        if (n < 0) {
                free(u);
                return -ENOMEM;
        }
        u->head_length = (size_t)n;
        DL_APPEND(all->active, u);
        *ret = u;
        exchange_go(u);
        return 0;
}

void upstream_cancel(struct upstream *u)
{
        if (u->link)
                link_close(u->link);
        if (u->tunnel)
                tunnel_leave(u);
        exchange_free(u);
}

void upstream_pause(struct upstream *u, bool pause)
{
        if (u->paused == pause)
                return;
        u->paused = pause;
        if (tunnel_is_due(u))
                exchange_later(u->all);
        if (u->link && !u->link->connecting)
                look(u, u->link->watched & UV_WRITABLE);
}

void upstreams_tick(struct upstreams *all)
{
        uint64_t now_ms = server_now(all->server);
        bool more = true;
        struct upstream *u;

        links_tick(all, now_ms);
        while (more) {
                more = false;
                DL_FOREACH(all->active, u)
                {
                        /* Who is paused waits for its client, not for the engine. */
                        if (u->paused || now_ms < u->due_ms || u->stage == UPSTREAM_FAILED)
                                continue;
                        exchange_fail(u, u->stage == UPSTREAM_RUNNING ? "the engine said nothing for too long" : "the engine can't be reached in time");
                        more = true;
                        break;
                }
        }
}

int upstreams_open(struct server *server, struct upstreams **ret_all)
{
        struct upstreams *all = calloc(1, sizeof(*all));

        if (!all)
                return -ENOMEM;
        all->server = server;
        uv_idle_init(server->loop, &all->later);
        all->later.data = all;
        all->handles = 1;
        *ret_all = all;
        return 0;
}

static void on_later_closed(uv_handle_t *handle)
{
        struct upstreams *all = handle->data;

        all->handles--;
        upstreams_free(all);
}

void upstreams_close(struct upstreams *all)
{
        struct target *t, *next;

        if (!all)
                return;
        all->closed = true;
        while (all->active)
                upstream_cancel(all->active);
        HASH_ITER(hh, all->targets, t, next)
        {
                while (t->idle)
                        link_close(t->idle);
                if (t->resolving)
                        (void)uv_cancel((uv_req_t *)&t->question);
        }
        uv_close((uv_handle_t *)&all->later, on_later_closed);
}

void upstreams_counts(const struct upstreams *all, struct upstream_counts *ret)
{
        *ret = all->counts;
}
