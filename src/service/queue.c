/* queue.c: which queues are ours. At the start, and twice a second, this server looks who shares the store and which queues are free (spread.h decides which to claim and
 * which to give up), takes in the unfinished tasks of what it claimed, and what the others changed of accounts, keys, sessions and workers. What was taken from
 * us, or a store that is beyond help, ends this life of the service: all that is in memory is forgotten, who waits for an answer is told to ask again, workers
 * are sent to connect anew, and the store is opened from scratch. */
#include "base/error.h"
#include "base/log.h"
#include "service/internal.h"

#include <stdio.h>

#define LOG_ROOM "service"
#define LOOK_MS 500
#define SWEEP_MS 60000

struct row_copy {
        struct row_copy *next;
        struct store_row row;
        char text[];
};

/* Made in the thread that has the store, used on the loop's. */
struct claim {
        struct job job; /* when a job does it */
        struct service *service;
        struct store *store;
        char *url, *server, *pin, message[STORE_MESSAGE];
        uint32_t ours, got;
        bool first, whole;    /* whole: what the others changed is read whole */
        int error;
        uint64_t changes, now_ms, tasks[STORE_QUEUES];
        uint64_t epochs[STORE_QUEUES];
        struct store_survey survey;
        struct spread spread;
        struct spread_decision decision;
        struct row_copy *rows, **last;
        unsigned int told;
};

static const char *copy_text(char **at, const char *text, size_t bytes)
{
        char *copy = *at;

        if (!text)
                return NULL;
        memcpy(copy, text, bytes);
        copy[bytes] = '\0';
        *at += bytes + 1;
        return copy;
}

static int keep_row(void *context, const struct store_row *row)
{
        struct claim *claim = context;
        size_t key = row->text_key ? strlen(row->text_key) : 0;
        struct row_copy *copy = malloc(sizeof(*copy) + key + row->spec_bytes + row->status_bytes + 3);
        char *at;

        if (!copy)
                return -ENOMEM;
        at = copy->text;
        copy->next = NULL;
        copy->row = *row;
        copy->row.text_key = copy_text(&at, row->text_key, key);
        copy->row.spec = copy_text(&at, row->spec, row->spec_bytes);
        copy->row.status = copy_text(&at, row->status, row->status_bytes);
        *claim->last = copy;
        claim->last = &copy->next;
        return 0;
}

static int keep_table(struct claim *claim, enum store_table table, const uint32_t *states, size_t state_count, uint32_t queues)
{
        return store_list(claim->store, &(struct store_query){.table = table, .kind = -1, .states = states, .state_count = state_count, .queues = queues}, keep_row,
                          claim);
}

static int keep_changed(void *context, const struct store_row *row)
{
        struct claim *claim = context;

        claim->told++;
        return keep_row(context, row);
}

/* The free ones that are for us. When something can't be read after that, they are free again. */
static int claim_free(struct claim *claim)
{
        char owner[256];
        int r = 0;

        for (unsigned int i = 0; i < STORE_QUEUES && !r; i++) {
                if (!(claim->decision.claim & 1u << i))
                        continue;
                r = store_claim(claim->store, i, &claim->epochs[i], owner);
                if (!r)
                        claim->got |= 1u << i;
                else if (r == -EBUSY) /* somebody was faster */
                        snprintf(claim->survey.queues[i].owner, sizeof(claim->survey.queues[i].owner), "%s", owner);
                r = r == -EBUSY ? 0 : r;
        }
        return r;
}

static void claim_run(struct claim *claim)
{
        static const uint32_t unfinished[] = {CORE_HELD, CORE_QUEUED, CORE_LEASED, CORE_BACKOFF};
        static const enum store_table changing[] = {STORE_ACCOUNT, STORE_KEY, STORE_SESSION, STORE_SETTING, STORE_WORKER};
        int r;

        claim->last = &claim->rows;
        r = claim->first ? 0 : store_owned(claim->store);
        if (!r)
                r = store_survey(claim->store, &claim->survey);
        if (!r) {
                spread_decide(&claim->spread, &claim->survey, claim->server ? claim->server : "", claim->ours, claim->tasks, claim->now_ms, &claim->decision);
                r = claim_free(claim);
        }
        if (!r)
                r = store_changed(claim->store, &claim->changes, keep_changed, claim);
        if (r == -ERANGE) {
                claim->whole = true;
                r = 0;
        }
        for (size_t i = 0; i < ARRAY_SIZE(changing) && !r; i++)
                if (claim->whole || (changing[i] == STORE_WORKER && claim->got))
                        r = keep_table(claim, changing[i], NULL, 0, 0);
        if (!r && (claim->first || claim->got))
                r = keep_table(claim, STORE_FEED, NULL, 0, 0);
        if (!r && claim->got)
                r = keep_table(claim, STORE_TASK, unfinished, ARRAY_SIZE(unfinished), claim->got);
        for (unsigned int i = 0; i < STORE_QUEUES && r; i++)
                if (claim->got & 1u << i)
                        (void)!store_release(claim->store, i); /* if not, it goes with its connection */
        claim->got = r ? 0 : claim->got;
        claim->error = r;
        if (r)
                snprintf(claim->message, sizeof(claim->message), "%s", store_problem(claim->store));
}

