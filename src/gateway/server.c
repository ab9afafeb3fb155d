/* server.c: the loop: listening, accepting, the service's turns, what is overdue, an orderly end; see gateway.h. */
#define LOG_ROOM "gateway"
#include "gateway/admit.h"
#include "gateway/connection.h"
#include "gateway/events.h"
#include "gateway/forward.h"
#include "gateway/openai.h"
#include "gateway/openapi.h"
#include "gateway/socket.h"
#include "gateway/tls.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#define ACCEPTS_AT_ONCE 64
#define DESCRIPTORS_KEPT 128 /* for the store, logs, artifacts, what libraries open */
#define LOOK_AGAIN_MS 30000
#define PARTIES_MAX 200000

uint64_t server_now(const struct server *server)
{
        return uv_now(server->loop);
}

struct account_now server_account_now(struct server *server, uint8_t random[64], const char *address)
{
        struct timespec t;

        if (server->chance_left < 64) {
                if (getrandom(server->chance, sizeof server->chance, 0) != sizeof server->chance) {
                        /* Only before the kernel's generator was ever ready; nothing secret may be made then. */
                        log_error("no random bytes from the system");
                        abort();
                }
                server->chance_left = sizeof server->chance;
        }
        /* Each byte is handed out once. */
        server->chance_left -= 64;
        memcpy(random, server->chance + server->chance_left, 64);
        explicit_bzero(server->chance + server->chance_left, 64);
        clock_gettime(CLOCK_REALTIME, &t);
        return (struct account_now){.unix_ms = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000, .monotonic_ms = clock_now_ns() / NS_PER_MS, .random = random,
                                    .address = address};
}

static void accept_one(struct server *server, int fd, const struct sockaddr_storage *address)
{
        struct limit_party *network;
        struct connection *c;
        uint8_t key[16];
        char text[64];
        int one = 1, patience = (int)(server->settings.write_ns / 1000000);

        limit_address((const struct sockaddr *)address, key, text);
        network = limit_party(&server->networks, key);
        if (server->connection_count >= server->connection_max || !network || network->connections >= server->settings.strangers_per_address) {
                server->counters.refused_connections++;
                close(fd);
                return;
        }
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience, sizeof patience);
        c = connection_new(server, fd, network, text);
        if (!c)
                return;
        server->counters.accepted++;
        http_parser_init(&c->parser, HTTP_REQUEST);
        c->parser.data = c;
        c->user = &http_user;
        connection_deadline(c, server->settings.head_ns / 1000000);
}

static void on_listening(uv_poll_t *handle, int status, int events)
{
        struct server *server = handle->data;

        for (unsigned i = 0; i < ACCEPTS_AT_ONCE && server->listener >= 0; i++) {
                struct sockaddr_storage address = {0};
                socklen_t length = sizeof address;
                int fd = accept4(server->listener, (struct sockaddr *)&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);

                if (fd >= 0) {
                        accept_one(server, fd, &address);
                        continue;
                }
                if (errno == EINTR || errno == ECONNABORTED)
                        continue;
                if (errno != EAGAIN)
                        server->counters.refused_connections++;
                /* Out of descriptors: the tick looks again, so that this does not spin. */
                if (errno == EMFILE || errno == ENFILE)
                        uv_poll_stop(handle);
                return;
        }
}

static void on_wake(uv_async_t *handle)
{
        struct server *server = handle->data;

        server->turn_due = true;
}

static void wake(void *context)
{
        struct server *server = context;

        uv_async_send(&server->wake);
}

static void on_turn(uv_timer_t *handle)
{
        struct server *server = handle->data;

        server->turn_due = true;
}

static void on_more(uv_idle_t *handle)
{
}

