"""A PyTorch program that holds device memory and does what it is told: the same commands and answers as tests/programs/hold.c.

alloc BYTES [CHUNK], reserve BYTES, write, check, free, end. Contents are random; after each write the sums are taken anew, so a check compares with
what was there before whatever happened since.
"""
import json
import os
import sys
import time

import torch

UNITS = {'GiB': 2**30, 'MiB': 2**20, 'KiB': 2**10}
blocks, want = [], []
torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 3)


def size(text):
    for unit, factor in UNITS.items():
        if text.endswith(unit):
            return int(float(text[:-3]) * factor)
    return int(text)


def sums():
    return [int(b.view(torch.int64).sum()) for b in blocks]


def answer(did, begin, ok=True):
    torch.cuda.synchronize()
    print(json.dumps({'did': did, 'pid': os.getpid(), 'ok': ok, 'bytes': sum(b.numel() for b in blocks), 'begin': begin, 'end': time.monotonic()}), flush=True)


def obey(words):
    did = words[0]
    if did in ('alloc', 'reserve'):
        rest, chunk = size(words[1]), size(words[2]) if len(words) > 2 else size(words[1])
        while rest > 0:
            n = min(rest, chunk) // 8 * 8
            b = torch.empty(n, dtype=torch.uint8, device='cuda')
            blocks.append(b.random_(0, 255) if did == 'alloc' else b)
            rest -= n
    elif did == 'write':
        for b in blocks:
            b.add_(1)
    elif did == 'check':
        return sums() == want
    elif did == 'free':
        blocks.clear()
        torch.cuda.empty_cache()
    else:
        sys.exit(f'hold: {words} is not understood')
    if did != 'reserve':
        want[:] = sums()
    return True


torch.zeros(1, device='cuda')
answer('ready', time.monotonic())
for line in sys.stdin:
    if line.strip() == 'end':
        break
    begin = time.monotonic()
    answer(line.split()[0], begin, obey(line.split()))
answer('end', time.monotonic())
