"""A model server of a given size with random weights, over OpenAI's interface: what more models than memory are tried with.

usage: model_server.py --name NAME --port PORT --gib SIZE [--host ADDRESS] [--device cuda|cpu|none] [--seed N]

Each token passes through all of the weights, as in a real model of that size; the next word is chosen by what comes out, so a wrong bit in them shows as another answer to
the same question. --device none computes with a digest in place of weights, where there is no PyTorch: it tries the measuring, not a device. /double tells what was done.
"""
import argparse
import hashlib
import hmac
import http.server
import json
import os
import threading
import time

WIDTH = 16384  # a matrix in bf16 is half a GiB
WORDS = [a + b for a in ("ba", "do", "ki", "lu", "me", "no", "ra", "si") for b in ("n", "m", "l", "r", "s", "t", "k", "p")]
BODY_BYTES = 1 << 20


class Digest:
    """No weights: a digest of what was said."""

    def __init__(self, seed):
        self.seed, self.bytes = seed, 0

    def begin(self, text):
        self.state = hashlib.sha256(f"{self.seed}:{text}".encode()).digest()

    def next(self):
        self.state = hashlib.sha256(self.state).digest()
        return int.from_bytes(self.state[:4], "little")


class Weights:
    """Matrices of random numbers in device memory."""

    def __init__(self, seed, gib, device):
        import torch
        self.torch, self.device = torch, device
        self.width = WIDTH if gib >= 1 else 1024
        count = max(1, round(gib * 2**30 / (2 * self.width**2)))
        generator = torch.Generator(device=device).manual_seed(seed)
        self.weights = [torch.empty(self.width, self.width, device=device, dtype=torch.bfloat16).normal_(0, self.width**-0.5, generator=generator) for _ in range(count)]
        self.bytes = count * 2 * self.width**2

    def begin(self, text):
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
        generator = self.torch.Generator(device="cpu").manual_seed(number)
        self.x = self.torch.randn(8, self.width, generator=generator).to(self.device, self.torch.bfloat16)

    def next(self):
        with self.torch.inference_mode():
            for w in self.weights:
                y = self.x @ w
                self.x = (y.float() / y.float().pow(2).mean(-1, keepdim=True).add(1e-6).sqrt()).to(self.torch.bfloat16)
            return int(self.x[0].float().argmax())


class Server(http.server.ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 1024

    def __init__(self, options, model):
        super().__init__((options.host, options.port), Handler)
        self.name, self.model, self.turn, self.served = options.name, model, threading.Lock(), 0
        self.key = os.environ.get("BERTH_ENGINE_KEY", "")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def send(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, message):
        self.close_connection = True
        self.send(status, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}})

    def known(self):
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return not self.server.key or hmac.compare_digest(given.encode(), self.server.key.encode())

    def do_GET(self):
        if self.path == "/health":
            self.send(200, {"status": "ok"})
        elif not self.known():
            self.refuse(401, "wrong key")
        elif self.path == "/v1/models":
            self.send(200, {"object": "list", "data": [{"id": self.server.name, "object": "model", "created": 0, "owned_by": "berth"}]})
        elif self.path == "/double":
            self.send(200, {"served": self.server.served, "bytes": self.server.model.bytes, "pid": os.getpid()})
        else:
            self.refuse(404, "not found")

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not self.known():
            return self.refuse(401, "wrong key")
        if self.path != "/v1/chat/completions":
            return self.refuse(404, "not found")
        if not length.isdigit() or int(length) > BODY_BYTES:
            return self.refuse(413, "the body is too long, or has no length")
        try:
            asked = json.loads(self.rfile.read(int(length)))
            text, most = json.dumps(asked["messages"]), min(1024, int(asked.get("max_tokens") or 16))
        except (ValueError, KeyError, TypeError):
            return self.refuse(400, "no request for a chat")
        with self.server.turn:
            try:
                self.answer(text, max(1, most), bool(asked.get("stream")))
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client left: so does its work

    def answer(self, text, most, stream):
        model, words = self.server.model, []
        head = {"id": f"chatcmpl-{self.server.served}", "created": int(time.time()), "model": self.server.name}
        usage = {"prompt_tokens": len(text.split()), "completion_tokens": most, "total_tokens": len(text.split()) + most}
        model.begin(text)
        for i in range(most):
            words.append(WORDS[model.next() % len(WORDS)])
            if stream and i == 0:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
            if stream:
                self.event({**head, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": words[-1] + " "}, "finish_reason": None}]})
        self.server.served += 1
        if not stream:
            choice = {"index": 0, "message": {"role": "assistant", "content": " ".join(words)}, "finish_reason": "length"}
            return self.send(200, {**head, "object": "chat.completion", "choices": [choice], "usage": usage})
        self.event({**head, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}], "usage": usage})
        self.event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def event(self, value):
        data = f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n".encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--name", required=True)
    p.add_argument("--port", type=int, required=True)
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--gib", type=float, required=True)
    p.add_argument("--device", choices=["cuda", "cpu", "none"], default="cuda")
    p.add_argument("--seed", type=int, default=11)
    o = p.parse_args()
    model = Digest(o.seed) if o.device == "none" else Weights(o.seed, o.gib, o.device)
    model.begin("warm")
    model.next()  # its libraries are loaded, its kernels, too, before it is healthy
    Server(o, model).serve_forever()


if __name__ == "__main__":
    main()
