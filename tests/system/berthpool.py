"""A pool of its own for each test: berth-pool on a free port with a fresh store, and a client that holds every answer against /openapi.json."""
import http.client
import json
import os
import signal
import socket
import ssl
import time

import jsonschema
import pytest
import ws
from conftest import PATIENCE, SANITIZER, Process, built

# Every answer that any test of this process got: (way, path, status), for the test that all routes were asked.
ASKED = set()


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.json.get("code")

    def __repr__(self):
        return f"{self.status} {self.body[:400]!r}"


class Pool:
    def __init__(self, folder, settings=(), arguments=(), name="pool", environment=()):
        self.folder, self.name = folder / name, name
        self.arguments, self.settings, self.environment = list(arguments), list(settings), dict(environment)
        self.local = folder / f"{name}-local" / "local.json"
        self.local.parent.mkdir(exist_ok=True)
        self.where, self.starts = folder, 0
        self.start()

    def start(self):
        reader, writer = os.pipe()
        argv = [built("src/gateway/berth-pool"), "--listen", "127.0.0.1:0", "--folder", self.folder, "--local", self.local, "--ready-fd", str(writer),
                *self.arguments]
        for setting in self.settings:
            argv += ["--set", setting]
        environment = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS")}
        environment.update(HOME=str(self.where), **self.environment)
        self.starts += 1
        self.process = Process(f"{self.name}-{self.starts}", self.where, argv, environment, pass_fds=[writer])
        os.close(writer)
        with os.fdopen(reader) as ready:
            self.url = ready.readline().strip()
        assert self.url, f"the pool did not start\n{self.process.err}"
        told = json.loads(self.local.read_text())
        self.token, self.pin, self.link = told["token"], told.get("pin"), told.get("sign_in")
        host, port = self.url.split("//")[1].rsplit(":", 1)
        self.address = (host, int(port))
        self.tls = None
        if self.url.startswith("https"):
            self.tls = ssl.create_default_context()
            self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE
        self.document = None
        self.document = self.ask("GET", "/openapi.json", token=None).json

    def stop(self, number=signal.SIGTERM):
        if self.process.running:
            self.process.popen.send_signal(number)
        return self.process.wait(60)

    def worker_token(self):
        return (self.local.parent / "worker.key").read_text().strip()

    # ---- raw

    def socket(self, timeout=60):
        sock = socket.create_connection(self.address, timeout * PATIENCE)
        return self.tls.wrap_socket(sock, server_hostname="localhost") if self.tls else sock

    def raw(self, data, finish=False):
        """Sends bytes, reads until the other side ends or a whole answer is there: its status line and all that came."""
        with self.socket() as sock:
            got = b""
            try:
                sock.sendall(data)
                if finish:
                    sock.shutdown(socket.SHUT_WR)
                while True:
                    part = sock.recv(65536)
                    if not part:
                        return got
                    got += part
                    head, mark, body = got.partition(b"\r\n\r\n")
                    if mark and head.startswith(b"HTTP/1.1 1"):
                        continue
                    for line in head.split(b"\r\n"):
                        if line.lower().startswith(b"content-length:") and len(body) >= int(line.split(b":")[1]):
                            return got
            except (ConnectionResetError, BrokenPipeError):
                return got

    def websocket(self, path, token="local", headers=(), **options):
        headers = list(headers)
        if token:
            headers.append(("Authorization", "Bearer " + (self.token if token == "local" else token)))
        return ws.connect(self.address, path, tls=self.tls, timeout=60 * PATIENCE, headers=headers, **options)

    # ---- HTTP, held against the document

    def ask(self, way, path, body=None, token="local", headers=None, connection=None, timeout=60):
        c = connection or self.connection(timeout)
        sent = dict(headers or {})
        if token:
            sent["Authorization"] = "Bearer " + (self.token if token == "local" else token)
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            sent.setdefault("Content-Type", "application/json")
        c.request(way, path, body=body, headers=sent)
        got = c.getresponse()
        answer = Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
        if not connection:
            c.close()
        if self.document:
            self.check(way, path, answer)
        return answer

    def connection(self, timeout=60):
        if self.tls:
            return http.client.HTTPSConnection(*self.address, timeout=timeout * PATIENCE, context=self.tls)
        return http.client.HTTPConnection(*self.address, timeout=timeout * PATIENCE)

    def route(self, way, path):
        parts = path.split("?")[0].split("/")
        for pattern, ways in self.document["paths"].items():
            wanted = pattern.split("/")
            if len(wanted) == len(parts) and all(w.startswith("{") or w == p for w, p in zip(wanted, parts)) and way.lower() in ways:
                return pattern, ways[way.lower()]
        return None, None

    def schema_holds(self, schema, value):
        whole = {**schema, "components": self.document["components"]}
        jsonschema.Draft202012Validator(whole).validate(value)

    def check(self, way, path, answer):
        """The document allows this answer."""
        kind = answer.headers.get("content-type", "").split(";")[0]
        if answer.status >= 300 and kind == "application/problem+json":
            self.schema_holds({"$ref": "#/components/schemas/Problem"}, answer.json)
            assert answer.json["status"] == answer.status
        pattern, operation = self.route("GET" if way == "HEAD" else way, path)
        if not operation:
            assert answer.status in (400, 404, 405, 414, 429, 431), f"{way} {path}: {answer}"
            return
        ASKED.add((way, pattern, answer.status))
        assert str(answer.status) in operation["responses"], f"{way} {path} answered what the document does not name: {answer}"
        content = operation["responses"][str(answer.status)].get("content")
        if not content or way == "HEAD":
            assert not answer.body, f"{way} {path}: a body where none is named: {answer}"
            return
        assert kind in content, f"{way} {path}: {kind} is not among {list(content)}"
        if "schema" in content[kind]:
            self.schema_holds(content[kind]["schema"], answer.json)

    # ---- often

    def good(self, way, path, body=None, **options):
        answer = self.ask(way, path, body, **options)
        assert answer.status < 300, f"{way} {path}: {answer}"
        return answer.json if answer.body else None

    def account(self, name, role="user", token="local", **more):
        """A new account with a key: (its id, the key's text)."""
        account = self.good("POST", "/api/v1/accounts", {"name": name, "role": role, **more}, token=token)["id"]
        return account, self.good("POST", "/api/v1/keys", {"label": "test", "account": account}, token=token)["key"]

    def submit(self, token="local", **more):
        task = {"type": "command", "payload": {"argv": ["true"]}, "wait_for_workers": True, **more}
        return self.good("POST", "/api/v1/tasks", task, token=token)


