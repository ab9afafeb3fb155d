/* system.c: the types `synchronise`, `mirror`, `migrate` and `optimise`: folders made equal and verified, databases and caches made small. */
#include "worker/task/data.h"
#include "worker/task/functions.h"
#include "worker/task/tree.h"

#include "base/error.h"
#include "base/fd.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>

static json_t *figures(const struct tree_result *r)
{
        return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "files", (json_int_t)r->files, "copied", (json_int_t)r->copied, "same", (json_int_t)r->same, "removed",
                         (json_int_t)r->removed, "copied_bytes", (json_int_t)r->copied_bytes, "verified", (json_int_t)r->verified);
}

int synchronise_run(struct task *t)
{
        struct tree_result result = {0};
        int r = 0;
        const char *from = task_string(t, t->payload, "from", NULL, &r), *to = task_string(t, t->payload, "to", NULL, &r);
        bool remove = task_bool(t, t->payload, "delete", false, &r);

        r = r < 0 ? r : tree_copy(t, from, to, remove, &result);
        json_object_update_new(t->report, figures(&result));
        json_decref(result.manifest);
        return r;
}

/* One folder to several, each compared whole with what was read, each with its manifest.json. */
int mirror_run(struct task *t)
{
        const json_t *list = json_object_get(t->payload, "to");
        json_t *mirrors = json_array(), *v;
        int r = 0;
        const char *from = task_string(t, t->payload, "from", NULL, &r);
        size_t i;

        if (r >= 0 && (!json_is_array(list) || !json_array_size(list) || json_array_size(list) > 16))
                r = task_fail(t, -EINVAL, "to is no list of 1 to 16 folders");
        json_array_foreach (list, i, v) {
                struct tree_result result = {0};
                uint64_t wrong = 0;
                json_t *o;

                if (r < 0)
                        break;
                r = json_is_string(v) ? tree_copy(t, from, json_string_value(v), true, &result) : task_fail(t, -EINVAL, "to[%zu] is no folder", i);
                r = r < 0 ? r : tree_verify(t, json_string_value(v), result.manifest, &wrong);
                if (r >= 0 && wrong)
                        r = task_fail(t, -EIO, "%.100s: %llu files differ after the copy", json_string_value(v), (unsigned long long)wrong);
                r = r < 0 ? r : tree_write_json(t, json_string_value(v), "manifest.json", result.manifest);
                o = figures(&result);
                json_object_set(o, "to", v);
                json_array_append_new(mirrors, o);
                json_decref(result.manifest);
                task_progress(t, -1, (int64_t)i + 1, (int64_t)json_array_size(list), NULL);
        }
        json_object_set_new(t->report, "mirrors", mirrors);
        return r;
}

/* Copy, compare all of it, and only then write the manifest that says so, and with `switch` the word at the old place of where to look now. */
int migrate_run(struct task *t)
{
        struct tree_result result = {0};
        int r = 0;
        const char *from = task_string(t, t->payload, "from", NULL, &r), *to = task_string(t, t->payload, "to", NULL, &r);
        const char *manifest = task_string(t, t->payload, "manifest", "manifest.json", &r);
        uint64_t wrong = 0;
        json_t *o;

        if (r >= 0 && strchr(manifest, '/'))
                r = task_fail(t, -EINVAL, "manifest is no name of a file");
        r = r < 0 ? r : tree_copy(t, from, to, false, &result);
        r = r < 0 ? r : tree_verify(t, to, result.manifest, &wrong);
        if (r >= 0 && wrong)
                r = task_fail(t, -EIO, "%llu files differ after the copy; nothing was switched", (unsigned long long)wrong);
        if (r >= 0) {
                o = json_pack("{s:s, s:s, s:O}", "from", from, "to", to, "files", result.manifest);
                r = tree_write_json(t, to, manifest, o);
                json_decref(o);
        }
        /* The old place learns where its content went, last of all. */
        if (r >= 0 && task_bool(t, t->payload, "switch", false, &r)) {
                o = json_pack("{s:s}", "moved_to", to);
                r = tree_write_json(t, from, "moved.json", o);
                json_decref(o);
        }
        json_object_update_new(t->report, figures(&result));
        json_decref(result.manifest);
        return r;
}

static int on_check(void *context, int columns, char **values, char **names)
{
        snprintf(context, 128, "%.120s", columns && values[0] ? values[0] : "");
        return 0;
}

static int optimise_sqlite(struct task *t, const char *path)
{
        scoped_fd int fd = task_open(t, path, false);
        char integrity[128] = "", *error = NULL;
        struct stat before, after;
        sqlite3 *db = NULL;
        int r = fd;

        if (fd < 0 || fstat(fd, &before) < 0)
                return fd < 0 ? fd : -errno;
        if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, NULL) != SQLITE_OK)
                r = task_fail(t, -EINVAL, "%.200s: %s", path, db ? sqlite3_errmsg(db) : "no memory");
        if (r >= 0) {
                sqlite3_busy_timeout(db, 10000);
                if (sqlite3_exec(db, "PRAGMA integrity_check(1)", on_check, integrity, &error) != SQLITE_OK || strcmp(integrity, "ok") != 0)
                        r = task_fail(t, -EINVAL, "%.200s: it is damaged (%.120s); nothing was changed", path, error ? error : integrity);
        }
        task_progress(t, 0.3, 0, 0, "checked");
        if (r >= 0 && sqlite3_exec(db, "VACUUM; ANALYZE; PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, &error) != SQLITE_OK)
                r = task_fail(t, -EAGAIN, "%.200s: %.200s", path, error ? error : "");
        sqlite3_free(error);
        sqlite3_close(db);
        if (r >= 0 && stat(path, &after) == 0)
                json_object_update_new(t->report, json_pack("{s:s, s:I, s:I}", "integrity", integrity, "bytes_before", (json_int_t)before.st_size, "bytes_after",
                                                            (json_int_t)after.st_size));
        return r < 0 ? r : 0;
}

int optimise_run(struct task *t)
{
        int r = 0;
        const char *path = task_string(t, t->payload, "path", NULL, &r), *kind = task_string(t, t->payload, "kind", "sqlite", &r);

        if (r < 0)
                return r;
        if (strcmp(kind, "sqlite") != 0)
                return task_fail(t, -EINVAL, "kind is not sqlite, the only one so far");
        return optimise_sqlite(t, path);
}
