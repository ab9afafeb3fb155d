/* ask.c: the interposer's books and the daemon's status; see ask.h. */
#include "nvml/ask.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"
#include "nvml/own.h"
#include "wire/settings.h"
#include "wire/use.h"
#include "wire/wire.h"

#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct shared {
        uint8_t uuid[16];
        uint64_t total, room;
        uint32_t index;
};

struct client {
        pid_t pid;
        uint32_t device; /* the daemon's number */
        uint64_t bytes, limit;
};

struct answer {
        uint64_t at; /* when, 0: never */
        unsigned int devices_n, clients_n;
        struct shared devices[WIRE_MAX_DEVICES];
        struct client clients[ASK_CLIENTS];
};

/* Held for copies only, never while waiting. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct answer last;
static uint64_t failed_at;
static berth_device_use_fn own_use;

/* In a forked child another thread may have held the lock. */
static void after_fork_child(void)
{
        pthread_mutex_init(&lock, NULL);
        last.at = failed_at = 0;
}

static void start(void)
{
        own_use = (berth_device_use_fn)dlsym(RTLD_DEFAULT, USE_SYMBOL);
        pthread_atfork(NULL, NULL, after_fork_child);
}

void ask_start(void)
{
        static pthread_once_t once = PTHREAD_ONCE_INIT;

        pthread_once(&once, start);
}

/* ret_seen: the daemon is in our PID namespace, or below it: the process numbers that it tells mean something here. */
static int connect_to(const char *path, bool *ret_seen)
{
        const char *given = secure_getenv("BERTH_SOCKET");
        struct ucred peer;
        socklen_t size = sizeof peer;
        scoped_fd int fd = -1;

        fd = fd_connect_within(path, SOCK_NONBLOCK, 0);
        if (fd < 0)
                return take_fd(fd);
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return -errno;
        /* The default paths may lie in a folder that anybody can make. */
        if (!(given && *given) && peer.uid != 0 && peer.uid != geteuid())
                return -EPERM;
        *ret_seen = peer.pid > 0;
        return take_fd(fd);
}

static int connect_any(bool *ret_seen)
{
        int r = -ENOENT;

        for (unsigned int i = 0;; i++) {
                char path[108];
                int found = settings_socket_candidate(i, path, sizeof path), fd;

                if (found < 0)
                        return r;
                fd = connect_to(path, ret_seen);
                if (fd >= 0)
                        return fd;
                r = fd;
        }
}

static int send_message(int fd, struct wire_message *m, enum wire_type type, uint16_t version, uint32_t sequence, uint64_t deadline)
{
        size_t bytes = wire_seal(m, type, version, sequence);
        int r;

        while ((r = fd_send(fd, m, bytes, -1, MSG_DONTWAIT)) == -EAGAIN) {
                r = fd_wait(fd, POLLOUT, deadline);
                if (r < 0)
                        return r;
        }
        return r;
}

static int receive(int fd, struct wire_message *m, uint16_t version, uint64_t deadline)
{
        ssize_t n;
        int r = fd_wait(fd, POLLIN, deadline);

        if (r < 0)
                return r;
        n = fd_receive(fd, m, sizeof *m, MSG_DONTWAIT, NULL);
        if (n <= 0)
                return n < 0 ? (int)n : -ECONNRESET;
        if ((size_t)n > sizeof *m)
                return -E_MESSAGE;
        r = wire_check(m, (size_t)n, TO_CLIENT, version, NULL);
        if (r == 0 && m->header.type == WIRE_ERROR)
                return -E_UNAVAILABLE;
        return r;
}

static bool is_own(const struct wire_STATUS_CLIENT *c)
{
        const char *job = secure_getenv("BERTH_JOB");

        return (job && *job && c->uid == geteuid() && !strncmp(job, c->job, sizeof c->job)) || own_process((pid_t)c->pid);
}

static void take_device(struct answer *a, const struct wire_STATUS_DEVICE *d)
{
        if ((d->kind != WIRE_CUDA && d->kind != WIRE_SOFTWARE) || a->devices_n == ARRAY_SIZE(a->devices))
                return;
        a->devices[a->devices_n] = (struct shared){.total = d->total_bytes, .room = d->room_bytes, .index = d->index};
        memcpy(a->devices[a->devices_n++].uuid, d->uuid, sizeof d->uuid);
}

static void take_client(struct answer *a, const struct wire_STATUS_CLIENT *c)
{
        uint64_t bytes;

        if (a->clients_n == ARRAY_SIZE(a->clients) || !is_own(c))
                return;
        if (__builtin_add_overflow(c->movable_bytes, c->pinned_bytes, &bytes))
                bytes = UINT64_MAX / ASK_CLIENTS;
        a->clients[a->clients_n++] = (struct client){.pid = (pid_t)c->pid, .device = c->device, .bytes = bytes, .limit = c->limit_bytes};
}

