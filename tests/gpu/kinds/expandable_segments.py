"""PyTorch with expandable_segments:True: the allocator maps physical memory itself (cuMemCreate, cuMemMap)."""
import os

os.environ['PYTORCH_CUDA_ALLOC_CONF'] = 'expandable_segments:True'
import _kind
import torch

torch.manual_seed(2)
torch.use_deterministic_algorithms(True)
b = [_kind.ballast(0.5, i) for i in range(3)]
x = torch.randn(4096, 4096, device='cuda')
y = x @ x
del x
grown = [torch.full((64 << 20,), float(i), device='cuda') for i in range(4)]
del grown[1]
_kind.take('before', y)
_kind.middle()
grown.append(torch.full((96 << 20,), 9.0, device='cuda'))
_kind.take('after', y @ y.t() * 1e-3)
_kind.take('grown', [t.double().sum().item() for t in grown])
for i, t in enumerate(b):
    _kind.weigh(f'ballast {i}', t)
torch.cuda.empty_cache()
_kind.done()
