"""`berth models`: the catalogue edited from the command line, and taken over by the worker of `berth up` while it runs."""
import json
import re
import sys
import urllib.request

import pytest
from conftest import PATIENCE, Process, built, wait_until
from test_engines import DOUBLE
from test_up import Home, home  # noqa: F401 (fixture)

COMMAND = f"{sys.executable} {DOUBLE} --port {{port}} --host {{host}} --name {{model}}"


@pytest.fixture
def alone(tmp_path):
    """A person's folder without `berth up`."""
    made = Home(tmp_path)
    return made


def test_added_listed_shown_removed(alone):
    catalogue = alone.folder / "kept" / "models.conf"
    (alone.folder / "m.gguf").write_text("GGUF and so on")
    out = alone.berth("models").stdout
    catalogue.unlink()
    assert out == alone.berth("models").stdout  # none is as good as an empty one
    assert "No models" in out and str(catalogue) in out
    alone.berth("models", "add", "a/one:1", "--command", COMMAND, "--memory", "2GiB", "--parallel", "8", "--set", "environment=A=1", "--set", "environment=B=2")
    alone.berth("models", "add", "two", "--gguf", "m.gguf", "--context", "512", "--idle", "0")
    text = catalogue.read_text()
    assert f"[model a/one:1]\nkind = command\ncommand = {COMMAND}\nmemory = 2GiB\nparallel = 8\nenvironment = A=1\nenvironment = B=2\n" in text
    assert f"\n\n[model two]\nkind = llama\ncontext = 512\nidle = 0\nfile = {alone.folder / 'm.gguf'}\n" in text
    assert catalogue.stat().st_mode & 0o777 == 0o600
    listed = alone.json("models")
    assert [m["name"] for m in listed["models"]] == ["a/one:1", "two"] and listed["fault"] is None and listed["pool_answers"] is False
    one = listed["models"][0]
    assert one["memory"] == 2 << 30 and one["parallel"] == 8 and one["idle"] == 600 and one["environment"] == "A=1\nB=2\n" and one["pool"] is None
    r = alone.berth("models")
    assert "a/one:1" in r.stdout and "2.0 GiB" in r.stdout and "unavailable" in r.stdout and "what runs is not known" in r.stderr
    assert json.loads(alone.berth("models", "show", "two").stdout)["context"] == 512
    catalogue.write_text("# mine\n" + catalogue.read_text())
    alone.berth("models", "remove", "a/one:1")
    assert catalogue.read_text().startswith("# mine\n") and "a/one" not in catalogue.read_text() and "[model two]" in catalogue.read_text()
    assert list(alone.folder.glob("kept/*.new")) == []


@pytest.mark.parametrize("arguments, code, words", [
    (["add", "x"], 2, "what serves it?"),
    (["add", "x", "--url", "http://h:1", "--command", "c {port}"], 2, "not several"),
    (["add", "..", "--url", "http://h:1"], 2, "no name of a model"),
    (["add"], 2, "which model?"),
    (["add", "x", "--url", "ftp://h"], 78, "kind url needs url = http://"),
    (["add", "x", "--command", "server"], 78, "where {port} goes"),
    (["add", "x", "--command", "c {port}", "--memory", "much"], 78, "accepted: a size"),
    (["add", "x", "--command", "c {port}", "--set", "colour=red"], 78, "unknown setting"),
    (["add", "x", "--gguf", "nowhere.gguf"], 1, "No such file"),
    (["add", "x", "--gguf", "/dev/null"], 1, "no GGUF file"),
    (["add", "there", "--url", "http://h:2"], 1, "is there already, on line 1"),
    (["remove", "x"], 1, "there is no [model x]"),
    (["show", "x"], 1, "there is no model"),
    (["list", "x"], 2, "takes no name"),
    (["paint"], 2, "list, add, remove, show, start or stop?"),
    (["--memory", "1GiB"], 2, "settings are for"),
    (["start", "there"], 69, "berth up"),
    (["start", "--wait", "there"], 69, "berth up"),
    (["stop", "--wait", "there"], 2, "--wait is for"),
])
def test_mistakes_change_nothing(alone, arguments, code, words):
    catalogue = alone.folder / "kept" / "models.conf"
    catalogue.write_text("[model there]\nkind = url\nurl = http://h:1\n")
    r = alone.berth("models", *arguments, code=code)
    assert words in r.stderr, r
    assert catalogue.read_text() == "[model there]\nkind = url\nurl = http://h:1\n"


def test_a_wrong_catalogue_is_told_and_not_edited(alone):
    catalogue = alone.folder / "kept" / "models.conf"
    catalogue.write_text("[model a]\nkind = llama\n")
    r = alone.berth("models", code=78)
    assert "models.conf:1: [model a] kind llama needs file" in r.stderr
    assert json.loads(alone.berth("models", "--json", code=78).stdout)["fault"]
    alone.berth("models", "add", "b", "--url", "http://h:1", code=78)
    assert catalogue.read_text() == "[model a]\nkind = llama\n"


