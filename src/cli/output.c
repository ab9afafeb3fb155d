/* output.c: messages to people and the numbers in them; see cli.h. */
#include "cli/cli.h"

#include "base/error.h"
#include "base/text.h"

#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void cli_error(const char *format, ...)
{
        va_list args;

        fflush(stdout);
        fputs("berth: ", stderr);
        va_start(args, format);
        vfprintf(stderr, format, args);
        va_end(args);
        fputc('\n', stderr);
}

int cli_usage(const struct verb *verb, const char *format, ...)
{
        va_list args;

        fprintf(stderr, "berth %s: ", verb->name);
        va_start(args, format);
        vfprintf(stderr, format, args);
        va_end(args);
        fprintf(stderr, "\nTry `berth help %s'.\n", verb->name);
        return CLI_USAGE;
}

int cli_print(const char *text)
{
        if ((text && fputs(text, stdout) == EOF) || fflush(stdout) == EOF) {
                cli_error("cannot write to standard output: %s", strerror(errno));
                return CLI_FAILED;
        }
        return CLI_OK;
}

int cli_exit_code(int error)
{
        switch (abs(error)) {
        case 0:
                return CLI_OK;
        case E_UNAVAILABLE:
        case ETIMEDOUT:
        case ECONNRESET:
        case EPIPE:
                return CLI_UNAVAILABLE;
        case E_VERSION:
        case E_MESSAGE:
                return CLI_PROTOCOL;
        case EPERM:
        case EACCES:
                return CLI_FORBIDDEN;
        case E_CONFIG:
                return CLI_CONFIG;
        default:
                return CLI_FAILED;
        }
}

char *cli_rate(double bytes_per_second, char *buffer, size_t size)
{
        char number[16];

        if (!(bytes_per_second >= 0) || bytes_per_second > 1e18)
                snprintf(buffer, size, "unavailable");
        else
                snprintf(buffer, size, "%s/s", text_bytes((uint64_t)bytes_per_second, number, sizeof number));
        return buffer;
}

char *cli_user(unsigned int uid, char *buffer, size_t size)
{
        char space[1024];
        struct passwd entry, *found = NULL;

        if (getpwuid_r(uid, &entry, space, sizeof space, &found) == 0 && found && found->pw_name[0])
                text_copy_clean(buffer, size, found->pw_name);
        else
                snprintf(buffer, size, "%u", uid);
        return buffer;
}
