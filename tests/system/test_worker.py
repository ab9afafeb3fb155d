"""berth-worker against a pool of a few lines (pool_double.py): tasks, files, confinement, limits, lost connections, draining.

Worker, runners, bubblewrap and programs are real; only the other end of the socket is not. test_worker_pool.py does the same with berth-pool.
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import tempfile

import pytest
from conftest import INSTRUMENTED, BUILD, PATIENCE, SANITIZER, Node, Process, built, program, wait_until
from pool_double import Pool

SECRET = "berth_verysecretkey"
MIB = 1 << 20


class Worker(Process):
    def __init__(self, folder, pool, *options, user=None, environment=None, name="worker"):
        self.folder = folder / f"{name}-folder"
        argv = [built("src/worker/berth-worker"), "--pool", pool.url, "--folder", self.folder, "--log-level", "debug", *options]
        if user:
            argv = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--", *argv]
        kept = {name: os.environ[name] for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS") if name in os.environ}
        super().__init__(name, folder, argv, {"PATH": os.environ["PATH"], "HOME": str(folder), "BERTH_TOKEN": pool.token, "DATABASE_PASSWORD": "hunter2",
                                              **kept, **(environment or {})})

    def children(self):
        """All processes below the worker."""
        found, queue = [], [self.pid]
        while queue:
            pid = queue.pop()
            with contextlib.suppress(OSError):
                for thread in os.listdir(f"/proc/{pid}/task"):
                    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children") as file:
                        new = [int(word) for word in file.read().split()]
                        found += new
                        queue += new
        return found


@pytest.fixture
def pool():
    pools = Pool(token=SECRET)
    yield pools
    pools.close()


@pytest.fixture
def base():
    """A folder that other users can get to; pytest's own are closed to them."""
    folder = pathlib.Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def start(base):
    """start(pool, *options) starts a worker; all of them end well."""
    workers = []

    def make(pool, *options, **named):
        named.setdefault("name", f"worker-{len(workers)}")
        workers.append(Worker(base, pool, *options, **named))
        return workers[-1]

    yield make
    for worker in workers:
        worker.end()
        found = SANITIZER.search(worker.err)
        assert not found, worker.report()


@pytest.fixture
def worker(pool, start):
    return start(pool, "--slots", "3")


def command(*argv, **more):
    return {"argv": list(argv), **more}


def shell(text, **more):
    return command("sh", "-c", text, **more)


def output(pool, text, **more):
    end = pool.run("command", shell(text, **more))
    return (end.get("result") or {}).get("stdout", "") + json.dumps(end.get("error") or {})


def good(message):
    assert message["m"] == "result", message
    return message


def failed(message, code):
    assert message["m"] == "fail" and message["error"]["code"] == code, message
    return message


# Tasks


def test_joins_and_says_what_it_is(pool, start):
    start(pool, "--slots", "2", "--name", "mine", "--label", "zone=a", "--label", "rack=7", "--types", "probe,command", "--private", "--model", "m1")
    hello = pool.wait(lambda: pool.hellos and pool.hellos[0], "a hello")
    assert hello["protocol"] == 1 and hello["slots"] == 2 and hello["name"] == "mine" and hello["private"] is True
    assert hello["types"] == ["probe", "command"] and hello["models"] == ["m1"] and hello["running"] == []
    assert hello["labels"]["zone"] == "a" and hello["labels"]["rack"] == "7" and hello["labels"]["confine"] in ("bwrap", "basic")
    assert {"kind", "name", "memory_bytes"} <= set(hello["devices"][0]) and hello["host_memory_bytes"] > 0
    pool.wait(lambda: pool.credit == 2, "both slots are offered")
    pool.wait(lambda: any(m["m"] == "heartbeat" and m["memory_free_bytes"] > 0 for m in pool.heard), "a heartbeat")


