/* connection.c: reading, writing and ending of one connection; see connection.h. */
#include "gateway/connection.h"

#include "gateway/admit.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#define READS_AT_ONCE 4      /* before others get their turn */
#define FILE_AT_ONCE (256 << 10)
#define FILE_PART (16 << 10) /* of a file through TLS: one record */
#define LINGER_MS 2000
#define OUT_KEPT 2048
#define KEEP_MAX (1 << 20)   /* of input that waits; more is not read */

static void linger_input(struct connection *c, uint8_t *data, size_t length)
{
        if (!length)
                connection_kill(c);
}

/* What still comes is thrown away for a moment: a reset would take the answer with it. */
static const struct connection_user lingering = {.input = linger_input};

static void watch(struct connection *c);

static void mark_dirty(struct connection *c)
{
        if (c->dirty || c->dead)
                return;
        c->dirty = true;
        DL_APPEND2(c->server->dirty, c, dirty_prev, dirty_next);
}

static void on_closed(uv_handle_t *handle)
{
        struct connection *c = handle->data;

        free(c);
}

void connection_kill(struct connection *c)
{
        struct server *server = c->server;

        if (c->dead)
                return;
        c->dead = true;
        if (c->user && c->user->gone)
                c->user->gone(c);
        if (c->dirty)
                DL_DELETE2(server->dirty, c, dirty_prev, dirty_next);
        c->dirty = false;
        DL_DELETE(server->connections, c);
        server->connection_count--;
        admit_forget(c);
        if (c->ssl) {
                ERR_clear_error();
                SSL_free(c->ssl);
        }
        if (c->file >= 0)
                close(c->file);
        free(c->out);
        free(c->in);
        c->out = c->in = NULL;
        c->out_begin = c->out_end = c->in_length = 0;
        uv_poll_stop(&c->poll);
        close(c->fd);
        uv_close((uv_handle_t *)&c->poll, on_closed);
}

/* Bytes; 0: end; -EAGAIN; -EIO: broken. */
static ssize_t receive(struct connection *c, uint8_t *data, size_t size)
{
        ssize_t n;

        if (!c->ssl) {
                do
                        n = recv(c->fd, data, size, 0);
                while (n < 0 && errno == EINTR);
                return n >= 0 ? n : errno == EAGAIN ? -EAGAIN : -EIO;
        }
        ERR_clear_error();
        n = SSL_read(c->ssl, data, (int)size);
        if (n > 0)
                return n;
        switch (SSL_get_error(c->ssl, (int)n)) {
        case SSL_ERROR_WANT_READ:
                return -EAGAIN;
        case SSL_ERROR_WANT_WRITE:
                c->tls_wants_write = true;
                return -EAGAIN;
        case SSL_ERROR_ZERO_RETURN:
                return 0;
        default:
                return -EIO;
        }
}

static ssize_t send_some(struct connection *c, const char *data, size_t length)
{
        ssize_t n;

        if (!c->ssl) {
                do
                        n = send(c->fd, data, length, MSG_NOSIGNAL);
                while (n < 0 && errno == EINTR);
                return n >= 0 ? n : errno == EAGAIN ? -EAGAIN : -EIO;
        }
        ERR_clear_error();
        n = SSL_write(c->ssl, data, length > INT32_MAX ? INT32_MAX : (int)length);
        if (n > 0)
                return n;
        switch (SSL_get_error(c->ssl, (int)n)) {
        case SSL_ERROR_WANT_READ:
        case SSL_ERROR_WANT_WRITE:
                return -EAGAIN;
        default:
                return -EIO;
        }
}

static void take_input(struct connection *c)
{
        struct server *server = c->server;

        for (unsigned i = 0; i < READS_AT_ONCE && !c->dead && !c->paused; i++) {
                ssize_t n = receive(c, server->scratch, SERVER_SCRATCH);

                if (n == -EAGAIN)
                        return;
                if (n < 0) {
                        connection_kill(c);
                        return;
                }
                if (n == 0)
                        c->peer_ended = true;
                server->counters.bytes_in += (uint64_t)n;
                c->moved = server_now(server);
                c->user->input(c, server->scratch, (size_t)n);
                if (n == 0 || (!c->ssl && n < SERVER_SCRATCH))
                        return;
        }
        /* TLS may hold more than the socket shows. */
        if (!c->dead && !c->paused && c->ssl && SSL_has_pending(c->ssl)) {
                c->resume_due = true;
                mark_dirty(c);
        }
}

