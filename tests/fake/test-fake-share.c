/* test-fake-share.c: the software device's memory among processes and devices: capacity, handles that are sent, access
 * rights, peers.
 */
#include "base/fd.h"
#include "test-fake.h"

#include <unistd.h>

/* Whoever writes to memory that may only be read breaks the context; who reads it does not. */
static void read_only(void)
{
        CUmemAccessDesc all = access_all(CU_MEM_ACCESS_FLAGS_PROT_READWRITE),
                        read = access_all(CU_MEM_ACCESS_FLAGS_PROT_READ);
        CUmemGenericAllocationHandle h = 0;
        CUdeviceptr at, good;
        uint32_t word;

        for (int i = 0; i < 4; i++) {
                begin();
                OK(cuMemAlloc_v2(&good, 4096));
                if (i == 0) {
                        h = physical(2 * MIB);
                        OK(cuMemAddressReserve(&at, 2 * MIB, 0, 0, 0));
                        OK(cuMemMap(at, 2 * MIB, 0, h, 0));
                }
                OK(cuMemSetAccess(at, 2 * MIB, &all, 1));
                OK(words(fill, at, 1024, 6, NULL));
                OK(cuCtxSynchronize());
                OK(cuMemSetAccess(at, 2 * MIB, &read, 1));
                OK(cuMemcpyDtoD_v2(good, at, 4096));
                OK(cuMemsetD32_v2(good, 0, 2));
                OK(sum_into(at, 1024, good, NULL));
                CHECK(word_at(good) == 6 * 1024);
                if (i == 0)
                        OK(words(add, at, 10, 1, NULL));
                else if (i == 1)
                        OK(cuMemsetD32Async(at, 1, 1, NULL));
                else if (i == 2)
                        OK(cuMemcpyDtoDAsync_v2(at, good, 8, NULL));
                else
                        OK(cuStreamWriteValue32_v2(NULL, at, 1, 0));
                EXPECT(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
                EXPECT(cuMemcpyDtoH_v2(&word, at, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
                OK(cuDevicePrimaryCtxReset_v2(0));
        }
        begin();
        CHECK(word_at(at) == 6);
}

static void capacity_is_shared(void)
{
        struct other o = start_other(take_40);
        CUdeviceptr a;

        begin();
        hear(&o);
        CHECK(free_bytes() == 8 * MIB); /* two contexts and 40 MiB */
        EXPECT(cuMemAlloc_v2(&a, 16 * MIB), CUDA_ERROR_OUT_OF_MEMORY);
        say(&o);
        end_other(&o, false);
        CHECK(free_bytes() == 56 * MIB);
        OK(cuMemAlloc_v2(&a, 40 * MIB));
}

static void killed_means_freed(void)
{
        struct other o = start_other(take_40);
        CUdeviceptr a;

        begin();
        hear(&o);
        end_other(&o, true);
        OK(cuMemAlloc_v2(&a, 56 * MIB)); /* makes room by itself */
        CHECK(free_bytes() == 0);
}

static CUdeviceptr map_whole(CUmemGenericAllocationHandle h, uint64_t bytes)
{
        CUmemAccessDesc all = access_all(CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
        CUdeviceptr at;

        OK(cuMemAddressReserve(&at, bytes, 0, 0, 0));
        OK(cuMemMap(at, bytes, 0, h, 0));
        OK(cuMemSetAccess(at, bytes, &all, 1));
        return at;
}

static void import_and_write(struct other *o)
{
        CUmemGenericAllocationHandle h;
        CUdeviceptr at;
        char byte;
        int fd;

        begin();
        CHECK(fd_receive(o->socket, &byte, 1, 0, &fd) == 1 && fd >= 0);
        OK(cuMemImportFromShareableHandle(&h, (void *)(intptr_t)fd, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
        close(fd);
        at = map_whole(h, 4 * MIB);
        CHECK(word_at(at) == 11);
        OK(cuMemsetD32_v2(at, 22, 1));
        say(o);
        hear(o);
        CHECK(word_at(at) == 33);
        say(o);
        hear(o); /* the exporter has let go */
        CHECK(word_at(at) == 33 && free_bytes() == 64 * MIB - 16 * MIB - 4 * MIB);
}

static void export_import(void)
{
        struct other o = start_other(import_and_write);
        CUmemGenericAllocationHandle h;
        CUdeviceptr at;
        int fd;

        begin();
        EXPECT(cuMemImportFromShareableHandle(&h, (void *)(intptr_t)o.socket, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR),
               CUDA_ERROR_UNKNOWN);
        h = physical(4 * MIB);
        at = map_whole(h, 4 * MIB);
        OK(cuMemsetD32_v2(at, 11, 1));
        OK(cuMemExportToShareableHandle(&fd, h, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
        CHECK(fd_send(o.socket, "x", 1, fd, 0) == 0);
        close(fd);
        hear(&o);
        CHECK(word_at(at) == 22);
        OK(cuMemsetD32_v2(at, 33, 1));
        say(&o);
        hear(&o);
        OK(cuMemUnmap(at, 4 * MIB));
        OK(cuMemRelease(h));
        CHECK(free_bytes() == 64 * MIB - 16 * MIB - 4 * MIB); /* the importer still holds it */
        say(&o);
        end_other(&o, false);
        CHECK(free_bytes() == 56 * MIB);
}

/* A descriptor alone keeps memory, as it does for a broker without a context. */
static void descriptor_keeps(void)
{
        CUmemGenericAllocationHandle h;
        CUdeviceptr at;
        int fd;

        begin();
        h = physical(4 * MIB);
        at = map_whole(h, 4 * MIB);
        OK(cuMemsetD32_v2(at, 7, 1));
        OK(cuMemExportToShareableHandle(&fd, h, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
        OK(cuMemUnmap(at, 4 * MIB));
        OK(cuMemRelease(h));
        CHECK(free_bytes() == 52 * MIB);
        OK(cuMemImportFromShareableHandle(&h, (void *)(intptr_t)fd, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
        close(fd);
        CHECK(word_at(map_whole(h, 4 * MIB)) == 7);
}

static void after_fork(struct other *o)
{
        CUdeviceptr a;
        char byte;

        EXPECT(cuInit(0), CUDA_ERROR_NOT_INITIALIZED);
        EXPECT(cuMemAlloc_v2(&a, 4), CUDA_ERROR_NOT_INITIALIZED);
        say(o);
        CHECK(read(o->from, &byte, 1) ==
              0); /* lives on while the memory of its parent is looked for: until that is killed */
}

static void open_by_handle(struct other *o)
{
        struct ipc_handle h[2];
        CUdeviceptr at[2], again;

        begin();
        for (int i = 0; i < 2; i++) {
                CHECK(read(o->socket, &h[i], sizeof(h[i])) == (ssize_t)sizeof(h[i]));
                OK(cuIpcOpenMemHandle_v2(&at[i], h[i], 1));
                CHECK(word_at(at[i]) == 60 + (uint32_t)i);
                OK(cuMemsetD32_v2(at[i], 70 + (unsigned)i, 1));
        }
        OK(cuIpcOpenMemHandle_v2(&again, h[0], 1));
        CHECK(again == at[0]);
        EXPECT(cuMemFree_v2(at[0]), CUDA_ERROR_INVALID_VALUE);
        OK(cuIpcCloseMemHandle(again));
        say(o);
        hear(o); /* the owner has freed both */
        CHECK(word_at(at[0]) == 70 && word_at(at[1]) == 71);
        CHECK(free_bytes() == 48 * MIB - 4 * MIB - 2 * MIB);
        OK(cuIpcCloseMemHandle(at[0]));
        OK(cuIpcCloseMemHandle(at[1]));
        EXPECT(cuIpcCloseMemHandle(at[1]), CUDA_ERROR_INVALID_VALUE);
        CHECK(free_bytes() == 48 * MIB);
}

/* One allocation of its own, one that shares a slab. */
static void handles_of_plain_memory(void)
{
        struct other o = start_other(open_by_handle);
        CUdeviceptr at[2], small;
        struct ipc_handle h;

        begin();
        OK(cuMemAlloc_v2(&at[0], 4 * MIB));
        OK(cuMemAlloc_v2(&small, 512));
        OK(cuMemAlloc_v2(&at[1], 512));
        for (int i = 0; i < 2; i++) {
                OK(cuMemsetD32_v2(at[i], 60 + (unsigned)i, 1));
                OK(cuIpcGetMemHandle(&h, at[i]));
                EXPECT(cuIpcOpenMemHandle_v2(&small, h, 1), CUDA_ERROR_INVALID_CONTEXT);
                CHECK(write(o.socket, &h, sizeof(h)) == (ssize_t)sizeof(h));
        }
        EXPECT(cuIpcGetMemHandle(&h, 4096), CUDA_ERROR_INVALID_VALUE);
        hear(&o);
        CHECK(word_at(at[0]) == 70 && word_at(at[1]) == 71);
        OK(cuMemFree_v2(small));
        OK(cuMemFree_v2(at[0]));
        OK(cuMemFree_v2(at[1]));
        say(&o);
        end_other(&o, false);
        CHECK(free_bytes() == 56 * MIB);
}

static void export_and_wait(struct other *o)
{
        CUmemGenericAllocationHandle h;
        CUdeviceptr at;
        int fd;

        begin();
        for (uint32_t i = 0; i < 4; i++) {
                h = physical(4 * MIB);
                at = map_whole(h, 4 * MIB);
                OK(cuMemsetD32_v2(at, 40 + i, 1));
                OK(cuMemExportToShareableHandle(&fd, h, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
                CHECK(fd_send(o->socket, "x", 1, fd, 0) == 0);
                close(fd);
        }
        say(o);
        hear(o);
}

/* What was sent outlives its maker, received or not yet, and counts once; who never gets it does not keep it. */
static void exporter_killed(void)
{
        struct other o = start_other(export_and_wait);
        CUmemGenericAllocationHandle h[3];
        CUdeviceptr at;
        char byte;
        int fd;

        begin();
        hear(&o);
        for (int i = 0; i < 3; i++) {
                if (i == 1) /* two of the three are still under way */
                        end_other(&o, true);
                CHECK(fd_receive(o.socket, &byte, 1, 0, &fd) == 1 && fd >= 0);
                OK(cuMemImportFromShareableHandle(&h[i], (void *)(intptr_t)fd,
                                                  CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
                close(fd);
                at = map_whole(h[i], 4 * MIB);
                CHECK(word_at(at) == 40 + (uint32_t)i);
                OK(cuMemUnmap(at, 4 * MIB));
                OK(cuMemAddressFree(at, 4 * MIB));
        }
        CHECK(free_bytes() == 56 * MIB - 16 * MIB);
        close(o.socket);
        CHECK(free_bytes() == 56 * MIB - 12 * MIB);
        for (int i = 0; i < 3; i++)
                OK(cuMemRelease(h[i]));
        CHECK(free_bytes() == 56 * MIB);
}

static void holder_with_child(struct other *o)
{
        struct other child;
        CUdeviceptr a;

        begin();
        OK(cuMemAlloc_v2(&a, 40 * MIB));
        child = start_other(after_fork);
        hear(&child);
        say(o);
        hear(o);
}

/* A child that was forked after the start neither can use the device nor keeps its parent's memory alive. */
static void forked_child_holds_nothing(void)
{
        struct other o = start_other(holder_with_child);

        begin();
        hear(&o);
        CHECK(free_bytes() == 8 * MIB);
        end_other(&o, true);
        CHECK(free_bytes() == 56 * MIB);
}

/* Memory of device 1, used from device 0: by access rights, and by peer access. */
static void peers(void)
{
        CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                    .location = {CU_MEM_LOCATION_TYPE_DEVICE, 1}};
        CUmemAccessDesc access[2] = {{{CU_MEM_LOCATION_TYPE_DEVICE, 0}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE},
                                     {{CU_MEM_LOCATION_TYPE_DEVICE, 1}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE}};
        CUmemGenericAllocationHandle h;
        CUdeviceptr at, here, there;
        CUcontext first, other;
        int can;

        begin();
        OK(cuCtxGetCurrent(&first));
        OK(cuDeviceCanAccessPeer(&can, 0, 1));
        CHECK(can == 1);
        OK(cuDeviceGetP2PAttribute(&can, 2, 0, 1));
        CHECK(can == 1);
        EXPECT(cuDeviceGetP2PAttribute(&can, 2, 0, 0), CUDA_ERROR_INVALID_DEVICE);
        OK(cuMemAlloc_v2(&here, 8 * MIB));
        OK(cuMemCreate(&h, 8 * MIB, &prop, 0));
        OK(cuMemAddressReserve(&at, 8 * MIB, 0, 0, 0));
        OK(cuMemMap(at, 8 * MIB, 0, h, 0));
        OK(cuMemSetAccess(at, 8 * MIB, &access[1], 1));
        EXPECT(cuMemcpyDtoD_v2(at, here, 4), CUDA_ERROR_INVALID_VALUE); /* not this device's to touch */
        OK(cuMemSetAccess(at, 8 * MIB, access, 2));
        OK(words(fill, here, 2 * MIB, 3, NULL));
        OK(cuMemcpyDtoDAsync_v2(at, here, 8 * MIB, NULL));
        OK(words(add, at, 2 * MIB, 1, NULL));
        OK(cuMemcpyDtoDAsync_v2(here, at, 8 * MIB, NULL));
        CHECK(word_at(here + 8 * MIB - 4) == 4);
        OK(cuDevicePrimaryCtxRetain(&other, 1));
        OK(cuCtxSetCurrent(other));
        CHECK(free_bytes() == 48 * MIB && word_at(at) == 4);
        OK(cuMemAlloc_v2(&there, 8 * MIB));
        OK(cuMemcpyPeer(there, other, here, first, 8 * MIB));
        CHECK(word_at(there + 8 * MIB - 4) == 4);
        OK(cuCtxSetCurrent(first));
        EXPECT(cuCtxEnablePeerAccess(first, 0), CUDA_ERROR_INVALID_CONTEXT);
        EXPECT(cuCtxDisablePeerAccess(other), 705);
        OK(cuCtxEnablePeerAccess(other, 0));
        EXPECT(cuCtxEnablePeerAccess(other, 0), 704);
        OK(words(add, there, 1024, 1, NULL));
        OK(cuCtxSynchronize());
        CHECK(word_at(there) == 5);
        OK(cuCtxDisablePeerAccess(other));
        OK(words(add, there, 1024, 1, NULL)); /* no longer */
        EXPECT(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
}

const struct test_case share_cases[] = {
        {"read-only", read_only, NULL},
        {"peers", peers, "BERTH_SOFTWARE_DEVICES=2"},
        {"capacity-is-shared", capacity_is_shared, NULL},
        {"killed-means-freed", killed_means_freed, NULL},
        {"export-import", export_import, NULL},
        {"handles-of-plain-memory", handles_of_plain_memory, NULL},
        {"exporter-killed", exporter_killed, NULL},
        {"descriptor-keeps", descriptor_keeps, NULL},
        {"forked-child-holds-nothing", forked_child_holds_nothing, NULL},
        {NULL, NULL, NULL},
};
