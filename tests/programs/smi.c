/* smi.c: prints what NVML says of device 0, as one line of JSON: memory in both forms, and the lists of processes in all of theirs.
 *
 *   smi [--memory SIZE] [--global] [--times N] [--table DEVICE]
 *
 * With --memory it allocates so much first and prints what the driver says beside it. Roads: BERTH_ROAD=link binds NVML's functions in the -linked
 * twin; otherwise they are looked up in libnvidia-ml.so.1, or with --global by dlsym alone, which finds what was preloaded. A function that
 * the library lacks, and one that fails, shows as its error number. --times: asks so often, and prints the last answer. --table: for each
 * class of objects on that device [pid, bytes] as nvidia-smi gets them, by control calls (tests/fake/resource-manager.c), and whether a call
 * of another size is refused.
 */
#include "cu.h"

#include "nvml/abi/control.h"
#include "observe/abi/nvml.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define FUNCTIONS(X)                                                                                                    \
        X(nvmlInit_v2, (void))                                                                                          \
        X(nvmlShutdown, (void))                                                                                         \
        X(nvmlDeviceGetHandleByIndex_v2, (unsigned, nvmlDevice_t *))                                                    \
        X(nvmlDeviceGetUUID, (nvmlDevice_t, char *, unsigned))                                                          \
        X(nvmlDeviceGetMemoryInfo, (nvmlDevice_t, nvmlMemory_t *))                                                      \
        X(nvmlDeviceGetMemoryInfo_v2, (nvmlDevice_t, nvmlMemory_v2_t *))                                                \
        X(nvmlDeviceGetComputeRunningProcesses, (nvmlDevice_t, unsigned *, void *))                                     \
        X(nvmlDeviceGetComputeRunningProcesses_v2, (nvmlDevice_t, unsigned *, void *))                                  \
        X(nvmlDeviceGetComputeRunningProcesses_v3, (nvmlDevice_t, unsigned *, void *))                                  \
        X(nvmlDeviceGetGraphicsRunningProcesses_v3, (nvmlDevice_t, unsigned *, void *))                                 \
        X(nvmlDeviceGetMPSComputeRunningProcesses_v3, (nvmlDevice_t, unsigned *, void *))                               \
        X(nvmlDeviceGetAccountingPids, (nvmlDevice_t, unsigned *, unsigned *))                                          \
        X(nvmlDeviceGetRunningProcessDetailList, (nvmlDevice_t, nvmlProcessDetailList_v1_t *))

static struct {
#define FIELD(name, parameters) nvmlReturn_t(*name) parameters;
        FUNCTIONS(FIELD)
#undef FIELD
} nvml;

enum { MOST = 64 };

#ifdef CU_LINKED
#define DECLARE(name, parameters) extern nvmlReturn_t name parameters;
FUNCTIONS(DECLARE)
#undef DECLARE
#endif

static void open_nvml(bool global)
{
#ifdef CU_LINKED
#define TAKE(function, parameters) nvml.function = function;
        FUNCTIONS(TAKE)
#else
        void *library = global ? RTLD_DEFAULT : dlopen("libnvidia-ml.so.1", RTLD_NOW);

        if (!library && !global) {
                fprintf(stderr, "%s\n", dlerror());
                exit(4);
        }
#define TAKE(function, parameters) *(void **)&nvml.function = dlsym(library, #function);
        FUNCTIONS(TAKE)
#endif
        if (!nvml.nvmlInit_v2) {
                fprintf(stderr, "no nvmlInit_v2\n");
                exit(4);
        }
}

static const char *comma = "";

static void key(const char *name)
{
        printf("%s\"%s\":", comma, name);
        comma = ",";
}

