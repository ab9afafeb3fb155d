/* pool.h: memory pools: which of them we serve (ordered.h), and what the driver's own, and graphs, hold beyond what the program has from them.
 *
 * The pools of a device and those that the program makes are served with memory that moves, unless other processes can import from them. Of those the driver
 * keeps the attributes; what is taken from them is counted here. The driver serves the others, and captures: such a pool keeps freed memory for the next allocation, up to the threshold that the program set. Such memory is no program's: like kept blocks
 * (cache.h) it lies within the unused grant and goes back to the driver first; nothing of it is left when the program gives way. What the
 * pools and the nodes of graphs hold even then, in use but rounded up, is counted as pinned, as far as there is grant for it. Books held.
 */
#pragma once

#include "cuda/state.h"

/* A pool that the program made, and its end. false: no memory to remember it; then it is not trimmed. ours: it can be served with memory that moves. */
bool pool_made(struct device *d, CUmemoryPool pool, bool ours);
/* The pool that an allocation on the device comes from (NULL: its current one), if we serve it; else NULL. */
CUmemoryPool pool_ours(struct device *d, CUmemoryPool pool);
/* Bytes that the program has from a pool of ours. */
void pool_lent(CUmemoryPool pool, uint64_t bytes);
void pool_returned(CUmemoryPool pool, uint64_t bytes);
/* CUmemPool_attribute 5 to 8 of a pool of ours: reserved and used, now and at most. False: not one of ours, or another attribute. */
bool pool_figure(CUmemoryPool pool, int attribute, uint64_t *ret);
/* The most of reserved (6) or used (8) begins anew. */
void pool_figure_anew(CUmemoryPool pool, int attribute);
/* What the pool may keep when nobody else wants it: its release threshold. */
void pool_threshold(CUmemoryPool pool, uint64_t bytes);
/* The device of a pool of ours, or NULL. */
struct device *pool_device(CUmemoryPool pool);
void pool_gone(CUmemoryPool pool);
/* Trims the device's pools until they keep at most so many unused bytes. */
void pool_limit(struct device *d, uint64_t bytes);
/* Nothing runs: trims all, and counts what is held all the same. */
void pool_settle(struct device *d);
void pool_forked(void);
