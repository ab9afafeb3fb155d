/* privilege.c: capabilities by the kernel's own calls: a library for four of them would be one more to trust; see privilege.h. */
#include "base/privilege.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

struct sets {
        struct __user_cap_header_struct head;
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
};

static int get(struct sets *s)
{
        *s = (struct sets){.head = {.version = _LINUX_CAPABILITY_VERSION_3}};
        return syscall(SYS_capget, &s->head, s->data) < 0 ? -errno : 0;
}

uint64_t privilege_have(void)
{
        struct sets s;

        return get(&s) < 0 ? 0 : s.data[0].permitted | (uint64_t)s.data[1].permitted << 32;
}

int privilege_keep(uint64_t keep, bool hand_on)
{
        struct sets s;
        int r = get(&s);

        if (r < 0)
                return r;
        for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
                s.data[i].permitted &= (uint32_t)(keep >> (32 * i));
                s.data[i].effective = s.data[i].permitted;
                s.data[i].inheritable = hand_on ? s.data[i].permitted : 0;
        }
        /* First: from then on nothing that is started gets more than there is. */
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
            syscall(SYS_capset, &s.head, s.data) < 0)
                return -errno;
        for (unsigned int c = 0; hand_on && c < 64; c++)
                if ((s.data[c / 32].permitted >> c % 32 & 1) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0) < 0)
                        return -errno;
        return 0;
}
