/* access.c: who may use memory that moves: its own device, and devices that were given access to it; see memory.h. */
#include "cuda/cache.h"
#include "cuda/memory.h"
#include "cuda/vmm.h"

CUresult memory_access(struct device *d, CUdeviceptr address, uint64_t bytes)
{
        const int flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
        CUmemAccessDesc access[MAX_DEVICES + 1] = {{{CU_MEM_LOCATION_TYPE_DEVICE, d->handle}, flags}};

        for (unsigned int i = 0; i < d->peers_n; i++)
                access[i + 1] = (CUmemAccessDesc){{CU_MEM_LOCATION_TYPE_DEVICE, d->peers[i]}, flags};
        return real.cuMemSetAccess(address, bytes, access, d->peers_n + 1);
}

CUresult memory_open_to(struct device *d, CUdevice peer)
{
        CUresult r = CUDA_SUCCESS;

        for (unsigned int i = 0; i < d->peers_n; i++)
                if (d->peers[i] == peer)
                        return r;
        if (d->peers_n == MAX_DEVICES)
                return CUDA_ERROR_OUT_OF_MEMORY;
        cache_limit(d, 0); /* what is kept is closed to it */
        d->peers[d->peers_n++] = peer;
        for (size_t b = 0; b < berth.blocks_n && r == CUDA_SUCCESS; b++) {
                struct block *block = berth.blocks[b];

                if (block->device != d || block->vmm)
                        continue;
                for (uint32_t i = 0; i < block->units_n && r == CUDA_SUCCESS; i++)
                        if (block->units[i].resident)
                                r = memory_access(d, block->units[i].address, block->units[i].bytes);
        }
        if (r != CUDA_SUCCESS)
                d->peers_n--;
        return r;
}

void memory_close_to(struct device *d, CUdevice peer)
{
        for (unsigned int i = 0; i < d->peers_n; i++)
                if (d->peers[i] == peer)
                        d->peers[i] = d->peers[--d->peers_n];
}

CUresult memory_protect_unit(struct unit *unit)
{
        struct block *block = memory_find(unit->address);

        return block && block->vmm ? vmm_protect_unit(block, unit) : CUDA_SUCCESS;
}
