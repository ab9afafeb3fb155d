/* watch.c: reads /proc/PID/task/TID/children, status and stat of a task's processes; walks its folder; see watch.h. */
#include "worker/watch.h"

#include "base/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* A small file of /proc; the length, or less than 0. */
static ssize_t read_small(const char *path, char *buffer, size_t size)
{
        scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
        size_t length = 0;

        if (fd < 0)
                return -errno;
        while (length + 1 < size) {
                ssize_t n = read(fd, buffer + length, size - 1 - length);

                if (n < 0)
                        return -errno;
                if (!n)
                        break;
                length += (size_t)n;
        }
        buffer[length] = 0;
        return (ssize_t)length;
}

/* Adds the children of all threads of pid to list. */
static bool add_children(pid_t pid, pid_t *list, uint32_t *count)
{
        char path[64], text[65536];
        struct dirent *e;
        DIR *tasks;
        bool read = false;

        snprintf(path, sizeof path, "/proc/%d/task", pid);
        tasks = opendir(path);
        if (!tasks)
                return false;
        while ((e = readdir(tasks))) {
                char file[PATH_MAX];

                if (e->d_name[0] == '.')
                        continue;
                snprintf(file, sizeof file, "%s/%s/children", path, e->d_name);
                if (read_small(file, text, sizeof text) < 0)
                        continue;
                read = true;
                for (char *p = text, *end; *p; p = end) {
                        long child = strtol(p, &end, 10);

                        if (end == p)
                                break;
                        if (*count < WATCH_PROCESSES)
                                list[(*count)++] = (pid_t)child;
                }
        }
        closedir(tasks);
        return read;
}

static uint32_t descend(pid_t root, pid_t *list, bool *ret_read)
{
        uint32_t count = 0;

        *ret_read = add_children(root, list, &count);
        for (uint32_t i = 0; i < count; i++)
                (void)add_children(list[i], list, &count);
        return count;
}

static void add_process(pid_t pid, struct watch_sample *s)
{
        static const char *const kinds[] = {"\nRssAnon:", "\nRssShmem:", "\nVmSwap:"};
        char path[64], text[4096], *p;
        unsigned long long user, system, child_user, child_system;

        snprintf(path, sizeof path, "/proc/%d/status", pid);
        if (read_small(path, text, sizeof text) <= 0)
                return;
        s->processes++;
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
                p = strstr(text, kinds[i]);
                if (p)
                        s->memory_bytes += strtoull(p + strlen(kinds[i]), NULL, 10) << 10;
        }
        snprintf(path, sizeof path, "/proc/%d/stat", pid);
        if (read_small(path, text, sizeof text) <= 0)
                return;
        p = strrchr(text, ')'); /* a name may hold anything but its end */
        if (p && sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu", &user, &system, &child_user, &child_system) == 4)
                s->cpu_ms += (user + system + child_user + child_system) * 1000 / (unsigned long long)sysconf(_SC_CLK_TCK);
}

void watch_look(pid_t root, bool itself, struct watch_sample *ret)
{
        pid_t *list scoped_free = malloc(WATCH_PROCESSES * sizeof *list);
        uint32_t count;

        *ret = (struct watch_sample){0};
        if (!list)
                return;
        count = descend(root, list, &ret->valid);
        if (itself)
                add_process(root, ret);
        for (uint32_t i = 0; i < count; i++)
                add_process(list[i], ret);
}

void watch_signal(pid_t root, int number, pid_t spare)
{
        pid_t *list scoped_free = malloc(WATCH_PROCESSES * sizeof *list);

        /* What forks while we look is found by the next look; a bound, in case something can't be killed. */
        for (int round = 0; list && round < (number == SIGKILL ? 100 : 1); round++) {
                bool read;
                uint32_t count = descend(root, list, &read);

                if (!count)
                        return;
                for (uint32_t i = count; i > 0; i--)
                        if (list[i - 1] != spare)
                                (void)kill(list[i - 1], number);
        }
}

static struct watch_folder walked; /* nftw has no context; only the runner's one thread comes here */
static uint64_t walk_most;

static int count_entry(const char *path, const struct stat *st, int kind, struct FTW *where)
{
        if (kind != FTW_NS)
                walked.bytes += (uint64_t)st->st_blocks * 512 / (S_ISREG(st->st_mode) && st->st_nlink > 1 ? (uint64_t)st->st_nlink : 1);
        if (++walked.entries >= walk_most) {
                walked.cut = true;
                return 1;
        }
        return 0;
}

void watch_folder(const char *path, uint64_t most, struct watch_folder *ret)
{
        walked = (struct watch_folder){0};
        walk_most = most;
        walked.valid = nftw(path, count_entry, 32, FTW_PHYS | FTW_MOUNT) >= 0;
        *ret = walked;
}

/* A folder's content by descriptor, so that no link can lead away; depth bounds the descriptors in use. */
static int remove_below(int folder, int depth)
{
        DIR *d = fdopendir(folder);
        struct dirent *e;
        int first = 0;

        if (!d) {
                close(folder);
                return -errno;
        }
        while ((e = readdir(d))) {
                int r = 0;

                if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
                        continue;
                if (unlinkat(dirfd(d), e->d_name, 0) < 0) {
                        r = -errno;
                        if (r == -EISDIR || r == -EPERM) {
                                int inner;

                                (void)fchmodat(dirfd(d), e->d_name, 0700, 0);
                                inner = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                                r = inner < 0 ? -errno : depth > 200 ? close(inner), -ELOOP : remove_below(inner, depth + 1);
                                if (unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR) == 0)
                                        r = 0;
                                else if (r >= 0)
                                        r = -errno;
                        }
                }
                if (r < 0 && !first)
                        first = r;
        }
        closedir(d);
        return first;
}

int watch_remove(const char *path)
{
        int fd, r;

        (void)chmod(path, 0700);
        fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        r = remove_below(fd, 0);
        if (rmdir(path) < 0 && r >= 0)
                r = -errno;
        return r;
}
