/* vmm-unit.c: units of the program's own memory management: given memory and put where the program mapped them, with its access rights; see vmm.h. */
#include "cuda/hand.h"
#include "cuda/vmm.h"

#include <string.h>

/* What another program handed over will do if it is of the same kind. */
static bool use_gift(struct block *block, struct unit *unit)
{
        const CUmemAllocationProp *wanted = &block->vmm->properties;
        CUmemAllocationProp got;

        if (!hand_use(block->device, unit))
                return false;
        if (real.cuMemGetAllocationPropertiesFromHandle(&got, unit->handle) == CUDA_SUCCESS && got.requestedHandleTypes == wanted->requestedHandleTypes &&
            got.location.id == wanted->location.id && memcmp(&got.allocFlags, &wanted->allocFlags, sizeof got.allocFlags) == 0)
                return true;
        real.cuMemRelease(unit->handle);
        return false;
}

CUresult vmm_map_unit(struct block *block, struct unit *unit)
{
        const struct vmm *vmm = block->vmm;
        const struct mapping *m = vmm_only_mapping(vmm);
        CUmemAccessDesc access[VMM_ACCESS];
        CUresult r;

        if (!m)
                return CUDA_ERROR_INVALID_VALUE;
        memcpy(access, m->access, sizeof access);
        for (uint32_t i = 0; i < m->access_n; i++)
                if (access[i].location.type == vmm->properties.location.type && access[i].location.id == vmm->properties.location.id)
                        access[i].flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
        r = use_gift(block, unit) ? CUDA_SUCCESS : real.cuMemCreate(&unit->handle, unit->bytes, &vmm->properties, 0);
        if (r != CUDA_SUCCESS)
                return r;
        r = real.cuMemMap(unit->address, unit->bytes, 0, unit->handle, 0);
        if (r == CUDA_SUCCESS) {
                r = real.cuMemSetAccess(unit->address, unit->bytes, access, m->access_n);
                if (r == CUDA_SUCCESS) {
                        unit->resident = true;
                        return r;
                }
                real.cuMemUnmap(unit->address, unit->bytes);
        }
        real.cuMemRelease(unit->handle);
        return r;
}

CUresult vmm_protect_unit(struct block *block, struct unit *unit)
{
        const struct mapping *m = vmm_only_mapping(block->vmm);

        if (!m || vmm_access(m, &block->vmm->properties.location) == CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
                return CUDA_SUCCESS;
        return real.cuMemSetAccess(unit->address, unit->bytes, m->access, m->access_n);
}
