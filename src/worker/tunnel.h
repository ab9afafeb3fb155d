/* tunnel.h: the worker's side of its tunnels: a pool's requests handed to the engines of this machine, their answers sent back as they come (wire/tunnel.h). Not blocking.
 *
 * Requests go out by libcurl's multi interface, as looks at health do: it keeps connections, checks certificates, and knows HTTP. Where they go and with which key is the catalogue's; the pool names
 * a model and a path below /v1/ only. Memory: a window of a request's body for each stream, and of what is to be sent a bound for each tunnel: above it engines are not read.
 *
 * An engine works on `parallel` of them at once, whichever servers they come from (places.h).
 */
#pragma once

#include "base/scope.h"
#include "engine/catalogue.h"

#include <stdbool.h>
#include <stdint.h>

struct tunnels;

/* An engine as requests need it. Borrowed. */
struct tunnel_target {
        uint32_t number;       /* the same as long as it is the same program; below CATALOGUE_ENTRIES */
        uint32_t parallel;
        const char *url, *key; /* key: "": none */
        const char *ca;        /* file of certificates that may have signed its own; "": the system's */
};

struct tunnels_options {
        int epoll;
        uint64_t first;        /* its sockets are registered as first + descriptor */
        /* One message to that server. Less than 0: the connection is gone. */
        int (*send)(void *context, uint32_t server, const uint8_t *data, size_t bytes);
        /* There is room to send more; if not, tunnels_writable will be called. */
        bool (*has_room)(void *context, uint32_t server);
        /* False: there is none of that name which is ready. */
        bool (*find)(void *context, const char *model, struct tunnel_target *ret_target);
        /* The name of the engine of that number, or NULL. */
        const char *(*name)(void *context, uint32_t number, uint32_t *ret_parallel);
        void *context;
};

/* Numbers that its descriptors are registered under. */
#define TUNNEL_EVENTS (UINT64_C(1) << 34)
#define TUNNEL_EVENTS_END (UINT64_C(1) << 35)

must_check int tunnels_open(const struct tunnels_options *options, struct tunnels **ret);
void tunnels_close(struct tunnels *t);
/* A message of that server's tunnel. -E_MESSAGE: no frames, or ones that break the rules: it is to be closed. */
must_check int tunnels_received(struct tunnels *t, uint64_t now_ms, uint32_t server, const uint8_t *data, size_t bytes);
void tunnels_writable(struct tunnels *t, uint64_t now_ms, uint32_t server);
/* That server's tunnel is gone, and its requests with it. */
void tunnels_ended(struct tunnels *t, uint64_t now_ms, uint32_t server);
/* Something happened at that descriptor. */
void tunnels_event(struct tunnels *t, uint64_t now_ms, int fd);
/* Does what is due. Milliseconds until the next call; UINT64_MAX: none needed. */
uint64_t tunnels_tick(struct tunnels *t, uint64_t now_ms);
/* Nothing new is taken from now on. */
void tunnels_drain(struct tunnels *t);
/* Requests under way. */
uint32_t tunnels_running(const struct tunnels *t);
