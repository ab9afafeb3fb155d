/* writer.c: the thread that commits; see writer.h. What is handed over waits in a list; the thread takes all of it up to the first call as one commit. */
#include "store/writer.h"

#include "base/clock.h"
#include "base/error.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define BACKOFF_FIRST_MS 20
#define BACKOFF_MAX_MS 2000
#define GATHER_FROM_NS NS_PER_MS       /* commits that take longer than this are worth gathering for */
#define GATHER_MAX_NS (2 * NS_PER_MS)
#define GROUP_MAX 4096 /* batches in one commit: bounds how long the first of them waits */

/* A batch with everything that it points to, in one piece of memory; or a call. */
struct entry {
        struct entry *next;
        uint64_t number;
        size_t bytes;
        struct store_batch batch;
        void (*fn)(void *context, struct store *store);
        void *context;
        struct store_change changes[];
};

struct writer {
        struct writer_options options;
        struct store *store;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t work;         /* the thread waits on it: for entries, for stop, between tries */
        struct entry *first, **last; /* under lock, as all below */
        bool idle, gathering, stopping;
        uint64_t rows_waiting;       /* handed over since the thread last took what there was */
        uint64_t rows_expected;      /* when the last commit ended: its own and those that waited by then */
        uint64_t usual_ns, ended_ns; /* how long commits take of late; when the last one ended */
        uint64_t give_up_ns;         /* when stopping: no try after this */
        uint64_t epochs[STORE_QUEUES];
        struct writer_state state;
        char problem[STORE_MESSAGE];
};

/* --- handing over --- */

static size_t text_bytes_of(const struct store_row *row)
{
        size_t n = row->text_key ? strlen(row->text_key) + 1 : 0;

        n += row->spec ? row->spec_bytes + 1 : 0;
        return n + (row->status ? row->status_bytes + 1 : 0);
}

static const char *keep(char **at, const char *text, size_t bytes)
{
        char *copy = *at;

        if (!text)
                return NULL;
        memcpy(copy, text, bytes);
        copy[bytes] = '\0';
        *at += bytes + 1;
        return copy;
}

static struct entry *entry_of(const struct store_batch *batch)
{
        size_t bytes = sizeof(struct entry) + batch->count * sizeof(struct store_change);
        struct entry *e;
        char *at;

        for (size_t i = 0; i < batch->count; i++)
                bytes += text_bytes_of(&batch->changes[i].row);
        e = malloc(bytes);
        if (!e)
                return NULL;
        *e = (struct entry){.bytes = bytes, .batch = {e->changes, batch->count}};
        if (batch->count)
                memcpy(e->changes, batch->changes, batch->count * sizeof(struct store_change));
        at = (char *)(e->changes + batch->count);
        for (size_t i = 0; i < batch->count; i++) {
                struct store_row *row = &e->changes[i].row;

                row->text_key = keep(&at, row->text_key, row->text_key ? strlen(row->text_key) : 0);
                row->spec = keep(&at, row->spec, row->spec_bytes);
                row->status = keep(&at, row->status, row->status_bytes);
        }
        return e;
}

static void hand_over(struct writer *w, struct entry *e, uint64_t *ret_number)
{
        e->number = ++w->state.put;
        e->next = NULL;
        *w->last = e;
        w->last = &e->next;
        w->state.waiting_bytes += e->bytes;
        w->rows_waiting += e->batch.count;
        *ret_number = e->number;
        if (w->idle || (w->gathering && w->rows_waiting >= w->rows_expected))
                pthread_cond_signal(&w->work);
}

int writer_put(struct writer *w, const struct store_batch *batch, uint64_t *ret_number)
{
        struct entry *e = entry_of(batch);
        int r = 0;

        if (!e)
                return -ENOMEM;
        pthread_mutex_lock(&w->lock);
        /* One that is larger than the bound by itself passes when nothing else waits. */
        if (w->state.waiting_bytes && w->state.waiting_bytes + e->bytes > w->options.max_bytes)
                r = -EAGAIN;
        else if (w->stopping)
                r = -ECANCELED;
        else
                hand_over(w, e, ret_number);
        pthread_mutex_unlock(&w->lock);
        if (r)
                free(e);
        return r;
}

int writer_call(struct writer *w, void (*fn)(void *context, struct store *store), void *context, uint64_t *ret_number)
{
        struct entry *e = calloc(1, sizeof(*e));
        int r = 0;

        if (!e)
                return -ENOMEM;
        e->fn = fn;
        e->context = context;
        e->bytes = sizeof(*e);
        pthread_mutex_lock(&w->lock);
        if (w->stopping)
                r = -ECANCELED;
        else
                hand_over(w, e, ret_number);
        pthread_mutex_unlock(&w->lock);
        if (r)
                free(e);
        return r;
}

void writer_get_state(struct writer *w, struct writer_state *ret_state)
{
        pthread_mutex_lock(&w->lock);
        *ret_state = w->state;
        pthread_mutex_unlock(&w->lock);
}

