/* store.c: the folder of one software machine.
 *
 * Everything that changes names or counters happens under an exclusive flock of the folder's lock file, in this process
 * under a mutex first. A process that is killed anywhere leaves at worst a wrong counter and unheld files, and the
 * sweep mends both.
 */
#include "store-machine.h"

#include "base/clock.h"
#include "base/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

static bool enter(void)
{
        pthread_mutex_lock(&machine.mutex);
        if (machine.header && store_flock(machine.lock, LOCK_EX) == 0)
                return true;
        pthread_mutex_unlock(&machine.mutex);
        return false;
}

static void leave(void)
{
        flock(machine.lock, LOCK_UN);
        pthread_mutex_unlock(&machine.mutex);
}

static void keep(struct store_file *f)
{
        f->next = machine.files;
        f->at = &machine.files;
        if (f->next)
                f->next->at = &f->next;
        machine.files = f;
}

static void unkeep(struct store_file *f)
{
        *f->at = f->next;
        if (f->next)
                f->next->at = f->at;
}

void store_move(struct store_file *from, struct store_file *to)
{
        pthread_mutex_lock(&machine.mutex);
        *to = *from;
        unkeep(from);
        keep(to);
        pthread_mutex_unlock(&machine.mutex);
}

void store_seal(struct store_file *f)
{
        pthread_mutex_lock(&machine.mutex);
        fd_close_at(&f->fd);
        pthread_mutex_unlock(&machine.mutex);
}

/* True for the name of an allocation: m (memory) or c (context), device, serial, owner. */
static bool parse_name(const char *name, int *device, unsigned long long *serial, unsigned *pid)
{
        char kind, rest;

        return sscanf(name, "%c%d-%llx-%u%c", &kind, device, serial, pid, &rest) == 4 && (kind == 'm' || kind == 'c') &&
               *device >= 0 && *device < STORE_DEVICES;
}

