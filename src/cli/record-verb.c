/* record-verb.c: `berth record FILE`: looks into a file, for `berth replay`; bounded, and whole after a crash. */
#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"
#include "cli/record.h"
#include "cli/top-world.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#define ANSWER_MS 2000
#define LIMIT_LEAST (1 << 20)

struct recorder {
        const char *path;
        uint64_t interval_ns, for_ns, limit, count, bytes, looks;
        int fd;
        bool no_probes;
        struct top_sources sources;
        struct record_state state;
};

enum { KEY_FOR = 'f', KEY_LIMIT = 'l', KEY_COUNT = 'n', KEY_NO_PROBES = 0x100 };

static const struct argp_option options[] = {
        {"interval", 'i', "TIME", 0, "time between two looks (1s)", 0},
        {"for", KEY_FOR, "TIME", 0, "end after so long", 0},
        {"count", KEY_COUNT, "N", 0, "end after so many looks", 0},
        {"limit", KEY_LIMIT, "SIZE", 0, "bytes in all (256MiB): when half of it is full, the file becomes FILE.old and a new one begins", 0},
        {"no-probes", KEY_NO_PROBES, NULL, 0, "without what the daemon's probes in the kernel count: asking keeps them attached", 0},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct recorder *r = state->input;

        switch (key) {
        case 'i':
                if (text_parse_duration(arg, &r->interval_ns) < 0 || r->interval_ns < 100 * NS_PER_MS || r->interval_ns > 3600 * NS_PER_S)
                        argp_error(state, "--interval: \"%s\" is no time between 100ms and 1h", arg);
                return 0;
        case KEY_FOR:
                if (text_parse_duration(arg, &r->for_ns) < 0 || !r->for_ns)
                        argp_error(state, "--for: \"%s\" is no time", arg);
                return 0;
        case KEY_COUNT:
                if (text_parse_u64(arg, 1, UINT32_MAX, &r->count) < 0)
                        argp_error(state, "--count: \"%s\" is no number of looks", arg);
                return 0;
        case KEY_LIMIT:
                if (text_parse_bytes(arg, &r->limit) < 0 || r->limit < LIMIT_LEAST)
                        argp_error(state, "--limit: \"%s\" is no size of at least 1MiB", arg);
                return 0;
        case KEY_NO_PROBES:
                r->no_probes = true;
                return 0;
        case ARGP_KEY_ARG:
                if (r->path)
                        argp_error(state, "one file; \"%s\" is too much", arg);
                r->path = arg;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

static int write_all(int fd, const char *bytes, size_t count)
{
        while (count) {
                ssize_t n = write(fd, bytes, count);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                bytes += n;
                count -= (size_t)n;
        }
        return 0;
}

/* Where the last whole record of a file ends. */
static int find_end(int fd, uint64_t *ret)
{
        struct record_state state = {0};
        char head[RECORD_HEAD_BYTES];
        char *bytes scoped_free = malloc(2 * RECORD_BYTES + 64);
        uint64_t at = RECORD_HEAD_BYTES;
        int r;

        if (!bytes)
                return -ENOMEM;
        if (pread(fd, head, sizeof head, 0) != (ssize_t)sizeof head)
                return -E_MESSAGE;
        r = record_check_head(head, sizeof head);
        while (r == 0) {
                ssize_t n = pread(fd, bytes, 2 * RECORD_BYTES + 64, (off_t)at);
                size_t length = 0, from = 0;
                bool key;

                if (n <= 0)
                        break;
                while (record_get(&state, bytes + from, (size_t)n - from, &length, &key, NULL) == 0)
                        from += length;
                if (!from)
                        break;
                at += from;
        }
        *ret = at;
        return r;
}

static int open_file(struct recorder *r, char message[CLI_MESSAGE])
{
        __attribute__((cleanup(strbuf_done_at))) struct strbuf head = {0};
        struct stat st;
        int error = 0;

        r->fd = open(r->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600); /* others' files are named in it */
        if (r->fd < 0 || fstat(r->fd, &st) < 0)
                error = -errno;
        else if (!S_ISREG(st.st_mode))
                error = -EINVAL;
        else if (flock(r->fd, LOCK_EX | LOCK_NB) < 0)
                error = -EBUSY;
        if (error < 0) {
                snprintf(message, CLI_MESSAGE, "%.300s: %s", r->path, error == -EBUSY ? "another `berth record' writes there" : error_text(error));
                return error;
        }
        record_head(&head);
        if (!st.st_size) {
                error = head.failed ? -ENOMEM : write_all(r->fd, head.text, head.length);
                r->bytes = RECORD_HEAD_BYTES;
        } else {
                error = find_end(r->fd, &r->bytes);
                if (error == -E_MESSAGE || error == -E_VERSION) {
                        snprintf(message, CLI_MESSAGE, "%.300s is there, and is %s; give another name", r->path,
                                 error == -E_VERSION ? "a record of another release" : "no record");
                        return error;
                }
                /* What an earlier release began is this one's from here on. */
                if (error == 0 && (head.failed || pwrite(r->fd, head.text, head.length, 0) != (ssize_t)head.length))
                        error = head.failed ? -ENOMEM : -EIO;
                if (error == 0 && (ftruncate(r->fd, (off_t)r->bytes) < 0 || lseek(r->fd, 0, SEEK_END) < 0))
                        error = -errno;
        }
        if (error < 0)
                snprintf(message, CLI_MESSAGE, "%.300s: %s", r->path, error_text(error));
        return error;
}

/* The old half keeps what was; the lock goes with the file. */
static int turn_over(struct recorder *r, char message[CLI_MESSAGE])
{
        char old[4096];

        if ((size_t)snprintf(old, sizeof old, "%s.old", r->path) >= sizeof old || rename(r->path, old) < 0) {
                snprintf(message, CLI_MESSAGE, "%.300s.old: %s", r->path, strerror(errno));
                return -errno;
        }
        fd_close_at(&r->fd);
        record_state_done(&r->state);
        return open_file(r, message);
}

static volatile sig_atomic_t ending;

static void on_signal(int number)
{
        (void)number;
        ending = 1;
}

static int record_one(struct recorder *r, char message[CLI_MESSAGE])
{
        __attribute__((cleanup(strbuf_done_at))) struct strbuf b = {0};
        struct timespec t;
        int error;

        (void)top_look(&r->sources, NULL);
        clock_gettime(CLOCK_REALTIME, &t);
        error = record_put(&r->state, &r->sources.world, (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec, &b);
        if (error == 0 && r->bytes + b.length > r->limit / 2 && r->bytes > RECORD_HEAD_BYTES) {
                error = turn_over(r, message);
                if (error < 0)
                        return error;
                /* A new file begins with a look that stands alone. */
                strbuf_clear(&b);
                error = record_put(&r->state, &r->sources.world, (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec, &b);
        }
        if (error == 0)
                error = write_all(r->fd, b.text, b.length);
        if (error < 0) {
                snprintf(message, CLI_MESSAGE, "%.300s: %s", r->path, error_text(error));
                return error;
        }
        r->bytes += b.length;
        r->looks++;
        return 0;
}

static int run(const struct verb *self, int argc, char **argv)
{
        struct recorder *r scoped_free = calloc(1, sizeof *r);
        struct sigaction action = {.sa_handler = on_signal};
        uint64_t begun = clock_now_ns(), next;
        char message[CLI_MESSAGE] = "out of memory";
        int error;

        if (!r) {
                cli_error("out of memory");
                return CLI_FAILED;
        }
        r->interval_ns = NS_PER_S;
        r->limit = UINT64_C(256) << 20;
        r->fd = -1;
        cli_parse(self, argc, argv, r);
        if (!r->path)
                return cli_usage(self, "into which file? berth record FILE");
        sigaction(SIGTERM, &action, NULL);
        sigaction(SIGINT, &action, NULL);
        error = open_file(r, message);
        top_sources_open(&r->sources, ANSWER_MS);
        r->sources.ask_probes = !r->no_probes;
        for (next = clock_now_ns(); error == 0 && !ending; next += r->interval_ns) {
                uint64_t now;

                error = record_one(r, message);
                now = clock_now_ns();
                if ((r->count && r->looks >= r->count) || (r->for_ns && now - begun >= r->for_ns))
                        break;
                if (now > next + r->interval_ns)
                        next = now - r->interval_ns; /* looks that were missed are not made up for */
                while (error == 0 && !ending && (now = clock_now_ns()) < next + r->interval_ns) {
                        uint64_t left = next + r->interval_ns - now;
                        const struct timespec pause = {(time_t)(left / NS_PER_S), (long)(left % NS_PER_S)};

                        (void)nanosleep(&pause, NULL);
                }
        }
        top_sources_close(&r->sources);
        record_state_done(&r->state);
        fd_close_at(&r->fd);
        if (error < 0) {
                cli_error("%s", message);
                return CLI_FAILED;
        }
        fprintf(stderr, "berth: %llu looks in %s, %llu bytes\n", (unsigned long long)r->looks, r->path, (unsigned long long)r->bytes);
        return CLI_OK;
}

const struct verb verb_record = {
        .name = "record",
        .arguments = "FILE",
        .summary = "record what `berth top' sees in a file, for `berth replay'",
        .more = "A file that is there is gone on with, from its last whole look. It ends with a signal, --for or --count.\n\nExample:\n\n"
                "  berth record --for 8h night.berth",
        .options = options,
        .parse = parse,
        .run = run,
};
