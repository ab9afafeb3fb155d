"""berth-worker with berth-pool: both real. What test_worker.py shows of the worker alone, here from a task's submission to its result, through deaths and restarts."""
import json
import os
import signal
import subprocess
import time

import pytest
from berthpool import running
from conftest import Process, built, wait_until
from test_worker import Worker, base, certificates, fingerprint, shell  # noqa: F401 (fixtures)

MIB = 1 << 20
QUICK = ("tasks.lease=2s", "tasks.suspect=1s", "tasks.drain=2s", "tasks.gone=5min", "tasks.backoff=50ms")


class Given:
    """What Worker wants to know of a pool."""

    def __init__(self, pool):
        self.url, self.token = pool.url.replace("http", "ws", 1), pool.worker_token()


@pytest.fixture
def pool(base):  # noqa: F811
    for made in running(base / "pool", settings=QUICK):
        made.arguments = ["--listen", "%s:%d" % made.address]  # the same after a restart
        yield made


@pytest.fixture
def start(pool, base):  # noqa: F811
    workers = []

    def make(*options, **named):
        named.setdefault("name", f"worker-{len(workers)}")
        count = len(joined(pool))
        workers.append(Worker(base, Given(pool), "--name", named["name"], *options, **named))
        wait_until(lambda: len(joined(pool)) > count or not workers[-1].running, lambda: "it joins\n" + workers[-1].report())
        return workers[-1]

    yield make
    for worker in workers:
        worker.end()


def joined(pool):
    return [w for w in pool.good("GET", "/api/v1/workers")["data"] if w["state"] == "active"]


def task_of(pool, task):
    return pool.good("GET", f"/api/v1/tasks/{task['id']}")


def wait_state(pool, task, *states, seconds=60):
    last = {}

    def look():
        last.update(task_of(pool, task))
        return last["state"] in states

    wait_until(look, lambda: f"it is {states}: {json.dumps(last)[:2000]}", seconds)
    return last


def upload(pool, data):
    import hashlib
    digest = hashlib.sha256(data).hexdigest()
    answer = pool.ask("PUT", f"/api/v1/artifacts/{digest}", data, headers={"Content-Type": "application/octet-stream"})
    assert answer.status in (200, 201), answer
    return digest


def log_of(pool, task):
    answer = pool.ask("GET", f"/api/v1/tasks/{task['id']}/log")
    return answer.body.decode() if answer.status == 200 else ""


def test_files_in_and_out_and_the_log(pool, start):
    start()
    data = os.urandom(3 * MIB)
    digest = upload(pool, data)
    task = pool.submit(payload=shell("echo started; cp in copy; sha256sum in", files=[{"name": "in", "sha256": digest}], outputs=["copy"]))
    done = wait_state(pool, task, "done", "failed", "dead")
    assert done["state"] == "done" and done["result"]["exit"] == 0 and digest in done["result"]["stdout"], done.get("error")
    assert [a["name"] for a in done["artifacts"]] == ["copy"] and done["artifacts"][0]["sha256"] == digest
    task = pool.submit(payload=shell("head -c 5000000 /dev/urandom | tee out | sha256sum", outputs=["out"]))
    done = wait_state(pool, task, "done", "failed", "dead")
    assert done["state"] == "done", done
    made = done["artifacts"][0]
    assert made["bytes"] == 5000000 and made["sha256"] in done["result"]["stdout"]
    got = pool.ask("GET", f"/api/v1/artifacts/{made['sha256']}")
    assert len(got.body) == 5000000
    assert log_of(pool, task) == done["result"]["stdout"]


def test_log_while_it_runs_and_cancel(pool, start):
    worker = start()
    task = pool.submit(payload=shell("echo first line; sleep 1000"))
    wait_until(lambda: "first line" in log_of(pool, task), "its log")
    assert task_of(pool, task)["state"] == "leased"
    answer = pool.ask("DELETE", f"/api/v1/tasks/{task['id']}")
    if answer.status >= 400:
        answer = pool.ask("POST", f"/api/v1/tasks/{task['id']}/cancel")
    assert answer.status < 300, answer
    wait_state(pool, task, "cancelled")
    wait_until(lambda: not worker.children(), "it has ended")
    done = wait_state(pool, pool.submit(payload=shell("echo next")), "done")
    assert done["result"]["stdout"] == "next\n"


def test_failures_and_retries(pool, start, base):  # noqa: F811
    start("--slots", "1")
    done = wait_state(pool, pool.submit(payload=shell("echo bad >&2; exit 3")), "failed", "dead")
    assert done["error"]["code"] == "exit" and done["error"]["exit"] == 3 and done["attempt"] == 1
    done = wait_state(pool, pool.submit(payload=shell("exit 75"), attempts=2), "failed", "dead")
    assert done["attempt"] == 2


