"""NVML inside `berth run`: the limit as the device, the program's own use and processes, on every road to the library."""
import errno
import json
import os
import signal
import sys

import pytest
from conftest import MIB, ROOT, built, program, result, work
from test_programs import bare

# How a program finds NVML: BERTH_ROAD and options of smi.
ROADS = {"link": ("link", []), "dlopen": ("dlsym", []), "dlsym": ("dlsym", ["--global"])}


def smi(node, *arguments, road="dlopen", options=(), environment=None):
    name, more = ROADS[road]
    return node.run("smi", *more, *arguments, options=options, environment={"BERTH_ROAD": name, **(environment or {})})


def settled(node, process, mib):
    """Waits until the daemon knows of the program's memory."""
    return node.wait(lambda status: (node.client(process, status) or {}).get("owned_bytes", 0) >= mib * MIB, f"{process} owns {mib} MiB")


@pytest.mark.parametrize("road", ROADS)
def test_the_limit_is_the_device(node, road):
    other = work(node, 64, seconds=60)
    settled(node, other, 64)
    seen = result(smi(node, "--memory", "20MiB", road=road, options=["--memory", "100MiB"]))
    assert seen["memory"] == {"total": 100 * MIB, "free": 80 * MIB, "used": 20 * MIB}
    assert seen["memory_v2"] == {"total": 100 * MIB, "reserved": 0, "free": 80 * MIB, "used": 20 * MIB}
    assert seen["driver"] == {"total": 100 * MIB, "free": 80 * MIB}
    assert seen["wrong_version"] == 25
    own = [[seen["pid"], 20 * MIB]]
    assert (seen["compute"], seen["compute_v2"], seen["compute_v3"], seen["details"]) == (own, own, own, own)
    assert (seen["graphics_v3"], seen["mps_v3"]) == ([], [])
    assert seen["accounting"] == [seen["pid"]]
    other.kill()


def test_a_share_before_the_program_comes_to_the_device(node):
    seen = result(smi(node, options=["--memory", "25%"]))
    assert seen["memory_v2"] == {"total": 64 * MIB, "reserved": 0, "free": 64 * MIB, "used": 0}
    assert seen["compute_v3"] == []


def test_without_a_limit_as_if_alone(node):
    other = work(node, 64, seconds=60)
    settled(node, other, 64)
    seen = result(smi(node, "--memory", "20MiB"))
    memory = seen["memory_v2"]
    assert (memory["total"], memory["used"], memory["free"]) == (256 * MIB, 20 * MIB, seen["driver"]["free"])
    assert memory["reserved"] == memory["total"] - memory["used"] - memory["free"] > 0
    assert seen["compute_v3"] == [[seen["pid"], 20 * MIB]]
    other.kill()


