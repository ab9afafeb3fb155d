/* unit.c: the physical side of units: made or taken from another program, mapped, opened, given up; see memory.h. */
#include "cuda/hand.h"
#include "cuda/memory.h"
#include "cuda/release.h"
#include "cuda/vmm.h"

/* Memory without access rights yet. Handles are made exportable so that a unit can later be handed to another process. */
CUresult memory_back_unit(struct device *d, struct unit *unit, bool use_gift)
{
        CUmemAllocationProp properties = {
                .type = CU_MEM_ALLOCATION_TYPE_PINNED,
                .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
                .location = {CU_MEM_LOCATION_TYPE_DEVICE, d->handle},
        };
        bool handed = use_gift && hand_use(d, unit);
        CUresult r = handed ? CUDA_SUCCESS : real.cuMemCreate(&unit->handle, unit->bytes, &properties, 0);

        if (r != CUDA_SUCCESS)
                return r;
        r = real.cuMemMap(unit->address, unit->bytes, 0, unit->handle, 0);
        if (r != CUDA_SUCCESS) {
                real.cuMemRelease(unit->handle);
                hand_release(unit);
                return handed ? memory_back_unit(d, unit, false) : r; /* what was handed over is not what it was said to be */
        }
        unit->resident = true;
        return CUDA_SUCCESS;
}

CUresult memory_map_unit(struct device *d, struct unit *unit)
{
        struct block *block = memory_find(unit->address);
        CUresult r;

        if (block && block->vmm)
                return vmm_map_unit(block, unit);
        r = memory_back_unit(d, unit, true);
        if (r == CUDA_SUCCESS) {
                r = memory_access(d, unit->address, unit->bytes);
                if (r != CUDA_SUCCESS)
                        memory_unmap_unit(unit);
        }
        return r;
}

CUresult memory_unmap_unit(struct unit *unit)
{
        CUresult r = real.cuMemUnmap(unit->address, unit->bytes);

        if (r == CUDA_SUCCESS) {
                real.cuMemRelease(unit->handle);
                hand_release(unit);
                unit->resident = false;
        }
        return r;
}

CUresult memory_unmap_aside(struct device *d, struct unit *unit)
{
        CUresult r = real.cuMemUnmap(unit->address, unit->bytes);

        if (r == CUDA_SUCCESS) {
                release_put(d, unit->handle, unit->bytes);
                unit->resident = false;
        }
        return r;
}
