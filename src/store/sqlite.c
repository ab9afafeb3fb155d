/* sqlite.c: the pool's rows in one SQLite file: opening, commits, queues. WAL with synchronous=FULL, so a commit is on the disk when it returns, and readers
 * (connections of their own) never wait for the writer.
 *
 * One process writes. It holds PATH-lock (flock; an open file of its own, as SQLite's locks are lost when any descriptor of the database is closed). Epochs are
 * kept all the same: each claim is one more, so rows written by an earlier start can be told from this one's.
 */
#include "store/sqlite.h"

#include "base/error.h"
#include "base/fd.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CHECK_MAX (INT64_C(512) << 20) /* bytes of a file that is looked through at start: about a second */
#define BUSY_MS 5000                   /* somebody with a shell on the file may hold it so long */

/* --- errors --- */

static int number_of(struct sqlite_store *s, int code)
{
        /* SQLite tells a full disk apart, but not a quota or a limit; what the write said is still in errno. */
        int e = (code == SQLITE_IOERR_WRITE || code == SQLITE_IOERR_TRUNCATE) && errno ? errno : sqlite3_system_errno(s->db);

        switch (code & 0xff) {
        case SQLITE_OK:
        case SQLITE_DONE:
        case SQLITE_ROW:
                return 0;
        case SQLITE_FULL:
                return -ENOSPC;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
        case SQLITE_PROTOCOL:
                return -E_UNAVAILABLE;
        case SQLITE_IOERR:
                return e == ENOSPC || e == EDQUOT || e == EFBIG ? -ENOSPC : code == SQLITE_IOERR_NOMEM ? -ENOMEM : -EIO;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
        case SQLITE_FORMAT:
        case SQLITE_ERROR: /* no such table: of our statements none is wrong otherwise */
                return -EBADMSG;
        case SQLITE_CANTOPEN:
                return e == ENOSPC || e == EDQUOT ? -ENOSPC : -EIO; /* never -ENOENT: that is a row's */
        case SQLITE_READONLY:
        case SQLITE_PERM:
                return -EROFS;
        case SQLITE_NOMEM:
                return -ENOMEM;
        case SQLITE_CONSTRAINT:
                return -EEXIST;
        case SQLITE_TOOBIG:
                return -E2BIG;
        default:
                return -EIO;
        }
}

int sqlite_error(struct sqlite_store *s, int code, const char *doing)
{
        int r = number_of(s, code);
        const char *says = sqlite3_errmsg(s->db);

        if (r == -EBADMSG)
                store_fail(&s->store, r, "%s: %.200s is damaged (%s); restore a backup in its place", doing, s->path, says);
        else if (r == -ENOSPC)
                store_fail(&s->store, r, "%s: no room on the disk of %.200s", doing, s->path);
        else if (r == -E_UNAVAILABLE)
                store_fail(&s->store, r, "%s: another program holds %.200s locked", doing, s->path);
        else
                store_fail(&s->store, r, "%s: %.200s: %s", doing, s->path, says);
        if (!sqlite3_get_autocommit(s->db))
                sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
        return r;
}

int sqlite_run(struct sqlite_store *s, const char *sql)
{
        int code = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
        char doing[40];

        if (code == SQLITE_OK)
                return 0;
        snprintf(doing, sizeof(doing), "%.30s", sql);
        return sqlite_error(s, code, doing);
}

/* --- statements --- */