def test_command_with_files_in_and_out(pool, worker):
    data = os.urandom(3 * MIB)
    given = pool.put(data)
    task = pool.lease("command", shell("sha256sum < in/data > out/sum; cat; tr a-z A-Z < greeting > out/GREETING; echo secret > other; echo E >&2",
                                       files=[{"name": "in/data", "sha256": given}, {"name": "greeting", "text": "hello"}, {"name": "out/.keep", "text": ""}],
                                       stdin="through stdin\n", outputs=["out/*"], env={"COLOUR": "red"}))
    end = good(pool.end(task))
    assert end["result"]["exit"] == 0 and end["result"]["stdout"] == "through stdin\n" and end["result"]["stderr"] == "E\n"
    made = {entry["name"]: pool.artifacts[entry["sha256"]] for entry in end["artifacts"]}
    assert made.pop("out/.keep") == b"" and made.pop("out/GREETING") == b"HELLO" and made.pop("out/sum").split()[0].decode() == given and not made
    assert end["usage"]["wall_ms"] >= 0 and end["usage"]["memory_peak_bytes"] > 0
    assert sorted(task.text.split("\n")) == ["", "E", "through stdin"]
    wait_until(lambda: not os.listdir(worker.folder / "work"), "the work folder is gone")


def test_exit_codes_say_who_is_to_blame(pool, worker):
    for text, code, retryable in (("echo oh no >&2; exit 3", "exit", False), ("exit 75", "exit", True), ("kill -SEGV $$", "signal", False), ("kill -KILL $$", "signal", True)):
        end = failed(pool.run("command", shell(text)), code)
        assert end["retryable"] is retryable and end["blame"] == "task", end
    assert "oh no" in failed(pool.run("command", shell("echo oh no >&2; exit 3")), "exit")["error"]["text"]
    end = failed(pool.run("command", command("/no/such/program")), "exec")
    assert end["retryable"] and "/no/such/program" in end["error"]["text"]
    end = failed(pool.run("command", {"argv": []}), "payload")
    assert not end["retryable"] and "argv" in end["error"]["text"]
    end = failed(pool.run("command", command("true", files=[{"name": "x", "sha256": "0" * 64}])), "input")
    assert not end["retryable"]


def test_log_and_progress_while_it_runs(pool, worker):
    task = pool.lease("command", shell("echo first; echo '{\"m\": \"progress\", \"share\": 0.5, \"text\": \"half\"}' >&3; read line; echo never"))
    pool.wait(lambda: "first" in task.text and task.progress, "its first line and its progress")
    assert task.progress[-1]["share"] == 0.5 and task.progress[-1]["text"] == "half"


def test_log_is_clean_text_and_all_of_it_an_artifact(pool, start):
    start(pool, "--slots", "1", environment={})
    task = pool.lease("command", command("python3", "-c", "import sys, os\n"
                                         "sys.stdout.buffer.write(b'\\xff\\x00 caf\\xc3' ); sys.stdout.flush()\n"
                                         "sys.stdout.buffer.write(b'\\xa9 \\xed\\xa0\\x80\\n'); sys.stdout.flush()\n"
                                         "for i in range(200000): print(f'line {i:08d} ' + 'x' * 40)\n"))
    end = good(pool.end(task))
    assert task.text.startswith("\ufffd\ufffd café \ufffd\ufffd\ufffd\n")
    assert len(task.text.encode()) <= 4 * MIB and end["result"]["stdout_bytes"] > 10 * MIB
    assert end["result"]["stdout"].endswith("x\n")
    whole = {entry["name"]: pool.artifacts[entry["sha256"]] for entry in end["artifacts"]}["output.log"]
    assert whole.startswith(b"\xff\x00 caf\xc3\xa9") and whole.count(b"\n") == 200001


def test_declines_what_it_has_no_slot_or_type_for(pool, start):
    start(pool, "--slots", "1", "--types", "probe")
    first = pool.lease("probe", {"seconds": 1000})
    pool.wait(lambda: any(m["m"] == "accepted" for m in first.messages), "it runs")
    second, third = pool.lease("probe", {}, blind=True), pool.lease("command", command("true"), blind=True)
    for task in second, third:
        assert pool.wait(lambda task=task: next((m for m in task.messages if m["m"] == "decline"), None), "declined")["reason"]


