/* script.c: a scripted sequence of allocations of every kind, which knows after each step what must be counted.
 *
 *   script [--steps N] [--seed S] [--live SIZE] [--hold FILE] [--keep] [--even]
 *
 * First a fixed script with spikes that last no longer than two calls, then N random steps that keep at most SIZE. What must be counted is
 * worked out from the rules of docs/limits.md alone, and compared with the interposer's books after every step, its peak with the highest of the
 * sums. At the end all is freed, but with --keep. With --hold it prints its line, then waits until FILE is there. With --even there is no managed
 * memory, which takes room on the device only where it is used, so that what is counted is what the device gives. What is freed in stream order is waited
 * for and its pool is trimmed: then it is gone. One line of JSON; status 0 when all was exact, and 4 without the interposer.
 */
#include "cu.h"

#include "wire/use.h"

#include <dlfcn.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum kind { SMALL, LARGE, PITCH, POOL, CREATED, MANAGED, KINDS };
enum { MOST = 512 };

#define MIB (UINT64_C(1) << 20)
#define GRANULE (2 * MIB)

struct piece {
        enum kind kind;
        CUdeviceptr at; /* or the handle */
        uint64_t counted;
        bool small; /* lies in 2 MiB that it may share */
};

static struct piece pieces[MOST];
static size_t count;
static bool even;
static uint64_t steps, wrong_steps, worst, expected, peak, state, shortest_ns = UINT64_MAX;
static struct berth_use use;
static berth_device_use_fn look;
static CUuuid uuid;
static struct cu_base base;
static CUmemoryPool pool;

static uint64_t next(uint64_t below)
{
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return (state >> 33) % below;
}

static uint64_t granules(uint64_t bytes)
{
        return (bytes + GRANULE - 1) / GRANULE * GRANULE;
}

/* Is another small allocation in the same 2 MiB? */
static bool shares(size_t i)
{
        for (size_t j = 0; j < count; j++)
                if (j != i && pieces[j].small && pieces[j].at / GRANULE == pieces[i].at / GRANULE)
                        return true;
        return false;
}

static void compare(void)
{
        uint64_t error;

        steps++;
        peak = expected > peak ? expected : peak;
        if (look((const uint8_t *)uuid.bytes, &use) < 0) {
                fprintf(stderr, "the interposer does not know the device\n");
                exit(4);
        }
        error = use.used_bytes > expected ? use.used_bytes - expected : expected - use.used_bytes;
        wrong_steps += error || use.peak_bytes != peak;
        worst = error > worst ? error : worst;
}

static void allocate(enum kind kind, uint64_t bytes)
{
        CUmemAllocationProp properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, base.device}};
        struct piece *p = &pieces[count];
        CUmemGenericAllocationHandle handle;
        size_t pitch;

        if (even && kind == MANAGED)
                kind = POOL;
        p->kind = kind;
        p->counted = bytes;
        p->small = kind == SMALL || (kind == POOL && bytes <= MIB);
        switch (kind) {
        case SMALL:
                CU(cu.cuMemAlloc(&p->at, bytes));
                break;
        case LARGE:
                CU(cu.cuMemAlloc(&p->at, bytes));
                p->counted = granules(bytes);
                break;
        case PITCH: /* rows of 5000 bytes lie 5120 apart */
                CU(cu.cuMemAllocPitch(&p->at, &pitch, 5000, bytes / 5120 + 1, 4));
                p->counted = granules((bytes / 5120 + 1) * 5120);
                break;
        case POOL:
                CU(cu.cuMemAllocAsync(&p->at, bytes, NULL));
                p->counted = granules(bytes);
                break;
        case CREATED:
                p->counted = granules(bytes);
                CU(cu.cuMemCreate(&handle, p->counted, &properties, 0));
                p->at = handle;
                break;
        case MANAGED:
                CU(cu.cuMemAllocManaged(&p->at, bytes, 1));
                break;
        case KINDS:
        default:
                abort();
        }
        count++;
        if (p->small)
                p->counted = shares(count - 1) ? 0 : GRANULE;
        expected += p->counted;
        compare();
}

static void release(size_t i)
{
        struct piece p = pieces[i];

        switch (p.kind) {
        case POOL:
                CU(cu.cuMemFreeAsync(p.at, NULL));
                CU(cu.cuStreamSynchronize(NULL));
                CU(cu.cuMemPoolTrimTo(pool, 0));
                break;
        case CREATED:
                CU(cu.cuMemRelease(p.at));
                break;
        case SMALL:
        case LARGE:
        case PITCH:
        case MANAGED:
                CU(cu.cuMemFree(p.at));
                break;
        case KINDS:
        default:
                abort();
        }
        if (p.small)
                p.counted = shares(i) ? 0 : GRANULE;
        expected -= p.counted;
        pieces[i] = pieces[--count];
        compare();
}

