"""Pinned and registered host memory, copies both ways on streams of their own."""
import _kind
import torch

torch.manual_seed(13)
n = 64 << 20
host = torch.randint(0, 1 << 30, (n // 4,), dtype=torch.int32).pin_memory()
registered = torch.arange(n // 4, dtype=torch.int32)
if torch.cuda.cudart().cudaHostRegister(registered.data_ptr(), n, 0) != torch.cuda.cudart().cudaError.success:
    raise SystemExit('cudaHostRegister failed')
back = torch.empty(n // 4, dtype=torch.int32, pin_memory=True)
up, down = torch.cuda.Stream(), torch.cuda.Stream()
a, c = (torch.zeros(n // 4, dtype=torch.int32, device='cuda') for _ in range(2))
b = _kind.ballast(1)
torch.cuda.synchronize()


def work():
    with torch.cuda.stream(up):
        for _ in range(8):
            a.copy_(host, non_blocking=True)
            c.copy_(registered, non_blocking=True)
            a.add_(c)
    down.wait_stream(up)
    with torch.cuda.stream(down):
        for _ in range(4):
            back.copy_(a, non_blocking=True)
    down.synchronize()


work()
_kind.take('before', back)
_kind.middle()
host.add_(1)
work()
_kind.take('after', back)
_kind.weigh('ballast', b)
torch.cuda.cudart().cudaHostUnregister(registered.data_ptr())
_kind.done()