/* One part of the file into the socket or the buffer. 0, -EAGAIN, -EIO. */
static int push_file(struct connection *c)
{
        size_t part = c->file_left < FILE_AT_ONCE ? (size_t)c->file_left : FILE_AT_ONCE;
        ssize_t n;

        if (!c->ssl) {
                off_t at = (off_t)c->file_at;

                n = sendfile(c->fd, c->file, &at, part);
                if (n < 0)
                        return errno == EAGAIN || errno == EINTR ? -EAGAIN : -EIO;
                c->server->counters.bytes_out += (uint64_t)n;
        } else {
                char data[FILE_PART];

                n = pread(c->file, data, part < sizeof data ? part : sizeof data, (off_t)c->file_at);
                if (n > 0)
                        connection_write(c, data, (size_t)n);
        }
        /* Shorter than promised (cut meanwhile): the length told can't be kept. */
        if (n <= 0 || c->dead)
                return -EIO;
        c->file_at += (uint64_t)n;
        c->file_left -= (uint64_t)n;
        if (!c->file_left) {
                close(c->file);
                c->file = -1;
        }
        return 0;
}

/* Sends what can be sent now. 0: all of it; -EAGAIN; -EIO. */
static int push(struct connection *c, bool *moved)
{
        uint64_t budget = FILE_AT_ONCE;

        for (;;) {
                while (c->out_begin < c->out_end) {
                        ssize_t n = send_some(c, c->out + c->out_begin, c->out_end - c->out_begin);

                        if (n < 0)
                                return (int)n;
                        *moved = true;
                        c->out_begin += (size_t)n;
                        c->server->counters.bytes_out += (uint64_t)n;
                }
                c->out_begin = c->out_end = 0;
                if (c->file < 0)
                        return 0;
                if (!budget)
                        return -EAGAIN;
                uint64_t before = c->file_left;
                int r = push_file(c);

                if (r < 0)
                        return r;
                *moved = true;
                budget -= before - c->file_left < budget ? before - c->file_left : budget;
        }
}

static void end(struct connection *c)
{
        if (c->ssl) {
                ERR_clear_error();
                (void)SSL_shutdown(c->ssl);
        }
        if (c->peer_ended || shutdown(c->fd, SHUT_WR) < 0) {
                connection_kill(c);
                return;
        }
        if (c->user->gone)
                c->user->gone(c);
        c->user = &lingering;
        c->paused = c->held = false;
        connection_deadline(c, LINGER_MS);
}

static void flush(struct connection *c)
{
        bool moved = false, had = c->writing;
        int r;

        if (c->dead || !c->handshaken)
                return;
        r = push(c, &moved);
        if (r < 0 && r != -EAGAIN) {
                connection_kill(c);
                return;
        }
        if (moved)
                c->moved = server_now(c->server);
        if (r == -EAGAIN) {
                c->writing = true;
                if (moved || !c->write_deadline)
                        c->write_deadline = server_now(c->server) + c->server->settings.write_ns / 1000000;
        } else {
                c->writing = false;
                c->write_deadline = 0;
                /* Nothing is held for who waits; but an answer that comes in parts goes on soon. */
                if (!c->request || c->out_size > OUT_KEPT) {
                        free(c->out);
                        c->out = NULL;
                        c->out_size = 0;
                }
                if ((had || moved) && c->user->drained)
                        c->user->drained(c);
                if (!c->dead && c->finishing && c->user != &lingering && !connection_buffered(c) && c->file < 0)
                        end(c);
        }
        if (!c->dead)
                watch(c);
}

static void shake_hands(struct connection *c)
{
        int n;

        ERR_clear_error();
        n = SSL_accept(c->ssl);
        if (n == 1) {
                c->handshaken = true;
                mark_dirty(c);
                return;
        }
        switch (SSL_get_error(c->ssl, n)) {
        case SSL_ERROR_WANT_READ:
                c->tls_wants_write = false;
                break;
        case SSL_ERROR_WANT_WRITE:
                c->tls_wants_write = true;
                break;
        default:
                c->server->counters.tls_failed++;
                connection_kill(c);
        }
}

static void on_event(uv_poll_t *handle, int status, int events)
{
        struct connection *c = handle->data;

        if (c->dead)
                return;
        if (status < 0) {
                connection_kill(c);
                return;
        }
        if (!c->handshaken)
                shake_hands(c);
        c->tls_wants_write = c->tls_wants_write && !c->handshaken;
        /* Only one that sends while it is paused is no longer listened to: most wait for their answer, and cost no change of what is watched. */
        if (!c->dead && c->paused && (events & UV_READABLE))
                c->held = true;
        if (!c->dead && c->handshaken && !c->paused)
                take_input(c);
        if (!c->dead && (events & UV_WRITABLE))
                mark_dirty(c);
        if (!c->dead)
                watch(c);
}

