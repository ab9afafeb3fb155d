/* soak.c: very many allocations and frees of mixed sizes from several threads; what is counted must come back to nothing and never lie.
 *
 *   soak [--calls N] [--threads N] [--live SIZE] [--seed S] [--hold FILE]
 *
 * N calls in all, half of them frees, with at most SIZE live in all, as far as threads keep what they made; small pieces change hands. One more
 * thread looks at what the interposer counts all the while: a count below zero would show as one above the device's memory. At the end all
 * is freed, and nothing may be counted. With --hold it prints its line, then waits until FILE is there, with its context. One line of JSON; status
 * 0 when all was right, and 4 without the interposer.
 */
#include "cu.h"

#include "wire/use.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { MOST_THREADS = 64, PIECES = 256, SHELVES = 128 };

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)

struct thread {
        pthread_t thread;
        uint64_t state, calls, live, live_most;
        size_t count;
        struct {
                CUdeviceptr at;
                uint64_t bytes;
        } pieces[PIECES];
};

static struct thread threads[MOST_THREADS];
static _Atomic uint64_t shelves[SHELVES]; /* small pieces that one thread left for another */
static struct cu_base base;
static CUuuid uuid;
static berth_device_use_fn look;
static uint64_t calls_each, total;
static _Atomic uint64_t looks, wrong_looks, highest;
static _Atomic bool over;

static uint64_t next(struct thread *t, uint64_t below)
{
        t->state = t->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return (t->state >> 33) % below;
}

/* Most are small, as in real programs; some are large enough for memory of their own. */
static uint64_t any_size(struct thread *t)
{
        uint64_t which = next(t, 256);

        if (which == 0)
                return MIB + next(t, 3 * MIB);
        return 1 + next(t, which < 16 ? 256 * KIB : 16 * KIB);
}

static void let_go(struct thread *t, CUdeviceptr at)
{
        if (next(t, 16) == 0)
                CU(cu.cuMemFreeAsync(at, NULL));
        else
                CU(cu.cuMemFree(at));
        t->calls++;
}

static void drop(struct thread *t, size_t i)
{
        CUdeviceptr at = t->pieces[i].at;
        bool small = t->pieces[i].bytes <= 16 * KIB;

        t->live -= t->pieces[i].bytes;
        t->pieces[i] = t->pieces[--t->count];
        /* Now and then somebody else shall free it, and we free what lay there. */
        if (small && next(t, 8) == 0)
                at = atomic_exchange(&shelves[next(t, SHELVES)], at);
        if (at)
                let_go(t, at);
}

static void take(struct thread *t)
{
        uint64_t bytes = any_size(t);
        CUdeviceptr at;

        if (t->live + bytes > t->live_most)
                bytes = 512;
        if (next(t, 256) == 0)
                CU(cu.cuMemAllocAsync(&at, bytes, NULL));
        else
                CU(cu.cuMemAlloc(&at, bytes));
        t->calls++;
        t->live += bytes;
        t->pieces[t->count].at = at;
        t->pieces[t->count++].bytes = bytes;
}

static void *thread_main(void *argument)
{
        struct thread *t = argument;

        CU(cu.cuCtxSetCurrent(base.context));
        while (t->calls < calls_each) {
                if (t->count == PIECES || (t->count && (t->live >= t->live_most || next(t, 2))))
                        drop(t, next(t, t->count));
                else
                        take(t);
        }
        while (t->count)
                drop(t, t->count - 1);
        return NULL;
}

static void look_once(void)
{
        struct berth_use use;
        uint64_t seen = atomic_load(&highest);

        if (look((const uint8_t *)uuid.bytes, &use) < 0)
                return;
        atomic_fetch_add(&looks, 1);
        if (use.used_bytes > total || use.peak_bytes > total || use.peak_bytes < use.used_bytes)
                atomic_fetch_add(&wrong_looks, 1);
        if (use.used_bytes > seen)
                atomic_store(&highest, use.used_bytes);
}

static void *look_main(void *argument)
{
        (void)argument;
        while (!atomic_load(&over)) {
                look_once();
                usleep(500);
        }
        return NULL;
}

int main(int argc, char **argv)
{
        uint64_t count, live, calls = 0, seed;
        struct berth_use use;
        pthread_t looker;
        size_t bytes;
        bool ok;

        (void)argc;
        cu_known(argv, "--calls= --threads= --live= --seed= --hold=");
        count = cu_number(argv, "--threads", 4);
        live = cu_size(argv, "--live", 64 * MIB);
        seed = cu_number(argv, "--seed", 1);
        if (count < 1 || count > MOST_THREADS || live / count < 64 * KIB) {
                fprintf(stderr, "%s: 1 to %d threads, 64 KiB live for each\n", argv[0], MOST_THREADS);
                return 64;
        }
        calls_each = cu_number(argv, "--calls", 1000000) / count;
        cu_open(argv);
        cu_begin(&base);
        look = (berth_device_use_fn)dlsym(RTLD_DEFAULT, USE_SYMBOL);
        CU(cu.cuDeviceGetUuid(&uuid, base.device));
        CU(cu.cuDeviceTotalMem(&bytes, base.device));
        total = bytes;
        if (!look) {
                fprintf(stderr, "%s: needs the interposer: berth run -- %s\n", argv[0], argv[0]);
                return 4;
        }
        if (pthread_create(&looker, NULL, look_main, NULL) != 0)
                abort();
        for (uint64_t i = 0; i < count; i++) {
                threads[i].state = seed * 1000 + i;
                threads[i].live_most = live / count;
                if (pthread_create(&threads[i].thread, NULL, thread_main, &threads[i]) != 0)
                        abort();
        }
        for (uint64_t i = 0; i < count; i++) {
                pthread_join(threads[i].thread, NULL);
                calls += threads[i].calls;
        }
        for (size_t i = 0; i < SHELVES; i++)
                if (shelves[i])
                        let_go(&threads[0], shelves[i]);
        CU(cu.cuCtxSynchronize());
        atomic_store(&over, true);
        pthread_join(looker, NULL);
        look_once();
        if (look((const uint8_t *)uuid.bytes, &use) < 0)
                abort();
        ok = use.used_bytes == 0 && !atomic_load(&wrong_looks) && use.peak_bytes >= atomic_load(&highest) && use.peak_bytes;
        printf("{\"name\":\"soak\",\"ok\":%s,\"calls\":%llu,\"threads\":%llu,\"used_bytes\":%llu,\"peak_bytes\":%llu,\"highest_seen_bytes\":%llu,"
               "\"looks\":%llu,\"wrong_looks\":%llu}\n",
               ok ? "true" : "false", (unsigned long long)calls, (unsigned long long)count, (unsigned long long)use.used_bytes,
               (unsigned long long)use.peak_bytes, (unsigned long long)atomic_load(&highest), (unsigned long long)atomic_load(&looks),
               (unsigned long long)atomic_load(&wrong_looks));
        fflush(stdout);
        while (cu_option(argv, "--hold") && access(cu_option(argv, "--hold"), F_OK) < 0)
                usleep(10000);
        return ok ? 0 : 1;
}
