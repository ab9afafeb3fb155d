/* syscalls.bpf.c: how many system calls each process makes, of whatever kind.
 *
 * Each processor counts for the thread that runs there, which is two helpers and an add; when another thread calls, what it has gathered goes to the map of
 * processes. Maps and gathered counts take turns, as in file.bpf.c.
 */
#include "maps.h"
#include "latency-map.h"

char LICENSE[] SEC("license") = "GPL";

const volatile uint32_t only_uid = EVERYBODY;

ROWS_IN_TURNS(struct runner_key, struct syscall_counts)

struct {
        __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
        __uint(max_entries, 2);
        __type(key, uint32_t);
        __type(value, struct syscall_recent);
} recent SEC(".maps");

/* What the last thread did goes to its process, or is told as lost. */
static __always_inline void settle(struct syscall_recent *recent_here, uint32_t which)
{
        struct runner_key old = recent_here->key;
        struct syscall_counts *c = old.pid ? find(&old, which) : NULL;

        if (c)
                __sync_fetch_and_add(&c->calls, recent_here->calls);
        else if (old.pid || recent_here->no_room)
                recent_here->full += recent_here->calls;
}

/* Counting ends for the last thread, and begins for this one. */
static __always_inline void change(struct syscall_recent *recent_here, uint64_t thread, uint32_t which)
{
        struct task_struct *task = (struct task_struct *)bpf_get_current_task(), *leader = BPF_CORE_READ(task, group_leader);
        struct runner_key key = {.pid = (uint32_t)(thread >> 32)};
        uint32_t uid = (uint32_t)bpf_get_current_uid_gid();

        if (recent_here->calls)
                settle(recent_here, which);
        recent_here->calls = 0;
        recent_here->thread = thread;
        recent_here->key.pid = 0;
        recent_here->no_room = 0;
        if (only_uid != EVERYBODY && uid != only_uid)
                return;
        key.start_ns = BPF_CORE_READ(leader, start_boottime);
        if (find(&key, which) || enter(&key, which, leader, uid, &recent_here->no_room))
                recent_here->key = key;
}

static __always_inline int called(void)
{
        uint64_t thread = bpf_get_current_pid_tgid();
        uint32_t which = active;
        struct syscall_recent *r = bpf_map_lookup_elem(&recent, &which);

        if (!r)
                return 0;
        r->hits++;
        if (r->thread != thread)
                change(r, thread, which);
        r->calls++;
        return 0;
}

SEC("tp_btf/sys_enter")
int typed_enter(uint64_t *c)
{
        return called();
}

SEC("raw_tp/sys_enter")
int raw_enter(struct bpf_raw_tracepoint_args *c)
{
        return called();
}
