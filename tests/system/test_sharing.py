"""Programs share a device: what fits runs side by side and nothing moves; what does not fit takes turns, and every program ends with the right
data."""
import pytest
from conftest import MIB, result, work


def owns(node, program, mib):
    """Waits until the program has its memory."""
    return node.wait(lambda status: (node.client(program, status) or {}).get("owned_bytes", 0) >= mib * MIB, f"{program} owns {mib} MiB")


def test_what_fits_runs_side_by_side_and_nothing_moves(node):
    programs = [work(node, 64, until="end") for _ in range(3)]
    node.wait(lambda status: [c["state"] for c in status["clients"]].count("running") == 3, "all three run at once")
    node.tell()
    for program in programs:
        assert result(program)["rounds"] > 0
    device = node.device()
    assert (device["out_bytes"], device["in_bytes"], device["switches"]) == (0, 0, 0)


def test_three_programs_that_need_more_than_twice_the_device(node):
    """Default settings: turns are forced, nobody waits for longer than was stated, all data are right."""
    programs = [work(node, mib, until="end") for mib in (192, 192, 196)]
    assert sum((192, 192, 196)) * MIB >= 2.2 * node.device()["total_bytes"]
    node.wait(lambda status: status["devices"][0]["switches"] >= 4 and status["devices"][0]["out_bytes"] > 192 * MIB and status["devices"][0]["in_bytes"] > 0 and
              len(status["clients"]) == 3 and all(c["owned_bytes"] >= 192 * MIB for c in status["clients"]), "all had turns")
    node.tell()
    for program in programs:
        done = result(program, 150)
        assert done["rounds"] > 0 and not done["oom"]
    device = node.device()
    assert device["switches"] >= 3 and device["out_bytes"] > 192 * MIB and device["in_bytes"] > 0
    assert 0 < device["max_wait_ns"] <= device["max_wait_bound_ns"]
    assert device["granted_bytes"] == 0 and device["swapped_bytes"] == 0


def test_only_as_much_moves_as_is_missing(machine):
    node = machine(slice__min="300ms").start()
    first = work(node, 120, until="end")
    node.wait_state(first, "running")
    second = work(node, 120, until="end")
    node.switched(2)
    node.tell()
    for program in (first, second):
        result(program)
    device = node.device()
    # 240 MiB and two contexts in 230 MiB of room: the rest of each stays where it is.
    assert 0 < device["out_bytes"] < (device["switches"] + 1) * 96 * MIB


@pytest.mark.parametrize("arguments", [["--graph"], ["--streams", "4"], ["--graph", "--streams", "4"]], ids=" ".join)
def test_graphs_and_streams_are_held_at_the_gate(machine, arguments):
    node = machine(slice__mode="fixed", slice__fixed="300ms").start()
    programs = [work(node, 160, *arguments, until="end") for _ in range(2)]
    node.switched(3)
    node.tell()
    for program in programs:
        result(program)
    assert node.device()["switches"] >= 2


def test_growth_after_admission(machine):
    node = machine(slice__min="300ms").start()
    steady = work(node, 120, until="end")
    node.wait_state(steady, "running")
    grows = work(node, 32, rounds=10, grow="12MiB")
    assert result(grows)["bytes"] >= (32 + 9 * 12) * MIB
    node.tell()
    assert result(steady)["ok"]
    assert node.device()["out_bytes"] > 0


def test_two_that_both_grow(machine):
    """Neither can have what it asks for while the other stays: one goes out whole, and both end."""
    node = machine(slice__min="300ms").start()
    programs = [work(node, 64, rounds=9, grow="16MiB") for _ in range(2)]
    for program in programs:
        assert result(program)["bytes"] == (64 + 8 * 16) * MIB


def test_an_idle_program_gives_way_before_its_slice_ends(machine):
    node = machine(slice__mode="fixed", slice__fixed="600s", waiting__idle="300ms").start()
    idle = work(node, 160, until="end", idle=600000)
    node.wait_state(idle, "running")
    busy = work(node, 160, rounds=3)
    assert result(busy)["ok"]
    node.tell()
    assert result(idle)["ok"]


def test_interactive_goes_before_batch(machine):
    node = machine(slice__mode="fixed", slice__fixed="1s", waiting__idle="600s", waiting__age="600s").start()
    runs = work(node, 200, until="end")
    owns(node, runs, 200)
    batch = work(node, 200, until="end", options=["--priority", "batch"])
    node.wait(lambda status: (node.client(batch, status) or {}).get("position"), "the batch program waits")
    quick = work(node, 200, until="end", options=["--priority", "interactive"])
    # The one that came later is in, and as long as the two others want to run it stays before the batch program.
    status = owns(node, quick, 200)
    assert node.client(batch, status)["owned_bytes"] < 100 * MIB
    status = node.switched(3)
    assert node.client(batch, status)["owned_bytes"] < 100 * MIB
    node.tell()
    for program in (quick, batch, runs):
        assert result(program)["ok"]


def test_a_job_runs_together(machine):
    """Two programs of one job, and one beside them that they leave no room for."""
    node = machine(slice__min="300ms").start()
    job = [work(node, 90, rounds=20, options=["--job", "pair"]) for _ in range(2)]
    other = work(node, 160, until="end")
    alone = together = 0
    while any(program.running for program in job):
        clients = [c for c in node.status()["clients"] if c["job"] == "pair"]
        running = sum(c["state"] == "running" for c in clients)
        together += running == 2
        # While both are there and hold all their memory, one does not run with the other out.
        alone += running == 1 and any(c["state"] == "going-out" for c in clients)
    node.tell()
    for program in [*job, other]:
        assert result(program)["ok"]
    assert alone == 0


def test_a_limit_is_the_programs_device(node):
    fits = work(node, 40, rounds=3, options=["--memory", "64MiB"])
    assert result(fits)["ok"]
    over = work(node, 96, rounds=3, options=["--memory", "64MiB"])
    assert over.wait() == 3, over.report()
    assert '"oom":true' in over.out and "limit" in over.err


def test_a_share_as_limit(node):
    over = work(node, 160, rounds=3, options=["--memory", "50%"])
    assert over.wait() == 3, over.report()
    assert '"bytes":' in over.out and "limit" in over.err


def test_more_than_the_device_is_plain_out_of_memory(node):
    other = work(node, 64, until="end")
    node.wait_state(other, "running")
    over = work(node, 300, rounds=3)
    assert over.wait() == 3, over.report()
    assert "berth" in over.err.lower()
    node.tell()
    assert result(other)["ok"]


def test_one_allocation_larger_than_the_device(node):
    over = work(node, 400, rounds=1, chunk=400)
    assert over.wait() == 3, over.report()
    assert "berth" in over.err.lower()
    assert node.device()["out_bytes"] == 0


def test_two_devices(machine):
    node = machine(device__software_devices=2).start()
    assert len([d for d in node.status()["devices"] if d["kind"] == "software"]) == 2
    assert result(work(node, 64, rounds=3))["ok"]


def test_the_log_tells_what_a_program_had(node):
    assert result(work(node, 64, rounds=2))["ok"]
    node.wait_log(r'name="work" left after .*: peak 6[4-9](\.\d+)? MiB')
