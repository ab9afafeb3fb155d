"""What a worker tells of its machine, with the real daemon, worker and pool: who is on the devices, what is swapped out, and what is not known."""
import signal
import sys
import time

import pytest
from berthpool import running
from conftest import Process, built, wait_until, work

MIB = 1 << 20


@pytest.fixture
def pool(tmp_path):
    yield from running(tmp_path / "pool")


@pytest.fixture
def joined(pool, tmp_path):
    """joined(environment): a worker's report as the pool has it, whenever it is called."""
    started = []

    def start(environment, *more):
        key = tmp_path / "key"
        key.write_text(pool.worker_token())
        key.chmod(0o600)
        started.append(Process("worker", tmp_path, [built("src/worker/berth-worker"), "--pool", pool.url, "--folder", tmp_path / "w", "--token-file", key, "--slots", "1", *more], environment))
        worker = wait_until(lambda: pool.good("GET", "/api/v1/workers")["data"], lambda: started[0].report())[0]["id"]
        return lambda: pool.good("GET", f"/api/v1/workers/{worker}/node")["node"]

    yield start
    for process in started:
        process.kill(signal.SIGTERM)
        process.wait(60)


def device(node):
    return next((d for d in (node or {}).get("devices", []) if d["kind"] == "software"), None)


def client(node, process):
    return next((c for c in (device(node) or {}).get("clients", []) if c["pid"] == process.pid), None)


def test_programs_on_a_device_and_a_daemon_that_goes_and_comes(pool, joined, node):
    report = joined(node.environment)
    wait_until(lambda: device(report()), report)
    one = work(node, 192, "--until", node.folder / "end", rounds=0)
    two = work(node, 192, "--until", node.folder / "end", rounds=0)
    # Both want more than half of the device: one of them is out, at least in part, and the report says so.
    swapped = wait_until(lambda: (lambda n: n if n and (c := [client(n, one), client(n, two)]) and all(c) and sum(x["swapped_bytes"] for x in c) else None)(report()), report)
    d = device(swapped)
    assert d["memory_total_bytes"] == 256 * MIB and d["swapped_bytes"] > 0 and d["memory_room_bytes"] <= 256 * MIB
    assert {c["priority"] for c in d["clients"]} == {"normal"} and swapped["clients_left_out"] == 0
    for c in d["clients"]:
        assert c["resident_bytes"] + c["swapped_bytes"] == c["owned_bytes"] and c["state"] in ("waiting", "coming-in", "running", "giving-way", "going-out")
    assert swapped["host"]["memory_total_bytes"] > 0 and swapped["host"]["cpus"] > 0 and swapped["daemon"]["version"]
    node.tell()
    one.ok(), two.ok()
    wait_until(lambda: (d := device(report())) and d["clients"] == [], report)

    node.kill_daemon()
    gone = wait_until(lambda: (lambda n: n if n["daemon"] is None else None)(report()), report)
    # The device is known, what is on it is not: null, not nothing.
    assert device(gone)["memory_used_bytes"] is None and device(gone)["swapped_bytes"] is None and device(gone)["memory_total_bytes"] > 0
    assert gone["host"]["memory_total_bytes"] > 0
    node.start()
    wait_until(lambda: (n := report()) and n["daemon"] and device(n)["memory_room_bytes"], report)


def test_without_a_daemon(pool, joined, machine):
    alone = machine()
    report = joined(alone.environment)
    node = wait_until(report, "a report comes")
    assert node["daemon"] is None and [d["kind"] for d in node["devices"]][0] == "cpu" and node["host"]["cpus"] > 0
    assert all(d["clients"] == [] for d in node["devices"])


def test_a_daemon_that_never_answers_stops_nobody(pool, joined, machine, tmp_path):
    import socket
    hung = machine()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.bind(hung.environment["BERTH_SOCKET"])
        door.listen(1)
        report = joined(hung.environment)
        node = wait_until(report, "a report comes")
        assert node["daemon"] is None
        task = pool.submit(payload={"argv": ["echo", "on"]})
        wait_until(lambda: pool.good("GET", f"/api/v1/tasks/{task['id']}")["state"] == "done", "the worker works")


