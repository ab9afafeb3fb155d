/* keep.c: see keep.h. */
#include "keep.h"

struct kept {
        CUmemoryPool pool;
        CUdeviceptr at;
        uint64_t bytes;
        struct kept *next;
};

static pthread_mutex_t keep_lock = PTHREAD_MUTEX_INITIALIZER;
static struct kept *all_kept;

bool keep_bytes(CUmemoryPool pool, int device, uint64_t bytes)
{
        struct kept *k = calloc(1, sizeof(*k));

        if (!k || memory_alloc(device, bytes, &k->at) != CUDA_SUCCESS) {
                free(k);
                return false;
        }
        k->pool = pool;
        k->bytes = bytes;
        pthread_mutex_lock(&keep_lock);
        k->next = all_kept;
        all_kept = k;
        pthread_mutex_unlock(&keep_lock);
        return true;
}

static struct kept *take_one(CUmemoryPool pool)
{
        struct kept *k = NULL;

        pthread_mutex_lock(&keep_lock);
        for (struct kept **p = &all_kept; *p; p = &(*p)->next)
                if ((*p)->pool == pool) {
                        k = *p;
                        *p = k->next;
                        break;
                }
        pthread_mutex_unlock(&keep_lock);
        return k;
}

uint64_t keep_drop(CUmemoryPool pool)
{
        struct kept *k = take_one(pool);
        uint64_t bytes = k ? k->bytes : 0;

        if (k)
                (void)memory_free(k->at);
        free(k);
        return bytes;
}
