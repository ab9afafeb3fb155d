"""berthd is killed while programs are in every state, and comes back or does not: the programs go on, are known again, and nothing is lost."""
import pytest
from conftest import MIB, result, work
from turns import STATES, all_are_known_again, nothing_is_left, one_that_is, two_in_turn


@pytest.mark.parametrize("state", STATES)
def test_the_daemon_is_killed_and_comes_back(slow, state):
    programs = two_in_turn(slow)
    one_that_is(slow, programs, state)
    slow.restart()
    all_are_known_again(slow, programs)
    for program in programs:
        assert result(program)["ok"]
    nothing_is_left(slow)


def test_the_daemon_is_killed_while_programs_grow(slow):
    programs = [work(slow, 150, seconds=3) for _ in range(2)]
    slow.wait(lambda status: sum(c["owned_bytes"] for c in status["clients"]) >= 232 * MIB, "both have begun and the device is full")
    slow.restart()
    for program in programs:
        assert result(program)["ok"]
    nothing_is_left(slow)


def test_the_daemon_is_killed_over_and_over(slow):
    programs = two_in_turn(slow, 6)
    for _ in range(5):
        slow.restart()
        all_are_known_again(slow, programs)
    for program in programs:
        assert result(program)["ok"]
    nothing_is_left(slow)


def test_the_daemon_is_killed_over_and_over_while_memory_goes_to_a_neighbour(machine):
    """Orders are withdrawn in the middle: what the sweeper took off the device already has to come back, what it did not stays."""
    node = machine(device__software_devices=2, client__unit="4MiB", slice__mode="fixed", slice__fixed="200ms").start()
    programs = two_in_turn(node, 6)
    for _ in range(6):
        node.restart()
        all_are_known_again(node, programs)
    for program in programs:
        assert result(program)["ok"]
    nothing_is_left(node)


def test_the_daemon_stops_and_never_comes_back(machine):
    """Running programs run on; swapped-out ones come back by themselves when there is room."""
    node = machine(slice__mode="fixed", slice__fixed="500ms", client__return_after="1s").start()
    programs = two_in_turn(node, 3)
    one_that_is(node, programs, "waiting")
    node.kill_daemon()
    for program in programs:
        assert result(program)["ok"]


def test_programs_started_while_the_daemon_is_away(machine):
    node = machine(client__return_after="30s").start()
    first = work(node, 150, seconds=4)
    node.wait_state(first, "running")
    node.kill_daemon()
    node.start()
    second = work(node, 150, rounds=3)
    for program in (first, second):
        assert result(program)["ok"]
    nothing_is_left(node)
