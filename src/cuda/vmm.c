/* vmm.c: the program's own handles and mappings; see vmm.h.
 *
 * Accounting: a handle's bytes are counted once from creation to the end of its memory, as movable while its block is in berth.blocks and not held,
 * else as pinned; both change in one critical section. A name is never given twice. Source of the rules: CUDA driver API 13.0, section "Virtual
 * Memory Management": memory lives as long as it has a reference or a mapping.
 */
#include "cuda/vmm.h"

#include "cuda/host.h"
#include "cuda/memory.h"

#include <stdlib.h>
#include <string.h>

/* No driver's handle looks like this: it is neither an address nor a small number. */
#define NAME_MARK (UINT64_C(0xbe27) << 48)

static struct vmm **handles; /* sorted by name, which only grows */
static size_t handles_n, handles_size;
static struct mapping **mappings; /* sorted by address, disjoint */
static size_t mappings_n, mappings_size, gone_n;
static uint64_t last_name;

static bool make_room(void ***list, size_t n, size_t *size)
{
        size_t more = *size ? *size * 2 : 64;
        void **grown;

        if (n < *size)
                return true;
        grown = realloc(*list, more * sizeof *grown);
        if (!grown)
                return false;
        *list = grown;
        *size = more;
        return true;
}

/* Index of the handle of this name, or of the first one after it. */
static size_t index_of(CUmemGenericAllocationHandle name)
{
        size_t low = 0, high = handles_n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (handles[middle]->name < name)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

struct vmm *vmm_of(CUmemGenericAllocationHandle name)
{
        size_t i = index_of(name);

        return i < handles_n && handles[i]->name == name && handles[i]->references ? handles[i] : NULL;
}

/* Index of the first mapping that ends above the address. */
static size_t mapping_index(CUdeviceptr address)
{
        size_t low = 0, high = mappings_n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (mappings[middle]->address + mappings[middle]->bytes <= address)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

struct mapping *vmm_mapping_from(CUdeviceptr address)
{
        size_t i = mapping_index(address);

        return i < mappings_n ? mappings[i] : NULL;
}

struct mapping *vmm_mapping_at(CUdeviceptr address)
{
        struct mapping *m = vmm_mapping_from(address);

        return m && m->address <= address && !m->gone ? m : NULL;
}

bool vmm_range(CUdeviceptr address, CUdeviceptr *ret_base, uint64_t *ret_bytes)
{
        const struct mapping *m = vmm_mapping_at(address);

        if (!m || m->vmm->block->units_n == 1)
                return false;
        *ret_base = m->address;
        *ret_bytes = m->bytes;
        return true;
}

bool vmm_meets(CUdeviceptr address, uint64_t bytes)
{
        const struct mapping *m = vmm_mapping_from(address);

        return m && m->address < address + bytes;
}

bool vmm_cuts(CUdeviceptr address, uint64_t bytes)
{
        CUdeviceptr end = address + bytes;
        const struct mapping *first = vmm_mapping_at(address), *last = vmm_mapping_at(end - 1);

        return (first && first->address < address) || (last && last->address + last->bytes > end);
}

bool vmm_covers(CUdeviceptr address, uint64_t bytes)
{
        CUdeviceptr end = address + bytes;

        if (end <= address || vmm_cuts(address, bytes))
                return false;
        while (address < end) {
                const struct mapping *m = vmm_mapping_at(address);

                if (!m)
                        return false;
                address += m->bytes;
        }
        return true;
}

struct mapping *vmm_only_mapping(const struct vmm *vmm)
{
        struct mapping *m = vmm->mappings_n == 1 ? vmm_mapping_from(vmm->first) : NULL;

        return m && m->vmm == vmm ? m : NULL;
}

int vmm_access(const struct mapping *m, const CUmemLocation *location)
{
        for (uint32_t i = 0; i < m->access_n; i++)
                if (m->access[i].location.type == location->type && m->access[i].location.id == location->id)
                        return m->access[i].flags;
        return CU_MEM_ACCESS_FLAGS_PROT_NONE;
}

static bool stay(struct vmm *vmm)
{
        if (!vmm->movable)
                return true;
        if (!memory_hold(vmm->block))
                return false;
        memory_withdraw(vmm->block);
        vmm->movable = false;
        return true;
}

/* Movable or not: as it should be after a change. Its memory is on the device. */
static void decide(struct vmm *vmm)
{
        struct mapping *m = vmm_only_mapping(vmm);
        struct block *block = vmm->block;
        uint64_t offset = 0;

        if (vmm->fixed || !m || vmm_access(m, &vmm->properties.location) == CU_MEM_ACCESS_FLAGS_PROT_NONE) {
                (void)stay(vmm);
                return;
        }
        if (vmm->movable)
                return;
        block->address = m->address;
        for (uint32_t i = 0; i < block->units_n; i++) {
                block->units[i].address = m->address + offset;
                offset += block->units[i].bytes;
        }
        if (!memory_insert(block))
                return;
        vmm->movable = true;
        memory_unhold(block);
}

/* Its last reference and its last mapping are gone. */
static void end(struct vmm *vmm)
{
        struct block *block = vmm->block;
        struct device *d = block->device;
        size_t i = index_of(vmm->name);

        if (vmm->movable)
                memory_withdraw(block);
        for (uint32_t u = 0; u < block->units_n; u++) {
                struct unit *unit = &block->units[u];

                if (unit->resident)
                        real.cuMemRelease(unit->handle);
                if (!block->holds) {
                        d->movable -= unit->bytes;
                        d->resident -= unit->resident ? unit->bytes : 0;
                        d->backed -= unit->segment != NO_SEGMENT ? unit->bytes : 0;
                        host_release(unit);
                } else {
                        d->pinned -= unit->bytes;
                }
        }
        memmove(&handles[i], &handles[i + 1], (handles_n - i - 1) * sizeof *handles);
        handles_n--;
        free(block);
        free(vmm);
        memory_note(d);
}

CUresult vmm_create(struct device *d, uint64_t bytes, const CUmemAllocationProp *properties, struct vmm **ret)
{
        bool whole = properties->requestedHandleTypes || bytes <= berth.unit_bytes || bytes % GRANULE;
        uint64_t unit_bytes = whole ? bytes : berth.unit_bytes;
        uint32_t n = (uint32_t)((bytes + unit_bytes - 1) / unit_bytes);
        struct block *block = calloc(1, sizeof *block + n * sizeof block->units[0]);
        struct vmm *vmm = calloc(1, sizeof *vmm);
        CUresult r = block && vmm ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;

        for (uint64_t offset = 0; r == CUDA_SUCCESS && offset < bytes;) {
                struct unit *unit = &block->units[block->units_n];

                unit->bytes = bytes - offset < unit_bytes ? bytes - offset : unit_bytes;
                unit->segment = NO_SEGMENT;
                r = real.cuMemCreate(&unit->handle, unit->bytes, properties, 0);
                if (r != CUDA_SUCCESS)
                        break;
                unit->resident = true;
                offset += unit->bytes;
                block->units_n++;
        }
        books_lock();
        if (r == CUDA_SUCCESS && !make_room((void ***)&handles, handles_n, &handles_size))
                r = CUDA_ERROR_OUT_OF_MEMORY;
        if (r == CUDA_SUCCESS) {
                block->bytes = block->mapped = bytes;
                block->device = d;
                block->vmm = vmm;
                block->holds = 1;
                *vmm = (struct vmm){.name = NAME_MARK | ++last_name, .references = 1, .properties = *properties, .block = block,
                                    .fixed = properties->allocFlags.compressionType || (whole && bytes > berth.segment_bytes)};
                handles[handles_n++] = vmm;
                *ret = vmm;
        }
        books_unlock();
        if (r != CUDA_SUCCESS) {
                for (uint32_t i = 0; block && i < block->units_n; i++)
                        real.cuMemRelease(block->units[i].handle);
                free(block);
                free(vmm);
        }
        return r;
}

static void remove_mapping(struct mapping *m)
{
        size_t i = mapping_index(m->address);
        struct vmm *vmm = m->vmm;

        memmove(&mappings[i], &mappings[i + 1], (mappings_n - i - 1) * sizeof *mappings);
        mappings_n--;
        gone_n -= m->gone;
        vmm->mappings_n--;
        /* Of several only one can be left to move with; which one that is has to be looked for. */
        for (size_t k = 0; vmm->mappings_n == 1 && k < mappings_n; k++)
                if (mappings[k]->vmm == vmm)
                        vmm->first = mappings[k]->address;
        free(m);
}

/* The driver has nothing mapped there any more. */
static void drop(struct mapping *m)
{
        struct vmm *vmm = m->vmm;

        (void)stay(vmm);
        remove_mapping(m);
        if (!vmm->references && !vmm->mappings_n)
                end(vmm);
        else
                decide(vmm);
}

void vmm_unmapped(CUdeviceptr address, uint64_t bytes)
{
        CUdeviceptr end_address = address + bytes;
        struct mapping *m;

        while ((m = vmm_mapping_from(address)) && m->address < end_address)
                drop(m);
}

/* Memory that is out ends without coming back: nobody has a name for it, and it is mapped nowhere else. */
static void drop_out(struct mapping *m)
{
        struct block *block = m->vmm->block;

        for (uint32_t i = 0; i < block->units_n; i++)
                if (block->units[i].resident)
                        real.cuMemUnmap(block->units[i].address, block->units[i].bytes);
        remove_mapping(m);
        end(block->vmm);
}

static bool all_resident(const struct block *block)
{
        for (uint32_t i = 0; i < block->units_n; i++)
                if (!block->units[i].resident)
                        return false;
        return true;
}

static CUresult unmap_here(const struct mapping *m)
{
        const struct block *block = m->vmm->block;
        CUdeviceptr address = m->address;
        CUresult r = CUDA_SUCCESS;

        for (uint32_t i = 0; i < block->units_n && r == CUDA_SUCCESS; i++) {
                r = real.cuMemUnmap(address, block->units[i].bytes);
                address += block->units[i].bytes;
        }
        return r;
}

CUresult vmm_unmap_closed(CUdeviceptr address, uint64_t bytes)
{
        CUdeviceptr end_address = address + bytes;

        while (address < end_address) {
                struct mapping *m = vmm_mapping_at(address);

                address += m->bytes;
                if (!m->vmm->references && !all_resident(m->vmm->block)) {
                        drop_out(m);
                } else if (!all_resident(m->vmm->block)) {
                        m->gone = true;
                        gone_n++;
                } else {
                        CUresult r = unmap_here(m);

                        if (r != CUDA_SUCCESS)
                                return r;
                        drop(m);
                }
        }
        return CUDA_SUCCESS;
}

void vmm_settle_gone(void)
{
        books_lock();
        for (size_t i = mappings_n; gone_n && i-- > 0;) {
                struct mapping *m = mappings[i];

                if (!m->gone)
                        continue;
                books_unlock();
                (void)unmap_here(m);
                books_lock();
                drop(m);
        }
        books_unlock();
}

bool vmm_any_gone(void)
{
        return gone_n;
}

void vmm_release(struct vmm *vmm)
{
        struct mapping *m;

        if (--vmm->references)
                return;
        if (!vmm->mappings_n)
                end(vmm);
        else if ((m = vmm_only_mapping(vmm)) && m->gone)
                drop_out(m);
}

CUresult vmm_map(struct vmm *vmm, CUdeviceptr address)
{
        struct mapping *m = calloc(1, sizeof *m);
        const struct block *block = vmm->block;
        CUresult r = m ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
        uint64_t offset = 0;
        uint32_t n = 0;
        size_t i;

        for (; r == CUDA_SUCCESS && n < block->units_n; n++) {
                r = real.cuMemMap(address + offset, block->units[n].bytes, 0, block->units[n].handle, 0);
                if (r != CUDA_SUCCESS)
                        break;
                offset += block->units[n].bytes;
        }
        books_lock();
        if (r == CUDA_SUCCESS && !make_room((void ***)&mappings, mappings_n, &mappings_size))
                r = CUDA_ERROR_OUT_OF_MEMORY;
        if (r == CUDA_SUCCESS) {
                *m = (struct mapping){.address = address, .bytes = block->mapped, .vmm = vmm};
                i = mapping_index(address);
                memmove(&mappings[i + 1], &mappings[i], (mappings_n - i) * sizeof *mappings);
                mappings[i] = m;
                mappings_n++;
                if (vmm->mappings_n++ == 0)
                        vmm->first = address;
                decide(vmm);
        }
        books_unlock();
        if (r != CUDA_SUCCESS) {
                while (n-- > 0) {
                        offset -= block->units[n].bytes;
                        real.cuMemUnmap(address + offset, block->units[n].bytes);
                }
                free(m);
        }
        return r;
}

static void set_access(struct mapping *m, const CUmemAccessDesc *access)
{
        uint32_t i = 0;

        while (i < m->access_n &&
               (m->access[i].location.type != access->location.type || m->access[i].location.id != access->location.id))
                i++;
        if (i == VMM_ACCESS) {
                m->vmm->fixed = true; /* it could not be opened again as it was */
                return;
        }
        m->access[i] = *access;
        m->access_n += i == m->access_n;
}

void vmm_access_set(CUdeviceptr address, uint64_t bytes, const CUmemAccessDesc *access, size_t n)
{
        CUdeviceptr end_address = address + bytes;
        struct mapping *m;

        while ((m = vmm_mapping_from(address)) && m->address < end_address) {
                for (size_t i = 0; i < n; i++)
                        set_access(m, &access[i]);
                decide(m->vmm);
                address = m->address + m->bytes;
        }
}

bool vmm_fix(struct vmm *vmm)
{
        if (!stay(vmm))
                return false;
        vmm->fixed = true;
        return true;
}

void vmm_unfix(struct vmm *vmm)
{
        vmm->fixed = false;
        decide(vmm);
}

void vmm_forked(void)
{
        handles_n = mappings_n = gone_n = 0;
}
