/* connection.h: WebSocket connections to pools, and the loop around everything, on libwebsockets.
 *
 * One connection a server, by number, and one for its tunnel (wire/tunnel.h), under TUNNEL_OF(number): binary messages there. Text frames of up to MESSAGE_BYTES come in whole; what is to be sent waits in a bounded buffer. TLS: the
 * system's certificates, a file of them, or one certificate by its fingerprint; the key is sent only after that held. Anything else that has a
 * descriptor (runners, signals) comes in over one epoll descriptor; one timer is the agent's.
 */
#pragma once

#include "worker/agent.h"

#define TUNNEL_OF(server) ((server) + AGENT_SERVERS)
#define CONNECTIONS (2 * AGENT_SERVERS)

struct connections;

struct connections_options {
        const char *token, *pin, *ca;
        int epoll;
        void (*opened)(void *context, uint32_t server);
        void (*closed)(void *context, uint32_t server, const char *why, uint64_t retry_after_ms);
        void (*received)(void *context, uint32_t server, const char *text, size_t bytes);
        void (*writable)(void *context, uint32_t server);
        void (*event)(void *context, uint64_t number); /* of epoll: data.u64 */
        uint64_t (*tick)(void *context);               /* milliseconds until the next; UINT64_MAX: none */
        void *context;
};

must_check int connections_open(const struct connections_options *options, struct connections **ret);
void connections_close(struct connections *c);
SCOPED_FN(struct connections *, connections_close)
/* Begins; `opened` or `closed` follow. -EINVAL: no such address. */
must_check int connections_begin(struct connections *c, uint32_t server, const char *url);
/* The server's tunnel; credential: as its welcome told it. */
must_check int connections_begin_tunnel(struct connections *c, uint32_t server, const char *url, const char *credential);
/* Without a call of `closed`. */
void connections_end(struct connections *c, uint32_t server);
/* -EAGAIN: its buffer is full; `writable` will be called. -ENOTCONN. */
must_check int connections_send(struct connections *c, uint32_t server, const char *text, size_t bytes);
/* Less than so many bytes wait to be sent there; if not, `writable` will be called. */
bool connections_has_room(struct connections *c, uint32_t server, size_t most);
/* Bytes that wait to be sent, to all. */
size_t connections_waiting(const struct connections *c);
/* One turn of the loop: waits for something, handles it. 0, or -EIO: the loop is broken. */
must_check int connections_turn(struct connections *c);
/* Calls tick soon. */
void connections_hurry(struct connections *c);
