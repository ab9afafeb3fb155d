"""Clocks that jump, or go faster, under the daemon and its processes alone: the time of day in either direction, and the monotonic clock forward, as after a machine stood still."""
import struct
import time

from conftest import built, own_memory, wait_until, work
from test_probes import UID, assert_exact, probed, settled, snapshot, use_files  # noqa: F401 (probed is a fixture)

HOUR, DAY = 3600, 86400


def start(node):
    """The daemon with clocks that node.add(time_of_day, monotonic), in seconds, moves."""
    path = node.folder / "clock"
    path.write_bytes(struct.pack("2q", 0, 0))

    def add(time_of_day=0, monotonic=0):
        with open(path, "r+b", buffering=0) as f:
            f.write(struct.pack("2q", int(time_of_day * 1e9), int(monotonic * 1e9)))
    node.add = add
    node.daemon = node.spawn_daemon(environment={"LD_PRELOAD": built("tests/fake/libodd-clock.so"), "BERTH_ODD_CLOCK": str(path)})
    wait_until(lambda: not node.daemon.running or node.berth("status").returncode == 0, "the daemon answers")
    assert node.daemon.running, node.daemon.report()
    return node


def slots(path):
    """{series: [seconds of the finest slots that hold something]} of a file of history."""
    data, found = path.read_bytes(), {}
    _, _, levels, series = struct.unpack_from("4I", data)
    steps = [struct.unpack_from("QI", data, 16 + 16 * i)[0] for i in range(levels)]
    at = 16 + 16 * 4
    for _ in range(series):
        name = data[at:at + 64].split(b"\0")[0].decode()
        at += 64
        for level in range(levels):
            newest, points, _ = struct.unpack_from("QII", data, at)
            at += 16
            means = [struct.unpack_from("2f", data, at + 8 * i)[0] for i in range(points)]
            at += 8 * points
            if level == 0:
                found[name] = [(newest - points + 1 + i) * steps[0] / 1e9 for i in range(points) if means[i] == means[i]]
    return found


def test_the_time_of_day_jumps(machine, tmp_path):
    kept = tmp_path / "history"
    node = start(machine(observe__history=str(kept), arena__ready="0"))
    began = time.time()
    program = work(node, 32, until="end")
    node.wait_state(program, "running", "idle", "waiting")
    node.add(DAY)
    node.wait_log("the time of day has gone forward by")
    node.add(-HOUR)
    node.wait_log("the time of day has gone back by")
    node.tell("end")
    program.ok()
    node.stop()
    ended = time.time()
    for name, times in slots(kept).items():
        # Nothing lies in what is the future now, and it goes on in what is the present.
        assert not [t for t in times if t > ended + 1], (name, times)
    assert any(began - HOUR - 2 <= t <= ended - HOUR + 2 for times in slots(kept).values() for t in times), slots(kept)
    # The next daemon, whose clock is right again, has what was kept.
    node.start()
    node.stop()
    assert "is not used" not in node.log


def test_the_machine_stood_still_for_an_hour(probed):
    node = start(probed(observe__uid=UID))
    f = settled(node)
    program = work(node, 32, until="end")
    node.wait_state(program, "running", "idle", "waiting")
    before = snapshot(node)["taken_ns"]
    node.add(monotonic=HOUR)
    wait_until(lambda: (snapshot(node) or {"taken_ns": 0})["taken_ns"] >= before + HOUR * 1_000_000_000, "probes go on")
    f = settled(node)
    if f["state"] == "attached":
        assert_exact(node, use_files(node, "used"), f["blind"])
    # Sensors, too, and the program: it was not thrown out for having been silent.
    node.wait(lambda status: status["devices"][0]["used_bytes"] is not None, "the device's memory is told")
    assert node.client(program) and program.running
    node.tell("end")
    program.ok()


def test_of_the_history_there_is_one_in_memory(machine, tmp_path):
    """Each five minutes all of it is copied, and at each look: what that takes goes back, every time."""
    kept = tmp_path / "history"
    node = start(machine(observe__history=str(kept), arena__ready="0"))
    for times in range(1, 7):
        before = kept.stat().st_ctime_ns if kept.exists() else None
        node.add(301 * times, 301 * times)
        wait_until(lambda: node.berth("top", "--once").returncode == 0 and kept.exists() and kept.stat().st_ctime_ns != before, "the history is written")
    size, taken = kept.stat().st_size, own_memory(node.daemon.pid)
    assert size > 500_000
    # All else is less than half of that.
    assert taken < 2 * size, f"{taken} bytes, with a history of {size}"
