/* real.c: finds and opens the real NVML and fills the slots; see real.h.
 *
 * Runs inside foreign processes, possibly before main: no stdio, no locks of our own, nothing global changed.
 */
#include "nvml/real.h"

#include "base/library.h"
#include "base/scope.h"
#include "nvml/ask.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

extern void *berth_slots[];
extern const char *const berth_names[];
extern const unsigned int berth_names_n;

struct real real;
_Thread_local bool real_inside;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const struct row {
        const char *name;
        void **real;
        void *wrapper;
} rows[] = {
#define OWN(symbol, parameters) {#symbol, (void **)&real.symbol, (void *)hook_##symbol},
#define USED(symbol, parameters) {#symbol, (void **)&real.symbol, NULL},
#include "nvml/hooks.def"
#undef OWN
#undef USED
};

static nvmlReturn_t no_library(void)
{
        return NVML_ERROR_LIBRARY_NOT_FOUND;
}

static nvmlReturn_t no_function(void)
{
        return NVML_ERROR_FUNCTION_NOT_FOUND;
}

/* The one function that returns no code. */
static const char *no_text(nvmlReturn_t result)
{
        return result == NVML_ERROR_LIBRARY_NOT_FOUND ? "NVML Shared Library Not Found" : "Unknown Error";
}

static const struct row *find_row(const char *name)
{
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
                if (!strcmp(rows[i].name, name))
                        return &rows[i];
        return NULL;
}

static void *missing(const char *name, const void *handle)
{
        if (!strcmp(name, "nvmlErrorString"))
                return (void *)no_text;
        return handle ? (void *)no_function : (void *)no_library;
}

/* The second and third form of a list have one layout: where an old library lacks the third, the second is it. */
static void fill_gaps(void)
{
        if (!real.nvmlDeviceGetComputeRunningProcesses_v3)
                real.nvmlDeviceGetComputeRunningProcesses_v3 = real.nvmlDeviceGetComputeRunningProcesses_v2;
        if (!real.nvmlDeviceGetGraphicsRunningProcesses_v3)
                real.nvmlDeviceGetGraphicsRunningProcesses_v3 = real.nvmlDeviceGetGraphicsRunningProcesses_v2;
        if (!real.nvmlDeviceGetMPSComputeRunningProcesses_v3)
                real.nvmlDeviceGetMPSComputeRunningProcesses_v3 = real.nvmlDeviceGetMPSComputeRunningProcesses_v2;
}

bool real_disabled(void)
{
        const char *disable = secure_getenv("BERTH_DISABLE");

        return disable && *disable && strcmp(disable, "0");
}

static void load(void)
{
        void *handle = library_open_real("libnvidia-ml.so.1", secure_getenv("BERTH_NVML"), "nvmlInit_v2", &real);
        bool enabled = handle && !real_disabled();

        for (size_t i = 0; handle && i < ARRAY_SIZE(rows); i++)
                *rows[i].real = dlsym(handle, rows[i].name);
        fill_gaps();
        if (enabled && real.nvmlDeviceGetUUID)
                ask_start();
        for (unsigned int i = 0; i < berth_names_n; i++) {
                const struct row *row = find_row(berth_names[i]);
                void *function = handle ? dlsym(handle, berth_names[i]) : NULL;

                if (row && row->wrapper && *row->real && enabled && real.nvmlDeviceGetUUID)
                        function = row->wrapper;
                if (!function)
                        function = missing(berth_names[i], handle);
                __atomic_store_n(&berth_slots[i], function, __ATOMIC_RELEASE);
        }
}

void berth_load(void)
{
        int saved = errno;

        pthread_once(&once, load);
        errno = saved;
}
