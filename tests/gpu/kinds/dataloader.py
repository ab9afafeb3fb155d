"""A DataLoader with forked workers and pinned batches, the device taken away between two epochs of a training."""
import _kind
import torch


class Set(torch.utils.data.Dataset):
    def __len__(self):
        return 256

    def __getitem__(self, i):
        g = torch.Generator().manual_seed(i)
        return torch.randn(1024, generator=g), i


if __name__ == '__main__':
    torch.manual_seed(14)
    torch.use_deterministic_algorithms(True)
    b = _kind.ballast(1)
    net = torch.nn.Linear(1024, 1024).cuda()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-2)
    loader = torch.utils.data.DataLoader(Set(), batch_size=32, num_workers=2, pin_memory=True, persistent_workers=True, multiprocessing_context='fork')
    for epoch in range(2):
        for x, i in loader:
            optimizer.zero_grad()
            net(x.to('cuda', non_blocking=True)).pow(2).mean().backward()
            optimizer.step()
        _kind.take(f'epoch {epoch}', net.weight)
        if epoch == 0:
            _kind.middle()
    _kind.weigh('ballast', b)
    _kind.done()
