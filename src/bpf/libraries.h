/* libraries.h: which copies of the driver's library are mapped by any process: by device and inode, so each once, wherever it is mounted. */
#pragma once

#include "base/scope.h"

#include <stdint.h>

struct libraries;

/* proc: "/proc", or what stands for it; stays the caller's. */
must_check int libraries_new(const char *proc, struct libraries **ret);
void libraries_free(struct libraries *libraries);
SCOPED_FN(struct libraries *, libraries_free)

#define LIBRARIES_MOST 64 /* copies at a time */

struct libraries_news {
        /* A copy that was not known: its number below LIBRARIES_MOST, and a descriptor that stays open until it is gone. */
        void (*found)(void *data, uint32_t number, int fd);
        /* It is given up: nobody has it mapped, and it has no name any more, or nobody has had for ten minutes, or another one that is mapped needs its place. */
        void (*gone)(void *data, uint32_t number);
        void *data;
};

/* Reads the maps of processes that are due: each after its first sight, then 1, 2, 4 … 64 s later, as libraries are loaded early if at all. A copy that finds all places taken by others
 * that are mapped is looked at again with its process. */
void libraries_scan(struct libraries *libraries, uint64_t now, const struct libraries_news *news);
/* Copies that found no place so far. */
uint64_t libraries_refused(const struct libraries *libraries);
