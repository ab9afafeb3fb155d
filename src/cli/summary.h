/* summary.h: what a run took, told at its end: on standard error for people, as JSON for programs.
 *
 * `berth run` becomes the program, so that its pid, parent, terminal, signals and exit code are what they would be without Berth. Who tells the
 * summary is a process apart, started before: no relative of the program, in a session of its own, it keeps a connection to the daemon, waits for
 * the program's end by pidfd, and asks the daemon for the last figures of all that bore the run's number. So a program that is killed has its
 * summary, too. What is not known of a run that outlived its daemon is said so.
 */
#pragma once

#include "base/strbuf.h"
#include "cli/snapshot.h"

#include <jansson.h>

struct summary {
        const char *program;
        uint32_t pid;
        uint64_t wall_ns;
        bool complete; /* false: the daemon was restarted meanwhile, what moved before is not counted */
        const struct snapshot *programs;
};

/* Nothing at all when no program of the run came to a shared device. Pure. */
void summary_text(const struct summary *s, struct strbuf *b);
/* NULL: out of memory. */
json_t *summary_json(const struct summary *s);

/* The number for a run: BERTH_RUN_NUMBER in the environment of all it starts. 0 or -errno. */
must_check int summary_number(uint64_t *ret_run);

/* Starts the process that tells the summary of the calling process's later life; c, registered with that number, is kept for it. file: where the
 * JSON goes, opened at once, or NULL; text: tell it on standard error. 0, or a negative error with message; the caller goes on either way. */
must_check int summary_start(struct connection *c, uint64_t run, const char *program, const char *file, bool text, char message[CLI_MESSAGE]);
