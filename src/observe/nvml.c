/* nvml.c: devices behind an NVML library; see nvml.h.
 *
 * Every function is looked up by name with a typed pointer; all but the first few are optional, and a missing one, like a failing one, leaves its
 * value out of the sample. Process lists count only when this process shares the outermost pid namespace: elsewhere the driver's pids mean other
 * processes, or none are shown.
 */
#include "observe/nvml.h"

#include "base/error.h"
#include "base/text.h"
#include "observe/abi/nvml.h"

#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* required: without it there is no device list. */
#define NVML_SYMBOLS(X)                               \
        X(nvmlInit_v2, true)                          \
        X(nvmlShutdown, true)                         \
        X(nvmlDeviceGetCount_v2, true)                \
        X(nvmlDeviceGetHandleByIndex_v2, true)        \
        X(nvmlDeviceGetUUID, true)                    \
        X(nvmlDeviceGetMemoryInfo, true)              \
        X(nvmlDeviceGetName, false)                   \
        X(nvmlErrorString, false)                     \
        X(nvmlDeviceGetMemoryInfo_v2, false)          \
        X(nvmlDeviceGetComputeRunningProcesses_v3, false) \
        X(nvmlDeviceGetUtilizationRates, false)       \
        X(nvmlDeviceGetPowerUsage, false)             \
        X(nvmlDeviceGetTemperature, false)            \
        X(nvmlDeviceGetClockInfo, false)              \
        X(nvmlDeviceGetCurrentClocksThrottleReasons, false) \
        X(nvmlDeviceGetTotalEccErrors, false)         \
        X(nvmlDeviceGetEnforcedPowerLimit, false)     \
        X(nvmlEventSetCreate, false)                  \
        X(nvmlEventSetFree, false)                    \
        X(nvmlDeviceRegisterEvents, false)            \
        X(nvmlEventSetWait_v2, false)

/* What no device can say; such a figure is as good as none. Drivers were seen to tell 2^32 - 1, negative temperatures as huge ones, and shares beyond the whole. */
#define MOST_MW 100000000U
#define MOST_CELSIUS 250U
#define MOST_MHZ 100000U
#define MOST_ERRORS (1ULL << 48)

struct nvml {
        void *library;
        uint32_t kind;
        bool started, pids_are_ours;
        size_t count;
        nvmlDevice_t handles[OBSERVE_MAX_DEVICES];
        nvmlEventSet_t events; /* NULL: none can be had */
        struct {
                bool heard; /* its errors are told to us */
                uint64_t count;
                uint32_t last;
        } xids[OBSERVE_MAX_DEVICES];
#define X(name, required) name##_fn name;
        NVML_SYMBOLS(X)
#undef X
};

static bool outermost_pid_namespace(void)
{
        char link[64] = "";
        ssize_t n = readlink("/proc/self/ns/pid", link, sizeof link - 1);

        /* PROC_PID_INIT_INO: the kernel's fixed number of the first pid namespace. */
        return n > 0 && !strcmp(link, "pid:[4026531836]");
}

int nvml_open(const char *path, uint32_t kind, struct nvml **ret, char reason[160])
{
        scoped(nvml_close) struct nvml *nvml = calloc(1, sizeof *nvml);
        nvmlReturn_t r;

        if (!nvml)
                return -ENOMEM;
        nvml->kind = kind;
        /* Our own library reports the pids that it sees itself. */
        nvml->pids_are_ours = kind == WIRE_SOFTWARE || outermost_pid_namespace();
        nvml->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!nvml->library) {
                const char *why = dlerror();

                text_copy_clean(reason, 160, why ? why : path);
                return -E_UNAVAILABLE;
        }