static int restore(struct service *s, const struct store_row *row)
{
        switch (row->table) {
        case STORE_TASK:
                return task_row_restore(s, row);
        case STORE_WORKER:
                if (worker_find(s, &row->id) || !row->spec)
                        worker_row_changed(s, row);
                else
                        return worker_row_restore(s, row);
                return 0;
        case STORE_FEED:
                return feed_row_restore(s, row);
        case STORE_ACCOUNT:
        case STORE_KEY:
        case STORE_SESSION:
        case STORE_SETTING:
                return row->spec ? accounts_load(s->accounts, row) : 0; /* gone: it had ended before */
        case STORE_AUDIT:
        case STORE_ANSWER:
        case STORE_OBJECT:
        case STORE_USAGE:
        case STORE_TABLES:
                break;
        }
        return 0;
}

/* A lease that its worker, connected here already, did not show us when it came: it is asked to come again, and to say what it runs. */
static void ask_worker(struct service *s, const struct id *id)
{
        struct task *task = task_find(s, id);
        struct worker *worker = task && task->now.state == CORE_LEASED ? worker_find(s, &task->now.worker) : NULL;

        lease_moved_back(s, id);
        if (worker && worker->connection)
                connection_end(worker->connection, "pool.moved", "a task that you run is this server's now: connect anew");
}

static void free_rows(struct claim *claim)
{
        for (struct row_copy *copy = claim->rows, *next; copy; copy = next) {
                next = copy->next;
                free(copy);
        }
        claim->rows = NULL;
}

static void note_owners(struct service *s, const struct claim *claim, bool good)
{
        for (unsigned int i = 0; i < STORE_QUEUES; i++) {
                struct queue *queue = &s->queues[i];

                if (claim->got & 1u << i && good) {
                        queue->state = QUEUE_OURS;
                        queue->epoch = claim->epochs[i];
                        snprintf(queue->owner, sizeof(queue->owner), "%s", s->server ? s->server : "");
                        if (s->writer)
                                writer_set_epoch(s->writer, i, queue->epoch);
                        s->counters.queues_taken++;
                } else if (queue->state == QUEUE_FOREIGN) {
                        snprintf(queue->owner, sizeof(queue->owner), "%s", claim->survey.queues[i].claimed ? claim->survey.queues[i].owner : "");
                        if (s->server && !strcmp(queue->owner, s->server))
                                queue->owner[0] = '\0'; /* who can't be asked by asking us */
                }
        }
}

/* What was claimed becomes ours. -EBADMSG: a row that can't be read, named in message. */
static int claim_take(struct service *s, struct claim *claim, char message[SERVICE_MESSAGE])
{
        unsigned int tasks = 0;
        int result = claim->error;
        char text[ID_TEXT];

        for (struct row_copy *copy = claim->rows; copy && !result; copy = copy->next) {
                int r = restore(s, &copy->row);

                tasks += copy->row.table == STORE_TASK;
                if (copy->row.table == STORE_TASK && memcmp(&copy->row.id, &s->last_id, sizeof(s->last_id)) > 0)
                        s->last_id = copy->row.id;
                if (r < 0) {
                        snprintf(message, SERVICE_MESSAGE, "row %s of table %s can't be taken in: %s", id_text("id", &copy->row.id, text),
                                 store_table_name(copy->row.table), error_text(r));
                        result = r;
                }
        }
        for (struct row_copy *copy = claim->rows; copy && !result && !claim->first; copy = copy->next)
                if (copy->row.table == STORE_TASK)
                        ask_worker(s, &copy->row.id);
        if (claim->error) {
                free_rows(claim);
                return result;
        }
        note_owners(s, claim, !result);
        s->survey = claim->survey;
        s->spread = claim->spread;
        s->counters.rows_told += claim->told;
        if (!result)
                s->changes = claim->changes;
        if (claim->got && !result)
                log_info("%d of %d queues are claimed, %u unfinished tasks taken in", __builtin_popcount(claim->got), STORE_QUEUES, tasks);
        if (claim->got && result && s->writer)
                queues_give_up(s, claim->got);
        free_rows(claim);
        act_drain(s);
        return result;
}

