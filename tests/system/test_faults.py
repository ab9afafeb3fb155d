"""Whatever dies, refuses or is missing, in whatever state: the others go on with the right data, and what the dead one held is free again."""
import pytest
from conftest import MIB, nothing_is_lost, result, wait_until, work
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
