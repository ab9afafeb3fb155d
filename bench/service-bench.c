/* service-bench.c: durable job cycles through the service in one process, without sockets: 8 producers and 16 workers in closed loops, real JSON texts in and out,
 * every answer after its commit; and how long a task takes to an idle worker. One JSON line a figure.
 *
 * service-bench [--seconds N] [--store URL] [--samples N] [--producers N] [--workers N] [--folder PATH]
 */
#include "base/clock.h"
#include "service/pass.h"
#include "service/service.h"

#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define PRODUCERS 256
#define WORKERS 1024

struct worker {
        struct service_worker *connection;
        char task[64], nonce[32];
        bool welcomed, leased;
};

static struct service *service;
static struct account_caller producer_of[PRODUCERS], farm;
static struct worker workers[WORKERS];
static int producers = 8, worker_count = 16, woken;
static bool answered[PRODUCERS];
static uint64_t given, done, leased_at;
static char body[512];
static pthread_t loop;
static bool again, closed_loop;

/* Between turns the loop's own thread needs no waking. */
static void wake(void *context)
{
        uint64_t one = 1;

        if (pthread_equal(pthread_self(), loop))
                again = true;
        else if (write(woken, &one, sizeof(one)) < 0)
                abort();
}

static void copy_member(const char *text, const char *name, char *to, size_t size)
{
        const char *at = strstr(text, name);
        size_t n = 0;

        if (!at)
                exit(1);
        for (at += strlen(name); at[n] && at[n] != '"' && n + 1 < size; n++)
                to[n] = at[n];
        to[n] = '\0';
}

static int heard(void *context, const char *text, size_t bytes)
{
        struct worker *w = context;

        if (!strncmp(text, "{\"m\":\"lease\"", 12)) {
                leased_at = clock_now_ns();
                copy_member(text, "\"task\":\"", w->task, sizeof(w->task));
                copy_member(text, "\"nonce\":\"", w->nonce, sizeof(w->nonce));
                w->leased = true;
        } else if (!strncmp(text, "{\"m\":\"ack\"", 10)) {
                done++;
        } else if (!strncmp(text, "{\"m\":\"welcome\"", 14)) {
                w->welcomed = true;
        } else {
                fprintf(stderr, "service-bench: %.*s\n", (int)bytes, text);
        }
        return 0;
}

static void closed(void *context, const char *reason)
{
        fprintf(stderr, "service-bench: closed: %s\n", reason);
        exit(1);
}

static void submit(int i);

static void answer(void *context, const struct service_answer *answer)
{
        if (answer->status != 202) {
                fprintf(stderr, "service-bench: %d %s: %s\n", answer->status, answer->code, answer->detail);
                exit(1);
        }
        *(bool *)context = true;
        if (closed_loop)
                submit((int)((bool *)context - answered));
}

static void say(struct worker *w, const char *text)
{
        if (service_worker_receive(w->connection, text, strlen(text)) < 0)
                exit(1);
}

static void submit(int i)
{
        json_error_t error;
        struct strbuf rest = {0}, payload = {0};
        json_t *json;

        /* As the gateway does it. */
        if (!pass_payload(body, strlen(body), &rest, &payload))
                exit(1);
        json = json_loadb(rest.text, rest.length, JSON_REJECT_DUPLICATES, &error);
        answered[i] = false;
        given++;
        service_submit_apart(service, &producer_of[i], json, &payload, NULL, false, answer, &answered[i]);
        json_decref(json);
        strbuf_done(&rest);
        strbuf_done(&payload);
}

static void give_results(void)
{
        char text[256];

        for (int i = 0; i < worker_count; i++) {
                struct worker *w = &workers[i];

                if (!w->leased)
                        continue;
                w->leased = false;
                snprintf(text, sizeof(text), "{\"m\":\"result\",\"task\":\"%s\",\"nonce\":\"%s\",\"result\":{\"ok\":true},\"ready\":true}", w->task, w->nonce);
                say(w, text);
        }
}

/* Waits first, so that the caller looks at what a turn brought before it waits again. */
static void turn(void)
{
        static uint64_t ms;
        struct pollfd p = {.fd = woken, .events = POLLIN};
        uint64_t count;

        if (ms && !again && poll(&p, 1, ms > 1000 ? 1000 : (int)ms) == 1 && read(woken, &count, sizeof(count)) < 0)
                exit(1);
        again = false;
        ms = service_turn(service);
        give_results();
}

static int by_value(const void *a, const void *b)
{
        return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b;
}