/* First how many there are, then those: as callers do. */
static void list(const char *name, nvmlReturn_t (*f)(nvmlDevice_t, unsigned *, void *), nvmlDevice_t d, size_t entry, size_t used)
{
        char entries[MOST * sizeof(nvmlProcessDetail_v1_t)];
        unsigned n = 0, pid;
        unsigned long long bytes;
        nvmlReturn_t r = f ? f(d, &n, NULL) : NVML_ERROR_FUNCTION_NOT_FOUND;

        key(name);
        if (r == NVML_ERROR_INSUFFICIENT_SIZE && n <= MOST)
                r = f(d, &n, entries);
        if (r != NVML_SUCCESS) {
                printf("%d", r);
                return;
        }
        for (unsigned i = 0; i < n; i++) {
                memcpy(&pid, entries + i * entry, sizeof pid);
                memcpy(&bytes, entries + i * entry + used, sizeof bytes);
                printf("%s[%u,%llu]", i ? "," : "[", pid, bytes);
        }
        printf("%s", n ? "]" : "[]");
}

static void accounting(nvmlDevice_t d)
{
        unsigned pids[MOST], n = MOST;
        nvmlReturn_t r = nvml.nvmlDeviceGetAccountingPids ? nvml.nvmlDeviceGetAccountingPids(d, &n, pids) : NVML_ERROR_FUNCTION_NOT_FOUND;

        key("accounting");
        if (r) {
                printf("%d", r);
                return;
        }
        printf("[");
        for (unsigned i = 0; i < n; i++)
                printf("%s%u", i ? "," : "", pids[i]);
        printf("]");
}

static nvmlReturn_t details(nvmlDevice_t d, unsigned *n, void *entries)
{
        nvmlProcessDetailList_v1_t all = {nvmlProcessDetailList_v1, NVML_PROCESS_MODE_COMPUTE, *n, entries};
        nvmlReturn_t r = nvml.nvmlDeviceGetRunningProcessDetailList(d, &all);

        *n = all.numProcArrayEntries;
        return r;
}

static void memory(nvmlDevice_t d)
{
        nvmlMemory_v2_t v2 = {.version = nvmlMemory_v2}, wrong = {.version = 7};
        nvmlMemory_t v1;
        nvmlReturn_t r = nvml.nvmlDeviceGetMemoryInfo(d, &v1);

        key("memory");
        if (r)
                printf("%d", r);
        else
                printf("{\"total\":%llu,\"free\":%llu,\"used\":%llu}", v1.total, v1.free, v1.used);
        r = nvml.nvmlDeviceGetMemoryInfo_v2 ? nvml.nvmlDeviceGetMemoryInfo_v2(d, &v2) : NVML_ERROR_FUNCTION_NOT_FOUND;
        key("memory_v2");
        if (r)
                printf("%d", r);
        else
                printf("{\"total\":%llu,\"reserved\":%llu,\"free\":%llu,\"used\":%llu}", v2.total, v2.reserved, v2.free, v2.used);
        key("wrong_version");
        printf("%d", nvml.nvmlDeviceGetMemoryInfo_v2 ? nvml.nvmlDeviceGetMemoryInfo_v2(d, &wrong) : NVML_ERROR_FUNCTION_NOT_FOUND);
}

static bool control(int fd, uint32_t device, uint32_t command, void *params, uint32_t size)
{
        struct control_call call = {.object = 0x100 + device, .command = command, .params = (uintptr_t)params, .params_size = size};

        errno = 77;
        if (ioctl(fd, CONTROL_REQUEST, &call) != 0 || errno != 77) {
                fprintf(stderr, "control call: %m\n");
                exit(5);
        }
        return !call.status;
}

