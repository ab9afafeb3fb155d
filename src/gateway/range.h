/* range.h: Range, Content-Range and the small headers with numbers, pure. */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stdint.h>

/* "bytes=0-99", "bytes=100-", "bytes=-50" of something `total` long. 0 and first, count (≥ 1); -ENOTSUP: not to be heeded (several ranges, another
 * unit, malformed): send all; -ERANGE: nothing of it is there (416). */
must_check int range_parse(const char *text, uint64_t total, uint64_t *ret_first, uint64_t *ret_count);

/* "bytes 0-99/200" of an upload, "bytes * /0" (without the blank) for an empty one, "bytes 200-199/200" when all of it
 * was sent before. 0 and first, count, total; -EINVAL. */
must_check int range_parse_content(const char *text, uint64_t *ret_first, uint64_t *ret_count, uint64_t *ret_total);

/* If-Match: "\"17\"" or "*" (then 0 and *ret_any). -EINVAL for anything else, also several. */
must_check int etag_parse(const char *text, uint64_t *ret_version, bool *ret_any);
/* If-None-Match: true when the list names this version or "*". */
bool etag_listed(const char *text, uint64_t version);

/* "EPOCH-NUMBER" of Last-Event-ID. */
must_check int event_id_parse(const char *text, uint64_t *ret_epoch, uint64_t *ret_number);
