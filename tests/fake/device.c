/* device.c: starting up, what a device is called and can do, names of errors. */
#include "fake.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

_Atomic int fake_state;
unsigned fake_devices;
static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER;

/* A child of a process that used the device cannot use it, as with the real driver: its threads and memory are not
 * there. */
static void after_fork_child(void)
{
        if (atomic_load(&fake_state) != STATE_READY)
                return;
        atomic_store(&fake_state, STATE_FORKED);
        vmm_forked();
}

/* What CUDA_VISIBLE_DEVICES leaves, in its order; up to the first entry that names none. A device's handle stays the same. */
static CUdevice visible[STORE_DEVICES];
static unsigned visible_n;

static void choose_visible(void)
{
        const char *list = getenv("CUDA_VISIBLE_DEVICES");

        for (unsigned d = 0; !list && d < fake_devices; d++)
                visible[visible_n++] = (CUdevice)d;
        while (list && *list && visible_n < fake_devices) {
                size_t n = strcspn(list, ",");
                unsigned found = fake_devices;

                for (unsigned d = 0; d < fake_devices; d++) {
                        char uuid[48], index[16];
                        unsigned char bytes[16];

                        store_uuid((int)d, bytes, uuid);
                        snprintf(index, sizeof index, "%u", d);
                        if (n && ((n > 4 && !strncasecmp(list, uuid, n)) || (strlen(index) == n && !strncmp(list, index, n))))
                                found = d;
                }
                if (found == fake_devices)
                        return;
                visible[visible_n++] = (CUdevice)found;
                list += n + (list[n] == ',');
        }
}

