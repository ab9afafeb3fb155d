/* probes.c: what probes cost, by turns in one run: system calls without any, with two tracepoints that only count, and with ours; reading a map of a hundred thousand
 * entries; a probed function.
 *
 *   probes-bench [--rounds N]      needs root; one line of JSON a figure, and the kind of probe that was measured
 *
 * Each round measures each state once, as the least of short batches, in turns; of each state the medians over the rounds are told, as differences to the bare state of the same
 * round. The thread is pinned.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "bpf/file.h"
#include "bpf/gpu.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define MAX_ROUNDS 200
#define BATCHES 60
#define CALLS 200
#define ENTRIES 100000

/* In the order of a round; every other round goes the other way. */
enum state {
        BARE,
        TWO,            /* tracepoints on pread that count, as small as can be */
        FLOOR,          /* a tracepoint on a call that nobody makes: what all others pay for that */
        FLOOR_BOTH,     /* at its entry and at its exit */
        EMPTY,          /* a program on sys_exit that does nothing: what the kernel takes for asking one at each call */
        EXACT,          /* ours, as it is by default */
        WITHOUT_CLOSES,
        ON_SYS_EXIT,    /* ours on sys_exit, each call counted */
        SAMPLED,
        DETACHED,
        STATES
};

static const char *const names[STATES] = {"bare", "two_tracepoints", "floor", "floor_both", "empty_program", "file_probe", "without_closes", "on_sys_exit", "file_probe_sampled",
                                          "file_probe_detached"};

static struct {
        double hooked[MAX_ROUNDS], other[MAX_ROUNDS];
} took[STATES];

static int ascending(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

static double median(double *all, int n)
{
        qsort(all, (size_t)n, sizeof *all, ascending);
        return n ? all[n / 2] : 0;
}

/* --- two tracepoints that count, as small as can be --- */

static int counter_program(void)
{
        int map = bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "count", 4, 8, 1, NULL);
        const struct bpf_insn code[] = {
                {.code = BPF_ST | BPF_MEM | BPF_W, .dst_reg = BPF_REG_10, .off = -4, .imm = 0},
                {.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_2, .src_reg = BPF_REG_10},
                {.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = BPF_REG_2, .imm = -4},
                {.code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = BPF_REG_1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = map},
                {0},
                {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_map_lookup_elem},
                {.code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = BPF_REG_0, .off = 3, .imm = 0},
                {.code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_1, .src_reg = BPF_REG_0},
                {.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = BPF_REG_1, .imm = 1},
                {.code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_0, .src_reg = BPF_REG_1},
                {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0},
                {.code = BPF_JMP | BPF_EXIT},
        };

        return map < 0 ? map : bpf_prog_load(BPF_PROG_TYPE_TRACEPOINT, "count", "GPL", code, ARRAY_SIZE(code), NULL);
}

static int tracepoint(int program, const char *name)
{
        struct perf_event_attr attr = {.type = PERF_TYPE_TRACEPOINT, .size = sizeof attr, .sample_period = 1};
        char path[128];
        FILE *f;
        int fd;

        snprintf(path, sizeof path, "/sys/kernel/tracing/events/syscalls/%s/id", name);
        f = fopen(path, "re");
        if (!f || fscanf(f, "%llu", (unsigned long long *)&attr.config) != 1)
                return -1;
        fclose(f);
        fd = (int)syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
        if (fd < 0 || ioctl(fd, PERF_EVENT_IOC_SET_BPF, program) < 0 || ioctl(fd, PERF_EVENT_IOC_ENABLE, 0) < 0)
                return -1;
        return fd;
}

/* --- system calls --- */

static void measure(enum state state, int round, int file)
{
        double hooked = 1e18, other = 1e18;
        char byte;

        /* What disturbs a short batch only ever adds: the least of them is what it takes. */
        for (int batch = 0; batch < BATCHES; batch++) {
                uint64_t began = clock_now_ns(), middle, end;

                for (int i = 0; i < CALLS; i++)
                        if (pread(file, &byte, 1, 0) != 1)
                                exit(1);
                middle = clock_now_ns();
                for (int i = 0; i < CALLS; i++)
                        (void)syscall(SYS_getppid);
                end = clock_now_ns();
                if ((double)(middle - began) / CALLS < hooked)
                        hooked = (double)(middle - began) / CALLS;
                if ((double)(end - middle) / CALLS < other)
                        other = (double)(end - middle) / CALLS;
        }
        took[state].hooked[round] = hooked;
        took[state].other[round] = other;
}

