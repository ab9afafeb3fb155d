/* gpu.h: the family of probes on the driver's library: finds every copy of it that any process has mapped, in containers too, and counts the calls. Needs CAP_BPF,
 * CAP_PERFMON, and CAP_SYS_PTRACE to look into other users' processes.
 *
 * Berth's own programs are counted by the interposer for nothing; these probes are for all others, and for those that ran before. What is seen is what is asked of
 * the driver, not what the device does.
 */
#pragma once

#include "base/scope.h"
#include "bpf/probes.h"

struct gpu_options {
        uint32_t forced, refuse; /* as struct ladder has them */
        uint32_t launch_permille, uid; /* uid: UINT32_MAX: everybody */
        uint64_t period_ns;
};

struct gpu;

/* Always answers: with no rung left *ret is NULL and family says why. */
void gpu_open(const struct gpu_options *options, struct probes_family *family, struct gpu **ret);
void gpu_free(struct gpu *gpu);
SCOPED_FN(struct gpu *, gpu_free)

/* Looks for new copies of the library, in processes that are due for a look, and attaches to them. */
void gpu_scan(struct gpu *gpu, uint64_t now);
/* What was counted since the last time, summed by process. 0 or -errno. */
must_check int gpu_read(struct gpu *gpu, void (*each)(void *data, uint32_t pid, uint64_t start_ns, uint32_t uid, const char *comm, const struct probes_gpu *sums),
                        void *data);
/* A period begins: launches are counted from now on; returns for how long, or 0: to its end. */
uint64_t gpu_begin_window(struct gpu *gpu, uint64_t now);
/* Launches are no longer counted until the next period. */
void gpu_end_window(struct gpu *gpu, uint64_t now);
void gpu_family(struct gpu *gpu, struct probes_family *family);
