/* page.h: the page a client shares with the daemon, one per process and device.
 *
 * A sealed memfd of the client's (no shrinking, no growing), sent with DEVICE, so that it outlives a daemon. The client writes nearly all of it; the
 * daemon treats every value as a stranger's claim: it shows counters and uses activity, and keeps its own books for grants. It stays readable
 * after the client died. Each field says who writes it; each writer has its own cache lines. All accesses are relaxed atomics unless
 * said otherwise.
 */
#pragma once

#include <assert.h>
#include <stdatomic.h>
#include <stdint.h>

#define PAGE_MAGIC UINT32_C(0x47504842) /* "BHPG" */
#define PAGE_VERSION 3 /* what came with which is said at the field; older pages have zeros there, which mean nothing */
#define PAGE_LANES 62
#define PAGE_WINDOWS 16
#define PAGE_BYTES 8192

enum page_gate { PAGE_CLOSED = 0, PAGE_OPEN = 1 };

/* One per thread while there are enough, the last one is shared by all further threads. Client writes, without a lock prefix in its own
 * lane: a reader sees each counter whole, never two counters of the same instant. */
struct page_lane {
        _Atomic uint32_t in_call;  /* > 0: a gated driver call may be between gate check and return */
        _Atomic uint32_t owned;    /* 1: some live thread owns the lane */
        _Atomic uint64_t launches; /* kernels and graphs */
        _Atomic uint64_t copies;   /* copies and memsets */
        _Atomic uint64_t waits;    /* times a thread stood at the closed gate */
        uint64_t reserved[4];
};
static_assert(sizeof(struct page_lane) == 64, "a lane is a cache line");

/* A named stretch of time of which the peak is kept; see window.h. */
struct page_window {
        _Atomic uint64_t peak;  /* most of used_bytes since its begin */
        _Atomic uint32_t state; /* 0: free */
        uint32_t reserved;
        char name[48];
};
static_assert(sizeof(struct page_window) == 64, "a window is a cache line");

struct page {
        /* Line 0. Daemon writes: when the page comes, and contended later. */
        uint32_t magic, version, bytes, client;
        _Atomic uint32_t contended; /* 1: someone waits for this device; clients keep no slack */
        uint32_t ordinal;
        uint8_t uuid[16];
        uint64_t reserved0[3];
        /* Line 1. Client writes; exact: movable, pinned and peak change under the client's memory lock. */
        _Atomic uint32_t gate;          /* enum page_gate; release by the helper thread, acquire by launches; a futex */
        _Atomic uint32_t waiting;       /* threads standing at the gate */
        _Atomic uint64_t movable_bytes; /* owned */
        _Atomic uint64_t pinned_bytes;
        _Atomic uint64_t peak_bytes; /* most of movable + pinned at any instant */
        _Atomic uint64_t resident_bytes;
        _Atomic uint64_t granted_bytes; /* the client's book */
        _Atomic uint64_t out_bytes, in_bytes;
        /* Lines 2 … 63. */
        struct page_lane lanes[PAGE_LANES];
        /* Line 64. Client writes, with its memory lock; windows_active: also who begins and ends windows. */
        _Atomic uint64_t used_bytes;         /* movable + pinned, in one word */
        _Atomic uint64_t since_ns, noted_ns; /* first and last change of it, CLOCK_MONOTONIC */
        _Atomic uint64_t used_sum;           /* its integral from the one to the other, MiB × µs */
        _Atomic uint32_t windows_active;     /* a bit each */
        uint32_t reserved1;
        _Atomic uint64_t ipc_refused; /* since 3, of the process: requests for its memory by IPC handles that it refused, and handles it could not open */
        uint64_t reserved2[2];
        /* Lines 65 … 80. Client and daemon write. */
        struct page_window windows[PAGE_WINDOWS];
        uint8_t unused[3008];
};
static_assert(sizeof(struct page) == PAGE_BYTES, "the shared page is two pages of the machine");
