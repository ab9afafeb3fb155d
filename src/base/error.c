/* error.c: names and sentences for error numbers; see error.h. */
#include "base/error.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

const char *error_text(int error)
{
        int e = error == INT_MIN ? INT_MAX : abs(error);

        switch (e) {
#define X(name, number, text) \
        case number:          \
                return text;
                BERTH_ERRORS(X)
#undef X
        default: {
                const char *s = strerrordesc_np(e);
                return s ? s : "unknown error";
        }
        }
}

const char *error_name(int error)
{
        int e = error == INT_MIN ? INT_MAX : abs(error);

        switch (e) {
#define X(name, number, text) \
        case number:          \
                return #name;
                BERTH_ERRORS(X)
#undef X
        default: {
                const char *s = strerrorname_np(e);
                return s ? s : "E?";
        }
        }
}
