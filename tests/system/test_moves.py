"""What a switch spares itself: memory that did not change is not copied again, physical units change hands, freed blocks are used again."""
import json
import subprocess

import pytest
from conftest import MIB, nothing_is_lost, result, wait_until, work


class Server:
    """serve.c: answers requests; its weights never change, its state does."""

    def __init__(self, node, mib, *options):
        self.process = node.run("serve", "--memory", f"{mib}MiB", "--chunk", "16MiB", "--state", "8MiB", options=options, stdin=subprocess.PIPE)
        self.lines(1)

    def lines(self, n):
        wait_until(lambda: self.process.out.count("\n") >= n or not self.process.running, f"{n} lines of {self.process}")
        assert self.process.out.count("\n") >= n, self.process.report()
        return [json.loads(line) for line in self.process.out.splitlines()]

    def request(self):
        before = self.process.out.count("\n")
        self.process.popen.stdin.write(b"go\n")
        self.process.popen.stdin.flush()
        assert self.lines(before + 1)[before]["ok"], self.process.report()

    def end(self):
        self.process.popen.stdin.close()
        self.process.ok()


def push_out(node, mib=160):
    """Another program that needs most of the device comes and ends."""
    assert result(work(node, mib, rounds=3))["ok"]


def test_what_did_not_change_is_not_copied_again(machine):
    node = machine(client__unit="8MiB").start()
    server = Server(node, 128)
    push_out(node)
    first = node.device()
    assert first["out_bytes"] >= 48 * MIB and first["dropped_bytes"] == 0
    for _ in range(3):
        server.request()
        before = node.device()
        push_out(node)
        after = node.device()
        # The weights have a copy on the host that still holds; what a request writes to is not among what has to leave.
        assert after["dropped_bytes"] - before["dropped_bytes"] >= 48 * MIB
        assert after["out_bytes"] - before["out_bytes"] <= 16 * MIB
    server.request()
    server.end()
    nothing_is_lost(node)


def test_all_of_it_leaves_and_only_the_changed_part_is_copied(machine):
    node = machine(client__unit="8MiB").start()
    server = Server(node, 128)
    push_out(node, 208)
    server.request()
    before = node.device()
    push_out(node, 208)
    after = node.device()
    assert after["dropped_bytes"] - before["dropped_bytes"] >= 96 * MIB
    assert 0 < after["out_bytes"] - before["out_bytes"] <= 24 * MIB
    server.request()
    server.end()
    nothing_is_lost(node)


def test_without_hashing_all_is_copied(machine):
    node = machine(client__unit="8MiB", client__clean="no").start()
    server = Server(node, 128)
    for _ in range(2):
        push_out(node)
        server.request()
    assert node.device()["dropped_bytes"] == 0
    server.end()
    nothing_is_lost(node)


def test_a_program_that_changes_everything_is_copied_whole(machine):
    node = machine(client__unit="8MiB", slice__mode="fixed", slice__fixed="300ms").start()
    programs = [work(node, 160, until="end") for _ in range(2)]
    node.switched(3)
    node.tell()
    for program in programs:
        assert result(program)["ok"]
    device = node.device()
    assert device["switches"] >= 2 and device["out_bytes"] > 0
    nothing_is_lost(node)


@pytest.mark.parametrize("options", [(), ("--need", "96MiB")], ids=["unannounced", "announced"])
def test_more_models_than_host_memory_has_places_for(machine, options):
    """Three servers of which the device holds two, and a host that can't take all three: each is asked in turn, again and again."""
    node = machine(client__unit="2MiB", arena__size="176MiB", arena__segment="2MiB").start()
    servers = [Server(node, 96, *options) for _ in range(3)]
    for _ in range(2):
        for server in servers:
            server.request()
    assert node.device()["waiting"] == 0
    status = node.status()
    assert status["daemon"]["arena_lent_bytes"] <= 176 * MIB
    for server in servers:
        server.end()
    nothing_is_lost(node)


def test_units_change_hands(machine):
    """Two programs of one user take turns: most of what one leaves, the other gets without the driver's freeing and scrubbing it."""
    node = machine(client__unit="16MiB", slice__mode="fixed", slice__fixed="300ms").start()
    programs = [work(node, 192, until="end") for _ in range(2)]
    # First one of them leaves for the other's growth; from then on both have memory to bring in.
    before = node.switched(3)["devices"][0]
    after = node.switched(9)["devices"][0]
    node.tell()
    for program in programs:
        assert result(program)["ok"]
    assert after["handed_bytes"] - before["handed_bytes"] >= (after["out_bytes"] - before["out_bytes"]) / 2
    nothing_is_lost(node)


def neighbour(machine, **settings):
    """Two devices; programs run on the first one."""
    return machine(device__software_devices=2, client__unit="8MiB", **settings).start()


def stored(status):
    return sum(c["resident_bytes"] for c in status["clients"] if c["storage"])


def known_to_the_neighbour(node, server):
    """What leaves before the program has found the other device goes to the host."""
    node.wait(lambda status: any(c["storage"] and c["pid"] == server.process.pid for c in status["clients"]), "the neighbour knows it")
    return server


