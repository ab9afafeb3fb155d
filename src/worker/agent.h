/* agent.h: what a worker does about its pools and tasks: a state machine without sockets, processes or a clock.
 *
 * Events come in (a connection opened, a message came, a task ended, time passed), each with the time in milliseconds; what is to be done goes out through
 * struct agent_ops. The program around it carries that out and tells what came of it.
 *
 *   link:  WAITING ──time──▶ CONNECTING ──opened──▶ GREETING (hello sent) ──welcome──▶ READY ──closed──▶ WAITING (full jitter: 0 … 1 s, doubling to 60 s)
 *   task:  lease ──start──▶ RUNNING ──ended──▶ result kept until acknowledged
 *                              └─ stale, cancel, lost, drain over ──stop──▶ STOPPING ──ended──▶ (nothing is said)
 *
 * Several servers. A worker is connected to every server that it was given or was told of in a welcome. Free slots are offered to all; what two of
 * them give at once is declined by the one slot that is left, which costs nobody anything. A lease belongs to the server that gave it, until another one
 * takes its queue over: hello shows every server all that is held, and what a welcome calls neither lost nor elsewhere is that server's now.
 *
 * Nothing is lost: a result or failure is kept, and sent again after each welcome, until that server says ack or stale. A task goes on while the
 * connection is away; the welcome says which leases were lost. Logs are kept up to AGENT_LOG_BYTES a task while they can't be sent, then cut (the pool sees
 * the gap by its offset); progress only in its latest form.
 *
 * Bounded: slots, servers, kept results (at AGENT_KEPT nothing new is taken), bytes of logs.
 */
#pragma once

#include "worker/message.h"

#include "base/strbuf.h"

#define AGENT_SERVERS MESSAGE_SERVERS
#define AGENT_SLOTS 256
#define AGENT_KEPT 1024
#define AGENT_LOG_BYTES (256U << 10)
#define AGENT_PROGRESS_MS 100

enum agent_link_state { AGENT_UNUSED, AGENT_WAITING, AGENT_CONNECTING, AGENT_GREETING, AGENT_READY };
enum agent_task_state { AGENT_FREE, AGENT_RUNNING, AGENT_STOPPING };

struct agent_ops {
        /* Begin to connect; agent_opened or agent_closed follow (also from inside). */
        void (*connect)(void *context, uint32_t server, const char *url);
        /* Close without further word; agent_closed is not called for it. */
        void (*disconnect)(void *context, uint32_t server);
        /* One message. -EAGAIN: its buffer is full, try later. */
        int (*send)(void *context, uint32_t server, const char *text, size_t bytes);
        /* Run this lease in that slot. Less than 0: it can't, why says so (256 bytes). */
        int (*start)(void *context, uint32_t slot, const struct message *lease, char why[MESSAGE_WHY]);
        /* End what runs in that slot; agent_ended follows. at_once: no time to clean up. */
        void (*stop)(void *context, uint32_t slot, bool at_once);
        /* The worker's id, to be kept for the next start. */
        void (*named)(void *context, const char *worker);
        /* A line for the worker's owner; level as enum log_level. */
        void (*say)(void *context, int level, const char *text);
        /* 32 random bits. */
        uint32_t (*chance)(void *context);
        /* What a server wants of an engine, or what will be wanted next; NULL: there are none. MESSAGE_UNKNOWN: this server is not connected any more. */
        void (*engine)(void *context, uint32_t server, const struct message *words);
        /* That server wants to see this machine in full, with the last span_s seconds; agent_seen answers. NULL: it can't be seen. */
        void (*look)(void *context, uint32_t server, uint32_t span_s);
        /* What opens a tunnel to that server from now on ("WORKER:SECRET"); NULL: it is not connected any more. The call may be NULL. */
        void (*tunnel)(void *context, uint32_t server, const char *url, const char *credential);
        /* Requests for models that run here, which the end waits for as for tasks; NULL: none do. */
        uint32_t (*requests)(void *context);
};

struct agent_settings {
        uint32_t slots;
        uint64_t drain_ms;      /* how long running tasks may go on once the worker drains */
        uint64_t bye_ms;        /* how long acknowledgements are waited for at the end */
        uint64_t hello_ms;      /* a server that does not answer hello within this is tried anew */
        const char *instance;   /* random, new at each start */
        const char *worker;     /* id from an earlier start, or NULL */
        const char *secure;     /* non-NULL: servers told by a welcome must be wss:// */
};

