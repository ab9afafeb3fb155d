"""What is shown of a machine at work: metrics over HTTP, samples, how the figures went, the live view on a terminal."""
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import sys
import time
import urllib.error
import urllib.request

import pytest

from conftest import built, wait_until, work

MIB = 1 << 20
GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


@pytest.fixture
def exporter(node):
    """A machine with a program, and the address of its metrics."""
    program = work(node, 64, until="end")
    node.wait(lambda status: (node.client(program, status) or {}).get("owned_bytes", 0) >= 64 * MIB, "it has its memory")
    process = node.run(built("src/cli/berth"), "metrics", "--listen", "127.0.0.1:0", bare=True)
    found = wait_until(lambda: re.search(r"metrics at http://127\.0\.0\.1:(\d+)/metrics", process.err), "it listens")
    return node, program, process, int(found.group(1))


def fetch(port, path="/metrics", **headers):
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers), timeout=60) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def value(text, name):
    return [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name + "{") or line.startswith(name + " ")]


def test_metrics(exporter):
    node, program, process, port = exporter

    def launches():
        text = fetch(port)[1]
        return text if any(v > 0 for v in value(text, "berth_program_launches_per_second")) else None

    text = wait_until(launches, "its launches are told")
    assert value(text, "berth_up") == [1]
    assert value(text, "berth_device_memory_bytes")[0] == 256 * MIB
    assert value(text, "berth_program_owned_bytes")[0] >= 64 * MIB
    assert 'program="work"' in text and f"{program.pid}" not in re.findall(r'pid="(\d+)"', text)
    assert value(text, "berth_machine_cpu_seconds_total")
    kind, text = fetch(port, Accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text") and text.endswith("# EOF\n")
    # A daemon that goes away is told, and found again.
    node.kill_daemon()
    assert value(wait_until(lambda: (lambda t: t if value(t, "berth_up") == [0] else None)(fetch(port)[1]), "down"), "berth_device_memory_bytes") == []
    node.start()
    wait_until(lambda: value(fetch(port)[1], "berth_up") == [1], "up again")
    process.kill(signal.SIGTERM)
    assert process.wait(60) == 0
    node.tell()


def test_strangers_requests(exporter):
    node, _, process, port = exporter
    for path, code in (("/", 404), ("/metricsx", 404), ("//metrics", 404)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            fetch(port, path)
        assert caught.value.code == code
    for garbage in (b"\0" * 100 + b"\r\n\r\n", b"A" * 100000, b"GET /metrics HTTP/1.1\r\nX: " + b"y" * 5000 + b"\r\n\r\n", b"POST /metrics HTTP/1.1\r\n\r\n", b"\n\n", b""):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
            try:
                s.sendall(garbage)
                s.shutdown(socket.SHUT_WR)
                answer = s.recv(100)
            except OSError:
                continue  # it had heard enough
            assert answer == b"" or answer.split()[1] in (b"400", b"405"), answer
    # One that says nothing holds up the next for two seconds, no longer.
    with socket.create_connection(("127.0.0.1", port), timeout=60):
        assert value(fetch(port)[1], "berth_up") == [1]
    assert process.running
    node.tell()


def test_sample(node):
    program = work(node, 64, until="end")
    node.wait(lambda status: (node.client(program, status) or {}).get("owned_bytes", 0) >= 64 * MIB, "it has its memory")
    done = node.berth("sample", "--json", "--interval", "200ms", "--processes")
    assert done.returncode == 0, done.stderr
    sample = json.loads(done.stdout)
    assert sample["version"] == 1 and sample["trouble"] is None
    mine = [p for p in sample["programs"] if p["pid"] == program.pid]
    assert len(mine) == 1 and mine[0]["owned_bytes"] >= 64 * MIB
    assert any(p["pid"] == program.pid for p in sample["processes"])
    assert sample["devices"][0]["power_mw"] is None
    assert sample["machine"]["memory_bytes"] > 0
    # Figures that were measured, not what is left of adding them up in binary.
    for text in (done.stdout, node.berth("metrics").stdout, node.berth("status", "--json").stdout):
        assert text and not re.search(r"[1-9]\d*\.\d{12}|0\.0*[1-9]\d{12}", text), re.findall(r".*\.\d{12}.*", text)
    node.tell()


WRITER = """
import os, sys, time
os.makedirs(sys.argv[1], exist_ok=True)
f = open(sys.argv[1] + "/\\x1b[2J<b>", "wb", buffering=0)
for _ in range(7):
    f.write(b"x" * 1000)
print("written", flush=True)
time.sleep(3600)
"""


def test_probes_are_in_samples_and_metrics(machine):
    """Where probes may run, a writer of 7,000 bytes is told exactly, by name; where not, why. Never as zero."""
    node = machine(observe__probes="always", observe__period="100ms").start()

    def families():
        done = node.berth("sample", "--json", "--interval", "10ms")
        assert done.returncode == 0, done.stderr
        sample = json.loads(done.stdout)
        settled = sample["probes"] and all(f["state"] not in ("off", "not_asked") for f in sample["probes"]["families"] if f["family"] != "syscalls")
        return sample if settled or sample.get("probes_unavailable") else None

    sample = wait_until(families, "the probes settle")
    if sample["probes"] is None or sample["probes"]["families"][0]["state"] != "attached":
        text = node.berth("metrics").stdout
        assert "berth_file_bytes_total" not in text and re.search(r'berth_unavailable\{family="probe', text)
        return
    writer = node.run(sys.executable, "-c", WRITER, str(node.folder / "w"), bare=True)
    wait_until(lambda: "written" in writer.out, "it has written")

    def mine():
        found = [p for p in families()["probes"]["processes"] if p["pid"] == writer.pid]
        return [f for f in found[0]["files"] if f["total"]["write_bytes"] >= 7000 and f["name"]] if found else None

    name = wait_until(mine, "its file and bytes are told")
    assert len(name) == 1 and name[0]["total"]["write_bytes"] == 7000 and name[0]["total"]["writes"] == 7 and name[0]["name"].endswith("\\x1b[2J<b>") and "\x1b" not in name[0]["name"], name
    text = node.berth("metrics").stdout
    assert sum(v for v in value(text, "berth_file_bytes_total")) >= 7000
    assert re.search(r'berth_probe_info\{family="files",state="attached",rung="\w+"\} 1\n', text)
    assert len(value(text, "berth_process_file_bytes_per_second")) <= 32 and value(text, "berth_processes_left_out")
    assert "[2J" not in text
    if any(f["family"] == "sched" and f["state"] == "attached" for f in sample["probes"]["families"]):
        assert value(text, "berth_run_queue_latency_seconds_count")[0] > 0 and sample["probes"]["latency"]["sched"]["total"]["count"] > 0
    assert "berth_probe" not in node.berth("metrics", "--no-probes").stdout
    node.tell()


def test_a_record_of_an_earlier_release_is_gone_on_with(machine, tmp_path):
    """Probes came with version 2: the file becomes one, and all of it is replayed."""
    node = machine(observe__probes="always", observe__period="100ms").start()
    path = tmp_path / "looks.berth"
    shutil.copy(GOLDEN / "record-1.berth", path)
    done = node.berth("record", "--count", "2", "--interval", "100ms", str(path))
    assert done.returncode == 0, done.stderr
    assert path.read_bytes()[4] == 2
    for number in ("1", "8", "10"):
        done = node.berth("replay", "--once", "--at", number, str(path))
        assert done.returncode == 0, done.stderr
    fresh = tmp_path / "fresh.berth"
    assert node.berth("record", "--count", "1", "--no-probes", str(fresh)).returncode == 0
    assert fresh.stat().st_mode & 0o777 == 0o600  # it names others' processes and files
    node.tell()


def test_history_outlives_the_daemon(machine, tmp_path):
    kept = tmp_path / "history"
    node = machine(observe__history=str(kept)).start()
    node.stop()
    assert kept.stat().st_size > 500
    first = kept.read_bytes()
    node.start()
    node.stop()
    second = kept.read_bytes()
    assert b"device.0.memory" in first and b"device.0.memory" in second and second[:4] == b"SIHB"
    # Damaged: said, and written anew.
    kept.write_bytes(first[:200] + b"x" + first[201:])
    node.start()
    node.wait_log("history in .* is not used")
    node.stop()
    assert kept.read_bytes()[:4] == b"SIHB"


def test_live_view_of_a_real_machine(node):
    """On a terminal: the program, its details, and a signal that is sent after a yes."""
    program = work(node, 64, until="never")
    node.wait(lambda status: (node.client(program, status) or {}).get("owned_bytes", 0) >= 64 * MIB, "it has its memory")
    pid, terminal = os.forkpty()
    if pid == 0:
        os.execve(built("src/cli/berth"), ["berth", "top", "--interval", "100ms"], {**node.environment, "TERM": "xterm", "LINES": "24", "COLUMNS": "80"})
    seen = ""

    def await_text(text):
        nonlocal seen
        deadline = time.monotonic() + 60
        while text not in seen:
            assert time.monotonic() < deadline, f"{text!r} never came: {seen[-2000:]!r}"
            if select.select([terminal], [], [], 1)[0]:
                seen += os.read(terminal, 65536).decode(errors="replace")
        seen = seen[seen.index(text) + len(text):]

    await_text(" work ")
    os.write(terminal, b"\r")
    await_text("owned  peak")
    os.write(terminal, b"x")
    await_text("t TERM")
    os.write(terminal, b"k")
    await_text("SIGKILL")
    assert program.running
    os.write(terminal, b"y")
    assert program.wait(60) == -signal.SIGKILL
    os.write(terminal, b"q")
    while True:
        try:
            if not os.read(terminal, 65536):
                break
        except OSError:
            break
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)


def test_every_sensor_of_a_device(machine):
    """From the driver's library to every place where it is shown. The software device tells made-up figures when it is asked to."""
    node = machine()
    node.environment["BERTH_SOFTWARE_SENSORS"] = "made-up"
    node.start()
    node.wait(lambda status: status["devices"][0]["power_mw"] is not None, "sensors")
    device = node.device()
    assert {name: device[name] for name in ("power_mw", "power_limit_mw", "temperature_c", "clock_mhz", "memory_clock_mhz", "throttle", "ecc_corrected",
                                            "ecc_uncorrected", "xids", "last_xid")} == {
        "power_mw": 412345, "power_limit_mw": 700000, "temperature_c": 61, "clock_mhz": 1980, "memory_clock_mhz": 2619, "throttle": 4, "ecc_corrected": 3,
        "ecc_uncorrected": 1, "xids": 1, "last_xid": 79}
    text = node.berth("metrics").stdout
    assert value(text, "berth_device_power_watts")[0] == 412.345
    assert value(text, "berth_device_clock_hertz")[0] == 1.98e9
    assert 'berth_device_held_back{reason="power cap"' in text and text.count("berth_device_held_back{") == 1
    assert value(text, "berth_device_memory_errors_total") == [3, 1] and value(text, "berth_device_driver_errors_total") == [1]
    text = node.berth("top", "--once").stdout
    assert "412.3 W  61 C  1980 MHz  slow: power cap  ECC 1  Xid 79" in text, text
