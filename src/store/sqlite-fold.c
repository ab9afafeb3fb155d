/* sqlite-fold.c: commits from the log into the database: by a thread of this store's own when enough has come or some time has gone by, and at once before somebody reads.
 *
 * The database is written with synchronous=NORMAL: after a power cut it is as it was at some earlier moment, and says at which (the table `redo`); the log has all since. So
 * a half of the log is let go only after a transaction with synchronous=FULL.
 */
#include "store/sqlite-fold.h"

#include "base/clock.h"
#include "base/error.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLD_NS (500 * NS_PER_MS)  /* how long a commit is in the log alone when nobody reads */
#define RETRY_NS NS_PER_S

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t all_left = PTHREAD_COND_INITIALIZER;
static struct sqlite_fold *all; /* under all_lock */

/* --- into the database --- */

static int put_merged(struct sqlite_store *w, const struct sqlite_generation *g)
{
        struct recent_row *row;
        int r = 0;

        /* What goes makes room for what comes: keys pass from one row to another. */
        for (int t = 0; t < STORE_TABLES && !r; t++)
                for (row = g->recent.rows[t]; row && !r; row = row->by_id.next)
                        if (row->removed)
                                r = sqlite_remove_row(w, &row->row);
        for (int t = 0; t < STORE_TABLES && !r; t++)
                for (row = g->recent.rows[t]; row && !r; row = row->by_id.next)
                        if (!row->gone)
                                r = row->full ? sqlite_put_row(w, &row->row) : sqlite_put_status(w, &row->row);
        return r;
}

static int put_record(struct sqlite_store *w, const struct redo_record *record)
{
        struct store_change change;
        size_t at = 0;
        int r;

        while (!(r = redo_record_next(record, &at, &change))) {
                r = sqlite_change_row(w, &change);
                if (r)
                        return r == -ENOENT ? -EBADMSG : r;
        }
        return r == -ENOENT ? 0 : r;
}

static int put_in_order(struct sqlite_store *w, const struct sqlite_generation *g)
{
        int r = 0;

        for (const struct sqlite_commit *one = g->first; one && !r; one = one->next)
                r = put_record(w, one->record);
        return r;
}

static int finish(struct sqlite_store *w, uint64_t number)
{
        char sql[80];
        int r;

        snprintf(sql, sizeof(sql), "UPDATE redo SET number=%llu", (unsigned long long)number);
        r = sqlite_run(w, sql);
        return r ? r : sqlite_run(w, "COMMIT");
}

static int write_generation(struct sqlite_fold *f, const struct sqlite_generation *g, bool full)
{
        struct sqlite_store *w = &f->side;
        int r = full ? sqlite_run(w, "PRAGMA synchronous=FULL") : 0, restored;

        if (!r)
                r = sqlite_run(w, "BEGIN IMMEDIATE");
        if (!r)
                r = put_merged(w, g);
        /* Keys that went round in a circle: as it was, then. */
        if (r == -EEXIST && !(r = sqlite_run(w, "BEGIN IMMEDIATE")))
                r = put_in_order(w, g);
        if (!r)
                r = finish(w, g->first ? g->number : f->folded);
        restored = full ? sqlite_run(w, "PRAGMA synchronous=NORMAL") : 0;
        return r ? r : restored;
}

static void drop(struct sqlite_generation *g)
{
        recent_rows_clear(&g->recent);
        for (struct sqlite_commit *one = g->first, *next; one; one = next) {
                next = one->next;
                free(one->record);
                free(one);
        }
        g->first = NULL;
        g->last = &g->first;
        g->bytes = 0;
}

/* Under writing. What was left by a try that failed comes first. */
static int fold(struct sqlite_fold *f)
{
        for (bool last = false; !last;) {
                bool full;
                int r;

                pthread_mutex_lock(&f->lock);
                last = !f->old->first;
                if (last) {
                        struct sqlite_generation *g = f->old;

                        f->old = f->young;
                        f->young = g;
                }
                full = f->full;
                f->full = false;
                pthread_mutex_unlock(&f->lock);
                r = f->old->first || full ? write_generation(f, f->old, full) : 0;
                pthread_mutex_lock(&f->lock);
                f->error = r;
                if (r)
                        f->full = f->full || full;
                if (!r && f->old->first)
                        f->folded = f->old->number;
                if (!r && full)
                        f->forgotten = f->folded;
                if (!r)
                        drop(f->old);
                pthread_mutex_unlock(&f->lock);
                if (r)
                        return r;
        }
        return 0;
}

