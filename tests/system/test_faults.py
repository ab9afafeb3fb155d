"""Whatever dies, refuses or is missing, in whatever state: the others go on with the right data, and what the dead one held is free again."""
import pytest
from conftest import MIB, built, nothing_is_lost, result, wait_until, work
from turns import STATES, one_that_is, two_in_turn

@pytest.mark.parametrize("state", STATES)
def test_a_program_is_killed(slow, state):
    """In an exchange: who leaves, who comes in; the other one, and one that runs beside them all the time, are right."""
    beside = work(slow, 4, until="end", chunk=4)
    programs = two_in_turn(slow)
    victim = one_that_is(slow, programs, state)
    victim.kill()
    slow.tell()
    for program in [*programs, beside]:
        if program is not victim:
            assert result(program)["ok"]
    assert victim.wait() == -9
    nothing_is_lost(slow)


def test_one_that_never_gives_way_is_contained(machine):
    """Reported after the bound; those who fit beside it go on."""
    node = machine(slice__mode="fixed", slice__fixed="300ms", waiting__give_way_bound="1s", waiting__kill_after="0").start()
    refuses = node.run("refuse", "--memory", "120MiB")
    wait_until(lambda: "ready" in refuses.out, "it holds its memory")
    large = work(node, 160, rounds=3)
    stuck = node.wait(lambda status: status["devices"][0]["stuck"] == 1, "it is found stuck")
    assert node.client(refuses, stuck)["stuck"]
    small = [work(node, 40, rounds=3) for _ in range(2)]
    for program in small:
        assert result(program)["ok"]
    assert refuses.running and large.running
    assert node.client(large)["reason"] == "stuck"
    node.wait_log(rf"(?i)(stuck|give way).*pid={refuses.pid}|pid={refuses.pid}.*(stuck|give way)")
    refuses.kill()
    assert result(large)["ok"]
    nothing_is_lost(node)


def test_one_that_never_gives_way_is_ended(machine):
    node = machine(slice__mode="fixed", slice__fixed="300ms", waiting__give_way_bound="1s", waiting__kill_after="1s").start()
    refuses = node.run("refuse", "--memory", "120MiB")
    wait_until(lambda: "ready" in refuses.out, "it holds its memory")
    large = work(node, 160, rounds=3)
    assert refuses.wait(60) == -9
    assert result(large)["ok"]
    nothing_is_lost(node)


def test_a_stopped_program_is_contained(machine):
    """SIGSTOP: it answers nothing at all."""
    node = machine(slice__mode="fixed", slice__fixed="300ms", waiting__give_way_bound="1s", waiting__kill_after="0").start()
    stopped = work(node, 120, until="end")
    node.wait(lambda status: (node.client(stopped, status) or {}).get("owned_bytes", 0) >= 120 * MIB, "it has its memory")
    stopped.kill(19)
    large = work(node, 160, rounds=3)
    node.wait(lambda status: status["devices"][0]["stuck"] == 1, "it is found stuck")
    stopped.kill(18)
    node.tell()
    for program in (large, stopped):
        assert result(program)["ok"]
    nothing_is_lost(node)


def test_an_arena_that_is_too_small(machine):
    """Refused with the numbers, and nothing is broken in the middle: who is on the device goes on."""
    node = machine(arena__size="32MiB", slice__mode="fixed", slice__fixed="300ms").start()
    first = work(node, 160, until="end")
    node.wait(lambda status: (node.client(first, status) or {}).get("owned_bytes", 0) >= 160 * MIB, "the first has its memory")
    second = work(node, 160, rounds=3)
    assert second.wait() == 3 and "host arena" in second.err and "MiB" in second.err, second.report()
    node.wait_log(r"host memory; .* of 32(\.0)? MiB are lent")
    node.tell()
    assert result(first)["ok"]
    nothing_is_lost(node)
    assert result(work(node, 160, rounds=3))["ok"]


