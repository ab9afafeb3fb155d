"""Requests that travel to engines through the connection that their worker holds: berth-pool and berth-worker as they are, before engines that a test scripts. What engines and clients do wrong is the
same as on the direct road (test_openai.py); here it is what stands between: the tunnel's own bounds, cancellation, the worker's death, its end in order, places among servers."""
import asyncio
import json
import os
import pathlib
import signal
import ssl
import struct
import subprocess
import sys
import threading

import pytest
from berthpool import Worker as HandWorker
from berthpool import running
from conftest import KEPT, SANITIZER, Process, built, wait_until
from openai_double import Engine
from test_openai import Stream, chat


class Far:
    """berth-worker as if its pool were far away: the only road to its engines is the tunnel."""

    def __init__(self, pool, folder, models, *options, name=None):
        self.pool, self.folder, self.name, self.options = pool, folder, name or f"far-{os.urandom(4).hex()}", options
        folder.mkdir(exist_ok=True)
        self.catalogue, self.starts = folder / f"{name}.conf", 0
        self.write(models)
        self.start()

    def write(self, models):
        fresh = self.catalogue.with_suffix(".new")
        fresh.write_text(models if isinstance(models, str) else "\n".join(f"[model {model}]\nkind = url\nurl = {engine if isinstance(engine, str) else engine.address}\n"
                                   + "".join(f"{key} = {value}\n" for key, value in more.items()) for model, (engine, more) in models.items()))
        fresh.rename(self.catalogue)

    def start(self):
        self.starts += 1
        argv = [built("src/worker/berth-worker"), "--pool", self.pool.url.replace("http", "ws", 1), "--folder", self.folder / f"{self.name}-folder", "--models", self.catalogue, "--slots", "1",
                "--confine", "off", "--name", self.name, *(() if "--engine-road" in self.options else ("--engine-road", "tunnel")), *self.options]
        self.process = Process(f"{self.name}-{self.starts}", self.folder, argv, {**{k: os.environ[k] for k in KEPT if k in os.environ}, "HOME": str(self.folder), "BERTH_TOKEN": self.pool.worker_token()})

    def engine(self, model="m"):
        found = [e for m in self.pool.good("GET", "/api/v1/models")["data"] if m["name"] == model for e in m["workers"] if e["name"] == self.name]
        return found[0] if found else None

    def wait(self, state="ready", model="m"):
        wait_until(lambda: (self.engine(model) or {}).get("state") == state, lambda: f"{model} is {state}: {self.engine(model)}\n{self.process.err[-2000:]}", 120)
        return self

    def stop(self):
        self.process.popen.send_signal(signal.SIGTERM)
        return self.process.wait(90)


def metric(pool, name):
    for line in pool.ask("GET", "/metrics").body.decode().splitlines():
        if line.startswith(name + " "):
            return int(line.split()[1])
    return None


@pytest.fixture()
def engine():
    engine = Engine()
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    yield from running(tmp_path_factory.mktemp("tunnel"), settings=["generate.direct=none"])


@pytest.fixture()
def far(pool, engine, tmp_path):
    far = Far(pool, tmp_path, {"m": (engine, {"parallel": 64, "tasks": "chat,embedding"})}).wait()
    yield far
    far.process.end()
    for file in tmp_path.glob("*.err"):
        assert not SANITIZER.search(file.read_text(errors="replace")), file.read_text(errors="replace")[-4000:]
    wait_until(lambda: metric(pool, "berth_tunnels") == 0, "its tunnel is gone")


def test_answers_and_streams(pool, far, engine):
    answer = chat(pool)
    assert answer.status == 200 and answer.json["choices"][0]["message"]["content"] == "word " * 5 and answer.headers["x-berth-worker"] == far.name
    got = engine.requests[-1]
    assert got["headers"]["x-request-id"] == answer.headers["x-request-id"] and got["headers"]["content-type"] == "application/json" and "expect" not in got["headers"]
    stream = Stream(pool).end()
    assert stream.whole and stream.words == "word " * 5 and stream.events[-1] == "[DONE]"
    assert pool.ask("POST", "/v1/embeddings", {"model": "m", "input": "x"}).status == 200
    # Neither the address nor a key is known to the pool, or to people.
    assert "127.0.0.1" not in json.dumps(far.engine()) and metric(pool, "berth_tunnels") == 1 and metric(pool, "berth_tunnel_streams") == 0
    assert metric(pool, "berth_tunnel_streams_total") >= 3 and metric(pool, "berth_generations{state=\"running\"}") == 0


