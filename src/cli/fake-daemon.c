/* fake-daemon.c: a scripted daemon; see fake-daemon.h. */
#include "cli/fake-daemon.h"

#include "base/fd.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

const struct wire_message fake_welcome = {
        .WELCOME = {.unit_bytes = 2 << 20, .segment_bytes = 32 << 20, .version = WIRE_VERSION_MAX, .client = 7}};

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
                        if (n < 0 || wire_check(&m, (size_t)n, TO_DAEMON, WIRE_VERSION_MAX, NULL) < 0 ||
                            m.header.type != s->type)
                                d->wrong++;
                        break;
                case FAKE_SEND_FD:
                        fd = text_fd(s->text);
                        /* fall through */
                case FAKE_SEND:
                        (void)!fd_send(d->fd, &m,
                                       wire_seal(&m, s->type, s->version ? s->version : WIRE_VERSION_MAX, ++sequence),
                                       fd, 0);
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

static void answer(int fd, const struct wire_message *request, const struct snapshot *world, uint32_t *sequence)
{
        struct wire_message m = {0};
        scoped_fd int file = -1;

        switch (request->header.type) {
        case WIRE_HELLO:
                m = fake_welcome;
                (void)!fd_send(fd, &m, wire_seal(&m, WIRE_WELCOME, WIRE_VERSION_MAX, ++*sequence), -1, 0);
                break;
        case WIRE_STATUS_ASK:
                m.STATUS_DAEMON = world->daemon;
                (void)!fd_send(fd, &m, wire_seal(&m, WIRE_STATUS_DAEMON, WIRE_VERSION_MAX, ++*sequence), -1, 0);
                for (size_t i = 0; i < world->device_count; i++) {
                        m.STATUS_DEVICE = world->devices[i];
                        (void)!fd_send(fd, &m, wire_seal(&m, WIRE_STATUS_DEVICE, WIRE_VERSION_MAX, ++*sequence), -1, 0);
                }
                for (size_t i = 0; i < world->client_count; i++) {
                        m.STATUS_CLIENT = world->clients[i];
                        (void)!fd_send(fd, &m, wire_seal(&m, WIRE_STATUS_CLIENT, WIRE_VERSION_MAX, ++*sequence), -1, 0);
                }
                m.STATUS_END = (struct wire_STATUS_END){.devices = (uint32_t)world->device_count,
                                                        .clients = (uint32_t)world->client_count};
                (void)!fd_send(fd, &m, wire_seal(&m, WIRE_STATUS_END, WIRE_VERSION_MAX, ++*sequence), -1, 0);
                break;
        default:
                if (request->header.type == WIRE_DUMP)
                        file = text_fd("{}\n");
                m.DONE.about = request->header.type;
                (void)!fd_send(fd, &m, wire_seal(&m, WIRE_DONE, WIRE_VERSION_MAX, ++*sequence), file, 0);
        }
}

/* true when fd is readable, false when the server is to stop. */
static bool readable(const struct fake_server *s, int fd)
{
        struct pollfd p[2] = {{.fd = s->wake[0], .events = POLLIN}, {.fd = fd, .events = POLLIN}};

        while (poll(p, 2, -1) < 0)
                ;
        return !p[0].revents;
}

static void *serve(void *arg)
{
        struct fake_server *s = arg;

        while (readable(s, s->listener)) {
                scoped_fd int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
                struct wire_message m;
                uint32_t sequence = 0;

                while (fd >= 0 && readable(s, fd) && fd_receive(fd, &m, sizeof m, 0, NULL) > 0)
                        answer(fd, &m, s->world, &sequence);
        }
        return NULL;
}

void fake_serve(struct fake_server *s, const struct snapshot *world)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        *s = (struct fake_server){.world = world, .folder = "/tmp/berth-test-XXXXXX"};
        s->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (s->listener < 0 || !mkdtemp(s->folder) || pipe(s->wake) < 0)
                abort();
        snprintf(s->path, sizeof s->path, "%s/node.sock", s->folder);
        memcpy(address.sun_path, s->path, sizeof s->path);
        if (bind(s->listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(s->listener, 8) < 0 ||
            pthread_create(&s->thread, NULL, serve, s) != 0)
                abort();
}

void fake_serve_stop(struct fake_server *s)
{
        (void)!write(s->wake[1], "", 1);
        pthread_join(s->thread, NULL);
        close(s->listener);
        close(s->wake[0]);
        close(s->wake[1]);
        unlink(s->path);
        rmdir(s->folder);
}
