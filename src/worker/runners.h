/* runners.h: the agent's side of its runners: starts one a slot, reads its lines, hears its end. Not blocking; one epoll descriptor for all of them. */
#pragma once

#include "worker/agent.h"
#include "worker/runner.h"

struct runners_slot {
        pid_t pid;      /* 0: free */
        int pidfd, fd;
        struct strbuf line;
        bool bad;       /* it sent what is no line */
};

struct runners {
        const struct runner_settings *settings;
        int epoll;
        struct runners_slot slots[AGENT_SLOTS];
        /* A line of a runner, parsed; borrowed. */
        void (*said)(void *context, uint32_t slot, json_t *words);
        void (*ended)(void *context, uint32_t slot, const char *how);
        void *context;
};

must_check int runners_open(struct runners *r, const struct runner_settings *settings);
/* Descriptors that children must not have are closed in them, whatever they are. */
must_check int runners_start(struct runners *r, uint32_t slot, const struct message *lease, const char *url, uint64_t payload_bytes, char why[MESSAGE_WHY]);
void runners_stop(struct runners *r, uint32_t slot, bool at_once);
/* Something happened at the epoll descriptor under a number below RUNNERS_EVENTS. */
void runners_event(struct runners *r, uint64_t number);
#define RUNNERS_EVENTS (2 * AGENT_SLOTS)