def test_started_asked_and_stopped_through_the_pool(home):  # noqa: F811
    def state():
        return {m["name"]: (m["pool"] or {}).get("state") for m in home.json("models")["models"]}.get("org/mine:1")

    home.start()
    home.berth("models", "add", "org/mine:1", "--command", COMMAND, "--labels", "a,b")
    wait_until(lambda: state() == "cold", state)
    assert home.json("models")["pool_answers"] is True
    assert "asked to start" in home.berth("models", "start", "org/mine:1").stdout
    wait_until(lambda: state() == "ready", state)
    listed = home.berth("models").stdout
    assert "org/mine:1" in listed and "ready" in listed and "0+0" in listed
    local = json.loads((home.folder / "kept" / "local.json").read_text())

    def chat():
        request = urllib.request.Request(local["url"] + "/v1/chat/completions", headers={"Authorization": f"Bearer {local['token']}", "Content-Type": "application/json"},
                                         data=json.dumps({"model": "org/mine:1", "messages": [{"role": "user", "content": "hi"}]}).encode())
        with urllib.request.urlopen(request, timeout=90) as answer:
            return json.load(answer)["choices"][0]["message"]["content"]

    assert chat().startswith("word0")
    home.berth("models", "stop", "org/mine:1")
    wait_until(lambda: state() == "cold", state)
    assert chat().startswith("word0")  # the request starts it
    assert state() == "ready"
    assert home.berth("models", "start", "nobody", code=None).returncode != 0
    shown = json.loads(home.berth("models", "show", "org/mine:1").stdout)
    assert shown["pool"]["workers"][0]["state"] == "ready" and shown["labels"] == "a,b"
    home.berth("models", "remove", "org/mine:1")
    wait_until(lambda: state() is None, state)
    home.stop()


def test_a_start_is_waited_for_to_its_end(home):  # noqa: F811
    def add(name, *options):
        home.berth("models", "add", name, "--command", " ".join([COMMAND, *options]))

    home.start()
    add("slow", "after=3")
    add("broken", "die=3", "last=no-such-weights")
    wait_until(lambda: {m["name"] for m in home.json("models")["models"] if (m["pool"] or {}).get("state") == "cold"} == {"slow", "broken"}, "both are known")
    r = home.berth("models", "start", "--wait", "slow")
    assert re.fullmatch(r"slow: ready after .*\n", r.stdout) and "slow: starting" in r.stderr, r
    assert home.berth("models", "start", "--wait", "slow").stderr == ""  # it is ready
    for _ in range(2):  # the second time it has failed before: that is no answer
        r = home.berth("models", "start", "--wait", "broken", code=1)
        assert "broken did not start: " in r.stderr and "exit code 3" in r.stderr and "no-such-weights" in r.stderr and not r.stdout, r
    told = json.loads(home.berth("models", "start", "--wait", "--json", "broken", code=1).stdout)
    assert told["name"] == "broken" and told["state"] == "failed" and "no-such-weights" in told["workers"][0]["text"]
    assert home.json("models", "start", "--wait", "slow")["state"] == "ready"
    assert home.berth("models", "start", "--wait", "nobody", code=None).returncode == 1
    home.stop()


def test_who_waits_hears_that_the_model_went(home):  # noqa: F811
    home.start()
    home.berth("models", "add", "never", "--command", COMMAND + " health=503")
    wait_until(lambda: any((m["pool"] or {}).get("state") == "cold" for m in home.json("models")["models"]), "it is known")
    for what, words in (("stop", "was stopped before it was ready"), ("remove", "did not start: ")):
        waiting = Process(f"waiting-{what}", home.folder, [built("src/cli/berth"), "models", "start", "--wait", "never"], home.environment)
        wait_until(lambda: "never: starting" in waiting.err, lambda: waiting.err)
        home.berth("models", what, "never")
        assert waiting.popen.wait(90 * PATIENCE) == 1 and words in waiting.err, waiting.err
    home.stop()


def test_the_worker_of_berth_up_takes_it_over(home):  # noqa: F811
    catalogue = home.folder / "kept" / "models.conf"
    catalogue.unlink()
    home.start()
    assert catalogue.read_text().startswith("# The models that this machine serves")
    home.berth("models", "add", "mine", "--command", COMMAND)
    wait_until(lambda: f"{catalogue}: " in home.up.err, home.up.report)
    home.berth("models", "remove", "mine")
    home.stop()
    kept = catalogue.read_text() + "# kept\n"
    catalogue.write_text(kept)
    home.start()
    assert catalogue.read_text() == kept
    home.stop()


def test_the_list_says_who_is_swapped_out_and_why_another_is_not_there(home):  # noqa: F811
    device = home.folder / "device"
    device.mkdir()
    (home.folder / "node.conf").write_text("[device]\nkind = software\nsoftware_devices = 1\nsoftware_memory = 256MiB\n[arena]\nsize = 512MiB\nready = 0\n")
    home.environment.update(BERTH_CONFIG=str(home.folder / "node.conf"), BERTH_SOFTWARE_DIR=str(device), BERTH_SOCKET=str(home.folder / "node.sock"))
    home.node = True
    home.start()
    for name in ("one", "two"):
        home.berth("models", "add", name, "--memory", "160MiB", "--command", COMMAND + " device=150")
    home.berth("models", "add", "broken", "--command", "no-such-server-of-a-name-that-is-rather-long --port {port}")

    def row(name):
        return next((line for line in home.berth("models").stdout.splitlines() if line.startswith(name + " ")), "")

    wait_until(lambda: "cold" in row("broken"), lambda: home.berth("models").stdout)
    for name in ("one", "two"):
        assert home.berth("generate", name, "--prompt", "hi").stdout.startswith("word0")
    wait_until(lambda: "swapped out" in row("one") and " ready " in row("two"), lambda: home.berth("models").stdout)
    r = home.berth("generate", "broken", "--prompt", "hi", code=None)
    assert r.returncode and "`berth models' tells more" in r.stderr, r
    assert "failed" in row("broken") and row("broken").rstrip().endswith("~")
    assert "No such file or directory" in json.loads(home.berth("models", "show", "broken").stdout)["pool"]["workers"][0]["text"]
    home.stop()
