/* fake-daemon.c: a scripted daemon; see fake-daemon.h. */
#include "cli/fake-daemon.h"

#include "base/fd.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

const struct wire_message fake_welcome = {.WELCOME = {.unit_bytes = 2 << 20, .segment_bytes = 32 << 20, .version = WIRE_VERSION_MAX, .client = 7}};

static int text_fd(const char *text)
{
        int fd = memfd_create("fake", MFD_CLOEXEC);

        if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
                abort();
        return fd;
}

static void *follow(void *arg)
{
        struct fake_daemon *d = arg;
        uint32_t sequence = 0;

        for (const struct fake_step *s = d->steps; s->act != FAKE_END; s++) {
                struct wire_message m = s->message ? *s->message : (struct wire_message){0};
                scoped_fd int fd = -1;
                ssize_t n;

                switch (s->act) {
                case FAKE_TAKE:
                        n = fd_receive(d->fd, &m, sizeof m, 0, NULL);
                        if (n < 0 || wire_check(&m, (size_t)n, TO_DAEMON, WIRE_VERSION_MAX, NULL) < 0 || m.header.type != s->type)
                                d->wrong++;
                        break;
                case FAKE_SEND_FD:
                        fd = text_fd(s->text);
                        /* fall through */
                case FAKE_SEND:
                        (void)!fd_send(d->fd, &m, wire_seal(&m, s->type, s->version ? s->version : WIRE_VERSION_MAX, ++sequence), fd, 0);
                        break;
                case FAKE_RAW:
                        (void)!fd_send(d->fd, &m, s->bytes, -1, 0);
                        break;
                case FAKE_HANG:
                        while (fd_receive(d->fd, &m, sizeof m, 0, NULL) > 0)
                                ;
                        break;
                case FAKE_END:
                        break;
                }
        }
        close(d->fd);
        d->fd = -1;
        return NULL;
}

int fake_start(struct fake_daemon *d, const struct fake_step *steps)
{
        int ends[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                abort();
        *d = (struct fake_daemon){.fd = ends[0], .steps = steps};
        if (pthread_create(&d->thread, NULL, follow, d) != 0)
                abort();
        return ends[1];
}

int fake_stop(struct fake_daemon *d)
{
        pthread_join(d->thread, NULL);
        return d->wrong;
}
