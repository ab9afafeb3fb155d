/* store.c: which body a URL names, and the checks that both bodies can rely on; see store.h and body.h. */
#include "store/store.h"

#include "base/error.h"
#include "store/body.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const table_names[STORE_TABLES] = {
        [STORE_TASK] = "task",   [STORE_WORKER] = "worker", [STORE_ACCOUNT] = "account", [STORE_KEY] = "key",
        [STORE_SESSION] = "session", [STORE_AUDIT] = "audit", [STORE_FEED] = "feed",     [STORE_ANSWER] = "answer",
        [STORE_OBJECT] = "object", [STORE_SETTING] = "setting", [STORE_USAGE] = "usage",
};

const char *store_table_name(enum store_table table)
{
        return (unsigned)table < STORE_TABLES ? table_names[table] : NULL;
}

int store_fail(struct store *store, int error, const char *format, ...)
{
        va_list args;
        char *c;

        va_start(args, format);
        vsnprintf(store->problem, sizeof(store->problem), format, args);
        va_end(args);
        for (c = store->problem; *c; c++) /* a server's message may have several lines */
                if ((unsigned char)*c < ' ')
                        *c = ' ';
        while (c > store->problem && c[-1] == ' ')
                *--c = '\0';
        return error;
}

const char *store_problem(const struct store *store)
{
        return store->problem;
}

int store_open(const struct store_options *options, struct store **ret_store, char message[STORE_MESSAGE])
{
        const char *url = options->url, *colon = url ? strchr(url, ':') : NULL;
        size_t scheme = colon ? (size_t)(colon - url) : 0;

        message[0] = '\0';
        if (!url || !*url) {
                snprintf(message, STORE_MESSAGE, "no store named: give a path, sqlite:PATH or postgresql://HOST/DATABASE");
                return -EINVAL;
        }
        if (!strncmp(url, "postgresql://", 13) || !strncmp(url, "postgres://", 11))
                return postgres_open(options, ret_store, message);
        if (scheme == 6 && !strncmp(url, "sqlite", 6)) {
                url += 7;
                if (!strncmp(url, "//", 2)) /* sqlite:///path, as others write it */
                        url += 2;
        } else if (colon && !strncmp(colon, "://", 3)) { /* the rest of a foreign URL may hold a password */
                snprintf(message, STORE_MESSAGE, "no store is called \"%.*s://\": give a path, sqlite:PATH or postgresql://HOST/DATABASE",
                         scheme > 20 ? 20 : (int)scheme, options->url);
                return -EINVAL;
        } else if (scheme == 10 && !strncmp(url, "postgresql", 10)) {
                snprintf(message, STORE_MESSAGE, "a PostgreSQL store is written postgresql://HOST/DATABASE (two slashes after the colon)");
                return -EINVAL;
        }
        if (!*url) {
                snprintf(message, STORE_MESSAGE, "sqlite: without a path; write sqlite:/path/of/pool.db");
                return -EINVAL;
        }
        return sqlite_open(options, url, ret_store, message);
}

void store_close(struct store *store)
{
        if (store)
                store->body->close(store);
}

const char *store_kind(const struct store *store)
{
        return store->body->kind;
}

/* --- what may go in --- */

/* Valid UTF-8 (RFC 3629) without a zero byte: what both stores keep unchanged. Most texts are ASCII: eight bytes at a time. */
static bool text_is_good(const char *text, size_t bytes)
{
        const unsigned char *s = (const unsigned char *)text, *end = s + bytes;
        const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;
        uint64_t word;

        while (s < end) {
                if (end - s >= 8) {
                        memcpy(&word, s, 8);
                        if (!((word | (word - ones)) & high)) { /* no byte above 127, none zero */
                                s += 8;
                                continue;
                        }
                }
                if (*s == 0)
                        return false;
                if (*s < 0x80) {
                        s++;
                        continue;
                }
                int more = *s >= 0xf0 ? 3 : *s >= 0xe0 ? 2 : 1;

                if (*s < 0xc2 || *s > 0xf4 || end - s <= more || (s[1] & 0xc0) != 0x80)
                        return false;
                if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f) || (*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] > 0x8f))
                        return false;
                for (int i = 2; i <= more; i++)
                        if ((s[i] & 0xc0) != 0x80)
                                return false;
                s += more + 1;
        }
        return true;
}

static int check_text(struct store *store, const struct store_row *row, const char *what, const char *text, size_t bytes, size_t max)
{
        if (!text)
                return 0;
        if (bytes > max)
                return store_fail(store, -E2BIG, "%s: a %s of %zu bytes; at most %zu can be stored", table_names[row->table], what, bytes, max);
        if (!text_is_good(text, bytes))
                return store_fail(store, -EINVAL, "%s: a %s that is not UTF-8, or holds a zero byte", table_names[row->table], what);
        return 0;
}