static double cpu_s(void)
{
        struct rusage u;

        getrusage(RUSAGE_SELF, &u);
        return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void figure(const char *name, double value, const char *unit, const char *better, double limit, const char *more)
{
        printf("{\"name\": \"%s\", \"value\": %.1f, \"unit\": \"%s\", \"better\": \"%s\", \"limit\": %.0f, \"peers\": {}, \"command\": \"service-bench\", %s}\n", name, value, unit,
               better, limit, more);
        fflush(stdout);
}

static void cycles(double seconds)
{
        uint64_t begin, first, end, warm = clock_now_ns() + NS_PER_S / 2;
        char more[256];
        double cpu;

        closed_loop = true;
        for (int i = 0; i < producers; i++)
                submit(i);
        begin = 0;
        first = 0;
        cpu = 0;
        for (;;) {
                turn();
                end = clock_now_ns();
                if (!begin && end > warm) {
                        begin = end;
                        first = done;
                        cpu = cpu_s();
                }
                if (begin && end - begin > (uint64_t)(seconds * 1e9))
                        break;
        }
        closed_loop = false;
        snprintf(more, sizeof(more), "\"producers\": %d, \"workers\": %d, \"cpu_us_per_cycle\": %.1f", producers, worker_count,
                 (cpu_s() - cpu) * 1e6 / (double)(done - first));
        figure("durable_cycle_core_per_s", (double)(done - first) * 1e9 / (double)(end - begin), "cycles/s", "higher", 40000, more);
        while (given > done)
                turn();
}

static void idle(int samples)
{
        double *us = calloc((size_t)samples, sizeof(*us));
        char more[128];

        for (int i = 0; i < samples; i++) {
                uint64_t began, before = done;

                poll(NULL, 0, 1);
                leased_at = 0;
                began = clock_now_ns();
                submit(0);
                while (!leased_at)
                        turn();
                us[i] = (double)(leased_at - began) / 1e3;
                while (done == before || !answered[0])
                        turn();
        }
        qsort(us, (size_t)samples, sizeof(*us), by_value);
        snprintf(more, sizeof(more), "\"p90\": %.1f, \"p99\": %.1f, \"samples\": %d", us[samples * 9 / 10], us[samples * 99 / 100], samples);
        figure("dispatch_core_p50_us", us[samples / 2], "us", "lower", 300, more);
        free(us);
}

int main(int argc, char **argv)
{
        static const struct option long_options[] = {{"seconds", 1, NULL, 's'}, {"store", 1, NULL, 'u'},   {"samples", 1, NULL, 'n'},
                                                     {"producers", 1, NULL, 'p'}, {"workers", 1, NULL, 'w'}, {"folder", 1, NULL, 'f'}, {NULL, 0, NULL, 0}};
        struct service_options options = {.wake = wake};
        char message[SERVICE_MESSAGE], folder[256] = "/tmp/berth-service-bench-XXXXXX", command[300];
        double seconds = 3;
        int samples = 1000, c;
        bool own = true;

        while ((c = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
                if (c == 's')
                        seconds = atof(optarg);
                else if (c == 'u')
                        options.store_url = optarg;
                else if (c == 'n')
                        samples = atoi(optarg);
                else if (c == 'p')
                        producers = atoi(optarg);
                else if (c == 'w')
                        worker_count = atoi(optarg);
                else if (c == 'f')
                        snprintf(folder, sizeof(folder), "%s", optarg), own = false;
                else
                        return 2;
        }
        if (producers < 1 || producers > PRODUCERS || worker_count < 1 || worker_count > WORKERS || (own && !mkdtemp(folder)))
                return 2;
        woken = eventfd(0, EFD_NONBLOCK);
        loop = pthread_self();
        options.folder = folder;
        if (service_open(&options, &service, message) < 0) {
                fprintf(stderr, "service-bench: %s\n", message);
                return 1;
        }
        memset(farm.account.bytes, 200, sizeof(farm.account.bytes));
        farm.role = ROLE_WORKER;
        farm.scopes = ~UINT64_C(0);
        for (int i = 0; i < producers; i++) {
                producer_of[i] = (struct account_caller){.role = ROLE_USER, .scopes = ~UINT64_C(0), .weight = 100};
                memset(producer_of[i].account.bytes, i + 1, sizeof(producer_of[i].account.bytes));
        }
        snprintf(body, sizeof(body), "{\"type\":\"t\",\"payload\":{\"body\":\"%0*d\"}}", 240, 7);
        for (int i = 0; i < worker_count; i++) {
                char text[256];

                workers[i].connection = service_worker_open(service, &farm, "local", heard, closed, &workers[i]);
                snprintf(text, sizeof(text), "{\"m\":\"hello\",\"protocol\":1,\"instance\":\"i%d\",\"name\":\"w%d\",\"slots\":1,\"types\":[\"t\"]}", i, i);
                say(&workers[i], text);
                while (!workers[i].welcomed)
                        turn();
                say(&workers[i], "{\"m\":\"ready\",\"slots\":1}");
        }
        if (seconds > 0)
                cycles(seconds);
        if (samples > 0)
                idle(samples);
        for (int i = 0; i < worker_count; i++)
                service_worker_closed(workers[i].connection);
        service_close(service);
        snprintf(command, sizeof(command), "rm -rf '%s'", folder);
        return own ? system(command) : 0;
}
