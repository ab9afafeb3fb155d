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
        uint64_t rest = w->kernel.a[1] * 4, n, sum = 0;
        bool write = w->kernel.id != KERNEL_CHECKSUM;
        CUresult r;
        void *p;

        if (w->kernel.a[1] > UINT64_MAX / 8)
                return CUDA_ERROR_ILLEGAL_ADDRESS;
        if (at % 4 || (!write && w->kernel.a[2] % 8))
                return FAKE_ERROR_MISALIGNED;
        pthread_rwlock_rdlock(&memory_lock);
        r = range_check(at, rest, c->device, write);
        if (r == CUDA_SUCCESS && !write)
                r = range_check(w->kernel.a[2], 8, c->device, true);
        pthread_rwlock_unlock(&memory_lock);
        TRY(r);
        for (; rest > 0; at += n, rest -= n) {
                if (atomic_load_explicit(&c->abort, memory_order_relaxed))
                        return CUDA_SUCCESS;
                pthread_rwlock_rdlock(&memory_lock);
                r = span_device(at, rest < PIECE ? rest : PIECE, c->device, write, &p, &n);
                if (r == CUDA_SUCCESS)
                        sum += words_run(w->kernel.id, p, n / 4, (uint32_t)w->kernel.a[2]);
                pthread_rwlock_unlock(&memory_lock);
                TRY(r);
        }
        if (write)
                return CUDA_SUCCESS;
        pthread_rwlock_rdlock(&memory_lock);
        r = span_device(w->kernel.a[2], 8, c->device, true, &p, &n);
        if (r == CUDA_SUCCESS)
                __atomic_fetch_add((uint64_t *)p, sum, __ATOMIC_RELAXED);
        pthread_rwlock_unlock(&memory_lock);
        return r;
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
        r = words_kernel(w, c);
        atomic_fetch_add(&store()->device[c->device].busy_ns, clock_now_ns() - begin);
        return r;
}
