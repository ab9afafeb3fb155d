"""Many threads of one program, while another takes its turns. Small, for it also runs under the thread sanitizer."""
from conftest import result, work


def test_threads_of_one_program(machine):
    node = machine(slice__min="300ms").start()
    other = work(node, 200, until="end")
    node.wait_state(other, "running")
    many = node.run("threads", "--threads", "8", "--rounds", "10", "--size", "4MiB")
    assert result(many)["ok"]
    node.tell()
    assert result(other)["ok"]


def test_a_short_soak(machine):
    """Allocations of many threads; counted while another program takes its turns."""
    node = machine(slice__min="300ms").start()
    other = work(node, 190, until="end")
    node.wait_state(other, "running")
    done = result(node.run("soak", "--calls", "6000", "--threads", "6", "--live", "32MiB"))
    assert done["ok"] and done["used_bytes"] == 0, done
    node.tell()
    assert result(other)["ok"]