def test_kill_9_of_the_worker_and_it_runs_elsewhere_once(pool, start, base):  # noqa: F811
    runs = base / "runs"
    runs.mkdir()
    runs.chmod(0o777)
    first = start("--slots", "1", "--write", runs)
    task = pool.submit(payload=shell(f"mktemp {runs}/run.XXXXXX; if [ -e {runs}/go ]; then exit 0; fi; sleep 1000"))
    wait_until(lambda: len(list(runs.glob("run.*"))) == 1, "it runs")
    second = start("--slots", "1", "--write", runs)
    (runs / "go").touch()
    first.kill(signal.SIGKILL)
    done = wait_state(pool, task, "done", "failed", "dead")
    assert done["state"] == "done" and done["attempt"] == 2 and len(list(runs.glob("run.*"))) == 2, done
    assert second.running
    wait_until(lambda: not first.children(), "nothing of the first is left")


def test_pool_killed_while_a_task_runs(pool, start, base):  # noqa: F811
    runs = base / "runs"
    runs.mkdir()
    runs.chmod(0o777)
    start("--slots", "2", "--write", runs)
    ends_meanwhile = pool.submit(payload=shell(f"mktemp {runs}/a.XXXXXX; while [ ! -e {runs}/down ]; do sleep 0.05; done; echo ended while the pool was away"))
    ends_later = pool.submit(payload=shell(f"mktemp {runs}/b.XXXXXX; while [ ! -e {runs}/up ]; do sleep 0.05; done; echo ended after"))
    wait_until(lambda: len(list(runs.iterdir())) == 2, "both run")
    pool.process.kill(signal.SIGKILL)
    pool.process.wait()
    (runs / "down").touch()
    pool.start()
    first = wait_state(pool, ends_meanwhile, "done", "failed", "dead")
    (runs / "up").touch()
    second = wait_state(pool, ends_later, "done", "failed", "dead")
    assert first["state"] == second["state"] == "done" and first["attempt"] == second["attempt"] == 1, (first, second)
    assert first["result"]["stdout"].endswith("while the pool was away\n") and len(list(runs.glob("[ab].*"))) == 2, "each ran once"


def test_drain_by_signal_hands_the_rest_on(pool, start):
    first = start("--slots", "1", "--drain", "1s")
    task = pool.submit(payload=shell("[ -e /tmp/never ] || sleep 1.5; sleep 0.1; echo done"))
    wait_state(pool, task, "leased")
    start("--slots", "1")
    first.kill(signal.SIGTERM)
    assert first.wait() == 0
    done = wait_state(pool, task, "done", "failed", "dead")
    assert done["state"] == "done", done


def test_drain_by_the_pool(pool, start):
    start("--slots", "1")
    worker = joined(pool)[0]
    etag = pool.ask("GET", f"/api/v1/workers/{worker['id']}").headers["etag"]
    pool.good("PATCH", f"/api/v1/workers/{worker['id']}", {"state": "draining"}, headers={"If-Match": etag})
    task = pool.submit(payload=shell("echo hello"))
    wait_until(lambda: pool.good("GET", f"/api/v1/workers/{worker['id']}")["state"] in ("draining", "drained"), "it drains")
    assert task_of(pool, task)["state"] == "queued"
    etag = pool.ask("GET", f"/api/v1/workers/{worker['id']}").headers["etag"]
    pool.good("PATCH", f"/api/v1/workers/{worker['id']}", {"state": "active"}, headers={"If-Match": etag})
    assert wait_state(pool, task, "done")["result"]["stdout"] == "hello\n"


def test_every_type_from_submission_to_result(pool, start, base):  # noqa: F811
    shared = base / "shared"
    (shared / "a").mkdir(parents=True)
    for folder in (shared, shared / "a"):
        folder.chmod(0o777)
    (shared / "a" / "f").write_text("content")
    import sqlite3
    db = sqlite3.connect(shared / "x.db")
    db.execute("create table t (a)")
    db.commit()
    db.close()
    (shared / "x.db").chmod(0o666)
    start("--slots", "2", "--write", shared)
    files = [{"name": "in.jsonl", "text": '{"text": "some words", "n": "1"}\n'}]
    payloads = {
        "command": shell("true"), "probe": {"steps": 2}, "preprocess": {"files": files, "input": "in.jsonl", "cast": {"n": "int"}},
        "augment": {"files": files, "input": "in.jsonl"}, "validate": {"files": files, "input": "in.jsonl", "fields": {"n": {"type": "string"}}},
        "synchronise": {"from": f"{shared}/a", "to": f"{shared}/b"}, "mirror": {"from": f"{shared}/a", "to": [f"{shared}/c"]},
        "migrate": {"from": f"{shared}/a", "to": f"{shared}/d"}, "optimise": {"path": f"{shared}/x.db"}, "monitor": {"seconds": 0.2, "interval": 0.1},
    }
    tasks = {kind: pool.submit(type=kind, payload=payload) for kind, payload in payloads.items()}
    for kind, task in tasks.items():
        done = wait_state(pool, task, "done", "failed", "dead")
        assert done["state"] == "done", (kind, done)