class Worker:
    """A worker by hand: the protocol's messages over a WebSocket."""

    def __init__(self, pool, token=None, slots=1, types=("command",), name="hand", **more):
        self.pool = pool
        self.socket = pool.websocket("/worker/v1", token=token or pool.worker_token(), protocol="berth.worker.v1")
        self.socket.send({"m": "hello", "protocol": 1, "instance": os.urandom(8).hex(), "name": name, "slots": slots, "types": list(types), "devices": [],
                          "host_memory_bytes": 1 << 30, "models": [], "labels": {}, "private": False, "running": [], "version": "test", **more})
        self.welcome = self.receive("welcome")
        self.id = self.welcome["worker"]
        self.socket.send({"m": "ready", "slots": slots})

    def receive(self, kind):
        end = time.monotonic() + 60 * PATIENCE
        while time.monotonic() < end:
            message = self.socket.receive()
            assert isinstance(message, dict), f"closed with {message} while waiting for {kind}"
            if message["m"] == kind:
                return message
        raise AssertionError(f"no {kind} came")

    def lease(self):
        return self.receive("lease")

    def say(self, kind, lease, **more):
        self.socket.send({"m": kind, "task": lease["task"], "nonce": lease["nonce"], **more})

    def finish(self, lease, result=None):
        self.say("result", lease, result=result, ready=True)
        return self.receive("ack")


def running(folder, **options):
    """A pool for the time of a test; it must end in order, and without a sanitizer's complaint."""
    folder.mkdir(exist_ok=True)
    pool = Pool(folder, **options)
    try:
        yield pool
        if pool.process.running:
            assert pool.stop() == 0, pool.process.report()
        for file in folder.glob("*.err"):
            complaint = SANITIZER.search(file.read_text(errors="replace"))
            assert not complaint, file.read_text(errors="replace")[-4000:]
    finally:
        pool.process.end()


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """One for all tests of a file."""
    yield from running(tmp_path_factory.mktemp("pool"))
