/* node-link.c: the worker's questions to the node daemon: which devices it shares, and a request to trim. Every answer passes wire_check; every wait ends. */
#include "worker/describe.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"
#include "wire/settings.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define PATIENCE_MS 3000

struct node_link {
        int fd;
        uint16_t version;
        uint32_t sequence;
};

static int say(struct node_link *n, struct wire_message *m, enum wire_type type)
{
        return fd_send(n->fd, m, wire_seal(m, type, n->version, ++n->sequence), -1, 0);
}

static int hear(struct node_link *n, struct wire_message *m)
{
        struct pollfd p = {.fd = n->fd, .events = POLLIN};
        const char *what;
        int extra = -1;
        ssize_t bytes;

        if (poll(&p, 1, PATIENCE_MS) <= 0)
                return -E_UNAVAILABLE;
        bytes = fd_receive(n->fd, m, sizeof *m, MSG_DONTWAIT, &extra);
        fd_close_at(&extra);
        if (bytes <= 0 || (size_t)bytes > sizeof *m || wire_check(m, (size_t)bytes, TO_CLIENT, n->version, &what) < 0 || m->header.type == WIRE_ERROR)
                return -E_UNAVAILABLE;
        return 0;
}

static int greet(struct node_link *n, const char *path)
{
        struct wire_message m = {.HELLO = {.role = WIRE_CONTROL, .version_min = WIRE_VERSION_MIN, .version_max = WIRE_VERSION_MAX, .priority = WIRE_NORMAL,
                                           .pid = (uint32_t)getpid(), .name = "berth-worker"}};
        const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};

        n->version = WIRE_VERSION_MAX;
        n->fd = fd_connect(path);
        if (n->fd < 0)
                return -E_UNAVAILABLE;
        (void)setsockopt(n->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        if (say(n, &m, WIRE_HELLO) < 0 || hear(n, &m) < 0 || m.header.type != WIRE_WELCOME || m.WELCOME.version < WIRE_VERSION_MIN ||
            m.WELCOME.version > WIRE_VERSION_MAX)
                return -E_UNAVAILABLE;
        n->version = (uint16_t)m.WELCOME.version;
        return 0;
}

int node_link_find(char *path, size_t size)
{
        for (unsigned int i = 0; settings_socket_candidate(i, path, size) == 0; i++) {
                struct stat st;

                if (stat(path, &st) == 0 && S_ISSOCK(st.st_mode))
                        return 0;
        }
        return -E_UNAVAILABLE;
}

int node_link_devices(const char *path, json_t *list)
{
        struct node_link n = {.fd = -1};
        struct wire_message m = {0};
        int r = greet(&n, path);

        if (r >= 0) {
                memset(&m, 0, sizeof m);
                r = say(&n, &m, WIRE_STATUS_ASK);
        }
        for (int i = 0; r >= 0 && i < 100000; i++) {
                char name[sizeof m.STATUS_DEVICE.name + 1];

                r = hear(&n, &m);
                if (r < 0 || m.header.type == WIRE_STATUS_END)
                        break;
                if (m.header.type != WIRE_STATUS_DEVICE || (m.STATUS_DEVICE.kind != WIRE_CUDA && m.STATUS_DEVICE.kind != WIRE_SOFTWARE))
                        continue;
                text_copy_clean(name, sizeof name, m.STATUS_DEVICE.name);
                json_array_append_new(list, json_pack("{s:s, s:s, s:I}", "kind", m.STATUS_DEVICE.kind == WIRE_CUDA ? "gpu" : "software", "name", name, "memory_bytes", (json_int_t)m.STATUS_DEVICE.room_bytes));
        }
        fd_close_at(&n.fd);
        return r < 0 ? -E_UNAVAILABLE : 0;
}

/* One request about programs, answered by how many it was about. */
static int about_programs(const char *path, struct wire_message *m, enum wire_type type)
{
        struct node_link n = {.fd = -1};
        int r = greet(&n, path);

        r = r < 0 ? r : say(&n, m, type);
        r = r < 0 ? r : hear(&n, m);
        fd_close_at(&n.fd);
        return r < 0 || m->header.type != WIRE_TRIMMED ? -E_UNAVAILABLE : (int)m->TRIMMED.programs;
}

int node_link_trim(const char *path)
{
        struct wire_message m = {0};

        return about_programs(path, &m, WIRE_TRIM_ASK);
}

int node_link_prefetch(const char *path, const char *name, uint32_t milliseconds)
{
        struct wire_message m = {.PREFETCH = {.milliseconds = milliseconds}};

        snprintf(m.PREFETCH.name, sizeof m.PREFETCH.name, "%s", name);
        return about_programs(path, &m, WIRE_PREFETCH);
}
