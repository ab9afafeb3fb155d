/* threads.c: several threads allocate, launch, copy and free at once, each checking its own data.
 *
 * One line of JSON; status 0 when every word was right.
 */
#include "cu.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static struct cu_base base;
static uint64_t rounds, most;
static _Atomic uint64_t wrong, done;

static uint32_t next(uint32_t *state)
{
        *state = *state * 1664525U + 1013904223U;
        return *state >> 8;
}

static void one(uint32_t *state, CUstream s, uint32_t *host)
{
        uint64_t words = 1024 + next(state) % (most / 4 - 1024), sum = 0, want;
        uint32_t value = next(state), addend = next(state);
        CUdeviceptr at, out;

        CU(cu.cuMemAlloc(&at, words * 4));
        CU(cu.cuMemAlloc(&out, 8));
        CU(cu.cuMemsetD8Async(out, 0, 8, s));
        CU(cu_words(base.fill, at, words, value, s));
        CU(cu_words(base.add, at, words, addend, s));
        CU(cu_checksum(base.checksum, at, words, out, s));
        CU(cu.cuMemcpyDtoHAsync(host, at, words * 4, s));
        CU(cu.cuMemcpyDtoHAsync(&sum, out, 8, s));
        CU(cu.cuStreamSynchronize(s));
        want = (uint64_t)(uint32_t)(value + addend) * words;
        if (sum != want)
                atomic_fetch_add(&wrong, 1);
        for (uint64_t i = 0; i < words; i++)
                if (host[i] != value + addend)
                        atomic_fetch_add(&wrong, 1);
        CU(cu.cuMemFree(at));
        CU(cu.cuMemFree(out));
        atomic_fetch_add(&done, 1);
}

static void *thread_main(void *argument)
{
        uint32_t state = (uint32_t)(uintptr_t)argument * 2654435761U + 1;
        uint32_t *host = malloc(most);
        CUstream s;

        if (!host)
                abort();
        CU(cu.cuCtxSetCurrent(base.context));
        CU(cu.cuStreamCreate(&s, (uintptr_t)argument % 2 ? CU_STREAM_NON_BLOCKING : CU_STREAM_DEFAULT));
        for (uint64_t i = 0; i < rounds; i++)
                one(&state, s, host);
        CU(cu.cuStreamDestroy(s));
        free(host);
        return NULL;
}

int main(int argc, char **argv)
{
        enum { MOST = 64 };
        pthread_t threads[MOST];
        uint64_t count;

        (void)argc;
        cu_known(argv, "--threads= --rounds= --size=");
        count = cu_number(argv, "--threads", 4);
        rounds = cu_number(argv, "--rounds", 20);
        most = cu_size(argv, "--size", UINT64_C(4) << 20);
        if (count < 1 || count > MOST || most < 8192) {
                fprintf(stderr, "%s: 1 to %d threads, sizes of at least 8 KiB\n", argv[0], MOST);
                return 64;
        }
        cu_open(argv);
        cu_begin(&base);
        for (uint64_t i = 0; i < count; i++)
                if (pthread_create(&threads[i], NULL, thread_main, (void *)(uintptr_t)i) != 0)
                        abort();
        for (uint64_t i = 0; i < count; i++)
                pthread_join(threads[i], NULL);
        printf("{\"name\":\"threads\",\"ok\":%s,\"threads\":%llu,\"rounds\":%llu,\"wrong_words\":%llu}\n",
               atomic_load(&wrong) ? "false" : "true", (unsigned long long)count,
               (unsigned long long)atomic_load(&done), (unsigned long long)atomic_load(&wrong));
        return atomic_load(&wrong) ? 1 : 0;
}
