/* server.c: the listening socket; see node.h.
 *
 * One daemon a socket: a lock file beside it is held for life, so that whoever gets the lock may remove a socket left behind, and whoever does
 * not can say who has it. Who connects is known from the kernel (peer credentials), not from what it says.
 */
#define LOG_ROOM "node"
#include "node/node.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <stdarg.h>
#include <sys/un.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

struct server {
        struct node *node;
        uv_poll_t poll;
        int fd, lock;
        bool stopped; /* out of descriptors: not accepting for the moment */
        char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

static int __attribute__((format(printf, 3, 4))) explain(char message[CONFIG_MESSAGE], int error, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        vsnprintf(message, CONFIG_MESSAGE, format, args);
        va_end(args);
        return error;
}

/* The folder of the socket, made for this user alone (for everyone to pass, when root's). One that others can write to is refused: they could put
 * their own socket there. */
static int make_folder(const char *path, char message[CONFIG_MESSAGE])
{
        char folder[sizeof(((struct sockaddr_un *)0)->sun_path)];
        char *slash;
        struct stat st;

        snprintf(folder, sizeof folder, "%s", path);
        slash = strrchr(folder, '/');
        if (!slash || slash == folder)
                return 0;
        *slash = 0;
        if (mkdir(folder, geteuid() == 0 ? 0755 : 0700) < 0 && errno != EEXIST)
                return explain(message, -errno, "%s: can't be made: %s", folder, error_text(errno));
        if (lstat(folder, &st) < 0)
                return explain(message, -errno, "%s: %s", folder, error_text(errno));
        if (!S_ISDIR(st.st_mode) && !S_ISLNK(st.st_mode))
                return explain(message, -ENOTDIR, "%s: is no folder", folder);
        if ((st.st_uid != geteuid() && st.st_uid != 0) || (S_ISDIR(st.st_mode) && st.st_mode & 022 && !(st.st_mode & S_ISVTX)))
                return explain(message, -EPERM, "%s: others could replace the socket there; use a folder of your own (node.socket)", folder);
        return 0;
}

static int take_lock(const char *path, char message[CONFIG_MESSAGE])
{
        char name[sizeof(((struct sockaddr_un *)0)->sun_path) + 8], text[32] = "";
        scoped_fd int fd = -1;
        int n;

        snprintf(name, sizeof name, "%s.lock", path);
        fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0)
                return explain(message, -errno, "%s: can't be opened: %s", name, error_text(errno));
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK)
                        return explain(message, -errno, "%s: can't be locked: %s", name, error_text(errno));
                n = (int)read(fd, text, sizeof text - 1);
                text[n > 0 ? strspn(text, "0123456789") : 0] = 0;
                return explain(message, -E_RUNNING, "another berthd (pid %s) serves %s already; stop it first, or choose another socket "
                               "with --socket", text[0] ? text : "unknown", path);
        }
        n = snprintf(text, sizeof text, "%d\n", (int)getpid());
        if (ftruncate(fd, 0) < 0 || write(fd, text, (size_t)n) != n)
                log_warning("%s: can't be written: %s; ignoring", name, error_text(errno));
        return take_fd(fd);
}

static uint32_t connections_of(const struct node *n, uid_t uid)
{
        uint32_t count = lend_ghosts_of(n, uid);

        for (struct client *c = n->clients; c; c = c->next)
                count += c->uid == uid;
        return count;
}

/* Before it is a client: one datagram, if it fits, and the end. */
static void turn_away(struct node *n, int fd, const struct ucred *peer, const char *why)
{
        struct wire_message m = {.ERROR = {.code = -E_QUOTA, .ordinal = UINT32_MAX}};
        size_t bytes;

        snprintf(m.ERROR.text, sizeof m.ERROR.text, "%s", why);
        bytes = wire_seal(&m, WIRE_ERROR, WIRE_VERSION_MAX, 1);
        if (fd_send(fd, &m, bytes, -1, MSG_DONTWAIT) < 0) {
                /* it will see the end of the connection at least */
        }
        close(fd);
        n->refused++;
        log_warning("pid=%d uid=%u turned away: %s", (int)peer->pid, (unsigned int)peer->uid, why);
}

