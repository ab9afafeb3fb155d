/* names.c: what processes and files are called: looked up in /proc for the rows of a window, kept for a time, and checked: a descriptor's path is taken only when
 * device and inode are those that were counted; see table.h.
 */
#include "bpf/rows.h"

#include "base/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define BTRFS 0x9123683e
#define OVERLAY 0x794c7630

/* At most size - 1 bytes of a file of /proc, ended; how many, 0 when it can't be had. */
static size_t slurp(const char *path, char *to, size_t size)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, to, size - 1);

        if (fd >= 0)
                close(fd);
        to[n > 0 ? n : 0] = 0;
        return n > 0 ? (size_t)n : 0;
}

/* Whether the pid is still this process: the 22nd field of its stat is when it began, in ticks since boot. The name before it is in brackets and may hold any bytes, so
 * counting begins at the last bracket. */
static bool is_alive(const struct process_row *p)
{
        unsigned long long start, ticks = (unsigned long long)sysconf(_SC_CLK_TCK);
        char path[64], text[1024], *at;

        snprintf(path, sizeof path, "/proc/%u/stat", p->p.pid);
        if (!slurp(path, text, sizeof text))
                return false;
        at = strrchr(text, ')');
        for (int field = 2; at && field < 22; field++)
                at = strchr(at + 1, ' ');
        if (!at || sscanf(at, "%llu", &start) != 1)
                return false;
        return p->p.start_ns / (NS_PER_S / ticks) == start;
}

static void look_cgroup(struct process_row *p)
{
        char path[64], text[1024], *line = text;

        snprintf(path, sizeof path, "/proc/%u/cgroup", p->p.pid);
        if (!slurp(path, text, sizeof text))
                return;
        /* The unified hierarchy's line, else the first. */
        for (char *at = text; at; at = strchr(at, '\n'), at = at ? at + 1 : NULL)
                if (!strncmp(at, "0::", 3))
                        line = at;
        line[strcspn(line, "\n")] = 0;
        line = strchr(line, '/');
        if (line)
                snprintf(p->p.cgroup, sizeof p->p.cgroup, "%s", line);
}

static bool fresh(struct probes_cache *c, uint64_t looked, uint64_t now)
{
        bool found = looked && now - looked < c->keeps_ns;

        c->asked++;
        c->found += found;
        return found;
}

static void look_process(struct table *t, struct process_row *p, uint64_t now)
{
        if (!p->p.alive)
                return;
        if (!fresh(&t->caches[PROBES_CACHE_PROCESS], p->looked_ns, now)) {
                p->looked_ns = now;
                p->p.alive = is_alive(p);
        }
        if (p->p.alive && !fresh(&t->caches[PROBES_CACHE_CGROUP], p->cgroup_ns, now)) {
                p->cgroup_ns = now;
                look_cgroup(p);
        }
}

static bool by_descriptor(struct file_row *f, const struct use_row *u)
{
        static const char deleted[] = " (deleted)";
        char path[64], to[sizeof f->f.name + sizeof deleted];
        struct stat st;
        ssize_t n;

        if (u->fd < 0 || !u->key.process->p.alive)
                return false;
        snprintf(path, sizeof path, "/proc/%u/fd/%d", u->key.process->p.pid, u->fd);
        if (stat(path, &st) < 0 || st.st_ino != f->f.inode)
                return false;
        if (makedev(f->f.device >> 20, f->f.device & 0xfffff) != st.st_dev && !(f->f.flags & PROBES_FILE_APPROXIMATE))
                return false;
        n = readlink(path, to, sizeof to - 1);
        if (n <= 0 || (size_t)n >= sizeof to - 1) /* cut: the kernel's parts say more of its end */
                return false;
        to[n] = 0;
        f->f.flags &= ~(uint32_t)PROBES_FILE_DELETED;
        /* A name may end so by itself: only the count of links is sure. */
        if (st.st_nlink == 0 && n > (ssize_t)strlen(deleted) && !strcmp(to + n - strlen(deleted), deleted)) {
                f->f.flags |= PROBES_FILE_DELETED;
                to[n - (ssize_t)strlen(deleted)] = 0;
        }
        f->f.flags |= PROBES_FILE_PATH;
        memset(f->f.name, 0, sizeof f->f.name);
        memcpy(f->f.name, to, strnlen(to, sizeof f->f.name - 1));
        return true;
}

/* Where file systems of which there is one are mounted. */
static const char *usual_place(uint64_t magic)
{
        switch (magic) {
        case 0x9fa0:
                return "/proc";
        case 0x62656572:
                return "/sys";
        case 0x63677270:
        case 0x27e0eb:
                return "/sys/fs/cgroup";
        case 0x74726163:
                return "/sys/kernel/tracing";
        default:
                return "";
        }
}

/* The kernel's parts of it, from the root of its file system or the last few folders. */
static void by_parts(struct file_row *f, const struct file_name *name)
{
        size_t at = 0, size = sizeof f->f.name;

        if ((name->magic == BTRFS && !name->knows_device) || name->magic == OVERLAY)
                f->f.flags |= PROBES_FILE_APPROXIMATE;
        if (f->f.flags & PROBES_FILE_PATH)
                return;
        for (uint32_t i = name->folders; i-- > 0 && at < size;) {
                bool root = !strcmp(name->up[i], "/");

                at += (size_t)snprintf(f->f.name + at, size - at, "%s%s", root ? usual_place(name->magic) : name->up[i], "/");
        }
        if (at < size)
                snprintf(f->f.name + at, size - at, "%s", name->base);
}

void table_names(struct table *t, uint64_t now, uint32_t budget,
                 bool (*name)(void *data, const struct file_name_key *key, struct file_name *ret), void *data)
{
        struct file_name parts;

        for (struct process_row *p = t->processes; p; p = p->hh.next)
                if (p->seen_ns == t->window_ns || (p->p.alive && now - p->looked_ns > t->caches[PROBES_CACHE_PROCESS].keeps_ns))
                        look_process(t, p, now);
        for (struct use_row *u = t->uses; u; u = u->hh.next) {
                struct file_row *f = u->key.file;

                if (u->seen_ns != t->window_ns || fresh(&t->caches[PROBES_CACHE_PATH], f->looked_ns, now) || !budget)
                        continue;
                budget--;
                if (!f->looked_ns && name && name(data, &f->key, &parts))
                        by_parts(f, &parts);
                /* Through another process's descriptor it may still be had: only success counts as looked. */
                if (by_descriptor(f, u) || !u->key.process->p.alive || f->looked_ns)
                        f->looked_ns = now;
                else
                        f->looked_ns = now - t->caches[PROBES_CACHE_PATH].keeps_ns + NS_PER_S;
        }
}
