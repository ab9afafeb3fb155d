"""Memory that programs get otherwise than by cuMemAlloc: it moves, or it is counted and stays; it is never broken."""
import pytest
from conftest import MIB, PATIENCE, built, nothing_is_lost, result, work


def bare(node, name, *arguments):
    """Runs a program on the software device without Berth."""
    return node.run(name, *arguments, bare=True, environment={"LD_LIBRARY_PATH": built("tests/fake"), "BERTH_SOFTWARE_MEMORY": "268435456"})


def started(node):
    """A node whose host memory is ready: what has no place there can't leave."""
    node.set(arena__ready="256MiB")
    node.start()
    node.wait(lambda status: status["daemon"]["arena_ready_bytes"] >= 256 * MIB, "host memory is ready")
    return node


def owns(node, program, mib):
    """Waits until the program has its memory."""
    return node.wait(lambda status: (node.client(program, status) or {}).get("owned_bytes", 0) >= mib * MIB, f"{program} owns {mib} MiB")


# The program's own virtual memory management

@pytest.mark.parametrize("name", ["vmm"])
def test_answers_are_the_drivers(node, name):
    hooked = node.run(name, "--rules").ok().splitlines()
    alone = bare(node, name, "--rules").ok().splitlines()
    assert len(alone) > 20
    assert [pair for pair in zip(hooked, alone) if pair[0] != pair[1]] == [] and len(hooked) == len(alone)


def test_expandable_segments_move(machine):
    """Two programs with memory of their own making, of which only one fits, take turns."""
    node = started(machine(slice__mode="fixed", slice__fixed="300ms", device__software_memory="128MiB"))
    programs = [node.run("vmm", "--memory", "80MiB", "--until", "end")]
    owns(node, programs[0], 80)
    programs.append(node.run("vmm", "--memory", "80MiB", "--until", "end"))
    node.switched(4)
    node.tell()
    for program in programs:
        done = result(program)
        assert done["ok"] and done["rounds"] > 0 and done["churned"] > 0
    device = node.device()
    assert device["switches"] >= 2 and device["out_bytes"] > 80 * MIB and device["in_bytes"] > 0
    nothing_is_lost(node)


def test_handles_that_others_have_stay(machine):
    """What is mapped twice or exported does not move, and all else does."""
    node = started(machine(slice__min="300ms", device__software_memory="128MiB"))
    sharing = node.run("vmm", "--memory", "70MiB", "--until", "end", "--share")
    owns(node, sharing, 70)
    other = work(node, 70, until="end")
    pinned = node.wait(lambda status: (node.client(sharing, status) or {}).get("pinned_bytes", 0) >= 6 * MIB, "what is shared is pinned")
    assert pinned
    node.switched(2)
    node.tell()
    assert result(sharing)["ok"] and result(other)["ok"]
    assert node.device()["out_bytes"] > 0
    nothing_is_lost(node)


# Legacy IPC

@pytest.mark.parametrize("waits", ["host", "events"])
def test_two_programs_share_memory_by_handles(machine, waits):
    """Shared memory stays and is right in both, their own memory moves for a third program; also when they wait for each other on the device."""
    node = started(machine(slice__min="300ms", device__software_memory="192MiB"))
    sharing = node.run("ipc", "--memory", "50MiB", "--until", "end", *(["--events"] if waits == "events" else []))
    shown = node.wait(lambda status: (node.client(sharing, status) or {}).get("pinned_bytes", 0) >= 28 * MIB, "what is shared is pinned")
    assert len(shown["clients"]) == 2
    other = work(node, 80, until="end")
    node.switched(2)
    node.tell()
    done = result(sharing)
    assert done["ok"] and done["rounds"] > 0
    assert result(other)["ok"]
    assert node.device()["out_bytes"] > 0
    nothing_is_lost(node)


