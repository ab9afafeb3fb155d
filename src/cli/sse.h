/* sse.h: the data of an event stream (text/event-stream), as bytes come. Pure. Other fields and comments are passed over.
 *
 * fn gets the data of one event, its lines joined; what it returns other than 0 ends the reading and is passed on. An event longer than SSE_EVENT_BYTES is
 * -E_MESSAGE.
 */
#pragma once

#include "base/strbuf.h"

#define SSE_EVENT_BYTES (1u << 20)

struct sse {
        struct strbuf line, data;
        bool filled, after_return;
};

typedef int (*sse_fn)(void *context, const char *data, size_t length);

int sse_read(struct sse *s, const char *bytes, size_t count, sse_fn fn, void *context);
void sse_done(struct sse *s);
