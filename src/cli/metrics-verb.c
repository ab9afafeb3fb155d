/* metrics-verb.c: `berth metrics`: the text once, or again for everybody who asks over HTTP.
 *
 * A process of its own, without privilege, in front of the daemon: so no stranger's HTTP reaches a process that may signal programs or hold device memory.
 * The server knows one request, GET /metrics (and HEAD); a head has 4 KiB and two seconds, one connection is served at a time and closed after its answer,
 * and looks are taken at most once a second however many ask.
 */
#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"
#include "cli/metrics.h"
#include "cli/top-world.h"

#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MS 2000
#define HEAD_BYTES 4096
#define PROBES_NS (10 * NS_PER_S) /* the kernel checks each program that it is given */
#define HEAD_NS (2 * NS_PER_S)

struct metrics {
        const char *listen, *output;
        bool open, no_probes;
        struct top_sources sources;
        bool up;
        uint64_t looked_ns;
};

enum { KEY_OPEN = 0x100, KEY_NO_PROBES };

static const struct argp_option options[] = {
        {"listen", 'l', "ADDRESS:PORT|PATH", 0, "answer GET /metrics there: 127.0.0.1:9466, [::1]:0, or the path of a Unix socket", 0},
        {"output", 'o', "FILE", 0, "write there, whole or not at all: for the node exporter's textfile collector", 0},
        {"openmetrics", KEY_OPEN, NULL, 0, "OpenMetrics 1.0 in place of the Prometheus text format (over HTTP the asker says which)", 0},
        {"no-probes", KEY_NO_PROBES, NULL, 0, "without what the daemon's probes in the kernel count: asking keeps them attached", 0},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct metrics *m = state->input;

        switch (key) {
        case 'l':
                m->listen = arg;
                return 0;
        case 'o':
                m->output = arg;
                return 0;
        case KEY_OPEN:
                m->open = true;
                return 0;
        case KEY_NO_PROBES:
                m->no_probes = true;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

static void look(struct metrics *m)
{
        uint64_t now = clock_now_ns();

        if (m->looked_ns && now - m->looked_ns < NS_PER_S)
                return;
        m->up = top_look(&m->sources, NULL) >= 0;
        m->looked_ns = now;
}

/* --- once --- */

static int write_file(const char *path, const char *text)
{
        char beside[4096];
        FILE *f;
        int r = 0;

        if ((size_t)snprintf(beside, sizeof beside, "%s.%d", path, getpid()) >= sizeof beside)
                return -ENAMETOOLONG;
        f = fopen(beside, "we");
        if (!f)
                return -errno;
        if (fputs(text, f) == EOF || fflush(f) == EOF)
                r = -errno;
        if (fchmod(fileno(f), 0644) < 0 && r == 0)
                r = -errno;
        if (fclose(f) == EOF && r == 0)
                r = -errno;
        if (r == 0 && rename(beside, path) < 0)
                r = -errno;
        if (r < 0)
                (void)unlink(beside);
        return r;
}

static int print(struct metrics *m)
{
        __attribute__((cleanup(strbuf_done_at))) struct strbuf b = {0};
        const struct timespec second = {1, 0};
        int r;

        /* Two looks, for what is told per second. */
        look(m);
        while (nanosleep(&second, NULL) < 0 && errno == EINTR)
                ;
        look(m);
        top_wait_probes(&m->sources, PROBES_NS);
        if (!m->up)
                cli_error("%s", m->sources.message);
        metrics_write(&m->sources.world, m->up, m->open ? METRICS_OPEN : METRICS_PROMETHEUS, &b);
        if (b.failed) {
                cli_error("out of memory");
                return CLI_FAILED;
        }
        if (!m->output)
                return cli_print(b.text);
        r = write_file(m->output, b.text);
        if (r < 0)
                cli_error("%s can't be written: %s", m->output, error_text(r));
        return r < 0 ? CLI_FAILED : CLI_OK;
}

/* --- HTTP --- */

static int listen_unix(const char *path, int *ret_fd)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        scoped_fd int fd = -1;
        struct stat st;

        if (strlen(path) >= sizeof address.sun_path)
                return -ENAMETOOLONG;
        strcpy(address.sun_path, path);
        if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
                (void)unlink(path); /* an exporter that ended left it */
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 16) < 0)
                return -errno;
        *ret_fd = take_fd(fd);
        return 0;
}

static int listen_tcp(const char *text, int *ret_fd, char shown[80])
{
        struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *found = NULL;
        char host[64], port[16], *colon;
        struct sockaddr_storage bound;
        socklen_t size = sizeof bound;
        scoped_fd int fd = -1;
        const int yes = 1;
        int r;

        if ((size_t)snprintf(host, sizeof host, "%s", text) >= sizeof host || !(colon = strrchr(host, ':')) || strlen(colon + 1) >= sizeof port)
                return -EINVAL;
        strcpy(port, colon + 1);
        *colon = 0;
        if (host[0] == '[' && colon[-1] == ']') {
                colon[-1] = 0;
                memmove(host, host + 1, strlen(host));
        }
        if (!host[0] || getaddrinfo(host, port, &hints, &found) != 0)
                return -EINVAL;
        fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        r = fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 || bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, 16) < 0 ||
                            getsockname(fd, (struct sockaddr *)&bound, &size) < 0
                    ? -errno
                    : 0;
        freeaddrinfo(found);
        if (r < 0)
                return r;
        if (getnameinfo((struct sockaddr *)&bound, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) == 0)
                snprintf(shown, 80, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
        *ret_fd = take_fd(fd);
        return 0;
}

