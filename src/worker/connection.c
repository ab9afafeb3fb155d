/* connection.c: libwebsockets as a client, with our own descriptors adopted into its loop; see connection.h. */
#include "worker/connection.h"

#include "base/fd.h"
#include "base/text.h"
#include "worker/artifact.h"

#define LOG_ROOM "pool"
#include "base/log.h"

#include <libwebsockets.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#define SEND_BYTES (4U << 20)

struct piece {
        struct piece *next;
        size_t bytes;
        unsigned char data[]; /* LWS_PRE bytes, then the text */
};

struct link {
        struct connections *all;
        uint32_t number;
        struct lws *wsi;       /* NULL: not connected and not connecting */
        bool open, muted;      /* muted: its end interests nobody */
        bool secure;           /* it asks for TLS */
        bool overrun;          /* a message longer than allowed */
        size_t asked;          /* someone waits until less than that is left to be sent; 0: nobody */
        char credential[ID_TEXT + MESSAGE_TUNNEL + 1]; /* of a tunnel */
        struct piece *first, **last;
        size_t waiting;
        char *text;            /* what came of a message so far */
        size_t length, size;
};

struct connections {
        struct connections_options options;
        struct lws_context *context;
        struct lws_vhost *vhost;
        struct link links[CONNECTIONS];
        struct timer {
                lws_sorted_usec_list_t list; /* first: the callback gets its address */
                struct connections *all;
        } timer;
        bool secure, broken;
};

static void forget(struct link *l)
{
        while (l->first) {
                struct piece *p = l->first;

                l->first = p->next;
                free(p);
        }
        l->last = &l->first;
        free(l->text);
        l->text = NULL;
        l->length = l->size = l->waiting = 0;
        l->wsi = NULL;
        l->open = l->overrun = false;
        l->asked = 0;
}

static void on_timer(lws_sorted_usec_list_t *list)
{
        struct connections *c = ((struct timer *)list)->all;
        uint64_t ms = c->options.tick(c->options.context);

        if (ms > 60000) /* a look a minute costs nothing and mends a clock that jumped */
                ms = 60000;
        lws_sul_schedule(c->context, 0, &c->timer.list, on_timer, (lws_usec_t)(ms ? ms : 1) * 1000);
}

void connections_hurry(struct connections *c)
{
        lws_sul_schedule(c->context, 0, &c->timer.list, on_timer, 1);
}

static void ended(struct link *l, const char *why, uint64_t retry_after_ms)
{
        struct connections *c = l->all;
        bool muted = l->muted;

        forget(l);
        l->muted = false;
        if (!muted)
                c->options.closed(c->options.context, l->number, why, retry_after_ms);
        connections_hurry(c);
}

static bool is_tunnel(const struct link *l)
{
        return l->number >= AGENT_SERVERS;
}

/* Header lines of our own, once TLS stands: the key goes to nobody else than the one expected. */
static int add_headers(struct link *l, struct lws *wsi, unsigned char **at, unsigned char *end)
{
        const struct connections_options *o = &l->all->options;
        char line[1200];
        int n;

        if (o->pin && (!lws_is_ssl(wsi) || !artifact_pin_holds(lws_get_ssl(wsi), o->pin))) {
                log_error("the server's certificate is not the one of --pin");
                return -1;
        }
        n = snprintf(line, sizeof line, "Bearer %s", o->token);
        if (n < 0 || n >= (int)sizeof line)
                return -1;
        if (lws_add_http_header_by_name(wsi, (const unsigned char *)"authorization:", (const unsigned char *)line, n, at, end))
                return -1;
        return is_tunnel(l) && lws_add_http_header_by_name(wsi, (const unsigned char *)"x-berth-tunnel:", (const unsigned char *)l->credential, (int)strlen(l->credential), at, end) ? -1 : 0;
}

