"""CUDA graphs with memory nodes: captured on stream-ordered pools (backend:cudaMallocAsync), replayed after."""
import os

os.environ['PYTORCH_CUDA_ALLOC_CONF'] = 'backend:cudaMallocAsync'
import _kind
import torch

torch.manual_seed(5)
torch.use_deterministic_algorithms(True)
x, w = torch.randn(512, 2048, device='cuda'), torch.randn(2048, 2048, device='cuda') / 45
out = torch.zeros(512, 2048, device='cuda')
side = torch.cuda.Stream()
side.wait_stream(torch.cuda.current_stream())
with torch.cuda.stream(side):
    for _ in range(3):
        out.copy_(torch.relu(x @ w))
torch.cuda.current_stream().wait_stream(side)
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    t = torch.relu(x @ w)
    out.copy_(t + out * 0.5)
    del t
for _ in range(3):
    graph.replay()
_kind.take('before', out)
_kind.middle()
for _ in range(5):
    graph.replay()
_kind.take('after', out)
_kind.done()