static const char *const statement_texts[SQLITE_STATEMENTS] = {
        [SQLITE_PUT] = "INSERT INTO %s (id, account, queue, state, ended, kind, until_ms, text_key, status, spec) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)"
                       " ON CONFLICT (id) DO UPDATE SET account=?2, queue=?3, state=?4, ended=?5, kind=?6, until_ms=?7, text_key=?8,"
                       " status=coalesce(?9,status), spec=?10",
        [SQLITE_STATUS] = "UPDATE %s SET state=?2, until_ms=?3, status=coalesce(?4,status) WHERE id=?1 AND ended=0",
        [SQLITE_STATUS_MOVE] = "UPDATE %s SET state=?2, until_ms=?3, status=coalesce(?4,status), ended=?5 WHERE id=?1",
        [SQLITE_REMOVE] = "DELETE FROM %s WHERE id=?1 RETURNING spec IS NULL",
        [SQLITE_SPEC_PUT] = "INSERT INTO %s_spec (id, spec) VALUES (?1,?2) ON CONFLICT (id) DO UPDATE SET spec=?2",
        [SQLITE_SPEC_REMOVE] = "DELETE FROM %s_spec WHERE id=?1",
        [SQLITE_GET] = "SELECT queue, id, account, state, kind, until_ms, text_key, status, coalesce(spec, (SELECT x.spec FROM %s_spec x WHERE x.id=?1))"
                       " FROM %s WHERE id=?1",
};

int sqlite_statement(struct sqlite_store *s, enum store_table table, enum sqlite_statement which, sqlite3_stmt **ret_statement)
{
        sqlite3_stmt **at = &s->statements[table][which];
        const char *name = store_table_name(table);
        char sql[512];
        int code;

        if (!*at) {
                snprintf(sql, sizeof(sql), statement_texts[which], name, name);
                code = sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, at, NULL);
                if (code != SQLITE_OK)
                        return sqlite_error(s, code, "preparing");
        }
        *ret_statement = *at;
        return 0;
}

/* Runs a statement that gives no rows. */
static int step(struct sqlite_store *s, sqlite3_stmt *statement, const char *doing)
{
        int code = sqlite3_step(statement), r = 0;

        if (code != SQLITE_DONE && code != SQLITE_ROW)
                r = sqlite_error(s, code, doing);
        sqlite3_reset(statement);
        return r;
}

static void bind_text(sqlite3_stmt *statement, int at, const char *text, size_t bytes)
{
        if (text)
                sqlite3_bind_text(statement, at, text, (int)bytes, SQLITE_STATIC);
        else
                sqlite3_bind_null(statement, at);
}

/* --- commits --- */

static bool has_ended(const struct store_row *row)
{
        return row->table == STORE_TASK && row->state >= STORE_TASK_ENDED;
}

static int put_spec(struct sqlite_store *s, const struct store_row *row)
{
        sqlite3_stmt *statement;
        int r = sqlite_statement(s, row->table, SQLITE_SPEC_PUT, &statement);

        if (r)
                return r;
        sqlite3_bind_blob(statement, 1, row->id.bytes, sizeof(row->id.bytes), SQLITE_STATIC);
        bind_text(statement, 2, row->spec, row->spec_bytes);
        return step(s, statement, "writing a spec");
}

static int put_row(struct sqlite_store *s, const struct store_row *row)
{
        bool apart = row->spec_bytes > SQLITE_INLINE;
        sqlite3_stmt *statement;
        int r = sqlite_statement(s, row->table, SQLITE_PUT, &statement);

        if (r)
                return r;
        sqlite3_bind_blob(statement, 1, row->id.bytes, sizeof(row->id.bytes), SQLITE_STATIC);
        if (id_is_none(&row->account))
                sqlite3_bind_null(statement, 2);
        else
                sqlite3_bind_blob(statement, 2, row->account.bytes, sizeof(row->account.bytes), SQLITE_STATIC);
        sqlite3_bind_int(statement, 3, (int)row->queue);
        sqlite3_bind_int(statement, 4, (int)row->state);
        sqlite3_bind_int(statement, 5, has_ended(row));
        sqlite3_bind_int(statement, 6, (int)row->kind);
        sqlite3_bind_int64(statement, 7, row->until_ms);
        bind_text(statement, 8, row->text_key, row->text_key ? strlen(row->text_key) : 0);
        bind_text(statement, 9, row->status, row->status_bytes);
        bind_text(statement, 10, apart ? NULL : row->spec, row->spec_bytes);
        r = step(s, statement, "writing a row");
        return r || !apart ? r : put_spec(s, row);
}

