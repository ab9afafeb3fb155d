/* internal.h: what the files of this room share. Only they include it.
 *
 * One change goes one way: a call alters memory and the core; `act_drain` turns the core's actions into rows of the pending batch and into operations that
 * wait for it; `service_turn` hands the batch to the writer, and when it is durable carries the operations out in order: leases sent, events told,
 * requests answered. So every row, operation and number below belongs to exactly one batch, and what a crash takes away nobody was told.
 *
 * A task has two states: `now`, which the next decision is made on, and `shown`, its durable copy, which people see.
 */
#pragma once

#include "base/strbuf.h"
#include "service/engines.h"
#include "service/service.h"
#include "service/spread.h"
#include "service/text.h"
#include "store/writer.h"

#include <uthash.h>

#define LABEL_BYTES 64
#define NAME_BYTES 128
#define BATCH_TASKS 1000
#define AFTER_TASKS 100
#define ARTIFACTS 100
#define UNIX_NEVER INT64_MAX

struct task_status {
        uint32_t state, reason, attempt; /* state 0: not durable yet, so unknown to people */
        uint64_t nonce;
        struct id worker;
        int64_t queued, started, ended, retry_at; /* unix ms; 0: never was */
};

struct lease_links {
        struct lease_links *before, *next;
};

struct service_wait {
        struct service_wait *before, *next;   /* of the task */
        struct service_wait *due_before, *due_next; /* of the service */
        struct service *service;
        struct task *task;                    /* NULL: its answer is on its way */
        struct id id;
        struct account_caller caller;
        uint64_t due_ms;
        service_done_fn done;
        void *context;
        bool cancelled;
};

struct progress {
        bool known;
        double share;
        int64_t step, steps;
        char text[200];
        uint64_t window_ms;                   /* of the limit on messages */
        uint32_t in_window;
};

struct log_state {
        uint32_t attempt;                     /* of the file that the rest is about; 0: not looked at yet */
        uint64_t received, size, cut;         /* said by the worker; in the file; left out of its middle */
};

/* A task that has not ended, or whose end is not durable yet. */
struct task {
        UT_hash_handle by_id;
        struct id id, account, key;
        uint32_t number;                      /* the core's; CORE_NONE: it ended */
        uint32_t queue, kind, band;
        int64_t created, deadline;            /* unix ms; deadline UNIX_NEVER: none */
        struct task_status now, shown;
        uint64_t leased_ns;                   /* monotonic: when the present lease was made */
        struct progress progress;
        struct log_state log;
        /* head: members to paste into views, leases and rows ("type":…,"name":…,…); its first `brief` bytes are type and name. payload: JSON. */
        char *head;
        uint32_t head_bytes, brief_bytes, payload_bytes;
        const char *payload;
        char *result, *error, *artifacts, *usage; /* JSON texts, NULL: none */
        struct id blamed[8];
        uint32_t blamed_count;
        uint64_t batch;                       /* the last one that has a row of it */
        bool stored;                          /* its spec is in a row */
        uint32_t operations;                  /* that still refer to it */
        bool ended;
        struct lease_links lease;             /* in its worker's ring, while leased */
        struct service_wait *waits;
        struct account_record *owner;
};

struct account_record {
        UT_hash_handle by_id;
        struct id id;
        uint64_t unfinished, uploads;
        uint32_t weight, max_leases;
        char name[64];
};

struct key_record {
        UT_hash_handle by_id;
        struct id id;
        uint32_t max_leases;
};

struct worker;

/* What it told of its machine last. */
struct worker_node {
        char *text;                           /* NULL: nothing yet */
        size_t bytes;
        int64_t at;                           /* unix ms: when it was told; a later report that said the same counts */
        uint64_t told_ms;                     /* when its last event was told */
        struct worker *before, *next;         /* in the line of those whose event waits */
        bool waiting;
};

#define MACHINE_SPANS 3

/* What it told of its machine in full, for one span of time (machines.c). */
struct machine_kept {
        char *figures, *processes;            /* NULL: nothing */
        size_t figures_bytes, processes_bytes;
        int64_t at;                           /* unix ms */
        uint64_t at_ms, asked_ms;             /* when it came; when it was asked last, 0: never */
        bool owed;                            /* an answer to that */
};

