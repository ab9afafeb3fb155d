/* sqlite-backup.c: a copy of the file while others read and write it, and a line about it.
 *
 * One read transaction is held for the whole copy, so that all pages are of one moment and a busy writer never makes it begin again; meanwhile SQLite's log
 * can't be folded back into the file and grows.
 */
#include "store/sqlite.h"

#include "base/error.h"
#include "base/text.h"

#include <stdio.h>
#include <sys/stat.h>

#define PAGES_A_STEP 1024

static int copy(struct sqlite_store *s, sqlite3 *to, int (*progress)(void *context, double share), void *context)
{
        sqlite3_backup *backup = sqlite3_backup_init(to, "main", s->db, "main");
        int code = SQLITE_OK, r = 0;

        if (!backup)
                return store_fail(&s->store, -EIO, "backup: %s", sqlite3_errmsg(to));
        while (!r && code == SQLITE_OK) {
                code = sqlite3_backup_step(backup, PAGES_A_STEP);
                if ((code == SQLITE_OK || code == SQLITE_DONE) && progress) {
                        int all = sqlite3_backup_pagecount(backup);

                        r = progress(context, all > 0 ? 1 - (double)sqlite3_backup_remaining(backup) / all : 1);
                }
        }
        if (!r && code != SQLITE_DONE) {
                r = (code & 0xff) == SQLITE_FULL ? -ENOSPC : (code & 0xff) == SQLITE_CORRUPT ? -EBADMSG : (code & 0xff) == SQLITE_BUSY ? -E_UNAVAILABLE : -EIO;
                store_fail(&s->store, r, "backup: %s", sqlite3_errstr(code));
        }
        code = sqlite3_backup_finish(backup);
        if (!r && code != SQLITE_OK)
                r = store_fail(&s->store, -EIO, "backup: %s", sqlite3_errstr(code));
        return r;
}

int sqlite_backup(struct store *store, const char *path, int (*progress)(void *context, double share), void *context)
{
        struct sqlite_store *s = (struct sqlite_store *)store;
        sqlite3 *to = NULL;
        int code, r = 0;

        /* With what is in the log alone. */
        for (int t = 0; t < STORE_TABLES && !r; t++)
                r = sqlite_fold_read(s, (enum store_table)t, NULL);
        if (r)
                return r;
        code = sqlite3_open_v2(path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
        r = !to ? -ENOMEM : code != SQLITE_OK ? store_fail(store, -EIO, "backup: %.300s: %s", path, sqlite3_errmsg(to)) : 0;
        /* No journal: a copy that is cut short is thrown away. store_backup_end makes it durable. */
        if (!r && sqlite3_exec(to, "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF", NULL, NULL, NULL) != SQLITE_OK)
                r = store_fail(store, -EIO, "backup: %.300s: %s", path, sqlite3_errmsg(to));
        if (!r)
                r = sqlite_run(s, "BEGIN; SELECT count(*) FROM queue");
        if (!r) {
                r = copy(s, to, progress, context);
                sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
        }
        /* The log beside the original is not the copy's. */
        if (!r && sqlite3_exec(to, "UPDATE redo SET log=randomblob(16), number=0", NULL, NULL, NULL) != SQLITE_OK)
                r = store_fail(store, -EIO, "backup: %.300s: %s", path, sqlite3_errmsg(to));
        sqlite3_close(to);
        return r;
}

int sqlite_about(struct store *store, char *text, size_t size)
{
        struct sqlite_store *s = (struct sqlite_store *)store;
        struct stat there;
        char bytes[16];

        if (stat(s->path, &there)) {
                int r = -errno;

                return store_fail(store, r, "%.300s: %s", s->path, error_text(r));
        }
        snprintf(text, size, "SQLite %s, %s, %s%s", sqlite3_libversion(), s->path, text_bytes((uint64_t)there.st_size, bytes, sizeof(bytes)),
                 s->unchecked ? " (too large to be looked through at start)" : "");
        return 0;
}

int sqlite_import(struct store *store)
{
        struct sqlite_store *s = (struct sqlite_store *)store;

        sqlite_fold_close(s);
        return sqlite_run(s, "PRAGMA synchronous=OFF");
}

int sqlite_import_queue(struct store *store, uint32_t queue, uint64_t epoch, const char *server)
{
        struct sqlite_store *s = (struct sqlite_store *)store;
        sqlite3_stmt *statement;
        int code;

        if (queue >= STORE_QUEUES)
                return store_fail(store, -EBADMSG, "a queue numbered %u", queue);
        code = sqlite3_prepare_v2(s->db, "INSERT INTO queue (queue, epoch, server, since_ms) VALUES (?1, ?2, ?3, 0)", -1, &statement, NULL);
        if (code == SQLITE_OK) {
                sqlite3_bind_int(statement, 1, (int)queue);
                sqlite3_bind_int64(statement, 2, (sqlite3_int64)epoch);
                sqlite3_bind_text(statement, 3, server, -1, SQLITE_STATIC);
                code = sqlite3_step(statement);
                sqlite3_finalize(statement);
        }
        if (code != SQLITE_DONE)
                return sqlite_error(s, code, "writing the queues");
        store->claimed[queue] = epoch;
        return 0;
}