int sqlite_fold_all(struct sqlite_fold *f, char problem[STORE_MESSAGE])
{
        int r;

        pthread_mutex_lock(&f->writing);
        r = fold(f);
        if (r)
                snprintf(problem, STORE_MESSAGE, "%s", f->side.store.problem);
        pthread_mutex_unlock(&f->writing);
        return r;
}

/* Until there is a reason. Under lock. */
static void wait_for_work(struct sqlite_fold *f)
{
        while (!f->stopping) {
                const struct sqlite_generation *g = f->young;
                uint64_t now = clock_now_ns(), due = f->oldest_ns + FOLD_NS;
                struct timespec at;

                if (!g->first) {
                        pthread_cond_wait(&f->work, &f->lock);
                        continue;
                }
                if (g->bytes >= SQLITE_FOLD_BYTES || f->full || now >= due)
                        return;
                at = (struct timespec){.tv_sec = (time_t)(due / NS_PER_S), .tv_nsec = (long)(due % NS_PER_S)};
                pthread_cond_timedwait(&f->work, &f->lock, &at);
        }
}

static void *run(void *context)
{
        struct sqlite_fold *f = context;
        char problem[STORE_MESSAGE];

        pthread_mutex_lock(&f->lock);
        for (wait_for_work(f); !f->stopping; wait_for_work(f)) {
                int r;

                pthread_mutex_unlock(&f->lock);
                r = sqlite_fold_all(f, problem);
                pthread_mutex_lock(&f->lock);
                if (r && !f->stopping) {
                        uint64_t until = clock_now_ns() + RETRY_NS;
                        struct timespec at = {.tv_sec = (time_t)(until / NS_PER_S), .tv_nsec = (long)(until % NS_PER_S)};

                        pthread_cond_timedwait(&f->work, &f->lock, &at);
                }
        }
        pthread_mutex_unlock(&f->lock);
        return NULL;
}

/* --- for those that read, and those that write around the log --- */

static struct sqlite_fold *hold(const struct sqlite_store *s)
{
        struct sqlite_fold *f;
        struct stat about;

        if (stat(s->path, &about))
                return NULL;
        pthread_mutex_lock(&all_lock);
        for (f = all; f && (f->device != about.st_dev || f->inode != about.st_ino); f = f->next)
                ;
        if (f)
                f->readers++;
        pthread_mutex_unlock(&all_lock);
        return f;
}

static void let_go(struct sqlite_fold *f)
{
        pthread_mutex_lock(&all_lock);
        if (!--f->readers)
                pthread_cond_broadcast(&all_left);
        pthread_mutex_unlock(&all_lock);
}

static bool has(const struct sqlite_generation *g, enum store_table table, const struct id *id)
{
        return id ? recent_row_find(&g->recent, table, id) != NULL : g->recent.rows[table] != NULL;
}

int sqlite_fold_read(struct sqlite_store *s, enum store_table table, const struct id *id)
{
        struct sqlite_fold *f = s->fold ? s->fold : hold(s);
        int r;

        if (!f)
                return 0;
        r = sqlite_fold_all(f, s->store.problem);
        if (r) {
                pthread_mutex_lock(&f->lock);
                if (!has(f->young, table, id) && !has(f->old, table, id))
                        r = 0;
                pthread_mutex_unlock(&f->lock);
        }
        if (!s->fold)
                let_go(f);
        return r;
}

int sqlite_write_begin(struct sqlite_store *s, struct sqlite_store **ret_writer)
{
        struct sqlite_fold *f = s->fold;
        int r;

        *ret_writer = s;
        if (!f)
                return 0;
        pthread_mutex_lock(&f->writing);
        r = fold(f);
        if (!r)
                r = sqlite_run(&f->side, "PRAGMA synchronous=FULL");
        *ret_writer = &f->side;
        if (r) {
                snprintf(s->store.problem, sizeof(s->store.problem), "%s", f->side.store.problem);
                pthread_mutex_unlock(&f->writing);
        }
        return r;
}

