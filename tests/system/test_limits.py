"""Limits: what a program may take, who tells it, and what it gives back when it is asked."""
import json
import os
import signal

import pytest
from conftest import MIB, ROOT, program, result, wait_until, work


def test_cuda_memory_fraction(node):
    over = work(node, 160, rounds=3, environment={"CUDA_MEMORY_FRACTION": "0.5"})
    assert over.wait() == 3, over.report()
    assert "limit 128 MiB" in over.err
    held = work(node, 32, seconds=600, environment={"CUDA_MEMORY_FRACTION": "0.25"})
    assert node.wait_state(held, "running")["limit_bytes"] == 64 * MIB


def test_what_berth_was_told_goes_before_the_fraction(node):
    held = work(node, 32, seconds=600, options=["--memory", "200MiB"], environment={"CUDA_MEMORY_FRACTION": "0.25"})
    assert node.wait_state(held, "running")["limit_bytes"] == 200 * MIB


@pytest.mark.parametrize("fraction", ["0", "1.5", "-0.5", "half", "40%", "nan"])
def test_a_bad_fraction_is_told_and_ignored(node, fraction):
    ended = work(node, 64, rounds=1, environment={"CUDA_MEMORY_FRACTION": fraction})
    assert result(ended)["ok"]
    assert ended.err.count(f"CUDA_MEMORY_FRACTION={fraction} is no fraction") == 1


def test_launch_blocking_is_told(node):
    ended = work(node, 32, rounds=1, environment={"CUDA_LAUNCH_BLOCKING": "1"})
    assert result(ended)["ok"]
    assert "CUDA_LAUNCH_BLOCKING=1 is set" in ended.err
    node.environment["CUDA_LAUNCH_BLOCKING"] = "1"
    doctor = node.berth("doctor")
    assert "warning  environment CUDA_LAUNCH_BLOCKING=1" in doctor.stdout


def test_launch_blocking_is_never_set(node):
    program = node.run("/usr/bin/env")
    assert "CUDA_LAUNCH_BLOCKING" not in program.ok()


# --- the summary of a run ---

SMALL = 2 * MIB  # where the test program has its small allocations


def summary(node, name="summary.json"):
    """What berth run --summary wrote, once it is whole."""
    def whole():
        try:
            return json.loads((node.folder / name).read_text())
        except (OSError, ValueError):
            return None

    return wait_until(whole, f"{name} is written")


def test_the_summary_tells_peak_moves_and_waits(slow):
    first = work(slow, 80, until="end", options=["--summary", "first.json"])
    second = work(slow, 80, until="end", options=["--summary", "second.json"])
    slow.wait(lambda status: status["devices"][0]["switches"] >= 3 and len(status["clients"]) == 2 and
              all(c["owned_bytes"] == 80 * MIB + SMALL for c in status["clients"]), "both have their memory and take turns")
    slow.tell()
    for process, name in ((first, "first.json"), (second, "second.json")):
        told = result(process)
        taken = summary(slow, name)
        client, = taken["clients"]
        assert taken["program"] == "work" and taken["pid"] == process.pid == client["pid"] and taken["complete"]
        assert told["ok"] and client["peak_bytes"] == taken["peak_bytes"] == 80 * MIB + SMALL
        assert 0 < client["average_bytes"] <= client["peak_bytes"]
        assert client["ended"] and client["device_name"] and taken["wall_ns"] > told["seconds"] * 1e9
        assert taken["out_bytes"] == client["out_bytes"] and taken["waited_ns"] == client["waited_ns"]
        wait_until(lambda: "peak 82.0 MiB, average" in process.err, "the summary is told")
        assert f"berth: work (pid {process.pid}) took" in process.err
    assert sum(summary(slow, name)["out_bytes"] for name in ("first.json", "second.json")) == slow.device()["out_bytes"] > 0
    assert sum(summary(slow, name)["waited_ns"] for name in ("first.json", "second.json")) > 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_the_summary_of_a_program_that_a_signal_ends(node, number):
    # A sanitizer would take the signal for a find of its own.
    quiet = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":handle_segv=0"}
    held = work(node, 64, seconds=600, options=["--summary", "summary.json"], environment=quiet)
    node.wait_state(held, "running")
    node.wait(lambda status: node.client(held, status)["owned_bytes"] >= 64 * MIB, "it has its memory")
    held.kill(number)
    assert held.wait() == -number
    taken = summary(node)
    assert taken["peak_bytes"] >= 64 * MIB and taken["clients"][0]["ended"]
    wait_until(lambda: f"(pid {held.pid}) took" in held.err, "the summary is told")


