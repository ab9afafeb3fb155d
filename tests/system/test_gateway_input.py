"""What strangers send: each gets a clear answer or the door, and the pool goes on."""
import json
import socket

import pytest
from berthpool import pool, running  # noqa: F401
from conftest import wait_until


@pytest.fixture(autouse=True)
def still_sound(pool):
    yield
    assert pool.process.running, pool.process.report()
    assert pool.ask("GET", "/healthz", token=None).status == 200


def auth(pool):
    return f"Host: x\r\nAuthorization: Bearer {pool.token}\r\n".encode()


def answer(got):
    """(status, code) of the first answer."""
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 "), got[:200]
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    return int(head.split()[1]), json.loads(body[:length]).get("code") if b"problem+json" in head else None


@pytest.mark.parametrize("body", [
    b"", b" ", b"{", b"[]]", b"nonsense", b"\xff\xfe", b'{"type":"\xc3\x28"}', b'{"a":1,"a":2}', b'"text"', b"12", b"null", b'{"type":"command","payload":1e999}',
    b'{"type":"a\\u0000b","payload":1}', b"[" * 65 + b"]" * 65, b'{"a":' * 70 + b"1" + b"}" * 70, b"[" * 100000, b'{"type":"x","payload":"' + b"\\" * 99 + b'"}'])
def test_bodies_that_are_not_json(pool, body):
    got = pool.ask("POST", "/api/v1/tasks", body, headers={"Content-Type": "application/json"})
    assert got.status in (400, 422), got


@pytest.mark.parametrize("body", [
    {}, {"type": 1, "payload": 1}, {"type": "", "payload": 1}, {"type": "x" * 1000, "payload": 1}, {"type": "command"}, {"type": "command", "payload": 1, "priority": "most"},
    {"type": "command", "payload": 1, "priority": 7}, {"type": "command", "payload": 1, "attempts": -1}, {"type": "command", "payload": 1, "deadline": "soon"},
    {"type": "command", "payload": 1, "needs": []}, {"type": "command", "payload": 1, "needs": {"memory": "many"}}, {"type": "command", "payload": 1, "after": "x"},
    {"type": "command", "payload": 1, "after": ["task_1"]}, {"tasks": []}, {"tasks": {}}, {"tasks": [1]}, {"tasks": [{"type": "command", "payload": 1}] * 1001},
    {"type": "command", "payload": 1, "surprise": 1}, {"type": "command", "payload": "x" * (300 << 10)}, []])
def test_tasks_of_wrong_types(pool, body):
    got = pool.ask("POST", "/api/v1/tasks", body)
    assert got.status in (400, 404, 413, 422), got
    assert got.code


@pytest.mark.parametrize("path,body", [
    ("/api/v1/accounts", {"name": "A B"}), ("/api/v1/accounts", {"name": 1}), ("/api/v1/accounts", {"name": "x", "role": "god"}), ("/api/v1/accounts", {"name": "x", "role": None, "limits": 1}),
    ("/api/v1/accounts", {"name": "x", "limits": {"max_tasks": -1}}), ("/api/v1/accounts", {"name": "x", "limits": {"max": 1}}), ("/api/v1/accounts", {"name": "x", "weight": 1e9}),
    ("/api/v1/accounts", {"name": "x", "password": "short"}), ("/api/v1/accounts", []), ("/api/v1/keys", {}), ("/api/v1/keys", {"label": "x", "scopes": "all"}),
    ("/api/v1/keys", {"label": "x", "scopes": []}), ("/api/v1/keys", {"label": "x", "scopes": ["everything"]}), ("/api/v1/keys", {"label": "x", "expires": "never"}),
    ("/api/v1/keys", {"label": "x" * 100}), ("/api/v1/keys", {"label": "x", "account": "me"}), ("/api/v1/sessions", {"name": "x"}), ("/api/v1/sessions", {"name": "x", "password": 1}),
    ("/api/v1/sessions", {"name": "x", "password": "y" * 300}), ("/api/v1/sessions/refresh", {"refresh": ""}), ("/api/v1/setup", {"token": "x"}),
    ("/api/v1/events", {"source": "x"}), ("/api/v1/events", []), ("/api/v1/events", [1]), ("/api/v1/events", {"source": "x", "sequence": -1, "type": "y"}),
    ("/api/v1/backup", {"path": 1}), ("/api/v1/tickets", {"a": 1})])
