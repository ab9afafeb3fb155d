/* vmm.h: the program's own virtual memory management: the handles that it made with cuMemCreate, and where it mapped them.
 *
 * What the program holds is a name of ours; the physical memory behind it changes with each swap. A handle that is mapped once, wholly, and open
 * to its own device is a block like any other and moves; every other one is counted as pinned and stays. Calls that need the driver pass
 * the gate, so that all memory is on the device then. Taking memory away does not wait: what is out is forgotten in the books, or, while the
 * program still has a name for it, marked and unmapped for real at the next call that passes the gate. Small print: books held.
 */
#pragma once

#include "cuda/state.h"

#define VMM_ACCESS (MAX_DEVICES + 1) /* every device and the host */

struct vmm {
        CUmemGenericAllocationHandle name;
        uint32_t references; /* the program's: creation and retains, less releases */
        uint32_t mappings_n;
        CUdeviceptr first;   /* where the only mapping is, when there is one */
        bool fixed;          /* never moves: given to others, or of a kind that can't be made again alike */
        bool movable;        /* its block is in berth.blocks and not held */
        CUmemAllocationProp properties;
        struct block *block; /* the physical memory; held unless movable */
};

/* One range of addresses that the program mapped to one of its handles. */
struct mapping {
        CUdeviceptr address;
        uint64_t bytes;
        struct vmm *vmm;
        bool gone; /* unmapped by the program while its memory was out */
        uint32_t access_n;
        CUmemAccessDesc access[VMM_ACCESS];
};

/* The program's name for a handle of ours, NULL: not ours, or released by it. */
struct vmm *vmm_of(CUmemGenericAllocationHandle name);
/* One unit, or several when nobody can ever ask for the handle itself. Counted as pinned by the caller. Books not held while it asks the driver. */
CUresult vmm_create(struct device *d, uint64_t bytes, const CUmemAllocationProp *properties, struct vmm **ret);
/* A reference less; the memory goes with the last one and the last mapping. */
void vmm_release(struct vmm *vmm);

/* The first mapping that ends above the address, NULL: none; vmm_next the one after it. */
struct mapping *vmm_mapping_from(CUdeviceptr address);
struct mapping *vmm_mapping_at(CUdeviceptr address);
/* Does the range meet any mapping; does it cut one in two; is it made up of mappings without a gap, none of them gone. */
bool vmm_meets(CUdeviceptr address, uint64_t bytes);
bool vmm_cuts(CUdeviceptr address, uint64_t bytes);
bool vmm_covers(CUdeviceptr address, uint64_t bytes);

/* The mapping at this address, where the driver knows it as several; false: it is one, or none. */
bool vmm_range(CUdeviceptr address, CUdeviceptr *ret_base, uint64_t *ret_bytes);

/* Maps it, all memory being on the device. Books not held. */
CUresult vmm_map(struct vmm *vmm, CUdeviceptr address);
/* The driver did as the program asked. */
void vmm_access_set(CUdeviceptr address, uint64_t bytes, const CUmemAccessDesc *access, size_t n);
void vmm_unmapped(CUdeviceptr address, uint64_t bytes);
/* Behind a closed gate: takes the mappings of a range that vmm_covers() away, whether their memory is here or out. */
CUresult vmm_unmap_closed(CUdeviceptr address, uint64_t bytes);
/* Everything is on the device: unmaps what is gone. Books not held. */
void vmm_settle_gone(void);
bool vmm_any_gone(void);
/* What a location may do at the address, by the books. */
int vmm_access(const struct mapping *m, const CUmemLocation *location);
/* From now on it stays where it is; false: it is not here. */
bool vmm_fix(struct vmm *vmm);
void vmm_unfix(struct vmm *vmm);

/* The mapping that a handle moves with: its only one, or NULL. */
struct mapping *vmm_only_mapping(const struct vmm *vmm);
/* For memory.c: makes the unit's memory anew, open to whom the program said, and to its own device for the copy in. */
CUresult vmm_map_unit(struct block *block, struct unit *unit);
/* The copy in has landed: the program's own access rights, if they are less. */
CUresult vmm_protect_unit(struct block *block, struct unit *unit);

void vmm_forked(void);
