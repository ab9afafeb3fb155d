"""NCCL on two devices (two devices): all-reduce, broadcast and point to point between two processes, before and after."""
import os
import socket

import _kind
import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def rank(number, port, go, results):
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), NCCL_NVLS_ENABLE='0', TORCH_SYMM_MEM_DISABLE_MULTICAST='1')
    torch.cuda.set_device(number)
    dist.init_process_group('nccl', rank=number, world_size=2, device_id=torch.device('cuda', number))
    torch.manual_seed(number)
    b = torch.full((1 << 28,), number + 1, dtype=torch.float32, device='cuda')
    said = []
    for phase in (0, 1):
        x = torch.randn(1 << 22, device='cuda')
        dist.all_reduce(x)
        dist.broadcast(x, src=1)
        if number == 0:
            dist.send(x * 2, dst=1)
        else:
            dist.recv(x, src=0)
        dist.all_reduce(b)
        b.mul_(0.5)
        torch.cuda.synchronize()
        said.append((x.double().sum().item(), b.double().sum().item()))
        results.put((number, phase, said[-1]))
        go[phase].wait(300)
    dist.destroy_process_group()


if __name__ == '__main__':
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    context = mp.get_context('spawn')
    go, results = [context.Event(), context.Event()], context.Queue()
    ranks = [context.Process(target=rank, args=(i, port, go, results), daemon=True) for i in range(2)]
    for p in ranks:
        p.start()
    got = [results.get(timeout=120) for _ in range(2)]
    _kind.middle()
    go[0].set()
    got += [results.get(timeout=120) for _ in range(2)]
    go[1].set()
    for p in ranks:
        p.join(60)
    _kind.take('results', sorted(got))
    _kind.take('exit codes', [p.exitcode for p in ranks])
    _kind.done()