def test_many_at_once(pool, far, engine):
    engine.hold()
    streams = [Stream(pool) for _ in range(64)]
    engine.wait(lambda e: e.running == 64)
    assert metric(pool, "berth_tunnel_streams") == 64
    engine.release()
    for stream in streams:
        assert stream.end().whole and stream.words == "word " * 5


def test_bodies_longer_than_a_window(pool, far, engine):
    content = "äöü " * (10 << 17)
    answer = pool.ask("POST", "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": content}]})
    assert answer.status == 200 and engine.requests[-1]["body"]["messages"][0]["content"] == content
    answer = chat(pool, double={"text": "x" * 1000, "tokens": 3000})
    assert answer.status == 200 and len(answer.json["choices"][0]["message"]["content"]) == 3_000_000


def test_slow_clients_hold_their_engine_back_and_nobody_else(pool, far, engine):
    before = metric(pool, "berth_tunnel_held_bytes")
    slow = [Stream(pool, double={"fault": "flood", "tokens": 15_000, "text": "x" * 2000}) for _ in range(2)]
    for stream in slow:
        stream.until("data:")
    wait_until(lambda: metric(pool, "berth_tunnel_held_bytes") > before, "the clients' answers wait in the pool")
    for _ in range(3):
        assert Stream(pool).end().whole
    # A window each, however much there is.
    assert metric(pool, "berth_tunnel_held_bytes") <= 2 * 65536
    assert engine.finished < 10
    # Read after all, it goes on to its end.
    tail, bytes_read = b"", len(slow[0].raw)
    while not tail.endswith(b"\r\n0\r\n\r\n"):
        part = slow[0].sock.recv(1 << 20)
        assert part, tail[-300:]
        tail, bytes_read = (tail + part)[-1000:], bytes_read + len(part)
    assert b"data: [DONE]" in tail and bytes_read > 2000 * 15_000
    for stream in slow:
        stream.leave()
    engine.wait(lambda e: e.running == 0)
    wait_until(lambda: metric(pool, "berth_tunnel_held_bytes") == 0 and metric(pool, "berth_tunnel_streams") == 0, "nothing is held")


def test_clients_that_leave(pool, far, engine):
    for request in ({"double": {"fault": "hang"}}, {"double": {"fault": "stall"}}, {"stream": False, "double": {"fault": "hang"}}):
        cancelled = engine.cancelled
        stream = Stream(pool, **request)
        engine.wait(lambda e: e.running == 1)
        if request["double"]["fault"] == "stall":
            stream.until("word")
        stream.leave()
        engine.wait(lambda e: e.running == 0 and e.cancelled == cancelled + 1)
    assert metric(pool, "berth_tunnel_streams") == 0 and chat(pool).status == 200


@pytest.mark.parametrize("fault", ["die", "garbage", "json", "page", "busy", "fail"])
def test_an_engine_that_fails_before_its_answer(pool, far, engine, fault):
    answer = chat(pool, double={"fault": fault})
    assert answer.status == 502 and answer.json["error"]["message"], answer
    assert chat(pool).status == 200


@pytest.mark.parametrize("fault", ["die_mid", "cut", "broken", "clean", "endless"])
def test_an_engine_that_fails_in_mid_stream(pool, far, engine, fault):
    stream = Stream(pool, double={"fault": fault})
    stream.broken()
    assert stream.words == "word " * (5 if fault == "clean" else 2)
    engine.wait(lambda e: e.running == 0)
    assert Stream(pool).end().whole


def test_an_engine_that_is_gone(pool, far, engine):
    engine.stop()
    assert "nothing listens" in chat(pool).json["error"]["message"]


def test_times_are_the_pools(tmp_path, engine):
    for pool in running(tmp_path / "pool", settings=["generate.direct=none", "generate.first=300ms", "generate.quiet=300ms"]):
        far = Far(pool, tmp_path, {"m": (engine, {})}).wait()
        assert "nothing for too long" in chat(pool, double={"fault": "hang"}).json["error"]["message"]
        assert "nothing for too long" in Stream(pool, double={"fault": "stall"}).broken()["message"]
        engine.wait(lambda e: e.running == 0 and e.cancelled == 2)
        far.process.end()


