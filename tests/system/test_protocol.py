"""What strangers may do to the daemon's socket: garbage, wrong versions, wrong turns, floods, too many. The daemon answers, counts, drops, and
serves the others as before."""
import os
import socket

import pytest
import wire
from conftest import MIB, wait_until


def refused(node):
    return node.status()["daemon"]["refused"]


def uuid_of(node):
    return bytes.fromhex(node.device()["uuid"].removeprefix("GPU-").replace("-", ""))


@pytest.fixture
def node(machine):
    return machine(memory__client_part="8MiB").start()


HELLO = wire.encode("HELLO", name="x", version_min=1, version_max=1)


@pytest.mark.parametrize("data", [
    b"\0",
    b"GET / HTTP/1.1\r\n\r\n",
    HELLO[:15],
    HELLO[:-1],
    HELLO + b"\0",
    HELLO + b"\0" * 4096,
    b"\xff" + HELLO[1:],
    HELLO[:-48] + b"x" * 48,
    HELLO[:6] + b"\xff\x7f" + HELLO[8:],
    wire.encode("WANT", need_bytes=1),
    wire.encode("WELCOME"),
    os.urandom(400),
], ids=["byte", "http", "short-header", "short", "long", "oversized", "magic", "text", "number", "no-hello", "direction", "random"])
def test_garbage_is_refused_and_counted(node, data):
    before = refused(node)
    with wire.Peer(node) as peer:
        peer.raw(data)
        answer = peer.expect("ERROR")
        assert "refused" in answer["text"] and answer["code"] in (-4096, -4097)
        assert peer.hung_up()
    assert refused(node) == before + 1


def test_an_empty_datagram_is_the_end(node):
    with wire.Peer(node) as peer:
        peer.raw(b"")
        assert peer.hung_up()
    assert node.status()["clients"] == []


def test_a_version_of_the_future_gets_a_clear_answer(node):
    with wire.Peer(node) as peer:
        peer.raw(wire.encode("HELLO", header_version=9, name="x", version_min=9, version_max=12))
        answer = peer.expect("ERROR")
        assert answer["code"] == -4096 and "9 to 12" in answer["text"]
        assert peer.hung_up()


def test_a_newer_program_that_still_speaks_ours_is_served(node):
    with wire.Peer(node) as peer:
        peer.raw(wire.encode("HELLO", header_version=9, name="x", version_min=1, version_max=9, priority=1))
        assert peer.expect("WELCOME")["version"] == 1


def test_another_version_after_hello_is_refused(node):
    with wire.Peer(node) as peer:
        peer.hello()
        peer.raw(wire.encode("HOST", header_version=2, bytes=1))
        assert peer.expect("ERROR")["code"] == -4096
        assert peer.hung_up()


def test_a_program_may_not_send_what_the_command_line_may(node):
    with wire.Peer(node) as peer:
        peer.hello()
        peer.say("RELOAD")
        assert peer.expect("ERROR")["about"] == wire.MESSAGES["RELOAD"].number
        peer.say("HOST", bytes=0)  # still served


def test_out_of_turn_messages_are_borne_a_few_times(node):
    with wire.Peer(node) as peer:
        peer.hello()
        peer.say("DEVICE", uuid=uuid_of(node), total_bytes=256 * MIB)
        peer.expect("DEVICE_OK")
        for _ in range(40):
            try:
                peer.say("EVICTED", returned_bytes=1 << 40, done=1)
            except BrokenPipeError:
                break
        assert peer.hung_up()
    node.wait_log("too many messages out of turn")
    assert node.device()["granted_bytes"] == 0


def test_an_unknown_device_is_named(node):
    with wire.Peer(node) as peer:
        peer.hello()
        peer.say("DEVICE", uuid=b"\x11" * 16, total_bytes=1)
        answer = peer.expect("ERROR")
        assert answer["code"] == -4105 and "GPU-11111111-1111" in answer["text"]


def test_resumed_state_that_cannot_be_is_refused(node):
    with wire.Peer(node) as peer:
        peer.hello(resumes=1)
        peer.say("DEVICE", uuid=uuid_of(node), total_bytes=256 * MIB, granted_bytes=1 << 50, resident_bytes=1 << 50, movable_bytes=1 << 50)
        assert "can't be" in peer.expect("ERROR")["text"]
    assert node.device()["granted_bytes"] == 0


def test_descriptors_that_nobody_asked_for_are_closed(node):
    daemon_fds = f"/proc/{node.daemon.pid}/fd"
    with wire.Peer(node) as peer:
        peer.hello()
        before = len(os.listdir(daemon_fds))
        with open(os.devnull, "rb") as null:
            for _ in range(50):
                peer.say("HOST", fds=[null.fileno()] * 3, bytes=0)
        peer.say("DEVICE", uuid=uuid_of(node), total_bytes=1)
        peer.expect("DEVICE_OK")
        # 150 came; what the daemon opens for itself meanwhile (lanes, segments of the arena) is far less.
        assert len(os.listdir(daemon_fds)) < before + 50


def test_a_flood_is_read_slowly_and_others_are_served(machine):
    node = machine(limits__messages_per_second=1000).start()
    with wire.Peer(node) as flood:
        flood.hello()
        flood.socket.setblocking(False)
        message = wire.encode("HOST", bytes=0)
        sent = 0
        while sent < 100000:
            try:
                flood.raw(message)
                sent += 1
            except BlockingIOError:
                break
        # It was told to wait: the daemon stopped reading, far from having taken all.
        assert sent < 100000
        taken = node.status()["daemon"]["messages"]
        with wire.Peer(node) as other:
            other.hello(name="other")
            other.say("DEVICE", uuid=uuid_of(node), total_bytes=256 * MIB)
            other.expect("DEVICE_OK")
        assert taken < 20000


def test_a_peer_that_does_not_read_is_dropped(node):
    with wire.Peer(node) as deaf:
        deaf.hello(role=wire.CONTROL)

        def ask():
            try:
                for _ in range(500):
                    deaf.socket.send(wire.encode("STATUS_ASK"), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return False
            except (BrokenPipeError, ConnectionResetError):
                return True
            return False

        wait_until(ask, "the daemon drops it")
    node.wait_log("does not read its messages")


def test_one_user_may_not_take_every_connection(machine):
    node = machine(limits__clients_per_user=8).start()
    peers = []
    try:
        for _ in range(7):
            peers.append(wire.Peer(node))
            peers[-1].hello()
        # The eighth is the test's own `berth status`; with one more, that one is turned away.
        assert node.berth("status").returncode == 0
        peers.append(wire.Peer(node))
        peers[-1].hello()
        with wire.Peer(node) as last:
            answer = last.expect("ERROR")
            assert answer["code"] == -4102 and "clients_per_user" in answer["text"]
            assert last.hung_up()
        peers.pop().close()
        wait_until(lambda: node.berth("status").returncode == 0, "room for one more")
    finally:
        for peer in peers:
            peer.close()


def test_a_hundred_programs_come_and_go(node):
    uuid = uuid_of(node)
    for _ in range(5):
        peers = [wire.Peer(node) for _ in range(100)]
        for peer in peers:
            peer.hello()
            peer.say("DEVICE", uuid=uuid, total_bytes=256 * MIB)
        for peer in peers:
            peer.expect("DEVICE_OK")
            peer.close()
    node.wait(lambda status: not status["clients"], "all are gone")
    assert node.device()["granted_bytes"] == 0
