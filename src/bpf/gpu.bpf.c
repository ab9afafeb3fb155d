/* gpu.bpf.c: counts calls of the driver's library for each process: one program for all its functions, told apart by their cookie.
 *
 * Twice the same: one for uprobe-multi links, one for perf events. Two maps take turns, as in file.bpf.c.
 */
#include "maps.h"
#include "gpu-map.h"

char LICENSE[] SEC("license") = "GPL";

const volatile uint32_t only_uid = EVERYBODY;

ROWS_IN_TURNS(struct gpu_key, struct gpu_counts)

TOTALS_OF(struct gpu_totals)

static __always_inline uint64_t argument(volatile struct pt_regs *c, uint8_t which)
{
        /* Each at a fixed place: the verifier takes no other look at a context. */
        uint64_t second = c->si, third = c->dx, fourth = c->cx, fifth = c->r8;

        return which == 2 ? second : which == 3 ? third : which == 4 ? fourth : which == 5 ? fifth : 1;
}

static __always_inline int count(struct pt_regs *c)
{
        uint64_t cookie = bpf_get_attach_cookie(c), bytes = 0;
        uint8_t op = (uint8_t)cookie, first = (uint8_t)(cookie >> 8), second = (uint8_t)(cookie >> 16);
        struct task_struct *task = (struct task_struct *)bpf_get_current_task(), *leader = BPF_CORE_READ(task, group_leader);
        struct gpu_key key = {.start_ns = BPF_CORE_READ(leader, start_boottime), .pid = (uint32_t)(bpf_get_current_pid_tgid() >> 32), .op = op};
        struct gpu_totals *t = my_totals();
        uint32_t which = active;
        struct gpu_counts *counts;

        if (!t)
                return 0;
        t->hits++;
        t->launches += op == GPU_LAUNCH;
        if (only_uid != EVERYBODY && (uint32_t)bpf_get_current_uid_gid() != only_uid)
                return 0;
        if (first)
                bytes = argument(c, first) * argument(c, second);
        counts = find(&key, which);
        if (!counts)
                counts = enter(&key, which, leader, (uint32_t)bpf_get_current_uid_gid(), &t->full);
        if (!counts)
                return 0;
        __sync_fetch_and_add(&counts->calls, 1);
        if (bytes)
                __sync_fetch_and_add(&counts->bytes, bytes);
        return 0;
}

SEC("kprobe")
int call_multi(struct pt_regs *c)
{
        return count(c);
}

SEC("kprobe")
int call_single(struct pt_regs *c)
{
        return count(c);
}