def test_the_summary_has_all_processes_of_the_run(node):
    ended = node.run("/bin/sh", "-c", f"{program('work')} --memory 32MiB --chunk 16MiB --rounds 1; exec {program('work')} --memory 64MiB --chunk 16MiB --rounds 1",
                     options=["--summary", "summary.json"])
    ended.ok()
    taken = summary(node)
    assert sorted(client["peak_bytes"] for client in taken["clients"]) == [32 * MIB + SMALL, 64 * MIB + SMALL]
    assert taken["peak_bytes"] == 64 * MIB + SMALL


def test_quiet_and_what_never_came_to_a_device(node):
    quiet = work(node, 32, rounds=1, options=["--quiet", "--summary", "summary.json"])
    quiet.ok()
    assert summary(node)["peak_bytes"] == 32 * MIB + SMALL
    assert quiet.err == ""
    other = node.run("/bin/true", options=["--summary", "other.json"])
    other.ok()
    assert summary(node, "other.json")["clients"] == []
    assert other.err == ""


def test_a_summary_that_cannot_be_written_stops_the_program(node):
    process = work(node, 32, rounds=1, options=["--summary", "nonexistent/x.json"])
    assert process.wait() == 1
    assert "nonexistent/x.json" in process.err and process.out == ""


def test_the_program_has_no_child_that_it_did_not_start(node):
    ended = node.run("/bin/sh", "-c", "wait; cat /proc/$$/task/$$/children", options=["--summary", "summary.json"])
    assert ended.ok().strip().count(" ") == 0  # cat itself
    summary(node)


def test_the_summary_after_a_restart_of_the_daemon_says_so(node):
    held = work(node, 64, seconds=600, options=["--summary", "summary.json"])
    node.wait(lambda status: (node.client(held, status) or {}).get("owned_bytes", 0) >= 64 * MIB, "it has its memory")
    node.restart()
    node.wait_state(held, "running")
    wait_until(lambda: node.berth("dump").stdout.count('"role": "control"') == 2, "who tells the summary is back, beside the dump's own connection")
    held.kill()
    held.wait()
    taken = summary(node)
    assert not taken["complete"] and taken["peak_bytes"] == 64 * MIB + SMALL
    wait_until(lambda: "the daemon was restarted" in held.err, "it is told")


# --- peaks by window ---


def script(node, *lines, **options):
    path = node.folder / f"script-{node.count}.txt"
    path.write_text("\n".join(lines) + "\n")
    return node.run("steps", path, **options)


def peak(node, action, name, process):
    done = node.berth("peak", action, "--json", name, process.pid)
    assert done.returncode == 0, done.stderr
    device, = json.loads(done.stdout)["devices"]
    return device


