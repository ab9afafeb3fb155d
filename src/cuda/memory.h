/* memory.h: device memory that can move: blocks of physical units at addresses that stay.
 *
 * Every cuMemAlloc of a managed device reserves a range of addresses once and backs it with units of berth.unit_bytes (the last one
 * smaller); allocations of up to SLAB_MAX share slabs of one granule. Units come and go, addresses stay until the free, so pointers,
 * graphs and descriptors remain valid. Small print: with books held unless said otherwise.
 */
#pragma once

#include "cuda/state.h"

#define SLAB_MAX (UINT64_C(1) << 20)

/* cuMemAlloc. Books not held. A CUresult. */
CUresult memory_allocate(struct device *d, CUdeviceptr *ret, size_t bytes);
/* cuMemFree of an address we handed out; books not held. CUDA_ERROR_NOT_FOUND: not ours. */
CUresult memory_free(CUdeviceptr address);

/* The same, at once: nothing that runs uses it, and nothing is being moved. Books held. */
void memory_drop(CUdeviceptr address);

/* The block that contains the address, or NULL. */
struct block *memory_find(CUdeviceptr address);
/* Base and requested size of the allocation that contains the address; false: none of ours. */
bool memory_range(CUdeviceptr address, CUdeviceptr *ret_base, uint64_t *ret_bytes, struct block **ret_block);

/* Creates and maps a unit's memory, without access rights yet; use_gift: what another program handed over will do. */
CUresult memory_back_unit(struct device *d, struct unit *unit, bool use_gift);
/* Creates, maps and opens access to the unit's memory. The driver's result; resident is set on success, the books are the caller's. */
CUresult memory_map_unit(struct device *d, struct unit *unit);
CUresult memory_unmap_unit(struct unit *unit);
/* The same, but for this: its memory goes to release.h, and is the driver's when release_done() says so. Not for what another program handed over. */
CUresult memory_unmap_aside(struct device *d, struct unit *unit);
/* After its copy in: as the program had set the access of memory that it mapped itself. */
CUresult memory_protect_unit(struct unit *unit);
/* Gives a block's memory and addresses back to the driver; touches no books. */
void memory_dismantle(struct block *block);
/* Opens mapped memory of cuMemAlloc to all devices that may use it. */
CUresult memory_access(struct device *d, CUdeviceptr address, uint64_t bytes);
/* From now on cuMemAlloc memory of the device may be used by kernels of the peer, after every swap, too; closing is for memory to come. All
 * of it is on the device. */
CUresult memory_open_to(struct device *d, CUdevice peer);
void memory_close_to(struct device *d, CUdevice peer);

/* In and out of berth.blocks. false: no memory for the list. */
bool memory_insert(struct block *block);
void memory_withdraw(struct block *block);
/* One more, one less reason for a block to stay on the device: its bytes count as pinned while there is any. false: not all of it is there now. */
bool memory_hold(struct block *block);
void memory_unhold(struct block *block);

/* Everything of a context that ends. Books not held. */
void memory_drop_context(CUcontext context);

/* Counts pinned memory of a driver object: key is its address or handle. reserve waits for room like an allocation (books not held; 0 or
 * -error); keep and drop settle it. drop returns false when the key is not known. */
int memory_pin_reserve(struct device *d, uint64_t bytes);
/* The same for a caller who may be served from what is kept. */
int memory_pin_await(struct device *d, uint64_t bytes);
void memory_pin_keep(struct device *d, uint64_t key, uint64_t bytes, bool failed);
bool memory_pin_drop(uint64_t key);
/* One more reference to a counted object that exists. */
void memory_pin_again(uint64_t key);

/* In a forked child: nobody else is allocating. */
void memory_forked(void);

/* After any change of the books: the shared page, peaks, the duty to report. */
void memory_note(struct device *d);

/* slab.c: small allocations of one block. */
struct slab *slab_new(void);
void slab_free(struct slab *slab);
bool slab_take(struct slab *slab, uint64_t bytes, uint64_t *ret_offset);
/* Bytes asked for at this offset, 0: nothing starts there. */
uint64_t slab_release(struct slab *slab, uint64_t offset);
bool slab_containing(const struct slab *slab, uint64_t offset, uint64_t *ret_start, uint64_t *ret_bytes);
bool slab_is_empty(const struct slab *slab);
