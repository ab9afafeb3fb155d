/* connection.c: the controller's end of the daemon's socket; see connection.h. */
#include "cli/connection.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"
#include "wire/settings.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static int say(char message[CLI_MESSAGE], int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int say(char message[CLI_MESSAGE], int error, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        vsnprintf(message, CLI_MESSAGE, format, args);
        va_end(args);
        return error;
}

void connection_close(struct connection *c)
{
        fd_close_at(&c->fd);
}

/* The default paths may lie in a folder that anybody can make: whoever listens there must be us or root. */
static int check_owner(int fd, const char *path, char message[CLI_MESSAGE])
{
        struct ucred peer;
        socklen_t size = sizeof peer;
        const char *given = getenv("BERTH_SOCKET");

        if (given && *given)
                return 0;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return say(message, -errno, "cannot tell who listens at %s: %s", path, strerror(errno));
        if (peer.uid != 0 && peer.uid != geteuid())
                return say(message, -EPERM,
                           "the socket %s is served by user %u, neither you nor root; set BERTH_SOCKET to it if you "
                           "trust that user",
                           path, peer.uid);
        return 0;
}

int connection_open(struct connection *c, char message[CLI_MESSAGE])
{
        char path[sizeof c->path], tried[2 * sizeof c->path + 8] = "";
        int denied = 0, r;

        for (unsigned int i = 0;; i++) {
                int fd;

                r = settings_socket_candidate(i, path, sizeof path);
                if (r == -ENOENT)
                        break;
                if (r < 0)
                        return say(message, r,
                                   "the path of the daemon's socket is too long; set a shorter BERTH_SOCKET");
                fd = fd_connect_within(path, 0, c->timeout_ms);
                if (fd >= 0) {
                        r = check_owner(fd, path, message);
                        if (r < 0) {
                                close(fd);
                                return r;
                        }
                        return connection_greet(c, fd, path, message);
                }
                if (fd == -EAGAIN)
                        return say(message, -ETIMEDOUT,
                                   "the daemon at %s accepts no connection within %u ms; look at its log, and restart "
                                   "it if it hangs",
                                   path, c->timeout_ms);
                if (fd == -ENAMETOOLONG)
                        return say(message, fd, "the socket path %s is too long (107 characters at most)", path);
                if (fd == -EPROTOTYPE)
                        return say(message, -E_MESSAGE, "the socket %s belongs to something else than berthd", path);
                if (fd != -ENOENT && fd != -ECONNREFUSED && fd != -ENOTDIR && !denied)
                        denied = fd;
                snprintf(tried + strlen(tried), sizeof tried - strlen(tried), "%s%s", i ? " or " : "", path);
        }
        if (denied)
                return say(message, denied, "cannot connect to %s: %s", tried, error_text(denied));
        return say(message, -E_UNAVAILABLE,
                   "no daemon answers at %s; start one with `berthd &' (your own) or `systemctl start berthd' (for the "
                   "machine), or set "
                   "BERTH_SOCKET",
                   tried);
}

int connection_greet(struct connection *c, int fd, const char *path, char message[CLI_MESSAGE])
{
        struct wire_message hello = {.HELLO = {.role = WIRE_CONTROL,
                                               .version_min = WIRE_VERSION_MIN,
                                               .version_max = WIRE_VERSION_MAX,
                                               .priority = WIRE_NORMAL,
                                               .pid = (uint32_t)getpid(),
                                               .name = "berth"}};
        struct wire_message welcome;
        int r;

        connection_close(c);
        c->fd = fd;
        c->sequence = 0;
        c->version = WIRE_VERSION_MAX;
        text_copy_clean(c->path, sizeof c->path, path);
        r = connection_send(c, &hello, WIRE_HELLO, message);
        if (r < 0)
                return r;
        /* WELCOME carries the version that the daemon chose; all but that number is checked again below. */
        r = connection_expect(c, WIRE_WELCOME, &welcome, NULL, message);
        if (r < 0)
                return r;
        if (welcome.WELCOME.version < WIRE_VERSION_MIN || welcome.WELCOME.version > WIRE_VERSION_MAX)
                return say(message, -E_VERSION, "the daemon at %s chose protocol version %u, this is %d to %d", c->path,
                           welcome.WELCOME.version, WIRE_VERSION_MIN, WIRE_VERSION_MAX);
        c->version = (uint16_t)welcome.WELCOME.version;
        return 0;
}

