"""Copies that fail, contexts that break and neighbours that are taken away while memory moves: nobody goes on with wrong data, and nothing is lost."""
import pytest
from conftest import MIB, built, nothing_is_lost, result, wait_until, work


@pytest.mark.parametrize("call", ["cuMemcpyDtoHAsync:3:700", "cuMemHostRegister:1", "cuMemCreate:80", "cuMemMap:80", "cuMemcpyHtoDAsync:3:700", "cuEventSynchronize:20:700"])
def test_the_driver_fails_while_memory_moves(machine, call):
    """One program's moves fail, on the way out or in; the others are right, and the first is right too or was told."""
    node = machine(device__software_memory="128MiB", slice__mode="fixed", slice__fixed="300ms").start()
    beside = work(node, 4, until="end", chunk=4)
    fails = work(node, 75, until="end", chunk=75, environment={"BERTH_SOFTWARE_FAIL": call})
    node.wait_state(fails, "running")
    other = work(node, 75, until="end", chunk=75)
    node.wait(lambda status: not fails.running or status["devices"][0]["switches"] >= 6, "it failed, or went on through it")
    node.tell()
    code = fails.wait()
    assert result(other)["ok"] and result(beside)["ok"]
    assert code != 1, "wrong words without an error\n" + fails.report()
    nothing_is_lost(node)


@pytest.mark.parametrize("call, said", [("cuMemcpyHtoDAsync:5", "can't come back: the driver answers error 700"), ("cuMemcpyDtoHAsync:5", "stays on the device")], ids=["in", "out"])
def test_a_copy_breaks_the_context(slow, call, said):
    """As an error of the hardware does in the middle of a move. The program hears it from the driver, instead of going on with wrong data or waiting for good;
    the others go on."""
    broken = work(slow, 75, until="end", chunk=75, environment={"BERTH_SOFTWARE_FAIL": f"{call}:700:stays"})
    slow.wait(lambda status: (slow.client(broken, status) or {}).get("owned_bytes", 0) >= 75 * MIB, "it has its memory")
    others = [work(slow, 75, until="end", chunk=75), work(slow, 4, until="end", chunk=4)]
    assert broken.wait() == 2 and said in broken.err and "ILLEGAL_ADDRESS" in broken.err, broken.report()
    slow.wait_log(rf"pid={broken.pid} .*could not be (moved out|brought in) whole")
    slow.tell()
    for program in others:
        assert result(program)["ok"]
    nothing_is_lost(slow)


# A neighbour as a place for what is out

def over_a_neighbour(machine, environment=None, **settings):
    """Two programs that take turns on the first device, by way of the second one, and one beside them."""
    node = machine(device__software_devices=2, device__software_memory="128MiB", client__unit="4MiB", slice__mode="fixed", slice__fixed="300ms", **settings).start()
    beside = work(node, 4, until="end", chunk=4)
    first = work(node, 75, until="end", chunk=75, environment=environment)
    node.wait(lambda status: (node.client(first, status) or {}).get("owned_bytes", 0) >= 75 * MIB, "the first has its memory")
    return node, first, work(node, 75, until="end", chunk=75), beside


def all_are_right(node, *programs):
    node.tell()
    for program in programs:
        assert result(program)["ok"]
    nothing_is_lost(node)


@pytest.mark.parametrize("number", [3, 30], ids=["to", "from"])
def test_copies_fail_on_the_way_to_a_neighbour_and_back(machine, number):
    node, first, second, beside = over_a_neighbour(machine, {"BERTH_SOFTWARE_FAIL": f"cuMemcpyDtoDAsync:{number}:700", "BERTH_SOFTWARE_LOG": "calls"})
    wait_until(lambda: "cuMemcpyDtoDAsync_v2 700" in (node.folder / "calls").read_text(), "a copy failed")
    node.switched(node.device()["switches"] + 2)
    all_are_right(node, first, second, beside)


@pytest.mark.parametrize("fails", [False, True], ids=["right", "failing"])
def test_a_neighbour_is_taken_away_in_the_middle_of_a_move(machine, fails):
    """A program comes to it while copies to and from it are on their way; what lies there goes on to the host, at the second attempt if the first one fails."""
    node, first, second, beside = over_a_neighbour(machine, {"BERTH_SOFTWARE_FAIL": "cuMemcpyDtoHAsync:2:700"} if fails else None, device__software_link="256MiB")
    stored = node.wait(lambda status: {c["pid"] for c in status["clients"] if c["storage"] and c["resident_bytes"]} and
                       [c for c in status["clients"] if c["state"] in ("going-out", "coming-in") and not c["storage"]], "memory moves while some lies on the neighbour")
    assert stored
    other = work(node, 96, rounds=3, environment={"CU_DEVICE": "1"})
    assert result(other)["ok"]
    all_are_right(node, first, second, beside)


def test_a_neighbour_is_taken_away_by_one_outside(machine):
    """Not by a program under Berth, which would be asked to wait: what it takes is seen, and what lies there makes room."""
    node, first, second, beside = over_a_neighbour(machine)
    node.wait(lambda status: sum(c["resident_bytes"] for c in status["clients"] if c["storage"]) >= 24 * MIB, "memory lies on the neighbour")
    outside = work(node, 36, until="outside", chunk=4, environment={"CU_DEVICE": "1", "LD_LIBRARY_PATH": built("tests/fake")}, bare=True)
    node.wait(lambda status: status["devices"][1]["foreign_bytes"] >= 36 * MIB and status["devices"][1]["granted_bytes"] <= status["devices"][1]["room_bytes"],
              "who is outside has it, and what lies there fits beside")
    node.switched(node.device()["switches"] + 2)
    node.tell("outside")
    assert result(outside)["ok"]
    all_are_right(node, first, second, beside)


def test_a_neighbour_is_lost(machine):
    """No copy from it works any more: who has memory there hears the driver's error, the others go on."""
    node, broken, second, beside = over_a_neighbour(machine, {"BERTH_SOFTWARE_FAIL": "cuMemcpyDtoDAsync:30:700:stays"})
    assert broken.wait() == 2 and "ILLEGAL_ADDRESS" in broken.err, broken.report()
    all_are_right(node, second, beside)
