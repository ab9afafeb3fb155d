"""A small WebSocket client over a plain or TLS socket: enough for tests, including frames that no library would send."""
import base64
import json
import os
import socket
import struct

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Refused(Exception):
    """The handshake was answered with something else than 101."""

    def __init__(self, status, headers, body):
        super().__init__(f"{status} {body[:300]!r}")
        self.status, self.headers, self.body = status, headers, body


class WebSocket:
    def __init__(self, sock, path, host, headers=(), protocol=None):
        self.sock, self.data = sock, b""
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                 "Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16)).decode()]
        if protocol:
            lines.append("Sec-WebSocket-Protocol: " + protocol)
        lines += [f"{name}: {value}" for name, value in headers]
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        head = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        self.status = int(head[0].split()[1])
        self.headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in head[1:] if line)}
        if self.status != 101:
            raise Refused(self.status, self.headers, self._take(int(self.headers.get("content-length", 0))))

    def _more(self):
        part = self.sock.recv(65536)
        if not part:
            raise EOFError("the other side ended")
        self.data += part

    def _until(self, mark):
        while mark not in self.data:
            self._more()
        part, self.data = self.data.split(mark, 1)
        return part

    def _take(self, n):
        while len(self.data) < n:
            self._more()
        part, self.data = self.data[:n], self.data[n:]
        return part

    def raw(self, data):
        self.sock.sendall(data)

    def frame(self, opcode, data=b"", final=True, mask=True):
        head = bytes([(0x80 if final else 0) | opcode])
        bit = 0x80 if mask else 0
        if len(data) < 126:
            head += bytes([bit | len(data)])
        elif len(data) < 65536:
            head += bytes([bit | 126]) + struct.pack(">H", len(data))
        else:
            head += bytes([bit | 127]) + struct.pack(">Q", len(data))
        if mask:
            key = os.urandom(4)
            head += key
            data = bytes(b ^ key[i & 3] for i, b in enumerate(data))
        self.raw(head + data)

    def send(self, value):
        self.frame(TEXT, (value if isinstance(value, str) else json.dumps(value)).encode())

    def receive_frame(self):
        first, second = self._take(2)
        length = second & 0x7f
        if length == 126:
            length, = struct.unpack(">H", self._take(2))
        elif length == 127:
            length, = struct.unpack(">Q", self._take(8))
        assert not second & 0x80, "a server's frames are not masked"
        return first & 0x0f, self._take(length)

    def receive(self):
        """The next message as JSON; pings are answered. A close gives (code, reason)."""
        while True:
            opcode, data = self.receive_frame()
            if opcode == PING:
                self.frame(PONG, data)
            elif opcode == CLOSE:
                return (struct.unpack(">H", data[:2])[0] if len(data) >= 2 else 1005, data[2:].decode())
            elif opcode == TEXT:
                return json.loads(data)

    def binary(self):
        """The next binary message."""
        while True:
            opcode, data = self.receive_frame()
            if opcode == PING:
                self.frame(PONG, data)
            else:
                assert opcode == BINARY, (opcode, data)
                return data

    def close(self):
        self.sock.close()


def connect(address, path, tls=None, timeout=60, **options):
    sock = socket.create_connection(address, timeout)
    if tls:
        sock = tls.wrap_socket(sock, server_hostname="localhost")
    try:
        return WebSocket(sock, path, f"{address[0]}:{address[1]}", **options)
    except Exception:
        sock.close()
        raise
