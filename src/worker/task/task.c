/* task.c: what all functions share: progress, failures, members of the payload, and paths that can't leave the folders they are allowed; see task.h. */
#include "worker/task/task.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "worker/spec.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define TELL_NS (100 * NS_PER_MS)

int task_fail(struct task *t, int error, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        vsnprintf(t->message, sizeof t->message, format, args);
        va_end(args);
        return error;
}

void task_progress(struct task *t, double share, int64_t step, int64_t steps, const char *text)
{
        json_t *o = json_pack("{s:s}", "m", "progress");
        char *line scoped_free = NULL;

        if (share >= 0)
                json_object_set_new(o, "share", json_real(share > 1 ? 1 : share));
        if (steps > 0) {
                json_object_set_new(o, "step", json_integer(step));
                json_object_set_new(o, "steps", json_integer(steps));
        }
        if (text)
                json_object_set_new(o, "text", json_string(text));
        line = json_dumps(o, JSON_COMPACT);
        json_decref(o);
        t->told_ns = clock_now_ns();
        if (line)
                dprintf(TASK_FD, "%s\n", line);
}

void task_advance(struct task *t, uint64_t bytes)
{
        t->done_bytes += bytes;
        if (clock_now_ns() - t->told_ns >= TELL_NS)
                task_progress(t, t->total_bytes ? (double)t->done_bytes / (double)t->total_bytes : -1, 0, 0, NULL);
}

/* Below a folder and through no link: what a payload names may not step aside. */
static int open_beneath(int folder, const char *path, int flags)
{
        struct open_how how = {.flags = (uint64_t)flags | O_CLOEXEC, .mode = flags & O_CREAT ? 0666 : 0, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
        int fd = (int)syscall(SYS_openat2, folder, path, &how, sizeof how);

        return fd < 0 ? -errno : fd;
}

/* The folder that holds path, and the rest of it. */
static int find_root(struct task *t, const char *path, bool write, const char **ret_rest)
{
        const json_t *lists[] = {t->write, write ? NULL : t->read}, *v;
        size_t i;
        int fd;

        if (path[0] != '/') {
                if (!spec_is_path(path) && strcmp(path, ".") != 0)
                        return task_fail(t, -EINVAL, "\"%.200s\" is no path", path);
                *ret_rest = path;
                fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
                return fd < 0 ? -errno : fd;
        }
        for (int k = 0; k < 2; k++)
                json_array_foreach (lists[k], i, v) {
                        const char *folder = json_string_value(v);
                        size_t n = strlen(folder);

                        if (strncmp(path, folder, n) != 0 || (path[n] && path[n] != '/'))
                                continue;
                        *ret_rest = path[n] && path[n + 1] ? path + n + 1 : ".";
                        if (strcmp(*ret_rest, ".") != 0 && !spec_is_path(*ret_rest))
                                return task_fail(t, -EINVAL, "\"%.200s\" is no path", path);
                        fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
                        return fd < 0 ? task_fail(t, -errno, "%.200s: %s", folder, strerror(errno)) : fd;
                }
        return task_fail(t, -EACCES, "\"%.200s\" is below no folder that this worker shares for %s", path, write ? "writing" : "reading");
}

static int make_parents(int root, const char *path)
{
        char part[PATH_MAX];

        for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
                if ((size_t)(slash - path) >= sizeof part)
                        return -ENAMETOOLONG;
                memcpy(part, path, (size_t)(slash - path));
                part[slash - path] = 0;
                if (mkdirat(root, part, 0777) < 0 && errno != EEXIST)
                        return -errno;
        }
        return 0;
}

int task_open(struct task *t, const char *path, bool write)
{
        const char *rest;
        scoped_fd int root = find_root(t, path, write, &rest);
        struct stat st;
        int fd;

        if (root < 0)
                return root;
        if (write && (fd = make_parents(root, rest)) < 0)
                return task_fail(t, fd, "can't make the folders of \"%.200s\": %s", path, error_text(fd));
        fd = open_beneath(root, rest, write ? O_RDWR | O_CREAT | O_TRUNC | O_NONBLOCK : O_RDONLY | O_NONBLOCK);
        if (fd < 0)
                return task_fail(t, fd, "can't open \"%.200s\": %s", path, error_text(fd));
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
                close(fd);
                return task_fail(t, -EINVAL, "\"%.200s\" is no file", path);
        }
        return fd;
}

int task_folder(struct task *t, const char *path, bool write)
{
        const char *rest;
        scoped_fd int root = find_root(t, path, write, &rest);
        int fd, r;

        if (root < 0)
                return root;
        if (write && strcmp(rest, ".") != 0) {
                r = make_parents(root, rest);
                if (r < 0 || (mkdirat(root, rest, 0777) < 0 && errno != EEXIST))
                        return task_fail(t, r < 0 ? r : -errno, "can't make \"%.200s\": %s", path, error_text(r < 0 ? r : -errno));
        }
        fd = open_beneath(root, rest, O_RDONLY | O_DIRECTORY);
        return fd < 0 ? task_fail(t, fd, "can't open the folder \"%.200s\": %s", path, error_text(fd)) : fd;
}

const char *task_string(struct task *t, const json_t *o, const char *name, const char *otherwise, int *r)
{
        const json_t *v = json_object_get(o, name);

        if (!v || json_is_null(v)) {
                if (!otherwise && *r >= 0)
                        *r = task_fail(t, -EINVAL, "%s is missing", name);
                return otherwise;
        }
        if (!json_is_string(v) && *r >= 0)
                *r = task_fail(t, -EINVAL, "%s is no string", name);
        return json_is_string(v) ? json_string_value(v) : otherwise;
}

double task_number(struct task *t, const json_t *o, const char *name, double least, double most, double otherwise, int *r)
{
        const json_t *v = json_object_get(o, name);

        if (!v || json_is_null(v))
                return otherwise;
        if ((!json_is_number(v) || !(json_number_value(v) >= least && json_number_value(v) <= most)) && *r >= 0)
                *r = task_fail(t, -EINVAL, "%s is no number from %g to %g", name, least, most);
        return json_is_number(v) ? json_number_value(v) : otherwise;
}

bool task_bool(struct task *t, const json_t *o, const char *name, bool otherwise, int *r)
{
        const json_t *v = json_object_get(o, name);

        if (!v || json_is_null(v))
                return otherwise;
        if (!json_is_boolean(v) && *r >= 0)
                *r = task_fail(t, -EINVAL, "%s is neither true nor false", name);
        return json_is_true(v);
}
