/* fd.h: file descriptors that close themselves, and datagrams with descriptors attached. */
#pragma once

#include "base/scope.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

static inline void fd_close_at(int *fd)
{
        int saved_ = errno;

        if (*fd >= 0)
                close(*fd);
        *fd = -1;
        errno = saved_;
}
#define scoped_fd __attribute__((cleanup(fd_close_at)))

/* Sends one datagram on a SOCK_SEQPACKET socket, with fd attached when it is >= 0 (fd stays the caller's).
 * flags as for sendmsg (MSG_NOSIGNAL is added). 0, or -EAGAIN when the peer's buffer is full, or another -errno. */
must_check int fd_send(int socket, const void *data, size_t bytes, int fd, int flags);

/* Receives one datagram into data. Returns its true length (which may exceed size: then it was cut), 0 at end of
 * stream, or -errno. *ret_fd becomes the first descriptor that came along, the caller's now (close-on-exec), or -1; further ones
 * are closed. */
must_check ssize_t fd_receive(int socket, void *data, size_t size, int flags, int *ret_fd);

/* Connects to a SOCK_SEQPACKET socket at path; close-on-exec, blocking. The fd, or -errno (-ENAMETOOLONG). */
must_check int fd_connect(const char *path);
/* The same with flags for the socket (SOCK_NONBLOCK). timeout_ms: connecting, and each send afterwards, takes no longer and ends with
 * -EAGAIN; 0: for ever. */
must_check int fd_connect_within(const char *path, int flags, unsigned int timeout_ms);

/* Waits for events (poll's); 0, -ETIMEDOUT once the monotonic clock is past deadline_ns, or -errno. */
must_check int fd_wait(int fd, short events, uint64_t deadline_ns);
