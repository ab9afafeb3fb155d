/* watch-start.h: the watchdog of a run: found, and started beside the process that becomes the program. */
#pragma once

#include "cli/cli.h"

struct watch_options {
        bool wanted, desktop, quiet;
        const char *on_hang, *hang_after, *report; /* as given, or NULL */
};

/* Whether what was given can be done: 0 or -EINVAL, -ENOENT with message. */
int watch_check(const struct watch_options *o, char message[CLI_MESSAGE]);
/* Starts berth-watchdog for the calling process, which becomes the program: no relative of it, in a session of its own. Sets BERTH_PROGRESS. socket: of the
 * daemon, or NULL. 0, or a negative error with message. */
int watch_start(const struct watch_options *o, const char *socket, const char *program, char message[CLI_MESSAGE]);
