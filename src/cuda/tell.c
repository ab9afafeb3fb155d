/* tell.c: messages to the daemon; see tell.h. A send that fails is noticed by tell_due() or the next receive: the link goes away as a whole. */
#include "cuda/tell.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"
#include "cuda/cache.h"
#include "cuda/host.h"
#include "cuda/lane.h"
#include "cuda/ordered.h"
#include "cuda/say.h"
#include "cuda/turn.h"
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
        const char *soft = secure_getenv("BERTH_SOFT_MEMORY"), *together = secure_getenv("BERTH_JOB_MEMORY");
        const char *fraction = secure_getenv("CUDA_MEMORY_FRACTION"), *run = secure_getenv("BERTH_RUN_NUMBER");
        static bool said_fraction;
        uint32_t value = WIRE_NORMAL;

        if (memory && *memory && text_parse_share(memory, &berth.limit_bytes, &berth.limit_permille) < 0)
                say("BERTH_MEMORY=%s is neither a size nor a percentage: no limit set", memory);
        /* A limit that Berth was told of goes before the one that the program was started with. */
        if (!(memory && *memory) && fraction && *fraction && text_parse_fraction(fraction, &berth.limit_permille) < 0 && !said_fraction) {
                said_fraction = true;
                say("CUDA_MEMORY_FRACTION=%.40s is no fraction above 0 and up to 1, such as 0.4: ignored", fraction);
        }
        if (soft && *soft && text_parse_share(soft, &berth.soft_bytes, &berth.soft_permille) < 0)
                say("BERTH_SOFT_MEMORY=%s is neither a size nor a percentage: no soft limit set", soft);
        if (together && *together && text_parse_share(together, &berth.job_limit_bytes, &berth.job_limit_permille) < 0)
                say("BERTH_JOB_MEMORY=%s is neither a size nor a percentage: no limit set for the job", together);
        if (need && *need && text_parse_bytes(need, &berth.need_bytes) < 0)
                say("BERTH_NEED=%s is no size: ignored", need);
        if (priority && *priority && wire_priority_parse(priority, &value) < 0)
                say("BERTH_PRIORITY=%s is none of interactive, normal, batch: normal", priority);
        berth.priority = value;
        berth.run = run ? strtoull(run, NULL, 16) : 0;
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
                .process_start = process_start(), .need_bytes = berth.need_bytes, .limit_bytes = berth.limit_bytes, .soft_bytes = berth.soft_bytes,
                .job_limit_bytes = berth.job_limit_bytes, .soft_permille = berth.soft_permille, .job_limit_permille = berth.job_limit_permille,
                .run = berth.run, .limit_permille = berth.limit_permille, .role = WIRE_PROGRAM, .version_min = WIRE_VERSION_MIN,
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
        berth.clean = m.WELCOME.clean != 0;
        berth.neighbours = m.WELCOME.neighbours != 0;
        berth.return_ns = m.WELCOME.return_ms * NS_PER_MS;
        return 0;
}

static void tell_device(struct device *d)
{
        struct wire_message m = {0};

        m.DEVICE = (struct wire_DEVICE){.total_bytes = d->total, .granted_bytes = d->granted, .movable_bytes = d->movable,
                                        .pinned_bytes = d->pinned, .resident_bytes = d->resident, .ordinal = d->ordinal,
                                        .running = d->running && d->admitted, .storage = d->storage};
        memcpy(m.DEVICE.uuid, d->uuid, sizeof m.DEVICE.uuid);
        d->told_pinned = d->pinned;
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

                if (!berth.segments[i].used)
                        continue;
                berth.segments[i].resumed = true;
                m.SEGMENT_HAVE = (struct wire_SEGMENT_HAVE){.bytes = berth.segments[i].bytes, .segment = berth.segments[i].id};
                send_message(&m, WIRE_SEGMENT_HAVE, berth.segments[i].fd);
        }
        return send_error;
}

static bool wants_now(const struct device *d)
{
        if (d->storage)
                return false; /* asks when something has to leave, see tier.c */
        if (d->running)
                return d->asked && !d->ask_sent;
        return (!d->want_sent && (!d->admitted || turn_wanted())) || (d->asked && !d->ask_sent);
}

