/* wire.h: every byte that crosses between a program, the node daemon and the command line. No I/O here.
 *
 * SOCK_SEQPACKET keeps message boundaries: one datagram is one message, a fixed header and a fixed-size body that
 * messages.def lists. wire_check() is the only door: nobody looks at a received message before it said 0. Integers are little endian;
 * a big-endian machine is refused at build time.
 */
#pragma once

#include "base/scope.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_MAGIC UINT32_C(0x48545242) /* "BRTH" */
#define WIRE_VERSION_MIN 1
#define WIRE_VERSION_MAX 1
#define WIRE_MAX_BYTES 512 /* of any message, header included */
#define WIRE_MAX_DEVICES 64
#define WIRE_PROBE_FAMILIES 5 /* of enum probes_family_id (src/bpf/probes.h) */

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the wire format is little endian"
#endif

typedef uint64_t wire_u64;
typedef uint32_t wire_u32;
typedef int32_t wire_i32;

struct wire_header {
        uint32_t magic;
        uint16_t version; /* WIRE_VERSION_MAX of the sender in HELLO, the agreed one afterwards */
        uint16_t type;    /* enum wire_type */
        uint32_t bytes;   /* of the whole message */
        uint32_t sequence; /* counts up per sender and connection, from 1 */
};

enum wire_direction { TO_DAEMON = 1, TO_CLIENT = 2, BOTH = 3 };

#define MESSAGE(name, number, direction, bytes, summary) WIRE_##name = number,
#define FIELD(...)
#define TEXT(...)
#define RAW(...)
#define RESERVED(...)
enum wire_type {
#include "wire/messages.def"
};
#undef MESSAGE
#undef FIELD
#undef TEXT
#undef RAW
#undef RESERVED

/* A role decides which messages a connection may send: programs HELLO … SEGMENT_HAVE, the command line STATUS_ASK and on. */
enum wire_role { WIRE_PROGRAM, WIRE_CONTROL, WIRE_ROLE_N };
enum wire_priority { WIRE_INTERACTIVE, WIRE_NORMAL, WIRE_BATCH, WIRE_PRIORITY_N };
enum wire_device_kind { WIRE_CUDA, WIRE_NPU, WIRE_CPU, WIRE_SOFTWARE, WIRE_DEVICE_KIND_N };
enum wire_state { WIRE_WAITING, WIRE_COMING_IN, WIRE_RUNNING, WIRE_GIVING_WAY, WIRE_GOING_OUT, WIRE_STATE_N };
enum wire_wait_reason {
        WIRE_WAIT_NONE,
        WIRE_WAIT_MEMORY, /* until others free memory, or their slices end */
        WIRE_WAIT_QUEUE,  /* others come first */
        WIRE_WAIT_ARENA,  /* the host arena is too small to move enough out: until others free memory */
        WIRE_WAIT_STUCK,  /* a program that does not give way holds the memory */
        WIRE_WAIT_PINNED, /* others hold memory that can't move */
        WIRE_WAIT_REASON_N
};
enum wire_give_way_reason { WIRE_GIVE_SLICE, WIRE_GIVE_IDLE, WIRE_GIVE_PRIORITY, WIRE_GIVE_DEADLOCK, WIRE_GIVE_SETTINGS,
                            WIRE_GIVE_REASON_N };
enum wire_peak { WIRE_PEAK_BEGIN, WIRE_PEAK_SHOW, WIRE_PEAK_END, WIRE_PEAK_N };
/* STATUS_DEVICE.valid */
enum wire_valid {
        WIRE_VALID_USED = 1 << 0,
        WIRE_VALID_FOREIGN = 1 << 1,
        WIRE_VALID_UTILISATION = 1 << 2,
        WIRE_VALID_POWER = 1 << 3,
        WIRE_VALID_TEMPERATURE = 1 << 4,
        WIRE_VALID_TOTAL = 1 << 5,
        WIRE_VALID_CLOCK = 1 << 6,
        WIRE_VALID_MEMORY_CLOCK = 1 << 7,
        WIRE_VALID_THROTTLE = 1 << 8,
        WIRE_VALID_ECC = 1 << 9,
        WIRE_VALID_XID = 1 << 10,
        WIRE_VALID_MEMORY_BUSY = 1 << 11,
        WIRE_VALID_POWER_LIMIT = 1 << 12,
};

