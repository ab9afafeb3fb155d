"""cuFFT: plans made before are used after, one and two dimensions, there and back."""
import _kind
import torch

torch.manual_seed(8)
b = _kind.ballast(1)
x, y = torch.randn(64, 1 << 16, device='cuda'), torch.randn(8, 1024, 1000, device='cuda', dtype=torch.complex64)


def work():
    f = torch.fft.rfft(x)
    g = torch.fft.fft2(y)
    return torch.view_as_real(f), torch.fft.irfft(f, n=1 << 16), torch.view_as_real(torch.fft.ifft2(g))


for name in ('before', 'after'):
    for i, t in enumerate(work()):
        _kind.take(f'{name} {i}', t)
    if name == 'before':
        _kind.middle()
_kind.weigh('ballast', b)
_kind.done()
