"""PyTorch on stream-ordered pools: backend:cudaMallocAsync."""
import os

os.environ['PYTORCH_CUDA_ALLOC_CONF'] = 'backend:cudaMallocAsync'
import _kind
import torch

torch.manual_seed(3)
torch.use_deterministic_algorithms(True)
b = _kind.ballast(1)
side = torch.cuda.Stream()
x = torch.randn(4096, 4096, device='cuda')
side.wait_stream(torch.cuda.current_stream())
with torch.cuda.stream(side):
    y = x @ x
torch.cuda.current_stream().wait_stream(side)
kept = [torch.full((8 << 20,), float(i), device='cuda') for i in range(16)]
del kept[::2]
_kind.take('before', y)
_kind.middle()
_kind.take('after', (x @ y) * 1e-3)
_kind.take('kept', [t.double().sum().item() for t in kept])
_kind.weigh('ballast', b)
_kind.done()
