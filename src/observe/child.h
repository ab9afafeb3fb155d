/* child.h: what berthd and its sensor process say to each other. For src/observe only.
 *
 * A SOCK_SEQPACKET pair; one datagram is one message. The daemon sends a struct child_request and gets for it: one
 * reply when the device list could not be made (result < 0, text), else one reply for each device, index 0 … count - 1
 * in order. Fixed sizes, no padding; both ends are the same executable. The daemon treats the other end as a stranger
 * all the same: see reply_check in remote.c.
 */
#pragma once

#include "observe/observe.h"

#define CHILD_MAGIC UINT32_C(0x42534e53)
/* The socket's number in the sensor process. */
#define CHILD_FD 3

enum child_kind { CHILD_LIST = 1, CHILD_SAMPLE };

struct child_request {
        uint32_t magic, kind, sequence, reserved;
};

struct child_device {
        uint64_t total_bytes;
        uint32_t kind, shareable;
        uint8_t uuid[16];
        char name[112];
};

struct child_process {
        uint64_t used_bytes;
        int32_t pid;
        uint32_t reserved;
};

struct child_sample {
        uint64_t total_bytes, used_bytes, power_mw;
        uint32_t valid, utilisation_permille, temperature_c, processes_valid, process_count, reserved;
        struct observe_extra extra;
        struct child_process processes[OBSERVE_MAX_PROCESSES];
};

struct child_reply {
        uint32_t magic, kind, sequence, index, count;
        int32_t result;
        union {
                struct child_device device; /* CHILD_LIST, result 0 */
                struct child_sample sample; /* CHILD_SAMPLE */
                char text[256];             /* CHILD_LIST, result < 0 */
        };
};

_Static_assert(sizeof(struct child_request) == 16, "no padding");
_Static_assert(sizeof(struct child_device) == 144, "no padding");
_Static_assert(sizeof(struct child_sample) == 96 + 16 * OBSERVE_MAX_PROCESSES, "no padding");
_Static_assert(sizeof(struct child_reply) == 24 + sizeof(struct child_sample), "no padding");
