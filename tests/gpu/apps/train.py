"""One PyTorch training that fills a given part of the card and can be compared bit for bit with another run of itself.

A transformer with AdamW in bf16, a CUDA graph that is replayed between steps, and ballast: large tensors of which one is rewritten at
every step. The model depends on --model-seed, the ballast on --seed; at the end the ballast is made anew from its seed and the number of steps and
compared word by word, so it needs no other run. Prints one JSON line.
"""
import argparse
import hashlib
import json
import os
import time

start = time.time()
os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
import torch

p = argparse.ArgumentParser()
p.add_argument('--gib', type=float, required=True, help='device memory to fill')
p.add_argument('--layers', type=int, default=12)
p.add_argument('--steps', type=int, default=0)
p.add_argument('--seconds', type=float, default=0, help='run at least so long (the number of steps is printed)')
p.add_argument('--seed', type=int, default=1)
p.add_argument('--model-seed', type=int, default=1)
p.add_argument('--name', default='train')
p.add_argument('--progress', default='')
a = p.parse_args()

torch.manual_seed(a.model_seed)
torch.use_deterministic_algorithms(True)
torch.backends.cuda.enable_cudnn_sdp(False)
torch.backends.cuda.enable_flash_sdp(False)
torch.backends.cuda.enable_mem_efficient_sdp(False)
torch.utils.deterministic.fill_uninitialized_memory = False  # would write all of the ballast twice
dev = 'cuda'
layer = torch.nn.TransformerEncoderLayer(4096, 32, 16384, batch_first=True, device=dev, dtype=torch.bfloat16, dropout=0.0)
model = torch.nn.TransformerEncoder(layer, a.layers)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
x = torch.randn(4, 512, 4096, device=dev, dtype=torch.bfloat16)


def step():
    optimizer.zero_grad()
    loss = model(x).float().pow(2).mean()
    loss.backward()
    optimizer.step()
    return loss.item()


def fill(block, number):
    return block.random_(0, 255, generator=torch.Generator(device=dev).manual_seed(a.seed * 1000 + number))


losses = [step()]
y, w = torch.randn(1024, 1024, device=dev), torch.randn(1024, 1024, device=dev)
side = torch.cuda.Stream()
side.wait_stream(torch.cuda.current_stream())
with torch.cuda.stream(side):
    for _ in range(3):
        z = torch.relu(y @ w)
torch.cuda.current_stream().wait_stream(side)
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    z = torch.relu(y @ w)
left = (a.gib * 2**30 - torch.cuda.memory_reserved()) / 2**30
spare = torch.empty(1 << 30, device=dev, dtype=torch.uint8) if left >= 2 else None
ballast = [fill(torch.empty(1 << 30, device=dev, dtype=torch.uint8), i) for i in range(max(0, int(left) - 1))]
added = [0] * len(ballast)
torch.cuda.synchronize()
ready = time.time()
done = 1
while (a.steps and done < a.steps) or (a.seconds and time.time() - ready < a.seconds):
    losses.append(step())
    graph.replay()
    y.add_(z[0, 0] * 1e-6)
    if ballast:
        ballast[done % len(ballast)].add_(done % 7)
        added[done % len(ballast)] += done % 7
    done += 1
    if a.progress:
        with open(a.progress + '.new', 'w') as f:
            f.write(f'{done}/{a.steps or "?"}')
        os.replace(a.progress + '.new', a.progress)
torch.cuda.synchronize()
trained = time.time()
ballast_ok = all(torch.equal(fill(spare, i).add_(added[i] % 256), b) for i, b in enumerate(ballast))
parameters = sum(q.double().abs().sum().item() for q in model.parameters())
digest = hashlib.sha256(repr((losses, parameters, z.double().sum().item(), y.double().sum().item())).encode()).hexdigest()
print(json.dumps({'name': a.name, 'pid': os.getpid(), 'steps': done, 'digest': digest, 'ballast_ok': ballast_ok, 'last_loss': losses[-1],
                  'gib': torch.cuda.memory_reserved() / 2**30, 'total_seen_gib': torch.cuda.mem_get_info()[1] / 2**30,
                  'seconds': trained - ready, 'whole_seconds': time.time() - start}), flush=True)
