/* sqlite.c: the pool's rows in one SQLite file: connections, opening, queues. In WAL mode, so that readers (connections of their own) never wait for who writes. How a commit
 * becomes durable: sqlite-commit.c.
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
        [SQLITE_EXISTS] = "SELECT 1 FROM %s WHERE id=?1",
        [SQLITE_HOLDER] = "SELECT id FROM %s WHERE text_key=?1",
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

/* --- queues: one server, but with epochs --- */

static int claim_in(struct sqlite_store *s, uint32_t queue, const char *server, uint64_t *ret_epoch)
{
        struct timespec now;
        sqlite3_stmt *statement;
        int code, r = 0;

        clock_gettime(CLOCK_REALTIME, &now);
        code = sqlite3_prepare_v2(s->db,
                                  "INSERT INTO queue (queue, epoch, server, since_ms) VALUES (?1, 1, ?2, ?3)"
                                  " ON CONFLICT (queue) DO UPDATE SET epoch=epoch+1, server=?2, since_ms=?3 RETURNING epoch",
                                  -1, &statement, NULL);
        if (code != SQLITE_OK)
                return sqlite_error(s, code, "claiming a queue");
        sqlite3_bind_int(statement, 1, (int)queue);
        sqlite3_bind_text(statement, 2, server, -1, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 3, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
        code = sqlite3_step(statement);
        if (code == SQLITE_ROW) {
                *ret_epoch = (uint64_t)sqlite3_column_int64(statement, 0);
                code = sqlite3_step(statement); /* durable only when done */
        }
        if (code != SQLITE_DONE)
                r = sqlite_error(s, code, "claiming a queue");
        sqlite3_finalize(statement);
        return r;
}

static int claim(struct store *store, uint32_t queue, uint64_t *ret_epoch, char owner[256])
{
        struct sqlite_store *s = (struct sqlite_store *)store, *writer;
        int r;

        (void)owner; /* nobody else can be: see PATH-lock */
        if (store->claimed[queue]) {
                *ret_epoch = store->claimed[queue];
                return 0;
        }
        r = sqlite_write_begin(s, &writer);
        if (r)
                return r;
        r = claim_in(writer, queue, store->server, ret_epoch);
        sqlite_write_end(s);
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

void sqlite_disconnect(struct sqlite_store *s)
{
        for (int t = 0; t < STORE_TABLES; t++)
                for (int i = 0; i < SQLITE_STATEMENTS; i++) {
                        sqlite3_finalize(s->statements[t][i]);
                        s->statements[t][i] = NULL;
                }
        if (s->db && sqlite3_close(s->db) != SQLITE_OK)
                sqlite3_close_v2(s->db);
        s->db = NULL;
}

static void close_store(struct store *store)
{
        struct sqlite_store *s = (struct sqlite_store *)store;

        sqlite_fold_close(s);
        sqlite_disconnect(s);
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

int sqlite_connect(struct sqlite_store *s)
{
        int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | (s->store.read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
        int code = sqlite3_open_v2(s->path, &s->db, flags, NULL);

        if (!s->db)
                return -ENOMEM;
        if (code != SQLITE_OK)
                return sqlite_error(s, code, "opening");
        sqlite3_busy_timeout(s->db, BUSY_MS);
        sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        return sqlite_run(s, "PRAGMA temp_store=MEMORY; PRAGMA cache_size=-65536");
}

static int prepare_store(struct sqlite_store *s)
{
        int r = sqlite_connect(s);

        if (!r && !s->store.read_only)
                r = sqlite_run(s, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL");
        if (!r)
                r = look_through(s);
        if (!r)
                r = sqlite_schema(s);
        if (!r)
                r = s->store.read_only ? sqlite_fold_check(s) : sqlite_fold_open(s);
        return r;
}

static const struct store_body body = {
        .kind = "sqlite",
        .close = close_store,
        .commit = sqlite_commit,
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
                r = prepare_store(s);
        if (r) {
                snprintf(message, STORE_MESSAGE, "%s", *s->store.problem ? s->store.problem : error_text(r));
                close_store(&s->store);
                return r;
        }
        *ret_store = &s->store;
        return 0;
}
