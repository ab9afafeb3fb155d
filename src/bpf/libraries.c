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
#define KEEP_NS (600 * NS_PER_S)

struct process {
        uint32_t pid;
        bool seen; /* in this scan */
        uint64_t next_ns, wait_ns;
        uint64_t copies; /* bits 1 << number: mapped at the last look */
        UT_hash_handle hh;
};

struct copy {
        uint64_t device, inode, mapped_ns; /* when it was last seen to be mapped */
        int fd;                            /* -1: there is none */
};

struct libraries {
        const char *proc;
        struct process *processes;
        struct copy copies[LIBRARIES_MOST];
        uint64_t refused;
};

_Static_assert(LIBRARIES_MOST <= 64, "a bit for each");

int libraries_new(const char *proc, struct libraries **ret)
{
        struct libraries *l = calloc(1, sizeof *l);

        if (!l)
                return -ENOMEM;
        l->proc = proc;
        for (uint32_t i = 0; i < LIBRARIES_MOST; i++)
                l->copies[i].fd = -1;
        *ret = l;
        return 0;
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
        for (uint32_t i = 0; i < LIBRARIES_MOST; i++)
                fd_close_at(&l->copies[i].fd);
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

/* --- copies --- */

static uint64_t mapped(const struct libraries *l)
{
        uint64_t bits = 0;

        for (const struct process *p = l->processes; p; p = p->hh.next)
                bits |= p->copies;
        return bits;
}

static void give_up(struct libraries *l, uint32_t number, const struct libraries_news *news)
{
        news->gone(news->data, number);
        fd_close_at(&l->copies[number].fd);
}

/* A place for a new copy, if need be that of the one that nobody has mapped for longest; LIBRARIES_MOST: all are mapped. */
static uint32_t make_place(struct libraries *l, const struct libraries_news *news)
{
        uint64_t bits = mapped(l);
        uint32_t oldest = LIBRARIES_MOST;

        for (uint32_t i = 0; i < LIBRARIES_MOST; i++) {
                if (l->copies[i].fd < 0)
                        return i;
                if (!(bits >> i & 1) && (oldest == LIBRARIES_MOST || l->copies[i].mapped_ns < l->copies[oldest].mapped_ns))
                        oldest = i;
        }
        if (oldest < LIBRARIES_MOST)
                give_up(l, oldest, news);
        return oldest;
}

/* Those that nobody needs any more. A file without a name keeps its space, and one of a container its file system, as long as it is open here. */
static void sweep(struct libraries *l, uint64_t now, const struct libraries_news *news)
{
        uint64_t bits = mapped(l);

        for (uint32_t i = 0; i < LIBRARIES_MOST; i++) {
                struct copy *c = &l->copies[i];
                struct stat st;

                if (c->fd < 0)
                        continue;
                if (bits >> i & 1)
                        c->mapped_ns = now;
                else if (now - c->mapped_ns >= KEEP_NS || (fstat(c->fd, &st) == 0 && st.st_nlink == 0))
                        give_up(l, i, news);
        }
}

static void try_path(struct libraries *l, struct process *p, const char *path, uint64_t inode, uint64_t now, const struct libraries_news *news)
{
        scoped_fd int fd = -1;
        char within[4400];
        uint32_t number;
        struct stat st;

        /* One that is known may be had by no path any more: the number will do to keep it. */
        for (uint32_t i = 0; i < LIBRARIES_MOST; i++)
                if (l->copies[i].fd >= 0 && l->copies[i].inode == inode)
                        p->copies |= UINT64_C(1) << i;
        if ((size_t)snprintf(within, sizeof within, "%s/%u/root%s", l->proc, p->pid, path) >= sizeof within)
                return;
        /* Not blocking: what has this name may be anything by now. */
        fd = open(within, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_ino != inode)
                return;
        for (uint32_t i = 0; i < LIBRARIES_MOST; i++)
                if (l->copies[i].fd >= 0 && l->copies[i].device == st.st_dev && l->copies[i].inode == st.st_ino)
                        return;
        number = make_place(l, news);
        if (number == LIBRARIES_MOST) {
                l->refused++;
                return;
        }
        l->copies[number] = (struct copy){.device = st.st_dev, .inode = st.st_ino, .mapped_ns = now, .fd = take_fd(fd)};
        p->copies |= UINT64_C(1) << number;
        news->found(news->data, number, l->copies[number].fd);
}

static void look(struct libraries *l, struct process *p, uint64_t now, const struct libraries_news *news)
{
        uint64_t inode = 0, last = 0;
        char path[256], line[4300];
        FILE *f;

        snprintf(path, sizeof path, "%s/%u/maps", l->proc, p->pid);
        f = fopen(path, "re");
        if (!f)
                return;
        p->copies = 0;
        while (fgets(line, sizeof line, f)) {
                char *at = library_path(line, &inode);

                if (at && inode != last) {
                        last = inode;
                        try_path(l, p, at, inode, now, news);
                }
        }
        fclose(f);
}

void libraries_scan(struct libraries *l, uint64_t now, const struct libraries_news *news)
{
        struct process *p, *next;
        struct dirent *entry;
        DIR *proc = opendir(l->proc);

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
                look(l, p, now, news);
        }
        closedir(proc);
        HASH_ITER(hh, l->processes, p, next)
                if (!p->seen)
                        drop(l, p);
        sweep(l, now, news);
}

uint64_t libraries_refused(const struct libraries *l)
{
        return l->refused;
}
