/* move.h: memory on its way out to the host arena and back in, one step at a time.
 *
 * Run by the helper thread between looks at the socket, books held. Out: copies are issued ahead on one stream, each followed by an event; a
 * unit is unmapped and released when its own copy has ended. In: units are created, mapped and opened to access while earlier copies
 * run. Both keep the link busy: 55 GB/s of 55.3 on an H200. Sources: shared figures on VMM costs; CUDA driver API, VMM section.
 */
#pragma once

#include "cuda/state.h"

/* More bytes of grant to return; the client's work has drained. */
void move_evict(struct device *d, uint64_t bytes, bool hand_over);
/* The grant grew, or the daemon is gone: bring in what fits. */
void move_come(struct device *d);
/* Forget orders of a daemon that is gone. */
void move_stop(struct device *d);
/* One step; true: call again at once. */
bool move_step(struct device *d);
/* Gets ready ahead of the first order what takes long. True: something was done. */
bool move_prepare(void);
/* Bytes of units that are not on the device. */
uint64_t move_out_bytes(const struct device *d);

/* Set by link.c: progress for the daemon. */
struct move_progress {
        uint64_t returned;
        bool done;
        int status;
        int unit_fd; /* a unit handed over with it, or -1 */
        uint64_t unit_bytes;
        uint64_t unit; /* or the number of one that was handed over before, 0: none */
};
extern void (*move_on_evicted)(struct device *d, const struct move_progress *progress);
extern void (*move_on_brought_in)(struct device *d, uint64_t returned, bool done, int status);