def test_the_worker_dies_or_is_cut_off_in_mid_stream(pool, far, engine):
    stream = Stream(pool, double={"fault": "stall"}).until("word")
    early = Stream(pool, double={"fault": "hang"})
    engine.wait(lambda e: e.running == 2)
    far.process.popen.send_signal(signal.SIGKILL)
    assert "connection to the engine's worker was lost" in stream.broken()["message"]
    early.end()
    assert early.status == 502 and "[DONE]" not in early.text if early.status == 200 else early.status == 502
    engine.wait(lambda e: e.running == 0)
    # Who asks now waits for it.
    waiting = Stream(pool)
    far.process.wait(60)
    far.start()
    assert waiting.end().whole
    assert Stream(pool).end().whole


def test_over_tls(tmp_path, engine):
    for pool in running(tmp_path / "pool", settings=["generate.direct=none", "pool.tls=auto"]):
        far = Far(pool, tmp_path, {"m": (engine, {})}, "--pin", pool.pin).wait()
        assert Stream(pool).end().whole
        content = "long " * (1 << 18)
        assert pool.ask("POST", "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": content}]}).status == 200
        assert engine.requests[-1]["body"]["messages"][0]["content"] == content
        far.process.end()


class Secure:
    """TLS before an engine."""

    def __init__(self, folder, engine):
        self.certificate, key = folder / "engine.crt", folder / "engine.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=DNS:localhost", "-keyout", key, "-out", self.certificate], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.engine, self.loop = engine, asyncio.new_event_loop()
        ready = threading.Event()

        async def pump(reader, writer):
            try:
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
            except (ConnectionError, ssl.SSLError):
                pass
            finally:
                writer.close()

        async def serve(reader, writer):
            inner = await asyncio.open_connection("127.0.0.1", engine.port)
            await asyncio.gather(pump(reader, inner[1]), pump(inner[0], writer))

        def run():
            asyncio.set_event_loop(self.loop)
            self.server = self.loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0, ssl=context))
            self.url = f"https://localhost:{self.server.sockets[0].getsockname()[1]}"
            ready.set()
            self.loop.run_forever()

        threading.Thread(target=run, daemon=True).start()
        assert ready.wait(60)


def test_engines_behind_https(pool, engine, tmp_path):
    secure = Secure(tmp_path, engine)
    # Also where pools go to engines themselves: such a one is reached through the worker, which knows whom to trust.
    far = Far(pool, tmp_path, {"good": (secure.url, {"ca_file": secure.certificate}), "bad": (secure.url, {}), "other": (secure.url.replace("localhost", "127.0.0.1"), {"ca_file": secure.certificate})},
              "--engine-road", "direct")
    far.wait("ready", "good").wait("failed", "bad").wait("failed", "other")
    assert "certificate" in far.engine("bad")["text"]
    assert Stream(pool, "good").end().whole
    assert chat(pool, "bad").status == 503
    far.process.end()


# ---- the road that is taken


def test_who_reaches_engines_how(tmp_path, engine):
    """On one machine directly, unless someone says otherwise; an address that a worker from elsewhere tells is not gone to unless the pool's owner says so."""
    for pool in running(tmp_path / "pool"):
        far = Far(pool, tmp_path, {"m": (engine, {})}, "--engine-road", "auto").wait()
        assert Stream(pool).end().whole and metric(pool, "berth_tunnel_streams_total") == 0
        far.process.end()
        wait_until(lambda: far.engine()["state"] == "away", "it is away")
        far = Far(pool, tmp_path, {"m": (engine, {})}, "--engine-road", "tunnel").wait()
        assert Stream(pool).end().whole and metric(pool, "berth_tunnel_streams_total") == 1
        far.process.end()


def test_a_worker_without_a_tunnel_whose_address_is_not_taken(pool, engine):
    worker = HandWorker(pool, name="plain", engines=[{"model": "n", "kind": "url", "state": "ready", "address": engine.address, "parallel": 4, "tasks": ["chat"]}])
    found = [m for m in pool.good("GET", "/api/v1/models")["data"] if m["name"] == "n"][0]
    assert found["workers"][0]["state"] == "starting" and "tunnel" in found["workers"][0]["text"]
    worker.socket.send({"m": "change", "engines": []})
    worker.socket.send({"m": "bye"})