def test_peaks_by_window_from_outside(node):
    def step(n):
        (node.folder / f"go-{n}").touch()
        wait_until((node.folder / f"done-{n}").exists, f"step {n} is over")

    steps = [["spike 100MiB"], ["alloc a 10MiB", "spike 64MiB", "spike 30MiB"], ["spike 20MiB", "free a"], ["spike 6MiB"]]
    lines = ["alloc base 8MiB"]
    for n, step_lines in enumerate(steps):
        lines += [f"wait go-{n}", *step_lines, f"say done-{n}"]
    process = script(node, *lines, "wait end")
    node.wait(lambda status: (node.client(process, status) or {}).get("owned_bytes") == 8 * MIB, "it began")
    step(0)
    assert peak(node, "begin", "outer", process)["peak_bytes"] == 8 * MIB
    step(1)
    assert peak(node, "begin", "inner", process)["peak_bytes"] == 18 * MIB
    step(2)
    assert peak(node, "show", "inner", process)["peak_bytes"] == 38 * MIB
    assert peak(node, "show", "outer", process)["peak_bytes"] == 82 * MIB
    peak(node, "begin", "outer", process)
    step(3)
    assert peak(node, "end", "outer", process)["peak_bytes"] == 14 * MIB
    last = peak(node, "end", "inner", process)
    assert last == {"device": 0, "peak_bytes": 38 * MIB, "used_bytes": 8 * MIB, "whole_peak_bytes": 108 * MIB}
    assert node.client(process)["peak_bytes"] == 108 * MIB
    done = node.berth("peak", "end", "inner", process.pid)
    assert done.returncode == 1 and 'no window "inner"' in done.stderr
    (node.folder / "end").touch()
    process.ok()


def test_windows_are_bounded_and_outlive_a_daemon(node):
    process = script(node, "alloc base 8MiB", "wait go", "spike 20MiB", "say done", "wait end")
    node.wait(lambda status: (node.client(process, status) or {}).get("owned_bytes") == 8 * MIB, "it began")
    for i in range(16):
        peak(node, "begin", f"window-{i}", process)
    done = node.berth("peak", "begin", "one-more", process.pid)
    assert done.returncode == 1 and "16 windows" in done.stderr
    node.restart()
    node.wait_state(process, "running")
    (node.folder / "go").touch()
    wait_until((node.folder / "done").exists, "the spike is over")
    assert peak(node, "end", "window-7", process)["peak_bytes"] == 28 * MIB
    peak(node, "begin", "one-more", process)
    done = node.berth("peak", "begin", "x", 1)
    assert done.returncode == 1 and "not on a shared device" in done.stderr
    (node.folder / "end").touch()
    process.ok()


def test_many_spikes_under_a_millisecond(node):
    process = script(node, "alloc base 2MiB", "wait go", *["spike 4MiB"] * 500, "spike 32MiB", *["spike 6MiB"] * 500, "say done", "wait end")
    node.wait(lambda status: (node.client(process, status) or {}).get("owned_bytes") == 2 * MIB, "it began")
    peak(node, "begin", "all", process)
    (node.folder / "go").touch()
    wait_until((node.folder / "done").exists, "the spikes are over")
    assert peak(node, "end", "all", process) == {"device": 0, "peak_bytes": 34 * MIB, "used_bytes": 2 * MIB, "whole_peak_bytes": 34 * MIB}
    (node.folder / "end").touch()
    process.ok()


# --- soft limit ---


def test_a_caching_allocator_frees_its_cache_at_the_soft_limit(node):
    unlimited = result(node.run("caching", "--live", "16MiB", "--rounds", 64))
    assert unlimited["refused"] == 0 and unlimited["most_reserved"] == (16 + sum(4 + 2 * n for n in range(8))) * MIB
    limited = node.run("caching", "--live", "16MiB", "--rounds", 64, options=["--soft-memory", "64MiB"])
    told = result(limited)
    assert told["refused"] > 1 and told["refused_again"] == 0 and told["most_reserved"] <= 64 * MIB
    assert limited.err.count("soft limit of 64 MiB") == 1


def test_a_program_without_a_cache_goes_on_over_the_soft_limit(node):
    told = result(node.run("caching", "--live", "128MiB", "--rounds", 64, "--no-cache", options=["--soft-memory", "25%"]))
    assert told["refused"] >= 1 and told["refused_again"] == 0
    over = node.run("caching", "--live", "128MiB", "--give-up", options=["--soft-memory", "64MiB"])
    assert over.wait() == 3  # who takes any failure for the end


