/* upstream.h: requests to engines, on the gateway's loop: over plain HTTP/1.1 on connections that are kept and used again, or as streams of the tunnel that the engine's worker holds open (tunnel.c).
 *
 * One exchange at a time on a connection, many in a tunnel. What is sent is borrowed until the first byte of the answer or its end (nothing is copied but the head); what comes is handed to the
 * calls as it comes, and no more is read while the receiver says that it is full (upstream_pause). An exchange ends once: `end` is its last call, never from
 * inside upstream_begin, and after upstream_cancel there is none. A kept connection that turns out closed before any byte of the answer is replaced by a fresh one, once.
 */
#pragma once

#include "gateway/gateway.h"

struct upstream;

struct upstream_answer {
        int status;
        char type[64];            /* Content-Type, "" when there is none */
        uint64_t retry_after_s;
};

struct upstream_calls {
        void (*head)(void *context, const struct upstream_answer *answer);
        /* Part of the body. */
        void (*body)(void *context, const char *data, size_t length);
        /* error 0: the answer is complete; -EBUSY: its worker says that the engine has no place; else what broke: text says it. any: bytes of an answer had come. */
        void (*end)(void *context, int error, const char *text, bool any);
};

struct upstream_request {
        const char *address;      /* "http://HOST:PORT", may have a path that goes before `path`; NULL: through the tunnel of `worker`, for its engine of `model` */
        struct id worker;
        const char *model;
        const char *path;         /* "/v1/chat/completions" */
        const char *key;          /* bearer secret; NULL: none */
        const char *id;           /* X-Request-Id */
        const char *body;         /* borrowed */
        size_t body_length;
        uint64_t first_ms, quiet_ms; /* until the answer begins; between two parts of it */
};

struct upstreams;
must_check int upstreams_open(struct server *server, struct upstreams **ret_all);
/* Ends all exchanges without calls. */
void upstreams_close(struct upstreams *all);
/* Once a second: times, and kept connections that nobody used for a while. */
void upstreams_tick(struct upstreams *all);
/* 0 and the exchange; -EINVAL: an address that is none; -ENOMEM, -EMFILE. */
must_check int upstream_begin(struct upstreams *all, const struct upstream_request *request, const struct upstream_calls *calls, void *context, struct upstream **ret_upstream);
void upstream_cancel(struct upstream *upstream);
void upstream_pause(struct upstream *upstream, bool pause);

struct upstream_counts {
        uint64_t connects, reused, failed, replaced;
        size_t open, idle;
        /* of tunnels */
        size_t tunnels, streams, held;   /* held: bytes that came and wait for slow clients */
        uint64_t streams_ever, turned_away, malformed, bytes_to_workers, bytes_from_workers;
};
void upstreams_counts(const struct upstreams *all, struct upstream_counts *ret_counts);
