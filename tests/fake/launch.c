/* launch.c: starting kernels, and how large they may be. */
#include "fake.h"

#include <string.h>

struct shape {
        unsigned gx, gy, gz, bx, by, bz;
};

static CUresult read_parameters(const struct kernel_type *k, void **parameters, void **extra, uint64_t *a)
{
        const char *buffer = NULL;
        size_t bytes = 0, at = 0;

        if (k->parameters == 0)
                return CUDA_SUCCESS;
        if (parameters) {
                for (unsigned i = 0; i < k->parameters; i++) {
                        if (!parameters[i])
                                return CUDA_ERROR_INVALID_VALUE;
                        memcpy(&a[i], parameters[i], k->bytes[i]);
                }
                return CUDA_SUCCESS;
        }
        /* A list of key and value, ended by 0: 1 is the buffer, 2 points to its size. */
        for (void **e = extra; e && *e; e += 2) {
                if (*e == (void *)1)
                        buffer = e[1];
                else if (*e == (void *)2)
                        memcpy(&bytes, e[1], sizeof(bytes));
                else
                        return CUDA_ERROR_INVALID_VALUE;
        }
        for (unsigned i = 0; i < k->parameters; i++) {
                if (!buffer || at + k->bytes[i] > bytes)
                        return CUDA_ERROR_INVALID_VALUE;
                memcpy(&a[i], buffer + at, k->bytes[i]);
                at += k->bytes[i];
        }
        return CUDA_SUCCESS;
}

static inline CUresult launch(CUfunction f, const struct shape *g, CUstream handle, void **parameters, void **extra)
{
        struct work w;
        CUstream s;

        TRY(stream_of(handle, &s));
        if (UNLIKELY(!f || f->mark != MARK_FUNCTION))
                return CUDA_ERROR_INVALID_HANDLE;
        if (UNLIKELY(g->gx == 0 || g->gy == 0 || g->gz == 0 || g->bx == 0 || g->by == 0 || g->bz == 0 || g->bx > 1024 ||
                     g->by > 1024 || g->bz > 64 || g->bx * g->by * g->bz > 1024))
                return CUDA_ERROR_INVALID_VALUE;
        /* Nothing to do and nothing before it: done. Its place in the order of the legacy stream does not show. */
        if (LIKELY(f->id == KERNEL_NOP && stream_idle(s) &&
                   !(s->legacy && atomic_load(&s->context->blocking_captures))))
                return CUDA_SUCCESS;
        w = (struct work){.kind = WORK_KERNEL, .kernel = {.id = f->id}};
        TRY(read_parameters(&kernel_types[f->id], parameters, extra, w.kernel.a));
        w.kernel.a[3] = (uint64_t)g->gy << 32 | g->gx;
        return stream_submit(s, &w, false);
}

API_STREAM(cuLaunchKernel,
           (CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
            CUstream s, void **parameters, void **extra),
           (f, gx, gy, gz, bx, by, bz, shared, s, parameters, extra))
{
        return launch(f, &(struct shape){gx, gy, gz, bx, by, bz}, s, parameters, extra);
}

API_STREAM(cuLaunchCooperativeKernel,
           (CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
            CUstream s, void **parameters),
           (f, gx, gy, gz, bx, by, bz, shared, s, parameters))
{
        return launch(f, &(struct shape){gx, gy, gz, bx, by, bz}, s, parameters, NULL);
}

/* Here the stream is inside the configuration. */
static inline CUresult launch_ex(const CUlaunchConfig *c, CUfunction f, void **parameters, void **extra,
                                 CUstream null_stream)
{
        if (!c)
                return CUDA_ERROR_INVALID_VALUE;
        return launch(f,
                      &(struct shape){c->gridDimX, c->gridDimY, c->gridDimZ, c->blockDimX, c->blockDimY, c->blockDimZ},
                      c->hStream ? c->hStream : null_stream, parameters, extra);
}

API(cuLaunchKernelEx, (const CUlaunchConfig *config, CUfunction f, void **parameters, void **extra),
    (config, f, parameters, extra))
{
        return launch_ex(config, f, parameters, extra, CU_STREAM_LEGACY);
}

API(cuLaunchKernelEx_ptsz, (const CUlaunchConfig *config, CUfunction f, void **parameters, void **extra),
    (config, f, parameters, extra))
{
        return launch_ex(config, f, parameters, extra, CU_STREAM_PER_THREAD);
}

API(cuOccupancyMaxActiveBlocksPerMultiprocessor, (int *blocks, CUfunction f, int block, size_t shared),
    (blocks, f, block, shared))
{
        TRY(need_ready());
        if (!blocks || !f || f->mark != MARK_FUNCTION || block <= 0)
                return CUDA_ERROR_INVALID_VALUE;
        *blocks = block <= 1024 ? 2048 / block : 0;
        return CUDA_SUCCESS;
}

API(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags,
    (int *blocks, CUfunction f, int block, size_t shared, unsigned flags), (blocks, f, block, shared, flags))
{
        return cuOccupancyMaxActiveBlocksPerMultiprocessor_body(blocks, f, block, shared);
}

API(cuOccupancyMaxPotentialBlockSize, (int *grid, int *block, CUfunction f, void *shared_of, size_t shared, int limit),
    (grid, block, f, shared_of, shared, limit))
{
        TRY(need_ready());
        if (!grid || !block || !f || f->mark != MARK_FUNCTION)
                return CUDA_ERROR_INVALID_VALUE;
        *grid = 8;
        *block = limit > 0 && limit < 1024 ? limit : 1024;
        return CUDA_SUCCESS;
}
