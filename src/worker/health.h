/* health.h: looks at engines over HTTP without ever waiting: libcurl's multi interface on the worker's epoll.
 *
 * libcurl rather than libwebsockets, whose client stands in the same loop: it is what artifacts go through already, it bounds a transfer's time by itself, and its
 * multi interface takes any event loop. A look is one GET on a connection of its own; 2xx is healthy, the body does not matter.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stdint.h>

#define HEALTH_WHY 160

struct health;

struct health_options {
        int epoll;
        uint64_t first;       /* its sockets are registered as first + descriptor */
        uint64_t timeout_ms;  /* of a look */
        void (*done)(void *context, uint32_t number, bool good, const char *why);
        void *context;
};

must_check int health_open(const struct health_options *options, struct health **ret);
void health_close(struct health *h);
/* A look at url; key: its bearer key, or ""; ca: file of certificates for https, or "": the system's. `done` follows, not from inside. number: the caller's, below 256; one look at a time for each. */
must_check int health_begin(struct health *h, uint32_t number, const char *url, const char *key, const char *ca);
/* Its result interests nobody any more. */
void health_cancel(struct health *h, uint32_t number);
/* Something happened at that descriptor. */
void health_event(struct health *h, int fd);
/* Does what is due. Milliseconds until the next call; UINT64_MAX: none needed. */
uint64_t health_tick(struct health *h, uint64_t now_ms);
