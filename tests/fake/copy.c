/* copy.c: moving and setting bytes.
 *
 * A copy is checked twice: when it is called for, where a bad address is an invalid value, and when it runs, where
 * memory that has meanwhile gone is a fault of the context. It runs in pieces; each holds memory_lock for reading, so
 * memory never disappears under a piece and nobody who changes mappings waits longer than for one. Copies from host
 * memory that is not registered are over when the call returns.
 */
#include "fake.h"

#include <string.h>

#define PIECE (UINT64_C(4) << 20)

static CUresult span(bool host, CUdeviceptr at, uint64_t length, int device, bool write, void **p, uint64_t *n)
{
        return host ? span_any(at, length, device, write, p, n) : span_device(at, length, device, write, p, n);
}

static bool on_host(bool host, CUdeviceptr at)
{
        return host ? !is_device_address(at) : !is_device_address(at) && host_find(at);
}

/* Up to a piece of one row: how much is returned. */
static CUresult copy_piece(const struct work *w, CUdeviceptr to, CUdeviceptr from, uint64_t length, int device,
                           uint64_t *done, int *direction)
{
        void *a, *b;
        uint64_t n = length < PIECE ? length : PIECE;
        CUresult r;

        pthread_rwlock_rdlock(&memory_lock);
        r = span(w->copy.to_host, to, n, device, true, &a, &n);
        if (r == CUDA_SUCCESS)
                r = span(w->copy.from_host, from, n, device, false, &b, &n);
        if (r == CUDA_SUCCESS) {
                bool to_host = on_host(w->copy.to_host, to), from_host = on_host(w->copy.from_host, from);

                memmove(a, b, n);
                *direction = to_host == from_host ? -1 : from_host ? 0 : 1;
                *done = n;
        }
        pthread_rwlock_unlock(&memory_lock);
        return r;
}

CUresult copy_run(const struct work *w, CUcontext c)
{
        uint64_t begin = clock_now_ns(), moved[2] = {0, 0};

        for (uint64_t y = 0; y < w->copy.height; y++) {
                CUdeviceptr to = w->copy.to + y * w->copy.to_pitch, from = w->copy.from + y * w->copy.from_pitch;
                uint64_t n, rest = w->copy.width;
                int direction;

                for (; rest > 0; to += n, from += n, rest -= n) {
                        if (atomic_load_explicit(&c->abort, memory_order_relaxed))
                                return CUDA_SUCCESS;
                        TRY(copy_piece(w, to, from, rest, c->device, &n, &direction));
                        if (direction < 0)
                                continue;
                        moved[direction] += n;
                        if (moved[direction] >= PIECE) {
                                store_link(c->device, direction, moved[direction]);
                                moved[direction] = 0;
                        }
                }
        }
        for (int i = 0; i < 2; i++)
                if (moved[i])
                        store_link(c->device, i, moved[i]);
        atomic_fetch_add(&store()->device[c->device].copy_ns, clock_now_ns() - begin);
        return CUDA_SUCCESS;
}

static void set_span(void *p, uint64_t bytes, uint32_t value, uint32_t size)
{
        if (size == 1) {
                memset(p, (int)value, bytes);
        } else if (size == 2) {
                for (uint16_t *q = p, *end = q + bytes / 2; q < end; q++)
                        *q = (uint16_t)value;
        } else {
                for (uint32_t *q = p, *end = q + bytes / 4; q < end; q++)
                        *q = value;
        }
}

CUresult set_run(const struct work *w, CUcontext c)
{
        for (uint64_t y = 0; y < w->set.height; y++) {
                CUdeviceptr at = w->set.to + y * w->set.pitch;
                uint64_t n, rest = w->set.width * w->set.size;

                for (; rest > 0; at += n, rest -= n) {
                        CUresult r;
                        void *p;

                        pthread_rwlock_rdlock(&memory_lock);
                        r = span_device(at, rest < PIECE ? rest : PIECE, c->device, true, &p, &n);
                        if (r == CUDA_SUCCESS)
                                set_span(p, n, w->set.value, w->set.size);
                        pthread_rwlock_unlock(&memory_lock);
                        TRY(r);
                }
        }
        return CUDA_SUCCESS;
}

/* --- calls --- */

enum side { DEVICE, HOST, ANY };
enum { SYNC = 1, ASYNC = 0 };

