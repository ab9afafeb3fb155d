/* own-memory.c: hooks of allocation and release, and the answers about memory that Berth makes up.
 *
 * On a device that is not managed (no daemon, or one that does not share it) all of these are the real call.
 */
#include "cuda/link.h"
#include "cuda/lane.h"
#include "cuda/memory.h"
#include "cuda/own-ipc.h"
#include "cuda/ordered.h"
#include "cuda/say.h"
#include "cuda/vmm.h"

#include <string.h>

CUresult hook_cuMemAlloc_v2(CUdeviceptr *ret, size_t bytes)
{
        struct device *d = link_current();

        return d ? memory_allocate(d, ret, bytes) : real.cuMemAlloc_v2(ret, bytes);
}

/* Rows start at multiples of 512 bytes, as the driver's own do on every device known. */
CUresult hook_cuMemAllocPitch_v2(CUdeviceptr *ret, size_t *ret_pitch, size_t width, size_t height, unsigned int element)
{
        struct device *d = link_current();
        size_t pitch, bytes;
        CUresult r;

        if (!d)
                return real.cuMemAllocPitch_v2(ret, ret_pitch, width, height, element);
        if (!ret || !ret_pitch || !width || !height || (element != 4 && element != 8 && element != 16))
                return CUDA_ERROR_INVALID_VALUE;
        if (__builtin_add_overflow(width, 511, &pitch) || __builtin_mul_overflow(pitch & ~(size_t)511, height, &bytes))
                return CUDA_ERROR_INVALID_VALUE;
        r = memory_allocate(d, ret, bytes);
        if (r == CUDA_SUCCESS)
                *ret_pitch = pitch & ~(size_t)511;
        return r;
}

/* False: it was freed in stream order before. */
static bool forget_piece(CUdeviceptr address)
{
        bool live;

        books_lock();
        live = ordered_forget(address);
        books_unlock();
        return live;
}

CUresult hook_cuMemFree_v2(CUdeviceptr address)
{
        CUresult r;

        if (!berth_enabled || !address)
                return real.cuMemFree_v2(address);
        if (!forget_piece(address))
                return CUDA_ERROR_INVALID_VALUE;
        r = memory_free(address);
        if (r != CUDA_ERROR_NOT_FOUND)
                return r;
        r = real.cuMemFree_v2(address);
        if (r == CUDA_SUCCESS)
                memory_pin_drop(address);
        return r;
}

/* An allocation that can't move: wait for room, make it, count it under its address or handle. */
#define PINNED(bytes, key, call)                                             \
        do {                                                                 \
                struct device *d_ = link_current();                        \
                uint64_t bytes_ = (bytes);                                   \
                CUresult r_;                                                 \
                                                                             \
                if (!d_)                                                     \
                        return call;                                         \
                if (memory_pin_reserve(d_, bytes_) < 0)                      \
                        return CUDA_ERROR_OUT_OF_MEMORY;                     \
                r_ = call;                                                   \
                memory_pin_keep(d_, r_ == CUDA_SUCCESS ? (uint64_t)(key) : 0, bytes_, r_ != CUDA_SUCCESS); \
                return r_;                                                   \
        } while (0)

CUresult hook_cuMemAllocManaged(CUdeviceptr *ret, size_t bytes, unsigned int flags)
{
        PINNED(bytes, *ret, real.cuMemAllocManaged(ret, bytes, flags));
}

/* The first, 32-bit forms: what they give could not be put elsewhere under its address. */
CUresult hook_cuMemAlloc(unsigned int *ret, unsigned int bytes)
{
        PINNED(bytes, *ret, real.cuMemAlloc(ret, bytes));
}

CUresult hook_cuMemAllocPitch(unsigned int *ret, unsigned int *ret_pitch, unsigned int width, unsigned int height, unsigned int element)
{
        PINNED((((uint64_t)width + 511) & ~UINT64_C(511)) * height, *ret, real.cuMemAllocPitch(ret, ret_pitch, width, height, element));
}

