"""What every program of this folder does: some work, a middle where the device may be taken away, some more work, a digest of all results as one line of JSON.

With --pause the middle is told ("middle") and ends with a line on standard input.
"""
import hashlib
import json
import os
import sys

os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
GIB, MIB = 2**30, 2**20
SMALL = 16 * MIB if os.environ.get('BERTH_SOFTWARE_DIR') else 256 * MIB  # for programs without PyTorch, which the software device runs as well
_hash = hashlib.sha256()
_parts = []


def middle():
    if 'torch' in sys.modules:
        import torch
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
    if '--pause' in sys.argv:
        print(json.dumps({'middle': True, 'pid': os.getpid()}), flush=True)
        sys.stdin.readline()


def take(name, value):
    """Adds a tensor, bytes or anything with a repr to the digest."""
    if hasattr(value, 'detach'):
        import torch
        value = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif not isinstance(value, (bytes, bytearray)):
        value = repr(value).encode()
    _hash.update(value)
    _parts.append(f'{name} {hashlib.sha256(value).hexdigest()[:8]}')


def done(**more):
    print(json.dumps({'digest': _hash.hexdigest(), 'parts': _parts, **more}), flush=True)


def ballast(gib=1, seed=5):
    """Memory with known contents, so that a swap has something to move; its sum goes into the digest at the end."""
    import torch
    g = torch.Generator(device='cuda').manual_seed(seed)
    return torch.empty(int(gib * GIB), dtype=torch.uint8, device='cuda').random_(0, 255, generator=g)


def weigh(name, tensor):
    import torch
    take(name, int(tensor.view(torch.int64).sum()))
