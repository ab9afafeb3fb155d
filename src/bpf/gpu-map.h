/* gpu-map.h: what gpu.bpf.c and gpu.c say to each other through maps. No padding: keys are compared as bytes. */
#pragma once

#ifndef __bpf__
#include <stdint.h>
#endif

enum gpu_op {
        GPU_LAUNCH,
        GPU_GRAPH,
        GPU_WAIT,
        GPU_FREE,
        GPU_ALLOC,
        GPU_COPY_IN,
        GPU_COPY_OUT,
        GPU_COPY_OTHER,
        GPU_OPS,
};

/* A cookie: what is called, and which arguments, from 1, multiplied are its bytes (0: none). */
#define GPU_COOKIE(op, first, second) ((uint64_t)(op) | (uint64_t)(first) << 8 | (uint64_t)(second) << 16)

struct gpu_key {
        uint64_t start_ns; /* of the process's first thread */
        uint32_t pid, op;
};

struct gpu_counts {
        uint64_t calls, bytes;
        uint32_t uid, reserved;
        char comm[16];
};

struct gpu_totals { /* for each processor */
        uint64_t hits, full, launches, reserved;
};
