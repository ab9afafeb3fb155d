"""Many streams with priorities, events between them, work on each in flight when the device is asked back."""
import _kind
import torch

torch.manual_seed(12)
b = _kind.ballast(1)
streams = [torch.cuda.Stream(priority=-(i % 2)) for i in range(8)]
x = [torch.randn(2048, 2048, device='cuda') / 45 for _ in streams]
events = [torch.cuda.Event() for _ in streams]
torch.cuda.synchronize()


def work():
    for i, s in enumerate(streams):
        with torch.cuda.stream(s):
            for _ in range(5):
                x[i] = torch.tanh(x[i] @ x[i])
            events[i].record(s)
    for i, s in enumerate(streams):
        s.wait_event(events[(i + 1) % len(streams)])
        with torch.cuda.stream(s):
            x[i] = x[i] + 0.5
    torch.cuda.synchronize()


work()
_kind.take('before', torch.stack(x))
_kind.middle()
work()
_kind.take('after', torch.stack(x))
_kind.weigh('ballast', b)
_kind.done()
