/* sight.c: starts the process that looks, hands it one question at a time, ends it; see sight.h. */
#include "worker/sight.h"

#include "base/error.h"
#include "base/fd.h"

#define LOG_ROOM "sight"
#include "base/log.h"

#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define PATIENCE_MS 20000
#define LINGER_MS 60000
#define REAP_MS 200

struct sight {
        struct sight_options options;
        pid_t pid;                     /* 0: none */
        int fd;                        /* -1: none, or it is to end */
        bool busy;
        uint32_t server, span_s;       /* what it looks for */
        uint64_t give_up_at, rest_at;  /* when it must have answered; when nobody has looked for long enough */
        uint32_t wanted[SIGHT_SERVERS]; /* spans that wait; 0: none */
        char answer[SIGHT_BYTES + 1024];
};

int sight_open(const struct sight_options *options, struct sight **ret)
{
        struct sight *l = calloc(1, sizeof *l);

        if (!l)
                return -ENOMEM;
        l->options = *options;
        l->fd = -1;
        *ret = l;
        return 0;
}

static void let_go(struct sight *l, bool at_once)
{
        fd_close_at(&l->fd); /* leaves the loop; the process ends with it */
        l->busy = false;
        if (at_once && l->pid)
                kill(l->pid, SIGKILL);
}

void sight_close(struct sight *l)
{
        if (!l)
                return;
        let_go(l, true);
        if (l->pid)
                waitpid(l->pid, NULL, 0);
        free(l);
}

static int start(struct sight *l)
{
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = l->options.number};
        int pair[2], size = 4 * (int)SIGHT_BYTES, error;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        (void)setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        l->pid = fork();
        if (!l->pid)
                sight_process(pair[1], l->options.depth);
        error = l->pid < 0 ? -errno : 0;
        close(pair[1]);
        l->fd = pair[0];
        if (!error && epoll_ctl(l->options.epoll, EPOLL_CTL_ADD, l->fd, &event) < 0)
                error = -errno;
        if (error) {
                l->pid = l->pid < 0 ? 0 : l->pid;
                let_go(l, true);
        }
        return error;
}

static void next(struct sight *l, uint64_t now)
{
        for (uint32_t i = 0; i < SIGHT_SERVERS && !l->busy; i++) {
                uint32_t server = (l->server + 1 + i) % SIGHT_SERVERS;

                if (!l->wanted[server])
                        continue;
                if (l->fd < 0 && (l->pid || start(l) < 0))
                        return; /* the one before has not ended yet */
                l->server = server;
                l->span_s = l->wanted[server];
                l->wanted[server] = 0;
                l->give_up_at = now + PATIENCE_MS;
                l->busy = send(l->fd, &l->span_s, sizeof l->span_s, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof l->span_s;
                if (!l->busy)
                        let_go(l, true);
        }
}

void sight_ask(struct sight *l, uint64_t now, uint32_t server, uint32_t span_s)
{
        if (server >= SIGHT_SERVERS || !span_s)
                return;
        l->wanted[server] = span_s;
        l->rest_at = now + LINGER_MS;
        next(l, now);
}

void sight_event(struct sight *l, uint64_t now)
{
        ssize_t n = l->fd < 0 ? -1 : recv(l->fd, l->answer, sizeof l->answer, MSG_DONTWAIT | MSG_TRUNC);

        if (l->fd < 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
                return;
        if (n <= 0 || (size_t)n > sizeof l->answer || !l->busy) {
                if (n != 0 || l->busy)
                        log_warning("the process that looks at the machine %s", n > 0 ? "said what nobody asked for" : "has ended");
                let_go(l, true);
                return;
        }
        l->busy = false;
        l->options.seen(l->options.context, l->server, l->answer, (size_t)n);
        next(l, now);
}

uint64_t sight_tick(struct sight *l, uint64_t now)
{
        if (l->busy && now >= l->give_up_at) {
                log_warning("a look at the machine took more than %d s and was given up", PATIENCE_MS / 1000);
                let_go(l, true);
        }
        if (l->fd >= 0 && !l->busy && now >= l->rest_at)
                let_go(l, false);
        if (l->fd < 0 && l->pid && waitpid(l->pid, NULL, WNOHANG) != 0)
                l->pid = 0;
        if (l->fd < 0 && l->pid)
                return now + REAP_MS;
        next(l, now);
        return l->fd < 0 ? UINT64_MAX : l->busy ? l->give_up_at : l->rest_at;
}
