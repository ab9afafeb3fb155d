/* tell.c: messages to the daemon; see tell.h. A send that fails is noticed by tell_due() or the next receive: the link goes away as a whole. */
#include "cuda/tell.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"
#include "cuda/host.h"
#include "cuda/lane.h"
#include "cuda/move.h"
#include "cuda/say.h"
#include "wire/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static int sock = -1, page_fd = -1, send_error;
static uint32_t sequence;

#define ANSWER_MS 5000

int tell_socket(void)
{
        return sock;
}

void tell_set_page_fd(int fd)
{
        page_fd = fd;
}

int tell_page_fd(void)
{
        return page_fd;
}

static void send_message(struct wire_message *m, enum wire_type type, int fd)
{
        size_t bytes = wire_seal(m, type, WIRE_VERSION_MAX, ++sequence);
        int r = sock < 0 ? -ENOTCONN : fd_send(sock, m, bytes, fd, 0);

        if (r < 0)
                send_error = r;
}

ssize_t tell_receive(struct wire_message *message, int *ret_fd)
{
        *ret_fd = -1;
        return fd_receive(sock, message, sizeof *message, MSG_DONTWAIT, ret_fd);
}

void tell_disconnect(void)
{
        fd_close_at(&sock);
}

/* Field 22 of /proc/self/stat, after the name, which may hold anything. */
static uint64_t process_start(void)
{
        char text[1024], *p;
        scoped_fd int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

        if (n <= 0)
                return 0;
        text[n] = 0;
        p = strrchr(text, ')');
        for (int i = 0; p && i < 20; i++)
                p = strchr(p + 1, ' ');
        return p ? strtoull(p + 1, NULL, 10) : 0;
}

void tell_read_environment(void)
{
        const char *memory = secure_getenv("BERTH_MEMORY"), *need = secure_getenv("BERTH_NEED");
        const char *priority = secure_getenv("BERTH_PRIORITY"), *job = secure_getenv("BERTH_JOB");
        uint32_t value = WIRE_NORMAL;

        if (memory && *memory && text_parse_share(memory, &berth.limit_bytes, &berth.limit_permille) < 0)
                say("BERTH_MEMORY=%s is neither a size nor a percentage: no limit set", memory);
        if (need && *need && text_parse_bytes(need, &berth.need_bytes) < 0)
                say("BERTH_NEED=%s is no size: ignored", need);
        if (priority && *priority && wire_priority_parse(priority, &value) < 0)
                say("BERTH_PRIORITY=%s is none of interactive, normal, batch: normal", priority);
        berth.priority = value;
        text_copy_clean(berth.job, sizeof berth.job, job ? job : "");
}

static int open_socket(void)
{
        int r = -ENOENT;

        for (unsigned int i = 0;; i++) {
                char path[108];
                int found = settings_socket_candidate(i, path, sizeof path), fd;

                if (found < 0)
                        return r;
                fd = fd_connect(path);
                if (fd >= 0)
                        return fd;
                r = fd;
        }
}

static int hello(bool resumes, int fd)
{
        struct wire_message m = {0};
        struct pollfd p = {.fd = fd, .events = POLLIN};
        char name[64] = "";
        ssize_t n;
        int r;
        scoped_fd int comm = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);

        if (comm >= 0 && (n = read(comm, name, sizeof name - 1)) > 0)
                name[n - (name[n - 1] == '\n')] = 0;
        m.HELLO = (struct wire_HELLO){
                .process_start = process_start(), .need_bytes = berth.need_bytes, .limit_bytes = berth.limit_bytes,
                .limit_permille = berth.limit_permille, .role = WIRE_PROGRAM, .version_min = WIRE_VERSION_MIN,
                .version_max = WIRE_VERSION_MAX, .pid = (uint32_t)getpid(), .priority = berth.priority, .resumes = resumes};
        memcpy(m.HELLO.job, berth.job, sizeof m.HELLO.job);
        text_copy_clean(m.HELLO.name, sizeof m.HELLO.name, name);
        r = fd_send(fd, &m, wire_seal(&m, WIRE_HELLO, WIRE_VERSION_MAX, sequence = 1), -1, 0);
        if (r < 0)
                return r;
        if (poll(&p, 1, ANSWER_MS) <= 0)
                return -ETIMEDOUT;
        n = fd_receive(fd, &m, sizeof m, MSG_DONTWAIT, NULL);
        if (n <= 0)
                return n < 0 ? (int)n : -ECONNRESET;
        r = wire_check(&m, (size_t)n, TO_CLIENT, WIRE_VERSION_MAX, NULL);
        if (r < 0)
                return r;
        if (m.header.type == WIRE_ERROR) {
                say("%s", m.ERROR.text);
                return m.ERROR.code < 0 ? m.ERROR.code : -E_MESSAGE;
        }
        if (m.header.type != WIRE_WELCOME || m.WELCOME.unit_bytes < GRANULE || m.WELCOME.unit_bytes % GRANULE)
                return -E_MESSAGE;
        if (!resumes || !berth.unit_bytes)
                berth.unit_bytes = m.WELCOME.unit_bytes;
        berth.segment_bytes = m.WELCOME.segment_bytes;
        berth.return_ns = m.WELCOME.return_ms * NS_PER_MS;
        berth.slack_bytes = m.WELCOME.slack_bytes;
        return 0;
}

