/* terminal-text.c: see terminal-text.h. */
#include "cli/terminal-text.h"

#include <stdint.h>
#include <string.h>

static void as_bytes(struct strbuf *out, const unsigned char *bytes, size_t count)
{
        for (size_t i = 0; i < count; i++)
                strbuf_add(out, "\\x%02x", bytes[i]);
}

/* How many bytes a character that begins so has; 0: none does. */
static size_t length_of(unsigned char first)
{
        return first < 0x80 ? 1 : first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3 : first >= 0xf0 && first < 0xf5 ? 4 : 0;
}

/* Whether another byte may follow what is held. The second byte is limited so that nothing is longer than need be, a surrogate or above U+10FFFF. */
static bool may_follow(const unsigned char *held, size_t count, unsigned char next)
{
        unsigned char least = 0x80, most = 0xbf;

        if (count == 1) {
                if (held[0] == 0xe0)
                        least = 0xa0;
                else if (held[0] == 0xed)
                        most = 0x9f;
                else if (held[0] == 0xf0)
                        least = 0x90;
                else if (held[0] == 0xf4)
                        most = 0x8f;
        }
        return next >= least && next <= most;
}

static uint32_t value_of(const unsigned char *bytes, size_t count)
{
        uint32_t value = count == 1 ? bytes[0] : bytes[0] & (0xffu >> (count + 1));

        for (size_t i = 1; i < count; i++)
                value = value << 6 | (bytes[i] & 0x3f);
        return value;
}

static bool steers(uint32_t c)
{
        return (c < ' ' && c != '\n' && c != '\t') || (c >= 0x7f && c < 0xa0) || c == 0x061c || c == 0x200b || (c >= 0x200e && c <= 0x200f) ||
               (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb) || (c >= 0xe0000 && c <= 0xe0fff);
}

static void whole(struct strbuf *out, const unsigned char *bytes, size_t count)
{
        uint32_t value = value_of(bytes, count);

        if (!steers(value))
                strbuf_put(out, (const char *)bytes, count);
        else if (count == 1)
                as_bytes(out, bytes, 1);
        else
                strbuf_add(out, "\\u{%x}", value);
}

void terminal_text(struct terminal_text *t, struct strbuf *out, const char *bytes, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                unsigned char c = (unsigned char)bytes[i];

                if (t->count && !may_follow(t->held, t->count, c))
                        terminal_text_end(t, out);
                if (!t->count && !length_of(c)) {
                        as_bytes(out, &c, 1);
                        continue;
                }
                t->held[t->count++] = c;
                if (t->count == length_of(t->held[0])) {
                        whole(out, t->held, t->count);
                        t->count = 0;
                }
        }
}

void terminal_text_end(struct terminal_text *t, struct strbuf *out)
{
        as_bytes(out, t->held, t->count);
        t->count = 0;
}
