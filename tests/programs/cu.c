/* cu.c: see cu.h. */
#include "cu.h"

#include "base/text.h"

#include <dlfcn.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct cu cu;

#ifdef CU_LINKED
#define CU_EXTERN(name, symbol, version, parameters) extern CUresult symbol parameters;
CU_FUNCTIONS(CU_EXTERN)
#undef CU_EXTERN

static void open_linked(void)
{
#define CU_TAKE(name, symbol, version, parameters) cu.name = symbol;
        CU_FUNCTIONS(CU_TAKE)
#undef CU_TAKE
}
#endif

static void missing(const char *what)
{
        fprintf(stderr, "the CUDA driver is not usable: %s\n", what);
        exit(4);
}

static bool open_symbols(void *library, struct cu *to)
{
#define CU_TAKE(name, symbol, version, parameters)                                                                     \
        *(void **)&to->name = dlsym(library, #symbol);                                                                 \
        if (!to->name) {                                                                                               \
                fprintf(stderr, "the CUDA driver lacks %s\n", #symbol);                                                \
                return false;                                                                                          \
        }
        CU_FUNCTIONS(CU_TAKE)
#undef CU_TAKE
        return true;
}

static void open_proc(void *library)
{
        CUresult (*get)(const char *, void **, int, uint64_t, int *);
        int status;

        *(void **)&get = dlsym(library, "cuGetProcAddress_v2");
        if (!get)
                missing("no cuGetProcAddress_v2");
        (void)get("", (void **)&cu.cuInit, 0, 0, &status); /* as NVIDIA's runtime begins */
#define CU_TAKE(name, symbol, version, parameters)                                                                     \
        if (get(#name, (void **)&cu.name, version, 0, &status) != CUDA_SUCCESS || !cu.name)                            \
                missing("cuGetProcAddress does not know " #name);
        CU_FUNCTIONS(CU_TAKE)
#undef CU_TAKE
}

#ifndef CU_LINKED
/* The program's twin that is linked with the driver. */
static void become_linked(char **argv)
{
        char path[4096];
        ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 8);

        if (n <= 0)
                missing("cannot find this program's own file");
        strcpy(path + n, "-linked");
        execv(path, argv);
        missing("BERTH_ROAD=link needs this program's -linked twin beside it");
}
#endif

bool cu_open_path(const char *path, struct cu *to)
{
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

        if (!library) {
                fprintf(stderr, "%s\n", dlerror());
                return false;
        }
        return open_symbols(library, to);
}

void cu_open(char **argv)
{
        const char *road = getenv("BERTH_ROAD");
        void *library;

        if (!road || !*road)
#ifdef CU_LINKED
                road = "link";
#else
                road = "dlsym";
#endif
        if (strcmp(road, "link") == 0) {
#ifdef CU_LINKED
                open_linked();
                return;
#else
                become_linked(argv);
#endif
        }
        library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
        if (!library)
                missing(dlerror());
        if (strcmp(road, "proc") == 0)
                open_proc(library);
        else if (strcmp(road, "dlsym") != 0)
                missing("BERTH_ROAD is link, dlsym or proc");
        else if (!open_symbols(library, &cu))
                exit(4);
}

const char *cu_name(CUresult r)
{
        const char *name = NULL;

        return cu.cuGetErrorName && cu.cuGetErrorName(r, &name) == CUDA_SUCCESS && name ? name : "unknown error";
}

/* --- kernels --- */

#define PTX_BEGIN(name, parameters)                                                                                    \
        ".visible .entry " name "(" parameters ")\n{\n"                                                                \
        ".reg .pred %p;\n.reg .b32 %r<6>;\n.reg .b64 %d<9>;\n"                                                         \
        "ld.param.u64 %d0, [at];\ncvta.to.global.u64 %d0, %d0;\nld.param.u64 %d1, [words];\n"                          \
        "mov.u32 %r0, %ctaid.x;\nmov.u32 %r1, %ntid.x;\nmov.u32 %r2, %tid.x;\nmov.u32 %r3, %nctaid.x;\n"               \
        "mul.wide.u32 %d2, %r0, %r1;\ncvt.u64.u32 %d3, %r2;\nadd.u64 %d2, %d2, %d3;\nmul.wide.u32 %d4, %r3, %r1;\n"
#define PTX_LOOP(body)                                                                                                 \
        "LOOP:\nsetp.ge.u64 %p, %d2, %d1;\n@%p bra DONE;\nshl.b64 %d5, %d2, 2;\nadd.u64 %d5, %d0, %d5;\n" body         \
        "add.u64 %d2, %d2, %d4;\nbra LOOP;\nDONE:\n"
#define PTX_WORDS ".param .u64 at, .param .u64 words, .param .u32 argument"
#define PTX_KERNEL(name, body) PTX_BEGIN(name, PTX_WORDS) "ld.param.u32 %r5, [argument];\n" PTX_LOOP(body) "ret;\n}\n"

static const char
        ptx[] = ".version 6.4\n.target sm_70\n.address_size 64\n"
                ".visible .entry berth_nop()\n{\nret;\n}\n" PTX_KERNEL("berth_fill", "st.global.u32 [%d5], %r5;\n")
                        PTX_KERNEL("berth_add",
                                   "ld.global.u32 %r4, [%d5];\nadd.u32 %r4, %r4, %r5;\nst.global.u32 [%d5], %r4;\n")
                                PTX_KERNEL("berth_step", "ld.global.u32 %r4, [%d5];\nmul.lo.u32 %r4, %r4, "
                                                         "1664525;\nadd.u32 %r4, %r4, 1013904223;\n"
                                                         "add.u32 %r4, %r4, %r5;\nst.global.u32 [%d5], %r4;\n")
                                        PTX_BEGIN("berth_checksum", ".param .u64 at, .param .u64 words, .param .u64 "
                                                                    "out") "mov.u64 %d6, 0;\n" PTX_LOOP(
                                                "ld.global.u32 %r4, [%d5];\ncvt.u64.u32 %d7, %r4;\nadd.u64 %d6, %d6, "
                                                "%d7;\n") "ld.param.u64 %d8, [out];\ncvta.to.global.u64 %d8, "
                                                          "%d8;\nred.global.add.u64 [%d8], %d6;\nret;\n}\n"
                                                          ".visible .entry berth_spin(.param .u64 ns)\n{\n.reg .pred "
                                                          "%p;\n.reg .b64 %d<4>;\n"
                                                          "ld.param.u64 %d0, [ns];\nmov.u64 %d1, %globaltimer;\n"
                                                          "LOOP:\nmov.u64 %d2, %globaltimer;\nsub.u64 %d3, %d2, "
                                                          "%d1;\nsetp.lt.u64 %p, %d3, %d0;\n@%p bra LOOP;\nret;\n}\n";

const char *cu_image(void)
{
        return ptx;
}

void cu_begin(struct cu_base *b)
{
        cu_begin_on(b, getenv("CU_DEVICE") ? atoi(getenv("CU_DEVICE")) : 0);
}

void cu_begin_on(struct cu_base *b, int ordinal)
{
        CU(cu.cuInit(0));
        CU(cu.cuDeviceGet(&b->device, ordinal));
        CU(cu.cuDevicePrimaryCtxRetain(&b->context, b->device));
        CU(cu.cuCtxSetCurrent(b->context));
        cu_load(b);
}

void cu_load(struct cu_base *b)
{
        CU(cu.cuModuleLoadData(&b->module, ptx));
        CU(cu.cuModuleGetFunction(&b->nop, b->module, "berth_nop"));
        CU(cu.cuModuleGetFunction(&b->fill, b->module, "berth_fill"));
        CU(cu.cuModuleGetFunction(&b->add, b->module, "berth_add"));
        CU(cu.cuModuleGetFunction(&b->checksum, b->module, "berth_checksum"));
        CU(cu.cuModuleGetFunction(&b->spin, b->module, "berth_spin"));
        CU(cu.cuModuleGetFunction(&b->step, b->module, "berth_step"));
}

static unsigned blocks(uint64_t words)
{
        uint64_t n = (words + 255) / 256;

        return n > 2048 ? 2048 : n > 0 ? (unsigned)n : 1;
}

CUresult cu_words(CUfunction f, CUdeviceptr at, uint64_t words, uint32_t argument, CUstream s)
{
        void *parameters[] = {&at, &words, &argument};

        return cu.cuLaunchKernel(f, blocks(words), 1, 1, 256, 1, 1, 0, s, parameters, NULL);
}

CUresult cu_checksum(CUfunction f, CUdeviceptr at, uint64_t words, CUdeviceptr out, CUstream s)
{
        void *parameters[] = {&at, &words, &out};

        return cu.cuLaunchKernel(f, blocks(words), 1, 1, 256, 1, 1, 0, s, parameters, NULL);
}

CUresult cu_spin(CUfunction f, uint64_t ns, CUstream s)
{
        void *parameters[] = {&ns};

        return cu.cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, s, parameters, NULL);
}

/* --- arguments and time --- */

double cu_seconds(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

const char *cu_option(char **argv, const char *name)
{
        for (char **a = argv + 1; *a; a++)
                if (strcmp(*a, name) == 0)
                        return a[1];
        return NULL;
}

bool cu_flag(char **argv, const char *name)
{
        for (char **a = argv + 1; *a; a++)
                if (strcmp(*a, name) == 0)
                        return true;
        return false;
}

void cu_known(char **argv, const char *names)
{
        for (char **a = argv + 1; *a; a++) {
                size_t n = strlen(*a);
                const char *p = strstr(names, *a);

                while (p && p[n] != 0 && p[n] != ' ' && p[n] != '=')
                        p = strstr(p + 1, *a);
                if (!p || n < 3 || (p[n] == '=' && !a[1])) {
                        fprintf(stderr, "%s: %s is not understood; known: %s\n", argv[0], *a, names);
                        exit(64);
                }
                if (p[n] == '=')
                        a++;
        }
}

static void bad_value(const char *name, const char *value)
{
        fprintf(stderr, "%s: %s is not a value for it\n", name, value);
        exit(64);
}

uint64_t cu_size(char **argv, const char *name, uint64_t fallback)
{
        const char *s = cu_option(argv, name);

        if (s && text_parse_bytes(s, &fallback) < 0)
                bad_value(name, s);
        return fallback;
}

uint64_t cu_number(char **argv, const char *name, uint64_t fallback)
{
        const char *s = cu_option(argv, name);

        if (s && text_parse_u64(s, 0, UINT64_MAX, &fallback) < 0)
                bad_value(name, s);
        return fallback;
}

void cu_course_begin(struct cu_course *c, char **argv, uint64_t fallback)
{
        c->seconds = cu_number(argv, "--seconds", 0);
        c->until = cu_option(argv, "--until");
        c->rounds = cu_number(argv, "--rounds", c->seconds || c->until ? 1 : fallback);
        c->end = cu_seconds() + (double)c->seconds;
}

bool cu_course_goes_on(const struct cu_course *c, uint64_t round)
{
        return round < c->rounds || (c->seconds && cu_seconds() < c->end) || (c->until && access(c->until, F_OK) < 0);
}

uint64_t cu_wrong(CUdeviceptr at, uint64_t bytes, uint32_t value, CUstream s)
{
        uint32_t *words = malloc(bytes);
        uint64_t n = 0;

        if (!words)
                abort();
        CU(cu.cuMemcpyDtoHAsync(words, at, bytes, s));
        CU(cu.cuStreamSynchronize(s));
        for (uint64_t i = 0; i < bytes / 4; i++)
                n += words[i] != value;
        free(words);
        return n;
}
