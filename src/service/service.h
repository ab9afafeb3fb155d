/* service.h: the pool as it runs: the pure core (pool/core.h), the store behind its writer, accounts, the event log, logs and artifacts, threaded
 * together. No sockets: the gateway brings requests and workers' messages in and carries answers out; tests do the same without any network.
 *
 * One thread (the loop's) calls everything here; the writer's thread only wakes it (options.wake → call service_turn soon). Whatever changes something
 * answers after its commit: `done` is called from service_turn, never from inside the call that asked. Between a change in memory and its commit nothing
 * of it is told to anybody (leases, results, events wait for their commit alike), so what was told is never lost. While the store is down, new work is
 * refused (503 with retry_after), running work goes on, and answers wait.
 *
 * Queues (store.h): accounts are spread over STORE_QUEUES by id. This server serves those that it claimed; for others service_owner names the
 * server to go to. Taking a queue over: claim, load its unfinished tasks, go on; LEASED tasks wait for their workers to come back (who is connected here is asked to
 * connect anew, and says what it runs). Several servers on one PostgreSQL share the queues fairly (spread.h): each looks twice a second who is there, which
 * queues are free, and what the others changed of accounts, keys, sessions and workers.
 */
#pragma once

#include "account/account.h"
#include "base/id.h"
#include "base/scope.h"
#include "pool/core.h"
#include "service/history.h"
#include "store/store.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERVICE_MESSAGE 512

struct service;
struct strbuf;
struct generate_settings;

/* The clocks and the source of chance, for tests; NULL in the options: the machine's own. */
struct service_clock {
        uint64_t (*monotonic_ns)(void *context); /* never goes back: everything that is due goes by it */
        int64_t (*unix_ms)(void *context);       /* only for what people see */
        void *context;
};

enum service_direct { SERVICE_DIRECT_LOCAL, SERVICE_DIRECT_ANY, SERVICE_DIRECT_NONE }; /* local: of workers that connect from this machine */

struct service_options {
        const char *store_url;           /* as store_open takes it; NULL: FOLDER/pool.db */
        const char *folder;              /* logs/, objects/, secrets; made with mode 0700 when missing */
        const char *server;              /* our address as others reach it ("https://host:port"); NULL: alone */
        const char *pin;                 /* what they know our certificate by (libcurl's "sha256//…"); NULL: none */
        const struct core_settings *core;
        uint64_t event_bytes;            /* of the event log in memory; 0: 32 MiB */
        uint64_t keep_ms;                /* how long tasks that ended are kept, with their logs; 0: for ever */
        uint64_t log_bytes;              /* of one task's log; 0: 4 MiB. More is counted and cut in the middle */
        uint64_t artifact_keep_ms;       /* how long artifacts are kept that no kept task names, from their last use; at least keep_ms; 0: for ever */
        uint64_t object_bytes;           /* of one artifact; 0: 64 GiB */
        uint64_t payload_bytes;          /* of a task's payload; 0: 256 KiB. Results up to the same size stand in the task, larger ones are artifacts */
        uint64_t memory_bytes;           /* of all unfinished tasks together; 0: 2 GiB. More are refused (503) */
        void (*wake)(void *context);     /* call service_turn soon. From any thread, at most once until the next turn; also out of the calls below */
        void *context;
        const struct service_clock *clock;
        const struct generate_settings *generate; /* NULL: the defaults; used until service_open returns */
        enum service_direct direct;      /* which engines requests go to at the address that they tell, in place of their worker's tunnel */
};

/* Opens the store, loads what has not ended, claims queues. message says what and what to do. */
must_check int service_open(const struct service_options *options, struct service **ret_service, char message[SERVICE_MESSAGE]);
/* Waits for what was accepted to be durable, answers it, and closes. Connections that are still open are ended and gone with it. */
void service_close(struct service *service);
/* Does what is due: calls `done` of what became durable, sends leases, moves time on. Milliseconds until it wants to be called again at the latest. */
uint64_t service_turn(struct service *service);
struct accounts *service_accounts(struct service *service);

/* The outcome of a request. A problem (RFC 9457) when status ≥ 400: code is stable and listed in docs/api.md. All of it is borrowed for the call. */
struct service_answer {
        int status;                      /* HTTP's */
        const char *code;                /* "task.impossible"; NULL when status < 400 */
        const char *detail;              /* for people */
        json_t *body;                    /* of a problem: further members (unmet, violations); NULL: none */
        const char *text;                /* of a success: JSON text made ready, `bytes` long; NULL: none */
        size_t bytes;
        uint64_t version;                /* for ETag; 0: none */
        uint64_t retry_after_s;
        char location[96];               /* "" or the path of what was made */
};
typedef void (*service_done_fn)(void *context, const struct service_answer *answer);