static int put_status(struct sqlite_store *s, const struct store_row *row)
{
        /* First as if the row stayed live, which touches no index; a row that was or is to be ended takes the second way. */
        for (enum sqlite_statement which = has_ended(row) ? SQLITE_STATUS_MOVE : SQLITE_STATUS; which <= SQLITE_STATUS_MOVE; which++) {
                sqlite3_stmt *statement;
                int r = sqlite_statement(s, row->table, which, &statement);

                if (r)
                        return r;
                sqlite3_bind_blob(statement, 1, row->id.bytes, sizeof(row->id.bytes), SQLITE_STATIC);
                sqlite3_bind_int(statement, 2, (int)row->state);
                sqlite3_bind_int64(statement, 3, row->until_ms);
                bind_text(statement, 4, row->status, row->status_bytes);
                if (which == SQLITE_STATUS_MOVE)
                        sqlite3_bind_int(statement, 5, has_ended(row));
                r = step(s, statement, "writing a status");
                if (r || sqlite3_changes(s->db))
                        return r;
        }
        store_fail(&s->store, -ENOENT, "a status for a %s that is not stored", store_table_name(row->table));
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
        return -ENOENT;
}

static int remove_row(struct sqlite_store *s, const struct store_row *row)
{
        sqlite3_stmt *statement;
        bool apart = false;
        int code, r = sqlite_statement(s, row->table, SQLITE_REMOVE, &statement);

        if (r)
                return r;
        sqlite3_bind_blob(statement, 1, row->id.bytes, sizeof(row->id.bytes), SQLITE_STATIC);
        code = sqlite3_step(statement);
        if (code == SQLITE_ROW) {
                apart = sqlite3_column_int(statement, 0);
                code = sqlite3_step(statement);
        }
        if (code != SQLITE_DONE)
                r = sqlite_error(s, code, "deleting a row");
        sqlite3_reset(statement);
        if (r || !apart)
                return r;
        r = sqlite_statement(s, row->table, SQLITE_SPEC_REMOVE, &statement);
        if (r)
                return r;
        sqlite3_bind_blob(statement, 1, row->id.bytes, sizeof(row->id.bytes), SQLITE_STATIC);
        return step(s, statement, "deleting a spec");
}

static int commit(struct store *store, const uint64_t *epochs, const struct store_batch *batches, size_t count)
{
        struct sqlite_store *s = (struct sqlite_store *)store;
        uint32_t queues;
        int r = store_check_epochs(store, epochs, batches, count, &queues);

        if (!r)
                r = step(s, s->begin, "beginning a commit");
        for (size_t b = 0; b < count && !r; b++)
                for (size_t c = 0; c < batches[b].count && !r; c++) {
                        const struct store_change *change = &batches[b].changes[c];

                        r = change->kind == STORE_DELETE ? remove_row(s, &change->row)
                            : change->row.spec           ? put_row(s, &change->row)
                                                         : put_status(s, &change->row);
                }
        return r ? r : step(s, s->commit, "committing");
}

/* --- queues: one server, but with epochs --- */

