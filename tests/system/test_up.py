"""`berth up` and the verbs that talk to a pool: what a person does, with the real programs, from an empty folder on."""
import contextlib
import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from conftest import KEPT, PATIENCE, Process, built, wait_until


class Home:
    """An empty folder, `berth up` on it, and the command line beside it."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        self.environment.update(HOME=str(folder), BERTH_FOLDER=str(folder / "kept"), BERTH_SOCKET=str(folder / "no-daemon"))
        self.up, self.starts, self.node = None, 0, False
        # None of the model that comes with Berth: its engine starts at once, and most tests are of other things.
        (folder / "kept").mkdir(exist_ok=True)
        (folder / "kept" / "models.conf").touch()

    def start(self, *options, ready=True):
        self.starts += 1
        self.up = Process(f"up{self.starts}", self.folder, [built("src/cli/berth"), "up", "--listen", "127.0.0.1:0", *([] if self.node else ["--no-node"]), "--slots", "2", *options],
                          self.environment)
        if ready:
            wait_until(lambda: "Ctrl-C ends it" in self.up.out or self.up.popen.poll() is not None, lambda: self.up.out + self.up.err)
            assert self.up.popen.poll() is None, self.up.err
        return self

    def stop(self, number=signal.SIGINT):
        self.up.popen.send_signal(number)
        assert self.up.popen.wait(90 * PATIENCE) == 0, self.up.err

    def berth(self, *arguments, code=0, text=None, **environment):
        r = subprocess.run([built("src/cli/berth"), *map(str, arguments)], env={**self.environment, **environment}, cwd=self.folder, input=text,
                           capture_output=True, text=True, timeout=120 * PATIENCE)
        if code is not None:
            assert r.returncode == code, (arguments, r.returncode, r.stdout, r.stderr)
        return r

    def json(self, *arguments, **more):
        return json.loads(self.berth(*arguments, "--json", **more).stdout)

    def submit(self, *arguments, **more):
        return self.berth("submit", *arguments, **more).stdout.strip()

    def task(self, task):
        return self.json("tasks", task)

    def ended(self, task):
        return wait_until(lambda: (lambda t: t if t.get("ended") else None)(self.task(task)), lambda: self.task(task))

    def child(self, name):
        """Process number of a program that `berth up` started."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError, ValueError):
                with open(f"/proc/{pid}/stat") as f:
                    stat = f.read()
                with open(f"/proc/{pid}/cmdline") as f:
                    command = f.read().split("\0")[0]
                if int(stat.rsplit(")", 1)[1].split()[1]) == self.up.pid and os.path.basename(command) == name:
                    return int(pid)
        return None


@pytest.fixture
def home(tmp_path):
    h = Home(tmp_path)
    yield h
    if h.up and h.up.popen.poll() is None:
        h.up.popen.send_signal(signal.SIGINT)
        time.sleep(0.1)
        h.up.popen.send_signal(signal.SIGINT)
        try:
            h.up.popen.wait(30 * PATIENCE)
        except subprocess.TimeoutExpired:
            h.up.popen.kill()


def test_from_nothing_to_a_result_and_again_after_a_restart(home):
    home.start()
    r = home.berth("submit", "--wait", "--", "sh", "-c", "echo hello; echo bye")
    assert r.stdout == "hello\nbye\n"
    assert home.berth("submit", "--wait", "--", "sh", "-c", "exit 3", code=3).stderr.strip() == "failed: exit code 3"
    left = home.submit("--name", "left", "--", "sh", "-c", "echo kept")
    assert home.ended(left)["state"] == "done"
    home.stop()
    assert home.child("berth-pool") is None
    home.start()
    tasks = home.json("tasks")["data"]
    assert len(tasks) == 3 and {t["state"] for t in tasks} == {"done", "failed"}
    assert home.berth("result", "--log", left).stdout == "kept\n"
    assert home.berth("submit", "--wait", "--", "echo", "again").stdout == "again\n"


def test_how_to_sign_in_is_told_at_each_start(home):
    home.start()
    assert "/setup#setup_" in home.up.out
    home.berth("key", "create", "another")  # by which this machine's owner gets in, too: the link has done its work
    home.stop()
    home.start()
    assert "/setup#setup_" not in home.up.out and "berth account password NAME" in home.up.out
    home.berth("account", "password", "local", text="correct horse battery\ncorrect horse battery\n")
    url = json.loads((home.folder / "kept" / "local.json").read_text())["url"]
    request = urllib.request.Request(url + "/api/v1/sessions", method="POST", headers={"Content-Type": "application/json"},
                                     data=json.dumps({"name": "local", "password": "correct horse battery"}).encode())
    with urllib.request.urlopen(request, timeout=60 * PATIENCE) as answer:
        assert json.load(answer)["me"]["role"] == "admin"
    home.stop()


