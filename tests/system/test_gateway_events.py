"""Event streams: a snapshot, then what changes, over server-sent events and WebSocket; resume; those who do not read; pushes; other accounts."""
import json

import pytest
from berthpool import Worker, pool, running  # noqa: F401


class Stream:
    """Server-sent events, by hand."""

    def __init__(self, pool, path="/api/v1/events", token=None, **headers):
        self.sock = pool.socket()
        lines = [f"GET {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token or pool.token}"] + [f"{k.replace('_', '-')}: {v}" for k, v in headers.items()]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode())
        self.file = self.sock.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = {}
        while line := self.file.readline().strip():
            name, value = line.decode().split(":", 1)
            self.headers[name.lower()] = value.strip()
        self.text = b""

    def _block(self):
        """One event's lines, out of the chunks."""
        while b"\n\n" not in self.text:
            size = int(self.file.readline(), 16)
            if not size:
                raise EOFError
            self.text += self.file.read(size)
            assert self.file.read(2) == b"\r\n"
        block, self.text = self.text.split(b"\n\n", 1)
        return block.decode()

    def next(self):
        """(id, type, the event)"""
        while True:
            fields = dict(line.split(":", 1) for line in self._block().split("\n") if line and not line.startswith(":"))
            if "data" in fields:
                event = json.loads(fields["data"])
                assert event["id"] == fields["id"].strip() and event["type"] == fields["event"].strip()
                return fields["id"].strip(), event["type"], event

    def until(self, condition):
        while True:
            got = self.next()
            if condition(got[2]):
                return got

    def close(self):
        self.file.close()
        self.sock.close()


def about(task, kind=None):
    return lambda e: e.get("task") == task["id"] and (kind is None or e["type"] == kind)


def test_snapshot_then_deltas(pool):
    before = pool.submit(name="before")
    stream, sock = Stream(pool), pool.websocket("/events", protocol="berth.events.v1")
    assert stream.headers["content-type"] == "text/event-stream" and stream.headers["cache-control"] == "no-store"
    first, second = stream.next()[2], sock.receive()
    for event in (first, second):
        assert event["type"] == "snapshot"
        assert before["id"] in [t["id"] for t in event["data"]["unfinished"]]
        pool.schema_holds({"$ref": "#/components/schemas/Snapshot"}, event)
    task = pool.submit()
    told = stream.until(about(task))[2]
    assert told["type"] == "task.state"
    pool.schema_holds({"$ref": "#/components/schemas/Event"}, told)
    got = sock.receive()
    while got.get("task") != task["id"]:
        got = sock.receive()
    assert got == told, "the same event both ways"
    stream.close()
    sock.close()
    assert pool.good("GET", "/api/v1/snapshot")["type"] == "snapshot"


def test_resume(pool):
    stream = Stream(pool)
    stream.next()
    one = pool.submit()
    last = stream.until(about(one))[0]
    stream.close()
    two, three = pool.submit(), pool.submit()
    again = Stream(pool, Last_Event_ID=last)
    seen = [again.until(about(two))[2]["type"], again.until(about(three))[2]["type"]]
    assert "snapshot" not in seen
    again.close()
    query = pool.websocket("/events?after=" + last)
    event = query.receive()
    assert event["type"] != "snapshot" and int(event["id"].split("-")[1]) == int(last.split("-")[1]) + 1
    query.close()
    # Of another start, or of a future that never was: a snapshot.
    epoch, number = last.split("-")
    for odd in (f"{int(epoch) + 1}-{number}", f"{epoch}-{int(number) + 10**9}"):
        stream = Stream(pool, Last_Event_ID=odd)
        assert stream.next()[1] == "snapshot", odd
        stream.close()
    for bad in ("x", "1", "1-2-3", "-"):
        assert Stream(pool, Last_Event_ID=bad).status == 400


def test_one_task(pool):
    worker = Worker(pool, types=["watched"])
    task, other = pool.submit(type="watched"), pool.submit()
    stream = Stream(pool, f"/api/v1/tasks/{task['id']}/events")
    snapshot = stream.next()[2]
    assert snapshot["type"] == "snapshot" and [t["id"] for t in snapshot["data"]["unfinished"]] == [task["id"]]
    lease = worker.lease()
    pool.good("POST", f"/api/v1/tasks/{other['id']}/cancel")
    worker.say("progress", lease, share=0.25, text="a quarter")
    worker.finish(lease, 1)
    seen = []
    while not seen or seen[-1].get("data", {}).get("state") != "done":
        seen.append(stream.next()[2])
        assert seen[-1]["task"] == task["id"]
    assert any(e["type"] == "task.progress" for e in seen)
    stream.close()
    assert Stream(pool, "/api/v1/tasks/task_" + "0" * 32 + "/events").status == 404
    assert Stream(pool, "/api/v1/events?task=x").status == 400
    worker.socket.close()