static uint64_t now_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* There and gone: nobody who looks now and then would see it. */
static void spike(enum kind kind, uint64_t bytes)
{
        uint64_t begin = now_ns(), ns;

        allocate(kind, bytes);
        release(count - 1);
        ns = now_ns() - begin;
        shortest_ns = ns < shortest_ns ? ns : shortest_ns;
}

static uint64_t any_size(enum kind kind)
{
        switch (kind) {
        case SMALL:
                return 1 + next(next(4) ? 64 << 10 : MIB);
        case LARGE:
        case PITCH:
        case CREATED:
                return MIB + 8192 + next(6 * MIB);
        case POOL:
        case MANAGED:
        case KINDS:
        default:
                return 1 + next(3 * MIB);
        }
}

static void fixed_script(uint64_t live)
{
        static const uint64_t sizes[] = {1, 512, 513, MIB - 1, MIB, MIB + 1, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 5 * MIB};

        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
                allocate(sizes[i] <= MIB ? SMALL : LARGE, sizes[i]);
        for (int kind = PITCH; kind < KINDS; kind++)
                allocate((enum kind)kind, 3 * MIB);
        for (int i = 0; i < 20; i++)
                spike(i % 2 ? LARGE : SMALL, any_size(i % 2 ? LARGE : SMALL));
        /* The highest point of all is a spike. */
        spike(LARGE, expected + 16 * MIB < live ? live - expected - 8 * MIB : 2 * MIB);
        spike(CREATED, 4 * MIB);
        while (count > 3)
                release(next(count));
}

static void random_steps(uint64_t n, uint64_t live)
{
        for (uint64_t i = 0; i < n; i++) {
                enum kind kind = (enum kind)next(KINDS);
                uint64_t bytes = any_size(next(3) ? SMALL : kind);

                if (bytes <= MIB && kind != POOL && kind != MANAGED)
                        kind = SMALL;
                if (kind == SMALL && bytes > MIB)
                        bytes = MIB;
                if (count == MOST || (count && (expected + granules(bytes) + GRANULE > live || next(2))))
                        release(next(count));
                else
                        allocate(kind, bytes);
        }
}

static void wait_for(const char *path)
{
        struct timespec t = {.tv_nsec = 10000000};

        while (path && access(path, F_OK) < 0)
                nanosleep(&t, NULL);
}

int main(int argc, char **argv)
{
        uint64_t n, live;
        bool ok;

        (void)argc;
        cu_known(argv, "--steps= --seed= --live= --hold= --keep --even");
        even = cu_flag(argv, "--even");
        n = cu_number(argv, "--steps", 2000);
        state = cu_number(argv, "--seed", 1);
        live = cu_size(argv, "--live", 96 * MIB);
        if (live < 64 * MIB) {
                fprintf(stderr, "%s: at least 64 MiB\n", argv[0]);
                return 64;
        }
        cu_open(argv);
        cu_begin(&base);
        CU(cu.cuDeviceGetDefaultMemPool(&pool, base.device));
        look = (berth_device_use_fn)dlsym(RTLD_DEFAULT, USE_SYMBOL);
        CU(cu.cuDeviceGetUuid(&uuid, base.device));
        if (!look) {
                fprintf(stderr, "%s: needs the interposer: berth run -- %s\n", argv[0], argv[0]);
                return 4;
        }
        fixed_script(live);
        random_steps(n, live);
        while (!cu_flag(argv, "--keep") && count)
                release(next(count));
        CU(cu.cuCtxSynchronize());
        ok = wrong_steps == 0 && worst == 0 && use.peak_bytes == peak && use.used_bytes == expected;
        printf("{\"name\":\"script\",\"ok\":%s,\"steps\":%llu,\"wrong_steps\":%llu,\"expected_bytes\":%llu,\"used_bytes\":%llu,"
               "\"expected_peak_bytes\":%llu,\"peak_bytes\":%llu,\"peak_error_bytes\":%lld,\"used_error_bytes\":%llu,\"shortest_spike_us\":%.1f}\n",
               ok ? "true" : "false", (unsigned long long)steps, (unsigned long long)wrong_steps, (unsigned long long)expected,
               (unsigned long long)use.used_bytes, (unsigned long long)peak, (unsigned long long)use.peak_bytes, (long long)(use.peak_bytes - peak),
               (unsigned long long)worst, (double)shortest_ns / 1e3);
        fflush(stdout);
        wait_for(cu_option(argv, "--hold"));
        return ok ? 0 : 1;
}
