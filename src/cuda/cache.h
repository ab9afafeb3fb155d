/* cache.h: freed blocks kept whole, so that the next allocation of their size costs no call of the driver.
 *
 * A kept block is no memory of the program's any more: it counts as unused grant, holds no place on the host, and goes back to the driver as
 * soon as the grant is wanted elsewhere or the gate closes. At most d->slack bytes are kept, none while others wait. Books held.
 */
#pragma once

#include "cuda/state.h"

/* Keeps a block whose units are all on the device and that is in no list any more. False: the caller takes it apart. */
bool cache_put(struct device *d, struct block *block);
/* A kept block of just this many mapped bytes and this context, or NULL. */
struct block *cache_take(struct device *d, uint64_t mapped, CUcontext context);
/* Takes the oldest apart until at most so many bytes are kept. */
void cache_limit(struct device *d, uint64_t bytes);
/* All that belongs to a context that ends. */
void cache_drop_context(struct device *d, CUcontext context);
