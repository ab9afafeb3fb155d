"""OpenAI's routes of berth-pool before engines that a test scripts: ordinary use, what engines and clients do wrong, and who waits."""
import asyncio
import json
import signal
import threading

import pytest
from berthpool import Worker, pool, running  # noqa: F401
from conftest import PATIENCE, wait_until
from openai_double import Engine

HELLO = [{"role": "user", "content": "hello"}]


def engine_of(engine, model="m", **more):
    return {"model": model, "kind": "url", "state": "ready", "resident": None, "address": engine.address, "parallel": 4, "context": 4096,
            "tasks": ["chat", "completion", "embedding"], "memory_bytes": 0, "revision": "1", **more}


def join(pool, *engines, name="hand", **more):
    return Worker(pool, name=name, engines=list(engines), **more)


def leave(pool, worker):
    """It goes, and nothing of it is left."""
    worker.socket.send({"m": "change", "engines": []})
    worker.socket.send({"m": "bye"})
    wait_until(lambda: worker.id not in json.dumps(pool.good("GET", "/api/v1/models")), "the worker's models are gone")


@pytest.fixture()
def engine():
    engine = Engine()
    yield engine
    engine.stop()


@pytest.fixture()
def worker(pool, engine):
    worker = join(pool, engine_of(engine))
    yield worker
    leave(pool, worker)


@pytest.fixture(scope="module")
def hasty(tmp_path_factory):
    """A pool that waits for nothing long."""
    yield from running(tmp_path_factory.mktemp("hasty"), settings=["generate.first=300ms", "generate.quiet=300ms", "pool.stop=100ms"])


def chat(pool, model="m", token="local", headers=None, **more):
    return pool.ask("POST", "/v1/chat/completions", {"model": model, "messages": HELLO, **more}, token=token, headers=headers)


class Stream:
    """A streamed request by hand: sees also how its connection ends."""

    def __init__(self, pool, model="m", path="/v1/chat/completions", **more):
        body = json.dumps({"model": model, "messages": HELLO, "stream": True, **more}).encode()
        self.sock = pool.socket(240)
        self.sock.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {pool.token}\r\nContent-Type: application/json\r\n"
                          f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.raw, self.ended = b"", False

    def more(self):
        part = self.sock.recv(1 << 16)
        self.ended = not part
        self.raw += part
        return bool(part)

    def until(self, mark):
        mark = mark.encode()
        while mark not in self.raw:
            assert self.more(), f"ended before {mark}: {self.raw[-2000:]}"
        return self

    def end(self):
        """Reads to the end of the body, or of the connection."""
        while not self.raw.endswith(b"0\r\n\r\n") and not self.complete and self.more():
            pass
        return self

    @property
    def complete(self):
        """Of an answer that tells its length: all of it is here."""
        head, mark, body = self.raw.partition(b"\r\n\r\n")
        lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return bool(mark and lengths) and len(body) >= int(lengths[0])

    @property
    def status(self):
        return int(self.raw.split()[1])

    @property
    def whole(self):
        return self.raw.endswith(b"\r\n0\r\n\r\n")

    @property
    def text(self):
        """The body, out of its chunks."""
        data, body = self.raw.split(b"\r\n\r\n", 1)[1], b""
        while b"\r\n" in data:
            size, data = data.split(b"\r\n", 1)
            body += data[:int(size, 16)]
            data = data[int(size, 16) + 2:]
        return body.decode()

    @property
    def events(self):
        return [line[6:] for line in self.text.split("\n") if line.startswith("data: ")]

    @property
    def words(self):
        return "".join(c["delta"].get("content", "") for e in self.events if e != "[DONE]" for c in json.loads(e).get("choices", []))

    def broken(self):
        """It was told in a body that ends in order, and it is no answer that could be taken for complete."""
        self.end()
        assert self.whole and "[DONE]" not in self.events and '"finish_reason": "' not in self.text, self.raw[-500:]
        error = json.loads(self.events[-1])["error"]
        assert error["message"] and error["type"] == "server_error"
        return error

    def leave(self):
        self.sock.close()


def waiting(pool, model="m"):
    return pool.good("GET", f"/api/v1/models/{model}")["waiting"]


# ---- ordinary use


