/* remote.c: asks, checks and ends the probes process, and has it started again; see remote.h, keeper.h and child.h. */
#include "bpf/child.h"
#include "bpf/keeper.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define RETRY_FIRST_NS NS_PER_S
#define RETRY_MOST_NS (60 * NS_PER_S)

struct probes_remote {
        int keeper, epoll, socket, file;
        bool asked;
        uint32_t sequence;
        uint64_t asked_ns, patience_ns, retry_ns, backoff_ns;
        bool has_last;
        struct probes_snapshot last; /* its head */
        char why[240];
};

static int spawn(struct probes_remote *m)
{
        struct epoll_event event = {.events = EPOLLIN};
        scoped_fd int ours = -1;
        scoped_fd int theirs = -1;
        int pair[2], r;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        ours = pair[0];
        theirs = pair[1];
        if (fcntl(ours, F_SETFL, O_NONBLOCK) < 0 || epoll_ctl(m->epoll, EPOLL_CTL_ADD, ours, &event) < 0)
                return -errno;
        r = keeper_spawn(m->keeper, theirs);
        if (r < 0)
                return r;
        m->socket = take_fd(ours);
        m->asked = false;
        return 0;
}

static void forget(struct probes_remote *m)
{
        m->has_last = false;
        fd_close_at(&m->file);
}

static void end(struct probes_remote *m)
{
        m->asked = false;
        if (m->socket >= 0)
                (void)!keeper_end(m->keeper); /* it ends with the socket, too, unless it hangs */
        fd_close_at(&m->socket);
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

int probes_remote_new(int keeper, struct probes_remote **ret)
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
        m->keeper = keeper;
        *ret = m;
        return 0;
}

void probes_remote_keeper(struct probes_remote *m, int keeper)
{
        fd_close_at(&m->keeper);
        m->keeper = keeper;
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
        fd_close_at(&m->keeper);
        fd_close_at(&m->epoll);
        free(m);
}

void probes_remote_ask(struct probes_remote *m, uint64_t now, uint64_t patience_ns, const struct probes_options *options)
{
        struct probes_request q = {.magic = PROBES_CHILD_MAGIC, .options = *options};

        m->patience_ns = patience_ns;
        if (m->asked) /* probes_remote_take watches the time */
                return;
        if (m->socket < 0) {
                int r = m->keeper < 0 ? -ENOENT : 0;

                if (now < m->retry_ns)
                        return;
                if (r == 0)
                        r = spawn(m);
                if (r < 0) {
                        if (r == -ENOENT)
                                snprintf(m->why, sizeof m->why, "berth-probes is not installed beside berthd, or was not built: that takes clang, bpftool and libbpf");
                        else if (r == -EPIPE || r == -ECONNRESET)
                                snprintf(m->why, sizeof m->why, "the keeper of the probes process has ended; berthd has to be started again for probes");
                        else
                                snprintf(m->why, sizeof m->why, "the probes process can't be started: %s", error_text(r));
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

bool probes_reply_check(const struct probes_reply *r, ssize_t bytes, uint32_t sequence)
{
        return bytes == (ssize_t)sizeof *r && r->magic == PROBES_CHILD_MAGIC && r->sequence == sequence && r->result <= 0 &&
               text_is_clean(r->text, sizeof r->text);
}

enum probes_news probes_remote_take(struct probes_remote *m, uint64_t now)
{
        while (m->socket >= 0) {
                scoped(probes_unmap) const struct probes_snapshot *fresh = NULL;
                scoped_fd int fd = -1;
                struct probes_reply reply;
                ssize_t n = fd_receive(m->socket, &reply, sizeof reply, MSG_DONTWAIT, &fd);

                if (n == -EINTR)
                        continue;
                if (n == -EAGAIN)
                        break;
                if (n <= 0)
                        return lost(m, now, "the probes process ended");
                if (!m->asked || !probes_reply_check(&reply, n, m->sequence))
                        return lost(m, now, "the probes process gave a malformed answer");
                if (reply.result < 0)
                        return lost(m, now, reply.text[0] ? reply.text : error_text(reply.result));
                if (fd < 0 || probes_map(fd, &fresh) < 0)
                        return lost(m, now, "the probes process gave a malformed snapshot");
                forget(m);
                m->last = *fresh;
                m->last.processes = m->last.files = m->last.uses = m->last.blocks = m->last.runners = 0;
                m->last.bytes = sizeof m->last;
                m->has_last = true;
                m->file = take_fd(fd);
                m->asked = false;
                m->backoff_ns = 0;
                m->why[0] = 0;
                return PROBES_CAME;
        }
        if (m->asked && m->socket >= 0 && now - m->asked_ns >= m->patience_ns)
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
        return m->has_last ? &m->last : NULL;
}

const char *probes_remote_why(const struct probes_remote *m)
{
        return m->why;
}
