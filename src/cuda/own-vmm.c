/* own-vmm.c: hooks of the program's own virtual memory management: PyTorch's expandable segments, NCCL's buffers, allocators of their own.
 *
 * Memory that is to be on a device which Berth shares gets a handle of ours (vmm.h); everything else is the driver's, untouched. The program's
 * calls are made one at a time. Those that need the memory where it is pass the gate first and so find all of it on the device.
 */
#include "cuda/lane.h"
#include "cuda/link.h"
#include "cuda/memory.h"
#include "cuda/tier.h"
#include "cuda/trim.h"
#include "cuda/vmm.h"

#include <string.h>

/* Held by one program thread in any call of this file that changes handles or mappings; taken behind the gate, before the books. */
static pthread_mutex_t one_call = PTHREAD_MUTEX_INITIALIZER;

static struct page_lane *enter(void)
{
        struct page_lane *lane = lane_enter();

        pthread_mutex_lock(&one_call);
        vmm_settle_gone();
        return lane;
}

static void leave(struct page_lane *lane)
{
        pthread_mutex_unlock(&one_call);
        lane_leave(lane, false);
        link_kick();
}

static bool known(CUmemGenericAllocationHandle handle)
{
        bool is;

        books_lock();
        is = berth_enabled && vmm_of(handle);
        books_unlock();
        return is;
}

static bool meets(CUdeviceptr address, size_t bytes)
{
        bool is;

        books_lock();
        is = berth_enabled && bytes && vmm_meets(address, bytes);
        books_unlock();
        return is;
}

/* The handle behind the program's name: for one unit, which is all that can be given away. */
static bool physical(CUmemGenericAllocationHandle name, CUmemGenericAllocationHandle *ret)
{
        struct vmm *vmm;
        bool ok;

        books_lock();
        vmm = vmm_of(name);
        ok = vmm && vmm->block->units_n == 1 && vmm->block->units[0].resident;
        if (ok)
                *ret = vmm->block->units[0].handle;
        books_unlock();
        return ok;
}

/* Sparse arrays take their handles through lists that pass us, so their memory keeps the driver's. */
static bool ours_to_make(const CUmemAllocationProp *properties)
{
        return properties->type == CU_MEM_ALLOCATION_TYPE_PINNED && properties->location.type == CU_MEM_LOCATION_TYPE_DEVICE &&
               !properties->allocFlags.usage;
}

static CUresult create_counted(struct device *d, CUmemGenericAllocationHandle *ret, size_t bytes, const CUmemAllocationProp *properties)
{
        unsigned int tries = 0;
        struct vmm *vmm = NULL;
        bool again;
        CUresult r;

        do {
                struct page_lane *lane;

                if (memory_pin_reserve(d, bytes) < 0)
                        return CUDA_ERROR_OUT_OF_MEMORY;
                lane = enter();
                r = vmm_create(d, bytes, properties, &vmm);
                leave(lane);
                books_lock();
                if (r != CUDA_SUCCESS)
                        d->pinned -= bytes;
                else
                        *ret = vmm->name;
                memory_note(d);
                again = r == CUDA_ERROR_OUT_OF_MEMORY && link_full(&tries);
                books_unlock();
                link_kick();
        } while (again);
        return r;
}

/* Host-located memory is none of ours: look at the location's type before its id. */
/* Only what can't be exported, as caching allocators make it (PyTorch's expandable segments): memory that is to be handed on is no cache. */
static bool refused_softly(struct device *d, uint64_t bytes, const CUmemAllocationProp *properties)
{
        bool refused;

        if (properties->requestedHandleTypes)
                return false;
        books_lock();
        refused = trim_refuses(d, bytes);
        books_unlock();
        return refused;
}

