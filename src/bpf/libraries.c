/* libraries.c: scans /proc/PID/maps for libcuda.so, seldom and each process for itself; see libraries.h. What is there is strangers' words: a path is opened within the
 * process's own root and counts only if it is the regular file that is mapped.
 */
#include "bpf/libraries.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <uthash.h>

#define NAME "libcuda.so"
#define LOOK_MOST_NS (64 * NS_PER_S)
#define MOST_COPIES 64

struct process {
        uint32_t pid;
        bool seen; /* in this scan */
        uint64_t next_ns, wait_ns;
        UT_hash_handle hh;
};

struct copy {
        uint64_t device, inode;
};

struct libraries {
        struct process *processes;
        struct copy copies[MOST_COPIES];
        uint32_t copies_n;
};

int libraries_new(struct libraries **ret)
{
        *ret = calloc(1, sizeof **ret);
        return *ret ? 0 : -ENOMEM;
}

static void drop(struct libraries *l, struct process *p)
{
        HASH_DEL(l->processes, p);
        free(p);
}

void libraries_free(struct libraries *l)
{
        struct process *p, *next;

        if (!l)
                return;
        HASH_ITER(hh, l->processes, p, next)
                drop(l, p);
        free(l);
}

/* The mapped file's path at the end of a line of maps, when its name is the library's. */
static char *library_path(char *line, uint64_t *ret_inode)
{
        unsigned long long inode;
        char *path = strchr(line, '/'), *name;
        int at = 0;

        if (!path || sscanf(line, "%*s %*s %*s %*s %llu %n", &inode, &at) < 1 || !inode)
                return NULL;
        path[strcspn(path, "\n")] = 0;
        name = strrchr(path, '/') + 1;
        if (strncmp(name, NAME, strlen(NAME)) != 0 || (name[strlen(NAME)] && name[strlen(NAME)] != '.'))
                return NULL;
        *ret_inode = inode;
        return path;
}

static bool is_new(struct libraries *l, const struct stat *st)
{
        for (uint32_t i = 0; i < l->copies_n; i++)
                if (l->copies[i].device == st->st_dev && l->copies[i].inode == st->st_ino)
                        return false;
        return l->copies_n < MOST_COPIES;
}

static void try_path(struct libraries *l, uint32_t pid, const char *path, uint64_t inode, void (*found)(void *data, int fd), void *data)
{
        char within[4400];
        struct stat st;
        int fd;

        snprintf(within, sizeof within, "/proc/%u/root%s", pid, path);
        /* Not blocking: what has this name may be anything by now. */
        fd = open(within, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return;
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_ino != inode || !is_new(l, &st)) {
                close(fd);
                return;
        }
        l->copies[l->copies_n++] = (struct copy){.device = st.st_dev, .inode = st.st_ino};
        found(data, fd);
}

static void look(struct libraries *l, uint32_t pid, void (*found)(void *data, int fd), void *data)
{
        uint64_t inode = 0, last = 0;
        char path[64], line[4300];
        FILE *f;

        snprintf(path, sizeof path, "/proc/%u/maps", pid);
        f = fopen(path, "re");
        if (!f)
                return;
        while (fgets(line, sizeof line, f)) {
                char *at = library_path(line, &inode);

                if (at && inode != last) {
                        last = inode;
                        try_path(l, pid, at, inode, found, data);
                }
        }
        fclose(f);
}

void libraries_scan(struct libraries *l, uint64_t now, void (*found)(void *data, int fd), void *data)
{
        struct process *p, *next;
        struct dirent *entry;
        DIR *proc = opendir("/proc");

        if (!proc)
                return;
        for (p = l->processes; p; p = p->hh.next)
                p->seen = false;
        while ((entry = readdir(proc))) {
                uint64_t number;
                uint32_t pid;

                if (text_parse_u64(entry->d_name, 1, UINT32_MAX, &number) < 0)
                        continue;
                pid = (uint32_t)number;
                HASH_FIND(hh, l->processes, &pid, sizeof pid, p);
                if (!p) {
                        p = calloc(1, sizeof *p);
                        if (!p)
                                break;
                        p->pid = pid;
                        p->wait_ns = NS_PER_S / 2;
                        HASH_ADD(hh, l->processes, pid, sizeof p->pid, p);
                }
                p->seen = true;
                if (now < p->next_ns)
                        continue;
                p->next_ns = now + p->wait_ns;
                p->wait_ns = p->wait_ns * 2 > LOOK_MOST_NS ? LOOK_MOST_NS : p->wait_ns * 2;
                look(l, pid, found, data);
        }
        closedir(proc);
        HASH_ITER(hh, l->processes, p, next)
                if (!p->seen)
                        drop(l, p);
}
