"""A pool of a few lines, for the worker's tests: the worker protocol on a WebSocket and artifacts by HTTP, on one port, with every fault that a test asks for.

Only what docs/worker-protocol.md and docs/api.md (artifacts) say; what a worker must survive (half frames, silence, refusals, nonsense) is said with raw().
"""
import base64
import hashlib
import json
import re
import socket
import ssl
import struct
import threading
import time


class Connection:
    """One worker's WebSocket."""

    def __init__(self, pool, sock, rest):
        self.pool, self.sock, self.buffer = pool, sock, rest
        self.open, self.lock = True, threading.Lock()
        self.worker = None

    def raw(self, data):
        with self.lock:
            self.sock.sendall(data)

    def frame(self, opcode, data):
        head = bytes([0x80 | opcode])
        if len(data) < 126:
            head += bytes([len(data)])
        elif len(data) < 65536:
            head += bytes([126]) + struct.pack(">H", len(data))
        else:
            head += bytes([127]) + struct.pack(">Q", len(data))
        self.raw(head + data)

    def send(self, message):
        self.frame(1, message.encode() if isinstance(message, str) else json.dumps(message).encode())

    def _take(self, count):
        while len(self.buffer) < count:
            more = self.sock.recv(65536)
            if not more:
                raise ConnectionError
            self.buffer += more
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def receive(self):
        """One whole text message, or None at the end."""
        text = b""
        while True:
            first, second = self._take(2)
            size = second & 0x7F
            assert second & 0x80, "a client's frame without a mask"
            if size == 126:
                size, = struct.unpack(">H", self._take(2))
            elif size == 127:
                size, = struct.unpack(">Q", self._take(8))
            mask = self._take(4)
            data = bytearray(self._take(size))
            for i in range(4):
                data[i::4] = bytes(b ^ mask[i] for b in data[i::4])
            if first & 0x0F == 8:
                return None
            if first & 0x0F == 9:
                self.frame(10, bytes(data))
                continue
            if first & 0x0F == 10:
                continue
            text += data
            if first & 0x80:
                return json.loads(text)

    def close(self):
        self.open = False
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class Task:
    def __init__(self, number, kind, payload, needs=None):
        self.id, self.type, self.payload, self.needs = f"task_{number:032x}", kind, payload, needs
        self.nonce, self.attempt = str(number * 1000003 + 1), 0
        self.messages, self.log, self.ended = [], {}, None

    @property
    def text(self):
        return "".join(self.log[offset] for offset in sorted(self.log))

    @property
    def progress(self):
        return [m for m in self.messages if m["m"] == "progress"]


