/* latency.c: what timing waits and counting calls costs, by turns in one run: a switch from one thread to another with the waking of it, a request to a block device, and a system
 * call; without any probe, with ours of both kinds, and with others' programs where they are installed.
 *
 *   latency-bench [--rounds N] [--peers]      needs root; one line of JSON a part
 *
 * Each round measures each state once, as the least of short batches, in turns; of each state the medians over the rounds are told, as differences to the bare state of the
 * same round. The threads that wake each other are pinned to one processor. The device is a loop device on memory; where there is none that part is left out, and says so.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "bpf/block.h"
#include "bpf/runqueue.h"
#include "bpf/syscalls.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/loop.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_ROUNDS 200
#define PEER_EVERY 4

enum state { BARE, TYPED, RAW, EMPTY, PEER, STATES };

static double took[STATES][MAX_ROUNDS];

static int ascending(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

/* Of the rounds in which the state was measured, over the bare state of the same round. Negative for STATES that never were: -1. */
static double added(enum state state, int rounds)
{
        double all[MAX_ROUNDS];
        size_t n = 0;

        for (int i = 0; i < rounds; i++)
                if (took[state][i] > 0)
                        all[n++] = took[state][i] - (state == BARE ? 0 : took[BARE][i]);
        if (!n)
                return -1;
        qsort(all, n, sizeof *all, ascending);
        return all[n / 2];
}

/* --- what is measured --- */

static double least(int batches, int calls, bool (*call)(void))
{
        double best = 0;

        for (int batch = 0; batch < batches; batch++) {
                uint64_t began = clock_now_ns();
                double each;

                for (int i = 0; i < calls; i++)
                        if (!call())
                                return 0;
                each = (double)(clock_now_ns() - began) / calls;
                if (best == 0 || each < best)
                        best = each;
        }
        return best;
}

static int there[2], back[2], device = -1;

/* There and back: two wakings, two switches. */
static bool ping(void)
{
        char byte = 0;

        return write(there[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1;
}

static double switches(void)
{
        return least(60, 100, ping) / 2;
}

static bool read_block(void)
{
        static _Alignas(4096) char buffer[4096];

        return pread(device, buffer, sizeof buffer, 0) == sizeof buffer;
}

static double requests(void)
{
        return least(60, 50, read_block);
}

static bool get_parent(void)
{
        return syscall(SYS_getppid) >= 0;
}

static double calls(void)
{
        return least(60, 200, get_parent);
}

static pid_t partner(void)
{
        pid_t pid;

        if (pipe2(there, O_CLOEXEC) < 0 || pipe2(back, O_CLOEXEC) < 0)
                exit(1);
        pid = fork();
        if (pid < 0)
                exit(1);
        if (pid == 0) {
                char byte;

                prctl(PR_SET_PDEATHSIG, SIGKILL);
                while (read(there[0], &byte, 1) == 1)
                        if (write(back[1], &byte, 1) != 1)
                                break;
                _exit(0);
        }
        return pid;
}

/* A loop device on a megabyte of memory, free again when both descriptors are closed. */
static int loop_device(void)
{
        scoped_fd int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
        scoped_fd int memory = memfd_create("latency-bench", MFD_CLOEXEC);
        struct loop_config config = {.fd = (uint32_t)memory, .info = {.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_READ_ONLY}};
        char path[32];
        int number, fd;

        if (control < 0 || memory < 0 || ftruncate(memory, 1 << 20) < 0)
                return -1;
        number = ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0)
                return -1;
        snprintf(path, sizeof path, "/dev/loop%d", number);
        fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
        if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) < 0) {
                close(fd);
                return -1;
        }
        return fd;
}

/* --- with what --- */

static void with_ours(const char *part, uint32_t rung, double (*measure)(void), double *ret)
{
        struct probes_family f = {0};
        struct block *block = NULL;
        struct sched *sched = NULL;
        struct syscalls *syscalls = NULL;

        if (!strcmp(part, "block"))
                block_open(rung, 0, &f, &block);
        else if (!strcmp(part, "switch"))
                sched_open(rung, 0, UINT32_MAX, &f, &sched);
        else
                syscalls_open(rung, 0, UINT32_MAX, &f, &syscalls);
        if (f.state == PROBES_ATTACHED)
                *ret = measure();
        block_free(block);
        sched_free(sched);
        syscalls_free(syscalls);
}

