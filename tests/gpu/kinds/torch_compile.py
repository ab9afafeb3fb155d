"""torch.compile (inductor, its own Triton kernels): compiled before, used after. No sums in it, whose order would be up to the tuner."""
import os

os.environ.setdefault('TORCHINDUCTOR_COMPILE_THREADS', '1')
import _kind
import torch

torch.manual_seed(10)
b = _kind.ballast(1)
x, w = torch.randn(2048, 2048, device='cuda'), torch.randn(2048, 2048, device='cuda') / 45


@torch.compile
def work(x, w):
    y = torch.nn.functional.gelu(x @ w)
    return y * torch.sin(x) + torch.where(y > 0, y, x) * 0.5


for name in ('before', 'after'):
    x = work(x, w)
    _kind.take(name, x)
    if name == 'before':
        _kind.middle()
_kind.weigh('ballast', b)
_kind.done()
