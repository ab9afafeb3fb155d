/* memory.h: how the heap of a process that goes on for months is kept small.
 *
 * glibc takes larger and larger blocks from the heap once one of their size has been freed, up to 32 MiB: what is needed for a moment each second or every few minutes, and grows a little each
 * time (a copy of the history, a snapshot), then leaves holes, and the heap follows the largest of them. With a fixed limit every such block is a mapping of its own, and is gone when it
 * is freed.
 */
#pragma once

#include <malloc.h>

#define MEMORY_LARGE (64 << 10)

/* At the beginning of main. */
static inline void memory_keep_small(void)
{
        (void)mallopt(M_MMAP_THRESHOLD, MEMORY_LARGE);
}