/* Nothing at all at the same place: what the kernel takes for being looked at. */
static void with_empty(const char *point, double (*measure)(void), double *ret)
{
        const struct bpf_insn code[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0}, {.code = BPF_JMP | BPF_EXIT}};
        scoped_fd int program = bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "empty", "GPL", code, ARRAY_SIZE(code), NULL);
        scoped_fd int link = program < 0 ? -1 : bpf_raw_tracepoint_open(point, program);

        if (link >= 0)
                *ret = measure();
}

/* Another's program, from when it says that it traces. */
static void with_peer(const char *command, double (*measure)(void), double *ret)
{
        char text[512] = "";
        size_t at = 0;
        int out[2];
        pid_t pid;

        if (!command || pipe2(out, O_CLOEXEC) < 0)
                return;
        pid = fork();
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                dup2(out[1], STDOUT_FILENO);
                execl("/bin/sh", "sh", "-c", command, NULL);
                _exit(127);
        }
        close(out[1]);
        while (pid > 0 && at < sizeof text - 1 && !strstr(text, "Tracing")) {
                ssize_t n = read(out[0], text + at, sizeof text - 1 - at);

                if (n <= 0)
                        break;
                at += (size_t)n;
        }
        if (strstr(text, "Tracing"))
                *ret = measure();
        close(out[0]);
        if (pid > 0) {
                kill(pid, SIGKILL);
                waitpid(pid, NULL, 0);
        }
}

static void part(const char *name, double (*measure)(void), const char *point, const char *peer, int rounds)
{
        memset(took, 0, sizeof took);
        for (int i = 0; i < rounds; i++) {
                took[BARE][i] = measure();
                with_ours(name, PROBES_TP_BTF, measure, &took[TYPED][i]);
                with_empty(point, measure, &took[EMPTY][i]);
                with_ours(name, PROBES_RAW_TP, measure, &took[RAW][i]);
                if (i % PEER_EVERY == 0)
                        with_peer(peer, measure, &took[PEER][i]);
        }
        printf("{\"part\": \"%s\", \"bare_ns\": %.1f, \"tp_btf_ns\": %.1f, \"raw_tp_ns\": %.1f, \"empty_ns\": %.1f, \"peer_ns\": %.1f, \"rounds\": %d}\n", name, added(BARE, rounds),
               added(TYPED, rounds), added(RAW, rounds), added(EMPTY, rounds), added(PEER, rounds), rounds);
        fflush(stdout);
}

int main(int argc, char **argv)
{
        bool peers = false;
        int rounds = 20;
        cpu_set_t one;
        pid_t other;

        for (int i = 1; i < argc; i++) {
                if (!strcmp(argv[i], "--peers"))
                        peers = true;
                else if (!strcmp(argv[i], "--rounds") && i + 1 < argc)
                        rounds = atoi(argv[++i]);
                else
                        rounds = 0;
        }
        if (rounds < 1 || rounds > MAX_ROUNDS) {
                fputs("usage: latency-bench [--rounds 1…200] [--peers]\n", stderr);
                return 2;
        }
        device = loop_device();
        if (device >= 0)
                part("block", requests, "block_rq_issue", peers ? "exec stdbuf -oL biolatency 3600" : NULL, rounds);
        else
                puts("{\"part\": \"block\", \"unavailable\": \"no loop device\"}");
        CPU_ZERO(&one);
        CPU_SET((size_t)sched_getcpu(), &one);
        (void)sched_setaffinity(0, sizeof one, &one);
        other = partner();
        part("switch", switches, "sched_switch", peers ? "exec stdbuf -oL runqlat 3600" : NULL, rounds);
        kill(other, SIGKILL);
        waitpid(other, NULL, 0);
        part("syscalls", calls, "sys_enter", NULL, rounds);
        return 0;
}