def test_a_neighbours_free_memory_comes_before_the_host(machine):
    node = neighbour(machine)
    server = known_to_the_neighbour(node, Server(node, 128))
    hog = work(node, 160, until="end")
    status = node.wait(lambda status: stored(status) >= 48 * MIB, "what left the first device is on the second one")
    assert all(c["device"] == 1 for c in status["clients"] if c["storage"])
    node.tell()
    assert result(hog)["ok"]
    server.request()
    node.wait(lambda status: stored(status) == 0 and status["devices"][1]["granted_bytes"] == 0, "the neighbour has it all back")
    server.end()
    nothing_is_lost(node)


def test_an_idle_program_stays_on_the_neighbour_until_it_is_asked(machine):
    """Asking for room on the neighbour is no wish of the program's to run: its memory doesn't come back for nothing when there is room."""
    node = neighbour(machine)
    server = known_to_the_neighbour(node, Server(node, 128))
    push_out(node, 208)
    out = node.status()
    assert stored(out) >= 120 * MIB  # all but what is smaller than a unit
    others = work(node, 64, rounds=3)  # something happens on the device
    assert result(others)["ok"]
    now = node.status()
    assert stored(now) == stored(out)
    assert now["devices"][0]["in_bytes"] == out["devices"][0]["in_bytes"]
    server.request()
    server.end()
    nothing_is_lost(node)


def test_a_neighbour_that_is_needed_gets_its_memory_back(machine):
    """A program comes to the second device while it holds memory of the first one: that moves on to the host, and is right."""
    node = neighbour(machine)
    server = known_to_the_neighbour(node, Server(node, 128))
    hog = work(node, 200, until="end")
    node.wait(lambda status: stored(status) >= 80 * MIB, "most of the server lies on the neighbour")
    other = work(node, 200, rounds=3, environment={"CU_DEVICE": "1"})
    assert result(other)["ok"]
    assert node.device(1)["out_bytes"] > 0
    node.tell()
    assert result(hog)["ok"]
    server.request()
    server.end()
    nothing_is_lost(node)


def test_what_is_kept_empty_on_a_neighbour_is_in_nobodys_way(machine):
    """What came back leaves empty places behind for the next time: they go at once, without a copy, when a program on that device wants the room."""
    node = neighbour(machine)
    server = known_to_the_neighbour(node, Server(node, 128))
    for _ in range(2):
        push_out(node, 208)
        server.request()
    other = work(node, 208, rounds=2, environment={"CU_DEVICE": "1"})
    assert result(other)["ok"]
    assert node.device(1)["out_bytes"] == 0
    server.request()
    server.end()
    nothing_is_lost(node)


def test_programs_take_turns_by_way_of_a_neighbour(machine):
    node = neighbour(machine, slice__mode="fixed", slice__fixed="300ms")
    programs = [work(node, 200, until="end") for _ in range(2)]
    node.switched(4)
    node.tell()
    for program in programs:
        assert result(program)["ok"]
    nothing_is_lost(node)


def test_a_program_killed_with_memory_on_a_neighbour_leaves_nothing_there(machine):
    node = neighbour(machine)
    server = known_to_the_neighbour(node, Server(node, 128))
    hog = work(node, 200, until="end")
    node.wait(lambda status: stored(status) >= 80 * MIB, "most of the server lies on the neighbour")
    server.process.kill()
    node.wait(lambda status: stored(status) == 0, "it is gone")
    assert result(work(node, 200, rounds=2, environment={"CU_DEVICE": "1"}))["ok"]
    node.tell()
    assert result(hog)["ok"]
    nothing_is_lost(node)


def test_without_neighbours_the_host_is_used(machine):
    node = neighbour(machine, client__neighbours="no")
    programs = [work(node, 160, until="end") for _ in range(2)]
    node.switched(2)
    node.tell()
    for program in programs:
        assert result(program)["ok"]
    assert stored(node.status()) == 0
    nothing_is_lost(node)


def test_two_that_need_more_of_the_arena_than_there_is(machine):
    """Each needs more than half of the arena from the other: one waits for the other's end, and is told which arena would do. With that they take turns."""
    node = machine(device__software_memory="128MiB", client__unit="4MiB", arena__size="104MiB", arena__segment="4MiB", slice__mode="fixed", slice__fixed="300ms").start()
    first = work(node, 96, until="end", chunk=96)
    node.wait(lambda status: (node.client(first, status) or {}).get("owned_bytes", 0) >= 96 * MIB, "the first has its memory")
    assert node.status()["daemon"]["arena_needed_bytes"] is None
    second = work(node, 96, until="end", chunk=96)
    status = node.wait(lambda status: [c["reason"] for c in status["clients"] if c["reason"]] == ["arena"] and len(status["clients"]) == 2, "one waits for places in the arena")
    needed = status["daemon"]["arena_needed_bytes"]
    assert 104 * MIB < needed <= 208 * MIB
    assert f"Set arena.size to at least {needed // MIB} MiB" in node.berth("status").stdout
    node.kill_daemon()
    node.set(arena__size=f"{needed // MIB}MiB")
    node.start()
    node.switched(4)
    node.wait(lambda status: status["daemon"]["arena_needed_bytes"] is None, "this arena does")  # while one comes in it counts for more than it will have
    node.tell()
    for program in (first, second):
        assert result(program)["ok"]
    nothing_is_lost(node)
