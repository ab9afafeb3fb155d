/* text.h: numbers that people write and read: sizes, percentages, durations.
 *
 * Parsers accept the whole string or nothing and never overflow silently: -EINVAL for malformed text, -ERANGE for
 * a number that does not fit. Formatters write into the caller's buffer, always end it, and return it.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* "4096", "64K", "1.5GiB", "2 MB": binary units for K/KiB/KB alike, as memory sizes are meant. Bytes out. */
must_check int text_parse_bytes(const char *s, uint64_t *ret_bytes);

/* A size as above (then *ret_permille is 0), or a percentage "40%", "12.5 %" of 0.1 … 100 (then *ret_bytes is 0). */
must_check int text_parse_share(const char *s, uint64_t *ret_bytes, uint32_t *ret_permille);

/* "0.4", ".5", "1": a share as a fraction above 0 and up to 1, as CUDA_MEMORY_FRACTION has it. Rounded down to a permille, at least 1. */
must_check int text_parse_fraction(const char *s, uint32_t *ret_permille);

/* "250ms", "30", "30s", "2min", "1h": seconds when no unit is given. Nanoseconds out. */
must_check int text_parse_duration(const char *s, uint64_t *ret_ns);

/* Decimal, whole string, min ≤ value ≤ max. */
must_check int text_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret_value);

/* yes/no, true/false, on/off, 1/0. */
must_check int text_parse_bool(const char *s, bool *ret_value);

/* "1.5 GiB"; 16 bytes are always enough. */
char *text_bytes(uint64_t bytes, char *buffer, size_t size);

/* "1.25 s", "80 ms"; 16 bytes are always enough. */
char *text_duration(uint64_t ns, char *buffer, size_t size);

/* Copies at most size - 1 bytes, ends the string, replaces control characters and non-ASCII bytes by '?': for names that strangers
 * choose and terminals show. Zero-fills the rest, so that the result may cross a process. */
void text_copy_clean(char *to, size_t size, const char *from);

/* True when s (of at most size bytes) ends inside its array and holds only printable ASCII. */
bool text_is_clean(const char *s, size_t size);
