/* log.c: log lines to standard error; see log.h. */
#include "base/log.h"

#include "base/scope.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum log_level max_level = LOG_INFO_N;

static const struct {
        const char *name;
        int syslog;
} levels[] = {
        [LOG_ERROR_N] = {"error", 3},   [LOG_WARNING_N] = {"warning", 4}, [LOG_NOTICE_N] = {"notice", 5},
        [LOG_INFO_N] = {"info", 6},     [LOG_DEBUG_N] = {"debug", 7},
};

void log_set_level(enum log_level level)
{
        max_level = level;
}

int log_level_parse(const char *s, enum log_level *ret_level)
{
        for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
                if (!strcmp(s, levels[i].name)) {
                        *ret_level = (enum log_level)i;
                        return 0;
                }
        return -EINVAL;
}

void log_line(enum log_level level, const char *room, const char *format, ...)
{
        static int journal = -1;
        char line[1024];
        int saved = errno, n;
        va_list args;

        if (level > max_level)
                return;
        if (journal < 0)
                journal = getenv("JOURNAL_STREAM") != NULL;
        n = journal ? snprintf(line, sizeof line, "<%d>%s: ", levels[level].syslog, room)
                    : snprintf(line, sizeof line, "berth %s: %s: ", room, levels[level].name);
        va_start(args, format);
        n += vsnprintf(line + n, sizeof line - (size_t)n, format, args);
        va_end(args);
        if (n > (int)sizeof line - 2)
                n = (int)sizeof line - 2;
        line[n++] = '\n';
        /* One write per line keeps lines of several processes whole; nothing can be done if it fails. */
        if (write(STDERR_FILENO, line, (size_t)n) < 0) {
        }
        errno = saved;
}
