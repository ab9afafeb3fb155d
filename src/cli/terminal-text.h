/* terminal-text.h: text of strangers (a model's answer) made harmless for a terminal. Pure.
 *
 * What could steer a terminal or hide what is there comes out as visible text: control characters but line end and tab (\x1b), what is no UTF-8 (\xff), and the
 * invisible characters that turn writing round or make two texts look alike (\u{202e}). All else is unchanged. Bytes of a character that is not complete
 * stay in the state until the rest comes.
 */
#pragma once

#include "base/strbuf.h"

struct terminal_text {
        unsigned char held[4];
        size_t count;
};

void terminal_text(struct terminal_text *t, struct strbuf *out, const char *bytes, size_t count);
/* What is still held is no character. */
void terminal_text_end(struct terminal_text *t, struct strbuf *out);
