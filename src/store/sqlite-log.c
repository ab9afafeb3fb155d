/* sqlite-log.c: SQLite's write-ahead log in few, large writes. SQLite writes each page of a commit as two small pieces, one after the other in the file; here they
 * gather, and go to the file as one write when SQLite syncs it (or looks at it). Everything but the log's file is SQLite's own.
 *
 * Safe because with synchronous=FULL SQLite shows a commit's pages to other connections only after that sync, and because a write that fails then fails the
 * sync, and with it the commit.
 */
#include "store/sqlite.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define GATHER (120 << 10) /* SQLite writes less than 128 KiB at once */

struct log_file {
        sqlite3_file base;
        sqlite3_file *real;
        char *gathered; /* `used` bytes that belong at `at` in the file */
        sqlite3_int64 at;
        int used;
        /* The real file follows. */
};

#define REAL_OFFSET ((sizeof(struct log_file) + 15) & ~(size_t)15)

static sqlite3_vfs *system_vfs;
static sqlite3_vfs vfs;

static int flush(struct log_file *f)
{
        int used = f->used;

        f->used = 0; /* also when it fails: the commit will, and its pages are written again */
        return used ? f->real->pMethods->xWrite(f->real, f->gathered, used, f->at) : SQLITE_OK;
}

static int log_write(sqlite3_file *file, const void *data, int bytes, sqlite3_int64 at)
{
        struct log_file *f = (struct log_file *)file;

        if (f->used && (at != f->at + f->used || bytes > GATHER - f->used)) {
                int code = flush(f);

                if (code != SQLITE_OK)
                        return code;
        }
        if (bytes > GATHER)
                return f->real->pMethods->xWrite(f->real, data, bytes, at);
        if (!f->used)
                f->at = at;
        memcpy(f->gathered + f->used, data, (size_t)bytes);
        f->used += bytes;
        return SQLITE_OK;
}

static int log_read(sqlite3_file *file, void *data, int bytes, sqlite3_int64 at)
{
        struct log_file *f = (struct log_file *)file;

        if (f->used && at < f->at + f->used && at + bytes > f->at) {
                int code = flush(f);

                if (code != SQLITE_OK)
                        return code;
        }
        return f->real->pMethods->xRead(f->real, data, bytes, at);
}

static int log_sync(sqlite3_file *file, int flags)
{
        struct log_file *f = (struct log_file *)file;
        int code = flush(f);

        return code != SQLITE_OK ? code : f->real->pMethods->xSync(f->real, flags);
}

static int log_truncate(sqlite3_file *file, sqlite3_int64 size)
{
        struct log_file *f = (struct log_file *)file;
        int code = flush(f);

        return code != SQLITE_OK ? code : f->real->pMethods->xTruncate(f->real, size);
}

static int log_size(sqlite3_file *file, sqlite3_int64 *ret_size)
{
        struct log_file *f = (struct log_file *)file;
        int code = flush(f);

        return code != SQLITE_OK ? code : f->real->pMethods->xFileSize(f->real, ret_size);
}

static int log_close(sqlite3_file *file)
{
        struct log_file *f = (struct log_file *)file;
        int code = flush(f), closed = f->real->pMethods->xClose(f->real);

        free(f->gathered);
        return code != SQLITE_OK ? code : closed;
}

static int log_lock(sqlite3_file *file, int level)
{
        struct log_file *f = (struct log_file *)file;

        return f->real->pMethods->xLock(f->real, level);
}

static int log_unlock(sqlite3_file *file, int level)
{
        struct log_file *f = (struct log_file *)file;

        return f->real->pMethods->xUnlock(f->real, level);
}

static int log_check_lock(sqlite3_file *file, int *ret_reserved)
{
        struct log_file *f = (struct log_file *)file;

        return f->real->pMethods->xCheckReservedLock(f->real, ret_reserved);
}

static int log_control(sqlite3_file *file, int what, void *argument)
{
        struct log_file *f = (struct log_file *)file;

        return f->real->pMethods->xFileControl(f->real, what, argument);
}

static int log_sector(sqlite3_file *file)
{
        struct log_file *f = (struct log_file *)file;

        return f->real->pMethods->xSectorSize(f->real);
}

static int log_device(sqlite3_file *file)
{
        struct log_file *f = (struct log_file *)file;

        return f->real->pMethods->xDeviceCharacteristics(f->real);
}

static const sqlite3_io_methods log_methods = {
        .iVersion = 1,
        .xClose = log_close,
        .xRead = log_read,
        .xWrite = log_write,
        .xTruncate = log_truncate,
        .xSync = log_sync,
        .xFileSize = log_size,
        .xLock = log_lock,
        .xUnlock = log_unlock,
        .xCheckReservedLock = log_check_lock,
        .xFileControl = log_control,
        .xSectorSize = log_sector,
        .xDeviceCharacteristics = log_device,
};

static int open_file(sqlite3_vfs *ours, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
        struct log_file *f = (struct log_file *)file;
        int code;

        (void)ours;
        if (!(flags & SQLITE_OPEN_WAL))
                return system_vfs->xOpen(system_vfs, name, file, flags, ret_flags);
        f->base.pMethods = NULL;
        f->real = (sqlite3_file *)((char *)file + REAL_OFFSET);
        f->used = 0;
        f->gathered = malloc(GATHER);
        if (!f->gathered)
                return SQLITE_NOMEM;
        code = system_vfs->xOpen(system_vfs, name, f->real, flags, ret_flags);
        if (code == SQLITE_OK)
                f->base.pMethods = &log_methods;
        else
                free(f->gathered);
        return code;
}

static void make_vfs(void)
{
        sqlite3_vfs *found = sqlite3_vfs_find(NULL);

        if (!found)
                return;
        vfs = *found;
        vfs.zName = "berth";
        vfs.pNext = NULL;
        vfs.szOsFile = (int)REAL_OFFSET + found->szOsFile;
        vfs.xOpen = open_file;
        system_vfs = found;
        if (sqlite3_vfs_register(&vfs, 0) != SQLITE_OK)
                system_vfs = NULL;
}

const char *sqlite_log_vfs(void)
{
        static pthread_once_t once = PTHREAD_ONCE_INIT;

        pthread_once(&once, make_vfs);
        return system_vfs ? vfs.zName : NULL;
}
