/* share.h: memory that moves, given to other programs by tickets; see wire/share.h.
 *
 * An allocation that was given a ticket is held on the device as long as it lives, whether anyone opened it or not. A thread of its own, started with
 * the first ticket, hands out descriptors of its units; it never waits for more than a few seconds for anybody, and serves one at a time.
 */
#pragma once

#include "cuda/state.h"
#include "wire/share.h"

/* A ticket for the allocation that contains the address; its block is held from now on. The memory is on the device; books not held. 0, -ENOENT: none of
 * ours, -EAGAIN: not on the device, -errno: no socket or thread to be had. */
int share_give(CUdeviceptr address, struct share_ticket *ret);
/* Is it one of this process's own? */
bool share_is_own(const struct share_ticket *ticket);
/* A request, or a handle, was refused: counted on the page. */
void share_refused(void);
/* Asks the owner for the memory and maps it at an address of this process's, open to nobody yet. 0, -errno. Books not held. */
int share_fetch(const struct share_ticket *ticket, CUdeviceptr *ret_address, struct share_answer *ret);
/* Takes such a mapping away. */
void share_drop(CUdeviceptr address, const struct share_answer *answer);

void share_forked(void);