static int receive(struct link *l, struct lws *wsi, const void *data, size_t bytes)
{
        struct connections *c = l->all;

        if (!lws_frame_is_binary(wsi) == is_tunnel(l) || l->length + bytes > MESSAGE_BYTES) {
                l->overrun = true;
                return -1;
        }
        if (l->length + bytes > l->size) {
                size_t size = (l->length + bytes) * 2;
                char *text = realloc(l->text, size);

                if (!text)
                        return -1;
                l->text = text;
                l->size = size;
        }
        if (bytes)
                memcpy(l->text + l->length, data, bytes);
        l->length += bytes;
        if (!lws_is_final_fragment(wsi) || lws_remaining_packet_payload(wsi))
                return 0;
        bytes = l->length;
        l->length = 0;
        c->options.received(c->options.context, l->number, l->text ? l->text : "", bytes);
        connections_hurry(c);
        return l->wsi && !l->muted ? 0 : -1;
}

static int write_one(struct link *l, struct lws *wsi)
{
        struct connections *c = l->all;
        struct piece *p = l->first;

        if (p) {
                if (lws_write(wsi, p->data + LWS_PRE, p->bytes, is_tunnel(l) ? LWS_WRITE_BINARY : LWS_WRITE_TEXT) < (int)p->bytes)
                        return -1;
                l->waiting -= p->bytes;
                l->first = p->next;
                if (!l->first)
                        l->last = &l->first;
                free(p);
                if (l->first)
                        lws_callback_on_writable(wsi);
        }
        if (l->asked && l->waiting < l->asked) {
                l->asked = 0;
                c->options.writable(c->options.context, l->number);
        }
        return 0;
}

static uint64_t retry_after(struct lws *wsi)
{
        char text[32];
        uint64_t seconds;

        if (lws_hdr_copy(wsi, text, sizeof text, WSI_TOKEN_HTTP_RETRY_AFTER) <= 0 || text_parse_u64(text, 0, 86400, &seconds) < 0)
                return 0;
        return seconds * 1000;
}

/* What the library calls an SSL error is a certificate that is not taken, or an answer that is no TLS. */
static const char *hint_of(const struct link *l, const char *words)
{
        if (!l->secure)
                return strstr(words, "read failed") ? " (if the pool has TLS, it is wss://)" : "";
        if (!strstr(words, "SSL") && !strstr(words, "tls"))
                return "";
        return l->all->options.pin ? " (its certificate is not the one of --pin: give the fingerprint that the pool prints; without TLS it is ws://)"
                              : " (nobody trusted signed its certificate: give the fingerprint that the pool prints as --pin, or --ca; without TLS it is ws://)";
}

static void failed(struct link *l, struct lws *wsi, const char *in, size_t bytes)
{
        unsigned int status = lws_http_client_http_response(wsi);
        char raw[440], why[440];

        if (status && status != 101)
                snprintf(raw, sizeof raw, "the server answers %u%s", status,
                         status == 401 ? " (the key is wrong or expired)" : status == 403 ? " (the key lacks the right worker.join)" : "");
        else
                snprintf(raw, sizeof raw, "no connection: %.*s", in ? (int)(bytes ? bytes : strlen(in)) : 8, in ? in : "no words");
        if (!status || status == 101)
                strncat(raw, hint_of(l, raw), sizeof raw - strlen(raw) - 1);
        text_copy_clean(why, sizeof why, raw);
        ended(l, why, status ? retry_after(wsi) : 0);
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t bytes)
{
        struct link *l = user;
        struct connections *c = wsi ? lws_context_user(lws_get_context(wsi)) : NULL;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wswitch-enum"
        switch (reason) {
        case LWS_CALLBACK_OPENSSL_LOAD_EXTRA_CLIENT_VERIFY_CERTS:
                c = lws_context_user(lws_get_context(wsi));
                if (c && c->options.pin)
                        artifact_pin_context(user, c->options.pin);
                return 0;
        case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
                return add_headers(l, wsi, (unsigned char **)in, *(unsigned char **)in + bytes);
        case LWS_CALLBACK_CLIENT_ESTABLISHED:
                if (l->muted)
                        return -1;
                l->wsi = wsi;
                l->open = true;
                c->options.opened(c->options.context, l->number);
                connections_hurry(c);
                return 0;
        case LWS_CALLBACK_CLIENT_RECEIVE:
                return l->muted ? -1 : receive(l, wsi, in, bytes);
        case LWS_CALLBACK_CLIENT_WRITEABLE:
                return l->muted ? -1 : write_one(l, wsi);
        case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
                failed(l, wsi, in, bytes);
                return 0;
        case LWS_CALLBACK_CLIENT_CLOSED:
                ended(l, l->overrun ? "it sent what is no message of up to 1 MiB that belongs there" : "the connection ended", 0);
                return 0;
        case LWS_CALLBACK_RAW_RX_FILE: {
                struct epoll_event events[64];
                int n = epoll_wait(c->options.epoll, events, ARRAY_SIZE(events), 0);

                for (int i = 0; i < n; i++)
                        c->options.event(c->options.context, events[i].data.u64);
                connections_hurry(c);
                return 0;
        }
        case LWS_CALLBACK_RAW_CLOSE_FILE:
                c->broken = true;
                return 0;
        default:
                return 0;
        }
#pragma GCC diagnostic pop
}