/* Tasks. body: as docs/api.md says (one task, or {"tasks": […]} up to 1000). key: the Idempotency-Key or NULL; the same key and body again gives the first
 * answer, another body 422. */
/* payload: NULL, or the one task's payload as pass_payload gave it (service/pass.h), which is then null in body; body may be changed. */
void service_submit_apart(struct service *service, const struct account_caller *caller, json_t *body, const struct strbuf *payload, const char *key, bool dry_run, service_done_fn done,
                          void *context);
void service_submit(struct service *service, const struct account_caller *caller, const json_t *body, const char *key, bool dry_run, service_done_fn done,
                    void *context);
void service_task(struct service *service, const struct account_caller *caller, const struct id *task, service_done_fn done, void *context);
/* Answers when the task ended or after wait_ms. The handle, valid until done is called, ends the wait early (client gone): then done is not called.
 * NULL: out of memory. */
struct service_wait *service_task_wait(struct service *service, const struct account_caller *caller, const struct id *task, uint64_t wait_ms,
                                       service_done_fn done, void *context);
void service_wait_cancel(struct service_wait *wait);
struct service_list {
        const char *state, *type;        /* NULL: all */
        struct id after, account;        /* account: all zero: own, or all for who may */
        size_t limit;                    /* 1 … 1000 */
};
void service_tasks(struct service *service, const struct account_caller *caller, const struct service_list *list, service_done_fn done, void *context);
void service_task_cancel(struct service *service, const struct account_caller *caller, const struct id *task, service_done_fn done, void *context);
/* {"priority": "high", "deadline": "2026-…"} */
void service_task_change(struct service *service, const struct account_caller *caller, const struct id *task, const json_t *body, service_done_fn done,
                         void *context);
void service_task_why(struct service *service, const struct account_caller *caller, const struct id *task, service_done_fn done, void *context);
/* A file to send: 0, its descriptor (the receiver's now) and how much of it there is; or -ENOENT (also: not yours), -E_UNAVAILABLE. */
typedef void (*service_file_fn)(void *context, int error, int fd, uint64_t bytes);
/* The log of the task's latest attempt, as far as it came. */
void service_task_log(struct service *service, const struct account_caller *caller, const struct id *task, service_file_fn done, void *context);

/* Workers, for people. */
void service_workers(struct service *service, const struct account_caller *caller, const struct service_list *list, service_done_fn done, void *context);
void service_worker(struct service *service, const struct account_caller *caller, const struct id *worker, service_done_fn done, void *context);
/* {"node": its last report (docs/worker-protocol.md), or null, "seen"}. */
void service_worker_node(struct service *service, const struct account_caller *caller, const struct id *worker, service_done_fn done, void *context);
/* {"machine": in full as it was a moment ago, or null, "seen"}, with how it went over a span of at least since_s (at most 604800); asks the worker for a
 * newer one. Processes and files only for who may change workers. */
void service_worker_machine(struct service *service, const struct account_caller *caller, const struct id *worker, uint64_t since_s, service_done_fn done, void *context);
void service_worker_why(struct service *service, const struct account_caller *caller, const struct id *worker, service_done_fn done, void *context);
/* {"state": "draining" | "active"}; version: If-Match, 0: none (428 where one is needed). */
void service_worker_change(struct service *service, const struct account_caller *caller, const struct id *worker, const json_t *body, uint64_t version,
                           service_done_fn done, void *context);
void service_worker_remove(struct service *service, const struct account_caller *caller, const struct id *worker, service_done_fn done, void *context);

/* A worker's connection. The gateway has authenticated it (RIGHT_WORKER_JOIN). send: one message to it; the text is borrowed. -EAGAIN from send (its
 * buffer is full) closes it. close: it is to be closed; service_worker_closed comes later, never from inside close or send. */
struct service_worker;
typedef int (*service_send_fn)(void *context, const char *text, size_t bytes);
struct service_worker *service_worker_open(struct service *service, const struct account_caller *caller, const char *address, service_send_fn send,
                                           void (*close)(void *context, const char *reason), void *context);
/* One message (JSON text of docs/worker-protocol.md). 0, or -E_MESSAGE/-E_QUOTA: an error message was sent, and the connection is to be closed. */
must_check int service_worker_receive(struct service_worker *worker, const char *text, size_t bytes);
void service_worker_closed(struct service_worker *worker);

/* Events. One log in memory, numbered from 1 in each epoch (an epoch is a start of the pool); subscribers keep a cursor and read on, so that an idle
 * subscriber costs nothing. An event is told after its commit. */
