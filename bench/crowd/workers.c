/* workers.c: a crowd of workers that do nothing but stay alive: joined over their WebSockets, a heartbeat each every ten seconds, evenly spread; see crowd.h.
 *
 * First the pool's processor time over a while of this, then how long people wait for the pool's state meanwhile, then its processor time when each tells of
 * its machine as well, as often as the welcome of so many workers lets it, and each time something else.
 */
#include "bench/crowd/crowd.h"

#include <endian.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define HEARTBEAT_NS UINT64_C(10000000000)
#define QUERIES 200

static const char *key_of_workers;

static void say(struct line *line, const char *text)
{
        unsigned char frame[1024];
        size_t n = strlen(text), at = 2;

        frame[0] = 0x81;
        if (n < 126) {
                frame[1] = (unsigned char)(0x80 | n);
        } else {
                uint16_t big = htobe16((uint16_t)n);

                frame[1] = 0x80 | 126;
                memcpy(frame + 2, &big, 2);
                at = 4;
        }
        memset(frame + at, 0, 4);
        memcpy(frame + at + 4, text, n);
        line_send(line, frame, at + 4 + n);
}

static void join(struct crowd *crowd, size_t number)
{
        struct line *line = &crowd->lines[number];
        char text[4096];
        size_t have = 0;

        snprintf(text, sizeof text,
                 "GET /worker/v1 HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: berth.worker.v1\r\nAuthorization: Bearer %s\r\n\r\n",
                 crowd->address, key_of_workers);
        line_send(line, text, strlen(text));
        if (line_head(line, text, sizeof text) != 101)
                fail("/worker/v1: %s", text);
        /* What a machine with one device says of itself. */
        snprintf(text, sizeof text,
                 "{\"m\":\"hello\",\"protocol\":1,\"instance\":\"c%zu\",\"name\":\"crowd-%05zu\",\"slots\":1,\"types\":[\"command\"],"
                 "\"devices\":[{\"kind\":\"cuda\",\"memory_bytes\":85899345920}],\"labels\":{\"rack\":\"r%zu\"},\"version\":\"1\"}",
                 number, number, number % 40);
        say(line, text);
        do {
                if (have + 1 >= sizeof text)
                        fail("no welcome");
                have += line_receive(line, text + have, sizeof text - 1 - have);
                for (size_t i = 0; i < have; i++)
                        text[i] = text[i] ? text[i] : ' ';
                text[have] = '\0';
                if (strstr(text, "\"error\""))
                        fail("a worker was refused: %s", text);
        } while (!strstr(text, "\"welcome\""));
        say(line, "{\"m\":\"ready\",\"slots\":1}");
        free(line->kept);
        line->kept = NULL;
}

/* A machine with one device and two programs on it. */
static void tell_node(struct line *line, uint64_t number)
{
        unsigned long long used = number % 80 << 30;
        char text[1000];

        snprintf(text, sizeof text,
                 "{\"m\":\"node\",\"devices\":[{\"uuid\":\"GPU-00000000-0000-0000-0000-000000000000\",\"name\":\"a device\",\"kind\":\"gpu\",\"memory_total_bytes\":85899345920,"
                 "\"memory_used_bytes\":%llu,\"swapped_bytes\":0,\"utilization_pct\":%llu,\"power_watts\":400,\"temperature_c\":60,\"clients\":["
                 "{\"pid\":1000,\"name\":\"python3\",\"state\":\"running\",\"priority\":\"normal\",\"owned_bytes\":%llu,\"resident_bytes\":%llu,\"swapped_bytes\":0},"
                 "{\"pid\":1001,\"name\":\"python3\",\"state\":\"waiting\",\"priority\":\"batch\",\"owned_bytes\":1073741824,\"resident_bytes\":0,\"swapped_bytes\":1073741824}]}],"
                 "\"clients_left_out\":0,\"host\":{\"memory_total_bytes\":540000000000,\"memory_available_bytes\":270000000000,\"cpu_pct\":%llu,\"cpus\":64}}",
                 used, (unsigned long long)(number % 101), used, used, (unsigned long long)(number % 97));
        say(line, text);
}

/* Heartbeats until `until`, or until *stop; with a report of its machine each when reports are wanted. How many were sent. */
static uint64_t beat(struct crowd *crowd, int epoll, uint64_t began, uint64_t *next, uint64_t until, const bool *stop, bool reports)
{
        struct epoll_event events[256];
        char sink[4096];
        uint64_t sent = 0;

        for (;;) {
                uint64_t now = now_ns();
                int n;

                if (now >= until || (stop && __atomic_load_n(stop, __ATOMIC_ACQUIRE)))
                        return sent;
                while (began + *next * HEARTBEAT_NS / crowd->count <= now) {
                        if (reports)
                                tell_node(&crowd->lines[*next % crowd->count], *next);
                        say(&crowd->lines[(*next)++ % crowd->count], "{\"m\":\"heartbeat\",\"load\":0.25,\"memory_free_bytes\":68719476736}");
                        sent++;
                }
                n = epoll_wait(epoll, events, 256, 1);
                for (int i = 0; i < n; i++)
                        (void)line_receive(&crowd->lines[events[i].data.u64], sink, sizeof sink);
        }
}