static const struct lws_protocols protocols[] = {
        {"berth.worker.v1", on_event, 0, 65536, 0, NULL, 0},
        {"berth.tunnel.v1", on_event, 0, 65536, 0, NULL, 0},
        {"berth-descriptors", on_event, 0, 0, 0, NULL, 0},
        {NULL, NULL, 0, 0, 0, NULL, 0},
};

/* A peer that is silent for so long is asked; one that does not answer is gone. */
static const lws_retry_bo_t patience = {.secs_since_valid_ping = 30, .secs_since_valid_hangup = 75};

static void emit(int level, const char *line)
{
        char clean[256];

        text_copy_clean(clean, sizeof clean, line);
        log_debug("libwebsockets: %s", clean);
}

int connections_open(const struct connections_options *options, struct connections **ret)
{
        struct lws_context_creation_info info = {
                .port = CONTEXT_PORT_NO_LISTEN,
                .protocols = protocols,
                .gid = (gid_t)-1,
                .uid = (uid_t)-1,
                .options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT,
                .client_ssl_ca_filepath = options->ca,
                .retry_and_idle_policy = &patience,
                .connect_timeout_secs = 20,
                .timeout_secs = 20,
        };
        struct connections *c scoped_free = calloc(1, sizeof *c);
        lws_sock_file_fd_type fd = {.filefd = options->epoll};

        if (!c)
                return -ENOMEM;
        c->options = *options;
        c->timer.all = c;
        for (uint32_t i = 0; i < CONNECTIONS; i++) {
                c->links[i] = (struct link){.all = c, .number = i};
                c->links[i].last = &c->links[i].first;
        }
        lws_set_log_level(LLL_ERR | LLL_WARN, emit);
        info.user = c;
        c->context = lws_create_context(&info);
        if (!c->context)
                return -ENOMEM;
        c->vhost = lws_get_vhost_by_name(c->context, "default");
        if (!c->vhost || !lws_adopt_descriptor_vhost(c->vhost, LWS_ADOPT_RAW_FILE_DESC, fd, "berth-descriptors", NULL)) {
                lws_context_destroy(c->context);
                return -EIO;
        }
        connections_hurry(c);
        *ret = take(c);
        return 0;
}

void connections_close(struct connections *c)
{
        for (uint32_t i = 0; i < CONNECTIONS; i++)
                c->links[i].muted = true;
        lws_sul_cancel(&c->timer.list);
        lws_context_destroy(c->context);
        for (uint32_t i = 0; i < CONNECTIONS; i++)
                forget(&c->links[i]);
        free(c);
}