/* Nothing at all where ours looks: what the kernel takes for being looked at. */
static int empty_program(void)
{
        const struct bpf_insn code[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0}, {.code = BPF_JMP | BPF_EXIT}};

        return bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "empty", "GPL", code, ARRAY_SIZE(code), NULL);
}

static struct files *open_files(struct probes_family *family, uint32_t rung, uint32_t one_in, uint32_t entries, bool without_closes)
{
        const struct file_options options = {.forced = rung, .one_in = one_in, .entries = entries, .uid = UINT32_MAX, .without_closes = without_closes};
        struct files *files;

        files_open(&options, family, &files);
        if (!files) {
                if (rung != PROBES_RUNG_NONE)
                        return NULL;
                fprintf(stderr, "no kind of probe loads here: %s\n", family->refused_count ? family->refused[family->refused_count - 1].text : "?");
                exit(1);
        }
        files_detach(files);
        return files;
}

/* Probes of others that hang on system calls or files already: then "bare" is not, and every difference is smaller than it is on a machine of one's own. */
static int probes_of_others(void)
{
        uint32_t id = 0;
        int found = 0;

        while (bpf_link_get_next_id(id, &id) == 0) {
                struct bpf_link_info info = {0};
                uint32_t size = sizeof info;
                scoped_fd int fd = bpf_link_get_fd_by_id(id);

                if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &size) == 0)
                        found += info.type == BPF_LINK_TYPE_RAW_TRACEPOINT || info.type == BPF_LINK_TYPE_TRACING || info.type == BPF_LINK_TYPE_PERF_EVENT;
        }
        return found;
}

struct bench {
        struct files *ours[STATES];
        int counts, empty; /* programs */
        int attached[2];
};

static void put_on(struct bench *b, enum state state)
{
        switch (state) {
        case TWO:
                b->attached[0] = tracepoint(b->counts, "sys_enter_pread64");
                b->attached[1] = tracepoint(b->counts, "sys_exit_pread64");
                break;
        case FLOOR_BOTH:
                b->attached[0] = tracepoint(b->counts, "sys_enter_sethostname");
                b->attached[1] = tracepoint(b->counts, "sys_exit_sethostname");
                break;
        case FLOOR:
                b->attached[1] = tracepoint(b->counts, "sys_exit_sethostname");
                break;
        case EMPTY:
                b->attached[1] = bpf_raw_tracepoint_open("sys_exit", b->empty);
                break;
        case BARE:
        case DETACHED:
        case STATES:
                return;
        case EXACT:
        case WITHOUT_CLOSES:
        case ON_SYS_EXIT:
        case SAMPLED:
        default:
                if (b->ours[state] && files_attach(b->ours[state]) < 0)
                        exit(1);
                return;
        }
        if (b->attached[1] < 0) {
                fputs("no tracepoints of system calls here\n", stderr);
                exit(1);
        }
}

static void take_off(struct bench *b, enum state state)
{
        fd_close_at(&b->attached[0]);
        fd_close_at(&b->attached[1]);
        if (b->ours[state])
                files_detach(b->ours[state]);
}

static void system_calls(int rounds)
{
        struct probes_family family = {0}, sampled = {0}, other = {0};
        struct bench b = {.counts = counter_program(), .empty = empty_program(), .attached = {-1, -1}};
        int file = memfd_create("bench", MFD_CLOEXEC), others = probes_of_others();

        if (b.counts < 0 || b.empty < 0 || file < 0 || write(file, "x", 1) != 1)
                exit(1);
        b.ours[EXACT] = open_files(&family, PROBES_RUNG_NONE, 1, 16384, false);
        b.ours[WITHOUT_CLOSES] = open_files(&other, PROBES_RUNG_NONE, 1, 16384, true);
        b.ours[ON_SYS_EXIT] = open_files(&other, PROBES_SYS_EXIT, 1, 16384, true);
        b.ours[SAMPLED] = open_files(&sampled, PROBES_RUNG_NONE, 8, 16384, true);
        for (int round = 0; round < rounds; round++)
                for (enum state i = BARE; i < STATES; i++) {
                        enum state state = round & 1 ? STATES - 1 - i : i;

                        put_on(&b, state);
                        measure(state, round, file);
                        take_off(&b, state);
                }
        printf("{\"figures\": {");
        for (enum state s = STATES; s-- > BARE;) {
                for (int i = 0; i < rounds && s != BARE; i++) {
                        took[s].hooked[i] -= took[BARE].hooked[i];
                        took[s].other[i] -= took[BARE].other[i];
                }
                if (s != ON_SYS_EXIT || b.ours[s])
                        printf("\"%s_hooked_ns\": %.1f, \"%s_unrelated_ns\": %.1f%s", names[s], median(took[s].hooked, rounds), names[s], median(took[s].other, rounds),
                               s == BARE ? "" : ", ");
                files_free(b.ours[s]);
        }
        printf("}, \"rung\": \"%s\", \"sampled_rung\": \"%s\", \"others\": %d, \"rounds\": %d}\n", probes_rung_name(family.rung),
               probes_rung_name(sampled.rung), others, rounds);
        fflush(stdout);
        close(b.empty);
        close(b.counts);
        close(file);
}

