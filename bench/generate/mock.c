/* mock.c: an engine that costs nothing: answers every POST with a fixed chat completion of 1.2 kB, or, where the body has "stream":true, with events at a pace, each holding the
 * time at which it was due. One thread, epoll.
 *
 * usage: generate-mock [--port N] [--tokens N] [--pace-us N]: prints its port. Any GET is answered 200.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct line {
        int fd;
        uint32_t left;                  /* events of its stream */
        uint64_t due_ns;
        struct line *prev, *next;       /* of those that stream, by due_ns */
        char in[8192];
        size_t have;
        bool watching_out;
        char *out;
        size_t out_bytes;
};

static struct line *streams, *last_stream;
static uint32_t tokens = 100;
static uint64_t pace_ns = 20000000;
static int poller;
static char answer[2048];
static size_t answer_bytes;

static uint64_t now_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void add_stream(struct line *l)
{
        l->prev = last_stream;
        l->next = NULL;
        *(last_stream ? &last_stream->next : &streams) = l;
        last_stream = l;
}

static void remove_stream(struct line *l)
{
        *(l->prev ? &l->prev->next : &streams) = l->next;
        *(l->next ? &l->next->prev : &last_stream) = l->prev;
}

static void make_answer(void)
{
        char body[1400];
        int n = snprintf(body, sizeof(body),
                         "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\"message\":"
                         "{\"role\":\"assistant\",\"content\":\"");

        while (n < 1100)
                n += snprintf(body + n, sizeof(body) - (size_t)n, "some words ");
        n += snprintf(body + n, sizeof(body) - (size_t)n, "\"}}],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":80,\"total_tokens\":100}}");
        answer_bytes = (size_t)snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", n, body);
}

static void drop(struct line *l)
{
        if (l->left)
                remove_stream(l);
        close(l->fd);
        free(l->out);
        free(l);
}

/* False: it is gone. What does not go out at once is kept: a receiver that is behind shall see all. */
static bool put(struct line *l, const char *data, size_t bytes)
{
        ssize_t n = l->out_bytes ? 0 : send(l->fd, data, bytes, MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN) {
                drop(l);
                return false;
        }
        n = n < 0 ? 0 : n;
        if ((size_t)n < bytes) {
                l->out = realloc(l->out, l->out_bytes + bytes - (size_t)n);
                if (!l->out)
                        abort();
                memcpy(l->out + l->out_bytes, data + n, bytes - (size_t)n);
                l->out_bytes += bytes - (size_t)n;
                if (!l->watching_out)
                        epoll_ctl(poller, EPOLL_CTL_MOD, l->fd, &(struct epoll_event){.events = EPOLLIN | EPOLLOUT, .data.ptr = l});
                l->watching_out = true;
        }
        return true;
}

static void stream_event(struct line *l)
{
        char event[400];
        int n = snprintf(event + 6, sizeof(event) - 6,
                         "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"finish_reason\":null,\"delta\":"
                         "{\"content\":\"%llu\"}}]}\n\n",
                         (unsigned long long)l->due_ns);
        char size[8];

        snprintf(size, sizeof(size), "%04x\r\n", n);
        memcpy(event, size, 6);
        memcpy(event + 6 + n, "\r\n", 2);
        n += 8;
        remove_stream(l);
        if (--l->left) {
                l->due_ns += pace_ns;
                add_stream(l);
        } else {
                n += snprintf(event + n, sizeof(event) - (size_t)n, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
        }
        (void)put(l, event, (size_t)n);
}

/* Whole requests of what is here. False: it is gone. */
static bool requests(struct line *l)
{
        static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

        while (l->have) {
                char *end = memmem(l->in, l->have, "\r\n\r\n", 4), *length;
                size_t head_bytes, body = 0;

                if (!end)
                        return true;
                head_bytes = (size_t)(end - l->in) + 4;
                *end = 0;
                length = strcasestr(l->in, "\r\ncontent-length:");
                if (length)
                        body = strtoul(length + 17, NULL, 10);
                *end = '\r';
                if (l->have < head_bytes + body)
                        return true;
                if (body && memmem(l->in + head_bytes, body, "\"stream\":true", 13)) {
                        if (!put(l, head, sizeof(head) - 1))
                                return false;
                        l->left = tokens;
                        l->due_ns = now_ns() + pace_ns;
                        add_stream(l);
                } else if (!put(l, answer, answer_bytes)) {
                        return false;
                }
                l->have -= head_bytes + body;
                memmove(l->in, l->in + head_bytes + body, l->have);
        }
        return true;
}

static void ready(struct line *l, uint32_t what)
{
        if (what & EPOLLOUT && l->out_bytes) {
                ssize_t n = send(l->fd, l->out, l->out_bytes, MSG_NOSIGNAL);

                if (n > 0) {
                        l->out_bytes -= (size_t)n;
                        memmove(l->out, l->out + n, l->out_bytes);
                }
                if (!l->out_bytes) {
                        l->watching_out = false;
                        epoll_ctl(poller, EPOLL_CTL_MOD, l->fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = l});
                }
        }
        if (what & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
                ssize_t n = recv(l->fd, l->in + l->have, sizeof(l->in) - l->have, 0);

                if (n <= 0 && !(n < 0 && errno == EAGAIN)) {
                        drop(l);
                        return;
                }
                l->have += n > 0 ? (size_t)n : 0;
                (void)requests(l);
        }
}

int main(int argc, char **argv)
{
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct rlimit files = {100000, 100000};
        socklen_t length = sizeof(address);
        int listener, one = 1;

        for (int i = 1; i + 1 < argc; i += 2) {
                if (!strcmp(argv[i], "--port"))
                        address.sin_port = htons((uint16_t)atoi(argv[i + 1]));
                else if (!strcmp(argv[i], "--tokens"))
                        tokens = (uint32_t)atoi(argv[i + 1]);
                else if (!strcmp(argv[i], "--pace-us"))
                        pace_ns = strtoull(argv[i + 1], NULL, 10) * 1000;
        }
        getrlimit(RLIMIT_NOFILE, &files);
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
        make_answer();
        listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        poller = epoll_create1(EPOLL_CLOEXEC);
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(listener, 4096) < 0 ||
            getsockname(listener, (struct sockaddr *)&address, &length) < 0) {
                perror("generate-mock");
                return 1;
        }
        printf("%u\n", ntohs(address.sin_port));
        fflush(stdout);
        epoll_ctl(poller, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN});
        for (;;) {
                struct epoll_event events[256];
                uint64_t now = now_ns();
                int n, wait = !streams ? -1 : streams->due_ns <= now ? 0 : (int)((streams->due_ns - now) / 1000000);

                n = epoll_wait(poller, events, 256, wait);
                for (int i = 0; i < n; i++) {
                        struct line *l = events[i].data.ptr;
                        int fd;

                        if (l) {
                                ready(l, events[i].events);
                                continue;
                        }
                        while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                                l = calloc(1, sizeof(*l));
                                if (!l)
                                        abort();
                                l->fd = fd;
                                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
                                epoll_ctl(poller, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = l});
                        }
                }
                now = now_ns();
                while (streams && streams->due_ns <= now)
                        stream_event(streams);
        }
}
