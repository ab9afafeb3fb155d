"""`berth chat` and `berth generate`: through a pool and straight to a server, with engines that behave and that don't."""
import contextlib
import json
import os
import pty
import select
import subprocess
import time

import pytest
from berthpool import Worker, pool  # noqa: F401 (fixture)
from conftest import KEPT, PATIENCE, built
from openai_double import Engine

HOSTILE = "\x1b]0;owned\x07\x9b2Jäö\u202eevil"


@pytest.fixture
def engine():
    engine = Engine()
    yield engine
    engine.stop()


def berth(folder, *arguments, text="", code=0, **environment):
    r = subprocess.run([built("src/cli/berth"), *arguments], input=text, capture_output=True, text=True, timeout=120 * PATIENCE, cwd=folder,
                       env={**{k: os.environ[k] for k in KEPT if k in os.environ}, "HOME": str(folder), **environment})
    assert code is None or r.returncode == code, (r.returncode, r.stdout, r.stderr)
    return r


class Terminal:
    """The program in a terminal of its own."""

    def __init__(self, folder, *arguments, kind="dumb", **environment):
        self.shown = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve(built("src/cli/berth"), ["berth", *arguments], {**{k: os.environ[k] for k in KEPT if k in os.environ}, "HOME": str(folder), "TERM": kind, **environment})

    def until(self, text, seconds=120.0):
        end = time.monotonic() + seconds * PATIENCE
        while text not in self.shown:
            ready, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            assert ready, f"{text!r} never came: {self.shown!r}"
            self.shown += os.read(self.fd, 65536).decode(errors="replace")
        before, _, self.shown = self.shown.partition(text)
        return before

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        with contextlib.suppress(OSError):  # EIO once the program has closed it
            while os.read(self.fd, 65536):
                pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def said(engine, at=-1):
    return [(m["role"], m["content"]) for m in engine.requests[at]["body"]["messages"]]


def test_a_conversation_from_a_pipe(tmp_path, engine):
    lines = "one\n\ntwo\n/clear\nthree\n/system Be brief.\nfour\n/help\n/quit\nnever\n"
    r = berth(tmp_path, "chat", "m", "--url", engine.address, "--system", "Be kind.", text=lines)
    assert r.stdout == ("word " * 5 + "\n") * 4
    assert r.stderr.count("[5 tokens, first after") == 4
    first, answer = [("system", "Be kind."), ("user", "one")], ("assistant", "word " * 5)
    assert [said(engine, i) for i in range(4)] == [first, [*first, answer, ("user", "two")], [first[0], ("user", "three")], [("system", "Be brief."), ("user", "four")]]
    assert len(engine.requests) == 4 and engine.requests[0]["body"]["model"] == "m"


def test_through_a_pool(tmp_path, pool, engine):  # noqa: F811
    worker = Worker(pool, name="hand", engines=[{"model": "m", "kind": "url", "state": "ready", "resident": None, "address": engine.address, "parallel": 4, "context": 4096,
                                                 "tasks": ["chat", "completion"], "memory_bytes": 0, "revision": "1"}])
    there = {"BERTH_POOL": pool.url, "BERTH_TOKEN": pool.token}
    assert berth(tmp_path, "chat", text="hello\n", **there).stdout == "word " * 5 + "\n"
    told = json.loads(berth(tmp_path, "generate", "m", "--prompt", "hello", "--json", "--max-tokens", "9", "--seed", "4", "--temperature", "0.5", "--stop", "x", **there).stdout)
    assert told["text"] == "word " * 5 and told["completion_tokens"] == 5 and told["first_text_s"] > 0 and told["stopped"] is False
    body = engine.requests[-1]["body"]
    assert (body["max_tokens"], body["seed"], body["temperature"], body["stop"]) == (9, 4, 0.5, ["x"])
    assert "nope" in berth(tmp_path, "generate", "nope", "--prompt", "x", code=1, **there).stderr
    assert "not accepted" in berth(tmp_path, "generate", "m", "--prompt", "x", code=77, BERTH_POOL=pool.url, BERTH_TOKEN="wrong").stderr
    worker.socket.send({"m": "bye"})


