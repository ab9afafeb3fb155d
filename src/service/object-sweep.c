/* object-sweep.c: artifacts that nobody needs any more. A file's time of change says when it was used last: brought, read, named by a task that was submitted or that ended. What
 * was not used for options.artifact_keep_ms (at least as long as ended tasks are kept, so that no kept task names it), and is named by no unfinished task, goes: first
 * its rows, and when that is durable, the file. So do uploads that were given up.
 *
 * Files are found by their age in another thread; whether they go is decided here, where every use is noticed: between the decision and the file's end its time is looked at
 * again. Of several servers on one folder each marks what its unfinished tasks name at every round. A power cut may forget the marks of its last seconds.
 */
#include "base/error.h"
#include "base/fd.h"
#include "service/internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define AT_ONCE 256
#define ROUND_MS (60 * 60000)

struct object_use {
        UT_hash_handle by_name;
        char sha256[65];
        uint64_t count;
};

struct found {
        char name[65 + ID_TEXT]; /* of an object its SHA-256, of an upload the file's */
        bool upload;
        struct id accounts[16];  /* whose rows there are; more are seen to at the next round */
        uint64_t bytes[16];
        size_t count, left;      /* left: rows beyond these */
};

struct object_job {
        struct job job;
        char folder[400];
        int64_t before_ms, now_ms;
        char (*used)[65];        /* of unfinished tasks */
        size_t used_count;
        struct found found[AT_ONCE];
        size_t count;
};

/* --- uses --- */

static void path_of(const char *folder, const char *sha256, char *path, size_t size)
{
        snprintf(path, size, "%s/objects/%.2s/%s", folder, sha256, sha256);
}

static int mark(const char *path, int64_t unix_ms)
{
        const struct timespec at = {.tv_sec = unix_ms / 1000, .tv_nsec = unix_ms % 1000 * 1000000};

        return utimensat(AT_FDCWD, path, (const struct timespec[]){at, at}, AT_SYMLINK_NOFOLLOW);
}

void object_touch(const struct service *s, const char *sha256)
{
        char path[600];

        path_of(s->folder, sha256, path, sizeof(path));
        (void)mark(path, s->unix_ms);
}

/* The next SHA-256 that the JSON names, or NULL. */
static const char *next_name(const char **at, char sha256[65])
{
        static const char before[] = "\"sha256\":\"";

        while (*at && (*at = strstr(*at, before))) {
                *at += sizeof(before) - 1;
                if (strspn(*at, "0123456789abcdef") == 64 && (*at)[64] == '"') {
                        memcpy(sha256, *at, 64);
                        sha256[64] = '\0';
                        return sha256;
                }
        }
        return NULL;
}

void objects_named(struct service *s, const char *json, int change)
{
        char sha256[65];

        while (next_name(&json, sha256)) {
                struct object_use *use;

                object_touch(s, sha256);
                HASH_FIND(by_name, s->object_uses, sha256, 64, use);
                if (!use && change > 0) {
                        use = calloc(1, sizeof(*use));
                        if (!use)
                                continue; /* its time says that it was used now: that lasts */
                        memcpy(use->sha256, sha256, sizeof(sha256));
                        HASH_ADD(by_name, s->object_uses, sha256, 64, use);
                }
                if (use && change < 0 && use->count <= 1) {
                        HASH_DELETE(by_name, s->object_uses, use);
                        free(use);
                } else if (use) {
                        use->count += (uint64_t)(int64_t)change;
                }
        }
}

/* --- found by another thread --- */

