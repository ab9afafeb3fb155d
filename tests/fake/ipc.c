/* ipc.c: memory of cuMemAlloc that other processes open by a handle of 64 bytes.
 *
 * The handle names the physical memory and where in it the allocation begins. Who opens it maps all of it, and holds it also
 * when its owner frees it.
 */
#include "fake.h"
#include "table.h"

#include <string.h>
#include <unistd.h>

/* CUipcMemHandle */
struct ipc_handle {
        uint32_t mark, pid;
        unsigned long long serial;
        uint64_t offset, bytes;
        char rest[32];
};

struct opened {
        CUdeviceptr base;
        uint64_t bytes;
        CUdeviceptr at; /* what the program was told, and how much was allocated there */
        uint64_t asked;
        unsigned users;
        unsigned long long serial;
};

enum { MARK_IPC = 0x49504331 };
static pthread_mutex_t ipc_lock = PTHREAD_MUTEX_INITIALIZER; /* before memory_lock, under which the table changes, too */
static struct table opened = {.bytes = sizeof(struct opened)};

API(cuIpcGetMemHandle, (struct ipc_handle * ret, CUdeviceptr at), (ret, at))
{
        struct ipc_handle h = {.mark = MARK_IPC, .pid = (uint32_t)getpid()};
        CUdeviceptr base = 0;
        CUcontext c;
        bool found;

        TRY(need_context(&c));
        pthread_rwlock_rdlock(&memory_lock);
        found = memory_find(at, &base, &h.bytes);
        pthread_rwlock_unlock(&memory_lock);
        if (!ret || !found || !vmm_publish(base, &h.serial, &h.offset))
                return CUDA_ERROR_INVALID_VALUE;
        *ret = h;
        return CUDA_SUCCESS;
}

bool ipc_find(CUdeviceptr at, CUdeviceptr *ret_base, uint64_t *ret_bytes)
{
        const struct opened *o = table_find(&opened, at);

        if (!o || at < o->at || at - o->at >= o->asked)
                return false;
        *ret_base = o->at;
        *ret_bytes = o->asked;
        return true;
}

static CUresult open_handle(CUdeviceptr *ret, const struct ipc_handle *h, unsigned flags)
{
        struct opened o = {.users = 1, .serial = h->serial, .asked = h->bytes}, *known = NULL;
        CUresult r = CUDA_SUCCESS;
        CUcontext c;
        bool accessible;
        int device;

        TRY(need_context(&c));
        if (!ret || flags > 1)
                return CUDA_ERROR_INVALID_VALUE;
        if (h->mark != MARK_IPC || h->offset >= GRANULE)
                return CUDA_ERROR_INVALID_HANDLE;
        if (h->pid == (uint32_t)getpid())
                return CUDA_ERROR_INVALID_CONTEXT; /* its owner has it already */
        TRY(capture_forbids());
        pthread_mutex_lock(&ipc_lock);
        for (size_t i = 0; i < opened.count && !known; i++) {
                struct opened *each = (struct opened *)(void *)(opened.items + i * opened.bytes);

                if (each->serial == h->serial && each->at == each->base + h->offset)
                        known = each;
        }
        if (known) {
                known->users++;
                *ret = known->at;
        } else {
                r = vmm_open_published(h->serial, &o.base);
                if (r == CUDA_SUCCESS) {
                        o.at = o.base + h->offset;
                        pthread_rwlock_wrlock(&memory_lock);
                        (void)vmm_find(o.base, &o.base, &o.bytes, &device, &accessible);
                        if (table_add(&opened, &o)) {
                                *ret = o.at;
                        } else {
                                vmm_unback(o.base);
                                r = CUDA_ERROR_OUT_OF_MEMORY;
                        }
                        pthread_rwlock_unlock(&memory_lock);
                }
        }
        pthread_mutex_unlock(&ipc_lock);
        return r;
}

API(cuIpcOpenMemHandle_v2, (CUdeviceptr * ret, struct ipc_handle h, unsigned flags), (ret, h, flags))
{
        return open_handle(ret, &h, flags);
}

API(cuIpcOpenMemHandle, (CUdeviceptr * ret, struct ipc_handle h, unsigned flags), (ret, h, flags))
{
        return open_handle(ret, &h, flags);
}

API(cuIpcCloseMemHandle, (CUdeviceptr at), (at))
{
        struct opened *o;
        CUcontext c;
        bool found;

        TRY(need_context(&c));
        TRY(capture_forbids());
        context_drain(c);
        pthread_mutex_lock(&ipc_lock);
        o = table_find(&opened, at);
        found = o && o->at == at;
        if (found && --o->users == 0) {
                pthread_rwlock_wrlock(&memory_lock);
                vmm_unback(o->base);
                table_remove(&opened, o);
                pthread_rwlock_unlock(&memory_lock);
        }
        pthread_mutex_unlock(&ipc_lock);
        return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
