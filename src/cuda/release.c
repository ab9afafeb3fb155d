/* release.c: a thread that gives memory back to the driver; see release.h. */
#include "cuda/release.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>

#define PLACES 256

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct {
        struct {
                struct device *device;
                CUmemGenericAllocationHandle handle;
                uint64_t bytes;
        } list[PLACES];
        unsigned int head, n; /* the oldest one counts until the driver has it */
        bool started;
} given;

static void *give(void *unused)
{
        (void)unused;
        prctl(PR_SET_NAME, "berth-release");
        pthread_mutex_lock(&lock);
        for (;;) {
                CUmemGenericAllocationHandle handle;

                if (!given.n) {
                        pthread_cond_wait(&changed, &lock);
                        continue;
                }
                handle = given.list[given.head].handle;
                pthread_mutex_unlock(&lock);
                real.cuMemRelease(handle);
                pthread_mutex_lock(&lock);
                given.list[given.head].device->released += given.list[given.head].bytes;
                given.head = (given.head + 1) % PLACES;
                given.n--;
                pthread_cond_broadcast(&changed);
        }
        return NULL;
}

static bool start(void)
{
        pthread_t thread;
        sigset_t all, before;
        int r;

        if (given.started)
                return true;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        r = pthread_create(&thread, NULL, give, NULL);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (r)
                return false;
        pthread_detach(thread);
        return given.started = true;
}

void release_put(struct device *d, CUmemGenericAllocationHandle handle, uint64_t bytes)
{
        bool taken;

        pthread_mutex_lock(&lock);
        taken = given.n < PLACES && start();
        if (taken) {
                unsigned int at = (given.head + given.n++) % PLACES;

                given.list[at].device = d;
                given.list[at].handle = handle;
                given.list[at].bytes = bytes;
                pthread_cond_broadcast(&changed);
        }
        pthread_mutex_unlock(&lock);
        if (taken)
                return;
        real.cuMemRelease(handle);
        pthread_mutex_lock(&lock);
        d->released += bytes;
        pthread_mutex_unlock(&lock);
}

uint64_t release_done(struct device *d)
{
        uint64_t done;

        pthread_mutex_lock(&lock);
        done = d->released;
        d->released = 0;
        pthread_mutex_unlock(&lock);
        return done;
}

void release_wait(void)
{
        pthread_mutex_lock(&lock);
        while (given.n)
                pthread_cond_wait(&changed, &lock);
        pthread_mutex_unlock(&lock);
}

void release_forked(void)
{
        pthread_mutex_init(&lock, NULL);
        pthread_cond_init(&changed, NULL);
        given.head = given.n = 0;
        given.started = false;
}
