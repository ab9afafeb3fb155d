/* tunnel.c: streams of tunnels as transfers of libcurl's; see tunnel.h. */
#include "worker/tunnel.h"

#include "base/error.h"
#include "base/strbuf.h"
#include "base/text.h"
#include "wire/tunnel.h"
#include "worker/places.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <uthash.h>

#define CONNECT_MS 5000L
#define KEPT_CONNECTIONS 256L
#define GATHERED (64U << 10) /* of what is to be sent, before it is */

struct way {
        struct tunnels *all;
        uint32_t server;
        struct stream *streams;
        struct strbuf out;
        uint32_t last;        /* stream that was begun */
};

struct stream {
        UT_hash_handle hh;
        struct way *way;
        uint32_t id, engine;
        CURL *curl;
        struct curl_slist *headers;
        uint8_t *body;        /* what came of the request and libcurl has not taken; all of it while it is short, so that it can be said again */
        size_t begin, end, room;
        uint32_t to_come, may_come, taken, bytes;
        uint32_t may_send;
        bool whole, headed, reading, writing; /* whole: the body stays; reading, writing: libcurl waits for more of the body, for credit or room */
        char error[CURL_ERROR_SIZE];
};

struct tunnels {
        struct tunnels_options options;
        CURLM *multi;
        uint64_t due_ms, now_ms; /* due_ms UINT64_MAX: libcurl waits for nothing */
        struct way ways[PLACE_SERVERS];
        struct places places[CATALOGUE_ENTRIES];
        uint32_t running;
        bool draining, line;     /* line: some server was turned away */
};

/* ---- to the pool ---- */

static void flush(struct way *w)
{
        if (w->out.length && !w->out.failed)
                (void)!w->all->options.send(w->all->options.context, w->server, (const uint8_t *)w->out.text, w->out.length);
        strbuf_clear(&w->out);
}

static void put(struct way *w, const uint8_t *frame, size_t length)
{
        strbuf_put(&w->out, (const char *)frame, length);
        if (w->out.length >= GATHERED)
                flush(w);
}

static void say_end(struct way *w, uint32_t stream, enum tunnel_end end, const char *text)
{
        uint8_t frame[TUNNEL_FRAME + TUNNEL_SMALL];

        put(w, frame, tunnel_write_end(frame, stream, end, text));
}

static void say_head(struct stream *s)
{
        uint8_t frame[TUNNEL_FRAME + TUNNEL_SMALL];
        struct tunnel_answer a = {0};
        curl_off_t retry = 0;
        char *type = NULL;
        long status = 0;

        s->headed = true;
        curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(s->curl, CURLINFO_CONTENT_TYPE, &type);
        curl_easy_getinfo(s->curl, CURLINFO_RETRY_AFTER, &retry);
        a.status = status >= 200 && status <= 599 ? (uint32_t)status : 502;
        a.retry_after_s = retry > 0 && retry <= 86400 ? (uint32_t)retry : 0;
        snprintf(a.type, sizeof a.type, "%s", type ? type : "");
        put(s->way, frame, tunnel_write_answer(frame, s->id, &a));
}

/* Servers that were turned away hear of places. */
static void tell_free(struct tunnels *t, uint32_t engine)
{
        uint8_t frame[TUNNEL_FRAME + TUNNEL_SMALL];
        uint32_t parallel = 0, server;
        const char *name = t->options.name(t->options.context, engine, &parallel);

        while (name && (server = places_next(&t->places[engine], t->now_ms, parallel)) != PLACE_NOBODY)
                put(&t->ways[server], frame, tunnel_write_free(frame, name));
}

static void stream_free(struct stream *s)
{
        struct tunnels *t = s->way->all;

        HASH_DEL(s->way->streams, s);
        curl_multi_remove_handle(t->multi, s->curl);
        curl_easy_cleanup(s->curl);
        curl_slist_free_all(s->headers);
        t->running--;
        places_give(&t->places[s->engine]);
        tell_free(t, s->engine);
        free(s->body);
        free(s);
}