def test_a_machine_without_a_device(home):
    (home.folder / "node.conf").write_text("[device]\nkind = cuda\nnvml = no-such-library.so\n")
    home.environment.update(BERTH_CONFIG=str(home.folder / "node.conf"))
    home.node = True
    home.start()
    wait_until(lambda: "going on without it" in home.up.err, lambda: home.up.err)
    assert home.berth("submit", "--wait", "--", "echo", "all the same").stdout == "all the same\n"


def test_only_one_at_a_time_on_a_folder(home):
    home.start()
    other = Home(home.folder)
    other.start(ready=False)
    assert other.up.popen.wait(30 * PATIENCE) == 1
    assert "runs already" in other.up.err
    assert home.berth("submit", "--wait", "--", "echo", "still").stdout == "still\n"


def test_a_batch_of_several_types_with_live_progress(home):
    home.start()
    (home.folder / "in.jsonl").write_text('{"a": 1, "b": "x"}\n{"a": "no", "b": "y"}\n{"a": 3, "b": "x"}\n')
    (home.folder / "batch.jsonl").write_text("".join(json.dumps(t) + "\n" for t in [
        {"type": "command", "name": "one", "payload": {"argv": ["echo", "1"]}},
        {"type": "probe", "name": "two", "payload": {"seconds": 1, "steps": 5}},
        {"type": "command", "name": "three", "after": ["#0", "#1"], "payload": {"argv": ["echo", "3"]}},
    ]))
    ids = home.submit("--batch", "batch.jsonl").split()
    assert len(ids) == 3
    events = [json.loads(line) for line in home.berth("watch", "--json", *ids).stdout.splitlines()]
    assert any(e["type"] == "task.state" and e["task"] == ids[2] and e["data"]["state"] == "done" for e in events) or \
        home.task(ids[2])["state"] == "done"
    assert [home.task(i)["state"] for i in ids] == ["done"] * 3
    shares = [e["data"].get("share") for e in events if e["type"] == "task.progress" and e["task"] == ids[1]]
    assert shares == sorted(shares)
    # In the order that `after` asks for.
    assert home.task(ids[2])["started"] >= max(home.task(i)["ended"] for i in ids[:2])


def test_files_go_in_and_come_out(home):
    home.start()
    (home.folder / "in.txt").write_bytes(b"1234567890" * 100000)
    task = home.submit("--file-in", "data/in.txt=in.txt", "--file-out", "out/*", "--", "sh", "-c", "mkdir -p out; wc -c < data/in.txt > out/count; cp data/in.txt out/copy")
    assert home.ended(task)["state"] == "done", home.task(task)
    home.berth("result", "--files", "got", task)
    assert (home.folder / "got/out/count").read_text().strip() == "1000000"
    assert (home.folder / "got/out/copy").read_bytes() == b"1234567890" * 100000
    # The second time nothing needs to be sent.
    again = home.submit("--file-in", "x=in.txt", "--", "sh", "-c", "wc -c < x")
    home.ended(again)
    assert home.berth("result", "--log", again).stdout.strip() == "1000000"


def test_output_while_it_runs_then_cancelled(home):
    home.start()
    task = home.submit("--", "sh", "-c", "echo begun; sleep 600")
    wait_until(lambda: "begun" in home.berth("result", "--log", task, code=None).stdout, "no output while it runs")
    assert home.task(task)["state"] == "leased"
    home.berth("cancel", task)
    assert home.ended(task)["state"] == "cancelled"
    home.berth("cancel", task, code=None)
    assert home.task(task)["state"] == "cancelled"
    # Its slot is free again.
    assert home.berth("submit", "--wait", "--", "echo", "next").stdout == "next\n"


def test_impossible_work_is_refused_with_the_reason(home):
    home.start()
    r = home.berth("submit", "--device", "gpu", "--memory", "900GiB", "--", "true", code=1)
    assert "of 1 worker" in r.stderr, r.stderr
    assert home.json("tasks")["data"] == []
    task = home.submit("--device", "gpu", "--wait-for-workers", "--", "true")
    why = home.json("why", task)
    assert why["fitting"] == 0 and any(u["matched"] == 0 and u["total"] == 1 for u in why["unmet"]), why
    assert "gpu" in home.berth("why", task).stdout
    worker = home.json("workers")["data"][0]["id"]
    assert home.berth("why", worker).stdout.strip()


def test_the_same_key_is_the_same_task(home):
    home.start()
    first, second = (home.submit("--key", "k1", "--", "echo", "once") for _ in range(2))
    assert first == second
    r = home.berth("submit", "--key", "k1", "--", "echo", "twice", code=1)
    assert "idempotency" in r.stderr.lower() or "key" in r.stderr.lower()
    assert len(home.json("tasks")["data"]) == 1


def test_a_drained_worker_gets_nothing_new(home):
    home.start()
    worker = home.json("workers")["data"][0]["id"]
    home.berth("drain", worker)
    task = home.submit("--", "echo", "later")
    assert home.json("why", task)["fitting_ready"] == 0
    assert home.task(task)["state"] == "queued"
    home.berth("drain", "--off", worker)
    assert home.ended(task)["state"] == "done"


