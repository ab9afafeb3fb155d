/* supervise.h: a few child programs started in order, each when the one before is ready, started again when they end unasked, and ended in the
 * opposite order.
 *
 * A child says that it is ready by a line on the descriptor whose number stands in its arguments as "{ready}"; the line is kept for the caller. Children end with
 * this process, whatever ends it. Signals: the first SIGINT or SIGTERM asks all to end (SIGTERM, last started first, each waited for); a second one is
 * passed on to those that still work; a third kills.
 */
#pragma once

#include "cli/cli.h"

#include "base/scope.h"

#include <stdint.h>
#include <sys/types.h>

#define SUPERVISE_CHILDREN 4
#define SUPERVISE_ARGUMENTS 24

struct child {
        const char *name;                       /* for messages */
        char program[512];
        char *arguments[SUPERVISE_ARGUMENTS];   /* from argv[1] on; "{ready}" is replaced; ended by NULL; borrowed */
        bool needs_ready;                       /* its line is waited for */
        bool optional;                          /* one that fails at once is gone on without */
        bool left_out;                          /* that happened */
        uint64_t patience_ms;                   /* for that */
        char line[1024];                        /* what it said when ready */
        pid_t pid;                              /* 0: not running */
        int pidfd, ready;
        unsigned int failures;
        uint64_t since_ns, retry_ns;
};

struct supervise {
        struct child children[SUPERVISE_CHILDREN];
        size_t count;
        int signals; /* a signalfd */
        unsigned int asked; /* to end, so often */
};

/* Finds the program `name` of the installed set: beside this one, in the build's folder `room`, in ../sbin or in ../libexec/berth. -ENOENT. */
must_check int supervise_find(const char *name, const char *room, char *path, size_t size);
/* Blocks the signals and opens the descriptor. */
must_check int supervise_begin(struct supervise *s);
/* Starts the next child and waits until it is ready. -ECANCELED: asked to end meanwhile; -ECHILD: it ended; -ETIMEDOUT. */
must_check int supervise_start(struct supervise *s, struct child *child, char message[CLI_MESSAGE]);
/* Until asked to end. Children that end are started again after a growing while (1 s … 60 s). */
void supervise_watch(struct supervise *s);
/* Ends all, the last started first. */
void supervise_end(struct supervise *s);
