"""The units that are installed for systemd: it understands every line, and what berthd is left with is what it is said to need."""
import os
import re
import subprocess

import pytest

BUILD = os.path.abspath(os.environ.get("BERTH_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build")))
UNITS = [("berthd.service", "--system"), ("berthd.user.service", "--user")]


def analyze(*arguments, **environment):
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, env={**os.environ, **environment})


@pytest.fixture
def unit(tmp_path):
    """unit(name): the unit, with the programs as they are built for those that are not installed."""
    def make(name):
        with open(os.path.join(BUILD, "packaging", name), encoding="utf-8") as f:
            text = f.read()
        text = re.sub(r"=\S+/berthd$", f"={BUILD}/src/node/berthd", text, flags=re.M)
        text = re.sub(r"=\S+/berth --", f"={BUILD}/src/cli/berth --", text)
        path = tmp_path / "berthd.service"
        path.write_text(text)
        return path, text
    return make


@pytest.mark.parametrize("name, which", UNITS)
def test_systemd_understands_every_line(unit, tmp_path, name, which):
    path, text = unit(name)
    assert f"{BUILD}/src/node/berthd" in text and f"{BUILD}/src/cli/berth" in text
    # A user's systemd wants a folder of its own to look at.
    done = analyze(which, "verify", "--man=no", "--recursive-errors=no", str(path), XDG_RUNTIME_DIR=str(tmp_path))
    assert done.returncode == 0 and "berthd.service" not in done.stderr, done.stderr


def test_the_machines_daemon_is_left_with_little(unit):
    path, text = unit("berthd.service")
    assert re.search(r"^CapabilityBoundingSet=(.*)$", text, flags=re.M).group(1).split() == ["CAP_KILL", "CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"]
    # In tenths of its scale, on which 100 is no confinement at all.
    done = analyze("security", "--offline=true", "--threshold=35", str(path))
    assert done.returncode == 0, done.stdout[-200:] + done.stderr