/* --- a large map --- */

/* Of this thread's own work: what others do on the machine meanwhile is not in it. */
static uint64_t thread_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

struct own_sum {
        uint64_t writes;
        uint32_t pid; /* asked for once: a system call for each row would be most of it */
};

static void sum_own(void *data, const struct file_key *key, const struct file_counts *counts, const struct file_user *user)
{
        struct own_sum *sum = data;

        if (key->pid == sum->pid)
                sum->writes += counts->writes;
        (void)user;
}

/* One byte into each of a hundred thousand files; what the first time makes is there the next time, so that nothing is left for the kernel to tidy up while we measure. */
static void write_all(int folder, bool last)
{
        char name[16];

        for (int i = 0; i < ENTRIES; i++) {
                scoped_fd int fd = -1;

                snprintf(name, sizeof name, "%d", i);
                fd = openat(folder, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
                if (fd < 0 || write(fd, "x", 1) != 1)
                        exit(1);
                if (last)
                        (void)unlinkat(folder, name, 0);
        }
}

static void large_map(int rounds)
{
        struct probes_family family = {0};
        struct files *files = open_files(&family, PROBES_RUNG_NONE, 1, 131072, true);
        char path[] = "/dev/shm/berth-bench-XXXXXX";
        double ms[MAX_ROUNDS], own_ms[MAX_ROUNDS];
        scoped_fd int folder = -1;

        if (mkdtemp(path))
                folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder < 0)
                exit(1);
        write_all(folder, false);
        for (int round = 0; round < rounds; round++) {
                struct own_sum sum = {.pid = (uint32_t)getpid()};
                uint64_t began;

                if (files_attach(files) < 0 || files_read(files, sum_own, &sum) < 0)
                        exit(1);
                write_all(folder, round == rounds - 1);
                files_detach(files);
                sum.writes = 0;
                began = thread_ns();
                if (files_read(files, sum_own, &sum) < 0 || sum.writes != ENTRIES) {
                        files_family(files, &family);
                        fprintf(stderr, "a hundred thousand entries did not come back: %llu; %llu found no room\n", (unsigned long long)sum.writes,
                                (unsigned long long)family.full);
                        exit(1);
                }
                own_ms[round] = (double)(thread_ns() - began) / 1e6;
                files_family(files, &family);
                ms[round] = (double)family.read_ns / 1e6;
        }
        (void)rmdir(path);
        printf("{\"figures\": {\"map_read_100k_ms\": %.2f, \"map_read_100k_own_ms\": %.2f}, \"entries\": %u, \"full\": %llu, \"rounds\": %d}\n", median(ms, rounds),
               median(own_ms, rounds), family.entries, (unsigned long long)family.full, rounds);
        fflush(stdout);
        files_free(files);
}

static void probed_function(int rounds)
{
        double cheap[MAX_ROUNDS];
        uint32_t rung = 0;

        for (int i = 0; i < rounds; i++) {
                const struct gpu_options options = {.period_ns = NS_PER_S, .uid = UINT32_MAX};
                struct probes_family family;
                struct gpu *gpu;

                gpu_open(&options, &family, &gpu);
                if (!gpu)
                        return;
                rung = family.rung;
                cheap[i] = (double)family.hooked_cost_ps / 1000;
                gpu_free(gpu);
        }
        printf("{\"figures\": {\"uprobe_ns\": %.1f}, \"rung\": \"%s\", \"rounds\": %d}\n", median(cheap, rounds), probes_rung_name(rung), rounds);
}

int main(int argc, char **argv)
{
        int rounds = argc > 2 && !strcmp(argv[1], "--rounds") ? atoi(argv[2]) : 40;
        cpu_set_t one;

        if (rounds < 1 || rounds > MAX_ROUNDS) {
                fputs("usage: probes-bench [--rounds 1…200]\n", stderr);
                return 2;
        }
        CPU_ZERO(&one);
        CPU_SET((size_t)sched_getcpu(), &one);
        (void)sched_setaffinity(0, sizeof one, &one);
        system_calls(rounds);
        large_map(rounds < 20 ? rounds : 20);
        probed_function(rounds < 10 ? rounds : 10);
        return 0;
}
