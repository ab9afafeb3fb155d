/* text.h: JSON written straight into a growing string, for everything that is sent or stored often. What comes from people is escaped; what was JSON
 * already is put as it is. A member is written with its leading comma unless it is the first after '{'. */
#pragma once

#include "base/id.h"
#include "base/strbuf.h"

#include <jansson.h>
#include <stdint.h>
#include <string.h>

#define put_literal(b, literal) strbuf_put(b, literal, sizeof(literal) - 1)

static inline void put_text(struct strbuf *b, const char *text)
{
        strbuf_put(b, text, strlen(text));
}
void put_u64(struct strbuf *b, uint64_t value);
void put_i64(struct strbuf *b, int64_t value);
/* Quoted and escaped; bytes that are not UTF-8 become '?'. */
void put_string(struct strbuf *b, const char *text, size_t bytes);
void put_id(struct strbuf *b, const char *prefix, const struct id *id);
/* "2026-11-21T12:00:00.123Z", quoted; null for 0 and for never (INT64_MAX). */
void put_time(struct strbuf *b, int64_t unix_ms);
/* Compact. */
int put_json(struct strbuf *b, const json_t *value);
/* Shares and the like; no exponent, six digits at most. */
void put_real(struct strbuf *b, double value);
/* Eight digits, so that a length can be filled in afterwards at the place it returns. */
size_t put_length(struct strbuf *b);
void fill_length(struct strbuf *b, size_t place, uint32_t value);

/* RFC 3339, with an offset or Z, years 1970-9999. 0 or -EINVAL. */
int time_parse(const char *text, int64_t *ret_unix_ms);
