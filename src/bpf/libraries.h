/* libraries.h: which copies of the driver's library are mapped by any process: by device and inode, so each once, wherever it is mounted. */
#pragma once

#include "base/scope.h"

#include <stdint.h>

struct libraries;

must_check int libraries_new(struct libraries **ret);
void libraries_free(struct libraries *libraries);
SCOPED_FN(struct libraries *, libraries_free)

/* Reads the maps of processes that are due: each after its first sight, then 1, 2, 4 … 64 s later, as libraries are loaded early if at all. Each copy that was not seen
 * before is handed over as an open descriptor, the caller's. */
void libraries_scan(struct libraries *libraries, uint64_t now, void (*found)(void *data, int fd), void *data);
