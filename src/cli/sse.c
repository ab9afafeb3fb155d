/* sse.c: see sse.h. */
#include "cli/sse.h"

#include "base/error.h"

#include <string.h>

static int end_of_line(struct sse *s, sse_fn fn, void *context)
{
        const char *line = s->line.length ? s->line.text : "";
        size_t skip = 5, r = 0;

        if (!s->line.length) {
                if (s->filled)
                        r = (size_t)fn(context, s->data.length ? s->data.text : "", s->data.length);
                strbuf_clear(&s->data);
                s->filled = false;
                return (int)r;
        }
        if (!strncmp(line, "data", 4) && (s->line.length == 4 || line[4] == ':')) {
                if (s->line.length <= skip)
                        skip = s->line.length;
                else if (line[skip] == ' ')
                        skip++;
                if (s->filled)
                        strbuf_put(&s->data, "\n", 1);
                strbuf_put(&s->data, line + skip, s->line.length - skip);
                s->filled = true;
        } else if (line[0] == ':' && s->comment) {
                s->comment(context, line + 1, s->line.length - 1);
        }
        strbuf_clear(&s->line);
        return 0;
}

int sse_read(struct sse *s, const char *bytes, size_t count, sse_fn fn, void *context)
{
        for (size_t i = 0; i < count; i++) {
                bool ends = bytes[i] == '\r' || (bytes[i] == '\n' && !s->after_return);
                int r = 0;

                if (ends)
                        r = end_of_line(s, fn, context);
                else if (bytes[i] != '\n')
                        strbuf_put(&s->line, bytes + i, 1);
                s->after_return = bytes[i] == '\r';
                if (s->line.failed || s->data.failed || s->line.length + s->data.length > SSE_EVENT_BYTES)
                        r = -E_MESSAGE;
                if (r)
                        return r;
        }
        return 0;
}

void sse_done(struct sse *s)
{
        strbuf_done(&s->line);
        strbuf_done(&s->data);
}
