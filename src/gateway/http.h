/* http.h: what the two halves of reading a request share: head.c and http.c. */
#pragma once

#include <http_parser.h>
#include <stddef.h>
#include <stdint.h>

#define DISCARD_MAX (64 << 10)   /* of a refused request's body, so that its connection may go on */

static inline uint64_t http_ms(uint64_t ns)
{
        return ns / 1000000 ? ns / 1000000 : 1;
}

/* For http_parser; the parser's data is the connection, whose request has begun. */
int head_url(http_parser *parser, const char *text, size_t length);
int head_field(http_parser *parser, const char *text, size_t length);
int head_value(http_parser *parser, const char *text, size_t length);
int head_complete(http_parser *parser);