static struct claim *claim_new(struct service *s)
{
        struct claim *claim = calloc(1, sizeof(*claim));

        if (!claim)
                return NULL;
        claim->service = s;
        claim->url = s->url;
        claim->server = s->server;
        claim->pin = s->pin;
        claim->now_ms = s->now_ms + 1;
        claim->changes = s->changes;
        claim->spread = s->spread;
        for (unsigned int i = 0; i < STORE_QUEUES; i++) {
                claim->ours |= s->queues[i].state == QUEUE_OURS ? 1u << i : 0;
                claim->tasks[i] = s->queues[i].tasks;
        }
        return claim;
}

int queues_open(struct service *s, struct store *store, char message[SERVICE_MESSAGE])
{
        struct claim *claim scoped_free = claim_new(s);

        if (!claim)
                return -ENOMEM;
        claim->store = store;
        claim->first = true;
        claim_run(claim);
        if (claim->error < 0)
                snprintf(message, SERVICE_MESSAGE, "the store can't be read: %.400s", claim->message);
        return claim_take(s, claim, message);
}

/* Again and again, in the writer's thread: the claims live on its connection. */

static void claim_call(void *context, struct store *store)
{
        struct claim *claim = context;

        claim->store = store;
        claim_run(claim);
}

static void claim_done(struct service *s, void *context, int error)
{
        struct claim *claim = context;
        char message[SERVICE_MESSAGE] = "";
        int r;

        s->queues_busy = false;
        if (error) {
                free_rows(claim); /* this writer is gone, and the claim with it */
                free(claim);
                return;
        }
        r = claim_take(s, claim, message);
        if (r < 0 && r != s->look_error)
                log_error("the store was not looked through for what others did: %s", message[0] ? message : claim->message[0] ? claim->message : error_text(r));
        s->look_error = r;
        if (r == -ESTALE) /* another server took a queue while our connection was away */
                s->taken_away = true;
        if (!r && claim->decision.release)
                queues_give_up(s, claim->decision.release & claim->ours);
        free(claim);
}

static void look(struct service *s)
{
        struct claim *claim;
        struct operation *op;
        uint64_t number;

        pending_flush(s);
        if (s->queues_busy || s->pending_count)
                return;
        claim = claim_new(s);
        if (!claim)
                return;
        if (writer_call(s->writer, claim_call, claim, &number) < 0) {
                free(claim);
                return;
        }
        s->batch = number + 1;
        s->queues_busy = true;
        op = operation_add(s, OPERATION_CALL);
        op->call = claim_done;
        op->context = claim;
}

/* A new life. */

static void forget_all(struct service *s, int error)
{
        struct task *task, *next;

        for (unsigned int i = 0; i < STORE_QUEUES; i++) {
                s->queues[i].state = QUEUE_FOREIGN;
                s->queues[i].owner[0] = '\0';
        }
        while (s->connections && s->connections->state != CONNECTION_ENDED)
                connection_end(s->connections, "pool.moved", "another server may have your tasks now: connect anew");
        for (struct service_worker *c = s->connections, *after; c; c = after) {
                after = c->next;
                connection_end(c, "pool.moved", "another server may have your tasks now: connect anew");
        }
        act_drain(s);
        operations_fail(s, error);
        s->pending_count = 0;
        strbuf_clear(&s->texts);
        queues_forget(s, UINT32_MAX);
        moved_sweep(s, true); /* these are lost, not moved */
        act_drain(s);
        HASH_ITER(by_id, s->tasks, task, next) {
                while (task->waits) {
                        struct service_wait *wait = task->waits;
                        service_done_fn done = wait->done;
                        void *context = wait->context;

                        answer_error(s, done, context, error);
                        service_wait_cancel(wait);
                }
                task_free(s, task);
        }
}

static void reopen_run(struct job *job, struct store *none)
{
        struct claim *claim = (struct claim *)(void *)((char *)job - offsetof(struct claim, job));

        job->error = store_open(&(struct store_options){.url = claim->url, .server = claim->server, .pin = claim->pin}, &claim->store, claim->message);
        if (!job->error) {
                claim_run(claim);
                job->error = claim->error;
        }
}

