/* kernels.c: the kernels that compute, by name; the same arithmetic as the PTX that the test programs carry.
 *
 * All of a kernel's memory is checked before it starts; then it runs piece by piece, each under memory_lock. Memory
 * that goes away in between is a fault of the context, as it is on a real device.
 */
#include "fake.h"

#include <string.h>
#include <time.h>

#define PIECE (UINT64_C(4) << 20)

const struct kernel_type kernel_types[KERNEL_UNKNOWN + 1] = {
        [KERNEL_NOP] = {"berth_nop", 0, {0}},       [KERNEL_FILL] = {"berth_fill", 3, {8, 8, 4}},
        [KERNEL_ADD] = {"berth_add", 3, {8, 8, 4}}, [KERNEL_CHECKSUM] = {"berth_checksum", 3, {8, 8, 8}},
        [KERNEL_SPIN] = {"berth_spin", 1, {8}},     [KERNEL_STEP] = {"berth_step", 3, {8, 8, 4}},
        [KERNEL_HASH] = {"berth_hash", 3, {8, 8, 8}},
        [KERNEL_UNKNOWN] = {NULL, 0, {0}},
};

static uint64_t words_run(int id, uint32_t *p, uint64_t n, uint32_t argument)
{
        uint64_t sum = 0;

        switch (id) {
        case KERNEL_FILL:
                for (uint64_t i = 0; i < n; i++)
                        p[i] = argument;
                break;
        case KERNEL_ADD:
                for (uint64_t i = 0; i < n; i++)
                        p[i] += argument;
                break;
        case KERNEL_STEP:
                for (uint64_t i = 0; i < n; i++)
                        p[i] = p[i] * 1664525U + 1013904223U + argument;
                break;
        default:
                for (uint64_t i = 0; i < n; i++)
                        sum += p[i];
                break;
        }
        return sum;
}

static CUresult words_kernel(const struct work *w, CUcontext c)
{
        CUdeviceptr at = w->kernel.a[0];
        uint64_t rest = w->kernel.a[1] * 4, sum = 0;
        bool write = w->kernel.id != KERNEL_CHECKSUM;
        struct span s = {0};
        CUresult r;

        if (w->kernel.a[1] > UINT64_MAX / 8)
                return CUDA_ERROR_ILLEGAL_ADDRESS;
        if (at % 4 || (!write && w->kernel.a[2] % 8))
                return FAKE_ERROR_MISALIGNED;
        pthread_rwlock_rdlock(&memory_lock);
        r = range_check(at, rest, c, write ? TOUCH_WRITE : TOUCH_READ);
        if (r == CUDA_SUCCESS && !write)
                r = range_check(w->kernel.a[2], 8, c, TOUCH_WRITE);
        pthread_rwlock_unlock(&memory_lock);
        TRY(r);
        for (; rest > 0; at += s.bytes, rest -= s.bytes) {
                if (atomic_load_explicit(&c->abort, memory_order_relaxed))
                        return CUDA_SUCCESS;
                pthread_rwlock_rdlock(&memory_lock);
                r = span_device(at, rest < PIECE ? rest : PIECE, c, write ? TOUCH_WRITE : TOUCH_READ, &s);
                if (r == CUDA_SUCCESS)
                        sum += words_run(w->kernel.id, s.at, s.bytes / 4, (uint32_t)w->kernel.a[2]);
                pthread_rwlock_unlock(&memory_lock);
                TRY(r);
        }
        if (write)
                return CUDA_SUCCESS;
        pthread_rwlock_rdlock(&memory_lock);
        r = span_device(w->kernel.a[2], 8, c, TOUCH_WRITE, &s);
        if (r == CUDA_SUCCESS)
                __atomic_fetch_add((uint64_t *)s.at, sum, __ATOMIC_RELAXED);
        pthread_rwlock_unlock(&memory_lock);
        return r;
}

static uint64_t hash_key(uint64_t i, uint64_t seed)
{
        uint64_t z = i * UINT64_C(0x9e3779b97f4a7c15) + seed;

        z = (z ^ (z >> 32)) * UINT64_C(0xd6e8feb86659fd93);
        return z ^ (z >> 32);
}

/* src/cuda/clean-hash.cu: ranges and sums lie in mapped host memory. The first block's sum is the whole one, the others are 0. */
static CUresult hash_kernel(const struct work *w, CUcontext c)
{
        const struct {
                CUdeviceptr at;
                uint64_t pairs;
        } *ranges = (const void *)w->kernel.a[0];
        uint64_t (*sums)[2] = (void *)w->kernel.a[1], seed = w->kernel.a[2];
        uint32_t blocks = (uint32_t)w->kernel.a[3], n = (uint32_t)(w->kernel.a[3] >> 32);

        for (uint32_t k = 0; k < n; k++) {
                unsigned __int128 sum = 0;
                uint64_t rest = ranges[k].pairs * 16, i = 0;
                CUdeviceptr at = ranges[k].at;
                struct span s = {0};

                for (; rest && !atomic_load_explicit(&c->abort, memory_order_relaxed); at += s.bytes, rest -= s.bytes) {
                        CUresult r;

                        pthread_rwlock_rdlock(&memory_lock);
                        r = span_device(at, rest < PIECE ? rest : PIECE, c, TOUCH_READ, &s);
                        for (const uint64_t *v = s.at, *end = v + (r == CUDA_SUCCESS ? s.bytes / 8 : 0); v < end; v += 2, i += 2)
                                sum += (unsigned __int128)(v[0] + hash_key(i, seed)) * (uint64_t)(v[1] + hash_key(i + 1, seed));
                        pthread_rwlock_unlock(&memory_lock);
                        TRY(r);
                }
                memset(sums[k * blocks], 0, blocks * sizeof sums[0]);
                sums[k * blocks][0] = (uint64_t)sum;
                sums[k * blocks][1] = (uint64_t)(sum >> 64);
        }
        return CUDA_SUCCESS;
}

/* Takes that long without using the processor; the time shows as it passes. */
static void spin(uint64_t ns, CUcontext c)
{
        _Atomic uint64_t *busy = &store()->device[c->device].busy_ns;
        uint64_t begin = clock_now_ns(), last = begin, now = begin;

        while (now - begin < ns && !atomic_load(&c->abort)) {
                uint64_t rest = ns - (now - begin);

                if (rest > 100 * NS_PER_US) {
                        struct timespec t = {
                                .tv_nsec = (long)(rest > 6 * NS_PER_MS ? 5 * NS_PER_MS : rest - 60 * NS_PER_US)};

                        nanosleep(&t, NULL);
                }
                now = clock_now_ns();
                atomic_fetch_add(busy, now - last);
                last = now;
        }
}

CUresult kernel_run(const struct work *w, CUcontext c)
{
        uint64_t begin;
        CUresult r;

        if (w->kernel.id == KERNEL_NOP || w->kernel.id == KERNEL_UNKNOWN)
                return CUDA_SUCCESS;
        if (w->kernel.id == KERNEL_SPIN) {
                spin(w->kernel.a[0], c);
                return CUDA_SUCCESS;
        }
        begin = clock_now_ns();
        r = w->kernel.id == KERNEL_HASH ? hash_kernel(w, c) : words_kernel(w, c);
        atomic_fetch_add(&store()->device[c->device].busy_ns, clock_now_ns() - begin);
        return r;
}