CUresult hook_cuMemCreate(CUmemGenericAllocationHandle *ret, size_t bytes, const CUmemAllocationProp *properties, unsigned long long flags)
{
        struct device *d;
        CUresult r;

        if (!berth_enabled || !ret || !bytes || !properties || properties->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
                return real.cuMemCreate(ret, bytes, properties, flags);
        d = link_attach(properties->location.id);
        if (!d || !d->managed)
                return real.cuMemCreate(ret, bytes, properties, flags);
        if (!flags && ours_to_make(properties) && refused_softly(d, bytes, properties))
                return CUDA_ERROR_OUT_OF_MEMORY;
        if (!flags && ours_to_make(properties))
                return create_counted(d, ret, bytes, properties);
        if (memory_pin_reserve(d, bytes) < 0)
                return CUDA_ERROR_OUT_OF_MEMORY;
        r = real.cuMemCreate(ret, bytes, properties, flags);
        memory_pin_keep(d, r == CUDA_SUCCESS ? *ret : 0, bytes, r != CUDA_SUCCESS);
        return r;
}

CUresult hook_cuMemRelease(CUmemGenericAllocationHandle handle)
{
        struct device *d;
        struct vmm *vmm;
        bool gone;
        CUresult r;

        if (!known(handle)) {
                r = real.cuMemRelease(handle);
                if (berth_enabled && r == CUDA_SUCCESS)
                        memory_pin_drop(handle);
                return r;
        }
        /* With the gate open, what was unmapped while it was out is unmapped first, without the books. */
        books_lock();
        gone = vmm_any_gone() && lane_is_open();
        books_unlock();
        if (gone)
                leave(enter());
        pthread_mutex_lock(&one_call);
        books_lock();
        while ((vmm = vmm_of(handle)) && ((d = vmm->block->device)->flights_n || !tier_quiet()))
                pthread_cond_wait(&berth_changed, &berth_books);
        if (vmm)
                vmm_release(vmm);
        books_unlock();
        pthread_mutex_unlock(&one_call);
        link_kick();
        return vmm ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult hook_cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *ret, void *address)
{
        struct mapping *m;
        CUresult r;

        books_lock();
        if (berth_enabled && ret && (m = vmm_mapping_at((CUdeviceptr)address))) {
                m->vmm->references++;
                *ret = m->vmm->name;
                books_unlock();
                return CUDA_SUCCESS;
        }
        if (berth_enabled && memory_find((CUdeviceptr)address)) {
                /* cuMemAlloc memory has no handle that a program may retain, with or without Berth. */
                books_unlock();
                return CUDA_ERROR_INVALID_VALUE;
        }
        books_unlock();
        r = real.cuMemRetainAllocationHandle(ret, address);
        if (berth_enabled && r == CUDA_SUCCESS)
                memory_pin_again(*ret);
        return r;
}

CUresult hook_cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *ret, CUmemGenericAllocationHandle handle)
{
        struct vmm *vmm;

        books_lock();
        vmm = berth_enabled && ret ? vmm_of(handle) : NULL;
        if (vmm)
                *ret = vmm->properties;
        books_unlock();
        return vmm ? CUDA_SUCCESS : real.cuMemGetAllocationPropertiesFromHandle(ret, handle);
}

/* Who has a descriptor of it has it mapped, for all we know: it stays. */
CUresult hook_cuMemExportToShareableHandle(void *ret, CUmemGenericAllocationHandle handle, int type, unsigned long long flags)
{
        CUmemGenericAllocationHandle behind = 0;
        struct page_lane *lane;
        bool was_fixed = false, ok;
        struct vmm *vmm;
        CUresult r;

        if (!known(handle))
                return real.cuMemExportToShareableHandle(ret, handle, type, flags);
        lane = enter();
        ok = physical(handle, &behind);
        books_lock();
        vmm = vmm_of(handle);
        was_fixed = vmm && vmm->fixed;
        ok = ok && vmm_fix(vmm);
        books_unlock();
        r = ok ? real.cuMemExportToShareableHandle(ret, behind, type, flags) : CUDA_ERROR_INVALID_VALUE;
        if (r != CUDA_SUCCESS && ok && !was_fixed) {
                books_lock();
                vmm_unfix(vmm);
                books_unlock();
        }
        leave(lane);
        return r;
}