CUresult hook_cuMemFree(unsigned int address)
{
        CUresult r = real.cuMemFree(address);

        if (berth_enabled && r == CUDA_SUCCESS)
                memory_pin_drop(address);
        return r;
}

/* Arrays are opaque, and their true size is the driver's secret: what a new one takes from the device's free memory is counted. It is there
 * before the daemon can be asked, so if there is no room for it, it goes again. */
static uint64_t driver_free(void)
{
        size_t free_bytes = 0, total;

        return real.cuMemGetInfo_v2(&free_bytes, &total) == CUDA_SUCCESS ? free_bytes : 0;
}

#define ARRAY(call, key, destroy)                                                     \
        do {                                                                          \
                struct device *d_ = link_current();                                 \
                uint64_t before_ = d_ ? driver_free() : 0, after_, bytes_;            \
                CUresult r_ = call;                                                   \
                                                                                      \
                if (!d_ || r_ != CUDA_SUCCESS)                                        \
                        return r_;                                                    \
                after_ = driver_free();                                               \
                bytes_ = before_ > after_ ? before_ - after_ : 0;                     \
                if (bytes_ && memory_pin_reserve(d_, bytes_) < 0) {                   \
                        destroy(key);                                                 \
                        return CUDA_ERROR_OUT_OF_MEMORY;                              \
                }                                                                     \
                if (bytes_)                                                           \
                        memory_pin_keep(d_, (uint64_t)(key), bytes_, false);          \
                return CUDA_SUCCESS;                                                  \
        } while (0)

CUresult hook_cuArrayCreate_v2(CUarray *ret, const void *descriptor)
{
        ARRAY(real.cuArrayCreate_v2(ret, descriptor), *ret, real.cuArrayDestroy);
}

CUresult hook_cuArrayCreate(CUarray *ret, const void *descriptor)
{
        ARRAY(real.cuArrayCreate(ret, descriptor), *ret, real.cuArrayDestroy);
}

CUresult hook_cuArray3DCreate(CUarray *ret, const void *descriptor)
{
        ARRAY(real.cuArray3DCreate(ret, descriptor), *ret, real.cuArrayDestroy);
}

CUresult hook_cuArray3DCreate_v2(CUarray *ret, const void *descriptor)
{
        ARRAY(real.cuArray3DCreate_v2(ret, descriptor), *ret, real.cuArrayDestroy);
}

CUresult hook_cuMipmappedArrayCreate(CUmipmappedArray *ret, const void *descriptor, unsigned int levels)
{
        ARRAY(real.cuMipmappedArrayCreate(ret, descriptor, levels), *ret, real.cuMipmappedArrayDestroy);
}

CUresult hook_cuArrayDestroy(CUarray array)
{
        CUresult r = real.cuArrayDestroy(array);

        if (berth_enabled && r == CUDA_SUCCESS)
                memory_pin_drop((uint64_t)array);
        return r;
}

CUresult hook_cuMipmappedArrayDestroy(CUmipmappedArray array)
{
        CUresult r = real.cuMipmappedArrayDestroy(array);

        if (berth_enabled && r == CUDA_SUCCESS)
                memory_pin_drop((uint64_t)array);
        return r;
}

/* A program sees the device as if it were alone, within its limit. */
CUresult hook_cuMemGetInfo_v2(size_t *ret_free, size_t *ret_total)
{
        struct device *d = link_current();
        uint64_t used, most;

        if (!d || !ret_free || !ret_total)
                return real.cuMemGetInfo_v2(ret_free, ret_total);
        books_lock();
        used = d->movable + d->pinned;
        most = d->limit ? d->limit : d->room ? d->room : d->total;
        *ret_total = d->limit && d->limit < d->total ? d->limit : d->total;
        *ret_free = most > used ? most - used : 0;
        books_unlock();
        return CUDA_SUCCESS;
}

/* Asked long before the program comes to the device: then the limit is what it was started with. */
CUresult hook_cuDeviceTotalMem_v2(size_t *ret, CUdevice device)
{
        CUresult r = real.cuDeviceTotalMem_v2(ret, device);
        uint64_t limit;

        if (r != CUDA_SUCCESS || !berth_enabled)
                return r;
        limit = link_limit_of(device, *ret);
        if (limit && limit < *ret)
                *ret = limit;
        return r;
}

