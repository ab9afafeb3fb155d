/* ops.c: what a stream does beside kernels and copies: host functions, values in memory, and the dispatch of all work.
 */
#include "fake.h"

#include <string.h>

/* Reads or writes the word of a value operation, as one access that other threads and processes may race with. */
static CUresult value_access(const struct work *w, CUcontext c, bool write, uint64_t *value)
{
        struct span s;
        CUresult r;

        pthread_rwlock_rdlock(&memory_lock);
        r = span_device(w->value.at, w->value.size, c, write ? TOUCH_WRITE : TOUCH_READ, &s);
        if (r == CUDA_SUCCESS && s.bytes == w->value.size) {
                void *p = s.at;
                uint64_t n = s.bytes;

                if (write && n == 4)
                        __atomic_store_n((uint32_t *)p, (uint32_t)*value, __ATOMIC_SEQ_CST);
                else if (write)
                        __atomic_store_n((uint64_t *)p, *value, __ATOMIC_SEQ_CST);
                else
                        *value = n == 4 ? __atomic_load_n((uint32_t *)p, __ATOMIC_SEQ_CST)
                                        : __atomic_load_n((uint64_t *)p, __ATOMIC_SEQ_CST);
        }
        pthread_rwlock_unlock(&memory_lock);
        return r;
}

static bool satisfied(const struct work *w, uint64_t now)
{
        uint64_t want = w->value.value;

        switch (w->value.flags & 3) {
        case 0: /* at least, cyclically */
                return w->value.size == 4 ? (int32_t)((uint32_t)now - (uint32_t)want) >= 0 : (int64_t)(now - want) >= 0;
        case 1:
                return now == want;
        case 2:
                return (now & want) != 0;
        default:
                return (~(now | want) & (w->value.size == 4 ? UINT32_MAX : UINT64_MAX)) != 0;
        }
}

static CUresult wait_value(const struct work *w, CUcontext c)
{
        struct timespec pause = {.tv_nsec = 20000};
        uint64_t now = 0;

        for (;;) {
                TRY(value_access(w, c, false, &now));
                if (satisfied(w, now) || atomic_load(&c->abort))
                        return CUDA_SUCCESS;
                nanosleep(&pause, NULL);
        }
}

CUresult work_run(struct work *w, CUcontext c)
{
        CUresult sticky = atomic_load(&c->sticky);

        switch (w->kind) {
        case WORK_FREE:
                (void)memory_free(w->free_at);
                return CUDA_SUCCESS;
        case WORK_CALLBACK:
                w->host.callback(w->host.stream, sticky, w->host.data);
                return CUDA_SUCCESS;
        case WORK_EVENT:
        case WORK_WAIT:
        case WORK_KEEP:
        case WORK_UNKEEP:
        case WORK_BRANCH:
                return CUDA_SUCCESS;
        case WORK_HOST:
                if (!sticky)
                        w->host.call(w->host.data);
                return CUDA_SUCCESS;
        case WORK_KERNEL:
                return sticky ? sticky : kernel_run(w, c);
        case WORK_COPY:
                return sticky ? sticky : copy_run(w, c);
        case WORK_SET:
                return sticky ? sticky : set_run(w, c);
        case WORK_WRITE_VALUE:
                return sticky ? sticky : value_access(w, c, true, &w->value.value);
        case WORK_WAIT_VALUE:
                return sticky ? sticky : wait_value(w, c);
        case WORK_GRAPH:
                return sticky ? sticky : program_run(w->program, c);
        }
        return CUDA_ERROR_UNKNOWN;
}

API_STREAM(cuLaunchHostFunc, (CUstream s, void (*call)(void *), void *data), (s, call, data))
{
        struct work w = {.kind = WORK_HOST, .host = {.call = call, .data = data}};

        if (!call)
                return CUDA_ERROR_INVALID_VALUE;
        TRY(stream_of(s, &s));
        return stream_submit(s, &w, false);
}

API_STREAM(cuStreamAddCallback, (CUstream s, void (*callback)(CUstream, CUresult, void *), void *data, unsigned flags),
           (s, callback, data, flags))
{
        struct work w = {.kind = WORK_CALLBACK, .host = {.callback = callback, .stream = s, .data = data}};

        if (!callback || flags)
                return CUDA_ERROR_INVALID_VALUE;
        TRY(stream_of(s, &s));
        if (atomic_load(&s->capture))
                return capture_observed(s);
        return stream_submit(s, &w, false);
}

static CUresult value_op(CUstream s, CUdeviceptr at, uint64_t value, unsigned flags, unsigned size, enum work_kind kind)
{
        struct work w = {.kind = kind, .value = {.at = at, .value = value, .flags = flags, .size = size}};
        CUresult r;

        TRY(stream_of(s, &s));
        if (at % size)
                return CUDA_ERROR_INVALID_VALUE;
        pthread_rwlock_rdlock(&memory_lock);
        r = range_check(at, size, s->context, TOUCH_READ);
        pthread_rwlock_unlock(&memory_lock);
        return r ? CUDA_ERROR_INVALID_VALUE : stream_submit(s, &w, false);
}

#define VALUE_OPS(bits, suffix)                                                                                        \
        API_STREAM(cuStreamWriteValue##bits##suffix,                                                                   \
                   (CUstream s, CUdeviceptr at, uint##bits##_t value, unsigned flags), (s, at, value, flags))          \
        {                                                                                                              \
                return value_op(s, at, value, flags, bits / 8, WORK_WRITE_VALUE);                                      \
        }                                                                                                              \
        API_STREAM(cuStreamWaitValue##bits##suffix,                                                                    \
                   (CUstream s, CUdeviceptr at, uint##bits##_t value, unsigned flags), (s, at, value, flags))          \
        {                                                                                                              \
                return value_op(s, at, value, flags, bits / 8, WORK_WAIT_VALUE);                                       \
        }

VALUE_OPS(32, )
VALUE_OPS(32, _v2)
VALUE_OPS(64, )
VALUE_OPS(64, _v2)

API_STREAM(cuStreamBatchMemOp_v2, (CUstream s, unsigned count, CUstreamBatchMemOpParams *list, unsigned flags), (s, count, list, flags))
{
        if (!count || count > 256 || !list || flags)
                return CUDA_ERROR_INVALID_VALUE;
        for (unsigned i = 0; i < count; i++) {
                int operation = list[i].operation;
                bool wide = operation == CU_STREAM_MEM_OP_WAIT_VALUE_64 || operation == CU_STREAM_MEM_OP_WRITE_VALUE_64;
                bool write = operation == CU_STREAM_MEM_OP_WRITE_VALUE_32 || operation == CU_STREAM_MEM_OP_WRITE_VALUE_64;

                if (operation == CU_STREAM_MEM_OP_BARRIER || operation == CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES)
                        continue; /* all of it is in order */
                if (!write && !wide && operation != CU_STREAM_MEM_OP_WAIT_VALUE_32)
                        return CUDA_ERROR_INVALID_VALUE;
                TRY(value_op(s, list[i].value.address, wide ? list[i].value.value : (uint32_t)list[i].value.value, list[i].value.flags, wide ? 8 : 4,
                             write ? WORK_WRITE_VALUE : WORK_WAIT_VALUE));
        }
        return CUDA_SUCCESS;
}

API_STREAM(cuStreamBatchMemOp, (CUstream s, unsigned count, CUstreamBatchMemOpParams *list, unsigned flags), (s, count, list, flags))
{
        return cuStreamBatchMemOp_v2_body(s, count, list, flags);
}
