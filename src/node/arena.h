/* arena.h: the host memory that swapped-out device memory goes to.
 *
 * The arena is a budget, handed out in segments: one memfd each, which the client maps and the daemon only keeps books of (its own mapping
 * lasts as long as a worker touches the pages). A segment is
 *
 *   MAKING ──touched──▶ READY ──lend──▶ LENT ──return, or its process died──▶ WIPING ──▶ READY (for the same user only)
 *      └──failed──▶ gone                        └──enough are ready──▶ gone      └──failed──▶ gone
 *
 * Guarantees: segments never add up to more than the budget, except those that clients of an earlier daemon bring along; what one user's
 * program wrote is never seen by another user's; memory of a segment that is dropped is free at once, even if a program
 * keeps it mapped. All functions are called on one thread; the worker threads only touch and wipe.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct arena;

struct arena_options {
        uint64_t budget, segment; /* bytes */
        uint64_t ready;           /* kept READY or MAKING ahead of need, as far as the budget goes */
        unsigned int threads;
        void (*notify)(void *user); /* from a worker thread: call arena_collect soon. May be NULL */
        void *user;
};

struct arena_stats {
        uint64_t budget, ready, lent, other; /* bytes; other: being made or wiped */
        uint64_t free;                       /* that can still be lent: budget less what is lent */
        uint32_t segments, failed;
};

struct arena_segment {
        uint32_t number;
        uint64_t bytes;
        int fd; /* the arena's; duplicate it to keep it */
};

must_check int arena_new(const struct arena_options *options, struct arena **ret);
/* Also waits for the worker threads, at most for the piece each one is at. */
void arena_free(struct arena *arena);
SCOPED_FN(struct arena *, arena_free)

void arena_set_ready(struct arena *arena, uint64_t bytes);
/* So much will be asked for as soon as it is there: makes it, beside what is kept ready. */
void arena_want(struct arena *arena, uint64_t bytes);

/* Lends a segment to owner, a number of the caller's choice for one process. 0; -EAGAIN: one is being made, ask again after notify;
 * -E_ARENA: the budget, or the machine's free memory, is used up. */
must_check int arena_lend(struct arena *arena, uid_t uid, uint64_t owner, struct arena_segment *ret);
/* The owner no longer uses it. -ENOENT: not lent to this owner. */
must_check int arena_return(struct arena *arena, uint64_t owner, uint32_t number);
/* The owner's process has ended (dead), or can't be watched any more (then the memory is only let go of, never wiped: someone may still use
 * it). Returns the bytes. */
uint64_t arena_orphan(struct arena *arena, uint64_t owner, bool dead);
/* A segment that an earlier daemon, or an earlier connection of the same process, lent: fd is the caller's, duplicated on success. -E_MESSAGE: no segment
 * of ours or not of this size; -EBUSY: lent to another owner that is not `before`; -ENFILE: too many. */
must_check int arena_adopt(struct arena *arena, uid_t uid, uint64_t owner, uint64_t before, int fd, uint64_t bytes,
                           uint32_t *ret_number);

uint64_t arena_lent_to(const struct arena *arena, uint64_t owner);

/* Takes over what the workers finished. True when something changed. */
bool arena_collect(struct arena *arena);
void arena_stats(const struct arena *arena, struct arena_stats *ret);

/* The machine's memory: the larger of what /proc/meminfo and sysinfo say. */
uint64_t arena_machine_bytes(void);
