/* line.c: one connection of a crowd: opening, TLS, HTTP; and the counts of the pool's process; see crowd.h. */
#include "bench/crowd/crowd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define JOINERS 32
#define KEPT 4096

static SSL_CTX *tls_context(void)
{
        static SSL_CTX *context;
        static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

        pthread_mutex_lock(&lock);
        if (!context) {
                context = SSL_CTX_new(TLS_client_method());
                if (!context)
                        fail("no TLS");
                /* The pool's own certificate; who it is, is not what is measured. */
                SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
                SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
                SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
        }
        pthread_mutex_unlock(&lock);
        return context;
}

void line_open(const struct crowd *crowd, struct line *line)
{
        struct sockaddr_in to = {.sin_family = AF_INET};
        char host[64];
        unsigned port;
        int one = 1;

        *line = (struct line){.fd = -1};
        if (sscanf(crowd->address, "%63[^:]:%u", host, &port) != 2 || inet_pton(AF_INET, host, &to.sin_addr) != 1)
                fail("\"%s\" is no IPV4-ADDRESS:PORT", crowd->address);
        to.sin_port = htons((uint16_t)port);
        line->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (line->fd < 0 || connect(line->fd, (struct sockaddr *)&to, sizeof to) < 0)
                fail("%s: %s", crowd->address, strerror(errno));
        setsockopt(line->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (!crowd->tls)
                return;
        line->ssl = SSL_new(tls_context());
        if (!line->ssl || SSL_set_fd(line->ssl, line->fd) != 1 || SSL_connect(line->ssl) != 1)
                fail("TLS to %s: %s", crowd->address, ERR_reason_error_string(ERR_peek_last_error()));
}

void line_send(struct line *line, const void *data, size_t bytes)
{
        const char *at = data;

        while (bytes) {
                ssize_t n = line->ssl ? SSL_write(line->ssl, at, (int)bytes) : send(line->fd, at, bytes, MSG_NOSIGNAL);

                if (n < 0 && !line->ssl && errno == EINTR)
                        continue;
                /* A watched line sends a few bytes now and then: its buffer is never full while the pool reads. */
                if (n <= 0)
                        fail("sending: %s", line->ssl ? "TLS" : strerror(errno));
                at += n, bytes -= (size_t)n;
        }
}

size_t line_receive(struct line *line, void *to, size_t size)
{
        ssize_t n;

        if (line->kept_bytes) {
                n = (ssize_t)(line->kept_bytes < size ? line->kept_bytes : size);
                memcpy(to, line->kept, (size_t)n);
                line->kept_bytes -= (size_t)n;
                memmove(line->kept, line->kept + n, line->kept_bytes);
                return (size_t)n;
        }
        if (line->ssl) {
                n = SSL_read(line->ssl, to, (int)size);
                if (n <= 0 && SSL_get_error(line->ssl, (int)n) == SSL_ERROR_WANT_READ)
                        return 0;
        } else {
                do
                        n = recv(line->fd, to, size, 0);
                while (n < 0 && errno == EINTR);
                if (n < 0 && errno == EAGAIN)
                        return 0;
        }
        if (n <= 0)
                fail("the pool ended a connection");
        return (size_t)n;
}

int line_head(struct line *line, char *text, size_t size)
{
        size_t have = 0;
        int status;
        char *end;

        do {
                if (have + 1 >= size)
                        fail("a head of more than %zu bytes", size);
                have += line_receive(line, text + have, size - 1 - have);
                text[have] = '\0';
        } while (!(end = strstr(text, "\r\n\r\n")));
        end += 4;
        have -= (size_t)(end - text);
        if (have) {
                if (!line->kept && !(line->kept = malloc(KEPT)))
                        fail("out of memory");
                if (have > KEPT)
                        fail("%zu bytes behind a head", have);
                memcpy(line->kept, end, have);
                line->kept_bytes = have;
        }
        *end = '\0';
        if (sscanf(text, "HTTP/1.1 %d", &status) != 1)
                fail("no HTTP: %s", text);
        return status;
}

void line_ask(struct line *line, const char *path, const char *key, const char *body)
{
        char text[4096], sink[16384];
        const char *at;
        size_t left;
        int status, n = snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: pool\r\nAuthorization: Bearer %s\r\n", body ? "POST" : "GET", path, key);

        if (body)
                n += snprintf(text + n, sizeof text - (size_t)n, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
        else
                n += snprintf(text + n, sizeof text - (size_t)n, "\r\n");
        line_send(line, text, (size_t)n);
        status = line_head(line, text, sizeof text);
        at = strcasestr(text, "\r\ncontent-length:");
        if (!at)
                fail("%s: an answer without a length", path);
        left = strtoul(at + 17, NULL, 10);
        while (left)
                left -= line_receive(line, sink, left < sizeof sink - 1 ? left : sizeof sink - 1);
        if (status / 100 != 2)
                fail("%s answers %d", path, status);
}

void line_close(struct line *line)
{
        SSL_free(line->ssl);
        close(line->fd);
        free(line->kept);
}

/* ---- all of them -------------------------------------------------------------------------------------------------- */

struct joiner {
        struct crowd *crowd;
        void (*join)(struct crowd *crowd, size_t number);
        size_t first;
};

static void *join_some(void *context)
{
        const struct joiner *j = context;

        for (size_t i = j->first; i < j->crowd->count; i += JOINERS) {
                line_open(j->crowd, &j->crowd->lines[i]);
                j->join(j->crowd, i);
        }
        return NULL;
}

void join_all(struct crowd *crowd, void (*join)(struct crowd *crowd, size_t number))
{
        struct joiner joiners[JOINERS];
        pthread_t threads[JOINERS];

        for (size_t i = 0; i < JOINERS; i++) {
                joiners[i] = (struct joiner){crowd, join, i};
                if (pthread_create(&threads[i], NULL, join_some, &joiners[i]))
                        fail("no thread");
        }
        for (size_t i = 0; i < JOINERS; i++)
                pthread_join(threads[i], NULL);
}

void line_watch(int epoll, struct line *line, size_t number)
{
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = number};

        if (fcntl(line->fd, F_SETFL, O_NONBLOCK) < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, line->fd, &event) < 0)
                fail("epoll: %s", strerror(errno));
}

/* ---- the pool's process ------------------------------------------------------------------------------------------- */

uint64_t process_cpu_ns(int pid)
{
        struct timespec t;
        clockid_t clock;

        if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t) < 0)
                fail("the pool's process (%d) is gone", pid);
        return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t process_rss_kib(int pid)
{
        unsigned long long kib = 0;
        char path[64], text[256];
        FILE *file;

        snprintf(path, sizeof path, "/proc/%d/status", pid);
        file = fopen(path, "re");
        while (file && !kib && fgets(text, sizeof text, file))
                if (sscanf(text, "VmRSS: %llu", &kib) != 1)
                        kib = 0;
        if (file)
                fclose(file);
        if (!kib)
                fail("the pool's process (%d) is gone", pid);
        return kib;
}
