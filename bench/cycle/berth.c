/* berth.c: a pool of Berth as a queue of cycle.h: POST /api/v1/tasks from producers, the WebSocket /worker/v1 for takers.
 *
 * The address is HOST:PORT,SUBMIT-KEY,WORKER-KEY. Answers are looked through for the few words that matter, as a lean client would.
 */
#include "bench/cycle/cycle.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct side {
        char key[256];
        char task[64], nonce[32];
        char lease[65536]; /* one that came with the acknowledgement of the one before */
        bool has_lease;
        char message[65536];
};

static void split(const char *address, char where[128], char keys[2][256])
{
        if (sscanf(address, "%127[^,],%255[^,],%255s", where, keys[0], keys[1]) != 3)
                fail("berth: the address is HOST:PORT,SUBMIT-KEY,WORKER-KEY");
}

/* Reads an answer's head; its Content-Length, or -1. */
static long head(struct actor *a, int *ret_status)
{
        char line[1024];
        long length = -1;

        if (!receive_line(a, line, sizeof line) || sscanf(line, "HTTP/1.1 %d", ret_status) != 1)
                fail("berth: no HTTP: %s", line);
        while (receive_line(a, line, sizeof line) && line[0])
                if (!strncasecmp(line, "content-length:", 15))
                        length = strtol(line + 15, NULL, 10);
        return length;
}

/* ---- frames: RFC 6455, one text frame a message; the mask is zero, which costs the server as much ------------------ */

static void frame_send(struct actor *a, const char *text, size_t n)
{
        char frame[8192];
        size_t at = 2;

        if (n + 16 > sizeof frame)
                fail("berth: message too long");
        frame[0] = (char)0x81;
        if (n < 126) {
                frame[1] = (char)(0x80 | n);
        } else {
                uint16_t big = htobe16((uint16_t)n);

                frame[1] = (char)(0x80 | 126);
                memcpy(frame + 2, &big, 2);
                at = 4;
        }
        memset(frame + at, 0, 4);
        memcpy(frame + at + 4, text, n);
        send_all(a, frame, at + 4 + n);
}

static bool frame_receive(struct actor *a)
{
        struct side *s = a->own;
        unsigned char start[2];

        for (;;) {
                uint64_t n;

                if (!receive_exactly(a, start, 2))
                        return false;
                n = start[1] & 127;
                if (n == 126) {
                        uint16_t big;

                        if (!receive_exactly(a, &big, 2))
                                return false;
                        n = be16toh(big);
                } else if (n == 127) {
                        uint64_t big;

                        if (!receive_exactly(a, &big, 8))
                                return false;
                        n = be64toh(big);
                }
                if (n >= sizeof s->message)
                        fail("berth: a message of %llu bytes", (unsigned long long)n);
                if (!receive_exactly(a, s->message, n))
                        return false;
                s->message[n] = '\0';
                if ((start[0] & 15) == 9) { /* ping */
                        char pong[6 + 125];

                        pong[0] = (char)0x8a, pong[1] = (char)(0x80 | n);
                        memset(pong + 2, 0, 4);
                        memcpy(pong + 6, s->message, n);
                        send_all(a, pong, 6 + n);
                        continue;
                }
                if ((start[0] & 15) == 8) {
                        if (stopping)
                                return false;
                        fail("berth: the pool closed the connection: %s", n > 2 ? s->message + 2 : "");
                }
                return true;
        }
}

static bool is(const char *message, const char *kind)
{
        char m[32];
        const char *at = strstr(message, "\"m\"");

        return at && sscanf(at + 3, " : \"%31[a-z]", m) == 1 && !strcmp(m, kind);
}

static void member(const char *message, const char *name, char *to, size_t size)
{
        const char *at = strstr(message, name);
        size_t n = 0;

        if (!at)
                fail("berth: no %s in %s", name, message);
        at += strlen(name);
        at += strspn(at, ": \"");
        while (at[n] && at[n] != '"' && n + 1 < size)
                n++;
        memcpy(to, at, n);
        to[n] = '\0';
}

