/* forward.c: another server asked with libcurl on the gateway's own loop; see forward.h. */
#define LOG_ROOM "gateway"
#include "gateway/forward.h"

#include "gateway/connection.h"

#include "base/error.h"
#include "base/log.h"

#include <curl/curl.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <utlist.h>

#define CONNECT_MS 5000L
#define QUIET_S 60L                /* an event stream says something each limits.ping */
#define WHOLE_S 360L               /* anything else, the longest wait for a task included */
#define BUFFER_MAX (256 << 10)     /* of what the client has not taken; above it the other server waits */

struct forward {
        struct forwards *all;
        struct forward *prev, *next;
        struct request *request;       /* NULL: streaming, or nobody waits for it */
        struct connection *connection; /* of a stream; NULL: not one, or gone */
        CURL *easy;
        struct curl_slist *headers;
        struct strbuf body;
        char *sent;                    /* what is sent, and where to */
        char address[256], pin[100], type[128];
        int status;
        bool paused, ended;
};

struct forwards {
        struct server *server;
        CURLM *multi;
        uv_timer_t timer;
        struct forward *list;
        size_t count;
        bool closing, inside;          /* inside: curl is running, and its handles may not be taken from it */
};

struct watch {
        uv_poll_t poll;
        struct forwards *all;
        curl_socket_t socket;
};

static void stream_input(struct connection *c, uint8_t *data, size_t length);
static void stream_drained(struct connection *c);
static void stream_gone(struct connection *c);
static const struct connection_user stream_user = {.input = stream_input, .drained = stream_drained, .gone = stream_gone};

size_t forwards_count(const struct forwards *all)
{
        return all->count;
}

static void forward_free(struct forward *f)
{
        struct forwards *all = f->all;

        curl_multi_remove_handle(all->multi, f->easy);
        curl_easy_cleanup(f->easy);
        curl_slist_free_all(f->headers);
        strbuf_done(&f->body);
        free(f->sent);
        DL_DELETE(all->list, f);
        all->count--;
        free(f);
}

/* --- what comes --- */

/* Passed on as they are; what is about the connection, or ours to say, is not. */
static bool is_passed(const char *line, size_t length)
{
        static const char *const names[] = {"etag", "location", "link", "retry-after", "content-range", "accept-ranges", "cache-control", "www-authenticate",
                                            "content-disposition", "x-log-bytes", "ratelimit", "ratelimit-policy", "allow", "last-modified"};

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                size_t n = strlen(names[i]);

                if (length > n && line[n] == ':' && !strncasecmp(line, names[i], n))
                        return true;
        }
        return false;
}

static size_t on_header(char *line, size_t one, size_t length, void *context)
{
        struct forward *f = context;
        size_t n = length;
        int status;

        while (n && (line[n - 1] == '\r' || line[n - 1] == '\n'))
                n--;
        if (n > 9 && !strncmp(line, "HTTP/1.1 ", 9) && sscanf(line + 9, "%3d", &status) == 1)
                f->status = status;
        else if (n > 13 && n - 13 < sizeof f->type && !strncasecmp(line, "content-type:", 13))
                snprintf(f->type, sizeof f->type, "%.*s", (int)(n - 13 - strspn(line + 13, " ")), line + 13 + strspn(line + 13, " "));
        else if (f->request && f->status >= 200 && is_passed(line, n))
                reply_header(f->request, "%.*s\r\n", (int)n, line);
        return length;
}

/* From now on the answer is handed through as it comes. */
static bool begin_stream(struct forward *f)
{
        struct request *r = f->request;
        struct connection *c = r->connection;
        bool chunked = !r->http10;

        r->pending = false;
        r->client_gone = NULL;
        f->request = NULL;
        reply_begin(r, f->status, f->type[0] ? f->type : NULL);
        if (c->dead)
                return false;
        f->connection = c;
        f->ended = !chunked; /* then its end is the connection's */
        request_detach(r, &stream_user, f);
        reply_part(c, chunked, f->body.text ? f->body.text : "", f->body.length);
        strbuf_done(&f->body);
        return true;
}

