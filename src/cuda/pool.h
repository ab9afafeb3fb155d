/* pool.h: what the driver's memory pools and graphs hold beyond what the program has from them.
 *
 * A pool keeps freed memory for the next allocation, up to the threshold that the program set. Such memory is no program's: like kept blocks
 * (cache.h) it lies within the unused grant and goes back to the driver first; nothing of it is left when the program gives way. What the
 * pools and the nodes of graphs hold even then, in use but rounded up, is counted as pinned, as far as there is grant for it. Books held.
 */
#pragma once

#include "cuda/state.h"

/* A pool that the program made, and its end. false: no memory to remember it; then it is not trimmed. */
bool pool_made(struct device *d, CUmemoryPool pool);
void pool_gone(CUmemoryPool pool);
/* Trims the device's pools until they keep at most so many unused bytes. */
void pool_limit(struct device *d, uint64_t bytes);
/* Nothing runs: trims all, and counts what is held all the same. */
void pool_settle(struct device *d);
void pool_forked(void);