def test_soft_and_hard_limit(node):
    told = result(node.run("caching", "--live", "16MiB", "--rounds", 64, options=["--soft-memory", "64MiB", "--memory", "80MiB"]))
    assert told["refused"] > 1 and told["most_reserved"] <= 64 * MIB
    wrong = node.berth("run", "--soft-memory", "2GiB", "--memory", "1GiB", "--", "/bin/true")
    assert wrong.returncode == 2 and "not below" in wrong.stderr


def test_memory_of_its_own_making_at_the_soft_limit(node):
    process = script(node, *["create 20MiB"] * 6, options=["--soft-memory", "64MiB"])
    process.ok()
    results = [json.loads(line)["result"] for line in process.out.splitlines()]
    assert results == ["CUDA_SUCCESS"] * 3 + ["CUDA_ERROR_OUT_OF_MEMORY"] + ["CUDA_SUCCESS"] + ["CUDA_ERROR_OUT_OF_MEMORY"], process.report()


def test_the_soft_limit_is_shown(node):
    held = work(node, 32, seconds=600, options=["--soft-memory", "50%"])
    assert node.wait_state(held, "running")["soft_bytes"] == 128 * MIB


# --- trimming ---


def test_trim_tells_programs_that_want_to_know(node):
    willing = node.run("caching", "--live", "16MiB", "--rounds", 8, "--trim-on", "--wait", "go")
    cache = sum(4 + 2 * n for n in range(8)) * MIB
    node.wait(lambda status: (node.client(willing, status) or {}).get("owned_bytes", 0) >= 16 * MIB + cache, "its cache is full")
    done = node.berth("trim", willing.pid)
    assert (done.returncode, done.stdout) == (0, "1 program was asked\n"), done.stderr
    node.wait(lambda status: node.client(willing, status)["owned_bytes"] == 16 * MIB, "its cache is free")
    (node.folder / "go").touch()
    assert result(willing)["freed_on_trim"] == cache


def test_soft_trim_frees_caches_of_programs_that_know_nothing(machine):
    node = machine(client__slack="64MiB").start()
    process = script(node, "alloc a 32MiB", "alloc x 40MiB", "free x", "say freed", "wait go", "alloc b 8MiB", "alloc c 8MiB", "alloc d 8MiB")
    wait_until((node.folder / "freed").exists, "it has freed")
    done = node.berth("trim", "--soft", "steps")
    assert done.returncode == 0 and "1 program was asked" in done.stdout
    node.wait(lambda status: node.client(process, status)["granted_bytes"] == 32 * MIB, "it has heard: unused grant is back")
    (node.folder / "go").touch()
    process.ok()
    results = [json.loads(line)["result"] for line in process.out.splitlines() if '"alloc"' in line]
    assert results[2:] == ["CUDA_ERROR_OUT_OF_MEMORY", "CUDA_SUCCESS", "CUDA_SUCCESS"]


def test_trim_gives_unused_grant_back(machine):
    node = machine(client__slack="64MiB").start()
    process = script(node, "alloc a 96MiB", "free a", "alloc b 4MiB", "say freed", "wait end")
    wait_until((node.folder / "freed").exists, "it has freed")
    node.wait(lambda status: node.client(process, status)["granted_bytes"] > 40 * MIB, "unused grant is kept")
    done = node.berth("trim", "--all", "--json")
    assert done.returncode == 0 and json.loads(done.stdout) == {"programs": 1, "forbidden": 0}
    done = node.berth("trim", "nobody", "--json")
    assert done.returncode == 1 and json.loads(done.stdout) == {"programs": 0, "forbidden": 0} and "no program nobody" in done.stderr
    node.wait(lambda status: node.client(process, status)["granted_bytes"] == 4 * MIB, "unused grant is back")
    (node.folder / "end").touch()
    process.ok()


