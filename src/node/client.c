/* client.c: one connection; see node.h.
 *
 * A datagram comes in, passes wire_check, then the order of the conversation (HELLO first, only what the role may send), then goes to program.c or
 * control.c. Nothing a peer does can make this grow without bound: messages are paced by time, the send queue is bounded, and what
 * is malformed ends the connection. The connection itself is only ended by node_turn.
 */
#define LOG_ROOM "node"
#include "node/node.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "node/places.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* A quiet connection may save up this much time for a burst. */
#define BURST_NS NS_PER_S

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct client *c)
{
        int events = UV_DISCONNECT;

        if (!c->poll || c->doomed)
                return;
        if (!c->paused)
                events |= UV_READABLE;
        if (c->queue)
                events |= UV_WRITABLE;
        if (uv_poll_start(c->poll, events, on_poll) < 0)
                client_drop(c, "its socket can't be watched");
}

struct client *client_new(struct node *node, int fd, const struct client_peer *peer, bool poll)
{
        struct client *c = calloc(1, sizeof *c);
        uv_poll_t *handle = poll ? calloc(1, sizeof *handle) : NULL;

        if (!c || (poll && (!handle || uv_poll_init(node->loop, handle, fd) < 0))) {
                free(c);
                free(handle);
                close(fd);
                if (peer->pidfd >= 0)
                        close(peer->pidfd);
                return NULL;
        }
        c->node = node;
        c->poll = handle;
        c->fd = fd;
        c->pidfd = peer->pidfd;
        c->pid = peer->pid;
        c->uid = peer->uid;
        c->number = ++node->last_client;
        c->owner = ++node->last_owner;
        c->came_ns = c->refilled_ns = clock_now_ns();
        c->tokens_ns = BURST_NS;
        c->version = WIRE_VERSION_MAX;
        c->host_places = PLACES_UNBOUNDED;
        c->queue_end = &c->queue;
        c->next = node->clients;
        c->at = &node->clients;
        if (c->next)
                c->next->at = &c->next;
        node->clients = c;
        node->clients_n++;
        if (handle) {
                handle->data = c;
                watch(c);
        }
        return c;
}

static void close_poll(uv_handle_t *handle)
{
        free(handle);
}

void client_free_queue(struct client *c)
{
        while (c->queue) {
                struct queued *q = c->queue;

                c->queue = q->next;
                fd_close_at(&q->fd);
                free(q);
        }
        c->queue_end = &c->queue;
        c->queued = 0;
}

void client_end(struct client *c)
{
        *c->at = c->next;
        if (c->next)
                c->next->at = c->at;
        c->node->clients_n--;
        program_gone(c);
        run_free(c);
        hand_gone(c);
        lend_gone(c);
        client_free_queue(c);
        if (c->poll) {
                uv_poll_stop(c->poll);
                uv_close((uv_handle_t *)c->poll, close_poll);
        }
        close(c->fd);
        fd_close_at(&c->pidfd);
        free(c);
}

void client_drop(struct client *c, const char *why)
{
        if (c->doomed)
                return;
        c->doomed = true;
        if (why)
                log_warning("client=%u pid=%d uid=%u dropped: %s", c->number, (int)c->pid, (unsigned int)c->uid, why);
}

/* True: taken. False: the socket is full. */
static bool send_now(struct client *c, const void *data, size_t bytes, int fd)
{
        int r = fd_send(c->fd, data, bytes, fd, MSG_DONTWAIT);

        if (r == -EAGAIN || r == -EWOULDBLOCK || r == -ENOBUFS)
                return false;
        if (r == -ETOOMANYREFS)
                client_drop(c, "too many descriptors are on their way to it");
        else if (r < 0)
                client_drop(c, NULL); /* it is gone; reading would tell the same */
        return true;
}

static void flush(struct client *c)
{
        while (c->queue && !c->doomed) {
                struct queued *q = c->queue;

                if (!send_now(c, q->data, q->bytes, q->fd))
                        return;
                c->queue = q->next;
                if (!c->queue)
                        c->queue_end = &c->queue;
                c->queued--;
                fd_close_at(&q->fd);
                free(q);
        }
}

