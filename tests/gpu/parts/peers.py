"""How fast others move memory, on the same machine in the same run: the driver's own checkpoint calls, and managed memory inside capacity."""
from harness import GIB


def peers(s):
    """The driver's checkpoint calls, and managed memory inside capacity."""
    checkpoint(s)
    managed(s)


def checkpoint(s):
    """cuCheckpointProcess*: what cuda-checkpoint does. A child with 16 GiB is locked, checkpointed, restored, unlocked."""
    code, result = s.python('apps/checkpoint.py', '16', bare=True).result()
    if not s.check('the driver checkpoints a process', code == 0 and result.get('ok'), result):
        return
    gib = result['gib']
    note = dict(gib=gib, out_s=result['out_s'], in_s=result['in_s'], how='cuCheckpointProcessLock + Checkpoint, Restore + Unlock on a child of one allocation')
    s.peer('swap_out_gbps', 'cuCheckpointProcess', round(gib * GIB / result['out_s'] / 1e9, 2), **note)
    s.peer('swap_in_gbps', 'cuCheckpointProcess', round(gib * GIB / result['in_s'] / 1e9, 2), **note)


def managed(s):
    """Managed memory, which is how sharing by unified memory moves: prefetched out, faulted in by a kernel, prefetched in. Never more than is free."""
    code, result = s.python('apps/managed.py', '8', bare=True).result()
    if not s.check('managed memory moves', code == 0 and result.get('ok'), result):
        return
    s.peer('swap_out_gbps', 'UVM prefetch', result['prefetch_out_gbps'], gib=result['gib'], how='cuMemPrefetchAsync to the host')
    s.peer('swap_in_gbps', 'UVM fault-in', result['fault_in_gbps'], gib=result['gib'], how='a kernel that touches all of it')
    s.peer('swap_in_gbps', 'UVM prefetch', result['prefetch_in_gbps'], gib=result['gib'], how='cuMemPrefetchAsync to the device')
