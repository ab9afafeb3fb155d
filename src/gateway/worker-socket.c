/* worker-socket.c: /worker/v1: a worker's WebSocket and the service's worker, tied together (docs/worker-protocol.md). */
#include "gateway/admit.h"
#include "gateway/handlers.h"
#include "gateway/socket.h"

#include "base/error.h"

#include <string.h>

#define PROTOCOL "berth.worker.v1"
#define MESSAGE_MAX (1 << 20)

struct link {
        struct connection *connection;
        struct service_worker *worker;   /* NULL: let go of */
};

static int to_worker(void *context, const char *text, size_t bytes)
{
        struct link *link = context;
        struct connection *c = link->connection;

        if (c->dead || connection_buffered(c) + bytes > c->server->settings.worker_buffer)
                return -EAGAIN;
        socket_send(c, text, bytes);
        return c->dead ? -EAGAIN : 0;
}

/* The service ends it. */
static void ended(void *context, const char *reason)
{
        struct link *link = context;

        socket_close(link->connection, FRAME_CLOSE_POLICY, reason ? reason : "");
}

static void message(struct connection *c, const char *text, size_t bytes)
{
        struct link *link = socket_data(c);

        server_turn_soon(c->server);
        if (service_worker_receive(link->worker, text, bytes) < 0)
                socket_close(c, FRAME_CLOSE_POLICY, "see the error before this");
}

static void gone(struct connection *c)
{
        struct link *link = socket_data(c);

        server_turn_soon(c->server);
        if (link->worker)
                service_worker_closed(link->worker);
        free(link);
}

static const struct socket_user worker_user = {.message = message, .gone = gone};

void handle_worker_socket(struct request *r)
{
        struct server *server = r->server;
        struct connection *c = r->connection;
        struct link *link = calloc(1, sizeof *link);

        if (!link) {
                reply_problem(r, "pool.busy", NULL, "Out of memory.");
                return;
        }
        link->connection = c;
        if (!socket_open(r, PROTOCOL, MESSAGE_MAX, &worker_user, link)) {
                free(link);
                return;
        }
        link->worker = service_worker_open(server->service, admit_caller(c), c->address, to_worker, ended, link);
        if (!link->worker)
                socket_close(c, FRAME_CLOSE_AGAIN, "not now");
        server_turn_soon(server);
}
