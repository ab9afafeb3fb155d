"""Engines of berth-worker: started on demand, looked at, started again, given up, stopped; whatever they do, the worker and the machine stay well.

The engine is a program of a few lines (engine_double.py), the pool, too (pool_double.py), but for what only the real ones can show.
"""
import json
import os
import pathlib
import signal
import sys
import urllib.error
import urllib.request

import pytest
from conftest import Node, wait_until
from pool_double import Pool
from test_worker import SECRET, Worker, base, start  # noqa: F401 (fixtures)

DOUBLE = pathlib.Path(__file__).with_name("engine_double.py")


def entry(name, *options, **settings):
    """A section of models.conf with the double as its command."""
    lines = [f"[model {name}]", "kind = command"]
    settings.setdefault("command", f"{sys.executable} {DOUBLE} --port {{port}} --host {{host}} --name {{model}} {' '.join(options)}")
    return "\n".join([*lines, *(f"{key} = {value}" for key, value in settings.items())]) + "\n\n"


class Machine:
    """A worker with a catalogue, and what its pool hears of its engines."""

    def __init__(self, pool, start, base, text, *options, **named):  # noqa: F811
        self.pool, self.catalogue = pool, base / "models.conf"
        self.write(text)
        self.worker = start(pool, "--models", self.catalogue, "--slots", "1", *options, **named)
        self.connection = pool.wait(lambda: pool.hellos and pool.connections[-1], "it joins")
        self.folder = self.worker.folder

    def write(self, text):
        """As editors do: another file in its place."""
        fresh = self.catalogue.with_name("fresh")
        fresh.write_text(text)
        fresh.rename(self.catalogue)

    @property
    def all(self):
        said = [m for m in [*self.pool.hellos, *self.pool.heard] if m["m"] in ("hello", "change") and "engines" in m]
        return {one["model"]: one for one in said[-1]["engines"]} if said else {}

    def history(self, model):
        """Its states in order, each once in a row, with the texts."""
        found = []
        for message in list(self.pool.heard):
            for one in message.get("engines", []) if message["m"] == "change" else []:
                if one["model"] == model and (not found or found[-1][0] != one["state"]):
                    found.append((one["state"], one.get("text", "")))
        return found

    def want(self, model, want="ready", **more):
        self.connection.send({"m": "engine", "model": model, "want": want, **more})

    def wait(self, model, state, seconds=90, condition=lambda one: True):
        def look():
            one = self.all.get(model, {})
            return one.get("state") == state and condition(one) and one

        return wait_until(look, lambda: f"{model} is {state}: {self.all.get(model)}\n{self.worker.err[-3000:]}", seconds)

    def ready(self, model, **more):
        self.want(model, **more)
        return self.wait(model, "ready")

    def log(self, model, number=""):
        path = self.folder / "engines" / f"{model}.log{number}"
        return path.read_text(errors="replace") if path.exists() else ""


