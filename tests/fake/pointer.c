/* pointer.c: what the driver says about an address. */
#include "fake.h"

#include <string.h>

struct facts {
        CUdeviceptr base, at;
        uint64_t bytes;
        int device;
        bool on_device, host, managed;
};

static bool find_facts(CUdeviceptr at, struct facts *f)
{
        CUdeviceptr base;
        uint64_t bytes;
        int device = 0;
        bool accessible;

        *f = (struct facts){.at = at, .device = 0};
        if (vmm_find(at, &base, &bytes, &device, &accessible)) {
                f->on_device = true;
                f->device = device;
                f->base = base;
                f->bytes = bytes;
                if (!memory_find(at, &f->base, &f->bytes))
                        (void)ipc_find(at, &f->base, &f->bytes);
                return true;
        }
        const struct host_range *h = host_find(at);

        if (!h)
                return false;
        f->base = h->base;
        f->bytes = h->bytes;
        f->managed = h->kind == HOST_MANAGED;
        f->host = !f->managed;
        return true;
}

/* known: false answers as for memory that the driver does not know, which only the list form may ask for. */
static CUresult answer(void *data, int which, const struct facts *f, bool known, CUcontext c)
{
        switch (which) {
        case CU_POINTER_ATTRIBUTE_CONTEXT:
                *(CUcontext *)data = known ? c : NULL;
                return CUDA_SUCCESS;
        case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
                *(unsigned *)data = !known ? 0 : f->host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
                return CUDA_SUCCESS;
        case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
                *(CUdeviceptr *)data = known ? f->at : 0;
                return CUDA_SUCCESS;
        case CU_POINTER_ATTRIBUTE_HOST_POINTER:
                *(void **)data = !f->on_device ? (void *)(uintptr_t)f->at : NULL;
                return known && f->on_device ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
        case CU_POINTER_ATTRIBUTE_IS_MANAGED:
                *(unsigned *)data = known && f->managed;
                return CUDA_SUCCESS;
        case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
                *(int *)data = known ? f->device : -2;
                return CUDA_SUCCESS;
        case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
                *(CUdeviceptr *)data = known ? f->base : 0;
                return CUDA_SUCCESS;
        case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
                *(size_t *)data = known ? f->bytes : 0;
                return CUDA_SUCCESS;
        case CU_POINTER_ATTRIBUTE_MAPPED:
                *(unsigned char *)data = known;
                return CUDA_SUCCESS;
        case 6: /* synchronous memory operations: always, and never refused */
                *(unsigned *)data = 0;
                return CUDA_SUCCESS;
        case 7: /* an id of the buffer */
                *(unsigned long long *)data = known ? f->base : 0;
                return CUDA_SUCCESS;
        case 10: /* IPC capable */
                *(unsigned *)data = 0;
                return CUDA_SUCCESS;
        case 14: /* allowed handle types */
                *(unsigned long long *)data = 0;
                return CUDA_SUCCESS;
        case 17: /* memory pool */
                *(CUmemoryPool *)data = known ? pool_lender(f->base) : NULL;
                return CUDA_SUCCESS;
        default:
                return CUDA_ERROR_INVALID_VALUE;
        }
}

API(cuPointerGetAttribute, (void *data, int which, CUdeviceptr at), (data, which, at))
{
        struct facts f;
        CUcontext c;
        CUresult r = CUDA_ERROR_INVALID_VALUE;

        TRY(need_context(&c));
        if (!data)
                return CUDA_ERROR_INVALID_VALUE;
        pthread_rwlock_rdlock(&memory_lock);
        if (find_facts(at, &f))
                r = answer(data, which, &f, true, c);
        pthread_rwlock_unlock(&memory_lock);
        return r;
}

API(cuPointerGetAttributes, (unsigned count, int *which, void **data, CUdeviceptr at), (count, which, data, at))
{
        struct facts f;
        CUcontext c;
        bool known;

        TRY(need_context(&c));
        if (!which || !data || count == 0)
                return CUDA_ERROR_INVALID_VALUE;
        pthread_rwlock_rdlock(&memory_lock);
        known = find_facts(at, &f);
        for (unsigned i = 0; i < count; i++)
                if (data[i])
                        (void)answer(data[i], which[i], &f, known, c);
        pthread_rwlock_unlock(&memory_lock);
        return CUDA_SUCCESS;
}

API(cuPointerSetAttribute, (const void *value, int which, CUdeviceptr at), (value, which, at))
{
        struct facts f;
        CUcontext c;
        bool known;

        TRY(need_context(&c));
        pthread_rwlock_rdlock(&memory_lock);
        known = find_facts(at, &f);
        pthread_rwlock_unlock(&memory_lock);
        return value && which == 6 && known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
