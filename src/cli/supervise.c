/* supervise.c: child programs of `berth up`; see supervise.h. */
#include "cli/supervise.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define RETRY_MAX_S 60u
#define STEADY_NS (60 * NS_PER_S) /* who ran that long is not failing */
#define AT_ONCE_NS (10 * NS_PER_S)

int supervise_find(const char *name, const char *room, char *path, size_t size)
{
        char self[400];
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        char *slash;

        if (n <= 0)
                return -ENOENT;
        self[n] = '\0';
        slash = strrchr(self, '/');
        if (!slash)
                return -ENOENT;
        *slash = '\0';
        for (int i = 0; i < 4; i++) {
                if (i == 0)
                        n = snprintf(path, size, "%s/%s", self, name);
                else if (i == 1)
                        n = snprintf(path, size, "%s/../%s/%s", self, room, name);
                else
                        n = snprintf(path, size, "%s/../%s/%s", self, i == 2 ? "sbin" : "libexec/berth", name);
                if (n > 0 && (size_t)n < size && access(path, X_OK) == 0)
                        return 0;
        }
        return -ENOENT;
}

int supervise_begin(struct supervise *s)
{
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGHUP);
        sigaddset(&set, SIGCHLD);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return s->signals < 0 ? -errno : 0;
}

static void become(const struct child *child, int ready, pid_t parent)
{
        char *argv[SUPERVISE_ARGUMENTS + 2], number[16];
        sigset_t none;
        size_t n = 0;

        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        setpgid(0, 0); /* Ctrl-C at a terminal is for us alone */
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
                _exit(1);
        if (ready >= 0)
                ready = dup(ready); /* not closed on exec */
        snprintf(number, sizeof number, "%d", ready);
        argv[n++] = (char *)child->program;
        for (size_t i = 0; i < SUPERVISE_ARGUMENTS && child->arguments[i]; i++)
                argv[n++] = strcmp(child->arguments[i], "{ready}") ? child->arguments[i] : number;
        argv[n] = NULL;
        execv(child->program, argv);
        fprintf(stderr, "berth: can't start %s: %s\n", child->program, strerror(errno));
        _exit(127);
}

