/* child.h: what berthd and its probes process say to each other. For src/bpf only.
 *
 * A SOCK_SEQPACKET pair; one datagram is one message. The daemon sends a struct probes_request and gets one struct probes_reply for it, with a snapshot as a sealed
 * memfd unless result < 0. Each request bears all options, so that settings change with the next one. Fixed sizes, no padding; same release on both ends. The daemon
 * treats the other end as a stranger all the same.
 */
#pragma once

#include "bpf/remote.h"

#define PROBES_CHILD_MAGIC UINT32_C(0x42504243)
#define PROBES_CHILD_FD 3

struct probes_request {
        uint32_t magic, sequence;
        struct probes_options options;
};

struct probes_reply {
        uint32_t magic, sequence;
        int32_t result;
        uint32_t reserved;
        char text[240]; /* clean text; result < 0: why */
};

_Static_assert(sizeof(struct probes_options) == 80, "no padding");
_Static_assert(sizeof(struct probes_request) == 88 && sizeof(struct probes_reply) == 256, "no padding");

/* Whether `bytes` bytes that came are the reply to the question of this number. */
bool probes_reply_check(const struct probes_reply *reply, ssize_t bytes, uint32_t sequence);
