/* host.h: NPUs of the accel subsystem and the CPU, from /sys and /proc. For observe.c only. */
#pragma once

#include "observe/observe.h"

/* NPUs under root ("" for the real machine, a folder in tests): at most max, returns how many. */
size_t host_list_npus(const char *root, struct observe_device *devices, size_t max);
/* The CPU with the machine's memory. */
void host_cpu(const char *root, struct observe_device *ret_device);

/* Utilisation is over the time since the last sample; the first has none. */
struct host_cpu_state {
        uint64_t busy, all;
};
void host_sample_cpu(const char *root, struct host_cpu_state *state, struct observe_sample *ret_sample);
/* The nth of host_list_npus. */
void host_sample_npu(const char *root, unsigned int minor, struct observe_sample *ret_sample);
/* The accel minor of a device of host_list_npus, kept in its uuid. */
unsigned int host_npu_minor(const struct observe_device *device);
