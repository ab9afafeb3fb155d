/* runner.h: one task from lease to result, in a process of its own between the agent and the confined program.
 *
 * The runner is ours: it holds the key, brings input files, starts the program in its confinement, passes on what it says, holds it to its limits, takes its
 * output files, and says result or fail. It blocks where it likes; the agent does not. Agent and runner share a stream socket; the runner writes
 * lines of JSON ({"m": "accepted" | "progress" | "log" | "result" | "fail", …} as docs/worker-protocol.md has them, without task and nonce). SIGTERM, or the
 * agent's end of the socket closing, ends the task and the runner without a word. Everything the runner started dies with it.
 */
#pragma once

#include "worker/artifact.h"
#include "worker/confine.h"
#include "worker/group.h"
#include "worker/message.h"
#include "worker/spec.h"

#include <stdnoreturn.h>

struct runner_settings {
        const char *folder;                        /* of the worker: work/, cache/ below */
        struct confine confine;
        struct group_place groups;                 /* version 0: none */
        struct spec_limits most;
        bool network;                              /* tasks may ask for it */
        const char *read[CONFINE_FOLDERS + 1], *write[CONFINE_FOLDERS + 1]; /* shared folders */
        const char *token, *pin, *ca;
        const char *socket;                        /* of berthd, or NULL */
        uint64_t cache_bytes, log_bytes, log_rate; /* log: of a task in all; a second */
        uint64_t grace_ms;                         /* between SIGTERM and SIGKILL */
        uint64_t hang_after_ns;                    /* no progress for so long is a hang; 0: never */
        bool end_hangs;
};

/* In the child of a fork: does it all, and ends. url: of the server that gave the lease ("wss://…"); worker: our name there. */
noreturn void runner_main(const struct runner_settings *settings, uint32_t slot, const struct message *lease, const char *url, uint64_t payload_bytes, int agent);
