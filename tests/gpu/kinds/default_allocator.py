"""PyTorch's ordinary allocator: large and small blocks, cached ones among them, a training step before and after."""
import _kind
import torch

torch.manual_seed(1)
torch.use_deterministic_algorithms(True)
b = _kind.ballast(2)
small = [torch.full((n * 97 + 1,), float(n), device='cuda') for n in range(2000)]
del small[::3]
net = torch.nn.Sequential(torch.nn.Linear(4096, 4096), torch.nn.GELU(), torch.nn.Linear(4096, 4096)).cuda()
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
x = torch.randn(512, 4096, device='cuda')


def step():
    optimizer.zero_grad()
    loss = net(x).pow(2).mean()
    loss.backward()
    optimizer.step()
    return loss


_kind.take('loss before', step())
_kind.middle()
for _ in range(5):
    loss = step()
_kind.take('loss after', loss)
_kind.take('small', torch.stack([t.sum() for t in small]))
_kind.take('weights', net[0].weight)
_kind.weigh('ballast', b)
_kind.done()
