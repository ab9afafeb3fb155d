/* id.h: names of things that cross machines: UUIDv7 (RFC 9562, 5.7), written as a type's prefix and 32 hex digits: "task_0192f0c1…".
 *
 * Pure: time and chance are arguments. Ids made later compare higher (memcmp) as far as the clock went forward; id_next keeps that true when the
 * clock stands or goes back, by counting on from the id before.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct id {
        uint8_t bytes[16];
};

#define ID_TEXT 48 /* bytes that any prefix (up to 12 characters), '_', the digits and the end take */

/* The id after *last (all zero: none yet), which becomes the new one. unix_ms: since 1970; random: fresh bytes. */
struct id id_next(struct id *last, uint64_t unix_ms, const uint8_t random[10]);

/* "prefix_0192…" into text (ID_TEXT bytes); returns text. */
char *id_text(const char *prefix, const struct id *id, char *text);
/* The whole string with that prefix, or -EINVAL. */
must_check int id_parse(const char *prefix, const char *text, struct id *ret_id);

static inline bool id_is_none(const struct id *id)
{
        static const struct id none;

        return !memcmp(id, &none, sizeof(none));
}

static inline bool id_equal(const struct id *a, const struct id *b)
{
        return !memcmp(a, b, sizeof(*a));
}

/* When it was made, unix milliseconds. */
uint64_t id_unix_ms(const struct id *id);
