/* observe.h: the devices of this machine and what can be measured on them. One interface for CUDA devices (NVML, opened at run
 * time), software devices (our own NVML of the same interface), NPUs (accel subsystem) and the CPU.
 *
 * What can't be measured is absent from a sample: its bit in `valid` is not set and its field is 0 and means nothing.
 * observe_open and observe_sample talk to drivers that may hang: both are called on a thread that the caller can afford to lose.
 */
#pragma once

#include "base/scope.h"
#include "wire/wire.h" /* enum wire_device_kind, enum wire_valid: one list for sensors and wire */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define OBSERVE_MAX_DEVICES 32
#define OBSERVE_MAX_PROCESSES 256

enum observe_choice { OBSERVE_AUTO, OBSERVE_CUDA, OBSERVE_SOFTWARE }; /* as enum settings_device */

struct observe_options {
        uint32_t choice;           /* enum observe_choice */
        const char *nvml;          /* path of the NVML library, "" or NULL: the usual ones */
        uint64_t software_devices; /* for our own NVML */
        uint64_t software_memory;
        uint64_t software_link;
};

struct observe_device {
        uint32_t kind;        /* enum wire_device_kind */
        uint8_t uuid[16];     /* zero for devices without one */
        uint64_t total_bytes; /* 0: unknown */
        char name[112];       /* clean text */
        bool shareable;       /* programs can be admitted to it: CUDA and software devices of known size */
};

struct observe_process {
        pid_t pid;
        uint64_t used_bytes;
};

struct observe_sample {
        uint32_t valid; /* enum wire_valid bits, without WIRE_VALID_FOREIGN */
        uint64_t total_bytes, used_bytes, power_mw;
        uint32_t utilisation_permille, temperature_c;
        bool processes_valid; /* every process on the device is listed, by the pids of this machine's outermost namespace, which is ours */
        uint32_t process_count;
        struct observe_process processes[OBSERVE_MAX_PROCESSES];
};

struct observe;

/* Finds the devices. 0; -E_UNAVAILABLE when the kind asked for (or, with auto, any shareable one) is not there: then message says what was
 * tried. May block in the driver. */
must_check int observe_open(const struct observe_options *options, struct observe **ret, char message[256]);
/* The same from a given list, for tests: samples of such devices have nothing valid but the total, and what sample (may be NULL) adds. */
struct observe *observe_new_fixed(const struct observe_device *devices, size_t count,
                                  void (*sample)(size_t index, struct observe_sample *sample));
void observe_free(struct observe *observe);
SCOPED_FN(struct observe *, observe_free)

size_t observe_count(const struct observe *observe);
const struct observe_device *observe_device(const struct observe *observe, size_t index);
/* One look at one device. May block in the driver; not for two threads at once. */
void observe_sample(struct observe *observe, size_t index, struct observe_sample *ret_sample);
