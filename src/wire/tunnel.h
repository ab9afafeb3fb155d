/* tunnel.h: what goes over a worker's tunnel: requests for its engines and their answers, as streams side by side on one connection. Pure: bytes in, frames out, and back.
 *
 * The tunnel is a second WebSocket that a worker opens to its pool server (docs/worker-protocol.md, "Tunnel"), so engines are reached wherever the worker itself reaches the pool from. Each binary
 * message holds whole frames, one after the other:
 *
 *   kind (1 byte)  length of the payload (3)  stream (4)  payload          numbers: the most significant byte first
 *
 * Streams are numbered by the pool, from 1 upwards, each once. The pool says OPEN, BODY as credit allows, CANCEL, CREDIT; the worker HEAD, BODY as credit allows, END (once, its last word), CREDIT, and
 * FREE. A side may send so many bytes of BODY on a stream as the window below and the CREDITs that it got since allow, never more: so no reader has to hold more than a window for a stream, however
 * slow its own other side is. What comes for a stream that has ended is passed over: it crossed the end on its way.
 *
 * Nothing of a payload is looked at but through the readers here; what they refuse ends the connection.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TUNNEL_FRAME 8                    /* bytes before a payload */
#define TUNNEL_PAYLOAD (16U << 10)        /* of a frame at most */
#define TUNNEL_MESSAGE (256U << 10)       /* of a message at most */
#define TUNNEL_REQUEST_WINDOW (128U << 10) /* bytes of a request's body that may be on their way at first */
#define TUNNEL_ANSWER_WINDOW (64U << 10)  /* the same of an answer's */
#define TUNNEL_STREAMS 1024               /* of one tunnel at once */
#define TUNNEL_MODEL 128
#define TUNNEL_PATH 128
#define TUNNEL_ID 128
#define TUNNEL_TYPE 64
#define TUNNEL_TEXT 256

enum tunnel_kind {
        TUNNEL_OPEN = 1, /* pool: a request begins */
        TUNNEL_BODY,     /* both: a part of the request, of the answer */
        TUNNEL_HEAD,     /* worker: the answer's status */
        TUNNEL_END,      /* worker: the stream is over, and how */
        TUNNEL_CANCEL,   /* pool: nobody wants it any more; no END follows */
        TUNNEL_CREDIT,   /* both: so many more bytes of BODY may come */
        TUNNEL_FREE,     /* worker, stream 0: an engine that was busy has a place */
};

enum tunnel_end {
        TUNNEL_WHOLE,    /* the answer is complete */
        TUNNEL_BROKEN,   /* the engine was not reached, or broke off; the text says it */
        TUNNEL_BUSY,     /* all of its places are taken: FREE will be said */
        TUNNEL_GONE,     /* no such engine, or it is not ready, or the worker takes nothing new */
};

struct tunnel_frame {
        enum tunnel_kind kind;
        uint32_t stream;
        const uint8_t *payload; /* within the message */
        size_t length;
};

struct tunnel_request {
        char model[TUNNEL_MODEL], path[TUNNEL_PATH], id[TUNNEL_ID];
        uint32_t body_bytes;
};

struct tunnel_answer {
        char type[TUNNEL_TYPE];
        uint32_t status, retry_after_s;
};

/* The next frame of a message, whose bytes *data and *length are moved on. 1; 0: no more; -E_MESSAGE: no frame, or none that this side says (from_pool: who sent it). */
must_check int tunnel_next(const uint8_t **data, size_t *length, bool from_pool, struct tunnel_frame *ret_frame);

/* What stands in a payload; 0 or -E_MESSAGE. Texts are printable ASCII without blanks (a path begins with /v1/), END's and HEAD's also with blanks. */
must_check int tunnel_read_request(const struct tunnel_frame *frame, struct tunnel_request *ret_request);
must_check int tunnel_read_answer(const struct tunnel_frame *frame, struct tunnel_answer *ret_answer);
must_check int tunnel_read_end(const struct tunnel_frame *frame, enum tunnel_end *ret_end, char text[TUNNEL_TEXT]);
must_check int tunnel_read_credit(const struct tunnel_frame *frame, uint32_t *ret_bytes);
must_check int tunnel_read_free(const struct tunnel_frame *frame, char model[TUNNEL_MODEL]);

/* Frames to be sent: the number of bytes written; room is at least TUNNEL_FRAME + TUNNEL_SMALL. What does not belong into a text becomes '?', what is too long is cut. */
#define TUNNEL_SMALL 512
size_t tunnel_write_request(uint8_t *room, uint32_t stream, const struct tunnel_request *request);
size_t tunnel_write_answer(uint8_t *room, uint32_t stream, const struct tunnel_answer *answer);
size_t tunnel_write_end(uint8_t *room, uint32_t stream, enum tunnel_end end, const char *text);
size_t tunnel_write_credit(uint8_t *room, uint32_t stream, uint32_t bytes);
size_t tunnel_write_free(uint8_t *room, const char *model);
size_t tunnel_write_cancel(uint8_t *room, uint32_t stream);
/* The head of a BODY frame; its payload of 1 to TUNNEL_PAYLOAD bytes follows. */
size_t tunnel_write_body(uint8_t *room, uint32_t stream, size_t length);
