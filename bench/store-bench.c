/* store-bench.c: durable job cycles a second in the store alone: submit, lease and done as three puts through the writer, each answered after its commit.
 *
 * P producers and W workers are played by one thread, as the pool's loop plays them: a producer submits its next job when the one before is durable; a
 * worker that is free takes the oldest durable job, waits until the lease is durable, finishes it, and counts when that is durable. The clock stops at the last
 * counted job. Prints JSON lines; beside each figure what the disk itself does (one 8 KiB write and fdatasync at a time, in the same folder).
 *
 * usage: store-bench [--url URL | --postgres] [--folder DIR] [--producers P] [--workers W] [--accounts A] [--seconds S] [--spec BYTES] [--wait-us N]
 */
#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "store/store.h"
#include "store/writer.h"

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SUBMIT, LEASE, DONE };

struct pending {
        uint32_t kind, actor;
        uint64_t number;
        struct id id;
        uint32_t queue;
};

#define RING 65536

struct bench {
        struct writer *writer;
        int wake;
        uint64_t epochs[STORE_QUEUES];
        uint32_t producers, workers, idle_workers, accounts;
        size_t spec_bytes;
        char spec[65536];
        struct id last;
        struct pending ring[RING]; /* handed over, not yet durable, in order */
        uint64_t first, end;
        struct pending ready[RING]; /* submitted jobs, durable, not leased */
        uint64_t ready_first, ready_end;
        uint64_t jobs;
};

static void wake(void *context)
{
        uint64_t one = 1;
        ssize_t n = write(*(int *)context, &one, sizeof(one));

        (void)n;
}

static _Noreturn void die(const char *what, int error, const char *message)
{
        fprintf(stderr, "store-bench: %s: %s\n", what, message && *message ? message : error_text(error));
        exit(1);
}

static void hand_over(struct bench *b, uint32_t kind, struct id id, uint32_t queue)
{
        static const char leased[] = "{\"attempt\":1,\"worker\":\"worker_0192f0c1234570008000000000000001\",\"leased\":1732190400000,\"nonce\":1234567890}";
        static const char done[] = "{\"attempt\":1,\"worker\":\"worker_0192f0c1234570008000000000000001\",\"leased\":1732190400000,\"ended\":1732190400123,"
                                   "\"result\":{\"ok\":true,\"artifact\":\"sha256:0123456789abcdef\"}}";
        struct pending *p = &b->ring[b->end % RING];
        struct store_change change = {STORE_PUT, {.table = STORE_TASK, .id = id, .queue = queue, .kind = 1}};
        int r;

        if (b->end - b->first == RING)
                die("too many at once", -ENOBUFS, NULL);
        *p = (struct pending){.kind = kind, .id = id, .queue = queue};
        if (kind == SUBMIT) {
                change.row.account = (struct id){{1, (uint8_t)(queue % b->accounts)}};
                change.row.state = 2;
                change.row.spec = b->spec;
                change.row.spec_bytes = b->spec_bytes;
                change.row.status = "{\"attempt\":0}";
                change.row.status_bytes = 13;
        } else {
                change.row.state = kind == LEASE ? 3 : 5;
                change.row.until_ms = kind == LEASE ? 0 : 1732190400000;
                change.row.status = kind == LEASE ? leased : done;
                change.row.status_bytes = kind == LEASE ? sizeof(leased) - 1 : sizeof(done) - 1;
        }
        r = writer_put(b->writer, &(struct store_batch){&change, 1}, &p->number);
        if (r)
                die("handing over", r, NULL);
        b->end++;
}

