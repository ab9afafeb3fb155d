/* chat-draft.h: one message out of the lines that somebody types. Pure.
 *
 * A line is a message. One that ends in a single backslash goes on in the next line, and so does everything between two """: the first at the beginning of
 * a line, the second at the end of one. Line ends within a message are kept; the marks are not. A message longer than CHAT_MESSAGE_BYTES is refused.
 */
#pragma once

#include "base/strbuf.h"

#define CHAT_MESSAGE_BYTES (1u << 20)

struct chat_draft {
        struct strbuf text;
        bool open;   /* more lines belong to it */
        bool quoted; /* up to the next """ */
};

/* line: without its line end. 1: the message is complete in text; 0: it goes on; -E2BIG: too long, and given up; -ENOMEM. */
must_check int chat_draft_add(struct chat_draft *d, const char *line, size_t length);
/* What was begun is forgotten. */
void chat_draft_clear(struct chat_draft *d);
/* No more lines come: an open message ends here. true: there is one. */
bool chat_draft_end(struct chat_draft *d);
