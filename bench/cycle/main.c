/* main.c: cycle-bench QUEUE ADDRESS [cycles PRODUCERS TAKERS JOBS | latency SAMPLES]: one measurement of one queue, as a line of JSON.
 *
 * cycles: jobs a second, each put, taken and done, by as many threads as there are producers and takers; the clock stops when the last job is done, not
 * when the takers have noticed. latency: an idle queue, one taker that waits, one producer that puts a job every millisecond with the time in it;
 * microseconds from the begin of the put to the receipt.
 */
#include "bench/cycle/cycle.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

volatile bool stopping;
extern bool postgresql_notifies;

static atomic_ullong next_job, done_jobs;
static unsigned long long jobs;
static uint64_t ended_ns;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t ready;

_Noreturn void fail(const char *format, ...)
{
        va_list args;

        va_start(args, format);
        fputs("cycle-bench: ", stderr);
        vfprintf(stderr, format, args);
        fputc('\n', stderr);
        va_end(args);
        _exit(1);
}

static uint64_t now_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

int dial(const char *address)
{
        char host[128], port[16];
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
        int fd, one = 1;

        if (sscanf(address, "%127[^:]:%15[0-9]", host, port) != 2 || getaddrinfo(host, port, &hints, &found))
                fail("\"%s\" is no HOST:PORT", address);
        fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) < 0)
                fail("%s: %s", address, strerror(errno));
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        freeaddrinfo(found);
        return fd;
}

void send_all(struct actor *a, const void *data, size_t bytes)
{
        const char *at = data;

        while (bytes) {
                ssize_t n = send(a->fd, at, bytes, MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0) {
                        if (stopping)
                                return;
                        fail("%s: send: %s", a->queue->name, strerror(errno));
                }
                at += n, bytes -= (size_t)n;
        }
}

bool receive_more(struct actor *a)
{
        ssize_t n;

        if (a->have == sizeof a->input)
                fail("%s: an answer that is too long", a->queue->name);
        do
                n = recv(a->fd, a->input + a->have, sizeof a->input - a->have, 0);
        while (n < 0 && errno == EINTR);
        if (n <= 0) {
                if (stopping)
                        return false;
                fail("%s: the connection ended: %s", a->queue->name, n ? strerror(errno) : "closed");
        }
        a->have += (size_t)n;
        return true;
}

static void drop(struct actor *a, size_t n)
{
        a->have -= n;
        memmove(a->input, a->input + n, a->have);
}

bool receive_line(struct actor *a, char *line, size_t size)
{
        char *end;
        size_t n;

        while (!(end = memmem(a->input, a->have, "\r\n", 2)))
                if (!receive_more(a)) {
                        line[0] = '\0';
                        return false;
                }
        n = (size_t)(end - a->input);
        if (n >= size)
                fail("%s: a line that is too long", a->queue->name);
        memcpy(line, a->input, n);
        line[n] = '\0';
        drop(a, n + 2);
        return true;
}

bool receive_exactly(struct actor *a, void *to, size_t bytes)
{
        while (a->have < bytes)
                if (!receive_more(a))
                        return false;
        memcpy(to, a->input, bytes);
        drop(a, bytes);
        return true;
}

static void fill(char body[BODY], uint64_t number)
{
        int n = snprintf(body, BODY, "%020llu", (unsigned long long)number);

        memset(body + n, 'x', BODY - (size_t)n);
}

static void *produce(void *context)
{
        struct actor *a = context;
        char body[BODY];

        a->queue->open(a);
        pthread_barrier_wait(&ready);
        for (;;) {
                unsigned long long n = atomic_fetch_add(&next_job, 1);

                if (n >= jobs)
                        return NULL;
                fill(body, n);
                a->queue->put(a, body);
        }
}

static void *consume(void *context)
{
        struct actor *a = context;
        char body[BODY];

        a->queue->open(a);
        pthread_barrier_wait(&ready);
        while (a->queue->take(a, body)) {
                a->queue->done(a);
                if (atomic_fetch_add(&done_jobs, 1) + 1 == jobs) {
                        pthread_mutex_lock(&lock);
                        ended_ns = now_ns();
                        pthread_cond_signal(&ended);
                        pthread_mutex_unlock(&lock);
                }
        }
        return NULL;
}

/* Wakes those that wait for a job which will not come. */
static void stop(struct actor *actors, pthread_t *threads, size_t count)
{
        stopping = true;
        for (size_t i = 0; i < count; i++)
                if (actors[i].fd > 0)
                        shutdown(actors[i].fd, SHUT_RDWR);
        for (size_t i = 0; i < count; i++) {
                pthread_join(threads[i], NULL);
                actors[i].queue->close(&actors[i]);
        }
}