static void watch(struct connection *c)
{
        int events = (c->held ? 0 : UV_READABLE) | (c->writing || c->tls_wants_write ? UV_WRITABLE : 0);

        if (c->peer_ended)
                events &= ~UV_READABLE;
        if (events == c->watched)
                return;
        c->watched = events;
        if (!events)
                uv_poll_stop(&c->poll);
        else if (uv_poll_start(&c->poll, events, on_event) < 0)
                connection_kill(c);
}

struct connection *connection_new(struct server *server, int fd, struct limit_party *network, const char *address)
{
        struct connection *c = calloc(1, sizeof *c);

        if (!c || uv_poll_init(server->loop, &c->poll, fd) < 0) {
                free(c);
                close(fd);
                return NULL;
        }
        c->poll.data = c;
        c->server = server;
        c->fd = fd;
        c->file = -1;
        c->network = network;
        c->stranger = true;
        snprintf(c->address, sizeof c->address, "%s", address);
        network->connections++;
        network->holds++;
        c->handshaken = !server->tls;
        DL_APPEND(server->connections, c);
        server->connection_count++;
        if (server->tls) {
                c->ssl = SSL_new(server->tls);
                if (!c->ssl || SSL_set_fd(c->ssl, fd) != 1) {
                        connection_kill(c);
                        return NULL;
                }
        }
        watch(c);
        return c->dead ? NULL : c;
}

void connection_write(struct connection *c, const void *data, size_t length)
{
        if (c->dead || !length)
                return;
        if (c->out_size - c->out_end < length) {
                size_t held = c->out_end - c->out_begin, size = c->out_size ? c->out_size : 512;
                char *more;

                if (c->out_begin) {
                        memmove(c->out, c->out + c->out_begin, held);
                        c->out_begin = 0;
                        c->out_end = held;
                }
                while (size - held < length)
                        size *= 2;
                if (size != c->out_size) {
                        more = realloc(c->out, size);
                        if (!more) {
                                connection_kill(c);
                                return;
                        }
                        c->out = more;
                        c->out_size = size;
                }
        }
        memcpy(c->out + c->out_end, data, length);
        c->out_end += length;
        mark_dirty(c);
}

void connection_write_file(struct connection *c, int file, uint64_t offset, uint64_t count)
{
        if (c->dead || !count || c->file >= 0) {
                close(file);
                return;
        }
        c->file = file;
        c->file_at = offset;
        c->file_left = count;
        mark_dirty(c);
}

void connection_finish(struct connection *c)
{
        c->finishing = true;
        mark_dirty(c);
}

void connection_pause(struct connection *c, const uint8_t *data, size_t length)
{
        if (c->dead)
                return;
        c->paused = true;
        if (length) {
                char *more = c->in_length + length > KEEP_MAX ? NULL : realloc(c->in, c->in_length + length);

                if (!more) {
                        connection_kill(c);
                        return;
                }
                memcpy(more + c->in_length, data, length);
                c->in = more;
                c->in_length += length;
        }
}

void connection_resume(struct connection *c)
{
        if (c->dead)
                return;
        c->resume_due = true;
        mark_dirty(c);
}

void connection_deadline(struct connection *c, uint64_t ms)
{
        c->deadline = ms ? server_now(c->server) + ms : 0;
}

static void go_on(struct connection *c)
{
        char *in = c->in;
        size_t length = c->in_length;

        c->paused = c->held = false;
        c->in = NULL;
        c->in_length = 0;
        if (length)
                c->user->input(c, (uint8_t *)in, length);
        free(in);
        if (!c->dead && !c->paused && c->ssl)
                take_input(c);
        if (!c->dead)
                watch(c);
}

void connections_flush(struct server *server)
{
        /* What is marked meanwhile has its turn, too, but each only so often: the loop must sleep some time. */
        for (size_t budget = 4 * server->connection_count + 64; server->dirty && budget; budget--) {
                struct connection *c = server->dirty;

                DL_DELETE2(server->dirty, c, dirty_prev, dirty_next);
                c->dirty = false;
                if (c->resume_due) {
                        c->resume_due = false;
                        go_on(c);
                }
                if (!c->dead)
                        flush(c);
        }
}
