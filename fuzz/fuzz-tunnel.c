/* fuzz-tunnel.c: any bytes as a message of a tunnel, from either side. Promised: frames lie within the message, one after the other; what a reader lets through is fit for a request's head or a log, and
 * written again it is the same frame. */
#include "base/error.h"
#include "wire/tunnel.h"

#include "fuzz.h"

#include <string.h>

static void fit(const char *text, size_t size, bool blanks)
{
        promise(strlen(text) < size, "%zu", strlen(text));
        for (; *text; text++)
                promise(*text >= (blanks ? ' ' : '!') && *text <= '~' && *text != '"' && *text != '\\', "character %d", *text);
}

static void use(const struct tunnel_frame *f)
{
        static uint8_t room[TUNNEL_FRAME + TUNNEL_SMALL];
        char text[TUNNEL_TEXT], model[TUNNEL_MODEL];
        struct tunnel_request q;
        struct tunnel_answer a;
        enum tunnel_end end;
        uint32_t credit;
        size_t n = 0;

        switch (f->kind) {
        case TUNNEL_OPEN:
                if (tunnel_read_request(f, &q) == 0) {
                        fit(q.model, sizeof(q.model), false);
                        fit(q.path, sizeof(q.path), false);
                        fit(q.id, sizeof(q.id), false);
                        promise(!strncmp(q.path, "/v1/", 4), "%s", q.path);
                        n = tunnel_write_request(room, f->stream, &q);
                }
                break;
        case TUNNEL_HEAD:
                if (tunnel_read_answer(f, &a) == 0) {
                        fit(a.type, sizeof(a.type), true);
                        n = tunnel_write_answer(room, f->stream, &a);
                }
                break;
        case TUNNEL_END:
                if (tunnel_read_end(f, &end, text) == 0) {
                        fit(text, sizeof(text), true);
                        n = tunnel_write_end(room, f->stream, end, text);
                }
                break;
        case TUNNEL_CREDIT:
                if (tunnel_read_credit(f, &credit) == 0)
                        n = tunnel_write_credit(room, f->stream, credit);
                break;
        case TUNNEL_FREE:
                if (tunnel_read_free(f, model) == 0) {
                        fit(model, sizeof(model), false);
                        n = tunnel_write_free(room, model);
                }
                break;
        case TUNNEL_CANCEL:
                n = tunnel_write_cancel(room, f->stream);
                break;
        case TUNNEL_BODY:
                promise(f->length && f->length <= TUNNEL_PAYLOAD, "%zu", f->length);
                break;
        }
        if (n)
                promise(n == TUNNEL_FRAME + f->length && !memcmp(room, f->payload - TUNNEL_FRAME, n), "written again it is another: %zu bytes", n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        for (int side = 0; side < 2; side++) {
                const uint8_t *at = data, *before = data;
                struct tunnel_frame f;
                size_t left = size;
                int r;

                while ((r = tunnel_next(&at, &left, side, &f)) == 1) {
                        promise(at > before && at + left == data + size && f.payload >= before && f.payload + f.length == at, "out of place");
                        use(&f);
                        before = at;
                }
                promise(r == 0 ? !left : r == -E_MESSAGE, "%d", r);
        }
        return 0;
}