struct worker_machine {
        struct machine_kept kept[MACHINE_SPANS];
        struct worker *before, *next;         /* in the line of those that have any */
        bool in_line;
};

/* A worker that is known, connected or not. */
struct worker {
        UT_hash_handle by_id;
        struct id id, account;
        uint32_t number;                      /* the core's, or CORE_NONE */
        uint32_t state;                       /* enum core_worker_state, as last told */
        bool drained, private_pool;
        bool leaving;                         /* its owner ends it */
        bool tunnelled;                       /* its tunnel is open */
        char tunnel_secret[33];               /* what opens it; "": nothing does */
        char name[CORE_TEXT], instance[LABEL_BYTES], version[LABEL_BYTES], address[64];
        uint32_t slots;
        json_t *abilities;                    /* types, devices, models, labels, host_memory_bytes, as it said */
        json_t *resident, *load;
        struct worker_node node;
        struct worker_machine machine;
        uint64_t version_number;              /* for ETag: counts changes by people */
        int64_t joined, seen;
        uint64_t seen_ns;
        struct lease_links leases;            /* ring of its tasks */
        struct service_worker *connection;
        char *stored;                         /* the row's spec as last put, so that rejoining costs none */
        uint32_t site;                        /* generate's; 0: it never told of engines */
        struct served *served;
        struct vocabulary *vocabulary;        /* what payloads that it takes may hold (members.h); NULL: it has not joined since the start */
};

/* A model's engine as its worker told of it. */
struct served {
        struct served *next;     /* of its worker */
        struct worker *worker;
        uint32_t number, context;
        unsigned tasks;
        enum generate_state state;
        enum generate_resident resident;
        uint32_t parallel;
        uint64_t memory;
        uint32_t told_requests;  /* to its worker, as last said */
        uint64_t told_sent;      /* requests that it had been given then */
        bool listed;
        char model[GENERATE_MODEL], kind[16], address[200], revision[LABEL_BYTES], text[200];
        char *key;
};

enum connection_state { CONNECTION_NEW, CONNECTION_JOINING, CONNECTION_JOINED, CONNECTION_ENDED };

struct bucket {
        uint64_t level, at_ns;
};

struct service_worker {
        struct service_worker *before, *next; /* of the service */
        struct service *service;
        struct account_caller caller;
        char address[64];
        service_send_fn send;
        void (*close)(void *context, const char *reason);
        void *context;
        enum connection_state state;
        struct worker *worker;
        json_t *hello;                        /* while the store is asked */
        struct bucket messages, event_bytes, node_reports;
        uint32_t references;                  /* operations and jobs that still point here */
        uint32_t checking, ready_later;       /* results whose artifacts are looked up; slots that were said to be free meanwhile */
        bool gone;                            /* closed by the gateway: nothing may be sent */
};

enum operation_kind {
        OPERATION_ANSWER, OPERATION_STATE, OPERATION_LEASE, OPERATION_CANCEL_LEASE, OPERATION_ACK, OPERATION_STALE, OPERATION_WELCOME, OPERATION_CALL
};

/* What waits for a batch. texts are its own. */
struct operation {
        uint64_t number;
        enum operation_kind kind;
        struct task *task;
        struct service_worker *connection;
        struct id task_id, worker_id;
        uint64_t nonce;
        struct task_status status;
        char *text;
        size_t bytes;
        int http;
        const char *code, *detail;
        service_done_fn done;
        void *context;
        void (*call)(struct service *service, void *context, int error);
        char location[96];
};

struct operations {
        struct operation *ring;
        size_t first, count, size; /* size: a power of two */
};

/* A change of the pending batch: texts by offset into `texts`, as that one grows. A task's are written only when the batch is handed over. */
struct pending_change {
        struct task *task;
        struct store_change change;
        size_t key, spec, status;  /* SIZE_MAX: NULL */
};

struct event_log {
        char *bytes;
        uint64_t size, head;       /* head: bytes ever written */
        uint64_t *offsets;         /* of event n at n & (slots - 1) */
        uint64_t slots, first, last, epoch;
        bool told;
        void (*listener)(void *context);
        void *context;
        uint64_t dropped;
};