def test_accounts_are_apart(pool):
    _, mine = pool.account("stream-mine")
    _, other = pool.account("stream-other")
    stream = Stream(pool, token=mine)
    assert stream.next()[2]["data"]["unfinished"] == []
    hidden = pool.submit(token=other)
    shown = pool.submit(token=mine)
    while True:
        event = stream.next()[2]
        assert event.get("task") != hidden["id"]
        if event.get("task") == shown["id"]:
            break
    stream.close()


def test_pushes(pool):
    task = pool.submit()
    stream = Stream(pool)
    push = {"source": "trainer", "sequence": 1, "type": "training.step", "task": task["id"], "data": {"loss": 0.5}}
    assert pool.good("POST", "/api/v1/events", push) == {"accepted": 1, "known": 0}
    assert pool.good("POST", "/api/v1/events", push) == {"accepted": 0, "known": 1}
    assert pool.good("POST", "/api/v1/events", [{**push, "sequence": 2}, {**push, "sequence": 3, "data": {"loss": 0.1}}])["accepted"] == 2
    losses = [stream.until(about(task, "training.step"))[2]["data"]["loss"] for _ in range(3)]
    assert losses == [0.5, 0.5, 0.1]
    stream.close()


def test_who_does_not_read_is_skipped_forward(tmp_path):
    """A subscriber that reads nothing costs a bounded buffer, holds up nobody, and finds a snapshot when it reads again."""
    for small in running(tmp_path / "small", settings=["limits.event_buffer=4KiB", "keep.event_bytes=64KiB"]):
        lazy = Stream(small)
        assert lazy.next()[1] == "snapshot"
        watcher = Stream(small)
        text = "x" * 10000
        for i in range(0, 1600, 80):
            small.good("POST", "/api/v1/events", [{"source": "s", "sequence": i + k + 1, "type": "noise.loud", "data": text} for k in range(80)])
        watched = watcher.next()
        while not (watched[1] == "noise.loud" or watched[1] == "snapshot"):
            watched = watcher.next()
        last = small.good("POST", "/api/v1/events", {"source": "s", "sequence": 2000, "type": "noise.last", "data": 1})
        assert last["accepted"] == 1
        seen = []
        while "noise.last" not in seen:
            seen.append(lazy.next()[1])
        assert "snapshot" in seen and seen.count("noise.loud") < 1600
        metrics = small.ask("GET", "/metrics").body.decode()
        assert "pool_event_subscribers 2" in metrics
        lazy.close()
        watcher.close()


def test_reminders_tell_how_far_the_stream_is(tmp_path):
    for quick in running(tmp_path / "quick", settings=["limits.ping=100ms"]):
        stream, sock = Stream(quick), quick.websocket("/events")
        stream.next()
        block = stream._block()
        while "data" in block:
            block = stream._block()
        assert block.startswith(":") and ("\nid: " in block or block == ":")
        assert sock.receive()["type"] == "snapshot"
        opcode, _ = sock.receive_frame()
        while opcode != 9:
            opcode, _ = sock.receive_frame()
        stream.close()
        sock.close()


def test_http_1_0_gets_no_chunks(pool):
    with pool.socket() as sock:
        sock.sendall(f"GET /api/v1/events HTTP/1.0\r\nAuthorization: Bearer {pool.token}\r\n\r\n".encode())
        got = b""
        while b"\n\n" not in got:
            got += sock.recv(65536)
    assert b"chunked" not in got and b"\r\n\r\nid: " in got


@pytest.mark.parametrize("count", [200])
def test_many_subscribers_hear_the_same(pool, count):
    streams = [pool.websocket("/events") for _ in range(count)]
    for stream in streams:
        assert stream.receive()["type"] == "snapshot"
    task = pool.submit()
    for stream in streams:
        event = stream.receive()
        while event.get("task") != task["id"]:
            event = stream.receive()
        stream.close()
