/* strbuf.c: a growing string; see strbuf.h. */
#include "base/strbuf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool strbuf_reserve(struct strbuf *b, size_t more)
{
        size_t size = b->size ? b->size : 256;
        char *text;

        if (b->failed)
                return false;
        while (size < b->length + more + 1)
                size *= 2;
        if (size == b->size)
                return true;
        text = realloc(b->text, size);
        if (!text) {
                b->failed = true;
                return false;
        }
        b->text = text;
        b->size = size;
        return true;
}

void strbuf_add(struct strbuf *b, const char *format, ...)
{
        va_list args;
        int n;

        va_start(args, format);
        n = vsnprintf(NULL, 0, format, args);
        va_end(args);
        if (n < 0 || !strbuf_reserve(b, (size_t)n))
                return;
        va_start(args, format);
        vsnprintf(b->text + b->length, b->size - b->length, format, args);
        va_end(args);
        b->length += (size_t)n;
}

void strbuf_put(struct strbuf *b, const char *bytes, size_t count)
{
        if (!strbuf_reserve(b, count))
                return;
        memcpy(b->text + b->length, bytes, count);
        b->length += count;
        b->text[b->length] = 0;
}

void strbuf_fill(struct strbuf *b, char c, size_t count)
{
        if (!strbuf_reserve(b, count))
                return;
        memset(b->text + b->length, c, count);
        b->length += count;
        b->text[b->length] = 0;
}

void strbuf_clear(struct strbuf *b)
{
        b->length = 0;
        if (b->text)
                b->text[0] = 0;
}

void strbuf_done(struct strbuf *b)
{
        free(b->text);
        *b = (struct strbuf){0};
}