# ---- a worker by hand: what does not belong there


def frame(kind, stream, payload=b""):
    return struct.pack(">II", kind << 24 | len(payload), stream) + payload


OPEN, BODY, HEAD, END, CANCEL, CREDIT, FREE = range(1, 8)


class Hand:
    """Its tunnel by hand, for an engine that is not there."""

    def __init__(self, pool, parallel=4):
        self.pool = pool
        self.worker = HandWorker(pool, name="hand", engines=[{"model": "h", "kind": "command", "state": "ready", "parallel": parallel, "tasks": ["chat"]}])
        self.open()

    def open(self):
        self.socket = self.pool.websocket("/worker/v1/tunnel", token=self.pool.worker_token(), protocol="berth.tunnel.v1",
                                          headers=[("X-Berth-Tunnel", f"{self.worker.id}:{self.worker.welcome['tunnel']}")])
        self.left = b""

    def send(self, *frames):
        self.socket.frame(2, b"".join(frames))

    def next(self, kind):
        """The next frame of that kind: its stream and payload."""
        while True:
            while len(self.left) < 8:
                self.left += self.socket.binary()
            head, stream = struct.unpack(">II", self.left[:8])
            length = head & 0xffffff
            payload, self.left = self.left[8:8 + length], self.left[8 + length:]
            if head >> 24 == kind:
                return stream, payload

    def leave(self):
        self.worker.socket.send({"m": "change", "engines": []})
        self.worker.socket.send({"m": "bye"})
        self.socket.close()


EVENT = b'data: {"choices":[{"delta":{"content":"word "}}]}\n\n'


def test_a_tunnel_by_hand(pool):
    hand = Hand(pool)
    stream = Stream(pool, "h")
    number, request = hand.next(OPEN)
    assert request[4:].split(b"\0")[:2] == [b"h", b"/v1/chat/completions"]
    length = struct.unpack(">I", request[:4])[0]
    assert len(hand.next(BODY)[1]) == length
    hand.send(frame(HEAD, number, struct.pack(">HI", 200, 0) + b"text/event-stream"), frame(BODY, number, EVENT), frame(BODY, number, b"data: [DONE]\n\n"), frame(END, number, b"\0"))
    assert stream.end().whole and stream.words == "word "
    # What comes after its end crossed it on the way.
    hand.send(frame(BODY, number, EVENT), frame(END, number, b"\0"))
    # No place: the request waits, and is sent anew when there is one.
    stream = Stream(pool, "h")
    number, _ = hand.next(OPEN)
    turned_away = metric(pool, "berth_tunnel_turned_away_total")
    hand.send(frame(END, number, b"\2all places are taken"))
    wait_until(lambda: metric(pool, "berth_tunnel_turned_away_total") == turned_away + 1, "it was turned away")
    hand.send(frame(FREE, 0, b"h"))
    again, _ = hand.next(OPEN)
    assert again > number
    stream.leave()
    assert hand.next(CANCEL)[0] == again
    hand.leave()


@pytest.mark.parametrize("garbage", [
    b"x", frame(OPEN, 1, b"\0" * 20), frame(BODY, 0, b"x"), frame(BODY, 1), frame(CANCEL, 1), frame(9, 1), frame(END, 99, b"\0"), frame(CREDIT, 1, b"\0\0\0\0"), frame(CREDIT, 1, b"\0\xff\xff\xff"),
    frame(HEAD, 1, struct.pack(">HI", 99, 0)), frame(HEAD, 1, struct.pack(">HI", 200, 0) + b"a\r\nb: c"), frame(BODY, 1, b"before the head"), frame(END, 1, b"\0"), frame(END, 1, b"\x09"),
    frame(HEAD, 1, struct.pack(">HI", 200, 0) + b"text/event-stream") + 5 * frame(BODY, 1, b":" * 16383 + b"\n"), frame(FREE, 0, b"a b"), struct.pack(">II", BODY << 24 | 100, 1)])
