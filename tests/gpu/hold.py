"""Holds a given amount of device memory with known contents; on each line read from standard input touches all of it and says whether it is right."""
import json
import sys
import time

import torch

gib = int(float(sys.argv[1]))
torch.manual_seed(3)
blocks = [torch.randint(0, 255, (1 << 30,), device='cuda', dtype=torch.uint8) for _ in range(gib)]
want = [int(b.view(torch.int64).sum()) for b in blocks]
print(json.dumps({'ready': True, 'gib': torch.cuda.memory_reserved() / 2**30}), flush=True)
for line in sys.stdin:
    t = time.time()
    first = int(blocks[0][:8].to(torch.int64).sum())
    back = time.time() - t
    ok = [int(b.view(torch.int64).sum()) for b in blocks] == want
    print(json.dumps({'ok': ok, 'back_after_s': back, 'first': first}), flush=True)
    if line.strip() == 'end':
        break
