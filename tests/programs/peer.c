/* peer.c: kernels of one device work on memory of another, before and after that memory has moved.
 *
 * Memory is allocated on the first device, half of it before the second device is given access and half of it after. In every round
 * kernels of both devices change all of it, in turn. At the end all words are compared. One line of JSON; status 0: all right, 77: there are no two
 * devices that reach each other.
 */
#include "cu.h"

#include <string.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define PIECES 8

int main(int argc, char **argv)
{
        CUdeviceptr at[PIECES];
        uint64_t bytes, rounds = 0, wrong = 0;
        struct cu_base base;
        CUcontext second;
        CUmodule module;
        CUdevice device;
        CUfunction step;
        uint32_t value = 5;
        int can = 0;
        struct cu_course course;

        (void)argc;
        cu_known(argv, "--memory= " CU_COURSE);
        bytes = cu_size(argv, "--memory", 64 * MIB) / PIECES / MIB * MIB;
        cu_open(argv);
        cu_begin(&base);
        if (cu.cuDeviceGet(&device, 1) != CUDA_SUCCESS || cu.cuDeviceCanAccessPeer(&can, device, base.device) != CUDA_SUCCESS || !can) {
                printf("{\"name\":\"peer\",\"ok\":true,\"skipped\":true}\n");
                return 77;
        }
        CU(cu.cuDevicePrimaryCtxRetain(&second, device));
        CU(cu.cuCtxPushCurrent(second));
        CU(cu.cuModuleLoadData(&module, cu_image()));
        CU(cu.cuModuleGetFunction(&step, module, "berth_step"));
        CU(cu.cuCtxPopCurrent(&second));
        for (int i = 0; i < PIECES; i++) {
                if (i == PIECES / 2) {
                        CU(cu.cuCtxPushCurrent(second));
                        CU(cu.cuCtxEnablePeerAccess(base.context, 0));
                        CU(cu.cuCtxPopCurrent(&second));
                }
                CU(cu.cuMemAlloc(&at[i], bytes));
                CU(cu_words(base.fill, at[i], bytes / 4, value, NULL));
        }
        CU(cu.cuCtxSynchronize());
        for (cu_course_begin(&course, argv, 20); cu_course_goes_on(&course, rounds); rounds++) {
                for (int i = 0; i < PIECES; i++)
                        CU(cu_words(base.step, at[i], bytes / 4, 3, NULL));
                CU(cu.cuCtxSynchronize());
                value = value * 1664525U + 1013904223U + 3;
                CU(cu.cuCtxPushCurrent(second));
                for (int i = 0; i < PIECES; i++)
                        CU(cu_words(step, at[i], bytes / 4, 4, NULL));
                CU(cu.cuCtxSynchronize());
                CU(cu.cuCtxPopCurrent(&second));
                value = value * 1664525U + 1013904223U + 4;
        }
        for (int i = 0; i < PIECES; i++)
                wrong += cu_wrong(at[i], bytes, value, NULL);
        CU(cu.cuCtxPushCurrent(second));
        CU(cu.cuCtxDisablePeerAccess(base.context));
        CU(cu.cuCtxPopCurrent(&second));
        printf("{\"name\":\"peer\",\"pid\":%d,\"ok\":%s,\"rounds\":%llu,\"wrong_words\":%llu}\n", (int)getpid(), wrong ? "false" : "true",
               (unsigned long long)rounds, (unsigned long long)wrong);
        return wrong ? 1 : 0;
}
