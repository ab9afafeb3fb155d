/* test-fake-memory.c: the software device's memory: capacity, mappings, host memory, pools, NVML.
 */
#include "base/fd.h"
#include "observe/abi/nvml.h"
#include "test-fake.h"

#include <dlfcn.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void plain(void)
{
        CUdeviceptr a, b, c, base;
        size_t bytes;

        EXPECT(cuMemAlloc_v2(&a, 4), CUDA_ERROR_NOT_INITIALIZED);
        begin();
        CHECK(free_bytes() == 56 * MIB);
        EXPECT(cuMemAlloc_v2(&a, 0), CUDA_ERROR_INVALID_VALUE);
        OK(cuMemAlloc_v2(&a, 3 * MIB + 1));
        CHECK(free_bytes() == 52 * MIB);
        OK(cuMemGetAddressRange_v2(&base, &bytes, a + MIB));
        CHECK(base == a && bytes == 3 * MIB + 1);
        OK(cuMemAlloc_v2(&b, 100));
        OK(cuMemAlloc_v2(&c, 700)); /* both in one slab */
        CHECK(free_bytes() == 50 * MIB && b % 256 == 0 && c % 256 == 0);
        OK(cuMemGetAddressRange_v2(&base, &bytes, c + 699));
        CHECK(base == c && bytes == 700);
        OK(cuMemsetD32_v2(a, 77, 1000));
        CHECK(word_at(a + 999 * 4) == 77);
        OK(cuMemcpyDtoD_v2(c, a, 400));
        CHECK(word_at(c + 396) == 77);
        EXPECT(cuMemsetD8_v2(a, 1, 64 * MIB), CUDA_ERROR_INVALID_VALUE);
        EXPECT(cuMemFree_v2(a + 512), CUDA_ERROR_INVALID_VALUE);
        OK(cuMemFree_v2(a));
        EXPECT(cuMemFree_v2(a), CUDA_ERROR_INVALID_VALUE);
        OK(cuMemFree_v2(b));
        OK(cuMemFree_v2(c));
        CHECK(free_bytes() == 56 * MIB);
        EXPECT(cuMemAlloc_v2(&a, 57 * MIB), CUDA_ERROR_OUT_OF_MEMORY);
        EXPECT(cuMemAlloc_v2(&a, ~(size_t)0), CUDA_ERROR_OUT_OF_MEMORY);
        OK(cuMemAlloc_v2(&a, 56 * MIB));
        CHECK(free_bytes() == 0);
        EXPECT(cuMemAlloc_v2(&b, 1), CUDA_ERROR_OUT_OF_MEMORY);
        OK(cuMemFree_v2(a));
        OK(cuDevicePrimaryCtxRelease_v2(0));
}