def test_the_arena_is_full_in_the_middle_of_an_exchange(machine):
    """One grows against another, whose memory leaves piece by piece until the host has no place for more: it waits for the other one's end, is told so, and
    all that moved meanwhile is right."""
    node = machine(arena__size="64MiB", arena__segment="4MiB", slice__mode="fixed", slice__fixed="200ms").start()
    beside = work(node, 8, until="end", chunk=8)
    first = work(node, 160, until="end")
    node.wait(lambda status: (node.client(first, status) or {}).get("owned_bytes", 0) >= 160 * MIB, "the first has its memory")
    grows = work(node, 16, "--grow", "8MiB", rounds=18, chunk=8)
    node.wait(lambda status: (node.client(grows, status) or {}).get("reason") == "arena", "it waits for places in the arena")
    assert node.device()["out_bytes"] > 0
    node.tell()
    for program in (first, beside, grows):
        assert result(program)["ok"]
    assert "host arena" in first.err + beside.err + grows.err
    nothing_is_lost(node)


@pytest.mark.parametrize("call", ["cuMemCreate:9", "cuMemMap:9", "cuMemSetAccess:9", "cuMemAddressReserve:2"])
def test_the_driver_runs_out_in_the_middle(machine, call):
    """The program gets out-of-memory, as it would without Berth, and leaves nothing behind."""
    node = machine().start()
    program = work(node, 160, rounds=2, environment={"BERTH_SOFTWARE_FAIL": call})
    assert program.wait() in (0, 3), program.report()
    assert result(work(node, 160, rounds=2))["ok"]
    nothing_is_lost(node)


@pytest.mark.parametrize("call", ["cuMemcpyDtoHAsync:3:700", "cuMemHostRegister:1", "cuMemCreate:200", "cuMemMap:200", "cuMemcpyHtoDAsync:3:700", "cuEventSynchronize:20:700"])
def test_the_driver_fails_while_memory_moves(machine, call):
    """One program's moves fail, on the way out or in; the others are right, and the first is right too or was told."""
    node = machine(slice__mode="fixed", slice__fixed="300ms").start()
    beside = work(node, 8, until="end", chunk=8)
    fails = work(node, 150, until="end", environment={"BERTH_SOFTWARE_FAIL": call})
    node.wait_state(fails, "running")
    other = work(node, 150, until="end")
    node.wait(lambda status: not fails.running or status["devices"][0]["switches"] >= 8, "it failed, or went on through it")
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
    node = machine(device__software_devices=2, client__unit="4MiB", slice__mode="fixed", slice__fixed="300ms", **settings).start()
    beside = work(node, 8, until="end", chunk=8)
    first = work(node, 150, until="end", environment=environment)
    node.wait(lambda status: (node.client(first, status) or {}).get("owned_bytes", 0) >= 150 * MIB, "the first has its memory")
    return node, first, work(node, 150, until="end"), beside


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
    node, first, second, beside = over_a_neighbour(machine, {"BERTH_SOFTWARE_FAIL": "cuMemcpyDtoHAsync:2:700"} if fails else None, device__software_link="512MiB")
    stored = node.wait(lambda status: {c["pid"] for c in status["clients"] if c["storage"] and c["resident_bytes"]} and
                       [c for c in status["clients"] if c["state"] in ("going-out", "coming-in") and not c["storage"]], "memory moves while some lies on the neighbour")
    assert stored
    other = work(node, 200, rounds=3, environment={"CU_DEVICE": "1"})
    assert result(other)["ok"]
    all_are_right(node, first, second, beside)


def test_a_neighbour_is_taken_away_by_one_outside(machine):
    """Not by a program under Berth, which would be asked to wait: what it takes is seen, and what lies there makes room."""
    node, first, second, beside = over_a_neighbour(machine)
    node.wait(lambda status: sum(c["resident_bytes"] for c in status["clients"] if c["storage"]) >= 48 * MIB, "memory lies on the neighbour")
    outside = work(node, 140, until="outside", environment={"CU_DEVICE": "1", "LD_LIBRARY_PATH": built("tests/fake")}, bare=True)
    node.wait(lambda status: status["devices"][1]["foreign_bytes"] >= 140 * MIB and status["devices"][1]["granted_bytes"] <= status["devices"][1]["room_bytes"],
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