struct agent_link {
        enum agent_link_state state;
        char url[MESSAGE_URL], server[MESSAGE_URL];
        uint64_t at;           /* WAITING: when to connect; CONNECTING, GREETING: when to give up */
        uint64_t backoff_ms;   /* the next wait's bound */
        uint64_t lease_ms, heartbeat_ms, payload_bytes, renew_at, beat_at;
        uint32_t credit;       /* slots offered and not used yet */
        bool told;             /* by a welcome, not by the owner */
        bool draining;         /* the pool says so, or that it heard of our own end: what it has told of requests by now is all */
        uint64_t node_ms, node_at; /* node reports: how far apart, when the next may be sent */
        bool node_due;         /* it does not know the latest */
        json_t *change;        /* members of a change that found its buffer full, or NULL */
};

struct agent_task {
        enum agent_task_state state;
        uint32_t server, shown;  /* shown: bits of servers whose hello on the present connection named it */
        char task[ID_TEXT], type[64];
        uint64_t nonce, started, kill_at, progress_at; /* kill_at: STOPPING, when patience ends; progress_at: when the next may be sent */
        bool answered;           /* result or fail was said */
        json_t *progress;        /* the latest not sent yet */
        struct strbuf log;       /* not sent yet */
        uint64_t log_offset;     /* of its first byte */
};

struct agent_kept {
        struct agent_kept *next;
        uint32_t server, shown;
        char task[ID_TEXT];
        uint64_t nonce;
        bool sent;               /* on the present connection */
        size_t bytes;
        char text[];
};

struct agent_counters {
        uint64_t leases, done, failed, declined, stale, cancelled, reconnects, malformed, unknown, log_cut;
};

struct agent {
        struct agent_settings settings;
        const struct agent_ops *ops;
        void *context;
        json_t *about;                            /* members of hello: name, types, devices, … */
        json_t *load;                             /* members of heartbeat, or NULL */
        json_t *node;                             /* the latest node report, or NULL */
        char worker[ID_TEXT];
        struct agent_link links[AGENT_SERVERS];
        struct agent_task tasks[AGENT_SLOTS];
        struct agent_kept *kept, **kept_end;
        uint32_t kept_count;
        bool draining, at_once, ended;
        uint64_t drain_until, drain_heard_by, bye_until;
        struct agent_counters counters;
};

/* about: an object with what hello says of the worker; its reference is taken. */
void agent_init(struct agent *a, const struct agent_settings *settings, json_t *about, const struct agent_ops *ops, void *context);
void agent_done(struct agent *a);
/* A server to be connected to at the next agent_tick. -ENOSPC, -EEXIST. */
must_check int agent_add(struct agent *a, uint64_t now, const char *url, bool told);

void agent_opened(struct agent *a, uint64_t now, uint32_t server);
/* Closed or never opened; why for the log. retry_after_ms: what the server asked for, or 0. */
void agent_closed(struct agent *a, uint64_t now, uint32_t server, const char *why, uint64_t retry_after_ms);
/* One message of that server. -E_MESSAGE: malformed, the connection was given up. */
must_check int agent_received(struct agent *a, uint64_t now, uint32_t server, const char *text, size_t bytes);
/* There is room to send on that link again. */
void agent_writable(struct agent *a, uint64_t now, uint32_t server);

/* What the runner of a slot says: {"m": "accepted" | "progress" | "log" | "result" | "fail", …} without task and nonce; borrowed. result and fail end the
 * task's part towards the pool; the slot is free at agent_ended. */
void agent_said(struct agent *a, uint64_t now, uint32_t slot, json_t *words);
/* The runner of that slot is gone. how: for the error when it had said neither result nor fail. */
void agent_ended(struct agent *a, uint64_t now, uint32_t slot, const char *how);

/* What the worker is has changed: members of a change. References are taken. */
void agent_changed(struct agent *a, uint64_t now, json_t *members);
/* The latest report of this machine (docs/worker-protocol.md); its reference is taken. */
void agent_node(struct agent *a, json_t *node);
/* How often a server wants one, at most; 0: none is connected. */
uint64_t agent_node_every(const struct agent *a);
/* What a look saw, as JSON, for the server that asked. One that has no room now asks again. */
void agent_seen(struct agent *a, uint64_t now, uint32_t server, const char *report, size_t bytes);
/* Numbers for heartbeats; its reference is taken. */
void agent_load(struct agent *a, json_t *load);
/* The owner wants it to end: the first call drains, the second ends at once. */
void agent_drain(struct agent *a, uint64_t now);

/* Does what is due; returns when it wants to be called next (UINT64_MAX: only after an event). */
uint64_t agent_tick(struct agent *a, uint64_t now);
/* Drained, said bye: the program may end. */
static inline bool agent_is_over(const struct agent *a)
{
        return a->ended;
}
uint32_t agent_running(const struct agent *a);
/* Servers that it is connected to, welcomed or not yet. */
uint32_t agent_connected(const struct agent *a);
