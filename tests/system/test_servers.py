"""Several berth-pool processes on one PostgreSQL, with real workers: queues shared out, requests through any of them, keys known at all, and one killed under load:
nothing acknowledged is lost, nothing is counted twice, the others go on with its work."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import pytest
from berthpool import Pool
from conftest import PATIENCE, SANITIZER, Process, built, wait_until
from openai_double import Engine
from test_openai import Stream, pool_as

TOOLS = pathlib.Path(__file__).parents[2] / "tools"


class Postgres:
    """A throw-away server, for as long as its standard input is open."""

    def __init__(self):
        self.popen = subprocess.Popen([TOOLS / "with-postgres", "sh", "-c", 'echo "$BERTH_TEST_POSTGRES"; exec cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.popen.stdout.readline().strip()
        assert self.url, "no PostgreSQL server"

    def close(self):
        self.popen.stdin.close()
        self.popen.stdout.close()
        self.popen.wait(60)


class Site:
    """Pool servers on one store, and workers."""

    def __init__(self, folder, postgres):
        self.folder, self.postgres, self.pools, self.workers = folder, postgres, [], []

    def server(self, **options):
        name = f"server-{len(self.pools)}"
        own = self.folder / name
        own.mkdir(mode=0o700)
        if self.pools:
            shutil.copy2(self.pools[0].folder / "secrets", own / "secrets")
        pool = Pool(self.folder, arguments=["--store", self.postgres.url, *options.pop("arguments", ())], name=name, **options)
        self.pools.append(pool)
        return pool

    def shared(self):
        """Each server that runs has its part."""
        alive = [pool for pool in self.pools if pool.process.running]
        ours = [pool.good("GET", "/api/v1/pool")["queues"]["ours"] for pool in alive]
        return sum(ours) == 16 and max(ours) - min(ours) <= 1

    def wait_shared(self):
        wait_until(self.shared, "the queues are shared out", 120)

    def worker(self, pool, *options, slots=4):
        name = f"worker-{len(self.workers)}"
        argv = [built("src/worker/berth-worker"), "--pool", pool.url.replace("http", "ws", 1), "--folder", self.folder / f"{name}-folder", "--slots", str(slots), "--confine",
                "basic", "--drain", "1s", *options]
        kept = {name: os.environ[name] for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS") if name in os.environ}
        self.workers.append(Process(name, self.folder, argv, {"PATH": os.environ["PATH"], "HOME": str(self.folder), "BERTH_TOKEN": pool.worker_token(), **kept}))
        return self.workers[-1]

    def close(self):
        for worker in self.workers:
            worker.end()
        for pool in self.pools:
            if pool.process.running:
                assert pool.stop() == 0, pool.process.report()
        for file in self.folder.glob("*.err"):
            complaint = SANITIZER.search(file.read_text(errors="replace"))
            assert not complaint, file.read_text(errors="replace")[-4000:]

    def end(self):
        for process in [*self.workers, *(pool.process for pool in self.pools)]:
            process.end()


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def site(postgres):
    # Tasks run as another user, who must get there; pytest's own folders are closed to others.
    folder = pathlib.Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    subprocess.run(["psql", postgres.url, "-qc", "DROP SCHEMA IF EXISTS berth CASCADE"], check=True, stderr=subprocess.DEVNULL)
    site = Site(folder, postgres)
    try:
        yield site
        site.close()
    finally:
        site.end()
        shutil.rmtree(folder)


def insist(pool, way, path, body=None, **options):
    """As a client does: what says "not now" is asked again."""
    end = time.monotonic() + 120 * PATIENCE
    while True:
        answer = pool.ask(way, path, body, **options)
        if answer.status != 503 or time.monotonic() > end:
            assert answer.status < 300, f"{way} {path}: {answer}"
            return answer
        time.sleep(min(float(answer.headers.get("retry-after", 1)), 1) / 4)


def accounts(pool, count):
    return [pool.account(f"user-{n}") for n in range(count)]


def test_requests_work_through_either_server(site):
    one = site.server()
    users = accounts(one, 12)
    two = site.server()
    site.wait_shared()
    wait_until(lambda: all(two.ask("GET", "/api/v1/me", token=key).status == 200 for _, key in users), "keys of the one are known at the other")
    site.worker(one)
    for pool, other in ((one, two), (two, one)):
        for account, key in users:
            made = insist(pool, "POST", "/api/v1/tasks", {"type": "command", "payload": {"argv": ["echo", account]}, "wait_for_workers": True}, token=key,
                          headers={"Idempotency-Key": f"{pool.name}-{account}"})
            task = made.json["id"]
            again = insist(other, "POST", "/api/v1/tasks", {"type": "command", "payload": {"argv": ["echo", account]}, "wait_for_workers": True}, token=key,
                           headers={"Idempotency-Key": f"{pool.name}-{account}"})
            assert again.json["id"] == task, "the same request is the same task, wherever it is asked"
            ended = insist(other, "GET", f"/api/v1/tasks/{task}?wait=120", token=key, timeout=180).json
            assert ended["state"] == "done" and ended["attempt"] == 1, json.dumps(ended)
            assert insist(pool, "GET", f"/api/v1/tasks/{task}/log", token=key).body.decode().strip() == account
            assert insist(other, "GET", f"/api/v1/tasks/{task}/result").json["result"]["exit"] == 0, "as admin"
            assert pool.ask("POST", f"/api/v1/tasks/{task}/cancel", token=key).status == 409, "it ended"
    metrics = [pool.ask("GET", "/metrics").body.decode() for pool in (one, two)]
    forwarded = [int(line.split()[1]) for text in metrics for line in text.splitlines() if line.startswith("pool_http_forwarded_total ")]
    assert len(forwarded) == 2 and all(forwarded), "some at each were the other's"
    listed = insist(two, "GET", "/api/v1/tasks?limit=1000").json["data"]
    assert len(listed) == 2 * len(users)
    # A stranger's task is a stranger's anywhere.
    for pool in (one, two):
        assert pool.ask("GET", f"/api/v1/tasks/{task}", token=users[0][1]).status == 404


def test_cancel_change_and_events_go_to_the_owner(site):
    one = site.server()
    users = accounts(one, 8)
    two = site.server()
    site.wait_shared()
    wait_until(lambda: all(two.ask("GET", "/api/v1/me", token=key).status == 200 for _, key in users), "keys of the one are known at the other")
    for _, key in users:
        task = insist(one, "POST", "/api/v1/tasks", {"type": "command", "payload": {"argv": ["true"]}, "wait_for_workers": True}, token=key).json["id"]
        for pool in (one, two):
            assert insist(pool, "GET", f"/api/v1/tasks/{task}/why", token=key).json
        connections = []
        for pool in (one, two):
            c = pool.connection()
            c.request("GET", "/api/v1/events", headers={"Authorization": "Bearer " + key})
            answer = c.getresponse()
            assert answer.status == 200 and answer.getheader("content-type") == "text/event-stream"
            connections.append((c, answer))
            assert next_event(answer)[0] == "snapshot"
        assert insist(two, "PATCH", f"/api/v1/tasks/{task}", {"priority": "high"}, token=key).json["priority"] == "high"
        assert insist(two, "POST", f"/api/v1/tasks/{task}/cancel", token=key).json["state"] == "cancelled"
        for c, answer in connections:
            while True:
                kind, data = next_event(answer)
                if kind == "task.state" and data["task"] == task and data["data"]["state"] == "cancelled":
                    break
            c.close()
        assert insist(one, "GET", f"/api/v1/tasks/{task}", token=key).json["state"] == "cancelled"


def next_event(answer):
    kind = data = None
    while True:
        line = answer.fp.readline() if not answer.chunked else answer.readline()
        assert line, "the stream ended"
        line = line.decode().rstrip("\n")
        if line.startswith("event: "):
            kind = line[7:]
        elif line.startswith("data: "):
            data = json.loads(line[6:])
        elif not line and kind:
            return kind, data


def test_a_revoked_key_is_refused_everywhere(site):
    one, two = site.server(), site.server()
    account, key = one.account("alice")
    wait_until(lambda: two.ask("GET", "/api/v1/me", token=key).status == 200, "the key is known at the other")
    stream = two.connection()
    stream.request("GET", "/api/v1/events", headers={"Authorization": "Bearer " + key})
    answer = stream.getresponse()
    number = next(k["id"] for k in one.good("GET", f"/api/v1/keys?account={account}")["data"])
    assert one.ask("DELETE", f"/api/v1/keys/{number}").status == 204
    assert one.ask("GET", "/api/v1/me", token=key).status == 401
    wait_until(lambda: two.ask("GET", "/api/v1/me", token=key).status == 401, "it is refused at the other")
    if answer.status == 200:
        while answer.readline():
            pass  # what was open ends, too
    stream.close()


def test_other_secrets_are_refused(site):
    site.server()
    (site.folder / "stranger").mkdir(mode=0o700)
    run = subprocess.run([built("src/gateway/berth-pool"), "--listen", "127.0.0.1:0", "--folder", site.folder / "stranger", "--store", site.postgres.url], capture_output=True,
                         text=True, timeout=60 * PATIENCE, env={"PATH": os.environ["PATH"], "HOME": str(site.folder)})
    assert run.returncode and "copy that file" in run.stderr, run.stderr


def test_servers_share_an_engines_places(site):
    engine = Engine()
    engine.hold()
    one, two = site.server(), site.server()
    _, key = one.account("asks")
    site.wait_shared()
    catalogue = site.folder / "models.conf"
    catalogue.write_text(f"[model m]\nkind = url\nurl = {engine.address}\nparallel = 2\n")
    site.worker(one, "--models", catalogue)
    for pool in (one, two):
        wait_until(lambda: (a := pool.ask("GET", "/api/v1/models/m", token=key)).status == 200 and a.json["state"] == "ready", "both know the engine")
        wait_until(lambda: "\nberth_tunnels 1\n" in pool.ask("GET", "/metrics").body.decode(), "both have its worker's tunnel")
    streams = [Stream(pool_as(pool, key)) for _ in range(5) for pool in (one, two)]

    def count(name):
        return sum(int(line.split()[1]) for pool in (one, two) for line in pool.ask("GET", "/metrics").body.decode().splitlines() if line.startswith(name + " "))

    wait_until(lambda: engine.running == 2 and count('berth_generations{state="waiting"}') == 8, lambda: f"two run and eight wait: {engine.running}")
    assert count("berth_tunnel_turned_away_total") > 0
    engine.release()
    for stream in streams:
        assert stream.end().whole and stream.words == "word " * 5
    assert engine.most == 2 and engine.finished == 10
    engine.stop()


def test_one_is_killed_under_load(site):
    one = site.server()
    users = accounts(one, 8)
    two = site.server()
    site.wait_shared()
    wait_until(lambda: all(two.ask("GET", "/api/v1/me", token=key).status == 200 for _, key in users), "keys of the one are known at the other")
    for pool in (one, two):
        site.worker(pool)
    ran = site.folder / "ran"
    ran.mkdir()
    taken, stop = [], threading.Event()

    def load(key, seed):
        """Submits through either server until told to stop; what was answered 202 is taken."""
        count = 0
        while not stop.is_set():
            count += 1
            pool = (one, two)[(seed + count) % 2]
            body = {"type": "command", "payload": {"argv": ["sh", "-c", "sleep 0.05; echo ran"]}, "wait_for_workers": True, "attempts": 5}
            try:
                answer = pool.ask("POST", "/api/v1/tasks", body, token=key, headers={"Idempotency-Key": f"{seed}-{count}"})
            except OSError:  # the killed one
                continue
            if answer.status == 202:
                taken.append((key, answer.json["id"]))

    threads = [threading.Thread(target=load, args=(key, n)) for n, (_, key) in enumerate(users)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(taken) >= 40, "tasks are taken", 120)
        one.process.popen.send_signal(signal.SIGKILL)
        one.process.wait(60)
        wait_until(lambda: two.good("GET", "/api/v1/pool")["queues"]["ours"] == 16, "the other has all queues", 120)
        before = len(taken)
        wait_until(lambda: len(taken) >= before + 40, "tasks of all accounts are taken by the other", 120)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for key, task in taken:
        ended = insist(two, "GET", f"/api/v1/tasks/{task}?wait=200", token=key, timeout=300).json
        assert ended["state"] == "done", ended
    assert len({task for _, task in taken}) == len(taken), "no answer named a task twice"
    # Each task has ended once: the events and rows of the store name each once, and as many are done as there are.
    done = subprocess.run(["psql", site.postgres.url, "-Atc", "SELECT count(*), count(*) FILTER (WHERE ended) FROM berth.task"], capture_output=True, text=True, check=True)
    rows, ended = map(int, done.stdout.strip().split("|"))
    assert rows == ended and rows >= len(taken), "also of those whose answer was lost, none is half done"
