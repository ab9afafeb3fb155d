/* sse.h: the event stream of an engine, read as it comes, pure: whole events are handed on as they stand, counted, and looked into for tokens, usage, errors and the end.
 *
 * An event is handed on once its blank line is here and its data is sound, so what goes out ends between two events wherever the engine ends. Without memory for each event: what of
 * an event came last is kept in one buffer (up to SSE_EVENT_MAX) only while a read ends within one.
 */
#pragma once

#include "base/scope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SSE_EVENT_MAX (1u << 20)

struct sse {
        char *kept;              /* from kept_begin to kept_end: the beginning of an event */
        size_t kept_begin, kept_end, kept_size;
        uint64_t events, tokens; /* events with data; of these, those with text */
        uint64_t prompt_tokens, completion_tokens;
        bool usage, done, error; /* usage was told; [DONE] came; an error event came */
};

struct sse_part {
        const char *text;        /* whole events; good until the next call. bytes 0: none were complete */
        size_t bytes;
        uint64_t tokens;         /* among them */
};

/* 0; -EINVAL: no event stream, or data that is no JSON object; -E2BIG: an event without an end; -ENOMEM. With an error, part still holds the sound events before. */
must_check int sse_read(struct sse *sse, const char *data, size_t length, struct sse_part *ret_part);
/* Nothing of an event is left over. */
static inline bool sse_is_whole(const struct sse *sse)
{
        return sse->kept_begin == sse->kept_end;
}
void sse_done(struct sse *sse);

/* "usage" of an answer: 0 and both counts; -ENOENT: it is not told. */
struct scan_value;
must_check int usage_read(const struct scan_value *usage, uint64_t *ret_prompt, uint64_t *ret_completion);
