/* lane.h: the gate, as launches see it: one acquire load of a word and two plain counters.
 *
 * Every gated driver call stands between lane_enter() and lane_leave(). A thread owns a lane on the shared page, so nothing is locked. The
 * closer pays: it stores CLOSED, makes every running thread of the process pass a barrier (membarrier), and then waits until no lane is in a
 * call. A thread that finds the gate closed leaves its lane, sleeps on the word, and tries again. While a stream capture is open the gate lets
 * everything through (a capture runs nothing by itself and must not be torn), and closing does not complete. Nor does it while a thread is let through
 * because the device seems to wait for it.
 */
#pragma once

#include "wire/page.h"

#include <stdbool.h>

/* This process's page: static storage until lane_start(), then a memfd; never NULL, never moves afterwards. */
extern struct page *berth_page;

/* The calling thread's lane, NULL until its first gated call. */
extern __thread struct page_lane *berth_lane __attribute__((tls_model("initial-exec")));

/* Makes the shared page. Called once, before any hooked function can run; again in a forked child. The memfd's descriptor, or -1
 * (then the page is private memory and the daemon can't see it). */
int lane_start(void);

struct page_lane *lane_enter_slow(void);
void lane_leave_shared(struct page_lane *lane, bool launch);

static inline struct page_lane *lane_enter(void)
{
        struct page_lane *lane = berth_lane;

        if (__builtin_expect(!lane, 0))
                return lane_enter_slow();
        /* Only this thread writes its lane, so no locked instruction is needed; the order "in_call before gate" is made by the closer's
         * membarrier, here only the compiler is kept from swapping them. */
        atomic_store_explicit(&lane->in_call, atomic_load_explicit(&lane->in_call, memory_order_relaxed) + 1,
                              memory_order_relaxed);
        atomic_signal_fence(memory_order_seq_cst);
        if (__builtin_expect(atomic_load_explicit(&berth_page->gate, memory_order_acquire) != PAGE_OPEN, 0))
                return lane_enter_slow();
        return lane;
}

static inline void lane_count(_Atomic uint64_t *counter)
{
        atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1, memory_order_relaxed);
}

static inline void lane_leave(struct page_lane *lane, bool launch)
{
        if (__builtin_expect(lane == &berth_page->lanes[PAGE_LANES - 1], 0)) {
                lane_leave_shared(lane, launch);
                return;
        }
        lane_count(launch ? &lane->launches : &lane->copies);
        atomic_store_explicit(&lane->in_call, atomic_load_explicit(&lane->in_call, memory_order_relaxed) - 1,
                              memory_order_release);
}

/* Closes the gate. Afterwards lane_quiet() tells whether all calls that had passed it have returned. */
void lane_close(void);
bool lane_quiet(void);
void lane_open(void);
static inline bool lane_is_open(void)
{
        return atomic_load_explicit(&berth_page->gate, memory_order_acquire) == PAGE_OPEN;
}

/* Gated calls of the process so far. Behind a closed, quiet gate: it is the same as before exactly when nothing was issued in between. */
uint64_t lane_calls(void);

/* Captures open in this process. */
void lane_capture_began(void);
void lane_capture_ended(void);
unsigned int lane_captures(void);
/* Calls that passed the closed gate because of a capture, or of what the device waits for: if it moved, work may have been issued. */
unsigned int lane_passed(void);

/* What has been issued may wait for what the program issues next: a stream for a value, a kernel for another one, a host function for a thread. The closer
 * says that it waits for the device. Meanwhile a thread that has stood at the gate for too long is let through with one call, which counts as
 * passed: soon where the program is known to have streams wait for values, else after seconds; each time after twice as long. */
#define LANE_AWAITS_MS 200
#define LANE_STANDS_MS 10000
void lane_draining(bool draining);
void lane_awaits(void); /* it has streams wait for values */

/* Called by a thread that is about to sleep at the gate; set by link.c. */
extern void (*lane_on_wait)(void);
