/* cache.c: the artifacts kept here; see cache.h. A file under its final name is whole and was right when it came; copying looks again. */
#include "worker/cache.h"

#include "base/error.h"
#include "base/fd.h"
#include "worker/artifact.h"
#include "worker/spec.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#define PARTIAL_S (24 * 3600)

static int copy(int from, uint64_t most, int to)
{
        char buffer[1 << 16];
        struct stat st;
        off_t at = 0;
        ssize_t n;

        if (fstat(from, &st) < 0)
                return -errno;
        if ((uint64_t)st.st_size > most)
                return -E_LIMIT;
        while ((n = pread(from, buffer, sizeof buffer, at)) > 0) {
                for (ssize_t done = 0; done < n;) {
                        ssize_t w = write(to, buffer + done, (size_t)(n - done));

                        if (w < 0)
                                return -errno;
                        done += w;
                }
                at += n;
        }
        return n < 0 ? -errno : 0;
}

int cache_copy_from(int from, const char *sha256, uint64_t most, int to)
{
        return copy(from, most, to);
}

int cache_copy(const char *folder, const char *sha256, uint64_t most, int to)
{
        char path[PATH_MAX], got[ARTIFACT_SHA];
        scoped_fd int fd = -1;
        uint64_t bytes;
        int r;

        if (snprintf(path, sizeof path, "%s/%s", folder, sha256) >= (int)sizeof path)
                return -ENAMETOOLONG;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        r = artifact_digest(fd, got, &bytes);
        if (r < 0 || strcmp(got, sha256) != 0) {
                (void)unlink(path); /* damaged where it lay: it comes anew */
                return -ENOENT;
        }
        (void)futimens(fd, NULL); /* used now; its age decides who leaves */
        return copy(fd, most, to);
}

int cache_begin(const char *folder, const char *sha256)
{
        char path[PATH_MAX];

        if (snprintf(path, sizeof path, "%s/partial", folder) >= (int)sizeof path)
                return -ENAMETOOLONG;
        if ((mkdir(folder, 0700) < 0 && errno != EEXIST) || (mkdir(path, 0700) < 0 && errno != EEXIST))
                return -errno;
        if (snprintf(path, sizeof path, "%s/partial/%s", folder, sha256) >= (int)sizeof path)
                return -ENAMETOOLONG;
        for (;;) {
                scoped_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
                struct stat ours, there;

                if (fd < 0 || flock(fd, LOCK_EX) < 0 || fstat(fd, &ours) < 0)
                        return -errno;
                /* Whoever had the lock may have moved the file away: then this is no longer the partial one. */
                if (stat(path, &there) == 0 && there.st_ino == ours.st_ino && there.st_dev == ours.st_dev)
                        return take_fd(fd);
        }
}

int cache_end(const char *folder, const char *sha256, int fd, uint64_t bytes)
{
        char from[PATH_MAX], to[PATH_MAX];

        if (snprintf(from, sizeof from, "%s/partial/%s", folder, sha256) >= (int)sizeof from || snprintf(to, sizeof to, "%s/%s", folder, sha256) >= (int)sizeof to)
                return -ENAMETOOLONG;
        if (fdatasync(fd) < 0 || rename(from, to) < 0)
                return -errno;
        (void)cache_trim(folder, bytes);
        return 0;
}

struct entry {
        char name[ARTIFACT_SHA];
        uint64_t bytes;
        struct timespec used;
};

static int older_first(const void *a, const void *b)
{
        const struct entry *x = a, *y = b;

        if (x->used.tv_sec != y->used.tv_sec)
                return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
        return x->used.tv_nsec < y->used.tv_nsec ? -1 : x->used.tv_nsec > y->used.tv_nsec;
}

static void trim_partial(const char *folder)
{
        char path[PATH_MAX];
        struct dirent *e;
        DIR *d;

        snprintf(path, sizeof path, "%s/partial", folder);
        d = opendir(path);
        if (!d)
                return;
        while ((e = readdir(d))) {
                struct stat st;
                scoped_fd int fd = -1;

                if (!spec_is_sha256(e->d_name) || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_mtime > time(NULL) - PARTIAL_S)
                        continue;
                fd = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
                if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
                        (void)unlinkat(dirfd(d), e->d_name, 0);
        }
        closedir(d);
}

uint64_t cache_trim(const char *folder, uint64_t bytes)
{
        struct entry *list scoped_free = NULL;
        size_t count = 0, size = 0;
        uint64_t total = 0, gone = 0;
        struct dirent *e;
        DIR *d = opendir(folder);

        if (!d)
                return 0;
        while ((e = readdir(d))) {
                struct stat st;

                if (!spec_is_sha256(e->d_name) || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
                        continue;
                if (count == size) {
                        struct entry *more = realloc(list, (size = size ? 2 * size : 256) * sizeof *list);

                        if (!more)
                                break;
                        list = more;
                }
                list[count] = (struct entry){.bytes = (uint64_t)st.st_size, .used = st.st_mtim};
                memcpy(list[count].name, e->d_name, sizeof list[count].name);
                total += list[count++].bytes;
        }
        if (count)
                qsort(list, count, sizeof *list, older_first);
        for (size_t i = 0; i < count && total > bytes; i++)
                if (unlinkat(dirfd(d), list[i].name, 0) == 0) {
                        total -= list[i].bytes;
                        gone += list[i].bytes;
                }
        closedir(d);
        trim_partial(folder);
        return gone;
}
