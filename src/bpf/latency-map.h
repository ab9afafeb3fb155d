/* latency-map.h: what block.bpf.c, runqueue.bpf.c and syscalls.bpf.c and their readers say to each other through maps. No padding: keys are compared as bytes. */
#pragma once

#include "latency.h"

#ifdef __bpf__
/* The bucket in a form that the verifier sees to be within bounds: the compiler must not know where it came from, or it checks one copy and uses another. */
static __always_inline uint64_t bucket_of(uint64_t ns)
{
        uint64_t bucket = latency_bucket(ns);

        asm volatile("" : "+r"(bucket));
        return bucket;
}
#endif

/* A process; a reused number is another one, which began at another time. */
struct runner_key {
        uint64_t start_ns; /* of its first thread */
        uint32_t pid, reserved;
};

/* Of the probes themselves, for each processor; only grows. */
struct probe_totals {
        uint64_t hits, counted, full;
        uint64_t self_hits, self_ns; /* what they take, measured at one hit in so many */
};

#define SELF_ONE_IN 64
/* More than that is no cost of the probe's: the hypervisor ran somebody else. */
#define SELF_MOST_NS 5000

#ifdef __bpf__
static __always_inline void account(struct probe_totals *t, uint64_t began)
{
        uint64_t took;

        if (t->hits % SELF_ONE_IN)
                return;
        took = bpf_ktime_get_ns() - began;
        if (took > SELF_MOST_NS)
                return;
        t->self_hits++;
        t->self_ns += took;
}
#endif

/* --- block --- */

enum block_kind { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_OTHER, BLOCK_KINDS };

struct block_key {
        uint32_t device, kind; /* major << 20 | minor of the whole disk, 0: a request of no disk; enum block_kind */
};

struct block_counts { /* only grows */
        struct latency time;
        uint64_t bytes, errors;
};

/* --- sched --- */

/* A thread that waits for a processor. Its place follows from its number; two on one place at a time are rare, and counted: the earlier one's wait is lost. */
#define SCHED_PLACES 32768

struct sched_place {
        uint32_t thread, reserved;
        uint64_t since_ns; /* 0: does not wait */
};

struct sched_counts { /* of a process, of one period */
        uint64_t times, sum_ns, longest_ns;
        uint32_t uid, reserved;
        char comm[16];
};

struct sched_totals { /* for each processor; only grows */
        struct probe_totals probe;
        uint64_t lost;
        struct latency waits;
};

/* --- syscalls --- */

struct syscall_counts { /* of a process, of one period */
        uint64_t calls;
        uint32_t uid, reserved;
        char comm[16];
};

/* Of a processor, of one period: calls of the thread that runs there, not yet added to its process's. */
struct syscall_recent {
        uint64_t hits, full, thread, calls; /* thread: as bpf_get_current_pid_tgid has it */
        struct runner_key key;              /* pid 0: not counted for a process: of another user, or the map has no room */
        uint64_t no_room;                   /* not 0: the map has none for it, and the calls are to be told as full */
};
