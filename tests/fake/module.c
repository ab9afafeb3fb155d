/* module.c: modules, libraries, functions, launches.
 *
 * An image is searched for ".entry NAME"; a name that the device knows computes, any other loads and launches without
 * effect. A launch of berth_nop on a stream with nothing to do is over at once, without a lock: that is what the cost
 * of a gated launch is measured against.
 */
#include "fake.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { NAME_MAX_BYTES = 255, IMAGE_MAX = 64 << 20 };

/* CUmodule and CUlibrary are the same thing. */
struct CUmod_st {
        uint32_t mark;
        unsigned count;
        struct CUfunc_st *functions;
        struct CUmod_st *next;
};

static pthread_mutex_t module_lock = PTHREAD_MUTEX_INITIALIZER;
static struct CUmod_st *modules; /* every one ever loaded: stale handles stay recognisable */

static CUresult add_function(struct CUmod_st *m, const char *name, size_t length)
{
        struct CUfunc_st *f = calloc(1, sizeof(*f) + length + 1);

        if (!f)
                return CUDA_ERROR_OUT_OF_MEMORY;
        memcpy(f->name, name, length);
        f->mark = MARK_FUNCTION;
        f->module = m;
        f->id = KERNEL_UNKNOWN;
        for (int i = 0; i < KERNEL_UNKNOWN; i++)
                if (strcmp(kernel_types[i].name, f->name) == 0)
                        f->id = i;
        f->next = m->functions;
        m->functions = f;
        m->count++;
        return CUDA_SUCCESS;
}

static CUresult find_entries(struct CUmod_st *m, const char *text, size_t length)
{
        static const char word[] = ".entry";
        const char *end = text + length, *p = text;

        while ((p = memmem(p, (size_t)(end - p), word, sizeof(word) - 1))) {
                const char *name;

                p += sizeof(word) - 1;
                while (p < end && isspace((unsigned char)*p))
                        p++;
                name = p;
                while (p < end && (isalnum((unsigned char)*p) || *p == '_' || *p == '$'))
                        p++;
                if (p > name && p - name <= NAME_MAX_BYTES)
                        TRY(add_function(m, name, (size_t)(p - name)));
        }
        return CUDA_SUCCESS;
}

/* How long the image is: PTX ends with a zero byte, a fat binary says so itself (reached through its wrapper or not).
 */
static CUresult image_extent(const void **image, size_t *length)
{
        uint32_t magic;
        uint16_t header;
        uint64_t size;

        memcpy(&magic, *image, sizeof(magic));
        if (magic == 0x466243b1) { /* the wrapper: magic, version, pointer */
                memcpy(image, (const char *)*image + 8, sizeof(*image));
                if (!*image)
                        return CUDA_ERROR_INVALID_IMAGE;
                memcpy(&magic, *image, sizeof(magic));
        }
        if (magic == 0xba55ed50) {
                memcpy(&header, (const char *)*image + 6, sizeof(header));
                memcpy(&size, (const char *)*image + 8, sizeof(size));
                *length = size + header;
                return size > IMAGE_MAX ? CUDA_ERROR_INVALID_IMAGE : CUDA_SUCCESS;
        }
        if (magic == 0x464c457f) /* machine code for a real device */
                return CUDA_ERROR_NO_BINARY_FOR_GPU;
        *length = strnlen(*image, IMAGE_MAX);
        return *length == IMAGE_MAX ? CUDA_ERROR_INVALID_IMAGE : CUDA_SUCCESS;
}

static void module_end(struct CUmod_st *m)
{
        pthread_mutex_lock(&module_lock);
        m->mark = MARK_GONE;
        for (struct CUfunc_st *f = m->functions; f; f = f->next)
                f->mark = MARK_GONE;
        pthread_mutex_unlock(&module_lock);
}

static CUresult load(uint32_t mark, const void *image, struct CUmod_st **ret)
{
        struct CUmod_st *m;
        size_t length;
        CUresult r;

        if (!ret || !image)
                return CUDA_ERROR_INVALID_VALUE;
        TRY(image_extent(&image, &length));
        m = calloc(1, sizeof(*m));
        if (!m)
                return CUDA_ERROR_OUT_OF_MEMORY;
        m->mark = mark;
        r = find_entries(m, image, length);
        pthread_mutex_lock(&module_lock);
        m->next = modules;
        modules = m;
        pthread_mutex_unlock(&module_lock);
        if (r == CUDA_SUCCESS && m->count == 0 && !memmem(image, length, ".version", 8))
                r = CUDA_ERROR_INVALID_IMAGE;
        if (r)
                module_end(m);
        else
                *ret = m;
        return r;
}

