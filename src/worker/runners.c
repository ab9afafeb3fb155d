/* runners.c: forks runners and listens to them; see runners.h. */
#include "worker/runners.h"

#include "base/fd.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define RUNNER_FD 3
#define LINE_BYTES (MESSAGE_BYTES + 65536)

int runners_open(struct runners *r, const struct runner_settings *settings)
{
        r->settings = settings;
        r->epoll = epoll_create1(EPOLL_CLOEXEC);
        return r->epoll < 0 ? -errno : 0;
}

static int watch(struct runners *r, int fd, uint64_t number)
{
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = number};

        return epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int runners_start(struct runners *r, uint32_t slot, const struct message *lease, const char *url, uint64_t payload_bytes, char why[MESSAGE_WHY])
{
        struct runners_slot *s = &r->slots[slot];
        int pair[2], error;
        pid_t pid, parent = getpid();

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return snprintf(why, MESSAGE_WHY, "%s", strerror(errno)), -errno;
        pid = fork();
        if (!pid) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != parent || dup2(pair[1], RUNNER_FD) < 0)
                        _exit(1);
                (void)syscall(SYS_close_range, RUNNER_FD + 1, ~0U, 0);
                runner_main(r->settings, slot, lease, url, payload_bytes, RUNNER_FD);
        }
        close(pair[1]);
        error = pid < 0 ? -errno : 0;
        if (error < 0) {
                snprintf(why, MESSAGE_WHY, "can't start a process: %s", strerror(-error));
                close(pair[0]);
                return error;
        }
        *s = (struct runners_slot){.pid = pid, .fd = pair[0], .pidfd = (int)syscall(SYS_pidfd_open, pid, 0)};
        if (s->pidfd < 0 || watch(r, s->fd, 2ULL * slot) < 0 || watch(r, s->pidfd, 2ULL * slot + 1) < 0) {
                snprintf(why, MESSAGE_WHY, "can't watch a process: %s", strerror(errno));
                kill(pid, SIGKILL);
                waitpid(pid, NULL, 0);
                fd_close_at(&s->fd);
                fd_close_at(&s->pidfd);
                *s = (struct runners_slot){0};
                return -EIO;
        }
        return 0;
}

void runners_stop(struct runners *r, uint32_t slot, bool at_once)
{
        if (r->slots[slot].pid)
                kill(r->slots[slot].pid, at_once ? SIGKILL : SIGTERM);
}

/* False: nothing more to read now. */
static bool read_lines(struct runners *r, uint32_t slot)
{
        struct runners_slot *s = &r->slots[slot];
        char data[65536], *end;
        size_t used = 0;
        ssize_t n;

        if (s->fd < 0)
                return false;
        n = recv(s->fd, data, sizeof data, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return false;
        if (n <= 0) {
                fd_close_at(&s->fd); /* closing takes it off the epoll */
                return false;
        }
        if (s->line.length + (size_t)n > LINE_BYTES)
                s->bad = true;
        if (s->bad)
                return true; /* read on, so that it does not stand still; its end says what became of it */
        strbuf_add(&s->line, "%.*s", (int)n, data);
        while (!s->line.failed && s->line.text && (end = memchr(s->line.text + used, '\n', s->line.length - used))) {
                json_t *words = json_loadb(s->line.text + used, (size_t)(end - s->line.text) - used, 0, NULL);

                used = (size_t)(end - s->line.text) + 1;
                if (json_is_object(words))
                        r->said(r->context, slot, words);
                json_decref(words);
        }
        if (used) {
                memmove(s->line.text, s->line.text + used, s->line.length - used + 1);
                s->line.length -= used;
        }
        return true;
}

static void reap(struct runners *r, uint32_t slot)
{
        struct runners_slot *s = &r->slots[slot];
        char how[96];
        int status;

        if (waitpid(s->pid, &status, WNOHANG) != s->pid)
                return;
        while (read_lines(r, slot))
                ;
        if (s->bad)
                snprintf(how, sizeof how, "the runner said more than a message may hold");
        else if (WIFSIGNALED(status))
                snprintf(how, sizeof how, "the runner ended by signal %d", WTERMSIG(status));
        else
                snprintf(how, sizeof how, "the runner ended with %d and no result", WEXITSTATUS(status));
        fd_close_at(&s->fd);
        fd_close_at(&s->pidfd);
        strbuf_done(&s->line);
        *s = (struct runners_slot){0};
        r->ended(r->context, slot, how);
}

void runners_event(struct runners *r, uint64_t number)
{
        uint32_t slot = (uint32_t)(number / 2);

        if (slot >= AGENT_SLOTS || !r->slots[slot].pid)
                return;
        if (number % 2)
                reap(r, slot);
        else
                (void)read_lines(r, slot);
}
