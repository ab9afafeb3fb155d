/* cache.h: artifacts kept on this machine: FOLDER/SHA256, and FOLDER/partial/SHA256 while one comes. Shared by runners; every file has its own lock. */
#pragma once

#include "base/scope.h"

#include <stdint.h>

/* Copies a cached artifact to the descriptor, looking at its digest on the way; one that is damaged is removed. -ENOENT: not there (any more); -E_LIMIT. */
must_check int cache_copy(const char *folder, const char *sha256, uint64_t most, int to);
/* The same from an open file whose digest was looked at. */
must_check int cache_copy_from(int from, const char *sha256, uint64_t most, int to);
/* The partial file, locked against other runners, at whatever length it has. A descriptor or -errno. */
must_check int cache_begin(const char *folder, const char *sha256);
/* It is whole and right: into the cache; then what was used longest ago leaves until the rest fits in `bytes`. */
must_check int cache_end(const char *folder, const char *sha256, int fd, uint64_t bytes);
/* Removes the oldest until the rest fits; partial files of more than a day as well. What it removed. */
uint64_t cache_trim(const char *folder, uint64_t bytes);