/* Calls visit for each allocation; under the lock. */
static void walk(void (*visit)(const char *name, int device, unsigned pid, void *context), void *context)
{
        int fd = openat(machine.folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *e;
        unsigned long long serial;
        unsigned pid;
        int device;

        if (!d) {
                fd_close_at(&fd);
                return;
        }
        while ((e = readdir(d)))
                if (parse_name(e->d_name, &device, &serial, &pid))
                        visit(e->d_name, device, pid, context);
        closedir(d);
}

static void sweep_one(const char *name, int device, unsigned pid, void *context)
{
        uint64_t *used = context;
        scoped_fd int fd = openat(machine.folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        struct stat st;

        (void)pid;
        if (fd < 0 || fstat(fd, &st) < 0)
                return;
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
                unlinkat(machine.folder, name, 0);
        else
                used[device] += (uint64_t)st.st_size;
}

void store_sweep_locked(void)
{
        uint64_t used[STORE_DEVICES] = {0};

        walk(sweep_one, used);
        for (int i = 0; i < STORE_DEVICES; i++)
                atomic_store(&machine.header->device[i].used, used[i]);
}

void store_sweep(void)
{
        if (!enter())
                return;
        store_sweep_locked();
        leave();
}

int store_create(int device, uint64_t bytes, bool memory, struct store_file *f)
{
        struct store_header *h;
        struct store_device *d;
        int r = 0;

        if (!enter())
                return -EBADF;
        h = machine.header;
        d = &h->device[device];
        if (bytes > h->capacity || atomic_load(&d->used) > h->capacity - bytes) {
                store_sweep_locked();
                if (bytes > h->capacity || atomic_load(&d->used) > h->capacity - bytes) {
                        leave();
                        return -ENOMEM;
                }
        }
        *f = (struct store_file){.device = device, .bytes = bytes};
        snprintf(f->name, sizeof(f->name), "%c%d-%llx-%u", memory ? 'm' : 'c', device,
                 (unsigned long long)atomic_fetch_add(&h->serial, 1), (unsigned)getpid());
        f->fd = openat(machine.folder, f->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (f->fd < 0) {
                r = -errno;
                leave();
                return r;
        }
        r = store_flock(f->fd, LOCK_SH);
        if (r == 0 && ftruncate(f->fd, (off_t)bytes) < 0)
                r = -errno;
        if (r < 0) {
                unlinkat(machine.folder, f->name, 0);
                close(f->fd);
                leave();
                return r;
        }
        atomic_fetch_add(&d->used, bytes);
        keep(f);
        leave();
        /* The pages now, so that a full host says so here and not as a bus error in the middle of a kernel. */
        if (memory && bytes > 0 && (r = posix_fallocate(f->fd, 0, (off_t)bytes)) != 0) {
                store_drop(f);
                return r == ENOSPC ? -ENOMEM : -r;
        }
        return 0;
}

struct search {
        ino_t inode;
        dev_t device;
        char name[STORE_NAME];
        int index;
};

static void search_one(const char *name, int device, unsigned pid, void *context)
{
        struct search *s = context;
        struct stat st;

        (void)pid;
        if (fstatat(machine.folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_ino != s->inode ||
            st.st_dev != s->device)
                return;
        snprintf(s->name, sizeof(s->name), "%.63s", name);
        s->index = device;
}

int store_adopt(int fd, struct store_file *f)
{
        struct search s = {.index = -1};
        struct stat st;
        char name[STORE_NAME];
        unsigned long long serial;
        unsigned pid;
        int device;

        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return -EBADF;
        if (!enter())
                return -EBADF;
        s.inode = st.st_ino;
        s.device = st.st_dev;
        walk(search_one, &s);
        if (s.index < 0 || !parse_name(s.name, &device, &serial, &pid)) {
                leave();
                return -EBADF;
        }
        /* Who imports last is who uses it. */
        snprintf(name, sizeof(name), "m%d-%llx-%u", device, serial, (unsigned)getpid());
        if (renameat(machine.folder, s.name, machine.folder, name) < 0)
                snprintf(name, sizeof(name), "%s", s.name);
        *f = (struct store_file){.fd = fd, .device = s.index, .bytes = (uint64_t)st.st_size, .shared = true};
        memcpy(f->name, name, sizeof(f->name));
        keep(f);
        leave();
        return 0;
}

int store_share(struct store_file *f)
{
        int fd = fcntl(f->fd, F_DUPFD_CLOEXEC, 3);

        if (fd < 0)
                return -errno;
        f->shared = true;
        return fd;
}

unsigned long long store_publish(struct store_file *f)
{
        unsigned long long serial = 0;
        unsigned pid;
        int device;

        if (!parse_name(f->name, &device, &serial, &pid))
                return 0;
        f->shared = true;
        return serial + 1;
}

struct published {
        unsigned long long serial;
        char name[STORE_NAME];
};

static void published_one(const char *name, int device, unsigned pid, void *context)
{
        struct published *p = context;
        unsigned long long serial;

        if (name[0] == 'm' && parse_name(name, &device, &serial, &pid) && serial + 1 == p->serial)
                snprintf(p->name, sizeof(p->name), "%.63s", name);
}

int store_open_published(unsigned long long wanted, struct store_file *f)
{
        struct published p = {.serial = wanted};
        unsigned long long serial;
        struct stat st;
        unsigned pid;
        int device, fd = -1, r;

        if (!enter())
                return -EBADF;
        walk(published_one, &p);
        r = parse_name(p.name, &device, &serial, &pid) ? 0 : -ENOENT;
        if (r == 0) {
                fd = openat(machine.folder, p.name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
                r = fd < 0 || fstat(fd, &st) < 0 ? -errno : store_flock(fd, LOCK_SH);
        }
        if (r == 0) {
                *f = (struct store_file){.fd = fd, .device = device, .bytes = (uint64_t)st.st_size, .shared = true};
                memcpy(f->name, p.name, sizeof(f->name));
                keep(f);
        } else {
                fd_close_at(&fd);
        }
        leave();
        return r;
}

/* Somebody else still holds it: it counts for the device, no longer for this process. */
static void disown(const struct store_file *f)
{
        char name[STORE_NAME];
        unsigned long long serial;
        unsigned pid;
        int device;

        if (!parse_name(f->name, &device, &serial, &pid) || pid != (unsigned)getpid())
                return;
        snprintf(name, sizeof(name), "%c%d-%llx-0", f->name[0], device, serial);
        (void)renameat(machine.folder, f->name, machine.folder, name);
}

void store_drop(struct store_file *f)
{
        struct stat st;
        bool entered;

        entered = enter();
        if (!entered) { /* the folder was never open, or this is a child */
                fd_close_at(&f->fd);
                return;
        }
        unkeep(f);
        fd_close_at(&f->fd);
        if (f->shared && fstatat(machine.folder, f->name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
                store_sweep_locked(); /* renamed by who imported it */
        } else {
                scoped_fd int fd = f->shared ? openat(machine.folder, f->name, O_RDWR | O_CLOEXEC | O_NOFOLLOW) : -1;

                if (f->shared && (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0))
                        disown(f);
                else if (unlinkat(machine.folder, f->name, 0) == 0)
                        atomic_fetch_sub(&machine.header->device[f->device].used, f->bytes);
        }
        leave();
}

struct tally {
        struct store_process *list;
        unsigned size, count;
        int device;
};

static void tally_one(const char *name, int device, unsigned pid, void *context)
{
        struct tally *t = context;
        struct stat st;
        unsigned i;

        if (device != t->device || pid == 0 || (kill((pid_t)pid, 0) < 0 && errno == ESRCH) ||
            fstatat(machine.folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return;
        for (i = 0; i < t->count && i < t->size; i++)
                if (t->list[i].pid == pid) {
                        t->list[i].bytes += (uint64_t)st.st_size;
                        return;
                }
        if (t->count < t->size)
                t->list[t->count] = (struct store_process){.pid = pid, .bytes = (uint64_t)st.st_size};
        t->count++;
}

unsigned store_processes(int device, struct store_process *list, unsigned size)
{
        struct tally t = {.list = list, .size = size, .device = device};

        if (!enter())
                return 0;
        store_sweep_locked();
        walk(tally_one, &t);
        leave();
        return t.count;
}

void store_uuid(int device, unsigned char bytes[16], char text[48])
{
        uint64_t x = machine.header ? machine.header->seed : 0;

        for (int i = 0; i < 16; i++) {
                x = (x ^ (uint64_t)(device + 1)) * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
                bytes[i] = (unsigned char)(x >> 56);
        }
        if (text)
                snprintf(text, 48, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", bytes[0],
                         bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7], bytes[8], bytes[9],
                         bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15]);
}

/* Books the bytes on one direction of a link; when they are through. */
static uint64_t book(_Atomic uint64_t *free_at, uint64_t rate, uint64_t bytes)
{
        uint64_t at = atomic_load(free_at), now, end;

        do {
                now = clock_now_ns();
                /* A value far ahead is nobody's: a booking is a few milliseconds. */
                end = (at > now && at < now + 60 * NS_PER_S ? at : now) +
                      (uint64_t)((double)bytes * 1e9 / (double)rate);
        } while (!atomic_compare_exchange_weak(free_at, &at, end));
        return end;
}

static void sleep_until(uint64_t end)
{
        struct timespec t = {.tv_sec = (time_t)(end / NS_PER_S), .tv_nsec = (long)(end % NS_PER_S)};

        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
                ;
}

void store_link(int device, int direction, uint64_t bytes)
{
        struct store_header *h = machine.header;

        if (h && h->link > 0)
                sleep_until(book(&h->device[device].link_free[direction], h->link, bytes));
}

void store_peer(int from, int to, uint64_t bytes)
{
        struct store_header *h = machine.header;
        uint64_t out, in;

        if (!h || h->peer == 0)
                return;
        out = book(&h->device[from].peer_free[1], h->peer, bytes);
        in = book(&h->device[to].peer_free[0], h->peer, bytes);
        sleep_until(out > in ? out : in);
}

/* A program that ends in order leaves nothing behind; what it shared stays for those who have it. */
__attribute__((destructor)) static void at_exit(void)
{
        if (!enter())
                return;
        for (struct store_file *f = machine.files; f; f = f->next)
                if (!f->shared && unlinkat(machine.folder, f->name, 0) == 0)
                        atomic_fetch_sub(&machine.header->device[f->device].used, f->bytes);
        leave();
}
