/* drive.c: clients of generate-mock, directly and through gateways: latencies one by one, and events of many streams against the time they were due.
 *
 * usage: generate-drive sequential ROUNDS PORT[,AUTHORIZATION] …: one connection to each target, one request at a time, targets in turn, their order rotated each round; a JSON object a target:
 *          {"p50_us", "p90_us", "p99_us"} after ROUNDS / 15 rounds of warming up
 *        generate-drive streams COUNT SECONDS PORT[,AUTHORIZATION]: so many streams at once; {"streams", "events", "p50_ms", "p99_ms", "max_ms", "ended"}: how late each event was. The
 *          first second after all are open is not counted
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

#define LATE_STEPS 200000 /* of 10 µs */

static uint64_t now_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fail(const char *what)
{
        fprintf(stderr, "generate-drive: %s: %s\n", what, strerror(errno));
        exit(1);
}

static int dial(const char *target)
{
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)atoi(target))};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                fail(target);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        return fd;
}

static size_t request(char *text, size_t size, const char *target, bool stream)
{
        const char *key = strchr(target, ',');
        char body[600];
        int n = snprintf(body, sizeof(body), "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"You are a helpful assistant.\"},{\"role\":\"user\",\"content\":\"Tell me something"
                                             " about queues in forty words or so, please.\"}],\"max_tokens\":100,\"temperature\":0.7%s}",
                         stream ? ",\"stream\":true" : "");

        return (size_t)snprintf(text, size, "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n%s%s%sContent-Length: %d\r\n\r\n%s",
                                key ? "Authorization: Bearer " : "", key ? key + 1 : "", key ? "\r\n" : "", n, body);
}

/* One answer with a length. */
static void take(int fd)
{
        static char in[65536];
        size_t have = 0, wanted = 0;

        for (;;) {
                ssize_t n = recv(fd, in + have, sizeof(in) - 1 - have, 0);
                char *end, *length;

                if (n <= 0)
                        fail("answer");
                have += (size_t)n;
                in[have] = 0;
                if (!wanted && (end = strstr(in, "\r\n\r\n"))) {
                        length = strcasestr(in, "content-length:");
                        if (strncmp(in, "HTTP/1.1 200", 12) || !length) {
                                fprintf(stderr, "%.600s\n", in);
                                exit(1);
                        }
                        wanted = (size_t)(end - in) + 4 + strtoul(length + 15, NULL, 10);
                }
                if (wanted && have >= wanted)
                        return;
        }
}

static int by_value(const void *a, const void *b)
{
        float x = *(const float *)a, y = *(const float *)b;

        return x < y ? -1 : x > y;
}

static void sequential(int rounds, int count, char **targets)
{
        float *times = malloc((size_t)rounds * (size_t)count * sizeof(*times));
        char texts[16][1200];
        size_t bytes[16];
        int fds[16], warm = rounds / 15;

        if (!times || count > 16)
                exit(2);
        for (int i = 0; i < count; i++) {
                fds[i] = dial(targets[i]);
                bytes[i] = request(texts[i], sizeof(texts[i]), targets[i], false);
        }
        for (int round = -warm; round < rounds; round++)
                for (int k = 0; k < count; k++) {
                        int i = (k + round + warm) % count;
                        uint64_t from = now_ns();

                        if (send(fds[i], texts[i], bytes[i], MSG_NOSIGNAL) != (ssize_t)bytes[i])
                                fail("send");
                        take(fds[i]);
                        if (round >= 0)
                                times[(size_t)i * (size_t)rounds + (size_t)round] = (float)(now_ns() - from) / 1000;
                }
        for (int i = 0; i < count; i++) {
                float *own = times + (size_t)i * (size_t)rounds;

                qsort(own, (size_t)rounds, sizeof(*own), by_value);
                printf("{\"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f}\n", (double)own[rounds / 2], (double)own[rounds * 9 / 10], (double)own[rounds * 99 / 100]);
        }
        free(times);
}

