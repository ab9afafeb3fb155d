/* strbuf.h: a growing string. Out of memory is remembered and reported once, at the end. */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stddef.h>

struct strbuf {
        char *text; /* always ended once anything was added; NULL before */
        size_t length, size;
        bool failed;
};

void strbuf_add(struct strbuf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Adds bytes as they are. */
void strbuf_put(struct strbuf *b, const char *bytes, size_t count);
/* Room for count more bytes at text + length, to be filled by the caller, who then adds to length; false: out of memory. */
bool strbuf_reserve(struct strbuf *b, size_t count);
/* Adds one character count times. */
void strbuf_fill(struct strbuf *b, char c, size_t count);
/* Empties it, keeping the memory. */
void strbuf_clear(struct strbuf *b);
void strbuf_done(struct strbuf *b);
static inline void strbuf_done_at(struct strbuf *b)
{
        strbuf_done(b);
}