def ask(one, path, body=None, key=None, timeout=60):
    """What the engine answers: status and value."""
    key = one.get("key") if key is None else key
    request = urllib.request.Request(one["address"] + path, data=None if body is None else json.dumps(body).encode(), headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, None


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def pool():
    made = Pool(token=SECRET)
    yield made
    made.close()


@pytest.fixture
def machine(pool, start, base):  # noqa: F811
    return lambda text, *options, **named: Machine(pool, start, base, text, *options, **named)


def test_started_when_wanted_and_stopped(machine):
    m = machine(entry("meta/one:8b", parallel=7, context=2048, labels="a, b", tasks="chat") + entry("two"), name="first")
    cold = m.wait("meta/one:8b", "cold")
    assert (cold["parallel"], cold["context"], cold["labels"], cold["tasks"], cold["kind"], cold["memory_bytes"]) == (7, 2048, ["a", "b"], ["chat"], "command", 0)
    assert cold["resident"] is None and "address" not in cold and "key" not in cold and len(cold["revision"]) == 16
    one = m.ready("meta/one:8b", requests=1)
    status, value = ask(one, "/double")
    assert status == 200 and value["argv"][-1] == "meta/one:8b" and value["cwd"] == str(m.catalogue.parent)
    assert ask(one, "/double", key="wrong")[0] == 401
    environment = value["environment"]
    assert environment["BERTH_ENGINE_KEY"] == one["key"] and "DATABASE_PASSWORD" not in environment and "BERTH_TOKEN" not in environment
    assert one["address"].startswith("http://127.0.0.1:") and m.all["two"]["state"] == "cold"
    answer = ask(one, "/v1/chat/completions", {"messages": []})[1]
    assert answer["choices"][0]["message"]["content"].startswith("word0")
    m.want("meta/one:8b", "cold")
    gone = m.wait("meta/one:8b", "cold")
    assert "address" not in gone and "key" not in gone and not alive(value["pid"])
    again = m.ready("meta/one:8b")
    assert again["key"] != one["key"] and again["revision"] == one["revision"]
    assert "double: pid" in m.log("meta%one:8b")


def test_always_there(machine):
    m = machine(entry("one", always="yes", idle="1s") + entry("two"))
    one = m.wait("one", "ready")
    ask(one, "/double", {"die": 1})
    m.wait("one", "ready", condition=lambda now: now["key"] != one["key"])
    m.want("one", "cold")
    m.wait("one", "cold")
    m.ready("one")
    assert m.all["two"]["state"] == "cold"
    m.write(entry("one", always="yes") + entry("two", always="yes"))
    m.wait("two", "ready")


def test_unknown_models_are_answered_by_the_list(machine):
    m = machine(entry("one"))
    m.wait("one", "cold")
    before = len(m.pool.heard)
    m.want("other")
    wait_until(lambda: any(x["m"] == "change" and [e["model"] for e in x["engines"]] == ["one"] for x in m.pool.heard[before:]), "the whole list")


def test_started_again_after_its_death(machine, tmp_path):
    child = tmp_path / "child"
    m = machine(entry("one", f"child={child}"))
    one = m.ready("one", requests=1)
    first = ask(one, "/double")[1]["pid"]
    ask(one, "/double", {"die": 3, "last": "out of luck"})
    again = m.wait("one", "ready", condition=lambda now: now["key"] != one["key"])
    assert ask(again, "/double")[1]["pid"] != first
    texts = [text for state, text in m.history("one") if state == "starting"]
    assert any(text == "exit code 3: out of luck; started again" for text in texts), m.history("one")
    assert "[berth: exit code 3: out of luck]" in m.log("one")


def test_one_that_keeps_dying_is_given_up_for_a_while_and_tried_when_a_person_asks(machine):
    m = machine(entry("one", "die=4", "'last=no such layer'"))
    m.want("one", requests=1)
    failed = m.wait("one", "failed")
    assert failed["text"].startswith("exit code 4: no such layer; tried again after "), failed
    starts = m.log("one").count("double: pid")
    assert starts == 3
    m.write(entry("one"))  # mended: the brake is of the old one
    m.wait("one", "ready")
    m.write(entry("one", "die=4"))
    m.wait("one", "failed")
    starts = m.log("one").count("double: pid")
    m.want("one", again=True)
    wait_until(lambda: m.log("one").count("double: pid") > starts, "one more try")


def test_never_healthy_and_not_there(machine):
    m = machine(entry("slow", "health=503", start="1s") + entry("none", command="/nowhere/server --port {port}")
                + entry("nofile", command="true {file} {port}", file="missing.gguf"))
    for name, words in (("slow", "was not healthy within 1 s: "), ("none", "/nowhere/server can't be started: No such file or directory"),
                        ("nofile", "missing.gguf: No such file or directory")):
        m.want(name)
        assert words in m.wait(name, "failed")["text"]
    assert not m.worker.children()


def test_healthy_only_after_some_looks_and_a_hanging_one(machine):
    m = machine(entry("one", "after=3"))
    one = m.ready("one")
    assert ask(one, "/double")[1]["looks"] >= 4
    # A look that is never answered keeps nobody from anything.
    ask(one, "/double", {"health": "hang"})
    m.want("one", "cold")
    m.wait("one", "cold")


def test_a_flood_of_output_is_bounded(machine, tmp_path):
    settings = tmp_path / "worker.conf"
    settings.write_text("[engine]\nlog_bytes = 256KiB\n")
    m = machine(entry("one", "flood=32"), "--config", settings)
    one = m.ready("one")
    took = wait_until(lambda: ask(one, "/double")[1]["flooded"], "all of it was written")
    m.want("one", "cold")
    m.wait("one", "cold")
    assert "bytes of output left out in all" in m.log("one") or took > 10
    assert 0 < len(m.log("one")) <= 256 << 10 and 0 < len(m.log("one", ".1")) <= 256 << 10
    assert len(list((m.folder / "engines").iterdir())) == 2


def test_worker_killed_leaves_no_engine(machine, tmp_path):
    child = tmp_path / "child"
    m = machine(entry("one", f"child={child}", "deaf=1"))
    one = m.ready("one")
    pids = [ask(one, "/double")[1]["pid"], int(child.read_text())]
    assert all(alive(pid) for pid in pids)
    m.worker.kill(signal.SIGKILL)
    m.worker.wait()
    wait_until(lambda: not any(alive(pid) for pid in pids), lambda: f"they end: {[pid for pid in pids if alive(pid)]}")
    wait_until(lambda: "killed: the worker is gone" in m.log("one"), "its log says so")


def test_worker_that_ends_ends_its_engines(machine, tmp_path):
    child = tmp_path / "child"
    m = machine(entry("one", f"child={child}"))
    pids = [ask(m.ready("one"), "/double")[1]["pid"], int(child.read_text())]
    m.worker.kill(signal.SIGTERM)
    assert m.worker.wait() == 0
    assert not any(alive(pid) for pid in pids)


def test_keeper_killed(machine):
    m = machine(entry("one"))
    one = m.ready("one", requests=1)
    pid = ask(one, "/double")[1]["pid"]
    with open(f"/proc/{pid}/stat") as file:
        keeper = int(file.read().rpartition(")")[2].split()[1])
    os.kill(keeper, signal.SIGKILL)
    m.wait("one", "ready", condition=lambda now: now["key"] != one["key"])
    assert not alive(pid)


def test_deaf_ones_are_killed(machine):
    m = machine(entry("one", "deaf=1", stop="300ms"))
    pid = ask(m.ready("one"), "/double")[1]["pid"]
    m.want("one", "cold")
    m.wait("one", "stopping")
    m.wait("one", "cold")
    assert not alive(pid)


def test_idle_ones_are_stopped_but_not_while_requests_are_about(machine):
    m = machine(entry("one", idle="1s") + entry("two", idle="1s"))
    m.want("two", requests=2)
    m.ready("one")
    m.wait("one", "cold")  # nobody asked any more
    assert [state for state, _ in m.history("one")][-4:] == ["starting", "ready", "stopping", "cold"]
    m.wait("two", "ready")
    m.connection.close()   # the server is gone, and its requests with it
    wait_until(lambda: len(m.pool.hellos) > 1, "it comes again")
    m.wait("two", "cold")


def test_catalogue_changed_while_it_runs(machine):
    m = machine(entry("stays") + entry("changes") + entry("goes"))
    stays, changes, goes = m.ready("stays"), m.ready("changes"), m.ready("goes")
    pids = {one["model"]: ask(one, "/double")[1]["pid"] for one in (stays, changes, goes)}
    m.write(entry("stays", labels="new", idle="5min") + entry("changes", "tokens=9") + entry("comes"))
    m.wait("comes", "cold")
    now = m.wait("changes", "ready", condition=lambda one: one["key"] != changes["key"])
    assert now["revision"] != changes["revision"]
    wait_until(lambda: "goes" not in m.all, lambda: m.all)
    wait_until(lambda: not alive(pids["goes"]) and not alive(pids["changes"]), "the old ones end")
    assert m.all["stays"]["key"] == stays["key"] and m.all["stays"]["labels"] == ["new"] and alive(pids["stays"])
    # A wrong one changes nothing, and is told.
    m.write(entry("stays") + "[model broken]\nkind = llama\n")
    wait_until(lambda: "[model broken] kind llama needs file" in m.worker.err, m.worker.report)
    assert alive(pids["stays"]) and "broken" not in m.all
    m.write(entry("stays"))
    wait_until(lambda: list(m.all) == ["stays"], lambda: m.all)
    assert alive(pids["stays"]) or m.ready("stays")


def test_a_catalogue_that_appears_later_and_one_that_is_wrong_at_the_start(machine):
    m = machine("[model x\n")
    assert "no engines are served until it is mended" in m.worker.err
    m.write(entry("one"))
    m.ready("one")


def test_servers_that_are_there_anyway(machine, tmp_path):
    first = machine(entry("one"))
    one = first.ready("one")
    (first.catalogue.parent / "key").write_text(one["key"] + "\n")
    first.write(entry("one") + f"[model there]\nkind = url\nurl = {one['address']}\nkey_file = key\n\n"
                + f"[model locked]\nkind = url\nurl = {one['address']}/\n\n[model nobody]\nkind = url\nurl = http://127.0.0.1:1\n")
    there = first.wait("there", "ready")
    assert there["address"] == one["address"] and there["key"] == one["key"]
    assert first.wait("locked", "failed")["text"] == "does not answer: HTTP 401"
    assert "address" in first.all["locked"] and first.wait("nobody", "failed")["text"].startswith("does not answer: ")


def test_a_pool_elsewhere_hears_of_an_address_only_if_there_is_one(base, start):  # noqa: F811
    pool = Pool(token=SECRET, host="127.0.0.1")
    try:
        url = f"ws://127.0.0.1:{pool.port},ws://pool.invalid:1"
        far = type("Far", (), {"url": url, "token": SECRET})
        m = Machine.__new__(Machine)
        m.pool, m.catalogue = pool, base / "models.conf"
        m.write(entry("one"))
        m.worker = start(far, "--models", m.catalogue, "--slots", "1")
        m.connection = pool.wait(lambda: pool.hellos and pool.connections[-1], "it joins")
        m.folder = m.worker.folder
        # Neither where it listens nor its key: the worker's tunnel leads there.
        assert not {"address", "key"} & set(m.ready("one"))
        m.worker.kill()
        m.worker.wait()
        m.worker = start(far, "--models", m.catalogue, "--slots", "1", "--engine-address", "127.0.0.1")
        pool.wait(lambda: len(pool.hellos) > 1, "it joins")
        m.connection = pool.connections[-1]
        assert {"address", "key"} <= set(m.ready("one"))
    finally:
        pool.close()


# With a device that is shared: a software device of 256 MiB


@pytest.fixture
def shared(pool, start, base, tmp_path):  # noqa: F811
    node = Node(tmp_path / "node", **{"arena.ready": "256MiB"}).start()
    environment = {"BERTH_SOCKET": node.environment["BERTH_SOCKET"], "BERTH_SOFTWARE_DIR": node.environment["BERTH_SOFTWARE_DIR"]}

    def make(text):
        made = Machine(pool, start, base, text, environment=environment)
        made.node = node
        return made

    yield make
    for worker in list(pool.connections):
        worker.close()
    node.close()


def test_more_models_than_memory(shared):
    m = shared("".join(entry(name, "device=150", memory="150MiB", idle="0") for name in ("one", "two")) + entry("three"))
    one = m.ready("one")
    assert one["memory_bytes"] == 150 * 2**20
    m.wait("one", "ready", condition=lambda e: e["resident"] is True)
    two = m.ready("two")
    m.wait("one", "ready", condition=lambda e: e["resident"] is False)
    m.wait("two", "ready", condition=lambda e: e["resident"] is True)
    assert m.ready("three")["resident"] is None
    jobs = {c["job"] for c in m.node.status()["clients"]}
    assert len(jobs) == 2 and {job.split(".")[0] for job in jobs} == {"one", "two"}
    # What comes next is there before it is asked for, once the other is idle; and it is whole.
    m.connection.send({"m": "upcoming", "models": ["three", "one", "nobody"]})
    m.wait("one", "ready", condition=lambda e: e["resident"] is True)
    assert ask(one, "/v1/chat/completions", {"messages": []})[0] == 200
    assert ask(two, "/v1/chat/completions", {"messages": []})[0] == 200
    m.want("one", "cold")
    assert m.wait("one", "cold")["resident"] is None
    m.wait("two", "ready", condition=lambda e: e["resident"] is True)


def test_more_memory_than_it_said_is_told(shared):
    m = shared(entry("much", "device=120", memory="64MiB") + entry("impossible", "device=1000", memory="64MiB") + entry("never", memory="1GiB"))
    m.ready("much")
    told = m.wait("much", "ready", condition=lambda e: e.get("text"))
    assert told["text"] == "holds 120 MiB of device memory, its entry says 64.0 MiB", told
    assert "its entry says 64.0 MiB" in m.worker.err
    m.want("impossible")
    assert "cuMemAlloc_v2 failed with 2: out of device memory" in m.wait("impossible", "failed")["text"]
    m.want("never")
    failed = m.wait("never", "failed")
    assert m.all["much"]["state"] == "ready" and "no shared device can ever hold 1.0 GiB" in failed["text"], failed
