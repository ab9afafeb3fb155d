/* trial.c: keeps the last words of libbpf instead of writing them to the log; see trial.h. */
#include "bpf/trial.h"

#include "base/error.h"

#include <bpf/libbpf.h>
#include <stdio.h>
#include <string.h>

static char said[160];

__attribute__((format(printf, 2, 0))) static int hear(enum libbpf_print_level level, const char *format, va_list arguments)
{
        char line[512];

        if (level != LIBBPF_WARN || said[0])
                return 0;
        vsnprintf(line, sizeof line, format, arguments);
        line[strcspn(line, "\n")] = 0;
        /* It tries that first, and needs it on old kernels only. */
        if (strstr(line, "RLIMIT_MEMLOCK"))
                return 0;
        snprintf(said, sizeof said, "%.150s", !strncmp(line, "libbpf: ", 8) ? line + 8 : line);
        return 0;
}

void trial_begin(void)
{
        said[0] = 0;
        libbpf_set_print(hear);
}

void trial_text(char *to, size_t size, const char *what, int error)
{
        if (said[0])
                snprintf(to, size, "%s%s%s", said, strstr(said, error_text(error)) ? "" : ": ", strstr(said, error_text(error)) ? "" : error_text(error));
        else
                snprintf(to, size, "%s: %s", what, error_text(error));
}
