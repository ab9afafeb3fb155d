/* proc.c: looking functions up by name, version and kind of default stream.
 *
 * The highest form of a name that is not newer than the version asked for (versions.txt). With the per-thread flag the
 * _ptsz or _ptds form is taken where there is one. Who asks for the status is told there that nothing was found, and
 * gets no error.
 */
#include "fake.h"

#include <stdio.h>
#include <string.h>

enum { DRIVER_VERSION = 13000, NAME = 96 };

/* The per-thread form of a symbol where wanted and there is one; *only_own is set then: plain forms no longer count. */
static void *pick(const char *symbol, bool own, bool *only_own, int *since)
{
        static const char *const suffixes[] = {"_ptsz", "_ptds"};
        char name[NAME + 8];

        for (size_t i = 0; own && i < ARRAY_SIZE(suffixes); i++) {
                void *p;

                snprintf(name, sizeof(name), "%s%s", symbol, suffixes[i]);
                p = symbol_find(name, since);
                if (p) {
                        *only_own = true;
                        return p;
                }
        }
        return *only_own ? NULL : symbol_find(symbol, since);
}

/* Names are asked for without the endings that the lookup itself adds. */
static bool has_ending(const char *name)
{
        const char *cut = strrchr(name, '_');

        return cut && (strcmp(cut, "_ptsz") == 0 || strcmp(cut, "_ptds") == 0 ||
                       (cut[1] == 'v' && cut[2] >= '0' && cut[2] <= '9'));
}

static int look_up(const char *name, int version, bool own, void **ret)
{
        bool known = false, only_own = false;
        char symbol[NAME];

        *ret = NULL;
        if (strlen(name) + 4 > sizeof(symbol) || has_ending(name))
                return CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
        for (int form = 4; form >= 1 && !*ret; form--) {
                int since = 0;
                void *p;

                if (form == 1)
                        snprintf(symbol, sizeof(symbol), "%s", name);
                else
                        snprintf(symbol, sizeof(symbol), "%s_v%d", name, form);
                p = pick(symbol, own, &only_own, &since);
                known = known || p;
                if (p && since <= version)
                        *ret = p;
        }
        if (*ret)
                return CU_GET_PROC_ADDRESS_SUCCESS;
        return known ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
}

API(cuGetProcAddress_v2, (const char *name, void **function, int version, uint64_t flags, int *status),
    (name, function, version, flags, status))
{
        int found;

        if (!name || !function || version > DRIVER_VERSION || flags > CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM)
                return CUDA_ERROR_INVALID_VALUE;
        found = look_up(name, version, flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, function);
        if (status)
                *status = found;
        return found == CU_GET_PROC_ADDRESS_SUCCESS || status ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

API(cuGetProcAddress, (const char *name, void **function, int version, uint64_t flags),
    (name, function, version, flags))
{
        return cuGetProcAddress_v2_body(name, function, version, flags, NULL);
}