static int check_row(struct store *store, const struct store_change *change)
{
        const struct store_row *row = &change->row;
        int r;

        if ((unsigned)row->table >= STORE_TABLES || (change->kind != STORE_PUT && change->kind != STORE_DELETE))
                return store_fail(store, -EINVAL, "a change of kind %d of table %d: no such thing", (int)change->kind, (int)row->table);
        if (row->queue >= (row->table == STORE_TASK ? STORE_QUEUES : 1))
                return store_fail(store, -EINVAL, "%s: queue %u; there are 0 to %d, for tasks alone", table_names[row->table], row->queue, STORE_QUEUES - 1);
        if (id_is_none(&row->id))
                return store_fail(store, -EINVAL, "%s: a row without an id", table_names[row->table]);
        if (change->kind == STORE_DELETE)
                return 0;
        if (row->state > INT32_MAX || row->kind > INT32_MAX || row->until_ms < 0)
                return store_fail(store, -EINVAL, "%s: state %u, kind %u, until %lld: out of range", table_names[row->table], row->state, row->kind,
                                  (long long)row->until_ms);
        r = check_text(store, row, "key", row->text_key, row->text_key ? strlen(row->text_key) : 0, STORE_KEY_MAX);
        if (!r)
                r = check_text(store, row, "spec", row->spec, row->spec_bytes, STORE_TEXT_MAX);
        return r ? r : check_text(store, row, "status", row->status, row->status_bytes, STORE_TEXT_MAX);
}

int store_check_epochs(struct store *store, const uint64_t *epochs, const struct store_batch *batches, size_t count, uint32_t *ret_queues)
{
        uint32_t queues = 0;

        for (size_t b = 0; b < count; b++)
                for (size_t c = 0; c < batches[b].count; c++)
                        if (batches[b].changes[c].row.table == STORE_TASK)
                                queues |= 1u << batches[b].changes[c].row.queue;
        *ret_queues = queues;
        for (uint32_t q = 0; q < STORE_QUEUES; q++)
                if (queues & 1u << q && (!epochs || !epochs[q] || epochs[q] != store->claimed[q]))
                        return store_fail(store, -ESTALE, "queue %u is not this server's any more, or not in the epoch that the change names", q);
        return 0;
}

static int refuse_read_only(struct store *store)
{
        return store_fail(store, -EROFS, "the store was opened for reading only");
}

int store_commit(struct store *store, const uint64_t *epochs, const struct store_batch *batches, size_t count)
{
        store->problem[0] = '\0';
        if (store->read_only)
                return refuse_read_only(store);
        for (size_t b = 0; b < count; b++)
                for (size_t c = 0; c < batches[b].count; c++) {
                        int r = check_row(store, &batches[b].changes[c]);

                        if (r)
                                return r;
                }
        return store->body->commit(store, epochs, batches, count);
}

/* --- reading --- */

static int check_query(struct store *store, const struct store_query *query)
{
        store->problem[0] = '\0';
        if ((unsigned)query->table >= STORE_TABLES)
                return store_fail(store, -EINVAL, "table %d: no such thing", (int)query->table);
        return check_text(store, &(struct store_row){.table = query->table}, "key", query->text_key, query->text_key ? strlen(query->text_key) : 0,
                          STORE_KEY_MAX);
}

int store_list(struct store *store, const struct store_query *query, store_row_fn row, void *context)
{
        int r = check_query(store, query);

        return r ? r : store->body->list(store, query, row, context);
}

int store_get(struct store *store, enum store_table table, const struct id *id, store_row_fn row, void *context)
{
        int r = check_query(store, &(struct store_query){.table = table});

        return r ? r : store->body->get(store, table, id, row, context);
}

int store_count(struct store *store, const struct store_query *query, uint64_t *ret_count)
{
        int r = check_query(store, query);

        return r ? r : store->body->count(store, query, ret_count);
}

/* --- queues, sweeping --- */

static int check_queue(struct store *store, uint32_t queue)
{
        store->problem[0] = '\0';
        return queue < STORE_QUEUES ? 0 : store_fail(store, -EINVAL, "queue %u; there are 0 to %d", queue, STORE_QUEUES - 1);
}

int store_claim(struct store *store, uint32_t queue, uint64_t *ret_epoch, char owner[256])
{
        int r = check_queue(store, queue);

        owner[0] = '\0';
        if (!r && store->read_only)
                r = refuse_read_only(store);
        return r ? r : store->body->claim(store, queue, ret_epoch, owner);
}

