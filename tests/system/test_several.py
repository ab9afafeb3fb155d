"""Several devices a node and a program: memory on all of them, one lease over all of them, by UUID and not by number."""
import pytest
from conftest import MIB, nothing_is_lost, result, work


def several(node, devices, mib, *arguments, options=(), environment=None, **named):
    argv = ["--devices", devices, "--memory", f"{mib}MiB", "--seed", node.count + 1, *arguments]
    for name, value in named.items():
        argv += [f"--{name}", value]
    return node.run("several", *argv, options=options, environment=environment)


def rows(status, process):
    """What the daemon knows of a process, by its number for the device."""
    return {c["device"]: c for c in status["clients"] if c["pid"] == process.pid}


def uuids(node):
    return {d["uuid"].lower().removeprefix("gpu-").replace("-", ""): d["index"] for d in node.status()["devices"] if d["kind"] == "software"}


@pytest.fixture
def two(machine):
    """Two devices of 256 MiB, and turns short enough not to wait for them."""
    return machine(device__software_devices=2, slice__min="300ms").start()


def test_memory_on_both(two):
    go = two.folder / "go"
    program = several(two, "0,1", 96, "--hold", go, rounds=5)
    status = two.wait(lambda status: [c["owned_bytes"] for c in rows(status, program).values()] == [96 * MIB] * 2, "it has its memory on both")
    assert [d["granted_bytes"] >= 96 * MIB for d in status["devices"][:2]] == [True, True]
    go.touch()
    done = result(program)
    assert done["rounds"] == 5 and {uuid for uuid, _ in done["devices"]} == set(uuids(two))
    assert [d["granted_bytes"] for d in two.status()["devices"][:2]] == [0, 0]


def test_two_programs_cross_over_both_devices_and_one_beside(two):
    """A and B are on both, in opposite order, C and D on one each: nobody waits for ever, all data are right."""
    a = several(two, "0,1", 160, until="end")
    b = several(two, "1,0", 160, until="end")
    c = work(two, 96, until="end")
    d = several(two, "1", 96, until="end")
    torn = 0

    def looks(status):
        nonlocal torn
        for program in (a, b):
            states = {row["state"] for row in rows(status, program).values()}
            # Half a program running: its other half gives way or comes in at the same time, never out and at rest.
            torn += len(rows(status, program)) == 2 and "running" in states and "going-out" in states
        return all(device["switches"] >= 3 for device in status["devices"][:2])

    two.wait(looks, "all of them had turns")
    two.tell()
    for program in (a, b, c, d):
        assert result(program, 150)["rounds"] > 0
    assert torn == 0
    devices = two.status()["devices"][:2]
    assert all(device["switches"] > 0 and device["out_bytes"] > 0 for device in devices)
    assert all(device["max_wait_ns"] <= device["max_wait_bound_ns"] for device in devices)
    assert all((device["granted_bytes"], device["swapped_bytes"]) == (0, 0) for device in devices)


def test_it_runs_on_all_or_on_none(machine):
    """A lease is for the whole program: while another fills one of its devices, it runs on neither."""
    two = machine(device__software_devices=2, slice__mode="fixed", slice__fixed="300ms").start()
    holder = several(two, "1", 160, until="end", options=["--priority", "interactive"])
    two.wait(lambda status: any(c["owned_bytes"] >= 160 * MIB for c in rows(status, holder).values()), "the other device is full")
    program = several(two, "0,1", 160, rounds=1)
    half = 0
    while holder.running and program.running:
        states = sorted(row["state"] for row in rows(two.status(), program).values())
        half += states == ["going-out", "running"]
    assert result(program, 120)["rounds"] == 1
    two.tell()
    assert result(holder)["rounds"] > 0
    assert half == 0


def test_each_holds_what_the_other_waits_for(machine):
    """One device filled by each, and both want the other one, too: nobody waits for a slice to end, which here takes longer than the test may."""
    two = machine(device__software_devices=2, slice__mode="fixed", slice__fixed="600s").start()
    programs = [several(two, order, 160, rounds=2) for order in ("0,1", "1,0")]
    for program in programs:
        assert result(program, 300)["rounds"] == 2


def test_what_fits_on_both_runs_side_by_side(two):
    programs = [several(two, order, 64, until="end") for order in ("0,1", "1,0")]
    two.wait(lambda status: [c["state"] for c in status["clients"]].count("running") == 4, "both run on both")
    two.tell()
    for program in programs:
        assert result(program)["rounds"] > 0
    assert all((d["out_bytes"], d["switches"]) == (0, 0) for d in two.status()["devices"][:2])


def test_a_limit_holds_on_each(two):
    over = several(two, "0,1", 96, rounds=2, options=["--memory", "64MiB"])
    assert over.wait() == 3 and "limit" in over.err
    assert result(several(two, "0,1", 64, rounds=2, options=["--memory", "64MiB"]))["rounds"] == 2


def test_one_of_two_is_killed(two):
    programs = [several(two, order, 160, until="end") for order in ("0,1", "1,0")]
    two.wait(lambda status: all(d["switches"] for d in status["devices"][:2]), "they take turns")
    programs[0].kill()
    two.tell()
    assert result(programs[1], 120)["rounds"] > 0
    nothing_is_lost(two)


def test_the_daemon_comes_back(two):
    """Killed while each is out on one device: who is out somewhere says that it runs nowhere, and is brought back on all."""
    programs = [several(two, order, 160, until="end") for order in ("0,1", "1,0")]
    two.wait(lambda status: all(d["switches"] for d in status["devices"][:2]), "they take turns")
    two.restart()
    two.wait(lambda status: all(len(rows(status, program)) == 2 for program in programs), "both are known again on both")
    two.tell()
    for program in programs:
        assert result(program, 150)["rounds"] > 0
    nothing_is_lost(two)