struct counters {
        uint64_t submitted, batches, answered, refused_store, refused_full, worker_messages, worker_unknown, worker_malformed, worker_quota, stale, acks, progress_dropped,
                log_bytes, log_dropped, log_cut, logs_swept, objects_swept, events_known, events_pushed, objects, object_bytes, wrong_digests, foreign, turns, operations, waits, resumed, lost_unlisted, queues_taken, queues_given, rows_told,
                node_reports, node_dropped, machine_reports, machine_dropped;
};

/* LEAVING: given up; what was accepted before becomes durable, then another server may claim it. */
enum queue_state { QUEUE_FOREIGN, QUEUE_LEAVING, QUEUE_OURS };

/* A lease of a queue that was given up: its worker is not told that it is lost, as it goes on elsewhere. */
struct moved_lease {
        UT_hash_handle by_id;
        struct id id;
        uint64_t until_ms;
};

struct queue {
        enum queue_state state;
        uint64_t epoch;
        char owner[256];
        uint64_t tasks;            /* unfinished */
};

struct jobs;

struct service {
        struct service_options options;
        struct core_settings core_settings;
        char *url, *folder, *server, *pin;
        struct core *core;
        struct accounts *accounts;
        struct writer *writer;
        struct jobs *reader, *files;
        uint64_t now_ns, now_ms;   /* monotonic, of the present turn or call */
        int64_t unix_ms;
        struct id last_id;
        uint8_t random[4096];
        size_t random_left;

        struct task *tasks;
        struct worker *workers, *node_line, *machine_line;
        struct vocabulary *vocabularies;
        struct bucket node_events;
        uint64_t node_bytes; /* of all reports that are kept */
        struct account_record *account_records;
        struct key_record *key_records;
        struct generate *generate;
        struct service_generate_calls generate_calls;
        void *generate_context;
        uint32_t sites;
        struct usage_row *usage;
        uint64_t usage_due_ms;             /* GENERATE_NEVER: nothing is left to be stored */
        uint64_t usage_counted, usage_stored, usage_batch; /* requests counted and not stored yet; stored with that batch */
        bool generate_draining;
        struct service_worker *connections;
        struct answer_entry *answers;
        struct feed_source *sources;
        struct upload *uploads;
        struct object_use *object_uses;
        struct service_wait *waits;
        uint64_t waits_due_ms;
        uint64_t task_bytes;

        struct pending_change *pending;
        size_t pending_count, pending_size;
        struct strbuf texts;
        uint64_t batch;            /* the number that the pending batch will have */
        struct operations operations, immediate;
        struct writer_state writer_state;
        uint64_t durable;          /* as of the writer's present life */
        bool wake_wanted, turning, closing, overrun;

        struct event_log events;
        struct queue queues[STORE_QUEUES];
        uint64_t queues_due_ms, sweep_due_ms, logs_due_ms, objects_due_ms;
        int64_t sweep_unix_ms;
        uint64_t refused;          /* number of a batch that the store refused; set by the writer's thread */
        bool queues_busy, sweeping, sweeping_objects, reopening, reopen_busy, shared, taken_away;
        struct spread spread;
        struct store_survey survey; /* as last looked at */
        uint64_t changes;           /* cursor of store_changed */
        struct moved_lease *moved;
        char secrets_mark[65];      /* of our secrets: all servers of a store have the same */
        int look_error;             /* of the last look, so that it is told once */
        unsigned int backups;
        struct counters counters;
        struct figures *figures;
        uint64_t figures_due_ms;
        struct strbuf scratch, line;
        uint64_t started_ns;
        char store_text[256], store_kind[32];
};

/* service.c */
void service_time(struct service *s);
void service_random(struct service *s, void *bytes, size_t count);
struct id service_new_id(struct service *s);
void service_want_turn(struct service *s);
uint32_t service_queue_of(const struct id *account);
struct account_record *service_account_record(struct service *s, const struct id *account);
/* Weight and caps of who asks, told to the core when they changed. */
int service_caller_limits(struct service *s, const struct account_caller *caller, struct account_record **ret_record);
/* 0, or the error for which new work is refused. */
int service_store_error(const struct service *s);