CUresult device_check(CUdevice d)
{
        TRY(need_ready());
        return d < 0 || (unsigned)d >= fake_devices ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

API(cuInit, (unsigned flags), (flags))
{
        CUresult r = CUDA_SUCCESS;
        int e;

        if (flags)
                return CUDA_ERROR_INVALID_VALUE;
        if (atomic_load(&fake_state) == STATE_FORKED)
                return CUDA_ERROR_NOT_INITIALIZED;
        pthread_mutex_lock(&init_lock);
        if (atomic_load(&fake_state) == STATE_NEW) {
                e = store_open();
                if (e < 0) {
                        r = e == -EINVAL ? CUDA_ERROR_INVALID_VALUE : FAKE_ERROR_OPERATING_SYSTEM;
                } else if (store()->devices == 0) {
                        r = CUDA_ERROR_NO_DEVICE;
                } else {
                        fake_devices = store()->devices < STORE_DEVICES ? store()->devices : STORE_DEVICES;
                        choose_visible();
                        if (!visible_n) {
                                pthread_mutex_unlock(&init_lock);
                                return CUDA_ERROR_NO_DEVICE;
                        }
                        pthread_atfork(NULL, NULL, after_fork_child);
                        atomic_store(&fake_state, STATE_READY);
                }
        }
        pthread_mutex_unlock(&init_lock);
        return r;
}

API(cuDriverGetVersion, (int *version), (version))
{
        if (!version)
                return CUDA_ERROR_INVALID_VALUE;
        *version = 13000;
        return CUDA_SUCCESS;
}

API(cuDeviceGetCount, (int *count), (count))
{
        TRY(need_ready());
        if (!count)
                return CUDA_ERROR_INVALID_VALUE;
        *count = (int)visible_n;
        return CUDA_SUCCESS;
}

API(cuDeviceGet, (CUdevice *device, int ordinal), (device, ordinal))
{
        TRY(need_ready());
        if (!device)
                return CUDA_ERROR_INVALID_VALUE;
        if (ordinal < 0 || (unsigned)ordinal >= visible_n)
                return CUDA_ERROR_INVALID_DEVICE;
        *device = visible[ordinal];
        return CUDA_SUCCESS;
}

API(cuDeviceGetName, (char *name, int length, CUdevice d), (name, length, d))
{
        TRY(device_check(d));
        if (!name || length <= 0)
                return CUDA_ERROR_INVALID_VALUE;
        snprintf(name, (size_t)length, "Berth Software Device");
        return CUDA_SUCCESS;
}

API(cuDeviceGetUuid, (CUuuid *uuid, CUdevice d), (uuid, d))
{
        TRY(device_check(d));
        if (!uuid)
                return CUDA_ERROR_INVALID_VALUE;
        store_uuid(d, (unsigned char *)uuid->bytes, NULL);
        return CUDA_SUCCESS;
}

API(cuDeviceGetUuid_v2, (CUuuid *uuid, CUdevice d), (uuid, d))
{
        return cuDeviceGetUuid_body(uuid, d);
}

API(cuDeviceTotalMem_v2, (size_t *bytes, CUdevice d), (bytes, d))
{
        TRY(device_check(d));
        if (!bytes)
                return CUDA_ERROR_INVALID_VALUE;
        *bytes = store()->capacity;
        return CUDA_SUCCESS;
}

API(cuDeviceGetPCIBusId, (char *id, int length, CUdevice d), (id, length, d))
{
        TRY(device_check(d));
        if (!id || length < 13)
                return CUDA_ERROR_INVALID_VALUE;
        snprintf(id, (size_t)length, "%04x:%02x:%02x.0", 0, d + 1, 0);
        return CUDA_SUCCESS;
}

API(cuDeviceGetByPCIBusId, (CUdevice *d, const char *id), (d, id))
{
        unsigned domain = 0, bus = 0, slot = 0;

        TRY(need_ready());
        if (!d || !id || (sscanf(id, "%x:%x:%x", &domain, &bus, &slot) != 3 && sscanf(id, "%x:%x", &bus, &slot) != 2))
                return CUDA_ERROR_INVALID_VALUE;
        if (domain || slot || bus < 1 || bus > fake_devices)
                return CUDA_ERROR_INVALID_DEVICE;
        *d = (int)bus - 1;
        return CUDA_SUCCESS;
}

API(cuDeviceComputeCapability, (int *major, int *minor, CUdevice d), (major, minor, d))
{
        TRY(device_check(d));
        if (!major || !minor)
                return CUDA_ERROR_INVALID_VALUE;
        *major = 9;
        *minor = 0;
        return CUDA_SUCCESS;
}

API(cuDeviceCanAccessPeer, (int *can, CUdevice d, CUdevice peer), (can, d, peer))
{
        TRY(device_check(d));
        TRY(device_check(peer));
        if (!can)
                return CUDA_ERROR_INVALID_VALUE;
        *can = d != peer;
        return CUDA_SUCCESS;
}

/* CUdevice_P2PAttribute: 1 rank of the link, 2 access, 3 atomics, 4 access to arrays. */
API(cuDeviceGetP2PAttribute, (int *value, int which, CUdevice d, CUdevice peer), (value, which, d, peer))
{
        TRY(device_check(d));
        TRY(device_check(peer));
        if (!value || which < 1 || which > 4)
                return CUDA_ERROR_INVALID_VALUE;
        if (d == peer)
                return CUDA_ERROR_INVALID_DEVICE;
        *value = which != 1;
        return CUDA_SUCCESS;
}

static int attribute(int which, CUdevice d)
{
        switch (which) {
        case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        case 2: /* block dimensions */
        case 3:
                return 1024;
        case 4:
                return 64;
        case 5: /* grid dimensions */
                return INT32_MAX;
        case 6:
        case 7:
                return 65535;
        case 8: /* shared memory per block */
        case 81:
        case 97:
                return 48 << 10;
        case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
                return 32;
        case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
        case 36: /* memory clock */
                return 1000000;
        case 12: /* registers per block */
        case 82:
                return 65536;
        case 14: /* texture alignment */
                return 512;
        case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
                return 4;
        case 37: /* memory bus width */
                return 64;
        case 39: /* threads per multiprocessor */
                return 2048;
        case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
                return 2;
        case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
        case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
        case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
        case CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED:
        case CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED:
        case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
        case 78:  /* stream priorities */
        case 83:  /* managed memory */
        case 90:  /* compute preemption */
        case 95:  /* cooperative launch */
        case 99:  /* host registration */
        case 122: /* stream memory operations */
                return 1;
        case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
                return d + 1;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
                return 9;
        default:
                return 0; /* has none of it */
        }
}

API(cuDeviceGetAttribute, (int *value, int which, CUdevice d), (value, which, d))
{
        TRY(device_check(d));
        if (!value || which < 1 || which > 200)
                return CUDA_ERROR_INVALID_VALUE;
        *value = attribute(which, d);
        return CUDA_SUCCESS;
}

static const struct {
        CUresult number;
        const char *name, *text;
} errors[] = {
        {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
        {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
        {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
        {CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
        {CUDA_ERROR_DEINITIALIZED, "CUDA_ERROR_DEINITIALIZED", "driver shutting down"},
        {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
        {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
        {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
        {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
        {CUDA_ERROR_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU",
         "no kernel image is available for execution on the device"},
        {FAKE_ERROR_UNSUPPORTED_LIMIT, "CUDA_ERROR_UNSUPPORTED_LIMIT", "limit is not supported on this architecture"},
        {FAKE_ERROR_PEER_UNSUPPORTED, "CUDA_ERROR_PEER_ACCESS_UNSUPPORTED",
         "peer access is not supported between these two devices"},
        {FAKE_ERROR_PEER_ALREADY_ENABLED, "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED", "peer access is already enabled"},
        {FAKE_ERROR_PEER_NOT_ENABLED, "CUDA_ERROR_PEER_ACCESS_NOT_ENABLED", "peer access has not been enabled"},
        {FAKE_ERROR_INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
        {FAKE_ERROR_FILE_NOT_FOUND, "CUDA_ERROR_FILE_NOT_FOUND", "file not found"},
        {FAKE_ERROR_OPERATING_SYSTEM, "CUDA_ERROR_OPERATING_SYSTEM",
         "OS call failed or operation not supported on this OS"},
        {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
        {CUDA_ERROR_ILLEGAL_STATE, "CUDA_ERROR_ILLEGAL_STATE",
         "the operation cannot be performed in the present state"},
        {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
        {CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
        {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
        {FAKE_ERROR_CONTEXT_IS_DESTROYED, "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"},
        {FAKE_ERROR_HOST_ALREADY_REGISTERED, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED",
         "part or all of the requested memory range is already mapped"},
        {FAKE_ERROR_HOST_NOT_REGISTERED, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED",
         "pointer does not correspond to a registered memory region"},
        {FAKE_ERROR_MISALIGNED, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
        {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
        {CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
        {CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
         "operation not permitted when stream is capturing"},
        {CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
         "operation failed due to a previous error during capture"},
        {FAKE_ERROR_CAPTURE_MERGE, "CUDA_ERROR_STREAM_CAPTURE_MERGE",
         "operation would result in a merge of separate capture sequences"},
        {FAKE_ERROR_CAPTURE_UNMATCHED, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED",
         "capture was not ended in the same stream as it began"},
        {FAKE_ERROR_CAPTURE_UNJOINED, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"},
        {CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
         "operation would make the legacy stream depend on a capturing blocking stream"},
        {FAKE_ERROR_CAPTURED_EVENT, "CUDA_ERROR_CAPTURED_EVENT",
         "operation not permitted on an event last recorded in a capturing stream"},
        {FAKE_ERROR_CAPTURE_WRONG_THREAD, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD",
         "attempt to terminate a thread-local capture sequence from another thread"},
        {CUDA_ERROR_UNKNOWN, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

static CUresult error_field(CUresult error, const char **ret, bool name)
{
        if (!ret)
                return CUDA_ERROR_INVALID_VALUE;
        *ret = NULL;
        for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
                if (errors[i].number == error)
                        *ret = name ? errors[i].name : errors[i].text;
        return *ret ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API(cuGetErrorName, (CUresult error, const char **name), (error, name))
{
        return error_field(error, name, true);
}

API(cuGetErrorString, (CUresult error, const char **text), (error, text))
{
        return error_field(error, text, false);
}

API(cuGetExportTable, (const void **table, const CUuuid *id), (table, id))
{
        (void)id;
        if (table)
                *table = NULL;
        return CUDA_ERROR_NOT_FOUND;
}

API(cuProfilerStart, (void), ())
{
        return need_ready();
}

API(cuProfilerStop, (void), ())
{
        return need_ready();
}