/* STATUS_DEVICE.throttle: why the clocks are held back, as NVML numbers the reasons. */
enum wire_throttle {
        WIRE_THROTTLE_IDLE = 0x1, /* nothing to do: no fault */
        WIRE_THROTTLE_SETTING = 0x2,
        WIRE_THROTTLE_POWER_CAP = 0x4,
        WIRE_THROTTLE_HARDWARE = 0x8,
        WIRE_THROTTLE_SYNC = 0x10,
        WIRE_THROTTLE_HEAT = 0x20,
        WIRE_THROTTLE_HARDWARE_HEAT = 0x40,
        WIRE_THROTTLE_POWER_BRAKE = 0x80,
        WIRE_THROTTLE_DISPLAY = 0x100,
};
#define WIRE_THROTTLE_N 9
/* The nth reason's word: "power cap"; NULL beyond the last. */
const char *wire_throttle_name(unsigned int bit);

/* The bodies: struct wire_HELLO …, and a packed twin of each that must have the same size: no hidden padding. */
#define MESSAGE(name, number, direction, size, summary) \
        }                                               \
        ;                                               \
        struct wire_##name {
#define FIELD(message, type, field, meaning) wire_##type field;
#define TEXT(message, size, field, meaning) char field[size];
#define RAW(message, size, field, meaning) uint8_t field[size];
#define RESERVED(message, type) wire_##type reserved;
struct wire_list_begin {
        char unused;
#include "wire/messages.def"
};
#undef MESSAGE
#define MESSAGE(name, number, direction, size, summary) \
        }                                               \
        __attribute__((packed));                        \
        struct wire_##name##_tight {
struct wire_tight_begin {
        char unused;
#include "wire/messages.def"
} __attribute__((packed));
#undef MESSAGE
#undef FIELD
#undef TEXT
#undef RAW
#undef RESERVED
#define MESSAGE(name, number, direction, size, summary)                                             \
        static_assert(sizeof(struct wire_##name) == (size), #name ": wire size moved");             \
        static_assert(sizeof(struct wire_##name) == sizeof(struct wire_##name##_tight), #name ": hidden padding");
#define FIELD(...)
#define TEXT(...)
#define RAW(...)
#define RESERVED(...)
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD
#undef TEXT
#undef RAW
#undef RESERVED

/* The largest body, for receive buffers. */
struct wire_message {
        struct wire_header header;
        union {
#define MESSAGE(name, number, direction, size, summary) struct wire_##name name;
#define FIELD(...)
#define TEXT(...)
#define RAW(...)
#define RESERVED(...)
#include "wire/messages.def"
#undef MESSAGE
#undef FIELD
#undef TEXT
#undef RAW
#undef RESERVED
                uint8_t raw[WIRE_MAX_BYTES - sizeof(struct wire_header)];
        };
};
static_assert(sizeof(struct wire_header) == 16, "header size moved");
static_assert(sizeof(struct wire_message) == WIRE_MAX_BYTES, "a message outgrew WIRE_MAX_BYTES");

/* Fills the header; the caller has filled the body, all of it (start from = {0}). Total bytes to send. */
size_t wire_seal(struct wire_message *message, enum wire_type type, uint16_t version, uint32_t sequence);

/* Is this datagram of `bytes` bytes a well-formed message for this side? Checks magic, version (min … max; HELLO is let through with
 * any version so that the answer can name the ones in common), type, direction, exact size, zero in reserved fields, text that
 * ends in its array and is printable, enums in range. 0, -E_MESSAGE or -E_VERSION; *ret_what says which check failed (static text,
 * may be NULL). Never reads past `bytes`. */
must_check int wire_check(const void *data, size_t bytes, enum wire_direction to, uint16_t version,
                          const char **ret_what);

/* "HELLO" …, or NULL for a number that is no message. */
const char *wire_name(uint32_t type);

/* Body bytes of a type, or -1. */
int wire_body_bytes(uint32_t type);

/* Names of enum values for people and JSON; "?" when out of range. */
const char *wire_state_name(uint32_t state);
const char *wire_priority_name(uint32_t priority);
const char *wire_reason_name(uint32_t reason);
const char *wire_kind_name(uint32_t kind);
must_check int wire_priority_parse(const char *s, uint32_t *ret_priority);

/* "GPU-xxxxxxxx-xxxx-…": 41 bytes with the end. */
#define WIRE_UUID_TEXT 41
char *wire_uuid_text(const uint8_t uuid[16], char text[WIRE_UUID_TEXT]);