static int peer_pidfd(int fd, pid_t pid)
{
        socklen_t size = sizeof(int);
        int pidfd = -1;

        /* The kernel's own, where it has it (6.5): no chance of a reused number. */
        if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0 && pidfd >= 0) {
                (void)fcntl(pidfd, F_SETFD, FD_CLOEXEC);
                return pidfd;
        }
        return pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
}

static void welcome(struct node *n, int fd)
{
        struct client_peer peer;
        struct ucred cred;
        socklen_t size = sizeof cred;
        char why[160];

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0) {
                close(fd);
                return;
        }
        if (n->clients_n >= NODE_MAX_CONNECTIONS) {
                turn_away(n, fd, &cred, "the daemon has as many connections as it can hold");
                return;
        }
        if (connections_of(n, cred.uid) >= n->settings.clients_per_user) {
                snprintf(why, sizeof why, "this user has %llu connections already; limits.clients_per_user allows no more",
                         (unsigned long long)n->settings.clients_per_user);
                turn_away(n, fd, &cred, why);
                return;
        }
        peer = (struct client_peer){.pid = cred.pid, .uid = cred.uid, .pidfd = peer_pidfd(fd, cred.pid)};
        if (!client_new(n, fd, &peer, true))
                log_error("pid=%d uid=%u: no memory for its connection", (int)cred.pid, (unsigned int)cred.uid);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
        struct server *s = poll->data;

        for (int i = 0; i < NODE_ROUND; i++) {
                int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (fd >= 0) {
                        welcome(s->node, fd);
                        continue;
                }
                if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
                        log_error("can't accept connections for the moment: %s", error_text(errno));
                        s->stopped = true;
                        uv_poll_stop(&s->poll);
                        node_pace(s->node);
                }
                break;
        }
        node_turn(s->node);
}

void server_resume(struct server *s)
{
        if (s && s->stopped && uv_poll_start(&s->poll, UV_READABLE, on_connection) == 0)
                s->stopped = false;
}

int server_lock(const char *path, char message[CONFIG_MESSAGE])
{
        int r;

        message[0] = 0;
        if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
                return explain(message, -ENAMETOOLONG, "%s: the path of a socket has at most %zu characters", path,
                               sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
        r = make_folder(path, message);
        return r < 0 ? r : take_lock(path, message);
}

int server_open(struct node *node, const char *path, int lock, char message[CONFIG_MESSAGE])
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        scoped_fd int fd = -1, own_lock = lock;
        struct server *s;
        mode_t mask;
        int r;

        memcpy(address.sun_path, path, strlen(path) + 1);
        if (unlink(path) < 0 && errno != ENOENT)
                return explain(message, -errno, "%s: can't be removed: %s", path, error_text(errno));
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return explain(message, -errno, "no socket: %s", error_text(errno));
        /* Root's daemon serves every user; a user's own serves that user. */
        mask = umask(geteuid() == 0 ? 0111 : 0177);
        r = bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ? -errno : 0;
        umask(mask);
        if (r == 0 && listen(fd, 512) < 0)
                r = -errno;
        if (r < 0)
                return explain(message, r, "%s: can't be listened at: %s", path, error_text(r));
        s = calloc(1, sizeof *s);
        if (!s || uv_poll_init(node->loop, &s->poll, fd) < 0) {
                free(s);
                return explain(message, -ENOMEM, "out of memory");
        }
        s->node = node;
        s->fd = take_fd(fd);
        s->lock = take_fd(own_lock);
        memcpy(s->path, path, strlen(path) + 1);
        s->poll.data = s;
        node->server = s;
        (void)uv_poll_start(&s->poll, UV_READABLE, on_connection);
        return 0;
}

static void free_server(uv_handle_t *handle)
{
        free(handle->data);
}

void server_close(struct server *s)
{
        if (!s)
                return;
        uv_poll_stop(&s->poll);
        /* The lock file stays: removing it would let two daemons hold locks on two files of the same name. */
        (void)unlink(s->path);
        close(s->fd);
        close(s->lock);
        uv_close((uv_handle_t *)&s->poll, free_server);
}
