/* pass.h: JSON that is only handed on, without a tree. What is read here comes out exactly as jansson would read and dump it (duplicate members refused, compact); anything that
 * is not quite plain (numbers with a point, \u, very deep or very wide objects, faults of any kind) is not read at all, and left to jansson.
 */
#pragma once

#include "base/strbuf.h"

#include <stdbool.h>
#include <stddef.h>

struct text_span {
        const char *text;
        size_t bytes;
};

/* The value at text, appended compactly to out (NULL: only looked at). Bytes read of it, or -1: not plain. */
ptrdiff_t pass_value(const char *text, size_t bytes, struct strbuf *out);

/* An object's members one after the other; *at begins at 0. 1: name (without quotes, plain) and where its value begins, with *at behind it; 0: the end, and nothing but
 * blanks behind it; -1: not plain. Names are not compared with each other. */
int pass_member(const char *text, size_t bytes, size_t *at, struct text_span *name, struct text_span *value);

/* A body like {"type":…,"payload":…}: the payload's value to payload, and to rest all else, with null in its place. False: not plain, or none there. */
bool pass_payload(const char *text, size_t bytes, struct strbuf *rest, struct strbuf *payload);

static inline bool span_is(struct text_span span, const char *literal, size_t bytes)
{
        return span.bytes == bytes && !__builtin_memcmp(span.text, literal, bytes);
}
#define SPAN_IS(span, literal) span_is(span, literal, sizeof(literal) - 1)
