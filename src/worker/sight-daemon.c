/* sight-daemon.c: see sight-daemon.h. Every answer passes wire_check, every descriptor its own checks; what is wrong ends the connection. */
#include "worker/sight-daemon.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"
#include "worker/describe.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define PATIENCE_MS 3000
#define ANSWER_MOST 100000 /* messages of one answer */
#define HISTORY_MOST (16 << 20)

static int say(struct sight_daemon *d, struct wire_message *m, enum wire_type type)
{
        return fd_send(d->fd, m, wire_seal(m, type, d->version, ++d->sequence), -1, 0);
}

/* An ERROR is an answer, too. */
static int hear(struct sight_daemon *d, struct wire_message *m, int *ret_fd)
{
        scoped_fd int extra = -1;
        const char *what;
        ssize_t bytes;

        if (fd_wait(d->fd, POLLIN, clock_now_ns() + PATIENCE_MS * NS_PER_MS) < 0)
                return -E_UNAVAILABLE;
        bytes = fd_receive(d->fd, m, sizeof *m, MSG_DONTWAIT, &extra);
        if (bytes <= 0 || (size_t)bytes > sizeof *m || wire_check(m, (size_t)bytes, TO_CLIENT, d->version, &what) < 0)
                return -E_UNAVAILABLE;
        if (ret_fd)
                *ret_fd = take_fd(extra);
        return 0;
}

static int hang_up(struct sight_daemon *d)
{
        fd_close_at(&d->fd);
        return -E_UNAVAILABLE;
}

static int greet(struct sight_daemon *d)
{
        struct wire_message m = {.HELLO = {.role = WIRE_CONTROL, .version_min = WIRE_VERSION_MIN, .version_max = WIRE_VERSION_MAX, .priority = WIRE_NORMAL,
                                           .pid = (uint32_t)getpid(), .name = "berth-worker"}};
        const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
        char path[256];

        d->version = WIRE_VERSION_MAX;
        d->sequence = 0;
        d->fd = node_link_find(path, sizeof path) < 0 ? -1 : fd_connect_within(path, 0, PATIENCE_MS);
        if (d->fd < 0)
                return -E_UNAVAILABLE;
        (void)setsockopt(d->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        if (say(d, &m, WIRE_HELLO) < 0 || hear(d, &m, NULL) < 0 || m.header.type != WIRE_WELCOME || m.WELCOME.version < WIRE_VERSION_MIN ||
            m.WELCOME.version > WIRE_VERSION_MAX)
                return hang_up(d);
        d->version = (uint16_t)m.WELCOME.version;
        return 0;
}

int sight_daemon_status(struct sight_daemon *d, struct sight_status *ret)
{
        struct wire_message m = {0};

        ret->device_count = ret->client_count = ret->left_out = 0;
        ret->taken_ns = 0;
        if (d->fd < 0 && greet(d) < 0)
                return -E_UNAVAILABLE;
        if (say(d, &m, WIRE_STATUS_ASK) < 0)
                return hang_up(d);
        for (int i = 0; i < ANSWER_MOST; i++) {
                if (hear(d, &m, NULL) < 0)
                        return hang_up(d);
                switch (m.header.type) {
                case WIRE_STATUS_DAEMON:
                        ret->daemon = m.STATUS_DAEMON;
                        break;
                case WIRE_STATUS_DEVICE:
                        if (ret->device_count < WIRE_MAX_DEVICES)
                                ret->devices[ret->device_count++] = m.STATUS_DEVICE;
                        break;
                case WIRE_STATUS_CLIENT:
                        if (ret->client_count < SIGHT_CLIENTS)
                                ret->clients[ret->client_count++] = m.STATUS_CLIENT;
                        else
                                ret->left_out++;
                        break;
                case WIRE_STATUS_END:
                        ret->taken_ns = clock_now_ns();
                        return 0;
                default:
                        return hang_up(d);
                }
        }
        return hang_up(d);
}

/* The answer's descriptor; why: its own words when it is an ERROR. */
static int ask(struct sight_daemon *d, enum wire_type type, uint32_t flags, int *ret_fd, char why[120])
{
        struct wire_message m = {0};

        if (type == WIRE_PROBES)
                m.PROBES.flags = flags;
        *ret_fd = -1;
        snprintf(why, 120, "no node daemon answers");
        if (d->fd < 0)
                return -E_UNAVAILABLE;
        if (say(d, &m, type) < 0 || hear(d, &m, ret_fd) < 0)
                return hang_up(d);
        if (m.header.type == WIRE_ERROR) {
                char text[sizeof m.ERROR.text + 1] = "";

                memcpy(text, m.ERROR.text, sizeof m.ERROR.text);
                text_copy_clean(why, 120, text[0] ? text : "refused");
                return -E_UNAVAILABLE;
        }
        if (m.header.type != WIRE_DONE || *ret_fd < 0) {
                fd_close_at(ret_fd);
                return hang_up(d);
        }
        return 0;
}

int sight_daemon_probes(struct sight_daemon *d, const struct probes_snapshot **ret, char why[120])
{
        scoped_fd int fd = -1;
        int r = ask(d, WIRE_PROBES, PROBES_EVERY, &fd, why);

        if (r == 0 && probes_map(fd, ret) < 0) {
                snprintf(why, 120, "the node daemon's answer is not sound; use the same release of both");
                r = hang_up(d);
        }
        return r;
}

int sight_daemon_history(struct sight_daemon *d, uint64_t now_ns, struct history_set *set)
{
        char *bytes scoped_free = NULL, why[120];
        scoped_fd int fd = -1;
        size_t at = 0;
        struct stat st;
        int r = ask(d, WIRE_HISTORY, 0, &fd, why);

        if (r < 0)
                return r;
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > HISTORY_MOST)
                return hang_up(d);
        bytes = malloc((size_t)st.st_size);
        while (bytes && at < (size_t)st.st_size) {
                ssize_t n = pread(fd, bytes + at, (size_t)st.st_size - at, (off_t)at);

                if (n <= 0 && !(n < 0 && errno == EINTR))
                        return hang_up(d);
                at += n > 0 ? (size_t)n : 0;
        }
        return bytes && history_set_load(set, now_ns, bytes, at) == 0 ? 0 : -E_UNAVAILABLE;
}
