"""`berth run --watch`: a known hang, a known growth, a known full device; and what the deaths of either side do to the other."""
import os
import re
import signal
import subprocess
import sys
import time

from conftest import wait_until

MIB = 1 << 20


class Held:
    """A program that holds device memory and does what it is told, watched."""

    def __init__(self, node, *options):
        self.read, write = os.pipe()
        self.report = node.folder / f"report-{node.count}"
        self.process = node.run("hold", options=("--watch", "--watch-report", str(self.report), *options), stdin=self.read)
        os.close(self.read)
        self.input = os.fdopen(write, "w", buffering=1)
        self.answers = 0
        self.node = node

    def tell(self, command):
        self.input.write(command + "\n")
        self.answers += 1
        wait_until(lambda: self.process.out.count("\n") >= self.answers, f"an answer to {command}")

    def said(self, pattern, seconds=60):
        return wait_until(lambda: re.search(pattern, self.process.err), lambda: f"{pattern!r} in {self.process.report()}", seconds)

    def watchdog(self):
        """The process beside it, or None."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    words = f.read().split(b"\0")
            except OSError:
                continue
            if words[0] == b"berth-watchdog" and str(self.process.pid).encode() in words:
                return int(pid)
        return None

    def end(self):
        self.input.close()
        assert self.process.wait(60) == 0, self.process.report()


def test_a_hang_is_found_and_is_over(node):
    held = Held(node, "--hang-after", "2s")
    held.tell(f"alloc {32 * MIB}")
    held.said("hangs: no progress for")
    held.said(f"last state is in {held.report}")
    text = held.report.read_text()
    assert text.startswith("berth-watchdog report 1\njob hold, pid %d\n" % held.process.pid)
    assert "reason hang\n" in text and f"thread {held.process.pid} hold: state S" in text
    assert re.search(r"pid %d hold on device 0: .*of (3[2-9]|4\d)\.\d MiB on the device" % held.process.pid, text), text
    # It goes on, and that is seen. No limit to how long a slow machine may take for it: a write is many launches.
    wait_until(lambda: held.tell("write") or re.search("over: hang", held.process.err), "the hang is over")
    held.end()
    wait_until(lambda: held.watchdog() is None, "the watchdog ends with it")


def test_a_hang_is_ended(node):
    held = Held(node, "--hang-after", "2s", "--on-hang", "term")
    assert held.process.wait(60) == -signal.SIGTERM, held.process.report()
    held.said("it is ended with TERM")
    held.said("ended by its watchdog")
    assert held.report.exists()


def test_what_counts_its_steps_is_judged_by_them(node):
    """It burns processor time and writes, but its steps stand: that is a hang. Before, its steps were all that moved."""
    module = os.path.join(os.path.dirname(__file__), "..", "..", "python")
    code = ("import berth, time\n"
            "for step in range(1, 6): berth.progress(step, 'load'); time.sleep(0.2)\n"
            "berth.progress(6, 'train')\n"
            "while True: time.sleep(0.01); print('alive', flush=True)")
    report = node.folder / "report"
    process = node.run(sys.executable, "-c", code, options=("--watch", "--hang-after", "2s", "--watch-report", str(report), "--on-hang", "kill"),
                       environment={"PYTHONPATH": module})
    assert process.wait(60) == -signal.SIGKILL, process.report()
    assert "phase train\n" in report.read_text()


def test_memory_that_grows_and_gets_full(node):
    held = Held(node, "--hang-after", "0", "--memory", "64MiB")
    # Until a look saw little and one soon after saw much.
    for _ in range(30):
        held.tell(f"alloc {56 * MIB}")
        try:
            held.said("device memory grew within seconds by", 2)
            break
        except AssertionError:
            held.tell("free")
            time.sleep(1.1)  # a look is a second: nothing tells from outside that there was one
    else:
        raise AssertionError(held.process.report())
    held.tell(f"alloc {6 * MIB}")
    assert node.client(held.process)["owned_bytes"] >= 0.97 * 64 * MIB
    held.said("device memory is at (9[7-9]|100) % of its limit", 120)
    assert "reason device_memory_full\n" in held.report.read_text()
    # It dies so: that is its last word.
    held.process.kill(signal.SIGKILL)
    held.said("ended while its memory was full")
    held.process.wait(60)


def test_the_watchdogs_death_harms_nobody(node):
    held = Held(node)
    held.tell(f"alloc {32 * MIB}")
    held.said("is watched")
    os.kill(wait_until(held.watchdog, "a watchdog"), signal.SIGKILL)
    wait_until(lambda: held.watchdog() is None, "it is dead")
    held.tell("write")
    held.tell("check")
    held.end()


def test_it_needs_no_daemon(node):
    node.stop()
    done = node.berth("run", "--no-daemon-ok", "--watch", "--hang-after", "2s", "--on-hang", "kill", "--watch-report", node.folder / "r", "--", "sleep", "1000")
    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: (node.folder / "r").exists(), "a report")
    assert subprocess.run(["grep", "-q", "the daemon does not answer", node.folder / "r"]).returncode == 0
    for wrong in (("--on-hang", "maybe"), ("--hang-after", "soon")):
        done = node.berth("run", *wrong, "--", "true")
        assert done.returncode == 2 and wrong[1] in done.stderr
