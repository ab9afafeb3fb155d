/* process.c: the list of processes, with what they have on DRM devices; see machine.h. */
#include "machine/machine.h"

#include "base/fd.h"
#include "base/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define DESCRIPTORS 4096 /* of one process are looked at */
#define CLIENTS 32       /* of DRM devices in one process */

static void close_folder(DIR **d)
{
        if (*d)
                closedir(*d);
}
#define scoped_folder __attribute__((cleanup(close_folder)))

static DIR *open_folder(int root, const char *path)
{
        int fd = openat(root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 ? NULL : fdopendir(fd);
}

struct seen {
        char device[24];
        uint64_t client;
};

/* Many descriptors may show one client: each counts once. */
static bool is_new(struct seen *seen, size_t *count, const struct machine_drm *d)
{
        if (!d->has_client)
                return true;
        for (size_t i = 0; i < *count; i++)
                if (seen[i].client == d->client && !strcmp(seen[i].device, d->device))
                        return false;
        if (*count < CLIENTS) {
                memcpy(seen[*count].device, d->device, sizeof d->device);
                seen[(*count)++].client = d->client;
        }
        return true;
}

static void add(uint64_t *sum, uint64_t value)
{
        if (value != MACHINE_UNKNOWN && __builtin_add_overflow(*sum == MACHINE_UNKNOWN ? 0 : *sum, value, sum))
                *sum = MACHINE_UNKNOWN;
}

static void look_use(struct machine *m, pid_t pid, struct machine_use *ret)
{
        struct seen seen[CLIENTS];
        struct machine_drm drm;
        size_t clients = 0;
        struct dirent *e;
        char path[128];

        ret->busy_ns = ret->resident_bytes = MACHINE_UNKNOWN;
        snprintf(path, sizeof path, "proc/%d/fd", pid);
        scoped_folder DIR *folder = open_folder(m->root, path);
        if (!folder)
                return;
        ret->valid = true;
        for (unsigned int n = 0; n < DESCRIPTORS && (e = readdir(folder)); n++) {
                char target[32];
                ssize_t length;

                if (e->d_name[0] < '0' || e->d_name[0] > '9')
                        continue;
                length = readlinkat(dirfd(folder), e->d_name, target, sizeof target - 1);
                target[length > 0 ? length : 0] = 0;
                if (strncmp(target, "/dev/dri/", 9) != 0 && strncmp(target, "/dev/accel/", 11) != 0)
                        continue;
                snprintf(path, sizeof path, "proc/%d/fdinfo/%.16s", pid, e->d_name);
                if (machine_read(m, path) <= 0 || machine_parse_drm(m->text, &drm) < 0 || !is_new(seen, &clients, &drm))
                        continue;
                for (uint32_t i = 0; i < drm.engines; i++)
                        add(&ret->busy_ns, drm.engine[i].busy_ns == MACHINE_UNKNOWN ? MACHINE_UNKNOWN : drm.engine[i].busy_ns / drm.engine[i].capacity);
                for (uint32_t i = 0; i < drm.regions; i++)
                        add(&ret->resident_bytes, drm.region[i].resident != MACHINE_UNKNOWN ? drm.region[i].resident : drm.region[i].total);
        }
}

static int look_process(struct machine *m, pid_t pid, bool drm, struct machine_process *ret)
{
        char path[64];
        struct stat st;
        int r;

        memset(ret, 0, sizeof *ret);
        snprintf(path, sizeof path, "proc/%d", pid);
        if (fstatat(m->root, path, &st, 0) < 0)
                return -errno;
        ret->uid = st.st_uid;
        snprintf(path, sizeof path, "proc/%d/stat", pid);
        r = machine_read(m, path);
        if (r >= 0)
                r = machine_parse_process(m->text, &ret->stat);
        if (r < 0)
                return r;
        snprintf(path, sizeof path, "proc/%d/io", pid);
        r = machine_read(m, path);
        ret->io_error = r < 0 ? r : machine_parse_process_io(m->text, &ret->io);
        ret->use.busy_ns = ret->use.resident_bytes = MACHINE_UNKNOWN;
        if (drm)
                look_use(m, pid, &ret->use);
        return 0;
}

static int by_pid(const void *a, const void *b)
{
        const struct machine_process *x = a, *y = b;

        return (x->stat.pid > y->stat.pid) - (x->stat.pid < y->stat.pid);
}

int machine_processes(struct machine *m, uint64_t now_ns, bool drm, struct machine_processes *ret)
{
        struct machine_processes list = {.taken_ns = now_ns};
        scoped_folder DIR *folder = open_folder(m->root, "proc");
        size_t room = 0;
        struct dirent *e;

        if (!folder)
                return -errno;
        while ((e = readdir(folder))) {
                uint64_t pid;

                if (text_parse_u64(e->d_name, 1, INT32_MAX, &pid) < 0)
                        continue;
                if (list.count == MACHINE_PROCESSES) {
                        list.unseen++;
                        continue;
                }
                if (list.count == room) {
                        struct machine_process *more = realloc(list.list, (room = room ? room * 2 : 256) * sizeof *more);

                        if (!more) {
                                free(list.list);
                                return -ENOMEM;
                        }
                        list.list = more;
                }
                /* One that ended in between is not there. */
                if (look_process(m, (pid_t)pid, drm, &list.list[list.count]) == 0)
                        list.count++;
        }
        if (list.count)
                qsort(list.list, list.count, sizeof *list.list, by_pid);
        *ret = list;
        return 0;
}

void machine_processes_done(struct machine_processes *p)
{
        free(p->list);
        *p = (struct machine_processes){0};
}

const struct machine_process *machine_process_find(const struct machine_processes *p, const struct machine_process *like)
{
        const struct machine_process *found = p && p->count ? bsearch(like, p->list, p->count, sizeof *like, by_pid) : NULL;

        return found && found->stat.start_ticks == like->stat.start_ticks ? found : NULL;
}

void machine_command(struct machine *m, pid_t pid, char *to, size_t size)
{
        char path[64];
        int length;

        snprintf(path, sizeof path, "proc/%d/cmdline", pid);
        length = machine_read(m, path);
        if (length == -EFBIG)
                length = MACHINE_TEXT - 1;
        for (int i = 0; i + 1 < length; i++)
                if (!m->text[i])
                        m->text[i] = ' ';
        text_copy_clean(to, size, length > 0 ? m->text : "");
}
