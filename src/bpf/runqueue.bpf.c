/* runqueue.bpf.c: how long threads that could run wait for a processor: from being woken, or taken off one, until they run.
 *
 * Where a thread stands is found by its number, without a search: waking stores the time there, the switch takes it. Sums of the machine are kept for each processor;
 * of processes in two maps that take turns, as in file.bpf.c. Twice the same: typed, and with a probe read for each field.
 */
#include "maps.h"
#include "latency-map.h"

char LICENSE[] SEC("license") = "GPL";

const volatile uint32_t only_uid = EVERYBODY;

ROWS_IN_TURNS(struct runner_key, struct sched_counts)

struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, SCHED_PLACES);
        __type(key, uint32_t);
        __type(value, struct sched_place);
} places SEC(".maps");

TOTALS_OF(struct sched_totals)

static __always_inline struct sched_place *place_of(uint32_t thread)
{
        uint32_t at = thread % SCHED_PLACES;

        return bpf_map_lookup_elem(&places, &at);
}

static __always_inline int woken(bool typed, struct task_struct *task)
{
        uint64_t now = bpf_ktime_get_ns();
        uint32_t thread = (uint32_t)LOAD(typed, task, pid);
        struct sched_totals *t = my_totals();
        struct sched_place *place = place_of(thread);

        if (!t || !place)
                return 0;
        t->probe.hits++;
        /* One that has waited for longer, because it was taken off while it was about to sleep, goes on waiting. */
        if (place->thread != thread || !place->since_ns) {
                t->lost += place->since_ns != 0;
                place->thread = thread;
                place->since_ns = now;
        }
        account(&t->probe, now);
        return 0;
}

static __always_inline void add_process(bool typed, struct sched_totals *t, struct task_struct *task, uint64_t waited)
{
        struct task_struct *leader = LOAD(typed, task, group_leader);
        struct runner_key key = {.start_ns = LOAD(typed, leader, start_boottime), .pid = (uint32_t)LOAD(typed, task, tgid)};
        uint32_t which = active;
        struct sched_counts *c;

        if (only_uid != EVERYBODY && BPF_CORE_READ(task, cred, uid.val) != only_uid)
                return;
        c = find(&key, which);
        if (!c)
                c = enter(&key, which, leader, BPF_CORE_READ(task, cred, uid.val), &t->probe.full);
        if (!c)
                return;
        __sync_fetch_and_add(&c->times, 1);
        __sync_fetch_and_add(&c->sum_ns, waited);
        /* Two processors at a time may overwrite each other's: then it is the longest but one. */
        if (waited > c->longest_ns)
                c->longest_ns = waited;
}

static __always_inline void starts(bool typed, struct sched_totals *t, struct task_struct *next, uint64_t now)
{
        uint32_t thread = (uint32_t)LOAD(typed, next, pid);
        struct sched_place *place;
        uint64_t since, bucket;

        if (!thread) /* nothing to do */
                return;
        place = place_of(thread);
        if (!place || place->thread != thread)
                return;
        since = place->since_ns;
        place->since_ns = 0;
        if (!since)
                return;
        /* The clock may step back by some nanoseconds from one processor to the next. */
        now = now > since ? now - since : 0;
        bucket = bucket_of(now);
        if (bucket < LATENCY_BUCKETS)
                t->waits.buckets[bucket]++;
        t->waits.sum_ns += now;
        t->probe.counted++;
        add_process(typed, t, next, now);
}

static __always_inline int switched(bool typed, bool preempted, struct task_struct *previous, struct task_struct *next)
{
        uint64_t now = bpf_ktime_get_ns();
        uint32_t thread = (uint32_t)LOAD(typed, previous, pid);
        struct sched_totals *t = my_totals();
        struct sched_place *place;

        if (!t)
                return 0;
        t->probe.hits++;
        if (thread) {
                bool waits = preempted || !LOAD(typed, previous, __state);

                place = place_of(thread);
                if (place && (waits || place->thread == thread)) {
                        t->lost += place->thread != thread && place->since_ns;
                        place->thread = thread;
                        place->since_ns = waits ? now : 0;
                }
        }
        starts(typed, t, next, now);
        account(&t->probe, now);
        return 0;
}

SEC("tp_btf/sched_wakeup")
int typed_wakeup(uint64_t *c)
{
        return woken(true, (struct task_struct *)c[0]);
}

SEC("tp_btf/sched_wakeup_new")
int typed_new(uint64_t *c)
{
        return woken(true, (struct task_struct *)c[0]);
}

SEC("tp_btf/sched_switch")
int typed_switch(uint64_t *c)
{
        return switched(true, (bool)c[0], (struct task_struct *)c[1], (struct task_struct *)c[2]);
}

SEC("raw_tp/sched_wakeup")
int raw_wakeup(struct bpf_raw_tracepoint_args *c)
{
        return woken(false, (struct task_struct *)c->args[0]);
}

SEC("raw_tp/sched_wakeup_new")
int raw_new(struct bpf_raw_tracepoint_args *c)
{
        return woken(false, (struct task_struct *)c->args[0]);
}

SEC("raw_tp/sched_switch")
int raw_switch(struct bpf_raw_tracepoint_args *c)
{
        return switched(false, (bool)c->args[0], (struct task_struct *)c->args[1], (struct task_struct *)c->args[2]);
}