static int converse(int fd, struct answer *a, bool seen, uint64_t deadline)
{
        struct wire_message m = {.HELLO = {.role = WIRE_CONTROL,
                                           .version_min = WIRE_VERSION_MIN,
                                           .version_max = WIRE_VERSION_MAX,
                                           .priority = WIRE_NORMAL,
                                           .pid = (uint32_t)getpid(),
                                           .name = "nvml"}};
        uint16_t version;
        int r;

        r = send_message(fd, &m, WIRE_HELLO, WIRE_VERSION_MAX, 1, deadline);
        if (r == 0)
                r = receive(fd, &m, WIRE_VERSION_MAX, deadline);
        if (r < 0)
                return r;
        if (m.header.type != WIRE_WELCOME || m.WELCOME.version < WIRE_VERSION_MIN || m.WELCOME.version > WIRE_VERSION_MAX)
                return -E_MESSAGE;
        version = (uint16_t)m.WELCOME.version;
        m = (struct wire_message){0};
        r = send_message(fd, &m, WIRE_STATUS_ASK, version, 2, deadline);
        while (r == 0 && (r = receive(fd, &m, version, deadline)) == 0) {
                if (m.header.type == WIRE_STATUS_END)
                        return 0;
                if (m.header.type == WIRE_STATUS_DEVICE)
                        take_device(a, &m.STATUS_DEVICE);
                else if (m.header.type == WIRE_STATUS_CLIENT && seen)
                        take_client(a, &m.STATUS_CLIENT);
                else if (m.header.type != WIRE_STATUS_DAEMON && m.header.type != WIRE_STATUS_CLIENT)
                        return -E_MESSAGE;
        }
        return r;
}

static int ask(struct answer *ret)
{
        bool seen = false;
        scoped_fd int fd = connect_any(&seen);
        uint64_t start = clock_now_ns();
        int r;

        *ret = (struct answer){0};
        if (fd < 0)
                return fd;
        r = converse(fd, ret, seen, start + ASK_MS * NS_PER_MS);
        ret->at = start;
        return r;
}

/* The last answer while it is fresh, else a new one, else the last one while it may be kept. */
static int current(struct answer *ret)
{
        struct answer fresh;
        uint64_t now = clock_now_ns();
        bool paused;
        int r;

        pthread_mutex_lock(&lock);
        *ret = last;
        paused = failed_at && now - failed_at < ASK_PAUSE_MS * NS_PER_MS;
        pthread_mutex_unlock(&lock);
        if (ret->at && now - ret->at < ASK_FRESH_MS * NS_PER_MS)
                return 0;
        r = paused ? -E_UNAVAILABLE : ask(&fresh);
        pthread_mutex_lock(&lock);
        if (r == 0) {
                *ret = last = fresh;
                failed_at = 0;
        } else if (!paused) {
                failed_at = clock_now_ns();
        }
        pthread_mutex_unlock(&lock);
        return r == 0 || (ret->at && now - ret->at < ASK_KEPT_MS * NS_PER_MS) ? 0 : r;
}

/* What the program was started with, for a device on which it is no client yet. */
static uint64_t wished_limit(uint64_t total)
{
        const char *memory = secure_getenv("BERTH_MEMORY"), *fraction = secure_getenv("CUDA_MEMORY_FRACTION");
        uint64_t bytes = 0;
        uint32_t permille = 0;

        if (memory && *memory) {
                if (text_parse_share(memory, &bytes, &permille) < 0)
                        return 0;
        } else if (!fraction || !*fraction || text_parse_fraction(fraction, &permille) < 0) {
                return 0;
        }
        return permille ? (uint64_t)((unsigned __int128)total * permille / 1000) : bytes;
}

static void add(struct ask_view *v, pid_t pid, uint64_t bytes)
{
        for (unsigned int i = 0; i < v->clients_n; i++)
                if (v->clients[i].pid == pid) {
                        v->clients[i].bytes = bytes;
                        return;
                }
        if (v->clients_n < ARRAY_SIZE(v->clients))
                v->clients[v->clients_n++] = (struct ask_client){pid, bytes};
}

int ask_view(const uint8_t uuid[16], struct ask_view *ret)
{
        const struct shared *shared = NULL;
        uint64_t limit = 0;
        bool unlimited = false;
        struct berth_use use;
        struct answer a;
        int saved = errno, r = current(&a);

        errno = saved;
        if (r < 0)
                return r;
        for (unsigned int i = 0; i < a.devices_n && !shared; i++)
                if (!memcmp(a.devices[i].uuid, uuid, sizeof a.devices[i].uuid))
                        shared = &a.devices[i];
        if (!shared)
                return -ENODEV;
        *ret = (struct ask_view){.total = shared->total, .room = shared->room};
        for (unsigned int i = 0; i < a.clients_n; i++) {
                const struct client *c = &a.clients[i];

                if (c->device != shared->index)
                        continue;
                add(ret, c->pid, c->bytes);
                unlimited |= !c->limit;
                limit = c->limit > limit ? c->limit : limit;
        }
        if (own_use && own_use(uuid, &use) == 0) {
                add(ret, getpid(), use.used_bytes);
                unlimited = !use.limit_bytes;
                limit = use.limit_bytes;
                ret->room = use.room_bytes ? use.room_bytes : ret->room;
        }
        if (!ret->clients_n)
                limit = wished_limit(shared->total);
        ret->limit = unlimited || limit >= shared->total ? 0 : limit;
        for (unsigned int i = 0; i < ret->clients_n; i++)
                ret->used += ret->clients[i].bytes;
        return 0;
}
