"""Threads that allocate, work and free at the same time, before and after."""
import threading

import _kind
import torch

torch.manual_seed(17)
b = _kind.ballast(1)
w = torch.randn(512, 512, device='cuda') / 23
results = {}


def work(number, phase):
    g = torch.Generator(device='cuda').manual_seed(number)
    s = torch.cuda.Stream()
    s.wait_stream(torch.cuda.default_stream())
    total = torch.zeros((), device='cuda', dtype=torch.float64)
    with torch.cuda.stream(s):
        for i in range(60):
            t = torch.randn(512 + 64 * (i % 5), 512, device='cuda', generator=g)
            total = total + (t @ w).double().sum()
        s.synchronize()
        results[phase, number] = total.item()


for phase in (0, 1):
    torch.cuda.synchronize()
    threads = [threading.Thread(target=work, args=(n, phase)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if phase == 0:
        torch.cuda.empty_cache()
        _kind.middle()
_kind.take('totals', [results[p, n] for p in (0, 1) for n in range(8)])
_kind.weigh('ballast', b)
_kind.done()
