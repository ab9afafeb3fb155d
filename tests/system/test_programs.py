"""Unmodified programs: every road to the driver, the same answers as without Berth, fork and exec, and the way out."""
import json

import pytest
from conftest import built, program, result, wait_until, work

ROADS = ["link", "dlsym", "proc"]


def bare(node, name, *arguments, **environment):
    """Runs a program on the software device without Berth."""
    return node.run(name, *arguments, bare=True, environment={
        "LD_LIBRARY_PATH": built("tests/fake"), "BERTH_SOFTWARE_MEMORY": "268435456", **environment})


@pytest.mark.parametrize("road", ROADS)
def test_answers_are_the_drivers(node, road):
    # One after the other: each looks at the device's free memory.
    hooked = node.run("probe", environment={"BERTH_ROAD": road}).ok().splitlines()
    alone = bare(node, "probe", BERTH_ROAD=road).ok().splitlines()
    assert len(alone) > 20
    assert [pair for pair in zip(hooked, alone) if pair[0] != pair[1]] == [] and len(hooked) == len(alone)


@pytest.mark.parametrize("road", ROADS)
def test_data_are_right_on_every_road(machine, road):
    node = machine(slice__min="300ms").start()
    programs = [work(node, 160, until="end", environment={"BERTH_ROAD": road}) for _ in range(2)]
    node.wait(lambda status: len(status["clients"]) == 2, "both are clients")
    node.switched(1)
    node.tell()
    for each in programs:
        assert result(each)["ok"]


@pytest.mark.parametrize("road", ROADS)
def test_fork_and_exec(node, road):
    done = result(node.run("forker", environment={"BERTH_ROAD": road}))
    assert done["ok"], done


def test_a_shell_that_starts_programs(node):
    script = f"{program('work')} --memory 32MiB --chunk 16MiB --rounds 2 && exec {program('work')} --memory 48MiB --chunk 16MiB --rounds 2"
    shell = node.run("/bin/sh", "-c", script)
    assert shell.ok().count('"ok":true') == 2


@pytest.mark.parametrize("road", ROADS)
def test_the_way_out(node, road):
    """BERTH_DISABLE=1: not a client, no limit, the driver's own answers."""
    off = {"BERTH_DISABLE": "1", "BERTH_ROAD": road}
    running = work(node, 64, until="end", options=["--memory", "16MiB"], environment=off)
    wait_until(lambda: not running.running or node.device()["used_bytes"] > 60 << 20, "it has its memory")
    assert running.running and node.status()["clients"] == []
    node.tell()
    assert result(running)["ok"]
    assert node.run("probe", environment=off).ok() == bare(node, "probe", BERTH_ROAD=road).ok()


def test_without_a_daemon_a_program_runs_on_its_own(node):
    node.stop()
    alone = node.run("work", "--memory", "64MiB", "--chunk", "16MiB", "--rounds", "3", bare=True, environment={
        "LD_PRELOAD": built("src/cuda/libberth-cuda.so"), "BERTH_DRIVER": built("tests/fake/libcuda.so.1"),
        "BERTH_SOFTWARE_MEMORY": "268435456"})
    assert result(alone)["ok"]


def test_exit_codes_pass_through(node):
    assert node.run("/bin/sh", "-c", "exit 7").wait() == 7
    missing = node.run("nonexistent/program")
    assert missing.wait() == 127 and "nonexistent" in missing.err


def test_doctor_shows_the_hooks(node):
    done = node.berth("doctor", "--json", "--", program("work"), "--memory", "16MiB", "--chunk", "16MiB", "--rounds", "1")
    assert "cuLaunchKernel" in done.stdout, done.stdout + done.stderr
    json.loads(done.stdout)


def test_doctor_without_a_program(node):
    assert node.berth("doctor").returncode == 0
    node.stop()
    done = node.berth("doctor")
    assert done.returncode != 0 and "berthd" in done.stdout + done.stderr