def test_trim_of_nobody(node):
    for wrong in ([], ["--all", "x"], ["x" * 100]):
        assert node.berth("trim", *wrong).returncode == 2
    missing = node.berth("trim", "nobody")
    assert missing.returncode == 1 and "no program nobody" in missing.stderr
    assert node.berth("trim", "--all").stdout == "0 programs were asked\n"


def test_prefetch_brings_in_before_anybody_asks(node):
    def out(status=None):
        client = node.client(idle, status)
        return client["owned_bytes"] - client["resident_bytes"]

    idle = script(node, "alloc a 160MiB", "fill a", "say ready", "wait end", "fill a")
    wait_until((node.folder / "ready").exists, "it has its memory")
    other = work(node, 160, until="first")
    node.wait(lambda status: (node.client(other, status) or {}).get("owned_bytes", 0) >= 160 * MIB and out(status) > 0,
              "the idle one is out")
    node.tell("first")
    result(other)
    assert out() > 0  # nobody asked
    done = node.berth("prefetch", idle.pid)
    assert (done.returncode, done.stdout) == (0, "1 program was announced\n"), done.stderr
    node.wait(lambda status: out(status) == 0 and node.client(idle, status)["state"] == "running", "it is in")
    (node.folder / "end").touch()
    idle.ok()


def test_prefetch_of_nobody(node):
    for wrong in ([], ["--for", "soon", "x"], ["x" * 100], ["a", "b"]):
        assert node.berth("prefetch", *wrong).returncode == 2
    missing = node.berth("prefetch", "nobody")
    assert missing.returncode == 1 and "no program nobody" in missing.stderr


# --- bindings ---

PYTHON = """
import ctypes, pathlib, sys, time
sys.path.insert(0, sys.argv[1])
import berth
cuda = ctypes.CDLL("libcuda.so.1")
assert berth.present()
assert not berth.peak_begin("too early") and berth.peak_end("too early") is None and not berth.trim()
assert cuda.cuInit(0) == 0
context, device = ctypes.c_void_p(), ctypes.c_int()
assert cuda.cuDeviceGet(ctypes.byref(device), 0) == 0
assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device) == 0
assert cuda.cuCtxSetCurrent(context) == 0
held = []
def alloc(size):
    at = ctypes.c_uint64()
    assert cuda.cuMemAlloc_v2(ctypes.byref(at), ctypes.c_size_t(size)) == 0
    held.append(at)
def free_all():
    while held:
        assert cuda.cuMemFree_v2(held.pop()) == 0
MIB = 1 << 20
with berth.peak("outer") as outer:
    alloc(8 * MIB)
    with berth.peak("inner") as inner:
        alloc(30 * MIB)
        free_all()
    alloc(4 * MIB)
assert (inner.bytes, outer.bytes) == (38 * MIB, 38 * MIB), (inner.bytes, outer.bytes)
with berth.peak("next") as window:
    pass
assert window.bytes == 4 * MIB, window.bytes
for wrong in ("", "x" * 48, "bell\\a"):
    try:
        berth.peak_begin(wrong)
        assert False
    except OSError as e:
        assert e.errno == 22
trimmed = []
berth.on_trim(lambda: (free_all(), trimmed.append(1)))
pathlib.Path("ready").touch()
while not trimmed:
    time.sleep(0.002)
assert berth.trim()
pathlib.Path("trimmed").touch()
print("ok")
"""


def test_the_python_module(node):
    (node.folder / "program.py").write_text(PYTHON)
    modules = os.path.join(ROOT, "python")
    process = node.run("/usr/bin/env", "python3", "program.py", modules)
    wait_until(lambda: (node.folder / "ready").exists() or not process.running, "it is ready")
    assert process.running, process.report()
    assert node.berth("trim", process.pid).returncode == 0
    assert process.ok() == "ok\n"
    bare = node.run("/usr/bin/env", "python3", "-c", "import berth; assert not berth.present() and not berth.trim() and not berth.on_trim(print); "
                    "print(berth.peak_end('x'))", environment={"PYTHONPATH": modules}, bare=True)
    assert bare.ok() == "None\n"


