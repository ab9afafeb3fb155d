"""berthd is killed while programs are in every state, and comes back or does not: the programs go on, are known again, and nothing is lost."""
import json

import pytest
from conftest import MIB, nothing_is_lost, result, wait_until, work
from turns import STATES, all_are_known_again, one_that_is, two_in_turn


def all_end_well(node, programs):
    node.tell()
    for program in programs:
        assert result(program)["ok"]


@pytest.mark.parametrize("state", STATES)
def test_the_daemon_is_killed_and_comes_back(slow, state):
    beside = work(slow, 4, until="end", chunk=4)
    programs = two_in_turn(slow)
    one_that_is(slow, programs, state)
    slow.restart()
    all_are_known_again(slow, [*programs, beside])
    slow.switched(2)
    all_end_well(slow, [*programs, beside])
    nothing_is_lost(slow)


@pytest.mark.parametrize("state, order", [("coming-in", "program-first"), ("coming-in", "daemon-first"), ("going-out", "daemon-first")])
def test_the_daemon_and_a_program_are_killed_in_the_same_exchange(slow, state, order):
    """Who leaves and who comes in: the other one, and one beside them, are known again and right, and a daemon that never saw the end of the dead one
    finds all that it held."""
    beside = work(slow, 4, until="end", chunk=4)
    programs = two_in_turn(slow)
    victim = one_that_is(slow, programs, state)
    if order == "program-first":
        victim.kill()
        slow.kill_daemon()
    else:
        slow.kill_daemon()
        victim.kill()
    slow.start()
    others = [program for program in [*programs, beside] if program is not victim]
    all_are_known_again(slow, others)
    all_end_well(slow, others)
    nothing_is_lost(slow)


def test_another_daemon_takes_over_while_memory_is_out(slow):
    """As an upgrade does it: the old one ends in order, the new one has other sizes of segments and units, and a smaller arena."""
    beside = work(slow, 4, until="end", chunk=4)
    programs = two_in_turn(slow)
    one_that_is(slow, programs, "coming-in")
    slow.stop()
    slow.set(arena__size="320MiB", arena__segment="8MiB", arena__ready="16MiB", client__unit="4MiB")
    slow.start()
    all_are_known_again(slow, [*programs, beside])
    slow.switched(3)
    late = work(slow, 40, rounds=3)
    assert result(late)["ok"]
    all_end_well(slow, [*programs, beside])
    nothing_is_lost(slow)


def test_the_daemon_is_killed_while_programs_grow(slow):
    programs = [work(slow, 75, until="end", chunk=8) for _ in range(2)]
    slow.wait(lambda status: sum(c["owned_bytes"] for c in status["clients"]) >= 104 * MIB, "both have begun and the device is full")
    slow.restart()
    all_are_known_again(slow, programs)
    slow.wait(lambda status: [c["owned_bytes"] >= 75 * MIB for c in status["clients"]] == [True, True], "both have all of it")
    all_end_well(slow, programs)
    nothing_is_lost(slow)


def test_the_daemon_is_killed_over_and_over(slow):
    programs = two_in_turn(slow)
    for _ in range(5):
        slow.restart()
        all_are_known_again(slow, programs)
    all_end_well(slow, programs)
    nothing_is_lost(slow)


def test_the_daemon_is_killed_over_and_over_while_memory_goes_to_a_neighbour(machine):
    """Orders are withdrawn in the middle, and what lies on the neighbour is not lost by that."""
    node = machine(device__software_devices=2, client__unit="4MiB", slice__mode="fixed", slice__fixed="200ms").start()
    programs = two_in_turn(node, 150)
    for _ in range(6):
        node.restart()
        all_are_known_again(node, programs)
    all_end_well(node, programs)
    nothing_is_lost(node)


def test_the_daemon_stops_and_never_comes_back(machine):
    """Running programs run on; swapped-out ones come back by themselves when there is room."""
    node = machine(slice__mode="fixed", slice__fixed="300ms", client__return_after="1s").start()
    programs = two_in_turn(node, 150)

    def rounds():
        return [json.loads(path.read_text())["round"] for path in sorted(node.folder.glob("progress-*"), key=str) if path.suffix != ".new"]

    one_that_is(node, programs, "waiting")
    node.kill_daemon()
    before = rounds()
    wait_until(lambda: any(now >= then + 5 for then, now in zip(before, rounds())), "one runs on")
    all_end_well(node, programs)


def test_programs_started_while_the_daemon_is_away(machine):
    node = machine(slice__mode="fixed", slice__fixed="300ms", client__return_after="30s").start()
    first = work(node, 150, until="end")
    node.wait_state(first, "running")
    node.kill_daemon()
    node.start()
    second = work(node, 150, rounds=3)
    assert result(second)["ok"]
    all_end_well(node, [first])
    nothing_is_lost(node)