static void mappings(void)
{
        CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                    .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
        CUmemAccessDesc all = access_all(CU_MEM_ACCESS_FLAGS_PROT_READWRITE),
                        read = access_all(CU_MEM_ACCESS_FLAGS_PROT_READ);
        CUmemGenericAllocationHandle h, g, again;
        unsigned long long flags;
        CUdeviceptr at, second;

        begin();
        EXPECT(cuMemCreate(&h, 4096, &prop, 0), CUDA_ERROR_INVALID_VALUE);
        prop.location.type = CU_MEM_LOCATION_TYPE_HOST_NUMA;
        EXPECT(cuMemCreate(&h, 2 * MIB, &prop, 0), CUDA_ERROR_NOT_SUPPORTED);
        prop.location = (CUmemLocation){CU_MEM_LOCATION_TYPE_DEVICE, 9};
        EXPECT(cuMemCreate(&h, 2 * MIB, &prop, 0), CUDA_ERROR_INVALID_DEVICE);
        h = physical(4 * MIB);
        g = physical(2 * MIB);
        OK(cuMemAddressReserve(&at, 16 * MIB, 8 * MIB, 0, 0));
        CHECK(at % (8 * MIB) == 0);
        EXPECT(cuMemsetD8_v2(at, 1, 4), CUDA_ERROR_INVALID_VALUE);
        EXPECT(cuMemMap(at, 2 * MIB, 2 * MIB, h, 0), CUDA_ERROR_NOT_SUPPORTED); /* no offsets */
        EXPECT(cuMemMap(at, 2 * MIB, 0, h, 0), CUDA_ERROR_NOT_SUPPORTED);       /* nor parts */
        OK(cuMemMap(at, 4 * MIB, 0, h, 0));
        EXPECT(cuMemMap(at + 2 * MIB, 2 * MIB, 0, g, 0), CUDA_ERROR_INVALID_VALUE); /* taken */
        OK(cuMemMap(at + 4 * MIB, 2 * MIB, 0, g, 0));
        EXPECT(cuMemsetD8_v2(at, 1, 4), CUDA_ERROR_INVALID_VALUE); /* no access yet */
        EXPECT(cuMemSetAccess(at, 8 * MIB, &all, 1), CUDA_ERROR_INVALID_VALUE);
        OK(cuMemSetAccess(at, 6 * MIB, &all, 1));
        OK(cuMemsetD32_v2(at, 5, 6 * MIB / 4)); /* across both */
        CHECK(word_at(at + 6 * MIB - 4) == 5);
        OK(cuMemSetAccess(at, 4 * MIB, &read, 1));
        OK(cuMemGetAccess(&flags, &read.location, at));
        CHECK(flags == CU_MEM_ACCESS_FLAGS_PROT_READ && word_at(at) == 5);
        EXPECT(cuMemUnmap(at, 2 * MIB), CUDA_ERROR_INVALID_VALUE); /* whole mappings only */
        EXPECT(cuMemAddressFree(at, 16 * MIB), CUDA_ERROR_INVALID_VALUE);
        OK(cuMemRelease(h)); /* lives on while mapped */
        EXPECT(cuMemRelease(h), CUDA_ERROR_INVALID_VALUE);
        CHECK(word_at(at) == 5 && free_bytes() == 50 * MIB);
        OK(cuMemRetainAllocationHandle(&again, (void *)(uintptr_t)(at + MIB)));
        OK(cuMemUnmap(at, 6 * MIB));
        OK(cuMemUnmap(at, 6 * MIB)); /* holes are no mistake */
        OK(cuMemRelease(g));
        CHECK(free_bytes() == 52 * MIB);
        OK(cuMemMap(at + 8 * MIB, 4 * MIB, 0, again, 0));
        OK(cuMemAddressReserve(&second, 4 * MIB, 0, 0, 0));
        OK(cuMemMap(second, 4 * MIB, 0, again, 0)); /* the same memory twice */
        OK(cuMemSetAccess(at + 8 * MIB, 4 * MIB, &all, 1));
        OK(cuMemSetAccess(second, 4 * MIB, &all, 1));
        OK(cuMemsetD32_v2(second, 9, 1));
        CHECK(word_at(at + 8 * MIB) == 9 && word_at(at + 8 * MIB + 4) == 5);
        OK(cuMemUnmap(at + 8 * MIB, 4 * MIB));
        OK(cuMemUnmap(second, 4 * MIB));
        OK(cuMemAddressFree(second, 4 * MIB));
        OK(cuMemRelease(again));
        OK(cuMemAddressFree(at, 16 * MIB));
        CHECK(free_bytes() == 56 * MIB);
        OK(cuMemAddressReserve(&second, 16 * MIB, 0, at, 0)); /* the wish is honoured where it is free */
        CHECK(second == at);
}