void sqlite_write_end(struct sqlite_store *s)
{
        struct sqlite_fold *f = s->fold;

        if (!f)
                return;
        snprintf(s->store.problem, sizeof(s->store.problem), "%s", f->side.store.problem);
        f->side.store.problem[0] = '\0';
        sqlite3_exec(f->side.db, "PRAGMA synchronous=NORMAL", NULL, NULL, NULL);
        pthread_mutex_unlock(&f->writing);
}

/* --- begin and end --- */

static int read_mark(struct sqlite_store *s, uint8_t identity[REDO_IDENTITY], uint64_t *ret_number)
{
        sqlite3_stmt *statement;
        int code = sqlite3_prepare_v2(s->db, "SELECT log, number FROM redo", -1, &statement, NULL), r = 0;

        if (code == SQLITE_OK) {
                code = sqlite3_step(statement);
                if (code == SQLITE_ROW && sqlite3_column_bytes(statement, 0) == REDO_IDENTITY) {
                        memcpy(identity, sqlite3_column_blob(statement, 0), REDO_IDENTITY);
                        *ret_number = (uint64_t)sqlite3_column_int64(statement, 1);
                        code = SQLITE_OK;
                } else if (code == SQLITE_ROW || code == SQLITE_DONE) {
                        r = store_fail(&s->store, -EBADMSG, "%.200s is damaged (its mark of the log is not there); restore a backup in its place", s->path);
                        code = SQLITE_OK;
                }
                sqlite3_finalize(statement);
        }
        return code == SQLITE_OK ? r : sqlite_error(s, code, "reading the log's mark");
}

static int damaged(struct sqlite_store *s, const char *path, int r)
{
        if (r == -EBADMSG)
                return store_fail(&s->store, r, "%.200s is damaged: commits that only it has can't be read; restore a backup, or move it away to go on without them", path);
        if (r == -E_VERSION)
                return store_fail(&s->store, r, "%.200s was written by a newer Berth; start that one", path);
        return store_fail(&s->store, r, "%.200s: %s", path, error_text(r));
}

struct replay {
        struct sqlite_store *side;
        uint64_t last;
        bool begun;
};

static int take_in(void *context, const struct redo_record *record)
{
        struct replay *replay = context;
        int r = replay->begun ? 0 : sqlite_run(replay->side, "BEGIN IMMEDIATE");

        replay->begun = true;
        if (!r)
                r = put_record(replay->side, record);
        replay->last = record->number;
        return r;
}

/* What an earlier start left in the log. */
static int replay(struct sqlite_store *s, struct sqlite_fold *f)
{
        struct replay replay = {.side = &f->side};
        char *path scoped_free = NULL, *aside scoped_free = NULL;
        int r;

        if (asprintf(&path, "%s" REDO_PATH_SUFFIX, s->path) < 0 || asprintf(&aside, "%s.other", path) < 0)
                return -ENOMEM;
        r = redo_open(path, f->identity, false, &f->redo);
        if (r == -ESTALE) /* beside a database that was put in the place of its own: not ours to take in, nor to throw away */
                r = rename(path, aside) ? -errno : -ENOENT;
        if (r)
                return r == -ENOENT ? 0 : damaged(s, path, r);
        r = sqlite_run(&f->side, "PRAGMA synchronous=FULL");
        if (!r)
                r = redo_read(f->redo, f->number, take_in, &replay);
        if (!r && replay.begun) {
                r = finish(&f->side, replay.last);
                f->number = replay.last;
        }
        if (!r)
                r = sqlite_run(&f->side, "PRAGMA synchronous=NORMAL");
        if (r && r != -EBADMSG && *f->side.store.problem)
                snprintf(s->store.problem, sizeof(s->store.problem), "%s", f->side.store.problem);
        else if (r)
                damaged(s, path, r);
        redo_restart(f->redo, f->number);
        return r;
}