static int gone(const struct connection *c, char message[CLI_MESSAGE])
{
        return say(message, -ECONNRESET, "the daemon at %s closed the connection in the middle; look at its log",
                   c->path);
}

int connection_send(struct connection *c, struct wire_message *request, enum wire_type type, char message[CLI_MESSAGE])
{
        size_t bytes = wire_seal(request, type, c->version, ++c->sequence);
        struct timeval time = {.tv_sec = c->timeout_ms / 1000, .tv_usec = (c->timeout_ms % 1000) * 1000};
        int r;

        (void)setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
        r = fd_send(c->fd, request, bytes, -1, 0);
        if (r == -EPIPE || r == -ECONNRESET)
                return gone(c, message);
        if (r == -EAGAIN)
                return say(message, -ETIMEDOUT, "the daemon at %s does not read within %u ms; restart it if it hangs",
                           c->path, c->timeout_ms);
        if (r < 0)
                return say(message, r, "cannot send to the daemon at %s: %s", c->path, error_text(r));
        return 0;
}

int connection_receive(struct connection *c, struct wire_message *answer, int *ret_fd, char message[CLI_MESSAGE])
{
        scoped_fd int fd = -1;
        const char *what = NULL;
        ssize_t n;
        int r;

        if (ret_fd)
                *ret_fd = -1;
        r = fd_wait(c->fd, POLLIN, clock_now_ns() + c->timeout_ms * NS_PER_MS);
        if (r == -ETIMEDOUT)
                return say(message, r,
                           "the daemon at %s gives no answer within %u ms; look at its log, and restart it if it hangs",
                           c->path, c->timeout_ms);
        if (r < 0)
                return say(message, r, "waiting for the daemon at %s: %s", c->path, error_text(r));
        n = fd_receive(c->fd, answer, sizeof *answer, MSG_DONTWAIT, &fd);
        if (n == 0 || n == -ECONNRESET)
                return gone(c, message);
        if (n < 0)
                return say(message, (int)n, "receiving from the daemon at %s: %s", c->path, error_text((int)n));
        if ((size_t)n > sizeof *answer)
                return say(message, -E_MESSAGE,
                           "the daemon at %s sent a message of %zd bytes, more than any message has", c->path, n);
        r = wire_check(answer, (size_t)n, TO_CLIENT, c->version, &what);
        if (r == -E_VERSION)
                return say(message, r,
                           "the daemon at %s speaks protocol version %u, this command speaks %d to %d; use the same "
                           "release of both",
                           c->path, answer->header.version, WIRE_VERSION_MIN, WIRE_VERSION_MAX);
        if (r < 0)
                return say(message, r, "the daemon at %s sent a malformed message (%s); use the same release of both",
                           c->path, what);
        if (answer->header.type == WIRE_ERROR) {
                r = answer->ERROR.code;
                if (r >= 0 || r < -65535)
                        r = -EPROTO;
                return say(message, r, "the daemon says: %s",
                           answer->ERROR.text[0] ? answer->ERROR.text : error_text(r));
        }
        if (ret_fd)
                *ret_fd = take_fd(fd);
        return 0;
}

int connection_expect(struct connection *c, enum wire_type type, struct wire_message *answer, int *ret_fd,
                      char message[CLI_MESSAGE])
{
        int r = connection_receive(c, answer, ret_fd, message);

        if (r < 0)
                return r;
        if (answer->header.type != type) {
                if (ret_fd)
                        fd_close_at(ret_fd);
                return say(message, -E_MESSAGE,
                           "the daemon at %s sent %s where %s was due; use the same release of both", c->path,
                           wire_name(answer->header.type), wire_name(type));
        }
        return 0;
}
