/* proc.c: looking functions up by name, version and kind of default stream.
 *
 * The highest form of a name that is not newer than the version asked for: NAME is the oldest, NAME_v2 came with 3.2
 * unless the list below says otherwise. With the per-thread flag the _ptsz or _ptds form is taken where there is one.
 */
#include "fake.h"

#include <stdio.h>
#include <string.h>

enum { DRIVER_VERSION = 13000, NAME = 96 };

static const struct {
        const char *symbol;
        int since;
} versions[] = {
        {"cuCtxCreate_v3", 11040},
        {"cuCtxCreate_v4", 12050},
        {"cuCtxDestroy_v2", 4000},
        {"cuCtxGetDevice_v2", 13000},
        {"cuCtxPopCurrent_v2", 4000},
        {"cuCtxPushCurrent_v2", 4000},
        {"cuCtxSynchronize_v2", 13000},
        {"cuDeviceGetUuid_v2", 11040},
        {"cuDevicePrimaryCtxRelease_v2", 11000},
        {"cuDevicePrimaryCtxReset_v2", 11000},
        {"cuDevicePrimaryCtxSetFlags_v2", 11000},
        {"cuEventDestroy_v2", 4000},
        {"cuEventElapsedTime_v2", 12080},
        {"cuGetProcAddress", 11030},
        {"cuGetProcAddress_v2", 12000},
        {"cuGraphAddDependencies_v2", 12030},
        {"cuGraphAddKernelNode_v2", 12000},
        {"cuGraphAddNode", 12020},
        {"cuGraphAddNode_v2", 12030},
        {"cuGraphExecKernelNodeSetParams_v2", 12000},
        {"cuGraphExecUpdate_v2", 12000},
        {"cuGraphGetEdges_v2", 12030},
        {"cuGraphInstantiate_v2", 11000},
        {"cuGraphKernelNodeGetParams_v2", 12000},
        {"cuGraphKernelNodeSetParams_v2", 12000},
        {"cuGraphNodeGetDependencies_v2", 12030},
        {"cuGraphNodeGetDependentNodes_v2", 12030},
        {"cuGraphRemoveDependencies_v2", 12030},
        {"cuGraphicsResourceSetMapFlags_v2", 6050},
        {"cuIpcOpenMemHandle_v2", 11000},
        {"cuLinkAddData_v2", 6050},
        {"cuLinkAddFile_v2", 6050},
        {"cuLinkCreate_v2", 6050},
        {"cuMemAdvise_v2", 12020},
        {"cuMemHostRegister_v2", 6050},
        {"cuMemPrefetchAsync_v2", 12020},
        {"cuMemcpy3DBatchAsync_v2", 13000},
        {"cuMemcpyBatchAsync_v2", 13000},
        {"cuStreamBatchMemOp_v2", 11070},
        {"cuStreamBeginCapture_v2", 10010},
        {"cuStreamDestroy_v2", 4000},
        {"cuStreamGetCaptureInfo_v2", 11030},
        {"cuStreamGetCaptureInfo_v3", 12030},
        {"cuStreamGetCtx_v2", 12050},
        {"cuStreamUpdateCaptureDependencies_v2", 12030},
        {"cuStreamWaitValue32_v2", 11070},
        {"cuStreamWaitValue64_v2", 11070},
        {"cuStreamWriteValue32_v2", 11070},
        {"cuStreamWriteValue64_v2", 11070},
        {"cuTexRefSetAddress2D_v3", 4010},
};

static int since(const char *symbol, int form)
{
        for (size_t i = 0; i < ARRAY_SIZE(versions); i++)
                if (strcmp(versions[i].symbol, symbol) == 0)
                        return versions[i].since;
        return form == 1 ? 2000 : 3020;
}

/* The per-thread form of a symbol where wanted and there is one. */
static void *pick(const char *symbol, bool own)
{
        static const char *const suffixes[] = {"_ptsz", "_ptds"};
        char name[NAME + 8];

        for (size_t i = 0; own && i < ARRAY_SIZE(suffixes); i++) {
                void *p;

                snprintf(name, sizeof(name), "%s%s", symbol, suffixes[i]);
                p = symbol_find(name);
                if (p)
                        return p;
        }
        return symbol_find(symbol);
}

/* Names are asked for without the endings that the lookup itself adds. */
static bool has_ending(const char *name)
{
        const char *cut = strrchr(name, '_');

        return cut && (strcmp(cut, "_ptsz") == 0 || strcmp(cut, "_ptds") == 0 ||
                       (cut[1] == 'v' && cut[2] >= '0' && cut[2] <= '9'));
}

static int look_up(const char *name, int version, bool own, void **ret)
{
        bool known = false;
        char symbol[NAME];

        *ret = NULL;
        if (strlen(name) + 4 > sizeof(symbol) || has_ending(name))
                return CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
        for (int form = 1; form <= 4; form++) {
                void *p;

                if (form == 1)
                        snprintf(symbol, sizeof(symbol), "%s", name);
                else
                        snprintf(symbol, sizeof(symbol), "%s_v%d", name, form);
                p = pick(symbol, own);
                known = known || p;
                if (p && since(symbol, form) <= version)
                        *ret = p;
        }
        if (*ret)
                return CU_GET_PROC_ADDRESS_SUCCESS;
        return known ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
}

API(cuGetProcAddress_v2, (const char *name, void **function, int version, uint64_t flags, int *status),
    (name, function, version, flags, status))
{
        int found;

        if (!name || !function || version > DRIVER_VERSION || flags > CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM)
                return CUDA_ERROR_INVALID_VALUE;
        found = look_up(name, version, flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, function);
        if (status)
                *status = found;
        return found == CU_GET_PROC_ADDRESS_SUCCESS ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

API(cuGetProcAddress, (const char *name, void **function, int version, uint64_t flags),
    (name, function, version, flags))
{
        return cuGetProcAddress_v2_body(name, function, version, flags, NULL);
}