struct questions {
        struct crowd *crowd;
        const char *key;
        uint64_t list[QUERIES], about[QUERIES];
        bool done;
};

static void *ask(void *context)
{
        struct questions *q = context;
        struct line line;

        line_open(q->crowd, &line);
        line_ask(&line, "/api/v1/pool", q->key, NULL);
        for (size_t i = 0; i < QUERIES; i++) {
                uint64_t began = now_ns();

                line_ask(&line, "/api/v1/workers?limit=100", q->key, NULL);
                q->list[i] = now_ns() - began;
                began = now_ns();
                line_ask(&line, "/api/v1/pool", q->key, NULL);
                q->about[i] = now_ns() - began;
        }
        line_close(&line);
        __atomic_store_n(&q->done, true, __ATOMIC_RELEASE);
        return NULL;
}

void crowd_of_workers(struct crowd *crowd, const char *admin, const char *worker_key, unsigned seconds)
{
        static struct questions questions;
        uint64_t began, joined, cpu, cpu_began, rss_before = process_rss_kib(crowd->pid), rss, next = 0, sent, wall;
        int epoll = epoll_create1(EPOLL_CLOEXEC);
        pthread_t thread;

        key_of_workers = worker_key;
        began = now_ns();
        cpu_began = process_cpu_ns(crowd->pid);
        join_all(crowd, join);
        joined = now_ns() - began;
        cpu = process_cpu_ns(crowd->pid) - cpu_began;
        for (size_t i = 0; i < crowd->count; i++)
                line_watch(epoll, &crowd->lines[i], i);
        printf("{\"workers\": %zu, \"tls\": %s, \"join_s\": %.2f, \"join_cpu_us_each\": %.1f, ", crowd->count, crowd->tls ? "true" : "false", (double)joined / 1e9,
               (double)cpu / 1e3 / (double)crowd->count);

        /* One round in which everything becomes what it stays. */
        began = now_ns();
        (void)beat(crowd, epoll, began, &next, began + HEARTBEAT_NS, NULL, false);
        cpu_began = process_cpu_ns(crowd->pid);
        wall = now_ns();
        sent = beat(crowd, epoll, began, &next, wall + seconds * UINT64_C(1000000000), NULL, false);
        wall = now_ns() - wall;
        cpu = process_cpu_ns(crowd->pid) - cpu_began;
        rss = process_rss_kib(crowd->pid);
        printf("\"seconds\": %.2f, \"heartbeats\": %llu, \"core_pct\": %.3f, \"rss_before_kib\": %llu, \"rss_kib\": %llu, \"rss_each_kib\": %.2f, ", (double)wall / 1e9,
               (unsigned long long)sent, 100.0 * (double)cpu / (double)wall, (unsigned long long)rss_before, (unsigned long long)rss,
               (double)(rss - rss_before) / (double)crowd->count);

        questions = (struct questions){.crowd = crowd, .key = admin};
        if (pthread_create(&thread, NULL, ask, &questions))
                fail("no thread");
        (void)beat(crowd, epoll, began, &next, UINT64_MAX, &questions.done, false);
        pthread_join(thread, NULL);
        printf("\"list_p50_ms\": %.3f, \"list_p99_ms\": %.3f, \"pool_p50_ms\": %.3f, \"pool_p99_ms\": %.3f, ", (double)quantile(questions.list, QUERIES, 0.5) / 1e6,
               (double)quantile(questions.list, QUERIES, 0.99) / 1e6, (double)quantile(questions.about, QUERIES, 0.5) / 1e6,
               (double)quantile(questions.about, QUERIES, 0.99) / 1e6);

        wall = now_ns();
        (void)beat(crowd, epoll, began, &next, wall + HEARTBEAT_NS, NULL, true);
        cpu_began = process_cpu_ns(crowd->pid);
        wall = now_ns();
        sent = beat(crowd, epoll, began, &next, wall + seconds * UINT64_C(1000000000), NULL, true);
        wall = now_ns() - wall;
        cpu = process_cpu_ns(crowd->pid) - cpu_began;
        printf("\"node_reports\": %llu, \"node_core_pct\": %.3f, \"node_rss_each_kib\": %.2f}\n", (unsigned long long)sent, 100.0 * (double)cpu / (double)wall,
               (double)(process_rss_kib(crowd->pid) - rss) / (double)crowd->count);
        fflush(stdout);
}