static int spawn(struct child *child)
{
        pid_t parent = getpid();
        int fds[2] = {-1, -1};

        if (child->needs_ready && pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        child->pid = fork();
        if (child->pid < 0) {
                child->pid = 0;
                if (fds[0] >= 0)
                        close(fds[0]), close(fds[1]);
                return -errno;
        }
        if (child->pid == 0)
                become(child, fds[1], parent);
        if (fds[1] >= 0)
                close(fds[1]);
        child->ready = fds[0];
        child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
        child->since_ns = clock_now_ns();
        child->retry_ns = 0;
        return 0;
}

/* Reaps the child if it has ended. */
static bool has_ended(struct child *child, int *ret_status)
{
        if (!child->pid || waitpid(child->pid, ret_status, WNOHANG) != child->pid)
                return false;
        if (child->pidfd >= 0)
                close(child->pidfd);
        child->pid = 0;
        child->pidfd = -1;
        return true;
}

static void describe(int status, char *text, size_t size)
{
        if (WIFSIGNALED(status))
                snprintf(text, size, "was ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
        else
                snprintf(text, size, "ended with %d", WEXITSTATUS(status));
}

static void take_signals(struct supervise *s)
{
        struct signalfd_siginfo info;

        while (read(s->signals, &info, sizeof info) == sizeof info)
                if (info.ssi_signo != SIGCHLD && info.ssi_signo != SIGHUP)
                        s->asked++;
}

int supervise_start(struct supervise *s, struct child *child, char message[CLI_MESSAGE])
{
        uint64_t until = clock_now_ns() + child->patience_ms * NS_PER_MS;
        size_t length = 0;
        char text[80];
        int status, r;

        r = spawn(child);
        if (r < 0) {
                snprintf(message, CLI_MESSAGE, "can't start %s: %s", child->name, error_text(r));
                return r;
        }
        s->count = (size_t)(child - s->children) + 1;
        while (child->needs_ready) {
                struct pollfd fds[] = {{.fd = s->signals, .events = POLLIN}, {.fd = child->ready, .events = POLLIN}};
                uint64_t now = clock_now_ns();
                ssize_t n;

                if (now >= until) {
                        snprintf(message, CLI_MESSAGE, "%s is not ready after %llu s; its messages stand above", child->name,
                                 (unsigned long long)child->patience_ms / 1000);
                        return -ETIMEDOUT;
                }
                if (poll(fds, 2, (int)((until - now) / NS_PER_MS) + 1) < 0 && errno != EINTR)
                        return -errno;
                take_signals(s);
                if (s->asked)
                        return -ECANCELED;
                if (!fds[1].revents)
                        continue;
                n = read(child->ready, child->line + length, sizeof child->line - 1 - length);
                if (n > 0)
                        length += (size_t)n;
                child->line[length] = '\0';
                if (n > 0 && !memchr(child->line, '\n', length) && length < sizeof child->line - 1)
                        continue;
                close(child->ready);
                child->ready = -1;
                if (n <= 0) {
                        waitpid(child->pid, &status, 0);
                        child->pid = 0;
                        describe(status, text, sizeof text);
                        snprintf(message, CLI_MESSAGE, "%s %s before it was ready; its messages stand above", child->name, text);
                        return -ECHILD;
                }
                child->line[strcspn(child->line, "\n")] = '\0';
                break;
        }
        return 0;
}

static void revive(struct supervise *s)
{
        for (size_t i = 0; i < s->count; i++) {
                struct child *child = &s->children[i];
                uint64_t now = clock_now_ns(), wait;
                char text[80];
                int status;

                if (has_ended(child, &status)) {
                        child->failures = now - child->since_ns > STEADY_NS ? 1 : child->failures + 1;
                        wait = 1u << (child->failures > 6 ? 6 : child->failures - 1);
                        if (wait > RETRY_MAX_S)
                                wait = RETRY_MAX_S;
                        describe(status, text, sizeof text);
                        if (child->optional && child->failures == 1 && now - child->since_ns < AT_ONCE_NS) {
                                cli_error("%s %s; going on without it", child->name, text);
                                child->left_out = true;
                                continue;
                        }
                        cli_error("%s %s; it is started again in %llu s", child->name, text, (unsigned long long)wait);
                        child->retry_ns = now + wait * NS_PER_S;
                }
                if (!child->pid && child->retry_ns && now >= child->retry_ns) {
                        if (child->ready >= 0)
                                close(child->ready);
                        child->ready = -1;
                        if (spawn(child) < 0)
                                child->retry_ns = now + NS_PER_S;
                }
                /* What it says when ready again is read, so that it does not block, and not needed. */
                if (child->ready >= 0 && child->pid) {
                        struct pollfd fd = {.fd = child->ready, .events = POLLIN};
                        char rest[256];

                        if (poll(&fd, 1, 0) > 0 && read(child->ready, rest, sizeof rest) <= 0) {
                                close(child->ready);
                                child->ready = -1;
                        }
                }
        }
}

void supervise_watch(struct supervise *s)
{
        while (!s->asked) {
                struct pollfd fds[1 + SUPERVISE_CHILDREN] = {{.fd = s->signals, .events = POLLIN}};
                bool waiting = false;

                revive(s); /* first: one may have ended while others were being started */

                for (size_t i = 0; i < s->count; i++) {
                        fds[1 + i] = (struct pollfd){.fd = s->children[i].ready, .events = POLLIN};
                        waiting = waiting || (!s->children[i].pid && !s->children[i].left_out);
                }
                poll(fds, (nfds_t)(1 + s->count), waiting ? 200 : 60000);
                take_signals(s);
        }
}

void supervise_end(struct supervise *s)
{
        unsigned int passed = 1;
        int status;

        for (size_t i = s->count; i-- > 0;) {
                struct child *child = &s->children[i];

                if (!child->pid)
                        continue;
                kill(child->pid, SIGTERM);
                while (!has_ended(child, &status)) {
                        struct pollfd fd = {.fd = s->signals, .events = POLLIN};

                        poll(&fd, 1, 1000);
                        take_signals(s);
                        if (s->asked > passed) {
                                passed = s->asked;
                                kill(child->pid, s->asked > 2 ? SIGKILL : SIGTERM);
                        }
                }
                if (child->ready >= 0)
                        close(child->ready);
        }
        s->count = 0;
        if (s->signals >= 0)
                close(s->signals);
        s->signals = -1;
}
