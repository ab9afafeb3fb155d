/* log.h: one line per thing worth saying, for programs (never for the interposer, which lives in foreign processes).
 *
 * Lines go to standard error, with a systemd level prefix when the journal reads it (JOURNAL_STREAM is set). Text from strangers
 * must be cleaned (text_copy_clean) before it comes here.
 */
#pragma once

enum log_level { LOG_ERROR_N, LOG_WARNING_N, LOG_NOTICE_N, LOG_INFO_N, LOG_DEBUG_N };

/* Lines above this level are dropped; LOG_INFO_N at start. */
void log_set_level(enum log_level level);
/* "error", "warning", "notice", "info", "debug"; -EINVAL otherwise. */
int log_level_parse(const char *s, enum log_level *ret_level);

void log_line(enum log_level level, const char *room, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Each source that logs defines LOG_ROOM before including this. */
#define log_error(...) log_line(LOG_ERROR_N, LOG_ROOM, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING_N, LOG_ROOM, __VA_ARGS__)
#define log_notice(...) log_line(LOG_NOTICE_N, LOG_ROOM, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO_N, LOG_ROOM, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG_N, LOG_ROOM, __VA_ARGS__)
