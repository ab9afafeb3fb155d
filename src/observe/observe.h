/* observe.h: the devices of this machine and what can be measured on them. One interface for CUDA devices (NVML, opened at run
 * time), software devices (our own NVML of the same interface), NPUs (accel subsystem) and the CPU.
 *
 * What can't be measured is absent from a sample: its bit in `valid` is not set and its field is 0 and means nothing.
 *
 * Drivers may hang, crash, and fill memory: the daemon keeps them out of its own process. observe_start starts a sensor process (this same
 * executable, again, with OBSERVE_CHILD_OPTION) that alone opens NVML and ends with the daemon; observe_ask and observe_take talk with it
 * and never block. One that hangs, ends or talks nonsense is killed and started again, after 1 s, 2 s … 60 s.
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

struct observe_extra { /* no padding: crosses processes */
        uint64_t ecc_corrected, ecc_uncorrected, xids;
        uint32_t clock_mhz, memory_clock_mhz, throttle, memory_busy_permille, power_limit_mw, last_xid;
};

struct observe_sample {
        uint32_t valid; /* enum wire_valid bits, without WIRE_VALID_FOREIGN */
        uint64_t total_bytes, used_bytes, power_mw;
        uint32_t utilisation_permille, temperature_c;
        struct observe_extra extra;
        bool processes_valid; /* every process on the device is listed, by the pids of this machine's outermost namespace, which is ours */
        uint32_t process_count;
        struct observe_process processes[OBSERVE_MAX_PROCESSES];
};

struct observe;

/* In this process: finds the devices. 0; -E_UNAVAILABLE when the kind asked for (or, with auto, any shareable one) is not there: then message says what was
 * tried. May block in the driver. */
must_check int observe_open(const struct observe_options *options, struct observe **ret, char message[256]);
/* The same from a given list, for tests: samples of such devices have nothing valid but the total, and what sample (may be NULL) adds. */
struct observe *observe_new_fixed(const struct observe_device *devices, size_t count,
                                  void (*sample)(size_t index, struct observe_sample *sample));
/* The same as observe_open in a sensor process, within patience_ns, or -ETIMEDOUT. At most one thread, and the one that lives longest. */
must_check int observe_start(const struct observe_options *options, uint64_t patience_ns, struct observe **ret, char message[256]);
void observe_free(struct observe *observe);
SCOPED_FN(struct observe *, observe_free)

size_t observe_count(const struct observe *observe);
const struct observe_device *observe_device(const struct observe *observe, size_t index);
/* One look at one device, in this process, so never after observe_start. May block in the driver; not for two threads at once. */
void observe_sample(struct observe *observe, size_t index, struct observe_sample *ret_sample);

enum observe_news {
        OBSERVE_NOTHING,
        OBSERVE_LISTED,  /* the sensor process is ready to be asked */
        OBSERVE_SAMPLED, /* all samples are there */
        OBSERVE_LOST,    /* the sensor process was given up: observe_why; it will be started again */
};

/* Readable when observe_take has something to do; the same for the life of observe. -1: no sensor process, observe_take right after
 * observe_ask does it all. */
int observe_fd(const struct observe *observe);
/* To be called about once a second, always: asks for samples unless some are under way, starts a process that is missing. True when a new
 * look began. */
bool observe_ask(struct observe *observe, uint64_t now);
/* To be called when observe_fd is readable, until it returns OBSERVE_NOTHING, and before observe_ask: it also ends what takes too long. */
enum observe_news observe_take(struct observe *observe, uint64_t now, struct observe_sample *samples);
/* Why the last process was given up: clean text. */
const char *observe_why(const struct observe *observe);
/* The sensor process, 0 when there is none. */
pid_t observe_pid(const struct observe *observe);

/* The sensor process itself: main hands over when its first argument is this. */
#define OBSERVE_CHILD_OPTION "--sensor"
int observe_child_main(int argc, char **argv);
/* Its parts. Ties this process to the daemon: the socket, -ENOTSOCK when no daemon started it, -EPIPE when that has ended already. */
must_check int observe_child_begin(void);
/* Answers until the daemon ends; observe may be NULL: then result and message say why there is none. */
void observe_serve(int fd, struct observe *observe, int result, const char *message);
