/* inside.c: the last step before a stranger's program: fewer rights, fewer system calls, limits of its own; see task.h. Each step fails closed. */
#include "worker/task/task.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define OUR_ARCHITECTURE AUDIT_ARCH_X86_64
#define X32_BIT 0x40000000U
#elif defined(__aarch64__)
#define OUR_ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

#ifndef SYS_clone3
#define SYS_clone3 435
#endif

#define ARGUMENT(n) ((uint32_t)(offsetof(struct seccomp_data, args) + 8 * (n)))

/* They reach into other processes, into the kernel, or into mounts and keys that are not the task's. */
static const int refused[] = {
        SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_kexec_load, SYS_bpf, SYS_perf_event_open, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot,
        SYS_setns, SYS_unshare, SYS_keyctl, SYS_add_key, SYS_request_key, SYS_userfaultfd, SYS_init_module, SYS_finit_module, SYS_delete_module,
        SYS_open_by_handle_at, SYS_name_to_handle_at, SYS_swapon, SYS_swapoff, SYS_reboot, SYS_quotactl, SYS_acct, SYS_settimeofday, SYS_clock_settime,
        SYS_sethostname, SYS_setdomainname, SYS_vhangup, SYS_syslog, SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, SYS_fanotify_init,
        SYS_move_pages, SYS_kcmp, SYS_open_tree, SYS_move_mount, SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_fspick,
};

int inside_filter(bool no_internet)
{
#ifndef OUR_ARCHITECTURE
        return -ENOTSUP;
#else
        struct sock_filter code[2 * ARRAY_SIZE(refused) + 64];
        struct sock_fprog program = {.filter = code};
        size_t n = 0;

#define PUT(...) code[n++] = (struct sock_filter)__VA_ARGS__
        PUT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)));
        PUT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCHITECTURE, 1, 0));
        PUT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
        PUT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
#ifdef X32_BIT
        PUT(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1));
        PUT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS));
#endif
        for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
                PUT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)refused[i], 0, 1));
                PUT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
        }
        /* clone3 hides its flags behind a pointer; libc goes back to clone, whose flags can be looked at. */
        PUT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1));
        PUT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS));
        PUT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3));
        PUT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARGUMENT(0)));
        PUT(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP, 0, 1));
        PUT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
        PUT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
        /* Typing into the terminal of whoever started the worker. */
        PUT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 4));
        PUT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARGUMENT(1)));
        PUT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TIOCSTI, 1, 0));
        PUT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TIOCLINUX, 0, 1));
        PUT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
        PUT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
        /* Kernel interfaces by socket: few tasks need any but Unix and internet sockets. */
        PUT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 7));
        PUT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARGUMENT(0)));
        PUT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 5, 0));
        PUT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, no_internet ? 3 : 4, 0));
        PUT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET, no_internet ? 2 : 3, 0));
        PUT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, no_internet ? 1 : 2, 0));
        PUT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT));
        PUT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES));
        PUT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
#undef PUT
        program.len = (unsigned short)n;
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
                return -errno;
        return 0;
#endif
}

/* Never above what it is already. 0 or a missing member: left alone. */
static int limit(int which, const json_t *limits, const char *name)
{
        const json_t *v = json_object_get(limits, name);
        struct rlimit r;

        if (!json_is_integer(v) || json_integer_value(v) <= 0)
                return 0;
        if (getrlimit(which, &r) < 0)
                return -errno;
        if ((rlim_t)json_integer_value(v) < r.rlim_max)
                r.rlim_max = (rlim_t)json_integer_value(v);
        r.rlim_cur = r.rlim_max;
        return setrlimit(which, &r) < 0 ? -errno : 0;
}

int inside_lower(const json_t *orders, const char **ret_step)
{
        const json_t *limits = json_object_get(orders, "limits");
        const json_t *uid = json_object_get(orders, "uid"), *gid = json_object_get(orders, "gid");
        const char *folder = json_string_value(json_object_get(orders, "folder"));
        const struct rlimit none = {0, 0};
        int r, fd;

        /* The kernel, short of memory, takes tasks before it takes the worker. A worse case than before is all that is lost when this fails. */
        fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
        if (fd >= 0) {
                r = (int)write(fd, "600", 3);
                close(fd);
        }
        *ret_step = "limits";
        r = limit(RLIMIT_FSIZE, limits, "file_bytes");
#ifndef __SANITIZE_ADDRESS__ /* its own memory is many times that */
        r = r < 0 ? r : limit(RLIMIT_DATA, limits, "data_bytes");
#endif
        r = r < 0 ? r : limit(RLIMIT_CPU, limits, "cpu_s");
        r = r < 0 ? r : limit(RLIMIT_NOFILE, limits, "files");
        r = r < 0 ? r : limit(RLIMIT_NPROC, limits, "processes");
        if (r >= 0 && (setrlimit(RLIMIT_CORE, &none) < 0 || setrlimit(RLIMIT_MSGQUEUE, &none) < 0))
                r = -errno;
        if (r < 0)
                return r;
        *ret_step = "user";
        if (json_is_integer(uid)) {
                uid_t u = (uid_t)json_integer_value(uid);
                gid_t g = (gid_t)json_integer_value(gid);

                if (!u || !g)
                        return -EINVAL;
                if (setgroups(0, NULL) < 0 || setresgid(g, g, g) < 0 || setresuid(u, u, u) < 0)
                        return -errno;
                if (setuid(0) == 0)
                        return -EPERM;
                umask(007); /* tasks of all slots share a group */
        }
        /* As its user: a folder that is the task's alone may be closed to everybody else, root without rights included. */
        *ret_step = "work folder";
        if (folder && chdir(folder) < 0)
                return -errno;
        *ret_step = "no new privileges";
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        *ret_step = "system call filter";
        r = json_is_true(json_object_get(orders, "filter")) ? inside_filter(json_is_true(json_object_get(orders, "no_internet"))) : 0;
        return r;
}
