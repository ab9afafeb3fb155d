/* physical.c: physical allocations: made, released, sent to other processes and received. */
#include "physical.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct handle **handles;
static size_t handle_count;

static struct handle *handle_new(CUmemGenericAllocationHandle *ret)
{
        size_t i;

        for (i = 0; i < handle_count && handles[i]->live; i++)
                ;
        if (i == handle_count) {
                struct handle **p = realloc(handles, (handle_count + 1) * sizeof(*p));

                if (!p)
                        return NULL;
                handles = p;
                handles[i] = calloc(1, sizeof(**p));
                if (!handles[i])
                        return NULL;
                handle_count++;
        }
        *handles[i] = (struct handle){.generation = handles[i]->generation + 1, .users = 1, .live = true};
        *ret = (CUmemGenericAllocationHandle)handles[i]->generation << 32 | (i + 1);
        return handles[i];
}

CUmemGenericAllocationHandle handle_value(const struct handle *h)
{
        for (size_t i = 0; i < handle_count; i++)
                if (handles[i] == h)
                        return (CUmemGenericAllocationHandle)h->generation << 32 | (i + 1);
        return 0;
}

struct handle *handle_get(CUmemGenericAllocationHandle value)
{
        size_t i = (size_t)(value & UINT32_MAX);

        if (i == 0 || i > handle_count || !handles[i - 1]->live || handles[i - 1]->users == 0 ||
            handles[i - 1]->generation != (uint32_t)(value >> 32))
                return NULL;
        return handles[i - 1];
}

void handle_put(struct handle *h)
{
        if (h->users > 0 || h->mappings > 0)
                return;
        if (h->host)
                munmap(h->host, h->file.bytes);
        h->host = NULL;
        store_drop(&h->file);
        h->live = false;
}

bool handle_map(struct handle *h)
{
        void *p;

        if (h->host)
                return true;
        p = mmap(NULL, h->file.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, h->file.fd, 0);
        if (p == MAP_FAILED)
                return false;
        madvise(p, h->file.bytes, MADV_DONTFORK);
        h->host = p;
        return true;
}

static CUresult check_prop(const CUmemAllocationProp *p)
{
        if (!p || p->type != CU_MEM_ALLOCATION_TYPE_PINNED)
                return CUDA_ERROR_INVALID_VALUE;
        if (p->location.type == CU_MEM_LOCATION_TYPE_HOST || p->location.type == CU_MEM_LOCATION_TYPE_HOST_NUMA)
                return CUDA_ERROR_NOT_SUPPORTED;
        if (p->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
                return CUDA_ERROR_INVALID_VALUE;
        if (p->requestedHandleTypes & ~CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
                return CUDA_ERROR_NOT_SUPPORTED;
        return device_check(p->location.id);
}

/* Under memory_lock: file becomes a handle's. */
struct handle *physical_add(struct store_file *file, const CUmemAllocationProp *prop, CUmemGenericAllocationHandle *ret)
{
        struct handle *h = handle_new(ret);

        if (!h)
                return NULL;
        store_move(file, &h->file);
        h->prop = *prop;
        return h;
}

CUresult physical_create(int device, uint64_t bytes, struct store_file *file)
{
        int e = store_create(device, bytes, true, file);

        if (e == 0)
                return CUDA_SUCCESS;
        return e == -ENOMEM ? CUDA_ERROR_OUT_OF_MEMORY : FAKE_ERROR_OPERATING_SYSTEM;
}

API(cuMemCreate,
    (CUmemGenericAllocationHandle *handle, size_t bytes, const CUmemAllocationProp *prop, unsigned long long flags),
    (handle, bytes, prop, flags))
{
        struct store_file file;
        struct handle *h;

        TRY(need_ready());
        if (!handle || bytes == 0 || bytes % GRANULE || flags)
                return CUDA_ERROR_INVALID_VALUE;
        TRY(check_prop(prop));
        TRY(physical_create(prop->location.id, bytes, &file));
        pthread_rwlock_wrlock(&memory_lock);
        h = physical_add(&file, prop, handle);
        pthread_rwlock_unlock(&memory_lock);
        if (h)
                return CUDA_SUCCESS;
        store_drop(&file);
        return CUDA_ERROR_OUT_OF_MEMORY;
}

API(cuMemRelease, (CUmemGenericAllocationHandle handle), (handle))
{
        struct handle *h;

        TRY(need_ready());
        pthread_rwlock_wrlock(&memory_lock);
        h = handle_get(handle);
        if (h) {
                h->users--;
                handle_put(h);
        }
        pthread_rwlock_unlock(&memory_lock);
        return h ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API(cuMemExportToShareableHandle,
    (void *shareable, CUmemGenericAllocationHandle handle, int type, unsigned long long flags),
    (shareable, handle, type, flags))
{
        struct handle *h;
        CUresult r = CUDA_SUCCESS;
        int fd;

        TRY(need_ready());
        if (!shareable || flags || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
                return CUDA_ERROR_INVALID_VALUE;
        pthread_rwlock_wrlock(&memory_lock);
        h = handle_get(handle);
        if (!h || !(h->prop.requestedHandleTypes & CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)) {
                r = CUDA_ERROR_INVALID_VALUE;
        } else {
                fd = store_share(&h->file);
                if (fd < 0)
                        r = FAKE_ERROR_OPERATING_SYSTEM;
                else
                        memcpy(shareable, &fd, sizeof(fd));
        }
        pthread_rwlock_unlock(&memory_lock);
        return r;
}

API(cuMemImportFromShareableHandle, (CUmemGenericAllocationHandle *handle, void *shareable, int type),
    (handle, shareable, type))
{
        /* Not exportable itself: the driver exports only what the process created. */
        CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
        struct store_file file;
        struct handle *h;
        int fd;

        TRY(need_ready());
        if (!handle || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
                return CUDA_ERROR_INVALID_VALUE;
        fd = fcntl((int)(intptr_t)shareable, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
                return errno == EBADF ? CUDA_ERROR_INVALID_VALUE : FAKE_ERROR_OPERATING_SYSTEM;
        if (store_adopt(fd, &file) < 0) {
                close(fd);
                return CUDA_ERROR_UNKNOWN; /* what the real driver says */
        }
        prop.location.id = file.device;
        pthread_rwlock_wrlock(&memory_lock);
        h = physical_add(&file, &prop, handle);
        pthread_rwlock_unlock(&memory_lock);
        if (h)
                return CUDA_SUCCESS;
        store_drop(&file);
        return CUDA_ERROR_OUT_OF_MEMORY;
}

API(cuMemGetAllocationGranularity, (size_t *bytes, const CUmemAllocationProp *prop, int option), (bytes, prop, option))
{
        TRY(need_ready());
        if (!bytes || option < 0 || option > CU_MEM_ALLOC_GRANULARITY_RECOMMENDED)
                return CUDA_ERROR_INVALID_VALUE;
        TRY(check_prop(prop));
        *bytes = GRANULE;
        return CUDA_SUCCESS;
}

API(cuMemGetAllocationPropertiesFromHandle, (CUmemAllocationProp *prop, CUmemGenericAllocationHandle handle),
    (prop, handle))
{
        struct handle *h;

        TRY(need_ready());
        if (!prop)
                return CUDA_ERROR_INVALID_VALUE;
        pthread_rwlock_rdlock(&memory_lock);
        h = handle_get(handle);
        if (h)
                *prop = h->prop;
        pthread_rwlock_unlock(&memory_lock);
        return h ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