/* pending.c: the batch being gathered and what waits for it */
int pending_put(struct service *s, const struct store_change *change);
void pending_put_task(struct service *s, struct task *task);
void pending_flush(struct service *s);
/* The batch that anything known now will be durable with: the pending one, or the last. */
uint64_t pending_number(const struct service *s);
struct operation *operation_add(struct service *s, enum operation_kind kind);
/* Of no batch: carried out at the next turn. */
struct operation *operation_now(struct service *s, enum operation_kind kind);
void operations_run(struct service *s, uint64_t durable);
/* Ends everything that waits for a batch that will never be: 503. */
void operations_fail(struct service *s, int error);
/* Answers at the next turn. detail may be NULL and is copied. body's reference is taken over. */
void answer_problem(struct service *s, service_done_fn done, void *context, int status, const char *code, const char *detail, json_t *body);
void answer_error(struct service *s, service_done_fn done, void *context, int error);
/* text is taken over. */
void answer_text(struct service *s, service_done_fn done, void *context, int status, char *text, size_t bytes, uint64_t version);
void answer_when_durable(struct service *s, service_done_fn done, void *context, int status, char *text, size_t bytes, const char *location);
const char *status_title(int status);
void answer_file_error(struct service *s, service_file_fn done, void *context, int error);

/* act.c */
void act_drain(struct service *s);
void act_operation(struct service *s, struct operation *operation);
void act_waits_due(struct service *s);

/* task.c */
struct task *task_find(struct service *s, const struct id *id);
struct task *task_new(struct service *s, const struct id *id, const struct id *account, struct strbuf *head, size_t brief, struct strbuf *payload);
void task_free(struct service *s, struct task *task);
void task_release(struct service *s, struct task *task);
void task_blamed_by(struct task *task, const struct id *worker);
void task_lease_link(struct task *task, struct worker *worker);
void task_lease_unlink(struct task *task);
bool task_readable(const struct account_caller *caller, const struct id *account);
bool task_changeable(const struct account_caller *caller, const struct id *account);
/* Members of the view without braces, `full` with result. */
void task_status_members(struct strbuf *b, const struct task *task, const struct task_status *status, bool full);
void task_spec_text(struct strbuf *b, const struct task *task);
void task_status_text(struct strbuf *b, const struct task *task);
void task_view(struct strbuf *b, const struct task *task, const struct task_status *status, bool full);
/* The same out of a row. */
int task_row_view(struct strbuf *b, const struct store_row *row, bool full);
int task_row_restore(struct service *s, const struct store_row *row);
const char *task_state_name(uint32_t state);
int task_state_parse(const char *name, uint32_t *ret_state);
const char *task_reason_name(uint32_t reason);
static inline bool task_state_ended(uint32_t state)
{
        return state >= CORE_DONE;
}

/* spec.c: what was submitted, read and checked */
struct submission {
        struct core_needs needs;
        uint32_t band, attempts;
        int64_t deadline, not_before; /* unix ms; UNIX_NEVER, 0 */
        uint64_t cost;
        struct id after[AFTER_TASKS];
        uint32_t after_count;
        bool wait_for_workers;
        struct id key; /* by which it came, set before reading; all zero: none */
        struct id account; /* whose it is to be; set before reading, but for rows */
        const struct strbuf *given; /* the payload, when it is not in the body; set before reading */
        struct strbuf head, payload;
        size_t brief;
};
void submission_done(struct submission *submission);
/* Reads one task of a body. earlier: ids of the same call that "#N" may name. 0, or -EINVAL with violations added to the array. */
int submission_read(struct service *s, const json_t *body, const char *path, const struct id *earlier, size_t earlier_count, json_t *violations,
                    struct submission *submission);
void violation_add(json_t *violations, const char *path, const char *format, ...) __attribute__((format(printf, 3, 4)));
int band_parse(const char *name, uint32_t *ret_band);
extern const char *const band_names[CORE_BANDS];
uint32_t type_kind(const char *type);
json_t *refusal_json(const struct core_refusal *refusal);
uint64_t deadline_on_core(const struct service *s, int64_t unix_ms);