def test_generate(tmp_path, engine):
    (tmp_path / "question").write_text("from a file\n")
    at = ("--url", engine.address)
    assert berth(tmp_path, "generate", "m", "--prompt", "@question", *at).stdout == "word " * 5 + "\n"
    assert said(engine) == [("user", "from a file")]
    assert berth(tmp_path, "generate", "m", "--stream", "--system", "s", *at, text="from a pipe").stdout == "word " * 5 + "\n"
    assert said(engine) == [("system", "s"), ("user", "from a pipe")]
    assert berth(tmp_path, "generate", "m", "--continue", "--prompt", "Once", *at).stdout == "word " * 5 + "\n"
    assert engine.requests[-1]["path"] == "/v1/completions" and engine.requests[-1]["body"]["prompt"] == "Once"
    engine.behave(usage=False)
    assert json.loads(berth(tmp_path, "generate", "m", "-p", "x", "--json", *at).stdout)["completion_tokens"] is None


def test_words_that_steer_terminals(tmp_path, engine):
    engine.behave(text=HOSTILE, tokens=1)
    at = ("--url", engine.address)
    visible = r"\x1b]0;owned\x07\u{9b}2Jäö\u{202e}evil"
    assert berth(tmp_path, "chat", "m", *at, text="x\n").stdout == visible + "\n"
    assert berth(tmp_path, "generate", "m", "-p", "x", *at).stdout == HOSTILE + "\n"  # a file may have it as it is
    terminal = Terminal(tmp_path, "generate", "m", "-p", "x", *at)
    assert terminal.until("evil") == visible[:-4]
    terminal.end()
    engine.behave(fault="error_event", after=0)
    assert "out of memory" in berth(tmp_path, "chat", "m", *at, text="x\n", code=1).stderr


@pytest.mark.parametrize("fault, words, code", [
    ("die", "does not answer", 69), ("die_mid", "broke off", 1), ("cut", "broke off", 1), ("clean", "broke off", 1), ("broken", "no JSON", 76), ("garbage", "does not answer", 69),
    ("busy", "no room", 69), ("fail", "no room", 1), ("endless", "too long", 76), ("page", "broke off", 1), ("error_event", "out of memory", 1),
])
def test_engines_that_fail(tmp_path, engine, fault, words, code):
    engine.behave(fault=fault)
    r = berth(tmp_path, "generate", "m", "-p", "x", "--url", engine.address, code=None)
    assert words in r.stderr and r.returncode == code, r
    assert words in berth(tmp_path, "chat", "m", "--url", engine.address, text="lost\n", code=None).stderr


def test_what_failed_is_not_part_of_the_conversation(tmp_path, engine):
    engine.behave(fault="fail")
    terminal = Terminal(tmp_path, "chat", "m", "--url", engine.address)
    terminal.until("> ")
    terminal.type("lost\n")
    terminal.until("no room")
    engine.behave(fault=None)
    terminal.until("> ")
    terminal.type("kept\n")
    terminal.until("tokens/s]")
    assert said(engine) == [("user", "kept")]
    terminal.type("\x04")
    assert terminal.end() == 0


def test_ctrl_c_stops_the_answer_and_not_the_program(tmp_path, engine):
    engine.behave(fault="stall", after=2)
    terminal = Terminal(tmp_path, "chat", "m", "--url", engine.address)
    terminal.until("> ")
    terminal.type("go on\n")
    terminal.until("word word ")
    terminal.type("\x03")
    terminal.until("[stopped:")
    engine.wait(lambda e: e.cancelled == 1)
    terminal.until("> ")
    terminal.type("half a line\x03")  # at the prompt: that line is forgotten
    terminal.until("> ")
    engine.behave(fault=None)
    terminal.type("again\n")
    terminal.until("tokens/s]")
    assert said(engine) == [("user", "go on"), ("assistant", "word word "), ("user", "again")]
    terminal.type("\x04")
    assert terminal.end() == 0


def ask(terminal, engine, keys):
    """Types, and waits until that is answered: what the engine heard last."""
    before = len(engine.requests)
    terminal.type(keys)
    engine.wait(lambda e: len(e.requests) > before)
    terminal.until("tokens/s]")
    terminal.until("> ")
    return said(engine)[-1][1]