static void writer_refused(void *context, uint64_t number, int error)
{
        struct service *s = context;

        /* In the writer's thread. A batch of ours that the store can't take at all is a fault here: what is in memory can't be trusted any more. */
        log_error("the store refused a batch: %s; everything is read from it anew", error_text(error));
        __atomic_store_n(&s->refused, number, __ATOMIC_RELEASE);
}

static void writer_wake(void *context)
{
        const struct service *s = context;

        s->options.wake(s->options.context);
}

int writer_open(struct service *s, struct store *store)
{
        int r = writer_start(&(struct writer_options){.store = store, .wake = writer_wake, .context = s, .max_bytes = 256u << 20,
                                                      .refused = writer_refused},
                             &s->writer);

        if (r < 0)
                return r;
        for (unsigned int i = 0; i < STORE_QUEUES; i++)
                if (s->queues[i].state == QUEUE_OURS)
                        writer_set_epoch(s->writer, i, s->queues[i].epoch);
        s->batch = 1;
        s->durable = 0;
        return 0;
}

static void reopen(struct service *s);

static void reopen_finish(struct service *s, struct job *job)
{
        struct claim *claim = (struct claim *)(void *)((char *)job - offsetof(struct claim, job));
        char message[SERVICE_MESSAGE] = "";
        int r = job->error;

        if (!r)
                r = claim_take(s, claim, message);
        else
                free_rows(claim);
        if (!r)
                r = writer_open(s, take(claim->store));
        if (r < 0) {
                log_error("the store can't be opened again: %s", claim->message[0] ? claim->message : message[0] ? message : error_text(r));
                forget_all(s, -ESTALE);
                if (claim->store)
                        store_close(claim->store);
                s->queues_due_ms = s->now_ms + LOOK_MS;
        } else {
                s->reopening = false;
                log_notice("the store is back");
        }
        s->reopen_busy = false;
        free(claim);
}

static void reopen(struct service *s)
{
        struct claim *claim = claim_new(s);

        if (!claim)
                return;
        claim->job = (struct job){.run = reopen_run, .finish = reopen_finish};
        claim->changes = 0; /* everything anew */
        if (jobs_put(s->files, &claim->job) < 0) {
                free(claim);
                return;
        }
        s->reopen_busy = true;
}

void queues_turn(struct service *s)
{
        if (!s->reopening && (s->taken_away || s->writer_state.final || __atomic_load_n(&s->refused, __ATOMIC_ACQUIRE))) {
                log_error("what is in memory is no longer what the store holds (%s): starting anew from the store",
                          s->writer_state.error ? error_text(s->writer_state.error) : "a refused batch");
                s->reopening = true;
                s->taken_away = false;
                forget_all(s, -ESTALE);
                writer_stop(take(s->writer), 0);
                memset(&s->writer_state, 0, sizeof(s->writer_state));
                s->batch = 1;
                s->durable = 0;
                __atomic_store_n(&s->refused, 0, __ATOMIC_RELEASE);
                s->queues_busy = s->sweeping = false;
                s->queues_due_ms = s->now_ms;
        }
        if (s->reopening) {
                if (!s->reopen_busy && s->now_ms >= s->queues_due_ms)
                        reopen(s);
                return;
        }
        if (s->shared && s->now_ms >= s->queues_due_ms) {
                s->queues_due_ms = s->now_ms + LOOK_MS;
                look(s);
        }
        if (s->now_ms >= s->sweep_due_ms) {
                s->sweep_due_ms = s->now_ms + SWEEP_MS;
                sweep(s);
                moved_sweep(s, false);
        }
}

bool service_is_partial(const struct service *s)
{
        for (unsigned int i = 0; i < STORE_QUEUES; i++)
                if (s->queues[i].state != QUEUE_OURS)
                        return true;
        return false;
}

const char *service_server_pin(const struct service *s, const char *address)
{
        for (size_t i = 0; i < s->survey.server_count; i++)
                if (!strcmp(s->survey.servers[i].address, address))
                        return s->survey.servers[i].pin;
        return "";
}

int service_owner(struct service *s, const struct id *account, char address[256])
{
        const struct queue *queue = &s->queues[service_queue_of(account)];

        address[0] = '\0';
        if (queue->state == QUEUE_OURS)
                return 0;
        if (!queue->owner[0])
                return -E_UNAVAILABLE;
        snprintf(address, 256, "%s", queue->owner);
        return -EAGAIN;
}
