/* cu.h: how the test programs reach the driver, and the kernels that they carry.
 *
 * BERTH_ROAD says how the functions are found: "dlsym" (dlopen, then dlsym of the exported names; the default), "proc"
 * (dlopen, then cuGetProcAddress only, with the versions that NVIDIA's runtime asks for), "link" (the loader binds
 * them, in the program's -linked twin, which this one then becomes). The programs run unchanged on the software device
 * and on real ones, under Berth and without it.
 */
#pragma once

#include "cuda/abi/cuda.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* name in struct cu (also the name for cuGetProcAddress), exported symbol, version, parameters */
#define CU_FUNCTIONS(X)                                                                                                \
        X(cuInit, cuInit, 2000, (unsigned))                                                                            \
        X(cuDriverGetVersion, cuDriverGetVersion, 2020, (int *))                                                       \
        X(cuDeviceGet, cuDeviceGet, 2000, (CUdevice *, int))                                                           \
        X(cuDeviceGetCount, cuDeviceGetCount, 2000, (int *))                                                           \
        X(cuDeviceGetName, cuDeviceGetName, 2000, (char *, int, CUdevice))                                             \
        X(cuDeviceGetUuid, cuDeviceGetUuid, 9020, (CUuuid *, CUdevice))                                                \
        X(cuDeviceGetAttribute, cuDeviceGetAttribute, 2000, (int *, int, CUdevice))                                    \
        X(cuDeviceTotalMem, cuDeviceTotalMem_v2, 3020, (size_t *, CUdevice))                                           \
        X(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, 7000, (CUcontext *, CUdevice))                           \
        X(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, 11000, (CUdevice))                                  \
        X(cuCtxSetCurrent, cuCtxSetCurrent, 4000, (CUcontext))                                                         \
        X(cuCtxGetCurrent, cuCtxGetCurrent, 4000, (CUcontext *))                                                       \
        X(cuCtxPushCurrent, cuCtxPushCurrent_v2, 4000, (CUcontext))                                                    \
        X(cuCtxPopCurrent, cuCtxPopCurrent_v2, 4000, (CUcontext *))                                                    \
        X(cuCtxGetDevice, cuCtxGetDevice, 2000, (CUdevice *))                                                          \
        X(cuCtxSynchronize, cuCtxSynchronize, 2000, (void))                                                            \
        X(cuMemGetInfo, cuMemGetInfo_v2, 3020, (size_t *, size_t *))                                                   \
        X(cuMemAlloc, cuMemAlloc_v2, 3020, (CUdeviceptr *, size_t))                                                    \
        X(cuMemAllocPitch, cuMemAllocPitch_v2, 3020, (CUdeviceptr *, size_t *, size_t, size_t, unsigned))              \
        X(cuMemFree, cuMemFree_v2, 3020, (CUdeviceptr))                                                                \
        X(cuMemGetAddressRange, cuMemGetAddressRange_v2, 3020, (CUdeviceptr *, size_t *, CUdeviceptr))                 \
        X(cuMemAllocManaged, cuMemAllocManaged, 6000, (CUdeviceptr *, size_t, unsigned))                               \
        X(cuMemHostAlloc, cuMemHostAlloc, 2020, (void **, size_t, unsigned))                                           \
        X(cuMemAllocHost, cuMemAllocHost_v2, 3020, (void **, size_t))                                                  \
        X(cuMemFreeHost, cuMemFreeHost, 2000, (void *))                                                                \
        X(cuMemHostRegister, cuMemHostRegister_v2, 6050, (void *, size_t, unsigned))                                   \
        X(cuMemHostUnregister, cuMemHostUnregister, 4000, (void *))                                                    \
        X(cuMemHostGetDevicePointer, cuMemHostGetDevicePointer_v2, 3020, (CUdeviceptr *, void *, unsigned))            \
        X(cuMemAllocAsync, cuMemAllocAsync, 11020, (CUdeviceptr *, size_t, CUstream))                                  \
        X(cuMemFreeAsync, cuMemFreeAsync, 11020, (CUdeviceptr, CUstream))                                              \
        X(cuMemAddressReserve, cuMemAddressReserve, 10020,                                                             \
          (CUdeviceptr *, size_t, size_t, CUdeviceptr, unsigned long long))                                            \
        X(cuMemAddressFree, cuMemAddressFree, 10020, (CUdeviceptr, size_t))                                            \
        X(cuMemCreate, cuMemCreate, 10020,                                                                             \
          (CUmemGenericAllocationHandle *, size_t, const CUmemAllocationProp *, unsigned long long))                   \
        X(cuMemRelease, cuMemRelease, 10020, (CUmemGenericAllocationHandle))                                           \
        X(cuMemMap, cuMemMap, 10020, (CUdeviceptr, size_t, size_t, CUmemGenericAllocationHandle, unsigned long long))  \
        X(cuMemUnmap, cuMemUnmap, 10020, (CUdeviceptr, size_t))                                                        \
        X(cuMemSetAccess, cuMemSetAccess, 10020, (CUdeviceptr, size_t, const CUmemAccessDesc *, size_t))               \
        X(cuMemGetAccess, cuMemGetAccess, 10020, (unsigned long long *, const CUmemLocation *, CUdeviceptr))           \
        X(cuMemRetainAllocationHandle, cuMemRetainAllocationHandle, 11000, (CUmemGenericAllocationHandle *, void *))    \
        X(cuMemGetAllocationPropertiesFromHandle, cuMemGetAllocationPropertiesFromHandle, 10020,                       \
          (CUmemAllocationProp *, CUmemGenericAllocationHandle))                                                       \
        X(cuMemExportToShareableHandle, cuMemExportToShareableHandle, 10020,                                           \
          (void *, CUmemGenericAllocationHandle, int, unsigned long long))                                             \
        X(cuMemImportFromShareableHandle, cuMemImportFromShareableHandle, 10020,                                       \
          (CUmemGenericAllocationHandle *, void *, int))                                                               \
        X(cuMemGetAllocationGranularity, cuMemGetAllocationGranularity, 10020,                                         \
          (size_t *, const CUmemAllocationProp *, int))                                                                \
        X(cuDeviceCanAccessPeer, cuDeviceCanAccessPeer, 4000, (int *, CUdevice, CUdevice))                             \
        X(cuCtxEnablePeerAccess, cuCtxEnablePeerAccess, 4000, (CUcontext, unsigned))                                   \
        X(cuCtxDisablePeerAccess, cuCtxDisablePeerAccess, 4000, (CUcontext))                                           \
        X(cuDeviceGetDefaultMemPool, cuDeviceGetDefaultMemPool, 11020, (CUmemoryPool *, CUdevice))                     \
        X(cuMemPoolTrimTo, cuMemPoolTrimTo, 11020, (CUmemoryPool, size_t))                                             \
        X(cuMemPoolSetAttribute, cuMemPoolSetAttribute, 11020, (CUmemoryPool, int, void *))                            \
        X(cuMemPoolGetAttribute, cuMemPoolGetAttribute, 11020, (CUmemoryPool, int, void *))                            \
        X(cuIpcGetMemHandle, cuIpcGetMemHandle, 4010, (CUipcMemHandle *, CUdeviceptr))                                 \
        X(cuIpcOpenMemHandle, cuIpcOpenMemHandle_v2, 11000, (CUdeviceptr *, CUipcMemHandle, unsigned))                 \
        X(cuIpcCloseMemHandle, cuIpcCloseMemHandle, 4010, (CUdeviceptr))                                               \
        X(cuIpcGetEventHandle, cuIpcGetEventHandle, 4010, (CUipcEventHandle *, CUevent))                               \
        X(cuIpcOpenEventHandle, cuIpcOpenEventHandle, 4010, (CUevent *, CUipcEventHandle))                             \
        X(cuPointerGetAttribute, cuPointerGetAttribute, 4000, (void *, int, CUdeviceptr))                              \
        X(cuMemcpyHtoD, cuMemcpyHtoD_v2, 3020, (CUdeviceptr, const void *, size_t))                                    \
        X(cuMemcpyDtoH, cuMemcpyDtoH_v2, 3020, (void *, CUdeviceptr, size_t))                                          \
        X(cuMemcpyDtoD, cuMemcpyDtoD_v2, 3020, (CUdeviceptr, CUdeviceptr, size_t))                                     \
        X(cuMemcpy, cuMemcpy, 4000, (CUdeviceptr, CUdeviceptr, size_t))                                                \
        X(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, 3020, (CUdeviceptr, const void *, size_t, CUstream))                \
        X(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, 3020, (void *, CUdeviceptr, size_t, CUstream))                      \
        X(cuMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, 3020, (CUdeviceptr, CUdeviceptr, size_t, CUstream))                 \
        X(cuMemcpyAsync, cuMemcpyAsync, 4000, (CUdeviceptr, CUdeviceptr, size_t, CUstream))                            \
        X(cuMemcpy2D, cuMemcpy2D_v2, 3020, (const CUDA_MEMCPY2D *))                                                    \
        X(cuMemcpy2DAsync, cuMemcpy2DAsync_v2, 3020, (const CUDA_MEMCPY2D *, CUstream))                                \
        X(cuMemsetD8, cuMemsetD8_v2, 3020, (CUdeviceptr, unsigned char, size_t))                                       \
        X(cuMemsetD16, cuMemsetD16_v2, 3020, (CUdeviceptr, unsigned short, size_t))                                    \
        X(cuMemsetD32, cuMemsetD32_v2, 3020, (CUdeviceptr, unsigned, size_t))                                          \
        X(cuMemsetD2D8, cuMemsetD2D8_v2, 3020, (CUdeviceptr, size_t, unsigned char, size_t, size_t))                   \
        X(cuMemsetD8Async, cuMemsetD8Async, 3020, (CUdeviceptr, unsigned char, size_t, CUstream))                      \
        X(cuMemsetD32Async, cuMemsetD32Async, 3020, (CUdeviceptr, unsigned, size_t, CUstream))                         \
        X(cuStreamCreate, cuStreamCreate, 2000, (CUstream *, unsigned))                                                \
        X(cuStreamCreateWithPriority, cuStreamCreateWithPriority, 5050, (CUstream *, unsigned, int))                   \
        X(cuStreamDestroy, cuStreamDestroy_v2, 4000, (CUstream))                                                       \
        X(cuStreamQuery, cuStreamQuery, 2000, (CUstream))                                                              \
        X(cuStreamSynchronize, cuStreamSynchronize, 2000, (CUstream))                                                  \
        X(cuStreamWaitEvent, cuStreamWaitEvent, 3020, (CUstream, CUevent, unsigned))                                   \
        X(cuStreamGetFlags, cuStreamGetFlags, 5050, (CUstream, unsigned *))                                            \
        X(cuStreamBeginCapture, cuStreamBeginCapture_v2, 10010, (CUstream, int))                                       \
        X(cuStreamEndCapture, cuStreamEndCapture, 10000, (CUstream, CUgraph *))                                        \
        X(cuStreamIsCapturing, cuStreamIsCapturing, 10000, (CUstream, int *))                                          \
        X(cuLaunchHostFunc, cuLaunchHostFunc, 10000, (CUstream, void (*)(void *), void *))                             \
        X(cuStreamWaitValue32, cuStreamWaitValue32_v2, 11070, (CUstream, CUdeviceptr, unsigned, unsigned))             \
        X(cuStreamWriteValue32, cuStreamWriteValue32_v2, 11070, (CUstream, CUdeviceptr, unsigned, unsigned))           \
        X(cuStreamBatchMemOp, cuStreamBatchMemOp_v2, 11070, (CUstream, unsigned, CUstreamBatchMemOpParams *, unsigned))\
        X(cuEventCreate, cuEventCreate, 2000, (CUevent *, unsigned))                                                   \
        X(cuEventDestroy, cuEventDestroy_v2, 4000, (CUevent))                                                          \
        X(cuEventRecord, cuEventRecord, 2000, (CUevent, CUstream))                                                     \
        X(cuEventQuery, cuEventQuery, 2000, (CUevent))                                                                 \
        X(cuEventSynchronize, cuEventSynchronize, 2000, (CUevent))                                                     \
        X(cuEventElapsedTime, cuEventElapsedTime, 2000, (float *, CUevent, CUevent))                                   \
        X(cuGraphInstantiateWithFlags, cuGraphInstantiateWithFlags, 11040,                                             \
          (CUgraphExec *, CUgraph, unsigned long long))                                                                \
        X(cuGraphGetNodes, cuGraphGetNodes, 10000, (CUgraph, CUgraphNode *, size_t *))                                 \
        X(cuGraphLaunch, cuGraphLaunch, 10000, (CUgraphExec, CUstream))                                                \
        X(cuGraphExecDestroy, cuGraphExecDestroy, 10000, (CUgraphExec))                                                \
        X(cuGraphDestroy, cuGraphDestroy, 10000, (CUgraph))                                                            \
        X(cuGraphCreate, cuGraphCreate, 10000, (CUgraph *, unsigned))                                                  \
        X(cuGraphAddKernelNode, cuGraphAddKernelNode_v2, 12000,                                                        \
          (CUgraphNode *, CUgraph, const CUgraphNode *, size_t, const CUDA_KERNEL_NODE_PARAMS *))                      \
        X(cuGraphAddMemcpyNode, cuGraphAddMemcpyNode, 10000,                                                           \
          (CUgraphNode *, CUgraph, const CUgraphNode *, size_t, const CUDA_MEMCPY3D *, CUcontext))                     \
        X(cuGraphAddMemsetNode, cuGraphAddMemsetNode, 10000,                                                           \
          (CUgraphNode *, CUgraph, const CUgraphNode *, size_t, const CUDA_MEMSET_NODE_PARAMS *, CUcontext))           \
        X(cuGraphAddMemAllocNode, cuGraphAddMemAllocNode, 11040,                                                       \
          (CUgraphNode *, CUgraph, const CUgraphNode *, size_t, CUDA_MEM_ALLOC_NODE_PARAMS *))                         \
        X(cuGraphAddMemFreeNode, cuGraphAddMemFreeNode, 11040,                                                         \
          (CUgraphNode *, CUgraph, const CUgraphNode *, size_t, CUdeviceptr))                                          \
        X(cuGraphAddNode, cuGraphAddNode_v2, 12030,                                                           \
          (CUgraphNode *, CUgraph, const CUgraphNode *, const CUgraphEdgeData *, size_t, CUgraphNodeParams *))         \
        X(cuGraphAddDependencies, cuGraphAddDependencies_v2, 12030,                                                    \
          (CUgraph, const CUgraphNode *, const CUgraphNode *, const CUgraphEdgeData *, size_t))                        \
        X(cuGraphRemoveDependencies, cuGraphRemoveDependencies_v2, 12030,                                              \
          (CUgraph, const CUgraphNode *, const CUgraphNode *, const CUgraphEdgeData *, size_t))                        \
        X(cuGraphGetEdges, cuGraphGetEdges_v2, 12030,                                                                  \
          (CUgraph, CUgraphNode *, CUgraphNode *, CUgraphEdgeData *, size_t *))                                        \
        X(cuGraphConditionalHandleCreate, cuGraphConditionalHandleCreate, 12030,                                       \
          (CUgraphConditionalHandle *, CUgraph, CUcontext, unsigned, unsigned))                                        \
        X(cuGraphInstantiateWithParams, cuGraphInstantiateWithParams, 12000,                                           \
          (CUgraphExec *, CUgraph, CUDA_GRAPH_INSTANTIATE_PARAMS *))                                                   \
        X(cuStreamBeginCaptureToGraph, cuStreamBeginCaptureToGraph, 12030,                                             \
          (CUstream, CUgraph, const CUgraphNode *, const CUgraphEdgeData *, size_t, int))                              \
        X(cuStreamUpdateCaptureDependencies, cuStreamUpdateCaptureDependencies_v2, 12030,                              \
          (CUstream, CUgraphNode *, const CUgraphEdgeData *, size_t, unsigned))                                        \
        X(cuGraphExecKernelNodeSetParams, cuGraphExecKernelNodeSetParams_v2, 12000,                                    \
          (CUgraphExec, CUgraphNode, const CUDA_KERNEL_NODE_PARAMS *))                                                 \
        X(cuGraphExecMemcpyNodeSetParams, cuGraphExecMemcpyNodeSetParams, 10020,                                       \
          (CUgraphExec, CUgraphNode, const CUDA_MEMCPY3D *, CUcontext))                                                \
        X(cuGraphExecUpdate, cuGraphExecUpdate_v2, 12000, (CUgraphExec, CUgraph, CUgraphExecUpdateResultInfo *))       \
        X(cuThreadExchangeStreamCaptureMode, cuThreadExchangeStreamCaptureMode, 10010, (int *))                        \
        X(cuCtxCreate, cuCtxCreate_v2, 3020, (CUcontext *, unsigned, CUdevice))                                        \
        X(cuCtxDestroy, cuCtxDestroy_v2, 4000, (CUcontext))                                                            \
        X(cuCtxAttach, cuCtxAttach, 2000, (CUcontext *, unsigned))                                                     \
        X(cuCtxDetach, cuCtxDetach, 2000, (CUcontext))                                                                 \
        X(cuMemHostGetFlags, cuMemHostGetFlags, 2030, (unsigned *, void *))                                            \
        X(cuArrayCreate, cuArrayCreate_v2, 3020, (CUarray *, const CUDA_ARRAY_DESCRIPTOR *))                           \
        X(cuArray3DCreate, cuArray3DCreate_v2, 3020, (CUarray *, const CUDA_ARRAY3D_DESCRIPTOR *))                     \
        X(cuArray3DGetDescriptor, cuArray3DGetDescriptor_v2, 3020, (CUDA_ARRAY3D_DESCRIPTOR *, CUarray))               \
        X(cuArrayDestroy, cuArrayDestroy, 2000, (CUarray))                                                             \
        X(cuMipmappedArrayCreate, cuMipmappedArrayCreate, 5000,                                                        \
          (CUmipmappedArray *, const CUDA_ARRAY3D_DESCRIPTOR *, unsigned))                                             \
        X(cuMipmappedArrayGetLevel, cuMipmappedArrayGetLevel, 5000, (CUarray *, CUmipmappedArray, unsigned))           \
        X(cuMipmappedArrayDestroy, cuMipmappedArrayDestroy, 5000, (CUmipmappedArray))                                  \
        X(cuMemcpyHtoA, cuMemcpyHtoA_v2, 3020, (CUarray, size_t, const void *, size_t))                                \
        X(cuMemcpyAtoH, cuMemcpyAtoH_v2, 3020, (void *, CUarray, size_t, size_t))                                      \
        X(cuMemcpy3D, cuMemcpy3D_v2, 3020, (const CUDA_MEMCPY3D *))                                                    \
        X(cuTexObjectCreate, cuTexObjectCreate, 5000,                                                                  \
          (unsigned long long *, const CUDA_RESOURCE_DESC *, const CUDA_TEXTURE_DESC *, const void *))                 \
        X(cuTexObjectDestroy, cuTexObjectDestroy, 5000, (unsigned long long))                                          \
        X(cuDeviceGetGraphMemAttribute, cuDeviceGetGraphMemAttribute, 11040, (CUdevice, int, void *))                  \
        X(cuDeviceGraphMemTrim, cuDeviceGraphMemTrim, 11040, (CUdevice))                                               \
        X(cuDeviceGetDevResource, cuDeviceGetDevResource, 12040, (CUdevice, CUdevResource *, int))                     \
        X(cuDevSmResourceSplitByCount, cuDevSmResourceSplitByCount, 12040,                                             \
          (CUdevResource *, unsigned *, const CUdevResource *, CUdevResource *, unsigned, unsigned))                   \
        X(cuDevResourceGenerateDesc, cuDevResourceGenerateDesc, 12040, (void **, const CUdevResource *, unsigned))     \
        X(cuGreenCtxCreate, cuGreenCtxCreate, 12040, (CUgreenCtx *, void *, CUdevice, unsigned))                       \
        X(cuGreenCtxDestroy, cuGreenCtxDestroy, 12040, (CUgreenCtx))                                                   \
        X(cuCtxFromGreenCtx, cuCtxFromGreenCtx, 12040, (CUcontext *, CUgreenCtx))                                      \
        X(cuGreenCtxStreamCreate, cuGreenCtxStreamCreate, 12050, (CUstream *, CUgreenCtx, unsigned, int))              \
        X(cuModuleLoadData, cuModuleLoadData, 2000, (CUmodule *, const void *))                                        \
        X(cuModuleUnload, cuModuleUnload, 2000, (CUmodule))                                                            \
        X(cuModuleGetFunction, cuModuleGetFunction, 2000, (CUfunction *, CUmodule, const char *))                      \
        X(cuLibraryLoadData, cuLibraryLoadData, 12000,                                                                 \
          (CUlibrary *, const void *, int *, void **, unsigned, int *, void **, unsigned))                             \
        X(cuLibraryUnload, cuLibraryUnload, 12000, (CUlibrary))                                                        \
        X(cuLibraryGetKernel, cuLibraryGetKernel, 12000, (CUkernel *, CUlibrary, const char *))                        \
        X(cuKernelGetFunction, cuKernelGetFunction, 12000, (CUfunction *, CUkernel))                                   \
        X(cuFuncGetAttribute, cuFuncGetAttribute, 2020, (int *, int, CUfunction))                                      \
        X(cuLaunchKernel, cuLaunchKernel, 4000,                                                                        \
          (CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void **,        \
           void **))                                                                                                   \
        X(cuLaunchKernelEx, cuLaunchKernelEx, 11060, (const CUlaunchConfig *, CUfunction, void **, void **))           \
        X(cuLaunchCooperativeKernel, cuLaunchCooperativeKernel, 9000,                                                  \
          (CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void **))       \
        X(cuGetErrorName, cuGetErrorName, 6000, (CUresult, const char **))