CUresult hook_cuMemGetAddressRange_v2(CUdeviceptr *ret_base, size_t *ret_bytes, CUdeviceptr address)
{
        struct page_lane *lane;
        CUdeviceptr base;
        struct block *block;
        uint64_t bytes;
        bool ours, mapped;
        CUresult r;

        books_lock();
        ours = berth_enabled && (memory_range(address, &base, &bytes, &block) || vmm_range(address, &base, &bytes));
        mapped = berth_enabled && vmm_mapping_at(address);
        books_unlock();
        ours = ours || (berth_enabled && own_ipc_range(address, &base, &bytes));
        if (!ours && !mapped)
                return real.cuMemGetAddressRange_v2(ret_base, ret_bytes, address);
        if (!ours) {
                lane = lane_enter();
                r = real.cuMemGetAddressRange_v2(ret_base, ret_bytes, address);
                lane_leave(lane, false);
                return r;
        }
        if (ret_base)
                *ret_base = base;
        if (ret_bytes)
                *ret_bytes = bytes;
        return CUDA_SUCCESS;
}

/* What the driver would say of cuMemAlloc memory. false: ask the driver, which knows the memory only while it is on the device. */
static bool answer_attribute(void *ret, int attribute, CUdeviceptr address)
{
        CUdeviceptr base;
        struct block *block;
        uint64_t bytes;
        bool known = true;

        books_lock();
        if (!berth_enabled || !memory_range(address, &base, &bytes, &block)) {
                /* Of the program's own mappings, and of other programs' memory, the driver knows all but the size, where we made several pieces of one. */
                known = berth_enabled && (vmm_range(address, &base, &bytes) || own_ipc_range(address, &base, &bytes));
                if (known && attribute == CU_POINTER_ATTRIBUTE_RANGE_START_ADDR)
                        *(CUdeviceptr *)ret = base;
                else if (known && attribute == CU_POINTER_ATTRIBUTE_RANGE_SIZE)
                        *(size_t *)ret = bytes;
                else
                        known = false;
                books_unlock();
                return known;
        }
        switch (attribute) {
        case CU_POINTER_ATTRIBUTE_CONTEXT:
                *(CUcontext *)ret = block->context;
                break;
        case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
                *(unsigned int *)ret = CU_MEMORYTYPE_DEVICE;
                break;
        case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
                *(CUdeviceptr *)ret = address;
                break;
        case CU_POINTER_ATTRIBUTE_IS_MANAGED:
                *(unsigned int *)ret = 0;
                break;
        case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
                *(int *)ret = block->device->handle;
                break;
        case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
                *(CUdeviceptr *)ret = base;
                break;
        case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
                *(size_t *)ret = bytes;
                break;
        case CU_POINTER_ATTRIBUTE_MAPPED:
                *(int *)ret = 1;
                break;
        case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
                *(unsigned int *)ret = 1;
                break;
        case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
                *(unsigned long long *)ret = 0;
                break;
        case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
                *(CUmemoryPool *)ret = ordered_pool_of(base);
                break;
        default:
                known = false;
        }
        books_unlock();
        return known;
}

CUresult hook_cuPointerGetAttribute(void *ret, int attribute, CUdeviceptr address)
{
        struct page_lane *lane;
        CUresult r;

        if (ret && answer_attribute(ret, attribute, address))
                return CUDA_SUCCESS;
        lane = lane_enter();
        r = real.cuPointerGetAttribute(ret, attribute, address);
        lane_leave(lane, false);
        return r;
}

CUresult hook_cuPointerGetAttributes(unsigned int n, int *attributes, void **data, CUdeviceptr address)
{
        struct page_lane *lane = lane_enter();
        CUresult r = real.cuPointerGetAttributes(n, attributes, data, address);

        lane_leave(lane, false);
        for (unsigned int i = 0; r == CUDA_SUCCESS && i < n; i++)
                if (data[i])
                        (void)answer_attribute(data[i], attributes[i], address);
        return r;
}
