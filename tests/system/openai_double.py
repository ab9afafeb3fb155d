"""An engine for tests: speaks OpenAI's routes over HTTP/1.1 and behaves as it is told, also badly.

As a program: `openai_double.py --port N [--delay S] [--tokens N] [--pace S] [--fault NAME] [--health S]`: prints its port once it listens. In a test: `Engine(…)`, a thread with a loop of its
own. What it does with a request can be changed at any time (`behave`), or asked for by the request itself: {"double": {"fault": "die", …}}.

Faults: hang (no answer), refuse (closes at once), die (closes before the answer), die_mid (closes after `after` events), cut (the same, in the middle of an event), stall (no more after `after`
events), flood (events without pause, `tokens` of them), garbage (no HTTP), broken (an event that is no JSON), endless (an event without an end), clean (ends without [DONE]), json (an answer that is no
JSON), page (an HTML page in place of a stream), busy (503), fail (500), error_event (an error in mid-stream).
"""
import argparse
import asyncio
import json
import threading


class Engine:
    def __init__(self, port=0, **behaviour):
        self.behaviour = {"delay": 0, "tokens": 5, "pace": 0, "fault": None, "after": 2, "split": 0, "text": "word ", "usage": True, "healthy_after": 0, "gate": None, "waiting": None, **behaviour}
        self.requests, self.cancelled, self.finished = [], 0, 0
        self.running = self.most = 0
        self.changed = threading.Condition()
        self.loop = asyncio.new_event_loop()
        started = threading.Event()
        self.connections = set()
        self.thread = threading.Thread(target=self._run, args=(port, started), daemon=True)
        self.thread.start()
        assert started.wait(60)
        self.address = f"http://127.0.0.1:{self.port}"

    # ---- for tests

    def behave(self, **behaviour):
        self.behaviour.update(behaviour)

    def wait(self, condition, timeout=240):
        with self.changed:
            assert self.changed.wait_for(lambda: condition(self), timeout), f"requests {len(self.requests)}, running {self.running}, cancelled {self.cancelled}, finished {self.finished}"

    def release(self):
        """Those that wait at the gate go on, and all that come."""
        gate, self.behaviour["gate"] = self.behaviour["gate"], None
        if gate:
            self.loop.call_soon_threadsafe(gate.set)

    def hold(self):
        self.behaviour["gate"] = asyncio.Event()

    def stop(self):
        def end():
            self.server.close()
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.call_later(0.05, self.loop.stop)
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(end)
            self.thread.join(60)

    # ---- the server

    def _run(self, port, started):
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", port, limit=64 << 20, backlog=2048))
        self.port = self.server.sockets[0].getsockname()[1]
        started.set()
        self.loop.run_forever()

    def _count(self, **changes):
        with self.changed:
            for name, by in changes.items():
                setattr(self, name, getattr(self, name) + by)
            self.most = max(self.most, self.running)
            self.changed.notify_all()

    async def _serve(self, reader, writer):
        self.connections.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                way, path, _ = head.split(b"\r\n")[0].decode().split()
                headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in head.decode("latin-1").split("\r\n")[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if way == "GET":
                    await self._get(path, writer)
                    continue
                request = json.loads(body)
                with self.changed:
                    self.requests.append({"path": path, "headers": headers, "body": request, "bytes": len(body)})
                self._count(running=1)
                watch = self.loop.create_task(reader.read(1))
                answer = self.loop.create_task(self._answer(path, request, writer))
                try:
                    await asyncio.wait({watch, answer}, return_when=asyncio.FIRST_COMPLETED)
                    if not answer.done():
                        answer.cancel()
                        self._count(cancelled=1)
                        return
                    keep = answer.result()
                    self._count(finished=1)
                    if not keep:
                        return
                finally:
                    self._count(running=-1)
                    watch.cancel()
                    await asyncio.gather(watch, answer, return_exceptions=True)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError, ValueError):
            pass
        finally:
            self.connections.discard(writer)
            writer.close()

    async def _send(self, writer, status, kind, body):
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()

    async def _get(self, path, writer):
        if path == "/v1/models":
            await self._send(writer, 200, "application/json", b'{"object":"list","data":[]}')
        elif self.behaviour["healthy_after"] > 0:
            self.behaviour["healthy_after"] -= 1
            await self._send(writer, 503, "text/plain", b"starting")
        else:
            await self._send(writer, 200, "application/json", b'{"status":"ok"}')

    async def _answer(self, path, request, writer):
        b = {**self.behaviour, **(request.get("double") or {})}
        fault = b["fault"]
        if b["gate"]:
            await b["gate"].wait()
        if fault == "hang":
            await asyncio.Event().wait()
        if b["delay"]:
            await asyncio.sleep(b["delay"])
        if fault in ("die", "refuse"):
            return False
        if fault == "garbage":
            writer.write(b"\x00\x01 this is not HTTP\r\n\r\n")
            return False
        if fault in ("busy", "fail"):
            await self._send(writer, 503 if fault == "busy" else 500, "application/json", b'{"error":{"message":"no room","type":"server_error","param":null,"code":null}}')
            return True
        usage = {"prompt_tokens": 11, "completion_tokens": b["tokens"], "total_tokens": 11 + b["tokens"]}
        if fault == "json":
            await self._send(writer, 200, "application/json", b'{"choices": [')
            return True
        if fault == "page":
            await self._send(writer, 200, "text/html", b"<html>hello</html>")
            return True
        if path.endswith("/embeddings"):
            await self._send(writer, 200, "application/json", json.dumps({"object": "list", "model": request["model"], "data": [
                {"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}], "usage": {"prompt_tokens": 3, "total_tokens": 3}}).encode())
            return True
        chat = path.endswith("/chat/completions")
        if not request.get("stream"):
            text = b["text"] * b["tokens"]
            choice = {"index": 0, "finish_reason": "stop", **({"message": {"role": "assistant", "content": text}} if chat else {"text": text})}
            await self._send(writer, 200, "application/json", json.dumps({"id": "x", "object": "chat.completion" if chat else "text_completion", "created": 1,
                                                                          "model": request["model"], "choices": [choice], "usage": usage}).encode())
            return True
        return await self._stream(request, writer, b, fault, usage, chat)

    async def _stream(self, request, writer, b, fault, usage, chat):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")

        async def part(data):
            step = b["split"] or len(data)
            for at in range(0, len(data), step):
                piece = data[at:at + step]
                writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                if b["split"]:
                    await writer.drain()
                    await asyncio.sleep(0)
            if fault != "flood" or writer.transport.get_write_buffer_size() > 1 << 20:
                await writer.drain()

        def event(value):
            return b"data: " + (value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False).encode()) + b"\n\n"

        def chunk(text, first=False):
            choice = {"index": 0, "finish_reason": None, **({"delta": {"content": text, **({"role": "assistant"} if first else {})}} if chat else {"text": text})}
            return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": request["model"], "choices": [choice]}

        if b["waiting"]:
            await part(f": {b['waiting']}\n\n".encode())
        for i in range(b["tokens"]):
            if i == b["after"]:
                if fault == "die_mid":
                    return False
                if fault == "cut":
                    await part(event(chunk("half"))[:-20])
                    return False
                if fault == "stall":
                    await asyncio.Event().wait()
                if fault == "broken":
                    await part(b"data: {\"choices\": [}\n\n")
                if fault == "endless":
                    while True:
                        await part(b"data: " + b"x" * 65536)
                if fault == "error_event":
                    await part(event({"error": {"message": "out of memory", "type": "server_error", "param": None, "code": None}}))
                    break
            text = b["text"][i % len(b["text"])] if b.get("letters") else b["text"]
            await part(event(chunk(text, i == 0)))
            if b["pace"]:
                await asyncio.sleep(b["pace"])
        if b["usage"]:
            await part(event({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": request["model"], "choices": [], "usage": usage}))
        if fault != "clean":
            await part(event(b"[DONE]"))
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0)
    parser.add_argument("--tokens", type=int, default=5)
    parser.add_argument("--pace", type=float, default=0)
    parser.add_argument("--fault")
    parser.add_argument("--after", type=int, default=2)
    parser.add_argument("--health", type=int, default=0, help="so many health checks are answered 503; -1: all")
    options = parser.parse_args()
    engine = Engine(options.port, delay=options.delay, tokens=options.tokens, pace=options.pace, fault=options.fault, after=options.after,
                    healthy_after=options.health if options.health >= 0 else 1 << 60)
    print(engine.port, flush=True)
    engine.thread.join()


if __name__ == "__main__":
    main()
