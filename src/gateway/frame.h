/* frame.h: WebSocket frames (RFC 6455), pure: bytes in, messages out. A server's side: what comes must be masked, what goes is not.
 *
 * A reader takes any split of the bytes. It refuses (and the connection is to be closed with the code given) unmasked frames, reserved bits, unknown
 * opcodes, long or fragmented control frames, continuations of nothing, a length with its top bit set, and messages over the limit: told at the
 * frame's header, before any of it is stored. A message that lies whole in the bytes handed in is told from there; only a split one is copied. The
 * reader of an idle connection holds no memory beside itself. Own code, because the library for it (wslay) keeps two buffers of 4 KiB for each
 * connection, which is more than everything else an idle one takes.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum frame_opcode { FRAME_MORE = 0, FRAME_TEXT = 1, FRAME_BINARY = 2, FRAME_CLOSE = 8, FRAME_PING = 9, FRAME_PONG = 10 };

enum frame_close { FRAME_CLOSE_NORMAL = 1000, FRAME_CLOSE_AWAY = 1001, FRAME_CLOSE_PROTOCOL = 1002, FRAME_CLOSE_UNFIT = 1003, FRAME_CLOSE_DATA = 1007, FRAME_CLOSE_POLICY = 1008,
                   FRAME_CLOSE_BIG = 1009, FRAME_CLOSE_AGAIN = 1013 };

#define FRAME_CONTROL 125
#define FRAME_HEAD 10 /* bytes that a head of ours takes at most */

struct frame_reader {
        uint64_t limit;          /* of a message */
        uint64_t left;           /* of the present frame's payload */
        char *message;           /* what came of a split message */
        size_t length, size;
        uint8_t head[14], have;
        uint8_t mask[4], mask_at;
        uint8_t opcode;          /* of the present frame */
        uint8_t kind;            /* of the message that has begun; 0: none */
        bool in_payload, last;
        uint8_t control_length;
        uint8_t control[FRAME_CONTROL];
};

struct frame_message {
        enum frame_opcode opcode;  /* TEXT, BINARY, CLOSE, PING, PONG */
        const char *text;          /* until the next call */
        size_t length;
        unsigned close_code;       /* CLOSE: its code; 1005: none given */
};

void frame_reader_init(struct frame_reader *reader, uint64_t limit);
void frame_reader_done(struct frame_reader *reader);
/* Takes from *data (which it unmasks in place), moving it on. 1: a message; 0: all taken, no message yet; or minus a close code (-1002 …), after which
 * nothing more may be read. */
must_check int frame_read(struct frame_reader *reader, uint8_t **data, size_t *length, struct frame_message *ret_message);

/* The head of a whole, unmasked frame; its length. */
size_t frame_head(uint8_t head[FRAME_HEAD], enum frame_opcode opcode, uint64_t length);

/* The answer to a Sec-WebSocket-Key: 28 characters. -EINVAL when the key is not 16 bytes in Base64. */
must_check int frame_accept_key(const char *key, char accept[29]);
