/* real.c: finds and opens the real driver and fills the slots; see real.h.
 *
 * Runs inside foreign processes, possibly before main: no stdio, no locks of our own but one flag, nothing global changed.
 */
#include "cuda/real.h"

#include "base/library.h"
#include "base/scope.h"
#include "cuda/say.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct real real;
bool berth_enabled;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int doctor_fd = -1;

/* One row per hooked or used symbol: name, where its real pointer goes, its wrapper. */
struct row {
        const char *name;
        void **real;
        void *wrapper;
        bool first; /* a first version, which a later one has replaced */
};

#define ROW(symbol, w) {#symbol, (void **)&real.symbol, (void *)(w), false},
#define ROW1(symbol, w) {#symbol, (void **)&real.symbol, (void *)(w), true},
static const struct row rows[] = {
#define GATED(symbol, parameters, arguments, kind) ROW(symbol, hook_##symbol)
#define GATED2(symbol, suffix, parameters, arguments, kind) ROW(symbol, hook_##symbol) ROW(symbol##suffix, hook_##symbol##suffix)
#define OWN(symbol, parameters, arguments) ROW(symbol, hook_##symbol)
#define GATED1(symbol, parameters, arguments, kind) ROW1(symbol, hook_##symbol)
#define OWN1(symbol, parameters, arguments) ROW1(symbol, hook_##symbol)
#define USED(symbol, parameters, arguments) ROW(symbol, NULL)
#include "cuda/hooks.def"
#undef GATED
#undef GATED2
#undef OWN
#undef USED
};

static CUresult no_device(void)
{
        return CUDA_ERROR_NO_DEVICE;
}

static CUresult not_supported(void)
{
        return CUDA_ERROR_NOT_SUPPORTED;
}

static const struct row *find_row(const char *name)
{
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
                if (!strcmp(rows[i].name, name))
                        return &rows[i];
        return NULL;
}

static void load(void)
{
        const char *disable = secure_getenv("BERTH_DISABLE"), *doctor = secure_getenv("BERTH_DOCTOR");
        void *handle = library_open_real("libcuda.so.1", secure_getenv("BERTH_DRIVER"), "cuInit", &real);

        for (size_t i = 0; handle && i < ARRAY_SIZE(rows); i++)
                *rows[i].real = dlsym(handle, rows[i].name);
        if (doctor && *doctor)
                doctor_fd = open(doctor, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        if (handle)
                own_start();
        berth_enabled = handle && !(disable && *disable && strcmp(disable, "0"));
        for (unsigned int i = 0; i < berth_names_n; i++) {
                const struct row *row = find_row(berth_names[i]);
                void *function = handle ? dlsym(handle, berth_names[i]) : NULL;

                if (!function)
                        function = handle ? (void *)not_supported : (void *)no_device;
                else if (row && row->wrapper && berth_enabled)
                        function = row->wrapper;
                if (row && row->wrapper)
                        real_doctor("export", berth_names[i], 0,
                                    function == row->wrapper ? "hooked" : function == (void *)not_supported ? "missing" : "passed");
                __atomic_store_n(&berth_slots[i], function, __ATOMIC_RELEASE);
        }
        if (!handle)
                say("no NVIDIA driver found (libcuda.so.1); set BERTH_DRIVER to its path");
}

void berth_load(void)
{
        int saved = errno;

        pthread_once(&once, load);
        errno = saved;
}

void *real_wrapper_of(const void *function)
{
        for (size_t i = 0; function && i < ARRAY_SIZE(rows); i++)
                if (*rows[i].real == function)
                        return rows[i].wrapper;
        return NULL;
}

/* Length of a symbol's name without _v2 …, _ptds, _ptsz; *ret_per_thread says whether one of the latter was there. */
static size_t bare_length(const char *symbol, bool *ret_per_thread)
{
        size_t n = strlen(symbol);

        *ret_per_thread = n > 5 && (!strcmp(symbol + n - 5, "_ptds") || !strcmp(symbol + n - 5, "_ptsz"));
        if (*ret_per_thread)
                n -= 5;
        if (n > 3 && symbol[n - 3] == '_' && symbol[n - 2] == 'v')
                n -= 3;
        return n;
}

void *real_wrapper_by_name(const char *name, int version, bool per_thread)
{
        size_t length = strlen(name);
        void *found = NULL;

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                bool pt;

                if (!rows[i].wrapper || rows[i].first || !*rows[i].real || bare_length(rows[i].name, &pt) != length ||
                    strncmp(rows[i].name, name, length) || pt != per_thread)
                        continue;
                if (version < 3020 && strstr(rows[i].name + length, "_v"))
                        continue; /* the first form was meant, which takes other arguments */
                if (found)
                        return NULL;
                found = rows[i].wrapper;
        }
        return found;
}

void real_doctor(const char *road, const char *name, int version, const char *result)
{
        char line[160];
        int n;

        if (doctor_fd < 0)
                return;
        n = snprintf(line, sizeof line, "%s %s %d %s\n", road, *name ? name : "-", version, result);
        if (write(doctor_fd, line, (size_t)n) < 0) {
        }
}