/* worker.c, worker-messages.c */
void worker_event(struct service *s, const struct worker *worker, const char *state);
struct worker *worker_find(struct service *s, const struct id *id);
void worker_free(struct service *s, struct worker *worker);
/* Without its last "}": more may follow. */
void worker_view_open(struct strbuf *b, struct service *s, const struct worker *worker);
void worker_view(struct strbuf *b, struct service *s, const struct worker *worker);
int worker_row_restore(struct service *s, const struct store_row *row);
/* Another server changed it. */
void worker_row_changed(struct service *s, const struct store_row *row);
const char *worker_state_name(const struct worker *worker);
void connection_release(struct service_worker *connection);
void connection_send(struct service_worker *connection, const struct strbuf *text);
void connection_end(struct service_worker *connection, const char *code, const char *text);
int connection_message(struct service_worker *connection, const json_t *message);
/* hello is complete and the worker's row, if there is one, was looked up. */
int worker_join(struct service_worker *connection, const json_t *hello, struct worker *worker);
int worker_spec_check(const json_t *abilities, char reason[160]);
int worker_to_core(struct service *s, struct worker *worker, bool join);
void worker_lease_text(struct service *s, struct strbuf *b, const struct task *task, uint64_t nonce);
void workers_free(struct service *s);
void worker_drain(struct service *s, struct worker *worker, bool on);
void worker_remove(struct service *s, struct worker *worker);

bool worker_readable(const struct account_caller *caller, const struct worker *worker);

/* nodes.c */
int on_node(struct service_worker *connection, const json_t *m);
/* Events that are due; when it wants to be called next, of now_ms. */
uint64_t nodes_turn(struct service *s);
void nodes_forget(struct service *s, struct worker *worker);
/* How often workers may tell. */
uint64_t nodes_every_ms(const struct service *s);
/* The member "node" of a worker in a snapshot, as long as there is room. */
void nodes_put(struct strbuf *b, const struct worker *worker, size_t *room, unsigned int *left_out);
size_t nodes_snapshot_room(void);

/* machines.c */
int on_machine(struct service_worker *connection, const json_t *m);
void machines_forget(struct service *s, struct worker *worker);
/* Forgets what is old; when it wants to be called next, of now_ms. */
uint64_t machines_turn(struct service *s);

/* Takes amount out of what came in at per_s since the last time, up to burst; false: there is less. */
bool bucket_take(struct bucket *bucket, uint64_t now_ns, uint64_t per_s, uint64_t burst, uint64_t amount);

/* Members of a message. Absent (0), right (1), or of a wrong kind (negative, and the connection ended). */
int message_malformed(struct service_worker *c, const char *text);
int message_text_of(struct service_worker *c, const json_t *m, const char *name, size_t most, const char **ret);
int message_integer_of(struct service_worker *c, const json_t *m, const char *name, int64_t low, int64_t high, int64_t *ret);
/* The lease that a message is about: 1 and its task; 0 when it is not this worker's; or the connection ended. */
int message_lease_of(struct service_worker *c, const json_t *m, struct id *id, uint64_t *nonce, struct task **ret_task);
int message_not_its_lease(struct service_worker *c, const struct id *id, uint64_t nonce, const struct task *task);
void message_tell_lease(struct service *s, struct service_worker *c, enum operation_kind kind, const struct id *task, uint64_t nonce);
void message_stale(struct service_worker *c, const struct id *task, uint64_t nonce);
#define RUNNING_LEASES 8192
/* The usual result, {"m":"result","task":…,"nonce":…,"result":…,"ready":true} of a lease that is the worker's, without a tree. -EAGAIN: not that, and nothing was done. */
int on_plain_result(struct service_worker *c, const char *text, size_t bytes);
int on_result(struct service_worker *c, const json_t *m);
int on_fail(struct service_worker *c, const json_t *m);
int on_decline(struct service_worker *c, const json_t *m);
int on_renew(struct service_worker *c, const json_t *m);

/* engines.c, engines-view.c */
#define ENGINE_TASKS 3
extern const char *const engine_state_names[GENERATE_AWAY + 1], *const engine_task_names[ENGINE_TASKS];
int engines_open(struct service *s);
/* "engines" of a hello or change. */
int engines_check(const json_t *m, char reason[160]);
void engines_take(struct service *s, struct worker *worker, const json_t *m);
void engines_away(struct service *s, struct worker *worker);
void engines_gone(struct service *s, struct worker *worker);
/* A person wants it started, or let go. */
void engine_want(struct served *engine, bool ready);
/* Carries out what generate decided. */
void engines_drain(struct service *s);

