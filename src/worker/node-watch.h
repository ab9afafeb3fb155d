/* node-watch.h: what this machine's devices hold and who is on them, from the node daemon's status, and the machine's own figures, as the worker's node
 * report (docs/worker-protocol.md). Never waits: one connection, on the worker's own loop, that is asked again and again. A daemon that is not there, hangs,
 * or talks nonsense costs a timer; then the devices that the worker knows itself are told, without what only a daemon knows.
 */
#pragma once

#include "base/scope.h"

#include <jansson.h>
#include <stdint.h>

struct node_watch;

struct node_watch_options {
        int epoll;
        uint64_t number;                             /* of its events */
        const json_t *devices;                       /* [{"kind", "name", "memory_bytes"}] as hello tells them; copied */
        void (*report)(void *context, json_t *node); /* {"devices", "host", "daemon", "clients_left_out"}, taken over; only when it changed */
        void *context;
};

must_check int node_watch_open(const struct node_watch_options *options, struct node_watch **ret);
void node_watch_close(struct node_watch *w);
SCOPED_FN(struct node_watch *, node_watch_close)
/* The memory of that job's programs will be wanted within so long (0: not any more): told to the daemon soon (PREFETCH), nothing is answered. Of more than a few that
 * were not told yet the oldest is forgotten. */
void node_watch_prefetch(struct node_watch *w, const char *job, uint32_t milliseconds);
/* Its descriptor is ready. */
void node_watch_event(struct node_watch *w, uint64_t now);
/* Asks when it is time to: every so many milliseconds, 0: nobody wants to know. When it wants to be called next. */
uint64_t node_watch_tick(struct node_watch *w, uint64_t now, uint64_t every_ms);