static void pool_open(struct actor *a)
{
        struct side *s = a->own = calloc(1, sizeof *s);
        char where[128], keys[2][256], text[1024];
        int status, n;

        split(a->address, where, keys);
        snprintf(s->key, sizeof s->key, "%s", keys[a->taker]);
        a->fd = dial(where);
        if (!a->taker)
                return;
        n = snprintf(text, sizeof text,
                     "GET /worker/v1 HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: berth.worker.v1\r\nAuthorization: Bearer %s\r\n\r\n",
                     where, s->key);
        send_all(a, text, (size_t)n);
        head(a, &status);
        if (status != 101)
                fail("berth: /worker/v1 answers %d", status);
        n = snprintf(text, sizeof text,
                     "{\"m\":\"hello\",\"protocol\":1,\"instance\":\"b%llu\",\"name\":\"bench-%llu\",\"slots\":1,\"types\":[\"bench\"],\"devices\":[],\"version\":\"1\"}",
                     (unsigned long long)a->number, (unsigned long long)a->number);
        frame_send(a, text, (size_t)n);
        do {
                if (!frame_receive(a))
                        fail("berth: no welcome");
        } while (!is(s->message, "welcome"));
        frame_send(a, "{\"m\":\"ready\",\"slots\":1}", 23);
}

static void pool_put(struct actor *a, const char body[BODY])
{
        const struct side *s = a->own;
        char json[BODY + 128], text[2048], sink[4096];
        int n = snprintf(json, sizeof json, "{\"type\":\"bench\",\"wait_for_workers\":true,\"payload\":{\"b\":\"%.*s\"}}", BODY, body), status;
        long length;

        n = snprintf(text, sizeof text, "POST /api/v1/tasks HTTP/1.1\r\nHost: pool\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", s->key, n,
                     json);
        send_all(a, text, (size_t)n);
        length = head(a, &status);
        if (length < 0 || length >= (long)sizeof sink)
                fail("berth: an answer of %ld bytes", length);
        if (!receive_exactly(a, sink, (size_t)length))
                fail("berth: the answer broke off");
        sink[length] = '\0';
        if (status / 100 != 2)
                fail("berth: submission answers %d: %s", status, sink);
}

static bool pool_take(struct actor *a, char body[BODY])
{
        struct side *s = a->own;
        const char *at;

        while (!s->has_lease) {
                if (!frame_receive(a))
                        return false;
                if (is(s->message, "lease")) {
                        memcpy(s->lease, s->message, sizeof s->lease);
                        s->has_lease = true;
                } else if (is(s->message, "error") || is(s->message, "stale")) {
                        fail("berth: %s", s->message);
                }
        }
        s->has_lease = false;
        member(s->lease, "\"task\"", s->task, sizeof s->task);
        member(s->lease, "\"nonce\"", s->nonce, sizeof s->nonce);
        at = strstr(s->lease, "\"b\"");
        if (!at || strlen(at) < BODY + 5)
                fail("berth: a lease without the body: %s", s->lease);
        at += 3;
        at += strspn(at, ": \"");
        memcpy(body, at, BODY);
        return true;
}

static void pool_done(struct actor *a)
{
        struct side *s = a->own;
        char text[512];
        int n = snprintf(text, sizeof text, "{\"m\":\"result\",\"task\":\"%s\",\"nonce\":\"%s\",\"result\":1,\"ready\":true}", s->task, s->nonce);

        frame_send(a, text, (size_t)n);
        for (;;) {
                if (!frame_receive(a)) {
                        if (stopping)
                                return;
                        fail("berth: no acknowledgement");
                }
                if (is(s->message, "lease")) {
                        memcpy(s->lease, s->message, sizeof s->lease);
                        s->has_lease = true;
                } else if (is(s->message, "ack")) {
                        return;
                } else if (is(s->message, "error") || is(s->message, "stale")) {
                        fail("berth: %s", s->message);
                }
        }
}

static void pool_close(struct actor *a)
{
        free(a->own);
        close(a->fd);
}

const struct queue queue_berth = {"berth", pool_open, pool_put, pool_take, pool_done, pool_close};