static void submit(struct bench *b)
{
        uint8_t random[10];
        struct timespec now;
        struct id id;

        clock_gettime(CLOCK_REALTIME, &now);
        memset(random, (int)(b->jobs * 37), sizeof(random));
        id = id_next(&b->last, (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000, random);
        hand_over(b, SUBMIT, id, id.bytes[15] % STORE_QUEUES);
}

/* What became durable has its consequences; then free workers take jobs. */
static void turn(struct bench *b, uint64_t durable, bool more)
{
        while (b->first < b->end && b->ring[b->first % RING].number <= durable) {
                struct pending p = b->ring[b->first++ % RING];

                if (p.kind == SUBMIT) {
                        b->ready[b->ready_end++ % RING] = p;
                        if (more)
                                submit(b);
                } else if (p.kind == LEASE) {
                        hand_over(b, DONE, p.id, p.queue);
                } else {
                        b->jobs++;
                        b->idle_workers++;
                }
        }
        for (; b->idle_workers && b->ready_first < b->ready_end; b->idle_workers--) {
                struct pending *p = &b->ready[b->ready_first++ % RING];

                hand_over(b, LEASE, p->id, p->queue);
        }
}

static double disk_us(const char *folder)
{
        char path[4096], block[8192];
        uint64_t began = 0;
        int fd, n = 2000;

        snprintf(path, sizeof(path), "%s/store-bench.fsync", folder);
        memset(block, 'x', sizeof(block));
        fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
        for (int i = -256; i < n && fd >= 0; i++) { /* the first round lays the file out */
                if (i == 0) {
                        fsync(fd);
                        began = clock_now_ns();
                }
                if (pwrite(fd, block, sizeof(block), (i & 255) * (off_t)sizeof(block)) != sizeof(block) || (i >= 0 && fdatasync(fd)))
                        die(path, -errno, NULL);
        }
        if (fd < 0)
                die(path, -errno, NULL);
        close(fd);
        unlink(path);
        return (double)(clock_now_ns() - began) / n / 1e3;
}

static double cpu_s(void)
{
        struct rusage use;

        getrusage(RUSAGE_SELF, &use);
        return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) + (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static void run(struct bench *b, const char *url, const char *folder, double seconds, uint32_t wait_us)
{
        struct writer_options options = {.wake = wake, .context = &b->wake, .max_wait_us = wait_us, .max_bytes = 256 * MIB};
        struct writer_state state;
        char message[STORE_MESSAGE], owner[256];
        const char *kind;
        uint64_t began, now, ended = 0;
        double disk = disk_us(folder), took, cpu;
        int r = store_open(&(struct store_options){.url = url, .server = "bench"}, &options.store, message);

        if (r)
                die("opening", r, message);
        kind = store_kind(options.store);
        for (uint32_t q = 0; q < STORE_QUEUES; q++)
                if ((r = store_claim(options.store, q, &b->epochs[q], owner)))
                        die("claiming", r, store_problem(options.store));
        b->wake = eventfd(0, EFD_CLOEXEC);
        r = writer_start(&options, &b->writer);
        if (r)
                die("starting the writer", r, NULL);
        for (uint32_t q = 0; q < STORE_QUEUES; q++)
                writer_set_epoch(b->writer, q, b->epochs[q]);
        b->idle_workers = b->workers;
        memset(b->spec, 'x', sizeof(b->spec));
        cpu = cpu_s();
        began = clock_now_ns();
        for (uint32_t i = 0; i < b->producers; i++)
                submit(b);
        do {
                uint64_t count;

                if (read(b->wake, &count, sizeof(count)) != sizeof(count))
                        die("waiting", -errno, NULL);
                writer_get_state(b->writer, &state);
                if (state.error) {
                        writer_get_problem(b->writer, message);
                        die("committing", state.error, message);
                }
                now = clock_now_ns();
                count = b->jobs;
                turn(b, state.durable, (double)(now - began) < seconds * 1e9);
                if (b->jobs != count)
                        ended = now;
        } while (b->first < b->end);
        cpu = cpu_s() - cpu;
        took = (double)(ended - began) / 1e9;
        writer_get_state(b->writer, &state);
        printf("{\"name\": \"store_cycle_%s_per_s\", \"value\": %.0f, \"unit\": \"jobs/s, three durable commits each\", \"better\": \"higher\", \"producers\": %u, "
               "\"workers\": %u, \"spec_bytes\": %zu, \"jobs\": %" PRIu64 ", \"seconds\": %.2f, \"rows_a_commit\": %.1f, \"commit_us\": %.0f, \"commit_us_max\": %.0f, "
               "\"cpu_us_a_job\": %.2f, \"fdatasync_8k_us\": %.0f}\n",
               kind, (double)b->jobs / took, b->producers, b->workers, b->spec_bytes, b->jobs, took, (double)state.rows / (double)state.commits,
               (double)state.commit_ns_sum / (double)state.commits / 1e3, (double)state.commit_ns_max / 1e3, cpu * 1e6 / (double)b->jobs, disk);
        writer_stop(b->writer, 0);
        close(b->wake);
}

int main(int argc, char **argv)
{
        static const struct option names[] = {
                {"postgres", no_argument, NULL, 'g'},      {"url", required_argument, NULL, 'u'},     {"folder", required_argument, NULL, 'f'},  {"producers", required_argument, NULL, 'p'},
                {"accounts", required_argument, NULL, 'a'},
                {"workers", required_argument, NULL, 'w'}, {"seconds", required_argument, NULL, 's'}, {"spec", required_argument, NULL, 'b'},
                {"wait-us", required_argument, NULL, 'm'}, {NULL, 0, NULL, 0},
        };
        static struct bench b = {.producers = 8, .workers = 16, .spec_bytes = 256};
        const char *folder = ".", *url = NULL;
        char made[4096];
        uint64_t value[128] = {['s'] = 5};
        int c;

        while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
                if (c == 'u')
                        url = optarg;
                else if (c == 'g' && getenv("BERTH_TEST_POSTGRES")) /* tools/with-postgres */
                        url = getenv("BERTH_TEST_POSTGRES");
                else if (c == 'f')
                        folder = optarg;
                else if (c == '?' || c == 'g' || text_parse_u64(optarg, c == 'm' ? 0 : 1, c == 'b' ? sizeof(b.spec) : 10000, &value[c])) {
                        fprintf(stderr, "usage: store-bench [--url URL | --postgres] [--folder DIR] [--producers P] [--workers W] [--accounts A] [--seconds S] [--spec BYTES] [--wait-us N]\n");
                        return 2;
                }
        }
        b.producers = value['p'] ? (uint32_t)value['p'] : b.producers;
        b.workers = value['w'] ? (uint32_t)value['w'] : b.workers;
        b.accounts = value['a'] ? (uint32_t)value['a'] : 4;
        b.spec_bytes = value['b'] ? value['b'] : b.spec_bytes;
        snprintf(made, sizeof(made), "sqlite:%s/store-bench-%d.db", folder, (int)getpid());
        run(&b, url ? url : made, folder, (double)value['s'], (uint32_t)value['m']);
        if (!url) {
                static const char *const ends[] = {"", "-wal", "-shm", "-lock"};

                for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
                        snprintf(made, sizeof(made), "%s/store-bench-%d.db%s", folder, (int)getpid(), ends[i]);
                        unlink(made);
                }
        }
        return 0;
}