def test_cancel_ends_everything_it_started(pool, worker):
    task = pool.lease("command", shell("trap '' TERM; (setsid sh -c 'trap \"\" TERM HUP; echo child; sleep 1000') & echo started; wait"))
    pool.wait(lambda: "child" in task.text, "its child runs")
    pool.connection.send({"m": "cancel", "task": task.id, "nonce": task.nonce, "reason": "test"})
    wait_until(lambda: not worker.children(), lambda: f"all of it has ended: {worker.children()}")
    assert task.ended is None
    good(pool.run("probe", {}))


def test_stale_stops_it(pool, worker):
    task = pool.lease("probe", {"seconds": 1000})
    pool.wait(lambda: any(m["m"] == "accepted" for m in task.messages), "it runs")
    pool.connection.send({"m": "stale", "task": task.id, "nonce": task.nonce})
    wait_until(lambda: not worker.children(), "it ended")


# Connections


def test_result_is_kept_over_a_lost_connection_and_told_once(pool, worker):
    pool.acknowledge = False
    task = pool.lease("probe", {"seconds": 0.2, "echo": "kept"})
    running = pool.lease("probe", {"seconds": 1000})
    pool.wait(lambda: any(m["m"] == "accepted" for m in running.messages), "it runs")
    pool.end(task)
    pool.connection.close()
    hello = pool.wait(lambda: len(pool.hellos) > 1 and pool.hellos[1], "it comes back")
    assert hello["instance"] == pool.hellos[0]["instance"] and hello["worker"]
    assert {(r["task"], r["nonce"]) for r in hello["running"]} == {(task.id, task.nonce), (running.id, running.nonce)}
    pool.wait(lambda: sum(m["m"] == "result" for m in task.messages) == 2, "it tells again what was not acknowledged")
    pool.acknowledge = True
    pool.connection.send({"m": "ack", "task": task.id, "nonce": task.nonce})
    pool.connection.close()
    pool.wait(lambda: len(pool.hellos) > 2, "it comes back")
    good(pool.run("probe", {}))
    assert sum(m["m"] == "result" for m in task.messages) == 2


def test_what_the_pool_lost_is_stopped(pool, worker):
    task = pool.lease("probe", {"seconds": 1000})
    pool.wait(lambda: any(m["m"] == "accepted" for m in task.messages), "it runs")
    pool.lost = [task.id]
    pool.connection.close()
    wait_until(lambda: len(pool.hellos) > 1 and not worker.children(), "it stopped")


def test_renews_its_leases(pool, worker):
    task = pool.lease("probe", {"seconds": 1000})
    renewed = pool.wait(lambda: [m for m in pool.heard if m["m"] == "renew"][1:], "two renewals")
    assert renewed[0]["leases"] == [{"task": task.id, "nonce": task.nonce}]


@pytest.mark.parametrize("nonsense", [b"\x81\x05hello", b"\x81\x02{}", b"\x82\x02ab", b"\x81\x7f\x00\x00\x00\x00\x7f\xff\xff\xff", b"\xff\xff\xff", b"\x81\x0f{\"m\":\"lease\"}xx"])
def test_nonsense_ends_the_connection_and_nothing_else(pool, worker, nonsense):
    task = pool.lease("probe", {"seconds": 1000})
    pool.wait(lambda: any(m["m"] == "accepted" for m in task.messages), "it runs")
    connection = pool.connection
    connection.raw(nonsense)
    if nonsense.startswith(b"\x81\x7f"):
        with contextlib.suppress(OSError):
            connection.raw(b"x" * (2 * MIB))
    pool.wait(lambda: len(pool.hellos) > 1, "it comes back")
    assert pool.hellos[1]["running"] == [{"task": task.id, "nonce": task.nonce}] and worker.running


def test_refusals_are_waited_out(pool, start):
    pool.refuse = b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
    worker = start(pool)
    wait_until(lambda: "503" in worker.err, worker.report)
    assert int(re.search(r"again in (\d+) ms", worker.err)[1]) >= 1000
    pool.refuse = None
    pool.wait(lambda: pool.hellos, "it joins after that")