static size_t on_body(char *text, size_t one, size_t length, void *context)
{
        struct forward *f = context;

        if (f->request) {
                bool stream = !strncasecmp(f->type, "text/event-stream", 17);

                if (!f->request->connection)
                        return 0;
                strbuf_put(&f->body, text, length);
                if (f->body.failed || ((stream || f->body.length > FORWARD_HELD) && !begin_stream(f)))
                        return 0;
                return length;
        }
        if (!f->connection || f->connection->dead)
                return 0;
        if (connection_buffered(f->connection) > BUFFER_MAX) {
                f->paused = true;
                return CURL_WRITEFUNC_PAUSE;
        }
        reply_part(f->connection, !f->ended, text, length);
        return f->connection && !f->connection->dead ? length : 0;
}

static void finish(struct forward *f, CURLcode code)
{
        struct request *r = f->request;

        if (f->connection) {
                struct connection *c = f->connection;

                f->connection = NULL;
                c->data = NULL;
                if (code != CURLE_OK) {
                        connection_kill(c); /* cut short, and to be seen as such */
                } else {
                        if (!f->ended)
                                connection_write(c, "0\r\n\r\n", 5);
                        connection_finish(c);
                }
        } else if (r && r->connection) {
                r->pending = false;
                r->client_gone = NULL;
                if (code != CURLE_OK || f->status < 200) {
                        log_debug("%s: %s", f->address, curl_easy_strerror(code));
                        strbuf_clear(&r->extra);
                        r->allowance.retry_s = 1;
                        reply_problem(r, "pool.unavailable", NULL, "%s, which looks after this, does not answer; if it is gone, another server takes over.", f->address);
                } else {
                        reply_text(r, f->status, f->type[0] ? f->type : NULL, f->body.text ? f->body.text : "", f->body.length);
                }
        } else if (r) {
                request_release(r);
        }
        f->request = NULL;
        forward_free(f);
}

/* --- curl on the loop --- */

static void collect(struct forwards *all)
{
        CURLMsg *message;
        int left;

        while ((message = curl_multi_info_read(all->multi, &left))) {
                struct forward *f = NULL;

                if (message->msg != CURLMSG_DONE)
                        continue;
                curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&f);
                finish(f, message->data.result);
        }
}

static void on_socket(uv_poll_t *handle, int status, int events)
{
        struct watch *w = handle->data;
        struct forwards *all = w->all;
        int running, flags = (events & UV_READABLE ? CURL_CSELECT_IN : 0) | (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0) | (status < 0 ? CURL_CSELECT_ERR : 0);

        all->inside = true;
        curl_multi_socket_action(all->multi, w->socket, flags, &running);
        all->inside = false;
        collect(all);
}

static void on_timer(uv_timer_t *handle)
{
        struct forwards *all = handle->data;
        int running;

        all->inside = true;
        curl_multi_socket_action(all->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        all->inside = false;
        collect(all);
}

static int set_timer(CURLM *multi, long ms, void *context)
{
        struct forwards *all = context;

        if (ms < 0 || all->closing)
                uv_timer_stop(&all->timer);
        else
                uv_timer_start(&all->timer, on_timer, (uint64_t)ms, 0);
        return 0;
}

static void watch_closed(uv_handle_t *handle)
{
        struct watch *w = handle->data;

        free(w);
}

static int set_socket(CURL *easy, curl_socket_t socket, int what, void *context, void *socket_data)
{
        struct forwards *all = context;
        struct watch *w = socket_data;
        int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);

        if (what == CURL_POLL_REMOVE) {
                if (w) {
                        uv_poll_stop(&w->poll);
                        uv_close((uv_handle_t *)&w->poll, watch_closed);
                        curl_multi_assign(all->multi, socket, NULL);
                }
                return 0;
        }
        if (!w) {
                w = calloc(1, sizeof *w);
                if (!w || uv_poll_init(all->server->loop, &w->poll, socket) < 0) {
                        free(w);
                        return -1;
                }
                w->poll.data = w;
                w->all = all;
                w->socket = socket;
                curl_multi_assign(all->multi, socket, w);
        }
        return uv_poll_start(&w->poll, events, on_socket) < 0 ? -1 : 0;
}

