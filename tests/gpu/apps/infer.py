"""An inference server of a given size: weights that are never written after the start, requests one line each on standard input.

usage: infer.py GIB     a line "request" runs all layers on a new input and answers with a digest; "end" ends
"""
import hashlib
import json
import sys
import time

import torch

WIDTH = 16384  # a bf16 matrix of half a GiB
layers = int(float(sys.argv[1]) * 2)
torch.manual_seed(11)
weights = []
for i in range(layers):
    w = torch.empty(WIDTH, WIDTH, device='cuda', dtype=torch.bfloat16)
    weights.append(w.normal_(0, WIDTH**-0.5))
number = 0


@torch.inference_mode()
def request(seed):
    g = torch.Generator(device='cpu').manual_seed(seed)
    x = torch.randn(8, WIDTH, generator=g).to('cuda', torch.bfloat16)
    for w in weights:
        x = torch.nn.functional.rms_norm(x @ w, (WIDTH,))
    return hashlib.sha256(x.float().cpu().numpy().tobytes()).hexdigest()


first = request(0)
torch.cuda.synchronize()
print(json.dumps({'did': 'ready', 'ok': True, 'gib': torch.cuda.memory_allocated() / 2**30, 'digest': first}), flush=True)
for line in sys.stdin:
    if line.strip() == 'end':
        break
    begin = time.monotonic()
    digest = request(0)  # the same question each time: a wrong bit in 60 GiB of weights shows
    print(json.dumps({'did': 'request', 'ok': digest == first, 'digest': digest, 'begin': begin, 'end': time.monotonic()}), flush=True)
