/* say.c: one line on standard error; see say.h. */
#include "cuda/say.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void say(const char *format, ...)
{
        static _Atomic unsigned int lines;
        const char *quiet = secure_getenv("BERTH_QUIET");
        char line[512];
        int saved = errno, n;
        va_list args;

        if ((quiet && *quiet && strcmp(quiet, "0")) || atomic_fetch_add(&lines, 1) >= 50)
                return;
        n = snprintf(line, sizeof line, "berth[%d]: ", (int)getpid());
        va_start(args, format);
        n += vsnprintf(line + n, sizeof line - (size_t)n, format, args);
        va_end(args);
        if (n > (int)sizeof line - 2)
                n = (int)sizeof line - 2;
        line[n++] = '\n';
        if (write(STDERR_FILENO, line, (size_t)n) < 0) {
        }
        errno = saved;
}