int forwards_open(struct server *server, struct forwards **ret_forwards)
{
        struct forwards *all = calloc(1, sizeof *all);

        if (!all)
                return -ENOMEM;
        if (curl_global_init(CURL_GLOBAL_DEFAULT) || !(all->multi = curl_multi_init())) {
                free(all);
                return -ENOMEM;
        }
        all->server = server;
        uv_timer_init(server->loop, &all->timer);
        all->timer.data = all;
        curl_multi_setopt(all->multi, CURLMOPT_SOCKETFUNCTION, set_socket);
        curl_multi_setopt(all->multi, CURLMOPT_SOCKETDATA, all);
        curl_multi_setopt(all->multi, CURLMOPT_TIMERFUNCTION, set_timer);
        curl_multi_setopt(all->multi, CURLMOPT_TIMERDATA, all);
        curl_multi_setopt(all->multi, CURLMOPT_MAXCONNECTS, 64L);
        *ret_forwards = all;
        return 0;
}

static void timer_closed(uv_handle_t *handle)
{
        free(handle->data);
}

void forwards_close(struct forwards *all)
{
        struct forward *f, *next;

        if (!all)
                return;
        all->closing = true;
        DL_FOREACH_SAFE(all->list, f, next)
        {
                finish(f, CURLE_ABORTED_BY_CALLBACK);
        }
        curl_multi_cleanup(all->multi);
        uv_timer_stop(&all->timer);
        uv_close((uv_handle_t *)&all->timer, timer_closed);
}

/* --- the client of a stream --- */

static void stream_input(struct connection *c, uint8_t *data, size_t length)
{
        if (!length)
                connection_kill(c);
}

static void stream_drained(struct connection *c)
{
        struct forward *f = c->data;

        if (f && f->paused && !f->all->inside) {
                f->paused = false;
                f->all->inside = true;
                curl_easy_pause(f->easy, CURLPAUSE_CONT);
                f->all->inside = false;
        }
}

/* What is running inside curl ends by what its callbacks return; else it is ended here. */
static void stream_gone(struct connection *c)
{
        struct forward *f = c->data;

        c->data = NULL;
        if (!f)
                return;
        f->connection = NULL;
        if (!f->all->inside)
                forward_free(f);
}

/* --- sending --- */

static int same_certificate(X509_STORE_CTX *store, void *context)
{
        const struct forward *f = context;
        unsigned char digest[EVP_MAX_MD_SIZE];
        char text[65];
        unsigned n = 0;

        if (X509_digest(X509_STORE_CTX_get0_cert(store), EVP_sha256(), digest, &n) != 1 || n != 32)
                return 0;
        for (unsigned i = 0; i < n; i++)
                snprintf(text + 2 * i, 3, "%02x", digest[i]);
        return !strcmp(text, f->pin);
}

/* The store says what certificate that server has. */
static CURLcode on_context(CURL *easy, void *context, void *forward)
{
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
        SSL_CTX_set_cert_verify_callback(context, same_certificate, forward);
        return CURLE_OK;
}

/* Called inside curl now and then: nobody waits any more. */
static int on_progress(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
        const struct forward *f = context;

        return !f->request && !f->connection;
}

static void client_gone(struct request *r)
{
        struct forward *f = r->work;

        r->work = NULL;
        f->request = NULL;
        request_release(r);
        forward_free(f);
}

static bool add_header(struct forward *f, const char *name, const char *value)
{
        char line[REQUEST_HEAD_MAX];
        struct curl_slist *more;

        if (!value)
                return true;
        snprintf(line, sizeof line, "%s: %s", name, value);
        more = curl_slist_append(f->headers, line);
        if (more)
                f->headers = more;
        return more;
}

