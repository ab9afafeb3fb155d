/* probe.c: one call after the other, one line "name=result" each, nothing that differs from run to run.
 *
 * Run bare and under Berth, the output must be the same: that is what "unmodified programs" means. Sizes and contents
 * are printed, addresses are not.
 */
#include "cu.h"

#include <string.h>

#define MIB (UINT64_C(1) << 20)

static struct cu_base base;
static int host_calls;

/* The value is looked at after the call. */
#define SAY(name, call, value)                                                                                         \
        do {                                                                                                           \
                CUresult said_ = (call);                                                                               \
                                                                                                                       \
                print_line(name, said_, (value));                                                                      \
        } while (0)

static void print_line(const char *name, CUresult r, unsigned long long value)
{
        printf("%s=%s,%llu\n", name, cu_name(r), value);
}

static void call_host(void *counter)
{
        ++*(int *)counter;
}

static void probe_device(void)
{
        unsigned flags = 9;
        CUcontext c = NULL;
        CUdevice d = -1;
        int value = 0;

        SAY("device-count", cu.cuDeviceGetCount(&value), value > 0);
        SAY("device-bad", cu.cuDeviceGet(&d, 4711), 0);
        SAY("attribute-warp", cu.cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, base.device),
            (unsigned)value);
        SAY("attribute-vmm",
            cu.cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, base.device),
            (unsigned)value);
        SAY("context-current", cu.cuCtxGetCurrent(&c), c == base.context);
        SAY("context-device", cu.cuCtxGetDevice(&d), (unsigned)d);
        SAY("context-push", cu.cuCtxPushCurrent(base.context), 0);
        SAY("context-pop", cu.cuCtxPopCurrent(&c), c == base.context);
        SAY("context-sync", cu.cuCtxSynchronize(), 0);
        SAY("stream-flags-null", cu.cuStreamGetFlags(NULL, &flags), flags);
}

static void probe_plain(void)
{
        CUdeviceptr a = 0, b = 0, at = 0;
        size_t bytes = 0, pitch = 0, before = 0, after = 0, total = 0;
        unsigned type = 0;
        uint32_t word = 0;
        uint64_t sum = 0;

        SAY("info", cu.cuMemGetInfo(&before, &total), before > 0 && before <= total);
        SAY("alloc-zero", cu.cuMemAlloc(&a, 0), 0);
        SAY("alloc", cu.cuMemAlloc(&a, 3 * MIB + 5), a != 0);
        SAY("alloc-small", cu.cuMemAlloc(&b, 100), b % 256);
        SAY("range", cu.cuMemGetAddressRange(&at, &bytes, a + 1000), at == a);
        printf("range-bytes=%zu\n", bytes);
        SAY("range-small", cu.cuMemGetAddressRange(&at, &bytes, b + 50), at == b);
        printf("range-small-bytes=%zu\n", bytes);
        SAY("pointer-type", cu.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, a), type);
        SAY("pointer-start", cu.cuPointerGetAttribute(&at, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, a + 77), at == a);
        SAY("pointer-size", cu.cuPointerGetAttribute(&bytes, CU_POINTER_ATTRIBUTE_RANGE_SIZE, a + 77), bytes);
        SAY("pointer-host",
            cu.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (CUdeviceptr)(uintptr_t)&word), 0);
        SAY("set32", cu.cuMemsetD32(a, 0x01020304, 1000), 0);
        SAY("get32", cu.cuMemcpyDtoH(&word, a + 4 * 999, 4), word);
        SAY("set16", cu.cuMemsetD16(a, 0x0506, 2), 0);
        SAY("get16", cu.cuMemcpyDtoH(&word, a, 4), word);
        SAY("set8", cu.cuMemsetD8(a, 7, 1), 0);
        SAY("get8", cu.cuMemcpyDtoH(&word, a, 4), word);
        SAY("set-odd", cu.cuMemsetD32(a + 1, 1, 1), 0);
        word = 99;
        SAY("put", cu.cuMemcpyHtoD(b, &word, 4), 0);
        SAY("device-copy", cu.cuMemcpyDtoD(a + 4096, b, 4), 0);
        word = 0;
        SAY("generic-copy", cu.cuMemcpy((CUdeviceptr)(uintptr_t)&word, a + 4096, 4), word);
        SAY("fill", cu_words(base.fill, a, 1000, 3, NULL), 0);
        SAY("sum-clear", cu.cuMemsetD8(b, 0, 8), 0);
        SAY("sum", cu_checksum(base.checksum, a, 1000, b, NULL), 0);
        SAY("sum-get", cu.cuMemcpyDtoH(&sum, b, 8), sum);
        SAY("step", cu_words(base.step, a, 1000, 5, NULL), 0);
        SAY("step-get", cu.cuMemcpyDtoH(&word, a + 999 * 4, 4), word);
        SAY("copy-beyond", cu.cuMemcpyDtoH(&word, a + 512 * MIB * 1024, 4), 0);
        SAY("free", cu.cuMemFree(a), 0);
        SAY("free-again", cu.cuMemFree(a), 0);
        SAY("free-small", cu.cuMemFree(b), 0);
        SAY("free-null", cu.cuMemFree(0), 0);
        SAY("info-after", cu.cuMemGetInfo(&after, &total), after >= before);
        SAY("alloc-too-large", cu.cuMemAlloc(&a, total * 4), 0);
        SAY("pitch", cu.cuMemAllocPitch(&a, &pitch, 1000, 10, 4), pitch >= 1000 && pitch % 32 == 0);
        SAY("pitch-set", cu.cuMemsetD2D8(a, pitch, 9, 1000, 10), 0);
        SAY("pitch-get", cu.cuMemcpyDtoH(&word, a + 9 * pitch + 996, 4), word);
        SAY("pitch-free", cu.cuMemFree(a), 0);
}