static void faults(void)
{
        CUdeviceptr at, good;

        begin();
        OK(cuMemAlloc_v2(&good, 4096));
        OK(cuMemAddressReserve(&at, 2 * MIB, 0, 0, 0));
        OK(words(fill, at, 10, 1, NULL)); /* a launch cannot know */
        EXPECT(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
        EXPECT(cuMemcpyDtoH_v2(&at, good, 4), CUDA_ERROR_ILLEGAL_ADDRESS); /* for ever */
        EXPECT(cuMemAlloc_v2(&at, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
        OK(cuDevicePrimaryCtxReset_v2(0));
        OK(cuDevicePrimaryCtxRetain(&context, 0));
        OK(cuCtxSetCurrent(context));
        OK(cuMemAlloc_v2(&good, 4096));
        OK(words(fill, good + 2, 10, 1, NULL));
        EXPECT(cuCtxSynchronize(), 716); /* misaligned */
}

static void host_memory(void)
{
        char *area = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CUdeviceptr a;
        unsigned type;
        void *p;

        CHECK(area != MAP_FAILED);
        begin();
        OK(cuMemAlloc_v2(&a, 4 * MIB));
        OK(cuMemHostRegister_v2(area, MIB, 0));
        EXPECT(cuMemHostRegister_v2(area + MIB / 2, MIB, 0), 712);
        OK(cuMemHostRegister_v2(area + MIB, MIB, 0));
        OK(cuMemcpyHtoDAsync_v2(a, area, MIB, NULL));
        EXPECT(cuMemcpyHtoDAsync_v2(a, area, 2 * MIB, NULL), CUDA_ERROR_INVALID_VALUE); /* from one into the next */
        EXPECT(cuMemcpyDtoHAsync_v2(area + MIB, a, 2 * MIB, NULL), CUDA_ERROR_INVALID_VALUE); /* out of the last */
        OK(cuMemcpyHtoDAsync_v2(a, area + 2 * MIB, MIB, NULL));
        OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (CUdeviceptr)(uintptr_t)area));
        CHECK(type == CU_MEMORYTYPE_HOST);
        EXPECT(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (CUdeviceptr)(uintptr_t)(area + 3 * MIB)),
               CUDA_ERROR_INVALID_VALUE);
        EXPECT(cuMemcpyHtoD_v2(a, area, 2 * MIB), CUDA_ERROR_INVALID_VALUE); /* just so when it is synchronous */
        EXPECT(cuMemHostUnregister(area + 4096), CUDA_ERROR_INVALID_VALUE);
        OK(cuMemHostUnregister(area));
        EXPECT(cuMemHostUnregister(area), 713);
        OK(cuMemHostAlloc(&p, 4096, 0));
        memset(p, 1, 4096);
        OK(words(add, (CUdeviceptr)(uintptr_t)p, 1024, 1, NULL)); /* kernels reach it at the same address */
        OK(cuCtxSynchronize());
        CHECK(*(uint32_t *)p == 0x01010102);
        OK(cuMemFreeHost(p));
        EXPECT(cuMemFreeHost(p), CUDA_ERROR_INVALID_VALUE);
}

static void injected(void)
{
        CUdeviceptr a;

        begin();
        OK(cuMemAlloc_v2(&a, 4));
        EXPECT(cuMemAlloc_v2(&a, 4), CUDA_ERROR_OUT_OF_MEMORY);
        OK(cuMemAlloc_v2(&a, 4));
        OK(cuMemsetD32_v2(a, 1, 1));
        EXPECT(cuMemsetD32_v2(a, 1, 1), CUDA_ERROR_ILLEGAL_ADDRESS);
}

static void pools(void)
{
        uint64_t used = 1, peak = 0;
        CUmemoryPool pool;
        CUdeviceptr a;
        CUstream s;

        begin();
        OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
        OK(cuDeviceGetDefaultMemPool(&pool, 0));
        OK(cuMemAllocAsync(&a, 4 * MIB, s));
        OK(words(fill, a, MIB, 3, s));
        OK(cuMemFreeAsync(a, s));
        EXPECT(cuMemFreeAsync(a + 512, s), CUDA_ERROR_INVALID_VALUE);
        OK(cuStreamSynchronize(s));
        CHECK(free_bytes() == 56 * MIB);
        OK(cuMemPoolGetAttribute(pool, 7, &used));
        OK(cuMemPoolGetAttribute(pool, 8, &peak));
        CHECK(used == 0 && peak == 4 * MIB);
}

/* A program that was killed left files; the machine's next life begins without them, with the sizes that are then
 * wished for. */
static void next_life(void)
{
        struct other o = start_other(take_40);
        size_t total;
        CUdeviceptr a;

        hear(&o);
        end_other(&o, true);
        setenv("BERTH_SOFTWARE_MEMORY", "32MiB", 1);
        begin();
        OK(cuDeviceTotalMem_v2(&total, 0));
        CHECK(total == 32 * MIB);
        OK(cuMemAlloc_v2(&a, 24 * MIB));
}