def test_lines_are_edited_and_remembered(tmp_path, engine):
    at = ("chat", "m", "--url", engine.address)
    terminal = Terminal(tmp_path, *at, kind="xterm")
    terminal.until("> ")
    assert ask(terminal, engine, "wrld\x1b[D\x1b[D\x1b[Do\x01hello \x05!\r") == "hello world!"
    assert ask(terminal, engine, "\x1b[A\x7f?\r") == "hello world?"
    assert ask(terminal, engine, "one\x1b\rtwo äö\r") == "one\ntwo äö"
    assert ask(terminal, engine, "\x1b[200~pasted:\n\tas it is\x07\n/quit\n\x1b[201~ and more\r") == "pasted:\n\tas it is \n/quit and more"
    assert ask(terminal, engine, "a\\\rb\r") == "a\nb"
    terminal.type("/he\t\r")
    terminal.until("/system TEXT")
    terminal.until("> ")
    terminal.type("half a line\x03")
    terminal.until("/quit ends]")
    assert ask(terminal, engine, "whole\r") == "whole"
    terminal.type("\x04")
    assert terminal.end() == 0
    kept = tmp_path / ".local/state/berth/chat-history"
    assert kept.stat().st_mode & 0o777 == 0o600 and "half" not in kept.read_text()

    engine.requests.clear()
    terminal = Terminal(tmp_path, *at, kind="xterm")
    terminal.until("> ")
    assert ask(terminal, engine, "\x1b[A\x1b[A\x1b[A\r") == "a\nb"  # over "whole" and "/help"
    terminal.type("\x04")
    assert terminal.end() == 0
    size = kept.stat().st_size
    terminal = Terminal(tmp_path, *at, "--no-history", kind="xterm")
    terminal.until("> ")
    assert ask(terminal, engine, "secret\x1b[A\r") == "secret"  # nothing to bring back
    terminal.type("\x04")
    assert terminal.end() == 0 and kept.stat().st_size == size


def test_why_nothing_comes_yet_is_said(tmp_path, engine):
    engine.behave(waiting="waiting position 3 (its engine is \x1b[2Jstarting)")
    terminal = Terminal(tmp_path, "chat", "m", "--url", engine.address, kind="xterm")
    terminal.until("> ")
    terminal.type("hello\r")
    terminal.until(r"[waiting position 3 (its engine is \x1b[2Jstarting), ")
    terminal.until("tokens/s]")
    terminal.until("> ")  # what is typed before that goes to the terminal's own line
    terminal.type("\x04")
    assert terminal.end() == 0
    assert "waiting" not in berth(tmp_path, "chat", "m", "--url", engine.address, text="x\n").stderr  # nobody types


def test_several_models(tmp_path, pool, engine):  # noqa: F811
    here = {"kind": "url", "state": "ready", "resident": None, "address": engine.address, "parallel": 4, "context": 4096, "tasks": ["chat"], "memory_bytes": 0, "revision": "1"}
    worker = Worker(pool, name="hand", engines=[{**here, "model": "first"}, {**here, "model": "second"}])
    there = {"BERTH_POOL": pool.url, "BERTH_TOKEN": pool.token}
    told = berth(tmp_path, "chat", code=1, **there).stderr  # the pool is that of all tests here: it may know others, too
    assert "which model? Say `berth chat NAME' with one of: first, " in told and "second" in told
    r = berth(tmp_path, "chat", "first", text="one\n/model\n/model third\n/model second\ntwo\n/etc/fstab is what?\n/nonsense\n", **there)
    assert "* first\n" in r.stderr and "  second\n" in r.stderr and "no model third, only: first, " in r.stderr and "no command /nonsense" in r.stderr
    assert [q["body"]["model"] for q in engine.requests] == ["first", "second", "second"]
    terminal = Terminal(tmp_path, "chat", "third", **there)  # before anything is typed
    terminal.until("there is no model third, only: first, ")
    assert terminal.end() == 1
    assert said(engine)[-1] == ("user", "/etc/fstab is what?") and said(engine)[0] == ("user", "one")
    worker.socket.send({"m": "bye"})


def test_mistakes_on_the_command_line(tmp_path, engine):
    for arguments, code, words in [
        (["generate"], 2, "which model?"), (["generate", "m", "n"], 2, "one model"), (["generate", "m", "-p", "x", "--max-tokens", "some"], 2, "whole number"),
        (["generate", "m", "-p", "@nowhere", "--url", engine.address], 1, "nowhere"), (["chat", "m", "--url", "ftp://x"], 1, "http://"),
        (["chat", "--url", engine.address], 1, "there is no model"), (["chat", "m", "--max-tokens", "0"], 2, "whole number"), (["chat", "m", "n"], 2, "one model"),
        (["chat", "m", "--url", "http://127.0.0.1:1"], 0, ""), (["generate", "m", "-p", "x", "--url", "http://127.0.0.1:1"], 69, "does not answer"),
    ]:
        assert words in berth(tmp_path, *arguments, code=code).stderr, arguments
    assert "no text" in subprocess.run([built("src/cli/berth"), "chat", "m", "--url", engine.address], input=b"\xff\n", capture_output=True, timeout=60 * PATIENCE).stderr.decode()
    assert engine.requests == []