struct stream {
        int fd;
        char rest[64]; /* the end of what came last: a mark may be cut */
        size_t rest_bytes;
};

static uint32_t late[LATE_STEPS + 1];
static uint64_t events, ended, worst;

static void look(struct stream *s, char *data, size_t bytes, bool counted)
{
        static const char mark[] = "\"content\":\"";
        uint64_t now = now_ns();
        char *at = data, *end = data + bytes, *last = data;

        while ((at = memmem(at, (size_t)(end - at), mark, sizeof(mark) - 1))) {
                char *number = at + sizeof(mark) - 1, *stop;
                uint64_t due, by;

                stop = memchr(number, '"', (size_t)(end - number));
                if (!stop)
                        break;
                due = strtoull(number, NULL, 10);
                at = last = stop;
                if (!counted)
                        continue;
                by = now > due ? now - due : 0;
                worst = by > worst ? by : worst;
                by /= 10000;
                late[by < LATE_STEPS ? by : LATE_STEPS]++;
                events++;
        }
        s->rest_bytes = (size_t)(end - last) < sizeof(s->rest) ? (size_t)(end - last) : sizeof(s->rest);
        memmove(s->rest, end - s->rest_bytes, s->rest_bytes);
}

static double share_ms(double share)
{
        uint64_t wanted = (uint64_t)((double)events * share), sum = 0;

        for (uint32_t i = 0; i <= LATE_STEPS; i++) {
                sum += late[i];
                if (sum >= wanted)
                        return (double)i / 100;
        }
        return 0;
}

static void streams(int count, double seconds, const char *target)
{
        struct stream *all = calloc((size_t)count, sizeof(*all));
        static char data[1 << 17];
        char text[1200];
        size_t bytes = request(text, sizeof(text), target, true);
        int poller = epoll_create1(EPOLL_CLOEXEC);
        uint64_t from, until;

        if (!all)
                exit(2);
        for (int i = 0; i < count; i++) {
                all[i].fd = dial(target);
                epoll_ctl(poller, EPOLL_CTL_ADD, all[i].fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = &all[i]});
                if (send(all[i].fd, text, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
                        fail("send");
        }
        from = now_ns() + 1000000000;
        until = from + (uint64_t)(seconds * 1e9);
        while (now_ns() < until) {
                struct epoll_event ready[256];
                int n = epoll_wait(poller, ready, 256, 100);

                for (int i = 0; i < n; i++) {
                        struct stream *s = ready[i].data.ptr;
                        ssize_t got;

                        memcpy(data, s->rest, s->rest_bytes);
                        got = recv(s->fd, data + s->rest_bytes, sizeof(data) - s->rest_bytes, 0);
                        if (got <= 0) {
                                epoll_ctl(poller, EPOLL_CTL_DEL, s->fd, NULL);
                                ended++;
                                continue;
                        }
                        look(s, data, s->rest_bytes + (size_t)got, now_ns() >= from);
                }
        }
        printf("{\"streams\": %d, \"events\": %llu, \"p50_ms\": %.2f, \"p99_ms\": %.2f, \"p999_ms\": %.2f, \"max_ms\": %.2f, \"ended\": %llu}\n", count, (unsigned long long)events, share_ms(0.5),
               share_ms(0.99), share_ms(0.999), (double)worst / 1e6, (unsigned long long)ended);
        free(all);
}

int main(int argc, char **argv)
{
        struct rlimit files;

        getrlimit(RLIMIT_NOFILE, &files);
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
        if (argc >= 4 && !strcmp(argv[1], "sequential"))
                sequential(atoi(argv[2]), argc - 3, argv + 3);
        else if (argc == 5 && !strcmp(argv[1], "streams"))
                streams(atoi(argv[2]), atof(argv[3]), argv[4]);
        else
                return 2;
        return 0;
}