static void probe_2d(void)
{
        unsigned char host[16][8], back[16][8];
        CUDA_MEMCPY2D p = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                           .srcHost = host,
                           .srcPitch = 8,
                           .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                           .dstPitch = 64,
                           .WidthInBytes = 8,
                           .Height = 16};
        CUdeviceptr a = 0;

        for (int i = 0; i < 128; i++)
                host[i / 8][i % 8] = (unsigned char)i;
        memset(back, 0, sizeof(back));
        CU(cu.cuMemAlloc(&a, 4096));
        p.dstDevice = a;
        SAY("2d-put", cu.cuMemcpy2D(&p), 0);
        p = (CUDA_MEMCPY2D){.srcMemoryType = CU_MEMORYTYPE_DEVICE,
                            .srcDevice = a,
                            .srcPitch = 64,
                            .dstMemoryType = CU_MEMORYTYPE_HOST,
                            .dstHost = back,
                            .dstPitch = 8,
                            .WidthInBytes = 8,
                            .Height = 16};
        SAY("2d-get", cu.cuMemcpy2DAsync(&p, NULL), 0);
        SAY("2d-sync", cu.cuStreamSynchronize(NULL), memcmp(host, back, sizeof(host)) == 0);
        SAY("2d-free", cu.cuMemFree(a), 0);
}

static void probe_host(void)
{
        unsigned char *pinned = NULL, *own = aligned_alloc(4096, 1 << 20);
        CUdeviceptr a = 0, managed = 0, at = 0;
        unsigned type = 0;

        CU(cu.cuMemAlloc(&a, 1 << 20));
        SAY("host-alloc", cu.cuMemHostAlloc((void **)&pinned, 1 << 20, 0), pinned != NULL);
        SAY("host-type",
            cu.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (CUdeviceptr)(uintptr_t)pinned), type);
        SAY("host-device", cu.cuMemHostGetDevicePointer(&at, pinned, 0), at != 0);
        memset(pinned, 42, 1 << 20);
        SAY("host-put", cu.cuMemcpyHtoDAsync(a, pinned, 1 << 20, NULL), 0);
        SAY("register", cu.cuMemHostRegister(own, 1 << 20, 0), 0);
        SAY("register-again", cu.cuMemHostRegister(own, 1 << 20, 0), 0);
        SAY("host-get", cu.cuMemcpyDtoHAsync(own, a, 1 << 20, NULL), 0);
        SAY("host-sync", cu.cuCtxSynchronize(), own[(1 << 20) - 1]);
        SAY("unregister", cu.cuMemHostUnregister(own), 0);
        SAY("unregister-again", cu.cuMemHostUnregister(own), 0);
        SAY("host-free", cu.cuMemFreeHost(pinned), 0);
        SAY("managed", cu.cuMemAllocManaged(&managed, 1 << 20, 1), managed != 0);
        SAY("managed-is", cu.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_IS_MANAGED, managed), type & 1);
        SAY("managed-fill", cu_words(base.fill, managed, 1000, 17, NULL), 0);
        SAY("managed-sync", cu.cuCtxSynchronize(), ((uint32_t *)(uintptr_t)managed)[999]);
        SAY("managed-free", cu.cuMemFree(managed), 0);
        SAY("host-a-free", cu.cuMemFree(a), 0);
        free(own);
}

