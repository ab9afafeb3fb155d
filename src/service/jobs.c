/* jobs.c: a thread for what would block the loop: reads of the store, hashing and syncing of files. Jobs run one after the other in the order they were
 * put; the number waiting is bounded, so that a slow disk turns into refusals and not into memory. The store is opened in the thread, read-only, at the
 * first job, and again for each job while that fails. */
#include "base/error.h"
#include "service/internal.h"

#include <pthread.h>

#define WAITING 4096

struct jobs {
        pthread_t thread;
        pthread_mutex_t mutex;
        pthread_cond_t more;
        struct job *first, **last, *done, **done_last;
        size_t waiting;
        bool stop;
        char *url;
        struct store *store;
        void (*wake)(void *context);
        void *context;
};

static void *work(void *argument)
{
        struct jobs *jobs = argument;
        char message[STORE_MESSAGE];

        pthread_mutex_lock(&jobs->mutex);
        for (;;) {
                struct job *job;

                while (!jobs->first && !jobs->stop)
                        pthread_cond_wait(&jobs->more, &jobs->mutex);
                job = jobs->first;
                if (!job)
                        break;
                jobs->first = job->next;
                if (!jobs->first)
                        jobs->last = &jobs->first;
                pthread_mutex_unlock(&jobs->mutex);
                if (jobs->url && !jobs->store &&
                    store_open(&(struct store_options){.url = jobs->url, .read_only = true}, &jobs->store, message) < 0)
                        jobs->store = NULL;
                job->run(job, jobs->store);
                job->next = NULL;
                pthread_mutex_lock(&jobs->mutex);
                *jobs->done_last = job;
                jobs->done_last = &job->next;
                jobs->waiting--;
                jobs->wake(jobs->context);
        }
        pthread_mutex_unlock(&jobs->mutex);
        if (jobs->store)
                store_close(jobs->store);
        return NULL;
}

int jobs_start(const char *name, const struct store_options *store, void (*wake)(void *context), void *context, struct jobs **ret_jobs)
{
        struct jobs *jobs = calloc(1, sizeof(*jobs));
        int r;

        if (!jobs)
                return -ENOMEM;
        jobs->url = store ? strdup(store->url) : NULL;
        if (store && !jobs->url) {
                free(jobs);
                return -ENOMEM;
        }
        jobs->wake = wake;
        jobs->context = context;
        jobs->last = &jobs->first;
        jobs->done_last = &jobs->done;
        pthread_mutex_init(&jobs->mutex, NULL);
        pthread_cond_init(&jobs->more, NULL);
        r = -pthread_create(&jobs->thread, NULL, work, jobs);
        if (r < 0) {
                free(jobs->url);
                free(jobs);
                return r;
        }
        pthread_setname_np(jobs->thread, name);
        *ret_jobs = jobs;
        return 0;
}

int jobs_put(struct jobs *jobs, struct job *job)
{
        int r = 0;

        job->next = NULL;
        pthread_mutex_lock(&jobs->mutex);
        if (jobs->waiting >= WAITING) {
                r = -E_QUOTA;
        } else {
                jobs->waiting++;
                *jobs->last = job;
                jobs->last = &job->next;
                pthread_cond_signal(&jobs->more);
        }
        pthread_mutex_unlock(&jobs->mutex);
        return r;
}

size_t jobs_finish(struct service *s, struct jobs *jobs)
{
        struct job *job, *next;
        size_t count = 0;

        pthread_mutex_lock(&jobs->mutex);
        job = jobs->done;
        jobs->done = NULL;
        jobs->done_last = &jobs->done;
        pthread_mutex_unlock(&jobs->mutex);
        for (; job; job = next, count++) {
                next = job->next;
                job->finish(s, job);
        }
        return count;
}

/* What was put is still run and finished. */
void jobs_stop(struct service *s, struct jobs *jobs)
{
        pthread_mutex_lock(&jobs->mutex);
        jobs->stop = true;
        pthread_cond_signal(&jobs->more);
        pthread_mutex_unlock(&jobs->mutex);
        pthread_join(jobs->thread, NULL);
        jobs_finish(s, jobs);
        pthread_mutex_destroy(&jobs->mutex);
        pthread_cond_destroy(&jobs->more);
        free(jobs->url);
        free(jobs);
}
