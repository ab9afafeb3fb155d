/* store.c: the folder of one software machine.
 *
 * Everything that changes names or counters happens under an exclusive flock of the folder's lock file, in this process under a mutex
 * first. A process that is killed anywhere leaves at worst a wrong counter and unheld files, and the sweep mends both. The header's sizes
 * are set by whoever comes first; when nobody is left, the next one may set them anew by its environment.
 */
#include "store.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define MAGIC 0x42534d31U
#define VERSION 1U

static struct {
        pthread_mutex_t mutex;
        int folder, lock, held; /* held: the header, with a shared flock: "somebody is here" */
        struct store_header *header;
        struct store_file *files;
        bool handlers;
} machine = {.mutex = PTHREAD_MUTEX_INITIALIZER, .folder = -1, .lock = -1, .held = -1};

struct wish {
        const char *folder, *memory;
        uint64_t devices, capacity, link, context;
        bool devices_set, capacity_set, link_set, context_set;
};

struct store_header *store(void)
{
        return machine.header;
}

static int flock_wait(int fd, int operation)
{
        int r;

        do
                r = flock(fd, operation);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : 0;
}

static int read_size(const char *name, uint64_t *value, bool *set)
{
        const char *s = secure_getenv(name);

        *set = s && *s;
        if (!*set)
                return 0;
        if (text_parse_bytes(s, value) == 0)
                return 0;
        fprintf(stderr, "berth software device: %s=%s is not a size; write for example 512MiB\n", name, s);
        return -EINVAL;
}

static int read_environment(struct wish *w)
{
        *w = (struct wish){.devices = 1, .capacity = GIB, .context = 8 * MIB};
        w->folder = secure_getenv("BERTH_SOFTWARE_DIR");
        if (w->folder && !*w->folder)
                w->folder = NULL;
        if (read_size("BERTH_SOFTWARE_DEVICES", &w->devices, &w->devices_set) ||
            read_size("BERTH_SOFTWARE_MEMORY", &w->capacity, &w->capacity_set) ||
            read_size("BERTH_SOFTWARE_LINK", &w->link, &w->link_set) ||
            read_size("BERTH_SOFTWARE_CONTEXT", &w->context, &w->context_set))
                return -EINVAL;
        if (w->devices > STORE_DEVICES || w->capacity < 2 * MIB || w->capacity > (uint64_t)1 << 50) {
                fprintf(stderr, "berth software device: at most %d devices of 2 MiB to 1 PiB each, not %llu of %llu bytes\n",
                        STORE_DEVICES, (unsigned long long)w->devices, (unsigned long long)w->capacity);
                return -EINVAL;
        }
        return 0;
}

static bool large_enough(const char *path, uint64_t bytes)
{
        struct statvfs v;

        return statvfs(path, &v) == 0 && access(path, W_OK) == 0 && (uint64_t)v.f_blocks * v.f_frsize >= bytes;
}

static int open_folder(const char *path)
{
        struct stat st;
        int fd;

        if (mkdir(path, 0700) < 0 && errno != EEXIST)
                return -errno;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0 || st.st_uid != geteuid()) {
                close(fd);
                return -EPERM;
        }
        return fd;
}

static uint64_t hash_text(const char *s)
{
        uint64_t h = UINT64_C(14695981039346656037);

        for (; *s; s++)
                h = (h ^ (unsigned char)*s) * UINT64_C(1099511628211);
        return h;
}

/* Under the lock; nobody else has the header mapped when first is set. */
static int settle_header(struct store_header *h, const struct wish *w, bool first, const char *path)
{
        bool fresh = h->magic != MAGIC || h->version != VERSION;
        scoped_free char *real = NULL;

        if (!first)
                return fresh ? -EPROTO : 0;
        if (fresh)
                memset(h, 0, sizeof(*h));
        if (fresh || w->devices_set)
                h->devices = (uint32_t)w->devices;
        if (fresh || w->capacity_set)
                h->capacity = w->capacity;
        if (fresh || w->link_set)
                h->link = w->link;
        if (fresh || w->context_set)
                h->context_bytes = w->context;
        memset(h->device, 0, sizeof(h->device));
        real = realpath(path, NULL);
        h->seed = hash_text(real ? real : path);
        h->version = VERSION;
        h->magic = MAGIC;
        return 0;
}

