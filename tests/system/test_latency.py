"""Waits for devices and processors, and system calls: what probes in the kernel count is what was done; what the kernel refuses is told with its reason; nobody pays who did not ask.

Nothing is said of how long anything took. Which kinds of probes there are depends on the kernel: each test asserts what the ladder reports.
"""
import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from conftest import wait_until

RUNGS = ["tp_btf", "raw_tp"]
FAMILIES = {"block": 0, "sched": 1, "syscalls": 2}
ROOT = os.geteuid() == 0
UID = 54322  # counted alone, so that what else happens on the machine takes nobody's row
# Each command is answered by one byte, and costs what it says, one write and one read.
SCRIPT = """
import os, time
os.write(1, b"r")
while True:
    line = os.read(0, 64)
    if not line:
        break
    what, times = line.split()
    for _ in range(int(times)):
        os.getppid() if what == b"calls" else time.sleep(0.0001)
    os.write(1, b"d")
"""


@pytest.fixture
def watched(machine):
    """A machine that is asked, and looks ten times a second."""
    def make(**settings):
        return machine(observe__period="100ms", observe__uid=UID, **settings)
    return make


def latency(node):
    done = node.berth("latency", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def settled(node, name, rung):
    """Until the family is attached on this rung, or was refused on it."""
    def look():
        f = latency(node)["families"][FAMILIES[name]]
        return f if f["state"] == "unavailable" or (f["state"] == "attached" and f["rung"] == rung) else None
    f = wait_until(look, lambda: f"{name} settles on {rung}: {latency(node)['families']}")
    if f["state"] == "unavailable":
        assert [r["rung"] for r in f["refused"]] == [rung] and f["refused"][0]["reason"] and f["refused"][0]["error"] != "E?", f
        assert latency(node)["syscalls" if name == "syscalls" else name] is None
    else:
        assert ROOT and f["links"] and not f["refused"], f
    return f


class Worker:
    """A process of that user, which does what it is told."""

    def __init__(self, node):
        self.node = node
        self.popen = subprocess.Popen([sys.executable, "-S", "-E", "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=UID, cwd="/")
        assert self.popen.stdout.read(1) == b"r"

    def row(self):
        return next((p for p in latency(self.node)["processes"] if p["pid"] == self.popen.pid), None)

    def rests(self):
        """Once it waits to be told: what was counted of it until then, and how often it left a processor."""
        def asleep():
            with open(f"/proc/{self.popen.pid}/stat", encoding="utf-8") as stat:
                return stat.read().rsplit(")", 1)[1].split()[0] == "S"
        wait_until(asleep, "the worker waits to be told")
        asked = time.monotonic_ns()
        wait_until(lambda: latency(self.node)["taken_ns"] > asked, "a look after that")
        with open(f"/proc/{self.popen.pid}/status", encoding="utf-8") as status:
            switches = sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)
        return wait_until(self.row, lambda: f"the worker is seen: {latency(self.node)}"), switches

    def tell(self, what, times):
        self.popen.stdin.write(b"%s %d\n" % (what, times))
        self.popen.stdin.flush()
        assert self.popen.stdout.read(1) == b"d"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.popen.stdin.close()
        self.popen.wait(60)


@pytest.mark.parametrize("rung", RUNGS)
def test_each_call_is_counted_once(watched, rung):
    node = watched(observe__syscalls=rung).start()
    if settled(node, "syscalls", rung)["state"] == "unavailable":
        return
    with Worker(node) as worker:
        for times in (1000, 12345):
            before = worker.rests()[0]["calls_total"]
            worker.tell(b"calls", times)
            # Its answer is a write, and then it reads again.
            assert worker.rests()[0]["calls_total"] - before == times + 2
    got = latency(node)
    assert got["syscalls"]["total"] >= 13349
    assert all(p["uid"] == UID for p in got["processes"])


@pytest.mark.parametrize("rung", RUNGS)
def test_each_wait_for_a_processor_is_counted(watched, rung):
    node = watched(observe__sched=rung).start()
    if settled(node, "sched", rung)["state"] == "unavailable":
        return
    # As often as it left a processor it came to one again, and waited for it, if only for an instant. Some kernels do not tell of every switch (this one's tracer misses those away
    # from a few threads, too): then a batch is short. Never does one have more, and it takes few until one is whole.
    with Worker(node) as worker:
        row, left = worker.rests()
        for batch in range(40):
            worker.tell(b"naps", 100)
            after, left_after = worker.rests()
            waits, switches = after["waits_total"]["times"] - row["waits_total"]["times"], left_after - left
            assert waits <= switches and switches > 0
            if waits == switches and waits >= 100:
                break
            row, left = after, left_after
        else:
            raise AssertionError(f"no batch was whole: {waits} of {switches}, {latency(node)['families']}")
    got = latency(node)
    family = got["families"][FAMILIES["sched"]]
    total = got["sched"]["total"]
    assert sum(total["buckets"]) == total["count"] >= waits and family["hits"] > family["hooked"] >= waits
    assert total["p50_ns"] <= total["p95_ns"] <= total["p99_ns"] and total["sum_ns"] > 0
    assert after["calls_total"] is None and got["syscalls"] is None


@pytest.mark.parametrize("rung", RUNGS)
def test_requests_to_a_device_are_counted(watched, rung):
    node = watched(observe__block=rung).start()
    if settled(node, "block", rung)["state"] == "unavailable":
        return
    image = node.folder / "image"
    image.write_bytes(os.urandom(1 << 20))
    loop = subprocess.run(["losetup", "--find", "--show", str(image)], capture_output=True, text=True) if shutil.which("losetup") else None
    if loop and loop.returncode == 0:
        path, name = loop.stdout.strip(), os.path.basename(loop.stdout.strip())
    else:
        path, name = str(image), None  # of a device that is not known: its file system's

    def reads():
        rows = [b for b in latency(node)["block"] if b["kind"] == "read" and name in (None, b["name"])]
        return sum(b["total"]["count"] for b in rows), sum(b["total"]["bytes"] for b in rows)
    try:
        # The kernel may leave a run of a probe out (an interrupt, while the same program runs): so a batch may be short, and it takes few until one is whole.
        for batch in range(40):
            count, size = reads()
            done = subprocess.run(["dd", f"if={path}", "of=/dev/null", "bs=4096", "count=200", "iflag=direct"], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            asked = time.monotonic_ns()
            wait_until(lambda: latency(node)["taken_ns"] > asked, "a look after that")
            if not name or (reads()[0] - count >= 200 and reads()[1] - size >= 200 * 4096):
                break
        else:
            raise AssertionError(f"no batch was whole: {latency(node)}")
        if name:
            row = next(b for b in latency(node)["block"] if b["name"] == name and b["kind"] == "read")
            assert sum(row["total"]["buckets"]) == row["total"]["count"] and row["total"]["errors"] == 0 and row["total"]["p50_ns"] > 0
    finally:
        if name:
            subprocess.run(["losetup", "--detach", path], check=True)
    shown = node.berth("latency", "--total")
    assert shown.returncode == 0 and (not name or f"{name} read: " in shown.stdout), shown.stdout + shown.stderr


def test_what_is_not_asked_for_is_not_attached(machine):
    node = machine(observe__period="100ms").start()

    def states():
        done = node.berth("files", "--json")
        return {f["family"]: f["state"] for f in json.loads(done.stdout)["families"]} if done.returncode == 0 else {}
    got = wait_until(lambda: (lambda s: s.get("files") in ("attached", "unavailable") and s)(states()), lambda: f"files are counted: {states()}")
    assert [got[f] for f in FAMILIES] == ["not_asked", "not_asked", "off"]
    wait_until(lambda: latency(node)["families"][0]["state"] in ("attached", "unavailable"), "requests are counted")
    assert states()["sched"] in ("attached", "unavailable")
    # System calls are counted only where the settings say so; and what is off says so.
    shown = node.berth("latency", "--total")
    assert shown.returncode == 0 and "system calls: unavailable: observe.syscalls is no in the settings" in shown.stdout
    node.set(observe__block="off", observe__sched="off")
    assert node.berth("reload").returncode == 0
    wait_until(lambda: [f["state"] for f in latency(node)["families"]] == ["off"] * 3, "all are off")
    shown = node.berth("latency", "--total")
    assert "observe.block is off in the settings" in shown.stdout and "observe.sched is off in the settings" in shown.stdout


def test_everything_refused_says_why(watched):
    node = watched(observe__refuse="tp_btf,raw_tp", observe__syscalls="yes").start()
    got = wait_until(lambda: (lambda g: all(f["state"] == "unavailable" for f in g["families"]) and g)(latency(node)), "everything is refused")
    for f in got["families"]:
        assert [(r["rung"], r["error"]) for r in f["refused"]] == [(rung, "ECANCELED") for rung in RUNGS], f
    assert got["block"] is got["sched"] is got["syscalls"] is got["processes"] is None
    shown = node.berth("latency", "--total")
    assert shown.returncode == 0 and shown.stdout.count("unavailable: observe.refuse in the settings names it") == 3, shown.stdout
    assert "scheduler probes" in node.berth("doctor").stdout