void writer_get_problem(struct writer *w, char message[STORE_MESSAGE])
{
        pthread_mutex_lock(&w->lock);
        memcpy(message, w->problem, STORE_MESSAGE);
        pthread_mutex_unlock(&w->lock);
}

void writer_set_epoch(struct writer *w, uint32_t queue, uint64_t epoch)
{
        pthread_mutex_lock(&w->lock);
        if (queue < STORE_QUEUES)
                w->epochs[queue] = epoch;
        pthread_mutex_unlock(&w->lock);
}

/* --- the thread --- */

static bool may_pass(int error)
{
        return error == -ENOSPC || error == -E_UNAVAILABLE || error == -EIO || error == -ENOMEM;
}

static bool is_the_batch(int error)
{
        return error == -EINVAL || error == -E2BIG || error == -ENOENT || error == -EEXIST;
}

static void wake(struct writer *w)
{
        if (w->options.wake)
                w->options.wake(w->options.context);
}

static struct timespec timespec_of(uint64_t ns)
{
        return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
}

/* One try, and what it cost. */
static int try_commit(struct writer *w, const struct store_batch *batches, size_t count)
{
        uint64_t epochs[STORE_QUEUES], began, took, rows = 0;
        bool changed;
        int r, shown;

        pthread_mutex_lock(&w->lock);
        memcpy(epochs, w->epochs, sizeof(epochs));
        pthread_mutex_unlock(&w->lock);
        began = clock_now_ns();
        r = store_commit(w->store, epochs, batches, count);
        took = clock_now_ns() - began;
        for (size_t i = 0; i < count; i++)
                rows += batches[i].count;
        pthread_mutex_lock(&w->lock);
        w->usual_ns = (7 * w->usual_ns + took) / 8;
        if (!r) {
                w->state.commits++;
                w->state.rows += rows;
                w->state.commit_ns_last = took;
                w->state.commit_ns_sum += took;
                if (took > w->state.commit_ns_max)
                        w->state.commit_ns_max = took;
        }
        shown = is_the_batch(r) ? 0 : r; /* the store is well if only a batch is not */
        changed = w->state.error != shown;
        w->state.error = shown;
        w->state.final = shown && !may_pass(shown);
        w->state.failures += shown != 0;
        snprintf(w->problem, sizeof(w->problem), "%s", !shown ? "" : *store_problem(w->store) ? store_problem(w->store) : error_text(shown));
        pthread_mutex_unlock(&w->lock);
        if (changed && shown)
                wake(w);
        return r;
}

/* Until it is in, or never will be. */
static int commit(struct writer *w, const struct store_batch *batches, size_t count)
{
        uint64_t wait_ms = BACKOFF_FIRST_MS;

        for (;;) {
                int r = try_commit(w, batches, count);
                uint64_t until = clock_now_ns() + wait_ms * NS_PER_MS;
                bool over = false;

                if (!may_pass(r))
                        return r;
                pthread_mutex_lock(&w->lock);
                while (!over && clock_now_ns() < until) {
                        uint64_t end = w->stopping && w->give_up_ns < until ? w->give_up_ns : until;
                        struct timespec at = timespec_of(end);

                        over = w->stopping && clock_now_ns() >= w->give_up_ns;
                        if (!over)
                                pthread_cond_timedwait(&w->work, &w->lock, &at);
                }
                over = w->stopping && clock_now_ns() >= w->give_up_ns;
                pthread_mutex_unlock(&w->lock);
                if (over)
                        return r;
                wait_ms = wait_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : wait_ms * 2;
        }
}

static void refuse(struct writer *w, uint64_t number, int error)
{
        pthread_mutex_lock(&w->lock);
        w->state.refused++;
        pthread_mutex_unlock(&w->lock);
        if (w->options.refused)
                w->options.refused(w->options.context, number, error);
}

/* A group of which one batch can't be: each by itself, so that only that one is refused. */
static int commit_one_by_one(struct writer *w, const struct store_batch *batches, size_t count, uint64_t first)
{
        for (size_t i = 0; i < count; i++) {
                int r = commit(w, &batches[i], 1);

                if (is_the_batch(r))
                        refuse(w, first + i, r);
                else if (r)
                        return r;
                pthread_mutex_lock(&w->lock);
                w->state.durable = first + i;
                pthread_mutex_unlock(&w->lock);
        }
        return 0;
}

/* Commits the entries from `first`, a batch, up to a call or the bound; returns what follows them. */
static struct entry *commit_group(struct writer *w, struct entry *first, int *ret_error)
{
        static const size_t max = GROUP_MAX;
        struct store_batch batches[GROUP_MAX];
        uint64_t number = first->number, bytes = 0;
        struct entry *e = first;
        size_t count = 0, rows = 0;
        int r;

