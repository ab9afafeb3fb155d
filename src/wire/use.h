/* use.h: what the interposer tells others in the same process, the NVML stand-in and tests, by a function that it exports under USE_SYMBOL.
 *
 * Exact at the moment of the call: the interposer's own books, as cuMemGetInfo answers from. Only this process's memory; that of the other
 * processes of a job is known to the daemon.
 */
#pragma once

#include <stdint.h>

#define USE_SYMBOL "berth_device_use"

struct berth_use {
        uint64_t used_bytes;  /* owned, resident or not: movable and pinned */
        uint64_t peak_bytes;  /* most of used_bytes at any instant */
        uint64_t limit_bytes; /* 0: none */
        uint64_t room_bytes;  /* the most that this program can have, 0: not known yet */
};

/* 0; -ENODEV: this process has not come to the device, or the daemon does not share it. */
int berth_device_use(const uint8_t uuid[16], struct berth_use *ret);
typedef int (*berth_device_use_fn)(const uint8_t uuid[16], struct berth_use *ret);
