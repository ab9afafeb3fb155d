/* remote.c: starts, asks, checks, ends and restarts the sensor process; see observe.h and child.h.
 *
 * Nothing here blocks but remote_open, which has its bound, and remote_free, for at most a second. There is at most one
 * sensor process: one that the kernel can't end yet (a driver call that no signal interrupts) holds up its successor
 * and nothing else. Every number that comes from it is checked before use. After a restart devices are recognised by
 * kind and uuid; one that has gone has samples without valid fields.
 */
#include "observe/remote.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"
#include "observe/child.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* A restarted process may have to wake the devices first. */
#define LIST_NS (10 * NS_PER_S)
#define SAMPLE_NS (5 * NS_PER_S)
#define RETRY_FIRST_NS NS_PER_S
#define RETRY_MOST_NS (60 * NS_PER_S)
#define NOWHERE UINT32_MAX

extern char **environ;

struct remote {
        char numbers[4][24], *nvml;
        int epoll, socket;
        bool first;                     /* the first list, which makes devices */
        pid_t pid;                      /* 0: none; also one that was killed and not reaped yet: then socket is -1 */
        uint32_t sequence, asked, next; /* asked: enum child_kind, 0: nothing; next: the reply that comes next */
        uint64_t asked_ns, retry_ns, backoff_ns;
        size_t count, child_count;           /* child_count 0: not listed since it was started */
        uint32_t place[OBSERVE_MAX_DEVICES]; /* the child's index to ours */
        struct observe_device devices[OBSERVE_MAX_DEVICES];
        struct child_reply reply;
        struct observe_sample pending[OBSERVE_MAX_DEVICES];
        char why[256];
};

/* --- the process --- */

