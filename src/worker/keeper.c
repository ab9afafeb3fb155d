/* keeper.c: holds one engine's program: start, output, end; see keeper.h. */
#include "worker/keeper.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "worker/watch.h"

#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define KEEPER_FD 3
#define LOG_RATE (UINT64_C(1) << 20)  /* bytes a second; what is over is counted and left out */
#define LOG_BURST (UINT64_C(4) << 20)
#define LINE 200
#define TELL_NS NS_PER_S

struct keeper {
        const struct keeper_orders *orders;
        int worker, output, log, pidfd;
        pid_t child;
        uint64_t log_bytes, allowance, allowance_at, left_out, left_out_before, told_at;
        char line[LINE + 1], last[LINE + 1]; /* what came of the present line; the last whole one that says something */
        size_t line_bytes;
        bool fresh;                          /* last was not told yet */
};

static void tell(struct keeper *k, json_t *o)
{
        char *text scoped_free = o ? json_dumps(o, JSON_COMPACT) : NULL;
        size_t n = text ? strlen(text) : 0;

        json_decref(o);
        if (!text)
                return;
        text[n] = '\n';
        /* Short lines and few: if there is no room the worker stands still, and misses one of them. */
        (void)!send(k->worker, text, n + 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void open_log(struct keeper *k)
{
        struct stat st;

        fd_close_at(&k->log);
        k->log = open(k->orders->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
        k->log_bytes = k->log >= 0 && fstat(k->log, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void write_log(struct keeper *k, const char *text, size_t bytes)
{
        char before[4200];

        if (k->log >= 0 && k->log_bytes + bytes > k->orders->log_bytes && k->log_bytes) {
                snprintf(before, sizeof before, "%.4090s.1", k->orders->log);
                (void)rename(k->orders->log, before);
                open_log(k);
        }
        if (bytes > k->orders->log_bytes)
                bytes = k->orders->log_bytes;
        if (k->log >= 0 && write(k->log, text, bytes) == (ssize_t)bytes)
                k->log_bytes += bytes;
}

static void note(struct keeper *k, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(struct keeper *k, const char *format, ...)
{
        char text[512];
        va_list args;

        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        write_log(k, text, strlen(text));
}

static void note_left_out(struct keeper *k)
{
        if (k->left_out)
                note(k, "\n[berth: %llu bytes of output left out: more than %llu KiB a second]\n", (unsigned long long)k->left_out,
                     (unsigned long long)(LOG_RATE / 1024));
        k->left_out_before += k->left_out;
        k->left_out = 0;
}

/* The log gets as much as the rate allows; whole reads, so that a line is rarely cut. */
static void take_output(struct keeper *k, const char *text, size_t bytes)
{
        uint64_t now = clock_now_ns();

        k->allowance += (now - k->allowance_at) * LOG_RATE / NS_PER_S;
        k->allowance = k->allowance > LOG_BURST ? LOG_BURST : k->allowance;
        k->allowance_at = now;
        if (bytes > k->allowance) {
                k->left_out += bytes;
        } else {
                note_left_out(k);
                k->allowance -= bytes;
                write_log(k, text, bytes);
        }
        for (size_t i = 0; i < bytes; i++) {
                if (text[i] != '\n' && text[i] != '\r') {
                        if (k->line_bytes < LINE && text[i])
                                k->line[k->line_bytes++] = text[i];
                        continue;
                }
                k->line[k->line_bytes] = 0;
                if (k->line[strspn(k->line, " \t")]) {
                        text_copy_clean(k->last, sizeof k->last, k->line);
                        k->fresh = true;
                }
                k->line_bytes = 0;
        }
}

/* False: nothing more to come now. */
static bool read_output(struct keeper *k)
{
        char data[65536];
        ssize_t n;

        if (k->output < 0)
                return false;
        n = read(k->output, data, sizeof data);
        if (n > 0) {
                take_output(k, data, (size_t)n);
                return true;
        }
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return errno == EINTR;
        fd_close_at(&k->output);
        return false;
}

static noreturn void become_program(const struct keeper_orders *o, int output, int failure, pid_t parent)
{
        int null = open("/dev/null", O_RDWR);
        sigset_t none;

        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_DFL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setpgid(0, 0);
        if (getppid() != parent || null < 0 || dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
                _exit(126);
        errno = 0;
        if (chdir(o->folder) == 0)
                execvpe(o->argv[0], o->argv, o->environment);
        (void)!write(failure, &errno, sizeof errno);
        _exit(127);
}

/* 0, or why it could not be started. */
static int start(struct keeper *k)
{
        int out[2], failure[2], error = 0;
        pid_t self = getpid();

        if (pipe2(out, O_CLOEXEC) < 0 || pipe2(failure, O_CLOEXEC) < 0)
                return errno;
        k->child = fork();
        if (!k->child)
                become_program(k->orders, out[1], failure[1], self);
        error = errno;
        close(out[1]);
        close(failure[1]);
        k->output = out[0];
        if (k->child < 0)
                return error;
        setpgid(k->child, k->child);
        (void)fcntl(k->output, F_SETFL, O_NONBLOCK);
        if (read(failure[0], &error, sizeof error) != sizeof error)
                error = 0;
        close(failure[0]);
        k->pidfd = (int)syscall(SYS_pidfd_open, k->child, 0);
        if (error) {
                waitpid(k->child, NULL, 0);
                return error;
        }
        return k->pidfd < 0 ? errno : 0;
}

static noreturn void end_with(struct keeper *k, bool hopeless, const char *format, ...) __attribute__((format(printf, 3, 4)));
static noreturn void end_with(struct keeper *k, bool hopeless, const char *format, ...)
{
        char text[LINE + 160], clean[LINE + 160];
        va_list args;

        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        text_copy_clean(clean, sizeof clean, text);
        note_left_out(k);
        if (k->left_out_before)
                note(k, "[berth: %llu bytes of output left out in all]\n", (unsigned long long)k->left_out_before);
        note(k, "[berth: %s]\n", clean);
        tell(k, json_pack("{s:s, s:s, s:b}", "m", "ended", "text", clean, "hopeless", (int)hopeless));
        _exit(0);
}

/* 't' or 'k' came, or the worker is gone. */
static void hear(struct keeper *k)
{
        char order;
        ssize_t n = recv(k->worker, &order, 1, MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n == 1 && order == 't') {
                kill(-k->child, SIGTERM);
                return;
        }
        watch_signal(getpid(), SIGKILL, 0);
        if (n <= 0) {
                note(k, "[berth: killed: the worker is gone]\n");
                _exit(0);
        }
}

noreturn void keeper_main(const struct keeper_orders *orders, int worker)
{
        struct keeper k = {.orders = orders, .worker = KEEPER_FD, .output = -1, .log = -1, .pidfd = -1, .allowance = LOG_BURST, .allowance_at = clock_now_ns()};
        int status = 0, error;
        const char *said;

        if (dup2(worker, KEEPER_FD) < 0)
                _exit(1);
        (void)fcntl(KEEPER_FD, F_SETFD, FD_CLOEXEC);
        (void)syscall(SYS_close_range, KEEPER_FD + 1, ~0U, 0);
        setsid();
        prctl(PR_SET_NAME, "berth-engine");
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        signal(SIGPIPE, SIG_IGN);
        umask(077);
        open_log(&k);
        error = start(&k);
        if (error)
                end_with(&k, true, "%s can't be started: %s", orders->argv[0], strerror(error));
        for (;;) {
                struct pollfd p[] = {{.fd = k.pidfd, .events = POLLIN}, {.fd = k.worker, .events = POLLIN}, {.fd = k.output, .events = POLLIN}};
                uint64_t now;

                (void)poll(p, ARRAY_SIZE(p), k.fresh ? 1000 : -1);
                if (p[1].revents)
                        hear(&k);
                (void)read_output(&k);
                now = clock_now_ns();
                if (k.fresh && now - k.told_at >= TELL_NS) {
                        tell(&k, json_pack("{s:s, s:s}", "m", "line", "text", k.last));
                        k.fresh = false;
                        k.told_at = now;
                }
                if (p[0].revents && waitpid(k.child, &status, WNOHANG) == k.child)
                        break;
        }
        /* What it left running ends with it; then its output ends, too. */
        watch_signal(getpid(), SIGKILL, 0);
        while (waitpid(-1, NULL, WNOHANG) > 0)
                ;
        while (read_output(&k))
                ;
        k.line[k.line_bytes] = 0;
        if (k.line[strspn(k.line, " \t")])
                text_copy_clean(k.last, sizeof k.last, k.line);
        said = k.last[0] ? ": " : "";
        if (WIFSIGNALED(status))
                end_with(&k, false, "ended by signal %d (%s)%s%s", WTERMSIG(status), strsignal(WTERMSIG(status)), said, k.last);
        /* 126 and 127: what shells and `berth run' say of a program that is not there. */
        end_with(&k, WEXITSTATUS(status) == 126 || WEXITSTATUS(status) == 127, "exit code %d%s%s", WEXITSTATUS(status), said, k.last);
}