/* ---- libcurl's calls ---- */

static size_t on_answer(char *data, size_t size, size_t count, void *context)
{
        struct stream *s = context;
        size_t bytes = size * count;

        if (!s->headed)
                say_head(s);
        if (s->way->out.length >= GATHERED)
                flush(s->way);
        if (bytes > s->may_send || !s->way->all->options.has_room(s->way->all->options.context, s->way->server)) {
                s->writing = true;
                return CURL_WRITEFUNC_PAUSE;
        }
        s->may_send -= (uint32_t)bytes;
        for (size_t at = 0; at < bytes;) {
                size_t n = bytes - at < TUNNEL_PAYLOAD ? bytes - at : TUNNEL_PAYLOAD;
                uint8_t frame[TUNNEL_FRAME];

                strbuf_put(&s->way->out, (const char *)frame, tunnel_write_body(frame, s->id, n));
                strbuf_put(&s->way->out, data + at, n);
                at += n;
        }
        return bytes;
}

static size_t on_request(char *data, size_t size, size_t count, void *context)
{
        struct stream *s = context;
        size_t n = s->end - s->begin < size * count ? s->end - s->begin : size * count;

        if (!n && s->to_come) {
                s->reading = true;
                return CURL_READFUNC_PAUSE;
        }
        memcpy(data, s->body + s->begin, n);
        s->begin += n;
        if (s->whole)
                return n;
        s->taken += (uint32_t)n;
        if (s->taken >= TUNNEL_REQUEST_WINDOW / 2 && s->to_come) {
                uint8_t frame[TUNNEL_FRAME + TUNNEL_SMALL];

                put(s->way, frame, tunnel_write_credit(frame, s->id, s->taken));
                s->may_come += s->taken;
                s->taken = 0;
        }
        return n;
}

/* A kept connection that turned out closed: what can be said again is. */
static int on_seek(void *context, curl_off_t offset, int origin)
{
        struct stream *s = context;

        if (!s->whole || origin != SEEK_SET || offset < 0 || (uint64_t)offset > s->end)
                return CURL_SEEKFUNC_CANTSEEK;
        s->begin = (size_t)offset;
        return CURL_SEEKFUNC_OK;
}

