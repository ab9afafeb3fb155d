/* link.c: where engines are, and the connections to them that are kept; see upstream.h. */
#include "gateway/upstream-internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#define IDLE_MS 50000          /* shorter than what servers keep, mostly; a lost race costs a replacement */
#define IDLE_MOST 256          /* of one engine */
#define RESOLVED_MS 30000
#define TARGETS_MOST 4096

/* "http://HOST:PORT/path" taken apart. */
static int parse(struct target *t)
{
        const char *host = t->address + 7, *end, *path, *port;
        bool six = host[0] == '[';

        if (strncmp(t->address, "http://", 7))
                return -EINVAL;
        path = strchr(host, '/');
        path = path ? path : host + strlen(host);
        end = six ? memchr(host, ']', (size_t)(path - host)) : memchr(host, ':', (size_t)(path - host));
        if (six && !end)
                return -EINVAL;
        end = end ? end : path;
        port = six ? end + 1 : end;
        host += six;
        if (end <= host || (size_t)(end - host) >= sizeof(t->host))
                return -EINVAL;
        snprintf(t->host, sizeof(t->host), "%.*s", (int)(end - host), host);
        if (port < path && (*port != ':' || path - port < 2 || path - port > 6 || strspn(port + 1, "0123456789") < (size_t)(path - port - 1)))
                return -EINVAL;
        snprintf(t->port, sizeof(t->port), "%.*s", port < path ? (int)(path - port - 1) : 2, port < path ? port + 1 : "80");
        if (snprintf(t->prefix, sizeof(t->prefix), "%s", path) >= (int)sizeof(t->prefix))
                return -EINVAL;
        for (size_t n = strlen(t->prefix); n && t->prefix[n - 1] == '/'; n--)
                t->prefix[n - 1] = 0;
        /* Paths begin with /v1 here, whether or not the address ends so. */
        if (strlen(t->prefix) >= 3 && !strcmp(t->prefix + strlen(t->prefix) - 3, "/v1"))
                t->prefix[strlen(t->prefix) - 3] = 0;
        return 0;
}

static void set_where(struct target *t, const struct sockaddr *address, socklen_t length)
{
        memcpy(&t->where, address, length);
        t->where_length = length;
        t->resolved_ms = server_now(t->all->server);
}

static void numeric(struct target *t)
{
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV}, *found;

        if (getaddrinfo(t->host, t->port, &hints, &found))
                return;
        set_where(t, found->ai_addr, found->ai_addrlen);
        t->numeric = true;
        freeaddrinfo(found);
}

/* Engines come and go with new ports: those that nobody uses make room. */
static void forget_some(struct upstreams *all)
{
        struct target *t, *next;

        HASH_ITER(hh, all->targets, t, next)
        {
                const struct upstream *u;
                bool used = t->idle_count || t->resolving;

                DL_FOREACH(all->active, u)
                        used = used || u->target == t;
                if (used)
                        continue;
                HASH_DEL(all->targets, t);
                free(t);
        }
}

int target_get(struct upstreams *all, const char *address, struct target **ret_target)
{
        struct target *t;
        int r;

        HASH_FIND_STR(all->targets, address, t);
        if (!t) {
                if (strlen(address) >= sizeof(t->address))
                        return -EINVAL;
                if (HASH_COUNT(all->targets) >= TARGETS_MOST)
                        forget_some(all);
                t = calloc(1, sizeof(*t));
                if (!t)
                        return -ENOMEM;
                t->all = all;
                strcpy(t->address, address);
                r = parse(t);
                if (r < 0) {
                        free(t);
                        return r;
                }
                numeric(t);
                HASH_ADD_STR(all->targets, address, t);
        }
        *ret_target = t;
        return 0;
}

static void on_resolved(uv_getaddrinfo_t *question, int status, struct addrinfo *found)
{
        struct target *t = question->data;
        struct upstreams *all = t->all;
        struct upstream *u, *next;

        t->resolving = false;
        all->handles--;
        if (status == 0)
                set_where(t, found->ai_addr, found->ai_addrlen);
        uv_freeaddrinfo(found);
        if (all->closed) {
                upstreams_free(all);
                return;
        }
        DL_FOREACH_SAFE(all->active, u, next)
        {
                if (u->target != t || u->stage != UPSTREAM_RESOLVING)
                        continue;
                if (status == 0)
                        exchange_go(u);
                else
                        exchange_fail(u, "the name of the engine's host is not known");
        }
}

int target_resolve(struct target *t)
{
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
        int r;

        if (t->numeric || (t->where_length && server_now(t->all->server) - t->resolved_ms < RESOLVED_MS))
                return 0;
        if (t->resolving)
                return -EAGAIN;
        t->question.data = t;
        r = uv_getaddrinfo(t->all->server->loop, &t->question, on_resolved, t->host, t->port, &hints);
        if (r < 0)
                return r;
        t->resolving = true;
        t->all->handles++;
        return -EAGAIN;
}