def test_windows_from_inside_and_outside(node):
    process = script(node, "alloc a 4MiB", "begin mine", "spike 20MiB", "say spiked", "wait go", "end mine", "end mine", "wait end")
    wait_until((node.folder / "spiked").exists, "the spike is over")
    assert peak(node, "show", "mine", process)["peak_bytes"] == 24 * MIB
    (node.folder / "go").touch()
    wait_until(lambda: process.out.count('"end"') == 2, "both ends are told")
    first, second = (json.loads(line) for line in process.out.splitlines() if '"end"' in line)
    assert (first["result"], first["peak"]) == (0, 24 * MIB) and second["result"] == -2
    (node.folder / "end").touch()
    process.ok()


# --- limits of a job ---


def test_a_limit_of_a_job_holds_for_its_programs_together(node):
    options = ["--job", "both", "--job-memory", "128MiB"]
    first = script(node, "alloc a 80MiB", "say first", "wait go", "free a", "say freed", "wait end", options=options)
    wait_until((node.folder / "first").exists, "the first has its memory")
    second = script(node, "alloc b 40MiB", "alloc c 20MiB", "say second", "wait freed-told", "alloc d 60MiB", "say last", "wait end", options=options)
    wait_until((node.folder / "second").exists, "the second has tried")
    results = [json.loads(line)["result"] for line in second.out.splitlines() if '"alloc"' in line]
    assert results == ["CUDA_SUCCESS", "CUDA_ERROR_OUT_OF_MEMORY"], second.report()
    assert "limit of the job" in second.err
    assert node.client(first)["job_limit_bytes"] == 128 * MIB
    (node.folder / "go").touch()
    node.wait(lambda status: node.client(first, status)["granted_bytes"] == 0, "the first gave back")
    (node.folder / "freed-told").touch()
    wait_until((node.folder / "last").exists, "the second tried again")
    assert json.loads([line for line in second.out.splitlines() if '"alloc":"d"' in line][0])["result"] == "CUDA_SUCCESS"
    # Others are not bound by it.
    assert result(work(node, 64, rounds=1))["ok"]
    (node.folder / "end").touch()
    first.ok()
    second.ok()


def test_a_limit_of_a_job_as_a_share_needs_its_name(node):
    assert node.berth("run", "--job-memory", "50%", "--", "/bin/true").returncode == 2
    over = script(node, "alloc a 100MiB", "alloc b 40MiB", options=["--job", "x", "--job-memory", "50%"])
    over.ok()
    assert [json.loads(line)["result"] for line in over.out.splitlines()] == ["CUDA_SUCCESS", "CUDA_ERROR_OUT_OF_MEMORY"]


# --- classes and the target band ---


def test_classes_by_size_are_in_force_and_shown(machine):
    node = machine(memory__limits="classes", memory__reserve_percent=0).start()
    status = node.status()
    assert status["daemon"]["limits"] == "classes" and status["devices"][0]["room_bytes"] == pytest.approx(0.7 * 256 * MIB, abs=100)
    assert "limits      80, 75 or 70 % of a device by its size" in node.berth("status").stdout
    over = work(node, 180, rounds=1)
    assert over.wait() == 3, over.report()
    node.set(memory__limits="off")
    assert node.berth("reload").returncode == 0
    assert result(work(node, 180, rounds=1))["ok"]


