"""Programs of every kind give each other room: what they set up before a switch is right after it. Each kind runs alone and bare, too, where
it must tell the same."""
import pytest
from conftest import MIB, built, result

KINDS = ["streams", "host", "managed", "arrays", "graphs", "nodes", "edges", "values", "cooperative", "attached", "contexts", "green"]
KEPT = {"managed": 2 * MIB, "arrays": 64 * 64 * 4 * 5}


def kind(node, name, *arguments, **options):
    return node.run("kinds", "--kind", name, *arguments, **options)


@pytest.mark.parametrize("name", KINDS)
def test_alone_as_without_berth(node, name):
    hooked = result(kind(node, name, "--rounds", 5))
    alone = result(kind(node, name, "--rounds", 5, bare=True, environment={
        "LD_LIBRARY_PATH": built("tests/fake"), "BERTH_SOFTWARE_MEMORY": "268435456"}))
    assert hooked == alone and hooked["ok"] and hooked["rounds"] == 5


@pytest.mark.parametrize("road", ["link", "proc"])
def test_by_other_roads(node, road):
    for name in KINDS:
        assert result(kind(node, name, environment={"BERTH_ROAD": road}))["ok"]


@pytest.mark.parametrize("name", KINDS)
def test_with_switches_in_the_middle(machine, name):
    node = machine(slice__mode="fixed", slice__fixed="300ms").start()
    until = node.folder / "until"
    programs = [kind(node, name, "--memory", "160MiB", "--until", until) for _ in range(2)]
    if name in KEPT:
        node.wait(lambda status: any(c["pinned_bytes"] >= KEPT[name] for c in status["clients"]), "what can't move is counted")
    node.wait(lambda status: status["devices"][0]["switches"] >= 3, "they took turns")
    until.touch()
    for program in programs:
        done = result(program)
        assert done["ok"] and done["kind"] == name
    assert node.device()["out_bytes"] + node.device()["dropped_bytes"] > 100 * MIB
