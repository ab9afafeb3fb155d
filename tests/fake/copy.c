/* copy.c: moving and setting bytes.
 *
 * A copy is checked twice: when it is called for, where a bad address is an invalid value, and when it runs, where
 * memory that has meanwhile gone, or may only be read, is a fault of the context. It runs in pieces; each holds memory_lock for reading, so
 * memory never disappears under a piece and nobody who changes mappings waits longer than for one. Copies from host
 * memory that is not registered are over when the call returns.
 */
#include "fake.h"

#include <string.h>

#define PIECE (UINT64_C(4) << 20)

/* Up to a piece of one row: how much, and between whom. */
static CUresult copy_piece(const struct work *w, CUdeviceptr to, CUdeviceptr from, uint64_t length, CUcontext c,
                           struct span *a, struct span *b)
{
        CUcontext to_context = w->copy.to_context ? w->copy.to_context : c;
        CUcontext from_context = w->copy.from_context ? w->copy.from_context : c;
        CUresult r;

        length = length < PIECE ? length : PIECE;
        pthread_rwlock_rdlock(&memory_lock);
        r = (w->copy.to_host ? span_any : span_device)(to, length, to_context, TOUCH_COPY | TOUCH_WRITE, a);
        if (r == CUDA_SUCCESS)
                r = (w->copy.from_host ? span_any : span_device)(from, a->bytes, from_context, TOUCH_COPY, b);
        if (r == CUDA_SUCCESS)
                memmove(a->at, b->at, b->bytes);
        pthread_rwlock_unlock(&memory_lock);
        return r;
}

/* Time on the link that lies between the two, if any. */
static void pay(int to, int from, uint64_t bytes)
{
        if (bytes == 0 || to == from)
                return;
        if (to >= 0 && from >= 0)
                store_peer(from, to, bytes);
        else
                store_link(to >= 0 ? to : from, to >= 0 ? 0 : 1, bytes);
}