/* What the call can know about one side. *pageable is set for plain host memory. */
static CUresult check_side(enum side *side, CUdeviceptr at, uint64_t pitch, uint64_t width, uint64_t height, int device,
                           bool write, bool *pageable)
{
        uint64_t whole = (height - 1) * pitch + width;
        bool is_device, pinned;
        CUresult r = CUDA_SUCCESS;

        pthread_rwlock_rdlock(&memory_lock);
        is_device = is_device_address(at);
        if (*side == DEVICE || is_device)
                for (uint64_t y = 0; y < height && r == CUDA_SUCCESS; y++)
                        r = range_check(at + y * pitch, width, device, write);
        pthread_rwlock_unlock(&memory_lock);
        if (r)
                return CUDA_ERROR_INVALID_VALUE;
        if (*side == DEVICE || is_device) {
                *side = DEVICE;
                return CUDA_SUCCESS;
        }
        *side = HOST;
        if (at == 0)
                return CUDA_ERROR_INVALID_VALUE;
        r = host_check(at, whole, &pinned);
        if (!pinned)
                *pageable = true;
        return r;
}

static CUresult copy_rows(struct work *w, enum side to, enum side from, CUstream handle, bool sync)
{
        bool pageable = false;
        CUstream s;

        w->kind = WORK_COPY;
        TRY(stream_of(handle, &s));
        if (w->copy.width == 0 || w->copy.height == 0)
                return CUDA_SUCCESS;
        if (sync && s->legacy)
                TRY(capture_implicit(s->context));
        TRY(check_side(&to, w->copy.to, w->copy.to_pitch, w->copy.width, w->copy.height, s->context->device, true,
                       &pageable));
        TRY(check_side(&from, w->copy.from, w->copy.from_pitch, w->copy.width, w->copy.height, s->context->device,
                       false, &pageable));
        w->copy.to_host = to == HOST;
        w->copy.from_host = from == HOST;
        return stream_submit(s, w, sync || pageable);
}

static CUresult copy(CUdeviceptr to, enum side to_side, CUdeviceptr from, enum side from_side, size_t n, CUstream s,
                     bool sync)
{
        struct work w = {.copy = {.to = to, .from = from, .width = n, .height = 1}};

        return copy_rows(&w, to_side, from_side, s, sync);
}

#define ADDRESS(p) ((CUdeviceptr)(uintptr_t)(p))

API_SYNC(cuMemcpy, (CUdeviceptr to, CUdeviceptr from, size_t n), (to, from, n))
{
        return copy(to, ANY, from, ANY, n, s, SYNC);
}

API_SYNC(cuMemcpyHtoD_v2, (CUdeviceptr to, const void *from, size_t n), (to, from, n))
{
        return copy(to, DEVICE, ADDRESS(from), HOST, n, s, SYNC);
}

API_SYNC(cuMemcpyDtoH_v2, (void *to, CUdeviceptr from, size_t n), (to, from, n))
{
        return copy(ADDRESS(to), HOST, from, DEVICE, n, s, SYNC);
}

API_SYNC(cuMemcpyDtoD_v2, (CUdeviceptr to, CUdeviceptr from, size_t n), (to, from, n))
{
        return copy(to, DEVICE, from, DEVICE, n, s, SYNC);
}

API_SYNC(cuMemcpyPeer, (CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context, size_t n),
         (to, to_context, from, from_context, n))
{
        return to_context && from_context ? copy(to, DEVICE, from, DEVICE, n, s, SYNC) : CUDA_ERROR_INVALID_CONTEXT;
}

API_STREAM(cuMemcpyAsync, (CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s), (to, from, n, s))
{
        return copy(to, ANY, from, ANY, n, s, ASYNC);
}

API_STREAM(cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void *from, size_t n, CUstream s), (to, from, n, s))
{
        return copy(to, DEVICE, ADDRESS(from), HOST, n, s, ASYNC);
}

API_STREAM(cuMemcpyDtoHAsync_v2, (void *to, CUdeviceptr from, size_t n, CUstream s), (to, from, n, s))
{
        return copy(ADDRESS(to), HOST, from, DEVICE, n, s, ASYNC);
}

API_STREAM(cuMemcpyDtoDAsync_v2, (CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s), (to, from, n, s))
{
        return copy(to, DEVICE, from, DEVICE, n, s, ASYNC);
}

API_STREAM(cuMemcpyPeerAsync,
           (CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context, size_t n, CUstream s),
           (to, to_context, from, from_context, n, s))
{
        return to_context && from_context ? copy(to, DEVICE, from, DEVICE, n, s, ASYNC) : CUDA_ERROR_INVALID_CONTEXT;
}