static void probe_streams(void)
{
        CUevent begin = NULL, end = NULL;
        CUstream s = NULL, t = NULL;
        unsigned flags = 0;
        float ms = -1;
        CUdeviceptr a = 0;
        uint32_t word = 0;

        CU(cu.cuMemAlloc(&a, 4096));
        SAY("stream", cu.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING), 0);
        SAY("stream-priority", cu.cuStreamCreateWithPriority(&t, CU_STREAM_DEFAULT, -1), 0);
        SAY("stream-flags", cu.cuStreamGetFlags(s, &flags), flags);
        SAY("event", cu.cuEventCreate(&begin, CU_EVENT_DEFAULT), 0);
        SAY("event-2", cu.cuEventCreate(&end, CU_EVENT_DEFAULT), 0);
        SAY("event-unrecorded", cu.cuEventQuery(begin), 0);
        SAY("record", cu.cuEventRecord(begin, s), 0);
        SAY("spin", cu_spin(base.spin, 3000000, s), 0);
        SAY("fill-async", cu_words(base.fill, a, 1024, 23, s), 0);
        SAY("record-2", cu.cuEventRecord(end, s), 0);
        SAY("not-ready", cu.cuStreamQuery(s), 0);
        SAY("wait-event", cu.cuStreamWaitEvent(t, end, 0), 0);
        SAY("copy-after", cu.cuMemcpyDtoHAsync(&word, a, 4, t), 0);
        SAY("stream-sync", cu.cuStreamSynchronize(t), word);
        SAY("event-sync", cu.cuEventSynchronize(end), 0);
        SAY("elapsed", cu.cuEventElapsedTime(&ms, begin, end), ms >= 2.5F);
        SAY("host-func", cu.cuLaunchHostFunc(s, call_host, &host_calls), 0);
        SAY("host-func-sync", cu.cuStreamSynchronize(s), (unsigned)host_calls);
        SAY("set-async", cu.cuMemsetD32Async(a, 5, 1024, s), 0);
        SAY("query", cu.cuStreamSynchronize(s), 0);
        SAY("free-before-pool", cu.cuMemFree(a), 0);
        SAY("pool-alloc", cu.cuMemAllocAsync(&a, 1 << 20, s), a != 0);
        SAY("pool-fill", cu_words(base.fill, a, 1024, 31, s), 0);
        SAY("pool-get", cu.cuMemcpyDtoHAsync(&word, a, 4, s), 0);
        SAY("pool-free", cu.cuMemFreeAsync(a, s), 0);
        SAY("pool-sync", cu.cuStreamSynchronize(s), word);
        SAY("event-destroy", cu.cuEventDestroy(begin), 0);
        SAY("event-destroy-2", cu.cuEventDestroy(end), 0);
        SAY("stream-destroy", cu.cuStreamDestroy(s), 0);
        SAY("stream-destroy-2", cu.cuStreamDestroy(t), 0);
}

static void probe_graphs(void)
{
        CUstream s = NULL;
        CUgraph g = NULL;
        CUgraphExec e = NULL;
        CUdeviceptr a = 0, b = 0;
        size_t nodes = 0;
        int status = -1, mode = CU_STREAM_CAPTURE_MODE_RELAXED;
        uint32_t word = 0;

        CU(cu.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
        CU(cu.cuMemAlloc(&a, 4096));
        CU(cu.cuMemsetD8(a, 0, 4096));
        CU(cu.cuCtxSynchronize());
        SAY("capture", cu.cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_GLOBAL), 0);
        SAY("capturing", cu.cuStreamIsCapturing(s, &status), (unsigned)status);
        SAY("capture-add", cu_words(base.add, a, 1024, 4, s), 0);
        SAY("capture-add-2", cu_words(base.add, a, 1024, 5, s), 0);
        SAY("capture-end", cu.cuStreamEndCapture(s, &g), g != NULL);
        SAY("nodes", cu.cuGraphGetNodes(g, NULL, &nodes), nodes);
        SAY("instantiate", cu.cuGraphInstantiateWithFlags(&e, g, 0), 0);
        SAY("graph-launch", cu.cuGraphLaunch(e, s), 0);
        SAY("graph-launch-2", cu.cuGraphLaunch(e, s), 0);
        SAY("graph-sync", cu.cuStreamSynchronize(s), 0);
        SAY("graph-get", cu.cuMemcpyDtoH(&word, a, 4), word);
        SAY("exec-destroy", cu.cuGraphExecDestroy(e), 0);
        SAY("graph-destroy", cu.cuGraphDestroy(g), 0);
        SAY("capture-2", cu.cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_GLOBAL), 0);
        SAY("capture-sync", cu.cuCtxSynchronize(), 0);
        SAY("capture-lost", cu.cuStreamEndCapture(s, &g), g == NULL);
        SAY("capture-3", cu.cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_GLOBAL), 0);
        SAY("capture-alloc", cu.cuMemAlloc(&b, 4096), 0);
        SAY("capture-lost-2", cu.cuStreamEndCapture(s, &g), g == NULL);
        SAY("capture-4", cu.cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_GLOBAL), 0);
        SAY("relaxed", cu.cuThreadExchangeStreamCaptureMode(&mode), (unsigned)mode);
        SAY("relaxed-alloc", cu.cuMemAlloc(&b, 4096), b != 0);
        SAY("relaxed-back", cu.cuThreadExchangeStreamCaptureMode(&mode), (unsigned)mode);
        SAY("capture-add-3", cu_words(base.add, b, 1024, 1, s), 0);
        SAY("capture-end-4", cu.cuStreamEndCapture(s, &g), g != NULL);
        SAY("graph-destroy-4", cu.cuGraphDestroy(g), 0);
        SAY("free-b", cu.cuMemFree(b), 0);
        SAY("free-a", cu.cuMemFree(a), 0);
        CU(cu.cuStreamDestroy(s));
}