struct cu {
#define CU_FIELD(name, symbol, version, parameters) CUresult(*name) parameters;
        CU_FUNCTIONS(CU_FIELD)
#undef CU_FIELD
};

extern struct cu cu;

/* Finds all functions, or says what is missing and ends with status 4. argv: for BERTH_ROAD=link. */
void cu_open(char **argv);
/* The same out of the library at path, for calls that pass nobody's hooks. False, with a line on standard error. */
bool cu_open_path(const char *path, struct cu *to);

/* What every program begins with: device 0, or $CU_DEVICE, its primary context current, the kernels. Ends with status 2, or 3 when
 * there is no memory. */
struct cu_base {
        CUdevice device;
        CUcontext context;
        CUmodule module;
        CUfunction nop, fill, add, checksum, spin, step;
};
void cu_begin(struct cu_base *base);
/* The kernels' image, for a module in another context. */
const char *cu_image(void);
void cu_begin_on(struct cu_base *base, int ordinal); /* the same for another device */
/* The kernels alone, in the context that is current. */
void cu_load(struct cu_base *base);

/* A launch of one of the kernels above over words; argument is the third parameter. */
CUresult cu_words(CUfunction f, CUdeviceptr at, uint64_t words, uint32_t argument, CUstream s);
CUresult cu_checksum(CUfunction f, CUdeviceptr at, uint64_t words, CUdeviceptr out, CUstream s);
CUresult cu_spin(CUfunction f, uint64_t ns, CUstream s);

