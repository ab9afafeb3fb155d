/* remote.c: starts, asks, checks, ends and restarts the probes process; see remote.h and child.h. */
#include "bpf/child.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Loading means that the kernel checks each program, and a machine may be busy. */
#define ANSWER_NS (30 * NS_PER_S)
#define RETRY_FIRST_NS NS_PER_S
#define RETRY_MOST_NS (60 * NS_PER_S)

extern char **environ;

struct probes_remote {
        int epoll, socket, file;
        pid_t pid; /* 0: none; also one that was killed and not reaped yet: then socket is -1 */
        bool asked;
        uint32_t sequence;
        uint64_t asked_ns, retry_ns, backoff_ns;
        const struct probes_snapshot *last;
        char why[240];
};

/* Beside the daemon as it is installed, or as it is built. */
static int find_program(char path[PATH_MAX])
{
        static const char *const places[] = {"../libexec/berth/berth-probes", "../bpf/berth-probes"};
        char self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        char *slash;

        if (n <= 0)
                return -ENOENT;
        self[n] = 0;
        slash = strrchr(self, '/');
        if (!slash)
                return -ENOENT;
        *slash = 0;
        for (size_t i = 0; i < ARRAY_SIZE(places); i++)
                if (snprintf(path, PATH_MAX, "%s/%s", self, places[i]) < PATH_MAX && access(path, X_OK) == 0)
                        return 0;
        return -ENOENT;
}

