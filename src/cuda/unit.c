/* unit.c: the physical side of units: made or taken from another program, mapped, opened, given up; see memory.h. */
#include "cuda/hand.h"
#include "cuda/memory.h"
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

/* Of memory that the program mapped itself each unit is opened by itself: as it was. */
static uint32_t map_own(struct block *block, struct unit *first, uint32_t n)
{
        for (uint32_t i = 0; i < n; i++)
                if (vmm_map_unit(block, &first[i]) != CUDA_SUCCESS)
                        return i;
        return n;
}

uint32_t memory_map_units(struct device *d, struct unit *first, uint32_t n)
{
        struct block *block = memory_find(first->address);
        uint64_t bytes = 0;
        uint32_t mapped = 0;

        if (block && block->vmm)
                return map_own(block, first, n);
        for (; mapped < n && memory_back_unit(d, &first[mapped], true) == CUDA_SUCCESS; mapped++)
                bytes += first[mapped].bytes;
        if (!mapped || memory_access(d, first->address, bytes) == CUDA_SUCCESS)
                return mapped;
        while (mapped)
                memory_unmap_unit(&first[--mapped]);
        return 0;
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