CUresult copy_run(const struct work *w, CUcontext c)
{
        uint64_t begin = clock_now_ns(), owed = 0;
        int last_to = -1, last_from = -1;

        for (uint64_t y = 0; y < w->copy.height; y++) {
                CUdeviceptr to = w->copy.to + y * w->copy.to_pitch, from = w->copy.from + y * w->copy.from_pitch;
                uint64_t rest = w->copy.width;
                struct span a, b;

                for (; rest > 0; to += b.bytes, from += b.bytes, rest -= b.bytes) {
                        if (atomic_load_explicit(&c->abort, memory_order_relaxed))
                                return CUDA_SUCCESS;
                        TRY(copy_piece(w, to, from, rest, c, &a, &b));
                        if (a.device != last_to || b.device != last_from || owed >= PIECE) {
                                pay(last_to, last_from, owed);
                                owed = 0;
                        }
                        last_to = a.device;
                        last_from = b.device;
                        owed += b.bytes;
                }
        }
        pay(last_to, last_from, owed);
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
                uint64_t rest = w->set.width * w->set.size;
                struct span p = {.bytes = 0};

                for (; rest > 0; at += p.bytes, rest -= p.bytes) {
                        CUresult r;

                        pthread_rwlock_rdlock(&memory_lock);
                        r = span_device(at, rest < PIECE ? rest : PIECE, c, TOUCH_COPY | TOUCH_WRITE, &p);
                        if (r == CUDA_SUCCESS)
                                set_span(p.at, p.bytes, w->set.value, w->set.size);
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
static CUresult check_side(enum side *side, CUdeviceptr at, uint64_t pitch, uint64_t width, uint64_t height,
                           CUcontext c, bool *pageable)
{
        uint64_t whole = (height - 1) * pitch + width;
        bool is_device, pinned;
        CUresult r = CUDA_SUCCESS;

        pthread_rwlock_rdlock(&memory_lock);
        is_device = is_device_address(at);
        if (*side == DEVICE || is_device)
                for (uint64_t y = 0; y < height && r == CUDA_SUCCESS; y++)
                        r = range_check(at + y * pitch, width, c, TOUCH_COPY);
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
        TRY(check_side(&to, w->copy.to, w->copy.to_pitch, w->copy.width, w->copy.height,
                       w->copy.to_context ? w->copy.to_context : s->context, &pageable));
        TRY(check_side(&from, w->copy.from, w->copy.from_pitch, w->copy.width, w->copy.height,
                       w->copy.from_context ? w->copy.from_context : s->context, &pageable));
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

static CUresult copy_peer(CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context, size_t n,
                          CUstream s, bool sync)
{
        struct work w = {.copy = {.to = to, .from = from, .width = n, .height = 1}};

        if (!to_context || !from_context || to_context->mark != MARK_CONTEXT || from_context->mark != MARK_CONTEXT)
                return CUDA_ERROR_INVALID_CONTEXT;
        w.copy.to_context = to_context;
        w.copy.from_context = from_context;
        return copy_rows(&w, DEVICE, DEVICE, s, sync);
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
        return copy_peer(to, to_context, from, from_context, n, s, SYNC);
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
        return copy_peer(to, to_context, from, from_context, n, s, ASYNC);
}

/* One side of a copy of rows and slices. */
struct place {
        int type;
        const void *host;
        CUdeviceptr device;
        CUarray array;
        uint64_t x, y, z, pitch, height;
};

/* Where its first row is, and how rows and slices follow. */
static CUresult find_place(const struct place *p, uint64_t width, uint64_t rows, uint64_t slices, enum side *side,
                           CUdeviceptr *at, uint64_t *pitch, uint64_t *slice)
{
        CUarray a = p->array;

        *side = p->type == CU_MEMORYTYPE_HOST ? HOST : p->type == CU_MEMORYTYPE_UNIFIED ? ANY : DEVICE;
        *at = *side == HOST ? ADDRESS(p->host) : p->device;
        *pitch = p->pitch ? p->pitch : width;
        *slice = (p->height ? p->height : rows) * *pitch;
        if (p->type < CU_MEMORYTYPE_HOST || p->type > CU_MEMORYTYPE_UNIFIED || p->x > (uint64_t)1 << 40 ||
            p->y > (uint64_t)1 << 32 || p->z > (uint64_t)1 << 32)
                return CUDA_ERROR_INVALID_VALUE;
        if (p->type == CU_MEMORYTYPE_ARRAY) {
                if (!a || a->mark != MARK_ARRAY)
                        return CUDA_ERROR_INVALID_HANDLE;
                if (p->x + width > a->row || p->y + rows > a->height || p->z + slices > a->depth)
                        return CUDA_ERROR_INVALID_VALUE;
                *at = a->base;
                *pitch = a->row;
                *slice = a->row * a->height;
        } else if ((rows > 1 && *pitch < width + p->x) || (slices > 1 && p->height && p->height < rows + p->y)) {
                return CUDA_ERROR_INVALID_VALUE;
        }
        *at += p->z * *slice + p->y * *pitch + p->x;
        return CUDA_SUCCESS;
}

static CUresult copy_box(const struct place *to, const struct place *from, uint64_t width, uint64_t rows,
                         uint64_t slices, CUstream s, bool sync)
{
        struct work w = {0};
        enum side to_side, from_side;
        uint64_t to_slice, from_slice;

        if (width > (uint64_t)1 << 40 || rows > (uint64_t)1 << 32 || slices > (uint64_t)1 << 32)
                return CUDA_ERROR_INVALID_VALUE;
        w.copy.width = width;
        w.copy.height = rows;
        TRY(find_place(to, width, rows, slices, &to_side, &w.copy.to, &w.copy.to_pitch, &to_slice));
        TRY(find_place(from, width, rows, slices, &from_side, &w.copy.from, &w.copy.from_pitch, &from_slice));
        for (uint64_t z = 0; z < slices; z++) {
                TRY(copy_rows(&w, to_side, from_side, s, sync));
                w.copy.to += to_slice;
                w.copy.from += from_slice;
        }
        return CUDA_SUCCESS;
}

static CUresult copy_2d(const CUDA_MEMCPY2D *p, CUstream s, bool sync)
{
        if (!p)
                return CUDA_ERROR_INVALID_VALUE;
        return copy_box(&(struct place){p->dstMemoryType, p->dstHost, p->dstDevice, p->dstArray, p->dstXInBytes,
                                        p->dstY, 0, p->dstPitch, 0},
                        &(struct place){p->srcMemoryType, p->srcHost, p->srcDevice, p->srcArray, p->srcXInBytes,
                                        p->srcY, 0, p->srcPitch, 0},
                        p->WidthInBytes, p->Height, 1, s, sync);
}

static CUresult copy_3d(const CUDA_MEMCPY3D *p, CUstream s, bool sync)
{
        if (!p || p->srcLOD || p->dstLOD)
                return CUDA_ERROR_INVALID_VALUE;
        return copy_box(&(struct place){p->dstMemoryType, p->dstHost, p->dstDevice, p->dstArray, p->dstXInBytes,
                                        p->dstY, p->dstZ, p->dstPitch, p->dstHeight},
                        &(struct place){p->srcMemoryType, p->srcHost, p->srcDevice, p->srcArray, p->srcXInBytes,
                                        p->srcY, p->srcZ, p->srcPitch, p->srcHeight},
                        p->WidthInBytes, p->Height, p->Depth, s, sync);
}

API_SYNC(cuMemcpy3D_v2, (const CUDA_MEMCPY3D *p), (p))
{
        return copy_3d(p, s, SYNC);
}

API_STREAM(cuMemcpy3DAsync_v2, (const CUDA_MEMCPY3D *p, CUstream s), (p, s))
{
        return copy_3d(p, s, ASYNC);
}

/* Bytes of an array in the order of its rows, from an offset on. */
static CUresult array_at(CUarray a, size_t offset, size_t n, CUdeviceptr *at)
{
        if (!a || a->mark != MARK_ARRAY)
                return CUDA_ERROR_INVALID_HANDLE;
        if (n > a->row * a->height || offset > a->row * a->height - n)
                return CUDA_ERROR_INVALID_VALUE;
        *at = a->base + offset;
        return CUDA_SUCCESS;
}

static CUresult to_array(CUarray a, size_t offset, CUdeviceptr from, enum side side, size_t n, CUstream s, bool sync)
{
        CUdeviceptr to;

        TRY(array_at(a, offset, n, &to));
        return copy(to, DEVICE, from, side, n, s, sync);
}

static CUresult from_array(CUdeviceptr to, enum side side, CUarray a, size_t offset, size_t n, CUstream s, bool sync)
{
        CUdeviceptr from;

        TRY(array_at(a, offset, n, &from));
        return copy(to, side, from, DEVICE, n, s, sync);
}

API_SYNC(cuMemcpyHtoA_v2, (CUarray a, size_t offset, const void *from, size_t n), (a, offset, from, n))
{
        return to_array(a, offset, ADDRESS(from), HOST, n, s, SYNC);
}

API_SYNC(cuMemcpyDtoA_v2, (CUarray a, size_t offset, CUdeviceptr from, size_t n), (a, offset, from, n))
{
        return to_array(a, offset, from, DEVICE, n, s, SYNC);
}

API_SYNC(cuMemcpyAtoH_v2, (void *to, CUarray a, size_t offset, size_t n), (to, a, offset, n))
{
        return from_array(ADDRESS(to), HOST, a, offset, n, s, SYNC);
}

API_SYNC(cuMemcpyAtoD_v2, (CUdeviceptr to, CUarray a, size_t offset, size_t n), (to, a, offset, n))
{
        return from_array(to, DEVICE, a, offset, n, s, SYNC);
}

API_STREAM(cuMemcpyHtoAAsync_v2, (CUarray a, size_t offset, const void *from, size_t n, CUstream s),
           (a, offset, from, n, s))
{
        return to_array(a, offset, ADDRESS(from), HOST, n, s, ASYNC);
}

API_STREAM(cuMemcpyAtoHAsync_v2, (void *to, CUarray a, size_t offset, size_t n, CUstream s), (to, a, offset, n, s))
{
        return from_array(ADDRESS(to), HOST, a, offset, n, s, ASYNC);
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
        TRY(check_side(&side, to, pitch, width * size, height, s->context, &pageable));
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
