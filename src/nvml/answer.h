/* answer.h: what the wrappers have in common. */
#pragma once

#include "nvml/ask.h"
#include "nvml/real.h"

/* What Berth knows of the device behind a handle. 0; -ENODEV: a device that is not shared; else the real answer stands: nobody knows, or it
 * is no whole device (MIG). */
must_check int answer_view(nvmlDevice_t device, struct ask_view *ret);

/* memory.c, pure: the figures that a program sees. used + free + reserved = total. */
struct answer_memory {
        uint64_t total, reserved, free, used;
};
struct answer_memory answer_memory(const struct ask_view *view);