/* posix_spawn: the daemon has threads, and a copy of its page tables would be for nothing. */
static int spawn(struct remote *m)
{
        char name[] = "berthd: sensor", option[] = OBSERVE_CHILD_OPTION;
        char *argv[] = {name, option, m->numbers[0], m->numbers[1], m->numbers[2], m->numbers[3], m->nvml, NULL};
        struct epoll_event event = {.events = EPOLLIN};
        posix_spawn_file_actions_t actions;
        scoped_fd int ours = -1;
        scoped_fd int theirs = -1;
        int pair[2], r;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        ours = pair[0];
        theirs = pair[1];
        /* Only our end: the process may wait for room in the socket. */
        if (fcntl(ours, F_SETFL, O_NONBLOCK) < 0 || epoll_ctl(m->epoll, EPOLL_CTL_ADD, ours, &event) < 0)
                return -errno;
        r = posix_spawn_file_actions_init(&actions);
        if (r != 0)
                return -r;
        r = posix_spawn_file_actions_adddup2(&actions, theirs, CHILD_FD);
        if (r == 0)
                r = posix_spawn_file_actions_addclosefrom_np(&actions, CHILD_FD + 1);
        if (r == 0)
                r = posix_spawn(&m->pid, "/proc/self/exe", &actions, NULL, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
        if (r != 0) {
                m->pid = 0;
                return -r;
        }
        m->socket = take_fd(ours);
        m->child_count = 0;
        m->asked = 0;
        return 0;
}

static bool reap(struct remote *m)
{
        if (m->pid && waitpid(m->pid, NULL, WNOHANG) != 0)
                m->pid = 0;
        return m->pid == 0;
}

static void end(struct remote *m, uint64_t now)
{
        m->asked = 0;
        fd_close_at(&m->socket);
        if (m->pid)
                kill(m->pid, SIGKILL);
        (void)reap(m);
        m->backoff_ns = m->backoff_ns ? m->backoff_ns * 2 : RETRY_FIRST_NS;
        if (m->backoff_ns > RETRY_MOST_NS)
                m->backoff_ns = RETRY_MOST_NS;
        m->retry_ns = now + m->backoff_ns;
}

static enum observe_news lost(struct remote *m, uint64_t now, const char *why)
{
        snprintf(m->why, sizeof m->why, "%s", why);
        end(m, now);
        return OBSERVE_LOST;
}

/* --- asking --- */

static bool request(struct remote *m, enum child_kind kind, uint64_t now)
{
        struct child_request q = {.magic = CHILD_MAGIC, .kind = kind, .sequence = ++m->sequence};

        m->asked = kind;
        m->asked_ns = now;
        m->next = 0;
        /* A dead process shows at the next read; a full socket is impossible with one request under way. */
        return send(m->socket, &q, sizeof q, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof q;
}

bool remote_ask(struct remote *m, uint64_t now)
{
        if (m->asked) /* remote_take watches the time */
                return false;
        if (m->socket >= 0)
                return request(m, m->child_count ? CHILD_SAMPLE : CHILD_LIST, now);
        if (!reap(m) || now < m->retry_ns)
                return false;
        if (spawn(m) < 0) {
                end(m, now);
                return false;
        }
        (void)request(m, CHILD_LIST, now);
        return false;
}

/* --- answers --- */

static bool device_check(const struct child_device *d)
{
        return d->kind < WIRE_DEVICE_KIND_N && d->shareable <= 1 && text_is_clean(d->name, sizeof d->name) &&
               (!d->shareable || (d->total_bytes && (d->kind == WIRE_CUDA || d->kind == WIRE_SOFTWARE)));
}

static bool sample_check(const struct child_sample *s)
{
        const uint32_t known =
                WIRE_VALID_USED | WIRE_VALID_UTILISATION | WIRE_VALID_POWER | WIRE_VALID_TEMPERATURE | WIRE_VALID_TOTAL | WIRE_VALID_CLOCK |
                WIRE_VALID_MEMORY_CLOCK | WIRE_VALID_THROTTLE | WIRE_VALID_ECC | WIRE_VALID_XID | WIRE_VALID_MEMORY_BUSY | WIRE_VALID_POWER_LIMIT;

        return !(s->valid & ~known) && s->utilisation_permille <= 1000 && s->extra.memory_busy_permille <= 1000 && s->processes_valid <= 1 &&
               s->process_count <= OBSERVE_MAX_PROCESSES;
}

static bool reply_check(const struct remote *m, const struct child_reply *r)
{
        if (r->magic != CHILD_MAGIC || r->kind != m->asked || r->sequence != m->sequence)
                return false;
        if (r->result < 0)
                return m->asked == CHILD_LIST && m->next == 0 && text_is_clean(r->text, sizeof r->text);
        if (r->result != 0 || r->index != m->next || r->index >= r->count || r->count > OBSERVE_MAX_DEVICES)
                return false;
        if (m->asked == CHILD_LIST)
                return (m->next == 0 || r->count == m->child_count) && device_check(&r->device);
        return r->count == m->child_count && sample_check(&r->sample);
}

static struct observe_device device_of(const struct child_device *d)
{
        struct observe_device o = {.kind = d->kind, .total_bytes = d->total_bytes, .shareable = d->shareable == 1};

        memcpy(o.uuid, d->uuid, sizeof o.uuid);
        memcpy(o.name, d->name, sizeof o.name);
        return o;
}

static uint32_t place_of(const struct remote *m, const struct child_device *d)
{
        for (uint32_t i = 0; i < m->count; i++)
                if (m->devices[i].kind == d->kind && !memcmp(m->devices[i].uuid, d->uuid, sizeof d->uuid))
                        return i;
        return NOWHERE;
}

/* What is not valid is 0, whatever came. */
static struct observe_extra extra_of(uint32_t valid, const struct observe_extra *e)
{
        return (struct observe_extra){
                .ecc_corrected = valid & WIRE_VALID_ECC ? e->ecc_corrected : 0,
                .ecc_uncorrected = valid & WIRE_VALID_ECC ? e->ecc_uncorrected : 0,
                .xids = valid & WIRE_VALID_XID ? e->xids : 0,
                .last_xid = valid & WIRE_VALID_XID ? e->last_xid : 0,
                .clock_mhz = valid & WIRE_VALID_CLOCK ? e->clock_mhz : 0,
                .memory_clock_mhz = valid & WIRE_VALID_MEMORY_CLOCK ? e->memory_clock_mhz : 0,
                .throttle = valid & WIRE_VALID_THROTTLE ? e->throttle : 0,
                .memory_busy_permille = valid & WIRE_VALID_MEMORY_BUSY ? e->memory_busy_permille : 0,
                .power_limit_mw = valid & WIRE_VALID_POWER_LIMIT ? e->power_limit_mw : 0,
        };
}

static void take_sample(struct observe_sample *to, const struct child_sample *s)
{
        to->valid = s->valid;
        to->total_bytes = s->valid & WIRE_VALID_TOTAL ? s->total_bytes : 0;
        to->used_bytes = s->valid & WIRE_VALID_USED ? s->used_bytes : 0;
        to->power_mw = s->valid & WIRE_VALID_POWER ? s->power_mw : 0;
        to->utilisation_permille = s->valid & WIRE_VALID_UTILISATION ? s->utilisation_permille : 0;
        to->temperature_c = s->valid & WIRE_VALID_TEMPERATURE ? s->temperature_c : 0;
        to->extra = extra_of(s->valid, &s->extra);
        to->processes_valid = s->processes_valid == 1;
        to->process_count = to->processes_valid ? s->process_count : 0;
        for (uint32_t i = 0; i < to->process_count; i++)
                to->processes[i] =
                        (struct observe_process){.pid = s->processes[i].pid, .used_bytes = s->processes[i].used_bytes};
}

/* One checked reply; true when it was the last. */
static bool accept_reply(struct remote *m, const struct child_reply *r)
{
        if (m->next == 0 && m->asked == CHILD_SAMPLE)
                for (size_t i = 0; i < m->count; i++)
                        memset(&m->pending[i], 0, offsetof(struct observe_sample, processes));
        if (m->asked == CHILD_SAMPLE) {
                if (m->place[m->next] != NOWHERE)
                        take_sample(&m->pending[m->place[m->next]], &r->sample);
        } else {
                m->child_count = r->count;
                m->place[m->next] = place_of(m, &r->device);
                if (m->first) {
                        m->place[m->next] = m->next;
                        m->devices[m->count++] = device_of(&r->device);
                }
        }
        return ++m->next == r->count;
}

enum observe_news remote_take(struct remote *m, uint64_t now, struct observe_sample *samples)
{
        while (m->socket >= 0) {
                ssize_t n = recv(m->socket, &m->reply, sizeof m->reply, MSG_DONTWAIT | MSG_TRUNC);
                uint32_t asked = m->asked;

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        break;
                if (n <= 0)
                        return lost(m, now, "the sensor process ended");
                if (n != (ssize_t)sizeof m->reply || !asked || !reply_check(m, &m->reply))
                        return lost(m, now, "the sensor process gave a malformed answer");
                if (m->reply.result < 0)
                        return lost(m, now, m->reply.text);
                if (!accept_reply(m, &m->reply))
                        continue;
                m->asked = 0;
                m->first = false;
                if (asked == CHILD_LIST)
                        return OBSERVE_LISTED;
                m->backoff_ns = 0;
                memcpy(samples, m->pending, m->count * sizeof *samples);
                return OBSERVE_SAMPLED;
        }
        if (m->asked && now - m->asked_ns >= (m->asked == CHILD_LIST ? LIST_NS : SAMPLE_NS))
                return lost(m, now, "the device driver does not answer");
        return OBSERVE_NOTHING;
}

/* --- life --- */

static int wait_list(struct remote *m, uint64_t patience_ns, char message[256])
{
        uint64_t began = clock_now_ns(), now = began;
        enum observe_news news;

        do {
                struct pollfd readable = {.fd = m->epoll, .events = POLLIN};

                if (now - began >= patience_ns) {
                        snprintf(message, 256,
                                 "the device driver did not answer within %" PRIu64 " s; the devices can't be listed",
                                 patience_ns / NS_PER_S);
                        return -ETIMEDOUT;
                }
                (void)poll(&readable, 1, (int)((patience_ns - (now - began) + NS_PER_MS - 1) / NS_PER_MS));
                now = clock_now_ns();
                /* The time it was asked at never runs out here: patience is the bound. */
                m->asked_ns = now;
                news = remote_take(m, now, NULL);
        } while (news == OBSERVE_NOTHING);
        if (news == OBSERVE_LISTED)
                return 0;
        snprintf(message, 256, "%.220s%s", m->why, m->reply.result < 0 ? "" : " before it listed the devices");
        return -E_UNAVAILABLE;
}

int remote_open(const struct observe_options *options, uint64_t patience_ns, struct remote **ret,
                struct observe_device devices[OBSERVE_MAX_DEVICES], size_t *ret_count, char message[256])
{
        scoped(remote_free) struct remote *m = calloc(1, sizeof *m);
        const uint64_t numbers[] = {options->choice, options->software_devices, options->software_memory,
                                    options->software_link};
        int r;

        if (!m)
                return -ENOMEM;
        m->socket = -1;
        m->first = true;
        for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
                snprintf(m->numbers[i], sizeof m->numbers[i], "%" PRIu64, numbers[i]);
        m->epoll = epoll_create1(EPOLL_CLOEXEC);
        m->nvml = strdup(options->nvml ? options->nvml : "");
        if (m->epoll < 0 || !m->nvml)
                return m->epoll < 0 ? -errno : -ENOMEM;
        r = spawn(m);
        if (r < 0) {
                snprintf(message, 256, "the sensor process can't be started: %s", error_text(r));
                return r;
        }
        (void)request(m, CHILD_LIST, clock_now_ns());
        r = wait_list(m, patience_ns, message);
        if (r < 0)
                return r;
        memcpy(devices, m->devices, m->count * sizeof *devices);
        *ret_count = m->count;
        *ret = take(m);
        return 0;
}

void remote_free(struct remote *m)
{
        if (!m)
                return;
        end(m, 0);
        if (m->pid) {
                /* The kernel takes a moment; who hangs in a driver longer than a second is left to init. */
                scoped_fd int process = (int)syscall(SYS_pidfd_open, m->pid, 0);
                struct pollfd ended = {.fd = process, .events = POLLIN};

                if (process >= 0)
                        (void)poll(&ended, 1, 1000);
                (void)reap(m);
        }
        fd_close_at(&m->epoll);
        free(m->nvml);
        free(m);
}

int remote_fd(const struct remote *m)
{
        return m->epoll;
}

pid_t remote_pid(const struct remote *m)
{
        return m->pid;
}

const char *remote_why(const struct remote *m)
{
        return m->why;
}