def test_nothing_is_granted_above_the_band(machine):
    node = machine(memory__band_high=50, memory__band_low=25).start()
    status = node.status()
    assert status["devices"][0]["room_bytes"] == pytest.approx(128 * MIB, abs=100) and status["daemon"]["band_high_percent"] == 50
    assert "nothing granted above 50 %; idle programs trimmed above 25 %" in node.berth("status").stdout
    over = work(node, 140, rounds=1)
    assert over.wait() == 3, over.report()
    # Two that do not fit below it take turns.
    both = [work(node, 80, rounds=4) for _ in range(2)]
    assert all(result(process)["ok"] for process in both)
    node.set(memory__band_low=60)
    wrong = node.berth("reload")
    assert wrong.returncode != 0 and "memory.band_low" in wrong.stderr


def test_idle_programs_are_trimmed_above_the_low_end(machine):
    node = machine(memory__band_low=40).start()
    idle = node.run("caching", "--live", "2MiB", "--rounds", 8, "--trim-on", "--wait", "go")
    cache = sum(4 + 2 * n for n in range(8)) * MIB
    node.wait(lambda status: (node.client(idle, status) or {}).get("owned_bytes", 0) == 2 * MIB + cache, "its cache is full")
    live = work(node, 64, seconds=600)
    node.wait(lambda status: (node.client(idle, status) or {}).get("owned_bytes", 0) == 2 * MIB, "it was asked, and its cache is free")
    (node.folder / "go").touch()
    assert result(idle)["freed_on_trim"] == cache
    live.kill()


# --- device choice ---


def test_the_best_device_is_chosen(machine):
    node = machine(device__software_devices=2).start()
    first, second = (device["uuid"] for device in node.status()["devices"] if device["shared"])
    held = work(node, 160, seconds=600, options=["--device", "0"])
    node.wait(lambda status: (node.client(held, status) or {}).get("owned_bytes", 0) >= 160 * MIB, "device 0 is full")
    chosen = node.berth("device", "choose", "--need", "100MiB")
    assert (chosen.returncode, chosen.stdout) == (0, second + "\n"), chosen.stderr
    found = json.loads(node.berth("device", "choose", "--need", "100MiB", "--kind", "software", "--json").stdout)
    assert found["uuid"] == second and found["now"] and found["index"] == 1
    for arguments in (["--need", "1GiB"], ["--need", "1MiB", "--kind", "cuda"]):
        none = node.berth("device", "choose", *arguments)
        assert none.returncode == 1 and "no shared device can ever hold" in none.stderr
    other = work(node, 160, seconds=600, options=["--device", "1"])
    node.wait(lambda status: (node.client(other, status) or {}).get("owned_bytes", 0) >= 160 * MIB, "device 1 is full")
    assert node.berth("device", "choose", "--need", "100MiB").returncode == 0
    assert node.berth("device", "choose", "--need", "100MiB", "--now").returncode == 1
    for wrong in ([], ["choose"], ["choose", "--need", "x"], ["pick", "--need", "1MiB"], ["choose", "--need", "1MiB", "--kind", "npu"]):
        assert node.berth("device", *wrong).returncode == 2
    assert first != second


def test_run_on_a_device(machine):
    node = machine(device__software_devices=2).start()
    uuids = [device["uuid"] for device in node.status()["devices"] if device["shared"]]
    held = [work(node, 64, seconds=600, options=["--device", name]) for name in (uuids[1], "0", "auto")]
    node.wait(lambda status: all((node.client(process, status) or {}).get("owned_bytes", 0) >= 64 * MIB for process in held[:2]), "both are there")
    assert [node.client(process)["device"] for process in held[:2]] == [1, 0]
    node.wait_state(held[2], "running")
    told = node.run("/usr/bin/env", options=["--device", "1"])
    assert f"CUDA_VISIBLE_DEVICES={uuids[1]}" in told.ok().splitlines()
    for wrong in ("7", "GPU-00000000", "nearest"):
        refused = node.berth("run", "--device", wrong, "--", "/bin/true")
        assert refused.returncode == 1 and "shares no such device" in refused.stderr
    refused = node.berth("run", "--device", "auto", "--need", "1TiB", "--", "/bin/true")
    assert refused.returncode == 1 and "can ever hold 1.0 TiB" in refused.stderr