def test_a_wrong_key_is_said(pool, start):
    worker = start(pool, environment={"BERTH_TOKEN": "berth_wrong"})
    wait_until(lambda: "key is wrong" in worker.err, worker.report)
    assert not pool.hellos


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    for name in ("right", "wrong"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"], check=True, capture_output=True)
    return folder


def fingerprint(path):
    return subprocess.run(["openssl", "x509", "-in", path, "-noout", "-fingerprint", "-sha256"], check=True, capture_output=True, text=True).stdout.strip().split("=")[1]


@pytest.mark.parametrize("how,joins", [("pin", True), ("wrong pin", False), ("ca", True), ("wrong ca", False), ("nothing", False)])
def test_tls_by_pin_or_authority(start, certificates, how, joins):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "right.pem", certificates / "right.key")
    pool = Pool(context=context, token=SECRET)
    try:
        which = certificates / ("wrong.pem" if "wrong" in how else "right.pem")
        options = [] if how == "nothing" else ["--pin", fingerprint(which)] if "pin" in how else ["--ca", which]
        worker = start(pool, *options)
        if joins:
            digest = pool.put(b"over TLS")
            end = good(pool.run("command", command("cat", "f", files=[{"name": "f", "sha256": digest}])))
            assert end["result"]["stdout"] == "over TLS"
        else:
            wait_until(lambda: len(re.findall("again in", worker.err)) >= 2, worker.report)
            assert not pool.hellos and not any(pool.authorizations), "the key went to a server that is not the right one"
            assert ("is not the one of --pin" if "pin" in how else "nobody trusted signed its certificate") in worker.err, worker.report()
    finally:
        pool.close()


# Draining


def test_sigterm_drains(pool, start):
    worker = start(pool, "--slots", "2")
    task = pool.lease("probe", {"seconds": 1.5})
    pool.wait(lambda: any(m["m"] == "accepted" for m in task.messages), "it runs")
    worker.kill(signal.SIGTERM)
    pool.wait(lambda: any(m["m"] == "drain" for m in pool.heard), "it says so")
    other = pool.lease("probe", {}, blind=True)
    pool.wait(lambda: any(m["m"] == "decline" for m in other.messages), "nothing new is taken")
    good(pool.end(task))
    assert worker.wait() == 0
    pool.wait(lambda: pool.heard[-1]["m"] == "bye", "its last word")


def test_drain_has_a_bound_and_a_second_signal_none(pool, start):
    worker = start(pool, "--drain", "1s")
    task = pool.lease("probe", {"seconds": 1000})
    pool.wait(lambda: any(m["m"] == "accepted" for m in task.messages), "it runs")
    worker.kill(signal.SIGTERM)
    assert worker.wait() == 0
    pool.wait(lambda: pool.heard[-1]["m"] == "bye", "its last word")
    worker = start(pool, "--drain", "1h")
    pool.wait(lambda: len(pool.hellos) == 2, "another joins")
    pool.give(task)
    pool.wait(lambda: sum(m["m"] == "accepted" for m in task.messages) == 2, "it runs")
    worker.kill(signal.SIGTERM)
    pool.wait(lambda: sum(m["m"] == "drain" for m in pool.heard) == 2, "it drains")
    worker.kill(signal.SIGTERM)
    assert worker.wait() == 0


def test_its_death_is_the_end_of_its_tasks(pool, worker):
    task = pool.lease("command", shell("setsid sh -c 'echo up; sleep 1000' & wait"))
    pool.wait(lambda: "up" in task.text, "it runs")
    below = worker.children()
    worker.kill(signal.SIGKILL)
    wait_until(lambda: not [pid for pid in below if os.path.exists(f"/proc/{pid}") and "Z" not in open(f"/proc/{pid}/stat").read().split(")")[1]], "all have ended")


def test_the_same_worker_after_a_restart_another_while_it_runs(pool, start):
    worker = start(pool, name="one")
    pool.wait(lambda: pool.hellos, "it joins")
    twin = start(pool, name="one")
    assert twin.wait() == 1 and "another worker uses this folder" in twin.err
    worker.kill(signal.SIGTERM)
    assert worker.wait() == 0
    start(pool, name="one")
    hello = pool.wait(lambda: len(pool.hellos) == 2 and pool.hellos[1], "it joins again")
    assert hello["worker"] == "worker_1" and hello["instance"] != pool.hellos[0]["instance"]