static int claim(struct store *store, uint32_t queue, uint64_t *ret_epoch, char owner[256])
{
        struct sqlite_store *s = (struct sqlite_store *)store;
        struct timespec now;
        sqlite3_stmt *statement;
        int code, r = 0;

        (void)owner; /* nobody else can be: see PATH-lock */
        if (store->claimed[queue]) {
                *ret_epoch = store->claimed[queue];
                return 0;
        }
        clock_gettime(CLOCK_REALTIME, &now);
        code = sqlite3_prepare_v2(s->db,
                                  "INSERT INTO queue (queue, epoch, server, since_ms) VALUES (?1, 1, ?2, ?3)"
                                  " ON CONFLICT (queue) DO UPDATE SET epoch=epoch+1, server=?2, since_ms=?3 RETURNING epoch",
                                  -1, &statement, NULL);
        if (code != SQLITE_OK)
                return sqlite_error(s, code, "claiming a queue");
        sqlite3_bind_int(statement, 1, (int)queue);
        sqlite3_bind_text(statement, 2, store->server, -1, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 3, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
        code = sqlite3_step(statement);
        if (code == SQLITE_ROW) {
                *ret_epoch = (uint64_t)sqlite3_column_int64(statement, 0);
                code = sqlite3_step(statement); /* durable only when done */
        }
        if (code != SQLITE_DONE)
                r = sqlite_error(s, code, "claiming a queue");
        sqlite3_finalize(statement);
        if (!r)
                store->claimed[queue] = *ret_epoch;
        return r;
}

static int release(struct store *store, uint32_t queue)
{
        store->claimed[queue] = 0;
        return 0;
}

static int owned(struct store *store)
{
        (void)store; /* the file's lock is held until the end */
        return 0;
}

static int owner(struct store *store, uint32_t queue, uint64_t *ret_epoch, char server[256])
{
        struct sqlite_store *s = (struct sqlite_store *)store;
        sqlite3_stmt *statement;
        int code, r = 0;

        code = sqlite3_prepare_v2(s->db, "SELECT epoch, server FROM queue WHERE queue=?1", -1, &statement, NULL);
        if (code != SQLITE_OK)
                return sqlite_error(s, code, "reading who has a queue");
        sqlite3_bind_int(statement, 1, (int)queue);
        code = sqlite3_step(statement);
        if (code == SQLITE_ROW) {
                *ret_epoch = (uint64_t)sqlite3_column_int64(statement, 0);
                snprintf(server, 256, "%s", (const char *)sqlite3_column_text(statement, 1));
        } else {
                r = code == SQLITE_DONE ? -ENOENT : sqlite_error(s, code, "reading who has a queue");
        }
        sqlite3_finalize(statement);
        return r;
}

/* --- open and close --- */

static void close_store(struct store *store)
{
        struct sqlite_store *s = (struct sqlite_store *)store;

        for (int t = 0; t < STORE_TABLES; t++)
                for (int i = 0; i < SQLITE_STATEMENTS; i++)
                        sqlite3_finalize(s->statements[t][i]);
        sqlite3_finalize(s->begin);
        sqlite3_finalize(s->commit);
        if (s->db && sqlite3_close(s->db) != SQLITE_OK)
                sqlite3_close_v2(s->db);
        if (s->lock >= 0)
                close(s->lock);
        free(s->path);
        free(s);
}

/* The right to write: a file beside the database, locked while this process lives, with the holder's pid for people. */
static int take_lock(struct sqlite_store *s)
{
        char text[32] = "";
        char *path scoped_free = NULL;
        ssize_t n;

        if (asprintf(&path, "%s-lock", s->path) < 0)
                return -ENOMEM;
        s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (s->lock < 0) {
                int r = -errno;

                return store_fail(&s->store, r, "%.300s: %s", path, error_text(r));
        }
        if (flock(s->lock, LOCK_EX | LOCK_NB)) {
                if (errno != EWOULDBLOCK)
                        return store_fail(&s->store, -errno, "%.300s: %s", path, error_text(errno));
                n = pread(s->lock, text, sizeof(text) - 1, 0);
                text[n > 0 ? n : 0] = '\0';
                text[strspn(text, "0123456789")] = '\0';
                return store_fail(&s->store, -EBUSY, "another pool (process %s) writes to %.300s; stop that one first, or name another file",
                                  *text ? text : "unknown", s->path);
        }
        n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
        if (ftruncate(s->lock, 0) || pwrite(s->lock, text, (size_t)n, 0) != n)
                text[0] = '\0'; /* a full disk: then without the number */
        return 0;
}

static int look_through(struct sqlite_store *s)
{
        sqlite3_stmt *statement;
        struct stat there;
        int code, r = 0;

        if (stat(s->path, &there) || there.st_size > CHECK_MAX) {
                s->unchecked = true;
                return 0;
        }
        code = sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &statement, NULL);
        if (code == SQLITE_OK) {
                code = sqlite3_step(statement);
                if (code == SQLITE_ROW) {
                        const char *says = (const char *)sqlite3_column_text(statement, 0);

                        if (says && strcmp(says, "ok"))
                                r = store_fail(&s->store, -EBADMSG, "%.200s is damaged (%.150s); restore a backup in its place", s->path, says);
                        code = SQLITE_OK;
                }
                sqlite3_finalize(statement);
        }
        return code == SQLITE_OK ? r : sqlite_error(s, code, "looking through the file");
}