static void cycles(const struct queue *queue, const char *address, size_t producers, size_t takers)
{
        struct actor *actors = calloc(producers + takers, sizeof *actors);
        pthread_t *threads = calloc(producers + takers, sizeof *threads);
        uint64_t began;

        if (!actors || !threads)
                fail("out of memory");
        pthread_barrier_init(&ready, NULL, (unsigned int)(producers + takers + 1));
        for (size_t i = 0; i < producers + takers; i++) {
                actors[i] = (struct actor){.queue = queue, .address = address, .taker = i >= producers, .number = i};
                if (pthread_create(&threads[i], NULL, actors[i].taker ? consume : produce, &actors[i]))
                        fail("no thread");
        }
        pthread_barrier_wait(&ready);
        began = now_ns();
        pthread_mutex_lock(&lock);
        while (!ended_ns)
                pthread_cond_wait(&ended, &lock);
        pthread_mutex_unlock(&lock);
        printf("{\"queue\": \"%s\", \"producers\": %zu, \"takers\": %zu, \"jobs\": %llu, \"per_s\": %.0f}\n", queue->name, producers, takers, jobs,
               (double)jobs * 1e9 / (double)(ended_ns - began));
        stop(actors, threads, producers + takers);
        free(actors);
        free(threads);
}

static uint64_t *samples;
static size_t sample_count, sample_at;

static void *receive(void *context)
{
        struct actor *a = context;
        char body[BODY];

        a->queue->open(a);
        pthread_barrier_wait(&ready);
        while (sample_at < sample_count && a->queue->take(a, body)) {
                samples[sample_at] = now_ns() - strtoull(body, NULL, 10);
                a->queue->done(a);
                __atomic_store_n(&sample_at, sample_at + 1, __ATOMIC_RELEASE);
        }
        return NULL;
}

static int compare(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return x < y ? -1 : x > y;
}

static void latency(const struct queue *queue, const char *address)
{
        static struct actor producer, taker;
        pthread_t thread;
        char body[BODY];

        samples = calloc(sample_count, sizeof *samples);
        postgresql_notifies = true;
        pthread_barrier_init(&ready, NULL, 2);
        taker = (struct actor){.queue = queue, .address = address, .taker = true, .number = 1};
        producer = (struct actor){.queue = queue, .address = address};
        if (!samples || pthread_create(&thread, NULL, receive, &taker))
                fail("no thread");
        producer.queue->open(&producer);
        pthread_barrier_wait(&ready);
        for (size_t i = 0; i < sample_count; i++) {
                usleep(1000);
                fill(body, now_ns());
                producer.queue->put(&producer, body);
                /* The next one when this one is done: the queue is idle at each put. */
                while (__atomic_load_n(&sample_at, __ATOMIC_ACQUIRE) <= i)
                        usleep(50);
        }
        pthread_join(thread, NULL);
        qsort(samples, sample_count, sizeof *samples, compare);
        printf("{\"queue\": \"%s\", \"samples\": %zu, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f}\n", queue->name, sample_count,
               (double)samples[sample_count / 2] / 1e3, (double)samples[sample_count * 9 / 10] / 1e3, (double)samples[sample_count * 99 / 100] / 1e3);
        queue->close(&producer);
        queue->close(&taker);
        free(samples);
}

int main(int argc, char **argv)
{
        static const struct queue *const queues[] = {&queue_berth, &queue_beanstalkd, &queue_redis, &queue_postgresql};
        const struct queue *queue = NULL;

        for (size_t i = 0; argc > 3 && i < sizeof queues / sizeof queues[0]; i++)
                if (!strcmp(queues[i]->name, argv[1]))
                        queue = queues[i];
        if (queue && argc == 7 && !strcmp(argv[3], "cycles")) {
                size_t producers = strtoul(argv[4], NULL, 10), takers = strtoul(argv[5], NULL, 10);

                jobs = strtoull(argv[6], NULL, 10);
                if (producers && takers && producers + takers < 10000 && jobs) {
                        cycles(queue, argv[2], producers, takers);
                        return 0;
                }
        } else if (queue && argc == 5 && !strcmp(argv[3], "latency")) {
                sample_count = strtoul(argv[4], NULL, 10);
                if (sample_count) {
                        latency(queue, argv[2]);
                        return 0;
                }
        }
        fputs("usage: cycle-bench berth|beanstalkd|redis|postgresql ADDRESS cycles PRODUCERS TAKERS JOBS\n"
              "       cycle-bench berth|beanstalkd|redis|postgresql ADDRESS latency SAMPLES\n", stderr);
        return 2;
}
