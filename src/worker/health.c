/* health.c: libcurl's multi interface on an epoll; see health.h. */
#include "worker/health.h"

#include "base/clock.h"
#include "base/text.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#define HEALTH_LOOKS 256
#define BODY_BYTES 65536

struct look {
        CURL *curl; /* NULL: none under way */
        struct curl_slist *headers;
        uint32_t number;
        size_t bytes;
        char error[CURL_ERROR_SIZE];
};

struct health {
        struct health_options options;
        CURLM *multi;
        uint64_t due_ms; /* UINT64_MAX: libcurl waits for nothing */
        struct look looks[HEALTH_LOOKS];
};

static uint64_t now_ms(void)
{
        return clock_now_ns() / NS_PER_MS;
}

/* libcurl says which of its sockets it waits for. */
static int on_socket(CURL *curl, curl_socket_t fd, int what, void *context, void *known)
{
        struct health *h = context;
        struct epoll_event event = {.data.u64 = h->options.first + (uint64_t)fd};

        (void)curl;
        if (what == CURL_POLL_REMOVE) {
                (void)epoll_ctl(h->options.epoll, EPOLL_CTL_DEL, fd, NULL);
                return 0;
        }
        event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
        (void)epoll_ctl(h->options.epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
        curl_multi_assign(h->multi, fd, h);
        return 0;
}

static int on_timer(CURLM *multi, long ms, void *context)
{
        struct health *h = context;

        (void)multi;
        h->due_ms = ms < 0 ? UINT64_MAX : now_ms() + (uint64_t)ms;
        return 0;
}

/* Enough of the body to know that it answers; one without an end is cut, its status counts. */
static size_t on_body(char *data, size_t size, size_t count, void *context)
{
        struct look *l = context;

        (void)data;
        l->bytes += size * count;
        return l->bytes > BODY_BYTES ? 0 : size * count;
}

int health_open(const struct health_options *options, struct health **ret)
{
        struct health *h scoped_free = calloc(1, sizeof *h);

        if (!h)
                return -ENOMEM;
        h->options = *options;
        h->due_ms = UINT64_MAX;
        for (uint32_t i = 0; i < HEALTH_LOOKS; i++)
                h->looks[i].number = i;
        h->multi = curl_multi_init();
        if (!h->multi)
                return -ENOMEM;
        curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
        curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
        curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_timer);
        curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
        *ret = take(h);
        return 0;
}

static void forget(struct health *h, struct look *l)
{
        if (!l->curl)
                return;
        curl_multi_remove_handle(h->multi, l->curl);
        curl_easy_cleanup(l->curl);
        curl_slist_free_all(l->headers);
        *l = (struct look){.number = l->number};
}

void health_close(struct health *h)
{
        for (uint32_t i = 0; i < HEALTH_LOOKS; i++)
                forget(h, &h->looks[i]);
        curl_multi_cleanup(h->multi);
        free(h);
}

void health_cancel(struct health *h, uint32_t number)
{
        forget(h, &h->looks[number]);
}

int health_begin(struct health *h, uint32_t number, const char *url, const char *key, const char *ca)
{
        struct look *l = &h->looks[number];
        char header[600];

        forget(h, l);
        l->curl = curl_easy_init();
        if (!l->curl)
                return -ENOMEM;
        if (key[0]) {
                snprintf(header, sizeof header, "Authorization: Bearer %s", key);
                l->headers = curl_slist_append(NULL, header);
        }
        curl_easy_setopt(l->curl, CURLOPT_URL, url);
        curl_easy_setopt(l->curl, CURLOPT_PROTOCOLS_STR, "http,https");
        if (ca[0])
                curl_easy_setopt(l->curl, CURLOPT_CAINFO, ca);
        curl_easy_setopt(l->curl, CURLOPT_PROXY, "");
        curl_easy_setopt(l->curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(l->curl, CURLOPT_TIMEOUT_MS, (long)h->options.timeout_ms);
        curl_easy_setopt(l->curl, CURLOPT_HTTPHEADER, l->headers);
        curl_easy_setopt(l->curl, CURLOPT_FORBID_REUSE, 1L);
        curl_easy_setopt(l->curl, CURLOPT_FRESH_CONNECT, 1L);
        curl_easy_setopt(l->curl, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(l->curl, CURLOPT_WRITEDATA, l);
        curl_easy_setopt(l->curl, CURLOPT_ERRORBUFFER, l->error);
        curl_easy_setopt(l->curl, CURLOPT_PRIVATE, l);
        if (curl_multi_add_handle(h->multi, l->curl) != CURLM_OK) {
                curl_easy_cleanup(l->curl);
                curl_slist_free_all(l->headers);
                *l = (struct look){.number = number};
                return -EIO;
        }
        return 0;
}

static void tell_done(struct health *h)
{
        CURLMsg *m;
        int left;

        while ((m = curl_multi_info_read(h->multi, &left))) {
                char why[HEALTH_WHY] = "", text[HEALTH_WHY];
                struct look *l = NULL;
                long status = 0;
                CURLcode result;
                bool good;

                if (m->msg != CURLMSG_DONE)
                        continue;
                result = m->data.result;
                curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&l);
                curl_easy_getinfo(m->easy_handle, CURLINFO_RESPONSE_CODE, &status);
                good = (result == CURLE_OK || (result == CURLE_WRITE_ERROR && l->bytes > BODY_BYTES)) && status >= 200 && status < 300;
                if (!good && status)
                        snprintf(text, sizeof text, "HTTP %ld", status);
                else
                        snprintf(text, sizeof text, "%.150s", l->error[0] ? l->error : curl_easy_strerror(result));
                text_copy_clean(why, sizeof why, text);
                forget(h, l);
                h->options.done(h->options.context, l->number, good, why);
        }
}

void health_event(struct health *h, int fd)
{
        int running;

        /* Which way it is ready libcurl finds out by trying. */
        curl_multi_socket_action(h->multi, fd, 0, &running);
        tell_done(h);
}

uint64_t health_tick(struct health *h, uint64_t now)
{
        int running;

        if (now >= h->due_ms) {
                h->due_ms = UINT64_MAX;
                curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
                tell_done(h);
        }
        return h->due_ms == UINT64_MAX ? UINT64_MAX : h->due_ms > now ? h->due_ms - now : 0;
}
