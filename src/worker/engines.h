/* engines.h: the engines of this machine: the catalogue's file watched, programs started through keepers, health looked at, states told. Not blocking.
 *
 * What each engine does next is src/engine's decision; here it is carried out. A changed catalogue is taken over when all of it is right: entries that did not
 * change run on, others end first and are started anew if they were wanted; a file with a fault changes nothing and is told in the log.
 */
#pragma once

#include "worker/message.h"
#include "worker/tunnel.h"

#include <jansson.h>
#include <limits.h>

struct engines;

struct engines_options {
        int epoll;
        const char *catalogue;   /* full path of models.conf; need not exist */
        const char *folder;      /* of the worker: logs go to FOLDER/engines */
        const char *address;     /* numeric: engines listen there, and are told so */
        const char *berth;       /* the program `berth', or "" */
        uint64_t log_bytes;      /* of one log file; two are kept for each engine */
        /* The memory of that job's programs will be wanted within so long, 0: not any more. */
        void (*prefetch)(void *context, const char *job, uint32_t milliseconds);
        /* What hello and change say of them; the reference is the callee's. */
        void (*changed)(void *context, json_t *list);
        void *context;
};

/* Numbers that its descriptors are registered under. */
#define ENGINES_EVENTS (UINT64_C(1) << 32)
#define ENGINES_EVENTS_END (UINT64_C(1) << 34)

must_check int engines_open(const struct engines_options *options, uint64_t now, struct engines **ret);
/* Whatever still runs is killed. */
void engines_close(struct engines *e);
/* A message of that server: MESSAGE_ENGINE, MESSAGE_UPCOMING_MODELS, or MESSAGE_UNKNOWN when it is not connected any more. */
void engines_asked(struct engines *e, uint64_t now, uint32_t server, const struct message *words);
/* Something happened at the epoll descriptor under a number within ENGINES_EVENTS. */
void engines_event(struct engines *e, uint64_t now, uint64_t number);
/* Does what is due. When to come again (as now); UINT64_MAX: only after an event. */
uint64_t engines_tick(struct engines *e, uint64_t now);
/* The node report (node-watch.h): whose memory is where. Borrowed. */
void engines_node(struct engines *e, const json_t *node);
/* Whether anybody's memory is on a shared device: then the node report is wanted. */
bool engines_gated(const struct engines *e);
/* All are to end. */
void engines_end(struct engines *e, uint64_t now);
/* Whether pools are told where engines listen, so that they go there by themselves; else all of it goes through tunnels. */
void engines_direct(struct engines *e, bool direct);
/* The engine of that name, if it is ready. */
bool engines_find(const struct engines *e, const char *model, struct tunnel_target *ret_target);
const char *engines_name(const struct engines *e, uint32_t number, uint32_t *ret_parallel);
/* Requests that connected servers said they have on them directly. */
uint32_t engines_requests(const struct engines *e);
/* Programs that run. */
uint32_t engines_alive(const struct engines *e);