def test_priorities(home):
    home.start()
    blockers = [home.submit("--", "sh", "-c", "sleep 600") for _ in range(2)]
    wait_until(lambda: all(home.task(t)["state"] == "leased" for t in blockers), "the slots are not taken")
    low, high = home.submit("--priority", "low", "--", "true"), home.submit("--priority", "low", "--", "true")
    home.berth("prioritise", high, "urgent")
    assert home.json("why", high)["position"] < home.json("why", low)["position"] or home.task(high)["priority"] == "urgent"
    home.berth("prioritise", high, "most", code=1)
    for t in blockers:
        home.berth("cancel", t)
    assert home.ended(high)["started"] <= home.ended(low)["started"]


@pytest.mark.parametrize("who", ["berth-pool", "berth-worker"])
def test_what_is_killed_comes_back_and_the_task_counts_once(home, who):
    home.start()
    task = home.submit("--", "sh", "-c", "echo go; sleep 3; echo end")
    wait_until(lambda: "go" in home.berth("result", "--log", task, code=None).stdout, "it does not run")
    pid = home.child(who)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: home.child(who) not in (None, pid), f"{who} does not come back")
    wait_until(lambda: home.berth("tasks", "--json", code=None).returncode == 0, "the pool does not answer again")
    ended = home.ended(task)
    assert ended["state"] == "done", ended
    # Once: all that the pool knows of is this one task, done once.
    assert [t["state"] for t in home.json("tasks")["data"]] == ["done"]
    assert home.berth("submit", "--wait", "--", "echo", "on").stdout == "on\n"


def first_admin(home):
    link = re.search(r"(http\S+)/setup#(\S+)", home.up.out)
    home.berth("login", "--name", "root", "--first", link[2], link[1], text="a long enough password\n")


def test_the_link_makes_the_first_admin_once(home):
    home.start()
    link = re.search(r"(http\S+)/setup#(\S+)", home.up.out)
    assert f"The pool and its page: {link[1]}\n" in home.up.out
    # Both are the page (tests/web shows them in a browser), or say how to get it.
    for where in (link[1] + "/", f"{link[1]}/setup"):
        try:
            with urllib.request.urlopen(where, timeout=60 * PATIENCE) as answer:
                assert answer.status == 200 and b"<!doctype html>" in answer.read()
        except urllib.error.HTTPError as e:
            assert e.code == 501 and b"tools/setup" in e.read()
    first_admin(home)
    assert "already" in home.berth("login", "--name", "second", "--first", link[2], link[1], text="a long enough password\n", code=1).stderr
    assert home.berth("account", "create", "ada", "--role", "user").stdout.startswith("account_")
    key = home.berth("key", "create", "nightly", "--account", "ada", "--scope", "task.submit", "--scope", "task.read").stdout.strip()
    as_ada = {"BERTH_POOL": link[1], "BERTH_TOKEN": key}
    assert home.berth("submit", "--wait", "--", "echo", "mine", **as_ada).stdout == "mine\n"
    assert len(home.json("tasks", **as_ada)["data"]) == 1
    home.berth("account", "list", code=77, **as_ada)
    home.berth("workers", code=77, **as_ada)
    # Not hers: it does not exist.
    other = home.submit("--", "true")
    assert home.berth("tasks", other, code=1, **as_ada).stdout == ""
    key_id = home.json("key", "list", "--account", "ada")["data"][0]["id"]
    home.berth("key", "end", key_id)
    home.berth("tasks", code=77, **as_ada)


def test_a_backup_serves(home):
    home.start()
    task = home.submit("--", "echo", "kept")
    home.ended(task)
    first_admin(home)
    copy = home.folder / "copy.db"
    home.berth("backup", copy)
    home.berth("backup", copy, code=1)
    home.stop()
    home.berth("login", "--out")
    os.replace(copy, home.folder / "kept/pool/pool.db")
    for name in ("pool.db-wal", "pool.db-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.remove(home.folder / "kept/pool" / name)
    home.start()
    assert home.task(task)["state"] == "done"


def test_errors_say_what_to_do(home):
    assert "berth up" in home.berth("tasks", code=69).stderr
    assert "does not answer" in home.berth("tasks", code=69, BERTH_POOL="http://127.0.0.1:1").stderr
    assert "http" in home.berth("tasks", code=None, BERTH_POOL="ftp://x").stderr
    home.start()
    url = json.loads((home.folder / "kept/local.json").read_text())["url"]
    assert "not accepted" in home.berth("tasks", code=77, BERTH_POOL=url, BERTH_TOKEN="berth_wrong").stderr
    os.chmod(home.folder / "kept/local.json", 0o644)
    assert "chmod 600" in home.berth("tasks", code=77).stderr
