/* chat-history.h: what was said to models before, in a file of the user's own: $XDG_STATE_HOME/berth/chat-history, else ~/.local/state/berth/chat-history.
 *
 * One JSON string a line, oldest first, appended as it is said, so that two conversations at once lose nothing. The file is readable by its owner alone. Lines that
 * are no JSON string are passed over. Once it has twice CHAT_HISTORY_LINES lines, the older half goes.
 */
#pragma once

#include "base/scope.h"

#define CHAT_HISTORY_LINES 1000u

must_check int chat_history_path(char *path, size_t size);
/* fn gets each of the last CHAT_HISTORY_LINES messages, oldest first. 0, also when there is no file; -errno. */
must_check int chat_history_load(const char *path, void (*fn)(void *context, const char *text), void *context);
/* 0 or -errno; -EILSEQ: text is not UTF-8. */
must_check int chat_history_add(const char *path, const char *text);
