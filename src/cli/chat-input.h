/* chat-input.h: what somebody says to `berth chat`, message by message (chat-draft.h).
 *
 * On a terminal lines are edited by libedit (arrows, Ctrl-A and Ctrl-E, Ctrl-R to search, ~/.editrc), what was said before is at hand (chat-history.h), pasted text
 * stays one message, and Alt-Enter begins a new line. Elsewhere, and where TERM is "dumb", lines are read as they come.
 */
#pragma once

#include "base/scope.h"

#include <signal.h>
#include <stdbool.h>

struct chat_input;

/* history: a file to load and to add to, or NULL; interrupted: set by the caller's handler of SIGINT (installed without SA_RESTART); words: what Tab completes at
 * the beginning of a line, ended by NULL. */
must_check int chat_input_open(struct chat_input **ret, const char *history, const volatile sig_atomic_t *interrupted, const char *const *words);
void chat_input_close(struct chat_input *in);
SCOPED_FN(struct chat_input *, chat_input_close)

/* Somebody types: prompts and notes make sense. */
bool chat_input_is_terminal(const struct chat_input *in);
/* Lines are edited, so the cursor can be moved. */
bool chat_input_is_edited(const struct chat_input *in);

/* 1: *ret_text, of *ret_length bytes, is what was said, until the next call; 0: there is no more; -EINTR: Ctrl-C, what was begun is forgotten; -E2BIG: longer than
 * CHAT_MESSAGE_BYTES; other errors end it. */
must_check int chat_input_read(struct chat_input *in, const char **ret_text, size_t *ret_length);
