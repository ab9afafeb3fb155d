/* tree.c: copies and compares folders; see tree.h. Everything is opened below descriptors and no link is followed. */
#include "worker/task/tree.h"
#include "worker/task/data.h"

#include "base/error.h"
#include "base/fd.h"
#include "worker/spec.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define DEPTH 64
#define FILES 1000000
#define FRESH ".berth-new"

typedef int (*tree_fn)(void *context, int folder, const char *name, const char *path, bool is_folder);

/* All below, children before their folder; -errno ends it. */
static int walk(int folder, const char *below, int depth, uint64_t *left, tree_fn fn, void *context)
{
        int copy = dup(folder), r = 0;
        DIR *d = copy < 0 ? NULL : fdopendir(copy);
        struct dirent *e;

        if (!d) {
                fd_close_at(&copy);
                return -errno;
        }
        rewinddir(d);
        while (r >= 0 && (e = readdir(d))) {
                char path[SPEC_NAME];
                struct stat st;

                if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
                        continue;
                if (!(*left)--) {
                        r = -E2BIG;
                        break;
                }
                if (snprintf(path, sizeof path, "%s%s%s", below, below[0] ? "/" : "", e->d_name) >= (int)sizeof path) {
                        r = -ENAMETOOLONG;
                        break;
                }
                if (fstatat(folder, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                if (S_ISDIR(st.st_mode)) {
                        scoped_fd int inner = openat(folder, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

                        r = inner < 0 ? -errno : depth >= DEPTH ? -ELOOP : walk(inner, path, depth + 1, left, fn, context);
                        r = r < 0 ? r : fn(context, folder, e->d_name, path, true);
                } else if (S_ISREG(st.st_mode)) {
                        r = fn(context, folder, e->d_name, path, false);
                }
        }
        closedir(d);
        return r;
}

struct copying {
        struct task *t;
        int to;
        struct tree_result *result;
};

/* The folder of path below `to`, made; its last part in *ret_name. */
static int parent(int to, const char *path, const char **ret_name)
{
        int at = dup(to);

        *ret_name = path;
        for (const char *slash; at >= 0 && (slash = strchr(*ret_name, '/')); *ret_name = slash + 1) {
                char part[SPEC_NAME];
                int next;

                snprintf(part, sizeof part, "%.*s", (int)(slash - *ret_name), *ret_name);
                if (mkdirat(at, part, 0777) < 0 && errno != EEXIST)
                        next = -1;
                else
                        next = openat(at, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                fd_close_at(&at);
                at = next;
        }
        return at < 0 ? -errno : at;
}

static int copy_bytes(struct task *t, int from, int to, uint64_t *bytes)
{
        char buffer[1 << 16];
        ssize_t n;

        while ((n = read(from, buffer, sizeof buffer)) > 0) {
                for (ssize_t done = 0; done < n;) {
                        ssize_t w = write(to, buffer + done, (size_t)(n - done));

                        if (w < 0)
                                return -errno;
                        done += w;
                }
                *bytes += (uint64_t)n;
                task_advance(t, (uint64_t)n);
        }
        return n < 0 ? -errno : 0;
}

static int put(struct copying *c, int from, const char *path, const char *sha, mode_t mode)
{
        const char *name;
        scoped_fd int folder = parent(c->to, path, &name), there = -1, fresh = -1;
        char temporary[SPEC_NAME + sizeof FRESH], got[65] = "";
        int r;

        if (folder < 0)
                return folder;
        there = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        r = there < 0 ? 0 : data_digest(c->t, there, got);
        if (r >= 0 && !strcmp(got, sha)) {
                c->result->same++;
                return 0;
        }
        snprintf(temporary, sizeof temporary, "%s%s", name, FRESH);
        (void)unlinkat(folder, temporary, 0);
        fresh = openat(folder, temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666 | (mode & 0111));
        if (fresh < 0)
                return -errno;
        r = lseek(from, 0, SEEK_SET) < 0 ? -errno : copy_bytes(c->t, from, fresh, &c->result->copied_bytes);
        if (r >= 0 && fsync(fresh) < 0)
                r = -errno;
        r = r < 0 ? r : data_digest(c->t, fresh, got);
        if (r >= 0 && strcmp(got, sha) != 0) /* it changed while it was copied, or the disk lies */
                r = -EIO;
        if (r >= 0 && renameat(folder, temporary, folder, name) < 0)
                r = -errno;
        if (r < 0) {
                (void)unlinkat(folder, temporary, 0);
                return r;
        }
        c->result->copied++;
        c->result->verified++;
        return 0;
}

static int copy_one(void *context, int folder, const char *name, const char *path, bool is_folder)
{
        struct copying *c = context;
        scoped_fd int fd = -1;
        struct stat st;
        char sha[65];
        size_t n = strlen(name);
        int r;

        if (is_folder || (n > strlen(FRESH) && !strcmp(name + n - strlen(FRESH), FRESH)))
                return 0;
        fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        r = data_digest(c->t, fd, sha);
        r = r < 0 ? r : put(c, fd, path, sha, st.st_mode);
        if (r < 0)
                return task_fail(c->t, r, "%.200s: %s", path, error_text(r));
        c->result->files++;
        json_object_set_new(c->result->manifest, path, json_pack("{s:s, s:I}", "sha256", sha, "bytes", (json_int_t)st.st_size));
        return 0;
}

static int remove_one(void *context, int folder, const char *name, const char *path, bool is_folder)
{
        struct copying *c = context;

        if (is_folder) {
                (void)unlinkat(folder, name, AT_REMOVEDIR); /* only when it has become empty */
                return 0;
        }
        if (json_object_get(c->result->manifest, path) || !strcmp(path, "manifest.json"))
                return 0;
        if (unlinkat(folder, name, 0) < 0)
                return -errno;
        c->result->removed++;
        return 0;
}

static int weigh(void *context, int folder, const char *name, const char *path, bool is_folder)
{
        struct stat st;

        if (!is_folder && fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
                ((struct task *)context)->total_bytes += (uint64_t)st.st_size;
        return 0;
}

int tree_copy(struct task *t, const char *from, const char *to, bool remove, struct tree_result *ret)
{
        scoped_fd int source = task_folder(t, from, false), target = source < 0 ? -1 : task_folder(t, to, true);
        struct copying c = {.t = t, .to = target, .result = ret};
        uint64_t left = FILES;
        struct stat a, b;
        int r;

        *ret = (struct tree_result){.manifest = json_object()};
        if (source < 0 || target < 0)
                return source < 0 ? source : target;
        if (fstat(source, &a) == 0 && fstat(target, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
                return task_fail(t, -EINVAL, "from and to are the same folder");
        r = walk(source, "", 0, &left, weigh, t);
        left = FILES;
        r = r < 0 ? r : walk(source, "", 0, &left, copy_one, &c);
        left = FILES;
        if (r >= 0 && remove)
                r = walk(target, "", 0, &left, remove_one, &c);
        return r < 0 && !t->message[0] ? task_fail(t, r, "%.100s to %.100s: %s", from, to, error_text(r)) : r;
}

int tree_verify(struct task *t, const char *folder, const json_t *manifest, uint64_t *ret_wrong)
{
        scoped_fd int root = task_folder(t, folder, false);
        const char *path;
        json_t *v;

        if (root < 0)
                return root;
        *ret_wrong = 0;
        json_object_foreach ((json_t *)manifest, path, v) {
                const char *name;
                scoped_fd int at = parent(root, path, &name), fd = at < 0 ? -1 : openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
                const char *sha = json_string_value(json_object_get(v, "sha256"));
                char got[65];

                if (fd < 0 || !sha || data_digest(t, fd, got) < 0 || strcmp(got, sha) != 0)
                        ++*ret_wrong;
        }
        return 0;
}

int tree_write_json(struct task *t, const char *folder, const char *name, const json_t *value)
{
        scoped_fd int root = task_folder(t, folder, true), fd = -1;
        char *text scoped_free = json_dumps(value, JSON_INDENT(1) | JSON_SORT_KEYS), temporary[SPEC_NAME];
        size_t n = text ? strlen(text) : 0;

        if (root < 0 || !text)
                return root < 0 ? root : -ENOMEM;
        snprintf(temporary, sizeof temporary, "%.200s%s", name, FRESH);
        (void)unlinkat(root, temporary, 0);
        fd = openat(root, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (fd < 0 || write(fd, text, n) != (ssize_t)n || fsync(fd) < 0 || renameat(root, temporary, root, name) < 0)
                return task_fail(t, errno ? -errno : -EIO, "can't write %.100s in %.100s", name, folder);
        return 0;
}
