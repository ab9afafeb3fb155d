/* sight.h: the machine in full, for people who look at it right now (docs/worker-protocol.md, "Looks").
 *
 * A look takes long on a large machine (every process, every series), so a process of the worker's own takes it, "berth-look": it is started by the first look,
 * answers one at a time, and ends when nobody has looked for a minute, or with the worker. One that does not answer in time is killed; the look is then not answered,
 * and the next one starts another. Nobody looks: there is no process, and the probes in the kernel are not asked for.
 */
#pragma once

#include "base/scope.h"
#include "worker/sight-view.h"

#include <stdnoreturn.h>

#define SIGHT_SERVERS 8

struct sight;

struct sight_options {
        int epoll;
        uint64_t number; /* of its events */
        enum sight_depth depth;
        void (*seen)(void *context, uint32_t server, const char *report, size_t bytes); /* JSON */
        void *context;
};

must_check int sight_open(const struct sight_options *options, struct sight **ret);
void sight_close(struct sight *l);
SCOPED_FN(struct sight *, sight_close)
/* That server wants one, with how it went over so many seconds; one for each server waits at most. */
void sight_ask(struct sight *l, uint64_t now, uint32_t server, uint32_t span_s);
/* Its descriptor is ready. */
void sight_event(struct sight *l, uint64_t now);
/* When it wants to be called next. */
uint64_t sight_tick(struct sight *l, uint64_t now);

/* In the child of a fork: answers, and ends with the socket. A request is a span in seconds (uint32_t), an answer the report's text, one datagram each. */
noreturn void sight_process(int socket, enum sight_depth depth);