def test_other_bodies_of_wrong_types(pool, path, body):
    got = pool.ask("POST", path, body)
    if path == "/api/v1/tickets":
        assert got.status in (201, 422)
        return
    assert got.status == 422, got
    assert got.code


@pytest.mark.parametrize("target,status", [
    ("/../etc/passwd", 400), ("/%2e%2e/etc/passwd", 400), ("/api/v1/tasks/../pool", 400), ("/api/v1/tasks/%2e%2e/pool", 400), ("//", 400), ("/api//v1/pool", 400),
    ("/api/v1/tasks/", 400), ("/api/v1/tasks%2fx", 400), ("/api/v1%5cpool", 400), ("/%00", 400), ("/docs%00.html", 400), ("/%", 400), ("/%zz", 400), ("/%c0%af", 400),
    ("/docs%0d%0aX-Evil:1", 400), ("/./docs", 400), ("/docs/.", 400), ("*", 400), ("http://other/docs", 400), ("/nothing", 404), ("/DOCS", 404), ("/docs;x=1", 404),
    ("/healthz?%zz=1", 400), ("/healthz?x=1", 400), ("/api/v1/tasks?limit=0", 400), ("/api/v1/tasks?limit=1001", 400), ("/api/v1/tasks?limit=1&limit=2", 400),
    ("/api/v1/tasks?limit=%31%00", 400), ("/api/v1/tasks?after=x", 400), ("/api/v1/tasks?state=" + "x" * 100, 400), ("/api/v1/tasks/task_%30", 404),
    ("/" + "a" * 2000, 400), ("/" + "a" * 9000, 414), ("/api/v1/tasks?wait=1", 400)])
def test_targets(pool, target, status):
    got = pool.raw(b"GET " + target.encode() + b" HTTP/1.1\r\n" + auth(pool) + b"Connection: close\r\n\r\n")
    assert answer(got)[0] == status, got[:300]