static CUresult load_file(uint32_t mark, const char *path, struct CUmod_st **ret)
{
        scoped_free char *text = calloc(1, IMAGE_MAX + 1);
        FILE *f = path ? fopen(path, "re") : NULL;

        if (f && text)
                (void)!fread(text, 1, IMAGE_MAX, f);
        if (f)
                fclose(f);
        if (!path)
                return CUDA_ERROR_INVALID_VALUE;
        if (!f)
                return FAKE_ERROR_FILE_NOT_FOUND;
        return text ? load(mark, text, ret) : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult find(struct CUmod_st *m, uint32_t mark, const char *name, struct CUfunc_st **ret)
{
        if (!m || m->mark != mark)
                return CUDA_ERROR_INVALID_HANDLE;
        if (!name || !ret)
                return CUDA_ERROR_INVALID_VALUE;
        for (struct CUfunc_st *f = m->functions; f; f = f->next)
                if (strcmp(f->name, name) == 0) {
                        *ret = f;
                        return CUDA_SUCCESS;
                }
        return CUDA_ERROR_NOT_FOUND;
}

API(cuModuleLoadData, (CUmodule *module, const void *image), (module, image))
{
        CUcontext c;

        TRY(need_context(&c));
        return load(MARK_MODULE, image, module);
}

API(cuModuleLoadDataEx, (CUmodule *module, const void *image, unsigned count, int *options, void **values),
    (module, image, count, options, values))
{
        return cuModuleLoadData_body(module, image);
}

API(cuModuleLoadFatBinary, (CUmodule *module, const void *image), (module, image))
{
        return cuModuleLoadData_body(module, image);
}

API(cuModuleLoad, (CUmodule *module, const char *path), (module, path))
{
        CUcontext c;

        TRY(need_context(&c));
        return load_file(MARK_MODULE, path, module);
}

API(cuModuleUnload, (CUmodule module), (module))
{
        CUcontext c;

        TRY(need_context(&c));
        if (!module || module->mark != MARK_MODULE)
                return CUDA_ERROR_INVALID_HANDLE;
        module_end(module);
        return CUDA_SUCCESS;
}

API(cuModuleGetFunction, (CUfunction *function, CUmodule module, const char *name), (function, module, name))
{
        CUcontext c;

        TRY(need_context(&c));
        return find(module, MARK_MODULE, name, function);
}

API(cuModuleGetFunctionCount, (unsigned *count, CUmodule module), (count, module))
{
        TRY(need_ready());
        if (!count || !module || module->mark != MARK_MODULE)
                return CUDA_ERROR_INVALID_VALUE;
        *count = module->count;
        return CUDA_SUCCESS;
}

API(cuModuleGetGlobal_v2, (CUdeviceptr *at, size_t *bytes, CUmodule module, const char *name),
    (at, bytes, module, name))
{
        TRY(need_ready());
        return module && module->mark == MARK_MODULE && name ? CUDA_ERROR_NOT_FOUND : CUDA_ERROR_INVALID_VALUE;
}

API(cuModuleGetLoadingMode, (int *mode), (mode))
{
        if (!mode)
                return CUDA_ERROR_INVALID_VALUE;
        *mode = 1; /* eager */
        return CUDA_SUCCESS;
}

/* A library is a module that belongs to no context. */
API(cuLibraryLoadData,
    (CUlibrary *library, const void *code, int *jit_options, void **jit_values, unsigned jit_count, int *options,
     void **values, unsigned count),
    (library, code, jit_options, jit_values, jit_count, options, values, count))
{
        TRY(need_ready());
        return load(MARK_LIBRARY, code, (struct CUmod_st **)library);
}

API(cuLibraryLoadFromFile,
    (CUlibrary *library, const char *path, int *jit_options, void **jit_values, unsigned jit_count, int *options,
     void **values, unsigned count),
    (library, path, jit_options, jit_values, jit_count, options, values, count))
{
        TRY(need_ready());
        return load_file(MARK_LIBRARY, path, (struct CUmod_st **)library);
}

API(cuLibraryUnload, (CUlibrary library), (library))
{
        struct CUmod_st *m = (struct CUmod_st *)library;

        TRY(need_ready());
        if (!m || m->mark != MARK_LIBRARY)
                return CUDA_ERROR_INVALID_HANDLE;
        module_end(m);
        return CUDA_SUCCESS;
}

API(cuLibraryGetKernel, (CUkernel *kernel, CUlibrary library, const char *name), (kernel, library, name))
{
        TRY(need_ready());
        return find((struct CUmod_st *)library, MARK_LIBRARY, name, (struct CUfunc_st **)kernel);
}

API(cuLibraryGetKernelCount, (unsigned *count, CUlibrary library), (count, library))
{
        struct CUmod_st *m = (struct CUmod_st *)library;

        TRY(need_ready());
        if (!count || !m || m->mark != MARK_LIBRARY)
                return CUDA_ERROR_INVALID_VALUE;
        *count = m->count;
        return CUDA_SUCCESS;
}

/* The module shares the library's functions. */
API(cuLibraryGetModule, (CUmodule *module, CUlibrary library), (module, library))
{
        struct CUmod_st *l = (struct CUmod_st *)library, *m;
        CUcontext c;
        CUresult r = CUDA_SUCCESS;

        TRY(need_context(&c));
        if (!module || !l || l->mark != MARK_LIBRARY)
                return CUDA_ERROR_INVALID_HANDLE;
        m = calloc(1, sizeof(*m));
        if (!m)
                return CUDA_ERROR_OUT_OF_MEMORY;
        m->mark = MARK_MODULE;
        for (struct CUfunc_st *f = l->functions; f && r == CUDA_SUCCESS; f = f->next)
                r = add_function(m, f->name, strlen(f->name));
        pthread_mutex_lock(&module_lock);
        m->next = modules;
        modules = m;
        pthread_mutex_unlock(&module_lock);
        *module = m;
        return r;
}

static CUresult function_check(const struct CUfunc_st *f)
{
        TRY(need_ready());
        return f && f->mark == MARK_FUNCTION ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

API(cuKernelGetFunction, (CUfunction *function, CUkernel kernel), (function, kernel))
{
        CUcontext c;

        TRY(need_context(&c));
        TRY(function_check((struct CUfunc_st *)kernel));
        if (!function)
                return CUDA_ERROR_INVALID_VALUE;
        *function = (CUfunction)kernel;
        return CUDA_SUCCESS;
}

API(cuKernelGetLibrary, (CUlibrary *library, CUkernel kernel), (library, kernel))
{
        TRY(function_check((struct CUfunc_st *)kernel));
        if (!library)
                return CUDA_ERROR_INVALID_VALUE;
        *library = (CUlibrary)((struct CUfunc_st *)kernel)->module;
        return CUDA_SUCCESS;
}

static CUresult name_of(const char **name, const struct CUfunc_st *f)
{
        TRY(function_check(f));
        if (!name)
                return CUDA_ERROR_INVALID_VALUE;
        *name = f->name;
        return CUDA_SUCCESS;
}

API(cuKernelGetName, (const char **name, CUkernel kernel), (name, kernel))
{
        return name_of(name, (struct CUfunc_st *)kernel);
}

API(cuFuncGetName, (const char **name, CUfunction f), (name, f))
{
        return name_of(name, f);
}

API(cuFuncGetModule, (CUmodule *module, CUfunction f), (module, f))
{
        TRY(function_check(f));
        if (!module)
                return CUDA_ERROR_INVALID_VALUE;
        *module = f->module;
        return CUDA_SUCCESS;
}

static CUresult function_attribute(int *value, int which, const struct CUfunc_st *f)
{
        static const int values[] = {[0] = 1024, [4] = 16, [5] = 90, [6] = 90, [8] = 48 << 10};

        TRY(function_check(f));
        if (!value || which < 0 || which > 15)
                return CUDA_ERROR_INVALID_VALUE;
        *value = which < (int)ARRAY_SIZE(values) ? values[which] : 0;
        return CUDA_SUCCESS;
}

API(cuFuncGetAttribute, (int *value, int which, CUfunction f), (value, which, f))
{
        return function_attribute(value, which, f);
}

API(cuKernelGetAttribute, (int *value, int which, CUkernel f, CUdevice d), (value, which, f, d))
{
        return function_attribute(value, which, (struct CUfunc_st *)f);
}

API(cuFuncSetAttribute, (CUfunction f, int which, int value), (f, which, value))
{
        TRY(function_check(f));
        return which < 0 || which > 15 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

API(cuKernelSetAttribute, (int which, int value, CUkernel f, CUdevice d), (which, value, f, d))
{
        TRY(function_check((struct CUfunc_st *)f));
        return which < 0 || which > 15 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

API(cuFuncSetCacheConfig, (CUfunction f, int config), (f, config))
{
        return function_check(f);
}

API(cuFuncLoad, (CUfunction f), (f))
{
        return function_check(f);
}

API(cuFuncIsLoaded, (int *state, CUfunction f), (state, f))
{
        TRY(function_check(f));
        if (!state)
                return CUDA_ERROR_INVALID_VALUE;
        *state = 1;
        return CUDA_SUCCESS;
}

static CUresult parameter_info(const struct CUfunc_st *f, size_t index, size_t *offset, size_t *bytes)
{
        const struct kernel_type *k;
        size_t at = 0;

        TRY(function_check(f));
        k = &kernel_types[f->id];
        if (!offset || index >= k->parameters)
                return CUDA_ERROR_INVALID_VALUE;
        for (size_t i = 0; i < index; i++)
                at += k->bytes[i];
        *offset = at;
        if (bytes)
                *bytes = k->bytes[index];
        return CUDA_SUCCESS;
}

API(cuFuncGetParamInfo, (CUfunction f, size_t index, size_t *offset, size_t *bytes), (f, index, offset, bytes))
{
        return parameter_info(f, index, offset, bytes);
}

API(cuKernelGetParamInfo, (CUkernel f, size_t index, size_t *offset, size_t *bytes), (f, index, offset, bytes))
{
        return parameter_info((struct CUfunc_st *)f, index, offset, bytes);
}
