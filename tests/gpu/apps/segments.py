"""Three kinds of PyTorch work that is bound by the calls it makes, run in short segments when told: what a preload costs shows in the time of a segment.

run KIND N        N iterations, answers with the seconds they took
timed KIND S      as many iterations as begin within S seconds; answers with the count and the seconds
kinds: smallops (one small operation), graph (replays of 50 kernels), training (a step of a small transformer with AdamW)
--ballast GIB     holds so much memory besides
"""
import argparse
import gc
import json
import os
import sys
import time

import torch

p = argparse.ArgumentParser()
p.add_argument('--ballast', type=float, default=0)
a = p.parse_args()
dev = 'cuda'
torch.manual_seed(1)
x = torch.zeros(1024, device=dev)
ballast = torch.empty(int(a.ballast * 2**30), dtype=torch.uint8, device=dev).fill_(1) if a.ballast else None
y = torch.zeros(1024, device=dev)
side = torch.cuda.Stream()
side.wait_stream(torch.cuda.current_stream())
with torch.cuda.stream(side):
    for _ in range(3):
        y.add_(1)
torch.cuda.current_stream().wait_stream(side)
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    for _ in range(50):
        y.add_(1)
layer = torch.nn.TransformerEncoderLayer(1024, 16, batch_first=True, device=dev, dtype=torch.bfloat16, dropout=0.0)
model = torch.nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
z = torch.randn(8, 256, 1024, device=dev, dtype=torch.bfloat16)


def smallops():
    x.add_(1)


def training():
    optimizer.zero_grad()
    model(z).float().pow(2).mean().backward()
    optimizer.step()


KINDS = {'smallops': smallops, 'graph': graph.replay, 'training': training}


def run(kind, n):
    work = KINDS[kind]
    for _ in range(max(1, n // 20)):  # the first ones pay for the change from another process
        work()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(n):
        work()
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def timed(kind, seconds):
    work, n = KINDS[kind], 0
    torch.cuda.synchronize()
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        work()
        n += 1
        if n % 8 == 0:  # no queue of work that the clock does not see
            torch.cuda.synchronize()
    torch.cuda.synchronize()
    return n, time.perf_counter() - begin


for kind in KINDS:
    run(kind, 20)
gc.collect()
gc.disable()
print(json.dumps({'did': 'ready', 'ok': True, 'pid': os.getpid(), 'gib': torch.cuda.memory_reserved() / 2**30}), flush=True)
for line in sys.stdin:
    words = line.split()
    if not words or words[0] == 'end':
        break
    if words[0] == 'run':
        print(json.dumps({'did': 'run', 'seconds': run(words[1], int(words[2]))}), flush=True)
    elif words[0] == 'timed':
        n, seconds = timed(words[1], float(words[2]))
        print(json.dumps({'did': 'timed', 'count': n, 'seconds': seconds}), flush=True)
    else:
        sys.exit(f'segments: {line} is not understood')