/* A program that allocates and frees kept blocks in a loop reports now and then, not each time: its page tells the bytes at any instant. */
bool tell_report_due(const struct device *d)
{
        return d->resident + d->kept != d->told_physical || d->backed > d->told_backed || wants_now(d) ||
               clock_now_ns() >= d->told_at + TELL_REPORT_NS;
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
        uint64_t keep = d->storage || d->trim || (d->page && atomic_load(&d->page->contended)) ? 0 : d->slack, spare = device_spare(d);

        if (d->asked || d->reserving || d->coming || d->evicting || !(d->running || d->storage))
                return;
        d->trim = false;
        if (spare <= keep)
                return;
        d->returned += spare - keep;
        d->granted -= spare - keep;
        cache_limit(d, keep);
        d->dirty = true;
}

static void tell_memory(struct device *d)
{
        struct wire_message m = {0};

        m.MEMORY = (struct wire_MEMORY){.movable_bytes = d->movable, .pinned_bytes = d->pinned, .resident_bytes = d->resident,
                                        .backed_bytes = d->backed, .returned_bytes = d->returned, .ordinal = d->ordinal};
        send_message(&m, WIRE_MEMORY, -1);
        d->told_pinned = d->pinned;
        d->returned = 0;
        d->dirty = false;
        d->told_at = clock_now_ns();
        d->told_physical = d->resident + d->kept;
        d->told_backed = d->backed;
}

void tell_storage_want(struct device *d)
{
        struct wire_message m = {0};

        if (d->dirty)
                tell_memory(d);
        m.WANT = (struct wire_WANT){.need_bytes = d->resident + d->pinned + d->ask_bytes, .ordinal = d->ordinal, .ticket = ++d->ticket};
        send_message(&m, WIRE_WANT, -1);
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
                if (d->pending && d->running)
                        ordered_settle(d);
                return_spare(d);
                if (d->pooled && d->running)
                        cache_limit(d, device_spare(d)); /* frees in stream order have come true since */
                if (d->dirty && !d->evicting && !d->coming && (d->returned || tell_report_due(d)))
                        tell_memory(d);
                if (d->draining && !lane_captures())
                        continue;
                if (wants_now(d)) {
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

/* Pinned memory may end while other memory moves. What is returned counts on that, so it is told first. */
static void tell_if_less_pinned(struct device *d)
{
        if (d->pinned != d->told_pinned)
                tell_memory(d);
}

void tell_evicted(struct device *d, const struct move_progress *progress)
{
        struct wire_message m = {0};

        tell_if_less_pinned(d);
        m.EVICTED = (struct wire_EVICTED){.returned_bytes = progress->returned, .resident_bytes = d->resident, .moved_bytes = d->moved,
                                          .elapsed_ns = d->move_ns, .dropped_bytes = d->dropped,
                                          .unit_bytes = progress->unit_fd >= 0 ? progress->unit_bytes : 0,
                                          .ordinal = d->ordinal, .done = progress->done, .status = progress->status};
        m.EVICTED.unit = progress->unit;
        send_message(&m, WIRE_EVICTED, progress->unit_fd);
}

void tell_unit_back(uint64_t unit)
{
        struct wire_message m = {.UNIT_BACK = {.unit = unit}};

        send_message(&m, WIRE_UNIT_BACK, -1);
}

void tell_brought_in(struct device *d, uint64_t returned, bool done, int status)
{
        struct wire_message m = {0};

        tell_if_less_pinned(d);
        m.BROUGHT_IN = (struct wire_BROUGHT_IN){.resident_bytes = d->resident, .moved_bytes = d->moved, .elapsed_ns = d->move_ns,
                                                .returned_bytes = returned, .ordinal = d->ordinal, .done = done, .status = status};
        send_message(&m, WIRE_BROUGHT_IN, -1);
}

void tell_segment_back(uint32_t segment)
{
        struct wire_message m = {.SEGMENT_BACK = {.segment = segment}};

        send_message(&m, WIRE_SEGMENT_BACK, -1);
}

void tell_recalled(uint64_t bytes)
{
        struct wire_message m = {.RECALLED = {.bytes = bytes}};

        send_message(&m, WIRE_RECALLED, -1);
}

void tell_forked(void)
{
        fd_close_at(&sock);
        fd_close_at(&page_fd);
        sequence = 0;
}