struct service_event {
        uint64_t number;
        struct id account, task;         /* all zero: of nobody, of none */
        const char *type;                /* "task.progress", "worker.state" … */
        const char *json;                /* the whole event, ready to send */
        size_t bytes;
};
uint64_t service_event_epoch(const struct service *service);
uint64_t service_event_last(const struct service *service);
/* The first event after *cursor that the caller may see (own account and nobody's, or all with TASK_READ_ALL; task: only that one's, all zero: any). 0 and
 * *cursor moved on, the event is borrowed until the next call of anything here; -EAGAIN: nothing, *cursor moved on as far as was looked, a bounded number: while it
 * is below service_event_last(), call again; -ERANGE: what came after the cursor is gone already (or is of another epoch's future): take a snapshot and go
 * on from *cursor. */
must_check int service_event_next(struct service *service, const struct account_caller *caller, const struct id *task, uint64_t *cursor,
                                  struct service_event *ret_event);
/* {"source", "sequence", "task"?, "type", "data"}, one or an array: pushed from outside; a sequence that is not above the source's last is answered as
 * known and not told again. */
void service_events_push(struct service *service, const struct account_caller *caller, const json_t *body, service_done_fn done, void *context);
/* What a page shows at once, before deltas: counts, unfinished tasks (≤ 1000), workers. With the number that it is as of. */
void service_snapshot(struct service *service, const struct account_caller *caller, service_done_fn done, void *context);
/* Called (at most once a turn) when new events were told. One listener. */
void service_events_listen(struct service *service, void (*told)(void *context), void *context);

/* Artifacts, by SHA-256 (64 lowercase hex digits). Upload: begin gives the offset to go on from and a descriptor to write to (the caller's now), at most
 * `bytes` in all; end checks digest and length, makes it durable and known. An offset equal to bytes: all is there, only end is missing. -EINVAL, -EFBIG,
 * -E_QUOTA (too many uploads at once), -EBUSY (its end is being worked on), -ENOSPC. Readable by accounts that uploaded it, whose task's result lists it, and, while
 * one of their workers holds a lease on a task whose payload names it ({"sha256": "…"}), by these. */
must_check int service_object_begin(struct service *service, const struct account_caller *caller, const char *sha256, uint64_t bytes, uint64_t *ret_offset,
                                    int *ret_fd);
/* How far the caller's upload came: 0 and the bytes that are here, or -ENOENT. Complete once an end was answered with 201: then service_object_read finds it. */
must_check int service_object_offset(struct service *service, const struct account_caller *caller, const char *sha256, uint64_t *ret_offset);
void service_object_end(struct service *service, const struct account_caller *caller, const char *sha256, service_done_fn done, void *context);
void service_object_read(struct service *service, const struct account_caller *caller, const char *sha256, service_file_fn done, void *context);

/* Changes of accounts and audit rows: committed, then done with what the caller prepared. */
void service_commit(struct service *service, const struct account_changes *changes, service_done_fn done, void *context);
/* Rows of the audit log, newest first. */
void service_audit(struct service *service, const struct account_caller *caller, const struct service_list *list, service_done_fn done, void *context);
/* A copy of the store at path (of the server's machine), with progress events. */
void service_backup(struct service *service, const struct account_caller *caller, const char *path, service_done_fn done, void *context);

/* Health: store reachable, queues owned, core sound. */
struct service_health {
        bool ready;
        char reason[256];                /* "" when ready */
};
void service_health(struct service *service, struct service_health *ret_health);
/* {"server", "version", "queues", "tasks": {…}, "workers": {…}, "store": {…}, "events": {…}}: GET /api/v1/pool. */
void service_about(struct service *service, const struct account_caller *caller, service_done_fn done, void *context);
/* What happened lately, by time (service/history.h): so much more of a counter. Cheap: an addition. */
void service_history_add(struct service *service, enum history_series series, uint64_t amount);
/* {"from_ms", "step_ms", "count", "series": {name: [number or null …]}}. names: comma separated, NULL or "": all. */
void service_history(struct service *service, const char *names, uint64_t since_s, service_done_fn done, void *context);
/* Prometheus text of everything counted here, into a buffer that grows. */
void service_metrics(struct service *service, struct strbuf *text);
/* Server that owns the account's queue: 0 (us), -EAGAIN (another: its address), -E_UNAVAILABLE (nobody now). */
must_check int service_owner(struct service *service, const struct id *account, char address[256]);
/* The same of a task: error as service_owner's (0 also for one that is not there: we say so). False, and done is not called: it is here. */
typedef void (*service_place_fn)(void *context, int error, const char *address);
bool service_task_place(struct service *service, const struct id *task, service_place_fn done, void *context);
/* What the certificate of the server at that address is known by; "" when it has none, or is not there. */
const char *service_server_pin(const struct service *service, const char *address);
/* True when other servers have some of the queues: lists over all accounts are then this server's part. */
bool service_is_partial(const struct service *service);