/* They are seen otherwise: what generate knows of them is told anew. */
void engines_again(struct service *s, struct worker *worker);

/* tunnel.c */
void tunnel_secret(struct worker *worker);
bool engine_is_direct(const struct service *s, const struct served *engine);
enum generate_state engine_state_seen(const struct service *s, const struct served *engine);

/* usage.c: what became known since the last time goes to the store, when it is due or others go there; all: now. */
void usage_turn(struct service *s, bool all);
/* Requests whose usage is not durable yet. */
uint64_t usage_unsettled(const struct service *s);
void usage_free(struct service *s);

/* event.c */
int events_open(struct service *s);
void events_close(struct service *s);
/* data: JSON. */
void event_tell(struct service *s, const struct id *account, const struct id *task, const char *type, const char *data, size_t bytes);
void event_task_state(struct service *s, const struct task *task, const struct task_status *status);

/* feed.c, answers.c */
int feed_row_restore(struct service *s, const struct store_row *row);
void feed_free(struct service *s);
void answers_free(struct service *s);

/* log.c */
void log_write(struct service *s, struct task *task, uint64_t offset, const char *text, size_t bytes);
void log_path(const struct service *s, const struct id *account, const struct id *task, uint32_t attempt, char *path, size_t size);

/* object.c */
bool object_sha256_valid(const char *sha256);
/* Drops what is known of an upload that was given up. */
bool object_upload_forget(struct service *s, const char *name);
/* object-sweep.c. Used now: kept for that long from here on. */
void object_touch(const struct service *s, const char *sha256);
/* What a task's JSON names is used now; +1: and as long as it has not ended, until -1. */
void objects_named(struct service *s, const char *json, int change);
void objects_sweep(struct service *s);
void object_uses_free(struct service *s);
void object_row_id(const char *sha256, const struct id *account, struct id *ret);
int objects_open(struct service *s, char message[SERVICE_MESSAGE]);
void objects_free(struct service *s);
/* A row that lets the account read the object. */
int object_grant(struct service *s, const char *sha256, const struct id *account, uint64_t bytes);

/* queue.c */
int queues_open(struct service *s, struct store *store, char message[SERVICE_MESSAGE]);
void queues_turn(struct service *s);
int writer_open(struct service *s, struct store *store);

/* move.c */
/* Out of memory's decisions: the core knows nothing of these queues' tasks any more; leases among them are remembered as moved. */
void queues_forget(struct service *s, uint32_t queues);
/* Gives queues up: what was accepted becomes durable, then they are free. Does nothing while that can't be begun. */
void queues_give_up(struct service *s, uint32_t queues);
bool lease_moved(struct service *s, const struct id *task);
void lease_moved_back(struct service *s, const struct id *task);
void moved_sweep(struct service *s, bool all);

/* figures.c: once a second */
int figures_open(struct service *s);
void figures_close(struct service *s);
/* When it wants to be called next, of now_ms. */
uint64_t figures_turn(struct service *s);

/* about.c */
void service_counts(struct service *s, struct strbuf *b);

/* sweep.c: what is kept long enough goes. sweep_until: when the row of a task in this state may go, 0: never. */
int64_t sweep_until(const struct service *s, uint32_t state);
void sweep(struct service *s);

/* jobs.c: a thread for what would block the loop. run in the thread, finish on the loop in service_turn; run gets NULL while the store can't be opened. */
struct job {
        struct job *next;
        void (*run)(struct job *job, struct store *store);
        void (*finish)(struct service *s, struct job *job);
        int error;
};
int jobs_start(const char *name, const struct store_options *store, void (*wake)(void *context), void *context, struct jobs **ret_jobs);
/* -E_QUOTA: too many wait. */
int jobs_put(struct jobs *jobs, struct job *job);
/* Carries out finish of what is done; how many. */
size_t jobs_finish(struct service *s, struct jobs *jobs);
void jobs_stop(struct service *s, struct jobs *jobs);