static int open_side(struct sqlite_store *s, struct sqlite_fold *f)
{
        int r;

        f->side.store.body = s->store.body;
        f->side.lock = -1;
        f->side.path = strdup(s->path);
        if (!f->side.path)
                return -ENOMEM;
        r = sqlite_connect(&f->side);
        if (!r)
                /* The database's log is kept at its size and written over: growing a file costs the disk more. */
                r = sqlite_run(&f->side, "PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=4000; PRAGMA journal_size_limit=268435456");
        if (r)
                snprintf(s->store.problem, sizeof(s->store.problem), "%s", f->side.store.problem);
        return r;
}

static void fold_free(struct sqlite_fold *f)
{
        drop(&f->generations[0]);
        drop(&f->generations[1]);
        redo_close(f->redo);
        sqlite_disconnect(&f->side);
        free(f->side.path);
        free(f->staged_rows);
        pthread_cond_destroy(&f->work);
        pthread_mutex_destroy(&f->lock);
        pthread_mutex_destroy(&f->writing);
        free(f);
}
SCOPED_FN(struct sqlite_fold *, fold_free)

int sqlite_fold_open(struct sqlite_store *s)
{
        struct sqlite_fold *f scoped(fold_free) = calloc(1, sizeof(*f));
        pthread_condattr_t monotonic;
        struct stat about;
        int r;

        if (!f)
                return -ENOMEM;
        pthread_mutex_init(&f->writing, NULL);
        pthread_mutex_init(&f->lock, NULL);
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&f->work, &monotonic);
        pthread_condattr_destroy(&monotonic);
        for (int i = 0; i < 2; i++)
                f->generations[i].last = &f->generations[i].first;
        f->young = &f->generations[0];
        f->old = &f->generations[1];
        r = read_mark(s, f->identity, &f->number);
        if (!r)
                r = open_side(s, f);
        if (!r)
                r = replay(s, f);
        if (r)
                return r;
        f->folded = f->forgotten = f->number;
        if (stat(s->path, &about))
                return store_fail(&s->store, -errno, "%.300s: %s", s->path, error_text(errno));
        f->device = about.st_dev;
        f->inode = about.st_ino;
        r = pthread_create(&f->thread, NULL, run, f);
        if (r)
                return -r;
        pthread_setname_np(f->thread, "berth: folder");
        pthread_mutex_lock(&all_lock);
        f->next = all;
        all = f;
        pthread_mutex_unlock(&all_lock);
        s->fold = take(f);
        return 0;
}

void sqlite_fold_close(struct sqlite_store *s)
{
        struct sqlite_fold *f = take(s->fold), **at;
        char problem[STORE_MESSAGE];
        int r;

        if (!f)
                return;
        pthread_mutex_lock(&all_lock);
        for (at = &all; *at != f; at = &(*at)->next)
                ;
        *at = f->next;
        while (f->readers)
                pthread_cond_wait(&all_left, &all_lock);
        pthread_mutex_unlock(&all_lock);
        pthread_mutex_lock(&f->lock);
        f->stopping = true;
        pthread_cond_signal(&f->work);
        pthread_mutex_unlock(&f->lock);
        pthread_join(f->thread, NULL);
        r = sqlite_fold_all(f, problem);
        (void)r; /* what is in the log alone stays there for the next start */
        fold_free(f);
}

static int any(void *context, const struct redo_record *record)
{
        return 1;
}

int sqlite_fold_check(struct sqlite_store *s)
{
        struct sqlite_fold *live = hold(s);
        struct redo *redo scoped(redo_close) = NULL;
        uint8_t identity[REDO_IDENTITY];
        char *path scoped_free = NULL;
        uint64_t number;
        int r;

        if (live) {
                let_go(live);
                return 0;
        }
        r = read_mark(s, identity, &number);
        if (r)
                return r;
        if (asprintf(&path, "%s" REDO_PATH_SUFFIX, s->path) < 0)
                return -ENOMEM;
        r = redo_open(path, identity, true, &redo);
        if (r == -ENOENT || r == -ESTALE)
                return 0;
        if (!r)
                r = redo_read(redo, number, any, NULL);
        if (r > 0)
                return store_fail(&s->store, -E_UNAVAILABLE, "%.300s holds commits that are not in the database yet; start the pool on it", path);
        return r ? damaged(s, path, r) : 0;
}