        do {
                batches[count++] = e->batch;
                bytes += e->bytes;
                rows += e->batch.count;
                e = e->next;
        } while (e && !e->fn && count < max);
        r = commit(w, batches, count);
        if (is_the_batch(r))
                r = commit_one_by_one(w, batches, count, number);
        *ret_error = r;
        if (r)
                return first;
        pthread_mutex_lock(&w->lock);
        w->state.durable = number + count - 1;
        w->state.waiting_bytes -= bytes;
        w->rows_expected = rows + w->rows_waiting;
        w->ended_ns = clock_now_ns();
        pthread_mutex_unlock(&w->lock);
        wake(w);
        while (first != e) {
                struct entry *next = first->next;

                free(first);
                first = next;
        }
        return e;
}

static struct entry *run_call(struct writer *w, struct entry *e)
{
        struct entry *next = e->next;

        e->fn(e->context, w->store);
        pthread_mutex_lock(&w->lock);
        if (!w->state.final)
                w->state.durable = e->number;
        w->state.waiting_bytes -= e->bytes;
        pthread_mutex_unlock(&w->lock);
        free(e);
        wake(w);
        return next;
}

/* After a final error: calls still run (somebody waits for them), batches stay what they are, not durable. */
static void drop_batches(struct writer *w, struct entry *e)
{
        while (e) {
                struct entry *next = e->next;

                if (e->fn)
                        e->fn(e->context, w->store);
                pthread_mutex_lock(&w->lock);
                w->state.waiting_bytes -= e->bytes;
                pthread_mutex_unlock(&w->lock);
                free(e);
                e = next;
        }
        wake(w);
}

/* On a slow disk. Right after a commit those that were answered are on their way back with the next; to go without them makes two groups that take turns,
 * each waiting for the other's commit. So they are waited for, at most half as long as a commit takes, and only while they come. On a fast disk
 * the next commit is over before they are here: nobody waits.
 */
static void gather(struct writer *w)
{
        uint64_t patience = w->usual_ns / 2 < GATHER_MAX_NS ? w->usual_ns / 2 : GATHER_MAX_NS, end = w->ended_ns + patience;

        if (w->usual_ns < GATHER_FROM_NS)
                return;
        w->gathering = true;
        while (!w->stopping && w->rows_waiting < w->rows_expected) {
                uint64_t put = w->state.put, until = clock_now_ns() + patience / 4;
                struct timespec at = timespec_of(until < end ? until : end);

                if (until - patience / 4 >= end || (pthread_cond_timedwait(&w->work, &w->lock, &at) == ETIMEDOUT && w->state.put == put))
                        break;
        }
        w->gathering = false;
}

/* Everything that waits, or NULL: stop. Company: waits max_wait_us more for it. */
static struct entry *take_all(struct writer *w)
{
        struct entry *all;

        pthread_mutex_lock(&w->lock);
        w->idle = true;
        while (!w->first && !w->stopping)
                pthread_cond_wait(&w->work, &w->lock);
        w->idle = false;
        if (w->first && !w->first->fn)
                gather(w);
        if (w->options.max_wait_us && !w->stopping) {
                struct timespec at = timespec_of(clock_now_ns() + w->options.max_wait_us * NS_PER_US);

                while (!w->stopping && pthread_cond_timedwait(&w->work, &w->lock, &at) != ETIMEDOUT)
                        ;
        }
        all = w->first;
        w->first = NULL;
        w->last = &w->first;
        w->rows_waiting = 0;
        pthread_mutex_unlock(&w->lock);
        return all;
}

static void *run(void *context)
{
        struct writer *w = context;
        struct entry *e;
        int r = 0;

        while ((e = take_all(w))) {
                while (e && !r)
                        e = e->fn ? run_call(w, e) : commit_group(w, e, &r);
                if (r)
                        drop_batches(w, e);
        }
        return NULL;
}

/* --- start and stop --- */

int writer_start(const struct writer_options *options, struct writer **ret_writer)
{
        struct writer *w = calloc(1, sizeof(*w));
        pthread_condattr_t monotonic;
        int r;

        if (!w)
                return -ENOMEM;
        w->options = *options;
        w->store = options->store;
        w->last = &w->first;
        pthread_mutex_init(&w->lock, NULL);
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&w->work, &monotonic);
        pthread_condattr_destroy(&monotonic);
        r = pthread_create(&w->thread, NULL, run, w);
        if (r) {
                pthread_cond_destroy(&w->work);
                pthread_mutex_destroy(&w->lock);
                free(w);
                return -r;
        }
        *ret_writer = w;
        return 0;
}

uint64_t writer_stop(struct writer *w, uint64_t patience_ms)
{
        uint64_t durable;

        if (!w)
                return 0;
        pthread_mutex_lock(&w->lock);
        w->stopping = true;
        w->give_up_ns = clock_now_ns() + patience_ms * NS_PER_MS;
        pthread_cond_signal(&w->work);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
        durable = w->state.durable;
        store_close(w->store);
        pthread_cond_destroy(&w->work);
        pthread_mutex_destroy(&w->lock);
        free(w);
        return durable;
}
