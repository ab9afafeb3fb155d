/* nvml.c: the software device's libnvidia-ml.so.1.
 *
 * It reads the same folder as the device itself. Power and temperature it has none of and says so; utilisation is the
 * share of time, since the last call of this process, in which kernels or copies ran.
 */
#include "observe/abi/nvml.h"
#include "base/clock.h"
#include "store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
/* API(name, (parameters)) { body }: an exported function. */
#define API(name, parameters)                                                                                          \
        EXPORT nvmlReturn_t name parameters;                                                                           \
        EXPORT nvmlReturn_t name parameters

enum { PROCESSES = 256 };

struct nvmlDevice_st {
        int index;
};

static struct nvmlDevice_st devices[STORE_DEVICES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int users;

/* What the last reading of the utilisation saw. */
static struct {
        uint64_t at, busy, copy;
} seen[STORE_DEVICES];

static bool ready(void)
{
        return __atomic_load_n(&users, __ATOMIC_ACQUIRE) > 0 && store();
}

static unsigned device_count(void)
{
        return store()->devices < STORE_DEVICES ? store()->devices : STORE_DEVICES;
}

static nvmlReturn_t check(nvmlDevice_t d, const void *result)
{
        if (!ready())
                return NVML_ERROR_UNINITIALIZED;
        if (d < devices || d >= devices + device_count() || !result)
                return NVML_ERROR_INVALID_ARGUMENT;
        return NVML_SUCCESS;
}

#define TRY(expression)                                                                                                \
        do {                                                                                                           \
                nvmlReturn_t try_ = (expression);                                                                      \
                if (try_)                                                                                              \
                        return try_;                                                                                   \
        } while (0)

static nvmlReturn_t put_text(char *to, unsigned length, const char *from)
{
        if (strlen(from) >= length)
                return NVML_ERROR_INSUFFICIENT_SIZE;
        strcpy(to, from);
        return NVML_SUCCESS;
}

API(nvmlInit_v2, (void))
{
        nvmlReturn_t r = NVML_SUCCESS;
        int e;

        pthread_mutex_lock(&lock);
        e = store_open(); /* also after a fork, where the child has to open it anew */
        if (e < 0) {
                r = NVML_ERROR_DRIVER_NOT_LOADED;
        } else {
                for (int i = 0; i < STORE_DEVICES; i++) {
                        devices[i].index = i;
                        if (!seen[i].at)
                                seen[i].at = clock_now_ns();
                }
                __atomic_fetch_add(&users, 1, __ATOMIC_RELEASE);
        }
        pthread_mutex_unlock(&lock);
        return r;
}

API(nvmlInit, (void))
{
        return nvmlInit_v2();
}

API(nvmlInitWithFlags, (unsigned flags))
{
        (void)flags;
        return nvmlInit_v2();
}

API(nvmlShutdown, (void))
{
        nvmlReturn_t r = NVML_SUCCESS;

        pthread_mutex_lock(&lock);
        if (users == 0)
                r = NVML_ERROR_UNINITIALIZED;
        else
                __atomic_fetch_sub(&users, 1, __ATOMIC_RELEASE);
        pthread_mutex_unlock(&lock);
        return r;
}

EXPORT const char *nvmlErrorString(nvmlReturn_t result);
EXPORT const char *nvmlErrorString(nvmlReturn_t result)
{
        static const char *const texts[] = {
                [NVML_SUCCESS] = "Success",
                [NVML_ERROR_UNINITIALIZED] = "Uninitialized",
                [NVML_ERROR_INVALID_ARGUMENT] = "Invalid Argument",
                [NVML_ERROR_NOT_SUPPORTED] = "Not Supported",
                [NVML_ERROR_NO_PERMISSION] = "Insufficient Permissions",
                [NVML_ERROR_ALREADY_INITIALIZED] = "Already Initialized",
                [NVML_ERROR_NOT_FOUND] = "Not Found",
                [NVML_ERROR_INSUFFICIENT_SIZE] = "Insufficient Size",
                [NVML_ERROR_INSUFFICIENT_POWER] = "Insufficient External Power",
                [NVML_ERROR_DRIVER_NOT_LOADED] = "Driver Not Loaded",
                [NVML_ERROR_TIMEOUT] = "Timeout",
        };

        if (result == NVML_ERROR_ARGUMENT_VERSION_MISMATCH)
                return "Argument Version Mismatch";
        if (result < 0 || (size_t)result >= sizeof(texts) / sizeof(texts[0]) || !texts[result])
                return "Unknown Error";
        return texts[result];
}

API(nvmlSystemGetDriverVersion, (char *version, unsigned length))
{
        if (!ready())
                return NVML_ERROR_UNINITIALIZED;
        return version ? put_text(version, length, "580.0.software") : NVML_ERROR_INVALID_ARGUMENT;
}

API(nvmlSystemGetCudaDriverVersion_v2, (int *version))
{
        if (!version)
                return NVML_ERROR_INVALID_ARGUMENT;
        *version = 13000;
        return NVML_SUCCESS;
}

API(nvmlSystemGetCudaDriverVersion, (int *version))
{
        return nvmlSystemGetCudaDriverVersion_v2(version);
}

API(nvmlDeviceGetCount_v2, (unsigned *count))
{
        if (!ready())
                return NVML_ERROR_UNINITIALIZED;
        if (!count)
                return NVML_ERROR_INVALID_ARGUMENT;
        *count = device_count();
        return NVML_SUCCESS;
}

API(nvmlDeviceGetCount, (unsigned *count))
{
        return nvmlDeviceGetCount_v2(count);
}

API(nvmlDeviceGetHandleByIndex_v2, (unsigned index, nvmlDevice_t *device))
{
        if (!ready())
                return NVML_ERROR_UNINITIALIZED;
        if (!device || index >= device_count())
                return NVML_ERROR_INVALID_ARGUMENT;
        *device = &devices[index];
        return NVML_SUCCESS;
}

API(nvmlDeviceGetHandleByIndex, (unsigned index, nvmlDevice_t *device))
{
        return nvmlDeviceGetHandleByIndex_v2(index, device);
}

API(nvmlDeviceGetHandleByUUID, (const char *uuid, nvmlDevice_t *device))
{
        if (!ready())
                return NVML_ERROR_UNINITIALIZED;
        if (!uuid || !device)
                return NVML_ERROR_INVALID_ARGUMENT;
        for (unsigned i = 0; i < device_count(); i++) {
                unsigned char bytes[16];
                char text[48];

                store_uuid((int)i, bytes, text);
                if (strcmp(text, uuid) == 0) {
                        *device = &devices[i];
                        return NVML_SUCCESS;
                }
        }
        return NVML_ERROR_NOT_FOUND;
}

API(nvmlDeviceGetHandleByPciBusId_v2, (const char *id, nvmlDevice_t *device))
{
        unsigned domain = 0, bus = 0, slot = 0;

        if (!ready())
                return NVML_ERROR_UNINITIALIZED;
        if (!id || !device ||
            (sscanf(id, "%x:%x:%x", &domain, &bus, &slot) != 3 && sscanf(id, "%x:%x", &bus, &slot) != 2))
                return NVML_ERROR_INVALID_ARGUMENT;
        if (domain || slot || bus < 1 || bus > device_count())
                return NVML_ERROR_NOT_FOUND;
        *device = &devices[bus - 1];
        return NVML_SUCCESS;
}

API(nvmlDeviceGetHandleByPciBusId, (const char *id, nvmlDevice_t *device))
{
        return nvmlDeviceGetHandleByPciBusId_v2(id, device);
}

API(nvmlDeviceGetName, (nvmlDevice_t d, char *name, unsigned length))
{
        TRY(check(d, name));
        return put_text(name, length, "Berth Software Device");
}

API(nvmlDeviceGetUUID, (nvmlDevice_t d, char *uuid, unsigned length))
{
        unsigned char bytes[16];
        char text[48];

        TRY(check(d, uuid));
        store_uuid(d->index, bytes, text);
        return put_text(uuid, length, text);
}

API(nvmlDeviceGetIndex, (nvmlDevice_t d, unsigned *index))
{
        TRY(check(d, index));
        *index = (unsigned)d->index;
        return NVML_SUCCESS;
}

API(nvmlDeviceGetMinorNumber, (nvmlDevice_t d, unsigned *minor))
{
        TRY(check(d, minor));
        *minor = (unsigned)d->index;
        return NVML_SUCCESS;
}

API(nvmlDeviceGetPciInfo_v3, (nvmlDevice_t d, nvmlPciInfo_t *info))
{
        TRY(check(d, info));
        *info = (nvmlPciInfo_t){.bus = (unsigned)d->index + 1};
        snprintf(info->busIdLegacy, sizeof(info->busIdLegacy), "0000:%02X:00.0", (unsigned)d->index + 1);
        snprintf(info->busId, sizeof(info->busId), "00000000:%02X:00.0", (unsigned)d->index + 1);
        return NVML_SUCCESS;
}

API(nvmlDeviceGetPciInfo_v2, (nvmlDevice_t d, nvmlPciInfo_t *info))
{
        return nvmlDeviceGetPciInfo_v3(d, info);
}

API(nvmlDeviceGetPciInfo, (nvmlDevice_t d, nvmlPciInfo_t *info))
{
        return nvmlDeviceGetPciInfo_v3(d, info);
}

API(nvmlDeviceGetMemoryInfo, (nvmlDevice_t d, nvmlMemory_t *memory))
{
        TRY(check(d, memory));
        store_sweep();
        memory->total = store()->capacity;
        memory->used = atomic_load(&store()->device[d->index].used);
        memory->free = memory->used < memory->total ? memory->total - memory->used : 0;
        return NVML_SUCCESS;
}

API(nvmlDeviceGetMemoryInfo_v2, (nvmlDevice_t d, nvmlMemory_v2_t *memory))
{
        nvmlMemory_t m;

        TRY(check(d, memory));
        if (memory->version != nvmlMemory_v2)
                return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
        TRY(nvmlDeviceGetMemoryInfo(d, &m));
        memory->total = m.total;
        memory->reserved = 0;
        memory->used = m.used;
        memory->free = m.free;
        return NVML_SUCCESS;
}

/* One form for all versions: set writes one entry. */
static nvmlReturn_t processes(nvmlDevice_t d, unsigned *count, void *infos,
                              void (*set)(void *, unsigned, const struct store_process *))
{
        struct store_process list[PROCESSES];
        unsigned n, room;

        TRY(check(d, count));
        room = *count;
        n = store_processes(d->index, list, PROCESSES);
        n = n < PROCESSES ? n : PROCESSES;
        *count = n;
        if (n > room || (n > 0 && !infos))
                return NVML_ERROR_INSUFFICIENT_SIZE;
        for (unsigned i = 0; i < n; i++)
                set(infos, i, &list[i]);
        return NVML_SUCCESS;
}

static void set_v1(void *infos, unsigned i, const struct store_process *p)
{
        ((nvmlProcessInfo_v1_t *)infos)[i] = (nvmlProcessInfo_v1_t){p->pid, p->bytes};
}

static void set_v2(void *infos, unsigned i, const struct store_process *p)
{
        ((nvmlProcessInfo_v2_t *)infos)[i] = (nvmlProcessInfo_v2_t){p->pid, p->bytes, ~0U, ~0U};
}

API(nvmlDeviceGetComputeRunningProcesses, (nvmlDevice_t d, unsigned *count, nvmlProcessInfo_v1_t *infos))
{
        return processes(d, count, infos, set_v1);
}

API(nvmlDeviceGetComputeRunningProcesses_v2, (nvmlDevice_t d, unsigned *count, nvmlProcessInfo_v2_t *infos))
{
        return processes(d, count, infos, set_v2);
}

API(nvmlDeviceGetComputeRunningProcesses_v3, (nvmlDevice_t d, unsigned *count, nvmlProcessInfo_t *infos))
{
        return processes(d, count, infos, set_v2);
}

static void set_pid(void *pids, unsigned i, const struct store_process *p)
{
        ((unsigned *)pids)[i] = p->pid;
}

/* Accounting is on here, and forgets who ended. */
API(nvmlDeviceGetAccountingPids, (nvmlDevice_t d, unsigned *count, unsigned *pids))
{
        return processes(d, count, pids, set_pid);
}

static nvmlReturn_t none(nvmlDevice_t d, unsigned *count)
{
        TRY(check(d, count));
        *count = 0;
        return NVML_SUCCESS;
}

API(nvmlDeviceGetGraphicsRunningProcesses, (nvmlDevice_t d, unsigned *count, nvmlProcessInfo_v1_t *infos))
{
        return none(d, count);
}

API(nvmlDeviceGetGraphicsRunningProcesses_v2, (nvmlDevice_t d, unsigned *count, nvmlProcessInfo_v2_t *infos))
{
        return none(d, count);
}

API(nvmlDeviceGetGraphicsRunningProcesses_v3, (nvmlDevice_t d, unsigned *count, nvmlProcessInfo_t *infos))
{
        return none(d, count);
}

/* There is no MPS here. */
API(nvmlDeviceGetMPSComputeRunningProcesses, (nvmlDevice_t d, unsigned *count, nvmlProcessInfo_v1_t *infos))
{
        return none(d, count);
}

API(nvmlDeviceGetMPSComputeRunningProcesses_v2, (nvmlDevice_t d, unsigned *count, nvmlProcessInfo_v2_t *infos))
{
        return none(d, count);
}

API(nvmlDeviceGetMPSComputeRunningProcesses_v3, (nvmlDevice_t d, unsigned *count, nvmlProcessInfo_t *infos))
{
        return none(d, count);
}

static void set_detail(void *infos, unsigned i, const struct store_process *p)
{
        ((nvmlProcessDetail_v1_t *)infos)[i] = (nvmlProcessDetail_v1_t){p->pid, p->bytes, ~0U, ~0U, 0};
}

API(nvmlDeviceGetRunningProcessDetailList, (nvmlDevice_t d, nvmlProcessDetailList_v1_t *list))
{
        TRY(check(d, list));
        if (list->version != nvmlProcessDetailList_v1)
                return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
        if (list->mode == NVML_PROCESS_MODE_COMPUTE)
                return processes(d, &list->numProcArrayEntries, list->procArray, set_detail);
        return list->mode <= NVML_PROCESS_MODE_MPS ? none(d, &list->numProcArrayEntries) : NVML_ERROR_INVALID_ARGUMENT;
}

static unsigned percent(uint64_t part, uint64_t whole)
{
        return whole == 0 ? 0 : part >= whole ? 100 : (unsigned)(part * 100 / whole);
}

API(nvmlDeviceGetUtilizationRates, (nvmlDevice_t d, nvmlUtilization_t *u))
{
        uint64_t now, busy, copy;

        TRY(check(d, u));
        pthread_mutex_lock(&lock);
        now = clock_now_ns();
        busy = atomic_load(&store()->device[d->index].busy_ns);
        copy = atomic_load(&store()->device[d->index].copy_ns);
        u->gpu = percent(busy - seen[d->index].busy, now - seen[d->index].at);
        u->memory = percent(busy - seen[d->index].busy + copy - seen[d->index].copy, now - seen[d->index].at);
        seen[d->index].at = now;
        seen[d->index].busy = busy;
        seen[d->index].copy = copy;
        pthread_mutex_unlock(&lock);
        return NVML_SUCCESS;
}

API(nvmlDeviceGetProcessUtilization,
    (nvmlDevice_t d, nvmlProcessUtilizationSample_t *samples, unsigned *count, unsigned long long since))
{
        TRY(check(d, count));
        return NVML_ERROR_NOT_SUPPORTED;
}

/* A software device has none of these. With BERTH_SOFTWARE_SENSORS=made-up it tells fixed figures, for tests of what becomes of them. */
static bool made_up(void)
{
        const char *text = getenv("BERTH_SOFTWARE_SENSORS");

        return text && !strcmp(text, "made-up");
}

#define MADE_UP(value)                                                                                                 \
        do {                                                                                                           \
                if (!made_up())                                                                                        \
                        return NVML_ERROR_NOT_SUPPORTED;                                                               \
                value;                                                                                                 \
                return NVML_SUCCESS;                                                                                   \
        } while (0)

API(nvmlDeviceGetPowerUsage, (nvmlDevice_t d, unsigned *milliwatts))
{
        TRY(check(d, milliwatts));
        MADE_UP(*milliwatts = 412345);
}

API(nvmlDeviceGetEnforcedPowerLimit, (nvmlDevice_t d, unsigned *milliwatts))
{
        TRY(check(d, milliwatts));
        MADE_UP(*milliwatts = 700000);
}

API(nvmlDeviceGetClockInfo, (nvmlDevice_t d, int type, unsigned *mhz))
{
        TRY(check(d, mhz));
        MADE_UP(*mhz = type == NVML_CLOCK_MEM ? 2619 : 1980);
}

API(nvmlDeviceGetCurrentClocksThrottleReasons, (nvmlDevice_t d, unsigned long long *reasons))
{
        TRY(check(d, reasons));
        MADE_UP(*reasons = 0x4 | 1ull << 40);
}

API(nvmlDeviceGetTotalEccErrors, (nvmlDevice_t d, int type, int counter, unsigned long long *count))
{
        TRY(check(d, count));
        MADE_UP(*count = type == NVML_MEMORY_ERROR_TYPE_CORRECTED ? 3 : 1);
}

/* One error, told once to the first set. */
static nvmlDevice_t error_of;

API(nvmlEventSetCreate, (nvmlEventSet_t *set))
{
        static char one;

        if (!set)
                return NVML_ERROR_INVALID_ARGUMENT;
        MADE_UP(*set = (nvmlEventSet_t)&one);
}

API(nvmlEventSetFree, (nvmlEventSet_t set))
{
        return NVML_SUCCESS;
}

API(nvmlDeviceRegisterEvents, (nvmlDevice_t d, unsigned long long types, nvmlEventSet_t set))
{
        TRY(check(d, set));
        MADE_UP(error_of = d);
}

API(nvmlEventSetWait_v2, (nvmlEventSet_t set, nvmlEventData_t *data, unsigned milliseconds))
{
        if (!data)
                return NVML_ERROR_INVALID_ARGUMENT;
        if (!error_of)
                return NVML_ERROR_TIMEOUT;
        *data = (nvmlEventData_t){.device = error_of, .eventType = nvmlEventTypeXidCriticalError, .eventData = 79};
        error_of = NULL;
        return NVML_SUCCESS;
}

API(nvmlDeviceGetTemperature, (nvmlDevice_t d, int sensor, unsigned *celsius))
{
        TRY(check(d, celsius));
        MADE_UP(*celsius = 61);
}

API(nvmlDeviceGetCudaComputeCapability, (nvmlDevice_t d, int *major, int *minor))
{
        TRY(check(d, major));
        if (!minor)
                return NVML_ERROR_INVALID_ARGUMENT;
        *major = 9;
        *minor = 0;
        return NVML_SUCCESS;
}