/* Before the loop sleeps: the service has its turn, subscribers get what was told, buffers are flushed. */
static void on_prepare(uv_prepare_t *handle)
{
        struct server *server = handle->data;
        uint64_t next;

        if (server->turn_due && server->service) {
                server->turn_due = false;
                next = service_turn(server->service);
                uv_update_time(server->loop);
                uv_timer_start(&server->turn, on_turn, next < 60000 ? next : 60000, 0);
        }
        hub_pump(server->hub);
        connections_flush(server);
        if (server->turn_due || server->dirty || hub_has_more(server->hub))
                uv_idle_start(&server->more, on_more);
        else
                uv_idle_stop(&server->more);
}

static void close_all(struct server *server)
{
        struct connection *c, *next;

        DL_FOREACH_SAFE(server->connections, c, next)
        {
                connection_kill(c);
        }
}

static void on_handle_closed(uv_handle_t *handle)
{
        struct server *server = handle->data;

        server->handles--;
}

static void close_handles(struct server *server)
{
        uv_handle_t *const handles[] = {(uv_handle_t *)&server->wake, (uv_handle_t *)&server->tick, (uv_handle_t *)&server->turn,
                                        (uv_handle_t *)&server->prepare, (uv_handle_t *)&server->more};

        for (size_t i = 0; i < ARRAY_SIZE(handles); i++)
                if (!uv_is_closing(handles[i]))
                        uv_close(handles[i], on_handle_closed);
        forwards_close(take(server->forwards));
        generations_close(take(server->generations));
}

static void overdue(struct server *server)
{
        uint64_t now = server_now(server);
        struct connection *c, *next;

        DL_FOREACH_SAFE(server->connections, c, next)
        {
                if (c->write_deadline && now >= c->write_deadline) {
                        server->counters.too_slow++;
                        connection_kill(c);
                } else if (c->deadline && now >= c->deadline) {
                        c->deadline = 0;
                        if (c->handshaken && c->user->overdue)
                                c->user->overdue(c);
                        else
                                connection_kill(c);
                }
        }
}

static void on_tick(uv_timer_t *handle)
{
        struct server *server = handle->data;
        static const uint64_t every = LOOK_AGAIN_MS / 1000;
        uint64_t now = server_now(server);

        overdue(server);
        if (server->generations && server->service) /* a start that failed is undone here, too */
                generations_tick(server->generations);
        if (server->listener >= 0 && !uv_is_active((uv_handle_t *)&server->listening))
                (void)uv_poll_start(&server->listening, UV_READABLE, on_listening);
        if (now / 1000 % every == 0)
                admit_look_again(server);
        if (server->stopping && (!server->connections || now >= server->stop_at) && !server->password_works) {
                generations_stop(server->generations);
                connections_flush(server);
                close_all(server);
                close_handles(server);
        }
}

void server_stop(struct server *server)
{
        struct connection *c, *next;

        if (server->stopping)
                return;
        server->stopping = true;
        server->stop_at = server_now(server) + server->settings.stop_ns / 1000000;
        uv_poll_stop(&server->listening);
        uv_close((uv_handle_t *)&server->listening, on_handle_closed);
        close(server->listener);
        server->listener = -1;
        /* Whoever is between two requests, or only listens, has nothing to wait for. */
        DL_FOREACH_SAFE(server->connections, c, next)
        {
                if (c->user == &http_user && !c->request)
                        connection_finish(c);
                else if (connection_is_socket(c))
                        socket_close(c, FRAME_CLOSE_AWAY, "the pool is stopping");
        }
        hub_stop(server->hub);
        uv_timer_start(&server->tick, on_tick, 20, 50);
}