/* The whole head, or nothing in time. */
static bool read_head(int fd, char head[HEAD_BYTES])
{
        uint64_t deadline = clock_now_ns() + HEAD_NS;
        size_t length = 0;

        head[0] = 0;
        while (!strstr(head, "\r\n\r\n") && !strstr(head, "\n\n")) {
                ssize_t n;

                if (length + 1 >= HEAD_BYTES || fd_wait(fd, POLLIN, deadline) < 0)
                        return false;
                n = recv(fd, head + length, HEAD_BYTES - 1 - length, MSG_DONTWAIT);
                if (n <= 0 || memchr(head + length, 0, (size_t)n))
                        return false;
                head[length += (size_t)n] = 0;
        }
        return true;
}

static void send_all(int fd, const char *text, size_t count)
{
        uint64_t deadline = clock_now_ns() + HEAD_NS;

        while (count) {
                ssize_t n = send(fd, text, count, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (n < 0 && (errno == EAGAIN || errno == EINTR) && fd_wait(fd, POLLOUT, deadline) == 0)
                        continue;
                if (n <= 0)
                        return;
                text += n;
                count -= (size_t)n;
        }
}

static void answer(int fd, const char *status, const char *type, const char *body, size_t length, bool head_only)
{
        char head[256];
        int n = snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status, type, length);

        send_all(fd, head, (size_t)n);
        if (!head_only)
                send_all(fd, body, length);
        (void)shutdown(fd, SHUT_WR);
}

static bool begins(const char *head, const char *method, const char *path)
{
        size_t a = strlen(method), b = strlen(path);

        return !strncmp(head, method, a) && head[a] == ' ' && !strncmp(head + a + 1, path, b) && (head[a + 1 + b] == ' ' || head[a + 1 + b] == '?');
}

static void serve_one(struct metrics *m, int fd)
{
        __attribute__((cleanup(strbuf_done_at))) struct strbuf b = {0};
        static const char plain[] = "text/plain; charset=utf-8", what[] = "There is GET /metrics here.\n";
        char head[HEAD_BYTES];
        enum metrics_form form;
        bool head_only;

        if (!read_head(fd, head)) {
                answer(fd, "400 Bad Request", plain, what, sizeof what - 1, false);
                return;
        }
        head_only = begins(head, "HEAD", "/metrics");
        if (!head_only && !begins(head, "GET", "/metrics")) {
                answer(fd, strncmp(head, "GET ", 4) == 0 ? "404 Not Found" : "405 Method Not Allowed", plain, what, sizeof what - 1, false);
                return;
        }
        look(m);
        form = strcasestr(head, "application/openmetrics-text") ? METRICS_OPEN : METRICS_PROMETHEUS;
        metrics_write(&m->sources.world, m->up, form, &b);
        if (b.failed)
                answer(fd, "500 Internal Server Error", plain, "out of memory\n", 14, false);
        else
                answer(fd, "200 OK", metrics_type(form), b.text, b.length, head_only);
}

static volatile sig_atomic_t ending;

static void on_signal(int number)
{
        (void)number;
        ending = 1;
}

static int serve(struct metrics *m)
{
        struct sigaction action = {.sa_handler = on_signal};
        scoped_fd int listener = -1;
        bool path = strchr(m->listen, '/') != NULL;
        char shown[80] = "";
        int r = path ? listen_unix(m->listen, &listener) : listen_tcp(m->listen, &listener, shown);

        if (r < 0) {
                cli_error("--listen %.100s: %s", m->listen, r == -EINVAL ? "give ADDRESS:PORT with a number each, such as 127.0.0.1:9466, or a path" : error_text(r));
                return CLI_FAILED;
        }
        sigaction(SIGTERM, &action, NULL);
        sigaction(SIGINT, &action, NULL);
        look(m);
        fprintf(stderr, "berth: metrics at %s%s%s\n", path ? "" : "http://", path ? m->listen : shown, path ? "" : "/metrics");
        while (!ending) {
                scoped_fd int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

                if (fd >= 0)
                        serve_one(m, fd);
                else if (errno != EINTR && errno != ECONNABORTED)
                        (void)poll(NULL, 0, 100); /* no descriptors: others have to go first */
        }
        if (path)
                (void)unlink(m->listen);
        return CLI_OK;
}

static int run(const struct verb *self, int argc, char **argv)
{
        struct metrics *m scoped_free = calloc(1, sizeof *m);
        int r;

        if (!m) {
                cli_error("out of memory");
                return CLI_FAILED;
        }
        cli_parse(self, argc, argv, m);
        if (m->listen && m->output)
                return cli_usage(self, "either --listen or --output");
        top_sources_open(&m->sources, ANSWER_MS);
        m->sources.ask_probes = !m->no_probes;
        m->sources.ask_families = PROBES_EVERY;
        r = m->listen ? serve(m) : print(m);
        top_sources_close(&m->sources);
        return r;
}

const struct verb verb_metrics = {
        .name = "metrics",
        .summary = "export the machine's figures to Prometheus",
        .more = "Without options the text once, after a second for what is told per second. What can't be measured has no line; berth_up is 0 when no daemon "
                "answers.\n\nExamples:\n\n"
                "  berth metrics --listen 127.0.0.1:9466\n"
                "  berth metrics --output /var/lib/prometheus/node-exporter/berth.prom",
        .options = options,
        .parse = parse,
        .run = run,
};
