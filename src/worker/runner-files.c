/* runner-files.c: a task's files: brought before it starts, taken after it ended. What lies in the work folder then is a stranger's: no link in it is followed. */
#include "worker/runner-internal.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define OUTPUTS 99 /* and output.log: a pool takes 100 */
#define WALKED 200000
#define DEPTH 64
#define FUNCTION_FOLDER "out"

static int failed(struct run_failure *f, int error, const char *code, bool retry, bool worker, const char *text)
{
        *f = (struct run_failure){.code = code, .retry = retry, .worker = worker};
        snprintf(f->text, sizeof f->text, "%.255s", text);
        return error;
}

static int moved(void *context, uint64_t bytes, uint64_t total)
{
        struct run *r = context;

        if (total)
                run_progress(r, -1, r->child ? "sending output" : "fetching input");
        return run_is_stopped(r);
}

static int put_in_place(struct run *r, const json_t *entry, struct run_failure *failure)
{
        const char *name = json_string_value(json_object_get(entry, "name")), *sha = json_string_value(json_object_get(entry, "sha256"));
        const char *text = json_string_value(json_object_get(entry, "text"));
        char path[PATH_MAX], message[ARTIFACT_MESSAGE] = "", why[SPEC_MESSAGE + ARTIFACT_MESSAGE];
        bool own = r->settings->confine.root;
        uid_t user = CONFINE_UID + r->slot;
        scoped_fd int fd = -1;
        int n = 0;

        for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
                snprintf(path, sizeof path, "%.3800s/%.*s", r->work, (int)(slash - name), name);
                if (mkdir(path, 0700) == 0 && own && chown(path, user, CONFINE_GID) < 0)
                        n = -errno;
        }
        snprintf(path, sizeof path, "%.3800s/%s", r->work, name);
        fd = n < 0 ? n : open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, json_is_true(json_object_get(entry, "executable")) ? 0700 : 0600);
        if (fd < 0) {
                n = -errno;
                snprintf(why, sizeof why, "files: can't make \"%.150s\": %s", name, error_text(n));
                return failed(failure, n, n == -EEXIST ? "payload" : "worker.folder", n != -EEXIST, n != -EEXIST, why);
        }
        if (text)
                n = write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -EIO;
        else
                n = artifact_get(&r->artifact, sha, r->spec.limits.disk_bytes - r->fetched_bytes, fd, message);
        if (n >= 0) {
                off_t size = lseek(fd, 0, SEEK_END);

                r->fetched_bytes += size > 0 ? (uint64_t)size : 0;
                if (r->fetched_bytes > r->spec.limits.disk_bytes)
                        n = -E_LIMIT;
        }
        if (n >= 0 && own && fchown(fd, user, CONFINE_GID) < 0)
                n = -errno;
        if (n >= 0)
                return 0;
        snprintf(why, sizeof why, "files: \"%.100s\": %s", name, n == -E_LIMIT ? "more than limits.disk" : message[0] ? message : error_text(n));
        if (n == -ENOENT || n == -EBADMSG || n == -E_LIMIT)
                return failed(failure, n, "input", false, false, why);
        return failed(failure, n, "worker.fetch", true, true, why);
}

int run_fetch(struct run *r, struct run_failure *failure)
{
        json_t *v;
        size_t i;
        int n;

        r->artifact.moved = moved;
        r->artifact.context = r;
        json_array_foreach (r->spec.files, i, v) {
                n = put_in_place(r, v, failure);
                if (n < 0 || run_is_stopped(r))
                        return n;
        }
        return 0;
}

/* A walk over what the task left. */
struct walk {
        struct run *r;
        struct run_failure *failure;
        uint32_t looked, taken;
};

static bool wanted(const struct run *r, const char *path)
{
        const json_t *v;
        size_t i;

        if (r->spec.function && !strncmp(path, FUNCTION_FOLDER "/", 4))
                return true;
        json_array_foreach (r->spec.outputs, i, v)
                if (fnmatch(json_string_value(v), path, FNM_PATHNAME) == 0)
                        return true;
        return false;
}

static int send_output(struct run *r, int fd, const char *name, struct run_failure *failure)
{
        char sha[ARTIFACT_SHA], message[ARTIFACT_MESSAGE] = "", why[SPEC_MESSAGE + ARTIFACT_MESSAGE];
        uint64_t bytes;
        int n = artifact_put(&r->artifact, fd, sha, &bytes, message);

        if (n < 0) {
                snprintf(why, sizeof why, "output \"%.100s\": %s", name, message);
                return failed(failure, n, "worker.send", true, true, why);
        }
        json_array_append_new(r->artifacts, json_pack("{s:s, s:s, s:I}", "name", name, "sha256", sha, "bytes", (json_int_t)bytes));
        return 0;
}

static int walk_folder(struct walk *w, int folder, const char *below, int depth)
{
        DIR *d = fdopendir(folder);
        struct dirent *e;
        int n = 0;

        if (!d) {
                close(folder);
                return 0;
        }
        while (n >= 0 && (e = readdir(d)) && !run_is_stopped(w->r)) {
                struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
                char path[SPEC_NAME];
                struct stat st;
                int fd;

                if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
                        continue;
                if (++w->looked > WALKED)
                        break;
                if (snprintf(path, sizeof path, "%s%s%s", below, below[0] ? "/" : "", e->d_name) >= (int)sizeof path ||
                    fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                if (S_ISDIR(st.st_mode) && depth < DEPTH) {
                        fd = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                        if (fd >= 0)
                                n = walk_folder(w, fd, path, depth + 1);
                        continue;
                }
                if (!S_ISREG(st.st_mode) || !wanted(w->r, path) || !spec_is_path(path))
                        continue;
                fd = (int)syscall(SYS_openat2, dirfd(d), e->d_name, &how, sizeof how);
                if (fd < 0)
                        continue;
                if (w->taken++ >= OUTPUTS)
                        n = failed(w->failure, -E2BIG, "output", false, false, "more than 99 files match outputs; pack them into one");
                else if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
                        n = send_output(w->r, fd, w->r->spec.function && !strncmp(path, FUNCTION_FOLDER "/", 4) ? path + 4 : path, w->failure);
                close(fd);
        }
        closedir(d);
        return n;
}

int run_collect(struct run *r, struct run_failure *failure)
{
        struct walk w = {.r = r, .failure = failure};
        bool good = WIFEXITED(r->status) && WEXITSTATUS(r->status) == 0 && !r->killed;
        int n = 0, fd;

        if (good && (r->spec.function || r->spec.outputs)) {
                fd = open(r->work, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fd >= 0)
                        n = walk_folder(&w, fd, "", 0);
        }
        /* All of it, when the log could not hold all. */
        if (n >= 0 && r->log_cut && r->saved_bytes)
                n = send_output(r, r->saved, "output.log", failure);
        return n;
}