static int map_header(const struct wish *w, const char *path)
{
        scoped_fd int fd = -1;
        void *p;
        int r;
        bool first;

        fd = openat(machine.folder, "header", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        first = flock(fd, LOCK_EX | LOCK_NB) == 0;
        if (ftruncate(fd, sizeof(struct store_header)) < 0)
                return -errno;
        p = mmap(NULL, sizeof(struct store_header), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
                return -errno;
        r = settle_header(p, w, first, path);
        if (r == 0)
                r = flock_wait(fd, LOCK_SH);
        if (r < 0) {
                munmap(p, sizeof(struct store_header));
                return r;
        }
        madvise(p, sizeof(struct store_header), MADV_DONTFORK);
        machine.header = p;
        machine.held = take_fd(fd);
        return 0;
}

static void forget(void)
{
        for (struct store_file *f = machine.files; f; f = f->next)
                fd_close_at(&f->fd);
        machine.files = NULL;
        fd_close_at(&machine.held);
        fd_close_at(&machine.lock);
        fd_close_at(&machine.folder);
        machine.header = NULL;
}

static void before_fork(void)
{
        pthread_mutex_lock(&machine.mutex);
}

static void after_fork_parent(void)
{
        pthread_mutex_unlock(&machine.mutex);
}

/* The child holds nothing: its copies of the descriptors would keep the parent's memory alive. */
static void after_fork_child(void)
{
        forget();
        pthread_mutex_unlock(&machine.mutex);
}

int store_open(void)
{
        struct wish w;
        char path[108];
        int r;

        pthread_mutex_lock(&machine.mutex);
        if (machine.header) {
                pthread_mutex_unlock(&machine.mutex);
                return 0;
        }
        r = read_environment(&w);
        if (r < 0) {
                pthread_mutex_unlock(&machine.mutex);
                return r;
        }
        if (!w.folder) {
                bool shm = large_enough("/dev/shm", w.capacity * w.devices);

                snprintf(path, sizeof(path), "%s/berth-software-%u", shm ? "/dev/shm" : "/tmp", geteuid());
                w.folder = path;
        }
        machine.folder = r = open_folder(w.folder);
        if (r >= 0) {
                machine.lock = openat(machine.folder, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
                r = machine.lock < 0 ? -errno : 0;
        }
        if (r >= 0)
                r = flock_wait(machine.lock, LOCK_EX);
        if (r >= 0)
                r = map_header(&w, w.folder);
        if (machine.lock >= 0)
                flock(machine.lock, LOCK_UN);
        if (r < 0) {
                forget();
                fprintf(stderr, "berth software device: cannot use %s: %s; set BERTH_SOFTWARE_DIR to a folder of your own\n",
                        w.folder, strerror(-r));
        } else if (!machine.handlers) {
                machine.handlers = true;
                pthread_atfork(before_fork, after_fork_parent, after_fork_child);
        }
        pthread_mutex_unlock(&machine.mutex);
        return r < 0 ? r : 0;
}

static bool enter(void)
{
        pthread_mutex_lock(&machine.mutex);
        if (machine.header && flock_wait(machine.lock, LOCK_EX) == 0)
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

static void sweep_locked(void)
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
        sweep_locked();
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
                sweep_locked();
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
        r = flock_wait(f->fd, LOCK_SH);
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
        if (fstatat(machine.folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_ino != s->inode || st.st_dev != s->device)
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
                sweep_locked(); /* renamed by who imported it */
        } else {
                scoped_fd int fd = f->shared ? openat(machine.folder, f->name, O_RDWR | O_CLOEXEC | O_NOFOLLOW) : -1;

                if (!f->shared || (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0))
                        if (unlinkat(machine.folder, f->name, 0) == 0)
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

        if (device != t->device || fstatat(machine.folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
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
        sweep_locked();
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
                snprintf(text, 48, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", bytes[0], bytes[1],
                         bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7], bytes[8], bytes[9], bytes[10], bytes[11],
                         bytes[12], bytes[13], bytes[14], bytes[15]);
}

void store_link(int device, int direction, uint64_t bytes)
{
        struct store_header *h = machine.header;
        _Atomic uint64_t *free_at;
        uint64_t now, at, end;
        struct timespec t;

        if (!h || h->link == 0)
                return;
        free_at = &h->device[device].link_free[direction];
        at = atomic_load(free_at);
        do {
                now = clock_now_ns();
                /* A value far ahead is nobody's: a booking is a few milliseconds. */
                end = (at > now && at < now + 60 * NS_PER_S ? at : now) + (uint64_t)((double)bytes * 1e9 / (double)h->link);
        } while (!atomic_compare_exchange_weak(free_at, &at, end));
        t = (struct timespec){.tv_sec = (time_t)(end / NS_PER_S), .tv_nsec = (long)(end % NS_PER_S)};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
                ;
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