static void look_into(struct object_job *j, int objects, const char *name, bool upload)
{
        int fd = openat(objects, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        DIR *folder = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;
        struct stat st;

        if (!folder) {
                fd_close_at(&fd);
                return;
        }
        while (j->count < AT_ONCE && (entry = readdir(folder))) {
                struct found *found = &j->found[j->count];

                if (strlen(entry->d_name) >= sizeof(found->name) || (!upload && !object_sha256_valid(entry->d_name)) ||
                    fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
                    (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000 >= j->before_ms)
                        continue;
                *found = (struct found){.upload = upload};
                strcpy(found->name, entry->d_name);
                j->count++;
        }
        closedir(folder);
}

/* TEXT_KEY: SHA256.account_… */
static int row_of(void *context, const struct store_row *row)
{
        struct object_job *j = context;

        for (size_t i = 0; i < j->count && row->text_key; i++) {
                struct found *found = &j->found[i];

                if (found->upload || strncmp(found->name, row->text_key, 64))
                        continue;
                if (found->count == ARRAY_SIZE(found->accounts)) {
                        found->left++;
                        continue;
                }
                found->accounts[found->count] = row->account;
                if (row->spec && sscanf(row->spec, "{\"bytes\":%lu}", &found->bytes[found->count]) == 1)
                        found->count++;
                else
                        found->left++;
        }
        return 0;
}

static void run(struct job *job, struct store *store)
{
        struct object_job *j = (struct object_job *)job;
        char path[600];
        int fd = open(j->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *objects = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;

        if (!objects) {
                fd_close_at(&fd);
                return;
        }
        for (size_t i = 0; i < j->used_count; i++) {
                snprintf(path, sizeof(path), "%s/%.2s/%s", j->folder, j->used[i], j->used[i]);
                (void)mark(path, j->now_ms);
        }
        while (j->count < AT_ONCE && (entry = readdir(objects)))
                if (!strcmp(entry->d_name, "uploads") || (strlen(entry->d_name) == 2 && strspn(entry->d_name, "0123456789abcdef") == 2))
                        look_into(j, fd, entry->d_name, entry->d_name[0] == 'u');
        closedir(objects);
        if (j->count)
                job->error = store ? store_list(store, &(struct store_query){.table = STORE_OBJECT, .kind = -1}, row_of, j) : -E_UNAVAILABLE;
}

/* --- decided here --- */

struct going {
        struct found found;
        int64_t before_ms;
};

static bool is_old(const char *path, int64_t before_ms)
{
        struct stat st;

        return !lstat(path, &st) && (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000 < before_ms;
}

/* Its rows are gone, durably (or will not be: then it is found again). */
static void end_of(struct service *s, void *context, int error)
{
        struct going *g = context;
        char path[600];

        path_of(s->folder, g->found.name, path, sizeof(path));
        if (!error && is_old(path, g->before_ms)) {
                if (!g->found.left && !unlink(path))
                        s->counters.objects_swept++;
        } else if (!error) {
                /* Used in this very moment. */
                for (size_t i = 0; i < g->found.count; i++)
                        (void)!object_grant(s, g->found.name, &g->found.accounts[i], g->found.bytes[i]);
        }
        free(g);
}

static void let_go(struct service *s, const struct found *found, int64_t before_ms)
{
        struct object_use *use;
        struct operation *op;
        struct going *g;
        char path[600];

        HASH_FIND(by_name, s->object_uses, found->name, 64, use);
        path_of(s->folder, found->name, path, sizeof(path));
        if (use || !is_old(path, before_ms))
                return;
        g = malloc(sizeof(*g));
        if (!g)
                return;
        /* Rows of accounts that another server looks after are its own to judge; the file goes with the last row. */
        *g = (struct going){{.left = found->left}, before_ms};
        memcpy(g->found.name, found->name, sizeof(found->name));
        for (size_t i = 0; i < found->count; i++) {
                if (s->queues[service_queue_of(&found->accounts[i])].state != QUEUE_OURS) {
                        g->found.left++;
                        continue;
                }
                g->found.accounts[g->found.count] = found->accounts[i];
                g->found.bytes[g->found.count++] = found->bytes[i];
        }
        for (size_t i = 0; i < g->found.count; i++) {
                struct store_change gone = {.kind = STORE_DELETE, .row = {.table = STORE_OBJECT}};

                object_row_id(found->name, &g->found.accounts[i], &gone.row.id);
                if (pending_put(s, &gone) < 0) {
                        free(g);
                        return; /* rows may go without their file; it is found again */
                }
        }
        op = operation_add(s, OPERATION_CALL);
        op->call = end_of;
        op->context = g;
}

static void finish(struct service *s, struct job *job)
{
        struct object_job *j = (struct object_job *)job;
        char path[700];

        for (size_t i = 0; i < j->count && !job->error; i++) {
                const struct found *found = &j->found[i];

                if (!found->upload) {
                        let_go(s, found, j->before_ms);
                        continue;
                }
                snprintf(path, sizeof(path), "%s/uploads/%s", j->folder, found->name);
                if (is_old(path, j->before_ms) && object_upload_forget(s, found->name) && !unlink(path))
                        s->counters.objects_swept++;
        }
        s->sweeping_objects = false;
        if (j->count == AT_ONCE)
                s->objects_due_ms = 0;
        free(j->used);
        free(j);
}

void objects_sweep(struct service *s)
{
        uint64_t keep = s->options.artifact_keep_ms > s->options.keep_ms ? s->options.artifact_keep_ms : s->options.keep_ms;
        struct object_use *use, *next;
        struct object_job *j;

        /* What is kept for ever may name anything. */
        if (!s->options.artifact_keep_ms || !s->options.keep_ms || s->sweeping_objects || s->now_ms < s->objects_due_ms || service_store_error(s))
                return;
        s->objects_due_ms = s->now_ms + ROUND_MS;
        j = calloc(1, sizeof(*j));
        if (!j)
                return;
        j->job = (struct job){.run = run, .finish = finish};
        j->now_ms = s->unix_ms;
        j->before_ms = s->unix_ms - (int64_t)keep;
        snprintf(j->folder, sizeof(j->folder), "%s/objects", s->folder);
        j->used = calloc(HASH_CNT(by_name, s->object_uses) + 1u, sizeof(*j->used));
        if (!j->used) {
                free(j);
                return;
        }
        HASH_ITER(by_name, s->object_uses, use, next)
                memcpy(j->used[j->used_count++], use->sha256, sizeof(use->sha256));
        if (jobs_put(s->reader, &j->job) < 0) {
                free(j->used);
                free(j);
                return;
        }
        s->sweeping_objects = true;
}

void object_uses_free(struct service *s)
{
        struct object_use *use, *next;

        HASH_ITER(by_name, s->object_uses, use, next) {
                HASH_DELETE(by_name, s->object_uses, use);
                free(use);
        }
}