static void tell_device(struct device *d)
{
        struct wire_message m = {0};

        m.DEVICE = (struct wire_DEVICE){.total_bytes = d->total, .granted_bytes = d->granted, .movable_bytes = d->movable,
                                        .pinned_bytes = d->pinned, .resident_bytes = d->resident, .ordinal = d->ordinal,
                                        .running = d->running && d->admitted};
        memcpy(m.DEVICE.uuid, d->uuid, sizeof m.DEVICE.uuid);
        send_message(&m, WIRE_DEVICE, d->page_fd);
}

int tell_connect(bool resumes)
{
        int fd, r;

        if (!resumes)
                tell_read_environment();
        books_unlock();
        fd = open_socket();
        r = fd < 0 ? fd : hello(resumes, fd);
        books_lock();
        if (r < 0) {
                fd_close_at(&fd);
                return r;
        }
        sock = fd;
        send_error = 0;
        if (!resumes)
                return 0;
        for (unsigned int i = 0; i < berth.devices_n; i++) {
                struct device *d = &berth.devices[i];

                if (!d->managed)
                        continue;
                /* Grant that nothing stands on is not worth telling of. */
                d->granted = d->resident + d->pinned;
                d->returned = 0;
                d->announce_sent = true;
                d->dirty = true;
                tell_device(d);
        }
        for (size_t i = 0; i < berth.segments_n; i++) {
                struct wire_message m = {0};

                berth.segments[i].resumed = true;
                m.SEGMENT_HAVE = (struct wire_SEGMENT_HAVE){.bytes = berth.segments[i].bytes, .segment = berth.segments[i].id};
                send_message(&m, WIRE_SEGMENT_HAVE, berth.segments[i].fd);
        }
        return send_error;
}

static void tell_want(struct device *d)
{
        struct wire_message m = {0};
        uint64_t need = d->movable + d->pinned + (d->asked ? d->ask_bytes : 0);

        if (!d->asked)
                d->ticket++;
        m.WANT = (struct wire_WANT){.need_bytes = need, .ordinal = d->ordinal, .ticket = d->ticket};
        send_message(&m, WIRE_WANT, -1);
}

/* Unused grant goes back beyond the slack, all of it while someone waits. */
static void return_spare(struct device *d)
{
        uint64_t keep = d->page && atomic_load(&d->page->contended) ? 0 : d->slack, spare = device_spare(d);

        if (d->asked || d->reserving || d->coming || d->evicting || !d->running || spare <= keep)
                return;
        d->returned += spare - keep;
        d->granted -= spare - keep;
        d->dirty = true;
}

static void tell_memory(struct device *d)
{
        struct wire_message m = {0};

        m.MEMORY = (struct wire_MEMORY){.movable_bytes = d->movable, .pinned_bytes = d->pinned, .resident_bytes = d->resident,
                                        .backed_bytes = d->backed, .returned_bytes = d->returned, .ordinal = d->ordinal};
        send_message(&m, WIRE_MEMORY, -1);
        d->returned = 0;
        d->dirty = false;
}

int tell_due(void)
{
        uint64_t host;

        for (unsigned int i = 0; i < berth.devices_n; i++) {
                struct device *d = &berth.devices[i];

                if (!d->managed)
                        continue;
                if (!d->announced) {
                        if (!d->announce_sent) {
                                d->announce_sent = true;
                                tell_device(d);
                        }
                        continue;
                }
                return_spare(d);
                if (d->dirty && !d->evicting && !d->coming)
                        tell_memory(d);
                if (d->draining && !lane_captures())
                        continue;
                if (d->running ? d->asked && !d->ask_sent
                               : (!d->want_sent && (!d->admitted || d->asked || atomic_load(&berth_page->waiting))) ||
                                         (d->asked && !d->ask_sent)) {
                        d->want_sent = true;
                        d->ask_sent = d->asked;
                        tell_want(d);
                }
        }
        host = host_wanted();
        if (host != berth.host_wanted && berth.devices_n) {
                struct wire_message m = {.HOST = {.bytes = host}};

                berth.host_wanted = host;
                send_message(&m, WIRE_HOST, -1);
        }
        return send_error;
}

void tell_given_way(struct device *d, uint64_t drain_ns, bool wants)
{
        struct wire_message m = {0};

        tell_memory(d);
        m = (struct wire_message){0};
        m.GIVEN_WAY = (struct wire_GIVEN_WAY){.drain_ns = drain_ns, .ordinal = d->ordinal, .wants = wants};
        send_message(&m, WIRE_GIVEN_WAY, -1);
}

void tell_evicted(struct device *d, uint64_t returned, bool done, int status)
{
        struct wire_message m = {0};

        m.EVICTED = (struct wire_EVICTED){.returned_bytes = returned, .resident_bytes = d->resident, .moved_bytes = d->moved,
                                          .elapsed_ns = d->move_ns, .ordinal = d->ordinal, .done = done, .status = status};
        send_message(&m, WIRE_EVICTED, -1);
}

void tell_brought_in(struct device *d, uint64_t returned, bool done, int status)
{
        struct wire_message m = {0};

        m.BROUGHT_IN = (struct wire_BROUGHT_IN){.resident_bytes = d->resident, .moved_bytes = d->moved, .elapsed_ns = d->move_ns,
                                                .returned_bytes = returned, .ordinal = d->ordinal, .done = done, .status = status};
        send_message(&m, WIRE_BROUGHT_IN, -1);
}

void tell_segment_back(uint32_t segment)
{
        struct wire_message m = {.SEGMENT_BACK = {.segment = segment}};

        send_message(&m, WIRE_SEGMENT_BACK, -1);
}

void tell_forked(void)
{
        fd_close_at(&sock);
        fd_close_at(&page_fd);
        sequence = 0;
}
