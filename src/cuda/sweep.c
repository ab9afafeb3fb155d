/* sweep.c: the sweepers; see sweep.h.
 *
 * Its lock is taken after the books, and held only to pass flights on. Of a unit in flight it reads address, size and handle, which nobody changes meanwhile;
 * what follows from its being gone is written by who lands the flight.
 */
#include "cuda/sweep.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#define BATCH 16
#define SWEEPERS 2 /* while one waits for the device to forget a mapping, the other gives memory back */

static pthread_mutex_t sweep_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t sweep_work = PTHREAD_COND_INITIALIZER, sweep_done = PTHREAD_COND_INITIALIZER;
static struct flight *queue, **queue_end = &queue;
static unsigned int begun;

static struct flight *first_of_queue(void)
{
        struct flight *flight = queue;

        queue = flight->swept_next;
        if (!queue)
                queue_end = &queue;
        flight->sweep = SWEEP_TAKEN;
        return flight;
}

/* Whether the first in the queue can be unmapped with the one before it. */
static bool goes_with(const struct flight *before)
{
        return queue && queue->group == before->group && queue->unit->address == before->unit->address + before->unit->bytes &&
               real.cuEventQuery(queue->event) == CUDA_SUCCESS;
}

/* All of them in one call, or, if that is refused, one by one. */
static void clear(struct flight *const *batch, unsigned int n)
{
        uint64_t bytes = 0;
        bool all;

        for (unsigned int i = 0; i < n; i++)
                bytes += batch[i]->unit->bytes;
        all = n && real.cuMemUnmap(batch[0]->unit->address, bytes) == CUDA_SUCCESS;
        for (unsigned int i = 0; i < n; i++) {
                batch[i]->gone = all || (n > 1 && real.cuMemUnmap(batch[i]->unit->address, batch[i]->unit->bytes) == CUDA_SUCCESS);
                if (batch[i]->gone)
                        real.cuMemRelease(batch[i]->unit->handle);
        }
}

static void *sweeper(void *unused)
{
        (void)unused;
        prctl(PR_SET_NAME, "berth-sweep");
        pthread_mutex_lock(&sweep_lock);
        for (;;) {
                struct flight *batch[BATCH];
                unsigned int n = 1;
                CUresult r;

                while (!queue)
                        pthread_cond_wait(&sweep_work, &sweep_lock);
                batch[0] = first_of_queue();
                pthread_mutex_unlock(&sweep_lock);
                r = real.cuEventSynchronize(batch[0]->event);
                pthread_mutex_lock(&sweep_lock);
                while (r == CUDA_SUCCESS && n < BATCH && goes_with(batch[n - 1])) {
                        batch[n] = first_of_queue();
                        n++;
                }
                pthread_mutex_unlock(&sweep_lock);
                if (r == CUDA_SUCCESS)
                        clear(batch, n);
                pthread_mutex_lock(&sweep_lock);
                for (unsigned int i = 0; i < n; i++) {
                        batch[i]->copied = r;
                        batch[i]->sweep = SWEEP_THROUGH;
                }
                pthread_cond_broadcast(&sweep_done);
        }
        return NULL;
}

static bool begin(void)
{
        sigset_t all, before;
        pthread_t thread;

        if (begun == SWEEPERS)
                return true;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        for (; begun < SWEEPERS && pthread_create(&thread, NULL, sweeper, NULL) == 0; begun++)
                pthread_detach(thread);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return begun;
}

bool sweep_add(struct flight *flight, CUdeviceptr group)
{
        if (!begin())
                return false;
        pthread_mutex_lock(&sweep_lock);
        flight->group = group;
        flight->gone = false;
        flight->sweep = SWEEP_QUEUED;
        flight->swept_next = NULL;
        *queue_end = flight;
        queue_end = &flight->swept_next;
        pthread_cond_signal(&sweep_work);
        pthread_mutex_unlock(&sweep_lock);
        return true;
}

CUresult sweep_wait(struct flight *flight, bool *ret_gone)
{
        pthread_mutex_lock(&sweep_lock);
        while (flight->sweep != SWEEP_THROUGH)
                pthread_cond_wait(&sweep_done, &sweep_lock);
        *ret_gone = flight->gone;
        pthread_mutex_unlock(&sweep_lock);
        return flight->copied;
}

bool sweep_cancel(struct flight *flight)
{
        struct flight **at = &queue;
        bool cancelled;

        pthread_mutex_lock(&sweep_lock);
        if (flight->sweep == SWEEP_QUEUED) {
                while (*at != flight)
                        at = &(*at)->swept_next;
                *at = flight->swept_next;
                if (queue_end == &flight->swept_next)
                        queue_end = at;
                flight->sweep = SWEEP_NOT;
        }
        while (flight->sweep == SWEEP_TAKEN)
                pthread_cond_wait(&sweep_done, &sweep_lock);
        cancelled = flight->sweep == SWEEP_NOT;
        pthread_mutex_unlock(&sweep_lock);
        return cancelled;
}

void sweep_forked(void)
{
        pthread_mutex_init(&sweep_lock, NULL);
        pthread_cond_init(&sweep_work, NULL);
        pthread_cond_init(&sweep_done, NULL);
        queue = NULL;
        queue_end = &queue;
        begun = 0;
}
