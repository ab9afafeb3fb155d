/* control.h: control calls to NVIDIA's resource manager, as far as its lists of processes need them.
 *
 * GET_PIDS tells who uses a device with objects of a class, GET_PID_INFO how much memory some processes have, GET_GID_INFO which device it is. Declared
 * after NVIDIA's open-gpu-kernel-modules (MIT), 580: src/common/sdk/nvidia/inc/nvos.h (NVOS54), ctrl/ctrl2080/ctrl2080gpu.h, and
 * src/nvidia/arch/nvalloc/unix/include/nv_escape.h; sizes and order measured with nvidia-smi 580.159.
 */
#pragma once

#include <stdint.h>

/* One control call. params is an address of the caller's. */
struct control_call {
        uint32_t client, object, command, flags;
        uint64_t params;
        uint32_t params_size, status;
};
_Static_assert(sizeof(struct control_call) == 32, "NVOS54");

/* _IOWR('F', 42, struct control_call): the resource manager refuses any other size. */
#define CONTROL_REQUEST 0xc020462aU

enum { CONTROL_GET_GID_INFO = 0x2080014a, CONTROL_GET_PIDS = 0x2080018d, CONTROL_GET_PID_INFO = 0x2080018e };
enum { CONTROL_PIDS = 950, CONTROL_INFOS = 200, CONTROL_GID_BINARY = 2, CONTROL_NO_INSTANCE = 0xffffffff };

struct control_pids {
        uint32_t id_type, id, count, pids[CONTROL_PIDS];
};
_Static_assert(sizeof(struct control_pids) == 3812, "NV2080_CTRL_GPU_GET_PIDS_PARAMS");

struct control_info {
        uint32_t pid, index /* 0: video memory */, result;
        uint64_t own, shared_owned, shared_duped; /* bytes; the first two are what NVML calls used */
        uint64_t protected_own, protected_shared_owned, protected_shared_duped;
        uint32_t compute_instance, gpu_instance;
};
_Static_assert(sizeof(struct control_info) == 72, "NV2080_CTRL_GPU_PID_INFO");

struct control_infos {
        uint32_t count;
        struct control_info infos[CONTROL_INFOS];
};
_Static_assert(sizeof(struct control_infos) == 14408, "NV2080_CTRL_GPU_GET_PID_INFO_PARAMS");

struct control_gid {
        uint32_t index, flags, length;
        uint8_t data[256];
};
_Static_assert(sizeof(struct control_gid) == 268, "NV2080_CTRL_GPU_GET_GID_INFO_PARAMS");
