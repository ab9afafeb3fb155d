/* sse.h: the data of an event stream (text/event-stream), as bytes come. Pure. Other fields are passed over, comments too unless there is a `comment`.
 *
 * fn gets the data of one event, its lines joined; what it returns other than 0 ends the reading and is passed on. An event longer than SSE_EVENT_BYTES is
 * -E_MESSAGE.
 */
#pragma once

#include "base/strbuf.h"

#define SSE_EVENT_BYTES (1u << 20)

struct sse {
        struct strbuf line, data;
        void (*comment)(void *context, const char *text, size_t length); /* may be NULL */
        bool filled, after_return;
};

typedef int (*sse_fn)(void *context, const char *data, size_t length);

int sse_read(struct sse *s, const char *bytes, size_t count, sse_fn fn, void *context);
void sse_done(struct sse *s);