# Artifacts


def test_a_broken_download_goes_on_and_is_cached(pool, start):
    worker = start(pool, "--slots", "1")
    data = os.urandom(2 * MIB)
    digest = pool.put(data)
    pool.cut_after = MIB
    payload = command("sha256sum", "f", files=[{"name": "f", "sha256": digest}])
    assert good(pool.run("command", payload))["result"]["stdout"].startswith(digest)
    ranges = [r for method, path, r in pool.requests if method == "GET" and not path.endswith("upload")]
    assert ranges[0] is None and re.fullmatch(r"bytes=[1-9]\d*-", ranges[1]), ranges
    count = len(ranges)
    assert good(pool.run("command", payload))["result"]["stdout"].startswith(digest)
    assert len([1 for method, path, _ in pool.requests if method == "GET" and not path.endswith("upload")]) == count, "the second came from the cache"
    # Damaged where it lay: it comes anew.
    (worker.folder / "cache" / digest).write_bytes(data[:-1] + b"!")
    assert good(pool.run("command", payload))["result"]["stdout"].startswith(digest)
    assert (worker.folder / "cache" / digest).read_bytes() == data


def test_other_content_is_refused(pool, worker):
    digest = pool.put(b"right")
    pool.artifacts[digest] = b"wrong"
    end = failed(pool.run("command", command("cat", "f", files=[{"name": "f", "sha256": digest}])), "input")
    assert "other content" in end["error"]["text"]


def test_a_broken_upload_goes_on(pool, worker):
    pool.cut_after = 3 * MIB
    end = good(pool.run("command", command("sh", "-c", "head -c 8000000 /dev/urandom > f", outputs=["f"])))
    assert len(pool.artifacts[end["artifacts"][0]["sha256"]]) == 8000000
    puts = [r for method, _, r in pool.requests if method == "PUT"]
    assert puts[0].startswith("bytes 0-") and len(puts) == 2 and not puts[1].startswith("bytes 0-"), puts


def test_the_cache_has_a_bound(pool, start):
    worker = start(pool, "--slots", "1", "--cache", "2MiB")
    for _ in range(5):
        digest = pool.put(os.urandom(MIB))
        good(pool.run("command", command("true", files=[{"name": "f", "sha256": digest}])))
        held = sum(f.stat().st_size for f in (worker.folder / "cache").iterdir() if f.is_file())
        assert held <= 2 * MIB and (worker.folder / "cache" / digest).exists()


# Watched


def test_a_task_that_hangs_is_told_and_ended(pool, start):
    start(pool, "--slots", "1", "--hang-after", "2s", "--on-hang", "end")
    task = pool.lease("command", shell("echo here; exec sleep 1000"))
    end = failed(pool.end(task), "limit.hang")
    assert "no progress for" in end["error"]["text"] and end["retryable"] is True
    assert any("watchdog: hang: no progress for" in m.get("text", "") for m in task.progress)
    assert "its last state:" in task.text and " sleep: state S" in task.text


def test_asking_for_more_than_there_is(pool, start):
    start(pool, "--slots", "1", "--memory", "256MiB", "--no-network")
    end = failed(pool.run("command", command("true", limits={"memory": "1GiB"})), "limits")
    assert end["retryable"] and end["blame"] == "worker"
    failed(pool.run("command", command("true", network=True)), "limits")


def test_shared_folders(pool, start, base):
    tmp_path = base
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m").write_text("weights")
    (tmp_path / "results").mkdir()
    os.chmod(tmp_path / "results", 0o777)
    start(pool, "--read", tmp_path / "models", "--write", tmp_path / "results")
    text = output(pool, f"cat {tmp_path}/models/m; echo x > {tmp_path}/models/n && echo wrote; echo y > {tmp_path}/results/r; true")
    assert "weights" in text and "wrote" not in text and (tmp_path / "results" / "r").read_text() == "y\n"


# The command line