static int on_socket(CURL *curl, curl_socket_t fd, int what, void *context, void *known)
{
        struct tunnels *t = context;
        struct epoll_event event = {.data.u64 = t->options.first + (uint64_t)fd};

        (void)curl;
        if (what == CURL_POLL_REMOVE) {
                (void)epoll_ctl(t->options.epoll, EPOLL_CTL_DEL, fd, NULL);
                return 0;
        }
        event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
        (void)epoll_ctl(t->options.epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
        curl_multi_assign(t->multi, fd, t);
        return 0;
}

static int on_timer(CURLM *multi, long ms, void *context)
{
        struct tunnels *t = context;

        (void)multi;
        t->due_ms = ms < 0 ? UINT64_MAX : t->now_ms + (uint64_t)ms;
        return 0;
}

/* ---- a stream's beginning and end ---- */

/* "http://HOST:PORT", with or without "/v1", and the path. */
static void address(const struct tunnel_target *target, const char *path, char *to, size_t size)
{
        size_t n = strlen(target->url);

        while (n && target->url[n - 1] == '/')
                n--;
        if (n > 3 && !memcmp(target->url + n - 3, "/v1", 3))
                n -= 3;
        snprintf(to, size, "%.*s%s", (int)n, target->url, path);
}

static bool add_header(struct stream *s, const char *name, const char *value)
{
        char line[700];
        struct curl_slist *more;

        snprintf(line, sizeof line, "%s: %s", name, value);
        more = curl_slist_append(s->headers, value[0] ? line : name);
        if (more)
                s->headers = more;
        return more;
}

static int set_up(struct stream *s, const struct tunnel_target *target, const struct tunnel_request *q)
{
        char url[1024], key[600];

        snprintf(key, sizeof key, "Bearer %s", target->key);
        s->curl = curl_easy_init();
        if (!s->curl || !add_header(s, "Content-Type", "application/json") || !add_header(s, "X-Request-Id", q->id) || !add_header(s, "Expect:", "") || !add_header(s, "Accept", "*/*") ||
            (target->key[0] && !add_header(s, "Authorization", key)))
                return -ENOMEM;
        address(target, q->path, url, sizeof url);
        curl_easy_setopt(s->curl, CURLOPT_URL, url);
        curl_easy_setopt(s->curl, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(s->curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
        curl_easy_setopt(s->curl, CURLOPT_PROXY, "");
        curl_easy_setopt(s->curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(s->curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
        curl_easy_setopt(s->curl, CURLOPT_HTTPHEADER, s->headers);
        curl_easy_setopt(s->curl, CURLOPT_POST, 1L);
        curl_easy_setopt(s->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body_bytes);
        curl_easy_setopt(s->curl, CURLOPT_READFUNCTION, on_request);
        curl_easy_setopt(s->curl, CURLOPT_READDATA, s);
        curl_easy_setopt(s->curl, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(s->curl, CURLOPT_SEEKDATA, s);
        curl_easy_setopt(s->curl, CURLOPT_WRITEFUNCTION, on_answer);
        curl_easy_setopt(s->curl, CURLOPT_WRITEDATA, s);
        curl_easy_setopt(s->curl, CURLOPT_ERRORBUFFER, s->error);
        curl_easy_setopt(s->curl, CURLOPT_PRIVATE, s);
        if (!s->whole) /* could not be said again on another connection */
                curl_easy_setopt(s->curl, CURLOPT_FRESH_CONNECT, 1L);
        if (target->ca[0])
                curl_easy_setopt(s->curl, CURLOPT_CAINFO, target->ca);
        return curl_multi_add_handle(s->way->all->multi, s->curl) == CURLM_OK ? 0 : -ENOMEM;
}

static void begin(struct way *w, uint32_t id, const struct tunnel_request *q)
{
        struct tunnels *t = w->all;
        struct tunnel_target target;
        struct stream *s;

        if (t->draining || !t->options.find(t->options.context, q->model, &target)) {
                say_end(w, id, TUNNEL_GONE, t->draining ? "the worker ends" : "the engine is not ready");
                return;
        }
        if (HASH_COUNT(w->streams) >= TUNNEL_STREAMS || places_take(&t->places[target.number], t->now_ms, target.parallel, w->server) < 0) {
                t->line = true;
                say_end(w, id, TUNNEL_BUSY, "all places of the engine are taken");
                return;
        }
        s = calloc(1, sizeof *s);
        if (s) {
                *s = (struct stream){.way = w, .id = id, .engine = target.number, .bytes = q->body_bytes, .to_come = q->body_bytes, .may_come = TUNNEL_REQUEST_WINDOW,
                                     .may_send = TUNNEL_ANSWER_WINDOW, .whole = q->body_bytes <= TUNNEL_REQUEST_WINDOW,
                                     .room = q->body_bytes < TUNNEL_REQUEST_WINDOW ? q->body_bytes + 1 : TUNNEL_REQUEST_WINDOW};
                s->body = malloc(s->room);
        }
        if (!s || !s->body) {
                free(s);
                places_give(&t->places[target.number]);
                say_end(w, id, TUNNEL_BROKEN, "the worker is out of memory");
                return;
        }
        t->running++;
        HASH_ADD(hh, w->streams, id, sizeof s->id, s);
        if (set_up(s, &target, q) < 0) {
                say_end(w, id, TUNNEL_BROKEN, "the worker is out of memory");
                stream_free(s);
        }
}

static const char *words(const struct stream *s, CURLcode result)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wswitch-enum"
        switch (result) {
        case CURLE_COULDNT_CONNECT:
                return "nothing listens at the engine's address";
        case CURLE_OPERATION_TIMEDOUT:
                return "the engine can't be reached in time";
        case CURLE_GOT_NOTHING:
                return "the engine closed the connection without an answer";
        case CURLE_PARTIAL_FILE:
        case CURLE_RECV_ERROR:
                return s->headed ? "the engine closed the connection in the middle of its answer" : "the engine closed the connection without an answer";
        case CURLE_WEIRD_SERVER_REPLY:
        case CURLE_UNSUPPORTED_PROTOCOL:
                return "the engine's answer is not HTTP";
        default:
                return s->error[0] ? s->error : curl_easy_strerror(result);
        }
#pragma GCC diagnostic pop
}

static void tell_done(struct tunnels *t)
{
        CURLMsg *m;
        int left;

        while ((m = curl_multi_info_read(t->multi, &left))) {
                struct stream *s = NULL;
                CURLcode result;

                if (m->msg != CURLMSG_DONE)
                        continue;
                result = m->data.result;
                curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&s);
                if (result == CURLE_OK && !s->headed)
                        say_head(s);
                if (result == CURLE_OK)
                        say_end(s->way, s->id, TUNNEL_WHOLE, "");
                else
                        say_end(s->way, s->id, TUNNEL_BROKEN, words(s, result));
                stream_free(s);
        }
}

/* What the calls before left to do: libcurl's timers that are due, transfers that ended, words to the pool. */
static void settle(struct tunnels *t)
{
        int running;

        for (unsigned i = 0; i < 8 && t->now_ms >= t->due_ms; i++) {
                t->due_ms = UINT64_MAX;
                curl_multi_socket_action(t->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        }
        tell_done(t);
        for (uint32_t i = 0; i < PLACE_SERVERS; i++)
                flush(&t->ways[i]);
}

/* ---- from the pool ---- */

static void go_on(struct stream *s)
{
        curl_easy_pause(s->curl, (s->reading ? CURLPAUSE_SEND : 0) | (s->writing ? CURLPAUSE_RECV : 0));
}

static int on_body(struct stream *s, const struct tunnel_frame *f)
{
        if (f->length > s->may_come || f->length > s->to_come)
                return -E_MESSAGE;
        if (s->end + f->length > s->room) {
                memmove(s->body, s->body + s->begin, s->end - s->begin);
                s->end -= s->begin;
                s->begin = 0;
        }
        memcpy(s->body + s->end, f->payload, f->length);
        s->end += f->length;
        s->may_come -= (uint32_t)f->length;
        s->to_come -= (uint32_t)f->length;
        if (s->reading) {
                s->reading = false;
                go_on(s);
        }
        return 0;
}

static int on_credit(struct stream *s, const struct tunnel_frame *f)
{
        uint32_t credit;

        if (tunnel_read_credit(f, &credit) < 0 || s->may_send + credit > TUNNEL_ANSWER_WINDOW)
                return -E_MESSAGE;
        s->may_send += credit;
        if (s->writing) {
                s->writing = false;
                go_on(s);
        }
        return 0;
}

static int on_frame(struct way *w, const struct tunnel_frame *f)
{
        struct tunnel_request q;
        struct stream *s;

        if (f->kind == TUNNEL_OPEN) {
                if (f->stream <= w->last || tunnel_read_request(f, &q) < 0)
                        return -E_MESSAGE;
                w->last = f->stream;
                begin(w, f->stream, &q);
                return 0;
        }
        if (f->stream > w->last)
                return -E_MESSAGE;
        HASH_FIND(hh, w->streams, &f->stream, sizeof f->stream, s);
        if (!s) /* it crossed the end on its way */
                return 0;
        if (f->kind == TUNNEL_BODY)
                return on_body(s, f);
        if (f->kind == TUNNEL_CREDIT)
                return on_credit(s, f);
        stream_free(s); /* TUNNEL_CANCEL */
        return 0;
}

int tunnels_received(struct tunnels *t, uint64_t now_ms, uint32_t server, const uint8_t *data, size_t bytes)
{
        struct tunnel_frame f;
        int r;

        t->now_ms = now_ms;
        while ((r = tunnel_next(&data, &bytes, true, &f)) == 1)
                if (on_frame(&t->ways[server], &f) < 0) {
                        r = -E_MESSAGE;
                        break;
                }
        settle(t);
        return r;
}

void tunnels_writable(struct tunnels *t, uint64_t now_ms, uint32_t server)
{
        struct stream *s, *next;

        t->now_ms = now_ms;
        HASH_ITER(hh, t->ways[server].streams, s, next)
        {
                if (!s->writing)
                        continue;
                s->writing = false;
                go_on(s);
        }
        settle(t);
}

void tunnels_ended(struct tunnels *t, uint64_t now_ms, uint32_t server)
{
        struct way *w = &t->ways[server];

        t->now_ms = now_ms;
        for (uint32_t i = 0; i < CATALOGUE_ENTRIES; i++)
                places_leave(&t->places[i], server);
        while (w->streams)
                stream_free(w->streams);
        strbuf_done(&w->out);
        w->last = 0;
        settle(t);
}

void tunnels_event(struct tunnels *t, uint64_t now_ms, int fd)
{
        int running;

        t->now_ms = now_ms;
        curl_multi_socket_action(t->multi, fd, 0, &running);
        settle(t);
}

/* Places that nobody came for go to the next in line. When to look again. */
static uint64_t look_after_lines(struct tunnels *t)
{
        uint64_t due = UINT64_MAX;

        t->line = false;
        for (uint32_t i = 0; i < CATALOGUE_ENTRIES; i++) {
                uint64_t held;

                if (!t->places[i].waiting)
                        continue;
                t->line = true;
                tell_free(t, i);
                held = places_due(&t->places[i]);
                due = held < due ? held : due;
        }
        return due;
}

uint64_t tunnels_tick(struct tunnels *t, uint64_t now_ms)
{
        uint64_t due;

        t->now_ms = now_ms;
        due = t->line ? look_after_lines(t) : UINT64_MAX;
        settle(t);
        due = t->due_ms < due ? t->due_ms : due;
        return due == UINT64_MAX ? UINT64_MAX : due > now_ms ? due - now_ms : 0;
}

void tunnels_drain(struct tunnels *t)
{
        t->draining = true;
}

uint32_t tunnels_running(const struct tunnels *t)
{
        return t->running;
}

int tunnels_open(const struct tunnels_options *options, struct tunnels **ret)
{
        struct tunnels *t scoped_free = calloc(1, sizeof *t);

        if (!t)
                return -ENOMEM;
        t->options = *options;
        t->due_ms = UINT64_MAX;
        for (uint32_t i = 0; i < PLACE_SERVERS; i++)
                t->ways[i] = (struct way){.all = t, .server = i};
        t->multi = curl_multi_init();
        if (!t->multi)
                return -ENOMEM;
        curl_multi_setopt(t->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
        curl_multi_setopt(t->multi, CURLMOPT_SOCKETDATA, t);
        curl_multi_setopt(t->multi, CURLMOPT_TIMERFUNCTION, on_timer);
        curl_multi_setopt(t->multi, CURLMOPT_TIMERDATA, t);
        curl_multi_setopt(t->multi, CURLMOPT_MAXCONNECTS, KEPT_CONNECTIONS);
        curl_multi_setopt(t->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
        *ret = take(t);
        return 0;
}

void tunnels_close(struct tunnels *t)
{
        for (uint32_t i = 0; i < PLACE_SERVERS; i++) {
                while (t->ways[i].streams)
                        stream_free(t->ways[i].streams);
                strbuf_done(&t->ways[i].out);
        }
        curl_multi_cleanup(t->multi);
        free(t);
}
