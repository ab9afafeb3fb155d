"""OpenAI's routes of berth-pool before engines that a test scripts: ordinary use, what engines and clients do wrong, and who waits."""
import json
import socket

import pytest
from berthpool import Worker, pool, running  # noqa: F401
from openai_double import Engine


def engine_of(engine, model="m", **more):
    return {"model": model, "kind": "url", "state": "ready", "resident": None, "address": engine.address, "parallel": 4, "context": 4096,
            "tasks": ["chat", "completion", "embedding"], "memory_bytes": 0, "revision": "1", **more}


@pytest.fixture()
def engine():
    engine = Engine()
    yield engine
    engine.stop()


@pytest.fixture()
def worker(pool, engine):
    worker = Worker(pool, name="hand", engines=[engine_of(engine)])
    yield worker
    worker.socket.send({"m": "change", "engines": []})
    worker.socket.send({"m": "bye"})


def chat(pool, model="m", token="local", headers=None, **more):
    return pool.ask("POST", "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "hello"}], **more}, token=token, headers=headers)


def events(answer):
    return [line[6:] for line in answer.body.decode().split("\n") if line.startswith("data: ")]


def test_chat(pool, worker, engine):
    answer = chat(pool)
    assert answer.status == 200 and answer.json["choices"][0]["message"]["content"] == "word " * 5
    assert answer.headers["x-berth-worker"] == "hand" and "x-berth-queue-ms" in answer.headers
    got = engine.requests[-1]
    assert got["body"]["messages"][0]["content"] == "hello" and got["headers"]["x-request-id"] == answer.headers["x-request-id"]
    assert "authorization" not in got["headers"], "the client's key is not for the engine"


def test_stream(pool, worker, engine):
    answer = chat(pool, stream=True)
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/event-stream")
    told = events(answer)
    assert told[-1] == "[DONE]" and "".join(c["delta"]["content"] for e in told[:-1] for c in json.loads(e)["choices"]) == "word " * 5
