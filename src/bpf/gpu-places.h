/* gpu-places.h: inside of gpu.c and gpu-places.c: which functions of the driver are probed, and where they lie in a copy of its library. */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stdint.h>

#define GPU_MOST_PLACES 96

/* Offsets in the file, and what the program in the kernel is to make of a call there (GPU_COOKIE). */
struct gpu_places {
        uint64_t offsets[GPU_MOST_PLACES], cookies[GPU_MOST_PLACES];
        uint32_t count;
};

/* Two names of one function are one place: it is counted once. */
void gpu_places_add(struct gpu_places *places, uint64_t offset, uint64_t cookie);
/* All functions that the library behind fd has: launches apart. *ret_cheap: no launch has to be stepped through. 0; -ENOENT: none; -errno: it is no library. */
must_check int gpu_places_find(int fd, struct gpu_places *launches, struct gpu_places *others, bool *ret_cheap);