def test_misspelt_members_are_refused_before_they_wait(pool, start):
    start("--slots", "1")
    joined(pool)
    for kind, payload, path, accepted in (
            ("command", {"argv": ["true"], "enviroment": {}}, "payload.enviroment", "argv, env, stdin, device, files, outputs, limits, network"),
            ("command", {"argv": ["true"], "limits": {"memroy": "1GiB"}}, "payload.limits.memroy", "wall, cpu, memory, disk, processes"),
            ("monitor", {"secs": 1}, "payload.secs", "seconds, interval"),
            ("probe", {"files": [{"name": "a", "txt": ""}]}, "payload.files[0].txt", "name, sha256, text, bytes, executable")):
        answer = pool.ask("POST", "/api/v1/tasks", {"type": kind, "payload": payload})
        assert answer.status == 422 and answer.json["code"] == "task.invalid", answer
        told = answer.json["violations"]
        assert [v["path"] for v in told] == [path] and accepted in told[0]["text"] and path in answer.json["detail"], answer


def namespaces_work():
    done = subprocess.run(["ip", "netns", "add", "berth-test-probe"], capture_output=True)
    subprocess.run(["ip", "netns", "del", "berth-test-probe"], capture_output=True)
    return done.returncode == 0


@pytest.mark.skipif(not namespaces_work(), reason="this machine refuses network namespaces: a second machine can't be imitated")
def test_a_second_machine_joins_over_tls_and_vanishes(base, certificates):  # noqa: F811
    """Another network stack with one cable to this one; the cable is cut while a task runs there, and put back."""
    name, number = f"berth{os.getpid()}", os.getpid() % 200 + 20
    here, there = f"10.233.{number}.1", f"10.233.{number}.2"

    def ip(*words):
        subprocess.run(["ip", *words], check=True, capture_output=True)

    ip("netns", "add", name)
    try:
        ip("link", "add", f"{name}a"[:15], "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("addr", "add", f"{here}/24", "dev", f"{name}a"[:15])
        ip("link", "set", f"{name}a"[:15], "up")
        ip("-n", name, "addr", "add", f"{there}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", name, "link", "set", "lo", "up")
        tls = f"{certificates}/right.pem,{certificates}/right.key"
        for pool in running(base / "pool", settings=QUICK, arguments=["--listen", f"{here}:0", "--tls", tls]):
            key = base / "key"
            key.write_text(pool.worker_token())
            key.chmod(0o600)
            argv = ["ip", "netns", "exec", name, built("src/worker/berth-worker"), "--pool", pool.url.replace("http", "ws", 1), "--token-file", key, "--name", "far",
                    "--pin", fingerprint(certificates / "right.pem"), "--folder", base / "far", "--slots", "1"]
            far = Process("far", base, argv, {"PATH": os.environ["PATH"]})
            try:
                wait_until(lambda: [w["name"] for w in joined(pool)] == ["far"], lambda: "the far one joins\n" + far.report())
                digest = upload(pool, os.urandom(MIB))
                done = wait_state(pool, pool.submit(payload=shell("sha256sum f", files=[{"name": "f", "sha256": digest}])), "done")
                assert digest in done["result"]["stdout"]
                task = pool.submit(payload=shell("sleep 3; echo $BERTH_TASK"))
                wait_state(pool, task, "leased")
                ip("link", "set", f"{name}a"[:15], "down")
                near = Worker(base, Given(pool), "--name", "near", "--pin", fingerprint(certificates / "right.pem"), name="near")
                try:
                    ip("link", "set", f"{name}a"[:15], "up")
                    done = wait_state(pool, task, "done", "failed", "dead", seconds=120)
                    assert done["state"] == "done" and done["result"]["stdout"] == task["id"] + "\n", done
                finally:
                    near.end()
            finally:
                far.end()
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
