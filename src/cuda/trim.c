/* trim.c: giving back, and the functions of include/berth.h; see trim.h. */
#include "cuda/trim.h"

#include "base/error.h"
#include "cuda/cache.h"
#include "cuda/lane.h"
#include "cuda/link.h"
#include "cuda/say.h"
#include "wire/window.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>

#define EXPORT __attribute__((visibility("default")))

static __thread uint64_t last_refused __attribute__((tls_model("initial-exec")));

/* Guarded by teller_lock, which nobody holds while calling out or while taking the books. */
static pthread_mutex_t teller_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t teller_changed = PTHREAD_COND_INITIALIZER;
static struct {
        void (*callback)(void *argument);
        void *argument;
        pthread_t thread;
        bool started, asked, calling;
} teller;

static void give_back(struct device *d)
{
        cache_limit(d, 0);
        d->trim = true;
        link_kick();
}

void trim_asked(struct device *d, bool soft)
{
        give_back(d);
        d->soft.asked |= soft;
        pthread_mutex_lock(&teller_lock);
        teller.asked = teller.callback != NULL;
        pthread_cond_broadcast(&teller_changed);
        pthread_mutex_unlock(&teller_lock);
}

bool trim_refuses(struct device *d, uint64_t mapped)
{
        if (lane_captures() || !soft_refuse(&d->soft, &last_refused, d->movable + d->pinned, mapped))
                return false;
        if (!d->soft_refused++ && d->soft.limit)
                say("soft limit of %lu MiB of device memory reached: now and then an allocation is answered out-of-memory once, so that caches are freed",
                    (unsigned long)(d->soft.limit >> 20));
        return true;
}

void trim_forked(void)
{
        pthread_mutex_init(&teller_lock, NULL);
        pthread_cond_init(&teller_changed, NULL);
        teller.callback = NULL;
        teller.started = teller.asked = teller.calling = false;
}

/* --- include/berth.h --- */

static void *tell(void *unused)
{
        (void)unused;
        prctl(PR_SET_NAME, "berth-trim");
        pthread_mutex_lock(&teller_lock);
        for (;;) {
                void (*callback)(void *) = teller.callback;
                void *argument = teller.argument;

                if (!teller.asked || !callback) {
                        pthread_cond_wait(&teller_changed, &teller_lock);
                        continue;
                }
                teller.asked = false;
                teller.calling = true;
                pthread_mutex_unlock(&teller_lock);
                callback(argument);
                pthread_mutex_lock(&teller_lock);
                teller.calling = false;
                pthread_cond_broadcast(&teller_changed);
        }
        return NULL;
}

static int start_teller(void)
{
        sigset_t all, before;
        int r;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        r = pthread_create(&teller.thread, NULL, tell, NULL);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (r)
                return -r;
        pthread_detach(teller.thread);
        teller.started = true;
        return 0;
}

EXPORT int berth_trim_on(void (*callback)(void *argument), void *argument);
EXPORT int berth_trim(void);
EXPORT int berth_peak_begin(const char *name);
EXPORT int berth_peak_end(const char *name, uint64_t *ret_bytes);

int berth_trim_on(void (*callback)(void *argument), void *argument)
{
        int r = 0;

        pthread_mutex_lock(&teller_lock);
        if (callback && !teller.started)
                r = start_teller();
        if (r == 0) {
                teller.callback = callback;
                teller.argument = argument;
        }
        /* The caller may take apart what the old one used, unless it is the old one that calls. */
        while (r == 0 && teller.calling && !pthread_equal(teller.thread, pthread_self()))
                pthread_cond_wait(&teller_changed, &teller_lock);
        pthread_mutex_unlock(&teller_lock);
        return r;
}

int berth_trim(void)
{
        int r = -ENODEV;

        books_lock();
        for (unsigned int i = 0; berth_enabled && i < berth.devices_n; i++)
                if (berth.devices[i].managed) {
                        give_back(&berth.devices[i]);
                        r = 0;
                }
        books_unlock();
        return r;
}

int berth_peak_begin(const char *name)
{
        int r = -ENODEV;

        if (!name)
                return -EINVAL;
        books_lock();
        for (unsigned int i = 0; berth_enabled && i < berth.devices_n; i++)
                if (berth.devices[i].managed && berth.devices[i].page) {
                        r = page_window_begin(berth.devices[i].page, name, WINDOW_PROGRAM);
                        if (r < 0)
                                break;
                }
        books_unlock();
        return r;
}

int berth_peak_end(const char *name, uint64_t *ret_bytes)
{
        uint64_t highest = 0, peak;
        int r = -ENODEV;

        if (!name)
                return -EINVAL;
        books_lock();
        for (unsigned int i = 0; berth_enabled && i < berth.devices_n; i++) {
                if (!berth.devices[i].managed || !berth.devices[i].page)
                        continue;
                if (page_window_peak(berth.devices[i].page, name, WINDOW_PROGRAM, true, &peak) == 0) {
                        highest = peak > highest ? peak : highest;
                        r = 0;
                } else if (r < 0) {
                        r = -ENOENT;
                }
        }
        books_unlock();
        if (r == 0 && ret_bytes)
                *ret_bytes = highest;
        return r;
}