static void on_closed(uv_handle_t *handle)
{
        struct link *l = handle->data;
        struct upstreams *all = l->all;

        all->handles--;
        free(l);
        upstreams_free(all);
}

void link_close(struct link *l)
{
        if (l->closing)
                return;
        l->closing = true;
        if (!l->exchange) {
                DL_DELETE(l->target->idle, l);
                l->target->idle_count--;
                l->all->counts.idle--;
        } else {
                l->exchange->link = NULL;
                l->exchange = NULL;
        }
        l->all->counts.open--;
        uv_poll_stop(&l->poll);
        close(l->fd);
        uv_close((uv_handle_t *)&l->poll, on_closed);
}

static void on_event(uv_poll_t *handle, int status, int events)
{
        struct link *l = handle->data;
        struct server *server = l->all->server;
        int error = 0;
        socklen_t length = sizeof(error);

        if (l->closing)
                return;
        if (!l->exchange) {
                /* Closed by the engine, or bytes that nobody asked for. */
                link_close(l);
                return;
        }
        if (l->connecting) {
                if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 || error || status < 0) {
                        exchange_fail(l->exchange, error == ECONNREFUSED ? "nothing listens at the engine's address" : "the engine can't be reached");
                        return;
                }
                if (!(events & UV_WRITABLE))
                        return;
                l->connecting = false;
        }
        if (events & UV_WRITABLE)
                exchange_writable(l);
        for (int i = 0; i < 4 && !l->closing && l->exchange && !l->exchange->paused && (events & UV_READABLE || status < 0); i++) {
                ssize_t n = recv(l->fd, server->scratch, SERVER_SCRATCH, 0);

                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        return;
                exchange_input(l, (const char *)server->scratch, n > 0 ? (size_t)n : 0);
                if (n < SERVER_SCRATCH)
                        return;
        }
}

void link_watch(struct link *l, int events)
{
        if (events == l->watched || l->closing)
                return;
        l->watched = events;
        if (!events)
                uv_poll_stop(&l->poll);
        else
                (void)uv_poll_start(&l->poll, events, on_event);
}

static int connect_new(struct target *t, struct link **ret_link)
{
        struct upstreams *all = t->all;
        struct link *l;
        int one = 1, fd = socket(t->where.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), r = 0;

        if (fd < 0)
                return -errno;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
        if (connect(fd, (const struct sockaddr *)&t->where, t->where_length) < 0 && errno != EINPROGRESS)
                r = -errno;
        l = r == 0 ? calloc(1, sizeof(*l)) : NULL;
        if (r == 0 && !l)
                r = -ENOMEM;
        if (r == 0)
                r = uv_poll_init(all->server->loop, &l->poll, fd);
        if (r < 0) {
                close(fd);
                free(l);
                return r;
        }
        l->poll.data = l;
        l->all = all;
        l->target = t;
        l->fd = fd;
        l->connecting = true;
        all->handles++;
        all->counts.open++;
        all->counts.connects++;
        *ret_link = l;
        return 0;
}

int link_take(struct upstream *u, bool fresh)
{
        struct target *t = u->target;
        struct link *l = fresh ? NULL : t->idle;
        int r;

        if (l) {
                DL_DELETE(t->idle, l);
                t->idle_count--;
                u->all->counts.idle--;
                u->all->counts.reused++;
                l->reused = true;
        } else {
                r = connect_new(t, &l);
                if (r < 0)
                        return r;
        }
        http_parser_init(&l->parser, HTTP_RESPONSE);
        l->parser.data = l;
        l->exchange = u;
        u->link = l;
        if (l->connecting)
                link_watch(l, UV_WRITABLE);
        return 0;
}

void link_keep(struct link *l)
{
        struct target *t = l->target;

        if (t->idle_count >= IDLE_MOST || l->all->closed) {
                link_close(l);
                return;
        }
        l->exchange->link = NULL;
        l->exchange = NULL;
        l->idle_until = server_now(l->all->server) + IDLE_MS;
        DL_PREPEND(t->idle, l);
        t->idle_count++;
        l->all->counts.idle++;
        link_watch(l, UV_READABLE);
}

void links_tick(struct upstreams *all, uint64_t now_ms)
{
        struct target *t, *next_target;
        struct link *l, *next;

        HASH_ITER(hh, all->targets, t, next_target)
        {
                DL_FOREACH_SAFE(t->idle, l, next)
                {
                        if (now_ms >= l->idle_until)
                                link_close(l);
                }
        }
}