CUresult hook_cuMulticastBindMem(CUmemGenericAllocationHandle group, size_t offset, CUmemGenericAllocationHandle handle, size_t memory_offset,
                                 size_t bytes, unsigned long long flags)
{
        CUmemGenericAllocationHandle behind = 0;
        struct page_lane *lane;
        bool ok;

        if (!known(handle))
                return real.cuMulticastBindMem(group, offset, handle, memory_offset, bytes, flags);
        lane = enter();
        ok = physical(handle, &behind);
        books_lock();
        ok = ok && vmm_fix(vmm_of(handle));
        books_unlock();
        leave(lane);
        /* It waits for the other members: never inside the gate. */
        return ok ? real.cuMulticastBindMem(group, offset, behind, memory_offset, bytes, flags) : CUDA_ERROR_INVALID_VALUE;
}

/* Others reach this memory past us from now on, by its address on the bus or through a group of devices: it stays. In the gate, books held. */
static bool stay_range(CUdeviceptr address, size_t bytes)
{
        CUdeviceptr end = address + bytes;
        struct mapping *m;

        for (CUdeviceptr at = address; (m = vmm_mapping_from(at)) && m->address < end; at = m->address + m->bytes)
                if (!vmm_fix(m->vmm))
                        return false;
        while (address < end) {
                struct block *block = memory_find(address);

                if (block && !block->vmm && !block->fixed && !(block->fixed = memory_hold(block)))
                        return false;
                address = block ? block->address + block->mapped : (address / GRANULE + 1) * GRANULE;
        }
        return true;
}

static bool staying(CUdeviceptr address, size_t bytes)
{
        struct page_lane *lane = enter();
        bool ok;

        books_lock();
        ok = stay_range(address, bytes);
        books_unlock();
        leave(lane);
        return ok;
}

CUresult hook_cuMulticastBindAddr(CUmemGenericAllocationHandle group, size_t offset, CUdeviceptr address, size_t bytes, unsigned long long flags)
{
        if (berth_enabled && !staying(address, bytes))
                return CUDA_ERROR_INVALID_VALUE;
        return real.cuMulticastBindAddr(group, offset, address, bytes, flags);
}

CUresult hook_cuMemGetHandleForAddressRange(void *ret, CUdeviceptr address, size_t bytes, int type, unsigned long long flags)
{
        if (berth_enabled && !staying(address, bytes))
                return CUDA_ERROR_INVALID_VALUE;
        return real.cuMemGetHandleForAddressRange(ret, address, bytes, type, flags);
}

/* Synchronous memory operations are switched on for memory that a network card reads and writes. */
CUresult hook_cuPointerSetAttribute(const void *value, int attribute, CUdeviceptr address)
{
        if (berth_enabled && value && attribute == CU_POINTER_ATTRIBUTE_SYNC_MEMOPS && !staying(address, 1))
                return CUDA_ERROR_INVALID_VALUE;
        return real.cuPointerSetAttribute(value, attribute, address);
}

CUresult hook_cuMemMap(CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle, unsigned long long flags)
{
        bool ours = known(handle);
        struct page_lane *lane;
        struct vmm *vmm;
        CUresult r;

        if (!ours && !meets(address, bytes))
                return real.cuMemMap(address, bytes, offset, handle, flags);
        lane = enter();
        books_lock();
        vmm = ours ? vmm_of(handle) : NULL;
        books_unlock();
        if (!ours)
                r = real.cuMemMap(address, bytes, offset, handle, flags);
        else if (!vmm || flags)
                r = CUDA_ERROR_INVALID_VALUE;
        else if (offset || bytes != vmm->block->mapped)
                r = CUDA_ERROR_NOT_SUPPORTED; /* as the driver has it: handles are mapped whole */
        else
                r = vmm_map(vmm, address);
        leave(lane);
        return r;
}

