/* fd.c: datagrams with descriptors; see fd.h. Linked into the interposer too: nothing here may allocate or log. */
#include "base/fd.h"

#include "base/clock.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#define MAX_FDS 4

int fd_send(int socket, const void *data, size_t bytes, int fd, int flags)
{
        struct iovec part = {.iov_base = (void *)data, .iov_len = bytes};
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {0};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
        ssize_t n;

        if (fd >= 0) {
                message.msg_control = &control;
                message.msg_controllen = sizeof control.space;
                control.header.cmsg_level = SOL_SOCKET;
                control.header.cmsg_type = SCM_RIGHTS;
                control.header.cmsg_len = CMSG_LEN(sizeof fd);
                memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
        }
        do
                n = sendmsg(socket, &message, flags | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : 0;
}

ssize_t fd_receive(int socket, void *data, size_t size, int flags, int *ret_fd)
{
        struct iovec part = {.iov_base = data, .iov_len = size};
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int) * MAX_FDS)];
        } control;
        struct msghdr message = {
                .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.space};
        int first = -1;
        ssize_t n;

        do
                n = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC | MSG_TRUNC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
                size_t count;

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < count; i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
                        if (first < 0)
                                first = fd;
                        else
                                close(fd);
                }
        }
        if (ret_fd)
                *ret_fd = first;
        else if (first >= 0)
                close(first);
        return n;
}

int fd_connect_within(const char *path, int flags, unsigned int timeout_ms)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        struct timeval time = {.tv_sec = timeout_ms / 1000, .tv_usec = (timeout_ms % 1000) * 1000};
        scoped_fd int fd = -1;

        if (strlen(path) >= sizeof address.sun_path)
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, strlen(path) + 1);
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);
        /* connect() alone may wait for ever for one that accepts nobody; a send timeout bounds it. */
        if (fd < 0 || (timeout_ms && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time) < 0) ||
            connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
                return -errno;
        return take_fd(fd);
}

int fd_connect(const char *path)
{
        return fd_connect_within(path, 0, 0);
}

int fd_wait(int fd, short events, uint64_t deadline_ns)
{
        for (;;) {
                struct pollfd p = {.fd = fd, .events = events};
                uint64_t now = clock_now_ns();
                int r = poll(&p, 1, now >= deadline_ns ? 0 : (int)((deadline_ns - now) / NS_PER_MS) + 1);

                if (r > 0)
                        return 0;
                if (r == 0)
                        return -ETIMEDOUT;
                if (errno != EINTR)
                        return -errno;
        }
}
