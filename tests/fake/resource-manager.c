/* resource-manager.c: libresource-manager.so, for tests: preloaded behind the stand-in for NVML, it answers the control calls by which NVIDIA's libraries list
 * processes, for the software device and on any descriptor; all other calls of ioctl go to the system.
 *
 * The object is 0x100 and the device's number. Processes have objects of one class, computing on Hopper, as a program of PyTorch has there.
 */
#include "nvml/abi/control.h"
#include "store.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))

enum { OBJECTS = 0x100, HOPPER_COMPUTE = 0xcbc0, INVALID_ARGUMENT = 0x1f, NOT_FOUND = 0x57 };

static void get_pids(int device, struct control_pids *p)
{
        struct store_process list[CONTROL_PIDS];
        unsigned n = p->id == HOPPER_COMPUTE ? store_processes(device, list, CONTROL_PIDS) : 0;

        p->count = n < CONTROL_PIDS ? n : CONTROL_PIDS;
        for (unsigned i = 0; i < p->count; i++)
                p->pids[i] = list[i].pid;
}

static void get_infos(int device, struct control_infos *p)
{
        struct store_process list[CONTROL_PIDS];
        unsigned n = store_processes(device, list, CONTROL_PIDS);

        for (unsigned i = 0; i < p->count && i < CONTROL_INFOS; i++) {
                struct control_info *info = &p->infos[i];

                info->result = NOT_FOUND;
                info->compute_instance = info->gpu_instance = CONTROL_NO_INSTANCE;
                for (unsigned j = 0; j < n && j < CONTROL_PIDS; j++)
                        if (list[j].pid == info->pid) {
                                info->shared_owned = list[j].bytes;
                                info->result = 0;
                        }
        }
}

static void control(struct control_call *call)
{
        void *params = (void *)(uintptr_t)call->params;
        int device = (int)call->object - OBJECTS;

        call->status = INVALID_ARGUMENT;
        if (store_open() < 0 || device < 0 || device >= (int)store()->devices || !params)
                return;
        call->status = 0;
        if (call->command == CONTROL_GET_PIDS && call->params_size == sizeof(struct control_pids)) {
                get_pids(device, params);
        } else if (call->command == CONTROL_GET_PID_INFO && call->params_size == sizeof(struct control_infos)) {
                get_infos(device, params);
        } else if (call->command == CONTROL_GET_GID_INFO && call->params_size == sizeof(struct control_gid)) {
                struct control_gid *gid = params;

                store_uuid(device, gid->data, NULL);
                gid->length = 16;
        } else {
                call->status = INVALID_ARGUMENT;
        }
}

API int ioctl(int fd, unsigned long request, ...)
{
        int saved = errno;
        va_list list;
        void *argument;

        va_start(list, request);
        argument = va_arg(list, void *);
        va_end(list);
        if ((uint32_t)request != CONTROL_REQUEST)
                return (int)syscall(SYS_ioctl, fd, request, argument);
        control(argument);
        errno = saved; /* the driver has no other errno to leave */
        return 0;
}