def test_answers_in_one_piece(pool, worker, engine):
    answer = chat(pool)
    assert answer.status == 200 and answer.json["choices"][0]["message"]["content"] == "word " * 5
    assert answer.headers["x-berth-worker"] == "hand" and "x-berth-queue-ms" in answer.headers
    got = engine.requests[-1]
    assert got["body"]["messages"] == HELLO and got["headers"]["x-request-id"] == answer.headers["x-request-id"]
    assert "authorization" not in got["headers"], "the client's key is not for the engine"
    assert pool.good("POST", "/v1/completions", {"model": "m", "prompt": "hello"})["choices"][0]["text"] == "word " * 5
    assert pool.good("POST", "/v1/embeddings", {"model": "m", "input": "hello"})["data"][0]["embedding"] == [0.1, 0.2]
    # The engine's own refusals are the client's to see.
    refused = pool.ask("POST", "/v1/chat/completions", {"model": "m", "messages": HELLO, "double": {"fault": "fail"}})
    assert refused.status == 502 and "no room" in refused.json["error"]["message"]


def test_streams(pool, worker, engine):
    engine.behave(text="\U0001f600é", split=1)
    stream = Stream(pool).end()
    assert stream.status == 200 and stream.whole and stream.events[-1] == "[DONE]"
    assert stream.words == "\U0001f600é" * 5
    assert b"text/event-stream" in stream.raw and b"X-Berth-Worker: hand" in stream.raw
    # The connection goes on with the next request.
    assert b"Connection: close" not in stream.raw
    stream.raw = b""
    stream.sock.sendall(f"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {pool.token}\r\n\r\n".encode())
    stream.until('"object":"list"')
    engine.behave(split=0, usage=False)
    assert Stream(pool).end().whole
    assert Stream(pool, path="/v1/completions", prompt="x").end().whole


def test_history_has_tokens_and_requests(tmp_path, engine):
    for own in running(tmp_path / "pool"):
        there = join(own, engine_of(engine))
        used = chat(own).json["usage"]
        stream = Stream(own).end()
        assert stream.whole

        def sums():
            series = own.good("GET", "/api/v1/history?series=requests,requests.failed,tokens.in,tokens.out")["series"]
            return {name: sum(v or 0 for v in values) for name, values in series.items()}

        # Of a stream each event with a word in it is a token, whatever the engine says it used in the end.
        wait_until(lambda: (s := sums())["requests"] > 1.9 and s["tokens.in"] > 0 and s["tokens.out"] > used["completion_tokens"] and s["requests.failed"] == 0, sums)
        there.socket.close()


def test_models(pool, worker, engine):
    assert [m["id"] for m in pool.good("GET", "/v1/models")["data"]] == ["m"]
    assert pool.good("GET", "/v1/models/m")["id"] == "m"
    assert chat(pool).status == 200 and Stream(pool).end().whole
    shown = pool.good("GET", "/api/v1/models")["data"][0]
    assert shown["name"] == "m" and shown["state"] == "ready" and shown["ttft_ms"] > 0 and shown["completion_tokens"] >= 10
    assert shown["workers"][0]["worker"] == worker.id
    for way, path in (("GET", "/v1/models/none"), ("GET", "/api/v1/models/none"), ("POST", "/api/v1/models/none/start")):
        assert pool.ask(way, path).status == 404
    assert pool.good("POST", "/api/v1/models/m/start") == {"model": "m", "want": "ready", "workers": 1}
    told = worker.receive("engine")
    while "again" not in told:
        told = worker.receive("engine")
    assert pool.good("POST", "/api/v1/models/m/stop", {"worker": worker.id})["want"] == "cold"
    while told["want"] != "cold":
        told = worker.receive("engine")
    assert pool.ask("POST", "/api/v1/models/m/stop", {"worker": "worker_" + "1" * 32}).status == 404
    metrics = pool.ask("GET", "/metrics").body.decode()
    for name in ("berth_ttft_seconds_bucket", "berth_tpot_seconds_count", "berth_token_gap_seconds_sum", 'berth_generations_total{outcome="finished"}'):
        assert f"\n{name}" in metrics


def test_a_worker_hears_that_its_engine_is_used(pool, worker, engine):
    assert chat(pool).status == 200
    while worker.receive("engine")["requests"] == 0:
        pass
    while worker.receive("engine")["requests"] != 0:
        pass


# ---- clients that do wrong


