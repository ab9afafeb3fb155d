/* share.h: device memory from one program to another by a 64-byte ticket, as legacy IPC handles do it; and what the two say to each other.
 *
 * The ticket names a socket of the program whose memory it is (abstract, a random place), a secret that the socket asks for, and the memory. Who
 * opens it sends a request; the answer says how the memory is made up, and each of its units follows as a datagram with a descriptor. Both
 * sides are processes of one user (SO_PEERCRED), and check every word.
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define SHARE_MAGIC UINT64_C(0x4350496874726542) /* "BerthIPC" */
#define SHARE_VERSION 1
#define SHARE_GRANULE (UINT64_C(2) << 20)
#define SHARE_MOST_UNITS 65536

struct share_ticket {
        uint64_t magic;
        uint64_t version;
        uint64_t place, secret;
        uint64_t share;         /* which memory of that program's */
        uint64_t offset, bytes; /* the allocation in it */
        uint64_t reserved;
};
static_assert(sizeof(struct share_ticket) == 64, "as large as CUipcMemHandle");

struct share_request {
        uint64_t magic, version, secret, share;
};

struct share_answer {
        uint64_t magic;
        int32_t status; /* 0, or a negative error number: nothing follows */
        uint32_t units_n;
        uint64_t mapped, unit_bytes; /* all units but the last are of this size */
};

/* Comes with a descriptor. */
struct share_unit {
        uint64_t index, bytes;
};

static inline bool share_is_ticket(const void *handle)
{
        uint64_t magic;

        memcpy(&magic, handle, sizeof magic);
        return magic == SHARE_MAGIC;
}

static inline bool share_ticket_ok(const struct share_ticket *t)
{
        return t->magic == SHARE_MAGIC && t->version == SHARE_VERSION && t->bytes && t->offset <= UINT64_C(1) << 46 && t->bytes <= UINT64_C(1) << 46;
}

static inline bool share_request_ok(const struct share_request *r, size_t bytes, uint64_t secret)
{
        return bytes == sizeof *r && r->magic == SHARE_MAGIC && r->version == SHARE_VERSION && r->secret == secret;
}

/* Of a successful answer: is it what it must be for this ticket? */
static inline bool share_answer_ok(const struct share_answer *a, size_t bytes, const struct share_ticket *t)
{
        return bytes == sizeof *a && a->magic == SHARE_MAGIC && a->mapped && a->mapped <= UINT64_C(1) << 46 && a->mapped % SHARE_GRANULE == 0 &&
               a->unit_bytes && a->unit_bytes <= a->mapped && a->unit_bytes % SHARE_GRANULE == 0 && a->units_n && a->units_n <= SHARE_MOST_UNITS &&
               a->units_n == (a->mapped + a->unit_bytes - 1) / a->unit_bytes && t->offset < a->mapped && t->bytes <= a->mapped - t->offset;
}

static inline uint64_t share_unit_bytes(const struct share_answer *a, uint64_t index)
{
        return index + 1 < a->units_n ? a->unit_bytes : a->mapped - (a->units_n - 1) * a->unit_bytes;
}

static inline bool share_unit_ok(const struct share_unit *u, size_t bytes, const struct share_answer *a, uint64_t index)
{
        return bytes == sizeof *u && u->index == index && u->bytes == share_unit_bytes(a, index);
}