def looking(pool, worker, since=600, token="local"):
    """What the page asks for every two seconds."""
    return lambda: pool.good("GET", f"/api/v1/workers/{worker}/machine?since={since}", token=token)["machine"]


def test_a_machine_in_full_while_somebody_looks(pool, joined, machine):
    """From the kernel to the API: a program's launches and memory, its file, how the machine went; and who may see what."""
    node = machine(observe__probes="asked", observe__period="100ms").start()
    joined(node.environment)
    worker = pool.good("GET", "/api/v1/workers")["data"][0]["id"]
    program = work(node, 64, until="never")
    look = looking(pool, worker)
    before = time.time()

    def told():
        m = look()
        mine = next((p for p in (m or {}).get("processes") or [] if p["pid"] == program.pid), None)
        return (m, mine) if mine and (mine["launches_s"] or 0) > 0 and any(s["name"] == "device.0.memory" for s in m["history"]["series"]) else None

    seen, mine = wait_until(told, look)
    assert mine["owned_bytes"] >= 64 * MIB and mine["peak_bytes"] >= mine["owned_bytes"] and mine["memory_bytes"] > 0 and mine["name"] == "work"
    assert seen["shown"] == "files" and seen["host"]["memory_total_bytes"] > 0 and seen["devices"][0]["power_watts"] is None and seen["devices"][0]["why"]
    assert {s["name"] for s in seen["history"]["series"]} >= {"cpu.busy", "memory.used", "device.0.memory"}
    assert all(len(s["values"]) == 120 for s in seen["history"]["series"])
    # The last column is that of now, to the second.
    assert before - 5 <= seen["history"]["end_s"] <= time.time() and seen["history"]["step_s"] == 5
    missing = {u["what"] for u in seen["unavailable"]}
    families = {f["family"]: f for f in seen["probes"]}
    if "probes" in missing or families["files"]["state"] != "attached":
        assert mine["read_bytes_s"] is None and mine["files"] == []
    else:
        # A file of known bytes shows with its name, by the process that wrote it.
        writer = node.run(sys.executable, "-c", f"import time\nf = open({str(node.folder / 'known')!r}, 'wb', buffering=0)\nwhile True: f.write(b'x' * 1000); time.sleep(0.05)", bare=True)

        def wrote():
            mine = next((p for p in look()["processes"] or [] if p["pid"] == writer.pid), None)
            files = [f for f in mine["files"] if f["name"] and f["name"].endswith("/known")] if mine else []
            return files[0] if files and files[0]["written_bytes"] >= 3000 else None

        file = wait_until(wrote, look)
        assert file["written_bytes"] == 1000 * file["writes"] and file["read_bytes"] == 0 and file["deleted"] is False
        writer.kill(signal.SIGKILL)
    # Whoever may only see workers sees no processes; whoever may not, nothing.
    _, auditor = pool.account("looks-only", "auditor")
    assert looking(pool, worker, token=auditor)()["processes"] is None
    _, user = pool.account("looks-not", "user")
    assert pool.ask("GET", f"/api/v1/workers/{worker}/machine", token=user).status == 403
    assert pool.ask("GET", f"/api/v1/workers/{worker}/machine?since=0").status == 400
    # A longer span is asked for by itself.
    assert wait_until(looking(pool, worker, 604800), "a week")["history"]["step_s"] == 5040
    # The daemon goes: the machine's own figures stay.
    node.kill_daemon()
    gone = wait_until(lambda: (m := look()) and any(u["what"] == "devices" for u in m["unavailable"]) and m, look)
    assert gone["host"]["memory_total_bytes"] > 0 and gone["devices"] == []
    node.start()
    program.kill(signal.SIGKILL)


def test_an_owner_shows_less(pool, joined, machine):
    node = machine()
    joined(node.environment, "--show", "figures")
    worker = pool.good("GET", "/api/v1/workers")["data"][0]["id"]
    seen = wait_until(looking(pool, worker), "a look")
    assert seen["shown"] == "figures" and seen["processes"] == [] and seen["probes"] == [] and seen["host"]["cpus"] > 0
    assert {u["what"] for u in seen["unavailable"]} >= {"processes", "devices"}