def test_wrong_requests(pool, worker):
    answer = chat(pool, model="other")
    assert answer.status == 404 and answer.json["error"]["code"] == "model_not_found"
    for token in (None, "berth_wrong"):
        answer = chat(pool, token=token)
        assert answer.status == 401 and answer.json["error"]["code"] == "invalid_api_key" and answer.headers["www-authenticate"]
    bad = ['', '[]', '{', '{"model":"m"}', '{"model":"m","messages":"x"}', '{"messages":[]}', '{"model":7,"messages":[]}', '{"model":"m","messages":[],"stream":"yes"}',
           '{"model":"m","model":"n","messages":[]}', '{"model":"m","messages":[],"max_tokens":-1}', '{"model":"' + "x" * 200 + '","messages":[]}', '{"model":"m","messages":[' + "[" * 100]
    for body in bad:
        answer = pool.ask("POST", "/v1/chat/completions", body, headers={"Content-Type": "application/json"})
        assert answer.status == 400 and answer.json["error"]["type"] == "invalid_request_error", (body, answer)
    assert pool.ask("POST", "/v1/embeddings", {"model": "m", "input": "x", "stream": True}).status == 400
    assert pool.ask("POST", "/v1/chat/completions", "{}", headers={"Content-Type": "text/plain"}).status == 415
    assert chat(pool, headers={"x-berth-priority": "highest"}).status == 400
    assert "error" in pool.ask("GET", "/v1/nothing").json
    _, worker_key = pool.account("openai-worker", "worker")
    assert chat(pool, token=worker_key).status == 403