class Pool:
    def __init__(self, context=None, host="127.0.0.1", token="berth_secret", lease_ms=3000, heartbeat_ms=500):
        self.token, self.lease_ms, self.heartbeat_ms, self.host = token, lease_ms, heartbeat_ms, host
        self.changed = threading.Condition()
        self.connections, self.hellos, self.tasks, self.heard = [], [], {}, []
        self.artifacts, self.partial, self.requests = {}, {}, []
        self.refuse, self.cut_after, self.lost, self.acknowledge, self.credit = None, None, [], True, 0
        self.authorizations = []
        self.context = context
        self.listener = socket.create_server((host, 0))
        self.port = self.listener.getsockname()[1]
        self.closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"{'wss' if self.context else 'ws'}://{self.host}:{self.port}"

    def _accept(self):
        while not self.closed:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        try:
            if self.context:
                sock = self.context.wrap_socket(sock, server_side=True)
            rest = b""
            while True:
                while b"\r\n\r\n" not in rest:
                    more = sock.recv(65536)
                    if not more:
                        return
                    rest += more
                head, rest = rest.split(b"\r\n\r\n", 1)
                lines = head.decode().split("\r\n")
                method, path, _ = lines[0].split(" ", 2)
                headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines[1:])}
                self.authorizations.append(headers.get("authorization"))
                if headers.get("upgrade", "").lower() == "websocket":
                    self._websocket(sock, headers, rest)
                    return
                size = int(headers.get("content-length", 0))
                rest = self._http(sock, method, path, headers, size, rest)
                if rest is None:
                    return
        except (OSError, ssl.SSLError, ConnectionError):
            pass
        finally:
            sock.close()

    # Artifacts

    def put(self, data):
        digest = hashlib.sha256(data).hexdigest()
        self.artifacts[digest] = data
        return digest

    def _http(self, sock, method, path, headers, size, rest):
        def answer(status, body=b"", **more):
            text = f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n"
            text += "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in more.items())
            sock.sendall(text.encode() + b"\r\n" + body)

        self.requests.append((method, path, headers.get("range") or headers.get("content-range")))
        found = re.fullmatch(r"/api/v1/artifacts/([0-9a-f]{64})(/upload)?", path)
        if headers.get("authorization") != f"Bearer {self.token}" or not found:
            answer(401 if found else 404)
            return None
        digest = found[1]
        if found[2]:
            if digest in self.artifacts:
                answer(200, json.dumps({"offset": len(self.artifacts[digest]), "complete": True}).encode())
            elif digest in self.partial:
                answer(200, json.dumps({"offset": len(self.partial[digest]), "complete": False}).encode())
            else:
                answer(404)
        elif method == "GET" and digest in self.artifacts:
            data, start = self.artifacts[digest], 0
            if headers.get("range"):
                start = int(re.match(r"bytes=(\d+)-", headers["range"])[1])
                if start >= len(data):
                    answer(416)
                    return rest
            part = data[start:]
            sock.sendall(f"HTTP/1.1 {206 if headers.get('range') else 200} x\r\nContent-Length: {len(part)}\r\n\r\n".encode())
            if self.cut_after is not None:
                sock.sendall(part[:self.cut_after])
                self.cut_after = None
                return None
            sock.sendall(part)
        elif method == "GET":
            answer(404)
        elif method == "PUT":
            kept = self.partial.setdefault(digest, bytearray())
            given = re.match(r"bytes (\d+)-(\d+)/(\d+)", headers.get("content-range", ""))
            start, total = (int(given[1]), int(given[3])) if given else (0, size)
            if start > len(kept):
                answer(409)
                return None
            del kept[start:]
            cut, self.cut_after = self.cut_after, None
            left = size
            while left:
                if not rest:
                    rest = sock.recv(65536)
                    if not rest:
                        return None
                take = rest[:left]
                kept += take
                rest, left = rest[len(take):], left - len(take)
                if cut is not None and size - left >= cut:
                    return None
            if len(kept) < total:
                answer(200)
            elif hashlib.sha256(kept).hexdigest() != digest:
                del self.partial[digest]
                answer(422)
            else:
                self.artifacts[digest] = bytes(self.partial.pop(digest))
                answer(201)
        else:
            answer(405)
        return rest

    # Workers

    def _websocket(self, sock, headers, rest):
        if self.refuse:
            sock.sendall(self.refuse)
            return
        if headers.get("authorization") != f"Bearer {self.token}":
            sock.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            return
        accept = base64.b64encode(hashlib.sha1((headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        sock.sendall(("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: "
                      f"{headers['sec-websocket-protocol']}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").encode())
        connection = Connection(self, sock, rest)
        with self.changed:
            self.connections.append(connection)
            self.changed.notify_all()
        try:
            while True:
                message = connection.receive()
                if message is None:
                    break
                with self.changed:
                    self._heard(connection, message)
                    self.changed.notify_all()
        except (OSError, ConnectionError, ValueError):
            pass
        finally:
            with self.changed:
                connection.open = False
                self.changed.notify_all()

    def _heard(self, connection, m):
        self.heard.append(m)
        if m["m"] == "hello":
            self.hellos.append(m)
            self.credit = 0
            connection.worker = m.get("worker") or f"worker_{len(self.hellos)}"
            connection.send({"m": "welcome", "worker": connection.worker, "server": f"https://{self.host}:{self.port}", "lease_ms": self.lease_ms,
                             "heartbeat_ms": self.heartbeat_ms, "payload_bytes": 262144, "lost": self.lost})
        elif m["m"] == "ready":
            self.credit += m["slots"]
        task = self.tasks.get(m.get("task"))
        if not task:
            return
        task.messages.append(m)
        if m["m"] == "log":
            task.log[m["offset"]] = m["text"]
        if m["m"] in ("result", "fail") and m["nonce"] == task.nonce:
            task.ended = task.ended or m
            if self.acknowledge:
                connection.send({"m": "ack", "task": task.id, "nonce": m["nonce"]})

    def wait(self, condition, what, seconds=60):
        end = time.monotonic() + seconds
        with self.changed:
            while True:
                value = condition()
                if value:
                    return value
                left = end - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"after {seconds} s still not: {what}; heard: {json.dumps(self.heard[-30:], indent=0)[-6000:]}")
                self.changed.wait(left)

    @property
    def connection(self):
        return self.wait(lambda: next((c for c in reversed(self.connections) if c.open and c.worker), None), "a worker is connected")

    def lease(self, kind, payload, needs=None, connection=None, blind=False):
        """Gives a task once the worker offers a slot; blind: whether it does or not."""
        if not blind:
            self.wait(lambda: self.credit > 0, "a slot is offered")
        task = Task(len(self.tasks) + 1, kind, payload, needs)
        with self.changed:
            self.credit -= 1
            self.tasks[task.id] = task
        self.give(task, connection)
        return task

    def give(self, task, connection=None):
        task.attempt += 1
        (connection or self.connection).send({"m": "lease", "task": task.id, "nonce": task.nonce, "attempt": task.attempt, "type": task.type,
                                              "payload": task.payload, "needs": task.needs, "lease_ms": self.lease_ms})

    def end(self, task, seconds=60):
        """What the task ended with: a result or a fail message."""
        return self.wait(lambda: task.ended, f"{task.type} {task.id} ends", seconds)

    def run(self, kind, payload, needs=None, seconds=60):
        return self.end(self.lease(kind, payload, needs), seconds)

    def close(self):
        self.closed = True
        self.listener.close()
        for connection in self.connections:
            connection.close()