static void tell_url(struct server *server, const char *host, const struct sockaddr_storage *address)
{
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
        const struct sockaddr_in *four = (const struct sockaddr_in *)address;
        uint16_t port = ntohs(address->ss_family == AF_INET6 ? six->sin6_port : four->sin_port);
        bool any = address->ss_family == AF_INET6 ? IN6_IS_ADDR_UNSPECIFIED(&six->sin6_addr) : four->sin_addr.s_addr == INADDR_ANY;
        char name[256];

        if (any && gethostname(name, sizeof name) == 0)
                host = name;
        snprintf(server->origin_host, sizeof server->origin_host, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
        snprintf(server->url, sizeof server->url, "%s://%s", server->tls ? "https" : "http", server->origin_host);
}

static int listen_at(struct server *server, char message[SERVER_MESSAGE])
{
        const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
        struct sockaddr_storage address;
        socklen_t length = sizeof address;
        struct addrinfo *found;
        char host[128], service[8];
        int one = 1, zero = 0, r;
        uint16_t port;

        if (gateway_parse_listen(server->settings.listen, host, &port) < 0) {
                snprintf(message, SERVER_MESSAGE, "pool.listen = %s: not of the form ADDRESS:PORT", server->settings.listen);
                return -E_CONFIG;
        }
        snprintf(service, sizeof service, "%u", port);
        r = getaddrinfo(host, service, &wanted, &found);
        if (r) {
                snprintf(message, SERVER_MESSAGE, "pool.listen = %s: %s", server->settings.listen, gai_strerror(r));
                return -E_CONFIG;
        }
        server->listener = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (server->listener >= 0) {
                (void)setsockopt(server->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
                if (found->ai_family == AF_INET6)
                        (void)setsockopt(server->listener, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
        }
        r = server->listener < 0 || bind(server->listener, found->ai_addr, found->ai_addrlen) < 0 || listen(server->listener, 4096) < 0 ||
                            getsockname(server->listener, (struct sockaddr *)&address, &length) < 0
                    ? -errno
                    : 0;
        freeaddrinfo(found);
        if (r < 0)
                snprintf(message, SERVER_MESSAGE, "can't listen at %s: %s", server->settings.listen, strerror(-r));
        else
                tell_url(server, host, &address);
        return r;
}

/* What the system allows, and what the settings ask for. */
static void count_descriptors(struct server *server)
{
        struct rlimit limit;
        rlim_t wanted = server->settings.max_connections + DESCRIPTORS_KEPT;

        server->connection_max = server->settings.max_connections;
        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return;
        if (limit.rlim_cur < wanted) {
                limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
                (void)setrlimit(RLIMIT_NOFILE, &limit);
                (void)getrlimit(RLIMIT_NOFILE, &limit);
        }
        if (limit.rlim_cur < wanted) {
                server->connection_max = limit.rlim_cur > 2 * DESCRIPTORS_KEPT ? limit.rlim_cur - DESCRIPTORS_KEPT : limit.rlim_cur / 2;
                log_debug("%zu connections at most: the system allows %llu descriptors, %llu are wanted (limits.connections)", server->connection_max,
                           (unsigned long long)limit.rlim_cur, (unsigned long long)wanted);
        }
}

/* What others reach us by, when there may be others. */
static const char *own_address(struct server *server)
{
        char *address = server->settings.server;
        size_t n = strlen(address);

        while (n && address[n - 1] == '/')
                address[--n] = 0;
        if (n || strncmp(server->settings.store, "postgres", 8))
                return n ? address : NULL;
        return server->url;
}

static int open_service(struct server *server, char message[SERVER_MESSAGE])
{
        const struct gateway_settings *s = &server->settings;
        struct core_settings core = core_default_settings;
        struct generate_settings generate = generate_default_settings;
        const struct service_options options = {
                .store_url = s->store[0] ? s->store : NULL, .folder = s->folder, .server = own_address(server), .core = &core, .generate = &generate,
                .pin = server->fingerprint[0] ? server->fingerprint : NULL,
                .event_bytes = s->event_bytes, .keep_ms = s->keep_ns / NS_PER_MS, .artifact_keep_ms = s->artifact_keep_ns / NS_PER_MS, .log_bytes = s->log_bytes, .object_bytes = s->object_bytes, .payload_bytes = s->payload_bytes,
                .memory_bytes = s->memory_bytes, .direct = (enum service_direct)s->generate_direct, .wake = wake, .context = server,
        };

        generate.wait_ms = s->generate_wait_ns / NS_PER_MS;
        generate.delay_ms = s->generate_delay_ns / NS_PER_MS;
        generate.drain_ms = s->generate_drain_ns / NS_PER_MS;
        generate.waiting_max = (uint32_t)s->generate_waiting;
        generate.waiting_per_account = (uint32_t)s->generate_waiting_per_account;
        core.lease_ms = s->lease_ns / NS_PER_MS;
        core.suspect_ms = s->suspect_ns / NS_PER_MS;
        core.drain_ms = s->drain_ns / NS_PER_MS;
        core.gone_ms = s->gone_ns / NS_PER_MS;
        core.age_ms = s->age_ns / NS_PER_MS;
        core.backoff_ms = s->backoff_ns / NS_PER_MS;
        core.backoff_max_ms = s->backoff_max_ns / NS_PER_MS;
        core.attempts = (uint32_t)s->attempts;
        core.poison_workers = (uint32_t)s->poison_workers;
        core.max_tasks = s->max_tasks;
        core.max_tasks_per_account = s->max_tasks_per_account;
        core.max_leases_per_account = (uint32_t)s->max_leases_per_account;
        return service_open(&options, &server->service, message);
}

static void start_handles(struct server *server)
{
        uv_async_init(server->loop, &server->wake, on_wake);
        uv_timer_init(server->loop, &server->tick);
        uv_timer_init(server->loop, &server->turn);
        uv_prepare_init(server->loop, &server->prepare);
        uv_idle_init(server->loop, &server->more);
        uv_poll_init(server->loop, &server->listening, server->listener);
        server->wake.data = server->tick.data = server->turn.data = server->prepare.data = server->more.data = server->listening.data = server;
        server->handles = 6;
        uv_timer_start(&server->tick, on_tick, 1000, 1000);
        uv_prepare_start(&server->prepare, on_prepare);
        uv_poll_start(&server->listening, UV_READABLE, on_listening);
}

int server_open(struct server *server, uv_loop_t *loop, const struct gateway_settings *settings, char message[SERVER_MESSAGE])
{
        int r;

        *server = (struct server){.settings = *settings, .loop = loop, .listener = -1, .turn_due = true};
        server->networks.max = server->parties.max = PARTIES_MAX;
        http_parser_set_max_header_size(REQUEST_HEAD_MAX);
        server->scratch = malloc(SERVER_SCRATCH);
        if (!server->scratch || getrandom(&server->request_base, sizeof server->request_base, 0) != sizeof server->request_base)
                r = -ENOMEM;
        else
                r = hub_new(server, &server->hub);
        if (r < 0) {
                snprintf(message, SERVER_MESSAGE, "%s", error_text(r));
                return r;
        }
        count_descriptors(server);
        r = tls_setup(server, message);
        if (r == 0)
                r = listen_at(server, message);
        if (r < 0)
                return r;
        /* The service may wake us as soon as it is open. */
        start_handles(server);
        r = forwards_open(server, &server->forwards);
        if (r == 0)
                r = generations_open(server, &server->generations);
        if (r == 0)
                r = open_service(server, message);
        if (r == 0) {
                generations_listen(server->generations);
                server->accounts = service_accounts(server->service);
                hub_listen(server->hub);
                r = openapi_make(server);
                if (r < 0)
                        snprintf(message, SERVER_MESSAGE, "the table of routes: %s", error_text(r));
        }
        if (r < 0) {
                server_stop(server);
                uv_run(loop, UV_RUN_DEFAULT);
        }
        return r;
}

void server_done(struct server *server)
{
        if (server->service)
                service_close(server->service);
        server->service = NULL;
        /* Closing may have answered the last requests. */
        hub_free(server->hub);
        admit_done(server);
        tls_done(server);
        if (server->listener >= 0)
                close(server->listener);
        free(server->scratch);
        free(server->openapi);
}
