/* chat-draft.c: see chat-draft.h. */
#include "cli/chat-draft.h"

#include <string.h>

#define QUOTE "\"\"\""
#define QUOTE_LENGTH 3

static bool ends_with_quote(const char *line, size_t length)
{
        return length >= QUOTE_LENGTH && !memcmp(line + length - QUOTE_LENGTH, QUOTE, QUOTE_LENGTH);
}

/* A backslash that is itself behind one is just text. */
static bool ends_with_backslash(const char *line, size_t length)
{
        size_t count = 0;

        while (count < length && line[length - 1 - count] == '\\')
                count++;
        return count % 2;
}

static void put_line(struct chat_draft *d, const char *line, size_t length, bool more)
{
        strbuf_put(&d->text, line, length);
        if (more)
                strbuf_put(&d->text, "\n", 1);
}

static void take_quoted(struct chat_draft *d, const char *line, size_t length)
{
        d->open = d->quoted = !ends_with_quote(line, length);
        if (!d->open)
                length -= QUOTE_LENGTH;
        /* The mark alone on the last line leaves no empty line behind. */
        if (!d->open && !length && d->text.length && d->text.text[d->text.length - 1] == '\n')
                d->text.text[--d->text.length] = '\0';
        put_line(d, line, length, d->open);
}

int chat_draft_add(struct chat_draft *d, const char *line, size_t length)
{
        if (!d->open)
                chat_draft_clear(d);
        if (d->text.length + length > CHAT_MESSAGE_BYTES) {
                chat_draft_clear(d);
                return -E2BIG;
        }
        if (d->quoted) {
                take_quoted(d, line, length);
        } else if (!d->open && length >= QUOTE_LENGTH && !memcmp(line, QUOTE, QUOTE_LENGTH)) {
                line += QUOTE_LENGTH;
                length -= QUOTE_LENGTH;
                d->open = d->quoted = true;
                if (length) /* the mark alone on the first line begins no empty line */
                        take_quoted(d, line, length);
        } else {
                d->open = ends_with_backslash(line, length);
                put_line(d, line, length - d->open, d->open);
        }
        if (d->text.failed) {
                strbuf_done(&d->text);
                *d = (struct chat_draft){0};
                return -ENOMEM;
        }
        return !d->open;
}

void chat_draft_clear(struct chat_draft *d)
{
        strbuf_clear(&d->text);
        d->open = d->quoted = false;
}

bool chat_draft_end(struct chat_draft *d)
{
        bool open = d->open;

        d->open = d->quoted = false;
        return open && d->text.length;
}