static bool fill_in(struct forward *f, struct request *r)
{
        char *url scoped_free = NULL;
        bool stream = r->route->flags & ROUTE_STREAM, good;

        if (asprintf(&url, "%s%.*s", f->address, (int)r->target_length, r->head) < 0) {
                url = NULL;
                return false;
        }
        /* Expect: none of curl's own. */
        good = add_header(f, "Authorization", r->credential) && add_header(f, "Content-Type", request_header(r, HEADER_CONTENT_TYPE)) &&
               add_header(f, "Idempotency-Key", request_header(r, HEADER_IDEMPOTENCY_KEY)) && add_header(f, "If-Match", request_header(r, HEADER_IF_MATCH)) &&
               add_header(f, "If-None-Match", request_header(r, HEADER_IF_NONE_MATCH)) && add_header(f, "Last-Event-ID", request_header(r, HEADER_LAST_EVENT_ID)) &&
               add_header(f, "Range", request_header(r, HEADER_RANGE)) && add_header(f, "Berth-Forwarded", "1") && add_header(f, "Expect", "");
        if (!good)
                return false;
        f->sent = r->body;
        r->body = NULL;
        curl_easy_setopt(f->easy, CURLOPT_PRIVATE, f);
        curl_easy_setopt(f->easy, CURLOPT_URL, url);
        curl_easy_setopt(f->easy, CURLOPT_PATH_AS_IS, 1L);
        curl_easy_setopt(f->easy, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(f->easy, CURLOPT_PROXY, "");
        curl_easy_setopt(f->easy, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(f->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
        curl_easy_setopt(f->easy, CURLOPT_HTTPHEADER, f->headers);
        curl_easy_setopt(f->easy, CURLOPT_HEADERFUNCTION, on_header);
        curl_easy_setopt(f->easy, CURLOPT_HEADERDATA, f);
        curl_easy_setopt(f->easy, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(f->easy, CURLOPT_WRITEDATA, f);
        curl_easy_setopt(f->easy, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(f->easy, CURLOPT_XFERINFODATA, f);
        curl_easy_setopt(f->easy, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(f->easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
        curl_easy_setopt(f->easy, CURLOPT_TCP_KEEPALIVE, 1L);
        if (stream || r->way == WAY_GET) {
                curl_easy_setopt(f->easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
                curl_easy_setopt(f->easy, CURLOPT_LOW_SPEED_TIME, stream ? QUIET_S : WHOLE_S);
        } else {
                curl_easy_setopt(f->easy, CURLOPT_TIMEOUT, WHOLE_S);
        }
        if (f->sent || r->way == WAY_POST || r->way == WAY_PATCH || r->way == WAY_PUT) {
                curl_easy_setopt(f->easy, CURLOPT_POST, 1L);
                curl_easy_setopt(f->easy, CURLOPT_POSTFIELDS, f->sent ? f->sent : "");
                curl_easy_setopt(f->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_length);
        }
        if (r->way == WAY_HEAD)
                curl_easy_setopt(f->easy, CURLOPT_NOBODY, 1L);
        else
                curl_easy_setopt(f->easy, CURLOPT_CUSTOMREQUEST, way_name(r->way));
        if (f->pin[0]) {
                curl_easy_setopt(f->easy, CURLOPT_SSL_VERIFYHOST, 0L);
                curl_easy_setopt(f->easy, CURLOPT_SSL_CTX_FUNCTION, on_context);
                curl_easy_setopt(f->easy, CURLOPT_SSL_CTX_DATA, f);
        }
        return true;
}

void forward_redirect(struct request *r, const char *address)
{
        reply_header(r, "Location: %s%s\r\n", address, r->head);
        reply_problem(r, "pool.elsewhere", json_pack("{s:s}", "server", address), "Your account's tasks are looked after by %s.", address);
}

void forward_request(struct request *r, const char *address)
{
        struct forwards *all = r->server->forwards;
        struct forward *f = all->closing || all->count >= FORWARDS_MAX ? NULL : calloc(1, sizeof *f);

        if (f && !(f->easy = curl_easy_init())) {
                free(f);
                f = NULL;
        }
        if (!f) {
                reply_problem(r, "pool.busy", NULL, "Too many requests are being sent on to other servers.");
                return;
        }
        f->all = all;
        f->request = r;
        snprintf(f->address, sizeof f->address, "%s", address);
        snprintf(f->pin, sizeof f->pin, "%s", service_server_pin(r->server->service, address));
        DL_APPEND(all->list, f);
        all->count++;
        if (!fill_in(f, r) || curl_multi_add_handle(all->multi, f->easy) != CURLM_OK) {
                f->request = NULL;
                forward_free(f);
                reply_problem(r, "pool.busy", NULL, "Out of memory.");
                return;
        }
        r->work = f;
        r->pending = true;
        request_watch(r, client_gone);
        all->server->counters.forwarded++;
}