def test_what_is_no_frame_ends_the_tunnel_and_harms_nobody(pool, garbage):
    hand = Hand(pool)
    before = metric(pool, "berth_tunnel_malformed_total")
    stream = Stream(pool, "h")
    hand.next(BODY)
    if len(garbage) > 70000:
        # More than a window, while nothing is read.
        hand.send(frame(HEAD, 1, struct.pack(">HI", 200, 0) + b"text/event-stream"))
        for _ in range(5):
            hand.send(frame(BODY, 1, b":" * 16383 + b"\n"))
        stream.leave()
        hand.leave()
        return
    hand.send(garbage)
    wait_until(lambda: metric(pool, "berth_tunnel_malformed_total") == before + 1, "it was found malformed")
    assert "was lost" in stream.broken()["message"] if stream.end().status == 200 else stream.status == 502
    assert chat(pool, "nothing").status == 404
    hand.leave()


def test_who_may_open_a_tunnel(pool):
    hand = Hand(pool)
    for wrong in ("x", "x:", f"{hand.worker.id}:", f"{hand.worker.id}:{'0' * 32}", f"{hand.worker.id[:-1]}x:{hand.worker.welcome['tunnel']}", ":" * 200):
        answer = pool.raw(f"GET /worker/v1/tunnel HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {pool.worker_token()}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                          f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nX-Berth-Tunnel: {wrong}\r\n\r\n".encode())
        assert answer.split()[1] == b"403", (wrong, answer)
    # A second one takes the first one's place.
    stream = Stream(pool, "h")
    hand.next(BODY)
    first = hand.socket
    hand.open()
    while first.receive_frame()[0] != 8:
        pass
    stream.end()
    assert stream.status == 502
    hand.leave()


# ---- a worker that is to end


def test_a_worker_that_ends_finishes_what_runs_and_takes_nothing_new(pool, engine, tmp_path):
    far = Far(pool, tmp_path, {"m": (engine, {})}, "--drain", "10min").wait()
    engine.hold()
    whole, stream = Stream(pool, stream=False), Stream(pool)
    engine.wait(lambda e: e.running == 2)
    far.process.popen.send_signal(signal.SIGTERM)
    wait_until(lambda: "draining: 0 tasks and 2 requests" in far.process.err, lambda: far.process.err)
    wait_until(lambda: [w for w in pool.good("GET", "/api/v1/workers")["data"] if w["name"] == far.name and w["state"].startswith("drain")], lambda: pool.good("GET", "/api/v1/workers"))
    late = Stream(pool)
    wait_until(lambda: metric(pool, 'berth_generations{state="waiting"}') == 1, "who asks now waits")
    assert far.process.running
    engine.release()
    assert stream.end().whole and stream.words == "word " * 5 and whole.end().status == 200
    assert far.process.wait(60) == 0 and engine.running == 0
    # It is back: who waited is answered.
    far.start()
    assert late.end().whole
    # Told twice it ends at once; what runs hears that.
    stream = Stream(pool, double={"fault": "stall"}).until("word")
    far.process.popen.send_signal(signal.SIGTERM)
    wait_until(lambda: "draining: 0 tasks and 1 request " in far.process.err, lambda: far.process.err)
    far.process.popen.send_signal(signal.SIGTERM)
    assert far.process.wait(60) == 0
    stream.broken()
    engine.wait(lambda e: e.running == 0)


def test_its_own_engines_finish_too_when_they_are_asked_directly(tmp_path):
    double = pathlib.Path(__file__).with_name("openai_double.py")
    for pool in running(tmp_path / "pool"):
        far = Far(pool, tmp_path, f"[model own]\nkind = command\ncommand = {sys.executable} {double} --port {{port}}\n", "--engine-road", "direct", "--drain", "10min").wait("cold", "own")
        stream = Stream(pool, "own", double={"tokens": 20, "pace": 0.1}).until("word")
        far.process.popen.send_signal(signal.SIGTERM)
        assert stream.end().whole and stream.words == "word " * 20 and metric(pool, "berth_tunnel_streams_total") == 0
        assert far.process.wait(60) == 0


def test_the_end_is_bounded(pool, engine, tmp_path):
    far = Far(pool, tmp_path, {"m": (engine, {})}, "--drain", "100ms").wait()
    stream = Stream(pool, double={"fault": "stall"}).until("word")
    assert far.stop() == 0
    stream.broken()