def test_refused_handles_are_counted(node):
    """A handle of memory that its owner freed: one refused by the owner, one that could not be opened by the other."""
    sharing = node.run("ipc", "--memory", "8MiB", "--rounds", 2, "--hold", node.folder / "go")
    node.wait(lambda status: [c["ipc_refused"] for c in status["clients"]] == [1, 1], "both count it")
    metrics = node.berth("metrics").stdout
    counted = [line for line in metrics.splitlines() if line.startswith("berth_program_ipc_refused{")]
    assert [line[line.index("}"):] for line in counted] == ["} 1", "} 1"], counted
    (node.folder / "go").touch()
    assert result(sharing)["ok"]


@pytest.mark.parametrize("road", ["link", "dlsym", "proc"])
def test_handles_on_every_road(node, road):
    assert result(node.run("ipc", "--memory", "8MiB", "--rounds", 20, environment={"BERTH_ROAD": road}))["ok"]
    assert result(node.run("ipc", "--memory", "8MiB", "--rounds", 20, bare=True, environment={
        "BERTH_ROAD": road, "LD_LIBRARY_PATH": built("tests/fake"), "BERTH_SOFTWARE_MEMORY": "268435456"}))["ok"]  # as the driver's own


# Several devices

def test_kernels_of_one_device_on_memory_of_another(machine):
    """Memory that moved is open again to the device that was given access to it."""
    node = started(machine(slice__min="300ms", device__software_memory="128MiB", device__software_devices=2))
    peer = node.run("peer", "--memory", "72MiB", "--until", "end")
    owns(node, peer, 72)
    other = work(node, 72, until="end")
    node.wait(lambda status: status["devices"][0]["switches"] >= 2 and status["devices"][0]["out_bytes"] > 72 * MIB, "they took turns")
    node.tell()
    assert result(peer)["rounds"] > 0 and result(other)["ok"]
    assert node.device()["out_bytes"] > 72 * MIB
    nothing_is_lost(node)


# Pools

def test_what_a_pool_keeps_goes_when_others_need_it(machine):
    """A program whose pool keeps all that it ever had gives way with nothing kept, so that another fits the device."""
    node = started(machine(slice__min="300ms", device__software_memory="128MiB"))
    pools = node.run("pools", "--memory", "60MiB", "--own", "16MiB", "--until", "end", "--idle", 100)
    owns(node, pools, 16)
    other = work(node, 88, rounds=2, chunk=44)
    assert result(other)["ok"] and pools.running
    owns(node, pools, 16 + 44)  # its pool has grown again
    node.tell()
    done = result(pools)
    assert done["rounds"] > 0 and done["kept"] >= 40 * MIB
    nothing_is_lost(node)


def test_memory_in_stream_order_moves(machine):
    """Allocated and freed on three streams all the time, and some of it kept across swaps: all of it moves, and nothing is handed out too early."""
    node = started(machine(slice__min="300ms", device__software_memory="128MiB"))
    ordered = node.run("ordered", "--memory", "48MiB", "--most", "2MiB", "--rounds", 120, "--until", "end")
    owns(node, ordered, 48)
    assert node.client(ordered)["pinned_bytes"] == 0
    other = work(node, 80, until="end")
    node.switched(2)
    node.tell()
    assert result(other)["ok"] and result(ordered)["checked"] > 10
    assert node.device()["out_bytes"] > 0  # as much as the other one needed
    nothing_is_lost(node)


def test_graphs_with_memory_of_their_own(machine):
    """Instantiated before a swap, launched after it: the graph's memory stays, what it works on moves."""
    node = started(machine(slice__min="300ms", device__software_memory="128MiB"))
    graphs = node.run("pools", "--memory", "12MiB", "--own", "32MiB", "--until", "end", "--graph")
    owns(node, graphs, 32)
    other = work(node, 64, until="end")
    node.switched(2)
    node.tell()
    for program in (graphs, other):
        assert result(program)["rounds"] > 0
    assert node.device()["out_bytes"] > 0
    nothing_is_lost(node)
