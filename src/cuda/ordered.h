/* ordered.h: allocations in stream order (cuMemAllocAsync, cuMemFreeAsync) on memory that moves.
 *
 * A piece is an ordinary allocation of ours (memory.h). Its free is an event on the stream: until the device has come to it the piece is pending, and
 * may be used again by allocations of the same size on the same stream, which come after the free by themselves; once the event has passed, by all of them. A pending
 * piece is the program's memory still. What has passed goes where all freed memory goes (cache.h) as soon as it is more than the pool's
 * release threshold and the slack, when others or the program itself need room, and all of it when the program gives way. Pools whose memory other processes can import, and
 * allocations while a stream is being captured, are the driver's (pool.h). Books held unless said otherwise.
 */
#pragma once

#include "cuda/state.h"

/* An allocation from a pool that pool_ours() knows. Books not held. */
CUresult ordered_allocate(struct device *d, CUdeviceptr *ret, size_t bytes, CUmemoryPool pool, CUstream s, bool per_thread);
/* A free in stream order. Books not held. False: the address is no piece. */
bool ordered_free(CUdeviceptr address, CUstream s, bool per_thread, CUresult *ret);
/* A piece that is freed at once, or ends with its allocation: forgotten. False: it was freed already, in stream order. Others: true. */
bool ordered_forget(CUdeviceptr address);
/* The pool of the piece that contains the address, or NULL. */
CUmemoryPool ordered_pool_of(CUdeviceptr base);
/* Gives up pieces whose free has come true, oldest first, until no more than so many bytes are pending. */
void ordered_limit(struct device *d, uint64_t bytes);
/* The same as far as pools may keep it: up to the release threshold or the slack, nothing when others want room. */
void ordered_settle(struct device *d);
/* Pending bytes of a pool; those of all are d->pending. */
uint64_t ordered_pending(const struct device *d, CUmemoryPool pool);
/* What is bound to a stream, or to a context, that ends. */
void ordered_stream_ended(CUstream s);
void ordered_drop_context(CUcontext context);
void ordered_forked(void);