CUresult hook_cuMemSetAccess(CUdeviceptr address, size_t bytes, const CUmemAccessDesc *access, size_t n)
{
        struct page_lane *lane;
        bool cut;
        CUresult r;

        if (!access || !meets(address, bytes))
                return real.cuMemSetAccess(address, bytes, access, n);
        lane = enter();
        books_lock();
        cut = vmm_cuts(address, bytes);
        books_unlock();
        r = cut ? CUDA_ERROR_INVALID_VALUE : real.cuMemSetAccess(address, bytes, access, n);
        if (r == CUDA_SUCCESS) {
                books_lock();
                vmm_access_set(address, bytes, access, n);
                books_unlock();
        }
        leave(lane);
        return r;
}

CUresult hook_cuMemGetAccess(unsigned long long *ret, const CUmemLocation *location, CUdeviceptr address)
{
        struct page_lane *lane;
        const struct mapping *m;
        CUdevice device;
        CUresult r;

        if (berth_enabled && ret && location && location->type == CU_MEM_LOCATION_TYPE_DEVICE &&
            real.cuDeviceGet(&device, location->id) == CUDA_SUCCESS) {
                books_lock();
                m = vmm_mapping_at(address);
                if (m)
                        *ret = (unsigned long long)vmm_access(m, location);
                books_unlock();
                if (m)
                        return CUDA_SUCCESS;
        }
        if (!berth_enabled)
                return real.cuMemGetAccess(ret, location, address);
        lane = lane_enter();
        r = real.cuMemGetAccess(ret, location, address);
        lane_leave(lane, false);
        return r;
}

/* Whether all of it is ours and the gate is closed: then the books say what to do, and nothing of the program's runs. */
static bool unmap_closed(CUdeviceptr address, size_t bytes, CUresult *ret)
{
        bool closed;

        pthread_mutex_lock(&one_call);
        books_lock();
        for (;;) {
                bool moving = false;

                closed = !lane_is_open() && !lane_captures() && vmm_covers(address, bytes);
                for (unsigned int i = 0; i < berth.devices_n; i++)
                        moving |= berth.devices[i].flights_n > 0;
                if (!closed || !moving)
                        break;
                pthread_cond_wait(&berth_changed, &berth_books);
        }
        if (closed)
                *ret = vmm_unmap_closed(address, bytes);
        books_unlock();
        pthread_mutex_unlock(&one_call);
        if (closed)
                link_kick();
        return closed;
}

CUresult hook_cuMemUnmap(CUdeviceptr address, size_t bytes)
{
        struct page_lane *lane;
        CUresult r;
        bool cut;

        if (!meets(address, bytes))
                return real.cuMemUnmap(address, bytes);
        if (unmap_closed(address, bytes, &r))
                return r;
        lane = enter();
        books_lock();
        cut = vmm_cuts(address, bytes);
        books_unlock();
        r = cut ? CUDA_ERROR_INVALID_VALUE : real.cuMemUnmap(address, bytes);
        if (r == CUDA_SUCCESS) {
                books_lock();
                vmm_unmapped(address, bytes);
                books_unlock();
        }
        leave(lane);
        return r;
}

/* The driver knows only what is mapped now, and would let go of addresses whose memory is out. */
CUresult hook_cuMemAddressFree(CUdeviceptr address, size_t bytes)
{
        struct page_lane *lane;
        CUresult r;

        if (!meets(address, bytes))
                return real.cuMemAddressFree(address, bytes);
        lane = enter();
        r = real.cuMemAddressFree(address, bytes);
        leave(lane);
        return r;
}

void own_vmm_forked(void)
{
        pthread_mutex_init(&one_call, NULL);
        vmm_forked();
}
