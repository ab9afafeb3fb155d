"""Three kinds of PyTorch work that is bound by the calls it makes, run in short segments when told: what a preload costs shows in the time of a segment.

run KIND N        N iterations, answers with the seconds they took
timed KIND S      as many iterations as begin within S seconds; answers with the count and the seconds
switch bare       from now on this process's libraries call the driver itself (switch.py); switch hooked: as it was. Needs BERTH_BARE=path of the driver
turns KIND N R    R times N iterations hooked and N bare, which of them first is drawn; answers with the seconds of all. turns … same: all of them bare
kinds: smallops (one small operation), graph (replays of 50 kernels), training (a step of a small transformer with AdamW), large (a step of one that keeps the device
busy)
--ballast GIB     holds so much memory besides
"""
import argparse
import gc
import json
import os
import random
import sys
import time

import torch

from switch import Switch

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
big = []
z = torch.randn(8, 256, 1024, device=dev, dtype=torch.bfloat16)


def smallops():
    x.add_(1)


def training():
    optimizer.zero_grad()
    model(z).float().pow(2).mean().backward()
    optimizer.step()


def large():
    if not big:
        wide = torch.nn.TransformerEncoderLayer(2048, 16, batch_first=True, device=dev, dtype=torch.bfloat16, dropout=0.0)
        big.append(torch.nn.TransformerEncoder(wide, 6, enable_nested_tensor=False))
        big.append(torch.optim.AdamW(big[0].parameters(), lr=1e-4, fused=True))
        big.append(torch.randn(16, 512, 2048, device=dev, dtype=torch.bfloat16))
    big[1].zero_grad()
    big[0](big[2]).float().pow(2).mean().backward()
    big[1].step()


KINDS = {'large': large, 'smallops': smallops, 'graph': graph.replay, 'training': training}


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


def turns(kind, n, rounds, same):
    chance, seconds = random.Random(5), ([], [])
    for _ in range(rounds):
        for bare in chance.sample((0, 1), 2):
            switch.to(bare or same)
            seconds[bare].append(run(kind, n))
    switch.to(False)
    return {'did': 'turns', 'hooked': seconds[0], 'bare': seconds[1]}


for kind in KINDS:
    if kind != 'large':
        run(kind, 20)
switch = Switch(os.environ['BERTH_BARE']) if 'BERTH_BARE' in os.environ else None
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
    elif words[0] == 'switch':
        found = switch.find() if words[1] == 'find' else switch.to(words[1] == 'bare')
        print(json.dumps({'did': 'switch', 'pairs': len(switch.pairs), 'places': found}), flush=True)
    elif words[0] == 'turns':
        print(json.dumps(turns(words[1], int(words[2]), int(words[3]), words[4:] == ['same'])), flush=True)
    else:
        sys.exit(f'segments: {line} is not understood')
