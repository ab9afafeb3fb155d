/* places.h: how many bytes of each program may have a place in the host arena, when the arena can't hold all of them at once. Pure.
 *
 * Places are a program's own until they are asked back, and what lies in one can only leave by coming in. So what may be off a device at a time is bounded
 * before it is too late: by equal shares of the arena (max-min fair) of what the devices are overcommitted by. With these, whoever asks next can come in
 * whole, whatever came in before: all others on its device together have places for what the device lacks. Where the arena is too small for that, nothing is
 * bounded: who comes first is served, and the others wait until somebody ends.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLACES_UNBOUNDED UINT64_MAX

struct places_program {
        uint64_t wanted;  /* bytes of it that can leave its devices */
        uint64_t devices; /* a bit each */
        uint64_t places;  /* answer: whole segments, or PLACES_UNBOUNDED */
};

/* over: bytes by which each of at most 64 devices is overcommitted, rounding to segments included. True: bounded. All of it in bytes. */
bool places_share(struct places_program *programs, size_t count, const uint64_t *over, uint64_t budget, uint64_t segment);

/* The least budget, in whole segments, with which all fit at once or are bounded: they can take turns then. Answers in programs are lost by it. */
uint64_t places_needed(struct places_program *programs, size_t count, const uint64_t *over, uint64_t segment);
