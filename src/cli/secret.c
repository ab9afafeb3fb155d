/* secret.c: typed passwords; see secret.h. */
#include "cli/secret.h"

#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

void secret_wipe(char text[SECRET_BYTES])
{
        explicit_bzero(text, SECRET_BYTES);
}

int secret_ask(const char *prompt, char text[SECRET_BYTES])
{
        bool terminal = isatty(STDIN_FILENO);
        struct termios before, quiet;
        char *got;
        size_t n;

        if (terminal) {
                fprintf(stderr, "%s", prompt);
                fflush(stderr);
                if (tcgetattr(STDIN_FILENO, &before) < 0)
                        return -errno;
                quiet = before;
                quiet.c_lflag &= ~(tcflag_t)ECHO;
                tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
        }
        got = fgets(text, SECRET_BYTES, stdin);
        if (terminal) {
                tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
                fputc('\n', stderr);
        }
        n = got ? strlen(text) : 0;
        if (n && text[n - 1] == '\n')
                text[--n] = '\0';
        else if (n == SECRET_BYTES - 1) {
                cli_error("too long: at most %d characters", SECRET_BYTES - 2);
                return -ENAMETOOLONG;
        }
        if (!n) {
                cli_error("nothing was typed");
                return -EINVAL;
        }
        return 0;
}

int secret_ask_twice(const char *prompt, char text[SECRET_BYTES])
{
        char again[SECRET_BYTES];
        int r;

        for (;;) {
                r = secret_ask(prompt, text);
                if (r < 0 || !isatty(STDIN_FILENO))
                        return r;
                r = secret_ask("Once more: ", again);
                if (r < 0)
                        return r;
                r = strcmp(text, again);
                secret_wipe(again);
                if (!r)
                        return 0;
                cli_error("the two are not the same");
        }
}
