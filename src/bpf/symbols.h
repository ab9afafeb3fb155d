/* symbols.h: where functions of a shared library lie in its file, and where on them a probe costs least. Pure; the file is a stranger's.
 *
 * A probe on an instruction that the kernel can't emulate is stepped through, which costs ten times as much as one on a push or nop. Functions often open with endbr64 and
 * a push: four bytes on, the arguments are still where they were, and the probe is cheap.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Looks up count names in the library of size bytes at data; offsets[i] becomes the file offset, 0: not there. How many were found; -EINVAL: no 64-bit little-endian
 * library with a table of symbols. */
must_check int symbols_find(const uint8_t *data, size_t size, const char *const *names, size_t count, uint64_t *offsets);
/* The offset to probe for a function at offset, and whether it is a cheap one. */
uint64_t symbols_probe_at(const uint8_t *data, size_t size, uint64_t offset, bool *ret_cheap);