/* The calls of nvidia-smi 580.159: objects for computing, of MPS, for graphics; then the memory of each process. */
static void table(uint32_t device)
{
        static const uint32_t classes[] = {0xcbc0, 0x900e, 0xcb97};
        static struct control_infos infos;
        static struct control_pids pids;
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

        key("table");
        for (size_t c = 0; c < sizeof classes / sizeof *classes; c++) {
                pids = (struct control_pids){.id = classes[c]};
                if (!control(fd, device, CONTROL_GET_PIDS, &pids, sizeof pids))
                        exit(6);
                printf("%s\"%x\":[", c ? "," : "{", classes[c]);
                for (uint32_t i = 0; i < pids.count; i++) {
                        infos = (struct control_infos){.count = 1, .infos = {{.pid = pids.pids[i]}}};
                        if (!control(fd, device, CONTROL_GET_PID_INFO, &infos, sizeof infos) || infos.infos[0].result)
                                exit(6);
                        printf("%s[%u,%llu]", i ? "," : "", pids.pids[i], (unsigned long long)(infos.infos[0].own + infos.infos[0].shared_owned));
                }
                printf("]");
        }
        printf("}");
        key("refused");
        printf("%s", control(fd, device, CONTROL_GET_PIDS, &pids, sizeof pids - 4) ? "false" : "true");
        /* What is no control call reaches the system. */
        key("plain");
        printf("%d", ioctl(fd, FIONREAD, &(int){0}) < 0 ? errno : 0);
        close(fd);
}

int main(int argc, char **argv)
{
        char uuid[NVML_DEVICE_UUID_V2_BUFFER_SIZE] = "";
        size_t free_bytes, total;
        struct cu_base base;
        nvmlMemory_t again;
        uint64_t bytes, times;
        CUdeviceptr at;
        nvmlDevice_t d;
        nvmlReturn_t r;

        (void)argc;
        cu_known(argv, "--memory= --global --times= --table=");
        bytes = cu_size(argv, "--memory", 0);
        times = cu_number(argv, "--times", 1);
        cu_open(argv);
        open_nvml(cu_flag(argv, "--global"));
        printf("{");
        key("name");
        printf("\"smi\"");
        key("pid");
        printf("%d", (int)getpid());
        if (bytes) {
                cu_begin(&base);
                CU(cu.cuMemAlloc(&at, bytes));
                CU(cu.cuMemGetInfo(&free_bytes, &total));
                key("driver");
                printf("{\"total\":%zu,\"free\":%zu}", total, free_bytes);
        }
        r = nvml.nvmlInit_v2();
        if (r == NVML_SUCCESS)
                r = nvml.nvmlDeviceGetHandleByIndex_v2(0, &d);
        if (r != NVML_SUCCESS) {
                key("error");
                printf("%d}\n", r);
                return 1;
        }
        for (uint64_t i = 1; i < times; i++)
                if (nvml.nvmlDeviceGetMemoryInfo(d, &again) != NVML_SUCCESS)
                        return 1;
        nvml.nvmlDeviceGetUUID(d, uuid, sizeof(uuid));
        key("uuid");
        printf("\"%s\"", uuid);
        memory(d);
        list("compute", nvml.nvmlDeviceGetComputeRunningProcesses, d, sizeof(nvmlProcessInfo_v1_t),
             offsetof(nvmlProcessInfo_v1_t, usedGpuMemory));
        list("compute_v2", nvml.nvmlDeviceGetComputeRunningProcesses_v2, d, sizeof(nvmlProcessInfo_v2_t),
             offsetof(nvmlProcessInfo_v2_t, usedGpuMemory));
        list("compute_v3", nvml.nvmlDeviceGetComputeRunningProcesses_v3, d, sizeof(nvmlProcessInfo_t),
             offsetof(nvmlProcessInfo_t, usedGpuMemory));
        list("graphics_v3", nvml.nvmlDeviceGetGraphicsRunningProcesses_v3, d, sizeof(nvmlProcessInfo_t),
             offsetof(nvmlProcessInfo_t, usedGpuMemory));
        list("mps_v3", nvml.nvmlDeviceGetMPSComputeRunningProcesses_v3, d, sizeof(nvmlProcessInfo_t),
             offsetof(nvmlProcessInfo_t, usedGpuMemory));
        list("details", nvml.nvmlDeviceGetRunningProcessDetailList ? details : NULL, d, sizeof(nvmlProcessDetail_v1_t),
             offsetof(nvmlProcessDetail_v1_t, usedGpuMemory));
        accounting(d);
        if (cu_option(argv, "--table"))
                table((uint32_t)cu_number(argv, "--table", 0));
        printf("}\n");
        nvml.nvmlShutdown();
        return 0;
}