static void probe_vmm(void)
{
        CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                    .location = {CU_MEM_LOCATION_TYPE_DEVICE, base.device}};
        CUmemAccessDesc access = {.location = prop.location, .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
        CUmemGenericAllocationHandle h = 0;
        unsigned long long flags = 9;
        CUdeviceptr at = 0;
        size_t granularity = 0;
        uint32_t word = 0;

        SAY("granularity", cu.cuMemGetAllocationGranularity(&granularity, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM),
            granularity);
        SAY("create-odd", cu.cuMemCreate(&h, 4096, &prop, 0), 0);
        SAY("create", cu.cuMemCreate(&h, 4 * MIB, &prop, 0), 0);
        SAY("reserve", cu.cuMemAddressReserve(&at, 8 * MIB, 0, 0, 0), at % (2 * MIB));
        SAY("map", cu.cuMemMap(at, 4 * MIB, 0, h, 0), 0);
        SAY("access", cu.cuMemSetAccess(at, 4 * MIB, &access, 1), 0);
        SAY("access-get", cu.cuMemGetAccess(&flags, &prop.location, at), flags);
        SAY("vmm-set", cu.cuMemsetD32(at, 77, 1024), 0);
        SAY("vmm-get", cu.cuMemcpyDtoH(&word, at + 4092, 4), word);
        SAY("release", cu.cuMemRelease(h), 0);
        SAY("unmap-part", cu.cuMemUnmap(at, 2 * MIB), 0);
        SAY("unmap", cu.cuMemUnmap(at, 4 * MIB), 0);
        SAY("address-free", cu.cuMemAddressFree(at, 8 * MIB), 0);
}

static void probe_functions(void)
{
        CUlaunchConfig config = {1, 1, 1, 32, 1, 1, 0, NULL, NULL, 0};
        CUfunction f = NULL;
        CUmodule m = NULL;
        int value = 0;

        SAY("function-missing", cu.cuModuleGetFunction(&f, base.module, "berth_absent"), 0);
        SAY("function-threads", cu.cuFuncGetAttribute(&value, 0, base.fill), (unsigned)value);
        SAY("module-bad", cu.cuModuleLoadData(&m, "this is no image"), 0);
        SAY("launch", cu.cuLaunchKernel(base.nop, 1, 1, 1, 32, 1, 1, 0, NULL, NULL, NULL), 0);
        SAY("launch-ex", cu.cuLaunchKernelEx(&config, base.nop, NULL, NULL), 0);
        SAY("launch-cooperative", cu.cuLaunchCooperativeKernel(base.nop, 1, 1, 1, 32, 1, 1, 0, NULL, NULL), 0);
        SAY("launch-too-large", cu.cuLaunchKernel(base.nop, 1, 1, 1, 2048, 1, 1, 0, NULL, NULL, NULL), 0);
        SAY("launch-sync", cu.cuCtxSynchronize(), 0);
}

int main(int argc, char **argv)
{
        (void)argc;
        cu_known(argv, "");
        cu_open(argv);
        SAY("early", cu.cuCtxSynchronize(), 0);
        cu_begin(&base);
        probe_device();
        probe_plain();
        probe_2d();
        probe_host();
        probe_streams();
        probe_graphs();
        probe_vmm();
        probe_functions();
        SAY("module-unload", cu.cuModuleUnload(base.module), 0);
        SAY("primary-release", cu.cuDevicePrimaryCtxRelease(base.device), 0);
        return 0;
}