void client_send(struct client *c, enum wire_type type, struct wire_message *message, int fd)
{
        size_t bytes = wire_seal(message, type, c->version, ++c->sequence);
        struct queued *q;

        if (c->doomed || (!c->queue && send_now(c, message, bytes, fd)))
                return;
        if (c->queued >= NODE_MAX_QUEUE) {
                client_drop(c, "does not read its messages");
                return;
        }
        q = calloc(1, sizeof *q + bytes);
        if (!q) {
                client_drop(c, "out of memory");
                return;
        }
        q->fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
        if (fd >= 0 && q->fd < 0) {
                free(q);
                client_drop(c, "out of descriptors");
                return;
        }
        q->bytes = bytes;
        memcpy(q->data, message, bytes);
        *c->queue_end = q;
        c->queue_end = &q->next;
        c->queued++;
        watch(c);
}

void client_error(struct client *c, int code, uint32_t about, uint32_t sequence, uint32_t ordinal, const char *format, ...)
{
        struct wire_message m = {.ERROR = {.code = code, .about = about, .sequence = sequence, .ordinal = ordinal}};
        char text[sizeof m.ERROR.text];
        va_list args;

        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        text_copy_clean(m.ERROR.text, sizeof m.ERROR.text, text);
        client_send(c, WIRE_ERROR, &m, -1);
}

void client_fault(struct client *c, const struct wire_header *about, uint32_t ordinal, const char *what)
{
        c->node->refused++;
        client_error(c, -E_MESSAGE, about->type, about->sequence, ordinal, "%s: %s", wire_name(about->type), what);
        log_warning("client=%u pid=%d %s: %s", c->number, (int)c->pid, wire_name(about->type), what);
        if (++c->faults >= NODE_MAX_FAULTS)
                client_drop(c, "too many messages out of turn");
}

static uint32_t minimum(uint32_t a, uint32_t b)
{
        return a < b ? a : b;
}

static void hello(struct client *c, const struct wire_message *m)
{
        const struct wire_HELLO *h = &m->HELLO;
        struct node *n = c->node;
        struct wire_message answer = {0};

        if (h->version_min > h->version_max || h->version_min > WIRE_VERSION_MAX || h->version_max < WIRE_VERSION_MIN) {
                n->refused++;
                client_error(c, -E_VERSION, WIRE_HELLO, m->header.sequence, UINT32_MAX,
                             "this daemon (berthd " BERTH_VERSION ") speaks protocol versions %d to %d, the program %u to %u; "
                             "install the same release of both",
                             WIRE_VERSION_MIN, WIRE_VERSION_MAX, h->version_min, h->version_max);
                client_drop(c, "no protocol version in common");
                return;
        }
        c->version = (uint16_t)minimum(h->version_max, WIRE_VERSION_MAX);
        c->greeted = true;
        c->role = h->role;
        c->priority = h->priority;
        c->resumes = h->resumes;
        c->need = h->need_bytes;
        c->limit_bytes = h->limit_bytes;
        c->soft_bytes = h->soft_bytes;
        c->soft_permille = h->soft_permille;
        c->run = h->run;
        c->limit_permille = h->limit_permille;
        text_copy_clean(c->job_name, sizeof c->job_name, h->job);
        text_copy_clean(c->name, sizeof c->name, h->name);
        if (c->role == WIRE_PROGRAM) {
                c->job = node_job(n, c->uid, c->job_name);
                limits_job(n, c->job, h->job_limit_bytes, h->job_limit_permille);
                lend_greeted(c);
                sensor_apply(n->sensor); /* it is no stranger any more */
                log_info("client=%u pid=%d uid=%u name=\"%s\" %s", c->number, (int)c->pid, (unsigned int)c->uid, c->name,
                         c->resumes ? "is back" : "came");
        }
        answer.WELCOME = (struct wire_WELCOME){
                .unit_bytes = n->unit,
                .segment_bytes = n->segment,
                .version = c->version,
                .client = c->number,
                .clean = n->settings.clean,
                .neighbours = n->settings.neighbours,
                .return_ms = (uint32_t)(n->settings.return_after / NS_PER_MS),
        };
        client_send(c, WIRE_WELCOME, &answer, -1);
}

