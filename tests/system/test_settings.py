"""Settings: what is wrong is named with file and line, and changes nothing, neither at the start nor at a reload."""
import json
import os

import pytest
from conftest import wait_until

WRONG = {
    "unknown-setting": ("[memory]\nreserve_percent = 5\nreserve = 3\n", ["berthd.conf:3", "reserve"]),
    "unknown-section": ("\n[memroy]\nreserve_percent = 5\n", ["berthd.conf:2", "memroy"]),
    "bad-value": ("[memory]\nreserve_percent = many\n", ["berthd.conf:2", "many"]),
    "out-of-range": ("[memory]\nreserve_percent = 91\n", ["berthd.conf:2", "90"]),
    "bad-choice": ("[slice]\nmode = sometimes\n", ["berthd.conf:2", "auto"]),
    "no-setting": ("[slice]\nmode\n", ["berthd.conf:2"]),
    "twice": ("[slice]\nmin = 1s\nmin = 2s\n", ["berthd.conf:3", "twice"]),
    "at-odds": ("[slice]\nmin = 10s\nmax = 5s\n", ["slice.min", "slice.max"]),
    "binary": ("[slice]\n\x01\x02 = \x03\n", ["berthd.conf:2"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_at_the_start(machine, name):
    text, words = WRONG[name]
    node = machine()
    node.settings_path.write_text(text)
    daemon = node.spawn_daemon()
    assert daemon.wait(30) != 0
    for word in words:
        assert word in daemon.err, daemon.err
    assert not os.path.exists(node.environment["BERTH_SOCKET"])


@pytest.mark.parametrize("name", WRONG)
def test_wrong_at_a_reload_changes_nothing(machine, name):
    text, words = WRONG[name]
    node = machine(memory__reserve_percent=20, slice__multiplier=7).start()
    before = node.status()
    node.settings_path.write_text(text)
    done = node.berth("reload", "--json")
    assert done.returncode != 0
    told = json.loads(done.stdout)
    assert told["reloaded"] is False
    for word in words:
        assert word in done.stderr and word in told["error"], done
    after = node.status()
    for status in (before, after):
        for changing in ("uptime_ns", "messages", "rss_bytes", "arena_ready_bytes"):
            status["daemon"].pop(changing)
        for device in status["devices"]:
            for sensed in ("used_bytes", "foreign_bytes", "utilisation_permille", "power_mw", "temperature_c"):
                device.pop(sensed)
    assert before == after


def test_a_good_reload_takes_effect(machine):
    node = machine(memory__reserve_percent=20).start()
    room = node.device()["room_bytes"]
    node.set(memory__reserve_percent=50, slice__multiplier=9)
    done = node.berth("reload", "--json")
    assert done.returncode == 0 and json.loads(done.stdout) == {"reloaded": True, "error": None}
    status = node.status()
    assert status["daemon"]["reserve_percent"] == 50 and status["daemon"]["slice_multiplier"] == 9
    assert status["devices"][0]["room_bytes"] < room


def test_hangup_reloads(machine):
    node = machine(memory__reserve_percent=20).start()
    node.set(memory__reserve_percent=30)
    node.daemon.kill(1)
    node.wait(lambda status: status["daemon"]["reserve_percent"] == 30, "the new reserve is in force")


def test_a_setting_that_needs_a_restart_is_refused_at_a_reload(machine):
    node = machine(memory__reserve_percent=20).start()
    node.set(device__software_memory="64MiB", memory__reserve_percent=50)
    done = node.berth("reload")
    assert done.returncode != 0 and "device.software_memory" in done.stderr
    assert node.status()["daemon"]["reserve_percent"] == 20


def test_a_file_that_cannot_be_read(machine):
    node = machine()
    node.settings_path.unlink()
    node.settings_path.mkdir()
    daemon = node.spawn_daemon()
    assert daemon.wait(30) != 0
    assert str(node.settings_path) in daemon.err


def test_a_named_file_that_is_not_there(machine):
    node = machine()
    daemon = node.spawn_daemon("--config", str(node.folder / "none.conf"))
    assert daemon.wait(30) != 0 and "none.conf" in daemon.err


def test_a_file_that_cannot_be_read_at_a_reload(machine):
    node = machine(memory__reserve_percent=20).start()
    node.settings_path.unlink()
    node.settings_path.mkdir()
    assert node.berth("reload").returncode != 0
    assert node.status()["daemon"]["reserve_percent"] == 20


def test_drop_ins_come_after_the_file(machine):
    node = machine(memory__reserve_percent=20)
    folder = node.folder / "berthd.conf.d"
    folder.mkdir()
    (folder / "20-b.conf").write_text("[memory]\nreserve_percent = 33\n")
    (folder / "10-a.conf").write_text("[memory]\nreserve_percent = 44\n")
    assert node.start().status()["daemon"]["reserve_percent"] == 33
    (folder / "30-c.conf").write_text("[memory]\nreserve_percent = 95\n")
    done = node.berth("reload")
    assert done.returncode != 0 and "30-c.conf:2" in done.stderr


def test_the_forerunners_variables(machine):
    node = machine()
    node.environment["NVSHARE_MEMORY_RESERVE_PERCENT"] = "17"
    node.environment["NVSHARE_SWITCH_TIME_MULTIPLIER"] = "3"
    status = node.start().status()
    assert status["daemon"]["reserve_percent"] == 17 and status["daemon"]["slice_multiplier"] == 3


def test_two_daemons_on_one_socket(machine):
    node = machine().start()
    second = node.spawn_daemon()
    assert second.wait(30) != 0
    assert f"pid {node.daemon.pid}" in second.err and "already" in second.err
    assert node.berth("status").returncode == 0


def test_a_socket_left_behind_is_taken_over(machine):
    node = machine().start()
    node.kill_daemon()
    assert os.path.exists(node.environment["BERTH_SOCKET"])
    node.start()
    node.stop()
    assert not os.path.exists(node.environment["BERTH_SOCKET"])


def test_nobody_there(machine):
    node = machine()
    done = node.berth("status")
    assert done.returncode != 0 and "berthd" in done.stderr
    done = node.berth("run", "--", "true")
    assert done.returncode != 0
    assert node.berth("run", "--no-daemon-ok", "--", "true").returncode == 0


def test_the_daemon_is_small(machine):
    """RSS without the arena, idle: under 8 MiB. Sanitizers have a memory of their own."""
    node = machine(arena__ready="0").start()
    if "libasan" in open(f"/proc/{node.daemon.pid}/maps", encoding="utf-8").read():
        return
    rss = wait_until(lambda: node.status()["daemon"]["rss_bytes"], "the daemon measures itself")
    assert rss < 8 << 20