static void adopted(struct other *o)
{
        size_t total;

        hear(o);
        setenv("BERTH_SOFTWARE_MEMORY", "16MiB", 1);
        begin();
        OK(cuDeviceTotalMem_v2(&total, 0));
        CHECK(total == 64 * MIB);
}

/* While somebody is there, others take the machine as it is. */
static void sizes_are_adopted(void)
{
        struct other o = start_other(adopted);

        begin();
        say(&o);
        end_other(&o, false);
}

static void refused_settings(void)
{
        EXPECT(cuInit(0), CUDA_ERROR_INVALID_VALUE);
}

static void devices(void)
{
        CUcontext other;
        CUdeviceptr a, b;
        size_t total;
        int count;

        begin();
        OK(cuDeviceGetCount(&count));
        CHECK(count == 2);
        OK(cuDeviceTotalMem_v2(&total, 1));
        CHECK(total == 64 * MIB);
        OK(cuMemAlloc_v2(&a, 40 * MIB));
        OK(cuMemsetD32_v2(a, 6, 1));
        OK(cuDevicePrimaryCtxRetain(&other, 1));
        OK(cuCtxSetCurrent(other));
        CHECK(free_bytes() == 56 * MIB);
        OK(cuMemAlloc_v2(&b, 40 * MIB));
        OK(cuMemcpyDtoD_v2(b, a, 4));
        CHECK(word_at(b) == 6);
}

#define NVML(name) name##_p = (__typeof__(name##_p))dlsym(library, #name)

