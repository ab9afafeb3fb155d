"""cuDNN: convolutions forward and backward, and attention as PyTorch picks it."""
import _kind
import torch

torch.manual_seed(7)
torch.backends.cudnn.deterministic = True
torch.backends.cudnn.benchmark = False
b = _kind.ballast(1)
net = torch.nn.Sequential(torch.nn.Conv2d(16, 64, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(64, 64, 3, padding=1, bias=False)).cuda().to(torch.bfloat16)
x = torch.randn(16, 16, 96, 96, device='cuda', dtype=torch.bfloat16)
q = torch.randn(2, 8, 512, 64, device='cuda', dtype=torch.bfloat16)


def work():
    net.zero_grad()
    net(x).float().pow(2).mean().backward()
    return net[0].weight.grad, net[2].weight.grad, torch.nn.functional.scaled_dot_product_attention(q, q, q)


for name in ('before', 'after'):
    for i, t in enumerate(work()):
        _kind.take(f'{name} {i}', t)
    if name == 'before':
        _kind.middle()
_kind.weigh('ballast', b)
_kind.done()
