/* conform.c: where each function of the driver leads, on every road there is.
 *
 * Under Berth each exported name, linked or by dlsym, must be Berth's own, and a look-up by cuGetProcAddress must give
 * Berth's function where docs/conformance.md says that it is hooked and the driver's where it says that it passes; alone,
 * all must be the driver's. A form that the driver itself does not find counts as missing and is no fault. One line of
 * JSON; status 0 when nothing is elsewhere.
 */
#include "cu.h"

#include <dlfcn.h>
#include <string.h>

struct row {
        const char *symbol, *name;
        int version;
        bool own, hooked, found_hooked;
        void *linked;
};

#ifdef CU_LINKED
#define ROW(symbol, ...) extern void symbol(void);
#include "conform-rows.h"
#undef ROW
#define LINKED(symbol) (void *)symbol
#else
#define LINKED(symbol) NULL
#endif

static const struct row rows[] = {
#define ROW(symbol, name, version, own, hooked, found_hooked)                                                          \
        {#symbol, name, version, own, hooked, found_hooked, LINKED(symbol)},
#include "conform-rows.h"
#undef ROW
};

enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

static unsigned wrong, missing;

static bool is_berths(void *function, const char **ret_file)
{
        Dl_info info = {0};

        *ret_file = "nowhere";
        if (!dladdr(function, &info) || !info.dli_fname)
                return false;
        *ret_file = info.dli_fname;
        return strstr(info.dli_fname, "libberth-cuda.so") != NULL;
}

static void expect(const char *road, const struct row *r, void *function, bool berths)
{
        const char *file;

        if (is_berths(function, &file) == berths)
                return;
        fprintf(stderr, "%s by %s, version %d%s: %s\n", r->symbol, road, r->version, r->own ? ", per thread" : "", file);
        wrong++;
}

int main(int argc, char **argv)
{
        CUresult (*get)(const char *, void **, int, uint64_t, int *);
        unsigned linked = 0, exported = 0, looked_up = 0, hooked = 0;
        const char *file;
        void *library;
        bool berth;

        (void)argc;
        cu_known(argv, "");
        cu_open(argv); /* BERTH_ROAD=link: from here on the twin, whose names the loader bound */
        library = dlopen("libcuda.so.1", RTLD_NOW);
        *(void **)&get = library ? dlsym(library, "cuGetProcAddress_v2") : NULL;
        if (!get)
                return 4;
        berth = is_berths(*(void **)&get, &file);
        CU(cu.cuInit(0));
        for (unsigned i = 0; i < ROWS; i++) {
                const struct row *r = &rows[i];
                void *function = dlsym(library, r->symbol);
                int status = 0;

                hooked += r->hooked;
                if (r->linked) {
                        linked++;
                        expect("linking", r, r->linked, berth);
                }
                if (function) {
                        exported++;
                        expect("dlsym", r, function, berth);
                } else if (berth) {
                        fprintf(stderr, "%s is not exported\n", r->symbol);
                        wrong++;
                }
                function = NULL;
                if (get(r->name, &function, r->version, r->own ? CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM : 0,
                        &status) != CUDA_SUCCESS ||
                    !function) {
                        missing++;
                        continue;
                }
                looked_up++;
                expect("cuGetProcAddress", r, function, berth && r->found_hooked);
        }
        printf("{\"name\":\"conform\",\"ok\":%s,\"berth\":%s,\"names\":%d,\"hooked\":%u,\"linked\":%u,\"exported\":%u,"
               "\"looked_up\":%u,\"missing\":%u,\"wrong\":%u}\n",
               wrong ? "false" : "true", berth ? "true" : "false", ROWS, hooked, linked, exported, looked_up, missing,
               wrong);
        return wrong ? 1 : 0;
}
