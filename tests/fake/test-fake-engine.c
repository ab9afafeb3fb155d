/* test-fake-engine.c: the software device's streams, events, kernels and graphs. */
#include "base/clock.h"
#include "test-fake.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static void kernels(void)
{
        uint64_t sum = 0, count = 1000, zero = 0;
        uint32_t value = 21;
        CUdeviceptr a, out;
        struct {
                CUdeviceptr at;
                uint64_t count;
                uint32_t value;
        } packed;
        size_t bytes = 20;
        void *extra[] = {(void *)1, &packed, (void *)2, &bytes, NULL};
        CUmodule m;
        CUfunction f;

        begin();
        OK(cuMemAlloc_v2(&a, 4 * MIB));
        OK(cuMemAlloc_v2(&out, 8));
        OK(cuMemcpyHtoD_v2(out, &zero, 8));
        packed.at = a;
        packed.count = count;
        packed.value = value;
        OK(cuLaunchKernel(fill, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
        OK(words(add, a, count, 1, NULL));
        OK(words(step, a, count, 5, NULL));
        OK(sum_into(a, count, out, NULL));
        OK(sum_into(a, 1, out, NULL)); /* adds */
        OK(cuMemcpyDtoH_v2(&sum, out, 8));
        value = 22U * 1664525U + 1013904223U + 5U;
        CHECK(sum == (uint64_t)value * 1001 && word_at(a + 999 * 4) == value && word_at(a + 1000 * 4) == 0);
        bytes = 12;
        EXPECT(cuLaunchKernel(fill, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra), CUDA_ERROR_INVALID_VALUE);
        EXPECT(cuLaunchKernel(fill, 1, 1, 1, 1025, 1, 1, 0, NULL, NULL, extra), CUDA_ERROR_INVALID_VALUE);
        EXPECT(cuLaunchKernel(fill, 0, 1, 1, 1, 1, 1, 0, NULL, NULL, extra), CUDA_ERROR_INVALID_VALUE);
        EXPECT(cuModuleLoadData(&m, "no image at all"), CUDA_ERROR_INVALID_IMAGE);
        EXPECT(cuModuleLoadData(&m, "\177ELF\2\1\1"), CUDA_ERROR_NO_BINARY_FOR_GPU);
        OK(cuModuleLoadData(&m, ".version 7.0 .entry stranger(.param .u64 x) { ret; }"));
        EXPECT(cuModuleGetFunction(&f, m, "absent"), CUDA_ERROR_NOT_FOUND);
        OK(cuModuleGetFunction(&f, m, "stranger"));
        OK(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL)); /* loads, launches, does nothing */
        OK(cuModuleUnload(m));
        EXPECT(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL), CUDA_ERROR_INVALID_HANDLE);
        OK(cuCtxSynchronize());
}

/* A stream that waits until the test lets it go: order is tested without clocks. */
static CUdeviceptr latch;

static void hold(CUstream s)
{
        OK(cuMemsetD8_v2(latch, 0, 4));
        OK(cuStreamWaitValue32_v2(s, latch, 1, 1));
}

static void let_go(void)
{
        CUstream s;

        OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
        OK(cuStreamWriteValue32_v2(s, latch, 1, 0));
        OK(cuStreamSynchronize(s));
        OK(cuStreamDestroy_v2(s));
}

static void start_latch(void)
{
        begin();
        OK(cuMemAlloc_v2(&latch, 4));
}