static void nvml(void)
{
        void *library = dlopen(getenv("TEST_NVML"), RTLD_NOW);
        nvmlInit_v2_fn nvmlInit_v2_p;
        nvmlDeviceGetHandleByIndex_v2_fn nvmlDeviceGetHandleByIndex_v2_p;
        nvmlDeviceGetMemoryInfo_v2_fn nvmlDeviceGetMemoryInfo_v2_p;
        nvmlDeviceGetComputeRunningProcesses_v3_fn nvmlDeviceGetComputeRunningProcesses_v3_p;
        nvmlDeviceGetUUID_fn nvmlDeviceGetUUID_p;
        nvmlDeviceGetHandleByUUID_fn nvmlDeviceGetHandleByUUID_p;
        nvmlDeviceGetPowerUsage_fn nvmlDeviceGetPowerUsage_p;
        struct other o = start_other(take_40);
        nvmlMemory_v2_t memory = {0};
        nvmlProcessInfo_t processes[8];
        char uuid[NVML_DEVICE_UUID_V2_BUFFER_SIZE];
        nvmlDevice_t d, same;
        unsigned count = 0, power;

        CHECK(library);
        NVML(nvmlInit_v2);
        NVML(nvmlDeviceGetHandleByIndex_v2);
        NVML(nvmlDeviceGetMemoryInfo_v2);
        NVML(nvmlDeviceGetComputeRunningProcesses_v3);
        NVML(nvmlDeviceGetUUID);
        NVML(nvmlDeviceGetHandleByUUID);
        NVML(nvmlDeviceGetPowerUsage);
        hear(&o);
        EXPECT(nvmlDeviceGetHandleByIndex_v2_p(0, &d), NVML_ERROR_UNINITIALIZED);
        EXPECT(nvmlInit_v2_p(), NVML_SUCCESS);
        EXPECT(nvmlDeviceGetHandleByIndex_v2_p(1, &d), NVML_ERROR_INVALID_ARGUMENT);
        EXPECT(nvmlDeviceGetHandleByIndex_v2_p(0, &d), NVML_SUCCESS);
        EXPECT(nvmlDeviceGetMemoryInfo_v2_p(d, &memory), NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
        memory.version = nvmlMemory_v2;
        EXPECT(nvmlDeviceGetMemoryInfo_v2_p(d, &memory), NVML_SUCCESS);
        CHECK(memory.total == 64 * MIB && memory.used == 48 * MIB && memory.free == 16 * MIB);
        EXPECT(nvmlDeviceGetComputeRunningProcesses_v3_p(d, &count, NULL), NVML_ERROR_INSUFFICIENT_SIZE);
        CHECK(count == 1);
        count = 8;
        EXPECT(nvmlDeviceGetComputeRunningProcesses_v3_p(d, &count, processes), NVML_SUCCESS);
        CHECK(count == 1 && processes[0].pid == (unsigned)o.pid && processes[0].usedGpuMemory == 48 * MIB);
        EXPECT(nvmlDeviceGetUUID_p(d, uuid, sizeof(uuid)), NVML_SUCCESS);
        EXPECT(nvmlDeviceGetHandleByUUID_p(uuid, &same), NVML_SUCCESS);
        CHECK(same == d);
        EXPECT(nvmlDeviceGetPowerUsage_p(d, &power), NVML_ERROR_NOT_SUPPORTED);
        end_other(&o, true);
        EXPECT(nvmlDeviceGetMemoryInfo_v2_p(d, &memory), NVML_SUCCESS);
        CHECK(memory.used == 0);
}

static void every_symbol(void)
{
        FILE *f = fopen(getenv("TEST_SYMBOLS"), "re");
        char name[128];
        int count = 0;

        CHECK(f);
        while (fscanf(f, "%127s", name) == 1) {
                if (!dlsym(RTLD_DEFAULT, name)) {
                        fprintf(stderr, "%s is not exported\n", name);
                        _Exit(1);
                }
                count++;
        }
        fclose(f);
        CHECK(count > 600);
        EXPECT(cuMemMapArrayAsync(NULL, 0, NULL), CUDA_ERROR_NOT_SUPPORTED);
}

static void look_up(void)
{
        void *p = NULL;
        int status = -1;

        OK(cuGetProcAddress_v2("cuMemAlloc", &p, 12000, 0, &status));
        CHECK(p == (void *)cuMemAlloc_v2 && status == CU_GET_PROC_ADDRESS_SUCCESS);
        OK(cuGetProcAddress_v2("cuMemAlloc", &p, 2000, 0, &status));
        CHECK(p == (void *)cuMemAlloc);
        OK(cuGetProcAddress("cuGetProcAddress", &p, 11030, 0));
        CHECK(p == (void *)cuGetProcAddress);
        OK(cuGetProcAddress("cuGetProcAddress", &p, 12000, 0));
        CHECK(p == (void *)cuGetProcAddress_v2);
        OK(cuGetProcAddress_v2("cuLaunchKernel", &p, 7000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, &status));
        CHECK(p == (void *)cuLaunchKernel_ptsz);
        OK(cuGetProcAddress_v2("", &p, 0, 0, &status)); /* the status says it */
        CHECK(!p && status == CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
        EXPECT(cuGetProcAddress_v2("cuNothing", &p, 12000, 0, NULL), CUDA_ERROR_NOT_FOUND);
        EXPECT(cuGetProcAddress("cuNothing", &p, 12000, 0), CUDA_ERROR_NOT_FOUND);
        OK(cuGetProcAddress_v2("cuLaunchKernel", &p, 4000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, &status));
        CHECK(!p && status == CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
        OK(cuGetProcAddress_v2("cuMemCreate", &p, 10010, 0, &status));
        CHECK(!p && status == CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
        OK(cuGetProcAddress_v2("cuGetProcAddress", &p, 11000, 0, &status));
        CHECK(status == CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
        EXPECT(cuGetProcAddress_v2("cuInit", &p, 99000, 0, &status), CUDA_ERROR_INVALID_VALUE);
}

const struct test_case memory_cases[] = {
        {"plain", plain, NULL},
        {"mappings", mappings, NULL},
        {"faults", faults, NULL},
        {"host-memory", host_memory, NULL},
        {"injected", injected, "BERTH_SOFTWARE_FAIL=cuMemAlloc:2,cuMemsetD32_v2:2:700"},
        {"pools", pools, NULL},
        {"next-life", next_life, NULL},
        {"sizes-are-adopted", sizes_are_adopted, NULL},
        {"refused-settings", refused_settings, "BERTH_SOFTWARE_MEMORY=plenty"},
        {"devices", devices, "BERTH_SOFTWARE_DEVICES=2"},
        {"nvml", nvml, NULL},
        {"every-symbol", every_symbol, NULL},
        {"look-up", look_up, NULL},
        {NULL, NULL, NULL},
};
