"""Every function of the driver goes where docs/conformance.md says, on every road to it."""
import os
import subprocess

import pytest
from conftest import ROOT, built, result


def table():
    """(symbol, treatment) of every function."""
    done = subprocess.run([os.path.join(ROOT, "tools", "conformance-doc"), "--table"], capture_output=True, text=True, timeout=60, check=True)
    return [line.split()[:2] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("road", ["link", "dlsym"])
def test_every_name_goes_where_the_list_says(node, road):
    done = result(node.run("conform", environment={"BERTH_ROAD": road}))
    assert done["ok"] and done["berth"] and done["names"] == done["exported"] == len(table()) == 637
    assert done["linked"] == (637 if road == "link" else 0)
    assert done["hooked"] == sum(treatment != "passed" for _, treatment in table()) > 200
    assert done["missing"] == 0


def test_without_berth_every_name_is_the_drivers(node):
    done = result(node.run("conform", bare=True, environment={"LD_LIBRARY_PATH": built("tests/fake")}))
    assert done["ok"] and not done["berth"] and done["exported"] == done["looked_up"] == 637


def test_what_is_hooked_goes_through_its_wrapper(node):
    """The exported names are Berth's own in any case; the interposer tells which of them lead to wrappers."""
    log = node.folder / "doctor"
    assert result(node.run("conform", environment={"BERTH_DOCTOR": str(log)}))["ok"]
    lines = [line.split() for line in log.read_text().splitlines()]
    assert sorted(line[1] for line in lines if line[0] == "export" and line[3] == "hooked") == \
        sorted(symbol for symbol, treatment in table() if treatment != "passed")
    off = node.folder / "off"
    assert node.run("probe", environment={"BERTH_DOCTOR": str(off), "BERTH_DISABLE": "1"}).ok()
    assert " hooked" not in off.read_text()
