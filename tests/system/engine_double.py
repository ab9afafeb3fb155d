#!/usr/bin/env python3
"""An engine of a few lines, for tests: /health, /v1/models and /v1/chat/completions, and whatever fault a test asks for.

usage: engine_double.py --port P [--host H] [--name NAME] [OPTION=VALUE …]

Options, also changed while it runs by POST /double with a JSON object of them:
  health=200          status that /health answers; "hang": it never answers
  die=N               ends with exit code N: at its start, or at once
  last="…"            what it prints before it dies
  after=N             healthy only after N looks at /health
  flood=N             prints N MiB at its start, then goes on
  child=FILE          starts a process that outlives a SIGTERM; its pid goes to FILE
  deaf=1              SIGTERM does not end it
  tokens=N            words of an answer
  device=N            holds N MiB of device memory, and changes all of it for each answer
It asks for BERTH_ENGINE_KEY, when that is set, as bearer key everywhere. GET /double tells its pid, arguments, environment and how often it was asked.
"""
import argparse
import ctypes
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time


class State:
    def __init__(self, options):
        self.options = {"health": "200", "after": "0", "tokens": "5", **options}
        self.looks, self.asked, self.flooded, self.device = 0, 0, False, None

    def number(self, name, default=0):
        return int(self.options.get(name, default))

    def die(self):
        print(self.options.get("last", "the double ends as asked"), flush=True)
        os._exit(self.number("die"))


class Device:
    """Memory on device 0, and what must stand in it."""

    def __init__(self, mib):
        self.cuda, self.bytes, self.value = ctypes.CDLL("libcuda.so.1"), mib << 20, 0
        self.context, self.at, device = ctypes.c_void_p(), ctypes.c_uint64(), ctypes.c_int()
        self.call("cuInit", 0)
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), device)
        self.call("cuCtxSetCurrent", self.context)
        self.call("cuMemAlloc_v2", ctypes.byref(self.at), ctypes.c_size_t(self.bytes))
        self.work()

    def call(self, name, *arguments):
        code = getattr(self.cuda, name)(*arguments)
        if code:
            print(f"{name} failed with {code}" + (": out of device memory" if code == 2 else ""), flush=True)
            os._exit(5)

    def work(self):
        """Checks it, and writes it anew."""
        found = ctypes.c_uint8()
        self.call("cuCtxSetCurrent", self.context)
        if self.value:
            self.call("cuMemcpyDtoH_v2", ctypes.byref(found), ctypes.c_uint64(self.at.value + self.bytes - 1), ctypes.c_size_t(1))
            assert found.value == self.value, (found.value, self.value)
        self.value = self.value % 250 + 1
        self.call("cuMemsetD8_v2", self.at, ctypes.c_ubyte(self.value), ctypes.c_size_t(self.bytes))
        self.call("cuCtxSynchronize")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state, key, name = None, None, "double"

    def log_message(self, *words):
        pass

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def allowed(self):
        if self.key and self.headers.get("Authorization") != f"Bearer {self.key}":
            self.answer(401, {"error": {"message": "wrong key"}})
            return False
        return True

    def do_GET(self):
        if not self.allowed():
            return
        state = self.state
        if self.path == "/health":
            state.looks += 1
            while state.options["health"] == "hang":
                time.sleep(0.05)
            self.answer(503 if state.looks <= state.number("after") else int(state.options["health"]), {"status": "ok"})
        elif self.path == "/v1/models":
            self.answer(200, {"object": "list", "data": [{"id": self.name, "object": "model"}]})
        elif self.path == "/double":
            self.answer(200, {"pid": os.getpid(), "argv": sys.argv, "environment": dict(os.environ), "looks": state.looks, "asked": state.asked, "flooded": state.flooded, "cwd": os.getcwd()})
        else:
            self.answer(404, {"error": {"message": "no such path"}})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if not self.allowed():
            return
        state = self.state
        if self.path == "/double":
            state.options.update({name: str(value) for name, value in body.items()})
            self.answer(200, {})
            self.wfile.flush()
            if "die" in body:
                state.die()
            return
        if self.path != "/v1/chat/completions":
            self.answer(404, {"error": {"message": "no such path"}})
            return
        state.asked += 1
        if state.device:
            state.device.work()
        words = [f"word{i} " for i in range(state.number("tokens"))]
        usage = {"prompt_tokens": 3, "completion_tokens": len(words), "total_tokens": 3 + len(words)}
        if not body.get("stream"):
            self.answer(200, {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": self.name, "usage": usage,
                              "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "".join(words)}}]})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for i, word in enumerate([*words, None]):
            chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": self.name,
                     "choices": [{"index": 0, "delta": {"content": word} if word else {}, "finish_reason": None if word else "stop"}]}
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--name", default="double")
    parser.add_argument("options", nargs="*")
    given = parser.parse_args()
    state = State(dict(option.split("=", 1) for option in given.options))
    Handler.state, Handler.key, Handler.name = state, os.environ.get("BERTH_ENGINE_KEY"), given.name
    if state.options.get("child"):
        child = subprocess.Popen([sys.executable, "-c", "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(100000)"],
                                 stdout=subprocess.PIPE, start_new_session=True)
        child.stdout.readline()
        with open(state.options["child"], "w") as file:
            file.write(str(child.pid))
    if state.options.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(f"double: pid {os.getpid()}, port {given.port}", flush=True)
    if "die" in state.options:
        state.die()
    if state.options.get("device"):
        state.device = Device(state.number("device"))
    server = Server((given.host, given.port), Handler)
    if state.options.get("flood"):
        def flood():
            lines, began = (b"x" * 1023 + b"\n") * 64, time.monotonic()
            for _ in range(state.number("flood") * 16):
                os.write(1, lines)
            state.flooded = time.monotonic() - began
        threading.Thread(target=flood, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