@pytest.mark.parametrize("options,says", [
    ([], "which pool"), (["--pool", "ftp://x"], "wss://host:port"), (["--pool", "ws://x:1", "--pin", "ab"], "64 hex digits"), (["--pool", "ws://x:1", "--pin", "ab" * 32], "needs wss://"),
    (["--pool", "ws://x:1", "--slots", "0"], "1 to 256"), (["--pool", "ws://x:1", "--label", "x"], "NAME=VALUE"), (["--pool", "ws://x:1", "--read", "/no/such"], "full path"),
    (["--pool", "ws://x:1", "--confine", "maybe"], "auto"), (["--pool", "ws://x:1"], "no key"), (["--pool", "ws://x:1", "--memory", "lots"], "memory"),
    (["--pool", "ws://x:1", "--config", "/no/such/file"], "/no/such/file"), (["--pool", "ws://x:1", "--token-file", "/dev/null"], "chmod 600"),
])
def test_bad_settings_are_said(tmp_path, options, says):
    done = subprocess.run([built("src/worker/berth-worker"), *options], capture_output=True, text=True, timeout=60 * PATIENCE, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    assert done.returncode == 2 and says in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_settings_file_and_ready_fd(pool, start, tmp_path):
    config = tmp_path / "worker.conf"
    config.write_text("[worker]\nname = from-file\nslots = 7\n[task]\nmemory = 64MiB\n")
    key = tmp_path / "key"
    key.write_text(SECRET + "\n")
    key.chmod(0o600)
    ours, theirs = os.pipe()
    argv = [built("src/worker/berth-worker"), "--pool", pool.url, "--folder", tmp_path / "w", "--config", config, "--token-file", key, "--slots", "2", "--ready-fd", theirs]
    process = Process("ready", tmp_path, argv, {"PATH": os.environ["PATH"]}, pass_fds=[theirs])
    os.close(theirs)
    try:
        assert json.loads(os.read(ours, 200)) == {"worker": "worker_1"}
        assert pool.hellos[0]["name"] == "from-file" and pool.hellos[0]["slots"] == 2
        with open(f"/proc/{process.pid}/environ", "rb") as environment:
            assert SECRET.encode() not in environment.read()
    finally:
        process.end()
        os.close(ours)


# Devices


def test_a_task_with_a_device_runs_under_its_limit(pool, start, base):
    """The node daemon and its software device, seen through the confinement. All of one user, as that device wants it."""
    node = Node(base / "node", device__software_memory="256MiB")
    for path in (base, node.folder, *node.folder.rglob("*")):
        os.chown(path, 4711, 4711)
    daemon = Process("berthd", base, ["setpriv", "--reuid=4711", "--regid=4711", "--clear-groups", "--", built("src/node/berthd")], node.environment)
    try:
        wait_until(lambda: not daemon.running or node.berth("status", "--json").returncode == 0, "the daemon answers")
        with_a_device(pool, start, node, daemon)
    finally:
        daemon.end()


def with_a_device(pool, start, node, daemon):
    shared = {name: node.environment[name] for name in ("BERTH_SOCKET", "BERTH_SOFTWARE_DIR")}
    start(pool, "--slots", "1", "--read", BUILD, environment=shared, user=4711)
    hello = pool.wait(lambda: pool.hellos and pool.hellos[0], "a hello")
    gpu = next(d for d in hello["devices"] if d["kind"] == "software")
    assert 0 < gpu["memory_bytes"] <= 256 * MIB and gpu["name"]
    work = command(program("work"), "--memory", "64MiB", "--chunk", "16MiB", "--seed", "1", "--rounds", "2")
    if INSTRUMENTED:  # as the library says that comes second in a program's link order
        work["env"] = {"ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0"}
    end = good(pool.run("command", {**work, "device": {"memory": "128MiB"}}))
    assert json.loads(end["result"]["stdout"].splitlines()[-1]), end
    wait_until(lambda: "work" in daemon.err, "the daemon saw it")
    # Over its limit: the driver's plain out-of-memory.
    end = pool.run("command", {**work, "device": {"memory": "32MiB"}})
    assert end["m"] == "fail" and end["error"]["code"] == "exit", end
    # Without a device there is none to be seen.
    end = pool.run("command", work)
    assert end["m"] == "fail", end
