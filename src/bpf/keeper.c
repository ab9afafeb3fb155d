/* keeper.c: waits for two words, start and end; see keeper.h. */
#include "bpf/keeper.h"

#include "bpf/child.h"

#include "base/fd.h"
#include "base/privilege.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* One that was killed is given so long to end before its successor is refused: a call of the kernel's that no signal interrupts. */
#define GONE_MS 1000

enum word { KEEPER_START = 0x42504b53, KEEPER_END };

extern char **environ;

struct keeper {
        char program[PATH_MAX];
        int socket;
        pid_t pid; /* 0: none */
        int pidfd;
};

/* Debian's kernels know a 3 that others do not, and it is what they start with: then CAP_PERFMON is not enough for tracepoints, kprobes and uprobes. */
static bool perf_is_for_administrators(void)
{
        FILE *f = fopen("/proc/sys/kernel/perf_event_paranoid", "re");
        int level = 0;

        if (!f)
                return false;
        if (fscanf(f, "%d", &level) != 1)
                level = 0;
        fclose(f);
        return level > 2;
}

uint64_t keeper_capabilities(void)
{
        return UINT64_C(1) << CAP_BPF | UINT64_C(1) << CAP_PERFMON | UINT64_C(1) << CAP_SYS_PTRACE | UINT64_C(1) << CAP_DAC_READ_SEARCH |
               (perf_is_for_administrators() ? UINT64_C(1) << CAP_SYS_ADMIN : 0);
}

/* --- the daemon's side --- */

static int say(int keeper, uint32_t word, int fd)
{
        return keeper < 0 ? -EPIPE : fd_send(keeper, &word, sizeof word, fd, MSG_DONTWAIT);
}

int keeper_spawn(int keeper, int theirs)
{
        return say(keeper, KEEPER_START, theirs);
}

int keeper_end(int keeper)
{
        return say(keeper, KEEPER_END, -1);
}

/* --- the process --- */

/* Whether none is left, after at most so long. */
static bool gone(struct keeper *k, int patience_ms)
{
        struct pollfd p = {.fd = k->pidfd, .events = POLLIN};

        if (!k->pid)
                return true;
        if (k->pidfd >= 0 && poll(&p, 1, patience_ms) <= 0)
                return false;
        if (waitpid(k->pid, NULL, WNOHANG) == 0)
                return false;
        k->pid = 0;
        fd_close_at(&k->pidfd);
        return true;
}

static bool end(struct keeper *k, int patience_ms)
{
        if (k->pid)
                kill(k->pid, SIGKILL); /* ours and not reaped: the number is no other's */
        return gone(k, patience_ms);
}

static void start(struct keeper *k, int theirs)
{
        char name[] = "berthd: probes";
        char *argv[] = {name, NULL};
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        sigset_t usual;

        if (!end(k, GONE_MS) || posix_spawn_file_actions_init(&actions) != 0)
                return;
        if (posix_spawnattr_init(&attributes) == 0) {
                sigemptyset(&usual);
                sigaddset(&usual, SIGTERM);
                sigaddset(&usual, SIGPIPE);
                if (posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF) != 0 || posix_spawnattr_setsigdefault(&attributes, &usual) != 0 ||
                    posix_spawn_file_actions_adddup2(&actions, theirs, PROBES_CHILD_FD) != 0 ||
                    posix_spawn_file_actions_addclosefrom_np(&actions, PROBES_CHILD_FD + 1) != 0 ||
                    posix_spawn(&k->pid, k->program, &actions, &attributes, argv, environ) != 0)
                        k->pid = 0;
                posix_spawnattr_destroy(&attributes);
        }
        posix_spawn_file_actions_destroy(&actions);
        if (k->pid)
                k->pidfd = (int)syscall(SYS_pidfd_open, k->pid, 0);
}

/* Until the daemon has gone. */
static void serve(struct keeper *k)
{
        for (;;) {
                struct pollfd p[2] = {{.fd = k->socket, .events = POLLIN}, {.fd = k->pidfd, .events = POLLIN}};
                scoped_fd int fd = -1;
                uint32_t word = 0;
                ssize_t n;

                if (poll(p, 2, -1) < 0 && errno != EINTR)
                        return;
                (void)gone(k, 0);
                n = fd_receive(k->socket, &word, sizeof word, MSG_DONTWAIT, &fd);
                if (n == -EAGAIN || n == -EINTR)
                        continue;
                if (n != (ssize_t)sizeof word)
                        return;
                if (word == KEEPER_START && fd >= 0)
                        start(k, fd);
                else if (word == KEEPER_END)
                        (void)end(k, 0);
        }
}

static _Noreturn void keep(struct keeper *k, pid_t daemon)
{
        prctl(PR_SET_NAME, "berthd: keeper");
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* A terminal signals the whole group; this process ends with the daemon and not before it. */
        signal(SIGINT, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        signal(SIGTERM, SIG_IGN);
        signal(SIGPIPE, SIG_IGN);
        /* The daemon may have ended before the second line took effect. */
        if (getppid() == daemon && privilege_keep(keeper_capabilities(), true) == 0)
                serve(k);
        (void)end(k, 0);
        _exit(EXIT_SUCCESS);
}

/* Beside the daemon as it is installed, or as it is built. */
static int find_program(char path[PATH_MAX])
{
        static const char *const places[] = {"../libexec/berth/berth-probes", "../bpf/berth-probes"};
        char self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        char *slash;

        if (n <= 0)
                return -ENOENT;
        self[n] = 0;
        slash = strrchr(self, '/');
        if (!slash)
                return -ENOENT;
        *slash = 0;
        for (size_t i = 0; i < ARRAY_SIZE(places); i++)
                if (snprintf(path, PATH_MAX, "%s/%s", self, places[i]) < PATH_MAX && access(path, X_OK) == 0)
                        return 0;
        return -ENOENT;
}

int keeper_start(const char *program, int *ret_fd)
{
        struct keeper k = {.pidfd = -1};
        scoped_fd int ours = -1;
        scoped_fd int theirs = -1;
        pid_t daemon = getpid(), pid;
        int pair[2], r = 0;

        if (program && (size_t)snprintf(k.program, sizeof k.program, "%s", program) >= sizeof k.program)
                r = -ENAMETOOLONG;
        else if (!program)
                r = find_program(k.program);
        if (r < 0)
                return r;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        ours = pair[0];
        theirs = pair[1];
        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                fd_close_at(&ours);
                k.socket = theirs;
                keep(&k, daemon);
        }
        *ret_fd = take_fd(ours);
        return 0;
}
