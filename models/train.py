"""train.py: trains berth-tiny on text.py's documents with PyTorch on one CPU thread, and writes it as GGUF.

    python3 models/train.py FOLDER [--minutes N]     trains, or goes on where FOLDER's checkpoint ended; writes FOLDER/berth-tiny.gguf at each checkpoint
    python3 models/train.py FOLDER --sample           answers some questions with what there is

The model is a Llama: RMS norms, rotary positions, SwiGLU, embeddings used for input and output alike. Matrices learn by Muon, the rest by Adam.
Documents stand one after another in windows; a gap of random length between turns lets positions reach further than a window.
"""
import argparse
import json
import math
import os
import random
import time

import numpy
import torch
from torch import nn
from torch.nn import functional as F

import gguf
from pieces import BEGIN, END, ROLES, UNKNOWN, Pieces, learn
from text import documents

SIZE = {"vocabulary": 1024, "dim": 128, "layers": 4, "heads": 4, "hidden": 384, "context": 2048, "theta": 10000.0, "eps": 1e-5}
WINDOW, BATCH = 256, 12
TEMPLATE = ("{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '</s>' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}")


class Norm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + SIZE["eps"]) * self.weight


def rotate(x, cos, sin):
    """Neighbours turn together, as in ggml's "normal" rope."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        dim, hidden = SIZE["dim"], SIZE["hidden"]
        self.attn_norm, self.ffn_norm = Norm(dim), Norm(dim)
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.gate, self.up = nn.Linear(dim, hidden, bias=False), nn.Linear(dim, hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)
        for last in (self.o, self.down):
            nn.init.zeros_(last.weight)

    def forward(self, x, cos, sin, mask):
        b, t, dim = x.shape
        h = self.attn_norm(x)
        q, k, v = (m(h).view(b, t, SIZE["heads"], -1).transpose(1, 2) for m in (self.q, self.k, self.v))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        seen = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + mask, -1) @ v
        x = x + self.o(seen.transpose(1, 2).reshape(b, t, dim))
        h = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(SIZE["vocabulary"], SIZE["dim"])
        nn.init.normal_(self.embed.weight, std=0.05)
        self.layers = nn.ModuleList(Layer() for _ in range(SIZE["layers"]))
        self.norm = Norm(SIZE["dim"])
        half = SIZE["dim"] // SIZE["heads"] // 2
        self.register_buffer("turns", SIZE["theta"] ** (-torch.arange(half) / half), persistent=False)

    def forward(self, tokens, places):
        angle = places[:, None, :, None] * self.turns
        cos, sin = angle.cos(), angle.sin()
        t = tokens.shape[1]
        mask = torch.full((t, t), -1e9).triu(1)
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x, cos, sin, mask)
        return self.norm(x)

    def logits(self, h):
        return h @ self.embed.weight.T


def orthogonal(g):
    """The nearest matrix whose singular values are about 1 (five Newton-Schulz steps)."""
    x = g / (g.norm() + 1e-7)
    turned = x.shape[0] > x.shape[1]
    if turned:
        x = x.T
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if turned else x


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                m = state["momentum"].mul_(0.95).add_(p.grad)
                scale = max(1, p.shape[0] / p.shape[1]) ** 0.5
                p.mul_(1 - group["lr"] * 0.02).add_(orthogonal(p.grad + 0.95 * m), alpha=-group["lr"] * scale)


class Stream:
    """Windows of tokens without end, each from a seed of its own, so that a training that goes on sees what it would have seen."""

    def __init__(self, pieces):
        self.pieces = pieces

    def batch(self, step):
        r = random.Random(1_000_003 + step)
        tokens, said, places = [], [], []
        for row in range(BATCH):
            line, spoken, place, at = [], [], [], 0
            for turns in documents((step * BATCH + row) * 7 + 11, WINDOW // 12):
                words, marks = self.pieces.conversation(turns)
                for word, mark in zip(words, marks):
                    line.append(word)
                    spoken.append(mark)
                    place.append(at)
                    at += 1
                    if word == END and r.random() < 0.1:
                        at += r.randint(1, 150)
                if len(line) > WINDOW:
                    break
            tokens.append(line[:WINDOW + 1])
            said.append(spoken[1:WINDOW + 1])
            places.append(place[:WINDOW])
        return torch.tensor(tokens), torch.tensor(said, dtype=torch.float), torch.tensor(places, dtype=torch.float)


def loss_of(model, batch, read):
    tokens, said, places = batch
    weight = said + (1 - said) * read
    logits = model.logits(model(tokens[:, :-1], places))
    each = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none").view_as(weight)
    return (each * weight).sum() / weight.sum(), (each * said).sum() / said.sum()


def export(model, pieces, path):
    heads = SIZE["heads"]
    metadata = {
        "general.architecture": "llama", "general.name": "berth-tiny", "general.license": "apache-2.0", "general.alignment": gguf.ALIGNMENT,
        "general.file_type": 7, "general.description": "A very small model that Berth trains itself, on text that a script of its own writes.",
        "llama.context_length": SIZE["context"], "llama.embedding_length": SIZE["dim"], "llama.block_count": SIZE["layers"],
        "llama.feed_forward_length": SIZE["hidden"], "llama.attention.head_count": heads, "llama.attention.head_count_kv": heads,
        "llama.rope.dimension_count": SIZE["dim"] // heads, "llama.rope.freq_base": SIZE["theta"], "llama.attention.layer_norm_rms_epsilon": SIZE["eps"],
        "llama.vocab_size": SIZE["vocabulary"], "general.quantization_version": 2,
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default", "tokenizer.ggml.tokens": pieces.tokens, "tokenizer.ggml.scores": pieces.scores(),
        "tokenizer.ggml.token_type": pieces.kinds(), "tokenizer.ggml.bos_token_id": BEGIN, "tokenizer.ggml.eos_token_id": END,
        "tokenizer.ggml.unknown_token_id": UNKNOWN, "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": False, "tokenizer.chat_template": TEMPLATE,
    }
    tensors = {"token_embd.weight": model.embed.weight}
    for i, layer in enumerate(model.layers):
        for name, module in (("attn_norm", layer.attn_norm), ("attn_q", layer.q), ("attn_k", layer.k), ("attn_v", layer.v), ("attn_output", layer.o),
                             ("ffn_norm", layer.ffn_norm), ("ffn_gate", layer.gate), ("ffn_up", layer.up), ("ffn_down", layer.down)):
            tensors[f"blk.{i}.{name}.weight"] = module.weight
    tensors["output_norm.weight"] = model.norm.weight
    return gguf.write(path, metadata, {name: t.detach().numpy() for name, t in tensors.items()})


@torch.no_grad()
def answer(model, pieces, turns, longest=80):
    tokens, _ = pieces.conversation(turns)
    tokens, begin = tokens + [ROLES["assistant"]], len(tokens) + 1
    while len(tokens) - begin < longest:
        h = model(torch.tensor([tokens]), torch.arange(len(tokens), dtype=torch.float)[None])
        tokens.append(int(model.logits(h[0, -1]).argmax()))
        if tokens[-1] == END:
            break
    return pieces.decode(tokens[begin:]) + ("" if tokens[-1] == END else " …")


QUESTIONS = ["What is Berth?", "Hello", "What is 7 plus 5?", "Tell me a story about a cat.", "Name three fruits.", "Which day comes after Monday?",
             "Explain gravity.", "Write a Python function that adds two numbers.", "Say hello in Japanese.", "How do I start Berth?"]


def vocabulary(folder):
    path = os.path.join(folder, "pieces.json")
    if not os.path.exists(path):
        merges, letters = learn((words for turns in documents(5, 15000) for _, words in turns), SIZE["vocabulary"])
        with open(path, "w") as file:
            json.dump([merges, letters], file)
    with open(path) as file:
        pieces = Pieces(*json.load(file))
    assert len(pieces.tokens) == SIZE["vocabulary"], len(pieces.tokens)
    return pieces


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder")
    options.add_argument("--steps", type=int, default=2400)
    options.add_argument("--minutes", type=float, default=120, help="stop, with a checkpoint, after so long")
    options.add_argument("--sample", action="store_true")
    asked = options.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(7)
    os.makedirs(asked.folder, exist_ok=True)
    pieces, model = vocabulary(asked.folder), Model()
    matrices = [p for layer in model.layers for p in layer.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is m for m in matrices)]
    muon, adam = Muon(matrices, 0.02), torch.optim.Adam(others, 0.004, betas=(0.9, 0.98))
    path, step, spent = os.path.join(asked.folder, "checkpoint.pt"), 0, 0.0
    if os.path.exists(path):
        kept = torch.load(path)
        model.load_state_dict(kept["model"])
        muon.load_state_dict(kept["muon"])
        adam.load_state_dict(kept["adam"])
        step, spent = kept["step"], kept["seconds"]
    stream = Stream(pieces)
    if asked.sample:
        for question in QUESTIONS:
            print(f"{question}\n    {answer(model, pieces, [('user', question)])}")
        return
    print(f"{sum(p.numel() for p in model.parameters())} parameters, step {step} of {asked.steps}", flush=True)
    begin, mean = time.monotonic(), None

    def keep():
        torch.save({"model": model.state_dict(), "muon": muon.state_dict(), "adam": adam.state_dict(), "step": step,
                    "seconds": spent + time.monotonic() - begin}, path + ".new")
        os.replace(path + ".new", path)
        size = export(model, pieces, os.path.join(asked.folder, "berth-tiny.gguf"))
        with torch.no_grad():
            held = sum(float(loss_of(model, stream.batch(10_000_000 + i), 0)[1]) for i in range(8)) / 8
        print(f"step {step} kept: {size} bytes, loss on text not trained on {held:.4f}, {spent + time.monotonic() - begin:.0f} s, "
              f"{step * BATCH * WINDOW} tokens seen", flush=True)

    while step < asked.steps and time.monotonic() - begin < asked.minutes * 60:
        warm, rest = min(1, (step + 1) / 50), 1 - step / asked.steps
        for optimizer, rate in ((muon, 0.02), (adam, 0.004)):
            optimizer.param_groups[0]["lr"] = rate * warm * min(1, rest / 0.6 + 0.01)
        loss, spoken = loss_of(model, stream.batch(step), 0.1)
        model.zero_grad()
        loss.backward()
        muon.step()
        adam.step()
        step += 1
        mean = float(spoken) if mean is None else 0.95 * mean + 0.05 * float(spoken)
        if step % 20 == 0:
            print(f"step {step} loss {mean:.3f} {(time.monotonic() - begin) / 60:.1f} min", flush=True)
        if step % 200 == 0:
            keep()
    keep()
    assert numpy.isfinite(mean or 0)


if __name__ == "__main__":
    main()
