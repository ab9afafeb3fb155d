"""cuBLASLt: bf16 products with bias and gelu in their epilogue, and linear layers with their gradients."""
import _kind
import torch

torch.manual_seed(6)
b = _kind.ballast(1)
x = torch.randn(2048, 4096, device='cuda', dtype=torch.bfloat16)
w = torch.randn(4096, 4096, device='cuda', dtype=torch.bfloat16) / 64
bias = torch.randn(4096, device='cuda', dtype=torch.bfloat16)


def work():
    y = torch._addmm_activation(bias, x, w, use_gelu=True)
    v = torch.nn.functional.linear(y, w, bias).requires_grad_()
    torch.nn.functional.gelu(torch.nn.functional.linear(v, w, bias)).float().mean().backward()
    return torch.addmm(bias, y, w), v.grad


for name in ('before', 'after'):
    for i, t in enumerate(work()):
        _kind.take(f'{name} {i}', t)
    if name == 'before':
        _kind.middle()
_kind.weigh('ballast', b)
_kind.done()
