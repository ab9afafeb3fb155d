/* subscribers.c: a crowd that listens to the pool's events (SSE): most of one account to which nothing happens, some of another that gets events pushed from
 * outside at a steady pace; each event carries the time at which its push began. See crowd.h.
 */
#include "bench/crowd/crowd.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#define PUSHERS 4

static const char *idle, *busy_of;
static size_t busy_count;

static void join(struct crowd *crowd, size_t number)
{
        struct line *line = &crowd->lines[number];
        char text[4096], sink[65536];
        size_t have = 0;

        snprintf(text, sizeof text, "GET /api/v1/events HTTP/1.1\r\nHost: pool\r\nAccept: text/event-stream\r\nAuthorization: Bearer %s\r\n\r\n",
                 number < busy_count ? busy_of : idle);
        line_send(line, text, strlen(text));
        if (line_head(line, text, sizeof text) != 200)
                fail("/api/v1/events: %s", text);
        /* The snapshot that it begins with: one event. */
        do {
                if (have + 1 >= sizeof sink)
                        fail("no snapshot");
                have += line_receive(line, sink + have, sizeof sink - 1 - have);
                sink[have] = '\0';
        } while (!strstr(sink, "\n\n"));
        free(line->kept);
        line->kept = NULL;
        line->kept_bytes = 0;
}

struct pusher {
        struct crowd *crowd;
        const char *key;
        unsigned number, per_s, count;
};

static void *push(void *context)
{
        const struct pusher *p = context;
        uint64_t began = now_ns();
        struct line line;
        char body[256];

        line_open(p->crowd, &line);
        for (unsigned i = 1; i <= p->count; i++) {
                uint64_t due = began + (i + p->number / (double)PUSHERS) * 1e9 / p->per_s;
                struct timespec at = {.tv_sec = (time_t)(due / 1000000000), .tv_nsec = (long)(due % 1000000000)};

                clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
                snprintf(body, sizeof body, "{\"source\":\"crowd-%u\",\"sequence\":%u,\"type\":\"progress\",\"data\":{\"began\":%llu}}", p->number, i,
                         (unsigned long long)now_ns());
                line_ask(&line, "/api/v1/events", p->key, body);
        }
        line_close(&line);
        return NULL;
}

/* Times in what came; the begin of one that is not whole yet is kept for the next. */
static void take_times(struct line *line, const char *data, size_t bytes, uint64_t *delays, size_t *count, size_t max)
{
        char text[65536 + 128];
        uint64_t now = now_ns();
        char *at = text, *found;

        memcpy(text, line->kept, line->kept_bytes);
        memcpy(text + line->kept_bytes, data, bytes);
        bytes += line->kept_bytes;
        text[bytes] = '\0';
        while ((found = memmem(at, (size_t)(text + bytes - at), "\"began\":", 8))) {
                char *end;
                uint64_t began = strtoull(found + 8, &end, 10);

                if (end == text + bytes)
                        break;
                if (*count < max)
                        delays[(*count)++] = now - began;
                at = end;
        }
        if (!found)
                found = text + (bytes > 7 ? bytes - 7 : 0) > at ? text + bytes - 7 : at;
        line->kept_bytes = (size_t)(text + bytes - found);
        memcpy(line->kept, found, line->kept_bytes);
}

void crowd_of_subscribers(struct crowd *crowd, const char *idle_key, const char *busy_key, size_t busy, unsigned events_per_s, unsigned seconds)
{
        uint64_t rss_before = process_rss_kib(crowd->pid), began, cpu, wall, deadline, rss_idle, *delays;
        size_t per_pusher = events_per_s * seconds / PUSHERS, want = per_pusher * PUSHERS * busy, got = 0;
        struct pusher pushers[PUSHERS];
        pthread_t threads[PUSHERS];
        int epoll = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event events[256];
        char input[65536];

        idle = idle_key;
        busy_of = busy_key;
        busy_count = busy;
        delays = calloc(want, sizeof *delays);
        if (!delays)
                fail("out of memory");
        began = now_ns();
        join_all(crowd, join);
        printf("{\"subscribers\": %zu, \"busy\": %zu, \"tls\": %s, \"join_s\": %.2f, ", crowd->count, busy, crowd->tls ? "true" : "false", (double)(now_ns() - began) / 1e9);
        for (size_t i = 0; i < crowd->count; i++) {
                line_watch(epoll, &crowd->lines[i], i);
                if (i < busy && !(crowd->lines[i].kept = malloc(256)))
                        fail("out of memory");
        }
        rss_idle = process_rss_kib(crowd->pid);
        wall = now_ns();
        cpu = process_cpu_ns(crowd->pid);
        for (unsigned i = 0; i < PUSHERS; i++) {
                pushers[i] = (struct pusher){crowd, busy_key, i, events_per_s / PUSHERS, (unsigned)per_pusher};
                if (pthread_create(&threads[i], NULL, push, &pushers[i]))
                        fail("no thread");
        }
        deadline = wall + (seconds + 30) * UINT64_C(1000000000);
        while (got < want && now_ns() < deadline) {
                int n = epoll_wait(epoll, events, 256, 1000);

                for (int i = 0; i < n; i++) {
                        struct line *line = &crowd->lines[events[i].data.u64];
                        size_t kept = line->kept_bytes, bytes;

                        line->kept_bytes = 0;
                        bytes = line_receive(line, input, sizeof input);
                        line->kept_bytes = kept;
                        if (events[i].data.u64 < busy)
                                take_times(line, input, bytes, delays, &got, want);
                }
        }
        wall = now_ns() - wall;
        cpu = process_cpu_ns(crowd->pid) - cpu;
        for (unsigned i = 0; i < PUSHERS; i++)
                pthread_join(threads[i], NULL);
        printf("\"events\": %zu, \"deliveries\": %zu, \"missing\": %zu, \"seconds\": %.2f, \"core_pct\": %.2f, \"rss_before_mib\": %.1f, \"rss_idle_mib\": %.1f, \"rss_mib\": %.1f, "
               "\"delivery_p50_ms\": %.3f, \"delivery_p99_ms\": %.3f, \"delivery_max_ms\": %.3f}\n",
               per_pusher * PUSHERS, got, want - got, (double)wall / 1e9, 100.0 * (double)cpu / (double)wall, (double)rss_before / 1024, (double)rss_idle / 1024,
               (double)process_rss_kib(crowd->pid) / 1024, (double)quantile(delays, got, 0.5) / 1e6, (double)quantile(delays, got, 0.99) / 1e6,
               (double)quantile(delays, got, 1) / 1e6);
        fflush(stdout);
        free(delays);
}
