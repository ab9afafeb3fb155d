/* launch.h: how a program comes under Berth: the interposer preloaded, the real driver named, the wishes handed over by
 * environment.
 *
 * Only the environment of this process is changed, right before exec; nothing here talks to the daemon.
 */
#pragma once

#include "cli/cli.h"

#include "base/scope.h"

#include <limits.h>
#include <stdint.h>

struct launch {
        const char *memory, *soft_memory, *job_memory, *need, *priority, *job; /* as given on the command line, or NULL */
        const char *socket;                         /* of the daemon that answered */
        uint64_t run;                               /* of all that the program starts; 0: none */
        bool software;                              /* the daemon's devices are software devices */
        uint32_t software_devices;
        uint64_t software_bytes; /* memory of each, 0: the daemon does not tell */
        char library[PATH_MAX];  /* the interposer */
        char driver[PATH_MAX];   /* the real libcuda.so.1 */
        char nvml_library[PATH_MAX]; /* the NVML stand-in; empty: NVML shows the whole card */
        char nvml[PATH_MAX];         /* the real libnvidia-ml.so.1 */
        char driver_version[32]; /* "12.8" when the driver told, else empty */
};

/* Checks memory, need, priority and job. 0 or -EINVAL, -ERANGE with message. */
must_check int launch_check(struct launch *l, char message[CLI_MESSAGE]);

/* The interposer: $BERTH_LIBRARY, else beside a build tree's executable, else the installed one. -ENOENT with message.
 */
must_check int launch_find_library(struct launch *l, char message[CLI_MESSAGE]);

/* The driver: $BERTH_DRIVER, else the software device's library or the dynamic linker's libcuda.so.1, which is loaded
 * in a child of ours so that nothing of it stays behind. -ENOENT with message. */
must_check int launch_find_driver(struct launch *l, char message[CLI_MESSAGE]);

/* Does the environment switch on CUDA_LAUNCH_BLOCKING? */
bool launch_blocking(void);

/* The NVML stand-in, beside the interposer or a build tree's executable, and the real NVML: $BERTH_NVML, else the
 * software device's or the dynamic linker's. -ENOENT with message, and both paths empty: programs run without. */
must_check int launch_find_nvml(struct launch *l, char message[CLI_MESSAGE]);

/* What LD_PRELOAD becomes: the library first, then what was there, never twice. -EINVAL when the path can't stand in
 * that list. */
must_check int launch_preload(const char *library, const char *before, char **ret, char message[CLI_MESSAGE]);

/* Sets everything in this process's environment. */
must_check int launch_environment(const struct launch *l, char message[CLI_MESSAGE]);

/* Executes; returns only when that failed, with the exit code, after saying why. */
int launch_exec(char **argv);

/* Loads a library in a child: 0 and its absolute path, or -ENOENT with the linker's words in message, -ETIMEDOUT. For
 * libcuda also its version as "12.8" in version (32 bytes), which may be NULL. */
must_check int launch_probe(const char *name, char path[PATH_MAX], char *version, char message[CLI_MESSAGE]);