static int spawn(struct probes_remote *m)
{
        char name[] = "berthd: probes", path[PATH_MAX];
        char *argv[] = {name, NULL};
        struct epoll_event event = {.events = EPOLLIN};
        posix_spawn_file_actions_t actions;
        scoped_fd int ours = -1;
        scoped_fd int theirs = -1;
        int pair[2], r = find_program(path);

        if (r < 0) {
                snprintf(m->why, sizeof m->why, "berth-probes is not installed beside berthd, or was not built: that takes clang, bpftool and libbpf");
                return r;
        }
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        ours = pair[0];
        theirs = pair[1];
        if (fcntl(ours, F_SETFL, O_NONBLOCK) < 0 || epoll_ctl(m->epoll, EPOLL_CTL_ADD, ours, &event) < 0)
                return -errno;
        r = posix_spawn_file_actions_init(&actions);
        if (r != 0)
                return -r;
        r = posix_spawn_file_actions_adddup2(&actions, theirs, PROBES_CHILD_FD);
        if (r == 0)
                r = posix_spawn_file_actions_addclosefrom_np(&actions, PROBES_CHILD_FD + 1);
        if (r == 0)
                r = posix_spawn(&m->pid, path, &actions, NULL, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
        if (r != 0) {
                m->pid = 0;
                snprintf(m->why, sizeof m->why, "%.150s can't be started: %s", path, strerror(r));
                return -r;
        }
        m->socket = take_fd(ours);
        m->asked = false;
        return 0;
}

static bool reap(struct probes_remote *m)
{
        if (m->pid && waitpid(m->pid, NULL, WNOHANG) != 0)
                m->pid = 0;
        return m->pid == 0;
}

static void forget(struct probes_remote *m)
{
        if (m->last)
                probes_unmap(m->last);
        m->last = NULL;
        fd_close_at(&m->file);
}

static void end(struct probes_remote *m)
{
        m->asked = false;
        fd_close_at(&m->socket);
        if (m->pid)
                kill(m->pid, SIGKILL);
        (void)reap(m);
        forget(m);
}

static void back_off(struct probes_remote *m, uint64_t now)
{
        m->backoff_ns = m->backoff_ns ? m->backoff_ns * 2 : RETRY_FIRST_NS;
        if (m->backoff_ns > RETRY_MOST_NS)
                m->backoff_ns = RETRY_MOST_NS;
        m->retry_ns = now + m->backoff_ns;
}

static enum probes_news lost(struct probes_remote *m, uint64_t now, const char *why)
{
        text_copy_clean(m->why, sizeof m->why, why);
        end(m);
        back_off(m, now);
        return PROBES_LOST;
}

int probes_remote_new(struct probes_remote **ret)
{
        struct probes_remote *m = calloc(1, sizeof *m);

        if (!m)
                return -ENOMEM;
        m->socket = m->file = -1;
        m->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (m->epoll < 0) {
                int r = -errno;

                free(m);
                return r;
        }
        *ret = m;
        return 0;
}

void probes_remote_stop(struct probes_remote *m)
{
        end(m);
        m->why[0] = 0;
        m->backoff_ns = m->retry_ns = 0;
}

void probes_remote_free(struct probes_remote *m)
{
        if (!m)
                return;
        end(m);
        if (m->pid) {
                /* The kernel takes a moment; one that it can't end is left to init. */
                scoped_fd int process = (int)syscall(SYS_pidfd_open, m->pid, 0);
                struct pollfd ended = {.fd = process, .events = POLLIN};

                if (process >= 0)
                        (void)poll(&ended, 1, 1000);
                (void)reap(m);
        }
        fd_close_at(&m->epoll);
        free(m);
}

void probes_remote_ask(struct probes_remote *m, uint64_t now, const struct probes_options *options)
{
        struct probes_request q = {.magic = PROBES_CHILD_MAGIC, .options = *options};

        if (m->asked) /* probes_remote_take watches the time */
                return;
        if (m->socket < 0) {
                if (!reap(m) || now < m->retry_ns)
                        return;
                if (spawn(m) < 0) {
                        back_off(m, now);
                        return;
                }
        }
        q.sequence = ++m->sequence;
        m->asked = true;
        m->asked_ns = now;
        /* A dead process shows at the next read; a full socket is impossible with one question under way. */
        (void)!send(m->socket, &q, sizeof q, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static bool reply_check(const struct probes_remote *m, const struct probes_reply *r, ssize_t bytes)
{
        return bytes == (ssize_t)sizeof *r && m->asked && r->magic == PROBES_CHILD_MAGIC && r->sequence == m->sequence && r->result <= 0 &&
               text_is_clean(r->text, sizeof r->text);
}

enum probes_news probes_remote_take(struct probes_remote *m, uint64_t now)
{
        while (m->socket >= 0) {
                const struct probes_snapshot *fresh = NULL;
                scoped_fd int fd = -1;
                struct probes_reply reply;
                ssize_t n = fd_receive(m->socket, &reply, sizeof reply, MSG_DONTWAIT, &fd);

                if (n == -EINTR)
                        continue;
                if (n == -EAGAIN)
                        break;
                if (n <= 0)
                        return lost(m, now, "the probes process ended");
                if (!reply_check(m, &reply, n))
                        return lost(m, now, "the probes process gave a malformed answer");
                if (reply.result < 0)
                        return lost(m, now, reply.text);
                if (fd < 0 || probes_map(fd, &fresh) < 0)
                        return lost(m, now, "the probes process gave a malformed snapshot");
                forget(m);
                m->last = fresh;
                m->file = take_fd(fd);
                m->asked = false;
                m->backoff_ns = 0;
                m->why[0] = 0;
                return PROBES_CAME;
        }
        if (m->asked && m->socket >= 0 && now - m->asked_ns >= ANSWER_NS)
                return lost(m, now, "the probes process does not answer");
        return PROBES_NO_NEWS;
}

int probes_remote_fd(const struct probes_remote *m)
{
        return m->epoll;
}

const struct probes_snapshot *probes_remote_last(const struct probes_remote *m, int *ret_fd)
{
        if (ret_fd)
                *ret_fd = m->file;
        return m->last;
}

const char *probes_remote_why(const struct probes_remote *m)
{
        return m->why;
}

pid_t probes_remote_pid(const struct probes_remote *m)
{
        return m->pid;
}
