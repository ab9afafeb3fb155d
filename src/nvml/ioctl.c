/* ioctl.c: the one call of libc that the stand-in takes over, for the resource manager's lists of processes; see control.h.
 *
 * Every call goes to the ioctl below first, with what the caller gave; for all but control calls that costs a comparison. Of those the two
 * lists are filtered, in a run that `berth run` started, unless a wrapper of ours asked, which filters itself. The device is the one that the same
 * object names: asked with a call of our own, by the same descriptor.
 */
#include "nvml/ask.h"
#include "nvml/control.h"
#include "nvml/own.h"
#include "nvml/real.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef int (*ioctl_fn)(int fd, unsigned long request, ...);

static ioctl_fn below;

static int system_ioctl(int fd, unsigned long request, ...)
{
        va_list list;
        void *argument;

        va_start(list, request);
        argument = va_arg(list, void *);
        va_end(list);
        return (int)syscall(SYS_ioctl, fd, request, argument);
}

/* Before main, so that no handler of a signal is the first to look it up; earlier still only for who calls before our constructors ran. */
__attribute__((constructor)) static void find_below(void)
{
        ioctl_fn found = (ioctl_fn)dlsym(RTLD_NEXT, "ioctl");

        __atomic_store_n(&below, found ? found : system_ioctl, __ATOMIC_RELEASE);
}

static ioctl_fn get_below(void)
{
        ioctl_fn found = __atomic_load_n(&below, __ATOMIC_ACQUIRE);

        if (found)
                return found;
        find_below();
        return __atomic_load_n(&below, __ATOMIC_ACQUIRE);
}

static int device_of(int fd, const struct control_call *call, uint8_t uuid[16])
{
        struct control_gid gid = {.flags = CONTROL_GID_BINARY};
        struct control_call asked = {.client = call->client,
                                     .object = call->object,
                                     .command = CONTROL_GET_GID_INFO,
                                     .params = (uintptr_t)&gid,
                                     .params_size = sizeof gid};

        if (get_below()(fd, CONTROL_REQUEST, &asked) != 0 || asked.status || gid.length != 16)
                return -EINVAL;
        memcpy(uuid, gid.data, 16);
        return 0;
}

/* Kept apart: it has large objects on its stack, which the common way does without. */
static __attribute__((noinline)) void answer(int fd, const struct control_call *given)
{
        struct control_call call;
        struct ask_view view;
        uint8_t uuid[16];
        int saved = errno;
        bool known;

        memcpy(&call, given, sizeof call);
        if (real_inside || !control_entries(&call, (const void *)(uintptr_t)call.params) || !secure_getenv("BERTH_RUN") || real_disabled())
                return;
        ask_start();
        known = device_of(fd, &call, uuid) == 0 && ask_view(uuid, &view) == 0;
        control_filter(&call, (void *)(uintptr_t)call.params, known ? &view : NULL, own_process);
        errno = saved;
}

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...);
__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...)
{
        va_list list;
        void *argument;
        int r;

        va_start(list, request);
        argument = va_arg(list, void *);
        va_end(list);
        r = get_below()(fd, request, argument);
        if (__builtin_expect((uint32_t)request == CONTROL_REQUEST, 0) && r == 0 && argument)
                answer(fd, argument);
        return r;
}
