/* nvml.h: devices behind an NVML library, NVIDIA's or our own of the same interface. For observe.c only. */
#pragma once

#include "observe/observe.h"

struct nvml;

/* Opens the library at path (a plain name goes through the dynamic linker) and initialises it. 0, or -E_UNAVAILABLE with a reason. */
must_check int nvml_open(const char *path, uint32_t kind, struct nvml **ret, char reason[160]);
void nvml_close(struct nvml *nvml);
SCOPED_FN(struct nvml *, nvml_close)

/* Fills at most max devices; returns how many, 0 when there is none. */
size_t nvml_list(struct nvml *nvml, struct observe_device *devices, size_t max);
void nvml_sample(struct nvml *nvml, size_t index, struct observe_sample *ret_sample);
