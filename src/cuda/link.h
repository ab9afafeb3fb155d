/* link.h: the helper thread: the conversation with the daemon.
 *
 * Started on first use; it alone reads the socket, closes and opens the gate and moves memory. Other threads change the books and call
 * link_kick(). When the daemon goes away, resident programs run on; what is out comes back by itself after return_ns, and
 * the helper registers again as soon as a daemon answers.
 */
#pragma once

#include "cuda/state.h"

/* Makes sure the device is announced to the daemon and this process was admitted to it (waits as long as that takes). Called before a context
 * is made. Returns the device, managed or not; NULL: unknown device number. Takes and releases the books. */
struct device *link_attach(CUdevice handle);
/* The same for the calling thread's context; NULL: there is none, or the device is not managed. */
struct device *link_current(void);

/* A neighbour that only holds bytes, to be announced; NULL: no more devices. Books held. */
struct device *link_add_storage(CUdevice handle);

/* The books changed: report what is due. Cheap; any thread, with or without the books held. */
void link_kick(void);

/* The program's bytes changed. Allocations and frees that are served from kept blocks are reported soon, all else at once. Books held. */
void link_report(const struct device *d);

/* With the books held: waits until spare grant ≥ bytes and the gate is open. 0, or -E_LIMIT, -E_DEVICE_SIZE, -E_ARENA, -E_DEADLOCK, -EIO (berth.broken). reserve also
 * gives kept blocks back to the driver, so that as much can be created; await leaves that to a caller who may use one of them. */
int link_reserve(struct device *d, uint64_t bytes);
int link_await(struct device *d, uint64_t bytes);

/* With the books held: the driver had no memory although the books say there is. That passes while a daemon is away or just came back and does
 * not know everyone yet. Waits a moment; true: reserve and try again, false: it is time to tell the program. *tries starts at 0. */
bool link_full(unsigned int *tries);

/* The program's own limit on a device of this size, 0: none. Known from the daemon, or, before the program came to the device, from its environment. */
uint64_t link_limit_of(CUdevice handle, uint64_t total);

/* In a forked child, where only the calling thread is left. used_driver: the parent had used the driver, so the child can't. */
void link_forked(bool used_driver);