static CUresult side_2d(int type, const void *host, CUdeviceptr device, enum side *side, CUdeviceptr *at)
{
        *side = type == CU_MEMORYTYPE_HOST ? HOST : type == CU_MEMORYTYPE_UNIFIED ? ANY : DEVICE;
        *at = *side == HOST ? ADDRESS(host) : device;
        if (type == CU_MEMORYTYPE_ARRAY)
                return CUDA_ERROR_NOT_SUPPORTED;
        return type < CU_MEMORYTYPE_HOST || type > CU_MEMORYTYPE_UNIFIED ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

static CUresult copy_2d(const CUDA_MEMCPY2D *p, CUstream s, bool sync)
{
        struct work w = {0};
        enum side to, from;

        if (!p)
                return CUDA_ERROR_INVALID_VALUE;
        TRY(side_2d(p->dstMemoryType, p->dstHost, p->dstDevice, &to, &w.copy.to));
        TRY(side_2d(p->srcMemoryType, p->srcHost, p->srcDevice, &from, &w.copy.from));
        w.copy.width = p->WidthInBytes;
        w.copy.height = p->Height;
        w.copy.to_pitch = p->dstPitch ? p->dstPitch : p->WidthInBytes;
        w.copy.from_pitch = p->srcPitch ? p->srcPitch : p->WidthInBytes;
        if ((p->Height > 1 && (w.copy.to_pitch < p->WidthInBytes + p->dstXInBytes ||
                               w.copy.from_pitch < p->WidthInBytes + p->srcXInBytes)) ||
            p->WidthInBytes > (uint64_t)1 << 40 || p->Height > (uint64_t)1 << 40)
                return CUDA_ERROR_INVALID_VALUE;
        w.copy.to += p->dstY * w.copy.to_pitch + p->dstXInBytes;
        w.copy.from += p->srcY * w.copy.from_pitch + p->srcXInBytes;
        return copy_rows(&w, to, from, s, sync);
}

API_SYNC(cuMemcpy2D_v2, (const CUDA_MEMCPY2D *p), (p))
{
        return copy_2d(p, s, SYNC);
}

API_SYNC(cuMemcpy2DUnaligned_v2, (const CUDA_MEMCPY2D *p), (p))
{
        return copy_2d(p, s, SYNC);
}

API_STREAM(cuMemcpy2DAsync_v2, (const CUDA_MEMCPY2D *p, CUstream s), (p, s))
{
        return copy_2d(p, s, ASYNC);
}

static CUresult set(CUdeviceptr to, uint64_t pitch, uint32_t value, uint32_t size, uint64_t width, uint64_t height,
                    CUstream handle, bool sync)
{
        struct work w = {
                .kind = WORK_SET,
                .set = {.to = to, .pitch = pitch, .value = value, .size = size, .width = width, .height = height}};
        enum side side = DEVICE;
        bool pageable = false;
        CUstream s;

        TRY(stream_of(handle, &s));
        if (width == 0 || height == 0)
                return CUDA_SUCCESS;
        if (to % size || pitch % size || width > (uint64_t)1 << 40 || height > (uint64_t)1 << 40 ||
            (height > 1 && pitch < width * size))
                return CUDA_ERROR_INVALID_VALUE;
        if (sync && s->legacy)
                TRY(capture_implicit(s->context));
        TRY(check_side(&side, to, pitch, width * size, height, s->context->device, true, &pageable));
        return stream_submit(s, &w, sync);
}

#define SET_1D(bits, type)                                                                                             \
        API_SYNC(cuMemsetD##bits##_v2, (CUdeviceptr to, type value, size_t n), (to, value, n))                         \
        {                                                                                                              \
                return set(to, 0, value, bits / 8, n, 1, s, SYNC);                                                     \
        }                                                                                                              \
        API_STREAM(cuMemsetD##bits##Async, (CUdeviceptr to, type value, size_t n, CUstream s), (to, value, n, s))      \
        {                                                                                                              \
                return set(to, 0, value, bits / 8, n, 1, s, ASYNC);                                                    \
        }                                                                                                              \
        API_SYNC(cuMemsetD2D##bits##_v2, (CUdeviceptr to, size_t pitch, type value, size_t width, size_t height),      \
                 (to, pitch, value, width, height))                                                                    \
        {                                                                                                              \
                return set(to, pitch, value, bits / 8, width, height, s, SYNC);                                        \
        }                                                                                                              \
        API_STREAM(cuMemsetD2D##bits##Async,                                                                           \
                   (CUdeviceptr to, size_t pitch, type value, size_t width, size_t height, CUstream s),                \
                   (to, pitch, value, width, height, s))                                                               \
        {                                                                                                              \
                return set(to, pitch, value, bits / 8, width, height, s, ASYNC);                                       \
        }

SET_1D(8, unsigned char)
SET_1D(16, unsigned short)
SET_1D(32, unsigned int)
