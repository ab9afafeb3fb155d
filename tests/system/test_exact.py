"""Accounting is exact: what is counted after each call, its highest point, and the sum over all programs against the device's own figure."""
import json

import pytest
from conftest import MIB, PATIENCE, result, wait_until, work
from test_programs import ROADS, bare

CONTEXT = 8 * MIB  # of the software device


def held(node, *arguments, options=()):
    """A script that holds what it has until the test ends it; what it said."""
    go = node.folder / f"go-{node.count}"
    process = node.run("script", "--keep", "--hold", go, *arguments, options=options)
    wait_until(lambda: process.out.endswith("}\n") or not process.running, "the script is through", 120)
    assert process.running, process.report()
    return process, json.loads(process.out), go


@pytest.mark.parametrize("road", ROADS)
def test_every_step_is_counted_exactly(node, road):
    done = result(node.run("script", "--seed", "7", environment={"BERTH_ROAD": road}))
    assert (done["peak_error_bytes"], done["used_error_bytes"], done["wrong_steps"], done["used_bytes"]) == (0, 0, 0, 0)
    assert done["steps"] > 2000 and done["expected_peak_bytes"] > 64 * MIB
    assert done["shortest_spike_us"] < 1000


def test_exact_while_memory_moves(machine):
    node = machine(slice__min="300ms").start()
    other = work(node, 180, until="end")
    node.wait_state(other, "running")
    script = node.run("script", "--steps", "1500", "--live", "160MiB")
    node.switched(2)
    node.tell()
    done = result(script)
    assert (done["peak_error_bytes"], done["used_error_bytes"], done["wrong_steps"]) == (0, 0, 0)
    assert result(other)["ok"] and node.device()["switches"] >= 1


def test_the_daemon_tells_the_same(node):
    process, said, go = held(node, "--steps", "300")
    client = node.client(process, node.wait(lambda status: (node.client(process, status) or {}).get("owned_bytes") == said["expected_bytes"],
                                            "the daemon's books are the script's"))
    assert client["peak_bytes"] == said["expected_peak_bytes"] > said["expected_bytes"] > 0
    assert client["granted_bytes"] >= client["owned_bytes"] == client["movable_bytes"] + client["pinned_bytes"]
    go.touch()
    assert process.wait() == 0
    node.wait_log(rf'name="script" left after .*: peak {said["expected_peak_bytes"] / MIB:.1f} MiB')
    assert node.device()["granted_bytes"] == 0


def test_the_sum_is_the_devices_own_figure(node):
    """Clients and contexts together are what the device's own NVML says is used, to the byte."""
    held_ones = [held(node, "--even", "--steps", "200", "--live", "64MiB", "--seed", seed) for seed in (1, 2)]
    bare_smi = result(bare(node, "smi"))
    clients = node.wait(lambda status: sum(c["owned_bytes"] for c in status["clients"]) == sum(said["expected_bytes"] for _, said, _ in held_ones),
                        "the daemon knows of all")["clients"]
    assert all(c["resident_bytes"] == c["owned_bytes"] for c in clients)
    owned = sum(c["owned_bytes"] for c in clients)
    assert bare_smi["memory"]["used"] == owned + len(clients) * CONTEXT
    for _, _, go in held_ones:
        go.touch()
    for process, _, _ in held_ones:
        assert process.wait() == 0
    assert result(bare(node, "smi"))["memory"]["used"] == 0


def test_a_million_calls(node):
    """From several threads, mixed: nothing drifts, nothing stays, and the room is there for another program while this one still is."""
    calls = 1_000_000 if PATIENCE == 1 else 50_000
    go = node.folder / "go"
    soak = node.run("soak", "--calls", calls, "--hold", go)
    wait_until(lambda: soak.out.endswith("}\n") or not soak.running, "the soak is through", 240)
    said = json.loads(soak.out)
    assert said["ok"] and said["calls"] >= calls and said["used_bytes"] == 0 and said["wrong_looks"] == 0 < said["looks"], said
    client = node.client(soak, node.wait(lambda status: (node.client(soak, status) or {}).get("owned_bytes") == 0, "the daemon's books are empty"))
    assert client["backed_bytes"] == 0 and client["peak_bytes"] == said["peak_bytes"]
    # All room but two contexts'.
    room = node.device()["room_bytes"] // MIB
    assert result(work(node, room - 20, rounds=2))["ok"]
    assert node.client(soak)["granted_bytes"] == 0 and node.device()["out_bytes"] == 0
    go.touch()
    assert soak.wait() == 0
    node.wait(lambda status: status["devices"][0]["granted_bytes"] == 0, "every grant is back")
