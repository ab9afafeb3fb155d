/* touch.c: worker threads that touch pages and give them back; see touch.h.
 *
 * One mutex guards the list of files; a worker takes a piece, works without the mutex, and reports. The pages are mapped only while a piece is being
 * touched, so that they never count as the daemon's own memory for longer.
 */
#include "node/touch.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define PIECE (UINT64_C(64) << 20)
#define STACK (UINT64_C(256) << 10)

struct file {
        struct file *next;
        uint32_t number;
        int fd, status;
        enum touch_work work;
        uint64_t bytes, taken, done;
};

struct touch {
        pthread_mutex_t lock;
        pthread_cond_t wake;
        struct file *open, *finished; /* oldest first */
        unsigned int wanted, started;
        bool stop;
        void (*notify)(void *);
        void *user;
        pthread_t threads[];
};

/* Writes a byte to each page that is not there yet. The file's size is sealed against growth but a client may cut a lent one: never one that
 * is here, as these are not lent, and one that a client kept open fails in fallocate or faults below, where populate reports it. */
static int touch_piece(int fd, uint64_t at, uint64_t bytes, enum touch_work work)
{
        char *map;
        int r = 0;

        if (work == TOUCH_CUT)
                return ftruncate(fd, 0) < 0 ? -errno : 0;
        if (work == TOUCH_WIPE && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)bytes) < 0)
                return -errno;
        map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)at);
        if (map == MAP_FAILED)
                return -errno;
        (void)madvise(map, bytes, MADV_HUGEPAGE); /* a wish */
        if (madvise(map, bytes, MADV_POPULATE_WRITE) < 0) {
                r = -errno;
                /* Kernels before 5.14 don't know it: the file system can reserve the pages instead. */
                if (r == -EINVAL)
                        r = fallocate(fd, 0, (off_t)at, (off_t)bytes) < 0 ? -errno : 0;
        }
        munmap(map, bytes);
        return r;
}

static struct file *with_work(struct touch *t)
{
        for (struct file *f = t->open; f; f = f->next)
                if (f->taken < f->bytes && !f->status)
                        return f;
        return NULL;
}

/* All that was taken is done, and nothing more will be taken. */
static bool complete(const struct file *f)
{
        return f->done == f->taken && (f->taken == f->bytes || f->status);
}

static void finish(struct touch *t, struct file *f)
{
        struct file **p = &t->open;

        while (*p != f)
                p = &(*p)->next;
        *p = f->next;
        f->next = NULL;
        for (p = &t->finished; *p;)
                p = &(*p)->next;
        *p = f;
}

static void *worker(void *user)
{
        struct touch *t = user;

        pthread_mutex_lock(&t->lock);
        while (!t->stop) {
                struct file *f = with_work(t);
                uint64_t at, bytes;
                int r;

                if (!f) {
                        pthread_cond_wait(&t->wake, &t->lock);
                        continue;
                }
                at = f->taken;
                bytes = f->bytes - at < PIECE || f->work == TOUCH_CUT ? f->bytes - at : PIECE;
                f->taken += bytes;
                pthread_mutex_unlock(&t->lock);
                r = touch_piece(f->fd, at, bytes, f->work);
                pthread_mutex_lock(&t->lock);
                f->done += bytes;
                if (r < 0)
                        f->status = r;
                if (complete(f)) {
                        finish(t, f);
                        if (t->notify)
                                t->notify(t->user);
                }
        }
        pthread_mutex_unlock(&t->lock);
        return NULL;
}

int touch_new(unsigned int threads, void (*notify)(void *), void *user, struct touch **ret)
{
        struct touch *t = calloc(1, sizeof *t + threads * sizeof t->threads[0]);

        if (!t)
                return -ENOMEM;
        pthread_mutex_init(&t->lock, NULL);
        pthread_cond_init(&t->wake, NULL);
        t->wanted = threads;
        t->notify = notify;
        t->user = user;
        *ret = t;
        return 0;
}

static void free_list(struct file *f)
{
        while (f) {
                struct file *next = f->next;

                free(f);
                f = next;
        }
}

void touch_free(struct touch *t)
{
        if (!t)
                return;
        pthread_mutex_lock(&t->lock);
        t->stop = true;
        pthread_cond_broadcast(&t->wake);
        pthread_mutex_unlock(&t->lock);
        for (unsigned int i = 0; i < t->started; i++)
                pthread_join(t->threads[i], NULL);
        free_list(t->open);
        free_list(t->finished);
        pthread_cond_destroy(&t->wake);
        pthread_mutex_destroy(&t->lock);
        free(t);
}

/* Signals are the main thread's. One thread is enough to go on with. */
static int start_threads(struct touch *t)
{
        pthread_attr_t attributes;
        sigset_t all, before;

        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, STACK);
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        while (t->started < t->wanted && pthread_create(&t->threads[t->started], &attributes, worker, t) == 0)
                t->started++;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
        return t->started ? 0 : -EAGAIN;
}

int touch_start(struct touch *t, uint32_t number, int fd, uint64_t bytes, enum touch_work work)
{
        struct file *f = calloc(1, sizeof *f), **p = &t->open;

        if (!f)
                return -ENOMEM;
        if (start_threads(t) < 0) {
                free(f);
                return -EAGAIN;
        }
        f->number = number;
        f->fd = fd;
        f->bytes = bytes;
        f->work = work;
        pthread_mutex_lock(&t->lock);
        while (*p)
                p = &(*p)->next;
        *p = f;
        pthread_cond_broadcast(&t->wake);
        pthread_mutex_unlock(&t->lock);
        return 0;
}

bool touch_next(struct touch *t, struct touch_result *ret)
{
        struct file *f;

        pthread_mutex_lock(&t->lock);
        f = t->finished;
        if (f)
                t->finished = f->next;
        pthread_mutex_unlock(&t->lock);
        if (!f)
                return false;
        *ret = (struct touch_result){.number = f->number, .status = f->status};
        free(f);
        return true;
}
