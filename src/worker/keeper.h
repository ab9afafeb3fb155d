/* keeper.h: one engine's program, held by a small process of the worker's own: no worker, no engine.
 *
 * The keeper starts the program in a process group of its own, reads what it writes into a bounded log, tells the worker its lines and its end, and passes on the
 * order to end. It and the worker share a stream socket. When the worker's end closes, for whatever reason (it ended, it was killed), all that the program started
 * is killed; when the keeper itself is killed, the kernel kills the program.
 *
 *   worker → keeper   one byte: 't' ask it to end, 'k' end it
 *   keeper → worker   lines of JSON: {"m": "line", "text"} at most one a second; {"m": "ended", "text", "hopeless"} once, the last
 */
#pragma once

#include "base/scope.h"

#include <stdint.h>
#include <stdnoreturn.h>

struct keeper_orders {
        char *const *argv, *const *environment;
        const char *folder; /* the program's current folder */
        const char *log;    /* path of its log; the one before it is PATH.1 */
        uint64_t log_bytes; /* of each of the two */
};

/* In the child of a fork: does it all, and ends. */
noreturn void keeper_main(const struct keeper_orders *orders, int worker);