def test_all_processes_of_a_run_and_no_others(node):
    """A shell under one `berth run` with two programs, and a stranger beside it."""
    other = work(node, 32, seconds=60)
    settled(node, other, 32)
    script = (f"{program('work')} --memory 16MiB --chunk 16MiB --seconds 60 & a=$!; {program('work')} --memory 32MiB --chunk 16MiB --seconds 60 & b=$!; "
              f"until test -e go; do sleep 0.05; done; {program('smi')}; kill $a $b; echo $a $b")
    shell = node.run("/bin/sh", "-c", script, options=["--memory", "128MiB"])
    node.wait(lambda status: [c["owned_bytes"] >= 16 * MIB for c in status["clients"]].count(True) == 3 and
              sum(c["owned_bytes"] for c in status["clients"]) >= 80 * MIB, "all are there")
    (node.folder / "go").touch()
    first, last = shell.ok().strip().splitlines()[-2:]
    seen, (a, b) = json.loads(first), map(int, last.split())
    # Each has 2 MiB more, a slab for its sums.
    assert {pid: used // (16 * MIB) for pid, used in seen["compute_v3"]} == {a: 1, b: 2}
    assert seen["memory_v2"]["total"] == 128 * MIB
    assert seen["memory_v2"]["used"] == sum(used for _, used in seen["compute_v3"])
    other.kill()


def test_a_job_sees_its_processes(node):
    job = work(node, 32, seconds=60, options=["--job", "pair"])
    other = work(node, 32, seconds=60)
    for each in (job, other):
        settled(node, each, 32)
    seen = result(smi(node, options=["--job", "pair"]))
    assert [pid for pid, _ in seen["compute_v3"]] == [job.pid]
    assert seen["memory_v2"]["used"] == seen["compute_v3"][0][1] >= 32 * MIB
    assert result(smi(node))["compute_v3"] == []
    for each in (job, other):
        each.kill()


def table(node, *arguments, options=(), device=0, **named):
    """What nvidia-smi's own road tells: the resource manager answers behind the stand-in."""
    environment = {"LD_PRELOAD": built("tests/fake/libresource-manager.so"), **named.pop("environment", {})}
    return result(smi(node, "--table", str(device), *arguments, options=options, environment=environment))


def test_nvidia_smis_own_table(node):
    """Only own processes, with the figures of all other roads; a stranger's are there without Berth."""
    other = work(node, 64, seconds=60)
    settled(node, other, 64)
    seen = table(node, "--memory", "20MiB", options=["--memory", "100MiB"])
    assert seen["table"] == {"cbc0": [[seen["pid"], 20 * MIB]], "900e": [], "cb97": []}
    assert seen["table"]["cbc0"] == seen["compute_v3"] and seen["refused"] is True and seen["plain"] == errno.ENOTTY
    assert table(node)["table"]["cbc0"] == []
    assert [pid for pid, _ in table(node, environment={"BERTH_DISABLE": "1"})["table"]["cbc0"]] == [other.pid]
    other.kill()


def test_nvidia_smis_own_table_of_a_job(node):
    job = work(node, 32, seconds=60, options=["--job", "pair"])
    other = work(node, 32, seconds=60)
    for each in (job, other):
        settled(node, each, 32)
    seen = table(node, options=["--job", "pair"])
    assert [pid for pid, _ in seen["table"]["cbc0"]] == [job.pid] and seen["table"]["cbc0"] == seen["compute_v3"]
    for each in (job, other):
        each.kill()


def test_nvidia_smis_own_table_of_each_device(machine):
    """The figure is that of the device that was asked."""
    two = machine(device__software_devices=2).start()
    jobs = [work(two, mib, seconds=60, options=["--job", "pair"], environment={"CUDA_VISIBLE_DEVICES": device}) for device, mib in (("0", 32), ("1", 64))]
    for each, mib in zip(jobs, (32, 64)):
        settled(two, each, mib)
    owned = [two.client(each)["owned_bytes"] for each in jobs]
    for device in (0, 1):
        assert table(two, options=["--job", "pair"], device=device)["table"]["cbc0"] == [[jobs[device].pid, owned[device]]]
    for each in jobs:
        each.kill()


def test_nvidia_smis_own_table_without_the_daemon(node):
    """Which processes are own is known all the same; their memory is the driver's figure."""
    other = work(node, 32, seconds=60)
    settled(node, other, 32)
    argv = [sys.executable, "-c", "import os, subprocess, sys; subprocess.run(sys.argv[1:], env={**os.environ, 'BERTH_SOCKET': '/nonexistent'}, check=True)",
            program("smi"), "--table", "0"]
    seen = result(node.run(*argv, environment={"LD_PRELOAD": built("tests/fake/libresource-manager.so")}))
    assert seen["table"]["cbc0"] == [] and seen["compute_v3"] == []
    other.kill()


def test_swapped_out_memory_is_used_memory(slow):
    """A limited program shows what it owns, wherever that lies."""
    first = work(slow, 80, seconds=60, options=["--job", "a"])
    settled(slow, first, 80)
    second = work(slow, 80, seconds=60)
    slow.wait(lambda status: (slow.client(first, status) or {}).get("out_bytes"), "the first goes out")
    assert result(smi(slow, options=["--job", "a"]))["memory_v2"]["used"] >= 80 * MIB
    for each in (first, second):
        each.kill()


def test_the_way_out(node):
    off = {"BERTH_DISABLE": "1"}
    other = work(node, 64, seconds=60)
    settled(node, other, 64)
    seen, alone = (result(each) for each in (smi(node, options=["--memory", "32MiB"], environment=off), bare(node, "smi")))
    assert {**seen, "pid": 0} == {**alone, "pid": 0}
    assert seen["memory"]["total"] == 256 * MIB and [pid for pid, _ in seen["compute"]] == [other.pid] == seen["accounting"]
    other.kill()


def test_a_daemon_that_hangs_or_is_gone(node):
    """Bounded, and then the driver's own answer."""
    environment = {"LD_PRELOAD": built("src/nvml/libberth-nvml.so"), "BERTH_NVML": built("tests/fake/libnvidia-ml.so.1"),
                   "LD_LIBRARY_PATH": built("tests/fake"), "BERTH_SOFTWARE_MEMORY": "268435456", "BERTH_MEMORY": "64MiB"}
    assert result(node.run("smi", bare=True, environment=environment))["memory"]["total"] == 64 * MIB
    node.daemon.kill(signal.SIGSTOP)
    hung = node.run("smi", "--times", "1000", bare=True, environment=environment)
    assert result(hung, 60)["memory"]["total"] == 256 * MIB
    node.daemon.kill(signal.SIGCONT)
    node.stop()
    assert result(node.run("smi", bare=True, environment=environment))["memory"]["total"] == 256 * MIB


def test_without_a_real_library(node):
    """Names answer as NVML's do where there is no driver; nothing crashes."""
    missing = node.run("smi", bare=True, environment={
        "LD_PRELOAD": built("src/nvml/libberth-nvml.so"), "BERTH_NVML": "nonexistent", "LD_LIBRARY_PATH": built("tests/fake")})
    assert missing.wait() == 1 and json.loads(missing.out)["error"] == 12


PYTHON = """
import ctypes, json, os, time
nvml = ctypes.CDLL("libnvidia-ml.so.1")
class Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]
nvml.nvmlErrorString.restype = ctypes.c_char_p
device, memory = ctypes.c_void_p(), Memory()
assert nvml.nvmlInit_v2() == 0
assert nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)) == 0
assert nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) == 0
held = len(os.listdir("/proc/self/fd"))
for _ in range(10):
    time.sleep(0.03)
    assert nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) == 0
assert len(os.listdir("/proc/self/fd")) == held
name = ctypes.create_string_buffer(96)
assert nvml.nvmlDeviceGetName(device, name, 96) == 0
print(json.dumps({"total": memory.total, "used": memory.used, "name": name.value.decode(), "bar1": nvml.nvmlDeviceGetBAR1MemoryInfo(device, None),
                  "text": nvml.nvmlErrorString(4).decode(), "table": nvml.nvmlInternalGetExportTable(None, None)}))
"""


def test_python(node):
    """As NVIDIA's own module for Python does it. What the software device's library lacks is not found; no descriptor stays open."""
    seen = result(node.run(sys.executable, "-c", PYTHON, options=["--memory", "96MiB"]))
    assert seen == {"total": 96 * MIB, "used": 0, "name": "Berth Software Device", "bar1": 13, "table": 13, "text": "Insufficient Permissions"}


def test_the_hardware_suites_program(node):
    """tests/gpu/smi.py; on the software device there is no nvidia-smi, so that is left out of its judgement."""
    other = work(node, 64, seconds=60)
    settled(node, other, 64)
    for options in (["--memory", "40%"], []):
        seen = result(node.run(sys.executable, os.path.join(ROOT, "tests/gpu/smi.py"), "24", options=options))
        assert seen["ok"] and seen["names"]["lacking_count"] == 0 and seen["names"]["real"] > 30
    other.kill()


def test_doctor_has_a_row(node):
    rows = {row["check"]: row for row in json.loads(node.berth("doctor", "--json").stdout)["checks"]}
    assert rows["nvml hooks"]["finding"] == "ok" and "libberth-nvml.so" in rows["nvml hooks"]["found"]
