/* odd-nvml.c: libodd-nvml.so, a management library as the daemon may meet one: with one device, it does what the file says that BERTH_ODD_NVML names, and that may change at
 * any time: "well", "nonsense", "refuses", "hang", "crash", "ends".
 */
#include "observe/abi/nvml.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))
#define TOTAL (256ULL << 20)

enum mood { WELL, NONSENSE, REFUSES };

/* Called by each function that looks at the device. */
static enum mood mood(void)
{
        const char *path = getenv("BERTH_ODD_NVML");
        char word[16] = "";
        int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        ssize_t n = fd < 0 ? 0 : read(fd, word, sizeof word - 1);

        if (fd >= 0)
                close(fd);
        word[n > 0 ? n : 0] = 0;
        while (!strcmp(word, "hang"))
                pause();
        if (!strcmp(word, "crash")) {
                prctl(PR_SET_DUMPABLE, 0); /* without a file of its memory */
                raise(SIGSEGV);
        }
        if (!strcmp(word, "ends"))
                _exit(0);
        return !strcmp(word, "nonsense") ? NONSENSE : !strcmp(word, "refuses") ? REFUSES : WELL;
}

#define FILL(value, nonsense, well)                     \
        do {                                            \
                enum mood m_ = mood();                  \
                if (m_ == REFUSES)                      \
                        return NVML_ERROR_GPU_IS_LOST;  \
                (value) = m_ == WELL ? (well) : (nonsense); \
                return NVML_SUCCESS;                    \
        } while (0)

API nvmlReturn_t nvmlInit_v2(void)
{
        return NVML_SUCCESS;
}

API nvmlReturn_t nvmlShutdown(void)
{
        return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count)
{
        *count = 1;
        return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device)
{
        *device = (nvmlDevice_t)(size_t)(index + 1);
        return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *text, unsigned int size)
{
        (void)device;
        strncpy(text, "GPU-01234567-89ab-cdef-0123-456789abcdef", size - 1);
        return NVML_SUCCESS;
}

/* A name that fills its buffer and does not end, with what a terminal would obey. */
API nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *text, unsigned int size)
{
        (void)device;
        memset(text, 'x', size);
        memcpy(text, "Odd\033[2J\n", 8);
        return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
        enum mood m = mood();

        (void)device;
        *memory = (nvmlMemory_t){.total = TOTAL, .free = m == NONSENSE ? ULLONG_MAX : TOTAL / 2, .used = m == NONSENSE ? TOTAL * 3 : TOTAL / 2};
        return m == REFUSES ? NVML_ERROR_GPU_IS_LOST : NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_t *infos)
{
        enum mood m = mood();

        (void)device;
        infos[0].pid = m == NONSENSE ? UINT_MAX : 1;
        infos[0].usedGpuMemory = m == NONSENSE ? ULLONG_MAX - 1 : TOTAL / 4;
        *count = 1;
        return m == REFUSES ? NVML_ERROR_GPU_IS_LOST : NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *utilization)
{
        (void)device;
        FILL(*utilization, ((nvmlUtilization_t){250, UINT_MAX}), ((nvmlUtilization_t){42, 17}));
}

API nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned int *milliwatts)
{
        (void)device;
        FILL(*milliwatts, UINT_MAX, 123000);
}

API nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned int *milliwatts)
{
        (void)device;
        FILL(*milliwatts, UINT_MAX - 7, 700000);
}

API nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, int sensor, unsigned int *celsius)
{
        (void)device;
        (void)sensor;
        FILL(*celsius, UINT_MAX - 39, 40);
}

API nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, int type, unsigned int *mhz)
{
        (void)device;
        (void)type;
        FILL(*mhz, 4000000000U, 1500);
}

API nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, int type, int counter, unsigned long long *count)
{
        (void)device;
        (void)type;
        (void)counter;
        FILL(*count, ULLONG_MAX, 2);
}
