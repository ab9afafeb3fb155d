/* message.h: what a pool says to a worker (docs/worker-protocol.md), as a checked structure. Pure: text in, structure out.
 *
 * The pool is trusted to give work, but its bytes are a stranger's all the same: every member that we act on has a type, a bound and, where it becomes a
 * name of a file or a line of a log, an alphabet. What is malformed is an error with one sentence, and the connection ends; kinds that this
 * version does not know are MESSAGE_UNKNOWN and ignored.
 */
#pragma once

#include "base/id.h"
#include "base/scope.h"
#include "engine/catalogue.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MESSAGE_BYTES (1U << 20) /* of one message at most, either way */
#define MESSAGE_SERVERS 8
#define MESSAGE_UPCOMING 8
#define MESSAGE_URL 256
#define MESSAGE_WHY 256
#define MESSAGE_TUNNEL 65

enum message_kind {
        MESSAGE_WELCOME,
        MESSAGE_LEASE,
        MESSAGE_ACK,
        MESSAGE_STALE,
        MESSAGE_CANCEL,
        MESSAGE_DRAIN,
        MESSAGE_ENGINE,
        MESSAGE_UPCOMING_MODELS,
        MESSAGE_LOOK,
        MESSAGE_TEXT,
        MESSAGE_ERROR,
        MESSAGE_UNKNOWN,
};

struct message {
        enum message_kind kind;
        char task[ID_TEXT]; /* lease, ack, stale, cancel */
        uint64_t nonce;
        /* welcome */
        char worker[ID_TEXT], server[MESSAGE_URL]; /* server: "" when not told */
        char servers[MESSAGE_SERVERS][MESSAGE_URL];
        uint32_t server_count;
        uint64_t lease_ms, heartbeat_ms, payload_bytes, node_ms; /* lease_ms: of a lease, too */
        char tunnel[MESSAGE_TUNNEL];                    /* what opens a tunnel to that server; "": it takes none */
        json_t *lost, *elsewhere;                       /* borrowed from json: ids (strings) */
        /* lease */
        char type[64];
        json_t *payload, *needs; /* borrowed; needs may be NULL */
        uint64_t attempt, deadline_ms;                  /* deadline_ms 0: none */
        /* engine, upcoming */
        char models[MESSAGE_UPCOMING][CATALOGUE_NAME]; /* engine: the first */
        uint32_t model_count, requests;
        bool ready, again, has_requests;            /* ready: `want`, else cold */
        uint64_t span_s; /* look: how far back it wants to see */
        /* drain, cancel, message, error */
        bool on;
        char code[64], text[512]; /* clean: fit for a log */
        json_t *json;             /* the whole of it, owned; message_done */
};

/* 0, or -E_MESSAGE and why. */
must_check int message_parse(const char *text, size_t bytes, struct message *ret, char why[MESSAGE_WHY]);
void message_done(struct message *m);
#define scoped_message __attribute__((cleanup(message_done)))

/* Lower-case letters, digits, '_', '-', '.', not first a '.', at most size - 1: what may become part of a path. */
bool message_is_name(const char *s, size_t size);
/* "https://…", "wss://host:port/…" as the WebSocket address of a pool; path and '/' at the end are cut. -EINVAL, -ENAMETOOLONG. */
must_check int message_pool_url(const char *given, char url[MESSAGE_URL]);