static void order(void)
{
        CUstream s, t, blocking;
        CUevent e, f;
        CUdeviceptr a;
        uint32_t *got;
        void *p;

        start_latch();
        OK(cuMemHostAlloc(&p, 4096, 0));
        got = p;
        OK(cuMemAlloc_v2(&a, 4096));
        OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
        OK(cuStreamCreate(&t, CU_STREAM_NON_BLOCKING));
        OK(cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
        OK(cuEventCreate(&e, CU_EVENT_DEFAULT));
        OK(cuEventCreate(&f, CU_EVENT_DEFAULT));
        OK(cuEventQuery(e)); /* never recorded: nothing to wait for */
        OK(cuMemsetD32_v2(a, 1, 1));
        /* across streams, by an event */
        hold(s);
        OK(words(add, a, 1, 10, s));
        OK(cuEventRecord(e, s));
        OK(cuStreamWaitEvent(t, e, 0));
        OK(cuMemcpyDtoHAsync_v2(got, a, 4, t));
        EXPECT(cuEventQuery(e), CUDA_ERROR_NOT_READY);
        EXPECT(cuStreamQuery(t), CUDA_ERROR_NOT_READY);
        OK(cuStreamQuery(blocking));
        let_go();
        OK(cuStreamSynchronize(t));
        CHECK(*got == 11);
        OK(cuEventQuery(e));
        /* the legacy stream waits for blocking streams and they for it */
        hold(blocking);
        OK(words(add, a, 1, 100, blocking));
        OK(words(add, a, 1, 1000, NULL));
        OK(cuMemcpyDtoHAsync_v2(got, a, 4, blocking));
        OK(cuEventRecord(f, blocking));
        EXPECT(cuStreamQuery(NULL), CUDA_ERROR_NOT_READY);
        OK(cuStreamQuery(s)); /* a non-blocking one takes no part */
        let_go();
        OK(cuEventSynchronize(f));
        CHECK(*got == 1111);
        /* a destroyed stream still does what it was given; an event of it stays good */
        hold(s);
        OK(words(add, a, 1, 1, s));
        OK(cuEventRecord(e, s));
        OK(cuStreamDestroy_v2(s));
        EXPECT(cuStreamQuery(s), CUDA_ERROR_INVALID_HANDLE);
        EXPECT(cuEventQuery(e), CUDA_ERROR_NOT_READY);
        let_go();
        OK(cuEventSynchronize(e));
        CHECK(word_at(a) == 1112);
        OK(cuEventDestroy_v2(e));
        EXPECT(cuEventQuery(e), CUDA_ERROR_INVALID_HANDLE);
}

static void per_thread(void)
{
        CUdeviceptr a;
        uint64_t one = 1;
        uint32_t ten = 10;
        void *parameters[] = {&a, &one, &ten};

        start_latch();
        OK(cuMemAlloc_v2(&a, 4));
        OK(cuMemsetD32_v2(a, 1, 1));
        hold(CU_STREAM_PER_THREAD);
        OK(cuLaunchKernel_ptsz(add, 1, 1, 1, 1, 1, 1, 0, NULL, parameters, NULL)); /* NULL is the thread's own here */
        EXPECT(cuStreamQuery(CU_STREAM_PER_THREAD), CUDA_ERROR_NOT_READY);
        let_go();
        OK(cuStreamSynchronize(CU_STREAM_PER_THREAD));
        CHECK(word_at(a) == 11);
}

static void elapsed(void)
{
        CUevent e, f;
        float ms = 0;

        begin();
        OK(cuEventCreate(&e, CU_EVENT_DEFAULT));
        OK(cuEventCreate(&f, CU_EVENT_DEFAULT));
        EXPECT(cuEventElapsedTime(&ms, e, f), CUDA_ERROR_INVALID_HANDLE);
        OK(cuEventRecord(e, NULL));
        OK(busy(20 * NS_PER_MS, NULL));
        OK(cuEventRecord(f, NULL));
        EXPECT(cuEventElapsedTime(&ms, e, f), CUDA_ERROR_NOT_READY);
        OK(cuEventSynchronize(f));
        OK(cuEventElapsedTime(&ms, e, f));
        CHECK(ms >= 20);
}

/* Copies of plain host memory are over when the call returns, whatever was before them. */
static void pageable(void)
{
        static uint32_t host[MIB / 4];
        CUdeviceptr a;
        CUstream s;

        begin();
        OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
        OK(cuMemAlloc_v2(&a, MIB));
        OK(busy(5 * NS_PER_MS, s));
        OK(words(fill, a, MIB / 4, 9, s));
        OK(cuMemcpyDtoHAsync_v2(host, a, MIB, s));
        CHECK(host[0] == 9 && host[MIB / 4 - 1] == 9);
        OK(cuMemcpyHtoDAsync_v2(a, host, MIB, s));
        memset(host, 0, sizeof(host));
        OK(cuStreamSynchronize(s));
        CHECK(word_at(a) == 9);
}

static void modelled_link(void)
{
        uint64_t begin_ns;
        CUdeviceptr a;
        void *p;

        begin();
        OK(cuMemHostAlloc(&p, 8 * MIB, 0));
        OK(cuMemAlloc_v2(&a, 8 * MIB));
        begin_ns = clock_now_ns();
        OK(cuMemcpyHtoD_v2(a, p, 8 * MIB)); /* at 64 MiB a second */
        CHECK(clock_now_ns() - begin_ns >= 125 * NS_PER_MS);
        begin_ns = clock_now_ns();
        OK(cuMemcpyDtoD_v2(a, a + 4 * MIB, 4 * MIB)); /* not over the link; only the other way round would it be slow */
        OK(cuMemcpyDtoH_v2(p, a, 4 * MIB));
        CHECK(clock_now_ns() - begin_ns >= 62 * NS_PER_MS);
}

/* Seven times the link, unless it is told: 112 MiB a second here. */
static void modelled_peer_link(void)
{
        CUdeviceptr a, b;
        uint64_t begin_ns;
        CUcontext other;

        begin();
        OK(cuMemAlloc_v2(&a, 8 * MIB));
        OK(cuDevicePrimaryCtxRetain(&other, 1));
        OK(cuCtxSetCurrent(other));
        OK(cuMemAlloc_v2(&b, 8 * MIB));
        begin_ns = clock_now_ns();
        OK(cuMemcpyDtoD_v2(b, a, 8 * MIB));
        CHECK(clock_now_ns() - begin_ns >= 71 * NS_PER_MS);
}

static void call_host(void *counter)
{
        atomic_fetch_add((atomic_int *)counter, 1);
}

static void host_functions(void)
{
        atomic_int calls = 0;
        CUstream s;

        start_latch();
        OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
        hold(s);
        for (int i = 0; i < 2000; i++) { /* more than the queue holds: the caller waits, nothing is lost */
                OK(cuLaunchHostFunc(s, call_host, &calls));
                if (i == 500) {
                        CHECK(atomic_load(&calls) == 0);
                        let_go();
                }
        }
        OK(cuStreamSynchronize(s));
        CHECK(atomic_load(&calls) == 2000);
}

/* Ending a context ends what would run for ever. */
static void contexts(void)
{
        CUcontext made, current;
        CUstream s;
        CUdeviceptr a;

        begin();
        OK(cuCtxCreate_v2(&made, 0, 0));
        OK(cuCtxGetCurrent(&current));
        CHECK(current == made);
        OK(cuMemAlloc_v2(&a, 4));
        OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
        OK(busy(3600 * NS_PER_S, s));
        OK(cuStreamWaitValue32_v2(s, a, 77, 1));
        OK(cuCtxDestroy_v2(made));
        OK(cuCtxGetCurrent(&current));
        CHECK(current == context);
        EXPECT(cuCtxSetCurrent(made), CUDA_ERROR_INVALID_CONTEXT);
        EXPECT(cuStreamQuery(s), CUDA_ERROR_INVALID_HANDLE);
        OK(cuCtxPushCurrent_v2(context));
        OK(cuCtxPopCurrent_v2(&current));
        CHECK(current == context);
        OK(cuCtxSetCurrent(NULL));
        EXPECT(cuMemAlloc_v2(&a, 4), CUDA_ERROR_INVALID_CONTEXT);
}

static void *churn(void *argument)
{
        CUdeviceptr a;
        CUstream s;

        OK(cuCtxSetCurrent(context));
        for (uint32_t i = 0; i < 30; i++) {
                OK(cuStreamCreate(&s, (uintptr_t)argument & 1));
                OK(cuMemAlloc_v2(&a, 4096 + i * 100000));
                OK(words(fill, a, 1024, i, s));
                OK(words(add, a, 1024, 1, s));
                OK(cuStreamSynchronize(s));
                CHECK(word_at(a + 4092) == i + 1);
                OK(cuMemFree_v2(a));
                OK(cuStreamDestroy_v2(s));
        }
        return NULL;
}

static void many_threads(void)
{
        pthread_t threads[4];

        begin();
        for (uintptr_t i = 0; i < 4; i++)
                CHECK(pthread_create(&threads[i], NULL, churn, (void *)i) == 0);
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
}

/* Every call is in the log, with its result. */
static void logged(void)
{
        char path[512], line[256];
        CUdeviceptr a;
        int lines = 0;
        FILE *f;

        begin();
        EXPECT(cuMemAlloc_v2(&a, 0), CUDA_ERROR_INVALID_VALUE);
        OK(cuMemAlloc_v2(&a, 1));
        snprintf(path, sizeof(path), "%s/../%s", getenv("BERTH_SOFTWARE_DIR"), getenv("BERTH_SOFTWARE_LOG"));
        f = fopen(getenv("BERTH_SOFTWARE_LOG"), "re");
        CHECK(f);
        while (fgets(line, sizeof(line), f)) {
                int pid, result;
                char name[64];

                CHECK(sscanf(line, "%d %63s %d", &pid, name, &result) == 3 && pid == (int)getpid());
                if (strcmp(name, "cuMemAlloc_v2") == 0)
                        CHECK(result == (lines++ == 0 ? 1 : 0));
        }
        fclose(f);
        unlink(getenv("BERTH_SOFTWARE_LOG"));
        CHECK(lines == 2);
}

const struct test_case engine_cases[] = {
        {"kernels", kernels, NULL},
        {"order", order, NULL},
        {"per-thread", per_thread, NULL},
        {"elapsed", elapsed, NULL},
        {"pageable", pageable, NULL},
        {"modelled-link", modelled_link, "BERTH_SOFTWARE_LINK=64MiB"},
        {"modelled-peer-link", modelled_peer_link, "BERTH_SOFTWARE_DEVICES=2 BERTH_SOFTWARE_LINK=16MiB"},
        {"told-peer-link", modelled_peer_link,
         "BERTH_SOFTWARE_DEVICES=2 BERTH_SOFTWARE_LINK=1GiB BERTH_SOFTWARE_PEER_LINK=112MiB"},
        {"host-functions", host_functions, NULL},
        {"contexts", contexts, NULL},
        {"many-threads", many_threads, NULL},
        {"logged", logged, "BERTH_SOFTWARE_LOG=test-fake.log"},
        {NULL, NULL, NULL},
};
