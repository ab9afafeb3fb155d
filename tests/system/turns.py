"""Two programs that take turns, slowly enough to be met in every state."""
from conftest import MIB, work

STATES = ["running", "waiting", "going-out", "coming-in"]


def two_in_turn(node, mib=75):
    """Two programs of which only one fits, taking turns until the test tells the end, each with its memory."""
    def started():
        # In one piece, so that neither has to grow against the other.
        program = work(node, mib, until="end", chunk=mib, progress=f"progress-{node.count}")

        def look(status):
            client = node.client(program, status)
            assert program.running, f"{program} ended before it had its memory\n{program.report()}"
            return client and client["owned_bytes"] >= mib * MIB

        node.wait(look, f"{program} has its memory")
        return program

    return started(), started()


def one_that_is(node, programs, state):
    """The first of them that is seen in this state."""
    found = []

    def look(status):
        assert all(program.running for program in programs), f"they ended before one was {state}"
        for program in programs:
            client = node.client(program, status)
            if client and client["state"] == state:
                found.append(program)
                return True
        return False

    node.wait(look, f"one is {state}", 90)
    return found[0]


def all_are_known_again(node, programs):
    """The new daemon knows every program that still runs."""
    node.wait(lambda status: all(node.client(p, status) or not p.running for p in programs), "all are known again")