static int prepare_connection(struct sqlite_store *s)
{
        int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | (s->store.read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
        int code = sqlite3_open_v2(s->path, &s->db, flags, s->store.read_only ? NULL : sqlite_log_vfs()), r;

        if (!s->db)
                return -ENOMEM;
        if (code != SQLITE_OK)
                return sqlite_error(s, code, "opening");
        sqlite3_busy_timeout(s->db, BUSY_MS);
        sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        r = sqlite_run(s, "PRAGMA temp_store=MEMORY; PRAGMA cache_size=-65536");
        if (!r && !s->store.read_only)
                /* The log is kept at its size and written over: growing a file costs the disk a second write at each commit. */
                r = sqlite_run(s, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=4000; PRAGMA journal_size_limit=268435456");
        if (!r)
                r = look_through(s);
        if (!r)
                r = sqlite_schema(s);
        if (r || s->store.read_only)
                return r;
        code = sqlite3_prepare_v3(s->db, "BEGIN IMMEDIATE", -1, SQLITE_PREPARE_PERSISTENT, &s->begin, NULL);
        if (code == SQLITE_OK)
                code = sqlite3_prepare_v3(s->db, "COMMIT", -1, SQLITE_PREPARE_PERSISTENT, &s->commit, NULL);
        return code == SQLITE_OK ? 0 : sqlite_error(s, code, "preparing");
}

static const struct store_body body = {
        .kind = "sqlite",
        .close = close_store,
        .commit = commit,
        .list = sqlite_list,
        .get = sqlite_get,
        .count = sqlite_count,
        .claim = claim,
        .release = release,
        .owned = owned,
        .owner = owner,
        .sweep = sqlite_sweep,
        .backup = sqlite_backup,
        .about = sqlite_about,
};

/* The file is made here, so that it is never there with others' rights to read it, and its name is durable before anything is said to be. */
static int make_file(struct sqlite_store *s)
{
        int fd scoped_fd = open(s->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        int folder scoped_fd = -1;
        char *name scoped_free = NULL;
        char *slash;

        if (fd < 0 && errno == EEXIST)
                return 0;
        if (fd < 0) {
                int r = -errno;

                return store_fail(&s->store, r, "%.300s: %s", s->path, error_text(r));
        }
        name = strdup(s->path);
        if (!name)
                return -ENOMEM;
        slash = strrchr(name, '/');
        if (slash)
                slash[slash == name] = '\0';
        folder = open(slash ? name : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder < 0 || fsync(folder)) {
                int r = -errno;

                return store_fail(&s->store, r, "%.300s: %s", name, error_text(r));
        }
        return 0;
}

int sqlite_open(const struct store_options *options, const char *path, struct store **ret_store, char message[STORE_MESSAGE])
{
        struct sqlite_store *s = calloc(1, sizeof(*s));
        int r = s ? 0 : -ENOMEM;

        if (r)
                return r;
        s->store.body = &body;
        s->store.read_only = options->read_only;
        s->lock = -1;
        snprintf(s->store.server, sizeof(s->store.server), "%s", options->server ? options->server : "");
        s->path = strdup(path);
        if (!s->path)
                r = -ENOMEM;
        if (!r && options->read_only && access(path, F_OK)) {
                r = -errno;
                store_fail(&s->store, r, "%.300s: %s", path, error_text(r));
        }
        if (!r && !options->read_only)
                r = make_file(s);
        if (!r && !options->read_only)
                r = take_lock(s);
        if (!r)
                r = prepare_connection(s);
        if (r) {
                snprintf(message, STORE_MESSAGE, "%s", *s->store.problem ? s->store.problem : error_text(r));
                close_store(&s->store);
                return r;
        }
        *ret_store = &s->store;
        return 0;
}