static bool for_programs(uint32_t type)
{
        return type < WIRE_STATUS_ASK;
}

void client_datagram(struct client *c, const void *data, size_t bytes, int fd)
{
        scoped_fd int own = fd;
        struct wire_message m = {0};
        const char *what = "";
        int r;

        if (c->doomed)
                return;
        c->node->messages++;
        /* A datagram cut by the buffer is too long for any message: its size alone gives it away. */
        r = bytes > sizeof m ? -E_MESSAGE : wire_check(data, bytes, TO_DAEMON, c->version, &what);
        if (bytes > sizeof m)
                what = "longer than any message";
        if (r == 0)
                memcpy(&m, data, bytes);
        if (r == 0 && !c->greeted && m.header.type != WIRE_HELLO) {
                r = -E_MESSAGE;
                what = "HELLO must come first";
        } else if (r == 0 && c->greeted && m.header.type == WIRE_HELLO) {
                r = -E_MESSAGE;
                what = "a second HELLO";
        }
        if (r < 0) {
                c->node->refused++;
                client_error(c, r, 0, 0, UINT32_MAX, "message refused: %s; the connection ends", what);
                client_drop(c, what);
                return;
        }
        if (m.header.type == WIRE_HELLO) {
                hello(c, &m);
        } else if (m.header.type == WIRE_ERROR) {
                log_warning("client=%u pid=%d says: %s (%s)", c->number, (int)c->pid, m.ERROR.text, error_name(m.ERROR.code));
        } else if (for_programs(m.header.type) != (c->role == WIRE_PROGRAM)) {
                client_fault(c, &m.header, UINT32_MAX, "not for this kind of connection");
        } else if (c->role == WIRE_PROGRAM) {
                program_message(c, &m, own);
        } else {
                control_message(c, &m);
        }
}

/* Each message costs 1 s / limits.messages_per_second of a budget that grows with time. */
static bool spend(struct client *c, uint64_t now)
{
        uint64_t cost = NS_PER_S / c->node->settings.messages_per_second;

        c->tokens_ns += now - c->refilled_ns;
        c->refilled_ns = now;
        if (c->tokens_ns > BURST_NS)
                c->tokens_ns = BURST_NS;
        if (c->tokens_ns < cost)
                return false;
        c->tokens_ns -= cost;
        return true;
}

bool client_unpause(struct client *c, uint64_t now)
{
        /* A hundredth of a second's worth, so that reading goes on in steps and not message by message. */
        if (c->tokens_ns + (now - c->refilled_ns) < NS_PER_S / 100)
                return false;
        c->paused = false;
        watch(c);
        return true;
}

static void receive(struct client *c)
{
        struct wire_message m;

        for (int i = 0; i < NODE_ROUND && !c->doomed; i++) {
                ssize_t n;
                int fd;

                if (!spend(c, clock_now_ns())) {
                        c->paused = true;
                        watch(c);
                        node_pace(c->node);
                        return;
                }
                n = fd_receive(c->fd, &m, sizeof m, MSG_DONTWAIT, &fd);
                if (n == -EAGAIN)
                        return;
                if (n <= 0) {
                        if (n == 0)
                                fd_close_at(&fd);
                        client_drop(c, NULL);
                        return;
                }
                client_datagram(c, &m, (size_t)n, fd);
        }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
        struct client *c = poll->data;
        struct node *n = c->node;

        if (status < 0)
                client_drop(c, NULL);
        if (events & UV_WRITABLE) {
                flush(c);
                watch(c);
        }
        if (!c->paused && events & (UV_READABLE | UV_DISCONNECT))
                receive(c);
        else if (events & UV_DISCONNECT)
                client_drop(c, NULL); /* what it still sent, while paused, came too fast anyway */
        node_turn(n);
}
