/* group.c: control groups of tasks; see group.h. */
#include "worker/group.h"

#include "base/error.h"
#include "base/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define OWN "berth-worker" /* where the worker itself goes */

static int join_path(char path[PATH_MAX], const char *folder, const char *name)
{
        return snprintf(path, PATH_MAX, "%s/%s", folder, name) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int write_text(const char *folder, const char *name, const char *text)
{
        scoped_fd int fd = -1;
        char path[PATH_MAX];
        ssize_t n;

        if (join_path(path, folder, name) < 0)
                return -ENAMETOOLONG;
        fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        n = write(fd, text, strlen(text));
        return n < 0 ? -errno : (size_t)n == strlen(text) ? 0 : -EIO;
}

static int read_text(const char *folder, const char *name, char *text, size_t size)
{
        scoped_fd int fd = -1;
        char path[PATH_MAX];
        ssize_t n;

        if (join_path(path, folder, name) < 0)
                return -ENAMETOOLONG;
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        n = read(fd, text, size - 1);
        if (n < 0)
                return -errno;
        text[n] = '\0';
        return 0;
}

/* The group of the line "N:CONTROLLERS:PATH" that has the controller; "" is version 2's. */
static bool own_group(const char *self, const char *controller, char *ret, size_t size)
{
        for (const char *line = self; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
                const char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL, *end = strchrnul(line, '\n');

                if (!path || path > end)
                        continue;
                for (const char *word = ++list; word <= path; word += strcspn(word, ",:") + 1) {
                        size_t n = strcspn(word, ",:");

                        if (n == strlen(controller) && !strncmp(word, controller, n))
                                return snprintf(ret, size, "%.*s", (int)(end - path - 1), path + 1) < (int)size && !strstr(ret, "/..");
                        if (word + n >= path)
                                break;
                }
        }
        return false;
}

static bool has_word(const char *text, const char *word)
{
        for (const char *p = text; (p = strstr(p, word)); p += strlen(word))
                if ((p == text || p[-1] == ' ') && strchr(" \n", p[strlen(word)]))
                        return true;
        return false;
}

static int find_second(const char *root, const char *self, struct group_place *ret, char why[200])
{
        char group[PATH_MAX / 2], text[4096], own[PATH_MAX];
        int r;

        if (!own_group(self, "", group, sizeof group) || snprintf(ret->path, sizeof ret->path, "%s%s", root, strcmp(group, "/") ? group : "") >= (int)sizeof ret->path)
                return -E_UNAVAILABLE;
        if (read_text(ret->path, "cgroup.controllers", text, sizeof text) < 0 || !has_word(text, "memory")) {
                snprintf(why, 200, "the kernel's control groups have no memory controller here");
                return -E_UNAVAILABLE;
        }
        r = read_text(ret->path, "cgroup.subtree_control", text, sizeof text);
        if (r >= 0 && has_word(text, "memory") && access(ret->path, W_OK) == 0)
                return 0; /* an inner group already, as the root is */
        if (join_path(own, ret->path, OWN) < 0 || (mkdir(own, 0755) < 0 && errno != EEXIST)) {
                snprintf(why, 200, "its control group is not delegated to it: %s", strerror(errno));
                return -E_UNAVAILABLE;
        }
        r = write_text(own, "cgroup.procs", "0");
        r = r < 0 ? r : write_text(ret->path, "cgroup.subtree_control", "+memory");
        if (r < 0) {
                (void)!write_text(ret->path, "cgroup.procs", "0");
                (void)rmdir(own);
                snprintf(why, 200, r == -EBUSY ? "others share its control group; it wants one of its own (systemd: Delegate=yes)" : "its control group is not delegated to it: %s",
                         strerror(-r));
                return -E_UNAVAILABLE;
        }
        return 0;
}

static int find_first(const char *root, const char *self, struct group_place *ret)
{
        char group[PATH_MAX / 2], trial[PATH_MAX];

        if (!own_group(self, "memory", group, sizeof group) ||
            snprintf(ret->path, sizeof ret->path, "%s/memory%s", root, strcmp(group, "/") ? group : "") >= (int)sizeof ret->path ||
            snprintf(trial, sizeof trial, "%.4000s/berth-trial-%d", ret->path, (int)getpid()) >= (int)sizeof trial || mkdir(trial, 0755) < 0)
                return -E_UNAVAILABLE;
        (void)rmdir(trial);
        return 0;
}

/* Groups of runners that were killed. */
static void sweep(const char *path)
{
        DIR *d = opendir(path);
        struct dirent *e;
        char name[PATH_MAX];
        int pid;

        while (d && (e = readdir(d)))
                if (sscanf(e->d_name, GROUP_TASK "%d", &pid) == 1 && pid > 0 && kill(pid, 0) < 0 && errno == ESRCH && join_path(name, path, e->d_name) >= 0)
                        (void)rmdir(name);
        if (d)
                closedir(d);
}

int group_find(const char *root, const char *self, struct group_place *ret, char why[200])
{
        snprintf(why, 200, "no control groups here");
        *ret = (struct group_place){.version = 2};
        if (find_second(root, self, ret, why) < 0) {
                ret->version = 1;
                if (find_first(root, self, ret) < 0) {
                        *ret = (struct group_place){0};
                        return -E_UNAVAILABLE;
                }
        }
        sweep(ret->path);
        return 0;
}

int group_open(const struct group_place *place, const char *name, uint64_t memory_bytes, struct group *ret)
{
        const char *limit = place->version == 2 ? "memory.max" : "memory.limit_in_bytes";
        struct group g = {.version = place->version, .procs = -1};
        char text[32], path[PATH_MAX];
        int r;

        *ret = GROUP_NONE;
        if (!place->version)
                return -E_UNAVAILABLE;
        r = join_path(g.path, place->path, name);
        if (r < 0)
                return r;
        if (mkdir(g.path, 0755) < 0 && errno != EEXIST)
                return -errno;
        snprintf(text, sizeof text, "%llu", (unsigned long long)memory_bytes);
        r = memory_bytes ? write_text(g.path, limit, text) : 0;
        if (r >= 0 && place->version == 2) {
                /* What was swapped counts, too, as it does where limits are watched; one that is ended is ended as a whole. */
                (void)!write_text(g.path, "memory.swap.max", "0");
                (void)!write_text(g.path, "memory.oom.group", "1");
        }
        r = r < 0 ? r : join_path(path, g.path, "cgroup.procs");
        if (r >= 0) {
                g.procs = open(path, O_WRONLY | O_CLOEXEC);
                r = g.procs < 0 ? -errno : 0;
        }
        if (r < 0) {
                (void)rmdir(g.path);
                return r;
        }
        *ret = g;
        return 0;
}

int group_join(const struct group *g)
{
        return g->procs < 0 || write(g->procs, "0", 1) == 1 ? 0 : -errno;
}

uint64_t group_killed(const struct group *g)
{
        char text[1024], *at;

        if (!g->path[0] || read_text(g->path, g->version == 2 ? "memory.events" : "memory.oom_control", text, sizeof text) < 0)
                return 0;
        at = strstr(text, "oom_kill ");
        return at ? strtoull(at + 9, NULL, 10) : 0;
}

void group_close(struct group *g)
{
        const struct timespec moment = {.tv_nsec = 10000000};

        fd_close_at(&g->procs);
        /* The last process leaves it a moment after its parent has heard of its end. */
        for (int tries = 0; g->path[0] && rmdir(g->path) < 0 && errno == EBUSY && tries < 100; tries++)
                nanosleep(&moment, NULL);
        *g = GROUP_NONE;
}