static int begin(struct link *l, const char *url)
{
        struct connections *c = l->all;
        bool secure = !strncmp(url, "wss://", 6);
        char host[MESSAGE_URL], name[MESSAGE_URL];
        const char *colon, *bracket;
        uint64_t port = secure ? 443 : 80;
        struct lws_client_connect_info info = {
                .context = c->context,
                .path = is_tunnel(l) ? "/worker/v1/tunnel" : "/worker/v1",
                .host = host,
                .origin = NULL,
                .protocol = is_tunnel(l) ? "berth.tunnel.v1" : "berth.worker.v1",
                .local_protocol_name = is_tunnel(l) ? "berth.tunnel.v1" : "berth.worker.v1",
                .ssl_connection = secure ? LCCSCF_USE_SSL : 0,
                .ietf_version_or_minus_one = -1,
                .userdata = l,
                .retry_and_idle_policy = &patience,
                .alpn = "http/1.1",
        };

        if (l->wsi)
                return -EBUSY;
        if (!secure && (strncmp(url, "ws://", 5) != 0 || c->options.pin))
                return -EINVAL; /* a pin without TLS would pin nothing */
        l->secure = secure;
        snprintf(host, sizeof host, "%s", url + (secure ? 6 : 5));
        snprintf(name, sizeof name, "%s", host);
        bracket = strchr(name, ']');
        colon = strrchr(bracket ? bracket : name, ':');
        if (colon) {
                if (text_parse_u64(colon + 1, 1, 65535, &port) < 0)
                        return -EINVAL;
                name[colon - name] = 0;
        }
        if (name[0] == '[' && bracket) { /* IPv6 */
                name[bracket - name] = 0;
                memmove(name, name + 1, strlen(name));
        }
        if (c->options.pin)
                info.ssl_connection |= LCCSCF_ALLOW_SELFSIGNED | LCCSCF_SKIP_SERVER_CERT_HOSTNAME_CHECK | LCCSCF_ALLOW_EXPIRED | LCCSCF_ALLOW_INSECURE;
        info.address = name;
        info.port = (int)port;
        info.pwsi = &l->wsi;
        l->muted = false;
        /* On failure the callback has told already, or nobody will: then the caller hears it here. */
        if (!lws_client_connect_via_info(&info) && l->wsi)
                ended(l, "no connection", 0);
        return 0;
}

int connections_begin(struct connections *c, uint32_t server, const char *url)
{
        return begin(&c->links[server], url);
}

int connections_begin_tunnel(struct connections *c, uint32_t server, const char *url, const char *credential)
{
        struct link *l = &c->links[TUNNEL_OF(server)];

        snprintf(l->credential, sizeof l->credential, "%s", credential);
        return begin(l, url);
}

void connections_end(struct connections *c, uint32_t server)
{
        struct link *l = &c->links[server];

        if (!l->wsi)
                return;
        l->muted = true;
        lws_set_timeout(l->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
}

int connections_send(struct connections *c, uint32_t server, const char *text, size_t bytes)
{
        struct link *l = &c->links[server];
        struct piece *p;

        if (!l->open || l->muted)
                return -ENOTCONN;
        if (l->waiting + bytes > SEND_BYTES) {
                l->asked = SEND_BYTES / 2;
                return -EAGAIN;
        }
        p = malloc(sizeof *p + LWS_PRE + bytes);
        if (!p)
                return -ENOMEM;
        p->next = NULL;
        p->bytes = bytes;
        memcpy(p->data + LWS_PRE, text, bytes);
        *l->last = p;
        l->last = &p->next;
        l->waiting += bytes;
        lws_callback_on_writable(l->wsi);
        return 0;
}

bool connections_has_room(struct connections *c, uint32_t server, size_t most)
{
        struct link *l = &c->links[server];

        if (l->waiting < most)
                return true;
        l->asked = most / 2;
        return false;
}

size_t connections_waiting(const struct connections *c)
{
        size_t n = 0;

        for (uint32_t i = 0; i < CONNECTIONS; i++)
                n += c->links[i].waiting;
        return n;
}

int connections_turn(struct connections *c)
{
        return lws_service(c->context, 0) < 0 || c->broken ? -EIO : 0;
}
