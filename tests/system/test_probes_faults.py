"""Faults of observation: what hangs, dies, changes under way or comes by the thousand harms neither the daemon nor what is counted, and what is handed on is no more than
is needed."""
import os
import re
import signal
import sys

import pytest
from conftest import Process, built, own_memory, wait_until
from test_probes import ROOT, UID, as_nobody, assert_exact, gone, probed, settled, snapshot, use_files  # noqa: F401 (probed is a fixture)

# By their numbers in linux/capability.h.
CAPABILITIES = {"DAC_OVERRIDE": 1, "DAC_READ_SEARCH": 2, "KILL": 5, "SYS_PTRACE": 19, "SYS_ADMIN": 21, "PERFMON": 38, "BPF": 39}


def for_administrators():
    """Whether this kernel asks for CAP_SYS_ADMIN where others ask for CAP_PERFMON, as Debian's do: a keeper that has it then keeps it."""
    with open("/proc/sys/kernel/perf_event_paranoid", encoding="ascii") as level:
        return int(level.read()) > 2


def capabilities(pid, which="CapPrm"):
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        bits = next(int(line.split()[1], 16) for line in status if line.startswith(which + ":"))
    return {next((name for name, n in CAPABILITIES.items() if n == i), i) for i in range(64) if bits >> i & 1}


def may(*names):
    """Of these, what this process could have handed on."""
    return set(names) & capabilities("self")


def test_each_process_has_what_it_needs_and_no_more(probed):
    node = probed().start()
    settled(node)
    pids = node.own_processes()
    for_probes = may("BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH", *(["SYS_ADMIN"] if for_administrators() else []))
    for name, expected in (("berthd", may("KILL", "DAC_OVERRIDE")), ("sensor", may("KILL", "DAC_OVERRIDE")), ("keeper", for_probes), ("probes", for_probes)):
        assert capabilities(pids[name]) == capabilities(pids[name], "CapEff") == expected, name
        with open(f"/proc/{pids[name]}/status", encoding="utf-8") as status:
            assert "NoNewPrivs:\t1\n" in status.read(), name
    # Nor does it come back with a process that is started anew.
    for name in ("probes", "sensor"):
        os.kill(pids[name], signal.SIGKILL)
        again = wait_until(lambda: (lambda now: now.get(name) not in (None, pids[name]) and now)(node.own_processes()), f"another {name}")
        wait_until(lambda: capabilities(again[name]) == capabilities(pids["keeper" if name == "probes" else "berthd"]), f"what {name} may")


@pytest.mark.skipif(not ROOT, reason="gives up what root may")
def test_within_the_bounds_of_its_unit_probes_are_the_same(probed):
    """packaging/berthd.service, as far as it can be had without systemd: the bounding set, no new privileges, no memory that is written and executed."""
    root = settled(probed().start())
    with open(built("packaging/berthd.service"), encoding="utf-8") as unit:
        text = unit.read()
    bounds = re.search(r"^CapabilityBoundingSet=(.*)$", text, flags=re.M).group(1).split()
    assert "NoNewPrivileges=yes\n" in text and "MemoryDenyWriteExecute=yes\n" in text
    node = probed()
    # PR_SET_MDWE, of Linux 6.3; kernels before that do not know it.
    launch = "import ctypes, os, sys; ctypes.CDLL(None).prctl(65, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"
    node.daemon = Process("berthd-bounded", node.folder,
                          ["setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set", "-all," + ",".join("+" + b.removeprefix("CAP_").lower() for b in bounds),
                           sys.executable, "-c", launch, built("src/node/berthd")], node.environment)
    node.processes.append(node.daemon)
    node.daemons.append(node.daemon)
    f = settled(node)
    assert (f["state"], f["rung"]) == (root["state"], root["rung"]) or for_administrators() and f["refused"], (f, node.log)
    assert capabilities(node.own_processes()["berthd"]) == {"KILL"}
    if f["state"] == "attached":
        assert_exact(node, use_files(node, "used"), f["blind"])


@pytest.mark.skipif(not ROOT, reason="becomes another user")
def test_a_user_that_is_given_the_capabilities_has_probes(probed, tmp_path):
    root = settled(probed().start())
    node = probed()
    as_nobody(node, tmp_path, "bpf", "perfmon", "sys_ptrace", "dac_read_search")
    f = settled(node)
    assert (f["state"], f["rung"]) == (root["state"], root["rung"]) or for_administrators() and f["refused"], (f, node.log)
    pids = node.own_processes()
    assert capabilities(pids["berthd"]) == capabilities(pids["sensor"]) == set()
    assert capabilities(pids["probes"], "CapEff") == {"BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH"}


def test_a_probes_process_that_hangs_is_replaced_and_nobody_waits_for_it(probed):
    node = probed().start()
    settled(node)
    old = snapshot(node)["own"]["pid"]
    os.kill(old, signal.SIGSTOP)
    # The daemon serves, and what was last counted still stands, until its time is over.
    node.status()
    assert snapshot(node)["own"]["pid"] == old
    node.set(observe__answer="1s")
    assert node.berth("reload").returncode == 0
    wait_until(lambda: gone(old), "the one that hangs is ended")
    node.wait_log("the probes process does not answer; what probes count is unavailable until another process has answered")
    node.set(observe__answer="60s")
    assert node.berth("reload").returncode == 0
    again = wait_until(lambda: (lambda s: s and s["own"]["pid"] != old and s)(snapshot(node)), "another one answers")
    assert settled(node)["state"] in ("attached", "unavailable") and again["own"]["pid"] in node.own_processes().values()


def test_without_its_keeper_the_daemon_serves_and_says_so(probed):
    node = probed().start()
    settled(node)
    probes = snapshot(node)["own"]["pid"]
    os.kill(node.own_processes()["keeper"], signal.SIGKILL)
    wait_until(lambda: gone(probes), "the probes process ends with its keeper")
    done = wait_until(lambda: (lambda d: "has to be started again" in d.stderr and d)(node.berth("files")), "it is said")
    assert done.returncode != 0
    node.status()
    node.restart()
    assert settled(node)["state"] in ("attached", "unavailable")


def test_what_is_counted_takes_no_memory_of_the_daemon(machine):
    """It holds no rows: however many files and processes the machine has in use, and however often they are read."""
    node = machine(observe__probes="always", observe__period="50ms", observe__uid=UID, observe__file_entries=65536, arena__ready="0").start()
    f = settled(node)
    if f["state"] != "attached":
        return

    def go_on(name, files):
        use_files(node, name, ("files-crowd", 1, files, 2))
        got = wait_until(lambda: (lambda s: s and len(s["files"]) >= files and s)(snapshot(node)), "they are counted")
        return own_memory(node.daemon.pid), len(got["files"])
    first, few = go_on("few", 50)
    last, many = go_on("many", 1200)
    assert many >= few + 1100
    # A row takes some 400 bytes, and one more for each process and file.
    assert last < first + (128 << 10), f"{first} bytes, then {last}"