@pytest.mark.parametrize("data", [
    b"\r\n\r\n\r\nnonsense\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n", b"GET / HTTP/0.9\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"get /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1", b"\x00" * 100, b"\xff" * 100,
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: \x00\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n",
    b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n1",
    b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n11",
    b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"])
def test_what_is_no_request(pool, data):
    got = pool.raw(data, finish=True)
    assert not got or answer(got)[0] in (400, 401, 405), got[:300]


def test_no_second_request_is_smuggled(pool):
    """A body that looks like a request is never answered as one."""
    inner = b"GET /api/v1/me HTTP/1.1\r\n" + auth(pool) + b"\r\n"
    for head in (b"Content-Length: %d\r\n" % len(inner), b"Transfer-Encoding: chunked\r\n"):
        body = inner if b"Length" in head else b"%x\r\n%s\r\n0\r\n\r\n" % (len(inner), inner)
        with pool.socket() as sock:
            sock.sendall(b"POST /api/v1/nothing HTTP/1.1\r\n" + auth(pool) + head + b"\r\n" + body + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            got = b""
            while part := sock.recv(65536):
                got += part
        assert b"role" not in got, got
        assert got.count(b"HTTP/1.1 ") in (1, 2)


def test_head_floods(pool):
    many = b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: 1\r\n" % i for i in range(200)) + b"\r\n"
    assert answer(pool.raw(many)) == (431, "request.head_too_large")
    large = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20000 + b"\r\n\r\n"
    assert answer(pool.raw(large)) == (431, "request.head_too_large")
    endless = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (4 << 20)
    got = pool.raw(endless)
    assert not got or answer(got) == (431, "request.head_too_large")


def test_bodies_that_are_too_large(pool):
    refused = pool.raw(b"POST /api/v1/keys HTTP/1.1\r\n" + auth(pool) + b"Content-Length: 10000000\r\n\r\n" + b"x" * 1000)
    assert answer(refused) == (413, "request.too_large")
    chunks = b"POST /api/v1/keys HTTP/1.1\r\n" + auth(pool) + b"Transfer-Encoding: chunked\r\n\r\n" + (b"4000\r\n" + b" " * 0x4000 + b"\r\n") * 20
    assert answer(pool.raw(chunks)) == (413, "request.too_large")
    assert answer(pool.raw(b"GET /api/v1/me HTTP/1.1\r\n" + auth(pool) + b"Content-Length: 5\r\n\r\nhello")) == (413, "request.too_large")
    assert answer(pool.raw(b"PUT /api/v1/artifacts/" + b"0" * 64 + b" HTTP/1.1\r\n" + auth(pool) + b"\r\n")) == (411, "request.length_required")
    assert answer(pool.raw(b"PUT /api/v1/artifacts/" + b"0" * 64 + b" HTTP/1.1\r\n" + auth(pool) + b"Content-Length: 99999999999999\r\n\r\n")) == (413, "request.too_large")


def test_media_type_and_ways(pool):
    assert pool.ask("POST", "/api/v1/tasks", b"{}", headers={"Content-Type": "text/plain"}).status == 415
    assert pool.ask("POST", "/api/v1/tasks", b"{}", headers={"Content-Type": "application/jsonx"}).status == 415
    assert pool.ask("POST", "/api/v1/tasks", b"{}", headers={"Content-Type": "application/json; charset=utf-8"}).status == 422
    got = pool.raw(b"OPTIONS /api/v1/tasks HTTP/1.1\r\n" + auth(pool) + b"\r\n")
    assert answer(got)[0] == 405 and b"Allow: POST, GET, HEAD\r\n" in got


def test_continue_is_said_after_admission(pool):
    body = json.dumps({"type": "command", "payload": 1, "wait_for_workers": True}).encode()
    head = b"POST /api/v1/tasks HTTP/1.1\r\n%sContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
    with pool.socket() as sock:
        sock.sendall(head % (auth(pool), len(body)))
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert b" 202 " in sock.recv(65536).split(b"\r\n")[0]
    got = pool.raw(head % (b"Host: x\r\n", len(body)))
    assert answer(got) == (401, "auth.required")


def test_ranges_that_are_odd(pool):
    import hashlib
    data = b"0123456789"
    path = "/api/v1/artifacts/" + hashlib.sha256(data).hexdigest()
    assert pool.ask("PUT", path, data).status == 201
    for text in ("bytes=5-4", "bytes=0-1,3-4", "bytes=x", "items=0-1", "bytes", "bytes=-", "bytes=99999999999999999999-"):
        got = pool.ask("GET", path, headers={"Range": text})
        assert got.status == 200 and got.body == data, (text, got)
    for text in ("bytes=10-", "bytes=-0"):
        got = pool.ask("GET", path, headers={"Range": text})
        assert got.status == 416 and got.headers["content-range"] == "bytes */10"
    for text in ("bytes 0-9", "bytes 9-0/10", "bytes 0-10/10", "bytes */10", "x"):
        assert pool.ask("PUT", path, data, headers={"Content-Range": text}).status == 400, text


def test_sockets_that_misbehave(pool):
    from ws import CLOSE, PING, TEXT
    for what, code in ((lambda s: s.frame(TEXT, b"x", mask=False), 1002), (lambda s: s.frame(3, b""), 1002), (lambda s: s.raw(b"\xc1\x80"), 1002),
                       (lambda s: s.frame(PING, b"x" * 200), 1002), (lambda s: s.frame(0, b"x"), 1002), (lambda s: s.frame(2, b"x"), 1003),
                       (lambda s: s.raw(b"\x81\xff\x00\x00\x00\x01\x00\x00\x00\x00mask"), 1009), (lambda s: s.frame(CLOSE, b"\x03\xe8"), 1000)):
        with_socket = pool.websocket("/events")
        while with_socket.receive()["type"] != "snapshot":
            pass
        what(with_socket)
        got = with_socket.receive()
        while isinstance(got, dict):
            got = with_socket.receive()
        assert got[0] == code, (code, got)
        with_socket.close()


def test_workers_that_misbehave(pool):
    for message in ("nonsense", "[]", "{}", '{"m":1}', '{"m":"hello"}', '{"m":"ready","slots":-1}', "[" * 5000):
        worker = pool.websocket("/worker/v1", token=pool.worker_token(), protocol="berth.worker.v1")
        worker.send(message)
        got = worker.receive()
        while isinstance(got, dict):
            assert got["m"] == "error", (message, got)
            got = worker.receive()
        assert got[0] in (1008, 1007)
        worker.close()


def test_slow_senders_and_silent_ones(tmp_path):
    """Heads and bodies that do not come, idle connections, half-open ones: each ends; the rest is served meanwhile."""
    settings = ["limits.head=300ms", "limits.body=300ms", "limits.idle=300ms"]
    for slow in running(tmp_path / "slow", settings=settings):
        silent = slow.socket()
        half = slow.socket()
        half.sendall(b"GET /healthz HT")
        body = slow.socket()
        body.sendall(b"POST /api/v1/keys HTTP/1.1\r\n" + auth(slow) + b"Content-Length: 100\r\n\r\n{")
        idle = slow.socket()
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in idle.recv(4096)
        assert slow.ask("GET", "/api/v1/me").status == 200
        assert silent.recv(100) == b""
        assert answer(half.recv(4096))[0] == 408
        assert answer(body.recv(4096))[0] == 408
        assert idle.recv(100) == b""
        for sock in (silent, half, body, idle):
            sock.close()
        # Gone without a word, in the middle of a wait and of an upload.
        task = slow.submit()
        for data in (b"GET /api/v1/tasks/%s?wait=300 HTTP/1.1\r\n%s\r\n" % (task["id"].encode(), auth(slow)),
                     b"PUT /api/v1/artifacts/%s HTTP/1.1\r\n%sContent-Length: 1000\r\n\r\nabc" % (b"1" * 64, auth(slow))):
            sock = slow.socket()
            sock.sendall(data)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            sock.close()
        assert slow.ask("GET", "/api/v1/me").status == 200


def test_limits(tmp_path):
    settings = ["limits.strangers=4", "limits.strangers_per_minute=30", "limits.connections_per_account=3"]
    for small in running(tmp_path / "small", settings=settings):
        # Connections without an identity, from one address.
        held = [small.socket() for _ in range(4)]
        with small.socket() as fifth:
            try:
                assert fifth.recv(10) == b""
            except ConnectionResetError:
                pass
        for sock in held:
            sock.close()

        def taken():
            try:
                return small.ask("GET", "/healthz", token=None)
            except ConnectionResetError:
                return None

        wait_until(taken, "it has seen that they are gone")
        # Streams of one account, and of one with a smaller limit of its own.
        _, few = small.account("few", limits={"max_connections": 1})
        stream = small.websocket("/events", token=few)
        refused = small.ask("GET", "/api/v1/events", token=few)
        assert refused.code == "limit.connections" and "retry-after" in refused.headers
        stream.close()
        # Requests of a key.
        _, key = small.account("slow", limits={"requests_per_minute": 5})
        got = [small.ask("GET", "/api/v1/me", token=key) for _ in range(6)]
        assert [a.status for a in got] == [200] * 5 + [429]
        assert got[0].headers["ratelimit-policy"] == '"requests";q=5;w=60' and got[4].headers["ratelimit"].startswith('"requests";r=0;t=')
        assert int(got[5].headers["retry-after"]) <= 12 and got[5].json["retry_after"] >= 1
        # Tasks of an account, each of a batch counted; what is only tried is free.
        _, few = small.account("few-tasks", limits={"tasks_per_minute": 3})
        task = {"type": "command", "payload": 1, "wait_for_workers": True}
        assert small.ask("POST", "/api/v1/tasks", {"tasks": [task] * 2}, token=few).status == 202
        assert small.ask("POST", "/api/v1/tasks?dry_run=true", {"tasks": [task] * 2}, token=few).status == 200
        assert small.ask("POST", "/api/v1/tasks", {"tasks": [task] * 2}, token=few).code == "limit.tasks"
        assert small.ask("POST", "/api/v1/tasks", task, token=few).status == 202
        # Guessing keys: the address's allowance ends, those who are known go on.
        wrong = [small.ask("GET", "/api/v1/me", token="berth_" + "a" * 49).status for _ in range(40)]
        assert wrong[0] == 401 and wrong[-1] == 429
        assert small.ask("GET", "/api/v1/me").status == 200
        assert small.ask("POST", "/api/v1/sessions", {"name": "x", "password": "y"}, token=None).status == 429
        assert small.ask("GET", "/healthz", token=None).status == 200
