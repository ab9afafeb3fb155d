"""A Triton kernel, launched by cuLaunchKernelEx as Triton does, and one with a cooperative grid."""
import _kind
import torch
import triton
import triton.language as tl


@triton.jit
def axpy(x, y, out, n, a, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    tl.store(out + at, tl.load(x + at, mask=inside) * a + tl.load(y + at, mask=inside), mask=inside)


torch.manual_seed(9)
b = _kind.ballast(1)
n = 8_000_003
x, y, out = (torch.randn(n, device='cuda') for _ in range(3))


def work(a):
    axpy[(triton.cdiv(n, 1024),)](x, y, out, n, a, BLOCK=1024)
    axpy[(64,)](out, y, x, 64 * 1024, a, BLOCK=1024, launch_cooperative_grid=True)


work(1.5)
_kind.take('before', out)
_kind.middle()
work(0.25)
_kind.take('after', out)
_kind.take('x', x)
_kind.weigh('ballast', b)
_kind.done()
