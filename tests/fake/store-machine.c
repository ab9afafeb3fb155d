/* store-machine.c: finding or making the machine that the environment describes, and what a fork means for it.
 *
 * The header's sizes are set by whoever comes first; when nobody is left, the next one may set them anew by its
 * environment.
 */
#include "store-machine.h"

#include "base/fd.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define MAGIC 0x42534d31U
#define VERSION 2U

struct store_machine machine = {.mutex = PTHREAD_MUTEX_INITIALIZER, .folder = -1, .lock = -1, .held = -1};

struct wish {
        const char *folder, *memory;
        uint64_t devices, capacity, link, peer, context;
        bool devices_set, capacity_set, link_set, peer_set, context_set;
};

struct store_header *store(void)
{
        return machine.header;
}

int store_flock(int fd, int operation)
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
            read_size("BERTH_SOFTWARE_PEER_LINK", &w->peer, &w->peer_set) ||
            read_size("BERTH_SOFTWARE_CONTEXT", &w->context, &w->context_set))
                return -EINVAL;
        if (w->devices > STORE_DEVICES || w->capacity < 2 * MIB || w->capacity > (uint64_t)1 << 50) {
                fprintf(stderr,
                        "berth software device: at most %d devices of 2 MiB to 1 PiB each, not %llu of %llu bytes\n",
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
        if (fresh || w->link_set || w->peer_set)
                h->peer = w->peer_set ? w->peer : 7 * h->link;
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
                r = store_flock(fd, LOCK_SH);
        if (r < 0) {
                munmap(p, sizeof(struct store_header));
                return r;
        }
        madvise(p, sizeof(struct store_header), MADV_DONTFORK);
        machine.header = p;
        machine.held = take_fd(fd);
        if (first)
                store_sweep_locked(); /* what killed programs of an earlier time left */
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
                r = store_flock(machine.lock, LOCK_EX);
        if (r >= 0)
                r = map_header(&w, w.folder);
        if (machine.lock >= 0)
                flock(machine.lock, LOCK_UN);
        if (r < 0) {
                forget();
                fprintf(stderr,
                        "berth software device: cannot use %s: %s; set BERTH_SOFTWARE_DIR to a folder of your own\n",
                        w.folder, strerror(-r));
        } else if (!machine.handlers) {
                machine.handlers = true;
                pthread_atfork(before_fork, after_fork_parent, after_fork_child);
        }
        pthread_mutex_unlock(&machine.mutex);
        return r < 0 ? r : 0;
}
