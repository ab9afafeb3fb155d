/* fuzz-answer.c: any bytes as an event stream, as a model's words for a terminal, and as what somebody types: how they are cut changes nothing, and nothing that steers a
 * terminal comes out. */
#include "base/error.h"
#include "cli/chat-draft.h"
#include "cli/sse.h"
#include "cli/terminal-text.h"

#include "fuzz.h"

#include <string.h>

static int gather(void *context, const char *data, size_t length)
{
        strbuf_put(context, data, length);
        strbuf_put(context, "|", 1);
        return 0;
}

static void read_in_steps(const uint8_t *data, size_t size, size_t step, struct strbuf *events, struct strbuf *shown)
{
        struct terminal_text t = {0};
        struct sse s = {0};

        for (size_t at = 0; at < size; at += step) {
                size_t n = size - at < step ? size - at : step;

                promise(sse_read(&s, (const char *)data + at, n, gather, events) == 0 || size > SSE_EVENT_BYTES, "an event of %zu bytes refused", size);
                terminal_text(&t, shown, (const char *)data + at, n);
        }
        terminal_text_end(&t, shown);
        sse_done(&s);
}

static bool same(const struct strbuf *a, const struct strbuf *b)
{
        return a->length == b->length && (!a->length || !memcmp(a->text, b->text, a->length));
}

/* Lines become messages that are no longer than they were. */
static void draft(const uint8_t *data, size_t size)
{
        const char *at = (const char *)data, *last = at + size, *end;
        struct chat_draft d = {0};

        for (; at < last; at = end + 1) {
                int r;

                end = memchr(at, '\n', (size_t)(last - at));
                if (!end)
                        end = last;
                r = chat_draft_add(&d, at, (size_t)(end - at));
                promise(r == 0 || r == 1 || (r == -E2BIG && size > CHAT_MESSAGE_BYTES), "%d", r);
                promise(d.text.length <= size && d.open == (r == 0), "a message of %zu bytes out of %zu", d.text.length, size);
        }
        strbuf_done(&d.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct strbuf events[2] = {0}, shown[2] = {0};

        draft(data, size);
        read_in_steps(data, size, size ? size : 1, &events[0], &shown[0]);
        read_in_steps(data, size, 3, &events[1], &shown[1]);
        promise(same(&events[0], &events[1]) && same(&shown[0], &shown[1]), "it matters how the bytes are cut");
        for (size_t i = 0; i < shown[0].length; i++) {
                unsigned char c = (unsigned char)shown[0].text[i];

                promise((c >= ' ' && c != 127) || c == '\n' || c == '\t', "byte %u", c);
        }
        for (size_t i = 0; i < 2; i++) {
                strbuf_done(&events[i]);
                strbuf_done(&shown[i]);
        }
        return 0;
}