int store_release(struct store *store, uint32_t queue)
{
        int r = check_queue(store, queue);

        return r || !store->claimed[queue] ? r : store->body->release(store, queue);
}

int store_owned(struct store *store)
{
        store->problem[0] = '\0';
        return store->body->owned(store);
}

int store_owner(struct store *store, uint32_t queue, uint64_t *ret_epoch, char owner[256])
{
        int r = check_queue(store, queue);

        owner[0] = '\0';
        return r ? r : store->body->owner(store, queue, ret_epoch, owner);
}

int store_sweep(struct store *store, enum store_table table, int64_t now_ms, size_t limit, uint64_t *ret_count)
{
        int r = check_query(store, &(struct store_query){.table = table});

        if (!r && store->read_only)
                r = refuse_read_only(store);
        return r ? r : store->body->sweep(store, table, now_ms, limit, ret_count);
}

/* --- company --- */

int store_survey(struct store *store, struct store_survey *ret_survey)
{
        *ret_survey = (struct store_survey){0};
        store->problem[0] = '\0';
        if (store->body->survey)
                return store->body->survey(store, ret_survey);
        if (store->server[0] && !store->read_only)
                memcpy(ret_survey->servers[ret_survey->server_count++].address, store->server, sizeof(store->server));
        for (uint32_t q = 0; q < STORE_QUEUES; q++) {
                ret_survey->queues[q].claimed = store->claimed[q];
                if (store->claimed[q])
                        memcpy(ret_survey->queues[q].owner, store->server, sizeof(store->server));
        }
        return 0;
}

int store_changed(struct store *store, uint64_t *cursor, store_row_fn row, void *context)
{
        store->problem[0] = '\0';
        if (store->body->changed)
                return store->body->changed(store, cursor, row, context);
        if (*cursor)
                return 0;
        *cursor = 1;
        return -ERANGE;
}

int store_about(struct store *store, char *text, size_t size)
{
        store->problem[0] = '\0';
        return store->body->about(store, text, size);
}

/* --- backup --- */

int store_backup(struct store *store, const char *path, int (*progress)(void *context, double share), void *context, char message[STORE_MESSAGE])
{
        char part[4096];
        int r;

        store->problem[0] = message[0] = '\0';
        r = store_backup_begin(path, part, message);
        if (r)
                return r;
        r = store->body->backup(store, part, progress, context);
        if (r) {
                snprintf(message, STORE_MESSAGE, "%s", *store->problem ? store->problem : error_text(r));
                (void)unlink(part);
                return r;
        }
        return store_backup_end(path, part, message);
}

int store_backup_begin(const char *path, char part[4096], char message[STORE_MESSAGE])
{
        struct stat there;
        int fd;

        if (snprintf(part, 4096, "%s.part", path) >= 4096) {
                snprintf(message, STORE_MESSAGE, "the backup's path is too long");
                return -ENAMETOOLONG;
        }
        if (!lstat(path, &there)) {
                snprintf(message, STORE_MESSAGE, "%.300s is there already; give a new name for the backup", path);
                return -EEXIST;
        }
        /* Ours alone to write and, as it holds every account's data, ours alone to read. What an interrupted backup left makes way. */
        if (unlink(part) && errno != ENOENT) {
                int r = -errno;

                snprintf(message, STORE_MESSAGE, "%.300s: %s", part, error_text(r));
                return r;
        }
        fd = open(part, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
        if (fd < 0) {
                int r = -errno;

                snprintf(message, STORE_MESSAGE, "%.300s: %s", part, error_text(r));
                return r;
        }
        close(fd);
        return 0;
}

static int sync_path(const char *path, int flags)
{
        int fd = open(path, flags | O_RDONLY | O_CLOEXEC), r = 0;

        if (fd < 0)
                return -errno;
        if (fsync(fd))
                r = -errno;
        close(fd);
        return r;
}

int store_backup_end(const char *path, const char *part, char message[STORE_MESSAGE])
{
        char folder[4096];
        char *slash;
        int r = sync_path(part, 0);

        if (!r && renameat2(AT_FDCWD, part, AT_FDCWD, path, RENAME_NOREPLACE))
                r = -errno;
        if (!r) {
                snprintf(folder, sizeof(folder), "%s", path);
                slash = strrchr(folder, '/');
                if (slash)
                        slash[slash == folder] = '\0';
                r = sync_path(slash ? folder : ".", O_DIRECTORY);
        }
        if (r) {
                snprintf(message, STORE_MESSAGE, "%.300s: %s", path, error_text(r));
                (void)unlink(part);
        }
        return r;
}