#define X(symbol, required)                                                                      \
        nvml->symbol = (symbol##_fn)dlsym(nvml->library, #symbol);                               \
        if (!nvml->symbol && (required)) {                                                       \
                snprintf(reason, 160, "%s has no %s", path, #symbol);                            \
                return -E_UNAVAILABLE;                                                           \
        }
        NVML_SYMBOLS(X)
#undef X
        r = nvml->nvmlInit_v2();
        if (r != NVML_SUCCESS) {
                snprintf(reason, 160, "%s: %s", path, nvml->nvmlErrorString ? nvml->nvmlErrorString(r) : "nvmlInit failed");
                return -E_UNAVAILABLE;
        }
        nvml->started = true;
        *ret = take(nvml);
        return 0;
}

void nvml_close(struct nvml *nvml)
{
        if (!nvml)
                return;
        if (nvml->events)
                (void)nvml->nvmlEventSetFree(nvml->events);
        if (nvml->started)
                (void)nvml->nvmlShutdown();
        if (nvml->library)
                dlclose(nvml->library);
        free(nvml);
}

/* "GPU-01234567-89ab-…": 16 bytes; other forms (MIG) are refused. */
static bool parse_uuid(const char *text, uint8_t uuid[16])
{
        size_t digits = 0;

        if (strncmp(text, "GPU-", 4) != 0)
                return false;
        for (const char *p = text + 4; *p; p++) {
                int value;

                if (*p == '-')
                        continue;
                if (!isxdigit((unsigned char)*p) || digits >= 32)
                        return false;
                value = *p <= '9' ? *p - '0' : (*p | 0x20) - 'a' + 10;
                uuid[digits / 2] = (uint8_t)(digits % 2 ? uuid[digits / 2] | value : value << 4);
                digits++;
        }
        return digits == 32;
}

/* Errors of the device nvml->count will be told as events from now on, where the driver does that. */
static void hear_errors(struct nvml *nvml, nvmlDevice_t handle)
{
        memset(&nvml->xids[nvml->count], 0, sizeof nvml->xids[0]);
        if (!nvml->nvmlEventSetCreate || !nvml->nvmlEventSetFree || !nvml->nvmlDeviceRegisterEvents || !nvml->nvmlEventSetWait_v2)
                return;
        if (!nvml->events && nvml->nvmlEventSetCreate(&nvml->events) != NVML_SUCCESS)
                nvml->events = NULL;
        nvml->xids[nvml->count].heard = nvml->events && nvml->nvmlDeviceRegisterEvents(handle, nvmlEventTypeXidCriticalError, nvml->events) == NVML_SUCCESS;
}

size_t nvml_list(struct nvml *nvml, struct observe_device *devices, size_t max)
{
        unsigned int count = 0;

        nvml->count = 0;
        if (nvml->nvmlDeviceGetCount_v2(&count) != NVML_SUCCESS)
                return 0;
        for (unsigned int i = 0; i < count && nvml->count < max && nvml->count < OBSERVE_MAX_DEVICES; i++) {
                struct observe_device *d = &devices[nvml->count];
                char text[NVML_DEVICE_UUID_V2_BUFFER_SIZE + 1] = "", name[NVML_DEVICE_NAME_V2_BUFFER_SIZE + 1] = "";
                nvmlMemory_t memory = {0};
                nvmlDevice_t handle;

                memset(d, 0, sizeof *d);
                if (nvml->nvmlDeviceGetHandleByIndex_v2(i, &handle) != NVML_SUCCESS ||
                    nvml->nvmlDeviceGetUUID(handle, text, sizeof text - 1) != NVML_SUCCESS || !parse_uuid(text, d->uuid))
                        continue;
                if (nvml->nvmlDeviceGetName && nvml->nvmlDeviceGetName(handle, name, sizeof name - 1) == NVML_SUCCESS)
                        text_copy_clean(d->name, sizeof d->name, name);
                else
                        snprintf(d->name, sizeof d->name, "device %u", i);
                if (nvml->nvmlDeviceGetMemoryInfo(handle, &memory) == NVML_SUCCESS)
                        d->total_bytes = memory.total;
                d->kind = nvml->kind;
                d->shareable = d->total_bytes > 0;
                hear_errors(nvml, handle);
                nvml->handles[nvml->count++] = handle;
        }
        return nvml->count;
}

static void sample_memory(struct nvml *nvml, nvmlDevice_t handle, struct observe_sample *s)
{
        nvmlMemory_v2_t v2 = {.version = nvmlMemory_v2};
        nvmlMemory_t v1 = {0};

        /* The second form tells what the driver keeps for itself apart from what programs use. */
        if (nvml->nvmlDeviceGetMemoryInfo_v2 && nvml->nvmlDeviceGetMemoryInfo_v2(handle, &v2) == NVML_SUCCESS) {
                s->total_bytes = v2.total;
                s->used_bytes = v2.used;
        } else if (nvml->nvmlDeviceGetMemoryInfo(handle, &v1) == NVML_SUCCESS) {
                s->total_bytes = v1.total;
                s->used_bytes = v1.used;
        } else {
                return;
        }
        s->valid |= WIRE_VALID_TOTAL;
        if (s->used_bytes <= s->total_bytes)
                s->valid |= WIRE_VALID_USED;
        else
                s->used_bytes = 0;
}

static void sample_processes(struct nvml *nvml, nvmlDevice_t handle, struct observe_sample *s)
{
        nvmlProcessInfo_t infos[OBSERVE_MAX_PROCESSES];
        unsigned int count = OBSERVE_MAX_PROCESSES;

        if (!nvml->pids_are_ours || !nvml->nvmlDeviceGetComputeRunningProcesses_v3 ||
            nvml->nvmlDeviceGetComputeRunningProcesses_v3(handle, &count, infos) != NVML_SUCCESS || count > OBSERVE_MAX_PROCESSES)
                return;
        for (unsigned int i = 0; i < count; i++) {
                if (infos[i].usedGpuMemory == NVML_VALUE_NOT_AVAILABLE || infos[i].pid > INT32_MAX ||
                    ((s->valid & WIRE_VALID_TOTAL) && infos[i].usedGpuMemory > s->total_bytes))
                        return; /* one unknown makes the sum unknown */
                s->processes[i] = (struct observe_process){(pid_t)infos[i].pid, infos[i].usedGpuMemory};
        }
        s->process_count = count;
        s->processes_valid = true;
}

/* What came since the last look, of all devices; never waits. */
static void count_errors(struct nvml *nvml)
{
        nvmlEventData_t event;

        for (int n = 0; nvml->events && n < 64 && nvml->nvmlEventSetWait_v2(nvml->events, &event, 0) == NVML_SUCCESS; n++)
                for (size_t i = 0; i < nvml->count; i++)
                        if (nvml->handles[i] == event.device && event.eventType == nvmlEventTypeXidCriticalError) {
                                nvml->xids[i].count++;
                                nvml->xids[i].last = (uint32_t)event.eventData;
                        }
}

static void sample_extra(struct nvml *nvml, size_t index, struct observe_sample *s)
{
        nvmlDevice_t handle = nvml->handles[index];
        unsigned long long corrected, uncorrected, reasons;
        unsigned int value;

        if (nvml->nvmlDeviceGetClockInfo && nvml->nvmlDeviceGetClockInfo(handle, NVML_CLOCK_SM, &value) == NVML_SUCCESS && value <= MOST_MHZ) {
                s->extra.clock_mhz = value;
                s->valid |= WIRE_VALID_CLOCK;
        }
        if (nvml->nvmlDeviceGetClockInfo && nvml->nvmlDeviceGetClockInfo(handle, NVML_CLOCK_MEM, &value) == NVML_SUCCESS && value <= MOST_MHZ) {
                s->extra.memory_clock_mhz = value;
                s->valid |= WIRE_VALID_MEMORY_CLOCK;
        }
        if (nvml->nvmlDeviceGetCurrentClocksThrottleReasons && nvml->nvmlDeviceGetCurrentClocksThrottleReasons(handle, &reasons) == NVML_SUCCESS) {
                s->extra.throttle = (uint32_t)(reasons & ((1u << WIRE_THROTTLE_N) - 1));
                s->valid |= WIRE_VALID_THROTTLE;
        }
        if (nvml->nvmlDeviceGetEnforcedPowerLimit && nvml->nvmlDeviceGetEnforcedPowerLimit(handle, &value) == NVML_SUCCESS && value <= MOST_MW) {
                s->extra.power_limit_mw = value;
                s->valid |= WIRE_VALID_POWER_LIMIT;
        }
        if (nvml->nvmlDeviceGetTotalEccErrors &&
            nvml->nvmlDeviceGetTotalEccErrors(handle, NVML_MEMORY_ERROR_TYPE_CORRECTED, NVML_VOLATILE_ECC, &corrected) == NVML_SUCCESS &&
            nvml->nvmlDeviceGetTotalEccErrors(handle, NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC, &uncorrected) == NVML_SUCCESS && corrected <= MOST_ERRORS &&
            uncorrected <= MOST_ERRORS) {
                s->extra.ecc_corrected = corrected;
                s->extra.ecc_uncorrected = uncorrected;
                s->valid |= WIRE_VALID_ECC;
        }
        count_errors(nvml);
        if (nvml->xids[index].heard) {
                s->extra.xids = nvml->xids[index].count;
                s->extra.last_xid = nvml->xids[index].last;
                s->valid |= WIRE_VALID_XID;
        }
}

void nvml_sample(struct nvml *nvml, size_t index, struct observe_sample *ret_sample)
{
        nvmlDevice_t handle = nvml->handles[index];
        nvmlUtilization_t utilisation;
        unsigned int value;

        sample_memory(nvml, handle, ret_sample);
        sample_processes(nvml, handle, ret_sample);
        sample_extra(nvml, index, ret_sample);
        if (nvml->nvmlDeviceGetUtilizationRates && nvml->nvmlDeviceGetUtilizationRates(handle, &utilisation) == NVML_SUCCESS &&
            utilisation.gpu <= 100) {
                ret_sample->utilisation_permille = utilisation.gpu * 10;
                ret_sample->valid |= WIRE_VALID_UTILISATION;
                if (utilisation.memory <= 100) {
                        ret_sample->extra.memory_busy_permille = utilisation.memory * 10;
                        ret_sample->valid |= WIRE_VALID_MEMORY_BUSY;
                }
        }
        if (nvml->nvmlDeviceGetPowerUsage && nvml->nvmlDeviceGetPowerUsage(handle, &value) == NVML_SUCCESS && value <= MOST_MW) {
                ret_sample->power_mw = value;
                ret_sample->valid |= WIRE_VALID_POWER;
        }
        if (nvml->nvmlDeviceGetTemperature && nvml->nvmlDeviceGetTemperature(handle, NVML_TEMPERATURE_GPU, &value) == NVML_SUCCESS && value <= MOST_CELSIUS) {
                ret_sample->temperature_c = value;
                ret_sample->valid |= WIRE_VALID_TEMPERATURE;
        }
}
