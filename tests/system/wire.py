"""Speaks the protocol from the outside: a client that says whatever a test wants. Built from messages.def, as everything else."""
import array
import importlib.machinery
import importlib.util
import os
import select
import socket
import struct
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
loader = importlib.machinery.SourceFileLoader("protocol_doc", os.path.join(ROOT, "tools/protocol-doc"))
protocol_doc = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
loader.exec_module(protocol_doc)

MESSAGES = {message.name: message for message in protocol_doc.read()}
BY_NUMBER = {message.number: message for message in MESSAGES.values()}
FORMATS = {"u64": "<Q", "u32": "<I", "i32": "<i"}
MAGIC, VERSION = 0x48545242, 1
PROGRAM, CONTROL = 0, 1


def encode(name, /, header_sequence=1, header_version=VERSION, **fields):
    message = MESSAGES[name]
    data = bytearray(message.size + 16)
    struct.pack_into("<IHHII", data, 0, MAGIC, header_version, message.number, len(data), header_sequence)
    for offset, kind, field, _ in message.fields:
        value = fields.pop(field, None)
        if value is None:
            continue
        if kind in FORMATS:
            struct.pack_into(FORMATS[kind], data, offset, value)
        else:
            value = value.encode() if isinstance(value, str) else value
            data[offset:offset + len(value)] = value
    assert not fields, f"{name} has no {fields}"
    return bytes(data)


def decode(data):
    """(name, fields)"""
    number = struct.unpack_from("<H", data, 6)[0]
    message, fields = BY_NUMBER[number], {}
    for offset, kind, field, _ in message.fields:
        if kind in FORMATS:
            fields[field] = struct.unpack_from(FORMATS[kind], data, offset)[0]
        else:
            value = data[offset:offset + int(kind.split()[1])]
            fields[field] = value.split(b"\0")[0].decode() if kind.startswith("text") else value
    return message.name, fields


class Peer:
    """One connection to the daemon."""

    def __init__(self, node, patience=30.0):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.patience, self.sequence, self.seen, self.fds = patience, 0, [], []
        self.socket.connect(node.environment["BERTH_SOCKET"])

    def raw(self, data, fds=()):
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        return self.socket.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)

    def say(self, name, /, fds=(), **fields):
        self.sequence += 1
        return self.raw(encode(name, self.sequence, **fields), fds)

    def hello(self, role=PROGRAM, name="peer", **fields):
        self.say("HELLO", role=role, name=name, pid=os.getpid(), version_min=1, version_max=1, priority=1, **fields)
        return self.expect("WELCOME")

    def receive(self, seconds=None):
        """(name, fields), or None when the daemon hung up."""
        if not select.select([self.socket], [], [], self.patience if seconds is None else seconds)[0]:
            raise AssertionError(f"the daemon said nothing; before: {self.seen[-5:]}")
        try:
            data, fds, _, _ = socket.recv_fds(self.socket, 1024, 4)
        except ConnectionResetError:
            return None
        self.fds += fds
        if not data:
            return None
        self.seen.append(decode(data))
        return self.seen[-1]

    def expect(self, *names):
        """Skips to the first of these; its fields."""
        end = time.monotonic() + self.patience
        while time.monotonic() < end:
            got = self.receive()
            assert got, f"the daemon hung up before {names}; it said {self.seen[-5:]}"
            if got[0] in names:
                return got[1]
        raise AssertionError(f"no {names} within {self.patience} s; it said {self.seen[-5:]}")

    def hung_up(self):
        """Waits until the daemon closed the connection."""
        while True:
            if self.receive() is None:
                return True

    def close(self):
        self.socket.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