def test_a_long_prompt(pool, worker, engine):
    prompt = "x" * (10 << 20)
    assert pool.ask("POST", "/v1/completions", {"model": "m", "prompt": prompt}).status == 200
    assert engine.requests[-1]["bytes"] > 10 << 20
    head = (f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {pool.token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {40 << 20}\r\n\r\n").encode()
    assert b" 413 " in pool.raw(head).split(b"\r\n")[0]


def test_a_model_that_does_something_else(pool, engine):
    worker = join(pool, engine_of(engine, tasks=["embedding"]))
    answer = chat(pool)
    assert answer.status == 400 and "no chat completions" in answer.json["error"]["message"]
    assert pool.ask("POST", "/v1/embeddings", {"model": "m", "input": "x"}).status == 200
    leave(pool, worker)


def test_clients_that_leave(pool, worker, engine):
    engine.hold()
    before = pool.ask("GET", "/metrics").body.decode()
    streams = [Stream(pool) for _ in range(4)]
    engine.wait(lambda e: e.running == 4)
    queued = Stream(pool)
    wait_until(lambda: waiting(pool) == 1, "one waits")
    queued.leave()
    wait_until(lambda: waiting(pool) == 0, "who left waits no more")
    for stream in streams:
        stream.leave()
    engine.wait(lambda e: e.cancelled == 4 and e.running == 0)
    # One that is not streamed, before its answer.
    body = json.dumps({"model": "m", "messages": HELLO}).encode()
    with pool.socket() as sock:
        sock.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {pool.token}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        engine.wait(lambda e: e.running == 1)
    engine.wait(lambda e: e.cancelled == 5 and e.running == 0)
    engine.release()
    # In mid-stream.
    stream = Stream(pool, double={"fault": "stall"}).until("word")
    stream.leave()
    engine.wait(lambda e: e.cancelled == 6 and e.running == 0)
    count = 'berth_generations_total{outcome="cancelled"} '
    wait_until(lambda: int(pool.ask("GET", "/metrics").body.decode().split(count)[1].split()[0]) == int(before.split(count)[1].split()[0]) + 7, "seven were cancelled")
    assert chat(pool).status == 200


def test_a_client_that_reads_slowly_holds_its_engine_back(pool, worker, engine):
    engine.behave(fault="flood", tokens=150000)
    stream = Stream(pool).until("word")
    # 30 MB and more are not taken in by anybody: the engine can't end before its client reads.
    engine.wait(lambda e: e.running == 1)
    assert chat(pool, double={"fault": None, "tokens": 3}).status == 200
    engine.wait(lambda e: e.finished == 1)
    count, kept = 0, b""
    while not kept.endswith(b"0\r\n\r\n"):
        part = stream.sock.recv(1 << 20)
        assert part
        count += part.count(b"word")
        kept = (kept + part)[-64:]
    engine.wait(lambda e: e.finished == 2)
    assert count > 140000


# ---- engines that do wrong


@pytest.mark.parametrize("fault", ["die", "garbage", "json", "page", "busy", "fail"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_fails_before_its_answer(pool, worker, engine, fault, stream):
    if fault == "json" and stream:
        fault = "page"
    answer = chat(pool, stream=stream, double={"fault": fault})
    assert answer.status in (502, 503), answer
    assert answer.json["error"]["type"] == "server_error" and answer.json["error"]["message"]
    assert chat(pool).status == 200, "the next one is not its fault"


def test_another_engine_takes_over_what_one_did_not_begin(pool, engine):
    other = Engine(text="other ")
    first, second = join(pool, engine_of(engine), name="one"), join(pool, engine_of(other), name="two")
    for fault in ("die", "busy", "garbage"):
        engine.behave(fault=fault)
        for _ in range(3):
            assert chat(pool).json["choices"][0]["message"]["content"] == "other " * 5
    assert engine.requests, "it was tried"
    engine.stop()
    for _ in range(3):
        assert chat(pool).status == 200
    other.behave(fault="die")
    assert chat(pool).status == 502, "once, not for ever"
    leave(pool, first)
    leave(pool, second)
    other.stop()


@pytest.mark.parametrize("fault", ["die_mid", "cut", "broken", "clean", "endless", "error_event"])
def test_an_engine_that_fails_in_mid_stream(pool, worker, engine, fault):
    stream = Stream(pool, double={"fault": fault}).end()
    if fault == "error_event":
        # Its own words are passed on, and the end that it gives.
        assert [json.loads(e)["error"]["message"] for e in stream.events[:-1] if "error" in json.loads(e)] == ["out of memory"]
    else:
        stream.broken()
    assert stream.words == "word " * (5 if fault == "clean" else 2)
    for event in stream.events[:-2]:
        json.loads(event)
    engine.wait(lambda e: e.running == 0)
    assert Stream(pool).end().whole


def test_an_engine_that_hangs(hasty, engine):
    worker = join(hasty, engine_of(engine))
    answer = chat(hasty, double={"fault": "hang"})
    assert answer.status == 502 and "nothing for too long" in answer.json["error"]["message"]
    stream = Stream(hasty, double={"fault": "stall"})
    assert "nothing for too long" in stream.broken()["message"] and stream.words == "word word "
    engine.wait(lambda e: e.running == 0)
    leave(hasty, worker)


def test_an_engine_that_is_gone_or_never_healthy(pool, engine):
    engine.stop()
    cold = engine_of(engine, kind="command", state="cold", address="")
    worker = join(pool, engine_of(engine), {**cold, "model": "sick"})
    assert chat(pool).status == 502
    streams = [Stream(pool, model="sick"), Stream(pool, model="sick")]
    told = worker.receive("engine")
    assert told["model"] == "sick" and told["want"] == "ready" and told["requests"] >= 1
    worker.socket.send({"m": "change", "engines": [engine_of(engine), {**cold, "model": "sick", "state": "starting"}]})
    wait_until(lambda: waiting(pool, "sick") == 2, "both wait while it starts")
    worker.socket.send({"m": "change", "engines": [engine_of(engine), {**cold, "model": "sick", "state": "failed", "text": "never answered its health check"}]})
    for stream in streams:
        stream.end()
        assert "not available" in stream.raw.decode() and (stream.status == 503 or not stream.whole)
    leave(pool, worker)


# ---- who waits


def test_who_waits_hears_of_it(pool, engine):
    cold = engine_of(engine, kind="command", state="cold", address="")
    worker = join(pool, cold)
    streams = [Stream(pool), Stream(pool)]
    streams[0].until(": waiting position 1")
    streams[1].until(": waiting position")
    assert worker.receive("engine")["want"] == "ready"
    worker.socket.send({"m": "change", "engines": [engine_of(engine)]})
    for stream in streams:
        assert stream.end().whole and stream.words == "word " * 5
    leave(pool, worker)


def test_a_thousand_at_once_for_a_model_that_is_out(pool, engine):
    cold = engine_of(engine, kind="command", state="cold", address="")
    worker = join(pool, cold)
    request = json.dumps({"model": "m", "messages": HELLO}).encode()
    request = (f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {pool.token}\r\nContent-Type: application/json\r\n"
               f"Content-Length: {len(request)}\r\nConnection: close\r\n\r\n").encode() + request
    answers = []

    async def one():
        reader, writer = await asyncio.open_connection(*pool.address)
        writer.write(request)
        answers.append((await reader.read(-1)).split(b"\r\n")[0])
        writer.close()

    async def all_of_them():
        await asyncio.gather(*(one() for _ in range(1000)))

    crowd = threading.Thread(target=lambda: asyncio.run(all_of_them()))
    crowd.start()
    wait_until(lambda: waiting(pool) == 1000, lambda: f"1000 wait, not {waiting(pool)}", 120)
    assert worker.receive("engine")["want"] == "ready"
    worker.socket.send({"m": "change", "engines": [engine_of(engine, parallel=16)]})
    crowd.join(240 * PATIENCE)
    assert answers == [b"HTTP/1.1 200 OK"] * 1000
    assert engine.most <= 16, "no more at a time than it takes"
    leave(pool, worker)


def test_models_take_turns_on_a_device(pool, engine):
    other = Engine(text="other ")
    devices = [{"kind": "gpu", "name": "x", "memory_bytes": 100}]
    worker = join(pool, engine_of(engine, memory_bytes=60), engine_of(other, model="n", memory_bytes=60), devices=devices)
    engine.hold()
    first = Stream(pool)
    engine.wait(lambda e: e.running == 1)
    second = Stream(pool, model="n")
    upcoming = worker.receive("upcoming")
    assert upcoming["models"] == ["n"]
    assert not other.requests
    engine.release()
    assert first.end().whole and second.end().whole
    assert other.requests
    leave(pool, worker)
    other.stop()


def test_a_full_queue_and_a_long_wait_are_refused(tmp_path, engine):
    for pool in running(tmp_path / "pool", settings=["generate.waiting=2", "generate.wait=400ms"]):
        worker = join(pool, engine_of(engine, parallel=1))
        engine.hold()
        first = Stream(pool)
        engine.wait(lambda e: e.running == 1)
        answer = chat(pool)
        assert answer.status == 503 and answer.headers["retry-after"] and "in time" in answer.json["error"]["message"]
        engine.release()
        assert first.end().whole
        leave(pool, worker)


# ---- the pool itself


def test_the_pool_is_restarted_in_mid_stream(tmp_path, engine):
    for pool in running(tmp_path / "pool", settings=["pool.stop=100ms"]):
        worker = join(pool, engine_of(engine))
        stream = Stream(pool, double={"fault": "stall"}).until("word")
        assert pool.stop() == 0
        assert "stopping" in stream.broken()["message"]
        engine.wait(lambda e: e.running == 0)
        pool.start()
        worker = join(pool, engine_of(engine), worker=worker.id)
        stream = Stream(pool, double={"fault": "stall"}).until("word")
        pool.stop(signal.SIGKILL)
        stream.end()
        assert not stream.whole and "[DONE]" not in stream.events
        engine.wait(lambda e: e.running == 0)
        pool.start()
        # Its worker is known and will come: who asks before waits for it.
        early = Stream(pool)
        wait_until(lambda: 'berth_generations{state="waiting"} 1' in pool.ask("GET", "/metrics").body.decode(), "one waits for the worker")
        worker = join(pool, engine_of(engine), worker=worker.id)
        assert early.end().whole
        leave(pool, worker)


def test_what_changes_is_told(pool, engine):
    snapshot = pool.websocket("/events", protocol="berth.events.v1")
    worker = join(pool, engine_of(engine, state="starting", address=""))
    worker.socket.send({"m": "change", "engines": [engine_of(engine)]})
    states = []
    while "ready" not in states:
        message = snapshot.receive()
        if isinstance(message, dict) and message.get("type") == "model.changed":
            states.append(message["data"]["state"])
    assert states == ["starting", "ready"]
    snapshot.sock.close()
    leave(pool, worker)


# ---- keys, limits, usage


def key_of(pool, account, **more):
    return pool.good("POST", "/api/v1/keys", {"label": "test", "account": account, **more})["key"]


def test_limits_of_keys(pool, worker, engine):
    account, free = pool.account("openai-limits")
    assert chat(pool, token=free).status == 200
    other = key_of(pool, account, models=["other", "more"])
    assert chat(pool, token=other).json["error"]["code"] == "model_not_found"
    assert [k["models"] for k in pool.good("GET", f"/api/v1/keys?account={account}")["data"] if k["models"]] == [["other", "more"]]
    assert chat(pool, token=key_of(pool, account, models=["m"])).status == 200
    # Reserved by what it may need, settled by what it used: 16 of 400.
    key = key_of(pool, account, limits={"tokens_per_minute": 400})
    answer = chat(pool, token=key, max_tokens=300)
    assert answer.status == 200 and answer.headers["x-ratelimit-limit-tokens"] == "400"
    answer = chat(pool, token=key, max_tokens=300)
    assert answer.status == 200
    engine.hold()
    held = Stream(pool_as(pool, key), max_tokens=300)
    engine.wait(lambda e: e.running == 1)
    refused = chat(pool, token=key, max_tokens=300)
    assert refused.status == 429 and refused.json["error"]["code"] == "rate_limit_exceeded" and refused.headers["retry-after"]
    one = key_of(pool, account, limits={"max_generations": 1})
    second = Stream(pool_as(pool, one))
    engine.wait(lambda e: e.running == 2)
    assert chat(pool, token=one).status == 429
    engine.release()
    assert held.end().whole and second.end().whole
    assert chat(pool, token=one).status == 200


class pool_as:
    """The pool with another key."""

    def __init__(self, pool, token):
        self.socket, self.token = pool.socket, token


def used(pool, **options):
    return {row["model"]: row for row in pool.good("GET", "/api/v1/usage", **options)["data"]}


def test_usage_is_kept(tmp_path, engine):
    for pool in running(tmp_path / "pool"):
        worker = join(pool, engine_of(engine))
        account, key = pool.account("used")
        assert used(pool, token=key) == {}
        assert chat(pool, token=key).status == 200
        assert Stream(pool_as(pool, key)).end().whole
        engine.behave(usage=False)
        assert Stream(pool_as(pool, key)).end().whole
        stream = Stream(pool_as(pool, key), double={"fault": "stall"}).until("word")
        stream.leave()
        engine.wait(lambda e: e.running == 0 and e.cancelled == 1)
        row = wait_until(lambda: (u := used(pool, token=key)) and u["m"]["requests"] == 4 and u["m"], "four are counted")
        assert row["account"] == account and row["cancelled"] == 1 and row["estimated"] == 2
        assert 15 < row["completion_tokens"] <= 17 and row["prompt_tokens"] > 22
        assert chat(pool, token=key, double={"fault": "die"}).status == 502
        assert used(pool, token=key)["m"]["failed"] == 1
        _, nosy = pool.account("nosy")
        assert used(pool, token=nosy) == {} and pool.ask("GET", f"/api/v1/usage?account={account}", token=nosy).status == 403
        assert pool.stop() == 0
        pool.start()
        worker = join(pool, engine_of(engine), worker=worker.id)
        assert used(pool, token=key)["m"]["requests"] == 5
        assert chat(pool, token=key).status == 200
        assert used(pool)["m"]["requests"] == 6, "those of both starts"
        # Killed: what was settled is there.
        wait_until(lambda: "\npool_usage_unsettled 0\n" in pool.ask("GET", "/metrics").body.decode(), "it is durable")
        pool.stop(signal.SIGKILL)
        pool.start()
        worker = join(pool, engine_of(engine), worker=worker.id)
        assert used(pool)["m"]["requests"] == 6 and used(pool, token=key)["m"]["failed"] == 1
        leave(pool, worker)


def test_answers_are_kept_for_who_asks_for_it(pool, worker, engine):
    assert "x-berth-cache" not in chat(pool).headers
    body = {"model": "m", "messages": HELLO, "temperature": 1, "seed": 7}
    first = pool.ask("POST", "/v1/chat/completions", {**body, "cache": True})
    assert first.headers["x-berth-cache"] == "miss"
    asked = len(engine.requests)
    again = pool.ask("POST", "/v1/chat/completions", json.dumps(dict(reversed(body.items()))).replace(": 1,", ": 1.0,"), headers={"Content-Type": "application/json", "x-berth-cache": "on"})
    assert again.headers["x-berth-cache"] == "hit" and again.body == first.body and len(engine.requests) == asked
    _, key = pool.account("openai-cache")
    for changed in ({"token": key}, {"temperature": 0.9}, {"messages": [{"role": "user", "content": "hello!"}]}):
        token = changed.pop("token", "local")
        assert pool.ask("POST", "/v1/chat/completions", {**body, **changed, "cache": True}, token=token).headers["x-berth-cache"] == "miss"
    # Another revision of the model has other answers.
    worker.socket.send({"m": "change", "engines": [engine_of(engine, revision="2")]})
    wait_until(lambda: pool.good("GET", "/api/v1/models/m")["workers"][0]["revision"] == "2", "the new revision is known")
    assert pool.ask("POST", "/v1/chat/completions", {**body, "cache": True}).headers["x-berth-cache"] == "miss"