const char *cu_name(CUresult r);
/* Ends the program unless the call succeeds: status 3 for out of memory, 2 otherwise. */
#define CU(call)                                                                                                       \
        do {                                                                                                           \
                CUresult cu_result_ = (call);                                                                          \
                if (cu_result_ != CUDA_SUCCESS) {                                                                      \
                        fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cu_name(cu_result_));            \
                        exit(cu_result_ == CUDA_ERROR_OUT_OF_MEMORY ? 3 : 2);                                          \
                }                                                                                                      \
        } while (0)

double cu_seconds(void); /* monotonic */
/* Value of "--name value", or NULL; cu_flag: whether "--name" is there. cu_known ends with status 64 for an argument
 * that is neither. */
const char *cu_option(char **argv, const char *name);
bool cu_flag(char **argv, const char *name);
/* names: "--memory= --graph", with a = after those that take a value. */
void cu_known(char **argv, const char *names);
uint64_t cu_size(char **argv, const char *name, uint64_t fallback);
uint64_t cu_number(char **argv, const char *name, uint64_t fallback);

/* How long a program goes on, of what it is told the longest: --rounds N; --seconds S from cu_course_begin on; --until FILE, till that is
 * there; one round at least. fallback: rounds, when it is told nothing. */
struct cu_course {
        uint64_t rounds, seconds;
        const char *until;
        double end;
};
#define CU_COURSE "--rounds= --seconds= --until= "
void cu_course_begin(struct cu_course *course, char **argv, uint64_t fallback);
bool cu_course_goes_on(const struct cu_course *course, uint64_t round);
/* Words of memory that are not value. */
uint64_t cu_wrong(CUdeviceptr at, uint64_t bytes, uint32_t value, CUstream s);
